#!/usr/bin/env bash
# An AVI can state that its sound begins later; a copy to AVI by FFmpeg and a copy by mkvmerge lose that.
#
# Guess: what FFmpeg reads from an AVI it also writes into one, and a remux to Matroska keeps the film in sync.
# Seen: the header of a stream has a start of its own (`dwStart`; MEncoder's `-audio-delay` writes it), and FFmpeg and mpv go by it. Copied
# by FFmpeg from AVI to AVI, sound that was due at 0.3 s begins at zero, without a warning; copied to mov it stays at 0.3 s. mkvmerge
# (of the system, if there is one) does not read that start either, so the Matroska is 0.3 s out of sync.
# Seen with PyAV 18.1.0 (FFmpeg 8.1.2), FFmpeg 7.0.2 and mkvmerge 74.0.0.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "av==18.1.0" "imageio-ffmpeg==0.6.0"
cat > film.py <<'EOF2'
import shutil
import struct
import subprocess
import sys
from fractions import Fraction

import av
import imageio_ffmpeg

START_S, RATE = 0.3, 48000


def write(name):
    with av.open(name, "w") as film:
        shown = film.add_stream("mpeg4", rate=25)
        shown.width, shown.height, shown.pix_fmt = 64, 48, "yuv420p"
        heard = film.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for number in range(50):
            picture = av.VideoFrame(64, 48, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes(plane.buffer_size))
            picture.pts, picture.time_base = number, Fraction(1, 25)
            film.mux(shown.encode(picture))
            samples = av.AudioFrame("s16", "mono", RATE // 25)
            samples.planes[0].update(bytes(samples.planes[0].buffer_size))
            samples.sample_rate, samples.pts, samples.time_base = RATE, number * RATE // 25, Fraction(1, RATE)
            film.mux(heard.encode(samples))
        film.mux([*shown.encode(None), *heard.encode(None)])
    data = bytearray(open(name, "rb").read())
    header = data.index(b"auds")
    scale, rate = struct.unpack_from("<II", data, header + 20)
    struct.pack_into("<I", data, header + 28, round(START_S * rate / scale))
    open(name, "wb").write(data)


def starts_s(name):
    with av.open(name) as film:
        first = {}
        for packet in film.demux():
            if packet.size:
                time = packet.dts if packet.pts is None else packet.pts
                first.setdefault(packet.stream.type, float(time * packet.time_base))
    return round(first["audio"] - first["video"], 3)


ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", "film.avi", "-c", "copy"]
print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info, "and", imageio_ffmpeg.get_ffmpeg_version())
write("film.avi")
for name in ("copy.avi", "copy.mov"):
    subprocess.run([*ffmpeg, name], check=True)
sound_starts_s = [starts_s(name) for name in ("film.avi", "copy.mov", "copy.avi")]
print(f"sound begins {sound_starts_s[0]} s after the pictures in the AVI, {sound_starts_s[1]} s in a copy as mov, {sound_starts_s[2]} s in a copy as AVI")
changed = sound_starts_s != [START_S, START_S, 0.0]
if shutil.which("mkvmerge"):
    print(subprocess.run(["mkvmerge", "--version"], capture_output=True, text=True).stdout.strip())
    subprocess.run(["mkvmerge", "--quiet", "-o", "merged.mkv", "film.avi"], check=True)
    merged_s = starts_s("merged.mkv")
    print(f"sound begins {merged_s} s after the pictures in mkvmerge's file")
    changed |= merged_s != 0.0
sys.exit(changed)
EOF2
env/bin/python film.py || { echo CHANGED; exit 1; }
echo "as described"
