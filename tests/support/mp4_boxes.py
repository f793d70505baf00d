"""Rewrites the boxes of an mp4 or mov that PyAV wrote: edit lists of any kind, fragments left out,
boxes taken away.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

NOTHING = -1.0  # the media time of a row that shows nothing

# Seconds it lasts, where in the content it begins, and its rate
Row = tuple[float, float] | tuple[float, float, float]


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of the boxes that lie one behind the other in `data`."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + size]
        at += size


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def find(data: bytes, *kinds: bytes) -> bytes | None:
    """The body of the first box of this path, from the outermost in."""
    for kind in kinds:
        found = next((body for inner, body in boxes(data) if inner == kind), None)
        if found is None:
            return None
        data = found
    return data


def with_edits(path: Path, lists: Mapping[bytes, Sequence[Row]], *, version: int = 0) -> Path:
    """Give the tracks of a file (by handler, b"vide" or b"soun") other edit lists; its index must
    lie at its end, or its media in fragments.

    Rows are in seconds of the content: what the one edit of the file lets begin at zero is zero.
    """
    data = path.read_bytes()
    kinds = [kind for kind, _ in boxes(data)]
    assert b"moof" in kinds or kinds.index(b"moov") > kinds.index(b"mdat")
    scale = struct.unpack_from(">I", find(data, b"moov", b"mvhd") or b"", 12)[0]

    def change(kind: bytes, body: bytes) -> bytes:
        if kind == b"moov":
            return box(kind, b"".join(change(*inner) for inner in boxes(body)))
        if kind == b"trak":
            rows = lists.get((find(body, b"mdia", b"hdlr") or b"")[8:12])
            if rows is not None:
                kept = b"".join(box(*inner) for inner in boxes(body) if inner[0] != b"edts")
                return box(
                    kind, kept + box(b"edts", box(b"elst", _elst(body, rows, scale, version)))
                )
        return box(kind, body)

    grown = b"".join(change(*inner) for inner in boxes(data))
    assert b"moof" not in kinds or b"mfra" not in kinds, "its places would be wrong"
    path.write_bytes(grown)
    return path


def _elst(trak: bytes, rows: Sequence[Row], movie_scale: int, version: int) -> bytes:
    scale = struct.unpack_from(">I", find(trak, b"mdia", b"mdhd") or b"", 12)[0]
    old = find(trak, b"edts", b"elst")
    zero = max(0, struct.unpack_from(">i", old, 12)[0]) if old else 0
    body = struct.pack(">B3xI", version, len(rows))
    for lasts_s, from_s, *rate in rows:
        media_time = -1 if from_s == NOTHING else zero + round(from_s * scale)
        body += struct.pack(
            ">Qqi" if version else ">Iii",
            round(lasts_s * movie_scale),
            media_time,
            round((rate or [1.0])[0] * 65536),
        )
    return body


def without(path: Path, drop: Callable[[bytes, int], bool]) -> Path:
    """Take boxes of the file's top level away: those of which `drop(kind, number among their kind)`
    is true.
    """
    seen: dict[bytes, int] = {}
    kept = b""
    for kind, body in boxes(path.read_bytes()):
        number = seen[kind] = seen.get(kind, -1) + 1
        if not drop(kind, number):
            kept += box(kind, body)
    path.write_bytes(kept)
    return path
