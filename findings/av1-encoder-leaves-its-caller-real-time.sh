#!/usr/bin/env bash
# FFmpeg's AV1 encoder (SVT-AV1) in PyAV's wheels gives real-time priority to the thread that opens it, if it may, and does not take
# it back.
#
# Guess: an encoder sets the priority of its own threads at most, and closing it leaves nothing behind.
# Seen (Linux, as root, as in most containers): from the first AV1 picture on the calling thread is SCHED_FIFO 99, also after the encoder and its file are
# closed. Threads and processes started later inherit that: they keep a core from everything else until they wait. With H.264 (x264) nothing changes.
# Without the right to real-time priority nothing changes either. os.sched_setscheduler puts it back.
# Seen with PyAV 18.1.0 and 19.0.2 (the latter needs Python 3.12 or later; AV=19.0.2 takes it).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "av==${AV:-18.1.0}"
cat > look.py <<'EOF'
import io
import os
import subprocess
import sys

import av
from av.video.frame import VideoFrame

NAMES = {os.SCHED_OTHER: "SCHED_OTHER", os.SCHED_FIFO: "SCHED_FIFO", os.SCHED_RR: "SCHED_RR"}
CHILD = "import os; print(os.sched_getscheduler(0))"


def policy() -> str:
    return f"{NAMES.get(os.sched_getscheduler(0), '?')} {os.sched_getparam(0).sched_priority}"


def encode(name: str) -> None:
    with av.open(io.BytesIO(), "w", format="matroska") as film:
        stream = film.add_stream(name, rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        for number in range(5):
            picture = VideoFrame(128, 128, "yuv420p")
            picture.pts = number
            film.mux(stream.encode(picture))
        film.mux(stream.encode(None))


def may_be_real_time() -> bool:
    """Whether a child of ours may; the usual policy of this process stays."""
    ask = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))"
    return subprocess.run([sys.executable, "-c", ask], stderr=subprocess.DEVNULL).returncode == 0


if not may_be_real_time():
    print("this user may not have real-time priority: nothing to see")
    sys.exit(2)
print("PyAV", av.__version__)
before = policy()
encode("libx264")
x264 = policy()
encode("libsvtav1")
after = policy()
child = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
inherited = NAMES.get(int(child.stdout), "?")
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
print(f"before: {before}; after H.264: {x264}; after AV1: {after}; a child: {inherited}; put back: {policy()}")
same = (before, x264, after, inherited) == ("SCHED_OTHER 0", "SCHED_OTHER 0", "SCHED_FIFO 99", "SCHED_FIFO")
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
env/bin/python look.py 2> errors.txt || { code=$?; cat errors.txt >&2; exit "$code"; }
