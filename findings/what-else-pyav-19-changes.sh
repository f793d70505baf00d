#!/usr/bin/env bash
# What else differs between PyAV 18 and PyAV 19 for a program that reads media, and what does not.
#
# Guess: a stream can be asked for its rate after its container was closed; a tag that is no UTF-8 raises or is replaced; a missing
# hardware decoder raises only if software may not take its place; the resampler's tail changes with FFmpeg's.
# Seen: the first holds for 18 only, where 19 raises AssertionError; a tag raises in 18 and has lone surrogates in 19; the missing
# decoder raises in both, allowed or not; the tail is the same. The lines that it prints say the rest.
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
cat > facts.py <<'EOF'
import json
from fractions import Fraction

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.codec.hwaccel import HWAccel
from av.video.frame import VideoFrame

with av.open("film.mkv", "w") as film:
    pictures = film.add_stream("mpeg4", rate=25)
    pictures.width, pictures.height, pictures.pix_fmt = 160, 120, "yuv420p"
    pictures.metadata["title"] = "Kamera XX"
    sound = film.add_stream("aac", rate=48000, layout="mono")
    for number in range(25):
        picture = VideoFrame(160, 120, "yuv420p")
        picture.pts, picture.time_base = number, Fraction(1, 25)
        film.mux(pictures.encode(picture))
    for first in range(0, 47 * 1024, 1024):
        samples = AudioFrame("fltp", "mono", 1024)
        samples.planes[0].update(bytes(samples.planes[0].buffer_size))
        samples.sample_rate, samples.pts, samples.time_base = 48000, first, Fraction(1, 48000)
        film.mux(sound.encode(samples))
    for stream in (pictures, sound):
        film.mux(stream.encode(None))
data = open("film.mkv", "rb").read()
open("latin.mkv", "wb").write(data.replace(b"Kamera XX", b"Kamera \xe4\xf6"))


def asked(question):
    try:
        return str(question())
    except (Exception, AssertionError) as error:
        return type(error).__name__


def title():
    with av.open("latin.mkv") as film:
        return ascii(film.streams.video[0].metadata["title"])


def opened(**options):
    with av.open("film.mkv", **options) as film:
        return len(list(film.decode(video=0)))


facts = {}
with av.open("film.mkv") as film:
    stream = film.streams.video[0]
    facts["thread type by default"] = stream.thread_type.name
for name in ("frames", "duration", "average_rate", "sample_aspect_ratio", "disposition"):
    facts[f"{name} after closing"] = asked(lambda: getattr(stream, name))
facts["a title that is no UTF-8"] = asked(title)
facts["av.open(metadata_errors=...)"] = asked(lambda: opened(metadata_errors="replace") and "taken")
for fallback in (True, False):
    facts[f"no such hardware, software allowed: {fallback}"] = asked(
        lambda: opened(hwaccel=HWAccel(device_type="cuda", allow_software_fallback=fallback))
    )
for rate in (48000, 44100, 22050):
    resampler, given = AudioResampler("flt", "mono", 16000), []
    for first in range(0, rate, 1024):
        count = min(1024, rate - first)
        samples = AudioFrame("fltp", "mono", count)
        samples.planes[0].update(bytes(samples.planes[0].buffer_size))
        samples.sample_rate, samples.pts, samples.time_base = rate, first, Fraction(1, rate)
        given += resampler.resample(samples)
    tail = sum(part.samples for part in resampler.resample(None))
    facts[f"1 s of {rate} Hz at 16 kHz, and of that when flushed"] = f"{sum(part.samples for part in given) + tail}, {tail}"
print(json.dumps({"PyAV": av.__version__, "FFmpeg": av.ffmpeg_version_info, **facts}))
EOF
18.1.0/bin/python facts.py > 18.json
19.0.2/bin/python facts.py > 19.json
"$python" - <<'EOF'
import json
import sys

old, new = (json.load(open(f"{major}.json")) for major in (18, 19))
for name in old:
    print(f"{name:52} {old[name]:28} {new[name]}")
closed = ("frames", "duration", "average_rate", "sample_aspect_ratio", "disposition")
same = all(old[f"{name} after closing"] != "AssertionError" and new[f"{name} after closing"] == "AssertionError" for name in closed)
same &= old["a title that is no UTF-8"] == "UnicodeDecodeError" and new["a title that is no UTF-8"] == r"'Kamera \udce4\udcf6'"
same &= (old["av.open(metadata_errors=...)"], new["av.open(metadata_errors=...)"]) == ("taken", "TypeError")
same &= all(old[name] == new[name] for name in old if name.startswith(("1 s of", "thread")))
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
