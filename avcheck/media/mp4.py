"""What the boxes of an mp4 or mov say, read before FFmpeg believes them."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

MAX_INDEX = 64 << 20  # bytes of an mp4's index that are looked at; ten hours of film take 20 MB

MAX_BOXES = 1 << 17  # boxes of an mp4 that are looked at: a day in fragments of 2 s has 86,400


@dataclass
class _Track:
    """What decides how many entries FFmpeg makes for a track of an mp4: it believes some counts that nothing backs."""

    handlers: set[bytes] = field(default_factory=set)
    samples: int = 0  # all of one size, so that only their number is stored
    whole_chunks: bool = True  # its times allow FFmpeg to take sound a chunk at a time
    runs: list[tuple[int, int]] = field(default_factory=list)  # first chunk, samples in each from there on
    chunks: int = 0
    in_fragments: int = 0

    def entries(self) -> int:
        if not self.whole_chunks or b"soun" not in self.handlers or self.handlers & {b"vide", b"subp", b"clcp"}:
            return self.samples + self.in_fragments
        after = self.chunks + 1
        ends = [*(min(first, after) for first, _ in self.runs[1:]), after]
        pieces = (max(0, end - first) * -(-count // 1024) for (first, count), end in zip(self.runs, ends, strict=False))
        return sum(pieces) + self.in_fragments


class Index:
    """What the boxes of an mp4 or mov say, read before FFmpeg believes them; empty for other files.

    edits: pieces of media that the edit lists show, at most over the tracks. With one, the demuxer only shifts the track,
    which is right. More are not played: the piece after a cut would have its sound up to an AAC frame early.
    samples: entries that FFmpeg would hold in memory for what is only counted, not listed.
    """

    def __init__(self, path: Path) -> None:
        self.edits = 0
        self._boxes = 0
        self._tracks = [_Track()]
        # Opening the file will say what is wrong with it; what is damaged here is damaged there.
        with suppress(OSError, struct.error, zlib.error), path.open("rb") as file:
            self._read_file(file)
        self.samples = sum(track.entries() for track in self._tracks)

    def _read_file(self, file: BinaryIO) -> None:
        total, at = os.fstat(file.fileno()).st_size, 0
        while at + 8 <= total and self._boxes < MAX_BOXES:
            file.seek(at)
            head = file.read(16)
            size, kind = struct.unpack(">I4s", head[:8])
            skip = 8
            if size == 1 and len(head) == 16:
                size, skip = struct.unpack(">Q", head[8:])[0], 16
            size = size or total - at
            if size < skip or not kind.isascii():
                return
            self._boxes += 1
            if kind in _BOXES_OF_BOXES:
                file.seek(at + skip)
                self._enter(kind, memoryview(file.read(min(size - skip, MAX_INDEX))), 1)
            at += size

    def _enter(self, kind: bytes, body: memoryview, depth: int) -> None:
        if kind == b"trak":
            self._tracks.append(_Track())
        at = 0
        while at + 8 <= len(body) and self._boxes < MAX_BOXES and depth < _MAX_DEPTH:
            size, inner = struct.unpack_from(">I4s", body, at)
            size = size or len(body) - at
            if size < 8:
                return
            self._boxes += 1
            part = body[at + 8 : at + size]
            if inner in _BOXES_OF_BOXES:
                self._enter(inner, part, depth + 1)
            elif inner == b"cmov":  # the whole index, compressed
                packed = bytes(part)
                packed = packed[packed.find(b"cmvd") + 8 :]
                self._enter(b"moov", memoryview(zlib.decompressobj().decompress(packed, MAX_INDEX)), depth + 1)
            elif len(part) >= 8:
                self._take(inner, part)
            at += size

    def _take(self, kind: bytes, body: memoryview) -> None:
        track = self._tracks[-1]
        count = int.from_bytes(body[4:8], "big")
        if kind == b"elst":
            rows = _rows(">Qq4x" if body[0] == 1 else ">Ii4x", body[8:], count)
            self.edits = max(self.edits, sum(media_time >= 0 for _, media_time in rows))
        elif kind == b"hdlr":
            track.handlers.add(bytes(body[8:12]))
        elif kind == b"stsz" and count:
            track.samples = max(track.samples, int.from_bytes(body[8:12], "big"))
        elif kind == b"stts":
            track.whole_chunks &= count == 1 and int.from_bytes(body[12:16], "big") == 1
        elif kind == b"stsc":
            track.runs += _rows(">II4x", body[8:], count)
        elif kind in (b"stco", b"co64"):
            track.chunks = max(track.chunks, min(count, len(body) // 4))
        elif kind == b"trun":
            track.in_fragments += count


_BOXES_OF_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf"}

_MAX_DEPTH = 10  # as FFmpeg


def _rows(form: str, data: memoryview, count: int) -> Iterator[tuple[int, int]]:
    """The `count` pairs of a table, or as many as there are."""
    row = struct.Struct(form)
    return row.iter_unpack(data[: min(count, len(data) // row.size) * row.size])
