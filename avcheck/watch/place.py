"""Putting a file into a folder, by a move or a link, never over another file, in steps that can be
repeated.
"""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
from itertools import count
from pathlib import Path

from avcheck.machine.files import named_beside, publish_new


def free_name(folder: Path, name: Path) -> Path:
    """Where the relative path `name` may go in a folder: there, or beside a file of that name as
    "film-2.mp4".
    """
    target = first = folder / name
    for number in count(2):
        if not os.path.lexists(target):
            break
        target = named_beside(first, name.stem, f"-{number}{name.suffix}")
    return target


def put(source: Path, target: Path, *, link: bool) -> bool:
    """Move or link `source` to `target`, and finish what an earlier call began. False if another
    file has taken the name meanwhile. Raises OSError.

    On its way to another file system a file is first copied beside its target; the original is
    removed once the copy is on disk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(target):
        try:
            os.link(source, target)
        except FileExistsError:
            return False
        except OSError as error:
            if link:
                raise
            if error.errno != errno.EXDEV:  # a file system without hard links
                os.rename(source, target)  # noqa: PTH104 - beside the other calls of os
                return True
            if not _copied(source, target):
                return False
    elif not _is_same(source, target):
        return False
    if not link:
        _to_disk(target.parent)
        source.unlink()
        _to_disk(source.parent)
    return True


def _copied(source: Path, target: Path) -> bool:
    """Copy to another file system; False if the name was taken meanwhile."""
    # The same each time, so that what a kill leaves is begun again
    partial = named_beside(target, f".{target.name}", ".avcheck-partial")
    try:
        shutil.copy2(source, partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        publish_new(partial, target)
    except FileExistsError:
        return False
    finally:
        partial.unlink(missing_ok=True)
    return True


def _is_same(source: Path, target: Path) -> bool:
    """Whether the target is the file itself, or a whole copy of it."""
    if source.samefile(target):
        return True
    if target.is_symlink() or not target.is_file():
        return False
    copy, original = target.stat(), source.stat()
    if copy.st_size != original.st_size or copy.st_mtime_ns != original.st_mtime_ns:
        return False
    return filecmp.cmp(source, target, shallow=False)


def _to_disk(folder: Path) -> None:
    """Flush the entries of a folder to disk, where the system allows it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some file systems cannot
    finally:
        os.close(descriptor)
