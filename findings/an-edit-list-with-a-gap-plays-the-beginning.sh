#!/usr/bin/env bash
# Where the edit list of an mp4 has a row that shows nothing after its first piece, FFmpeg plays the beginning of the media.
#
# Guess: such a row (media time -1) is a gap, as it is before the first piece, and as ISO/IEC 14496-12 8.6.6 has it.
# Seen: a list of one second, half a second of nothing, and one second more shows pictures 0, 1, 2 ... in the gap, as if the row
# said media time 0; the piece after it begins when it should, or a picture late.
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
import struct
import sys
from fractions import Fraction

import av
from av.video.frame import VideoFrame

with av.open("film.mp4", "w") as film:
    stream = film.add_stream("libx264", rate=25, options={"bf": "0", "g": "25", "crf": "5"})
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for number in range(75):
        picture = VideoFrame(64, 48, "yuv420p")
        for plane, level in zip(picture.planes, (30 + 2 * number, 128, 128)):
            plane.update(bytes([level]) * plane.buffer_size)
        picture.pts, picture.time_base = number, Fraction(1, 25)
        film.mux(stream.encode(picture))
    film.mux(stream.encode(None))

data = open("film.mp4", "rb").read()
at = data.index(b"edts") - 4
old = struct.unpack_from(">I", data, at)[0]
rows = [(1000, 0), (500, -1), (1000, 12800)]  # ms, ticks of 1/12800 s
elst = struct.pack(">I4sII", 16 + 12 * len(rows), b"elst", 0, len(rows))
elst += b"".join(struct.pack(">Iii", lasts, begins, 1 << 16) for lasts, begins in rows)
edts = struct.pack(">I4s", 8 + len(elst), b"edts") + elst
film = bytearray(data[:at] + edts + data[at + old :])
for kind in (b"moov", b"trak"):
    size = film.rindex(kind, 0, at) - 4
    struct.pack_into(">I", film, size, struct.unpack_from(">I", film, size)[0] + len(edts) - old)
open("film.mp4", "wb").write(film)

with av.open("film.mp4") as film:
    shown = [(round(1000 * picture.time), round((bytes(picture.planes[0])[0] - 30) / 2)) for picture in film.decode(video=0)]
gap = [item for item in shown if 1000 <= item[0] < 1490]
print(f"PyAV {av.__version__} (FFmpeg {av.ffmpeg_version_info}) shows in the gap from 1000 to 1500 ms (ms, picture):", gap[:4], "...")
sys.exit([number for _, number in gap][:4] != [0, 1, 2, 3])
EOF
for version in 18.1.0 19.0.2; do "$version/bin/python" film.py || { echo CHANGED; exit 1; }; done
echo "as described"
