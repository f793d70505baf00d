"""A track of an mp4 or mov as its boxes say: samples, fragments, edit list, and when a player shows
each of them.

Times: ISO/IEC 14496-12, sections 8.6 (edit lists, composition offsets) and 8.8 (fragments).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from avcheck.media.timeline import ShownPiece, Timeline

MAX_PIECES = 1000  # that an edit list may show: each can have the file sought and decoded again

# A list that ends so much before its media cuts it; less is the padding of its codec, or rounding
STALE_EDIT_S = 1.0

_RATE_1 = 1 << 16

MOST_TICKS = 1 << 61


@dataclass(frozen=True)
class EditRow:
    """A row of an edit list: `media_time` in the track's ticks, negative = nothing is shown;
    `duration` in the movie's.
    """

    duration: int
    media_time: int
    rate: int  # 16.16 fixed point


@dataclass
class SampleRun:
    """Samples of a fragment that follow each other in the file: the body of a `trun`."""

    place: int  # of the first, in bytes of the file
    body: bytes
    duration: int  # of each, in ticks, unless the body says
    size: int  # of each, in bytes, unless the body says

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
        """The field of each sample that this flag stands for, (count,); `default` where the box
        has no such column.
        """
        if bit not in self._columns:
            return np.full(self.count, default, np.int64)
        if not self.count:
            return np.zeros(0, np.int64)
        # Offsets are signed in either version of the box, as every player takes them.
        form = np.dtype(">i4" if bit == 0x800 else ">u4")
        width = len(self._columns)
        rows = np.frombuffer(self.body, form, self.count * width, self._start).reshape(
            self.count, width
        )
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
        sizes = (
            int(self._column(0x200, 0).sum()) if 0x200 in self._columns else self.count * self.size
        )
        return bounded(self.place + sizes)

    @property
    def places(self) -> NDArray[np.int64]:
        """Where each sample begins, in bytes of the file."""
        sizes = self._column(0x200, self.size)
        return np.cumsum(sizes) - sizes + self.place


@dataclass
class Fragment:
    """What one fragment says of one track (`traf`)."""

    base: int  # bytes of the file that places count from
    moof: int  # place of its header, in bytes of the file
    track: TrackBoxes | None = None
    duration: int = 0  # of each sample, in ticks, unless a run says
    size: int = 0  # of each sample, in bytes, unless a run says
    decode_time: int | None = None  # of its first sample, in ticks
    shown_time: int | None = None  # of its first sample, in ticks
    runs: list[SampleRun] = field(default_factory=list)  # in the order of their boxes

    @property
    def shown_end(self) -> int:
        """When its last sample ends, in ticks, before the edit list moves it."""
        ends = [self.decode_time or 0]
        decode_time = ends[0]
        for run in self.runs:
            decode_times = decode_time + np.cumsum(run.durations)
            if run.count:
                ends.append(int((decode_times + run.offsets).max()))
                decode_time = int(decode_times[-1])
        return max(ends)


@dataclass
class TrackBoxes:
    """What the boxes say of one track: how many entries FFmpeg makes of it, and when its samples
    are shown.
    """

    id: int = 0  # by which fragments name it
    # Four letters for what it holds, b"vide" or b"soun"
    handlers: set[bytes] = field(default_factory=set)
    samples: int = 0  # all of one size, so that only their number is stored
    whole_chunks: bool = True  # its times allow FFmpeg to take sound a chunk at a time
    # First chunk, samples in each from there on
    chunk_runs: list[tuple[int, int]] = field(default_factory=list)
    chunks: int = 0  # how many are listed outside fragments
    in_fragments: int = 0  # how many samples the fragments hold
    movie_scale: int = 0  # ticks a second of the movie
    scale: int = 0  # ticks a second of the track's own media
    media_duration: int = 0  # ticks
    encrypted: str = ""  # how, in words
    edits: list[EditRow] = field(default_factory=list)  # rows of its edit list, in order
    unreadable: bool = False  # its edit list
    listed: int = 0  # ticks that the samples outside fragments take
    fragmented: bool = False  # the movie goes on in fragments
    fragments: list[Fragment] = field(default_factory=list)  # in the order of the file

    def entries(self) -> int:
        """The entries that FFmpeg's index of the track would have, of what is counted and not
        listed.
        """
        if (
            not self.whole_chunks
            or b"soun" not in self.handlers
            or self.handlers & {b"vide", b"subp", b"clcp"}
        ):
            return self.samples + self.in_fragments
        after = self.chunks + 1
        ends = [*(min(first, after) for first, _ in self.chunk_runs[1:]), after]
        pieces = (
            max(0, end - first) * -(-count // 1024)
            for (first, count), end in zip(self.chunk_runs, ends, strict=False)
        )
        return sum(pieces) + self.in_fragments

    # -- the edit list -----------------------------------------------------------------------------

    @property
    def _start(self) -> int:
        """Where FFmpeg lets the media begin, in ticks: with the first row of the edit list, or the
        one after an empty row.
        """
        rows = self.edits[1:] if self.edits and self.edits[0].media_time == -1 else self.edits
        return (
            rows[0].media_time
            if rows and rows[0].media_time >= 0 and self.movie_scale and not self.unreadable
            else 0
        )

    @property
    def shift(self) -> int:
        """What FFmpeg takes from the track's times for its edit list, in ticks."""
        empty = 0
        if (
            self.edits
            and self.edits[0].media_time == -1
            and self.movie_scale
            and not self.unreadable
        ):
            empty = math.floor(self.edits[0].duration * self.scale / self.movie_scale + 0.5)
        return self._start - empty

    @property
    def origin_s(self) -> float:
        """The timestamp, in seconds, that FFmpeg gives to the beginning of the media."""
        return -self.shift / self.scale

    @property
    def seek_ahead_s(self) -> float:
        """How much too early FFmpeg seeks: it takes the start of the media off once more."""
        return self._start / self.scale

    @cached_property
    def problem(self) -> str | None:
        """Why the edit list cannot be followed, in words; None: it can."""
        shows = [edit for edit in self.edits if edit.media_time >= 0]
        if (
            self.unreadable
            or any(edit.media_time < -1 for edit in self.edits)
            or (shows and not self.movie_scale)
        ):
            return "its edit list is damaged"
        if shows and all(edit.rate != _RATE_1 for edit in shows):
            return "its edit list plays all of it at another speed"
        if len(shows) > MAX_PIECES:
            return f"its edit list has {len(shows):,} pieces, over the limit of {MAX_PIECES:,}"
        if self.edits and not shows:
            return "its edit list shows nothing of it"
        if self.fragmented and len(shows) > 1 and shows[-1].duration:
            return "its edit list does not go together with its fragments"
        return None

    @cached_property
    def timeline(self) -> Timeline | None:
        """How the edit list plays the track, in seconds of its media; None if FFmpeg's shift of its
        times is enough.
        """
        if self.problem is not None or not self.edits or not self.scale:
            return None
        pieces: list[ShownPiece] = []
        other_speed: list[tuple[float, float]] = []
        at = 0  # ticks of the movie
        for number, edit in enumerate(self.edits):
            from_s = edit.media_time / self.scale
            shift_s = at / self.movie_scale - from_s
            until_s = from_s + edit.duration / self.movie_scale
            if number == len(self.edits) - 1 and (not edit.duration or self.fragmented):
                until_s = math.inf
            at += edit.duration
            if edit.media_time >= 0 and edit.rate != _RATE_1:
                start_s, length_s = from_s + shift_s, edit.duration / self.movie_scale
                if not edit.duration and edit.rate > 0:  # all the rest of the media
                    left_s = max(0.0, self.media_duration / self.scale - from_s)
                    length_s = left_s * _RATE_1 / edit.rate
                other_speed.append((start_s, start_s + length_s))
                continue
            if edit.media_time < 0 or until_s <= from_s:
                continue
            if (
                pieces
                and abs(pieces[-1].until_s - from_s) < 1e-6
                and abs(pieces[-1].shift_s - shift_s) < 1e-6
            ):
                pieces[-1] = ShownPiece(pieces[-1].from_s, until_s, pieces[-1].shift_s)
            else:
                pieces.append(ShownPiece(from_s, until_s, shift_s))
        rows = self.edits[self.edits[0].media_time == -1 :]
        if not pieces or (
            not other_speed
            and len(rows) == 1
            and pieces[0].until_s > self.media_duration / self.scale - STALE_EDIT_S
        ):
            return None
        # Not by its header, which may say that it does not know (all ones)
        held_s = 0.0 if self.fragmented else self.listed / self.scale
        return Timeline(tuple(pieces), tuple(other_speed), held_s)

    @property
    def end_s(self) -> float | None:
        """When the track ends, in seconds; None if the boxes do not say."""
        if self.fragmented or not self.scale or not self.media_duration:
            return None
        listed = sum(edit.duration for edit in self.edits)
        return (
            listed / self.movie_scale
            if listed and self.movie_scale
            else self.media_duration / self.scale
        )

    # -- fragments ---------------------------------------------------------------------------------

    def goes_back_at(self, moof: int) -> bool:
        """Whether its fragment in this `moof` does not come after the one before."""
        times = {part.moof == moof: part.decode_time for part in self.fragments}
        now, before = times.get(True), times.get(False)
        return now is not None and before is not None and now <= before

    @cached_property
    def times(self) -> SampleTimes | None:
        """When the samples of its fragments are shown, if FFmpeg does not go by the boxes; else
        None.

        FFmpeg adds the largest negative composition offset to every time, as soon as it has read
        it. It lets a fragment without a decoding time follow the one before, even if another box
        says when it is shown.
        """
        sample_times = None
        if any(
            part.decode_time is None or any((run.offsets < 0).any() for run in part.runs)
            for part in self.fragments
        ):
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
                    times.append(
                        decode_time + np.cumsum(durations) - durations + run.offsets - self.shift
                    )
                    decode_time = bounded(decode_time + int(durations.sum()))
            sample_times = (
                SampleTimes(np.concatenate(places), np.concatenate(times)) if places else None
            )
        self.fragments = []
        return sample_times


class Joint:
    """Looks for the place where one film ends and another was joined to it.

    `tracks` are those found so far. A second index (`moov`) is that of another film, unless the
    first film goes on in fragments: a recording may then repeat its index. Even so it is another
    film if it lists samples of its own, or if its fragments go back in time.
    """

    def __init__(self, tracks: list[TrackBoxes]) -> None:
        self.at = 0  # the byte where the second index, or the file type before it, begins
        self._tracks = tracks
        self._known = len(tracks)  # of them, those of the first film
        self._first: dict[bytes, int] = {}  # where the first box of each kind ends
        self._file_type = -1  # where the last one begins
        self._open = False  # whether it is yet to be seen whose the second index is

    def before(self, kind: bytes, start: int, end: int) -> bool:
        """Whether this box of the top level, not yet read, belongs to another film."""
        if kind == b"ftyp":
            self._file_type = start
        again = kind == b"moov" and kind in self._first
        self._first.setdefault(kind, end)
        if again:
            fragmented = any(track.fragmented for track in self._tracks)
            ends = max(self._first[b"moov"], 0 if fragmented else self._first.get(b"mdat", 0))
            self.at = start if fragmented else ends
            if self._has_file_type():
                self.at = self._file_type
            self._open, self._known = True, len(self._tracks)
            return not fragmented
        return False

    def within(self, start: int) -> bool:
        """Whether the box that begins here, now read, belongs to another film; if so, what it said
        is forgotten.
        """
        if not self._open:
            return False
        fragments = [part for track in self._tracks for part in track.fragments]
        self._open = not any(part.moof == start for part in fragments)
        lists = any(track.listed for track in self._tracks[self._known :])
        if not (lists and self._has_file_type()) and not any(
            track.goes_back_at(start) for track in self._tracks
        ):
            return False
        del self._tracks[self._known :]
        for track in self._tracks:
            track.fragments = [part for part in track.fragments if part.moof < self.at]
        return True

    def _has_file_type(self) -> bool:
        return self._file_type >= self._first[b"moov"]


class SampleTimes:
    """When samples are shown, in ticks, by where they lie in the file."""

    def __init__(self, places: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        order = np.argsort(places, kind="stable")
        self._places, self._times = places[order], times[order]

    def at(self, place: int | None) -> int | None:
        """When the sample at this byte of the file is shown; None if none is known."""
        number = 0 if place is None else int(np.searchsorted(self._places, place))
        if place is None or number == len(self._places) or self._places[number] != place:
            return None
        return int(self._times[number])


def bounded(value: int) -> int:
    """A number of ticks; 0 in place of one that is too large to be true."""
    return value if abs(value) < MOST_TICKS else 0
