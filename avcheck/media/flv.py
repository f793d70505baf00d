"""The last tag of an FLV: what its length is counted from.

Video File Format Specification 10.1, E.3 and E.4: each tag is followed by its size in bytes, and
its timestamp counts from the first tag, which of a live stream that was joined late is not at zero.
"""

from __future__ import annotations

from io import BufferedReader, RawIOBase
from pathlib import Path

from avcheck.media.transport import Excerpt

_HEADER = 11  # bytes of a tag before its data: type, size, timestamp, stream
_SIZE = 4  # bytes of the size that follows each tag
_MOST_TAGS = 100  # at the end that may have no timestamp; FFmpeg passes over them as well


def last_time_s(path: Path, excerpt: Excerpt | None) -> float | None:
    """The timestamp of the last tag, in seconds; None if the file ends within a tag.

    FFmpeg takes it for the length where the header states none. Raises nothing.
    """
    try:
        with path.open("rb") if excerpt is None else excerpt.open(path) as file:
            return _last_time_s(file)
    except (OSError, ValueError):
        return None


def _last_time_s(file: RawIOBase | BufferedReader) -> float | None:
    end = file.seek(0, 2)
    for _ in range(_MOST_TAGS):
        if end < _SIZE:
            return None
        file.seek(end - _SIZE)
        size = int.from_bytes(file.read(_SIZE) or b"", "big")
        start = end - _SIZE - size
        if size < _HEADER or start < 0:
            return None
        file.seek(start)
        head = file.read(_HEADER) or b""
        if len(head) < _HEADER or int.from_bytes(head[1:4], "big") + _HEADER != size:
            return None
        time_ms = head[7] << 24 | int.from_bytes(head[4:7], "big")
        if time_ms:
            return time_ms / 1000
        end = start
    return None
