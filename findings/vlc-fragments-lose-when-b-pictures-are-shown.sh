#!/usr/bin/env bash
# H.264 with B-pictures, copied by VLC to MP4 in fragments, is shown in the wrong order; copied to an ordinary MP4 it is not.
#
# Guess: VLC's two muxers for MP4 (`mux=mp4` and `mux=mp4frag`) say the same of when each picture is shown.
# Seen: in fragments, the time from decoding a picture to showing it, 40 to 160 ms here, is a few ms. It is the product of that time in
# microseconds and the track's ticks a second, cut to 32 bits before it is divided by 1,000,000. So each picture is due about when it is
# decoded, and one that is decoded ahead of B-pictures comes before them.
# Needs cvlc of Debian (vlc-bin, vlc-plugin-base), which does not run as root: root runs it as nobody. Seen with VLC 3.0.24, PyAV 18.1.0.
set -euo pipefail
command -v cvlc >/dev/null || { echo "cvlc is not on the PATH"; exit 2; }
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 . && mkdir -m 777 out
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "av==${AV:-18.1.0}"
env/bin/python - <<'EOF'
from fractions import Fraction

import av
from av.video.frame import VideoFrame

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
PICTURES, RATE = 100, 25
with av.open("film.mp4", "w") as film:
    stream = film.add_stream("libx264", rate=RATE, options={"bf": "2", "b-adapt": "0", "sc_threshold": "0"})
    stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
    for number in range(PICTURES):
        picture = VideoFrame(160, 120, "yuv420p")
        for plane in picture.planes:
            plane.update(bytes([16 + 4 * number % 200]) * plane.buffer_size)
        picture.pts, picture.time_base = number, Fraction(1, RATE)
        film.mux(stream.encode(picture))
    film.mux(stream.encode(None))
EOF
run=()
if [ "$(id -u)" = 0 ]; then run=(runuser -u nobody --); fi
"${run[@]}" env HOME="$folder/out" cvlc --version 2>/dev/null | sed -n 1p
for mux in mp4 mp4frag; do
    "${run[@]}" env HOME="$folder/out" timeout 60 cvlc -I dummy -q --play-and-exit film.mp4 \
        --sout "#std{access=file,mux=$mux,dst=$folder/out/$mux.mp4}" >/dev/null 2>&1
done
env/bin/python - <<'EOF'
import sys

import av


def leads(name):
    """How long after it is decoded each picture is shown, in ticks and in ms, and the ticks in a second."""
    with av.open(name) as film:
        packets = [packet for packet in film.demux(video=0) if packet.pts is not None]
        scale = packets[0].time_base.denominator
        return [packet.pts - packet.dts for packet in packets[25:60]], scale


(right, scale), (wrong, scale_in_fragments) = leads("out/mp4.mp4"), leads("out/mp4frag.mp4")
print("mp4:    ", sorted(set(right)), "ticks of", scale)
print("mp4frag:", sorted(set(wrong)), "ticks of", scale_in_fragments)
# VLC counts in microseconds.
cut = {ticks * 1_000_000 // scale * scale_in_fragments % 2**32 // 1_000_000 for ticks in right}
print("microseconds times ticks a second, cut to 32 bits, over 1,000,000:", sorted(cut))
as_seen = min(right) >= 0.03 * scale and max(wrong) < 0.01 * scale_in_fragments and cut == set(wrong)
print("as seen" if as_seen else "not as seen any more")
sys.exit(not as_seen)
EOF
