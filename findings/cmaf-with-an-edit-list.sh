#!/usr/bin/env bash
# The same options, "cmaf+frag_keyframe+delay_moov", write another file with FFmpeg 9 than with FFmpeg 8, and FFmpeg's own reader
# has the pictures of the older one 80 ms late.
#
# Guess: signed composition offsets are no trouble where an edit list says what is shown first, least of all to the program that
# wrote both.
# Seen: FFmpeg 8 writes signed offsets and an edit list that begins at 0; FFmpeg 8 and 9 both read the first picture at 80 ms (two
# pictures that B-pictures are decoded ahead), so the sound is 80 ms early. FFmpeg 9 writes unsigned offsets and an edit list that
# skips these 80 ms; both read it at 0.
# Seen with PyAV 18.1.0 (FFmpeg 8.1.2) and 19.0.2 (FFmpeg 9.0.2).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for python in "${PYTHON:-python3}" python3.13 python3.12 "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python3 none; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
done
[ "$python" != none ] || { echo "PyAV 19 needs Python 3.12 or later: name one as PYTHON" >&2; exit 2; }
for version in 18.1.0 19.0.2; do
    "$python" -m venv "$version"
    "$version/bin/pip" install --quiet "av==$version"
done
cat > film.py <<'EOF'
import sys
from fractions import Fraction

import av
from av.video.frame import VideoFrame

major = av.__version__.partition(".")[0]
if sys.argv[1] == "write":
    with av.open(f"by-{major}.mp4", "w", options={"movflags": "cmaf+frag_keyframe+delay_moov"}) as film:
        stream = film.add_stream("libx264", rate=25, options={"bf": "3", "g": "30"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(60):
            picture = VideoFrame(160, 120, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([40 + 2 * number]) * plane.buffer_size)
            picture.pts, picture.time_base = number, Fraction(1, 25)
            film.mux(stream.encode(picture))
        film.mux(stream.encode(None))
    data = open(f"by-{major}.mp4", "rb").read()
    at = data.index(b"elst") + 16
    trun = data.index(b"trun") + 4
    print(f"PyAV {av.__version__} (FFmpeg {av.ffmpeg_version_info}) writes: edit list begins at", int.from_bytes(data[at : at + 4], "big"),
          "ticks, composition offsets", "signed" if data[trun] else "unsigned")
else:
    first = {}
    for writer in ("18", "19"):
        with av.open(f"by-{writer}.mp4") as film:
            first[writer] = round(1000 * next(film.decode(video=0)).time)
    print(f"PyAV {av.__version__} (FFmpeg {av.ffmpeg_version_info}) reads the first picture at", first, "ms")
    sys.exit(first != {"18": 80, "19": 0})
EOF
for version in 18.1.0 19.0.2; do "$version/bin/python" film.py write; done
for version in 18.1.0 19.0.2; do "$version/bin/python" film.py read || { echo CHANGED; exit 1; }; done
echo "as described"
