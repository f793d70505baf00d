"""What a batch and its worker processes say to each other. Starts no process."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Generic, TypeVar

from avcheck.errors import UsageError
from avcheck.machine.cores import cores
from avcheck.record.report import ErrorCode

Answer = TypeVar("Answer", covariant=True)


class BugInWorker(Exception):
    """A bug of avcheck's own in a worker process, in one line; `traceback` is the worker's."""

    def __init__(self, text: str, traceback: str) -> None:
        super().__init__(text, traceback)
        self.traceback = traceback

    def __str__(self) -> str:
        return str(self.args[0])


def most_jobs() -> float:
    """How many workers can be waited for. Windows waits for 63 things at a time, and each worker is
    two: its messages and its end.
    """
    return 31 if sys.platform == "win32" else math.inf


def jobs_of(asked: int) -> int:
    """The number of workers that --jobs asks for: 0 is one a core."""
    return asked or int(min(cores(), most_jobs()))


@dataclass(frozen=True)
class Limits:
    """How many worker processes run, and what one file may cost. None: no limit. Raises UsageError
    for impossible values.
    """

    jobs: int = 1  # worker processes at a time
    timeout_s: float | None = None  # for one file, once a worker is ready for it
    memory_mb: int | None = None  # data of one worker (MiB), program and weights included
    # Of each worker, or of this process without workers; 0: its share of the cores
    threads: int = 0
    # A worker even for one file at a time: a crash in a decoder then costs the file, not the run
    isolated: bool = False

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise UsageError(f"must be at least 1, not {self.jobs}", "jobs")
        if self.jobs > most_jobs():
            raise UsageError(f"must be at most {most_jobs()} on Windows, not {self.jobs}", "jobs")
        if self.timeout_s is not None and not 0 < self.timeout_s < float("inf"):
            raise UsageError(
                f"must be a number of seconds above 0, not {self.timeout_s:g}", "timeout_s"
            )
        if self.threads < 0:
            raise UsageError(f"must be at least 0, not {self.threads}", "threads")
        if self.memory_mb is not None and self.memory_mb < 1:
            raise UsageError(f"must be a number of MB above 0, not {self.memory_mb}", "memory_mb")
        if self.memory_mb is not None and sys.platform != "linux":
            raise UsageError("a limit needs Linux; elsewhere use a container", "memory_mb")

    @property
    def in_process(self) -> bool:
        """Whether no worker process is needed: one file at a time, and nothing to enforce."""
        limited = self.timeout_s is not None or self.memory_mb is not None
        return self.jobs == 1 and not limited and not self.isolated


@dataclass(frozen=True)
class Lost:
    """Takes the place of an answer: the reason in one line, its kind, and the traceback if the
    handler raised something unexpected.
    """

    reason: str  # in one line
    bug: str | None = None  # the traceback; None for what is no bug
    code: ErrorCode = "crashed"  # the kind of reason


@dataclass(frozen=True)
class Done(Generic[Answer]):
    """What a handler returns: the answer, and whether its process should be replaced (it ran out of
    memory).
    """

    answer: Answer
    worn: bool = False  # its process should be replaced
