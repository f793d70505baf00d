#!/usr/bin/env bash
# OpenTimelineIO's adapter for FCPXML writes files at the NTSC rates that it cannot read, or reads them at another rate.
#
# Guess: a timeline at 24000/1001, 30000/1001 or 60000/1001 pictures a second comes back as it was.
# Seen: at these exact rates it writes frameDuration="" and fails to read that (ValueError: not enough values to unpack). At the
# rounded rates (29.97) it writes 1001/30000s, and reads that as 29 pictures a second: a marker on picture 101 comes back on 97.
# At 25 and 50 all is well. So we write FCPXML ourselves.
# Seen with OpenTimelineIO 0.18.1 and otio-fcpx-xml-adapter 1.0.0.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet opentimelineio==0.18.1 otio-fcpx-xml-adapter==1.0.0
env/bin/python - <<'EOF'
import re
import sys

import opentimelineio as otio
from opentimelineio.opentime import RationalTime, TimeRange

print("OpenTimelineIO", otio.__version__)


def back(rate):
    """How long a picture is in the file, and where the marker on picture 101 comes back."""
    whole = TimeRange(RationalTime(0, rate), RationalTime(900, rate))
    clip = otio.schema.Clip("film", otio.schema.ExternalReference("file:///film.mov", whole), whole)
    clip.markers.append(otio.schema.Marker("here", TimeRange(RationalTime(101, rate), RationalTime(50, rate))))
    timeline = otio.schema.Timeline("film")
    timeline.tracks.append(otio.schema.Track("V1", [clip], kind="Video"))
    text = otio.adapters.write_to_string(timeline, "fcpx_xml")
    length = re.search('frameDuration="([^"]*)"', text)[1]
    try:
        (read,) = otio.adapters.read_from_string(text, "fcpx_xml").find_clips()
    except ValueError as error:
        return length, f"ValueError: {error}"
    start = read.markers[0].marked_range.start_time
    return length, start.value, start.rate


exact = [back(rate) for rate in (24000 / 1001, 30000 / 1001, 60000 / 1001)]
rounded, whole = [back(rate) for rate in (29.97, 59.94)], [back(rate) for rate in (25.0, 50.0)]
for name, readings in (("exact", exact), ("rounded", rounded), ("whole", whole)):
    print(name, *readings, sep=" | ")
same = (
    all(length == "" and "unpack" in str(said) for length, said in exact)
    and [place for _, place, _ in rounded] == [97, 99]
    and [place for _, place, _ in whole] == [101, 101]
)
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
