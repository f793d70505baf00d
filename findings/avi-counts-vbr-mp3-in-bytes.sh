#!/usr/bin/env bash
# MP3 of variable bit rate in an AVI that counts its sound in bytes plays seconds out of sync in the middle, and a plain stream copy
# puts that right.
#
# Guess: such a film (GStreamer's `lamemp3enc ! avimux` writes them, without `mpegaudioparse` between) plays right from its start, as
# each frame of MP3 has the same length; a stream copy carries whatever is wrong along.
# Seen: FFmpeg takes the time of a packet from its place in bytes and the mean rate, and its decoder keeps it. After 20 s of silence,
# which needs few bytes, noise that is due at 20 s comes at 10.4 s; at both ends of the film all is well. mpv plays it so, too. Copied
# to another AVI by `ffmpeg -c copy`, which counts MP3 in frames, the noise is at 20 s again.
# Seen with PyAV 18.1.0 (FFmpeg 8.1.2) and FFmpeg 7.0.2.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "av==18.1.0" "imageio-ffmpeg==0.6.0" "numpy<3"
cat > film.py <<'EOF2'
import struct
import subprocess
import sys
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np

SECONDS, AT_S = 40, 20  # when the noise begins


def write(name):
    with av.open(name, "w") as film:
        shown = film.add_stream("mpeg4", rate=25)
        shown.width, shown.height, shown.pix_fmt = 64, 48, "yuv420p"
        heard = film.add_stream("libmp3lame", rate=48000, layout="mono", options={"abr": "1"})
        heard.bit_rate = 96000
        noise = np.random.default_rng(0)
        for number in range(25 * SECONDS):
            picture = av.VideoFrame.from_ndarray(np.full((72, 64), 128, np.uint8), "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            film.mux(shown.encode(picture))
            values = 0.1 * noise.standard_normal((1, 1920)) * (number >= 25 * AT_S)
            samples = av.AudioFrame.from_ndarray(values.astype(np.float32), "fltp", "mono")
            samples.sample_rate, samples.time_base = 48000, Fraction(1, 48000)
            samples.pts = number * 1920
            film.mux(heard.encode(samples))
        film.mux([*shown.encode(None), *heard.encode(None)])


def in_bytes(source, target):
    """A copy whose header counts the sound in bytes at its mean rate."""
    with av.open(source) as film:
        sizes = [packet.size for packet in film.demux(audio=0)]
    frames = sum(size > 0 for size in sizes)
    rate = round(sum(sizes) / (frames * 1152 / 48000))
    data = bytearray(open(source, "rb").read())
    header = data.index(b"auds")
    struct.pack_into("<II", data, header + 20, 1, rate)  # scale and rate: one tick a byte
    struct.pack_into("<I", data, header + 32, sum(sizes))  # length in ticks
    struct.pack_into("<I", data, header + 44, 1)  # size of a sample
    form = data.index(b"strf", header) + 8
    struct.pack_into("<IH", data, form + 8, rate, 1)  # bytes a second, alignment
    open(target, "wb").write(data)


def noise_s(name):
    with av.open(name) as film:
        for frame in film.decode(audio=0):
            if np.abs(frame.to_ndarray()).max() > 0.05:
                return round(frame.time, 2)


ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info, "and", imageio_ffmpeg.get_ffmpeg_version())
write("frames.avi")
in_bytes("frames.avi", "bytes.avi")
subprocess.run([ffmpeg, "-v", "error", "-i", "bytes.avi", "-c", "copy", "copy.avi"], check=True)
subprocess.run([ffmpeg, "-v", "error", "-i", "bytes.avi", "-c:a", "pcm_s16le", "new.mkv"], check=True)
due_s = [noise_s(name) for name in ("frames.avi", "bytes.avi", "copy.avi", "new.mkv")]
print(f"noise at {due_s[0]} s where the sound is counted in frames")
print(f"noise at {due_s[1]} s where it is counted in bytes")
print(f"noise at {due_s[2]} s in a stream copy of that, at {due_s[3]} s in PCM made of it")
sys.exit(not (max(abs(due_s[0] - AT_S), abs(due_s[2] - AT_S)) < 0.1 and max(due_s[1], due_s[3]) < 12))
EOF2
env/bin/python film.py || { echo CHANGED; exit 1; }
echo "as described"
