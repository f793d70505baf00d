"""A picture of few colours as PNG, for a page that holds everything it shows (PNG specification,
third edition).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

Colour = tuple[int, int, int]


def indexed_png(rows: Sequence[bytes], palette: Sequence[Colour]) -> bytes:
    """A picture with one byte a pixel, the number of its colour; colour 0 is transparent."""
    width = len(rows[0])
    header = struct.pack(">IIBBBBB", width, len(rows), 8, 3, 0, 0, 0)
    colours = b"".join(bytes(colour) for colour in palette)
    # Filter 0: neighbouring colours of a palette are not similar numbers
    lines = b"".join(b"\0" + row for row in rows)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", colours),
        (b"tRNS", b"\0"),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
