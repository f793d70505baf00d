#!/usr/bin/env bash
# The output option -r of the ffmpeg command, which lowers the rate of the pictures, also delays them by more than a picture; the filter fps does not.
#
# Guess: `-r 24` drops one picture a second of 25 and leaves the others within half a picture of their times, like `-vf fps=24`.
# Seen: with -r the pictures are 65 ms late on average at 24 a second and 93 ms at 15, while the sound stays, so a file in sync
# is out of EBU R 37's tolerance; with the filter they are within 20 ms. A higher rate, such as 30, delays nothing. The same with
# FFmpeg 7 and 9 (imageio-ffmpeg 0.6.0 and 0.8.1).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > rates.py <<'EOF'
import subprocess
import sys

import imageio_ffmpeg
import numpy as np

FFMPEG = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y"]
SECONDS, LEVELS = 8, 200


def shown(path, rate):
    """Which picture of the source is shown when, in seconds, and when the first sound is heard."""
    gray = ["-fps_mode", "passthrough", "-vf", "scale=1:1", "-pix_fmt", "gray", "-f", "rawvideo", "-"]
    luma = np.frombuffer(subprocess.run([*FFMPEG, "-i", path, *gray], capture_output=True, check=True).stdout, np.uint8)
    wave = subprocess.run([*FFMPEG, "-i", path, "-f", "f32le", "-ac", "1", "-"], capture_output=True, check=True).stdout
    loud = np.flatnonzero(np.abs(np.frombuffer(wave, np.float32)) > 0.1)[0] / 48_000
    return np.arange(len(luma)) / rate, luma.astype(float), loud


def main():
    version = subprocess.run([FFMPEG[0], "-version"], capture_output=True, text=True, check=True).stdout.split()[2]
    # Each picture is lighter than the one before, so that its level gives its number
    ramp = f"color=black:s=64x64:r=25:d={SECONDS},format=gray,geq=lum='20+N'"
    tone = f"aevalsrc='if(gte(t,1),sin(2*PI*1000*t),0)':s=48000:d={SECONDS}"
    source = [*FFMPEG, "-f", "lavfi", "-i", ramp, "-f", "lavfi", "-i", tone, "-c:v", "ffv1", "-c:a", "pcm_f32le"]
    subprocess.run([*source, "source.mkv"], check=True)
    times_s, luma, heard_s = shown("source.mkv", 25)
    late = {}
    for rate in (15, 24, 30):
        for way, option in (("-r", ["-r", str(rate)]), ("fps", ["-vf", f"fps={rate}"])):
            subprocess.run([*FFMPEG, "-i", "source.mkv", *option, "-c:v", "ffv1", "-c:a", "copy", "new.mkv"], check=True)
            at_s, levels, new_heard_s = shown("new.mkv", rate)
            inside = slice(rate, -rate)  # without the first and the last second
            due_s = np.interp(levels[inside], luma, times_s)
            late[f"{way} {rate}"] = round(1000 * float(np.mean(at_s[inside] - due_s) - (new_heard_s - heard_s)))
    print(f"FFmpeg {version}: how late pictures are on average, in ms:", late)
    moved = all(late[f"-r {rate}"] > 50 for rate in (15, 24)) and abs(late["-r 30"]) < 20
    sys.exit(not (moved and all(abs(late[f"fps {rate}"]) < 20 for rate in (15, 24, 30))))


main()
EOF
for version in 0.6.0 0.8.1; do
    "${PYTHON:-python3}" -m venv "$version"
    "$version/bin/pip" install --quiet "imageio-ffmpeg==$version" numpy
    "$version/bin/python" rates.py || { echo CHANGED; exit 1; }
done
echo "as described"
