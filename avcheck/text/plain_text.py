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
LFS_POINTER = "this is a pointer of Git LFS in place of the video; fetch the video: git lfs pull"
ANNEX_POINTER = "this is a pointer of git-annex in place of the video; fetch it: git annex get FILE"

_ANNEX = b"/annex/objects/"
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


def stand_in(head: bytes) -> str | None:
    """What a text is that often has the name of a video, and how to come by the video.

    Args:
        head: The first bytes of the file.

    Returns:
        None for any other text.
    """
    if head.startswith((b"#EXTM3U", b"ffconcat")) or b"<MPD" in head:  # HLS, ffmpeg's, DASH
        return PLAYLIST
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return LFS_POINTER
    if head.startswith(_ANNEX):
        return ANNEX_POINTER
    return None


def is_annex_link(path: Path) -> bool:
    """Whether a link leads to where git-annex keeps, or would keep, a file's content."""
    return _ANNEX.decode() in path.readlink().as_posix()


def why_no_video(path: Path) -> str:
    """What a text file is, and what to do. Raises OSError."""
    with path.open("rb") as file:
        return stand_in(file.read(_HEAD)) or NO_VIDEO
