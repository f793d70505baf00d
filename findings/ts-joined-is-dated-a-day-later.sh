#!/usr/bin/env bash
# Two recordings in MPEG-TS joined end to end, the second with an earlier clock, become one of 26 and a half hours.
#
# Guess: where the clock goes back, timestamps go back, as they stand in the file.
# Seen: FFmpeg takes a timestamp below the first one for a wrap of the counter of 33 bits, and adds 2^33 / 90000 s = 95443.7 s to
# all that follows. The same recording with a later clock only jumps ahead by the difference.
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
from pathlib import Path

import av
from av.video.frame import VideoFrame

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)


def recording(start_s):
    """Two seconds of picture whose clock begins at `start_s`."""
    with av.open("part.ts", "w") as film:
        pictures = film.add_stream("mpeg2video", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 160, 120, "yuv420p"
        for number in range(50):
            picture = VideoFrame(160, 120, "yuv420p")
            picture.pts, picture.time_base = number + 25 * start_s, Fraction(1, 25)
            film.mux(pictures.encode(picture))
        film.mux(pictures.encode(None))
    return Path("part.ts").read_bytes()


def jump_s(first_s, second_s):
    """From the last picture of the first recording to the first of the second, as FFmpeg dates them."""
    Path("joined.ts").write_bytes(recording(first_s) + recording(second_s))
    with av.open("joined.ts") as film:
        times_s = [float(picture.pts * picture.time_base) for picture in film.decode(video=0)]
    longest_s = max(after - before for before, after in zip(times_s, times_s[1:]))
    print(f"clock at {first_s} s, then at {second_s} s: pictures jump ahead by {longest_s:.2f} s")
    return longest_s


same = abs(jump_s(1000, 0) - (2**33 / 90000 - 1001.96)) < 1
same &= abs(jump_s(0, 1000) - 998.04) < 1
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
