#!/usr/bin/env bash
# An mp4 with a fragment for every frame, as FFmpeg writes it for low latency, gives back half of its sound.
#
# Guess: movflags "frag_every_frame+empty_moov" put each picture and each frame of AAC into a fragment of its own; it costs bytes
# and nothing else.
# Seen: frames of sound are written in pairs under one time. The reader marks the second of each pair to be discarded, so the
# decoder gives about half of them, without an error. With frag_keyframe in its place nothing is lost.
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
from av.video.frame import VideoFrame

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)


def counts(flags):
    """Packets of sound in the file, how many of them are to be discarded, and frames that are decoded."""
    with av.open("film.mp4", "w", options={"movflags": flags}) as film:
        pictures = film.add_stream("libx264", rate=25, options={"bf": "0"})
        pictures.width, pictures.height, pictures.pix_fmt = 160, 120, "yuv420p"
        sound = film.add_stream("aac", rate=48000, layout="mono")
        for number in range(50):
            picture = VideoFrame(160, 120, "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            film.mux(pictures.encode(picture))
            for first in range(-(-1920 * number // 1024) * 1024, 1920 * (number + 1), 1024):
                samples = AudioFrame("fltp", "mono", 1024)
                samples.planes[0].update(bytes(samples.planes[0].buffer_size))
                samples.sample_rate, samples.pts, samples.time_base = 48000, first, Fraction(1, 48000)
                film.mux(sound.encode(samples))
        for stream in (pictures, sound):
            film.mux(stream.encode(None))
    with av.open("film.mp4") as film:
        packets = [packet for packet in film.demux(audio=0) if packet.size]
    discarded = sum(packet.is_discard for packet in packets)
    with av.open("film.mp4") as film:
        decoded = sum(1 for _ in film.decode(audio=0))
    print(f"{flags:28} {len(packets)} packets of sound, {discarded} of them to be discarded; {decoded} frames decoded")
    return len(packets), discarded, decoded


packets, discarded, decoded = counts("frag_every_frame+empty_moov")
same = 0.3 * packets < discarded < 0.6 * packets and decoded == packets - discarded
packets, discarded, decoded = counts("frag_keyframe+empty_moov")
same &= discarded == 0 and decoded == packets
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
