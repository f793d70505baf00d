#!/usr/bin/env bash
# aiortc's player forgets when the sound of a file begins, and its pauses: what is recorded of it, or sent, has the sound early by as much.
#
# Guess: what MediaRecorder records of MediaPlayer has picture and sound as far apart as the file that is played.
# Seen: the player counts samples from zero, and takes the time of the first picture off all pictures. Sound that begins 0.5 s after the
# picture comes 0.5 s early, sound behind a pause of 1 s in its packets a whole second, and pictures that begin 0.6 s after the sound
# come 0.6 s early as well. Nothing warns. Sound that begins with the picture and has no pauses stays in sync, but for the pictures'
# times: the recorder rounds them to 30 a second, so those of 25 a second are up to 13 ms early or late.
# Seen with aiortc 1.16.0 and PyAV 16.0.1 (FFmpeg 8.0).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "aiortc==1.16.0" "av==16.0.1" "numpy<3"
env/bin/python - <<'EOF'
import asyncio
import sys
from fractions import Fraction
from importlib.metadata import version

import av
import numpy as np
from aiortc.contrib.media import MediaPlayer, MediaRecorder
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

print("aiortc", version("aiortc"), "PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
SECONDS, EVENT_S, RATE, BLOCK = 4, 3, 48_000, 960


def write(name, picture_s=0.0, sound_s=0.0, gap_s=(9.0, 9.0)):
    """A flash and a click at EVENT_S; pictures and sound begin at the times given, and the sound has a gap."""
    with av.open(name, "w") as film:
        shown = film.add_stream("libx264", rate=25, options={"bf": "0"})
        shown.width, shown.height, shown.pix_fmt = 160, 120, "yuv420p"
        heard = film.add_stream("pcm_s16le", rate=RATE, layout="mono")
        packets = []
        for number in range(round(25 * picture_s), 25 * SECONDS):
            picture = VideoFrame(160, 120, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([235 if number == 25 * EVENT_S else 128 if plane.width < 160 else 30]) * plane.buffer_size)
            picture.pts, picture.time_base = number, Fraction(1, 25)
            packets += shown.encode(picture)
        packets += shown.encode(None)
        for at in range(round(sound_s * RATE), SECONDS * RATE, BLOCK):
            if gap_s[0] <= at / RATE < gap_s[1]:
                continue
            samples = np.full((1, BLOCK), 20_000 if at == EVENT_S * RATE else 0, np.int16)
            block = AudioFrame.from_ndarray(samples, "s16", "mono")
            block.sample_rate, block.pts, block.time_base = RATE, at, Fraction(1, RATE)
            packets += heard.encode(block)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            film.mux(packet)


def late_ms(name):
    """How late the click is against the flash."""
    with av.open(name) as film:
        flash_s = max(film.decode(video=0), key=lambda each: each.to_ndarray(format="gray").mean()).time
    with av.open(name) as film:
        for frame in film.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(float)).max(0)
            loud = np.flatnonzero(samples > (0.2 if frame.format.name.startswith("flt") else 6_000))
            if len(loud):
                return 1000 * (frame.time + loud[0] / frame.sample_rate - flash_s)
    return float("nan")


def picture_times_ms(name):
    with av.open(name) as film:
        return [1000 * frame.time for frame in film.decode(video=0)]


async def record(source, target):
    player, recorder = MediaPlayer(source), MediaRecorder(target)
    recorder.addTrack(player.audio)
    recorder.addTrack(player.video)
    await recorder.start()
    await asyncio.sleep(SECONDS + 2)
    await recorder.stop()


FILMS = {
    "together": ({}, 0),
    "sound-late": ({"sound_s": 0.5}, -500),
    "picture-late": ({"picture_s": 0.6}, 600),
    "pause": ({"gap_s": (1.0, 2.0)}, -1000),
}
as_seen = True
for name, (options, moved_ms) in FILMS.items():
    write(f"{name}.mkv", **options)
    asyncio.run(record(f"{name}.mkv", f"{name}-recorded.mkv"))
    before_ms, after_ms = late_ms(f"{name}.mkv"), late_ms(f"{name}-recorded.mkv")
    print(f"{name:13} sound late by {before_ms:6.0f} ms in the file, {after_ms:6.0f} ms as recorded")
    as_seen &= abs(before_ms) < 5 and abs(after_ms - moved_ms) < 20
strayed_ms = max(abs(b - a) for a, b in zip(picture_times_ms("together.mkv"), picture_times_ms("together-recorded.mkv")))
print(f"pictures of 'together' are up to {strayed_ms:.0f} ms from their times")
as_seen &= 10 < strayed_ms < 17
print("as seen" if as_seen else "not as seen any more")
sys.exit(not as_seen)
EOF
