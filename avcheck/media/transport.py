"""The sections of an MPEG transport stream: programmes, PIDs, clocks, and where they change.

FFmpeg reads a transport stream as one recording. Where its clock starts again (recordings joined
end to end), or where the programme moves to other PIDs, what follows is dated far away or not
delivered at all. A `Survey` holds what its packets say, and `sections_of` parts the file there:
within a section both streams have one clock and one PID each.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TICKS_S = 90_000  # of a timestamp, a second

WRAP = 1 << 33  # timestamps are counted modulo this

# A clock that jumps ahead further than this was reset; less is a hole in the recording
FAR = 10 * TICKS_S

# Pictures are stored up to 16 early and may have no decoding time, so a clock may step back by less
BACK = TICKS_S

MAX_SECTIONS = 4096

_STRAYS = 2  # timestamps in a row that may be damaged
_OPENING = 2 << 20  # bytes in which every programme announces its streams at least once
_LEAD = TICKS_S  # a section's first timestamps are those of its first second

# How much the sound may begin before the first picture, and end after the last, at the ends of a
# section
_SPLICED_S = 1.0
# The clock of the next PIDs goes on if they start so far from the end of those before
_SAME_CLOCK_S = -0.1

Ticks = NDArray[np.int64]


@dataclass(frozen=True)
class Programme:
    """What a PMT says. `types`: the stream_type of each elementary stream, by its PID. `packets`
    are those that carried it, as in the file.
    """

    number: int  # by which the PAT lists it
    types: Mapping[int, int]
    packets: bytes = field(repr=False, compare=False, default=b"")

    def is_part_of(self, other: Programme | None) -> bool:
        """Whether the other lists all these streams; a writer may list one only when it comes."""
        return other is not None and self.types.items() <= other.types.items()


@dataclass(frozen=True)
class Tables:
    """The programmes, by number, as they stand from byte `at` on; `listed`: the numbers that the
    PAT lists; `packets` are those of the PAT.
    """

    at: int
    programmes: Mapping[int, Programme]
    listed: frozenset[int]
    packets: bytes = field(repr=False, default=b"")


@dataclass(frozen=True)
class Stamps:
    """The timestamps of one stream in the order of the file: where each PES packet starts, in
    bytes, and what it says.

    at, dts and pts are int64 (n,); dts is the presentation time where there is no other.
    """

    at: Ticks
    dts: Ticks
    pts: Ticks

    def __len__(self) -> int:
        return len(self.at)

    def between(self, start: int, end: int) -> Stamps:
        """Those of PES packets that start in these bytes."""
        part = slice(*np.searchsorted(self.at, (start, end)))
        return Stamps(self.at[part], self.dts[part], self.pts[part])

    def steps(self) -> Ticks:
        """From each timestamp to the next, across a wrap of the counter."""
        steps: Ticks = apart(self.dts[1:], self.dts[:-1])
        return steps

    def without_strays(self) -> Stamps:
        """Without timestamps that jump and come back at once, nor a jump of the very last: damage,
        or packets out of order.
        """
        keep = np.ones(len(self), np.bool_)
        before = 0
        for jump in np.flatnonzero(is_jump(self.steps())) + 1:
            if jump <= before:
                continue
            before = int(jump)
            for count in range(1, _STRAYS + 1):
                back = jump + count
                if back >= len(self) or not is_jump(apart(self.dts[back], self.dts[jump - 1])):
                    keep[jump:back] = False
                    before = int(back)
                    break
        return Stamps(self.at[keep], self.dts[keep], self.pts[keep])


@dataclass(frozen=True)
class Survey:
    """What a pass over all packet headers found.

    size: bytes of a packet; end: bytes of the file; tables: in the order of the file, at least one;
    stamps: by PID; scrambled: PIDs most of whose packets cannot be read without a key.
    """

    size: int
    end: int
    tables: tuple[Tables, ...]
    stamps: Mapping[int, Stamps]
    scrambled: frozenset[int]

    def excerpt(self, start: int, end: int, tables: bytes) -> Excerpt:
        """The packets from byte `start` up to `end`."""
        lead = lead_bytes(self.size)
        return Excerpt(max(0, start - lead), self.end if end >= self.end else end - lead, tables)

    @property
    def opening(self) -> int:
        """Which of `tables` holds at the start of the file: the first that lists all its
        programmes, and all their streams.
        """
        opening = 0
        for number, following in enumerate(self.tables[1:], 1):
            now = self.tables[opening].programmes
            grows = all(
                programme.is_part_of(following.programmes.get(key))
                for key, programme in now.items()
            )
            if not grows or following.at > self.tables[0].at + _OPENING:
                break
            opening = number
        return opening


@dataclass(frozen=True)
class Excerpt:
    """Bytes `start` to `end` of a file, to be read after `tables`, the packets that say which PID
    is what.
    """

    start: int
    end: int
    tables: bytes = field(repr=False, default=b"")

    def open(self, path: Path) -> ExcerptFile:
        """The excerpt as a file. Raises OSError."""
        return ExcerptFile(path, self)


class ExcerptFile(io.RawIOBase):
    """An `Excerpt`, open for reading."""

    def __init__(self, path: Path, excerpt: Excerpt) -> None:
        self.name = f"file:{path.absolute()}"  # as FFmpeg's own
        self._file = path.open("rb", buffering=0)
        self._excerpt = excerpt
        self._length = len(excerpt.tables) + excerpt.end - excerpt.start
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        head = self._excerpt.tables[self._at : self._at + len(view)]
        if head:
            view[: len(head)] = head
            count = len(head)
        else:
            self._file.seek(self._excerpt.start + self._at - len(self._excerpt.tables))
            count = self._file.readinto(view[: max(0, self._length - self._at)]) or 0
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


@dataclass(frozen=True)
class Era:
    """From byte `start` to `end` the programme has the same PIDs."""

    start: int
    end: int
    pat: bytes = field(repr=False)  # the packets of the PAT
    programme: Programme
    video_pid: int | None  # None: only the sound is read
    audio_pid: int | None  # None: it has no sound

    @property
    def tables(self) -> bytes:
        """The packets that say so."""
        return self.pat + self.programme.packets


@dataclass(frozen=True)
class Section:
    """A stretch of the file in which picture and sound have one clock and one PID each.

    start_s and end_s are on the file's clock; `zero` is the timestamp, in ticks, that is `start_s`.
    pictures and sounds are the bytes that hold them; first_picture and first_sound are their first
    timestamps, None if the section has none.
    """

    start_s: float
    end_s: float
    zero: int
    era: Era  # that it lies in
    pictures: Excerpt
    sounds: Excerpt
    first_picture: int | None
    first_sound: int | None


def apart(later: Any, earlier: Any) -> Any:
    """The way from one timestamp to another in ticks, the shorter one round the counter."""
    return (later - earlier + WRAP // 2) % WRAP - WRAP // 2


def is_jump(step: Any) -> Any:
    """Whether a clock that makes such a step, in ticks, was set anew."""
    return (step < -BACK) | (step > FAR)


def sections_of(survey: Survey, eras: Iterable[Era]) -> list[Section]:
    """The sections of a file, laid one after the other. Both streams of one are moved by the same
    time.

    A section follows the one before; where only the PIDs change and the clock goes on, it keeps its
    place.
    """
    sections: list[Section] = []
    none = Stamps(*(np.zeros(0, np.int64),) * 3)
    for era in eras:
        pictures, sounds = (
            none if pid is None else survey.stamps.get(pid, none).between(era.start, era.end)
            for pid in (era.video_pid, era.audio_pid)
        )
        starts = [(era.start, era.start), *islice(_restarts(pictures, sounds), MAX_SECTIONS)]
        ends = [*starts[1:], (era.end, era.end)]
        for (shown_at, heard_at), (shown_to, heard_to) in zip(starts, ends, strict=True):
            shown, heard = pictures.between(shown_at, shown_to), sounds.between(heard_at, heard_to)
            placed = _placed(era, shown, heard, sections[-1] if sections else None)
            if placed is not None:
                start_s, end_s, zero = placed
                excerpts = (
                    survey.excerpt(shown_at, shown_to, era.tables),
                    survey.excerpt(heard_at, heard_to, era.tables),
                )
                sections.append(
                    Section(start_s, end_s, zero, era, *excerpts, _first(shown), _first(heard))
                )
    return sections


def _placed(
    era: Era, pictures: Stamps, sounds: Stamps, before: Section | None
) -> tuple[float, float, int] | None:
    """Start and end of a section in seconds, and its zero; None for one without a timestamp.

    Its first picture follows the last one before, so that sound cut a little earlier than the
    picture, on either side, overlaps as it did before it was cut.
    """
    firsts = [first for first in (_first(pictures), _first(sounds)) if first is not None]
    if not firsts:
        return None
    zero = firsts[0] + min(int(apart(first, firsts[0])) for first in firsts)
    length_s = _end_s(pictures, zero)
    if era.video_pid is None or _end_s(sounds, zero) > length_s + _SPLICED_S:
        length_s = _end_s(sounds, zero)
    start_s = 0.0
    if before is not None:
        lead_s = int(apart(firsts[0], zero)) / TICKS_S
        since_s = int(apart(zero, before.zero)) / TICKS_S
        gap_s = since_s + lead_s - (before.end_s - before.start_s)
        if before.era is not era and _SAME_CLOCK_S <= gap_s <= FAR / TICKS_S:
            start_s = before.start_s + since_s
        else:
            start_s = before.end_s - (lead_s if lead_s < _SPLICED_S else 0.0)
    return start_s, start_s + length_s, zero % WRAP


def _first(stamps: Stamps) -> int | None:
    """The earliest presentation time of the first second, None if there is none."""
    if not len(stamps):
        return None
    since = apart(stamps.pts, stamps.pts[0])
    return int(stamps.pts[0] + since[np.abs(since) < _LEAD].min())


def _end_s(stamps: Stamps, zero: int) -> float:
    """Where the last picture or sound ends, in seconds from `zero`."""
    if not len(stamps):
        return 0.0
    steps = stamps.steps()
    if (steps < -BACK).any():  # more sections than are told apart
        steps[is_jump(steps)] = 0
    decoded = apart(stamps.dts[0], zero) + np.concatenate([[0], np.cumsum(steps)])
    shown = np.sort(decoded + apart(stamps.pts, stamps.dts))
    return float(shown[-1] + (np.median(np.diff(shown)) if len(shown) > 1 else 0)) / TICKS_S


def _restarts(pictures: Stamps, sounds: Stamps) -> Iterator[tuple[int, int]]:
    """Where the clock is set anew: the byte from which on the pictures, and that from which on the
    sounds, have the new one.
    """
    streams = pictures, sounds
    steps = tuple(stamps.steps() if len(stamps) else stamps.dts for stamps in streams)
    events = sorted(
        (int(streams[k].at[at + 1]), k, int(at))
        for k in (0, 1)
        for at in np.flatnonzero(is_jump(steps[k]))
    )
    done = [-1, -1]  # up to which byte the jumps of either stream are accounted for
    for at, k, index in events:
        if at <= done[k]:
            continue
        step, other = int(steps[k][index]), streams[1 - k]
        following = int(np.searchsorted(other.at, at))
        if (
            step > 0
            and following > 0
            and abs(apart(streams[k].dts[index + 1], other.dts[following - 1])) < FAR
        ):
            continue  # the other stream went on meanwhile: this one had nothing to say
        # The other follows at its first step of that kind; sound is often written a little after
        # its picture.
        theirs = steps[1 - k][max(0, following - 1) :]
        alike = np.flatnonzero((theirs < step / 2) if step < 0 else (theirs > step / 2))
        entry = int(other.at[max(0, following - 1) + alike[0] + 1]) if len(alike) else at
        until = next((later for later, kind, _ in events if later > at and kind == k), None)
        if until is not None and entry >= until:
            entry = at
        if following < len(other) and entry == other.at[following]:
            done[1 - k] = entry
            entry = at  # nothing of the old clock lies between
        done[k], done[1 - k] = at, max(done[1 - k], entry)
        yield (at, entry) if k == 0 else (entry, at)


def lead_bytes(size: int) -> int:
    """How many bytes a recorder puts in front of each packet."""
    return 4 if size == 192 else 0
