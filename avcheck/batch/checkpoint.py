"""Results files (JSON lines): a run continues from one, and several are merged.

A record is written whole, in one go, when its file is done. So a kill at any moment leaves whole
records and at most one cut-short last line, which the next run removes. Memory holds a few bytes
for each file, never its report.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from avcheck import render
from avcheck.batch.remote import Stamp, is_url
from avcheck.errors import UsageError, why_not_written
from avcheck.record.report import Report, Verdict

_BEGINNING = b'{"schema_version"'  # every record begins like this


class Checkpoint:
    """A results file to continue from: what it holds already, and where the next records go. Use
    with `with`.

    The file is created if it is missing. A last line that a kill cut short is removed (`mended`);
    other lines that are not records are skipped (`strange`). Raises UsageError for a file of
    another kind, which is left as it is, for one that cannot be read or written, and for one that
    another run is writing to.
    """

    def __init__(self, path: Path, parameter: str = "resume") -> None:
        """`parameter`: the one that gave the path, for messages."""
        self.path = path
        self._parameter = parameter
        self.mended = False
        self.strange = 0
        self._done: dict[bytes, _Entry] = {}
        # By URL, weights and settings: the key in `_done` of each size and time, the newest last
        self._urls: dict[bytes, dict[Stamp, bytes]] = {}
        try:
            # O_NONBLOCK: opening a FIFO would wait for its other end. It has no effect on a regular
            # file.
            flags = (
                os.O_RDWR
                | os.O_CREAT
                | os.O_APPEND
                | getattr(os, "O_NONBLOCK", 0)
                | getattr(os, "O_BINARY", 0)
            )
            self._fd = os.open(path, flags, 0o666)
        except OSError as error:
            raise UsageError(f"cannot open {path}: {error.strerror}", self._parameter) from error
        try:
            if not path.is_file():
                raise UsageError(f"{path} is not a regular file", self._parameter)
            self._lock()
            self._read()
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def verdict(self, wanted: Report) -> Verdict | None:
        """The verdict recorded for the same path, size, modification time, weights and settings;
        None if there is none, or not for every sound asked for. Of several sounds it is an error if
        one of them is.

        An internal error counts as no verdict: it is worth another try.
        """
        entry = self._done.get(_key(wanted))
        return entry.verdict if entry is not None and entry.is_whole else None

    def starts(self, wanted: Report) -> tuple[int, ...]:
        """The byte positions of the records of a file that `verdict` knows: little memory for each
        of many files.
        """
        return self._done[_key(wanted)].starts

    def reports(self, starts: Iterable[int]) -> Iterator[Report]:
        """The whole records at these positions, read again one at a time. Raises UsageError if one
        is no longer there.
        """
        with self.path.open("rb") as file:
            for start in starts:
                yield _record_at(file, start, self.path)

    def verdicts(self, wanted: Report) -> dict[Stamp, Verdict]:
        """What `verdict` gives for the same URL, weights and settings, by size and modification
        time; the newest last. Checks of which a sound has no record are left out.
        """
        entries = (
            (stamp, self._done[key])
            for stamp, key in self._urls.get(_key(wanted, stamped=False), {}).items()
        )
        return {stamp: entry.verdict for stamp, entry in entries if entry.is_whole}

    def gave_up(self, wanted: Report) -> bool:
        """Whether the newest record of this URL is an error without size and time: it did not
        answer, or it cost its worker.

        Asking it again for size and time may end the same way.
        """
        newest = next(reversed(self.verdicts(wanted).items()), None)
        return newest == ((None, None), "error")

    def add(self, *results: Report) -> None:
        """Write the records of a file to disk, where they outlive this process and a crash of the
        machine. Raises UsageError.
        """
        lines = [render.to_json(result).encode("ascii") + b"\n" for result in results]
        data = b"".join(lines)
        try:
            start = os.fstat(self._fd).st_size
            while data:
                data = data[os.write(self._fd, data) :]
            os.fsync(self._fd)
        except OSError as error:
            raise UsageError(
                f"cannot write to {self.path}: {why_not_written(error)}", self._parameter
            ) from error
        for result, line in zip(results, lines, strict=True):
            self._remember(result, start)
            start += len(line)

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another run is writing to {self.path}", self._parameter) from None
        except OSError:
            pass  # a file system without locks cannot keep others out

    def _read(self) -> None:
        ours = False
        with self.path.open("rb") as file:
            for line in _lines(file):
                if line.result is not None:
                    ours = True
                    self._remember(line.result, line.start)
                    if line.cut:
                        os.write(self._fd, b"\n")
                elif not (ours or line.may_be_ours):
                    raise _not_ours(self.path, line, self._parameter)
                elif line.cut:
                    self.mended = True
                    os.truncate(self._fd, line.start)
                else:
                    self.strange += 1

    def _remember(self, result: Report, start: int) -> None:
        """Take in a record that begins at this byte; one of a bug is as good as none."""
        if result.is_bug:
            return
        key = _key(result)
        self._done[key] = _Entry.after(self._done.get(key), result, start)
        if is_url(result.path):
            stamp = result.file_size, result.file_mtime_ns
            versions = self._urls.setdefault(_key(result, stamped=False), {})
            versions.pop(stamp, None)  # re-inserted, so that the newest is the last
            versions[stamp] = key


@dataclass(frozen=True)
class _Entry:
    """One check of a title: its verdict, where its records begin, and how many belong together, one
    for each sound.
    """

    verdict: Verdict
    starts: tuple[int, ...]  # of each record, bytes from the beginning of the file
    records: int
    checked_at: str | None  # when it ended, UTC; None in older records

    @property
    def is_whole(self) -> bool:
        """Whether all its records are there: a kill may have lost some."""
        return len(self.starts) == self.records

    @classmethod
    def after(cls, before: _Entry | None, result: Report, start: int) -> _Entry:
        """The entry once the next record of this title is read, be it of the same check or a later
        one.
        """
        starts: tuple[int, ...] = (start,)
        verdict = result.verdict
        if (
            before is not None
            and not before.is_whole
            and (before.records, before.checked_at) == (result.records, result.checked_at)
        ):
            starts = (*before.starts, start)
            verdict = "error" if "error" in (before.verdict, verdict) else before.verdict
        return cls(verdict, starts, result.records, result.checked_at)


@dataclass
class Merged:
    """The newest record for each path among several results files; of a title with several sounds,
    all records of the newest check. Raises UsageError for a file that is not a results file.

    `warnings` say what was skipped; `incomplete` is true if a run was killed and never resumed, or
    a record is damaged.
    """

    files: Sequence[Path]
    warnings: list[str] = field(default_factory=list)
    incomplete: bool = False
    _newest: dict[bytes, tuple[int, _Entry]] = field(default_factory=dict)  # by path; the file

    def __post_init__(self) -> None:
        for number, path in enumerate(self.files):
            if path.exists() and not path.is_file():
                raise UsageError(
                    f"{path} is not a regular file, and results are read twice; save them in one"
                )
            try:
                with path.open("rb") as file:
                    self._read(number, path, file)
            except OSError as error:
                raise UsageError(f"cannot read {path}: {error.strerror}") from error
        if halves := sum(not entry.is_whole for _, entry in self._newest.values()):
            self.incomplete = True
            self.warnings.append(
                f"titles of which not every sound has its record (that run was killed): {halves}"
            )

    def _read(self, number: int, path: Path, file: IO[bytes]) -> None:
        ours = False
        for line in _lines(file, whole=True):
            if line.result is not None:
                ours = True
                self._take(number, line.result, line.start)
            elif ours or line.may_be_ours:
                self.incomplete |= line.cut or line.damaged
                self.warnings.append(f"{path}: line {line.number} is {line.in_words}")
            else:
                raise _not_ours(path, line)

    def _take(self, number: int, result: Report, start: int) -> None:
        key = _digest(result.path)
        file, before = self._newest.get(key, (number, None))
        # Times have a fixed form, so they are compared as text. Without one, the later line is
        # newer.
        if before is None or (result.checked_at or "") >= (before.checked_at or ""):
            same = before if file == number else None
            self._newest[key] = number, _Entry.after(same, result, start)

    def __len__(self) -> int:
        return sum(len(entry.starts) for _, entry in self._newest.values())

    @property
    def titles(self) -> int:
        """How many titles the records are about."""
        return len(self._newest)

    def __iter__(self) -> Iterator[Report]:
        """The records, in the order of files and lines, read again one at a time."""
        kept: list[list[int]] = [[] for _ in self.files]
        for number, entry in self._newest.values():
            kept[number] += entry.starts
        for path, starts in zip(self.files, kept, strict=True):
            with path.open("rb") as file:
                for start in sorted(starts):
                    yield _record_at(file, start, path)


# What begins with a bracket alone: records laid out for reading, as `json` gives them
_DOCUMENT = "a JSON document, not a record a line; save records as jsonl"


@dataclass(frozen=True)
class _Line:
    number: int  # from 1
    start: int  # bytes from the beginning of the file
    cut: bool  # without an end of line
    damaged: bool  # begins like a record, but is none
    may_be_ours: bool  # begins like a record, so it may be one cut short
    result: Report | None  # None: the line is no record
    problem: str = ""  # why it is no record, in words; "": it is one

    @property
    def in_words(self) -> str:
        """What a line that is no record is."""
        if self.cut:
            return "cut short (that run was killed)"
        if self.damaged:
            return f"a damaged record and is skipped ({self.problem}); check that file again"
        return "not a record and is skipped"


def _lines(file: IO[bytes], *, whole: bool = False) -> Iterator[_Line]:
    """The lines of a results file that are not blank. Unless `whole`, the long parts of a record
    are left out, which is faster.
    """
    start = 0
    for number, raw in enumerate(file, start=1):
        result, problem = None, ""
        try:
            record = json.loads(raw) if raw.strip() else None
            if isinstance(record, dict) and not whole:
                record |= {"blocks": (), "segments": (), "detail": None}
            result = Report.from_record(record)
        except UnicodeDecodeError:  # JSON guessed the wrong encoding
            problem = "not UTF-8 text"
        except (json.JSONDecodeError, RecursionError):
            problem = _DOCUMENT if raw.strip() in (b"{", b"[") else "not JSON"
        except ValueError as error:
            problem = str(error)[:100]
        if raw.strip():
            cut = not raw.endswith(b"\n")
            begins = raw.startswith(_BEGINNING)
            may_be_ours = cut and (begins or _BEGINNING.startswith(raw))
            yield _Line(number, start, cut, begins and result is None, may_be_ours, result, problem)
        start += len(raw)


def _not_ours(path: Path, line: _Line, parameter: str = "") -> UsageError:
    """The error of a file that begins with something else than a record."""
    problem = f"line {line.number}: {line.problem}"
    return UsageError(f"{path} is not a results file of avcheck ({problem})", parameter)


def _record_at(file: IO[bytes], start: int, path: Path) -> Report:
    file.seek(start)
    try:
        return Report.from_record(json.loads(file.readline()))
    except ValueError as error:
        raise UsageError(f"{path} has changed while it was read") from error


def _key(result: Report, *, stamped: bool = True) -> bytes:
    stamp = (result.file_size, result.file_mtime_ns) if stamped else ()
    return _digest(result.path, *stamp, result.model_sha256, result.settings_sha256)


def _digest(*parts: str | int | None) -> bytes:
    return hashlib.blake2b(json.dumps(parts).encode("ascii"), digest_size=16).digest()
