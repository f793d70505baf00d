#!/usr/bin/env bash
# H.264 with B-pictures, copied from Matroska to MP4 by GStreamer, lasts about twice as long as its sound.
#
# Guess: Matroska has no decoding times, so GStreamer's MP4 muxer works them out, and pictures keep the times at which they are shown.
# Seen: the muxer takes the times of presentation for decoding times. In the order of decoding they go back at each B-picture; it turns
# each of these steps into one forward, so 2 s of pictures last 3.9 s beside 2 s of sound, without a warning. Without B-pictures, to Matroska
# or with `h264timestamper` in between, the times stay as they are. From MP4, which has decoding times, the copy is right, too.
# Needs gst-launch-1.0 with the good, bad and ugly plugins. Seen with GStreamer 1.22.0, PyAV 18.1.0.
set -euo pipefail
command -v gst-launch-1.0 >/dev/null || { echo "gst-launch-1.0 is not on the PATH"; exit 2; }
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "av==${AV:-18.1.0}"
gst-launch-1.0 --version | sed -n 2p
env/bin/python - <<'EOF'
import subprocess
import sys
from fractions import Fraction

import av
from av.video.frame import VideoFrame

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
PICTURES, RATE = 50, 25


def make(name, b_pictures):
    with av.open(name, "w") as film:
        stream = film.add_stream("libx264", rate=RATE, options={"bf": str(b_pictures), "b-adapt": "0", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(PICTURES):
            picture = VideoFrame(160, 120, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([16 + 4 * number % 200]) * plane.buffer_size)
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            film.mux(stream.encode(picture))
        film.mux(stream.encode(None))


def copied(source, demuxer, between, muxer, target):
    """The times in seconds at which the copy's pictures are shown, in that order."""
    line = f"filesrc location={source} ! {demuxer} ! h264parse ! {between} {muxer} ! filesink location={target}"
    subprocess.run(["gst-launch-1.0", "-q", *line.split()], check=True, timeout=60)
    with av.open(target) as film:
        return sorted(float(packet.pts * packet.time_base) for packet in film.demux(video=0) if packet.pts is not None)


make("b.mkv", 2)
make("b.mp4", 2)
make("p.mkv", 0)
times_of = {
    "mkv with B-pictures to mp4": copied("b.mkv", "matroskademux", "", "mp4mux", "1.mp4"),
    "the same by h264timestamper": copied("b.mkv", "matroskademux", "h264timestamper !", "mp4mux", "2.mp4"),
    "mkv with B-pictures to mkv": copied("b.mkv", "matroskademux", "", "matroskamux", "3.mkv"),
    "mkv without B-pictures to mp4": copied("p.mkv", "matroskademux", "", "mp4mux", "4.mp4"),
    "mp4 with B-pictures to mp4": copied("b.mp4", "qtdemux", "", "mp4mux", "5.mp4"),
}
lengths = {name: times[-1] - times[0] + 1 / RATE for name, times in times_of.items()}
for name, length in lengths.items():
    print(f"{name:32} {len(times_of[name])} pictures in {length:.2f} s")
wrong, *right = lengths.values()
same = wrong > 1.7 * PICTURES / RATE and all(abs(length - PICTURES / RATE) < 0.05 for length in right)
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
