"""Text files, recognised by their first bytes: they are refused before PyAV and NumPy are
loaded.
"""

from __future__ import annotations

import codecs
import stat
from pathlib import Path

SUPPORTED = "mp4, mov, mkv, webm, ts, avi, flv, mxf, gxf, mpg, ogv, wmv, wtv, dv, rm or nut"
NO_VIDEO = f"this is not a video file that avcheck reads; use {SUPPORTED}"

NOT_REGULAR = "this is not a regular file; save the video to a file first"
PLAYLIST = (
    "this is a playlist; save what it lists as one file first: ffmpeg -i PLAYLIST -c copy film.mkv"
)

# Bytes; the head of every format above has a zero or another control character within a few dozen
_HEAD = 4096
_CONTROL = frozenset(range(32)) - frozenset(b"\t\n\f\r\x1b")


def is_text(path: Path) -> bool:
    """Whether a regular file begins with text in ASCII or UTF-8. False for an empty file, and for
    one that cannot be read.
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


def is_playlist(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a playlist of HLS or DASH, or of ffmpeg's."""
    return head.startswith((b"#EXTM3U", b"ffconcat")) or b"<MPD" in head


def why_no_video(path: Path) -> str:
    """What a text file is, and what to do. Raises OSError."""
    with path.open("rb") as file:
        return PLAYLIST if is_playlist(file.read(_HEAD)) else NO_VIDEO
