#!/usr/bin/env bash
# Two films in fragments after one index, whose times start again in the middle: half of the pictures are lost, without a message.
#
# Guess: a packager that joins fragments across a break of the stream leaves times that go back; a reader warns, or shows the
# pictures at the times that they have.
# Seen: each packet that comes no later than one before it is marked to be discarded when it is read, and the decoder, given
# it, returns nothing and raises nothing. So 25 of 50 pictures are shown. The same packet in a new wrapper, without the mark,
# decodes. A film of the same length whose fragments go on in time is shown whole.
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
from pathlib import Path

import av
from av.video.frame import VideoFrame

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
FLAGS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


def film(name, count):
    """So many pictures, 25 a fragment."""
    with av.open(name, "w", format="mp4", options=FLAGS) as out:
        pictures = out.add_stream("mpeg4", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 160, 120, "yuv420p"
        pictures.gop_size = 25
        for number in range(count):
            picture = VideoFrame(160, 120, "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            out.mux(pictures.encode(picture))
        out.mux(pictures.encode(None))
    return Path(name).read_bytes()


def shown(data):
    """How many packets there are, are marked, are shown, and are shown once the mark is gone."""
    Path("joined.mp4").write_bytes(data)
    counts = [0, 0, 0, 0]
    for unmark in (False, True):
        with av.open("joined.mp4") as joined:
            stream = joined.streams.video[0]
            for packet in joined.demux(stream):
                if packet.dts is None:
                    continue
                if unmark and packet.is_discard:
                    plain = av.Packet(bytes(packet))
                    plain.stream, plain.pts, plain.dts = stream, packet.pts, packet.dts
                    plain.time_base, packet = packet.time_base, plain
                counts[0] += not unmark
                counts[1] += not unmark and packet.is_discard
                counts[2 + unmark] += len(packet.decode())
            counts[2 + unmark] += len(stream.decode(None))
    return counts


second = film("second.mp4", 25)
again = shown(second + second[second.index(b"moof") - 4 : second.index(b"mfra") - 4])
onwards = shown(film("both.mp4", 50))
for words, counts in (("starts again", again), ("goes on", onwards)):
    print(f"{words:13} {counts[0]} packets, {counts[1]} marked, {counts[2]} shown, {counts[3]} without the mark")
same = again == [50, 25, 25, 50] and onwards == [50, 0, 50, 50]
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
