"""Worker processes that a crash, a hang or a lack of memory costs one task each, and never the run.

Knows nothing of media: a task goes out to a worker, an answer comes back. `concurrent.futures`
cannot do this (one crash breaks its whole pool) and `multiprocessing.Pool` waits for ever for a
dead worker.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import connection, resource_tracker
from types import FrameType
from typing import Any, Generic

from avcheck.batch.base import Answer, BugInWorker, Done, Limits, Lost, Tell
from avcheck.batch.process import START_S, Making, Task, Worker
from avcheck.errors import AvcheckError, UsageError
from avcheck.report import ErrorCode

STARTS = 3  # workers in a row that do not get ready before it is given up
TASKS_A_WORKER = 500  # then it is replaced, before what leaks in any decoder adds up
_WAIT_S = 0.5  # how late an interrupt may be noticed


def run_workers(
    tasks: Iterable[Task | None],
    make_handler: Callable[[int], Callable[[Task, Tell], Done[Answer]]],
    limits: Limits,
    *,
    at_once: Callable[[], Callable[[Task], Done[Answer] | None]] | None = None,
    on_start: Callable[[Task], None] | None = None,
    on_progress: Callable[[Task, float], None] | None = None,
) -> Iterator[tuple[Task, Answer | Lost]]:
    """Have every task worked on by one of `limits.jobs` processes, and yield each with its answer
    in the order they end.

    `make_handler` (picklable) is called once in each worker with the number of threads it should
    use, and makes what then handles one task after the other there. Tasks are drawn from `tasks` as
    they are needed; None says that there is none at the moment, and that more may come. The time
    that the caller takes for an answer counts against no task. The first Ctrl-C ends the run with
    KeyboardInterrupt as soon as all answers that are ready have been yielded, the second at once.

    `at_once` (picklable) makes in a worker what answers the tasks that need no handler, and says
    None to the others. With it a worker makes its handler when the first task comes that needs one;
    the time that takes counts against no task either.

    An exception of a handler is a `Lost` with its traceback, and a new worker goes on.
    Raises what `make_handler` raises if that is an AvcheckError, UsageError if no worker can be
    started, and BugInWorker if that is for an exception that neither the machine nor the
    installation explains.
    """
    pool = _Pool(Making(make_handler, at_once), limits, on_start, on_progress)
    source = iter(tasks)
    more = True
    with _first_interrupt() as interrupted, pool:
        while True:
            while more and pool.has_room() and not interrupted.is_set():
                try:
                    task = next(source)
                except StopIteration:
                    more = False
                    break
                if task is None:
                    break
                pool.put(task)
            if not (pool.busy() or more):
                break
            # Where nothing is in hand, `tasks` does the waiting.
            answers = pool.wait(_WAIT_S if pool.busy() and not interrupted.is_set() else 0.0)
            for answer in answers:
                began = time.monotonic()
                yield answer
                pool.forgive(time.monotonic() - began)
            if interrupted.is_set() and not answers:
                break
        if interrupted.is_set():
            raise KeyboardInterrupt


class _Pool(Generic[Task, Answer]):
    """The workers of one run. Use with `with`, which ends them."""

    def __init__(
        self,
        making: Making[Task, Answer],
        limits: Limits,
        on_start: Callable[[Task], None] | None,
        on_progress: Callable[[Task, float], None] | None,
    ) -> None:
        self._making = making
        self._limits = limits
        self._on_start = on_start
        self._on_progress = on_progress
        self._workers: list[Worker[Task, Answer]] = []
        self._slots = limits.jobs
        self._failed_starts = 0  # since the last one that succeeded
        # Drawn, and not with a worker: the one it was meant for did not start
        self._waiting: deque[Task] = deque()

    def __enter__(self) -> None:
        if sys.platform != "win32":
            # Or the first worker starts it, which lets signals through again
            resource_tracker.ensure_running()

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
                worker = Worker(self._making, self._limits)
            except OSError as error:  # no more processes, or no more open files
                self._waiting.append(task)
                self._do_without(f"{error.strerror or error}")
                return
            self._workers.append(worker)
        worker.put(task)
        if worker.ready:
            self._begin(worker)

    def _begin(self, worker: Worker[Task, Answer]) -> None:
        """Say that the task in hand was begun, once."""
        if worker.tasks and not worker.begun and self._on_start:
            self._on_start(worker.tasks[0])
        worker.begun = True

    def wait(self, timeout_s: float) -> list[tuple[Task, Answer | Lost]]:
        """Wait until something happens, `timeout_s` or a deadline has passed; returns the tasks
        that ended.
        """
        while self._waiting and self._has_slot():
            self.put(self._waiting.popleft())
        now = time.monotonic()
        handles: dict[Any, Worker[Task, Answer]] = {}
        for worker in self._workers:
            timeout_s = min(timeout_s, max(0.0, worker.deadline - now))
            handles |= {worker.pipe: worker, worker.process.sentinel: worker}
        ended: list[tuple[Task, Answer | Lost]] = []
        heard = dict.fromkeys(
            handles[handle] for handle in connection.wait(list(handles), timeout_s)
        )
        overslept_s = time.monotonic() - now - timeout_s
        if overslept_s > 1:  # everything was stopped, as by Ctrl-Z
            self.forgive(overslept_s)
        for worker in heard:
            ended += self._listen(worker)
        for worker in [each for each in self._workers if each.deadline <= time.monotonic()]:
            ended += self._listen(worker)  # the answer may have come in this moment
            if worker in self._workers and worker.deadline <= time.monotonic():
                what = (
                    f"no result within {self._limits.timeout_s:g} s"
                    if worker.ready
                    else f"not ready within {START_S:g} s"
                )
                worker.end()
                ended += self._remove(worker, what, code="timeout")
        return ended

    def _listen(self, worker: Worker[Task, Answer]) -> Iterator[tuple[Task, Answer | Lost]]:
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
        self,
        worker: Worker[Task, Answer],
        reason: str,
        bug: str | None = None,
        code: ErrorCode = "crashed",
    ) -> Iterator[tuple[Task, Answer | Lost]]:
        """Take note that a worker is gone: its task is lost, unless it never began. `bug`: a
        traceback of its start.
        """
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
            advice = (
                ""
                if memory is None
                else f"; a memory limit of {memory} MB may be too low to load the network"
            )
            raise UsageError(f"no worker can be started: {reason}{advice}")
        self._slots = len(self._workers)


def _end_in_words(code: int | None) -> str:
    if code is None or code >= 0:
        return f"the worker ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return (
        f"the worker was killed by signal {-code} "
        f"({name}{'; out of memory?' if name == 'SIGKILL' else ''})"
    )


@contextmanager
def _first_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second is a KeyboardInterrupt, as the first is where
    somebody else listens.
    """
    event = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not ours:
        yield event
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
