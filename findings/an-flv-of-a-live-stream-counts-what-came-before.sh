#!/usr/bin/env bash
# FFmpeg takes an FLV that was saved from a live stream for as long as the stream had run, and for another format if nginx sent it.
#
# Guess: 2 s that are saved of a stream that has run for ten hours are 2 s long; mpegts, with the same times, is read so as well.
# Seen: of the FLV the length is 36,002 s, without a warning. `rtmpdump`, and `curl` of HTTP-FLV, save a header without a length, and
# times that go on from the stream's beginning. FFmpeg then takes the time of the last tag for the length, and does not take off that of
# the first, which it knows (`start_time`). Where the header states the length, as FFmpeg's own writer does when it can go back, it is right.
# A program that compares the length with what it decodes sees a file that is cut short. The same bytes behind metadata that name
# "NGINX RTMP" as the server, as nginx's module for RTMP sends them, are of the format "live_flv": a program that allows "flv" alone
# (`format_whitelist`) cannot open them, and the error is "Invalid argument".
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
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
SECONDS, RAN_S, RATE = 2, 36_000, 44_100


def write(name, **options):
    with av.open(name, "w", options=options) as film:
        shown = film.add_stream("libx264", rate=25, options={"bf": "0"})
        shown.width, shown.height, shown.pix_fmt = 160, 120, "yuv420p"
        heard = film.add_stream("aac", rate=RATE, layout="mono")
        packets = []
        for number in range(25 * SECONDS):
            picture = VideoFrame(160, 120, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([40 + number]) * plane.buffer_size)
            picture.pts, picture.time_base = 25 * RAN_S + number, Fraction(1, 25)
            packets += shown.encode(picture)
        packets += shown.encode(None)
        for at in range(0, SECONDS * RATE, 1024):
            block = AudioFrame("fltp", "mono", min(1024, SECONDS * RATE - at))
            for plane in block.planes:
                plane.update(bytes(plane.buffer_size))
            block.sample_rate, block.pts, block.time_base = RATE, RAN_S * RATE + at, Fraction(1, RATE)
            packets += heard.encode(block)
        packets += heard.encode(None)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            film.mux(packet)


def from_nginx(data):
    """The stream with the metadata of nginx's module in front, in the place of the writer's."""
    first = 13 + 15 + int.from_bytes(data[14:17], "big")
    script = b"\x02\x00\x0aonMetaData\x03\x00\x06Server\x02\x00\x0aNGINX RTMP\x00\x00\x09"
    tag = b"\x12" + len(script).to_bytes(3, "big") + bytes(7) + script + (len(script) + 11).to_bytes(4, "big")
    return data[:13] + tag + data[first:]


def read(name):
    """The format, when it begins, its length, and how far apart its packets are, in seconds."""
    with av.open(name) as film:
        times = [packet.dts * packet.time_base for packet in film.demux() if packet.size]
        return film.format.name, film.start_time / av.time_base, film.duration / av.time_base, float(max(times) - min(times))


write("live.flv", flvflags="no_duration_filesize")
write("stated.flv")
write("live.ts")
Path("nginx.flv").write_bytes(from_nginx(Path("live.flv").read_bytes()))
rows = {name: read(name) for name in ("live.flv", "nginx.flv", "stated.flv", "live.ts")}
for name, (kind, start_s, length_s, apart_s) in rows.items():
    print(f"{name:11} {kind:9} begins at {start_s:9.2f} s, length {length_s:9.2f} s, packets span {apart_s:.2f} s")
try:
    av.open("nginx.flv", options={"format_whitelist": "flv"}).close()
    refused = None
except (av.error.FFmpegError, ValueError) as error:
    refused = error.strerror
print("nginx.flv with format_whitelist=flv:", refused or "opened")
as_seen = (
    all(abs(rows[name][2] - RAN_S - SECONDS) < 0.1 and rows[name][1] > RAN_S - 1 for name in ("live.flv", "nginx.flv"))
    and all(rows[name][3] < SECONDS + 0.1 for name in rows)
    and all(abs(rows[name][2] - SECONDS) < 0.1 for name in ("stated.flv", "live.ts"))
    and [rows[name][0] for name in ("live.flv", "nginx.flv")] == ["flv", "live_flv"]
    and refused == "Invalid argument"
)
print("as seen" if as_seen else "not as seen any more")
sys.exit(not as_seen)
EOF
