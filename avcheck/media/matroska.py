"""What Matroska and WebM say in their own elements: sizes, and the time of the last block.

RFC 8794 (EBML), 4.4; RFC 9559 (Matroska), 10: a cluster states its time, and each of its blocks how
much later it is, in ticks.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedReader, RawIOBase
from pathlib import Path

from avcheck.media.transport import Excerpt

_CLUSTER = b"\x1f\x43\xb6\x75"
_TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0xE7, 0xA3, 0xA0, 0xA1
# All that stands in a cluster: those, Position, PrevSize, the void and CRC-32
_IN_CLUSTER = {_TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP, 0xA7, 0xAB, 0xEC, 0xBF}
_READ = 1 << 22  # bytes at a time, from the end of the file
_MOST_READ = 1 << 26  # bytes; a cluster is seldom longer than some seconds
_LONGEST_SIZE = 8  # bytes
_LATE_S = 1.0  # below it, it is all the same which of the two is stated


def element_size(data: bytes) -> tuple[int | None, int]:
    """The size of an EBML element, None if unknown, and how many bytes that takes; 0 if it is
    none.
    """
    width = 9 - data[0].bit_length() if data else 0
    if not 1 <= width <= _LONGEST_SIZE or len(data) < width:
        return None, 0
    value = int.from_bytes(data[:width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), width


def length_of_matroska_s(
    path: Path, excerpt: Excerpt | None, stated_s: float, origin_s: float, tick_s: float
) -> float:
    """How long a file plays whose header states `stated_s`, in seconds. FFmpeg's writer states when
    the last block ends; mkvmerge's and GStreamer's state a length, also of a file that begins late.

    Args:
        path: The file.
        excerpt: The part of it that was opened; None: all of it.
        stated_s: 0 if nothing is stated.
        origin_s: When it begins.
        tick_s: How long a tick of its timestamps is; 0 if that is unknown.
    """
    if stated_s <= 0:
        return stated_s
    if origin_s > _LATE_S and tick_s:
        ticks = last_block_ticks(path, excerpt)
        if ticks is not None and ticks * tick_s > stated_s:  # so that is not when it ends
            return stated_s
    return stated_s - origin_s if stated_s > max(0.0, origin_s) else stated_s


def last_block_ticks(path: Path, excerpt: Excerpt | None) -> int | None:
    """The latest time of a block in the last cluster, in ticks of the file; None if there is no
    cluster near its end. Raises nothing.
    """
    try:
        with path.open("rb") if excerpt is None else excerpt.open(path) as file:
            return _last_block_ticks(file)
    except (OSError, ValueError):
        return None


def _last_block_ticks(file: RawIOBase | BufferedReader) -> int | None:
    length = file.seek(0, 2)
    tail = b""
    while len(tail) < min(length, _MOST_READ):
        size = min(_READ, length - len(tail))
        file.seek(length - len(tail) - size)
        before, searched = _read(file, size), len(tail)
        tail = before + tail
        end = len(tail) if not searched else len(before) + len(_CLUSTER) - 1
        while (at := tail.rfind(_CLUSTER, 0, end)) >= 0:
            ticks = _latest(tail, at + len(_CLUSTER))
            if ticks is not None:
                return ticks
            end = at + len(_CLUSTER) - 1
    return None


def _read(file: RawIOBase | BufferedReader, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


def _latest(data: bytes, at: int) -> int | None:
    """The latest time in the cluster whose size stands at `at`; None if that is no cluster."""
    size, width = element_size(data[at : at + _LONGEST_SIZE])
    if not width:
        return None
    end = len(data) if size is None else min(len(data), at + width + size)
    cluster: int | None = None
    latest: int | None = None
    for kind, value in _elements(data, at + width, end):
        if kind not in _IN_CLUSTER:
            break
        if kind == _TIMESTAMP:
            cluster = int.from_bytes(value, "big")
        elif cluster is None:
            continue
        blocks = [value] if kind == _SIMPLE_BLOCK else []
        if kind == _BLOCK_GROUP:
            blocks = [block for each, block in _elements(value, 0, len(value)) if each == _BLOCK]
        for block in blocks:
            _, track = element_size(block[:_LONGEST_SIZE])
            later = int.from_bytes(block[track : track + 2], "big", signed=True)
            latest = cluster + later if latest is None else max(latest, cluster + later)
    return latest


def _elements(data: bytes, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The elements whose IDs take one byte, as all in a cluster do, each with what it holds; the
    last may be cut off.
    """
    while at < end:
        size, width = element_size(data[at + 1 : at + 1 + _LONGEST_SIZE])
        if not width or size is None:
            return
        start = at + 1 + width
        yield data[at], data[start : min(start + size, end)]
        at = start + size
