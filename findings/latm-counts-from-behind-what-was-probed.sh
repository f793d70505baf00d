#!/usr/bin/env bash
# FFmpeg counts the time of a bare LATM stream (loas) not from its beginning, but from the end of what it probed.
#
# Guess: a stream without timestamps is counted from its first packet, as bare AAC in ADTS is.
# Seen: packets that were read to find the stream's parameters have no time, and the one after them is dated 0: the 109th of 3 s of
# silence, the 51st of a louder film. A program that goes by the times loses a second or two of sound at the beginning, and has
# the rest much too early. The same sound in ADTS is dated from the first packet on.
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

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)


def undated(kind):
    """How many packets come without a time, and the first time that there is, in s."""
    with av.open(f"sound.{kind}", "w", format=kind) as file:
        sound = file.add_stream("aac", rate=48000, layout="mono")
        for first in range(0, 3 * 48000, 1024):
            samples = AudioFrame("fltp", "mono", 1024)
            samples.planes[0].update(bytes(samples.planes[0].buffer_size))
            samples.sample_rate, samples.pts, samples.time_base = 48000, first, Fraction(1, 48000)
            file.mux(sound.encode(samples))
        file.mux(sound.encode(None))
    with av.open(f"sound.{kind}") as file:
        packets = [packet for packet in file.demux() if packet.size]
    times = [packet.pts for packet in packets]
    without = sum(time is None for time in times)
    first = next(packet for packet in packets if packet.pts is not None)
    print(f"{kind}: {without} of {len(packets)} packets without a time, then {float(first.pts * first.time_base):.3f} s")
    return without, first.pts


same = undated("adts") == (0, 0) and undated("latm") == (108, 0)
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
