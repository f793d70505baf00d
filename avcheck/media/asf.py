"""The header of an ASF (wmv): how long the film plays.

Advanced Systems Format Specification 3.2, "File Properties Object": the play duration holds the
preroll, which players wait before they begin, and the send duration does not.
"""

from __future__ import annotations

import struct
from pathlib import Path

_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_MOST = 1 << 16  # bytes of the header that are looked at; the object is one of the first
_TICKS_S = 10_000_000  # of a duration, a second
_TICKS_MS = 10_000


def preroll_left_out_s(path: Path) -> float:
    """The preroll, in seconds, of a file whose play duration is written without it; 0 of any other.

    FFmpeg takes the preroll off the play duration all the same. Raises nothing: a file that is gone
    has none.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_MOST)
    except (OSError, ValueError):
        return 0.0
    at = head.find(_PROPERTIES)
    # From the object's identifier on: its size, the file's identifier, size and date, packets
    durations = head[at + 64 : at + 88]
    if not head.startswith(_HEADER) or at < 0 or len(durations) < 24:
        return 0.0
    play, send, preroll_ms = struct.unpack("<QQQ", durations)
    left_out = play == send and _TICKS_MS * preroll_ms < play
    return _TICKS_MS * preroll_ms / _TICKS_S if left_out else 0.0
