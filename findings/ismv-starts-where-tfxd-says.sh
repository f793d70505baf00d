#!/usr/bin/env bash
# The times of a Smooth Streaming file (ismv) are in a box that FFmpeg's reader ignores.
#
# Guess: pictures and sound that were written together, AAC 21.33 ms (1024 samples) before zero, are read back so.
# Seen: the file has no edit list and no tfdt. A uuid box in each fragment (tfxd) has the time of its first sample: 0 for the
# pictures, -21.33 ms for the sound. FFmpeg's own reader starts the sound at 0, and the pictures 80 ms late, as it makes room
# for B-pictures whose offsets are signed. So sound that was written in sync is read 58.67 ms early.
# Seen with PyAV 18.1.0 (FFmpeg 8.1.2) and 19.0.2 (FFmpeg 9.0.2; AV=19.0.2, Python 3.12 or later).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "av==${AV:-18.1.0}"
env/bin/python - <<'EOF'
import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
with av.open("film.ismv", "w") as film:
    pictures = film.add_stream("libx264", rate=25, options={"bf": "3", "g": "25"})
    pictures.width, pictures.height, pictures.pix_fmt = 160, 120, "yuv420p"
    sound = film.add_stream("aac", rate=48000, layout="mono")
    for number in range(50):
        picture = VideoFrame(160, 120, "yuv420p")
        picture.pts, picture.time_base = number, Fraction(1, 25)
        film.mux(pictures.encode(picture))
        for first in range(-(-1920 * number // 1024) * 1024, 1920 * (number + 1), 1024):
            samples = AudioFrame("fltp", "mono", 1024)
            samples.planes[0].update(bytes(samples.planes[0].buffer_size))
            samples.sample_rate, samples.pts, samples.time_base = 48000, first, Fraction(1, 48000)
            film.mux(sound.encode(samples))
    for stream in (pictures, sound):
        film.mux(stream.encode(None))

data, mark, stated = Path("film.ismv").read_bytes(), bytes.fromhex("6d1d9b0542d544e680e2141daff757b2"), []
at = data.find(mark)
while at >= 0:
    stated.append(struct.unpack(">q", data[at + 20 : at + 28])[0] / 1e4)  # version 1, ticks of 100 ns
    at = data.find(mark, at + 1)
with av.open("film.ismv") as film:
    first = {stream.type: float(stream.start_time * stream.time_base) * 1000 for stream in film.streams}
print("first fragment of each by tfxd:", ", ".join(f"{time:.2f} ms" for time in stated[:2]))
print("first packet by FFmpeg:", ", ".join(f"{kind} {time:.2f} ms" for kind, time in first.items()))
early = (first["video"] - stated[0]) - (first["audio"] - stated[1])
print(f"sound is read {early:.2f} ms early; tfdt boxes: {data.count(b'tfdt')}, edit lists: {data.count(b'elst')}")
same = abs(early - 58.67) < 0.1 and not data.count(b"tfdt") and not data.count(b"elst")
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
