"""Where rendered results go: to a stream as they come, or to a file that is whole or not there.

A document whose head is known only at the end waits in a temporary file, so memory stays small
however many files are checked.
"""

from __future__ import annotations

import glob
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from avcheck.errors import UsageError, why_not_written
from avcheck.machine.files import UNFINISHED, file_id, publish_new, unfinished, why_not_new
from avcheck.record.report import Report
from avcheck.render import FORMATS, Renderer


@dataclass(frozen=True)
class Target:
    """A file to write, by its path; form is one of `FORMATS`."""

    form: str
    path: Path


def parse_targets(options: Iterable[str], *, force: bool = False) -> tuple[Target, ...]:
    """The files to write, before anything is checked.

    Args:
        options: Texts like `FORMAT=FILE`.
        force: Whether a file that exists may be written over. What is not a regular file (a device,
            a directory) never is.

    Raises:
        UsageError: A text names no format or no file, or a file that cannot be written.
    """
    targets: list[Target] = []
    for option in options:
        form, equals, name = option.partition("=")
        if not equals or not name:
            raise UsageError(
                f"--output takes FORMAT=FILE, for example junit=report.xml, not {option!r}"
            )
        if form not in FORMATS:
            raise UsageError(
                f"--output: there is no format {form!r}; there are {', '.join(FORMATS)}"
            )
        if name == "-":
            raise UsageError(f"--output writes files; for stdout take --format {form}")
        path = Path(name)
        if any(os.path.realpath(path) == os.path.realpath(other.path) for other in targets):
            raise UsageError(f"--output: {path} is named twice")
        if os.path.lexists(path):
            if not path.is_file():
                raise UsageError(f"--output: {path} is not a regular file")
            if not force:
                raise UsageError(f"--output: {path} exists already; --force writes over it")
        if why := why_not_new(path):  # also where it exists: it is replaced by a new file
            raise UsageError(f"--output: {why}")
        targets.append(Target(form, path))
    return tuple(targets)


class Guard:
    """Keeps the files that a run reads from being overwritten: `force` is for reports, not for
    media, lists or settings.
    """

    def __init__(self, targets: Iterable[Target]) -> None:
        # Names for files that do not exist yet, identities for files with several names
        paths = [target.path for target in targets]
        self._names = {os.path.realpath(path) for path in paths}
        self._identities = {file_id(path) for path in paths} - {None}

    def refuse_all(self, paths: Iterable[Path | None]) -> None:
        """`refuse` every one of these that exists."""
        for path in paths:
            if path is not None:
                self.refuse(path)

    def refuse(self, path: Path) -> None:
        """Raise UsageError if this file, which is read, is a target, under this or another name."""
        if not self._names:
            return
        identity = file_id(path)
        if (
            (os.path.realpath(path) in self._names)
            if identity is None
            else (identity in self._identities)
        ):
            raise UsageError(f"--output: {path} is a file that is read")


@contextmanager
def to_stream(
    renderer: Renderer, write: Callable[[str], None]
) -> Iterator[Callable[[Report], None]]:
    """One document on its way to a stream: call what this yields with each report; leaving the
    block finishes it.

    An interrupted document is finished too, so that a list is still a list; only if the reader has
    gone nothing more is written.

    Args:
        renderer: The document.
        write: Takes its text, piece by piece. What it raises comes through.

    Raises:
        UsageError: A temporary file cannot be written.
    """
    with closing(_Growing(renderer, write)) as growing:
        try:
            yield growing.add
        except BrokenPipeError:
            raise
        except BaseException:
            growing.finish()
            raise
        growing.finish()


@contextmanager
def to_file(
    renderer: Renderer,
    path: Path,
    *,
    force: bool = False,
    on_partial: Callable[[Path], None] | None = None,
) -> Iterator[Callable[[Report], None]]:
    """One document on its way to a file, which gets its name only when it is whole. Use it like
    `to_stream`.

    Until then it grows beside the target as NAME.XXXXXXXX.partial. If the run ends early, what was
    done is finished as a whole document and stays there, and the target does not appear. Leftovers
    of earlier runs are removed once the file is whole.

    Args:
        renderer: The document.
        path: The target.
        force: Whether to write over a file of that name.
        on_partial: Called with the path of what stays there instead.

    Raises:
        UsageError: The file cannot be written or, without `force`, another one has taken the name
            meanwhile.
    """
    partial = unfinished(path)
    with _explained(path):
        file = partial.open("x", encoding="utf-8", newline="", errors="backslashreplace")
        _is_ours(file)
    used = whole = False

    def add(report: Report) -> None:
        nonlocal used
        used = True
        with _explained(path):
            growing.add(report)
            file.flush()  # on disk, what is done outlives even a kill

    try:
        with closing(_Growing(renderer, file.write)) as growing:
            try:
                yield add
            finally:
                with _explained(path):
                    try:
                        growing.finish()
                        file.flush()
                        os.fsync(file.fileno())
                    finally:
                        file.close()
        with _explained(path):
            _publish(partial, path, force)
        whole = True
        _clear_stale(path)
    finally:
        if not whole:
            if used and not _is_empty(partial):  # a full disk may have taken nothing
                if on_partial:
                    on_partial(partial)
            else:
                with suppress(OSError):
                    partial.unlink()


class _Growing:
    """An unfinished document."""

    def __init__(self, renderer: Renderer, write: Callable[[str], object]) -> None:
        self._renderer = renderer
        self._write = write
        self._spool: IO[str] | None = None
        if renderer.head_last:
            with _explained("a temporary file"):
                self._spool = tempfile.TemporaryFile("w+", encoding="utf-8", newline="")  # noqa: SIM115 - close() does
        else:
            write(renderer.head())

    def add(self, report: Report) -> None:
        text = self._renderer.item(report)
        if self._spool is None:
            self._write(text)
        else:
            with _explained("a temporary file"):
                self._spool.write(text)

    def finish(self) -> None:
        if self._spool is not None:
            self._write(self._renderer.head())
            self._spool.seek(0)
            while piece := self._spool.read(1 << 16):
                self._write(piece)
        self._write(self._renderer.tail())

    def close(self) -> None:
        if self._spool is not None:
            with suppress(OSError):  # on a full disk; what cannot be written was said before
                self._spool.close()


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:  # gone, with its folder
        return True


def _publish(partial: Path, path: Path, force: bool) -> None:
    """Give the file its name in one step, so that no reader ever sees a part of it."""
    if force:
        partial.replace(path)
        return
    try:
        publish_new(partial, path)
    except FileExistsError:
        raise UsageError(
            f"--output: {path} has appeared during the run and is not overwritten"
        ) from None


def _clear_stale(path: Path) -> None:
    """Remove the leftovers of interrupted runs of a file that is whole now; one that another run is
    writing stays.
    """
    for left in path.parent.glob(f"{glob.escape(path.name)}.????????{UNFINISHED}"):
        with suppress(OSError):
            if (
                re.fullmatch("[0-9a-f]{8}", left.suffixes[-2][1:])
                and left.is_file()
                and not left.is_symlink()
            ):
                with left.open("r+b") as file:
                    is_left = _is_ours(file)
                if is_left:
                    left.unlink()


def _is_ours(file: IO[Any]) -> bool:
    """Lock a file that is being written, until it is closed; False if another run has locked it."""
    if sys.platform == "win32":  # where an open file cannot be removed anyway
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks cannot keep others out
        pass
    return True


@contextmanager
def _explained(what: str | Path) -> Iterator[None]:
    """Turn an OSError of writing `what` into a UsageError."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {what}: {why_not_written(error)}") from error
