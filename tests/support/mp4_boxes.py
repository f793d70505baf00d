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
        content = next((body for inner, body in boxes(data) if inner == kind), None)
        if content is None:
            return None
        data = content
    return data


def with_edits(path: Path, lists: Mapping[bytes, Sequence[Row]], *, version: int = 0) -> Path:
    """Give tracks of a file, by their handler (b"vide" or b"soun"), other edit lists. The index of
    the file must lie at its end, or its media in fragments.

    Rows are in seconds of the content, in which 0 is where the file's own edit list begins.
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
    """Take away the boxes of the file's top level for which `drop` is true, called with the kind
    of a box and its number among those of that kind.
    """
    last_number: dict[bytes, int] = {}
    kept = b""
    for kind, body in boxes(path.read_bytes()):
        number = last_number[kind] = last_number.get(kind, -1) + 1
        if not drop(kind, number):
            kept += box(kind, body)
    path.write_bytes(kept)
    return path


def defaults_first(path: Path) -> Path:
    """Move what holds for all fragments in front of the tracks, as GPAC writes it, with the
    duration and the size of samples that each fragment states for itself.
    """
    defaults: dict[int, bytes] = {}  # by track

    def stated(kind: bytes, body: bytes) -> bytes:
        if kind == b"tfhd":
            flags, number = struct.unpack_from(">II", body)
            if flags & 0x18 == 0x18:
                assert not flags & 0x1
                at = 8 + 4 * bool(flags & 0x2)
                defaults[number] = body[at : at + 8]
                # As long as before, so that all places stay right
                head = struct.pack(">II", flags & ~0x18, number) + body[8:at]
                return box(kind, head + body[at + 8 :]) + box(b"free", b"")
        return box(kind, inside(body) if kind in (b"moof", b"traf") else body)

    def inside(data: bytes) -> bytes:
        return b"".join(stated(*each) for each in boxes(data))

    def in_front(kind: bytes, body: bytes) -> bytes:
        if kind != b"moov":
            return box(kind, body)
        parts = list(boxes(body))
        extends = b"".join(
            box(
                inner,
                part[:12] + defaults.get(int.from_bytes(part[4:8], "big"), part[12:20]) + part[20:],
            )
            for inner, part in boxes(find(body, b"mvex") or b"")
        )
        others = [each for each in parts if each[0] != b"mvex"]
        assert others[0][0] == b"mvhd"
        ordered = [others[0], (b"mvex", extends), *others[1:]]
        return box(kind, b"".join(box(*each) for each in ordered))

    data = inside(path.read_bytes())
    path.write_bytes(b"".join(in_front(*each) for each in boxes(data)))
    return path
