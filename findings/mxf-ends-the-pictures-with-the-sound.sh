#!/usr/bin/env bash
# FFmpeg's MXF writer ends the pictures where the sound ends, and the sound where the pictures end, and returns no error.
#
# Guess: 50 pictures and 1.9 s of sound make a file of 50 pictures, as in every other container.
# Seen: with 1.9 s of sound, 48 of 50 pictures are in the file; with 2.1 s of sound, 2.0 s of it are.
# Seen with PyAV 18.1.0 (FFmpeg 8.1.2) and 19.0.2 (FFmpeg 9.0.2).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for python in "${PYTHON:-python3}" python3.13 python3.12 "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python3 none; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
done
[ "$python" != none ] || { echo "PyAV 19 needs Python 3.12 or later: name one as PYTHON" >&2; exit 2; }
for version in 18.1.0 19.0.2; do
    "$python" -m venv "$version"
    "$version/bin/pip" install --quiet "av==$version"
done
cat > film.py <<'EOF'
import sys
from fractions import Fraction

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

lengths = {}
for samples in (91_200, 100_800):
    with av.open("film.mxf", "w") as film:
        video = film.add_stream("mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        audio = film.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for number in range(50):
            picture = VideoFrame(160, 120, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([40 + 2 * number]) * plane.buffer_size)
            picture.pts, picture.time_base = number, Fraction(1, 25)
            film.mux(video.encode(picture))
        film.mux(video.encode(None))
        for first in range(0, samples, 1_920):
            count = min(1_920, samples - first)
            sound = AudioFrame(format="s16", layout="mono", samples=count)
            sound.planes[0].update(bytes(sound.planes[0].buffer_size))
            sound.sample_rate, sound.pts, sound.time_base = 48_000, first, Fraction(1, 48_000)
            film.mux(audio.encode(sound))
        film.mux(audio.encode(None))
    with av.open("film.mxf") as film:
        pictures, size = 0, 0
        for packet in film.demux():
            if packet.stream.type == "video":
                pictures += packet.size > 0
            else:
                size += packet.size
    lengths[samples / 48_000] = pictures, size / 96_000
print(f"PyAV {av.__version__} (FFmpeg {av.ffmpeg_version_info}): seconds of sound written -> pictures, seconds of sound read", lengths)
sys.exit(lengths != {1.9: (48, 1.92), 2.1: (50, 2.0)})
EOF
for version in 18.1.0 19.0.2; do "$version/bin/python" film.py || { echo CHANGED; exit 1; }; done
echo "as described"
