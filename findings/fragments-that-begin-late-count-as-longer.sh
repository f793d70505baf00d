#!/usr/bin/env bash
# FFmpeg takes an mp4 in fragments for longer than it is, by as much as one of its tracks begins late.
#
# Guess: of 2 s of pictures, and 2 s of sound that begin 3 s later, the length is 5 s, as fragments or as an ordinary mp4.
# Seen: so it is in an ordinary mp4. In fragments that say themselves when they begin (`tfdt`, no edit list, as DASH, HLS and mux.js have
# them), it is 8 s: the end of a track's last fragment is taken for the length of the track, and its start is added once more. The
# packets have the right times. A program that compares the length with what it decodes sees a file that is cut short.
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
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
SECONDS, LATE_S, RATE = 2, 3, 48_000


def write(name, movflags):
    options = {"movflags": movflags} if movflags else {}
    with av.open(name, "w", options=options) as film:
        shown = film.add_stream("libx264", rate=25, options={"bf": "0", "g": "25"})
        shown.width, shown.height, shown.pix_fmt = 160, 120, "yuv420p"
        heard = film.add_stream("flac", rate=RATE, layout="mono")
        packets = []
        for number in range(25 * SECONDS):
            picture = VideoFrame(160, 120, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([40 + number]) * plane.buffer_size)
            picture.pts, picture.time_base = number, Fraction(1, 25)
            packets += shown.encode(picture)
        packets += shown.encode(None)
        size = 4608
        for at in range(0, SECONDS * RATE, size):
            block = AudioFrame("s16", "mono", min(size, SECONDS * RATE - at))
            for plane in block.planes:
                plane.update(bytes(plane.buffer_size))
            block.sample_rate, block.pts, block.time_base = RATE, LATE_S * RATE + at, Fraction(1, RATE)
            packets += heard.encode(block)
        packets += heard.encode(None)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            film.mux(packet)


def read(name):
    """The length by FFmpeg, and when the last packet ends, in seconds."""
    with av.open(name) as film:
        ends = [(packet.pts + packet.duration) * packet.time_base for packet in film.demux() if packet.size]
        return film.duration / av.time_base, float(max(ends))


write("ordinary.mp4", "")
write("fragments.mp4", "cmaf+frag_keyframe+frag_discont")
ordinary, fragments = read("ordinary.mp4"), read("fragments.mp4")
for name, (length_s, end_s) in (("ordinary", ordinary), ("fragments", fragments)):
    print(f"{name:10} length {length_s:5.2f} s, the last packet ends at {end_s:5.2f} s")
near = lambda one, other: abs(one - other) < 0.1
same = near(ordinary[0], SECONDS + LATE_S) and near(ordinary[1], SECONDS + LATE_S)
same &= near(fragments[0], SECONDS + 2 * LATE_S) and near(fragments[1], SECONDS + LATE_S)
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
