#!/usr/bin/env bash
# Encoding anew with ffmpeg, at the same rate and without a filter, moves all pictures by up to half of one against the sound.
#
# Guess: an encode that names no rate keeps the time of each picture, as mp4, mkv and MPEG-TS can all hold it.
# Seen: ffmpeg gives its encoder a clock of whole pictures, 40 ms at 25 a second, and rounds all times to it. If the pictures of a film
# begin 15 ms after its sound, they come out 15 ms early, with the sound; if they begin 25 ms after it, 15 ms late. It is the same for all
# of them, comes without a message, and happens again with each encode. A stream copy and `-enc_time_base:v demux` keep the times.
# Pictures have such times after a cut of the sound, and in FFmpeg's own HLS with sound in files of its own (22 ms).
# Seen with FFmpeg 7.0.2, and PyAV 18.1.0 (FFmpeg 8.1.2), which writes and reads the films.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "av==18.1.0" "imageio-ffmpeg==0.6.0"
cat > film.py <<'EOF2'
import subprocess
import sys
from fractions import Fraction

import av
import imageio_ffmpeg

RATE = 48000


def write(name, late_ms):
    with av.open(name, "w") as film:
        shown = film.add_stream("mpeg4", rate=25)
        shown.width, shown.height, shown.pix_fmt = 64, 48, "yuv420p"
        shown.codec_context.time_base = Fraction(1, 1000)
        heard = film.add_stream("flac", rate=RATE, layout="mono")
        for number in range(50):
            picture = av.VideoFrame(64, 48, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes(plane.buffer_size))
            picture.pts, picture.time_base = number * 40 + late_ms, Fraction(1, 1000)
            film.mux(shown.encode(picture))
            samples = av.AudioFrame("s16", "mono", RATE // 25)
            samples.planes[0].update(bytes(samples.planes[0].buffer_size))
            samples.sample_rate, samples.pts, samples.time_base = RATE, number * RATE // 25, Fraction(1, RATE)
            film.mux(heard.encode(samples))
        film.mux([*shown.encode(None), *heard.encode(None)])


def late_ms(name):
    """How far the pictures of a film lie behind its sound, by the last of them: mp4 can have the first one twice."""
    with av.open(name) as film:
        last = max(picture.time for picture in film.decode(video=0))
    with av.open(name) as film:
        return round(1000 * (last - next(film.decode(audio=0)).time) - 49 * 40)


ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-i"]
print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info, "and", imageio_ffmpeg.get_ffmpeg_version())
ways = {
    "stream copy": ("copy.mkv", "-c", "copy"),
    "H.264 in mkv": ("new.mkv", "-c:v", "libx264", "-c:a", "flac"),
    "H.264 in mp4": ("new.mp4", "-c:v", "libx264", "-c:a", "flac"),
    "with -enc_time_base demux": ("demux.mkv", "-c:v", "libx264", "-c:a", "flac", "-enc_time_base:v", "demux"),
}
delays_ms = []
for late in (15, 25):
    write("film.mkv", late)
    print(f"pictures {late_ms('film.mkv')} ms behind the sound in the film,")
    for what, (name, *options) in ways.items():
        subprocess.run([*ffmpeg, "film.mkv", *options, name], check=True)
        delays_ms.append(late_ms(name))
        print(f"  {delays_ms[-1]:2} ms: {what}")
sys.exit(delays_ms != [15, 0, 0, 15, 25, 40, 40, 25])
EOF2
env/bin/python film.py || { echo CHANGED; exit 1; }
echo "as described"
