"""What workers do with tasks that are no files. A worker loads this module and not pytest, which
would take longer to load than the tasks take.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from avcheck.batch.base import Done
from avcheck.settings import OnProgress


def doubler(threads: int) -> Callable[[int, OnProgress], Done[int]]:
    return lambda task, on_progress: Done(2 * task)


def pids(threads: int) -> Callable[[int, OnProgress], Done[tuple[int, int, str | None]]]:
    return lambda task, on_progress: Done(
        (os.getpid(), threads, os.environ.get("OMP_NUM_THREADS")), worn=task == 1
    )


def scratch(threads: int) -> Callable[[int, OnProgress], Done[str]]:
    import tempfile

    def handle(task: int, on_progress: OnProgress) -> Done[str]:
        folder = tempfile.mkdtemp()
        Path(folder, "big").write_bytes(b"x")
        if task:
            os.kill(os.getpid(), signal.SIGKILL)
        return Done(folder)

    return handle


def unwilling(marker: Path, fails: int, threads: int) -> Callable[[int, OnProgress], Done[int]]:
    """Does not start the first `fails` times."""
    tries = len(list(marker.parent.glob("try*")))
    (marker.parent / f"try{tries}").touch()
    if tries < fails:
        os._exit(1)
    return doubler(threads)


def heavy(threads: int) -> Callable[[int, OnProgress], Done[int]]:
    weights = bytearray(1 << 28)
    return lambda task, on_progress: Done(len(weights))


def thrower(threads: int) -> Callable[[int, OnProgress], Done[int]]:
    return lambda task, on_progress: Done(12 // task)


def hoarder(threads: int) -> Callable[[int, OnProgress], Done[bytes]]:
    return lambda task, on_progress: Done(bytes(20_000))


def sleeper(threads: int) -> Callable[[float, OnProgress], Done[int]]:
    def handle(task: float, on_progress: OnProgress) -> Done[int]:
        time.sleep(task)
        return Done(os.getpid())

    return handle


def chatty(threads: int) -> Callable[[int, OnProgress], Done[int]]:
    def handle(task: int, on_progress: OnProgress) -> Done[int]:
        for k in range(task):
            on_progress(k / task)
        return Done(task)

    return handle


def starved(threads: int) -> Callable[[int, OnProgress], Done[bytes]]:
    return lambda task, on_progress: Done(bytes(task << 60))


def restricted(threads: int) -> Callable[[int, OnProgress], Done[tuple[int, str]]]:
    import resource

    return lambda task, on_progress: Done(
        (
            resource.getrlimit(resource.RLIMIT_CORE)[0],
            Path("/proc/self/oom_score_adj").read_text().strip(),
        )
    )


def holds_back(threads: int) -> Callable[[int, OnProgress], Done[bool]]:
    return lambda task, on_progress: Done(
        signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    )


def starts_every_third_time(marker: Path, threads: int) -> Callable[[int, OnProgress], Done[int]]:
    tries = len(list(marker.parent.glob("try*")))
    return unwilling(marker, 0 if tries % 3 == 2 else tries + 1, threads)
