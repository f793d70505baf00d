#!/usr/bin/env bash
# PyAV has FFmpeg make up presentation times (genpts): H.264 in ASF comes one picture too late.
#
# Guess: what is written at 0, 40, 80 ms into .asf is read at 0, 40, 80 ms, whatever the codec.
# Seen: so it is with MPEG-4 part 2. H.264 without B-pictures comes at 40, 80, 120 ms, so its sound is 40 ms early. With
# B-pictures, every packet has its place in decoding order for a time, and the pictures' times fall as often as they rise.
# Opened with fflags=-genpts, no picture has a time of presentation; the times of decoding are those that were written, with
# B-pictures later by the reordering (80 ms).
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


def times_ms(codec, options):
    with av.open("film.asf", "w") as film:
        stream = film.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(50):
            picture = VideoFrame(160, 120, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([40 + 2 * number]) * plane.buffer_size)
            picture.pts, picture.time_base = number, Fraction(1, 25)
            film.mux(stream.encode(picture))
        film.mux(stream.encode(None))
    with av.open("film.asf") as film:
        return [round(1000 * picture.time) for picture in film.decode(video=0)]


def bare_times_ms():
    """The times of presentation and of decoding, of the pictures that come before the last packet is read."""
    with av.open("film.asf", options={"fflags": "-genpts"}) as film:
        film.streams.video[0].thread_type = "NONE"
        pictures = [picture for picture in film.decode(video=0) if picture.dts is not None]
        return {picture.pts for picture in pictures}, [round(1000 * picture.dts * picture.time_base) for picture in pictures]


as_written = [40 * number for number in range(50)]
mpeg4 = times_ms("mpeg4", {})
h264 = times_ms("libx264", {"bf": "0"})
bare, decoded = bare_times_ms()
with_b = times_ms("libx264", {"bf": "3"})
bare_b, decoded_b = bare_times_ms()
print("written         ", as_written[:6])
print("MPEG-4 part 2   ", mpeg4[:6])
print("H.264           ", h264[:6])
print("H.264, B-pictures", with_b[:6])
print("without genpts   ", bare, decoded[:6])
print("with B-pictures  ", bare_b, decoded_b[:6])
falls = sum(later < earlier for earlier, later in zip(with_b, with_b[1:]))
print(f"of {len(with_b)} pictures with B-pictures, {falls} have an earlier time than the one before")
same = mpeg4 == as_written and h264 == [at + 40 for at in as_written] and falls > 10
same &= bare == bare_b == {None} and decoded == as_written and set(decoded_b) <= set(as_written) and decoded_b == sorted(decoded_b)
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
