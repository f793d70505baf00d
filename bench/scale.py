"""`python -m bench.scale [FILES [JOBS]]`: the command on a large batch with hostile files, and
with a kill half-way.

Generated clips of 2 s (copies of a few), 3 % of them hostile, are decoded and cut into blocks. No
network is loaded, so it measures everything around it. It prints what was lost, the verdicts, the
memory of the main process over the files, and the speed; and whether a run that was killed half-way
and started again has the same records as an undisturbed one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench import HERE
from tests.support import hostile

COMMAND = "from tests.support import decode_scan; decode_scan.command()"
HOSTILE_SHARE = 0.03
SIZE = (96, 72)
KINDS = (
    ("mp4", {}),
    ("mkv", {"acodec": "libopus"}),
    ("mov", {"acodec": "pcm_s16le"}),
    ("ts", {}),
    ("avi", {"acodec": "ac3"}),
    ("webm", {"vcodec": "libvpx", "acodec": "libopus"}),
)


def make_batch(root: Path, count: int) -> dict[str, str]:
    """Write the files into `root`. Returns the verdict that each must get, by path."""
    bad_count = round(count * HOSTILE_SHARE)
    (root / "corpus").mkdir()
    (root / "bases").mkdir()
    corpus = hostile.write_corpus(root / "corpus")
    bad = [case for case in corpus.cases if case.path.parent == corpus.folder and not case.judged]
    good = []
    for number, (suffix, options) in enumerate(KINDS):
        path = root / "bases" / f"{number}.{suffix}"
        good.append(
            hostile.make_clip(
                path, **{"size": SIZE, "draw": hostile.noise(number, SIZE), **options}
            )
        )
    rng = random.Random(1)
    worst = set(rng.sample(range(count), bad_count))
    expected = {}
    for number in range(count):
        source = rng.choice(bad).path if number in worst else good[number % len(good)]
        path = root / "batch" / f"{number // 100:02d}" / f"{number:05d}{source.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        expected[str(path)] = "error" if number in worst else "in_sync"
    return expected


def start(root: Path, results: Path, jobs: int) -> subprocess.Popen[bytes]:
    """Start the command on the files in `root`; its records go to `results`."""
    options = (
        "--jobs",
        str(jobs),
        "--timeout",
        "60",
        "-q",
        "--no-config",
        "--resume",
        str(results),
    )
    line = [sys.executable, "-c", COMMAND, "check", str(root / "batch"), *options]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "TMPDIR": str(root)}
    return subprocess.Popen(
        line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def done_in(results: Path) -> int:
    """How many records there are."""
    return results.read_bytes().count(b"\n") if results.exists() else 0


def memory_mb(pid: int) -> float:
    """What a process has in memory now. Raises OSError or IndexError if it has ended."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def watched(
    process: subprocess.Popen[bytes], results: Path, marks: Sequence[int]
) -> dict[int, float]:
    """The memory of the main process in MB when it has written so many records as `marks` say."""
    mb_at: dict[int, float] = {}
    while process.poll() is None:
        done = done_in(results)
        for mark in marks:
            if done >= mark and mark not in mb_at:
                try:
                    mb_at[mark] = memory_mb(process.pid)
                except (OSError, IndexError):  # it has just ended
                    break
        time.sleep(0.02)
    return mb_at


def verdicts(results: Path) -> tuple[dict[str, str], int]:
    """The verdict of every path, and how many records there are."""
    records = [json.loads(line) for line in results.read_bytes().splitlines()]
    return {record["path"]: record["verdict"] for record in records}, len(records)


def main(count: int, jobs: int) -> int:
    root = Path(tempfile.mkdtemp(prefix="avcheck-scale-"))
    try:
        expected = make_batch(root, count)
        whole = root / "whole.jsonl"
        began = time.monotonic()
        process = start(root, whole, jobs)
        marks = sorted({max(1, count // 10), count // 2, count - 5})
        memory = watched(process, whole, marks)
        took_s = time.monotonic() - began
        first, lines = verdicts(whole)
        bad = Counter(expected.values())["error"]
        print(
            f"{count} files, {bad} of them hostile, {jobs} workers, exit code {process.returncode}"
        )
        print(f"verdicts {dict(Counter(first.values()))}, {lines} records")
        wrong = sum(first[path] != verdict for path, verdict in expected.items() if path in first)
        print(
            f"lost {len(expected.keys() - first.keys())}, twice {lines - len(first)}, other than "
            f"expected {wrong}"
        )
        print(
            "main process: "
            + ", ".join(f"{size:.1f} MB at {mark} files" for mark, size in memory.items())
        )
        print(f"{60 * count / took_s:.0f} files a minute ({took_s:.0f} s)")

        killed = root / "killed.jsonl"
        process = start(root, killed, jobs)
        while process.poll() is None and done_in(killed) < count // 2:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = done_in(killed)
        process = start(root, killed, jobs)
        process.wait()
        again, lines = verdicts(killed)
        exact = again == first and lines == len(again)
        same = "exactly the same" if exact else "NOT the same"
        print(f"killed after {before} records and started again: {lines} records, {same}")
        left = sorted(path.name for path in root.glob("avcheck-worker-*"))
        print(f"scratch folders left: {len(left)}")
        return 0 if exact and first == expected and not left else 1
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="?", type=int, default=1000)
    parser.add_argument("jobs", nargs="?", type=int, default=2)
    given = parser.parse_args()
    sys.exit(main(given.files, given.jobs))
