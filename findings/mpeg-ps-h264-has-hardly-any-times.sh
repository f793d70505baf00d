#!/usr/bin/env bash
# Of H.264 in an MPEG program stream FFmpeg dates only the picture that begins a PES packet; of MPEG-2 all of them.
#
# Guess: where several small pictures share a PES packet, the parser counts on from the one that has a time, as it does for
# MPEG-1 and MPEG-2.
# Seen: 29 of 30 pictures of H.264 come without a time. The same pictures in MPEG-TS, one a PES packet, all have one.
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

import av
from av.video.frame import VideoFrame

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)


def undated(suffix, codec):
    with av.open(f"film.{suffix}", "w") as film:
        stream = film.add_stream(codec, rate=25, options={"bf": "2", "g": "30"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(30):
            picture = VideoFrame(160, 120, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([40 + 2 * number]) * plane.buffer_size)
            picture.pts, picture.time_base = number, Fraction(1, 25)
            film.mux(stream.encode(picture))
        film.mux(stream.encode(None))
    with av.open(f"film.{suffix}") as film:
        times = [picture.pts for picture in film.decode(video=0)]
    print(f"{suffix:4} {codec:11} {len(times)} pictures, {times.count(None)} without a time")
    return len(times), times.count(None)


same = all(undated("mpg", codec) == (30, 0) for codec in ("mpeg1video", "mpeg2video"))
same &= undated("mpg", "libx264") == (30, 29)
same &= undated("ts", "libx264") == (30, 0)
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
