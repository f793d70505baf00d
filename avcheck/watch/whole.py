"""Whether an arriving file is whole, as far as that shows from outside."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

# Names that programs give to a file they are still writing
PARTIAL_SUFFIXES = frozenset({".part", ".partial", ".tmp", ".temp", ".crdownload", ".download"})

_MP4_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mj2", ".f4v"})
_BLANK = 4096  # zeros that no format begins with: room made for a file whose data is still to come
_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"})


def has_partial_name(path: Path) -> bool:
    """Whether the name says that the file is still being written."""
    return path.suffix.lower() in PARTIAL_SUFFIXES


def is_being_written(path: Path) -> bool:
    """Whether some process has the file open for writing. False if that cannot be known: on systems
    other than Linux, on network drives, for files of other users.
    """
    if sys.platform != "linux":
        return False
    import fcntl

    # A read lease is refused while there is a writer. A program that opens the file for writing
    # while we hold the lease waits, and we get SIGIO, which `avcheck watch` ignores.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def unchanged_s(path: Path) -> float:
    """For how many seconds a file has not changed, by the clock of its file system; 0 if that is
    not known.
    """
    try:
        status = path.stat()
    except OSError:
        return 0.0
    # Whatever time a file was given, when it was given that is on record; not so on Windows
    return max(0.0, time.time() - max(status.st_mtime, status.st_ctime))


def is_complete(path: Path) -> bool:
    """Whether nothing in the file says that more is to come: it is not empty, does not begin with
    zeros, and an mp4 or mov has its index and all of its last box.
    """
    try:
        with path.open("rb") as file:
            total = os.fstat(file.fileno()).st_size
            if not any(file.read(_BLANK)):  # nor in an empty one
                return False
            if path.suffix.lower() not in _MP4_SUFFIXES:
                return True
            at, has_index = 0, False
            while at + 8 <= total:
                file.seek(at)
                head = file.read(16)
                size, kind = int.from_bytes(head[:4], "big"), head[4:8]
                if at == 0 and kind not in _FIRST_BOXES:
                    return True  # not an mp4, whatever its name: the check will say so
                if size == 1 and len(head) == 16:
                    size = int.from_bytes(head[8:], "big")
                has_index |= kind == b"moov"
                if size == 0:  # to the end of the file
                    return has_index
                if size < 8:
                    return True  # damaged: more data will not help
                at += size
            return has_index and at == total
    except OSError:
        return False
