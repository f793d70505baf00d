#!/usr/bin/env bash
# Copied from mp4 to mkv, AAC plays its encoder's delay with FFmpeg 8 and not with FFmpeg 9; back in mp4 a third of a
# millisecond is gone.
#
# Guess: a stream copy keeps what is hidden at the start of the sound, in every version, and a copy back restores the file.
# Seen: FFmpeg 8 does not hand on the 1024 samples that the mp4's edit list hides: its mkv has no codec delay, and all starts 21 ms
# later. FFmpeg 9 does: its mkv says 1024 samples. Copied back to mp4, 1008 samples are hidden in place of 1024, as mkv counts in
# milliseconds.
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

major = av.__version__.partition(".")[0]


def copy(source, target):
    with av.open(source) as reader, av.open(target, "w") as writer:
        output = writer.add_stream_from_template(reader.streams.audio[0])
        for packet in reader.demux(audio=0):
            if packet.size:
                packet.stream = output
                writer.mux(packet)


if sys.argv[1] == "write":
    with av.open(f"{major}.mp4", "w") as film:
        sound = film.add_stream("aac", rate=48000, layout="mono")
        for first in range(0, 48 * 1024, 1024):
            samples = AudioFrame("fltp", "mono", 1024)
            samples.planes[0].update(bytes(samples.planes[0].buffer_size))
            samples.sample_rate, samples.pts, samples.time_base = 48000, first, Fraction(1, 48000)
            film.mux(sound.encode(samples))
        film.mux(sound.encode(None))
    copy(f"{major}.mp4", f"{major}.mkv")
    copy(f"{major}.mkv", f"{major}-back.mp4")
else:  # read all of them with the newer version, which states the delay
    first_packets = {}
    for name in ("18.mp4", "18.mkv", "19.mp4", "19.mkv", "19-back.mp4"):
        with av.open(name) as film:
            stream = film.streams.audio[0]
            first = next(film.demux(stream))
            first_packets[name] = (stream.codec_context.delay, round(1000 * float(first.pts * first.time_base), 3))
            print(f"{name:12} delay {first_packets[name][0]:4} samples, first packet at {first_packets[name][1]:7} ms")
    expected = {"18.mp4": (1024, -21.333), "18.mkv": (0, 0.0), "19.mp4": (1024, -21.333), "19.mkv": (1024, -21.0)}
    sys.exit(first_packets != {**expected, "19-back.mp4": (1008, -21.0)})
EOF
for version in 18.1.0 19.0.2; do
    "$version/bin/python" -c 'import av; print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)'
    "$version/bin/python" film.py write
done
19.0.2/bin/python film.py read || { echo CHANGED; exit 1; }
echo "as described"
