#!/usr/bin/env bash
# av-drift-detector reads the sound of its own test video as more than a second early after a cut, if the pictures after it are off
# the grid of those before.
#
# Guess: each picture carries its number and so does its sound, so a cut through both changes nothing: the offset is read as
# before, on either side.
# Seen: a file whose pictures come at uneven times is taken for a camera's recording. A line is then fitted to the numbers of all
# pictures, to find when the display showed them; those after the cut are far from it. With 1.2 s cut out, and the rest 9 ms off
# the grid, as lossless cutters leave it, all pictures after the cut are read 1.2 s wrong, and only "capture": "camera" shows it. The same pictures are read right if nothing is cut, on a grid, with `capture="file"`, or each side by itself.
# Seen with av-drift-detector 0.6.1.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "av-drift-detector==0.6.1" "numpy<3"
env/bin/python - <<'EOF2'
import sys
from importlib.metadata import version

import av_drift_detector as avd
import numpy as np

FPS, RATE, WIDTH, HEIGHT = 25, 16000, 320, 180
CUT_S, OUT_S = 3.72, 1.2  # where the cut lies in what is left, and how much is gone
print("av-drift-detector", version("av-drift-detector"))
renderer = avd.PatternRenderer(fps=str(FPS), width=WIDTH, height=HEIGHT)
whole = np.asarray(avd.synthesize_audio(8 * RATE, fps=str(FPS), sample_rate=RATE), np.float32)


def stamped(out_s, later_s):
    """The test video with `out_s` cut out of pictures and sound, and all behind the cut that much later."""
    frames = []
    for number in range(round((8 - out_s) * FPS)):
        behind = number >= round(CUT_S * FPS)
        picture = renderer.render(number + behind * round(out_s * FPS))
        time = number / FPS + behind * later_s
        frames.append({"time": time, "stamp": avd.read_frame(picture, WIDTH, HEIGHT)})
    cut = round(CUT_S * RATE)
    parts = whole[:cut], np.zeros(round(later_s * RATE), np.float32), whole[cut + round(out_s * RATE) :]
    return frames, np.concatenate(parts)


def read(frames, samples, **options):
    """The offset before the cut and behind it, in ms, and what the pictures were taken for."""
    audio = {"sample_rate": RATE, "start_time": 0.0, "samples": samples}
    report = avd.analyze_frames(frames, audio, width=WIDTH, height=HEIGHT, **options)
    sides = [], []
    for frame in report["frames"]:
        if frame["drift_ms"] is not None and abs(frame["time"] - CUT_S) > 0.2:
            sides[frame["time"] > CUT_S].append(frame["drift_ms"])
    return *(round(float(np.median(side))) if side else None for side in sides), report["capture"]


frames, samples = stamped(OUT_S, 0.009)
readings = {
    "not cut, 9 ms off the grid": read(*stamped(0.0, 0.009)),
    "cut, on the grid": read(*stamped(OUT_S, 0.0)),
    "cut, 9 ms off the grid": read(frames, samples),
    'the same with capture="file"': read(frames, samples, capture="file"),
    "behind the cut by itself": read([each for each in frames if each["time"] > CUT_S], samples),
}
for what, (before, behind, capture) in readings.items():
    print(f"{what:30} before {before} ms, behind {behind} ms, as a {capture}'s")
*_, wrong, _, _ = readings.values()
near = lambda value, true, by: value is None or abs(value - true) <= by
same = abs(wrong[1]) > 1000 and wrong[2] == "camera"
same &= all(near(each[k], 0, 25) for what, each in readings.items() for k in (0, 1) if each is not wrong)
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF2
