"""What a batch and its worker processes have to say to each other. Starts none, so that a single
file is checked without what starting one takes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from avcheck.errors import UsageError
from avcheck.report import ErrorCode

Answer = TypeVar("Answer")
Tell = Callable[[float], None]  # takes the fraction of a task that is done, 0..1


class BugInWorker(Exception):
    """An exception in a worker process that is avcheck's own fault, in one line; `traceback` is
    that of the worker.
    """

    def __init__(self, text: str, traceback: str) -> None:
        super().__init__(text, traceback)
        self.traceback = traceback

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Limits:
    """How many worker processes, and what one file may cost. None: no limit. Raises UsageError for
    what cannot be.
    """

    jobs: int = 1
    timeout_s: float | None = None  # for one file, once a worker is ready for it
    memory_mb: int | None = None  # data of one worker (MiB), program and weights included
    # For each worker, or this process where there is none; 0: its share of the cores
    threads: int = 0

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise UsageError(f"jobs must be at least 1, not {self.jobs}")
        if self.timeout_s is not None and not 0 < self.timeout_s < float("inf"):
            raise UsageError(
                f"the timeout must be a number of seconds above 0, not {self.timeout_s:g}"
            )
        if self.threads < 0:
            raise UsageError(f"threads must be at least 0, not {self.threads}")
        if self.memory_mb is not None and self.memory_mb < 1:
            raise UsageError(
                f"the memory limit must be a number of MB above 0, not {self.memory_mb}"
            )
        if self.memory_mb is not None and sys.platform != "linux":
            raise UsageError("a memory limit needs Linux; elsewhere use a container")

    @property
    def in_process(self) -> bool:
        """Whether no worker is needed: nothing to do at the same time, and nothing to be cut
        off.
        """
        return self.jobs == 1 and self.timeout_s is None and self.memory_mb is None


@dataclass(frozen=True)
class Lost:
    """In place of an answer: the reason in one line and its kind, and the traceback of what a
    handler should not raise.
    """

    reason: str
    bug: str | None = None
    code: ErrorCode = "crashed"


@dataclass(frozen=True)
class Done(Generic[Answer]):
    """What a handler returns: the answer, and whether its process is too worn (out of memory) to be
    used again.
    """

    answer: Answer
    worn: bool = False
