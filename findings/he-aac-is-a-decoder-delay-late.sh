#!/usr/bin/env bash
# The same AAC sounds 962 samples (20 ms) later once it is marked as HE-AAC, and no timestamp shows it.
#
# Guess: an edit list hides the encoder's delay, so AAC of 24 kHz sounds at the same time, whether its header says 24 kHz or that
# a decoder is to make 48 kHz of it (SBR).
# Seen: FFmpeg's decoder has a delay of its own for SBR, and neither takes it off nor moves its times, so the sound is 20 ms late.
# FFmpeg's own muxer hides that as well, where its encoder states it; fdkaac by default, as iTunes, leaves it to the player.
# Seen with PyAV 18.1.0 (FFmpeg 8.1.2).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "av==${AV:-18.1.0}" "numpy==2.3.5"
env/bin/python - <<'PY'
import sys
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
RATE, CLICK_S = 24_000, 1.0
samples = np.zeros(2 * RATE + 1024, np.float32)
length = RATE // 50
times = np.arange(length) / RATE
samples[int(CLICK_S * RATE) :][:length] = 0.8 * np.sin(2 * np.pi * 1500 * times) * np.sin(np.pi * times * 50)
with av.open("plain.mp4", "w") as film:
    sound = film.add_stream("aac", rate=RATE, layout="mono")
    for first in range(0, 2 * RATE, 1024):
        frame = AudioFrame.from_ndarray(samples[None, first : first + 1024], "fltp", "mono")
        frame.sample_rate, frame.pts = RATE, first
        film.mux(sound.encode(frame))
    film.mux(sound.encode(None))
data = Path("plain.mp4").read_bytes()
# The last byte of the parameters says whether there is SBR, and for which rate: none, and 48 kHz
plain, marked = bytes.fromhex("130856e500"), bytes.fromhex("130856e598")
assert data.count(plain) == 1
Path("marked.mp4").write_bytes(data.replace(plain, marked))


def middle_ms(name):
    """The middle of the click, by the times of the frames."""
    with av.open(name) as film:
        frames = [(frame.time, frame.to_ndarray()[0], frame.sample_rate) for frame in film.decode(audio=0)]
    rate = frames[0][2]
    at = np.concatenate([time + np.arange(len(part)) / rate for time, part, _ in frames])
    power = np.concatenate([part for _, part, _ in frames]) ** 2
    return rate, round(1000 * float((at * power).sum() / power.sum()), 1)


(rate, plain_ms), (marked_rate, marked_ms) = middle_ms("plain.mp4"), middle_ms("marked.mp4")
late_ms = marked_ms - plain_ms
print(f"{rate} Hz: middle of the click at {plain_ms} ms; marked as HE-AAC, {marked_rate} Hz: {marked_ms} ms, {late_ms:.1f} ms later")
same = (rate, marked_rate) == (24_000, 48_000) and abs(plain_ms - 1010) < 1 and abs(late_ms - 962 / 48) < 1
print("as described" if same else "CHANGED")
sys.exit(not same)
PY
