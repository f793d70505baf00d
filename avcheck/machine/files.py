"""Files that are whole or not there: written beside their place, and moved there in one step."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".partial"  # in the names of files that are not whole yet

_NAME_BYTES = 255  # the longest name that common file systems take


def stamp(path: str | Path) -> tuple[int | None, int | None]:
    """Size in bytes and modification time in ns since 1970; None for what is missing or is not a
    file.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - takes text as well
    except (OSError, ValueError):
        return None, None
    return status.st_size, status.st_mtime_ns


def file_id(path: Path) -> tuple[int, int] | None:
    """What all names of one file share; None if there is no file, or its file system numbers none,
    as some network drives on Windows.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if status.st_ino else None


def why_not_new(path: Path) -> str:
    """Why no file can be made at `path`, as far as that shows before it is tried; "" if it can."""
    folder = path.absolute().parent
    if not folder.is_dir():
        return f"there is no directory {folder}"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"no permission to write to {folder}"


def unfinished(path: Path) -> Path:
    """A name beside `path` under which its new content can grow; no other run takes it."""
    return named_beside(path, path.name, f".{secrets.token_hex(4)}{UNFINISHED}")


def unfinished_media(path: Path) -> Path:
    """The same for a film: hidden from a search for media, and with the film's suffix, from which
    FFmpeg takes the container.
    """
    return named_beside(path, f".{path.stem}", f"{UNFINISHED}-{secrets.token_hex(4)}{path.suffix}")


def named_beside(path: Path, name: str, ending: str) -> Path:
    """A path beside `path`, with this name and ending. The name is cut before the ending if it
    would be too long, but not if that of `path` is too long as well: then no file can be made, and
    that has to show at once.
    """
    if len(os.fsencode(path.name)) <= _NAME_BYTES:
        most = _NAME_BYTES - len(os.fsencode(ending))
        name = os.fsencode(name)[:most].decode(errors="ignore")
    return path.with_name(name + ending)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write the new content of `path` to. At the end it is renamed to `path`, over any
    file; after an error it is removed.

    Raises OSError.
    """
    partial = path.with_name(path.name + UNFINISHED)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def publish_new(partial: Path, path: Path) -> None:
    """Give a finished file its name, never over another file. Raises FileExistsError if the name is
    taken, and OSError.
    """
    try:
        os.link(partial, path)  # unlike a rename it never writes over a file
    except OSError:  # the name is taken, or the file system has no links
        if os.path.lexists(path):
            raise FileExistsError(f"{path} exists") from None
        partial.replace(path)
    else:
        partial.unlink()
