#!/usr/bin/env bash
# OpenTimelineIO's adapter for EDLs loses the locators of a drop-frame title, and never says whether a list drops frames.
#
# Guess: a marker on a clip at 30000/1001 pictures a second, written as a locator (* LOC:), comes back.
# Seen: it is written as "* LOC: 01:00:03;10 RED     LATE" (the name in capitals) without a line FCM: DROP FRAME, and it is
# missing when the list is read again, without a message: only colons are expected in a locator. At 25 pictures a second it comes back,
# in capitals. So we write EDLs ourselves.
# Seen with OpenTimelineIO 0.18.1 and otio-cmx3600-adapter 1.0.0.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet opentimelineio==0.18.1 otio-cmx3600-adapter==1.0.0
env/bin/python - <<'EOF'
import sys

import opentimelineio as otio
from opentimelineio.opentime import RationalTime, TimeRange

print("OpenTimelineIO", otio.__version__)


def back(rate, first):
    """The list, and the names of the markers that are read from it."""
    whole = TimeRange(RationalTime(first, rate), RationalTime(900, rate))
    clip = otio.schema.Clip("film", otio.schema.ExternalReference("file:///film.mov", whole), whole)
    clip.markers.append(otio.schema.Marker("late", TimeRange(RationalTime(first + 100, rate), RationalTime(1, rate))))
    timeline = otio.schema.Timeline("film")
    timeline.tracks.append(otio.schema.Track("V1", [clip], kind="Video"))
    text = otio.adapters.write_to_string(timeline, "cmx_3600")
    (read,) = otio.adapters.read_from_string(text, "cmx_3600", rate=rate).find_clips()
    return text, [marker.name for marker in read.markers]


drop, dropped = back(30000 / 1001, 107892)
plain, kept = back(25.0, 90000)
print(drop, dropped, plain, kept, sep="\n")
same = ";10 RED     LATE" in drop and dropped == [] and kept == ["LATE"] and "FCM" not in drop + plain
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
