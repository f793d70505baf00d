#!/usr/bin/env bash
# MoviePy and faster-whisper lose the time at which the sound of a film begins: what begins half a second after the pictures is moved
# to the first picture.
#
# Guess: a program that cuts or transcribes films keeps the time at which the sound is due; an mp4 whose sound begins half a second
# after its pictures is read with half a second of silence in front.
# Seen: MoviePy 2.2.1 reads pictures and sound each from their first sample, so the film that it writes has its sound half a second
# early. faster-whisper 1.2.1 gives its network the samples alone, so all times of words, and subtitles made of them, are half a
# second early. Neither says so. Sound that begins later is usual after a cut by stream copy, and players go by its time.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "moviepy==2.2.1" "imageio-ffmpeg==0.6.0" "faster-whisper==1.2.1" "av==18.1.0" "numpy<3"
cat > film.py <<'EOF2'
import sys
import warnings
from fractions import Fraction
from importlib.metadata import version

import av
import numpy as np
from faster_whisper.audio import decode_audio
from moviepy import VideoFileClip

LATE_S, AT_S, LENGTH_S = 0.5, 2.0, 4.0  # when the sound begins; flash and beep; how long each of the two streams is


def write(name):
    with av.open(name, "w") as film:
        shown = film.add_stream("libx264", rate=25)
        shown.width, shown.height, shown.pix_fmt = 128, 96, "yuv420p"
        heard = film.add_stream("aac", rate=48000, layout="mono")
        for number in range(round(LENGTH_S * 25)):
            picture = av.VideoFrame.from_ndarray(
                np.full((144, 128), 235 if number >= AT_S * 25 else 16, np.uint8), "yuv420p"
            )
            picture.pts, picture.time_base = number, Fraction(1, 25)
            film.mux(shown.encode(picture))
        for first in range(0, round(LENGTH_S * 48000), 1024):
            times_s = LATE_S + (first + np.arange(1024)) / 48000
            tone = np.where(times_s >= AT_S, 0.5 * np.sin(2 * np.pi * 1000 * times_s), 0)
            samples = av.AudioFrame.from_ndarray(tone.astype(np.float32)[np.newaxis], "fltp", "mono")
            samples.sample_rate, samples.time_base = 48000, Fraction(1, 48000)
            samples.pts = first + round(LATE_S * 48000)
            film.mux(heard.encode(samples))
        film.mux([*shown.encode(None), *heard.encode(None)])


def beep_after_flash_ms(name):
    with av.open(name) as film:
        flash = next(p.time for p in film.decode(video=0) if p.to_ndarray()[:96].mean() > 128)
    with av.open(name) as film:
        for frame in film.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.1)
            if len(loud):
                return round(1000 * (frame.time + loud[0] / frame.sample_rate - flash))


print("MoviePy", version("moviepy"), "faster-whisper", version("faster-whisper"), "PyAV", av.__version__)
warnings.simplefilter("ignore")  # MoviePy's, that pictures are missing at the end
write("film.mp4")
film = VideoFileClip("film.mp4")
film.write_videofile("moviepy.mp4", logger=None)
before_ms, after_ms = beep_after_flash_ms("film.mp4"), beep_after_flash_ms("moviepy.mp4")
samples = decode_audio("film.mp4")
whisper_s = np.flatnonzero(np.abs(samples) > 0.1)[0] / 16000
print(f"the film by its timestamps: beep {before_ms} ms after the flash, which is at {AT_S} s")
print(f"written by MoviePy:         beep {after_ms} ms after the flash")
print(f"for faster-whisper:         beep at {whisper_s:.2f} s, of {len(samples) / 16000:.2f} s")
sys.exit(not (abs(before_ms) < 15 and -515 < after_ms < -465 and abs(whisper_s - 1.5) < 0.03))
EOF2
env/bin/python film.py || { echo CHANGED; exit 1; }
echo "as described"
