#!/usr/bin/env bash
# libx264 in FFmpeg takes the order of the fields from each frame, whatever tff=1 asks for. PyAV has no way to set it, so frames
# made of arrays are coded with the lower field first, and their fields are shown in the wrong order.
#
# Guess: x264-params tff=1 gives the upper field first.
# Seen: the lower comes first, without a word; so does it with the flags ilme and ildct. Time runs back and forth from field to field. After a
# filter graph with setfield=tff, which flags the frames, tff=1 holds, and bff=1 beside such frames gives the upper field first too.
# Seen with PyAV 18.1.0 (FFmpeg 8.1) and 19.0.2 (Python 3.12 or later; with an older one only the first).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python="${PYTHON:-python3}"
cat > look.py <<'EOF'
import json
import sys
from fractions import Fraction

import av
import numpy as np
from av.error import BlockingIOError, EOFError
from av.filter import Graph
from av.video.frame import VideoFrame


def through(frames, *filters):
    """What a chain of filters makes of frames."""
    graph, made = None, []
    for frame in frames:
        if graph is None:
            graph = Graph()
            at = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
            )
            for name, settings in (*filters, ("buffersink", None)):
                node = graph.add(name, settings)
                at.link_to(node)
                at = node
            graph.configure()
        graph.vpush(frame)
        while True:
            try:
                made.append(graph.vpull())
            except (BlockingIOError, EOFError):
                break
    return made


def frames():
    """The upper lines of each are of the earlier moment: it brightens by 4 levels a field."""
    for number in range(20):
        luma = np.full((96, 128), 40 + 8 * number, np.uint8)
        luma[1::2] += 4
        whole = np.vstack([luma, np.full((48, 128), 128, np.uint8)])
        frame = VideoFrame.from_ndarray(whole, format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        yield frame


def shown(options, flag):
    """Whether what is coded brightens from field to field, as a decoder orders them."""
    with av.open("film.mkv", "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"crf": "5", "bf": "0", **options})
        stream.width, stream.height = 128, 96
        for frame in through(frames(), ("setfield", flag)) if flag else frames():
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    with av.open("film.mkv") as film:
        decoded = list(film.decode(video=0))
    assert all(frame.interlaced_frame for frame in decoded)
    levels = [field.to_ndarray(format="gray").mean() for field in through(decoded, ("separatefields", None))]
    return "in order" if (np.diff(levels) > 0).all() else "back and forth"


print(json.dumps({
    "PyAV": av.__version__,
    "tff=1": shown({"x264-params": "tff=1"}, ""),
    "tff=1, ilme and ildct": shown({"x264-params": "tff=1", "flags": "+ilme+ildct"}, ""),
    "tff=1, frames with setfield=tff": shown({"x264-params": "tff=1"}, "tff"),
    "bff=1, frames with setfield=tff": shown({"x264-params": "bff=1"}, "tff"),
}))
EOF
versions=18.1.0
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' && versions="18.1.0 19.0.2"
for version in $versions; do
    "$python" -m venv "env-$version"
    "env-$version/bin/pip" install --quiet "av==$version" numpy
    "env-$version/bin/python" look.py | tee "$version.json"
done
"$python" - <<'EOF'
import json
import sys
from pathlib import Path

seen = [json.loads(path.read_text()) for path in Path(".").glob("*.json")]
same = bool(seen) and all(
    list(each.values())[1:] == ["back and forth", "back and forth", "in order", "in order"]
    for each in seen
)
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
