#!/usr/bin/env bash
# An ASF that VLC writes is two seconds shorter for FFmpeg than its pictures and its sound.
#
# Guess: 8 s of film, copied by VLC to ASF (its "WMV + WMA" profile), have a length of 8 s.
# Seen: 6 s. The format's play duration holds the preroll, which players wait before they begin, and its send duration does not; VLC
# writes the length without the preroll as both, and FFmpeg takes the preroll (2 s) off. All pictures are there, and players show them.
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
with av.open("film.mkv", "w") as film:
    stream = film.add_stream("mpeg4", rate=25, options={"bf": "0"})
    stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
    for number in range(200):
        picture = VideoFrame(160, 120, "yuv420p")
        for plane in picture.planes:
            plane.update(bytes([16 + number]) * plane.buffer_size)
        picture.pts, picture.time_base = number, Fraction(1, 25)
        film.mux(stream.encode(picture))
    film.mux(stream.encode(None))
EOF
run=()
if [ "$(id -u)" = 0 ]; then run=(runuser -u nobody --); fi
"${run[@]}" env HOME="$folder/out" cvlc --version 2>/dev/null | sed -n 1p
"${run[@]}" env HOME="$folder/out" timeout 60 cvlc -I dummy -q --play-and-exit film.mkv \
    --sout "#std{access=file,mux=asf,dst=$folder/out/film.asf}" >/dev/null 2>&1
env/bin/python - <<'EOF'
import struct
import sys

import av

with open("out/film.asf", "rb") as file:
    head = file.read(4096)
at = head.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))  # file properties
play, send, preroll_ms = struct.unpack("<QQQ", head[at + 64 : at + 88])
with av.open("out/film.asf") as film:
    length_s = film.duration / av.time_base
    times_s = [picture.time for picture in film.decode(video=0)]
lasts_s = times_s[-1] - times_s[0] + 0.04
print(f"play duration {play / 1e7:.2f} s, send duration {send / 1e7:.2f} s, preroll {preroll_ms / 1000:.2f} s")
print(f"FFmpeg's length {length_s:.2f} s; {len(times_s)} pictures last {lasts_s:.2f} s")
same = play == send and preroll_ms == 2000 and abs(lasts_s - 8) < 0.2 and abs(length_s - 6) < 0.2
print("as seen" if same else "not as seen any more")
sys.exit(not same)
EOF
