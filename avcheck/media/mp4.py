"""What the boxes of an mp4 or mov say: read before FFmpeg acts on them, and used where FFmpeg does
not follow them.

Times: ISO/IEC 14496-12, sections 8.6 (edit lists, composition offsets) and 8.8 (fragments);
[MS-SSTR] for a box of Smooth Streaming's own.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from av.packet import Packet

from avcheck.media.mp4_track import (
    MOST_TICKS,
    EditRow,
    Fragment,
    Joint,
    SampleRun,
    TrackBoxes,
    bounded,
)

MAX_INDEX = 64 << 20  # bytes of an mp4's index that are looked at; ten hours of film take 20 MB

MAX_BOXES = 1 << 19  # boxes of an mp4 that are looked at: a day in fragments of 2 s has 475,000

_LEAST_BEGIN_S = 1.0  # of a live stream; a packager leaves less for what an encoder puts in front

# Smooth Streaming: when the first sample of a fragment is shown
_TFXD = bytes.fromhex("6d1d9b0542d544e680e2141daff757b2")


class Index:
    """What the boxes of an mp4 or mov say; empty for other files.

    samples: entries that FFmpeg would hold in memory for what is only counted, not listed.
    complete: all of it was looked at, not the first `MAX_BOXES` only.
    begin_s: where a recording of a live stream begins, which counts from that stream's beginning or
    from 1970; 0 of every other film.
    fragment_ends_s: when the last fragment of each picture and sound ends, as media and as it is
    shown, by the track's number; empty of a film without fragments, or with one whose time is not
    known.
    joined_at: the byte where another film begins that was joined to this one, as by `cat`. Players
    do not show it, and nothing here is said of it. None: there is none.
    """

    def __init__(self, path: Path) -> None:
        self._boxes = 0
        self.complete = False
        self.joined_at: int | None = None
        self._movie_scale = 0
        self._tracks = [TrackBoxes()]
        # Duration and size of a sample in a fragment, by track; they may come before the tracks
        self._defaults: dict[int, tuple[int, int]] = {}
        self._fragment = Fragment(0, 0)
        self._run_before: SampleRun | None = None  # of the track before in the same fragment
        # Opening the file will say what is wrong with it; what is damaged here is damaged there.
        with suppress(OSError, struct.error, zlib.error), path.open("rb") as file:
            self._read_file(file)
        self.samples = sum(track.entries() for track in self._tracks)
        self.fragment_ends_s = self._fragment_ends_s()
        self.begin_s = self._begin_s()

    def track(self, track_id: int) -> TrackBoxes:
        """The track of this number; if there is none, a track about which nothing is known."""
        return next((track for track in self._tracks[1:] if track.id == track_id), TrackBoxes())

    @property
    def end_s(self) -> float | None:
        """When its pictures and sounds end, in seconds; None if the boxes do not say."""
        ends = [track.end_s for track in self._tracks if track.handlers & {b"vide", b"soun"}]
        known = [end_s for end_s in ends if end_s is not None]
        return max(known) if known and len(known) == len(ends) else None

    @property
    def mapped(self) -> bool:
        """Whether an edit list says more than FFmpeg's shift of the times does."""
        return any(track.timeline is not None for track in self._tracks)

    @property
    def retimes(self) -> bool:
        """Whether FFmpeg's presentation times differ from what the boxes say. It takes memory for
        each of `samples`: hold those to a limit first.
        """
        return any(track.times is not None for track in self._tracks)

    def retime(self, packet: Packet[Any]) -> None:
        """Give a packet the presentation time of its sample; one that is not in a fragment keeps
        what it has.
        """
        times = self.track(packet.stream.id).times
        if times is not None and packet.size:
            time = times.at(packet.pos)
            if time is not None:
                packet.pts = time

    def _fragment_ends_s(self) -> dict[int, tuple[float, float]]:
        ends_s = {}
        for track in self._tracks:
            if track.handlers & {b"vide", b"soun"} and track.scale:
                last = track.fragments[-1] if track.fragments else None
                if last is None or last.decode_time is None:
                    return {}
                end = last.decode_time + sum(int(run.durations.sum()) for run in last.runs)
                ends_s[track.id] = end / track.scale, (last.shown_end - track.shift) / track.scale
        return ends_s

    def _begin_s(self) -> float:
        if self.mapped or any(track.listed for track in self._tracks):
            return 0.0
        firsts = [
            track.fragments[0].decode_time / track.scale
            for track in self._tracks
            if track.scale and track.fragments and track.fragments[0].decode_time is not None
        ]
        begin_s = min(firsts, default=0.0)
        return begin_s if begin_s > _LEAST_BEGIN_S else 0.0

    def _read_file(self, file: BinaryIO) -> None:
        total, at = os.fstat(file.fileno()).st_size, 0
        joint = Joint(self._tracks)
        while at + 8 <= total and self._boxes < MAX_BOXES:
            file.seek(at)
            head = file.read(16)
            size, kind = struct.unpack(">I4s", head[:8])
            skip = 8
            if size == 1 and len(head) == 16:
                size, skip = struct.unpack(">Q", head[8:])[0], 16
            size = size or total - at
            if size < skip or not kind.isascii():
                break
            self._boxes += 1
            if joint.before(kind, at, at + size):
                self.joined_at = joint.at
                break
            if kind in _BOXES_OF_BOXES:
                file.seek(at + skip)
                self._fragment, self._run_before = Fragment(at, at), None
                self._enter(kind, memoryview(file.read(min(size - skip, MAX_INDEX))), 1)
                if joint.within(at):
                    self.joined_at = joint.at
                    break
            at += size
        self.complete = self._boxes < MAX_BOXES

    def _enter(self, kind: bytes, body: memoryview, depth: int) -> None:
        if kind == b"trak":
            self._tracks.append(TrackBoxes(movie_scale=self._movie_scale))
        elif kind == b"traf":
            self._run_before = self._fragment.runs[-1] if self._fragment.runs else self._run_before
            self._fragment = Fragment(self._fragment.moof, self._fragment.moof)
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
                self._enter(
                    b"moov",
                    memoryview(zlib.decompressobj().decompress(packed, MAX_INDEX)),
                    depth + 1,
                )
            elif len(part) >= 8 and (take := self._TAKERS.get(inner)) is not None:
                take(self, part)
            at += size
        if kind == b"traf" and self._fragment.track is not None:
            self._fragment.track.fragments.append(self._fragment)

    def _take_mvhd(self, body: memoryview) -> None:
        self._movie_scale = self._movie_scale or _number(body, 20 if _is_wide(body) else 12)
        for track in self._tracks:
            track.movie_scale = self._movie_scale

    def _take_tkhd(self, body: memoryview) -> None:
        track = self._tracks[-1]
        track.id = _number(body, 20 if _is_wide(body) else 12)
        track.fragmented |= track.id in self._defaults

    def _take_mdhd(self, body: memoryview) -> None:
        track, wide = self._tracks[-1], _is_wide(body)
        track.scale = _number(body, 20 if wide else 12)
        track.media_duration = _number(body, 24, 8) if wide else _number(body, 16)

    def _take_hdlr(self, body: memoryview) -> None:
        self._tracks[-1].handlers.add(bytes(body[8:12]))

    def _take_stsd(self, body: memoryview) -> None:
        track = self._tracks[-1]
        track.encrypted = track.encrypted or _encryption(bytes(body))

    def _take_elst(self, body: memoryview) -> None:
        track = self._tracks[-1]
        form = ">Qqi" if _is_wide(body) else ">Iii"
        # FFmpeg, too, counts those that are there
        track.edits = [EditRow(*row) for row in _rows(form, body[8:], len(body))]
        track.unreadable = (
            body[0] > 1
            or len(track.edits) < _number(body, 4)
            or sum(edit.duration + abs(edit.media_time) for edit in track.edits) > MOST_TICKS
        )

    def _take_stts(self, body: memoryview) -> None:
        track = self._tracks[-1]
        track.whole_chunks &= _number(body, 4) == 1 and _number(body, 12) == 1
        table = body[8 : len(body) // 8 * 8]
        rows = np.frombuffer(table, ">u4").reshape(-1, 2).astype(np.int64)
        track.listed = bounded(int(rows.prod(1).sum()))

    def _take_stsz(self, body: memoryview) -> None:
        if _number(body, 4):  # one size for all samples, which are only counted then
            track = self._tracks[-1]
            track.samples = max(track.samples, _number(body, 8))

    def _take_stsc(self, body: memoryview) -> None:
        rows = _rows(">II4x", body[8:], _number(body, 4))
        self._tracks[-1].chunk_runs += [(first, samples) for first, samples in rows]

    def _take_chunks(self, body: memoryview) -> None:
        track = self._tracks[-1]
        track.chunks = max(track.chunks, min(_number(body, 4), len(body) // 4))

    def _take_trex(self, body: memoryview) -> None:
        track_id = _number(body, 4)
        self._defaults[track_id] = _number(body, 12), _number(body, 16)
        self.track(track_id).fragmented = True

    def _take_tfhd(self, body: memoryview) -> None:
        fragment, flags, at = self._fragment, _number(body, 1, 3), 8
        fragment.track = track = self.track(_number(body, 4))
        fragment.duration, fragment.size = self._defaults.get(track.id, (0, 0))
        if flags & 0x1:
            fragment.base, at = _ticks(body[at : at + 8]), at + 8
        # 0x20000: the base is the `moof`
        elif not flags & 0x20000 and self._run_before is not None:
            fragment.base = self._run_before.end
        at += 4 * bool(flags & 0x2)  # which sample description
        if flags & 0x8:
            fragment.duration, at = _number(body, at), at + 4
        if flags & 0x10:
            fragment.size = _number(body, at)

    def _take_tfdt(self, body: memoryview) -> None:
        self._fragment.decode_time = _ticks(body[4:12] if _is_wide(body) else body[4:8])

    def _take_uuid(self, body: memoryview) -> None:
        if len(body) >= 24 and body[:16] == _TFXD:
            wide = body[16] == 1
            self._fragment.shown_time = _ticks(body[20:28] if wide else body[20:24], signed=True)

    def _take_trun(self, body: memoryview) -> None:
        fragment = self._fragment
        self._tracks[-1].in_fragments += _number(body, 4)
        if fragment.track is None:
            return
        offset = int.from_bytes(body[8:12], "big", signed=True) if body[3] & 0x1 else 0
        fragment.runs.append(
            SampleRun(fragment.base + offset, bytes(body), fragment.duration, fragment.size)
        )

    # What is read of each kind of box: its contents without the head, 8 bytes or more
    _TAKERS: ClassVar[dict[bytes, Callable[[Index, memoryview], None]]] = {
        b"mvhd": _take_mvhd,
        b"tkhd": _take_tkhd,
        b"mdhd": _take_mdhd,
        b"hdlr": _take_hdlr,
        b"stsd": _take_stsd,
        b"elst": _take_elst,
        b"stts": _take_stts,
        b"stsz": _take_stsz,
        b"stsc": _take_stsc,
        b"stco": _take_chunks,
        b"co64": _take_chunks,
        b"trex": _take_trex,
        b"tfhd": _take_tfhd,
        b"tfdt": _take_tfdt,
        b"uuid": _take_uuid,
        b"trun": _take_trun,
    }


_BOXES_OF_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf"}

_MAX_DEPTH = 10  # as FFmpeg


def index_of(path: Path) -> Index:
    """The index of a file, read once as long as the file does not change. Raises nothing: a file
    that is gone has none.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return Index(path)
    return _index(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2)  # of a film, and of the sound beside it
def _index(path: Path, _size: int, _mtime_ns: int) -> Index:
    return Index(path)


def _number(body: memoryview, at: int, size: int = 4) -> int:
    """An unsigned number of so many bytes in a box; of a body that ends before, what is there."""
    return int.from_bytes(body[at : at + size], "big")


def _is_wide(body: memoryview) -> bool:
    """Whether the times of a box are of 64 bits, by its version."""
    return body[0] == 1


def _ticks(data: memoryview, *, signed: bool = False) -> int:
    """A number that sums with others of its kind in 64 bits; 0 for one that only damage makes so
    large.
    """
    return bounded(int.from_bytes(data, "big", signed=signed))


def _encryption(descriptions: bytes) -> str:
    """How the samples of a track are encrypted, by its sample descriptions; "" if they are not."""
    kind = descriptions[12:16]
    if kind in (b"encv", b"enca"):
        at = descriptions.find(b"schm")
        scheme = descriptions[at + 8 : at + 12].decode("ascii", "replace") if at >= 0 else ""
        return f"Common Encryption, {scheme}" if scheme.isalnum() else "Common Encryption"
    return "FairPlay" if kind in (b"drmi", b"drms") else ""


def _rows(form: str, data: memoryview, count: int) -> Iterator[tuple[int, ...]]:
    """The `count` rows of a table, or as many as there are."""
    row = struct.Struct(form)
    return row.iter_unpack(data[: min(count, len(data) // row.size) * row.size])
