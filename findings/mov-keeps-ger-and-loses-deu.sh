#!/usr/bin/env bash
# QuickTime files by FFmpeg keep the language of a track under one of its two ISO 639-2 codes only, and not the same one of them.
#
# Guess: .mov keeps what .mp4 keeps; or if it knows one code of the two, then always the bibliographic or always the terminological.
# Seen: mp4 keeps every code. mov keeps "ger" and loses "deu", keeps "fra" and loses "fre", keeps "dut" and "chi" and loses "nld"
# and "zho"; a track whose code is lost has no language, without a message. Copying a film from mp4 to mov can lose its languages.
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
from av.video.frame import VideoFrame

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
LANGUAGES = ("eng", "ger", "deu", "fra", "fre", "dut", "nld", "chi", "zho")


def kept(suffix, language):
    with av.open(f"film.{suffix}", "w") as film:
        stream = film.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.metadata["language"] = language
        picture = VideoFrame(160, 120, "yuv420p")
        picture.pts, picture.time_base = 0, Fraction(1, 25)
        film.mux(stream.encode(picture))
        film.mux(stream.encode(None))
    with av.open(f"film.{suffix}") as film:
        return film.streams.video[0].metadata.get("language")


tags = {suffix: {language: kept(suffix, language) for language in LANGUAGES} for suffix in ("mp4", "mov")}
for suffix, languages in tags.items():
    print(suffix, languages)
lost = {language for language, tag in tags["mov"].items() if tag is None}
same = all(tag == language for language, tag in tags["mp4"].items()) and lost == {"deu", "fre", "nld", "zho"}
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
