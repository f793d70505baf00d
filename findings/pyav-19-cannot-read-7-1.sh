#!/usr/bin/env bash
# PyAV 19 cannot give the samples of 7.1 sound as AAC, E-AC-3 and most other codecs decode to it: in planes.
#
# Guess: frame.to_ndarray() gives (channels, samples), whatever the number of channels.
# Seen: it does for 5.1, 6.1 and for 7.1 in packed samples. For 7.1 in planes it raises ValueError: plane index 8 out of
# range for 8 planes. AudioResampler("flt") packs them first, and then it works.
# Seen with PyAV 19.0.2 (Python 3.12 or later).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for python in "${PYTHON:-python3}" python3.13 python3.12 "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python3 none; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
done
[ "$python" != none ] || { echo "PyAV 19 needs Python 3.12 or later: name one as PYTHON" >&2; exit 2; }
cat > look.py <<'EOF'
import sys
from fractions import Fraction

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler


def shape(frame):
    try:
        return frame.to_ndarray().shape
    except ValueError as error:
        return f"ValueError: {error}"


def decoded(layout):
    """The first frame of a tone in AAC."""
    channels = av.AudioLayout(layout).nb_channels
    tone = np.sin(np.arange(48_000) * 2 * np.pi * 440 / 48_000).astype(np.float32)
    with av.open("sound.mkv", "w") as film:
        stream = film.add_stream("aac", rate=48_000, layout=layout)
        frame = AudioFrame.from_ndarray(np.repeat(tone, channels)[None], "flt", layout)
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    with av.open("sound.mkv") as film:
        return next(film.decode(audio=0))


print(f"PyAV {av.__version__}")
expected = {"5.1": (6, 1024), "6.1": (7, 1024), "7.1": "ValueError: plane index 8 out of range for 8 planes"}
same = True
for layout, shapes in expected.items():
    frame = decoded(layout)
    got = shape(frame)
    (packed,) = AudioResampler("flt").resample(frame)
    print(f"{layout} in {frame.format.name}: {got}; packed: {shape(packed)}")
    same &= got == shapes and shape(packed) == (1, 1024 * frame.layout.nb_channels)
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
"$python" -m venv env
env/bin/pip install --quiet av==19.0.2 numpy==2.3.5
env/bin/python look.py
