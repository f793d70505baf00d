"""Worker processes: a crash, a hang or a lack of memory costs one task, never the run.

Knows nothing of media: a task goes to a worker, an answer comes back. `concurrent.futures` cannot
do this (one crash breaks its whole pool), and `multiprocessing.Pool` waits for ever for a dead
worker.
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

from avcheck.batch.base import Answer, BugInWorker, Done, Limits, Lost
from avcheck.batch.process import START_S, Making, Task, Worker
from avcheck.errors import AvcheckError, UsageError
from avcheck.machine.ends import signal_in_words
from avcheck.record.report import ErrorCode
from avcheck.settings import OnProgress

STARTS = 3  # workers in a row that may fail to start before the run gives up
TASKS_A_WORKER = 500  # then a worker is replaced, before leaks in decoders add up
_WAIT_S = 0.5  # how late an interrupt may be noticed


def run_workers(
    tasks: Iterable[Task | None],
    make_handler: Callable[[int], Callable[[Task, OnProgress], Done[Answer]]],
    limits: Limits,
    *,
    at_once: Callable[[], Callable[[Task], Done[Answer] | None]] | None = None,
    on_start: Callable[[Task], None] | None = None,
    on_progress: Callable[[Task, float], None] | None = None,
) -> Iterator[tuple[Task, Answer | Lost]]:
    """Have worker processes work on tasks.

    The time the caller takes over an answer counts against no task. The first Ctrl-C ends the run
    with KeyboardInterrupt once all answers that are ready have been yielded, the second at once.

    Args:
        tasks: Drawn as needed; None: there is none at the moment, and more may come.
        make_handler: Called once in each worker with the number of threads to use (so it is
            pickled); returns what handles one task after another there.
        limits: How many processes, and what one task may cost.
        at_once: Makes in a worker what answers tasks that need no handler, and returns None for the
            others (pickled too). A worker then makes its handler for the first task that needs one;
            that time counts against no task either.
        on_start: Called with each task as its time begins to count.
        on_progress: Called with a task and the fraction of it that is done, 0..1.

    Yields:
        Each task with its answer, in the order they end. A handler that raises gives a `Lost` with
        its traceback, and a new worker takes over.

    Raises:
        AvcheckError: What `make_handler` raises.
        UsageError: No worker can be started.
        BugInWorker: The same, if neither the machine nor the installation is the reason.
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
            # With nothing in hand, `tasks` does the waiting.
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
        # Drawn but without a worker: the one meant for it did not start
        self._waiting: deque[Task] = deque()

    def __enter__(self) -> None:
        if sys.platform != "win32":
            # Now, or the first worker would start it, and it lets signals through
            resource_tracker.ensure_running()

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.end()

    def has_room(self) -> bool:
        """Whether a worker is free for another task."""
        return not self._waiting and self._has_slot()

    def _has_slot(self) -> bool:
        return len(self._workers) < self._slots or any(not each.tasks for each in self._workers)

    def busy(self) -> bool:
        return bool(self._waiting) or any(each.tasks for each in self._workers)

    def forgive(self, seconds: float) -> None:
        """Do not count this time against any task."""
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
        """Report once that the task in hand has begun."""
        if worker.tasks and not worker.begun and self._on_start:
            self._on_start(worker.tasks[0])
        worker.begun = True

    def wait(self, timeout_s: float) -> list[tuple[Task, Answer | Lost]]:
        """Wait until something happens, `timeout_s` passes or a deadline does; return the tasks
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
        if overslept_s > 1:  # the whole machine or run was stopped, as by Ctrl-Z
            self.forgive(overslept_s)
        for worker in heard:
            ended += self._listen(worker)
        for worker in [each for each in self._workers if each.deadline <= time.monotonic()]:
            ended += self._listen(worker)  # the answer may have come just now
            if worker in self._workers and worker.deadline <= time.monotonic():
                what = (
                    f"there was no result within {self._limits.timeout_s:g} s; allow more with "
                    "--timeout"
                    if worker.ready
                    else f"the worker was not ready within {START_S:g} s"
                )
                worker.end()
                ended += self._remove(worker, what, code="timeout")
        return ended

    def _listen(self, worker: Worker[Task, Answer]) -> Iterator[tuple[Task, Answer | Lost]]:
        for kind, content in worker.messages():
            if kind == "ready":
                if content:  # its handler is made
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
                worker.end()  # its state is unknown
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
        """Note that a worker is gone: its task is lost, unless it never began. `bug`: a traceback
        from its start.
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
        """Go on with the remaining workers; raise if there are none."""
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
    killed = f"the worker was killed by {signal_in_words(-code)}"
    return killed.replace("SIGKILL", "SIGKILL; out of memory?")


@contextmanager
def _first_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second raises KeyboardInterrupt. Outside the main
    thread, the first does too.
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
