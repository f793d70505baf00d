"""One worker process: its limits, its messages, and how it ends."""

from __future__ import annotations

import math
import os
import pickle
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process, spawn
from pathlib import Path
from typing import Any, Generic, TypeVar

from avcheck.batch.base import Answer, Done, Limits, Lost
from avcheck.errors import AvcheckError, UsageError
from avcheck.machine.cores import cores, wait_patiently
from avcheck.machine.loading import never_compile
from avcheck.machine.memory import keep_few_kernels, keep_memory
from avcheck.settings import OnProgress

START_S = 300.0  # a worker not ready by then is taken to hang; loading takes a few seconds
_PROGRESS_S = 0.2  # between two reports of one worker
_NAME = "avcheck-worker"

Task = TypeVar("Task")


def threads_each(jobs: int) -> int:
    """Threads for each of `jobs` workers, together one for each core: more would slow all of them
    down.
    """
    return max(1, cores() // jobs)


@dataclass(frozen=True)
class Making(Generic[Task, Answer]):
    """What makes a worker's answers, as given to `run_workers`."""

    # Given a number of threads, it makes what answers a task
    handler: Callable[[int], Callable[[Task, OnProgress], Done[Answer]]]
    # Makes what answers tasks that need no handler; None: all need one
    at_once: Callable[[], Callable[[Task], Done[Answer] | None]] | None


class Worker(Generic[Task, Answer]):
    """The parent's end of one worker process."""

    def __init__(self, making: Making[Task, Answer], limits: Limits) -> None:
        self.ready = False  # the time of a task counts
        self.begun = False  # the start of the task in hand has been reported
        self.tasks: list[Task] = []  # the one in hand, or none
        self.given = 0
        self.deadline = time.monotonic() + START_S
        self._timeout_s = math.inf if limits.timeout_s is None else limits.timeout_s
        # A folder of its own, so that what a killed worker was writing can be removed. The worker
        # makes it, and removes it if this process is the one that is killed.
        self._scratch = _new_scratch()
        # Not fork, which would copy locks that other threads hold
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (
            theirs,
            making,
            limits.threads or threads_each(limits.jobs),
            limits.memory_mb,
            self._scratch,
        )
        self.process = context.Process(target=_work, args=arguments, name=_NAME, daemon=True)
        with _signals_held_back(), _bare():
            self.process.start()
        theirs.close()  # or the pipe would stay open when the process ends

    def put(self, task: Task) -> None:
        self.tasks.append(task)
        self.begun = False
        self.given += 1
        with suppress(OSError):  # it has just died; the next wait will notice
            self.pipe.send(task)
        if self.ready:
            self.begin()

    def begin(self) -> None:
        """Start the clock of the task in hand."""
        self.deadline = time.monotonic() + (self._timeout_s if self.tasks else math.inf)

    def messages(self) -> Iterator[tuple[str, Any]]:
        """What the worker has sent since the last call, and "gone" if that was all."""
        alive = self.process.is_alive()  # asked first, so that its last messages are read
        try:
            while self.pipe.poll():
                yield self.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            alive = False
        if not alive:
            yield "gone", None

    def end(self, grace_s: float = 0.0) -> int | None:
        """Kill the process if it is still running after `grace_s`, and clean up. Returns its exit
        code, -N for signal N.
        """
        self.process.join(grace_s)
        if self.process.is_alive():
            self.process.kill()
            # A process that waits for a dead network drive can be neither killed nor waited for
            self.process.join(5.0)
        self.pipe.close()
        _clean(self._scratch)
        return self.process.exitcode


def _work(
    pipe: connection.Connection,
    making: Making[Any, Any],
    threads: int,
    memory_mb: int | None,
    scratch: str | None,
) -> None:
    """The body of a worker process: make the handler, then handle one task after another until the
    parent is gone.
    """
    for number in _HELD_BACK:
        signal.signal(number, signal.SIG_IGN)
    if scratch is not None:
        Path(scratch).mkdir(mode=0o700)
        tempfile.tempdir = scratch
    threading.Thread(target=_end_with_parent, args=(scratch,), daemon=True).start()
    _limit(memory_mb)
    if memory_mb is None:
        keep_memory()  # under a limit, freed memory goes back
    # Read by the libraries as they load
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))
    wait_patiently()
    keep_few_kernels()
    never_compile()
    try:
        with suppress(EOFError, OSError):  # the parent is gone, or wants no more
            _serve(pipe, making, threads)
    finally:
        _clean(scratch)


def _new_scratch() -> str | None:
    """A path for a worker's temporary files; None where nothing can be written, as in a read-only
    container: only what is behind a URL needs one.
    """
    try:
        return str(Path(tempfile.gettempdir(), f"avcheck-worker-{secrets.token_hex(8)}"))
    except FileNotFoundError:
        return None


def _clean(scratch: str | None) -> None:
    if scratch is not None:
        shutil.rmtree(scratch, ignore_errors=True)


def _serve(pipe: connection.Connection, making: Making[Any, Any], threads: int) -> None:
    handle: Callable[[Any, OnProgress], Done[Any]] | None = None
    answer: Callable[[Any], Done[Any] | None] | None = None
    try:
        if making.at_once is None:
            handle = making.handler(threads)
        else:
            answer = making.at_once()
    except Exception as error:
        pipe.send(("failed", _why_no_start(error)))
        return
    sent_s = 0.0  # when, by the monotonic clock, progress was last reported

    def on_progress(fraction: float) -> None:
        nonlocal sent_s
        if time.monotonic() - sent_s > _PROGRESS_S:
            sent_s = time.monotonic()
            pipe.send(("progress", fraction))

    pipe.send(("ready", handle is not None))
    while True:
        task = pipe.recv()
        content: Done[Any] | Lost | None
        try:
            content = answer(task) if answer and not handle else None
            if content is None and handle is None:
                pipe.send(("loading", None))
                try:
                    handle = making.handler(threads)
                except Exception as error:
                    pipe.send(("failed", _why_no_start(error)))
                    return
                pipe.send(("ready", True))
            if content is None and handle is not None:
                content = handle(task, on_progress)
            kind = "done"
        except Exception as error:
            if isinstance(error, MemoryError):
                kind, content = "lost", Lost(_in_a_line(error), code="out_of_memory")
            else:
                kind, content = (
                    "lost",
                    Lost(_in_a_line(error), "".join(traceback.format_exception(error)), "bug"),
                )
        pipe.send((kind, content))


def _why_no_start(error: Exception) -> AvcheckError | Lost:
    """Why a worker could not start."""
    if isinstance(error, AvcheckError):
        return error
    # Some libraries say so when memory runs out
    if isinstance(error, ImportError | MemoryError | OSError):
        return Lost(_in_a_line(error))
    return Lost(_in_a_line(error), "".join(traceback.format_exception(error)), "bug")


def _in_a_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".removesuffix(": ").split())[:200]


def _limit(memory_mb: int | None) -> None:
    """Cap this process's data, write no core files, and make it the first to be killed when the
    machine runs out of memory.
    """
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if memory_mb is not None:
        # Not RLIMIT_AS, which also counts reserved memory and mapped files: half of what torch
        # takes
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = memory_mb << 20 if hard == resource.RLIM_INFINITY else min(memory_mb << 20, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _end_with_parent(scratch: str | None) -> None:
    """End this worker when its parent is killed: nobody is left to report to, or to clean up after
    it.
    """
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        _clean(scratch)
        os._exit(1)


# A terminal, a batch system or a service manager that stops a run signals every process of it. The
# workers leave that to the parent; otherwise each would look like a file that kills its worker.
_HELD_BACK = [
    number
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if (number := getattr(signal, name, None)) is not None
]


@contextmanager
def _bare() -> Iterator[None]:
    """A worker started inside neither imports the main module nor changes to the working directory.

    It needs nothing of the main module, which takes a tenth of a second to import, and a script
    that does not guard its own start would start again in every worker. It is in the working
    directory already, and may not be let in a second time: that may be root's, under `sudo -u`.
    """
    prepare = spawn.get_preparation_data

    def prepare_bare(name: str) -> dict[str, Any]:
        try:
            data = prepare(name)
        except FileNotFoundError as error:
            raise UsageError("the working directory is gone; change to another one") from error
        if name == _NAME:  # not a process that another thread starts
            for key in ("init_main_from_name", "init_main_from_path", "dir"):
                data.pop(key, None)
        return data

    spawn.get_preparation_data = prepare_bare
    try:
        yield
    finally:
        spawn.get_preparation_data = prepare


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Processes started inside begin with these signals blocked; signals for this process arrive
    when it ends.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
