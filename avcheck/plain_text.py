"""Text files, known by their first bytes: they are refused before PyAV and NumPy are loaded."""

from __future__ import annotations

import codecs
import stat
from pathlib import Path

SUPPORTED = "mp4, mov, mkv, webm, ts, avi, flv, mxf, gxf, mpg, ogv, wmv, wtv, dv, rm or nut"
NO_VIDEO = f"is not a video file that avcheck reads; use {SUPPORTED}"

# Bytes; the head of every format above has a zero or another control character within a few dozen
_HEAD = 4096
_CONTROL = frozenset(range(32)) - frozenset(b"\t\n\f\r\x1b")


def is_text(path: Path) -> bool:
    """Whether a regular file begins with text in ASCII or UTF-8; False too for an empty one, and
    for what cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a FIFO waits for ever
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD)
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut off
    except (OSError, ValueError):
        return False
    return bool(head) and _CONTROL.isdisjoint(head)
