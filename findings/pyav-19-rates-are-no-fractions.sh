#!/usr/bin/env bash
# PyAV 19 gives the rate of a stream in a type of its own, which compares and divides as a fraction does, but is no Fraction.
#
# Guess: average_rate is a fractions.Fraction, as in PyAV 18.
# Seen: it is an av.rational.AVRational. str(), float(), comparisons and arithmetic work; round() raises TypeError.
# Fraction(rate.numerator, rate.denominator) makes a fraction of it.
# Seen with PyAV 18.1.0 and 19.0.2 (Python 3.12 or later).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for python in "${PYTHON:-python3}" python3.13 python3.12 "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python3 none; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
done
[ "$python" != none ] || { echo "PyAV 19 needs Python 3.12 or later: name one as PYTHON" >&2; exit 2; }
cat > look.py <<'EOF'
import json
from fractions import Fraction

import av
from av.video.frame import VideoFrame

with av.open("film.mp4", "w") as film:
    stream = film.add_stream("mpeg4", rate=Fraction(30000, 1001))
    stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
    for number in range(30):
        picture = VideoFrame(160, 120, "yuv420p")
        picture.pts, picture.time_base = number, Fraction(1001, 30000)
        film.mux(stream.encode(picture))
    film.mux(stream.encode(None))
with av.open("film.mp4") as film:
    rate = film.streams.video[0].average_rate
try:
    rounded = str(round(rate))
except TypeError as error:
    rounded = f"TypeError: {error}"
kind = type(rate)
print(json.dumps({
    "PyAV": av.__version__,
    "type": f"{kind.__module__}.{kind.__name__}",
    "text": str(rate),
    "is a Fraction": isinstance(rate, Fraction),
    "round": rounded,
    "as a Fraction": str(Fraction(rate.numerator, rate.denominator)),
}))
EOF
for version in 18.1.0 19.0.2; do
    "$python" -m venv "env-$version"
    "env-$version/bin/pip" install --quiet "av==$version"
    "env-$version/bin/python" look.py | tee "$version.json"
done
"$python" - <<'EOF'
import json
import sys
from pathlib import Path

old, new = (json.loads(Path(f"{version}.json").read_text()) for version in ("18.1.0", "19.0.2"))
same = (
    old["is a Fraction"] is True
    and old["round"] == "30"
    and new["is a Fraction"] is False
    and new["round"].startswith("TypeError")
    and old["as a Fraction"] == new["as a Fraction"] == "30000/1001"
)
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
