#!/usr/bin/env bash
# The same film in GXF is shown a picture later in MPEG-2 than in Motion JPEG or DV, and its rate is stated as 50 in place of 25.
#
# Guess: GXF counts its pictures, so the first is shown at 0 in any codec.
# Seen: the reader takes the count for decoding times. In MPEG-2, which may reorder, the first picture is shown at 40 ms, even
# if the encoder put none in another order; Motion JPEG and DV are shown from 0 on. The mean rate of MPEG-2 in GXF is that of
# fields (50), and that of raw DV the number of its ticks (60,000), where the codec says 25.
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


def shown(codec, pixels, suffix):
    """When the first picture is shown, in ms, and how many pictures a second the file states, and the codec."""
    name = f"{codec}.{suffix}"
    with av.open(name, "w") as film:
        pictures = film.add_stream(codec, rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 720, 576, pixels
        sound = film.add_stream("pcm_s16le", rate=48000, layout="stereo" if suffix == "dv" else "mono")
        for number in range(25):
            picture = VideoFrame(720, 576, pixels)
            picture.pts, picture.time_base = number, Fraction(1, 25)
            film.mux(pictures.encode(picture))
            samples = AudioFrame("s16", sound.layout.name, 1920)
            samples.planes[0].update(bytes(samples.planes[0].buffer_size))
            samples.sample_rate, samples.pts, samples.time_base = 48000, 1920 * number, Fraction(1, 48000)
            film.mux(sound.encode(samples))
        for stream in (pictures, sound):
            film.mux(stream.encode(None))
    with av.open(name, options={"fflags": "-genpts"}) as film:
        stream = film.streams.video[0]
        rates = stream.average_rate, stream.codec_context.framerate
        first = next(film.decode(stream))
        time = first.dts if first.pts is None else first.pts
        return round(1000 * time * first.time_base), *(rate and rate.numerator // rate.denominator for rate in rates)


cases = [("mpeg2video", "yuv420p", "gxf"), ("mjpeg", "yuvj420p", "gxf"), ("dvvideo", "yuv420p", "gxf")]
cases.append(("dvvideo", "yuv420p", "dv"))
readings = [shown(*case) for case in cases]
for (codec, _, suffix), (first_ms, rate, own) in zip(cases, readings, strict=True):
    print(f"{suffix:4} {codec:11} first picture at {first_ms} ms, {rate} pictures a second by the file, {own} by the codec")
same = [first_ms for first_ms, _, _ in readings] == [40, 0, 0, 0]
same &= readings[0][1:] == (50, 25) and readings[3][1:] == (60000, 25)
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
