"""Worker processes that a crash, a hang or a lack of memory costs one task each, and never the run.

Knows nothing of media: a task goes out to a worker, an answer comes back. `concurrent.futures` cannot do this (one crash
breaks its whole pool) and `multiprocessing.Pool` waits for ever for a dead worker.
"""

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
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process, resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

from avcheck.cores import cores, wait_patiently
from avcheck.errors import AvcheckError, UsageError
from avcheck.memory import keep_memory
from avcheck.results import ErrorCode

START_S = 300.0  # a worker that is not ready by then is taken for hung; loading takes a few seconds
STARTS = 3  # workers in a row that do not get ready before it is given up
TASKS_A_WORKER = 500  # then it is replaced, before what leaks in any decoder adds up
_PROGRESS_S = 0.2  # between two reports of one worker
_WAIT_S = 0.5  # how late an interrupt may be noticed

Task = TypeVar("Task")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Limits:
    """How many worker processes, and what one file may cost. None: no limit. Raises UsageError for what cannot be."""

    jobs: int = 1
    timeout_s: float | None = None  # for one file, once a worker is ready for it
    memory_mb: int | None = None  # data of one worker (MiB), program and weights included
    threads: int = 0  # of each worker, or of this process where there is none; 0: its share of the cores

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise UsageError(f"jobs must be at least 1, not {self.jobs}")
        if self.timeout_s is not None and not 0 < self.timeout_s < float("inf"):
            raise UsageError(f"the timeout must be a number of seconds above 0, not {self.timeout_s:g}")
        if self.threads < 0:
            raise UsageError(f"threads must be at least 0, not {self.threads}")
        if self.memory_mb is not None and self.memory_mb < 1:
            raise UsageError(f"the memory limit must be a number of MB above 0, not {self.memory_mb}")
        if self.memory_mb is not None and sys.platform != "linux":
            raise UsageError("a memory limit needs Linux; elsewhere use a container")

    @property
    def in_process(self) -> bool:
        """Whether no worker is needed: nothing to do at the same time, and nothing to be cut off."""
        return self.jobs == 1 and self.timeout_s is None and self.memory_mb is None


@dataclass(frozen=True)
class Lost:
    """In place of an answer: the reason in one line and its kind, and the traceback of what a handler should not raise."""

    reason: str
    bug: str | None = None
    code: ErrorCode = "crashed"


class BugInWorker(Exception):
    """An exception in a worker process that is avcheck's own fault, in one line; `traceback` is that of the worker."""

    def __init__(self, text: str, traceback: str) -> None:
        super().__init__(text, traceback)
        self.traceback = traceback

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Done(Generic[Answer]):
    """What a handler returns: the answer, and whether its process is too worn (out of memory) to be used again."""

    answer: Answer
    worn: bool = False


Tell = Callable[[float], None]  # takes the fraction of a task that is done, 0..1


def run_workers(
    tasks: Iterable[Task],
    make_handler: Callable[[int], Callable[[Task, Tell], Done[Answer]]],
    limits: Limits,
    *,
    at_once: Callable[[], Callable[[Task], Done[Answer] | None]] | None = None,
    on_start: Callable[[Task], None] | None = None,
    on_progress: Callable[[Task, float], None] | None = None,
) -> Iterator[tuple[Task, Answer | Lost]]:
    """Have every task worked on by one of `limits.jobs` processes, and yield each with its answer in the order they end.

    `make_handler` (picklable) is called once in each worker with the number of threads it should use, and makes what then
    handles one task after the other there. Tasks are drawn from `tasks` as they are needed. The time that the caller takes
    for an answer counts against no task. The first Ctrl-C ends the run with KeyboardInterrupt as soon as all answers that
    are ready have been yielded, the second at once.

    `at_once` (picklable) makes in a worker what answers the tasks that need no handler, and says None to the others. With it
    a worker makes its handler when the first task comes that needs one; the time that takes counts against no task either.

    An exception of a handler is a `Lost` with its traceback, and a new worker goes on.
    Raises what `make_handler` raises if that is an AvcheckError, UsageError if no worker can be started, and BugInWorker if
    that is for an exception that neither the machine nor the installation explains.
    """
    pool = _Pool(_Making(make_handler, at_once), limits, on_start, on_progress)
    source = iter(tasks)
    more = True
    with _first_interrupt() as interrupted, pool:
        while True:
            while more and pool.has_room() and not interrupted.is_set():
                try:
                    pool.put(next(source))
                except StopIteration:
                    more = False
            if not pool.busy():
                break
            answers = pool.wait(0.0 if interrupted.is_set() else _WAIT_S)
            for answer in answers:
                began = time.monotonic()
                yield answer
                pool.forgive(time.monotonic() - began)
            if interrupted.is_set() and not answers:
                break
        if interrupted.is_set():
            raise KeyboardInterrupt


def threads_each(jobs: int) -> int:
    """Threads for each of `jobs` workers, so that all of them together have a core each: more slow all of them down."""
    return max(1, cores() // jobs)


@dataclass(frozen=True)
class _Making(Generic[Task, Answer]):
    """How a worker comes to its answers; what `run_workers` is given."""

    handler: Callable[[int], Callable[[Task, Tell], Done[Answer]]]
    at_once: Callable[[], Callable[[Task], Done[Answer] | None]] | None


class _Worker(Generic[Task, Answer]):
    """The parent's end of one worker process."""

    def __init__(self, making: _Making[Task, Answer], limits: Limits) -> None:
        self.ready = False  # the time of a task counts
        self.begun = False  # it has been said that the task in hand was begun
        self.tasks: list[Task] = []  # the one in hand, or none
        self.given = 0
        self.deadline = time.monotonic() + START_S
        self._timeout_s = math.inf if limits.timeout_s is None else limits.timeout_s
        # In a folder of its own, what a killed worker was writing can be cleaned up. The worker makes it, and removes it
        # if it is this process that is killed.
        self._scratch = str(Path(tempfile.gettempdir(), f"avcheck-worker-{secrets.token_hex(8)}"))
        context = get_context("spawn")  # fork would copy the locks that other threads hold at the time
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, making, limits.threads or threads_each(limits.jobs), limits.memory_mb, self._scratch)
        self.process = context.Process(target=_work, args=arguments, name="avcheck-worker", daemon=True)
        with _signals_held_back():
            self.process.start()
        theirs.close()  # or the end of the process would not be the end of the pipe

    def put(self, task: Task) -> None:
        self.tasks.append(task)
        self.begun = False
        self.given += 1
        with suppress(OSError):  # it has just died, which the next wait will notice
            self.pipe.send(task)
        if self.ready:
            self.begin()

    def begin(self) -> None:
        """The clock of the task in hand starts."""
        self.deadline = time.monotonic() + (self._timeout_s if self.tasks else math.inf)

    def messages(self) -> Iterator[tuple[str, Any]]:
        """What the worker has sent and nobody has read, and "gone" if that was the last."""
        alive = self.process.is_alive()  # asked first, so that what it said before its end is read
        try:
            while self.pipe.poll():
                yield self.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            alive = False
        if not alive:
            yield "gone", None

    def end(self, grace_s: float = 0.0) -> int | None:
        """Kill the process if it is still there after `grace_s`, and clean up. Returns its exit code, -N for signal N."""
        self.process.join(grace_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(5.0)  # what waits for a dead network drive cannot be killed, nor waited for
        self.pipe.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
        return self.process.exitcode


class _Pool(Generic[Task, Answer]):
    """The workers of one run. Use with `with`, which ends them."""

    def __init__(
        self,
        making: _Making[Task, Answer],
        limits: Limits,
        on_start: Callable[[Task], None] | None,
        on_progress: Callable[[Task, float], None] | None,
    ) -> None:
        self._making = making
        self._limits = limits
        self._on_start = on_start
        self._on_progress = on_progress
        self._workers: list[_Worker[Task, Answer]] = []
        self._slots = limits.jobs
        self._failed_starts = 0  # since the last one that succeeded
        self._waiting: deque[Task] = deque()  # drawn, and not with a worker: the one it was meant for did not start

    def __enter__(self) -> None:
        if sys.platform != "win32":
            resource_tracker.ensure_running()  # or the first worker starts it, which lets signals through again

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.end()

    def has_room(self) -> bool:
        """Whether another task could be worked on now."""
        return not self._waiting and self._has_slot()

    def _has_slot(self) -> bool:
        return len(self._workers) < self._slots or any(not each.tasks for each in self._workers)

    def busy(self) -> bool:
        return bool(self._waiting) or any(each.tasks for each in self._workers)

    def forgive(self, seconds: float) -> None:
        """Count this time against no task."""
        for worker in self._workers:
            worker.deadline += seconds

    def put(self, task: Task) -> None:
        """Give a task to an idle worker, or to a new one."""
        worker = next((each for each in self._workers if not each.tasks), None)
        if worker is None:
            try:
                worker = _Worker(self._making, self._limits)
            except OSError as error:  # no more processes, or no more open files
                self._waiting.append(task)
                self._do_without(f"{error.strerror or error}")
                return
            self._workers.append(worker)
        worker.put(task)
        if worker.ready:
            self._begin(worker)

    def _begin(self, worker: _Worker[Task, Answer]) -> None:
        """Say that the task in hand was begun, once."""
        if worker.tasks and not worker.begun and self._on_start:
            self._on_start(worker.tasks[0])
        worker.begun = True

    def wait(self, timeout_s: float) -> list[tuple[Task, Answer | Lost]]:
        """Wait until something happens, `timeout_s` or a deadline has passed; returns the tasks that ended."""
        while self._waiting and self._has_slot():
            self.put(self._waiting.popleft())
        now = time.monotonic()
        handles: dict[Any, _Worker[Task, Answer]] = {}
        for worker in self._workers:
            timeout_s = min(timeout_s, max(0.0, worker.deadline - now))
            handles |= {worker.pipe: worker, worker.process.sentinel: worker}
        ended: list[tuple[Task, Answer | Lost]] = []
        heard = dict.fromkeys(handles[handle] for handle in connection.wait(list(handles), timeout_s))
        overslept_s = time.monotonic() - now - timeout_s
        if overslept_s > 1:  # everything was stopped, as by Ctrl-Z
            self.forgive(overslept_s)
        for worker in heard:
            ended += self._listen(worker)
        for worker in [each for each in self._workers if each.deadline <= time.monotonic()]:
            ended += self._listen(worker)  # the answer may have come in this moment
            if worker in self._workers and worker.deadline <= time.monotonic():
                what = f"no result within {self._limits.timeout_s:g} s" if worker.ready else f"not ready within {START_S:g} s"
                worker.end()
                ended += self._remove(worker, what, code="timeout")
        return ended

    def _listen(self, worker: _Worker[Task, Answer]) -> Iterator[tuple[Task, Answer | Lost]]:
        for kind, content in worker.messages():
            if kind == "ready":
                if content:  # it has its handler
                    self._failed_starts = 0
                worker.ready = True
                worker.begin()
                self._begin(worker)
            elif kind == "loading":
                worker.ready = False
                worker.deadline = time.monotonic() + START_S
            elif kind == "progress" and worker.tasks and self._on_progress:
                self._on_progress(worker.tasks[0], content)
            elif kind == "done":
                yield worker.tasks.pop(), content.answer
                worker.deadline = math.inf
                if content.worn or worker.given >= TASKS_A_WORKER:
                    worker.end()
                    self._workers.remove(worker)
                    return
            elif kind == "lost":
                yield worker.tasks.pop(), content
                worker.end()  # who knows what state it is in
                self._workers.remove(worker)
                return
            elif kind == "failed":
                if isinstance(content, AvcheckError):
                    raise content
                worker.end()
                yield from self._remove(worker, content.reason, content.bug)
                return
            elif kind == "gone":
                yield from self._remove(worker, _end_in_words(worker.end(grace_s=5.0)))

    def _remove(
        self, worker: _Worker[Task, Answer], reason: str, bug: str | None = None, code: ErrorCode = "crashed"
    ) -> Iterator[tuple[Task, Answer | Lost]]:
        """Take note that a worker is gone: its task is lost, unless it never began. `bug`: a traceback of its start."""
        self._workers.remove(worker)
        if worker.ready:
            yield from ((task, Lost(reason, code=code)) for task in worker.tasks)
            return
        self._waiting.extend(worker.tasks)
        self._failed_starts += 1
        if self._failed_starts >= STARTS:
            self._do_without(reason, bug)

    def _do_without(self, reason: str, bug: str | None = None) -> None:
        """Go on with those workers that there are; raises where there is none."""
        if not self._workers:
            if bug is not None:
                raise BugInWorker(reason, bug)
            memory = self._limits.memory_mb
            advice = "" if memory is None else f"; a memory limit of {memory} MB may be too low to load the network"
            raise UsageError(f"no worker can be started: {reason}{advice}")
        self._slots = len(self._workers)


def _work(
    pipe: connection.Connection,
    making: _Making[Any, Any],
    threads: int,
    memory_mb: int | None,
    scratch: str,
) -> None:
    """What a worker process does: make the handler, then one task after the other, until the parent is gone."""
    for number in _HELD_BACK:
        signal.signal(number, signal.SIG_IGN)
    Path(scratch).mkdir(mode=0o700)
    tempfile.tempdir = scratch
    threading.Thread(target=_end_with_parent, args=(scratch,), daemon=True).start()
    _limit(memory_mb)
    if memory_mb is None:
        keep_memory()  # under a limit, what is freed is wanted back
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # read as the libraries are loaded
        os.environ.setdefault(name, str(threads))
    wait_patiently()
    try:
        with suppress(EOFError, OSError):  # the parent is gone, or wants no more
            _serve(pipe, making, threads)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _serve(pipe: connection.Connection, making: _Making[Any, Any], threads: int) -> None:
    handle: Callable[[Any, Tell], Done[Any]] | None = None
    answer: Callable[[Any], Done[Any] | None] | None = None
    try:
        if making.at_once is None:
            handle = making.handler(threads)
        else:
            answer = making.at_once()
    except Exception as error:
        pipe.send(("failed", _why_no_start(error)))
        return
    said = 0.0

    def tell(fraction: float) -> None:
        nonlocal said
        if time.monotonic() - said > _PROGRESS_S:
            said = time.monotonic()
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
                content = handle(task, tell)
            kind = "done"
        except Exception as error:
            if isinstance(error, MemoryError):
                kind, content = "lost", Lost(_in_a_line(error), code="out_of_memory")
            else:
                kind, content = "lost", Lost(_in_a_line(error), "".join(traceback.format_exception(error)), "bug")
        pipe.send((kind, content))


def _why_no_start(error: Exception) -> AvcheckError | Lost:
    """What a worker says in place of being ready."""
    if isinstance(error, AvcheckError):
        return error
    if isinstance(error, ImportError | MemoryError | OSError):  # also how a library says that it gets too little memory
        return Lost(_in_a_line(error))
    return Lost(_in_a_line(error), "".join(traceback.format_exception(error)), "bug")


def _in_a_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".removesuffix(": ").split())[:200]


def _limit(memory_mb: int | None) -> None:
    """Cap this process's data, write no core files, and be the first to go when the machine runs out of memory."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if memory_mb is not None:
        # Not RLIMIT_AS: that counts what is only reserved or mapped from files, half of what torch takes.
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = memory_mb << 20 if hard == resource.RLIM_INFINITY else min(memory_mb << 20, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _end_with_parent(scratch: str) -> None:
    """A worker whose parent was killed has nobody to report to, nor to clean up behind it."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)


def _end_in_words(code: int | None) -> str:
    if code is None or code >= 0:
        return f"the worker ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"the worker was killed by signal {-code} ({name}{'; out of memory?' if name == 'SIGKILL' else ''})"


# Whoever stops a run from a terminal, a batch system or a service manager signals every process of it. The workers leave
# that to the parent, or each would look like a file that kills its worker.
_HELD_BACK = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """A process started in here begins with these signals blocked; those meant for this one arrive at the end."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _first_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second is a KeyboardInterrupt, as the first is where somebody else listens."""
    event = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not ours:
        yield event
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
