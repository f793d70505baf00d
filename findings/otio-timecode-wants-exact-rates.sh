#!/usr/bin/env bash
# OpenTimelineIO reads no timecode at 29.97 pictures a second, though it writes it; at 100 and more it does neither.
#
# Guess: what to_timecode() takes, from_timecode() takes.
# Seen: from_timecode("01:00:00;00", 29.97) raises ValueError ("does not support this rate"), and so with 23.976 and 59.94;
# to_timecode() takes all three. At the exact rates (30000 / 1001) both work. 100, 120 and 119.88 pictures a second are refused by
# both. Without drop frame the timecode of 29.97 begins anew after 24 hours of the clock, at 23:58:33:18, and not at 24:00:00:00.
# Seen with OpenTimelineIO 0.18.1.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet opentimelineio==0.18.1
env/bin/python - <<'EOF'
import sys

import opentimelineio as otio
from opentimelineio.opentime import RationalTime, from_timecode, to_timecode

print("OpenTimelineIO", otio.__version__)


def works(call, *arguments):
    try:
        return str(call(*arguments))
    except ValueError as error:
        return f"ValueError: {error}"


rounded, exact, fast = (23.976, 29.97, 59.94), (24000 / 1001, 30000 / 1001, 60000 / 1001), (100, 120, 119.88)
texts_at = {}
for rate in (*rounded, *exact, *fast):
    texts_at[rate] = works(to_timecode, RationalTime(100, rate), rate), works(from_timecode, "01:00:00:00", rate)
    print(rate, *texts_at[rate], sep=" | ")
rate = 30000 / 1001
day = works(to_timecode, RationalTime(24 * 107892, rate), rate, False)
print("without drop frame, after 24 hours of the clock:", day)
refused = {rate: [text.startswith("ValueError") for text in texts] for rate, texts in texts_at.items()}
same = (
    all(refused[rate] == [False, True] for rate in rounded)
    and all(refused[rate] == [False, False] for rate in exact)
    and all(refused[rate] == [True, True] for rate in fast)
    and day == "00:00:00:00"
)
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
