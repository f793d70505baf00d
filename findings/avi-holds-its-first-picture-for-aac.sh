#!/usr/bin/env bash
# The delay of the AAC encoder moves all pictures of an AVI but the first by a whole 40 ms, and the file says nothing of it.
#
# Guess: AVI cannot state an encoder's delay, so the 21.3 ms of AAC are heard: the sound is 21.3 ms late.
# Seen: the muxer makes room for the delay and rounds up to whole pictures. At 25 pictures a second the second picture is in
# the place of the third, and at 50 in the place of the fourth, so the sound is 18.7 ms EARLY in place of 21.3 ms late. AC-3,
# whose delay of 5.3 ms rounds to none, and PCM leave the pictures where they are.
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


def places(codec, rate):
    """Where the first four pictures are, in pictures."""
    with av.open("film.avi", "w") as film:
        pictures = film.add_stream("mpeg4", rate=rate)
        pictures.width, pictures.height, pictures.pix_fmt = 160, 120, "yuv420p"
        sound = film.add_stream(codec, rate=48000, layout="mono")
        for number in range(rate):
            picture = VideoFrame(160, 120, "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, rate)
            film.mux(pictures.encode(picture))
        size = sound.codec_context.frame_size or 1024
        for first in range(0, 48000, size):
            samples = AudioFrame(sound.codec_context.format.name, "mono", size)
            samples.planes[0].update(bytes(samples.planes[0].buffer_size))
            samples.sample_rate, samples.pts, samples.time_base = 48000, first, Fraction(1, 48000)
            film.mux(sound.encode(samples))
        for stream in (pictures, sound):
            film.mux(stream.encode(None))
    with av.open("film.avi") as film:
        return [picture.pts for picture in film.decode(video=0)][:4]


pts_of = {(codec, rate): places(codec, rate) for codec in ("pcm_s16le", "ac3", "aac") for rate in (25, 50)}
for (codec, rate), pts in pts_of.items():
    print(f"{codec:10} {rate} pictures a second: places {pts}")
straight = [0, 1, 2, 3]
same = all(pts == straight for (codec, _), pts in pts_of.items() if codec != "aac")
same &= pts_of["aac", 25] == [0, 2, 3, 4] and pts_of["aac", 50] == [0, 3, 4, 5]
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
