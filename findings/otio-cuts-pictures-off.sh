#!/usr/bin/env bash
# OpenTimelineIO keeps fractions of a picture, and then cuts them off.
#
# Guess: a moment in seconds becomes the picture that starts at it.
# Seen: from_seconds(29 / 25, 25), the start of picture 29 at 25 pictures a second, has the value 28.999999999999996; to_frames()
# makes 28 of it, and to_timecode() 00:00:01:03. Of the first 10,000 pictures this happens to 1 in 17 at 25 a second, and to 1 in 9
# at 30000/1001 and 60000/1001. So count the pictures first, rounded, and give whole numbers.
# Seen with OpenTimelineIO 0.18.1.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet opentimelineio==0.18.1
env/bin/python - <<'EOF'
import sys
from fractions import Fraction

import opentimelineio as otio

print("OpenTimelineIO", otio.__version__)
from_seconds = otio.opentime.RationalTime.from_seconds
one = from_seconds(29 / 25, 25)
print("from_seconds(29 / 25, 25):", one.value, "to_frames:", one.to_frames(), "to_timecode:", one.to_timecode())
wrong = {}
for rate in (Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(60000, 1001)):
    frames = [from_seconds(float(n / rate), float(rate)).to_frames() for n in range(10_000)]
    wrong[str(rate)] = sum(frame != n for n, frame in enumerate(frames))
print("pictures of 10,000 that come out one early:", wrong)
same = one.to_frames() == 28 and one.to_timecode() == "00:00:01:03" and wrong["25"] > 500 and wrong["30000/1001"] > 1000
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
