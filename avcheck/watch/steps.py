"""What was done with the files whose records are in the journal: a log of steps beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avcheck.errors import UsageError, why_not_written
from avcheck.record.report import Report

# A file as it was when it was checked: path, size in bytes, modification time in ns
Key = tuple[str, int | None, int | None]


def key_of(report: Report) -> Key:
    """The key of a file."""
    return report.path, report.file_size, report.file_mtime_ns


@dataclass(frozen=True)
class Begun:
    """A file on its way; `to` is where it goes, None if it stays."""

    key: Key  # of the file as it was checked
    to: Path | None


class Steps:
    """The log: read once, then only appended to. Use with `with`, while the journal is locked.

    A line that a kill cut short is removed. Raises UsageError for a file that cannot be read or
    written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begun: dict[Key, Path | None] = {}
        self._done: set[Key] = set()
        try:
            self._file = path.open("a+b")
        except OSError as error:
            raise UsageError(f"cannot open {path}: {error.strerror}", "journal") from error
        self._file.seek(0)
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            self._take(line)
        self._file.truncate(whole)

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def begin(self, key: Key, to: Path | None) -> None:
        """Log where a file is about to go. Raises UsageError."""
        self._write(key, {"step": "begin", "to": None if to is None else str(to)})
        self._begun[key] = to
        self._done.discard(key)

    def end(self, key: Key) -> None:
        """Log that nothing is left to do for a file. Raises UsageError."""
        self._write(key, {"step": "end"})
        self._begun.pop(key, None)
        self._done.add(key)

    def is_done(self, key: Key) -> bool:
        """Whether nothing is left to do for a file."""
        return key in self._done

    def goal(self, key: Key) -> Path | None:
        """Where a file is on its way to; None if it is not on its way."""
        return self._begun.get(key)

    def unfinished(self) -> Iterator[Begun]:
        """The files that are on their way."""
        yield from [Begun(key, to) for key, to in self._begun.items()]

    def _take(self, line: bytes) -> None:
        try:
            step = json.loads(line)
            key = step["path"], step["file_size"], step["file_mtime_ns"]
            if step["step"] == "begin":
                self._begun[key] = None if step["to"] is None else Path(step["to"])
                self._done.discard(key)
            else:
                self._begun.pop(key, None)
                self._done.add(key)
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self._path} is not a log of avcheck watch; give another", "journal"
            ) from error

    def _write(self, key: Key, step: dict[str, Any]) -> None:
        path, size, changed = key
        line = {**step, "path": path, "file_size": size, "file_mtime_ns": changed}
        try:
            self._file.write(json.dumps(line).encode("ascii") + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UsageError(
                f"cannot write to {self._path}: {why_not_written(error)}", "journal"
            ) from error
