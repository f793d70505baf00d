"""`python -m tests.bench_batch [FILES] [SECONDS]`: how fast a batch of generated clips is checked by one worker and by two.

The figures include starting up and loading the network, once for each worker.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from avcheck.demo import make_demo


def main(files: int = 6, seconds: float = 20.0) -> None:
    with tempfile.TemporaryDirectory(prefix="avcheck-bench-") as folder:
        for number in range(files):
            make_demo(Path(folder, f"{number:03d}.mp4"), offset_ms=40.0 * (number % 5 - 2), seconds=seconds, seed=number + 1)
        print(f"{files} clips of {seconds:g} s")
        for jobs in (1, 2):
            began, used = time.monotonic(), _cpu_s()
            line = [sys.executable, "-m", "avcheck", folder, "--jobs", str(jobs), "--timeout", "600", "--format", "jsonl", "-q"]
            done = subprocess.run(line, stdout=subprocess.PIPE, check=False)
            wall_s, cpu_s = time.monotonic() - began, _cpu_s() - used
            if len(done.stdout.splitlines()) != files:
                raise SystemExit(f"{jobs} workers: {len(done.stdout.splitlines())} results of {files}")
            print(
                f"{jobs} {'worker ' if jobs == 1 else 'workers'}  {60 * files / wall_s:6.1f} files a minute  "
                f"{60 * cpu_s / (files * seconds):6.1f} CPU seconds a minute of video  "
                f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:6.0f} MB the largest process"
            )


def _cpu_s() -> float:
    """CPU time of all processes that were started and have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:3]))
