#!/usr/bin/env bash
# Of small MPEG-2 pictures in an MPEG program stream, whole runs are dated 80 ms early now and then.
#
# Guess: the timestamp of a PES packet goes to the first picture that begins in it, as ISO/IEC 13818-1 has it.
# Seen: where a sequence header ends one packet and the picture it belongs to is in the next, FFmpeg gives the next packet's
# timestamp to that picture, though its muxer meant the one after. All up to the next timestamp are then early by as much as
# the picture is moved by reordering, and two share their time with others.
# Seen with PyAV 18.1.0 (FFmpeg 8.1.2) and 19.0.2 (FFmpeg 9.0.2; AV=19.0.2, Python 3.12 or later).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "av==${AV:-18.1.0}"
env/bin/python - <<'EOF'
import sys
from fractions import Fraction

import av
from av.video.frame import VideoFrame

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
with av.open("film.mpg", "w") as film:
    pictures = film.add_stream("mpeg2video", rate=25, options={"bf": "2", "g": "12"})
    pictures.width, pictures.height, pictures.pix_fmt = 96, 64, "yuv420p"
    for number in range(1500):
        picture = VideoFrame(96, 64, "yuv420p")
        for plane in picture.planes:
            plane.update(bytes([16 + number * 7 % 200]) * plane.buffer_size)
        picture.pts, picture.time_base = number, Fraction(1, 25)
        film.mux(pictures.encode(picture))
    film.mux(pictures.encode(None))
with av.open("film.mpg") as film:
    times = [round(picture.pts * picture.time_base * 25) for picture in film.decode(video=0)]
early = sum(time - times[0] < number for number, time in enumerate(times))
shared = len(times) - len(set(times))
print(f"{len(times)} pictures, {early} of them dated early, {shared} with the time of another")
same = len(times) == 1500 and early > 0 and shared > 0
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
