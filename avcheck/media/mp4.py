"""What the boxes of an mp4 or mov say, read before FFmpeg believes them, and where it does not follow them.

Times: ISO/IEC 14496-12, sections 8.6 (edit lists, composition offsets) and 8.8 (fragments); [MS-SSTR] for a box of Smooth
Streaming's own.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

from avcheck.media.timeline import Piece, Timeline

MAX_INDEX = 64 << 20  # bytes of an mp4's index that are looked at; ten hours of film take 20 MB

MAX_BOXES = 1 << 19  # boxes of an mp4 that are looked at: a day in fragments of 2 s has 475,000

MAX_PIECES = 1000  # that an edit list may show: each can have the file sought and decoded again

STALE_EDIT_S = 1.0  # a list that ends so much before its media cuts it; less is the padding of its codec, or rounding

_TFXD = bytes.fromhex("6d1d9b0542d544e680e2141daff757b2")  # Smooth Streaming: when the first sample of a fragment is shown

_RATE_1 = 1 << 16

_MOST_TICKS = 1 << 61


@dataclass(frozen=True)
class Edit:
    """A row of an edit list: `media_time` in the track's ticks, negative = nothing is shown; `duration` in the movie's."""

    duration: int
    media_time: int
    rate: int  # 16.16 fixed point


@dataclass
class _Run:
    """Samples of a fragment that lie one behind the other in the file: the body of a `trun`."""

    place: int  # of the first, in bytes of the file
    body: bytes
    duration: int  # of each, in ticks, unless the body says
    size: int

    def __post_init__(self) -> None:
        flags = int.from_bytes(self.body[1:4], "big")
        start = 8 + 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4)
        self._columns = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
        count = int.from_bytes(self.body[4:8], "big")
        if self._columns:
            count = min(count, (len(self.body) - start) // (4 * len(self._columns)))
        self.count = max(0, count)
        self._start = start

    def _column(self, bit: int, default: int) -> NDArray[np.int64]:
        if bit not in self._columns:
            return np.full(self.count, default, np.int64)
        if not self.count:
            return np.zeros(0, np.int64)
        # Offsets are signed in either version of the box, as every player takes them.
        form = np.dtype(">i4" if bit == 0x800 else ">u4")
        width = len(self._columns)
        rows = np.frombuffer(self.body, form, self.count * width, self._start).reshape(self.count, width)
        return rows[:, self._columns.index(bit)].astype(np.int64)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """How long after its decoding time each sample is shown, in ticks."""
        return self._column(0x800, 0)

    @property
    def durations(self) -> NDArray[np.int64]:
        """In ticks."""
        return self._column(0x100, self.duration)

    @property
    def end(self) -> int:
        """Where the last sample ends, in bytes of the file."""
        sizes = int(self._column(0x200, 0).sum()) if 0x200 in self._columns else self.count * self.size
        return _bounded(self.place + sizes)

    @property
    def places(self) -> NDArray[np.int64]:
        """Where each sample begins, in bytes of the file."""
        sizes = self._column(0x200, self.size)
        return np.cumsum(sizes) - sizes + self.place


@dataclass
class _Fragment:
    """What one fragment says of one track (`traf`)."""

    base: int  # bytes of the file that places count from
    moof: int
    track: TrackBoxes | None = None
    duration: int = 0
    size: int = 0
    decode_time: int | None = None  # of its first sample, in ticks
    shown_time: int | None = None
    runs: list[_Run] = field(default_factory=list)


@dataclass
class TrackBoxes:
    """What the boxes say of one track: how many entries FFmpeg makes of it, and when its samples are shown."""

    id: int = 0
    handlers: set[bytes] = field(default_factory=set)
    samples: int = 0  # all of one size, so that only their number is stored
    whole_chunks: bool = True  # its times allow FFmpeg to take sound a chunk at a time
    chunk_runs: list[tuple[int, int]] = field(default_factory=list)  # first chunk, samples in each from there on
    chunks: int = 0
    in_fragments: int = 0
    movie_scale: int = 0  # ticks a second of the movie, and of the track's own media
    scale: int = 0
    media_duration: int = 0  # ticks
    encrypted: str = ""  # how, in words
    edits: list[Edit] = field(default_factory=list)
    unreadable: bool = False  # its edit list
    listed: int = 0  # ticks that the samples outside fragments take
    fragmented: bool = False  # the movie goes on in fragments
    default_duration: int = 0  # of a sample in a fragment
    default_size: int = 0
    fragments: list[_Fragment] = field(default_factory=list)

    def entries(self) -> int:
        """The entries that FFmpeg's index of the track would have, of what is counted and not listed."""
        if not self.whole_chunks or b"soun" not in self.handlers or self.handlers & {b"vide", b"subp", b"clcp"}:
            return self.samples + self.in_fragments
        after = self.chunks + 1
        ends = [*(min(first, after) for first, _ in self.chunk_runs[1:]), after]
        pieces = (max(0, end - first) * -(-count // 1024) for (first, count), end in zip(self.chunk_runs, ends, strict=False))
        return sum(pieces) + self.in_fragments

    # -- the edit list ----------------------------------------------------------------------------------------------------

    @property
    def _start(self) -> int:
        """Where FFmpeg lets the media begin, in ticks: with the first row of the edit list, or the one after an empty row."""
        rows = self.edits[1:] if self.edits and self.edits[0].media_time == -1 else self.edits
        return rows[0].media_time if rows and rows[0].media_time >= 0 and self.movie_scale and not self.unreadable else 0

    @property
    def shift(self) -> int:
        """What FFmpeg takes from the track's times for its edit list, in ticks."""
        empty = 0
        if self.edits and self.edits[0].media_time == -1 and self.movie_scale and not self.unreadable:
            empty = math.floor(self.edits[0].duration * self.scale / self.movie_scale + 0.5)
        return self._start - empty

    @property
    def origin_s(self) -> float:
        """What the timestamps that FFmpeg gives call the beginning of the media, in seconds."""
        return -self.shift / self.scale

    @property
    def seek_ahead_s(self) -> float:
        """How far FFmpeg stops before where it is sent: it takes the start of the media off once more."""
        return self._start / self.scale

    @cached_property
    def problem(self) -> str | None:
        """Why the edit list cannot be followed, in words; None: it can."""
        shows = [edit for edit in self.edits if edit.media_time >= 0]
        if self.unreadable or any(edit.media_time < -1 for edit in self.edits) or (shows and not self.movie_scale):
            return "its edit list is damaged"
        if any(edit.rate != _RATE_1 for edit in shows):
            return "its edit list changes the speed"
        if len(shows) > MAX_PIECES:
            return f"its edit list has {len(shows):,} pieces, over the limit of {MAX_PIECES:,}"
        if self.edits and not shows:
            return "its edit list shows nothing of it"
        if self.fragmented and len(shows) > 1 and shows[-1].duration:
            return "its edit list does not go together with its fragments"
        return None

    @cached_property
    def timeline(self) -> Timeline | None:
        """How the edit list plays the track, in seconds of its media; None where FFmpeg's shift of its times says it all."""
        if self.problem is not None or not self.edits or not self.scale:
            return None
        pieces: list[Piece] = []
        at = 0  # ticks of the movie
        for number, edit in enumerate(self.edits):
            from_s = edit.media_time / self.scale
            shift_s = at / self.movie_scale - from_s
            until_s = from_s + edit.duration / self.movie_scale
            if number == len(self.edits) - 1 and (not edit.duration or self.fragmented):
                until_s = math.inf
            at += edit.duration
            if edit.media_time < 0 or until_s <= from_s:
                continue
            if pieces and abs(pieces[-1].until_s - from_s) < 1e-6 and abs(pieces[-1].shift_s - shift_s) < 1e-6:
                pieces[-1] = Piece(pieces[-1].from_s, until_s, pieces[-1].shift_s)
            else:
                pieces.append(Piece(from_s, until_s, shift_s))
        rows = self.edits[self.edits[0].media_time == -1 :]
        if not pieces or (len(rows) == 1 and pieces[0].until_s > self.media_duration / self.scale - STALE_EDIT_S):
            return None
        return Timeline(tuple(pieces))

    @property
    def end_s(self) -> float | None:
        """When the track has been shown, in seconds; None where the boxes do not say."""
        if self.fragmented or not self.scale or not self.media_duration:
            return None
        listed = sum(edit.duration for edit in self.edits)
        return listed / self.movie_scale if listed and self.movie_scale else self.media_duration / self.scale

    # -- fragments --------------------------------------------------------------------------------------------------------

    @cached_property
    def times(self) -> SampleTimes | None:
        """When the samples of its fragments are shown, where FFmpeg does not go by the boxes; else None.

        Of negative composition offsets it adds the largest to every time, as soon as it has read it. A fragment without a
        decoding time it lets follow the one before, whatever else says when it is shown.
        """
        found = None
        if any(part.decode_time is None or any((run.offsets < 0).any() for run in part.runs) for part in self.fragments):
            places, times = [], []
            decode_time = self.listed
            for part in self.fragments:
                if part.decode_time is not None:
                    decode_time = part.decode_time
                elif part.shown_time is not None and part.runs and part.runs[0].count:
                    decode_time = part.shown_time - int(part.runs[0].offsets[0])
                for run in part.runs:
                    durations = run.durations
                    places.append(run.places)
                    times.append(decode_time + np.cumsum(durations) - durations + run.offsets - self.shift)
                    decode_time = _bounded(decode_time + int(durations.sum()))
            found = SampleTimes(np.concatenate(places), np.concatenate(times)) if places else None
        self.fragments = []
        return found


class SampleTimes:
    """When samples are shown, in ticks, by where they lie in the file."""

    def __init__(self, places: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        order = np.argsort(places, kind="stable")
        self._places, self._times = places[order], times[order]

    def at(self, place: int | None) -> int | None:
        """When the sample at this byte of the file is shown; None where none is known."""
        number = 0 if place is None else int(np.searchsorted(self._places, place))
        if place is None or number == len(self._places) or self._places[number] != place:
            return None
        return int(self._times[number])


class Index:
    """What the boxes of an mp4 or mov say; empty for other files.

    samples: entries that FFmpeg would hold in memory for what is only counted, not listed.
    complete: all of it was looked at, not the first `MAX_BOXES` only.
    """

    def __init__(self, path: Path) -> None:
        self._boxes = 0
        self.complete = False
        self._movie_scale = 0
        self._tracks = [TrackBoxes()]
        self._fragment = _Fragment(0, 0)
        self._run_before: _Run | None = None  # of the track before in the same fragment
        # Opening the file will say what is wrong with it; what is damaged here is damaged there.
        with suppress(OSError, struct.error, zlib.error), path.open("rb") as file:
            self._read_file(file)
        self.samples = sum(track.entries() for track in self._tracks)

    def track(self, track_id: int) -> TrackBoxes:
        """The track of this number; one of which nothing is known where there is none."""
        return next((track for track in self._tracks[1:] if track.id == track_id), TrackBoxes())

    @property
    def end_s(self) -> float | None:
        """When its pictures and sounds have been shown, in seconds; None where the boxes do not say."""
        ends = [track.end_s for track in self._tracks if track.handlers & {b"vide", b"soun"}]
        known = [end_s for end_s in ends if end_s is not None]
        return max(known) if known and len(known) == len(ends) else None

    @property
    def mapped(self) -> bool:
        """Whether FFmpeg's shift does not say all of an edit list."""
        return any(track.timeline is not None for track in self._tracks)

    @property
    def retimes(self) -> bool:
        """Whether FFmpeg's presentation times differ from what the boxes say. Look at `samples` first."""
        return any(track.times is not None for track in self._tracks)

    def retime(self, packet: Packet[Any]) -> None:
        """Give a packet the presentation time of its sample; one that is not in a fragment keeps what it has."""
        times = self.track(packet.stream.id).times
        if times is not None and packet.size:
            time = times.at(packet.pos)
            if time is not None:
                packet.pts = time

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
                break
            self._boxes += 1
            if kind in _BOXES_OF_BOXES:
                file.seek(at + skip)
                self._fragment, self._run_before = _Fragment(at, at), None
                self._enter(kind, memoryview(file.read(min(size - skip, MAX_INDEX))), 1)
            at += size
        self.complete = self._boxes < MAX_BOXES

    def _enter(self, kind: bytes, body: memoryview, depth: int) -> None:
        if kind == b"trak":
            self._tracks.append(TrackBoxes(movie_scale=self._movie_scale))
        elif kind == b"traf":
            self._run_before = self._fragment.runs[-1] if self._fragment.runs else self._run_before
            self._fragment = _Fragment(self._fragment.moof, self._fragment.moof)
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
                self._take_times(inner, part)
            at += size
        if kind == b"traf" and self._fragment.track is not None:
            self._fragment.track.fragments.append(self._fragment)

    def _take(self, kind: bytes, body: memoryview) -> None:
        """What decides how much FFmpeg keeps in memory."""
        track = self._tracks[-1]
        count = int.from_bytes(body[4:8], "big")
        if kind == b"hdlr":
            track.handlers.add(bytes(body[8:12]))
        elif kind == b"stsz" and count:
            track.samples = max(track.samples, int.from_bytes(body[8:12], "big"))
        elif kind == b"stts":
            track.whole_chunks &= count == 1 and int.from_bytes(body[12:16], "big") == 1
        elif kind == b"stsc":
            track.chunk_runs += [(first, samples) for first, samples in _rows(">II4x", body[8:], count)]
        elif kind in (b"stco", b"co64"):
            track.chunks = max(track.chunks, min(count, len(body) // 4))
        elif kind == b"trun":
            track.in_fragments += count

    def _take_times(self, kind: bytes, body: memoryview) -> None:
        """What decides when a sample is shown."""
        track, fragment = self._tracks[-1], self._fragment
        wide = body[0] == 1
        if kind == b"mvhd":
            self._movie_scale = self._movie_scale or int.from_bytes(body[20:24] if wide else body[12:16], "big")
            for known in self._tracks:
                known.movie_scale = self._movie_scale
        elif kind == b"tkhd":
            track.id = int.from_bytes(body[20:24] if wide else body[12:16], "big")
        elif kind == b"mdhd":
            track.scale = int.from_bytes(body[20:24] if wide else body[12:16], "big")
            track.media_duration = int.from_bytes(body[24:32] if wide else body[16:20], "big")
        elif kind == b"stsd":
            track.encrypted = track.encrypted or _encryption(bytes(body))
        elif kind == b"elst":
            form = ">Qqi" if wide else ">Iii"
            track.edits = [Edit(*row) for row in _rows(form, body[8:], len(body))]  # FFmpeg, too, counts those that are there
            track.unreadable = (
                body[0] > 1
                or len(track.edits) < int.from_bytes(body[4:8], "big")
                or sum(edit.duration + abs(edit.media_time) for edit in track.edits) > _MOST_TICKS
            )
        elif kind == b"stts":
            rows = np.frombuffer(body[8 : 8 + len(body[8:]) // 8 * 8], ">u4").reshape(-1, 2).astype(np.int64)
            track.listed = _bounded(int(rows.prod(1).sum()))
        elif kind == b"trex":
            known = self.track(int.from_bytes(body[4:8], "big"))
            known.fragmented = True
            known.default_duration = int.from_bytes(body[12:16], "big")
            known.default_size = int.from_bytes(body[16:20], "big")
        elif kind == b"tfhd":
            fragment.track = known = self.track(int.from_bytes(body[4:8], "big"))
            flags, at = int.from_bytes(body[1:4], "big"), 8
            fragment.duration, fragment.size = known.default_duration, known.default_size
            if flags & 0x1:
                fragment.base, at = _ticks(body[at : at + 8]), at + 8
            elif not flags & 0x20000 and self._run_before is not None:  # 0x20000: the base is the `moof`
                fragment.base = self._run_before.end
            at += 4 * bool(flags & 0x2)
            if flags & 0x8:
                fragment.duration, at = int.from_bytes(body[at : at + 4], "big"), at + 4
            if flags & 0x10:
                fragment.size = int.from_bytes(body[at : at + 4], "big")
        elif kind == b"tfdt":
            fragment.decode_time = _ticks(body[4:12] if wide else body[4:8])
        elif kind == b"uuid" and len(body) >= 24 and body[:16] == _TFXD:
            fragment.shown_time = _ticks(body[20:28] if body[16] == 1 else body[20:24], signed=True)
        elif kind == b"trun" and fragment.track is not None:
            data = int.from_bytes(body[8:12], "big", signed=True) if body[3] & 0x1 else 0
            fragment.runs.append(_Run(fragment.base + data, bytes(body), fragment.duration, fragment.size))


_BOXES_OF_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf"}

_MAX_DEPTH = 10  # as FFmpeg


def index_of(path: Path) -> Index:
    """The index of a file, read once as long as the file does not change. Raises nothing: a file that is gone has none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return Index(path)
    return _index(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2)  # of a film, and of the sound beside it
def _index(path: Path, _size: int, _mtime_ns: int) -> Index:
    return Index(path)


def _ticks(data: memoryview, *, signed: bool = False) -> int:
    """A number that sums with others of its kind in 64 bits; 0 for one that only damage makes so large."""
    return _bounded(int.from_bytes(data, "big", signed=signed))


def _bounded(value: int) -> int:
    return value if abs(value) < _MOST_TICKS else 0


def _encryption(descriptions: bytes) -> str:
    """How the samples of a track are encrypted, by its sample descriptions; "" where they are not."""
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
