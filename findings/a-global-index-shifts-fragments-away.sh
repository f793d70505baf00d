#!/usr/bin/env bash
# An mp4 in fragments that FFmpeg writes with an index of all of them in front (global_sidx) cannot be read behind its first fragment.
#
# Guess: movflags "frag_keyframe+global_sidx" add a box that players may use to seek; the fragments stay as they are.
# Seen: the box is put in front when all is written, and moves the fragments; but the place that each states for its data (tfhd,
# base_data_offset) stays what it was. So only what lies in front of the first fragment is read, with empty_moov nothing at all. There is
# no error and no warning. With default_base_moof in addition, fragments count from themselves, and all is read.
# Others have met it: wader/fq pull request 1389 (9.0.1).
# Seen with PyAV 18.1.0 (FFmpeg 8.1.2) and 19.0.2 (FFmpeg 9.0.2; AV=19.0.2, Python 3.12 or later), and with ffmpeg 5.1.9.
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
av.logging.set_level(av.logging.PANIC)


def bytes_off(data):
    """How far the first fragment is from where it says that it is, in bytes; None if it does not say."""
    at = data.index(b"moof") - 4
    tfhd = data.index(b"tfhd", at)
    flags = int.from_bytes(data[tfhd + 5 : tfhd + 8], "big")
    return at - int.from_bytes(data[tfhd + 12 : tfhd + 20], "big") if flags & 1 else None


def read(flags):
    """How many of 100 pictures are decoded."""
    with av.open("film.mp4", "w", options={"movflags": flags}) as film:
        pictures = film.add_stream("libx264", rate=25, options={"bf": "0", "g": "25"})
        pictures.width, pictures.height, pictures.pix_fmt = 160, 120, "yuv420p"
        for number in range(100):
            picture = VideoFrame(160, 120, "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            for plane in picture.planes:
                plane.update(bytes([number]) * plane.buffer_size)
            film.mux(pictures.encode(picture))
        film.mux(pictures.encode(None))
    decoded = 0
    with av.open("film.mp4") as film:
        for packet in film.demux(video=0):
            try:
                decoded += len(packet.decode())
            except av.error.FFmpegError:
                pass
    with open("film.mp4", "rb") as file:
        off = bytes_off(file.read())
    origin = "itself" if off is None else f"{off} bytes before it"
    print(f"{flags:46} {decoded:3} of 100 pictures decoded; places in the first fragment count from {origin}")
    return decoded


plain = read("frag_keyframe")
indexed = read("frag_keyframe+global_sidx")
empty = read("frag_keyframe+empty_moov+global_sidx")
relative = read("frag_keyframe+global_sidx+default_base_moof")
same = plain == relative == 100 and indexed < 50 and empty == 0
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
