"""What the packets of an MPEG transport stream say before FFmpeg reads it: programmes, PIDs, clocks, scrambling.

FFmpeg reads a transport stream as one recording. Where its clock starts again (recordings joined end to end), or where the
programme moves to other PIDs, what follows is dated far away or not delivered at all. `survey` goes over the packet headers
once, and `sections_of` parts the file there: within a section both streams have one clock and one PID each.

Layouts are those of ISO/IEC 13818-1: packets 2.4.3.2, PES headers 2.4.3.6, PAT and PMT 2.4.4.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TICKS_S = 90_000  # of a timestamp, a second

WRAP = 1 << 33  # timestamps are counted modulo this

FAR = 10 * TICKS_S  # a clock that goes ahead further than this has been set anew; less is a hole in the recording

BACK = TICKS_S  # pictures are stored up to 16 early and may have no decoding time, so a clock may step back by less

MAX_SECTIONS = 4096

_SYNC = 0x47
_PACKET = 188  # bytes
_SIZES = (188, 192, 204)  # plain, M2TS (a time stamp in front), with Reed-Solomon parity (behind)
_IN_A_ROW = 5  # sync bytes one packet apart that are no chance
_CHUNK = 8 << 20
_WINDOW = 1 << 18  # bytes searched at a time for the next packet, where the file is damaged
_STRAYS = 2  # timestamps in a row that may be damaged
_OPENING = 2 << 20  # bytes in which every programme says at least once what belongs to it
_LEAD = TICKS_S  # a section's first timestamps are those of its first second

_PAT, _PMT = 0x00, 0x02  # table ids
_PADDING = 0x1FFF
_SPLICED_S = 1.0  # by which the sound may begin before the first picture, and end after the last, where a section is cut
_SAME_CLOCK_S = -0.1  # the clock of the next PIDs goes on if they start so far from the end of those before

Ticks = NDArray[np.int64]


@dataclass(frozen=True)
class Programme:
    """What a PMT says: the type of each elementary stream by its PID. `packets` are those it came in, as in the file."""

    number: int
    types: Mapping[int, int]
    packets: bytes = field(repr=False, compare=False, default=b"")


@dataclass(frozen=True)
class Tables:
    """The programmes as they stand from byte `at` on, and the numbers that the PAT lists; `packets` are those of the PAT."""

    at: int
    programmes: Mapping[int, Programme]
    listed: frozenset[int]
    packets: bytes = field(repr=False, default=b"")


@dataclass(frozen=True)
class Stamps:
    """The timestamps of one stream in the order of the file: where each PES packet starts, in bytes, and what it says.

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
        """Without timestamps that jump and come back at once, nor a jump of the very last: damage, or packets out of order."""
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

    size: bytes of a packet; tables: in the order of the file, at least one; stamps: by PID; scrambled: PIDs most of whose
    packets cannot be read without a key.
    """

    size: int
    end: int
    tables: tuple[Tables, ...]
    stamps: Mapping[int, Stamps]
    scrambled: frozenset[int]

    def excerpt(self, start: int, end: int, tables: bytes) -> Excerpt:
        """The packets from byte `start` up to `end`."""
        lead = _lead(self.size)
        return Excerpt(max(0, start - lead), self.end if end >= self.end else end - lead, tables)

    @property
    def opening(self) -> int:
        """Which of `tables` holds at the start of the file: the first that lists all its programmes."""
        found = 0
        for number, following in enumerate(self.tables[1:], 1):
            now = self.tables[found].programmes
            grows = all(following.programmes.get(key) == programme for key, programme in now.items())
            if not grows or following.at > self.tables[0].at + _OPENING:
                break
            found = number
        return found


@dataclass(frozen=True)
class Excerpt:
    """Bytes `start` to `end` of a file, to be read after `tables`, the packets that say which PID is what."""

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
    pat: bytes = field(repr=False)
    programme: Programme
    video_pid: int
    audio_pid: int | None

    @property
    def tables(self) -> bytes:
        """The packets that say so."""
        return self.pat + self.programme.packets


@dataclass(frozen=True)
class Section:
    """A stretch of the file in which picture and sound have one clock and one PID each.

    start_s and end_s are on the file's clock; `zero` is the timestamp, in ticks, that is `start_s`. pictures and sounds are
    the bytes that hold them; first_picture and first_sound are their first timestamps, None where the section has none.
    """

    start_s: float
    end_s: float
    zero: int
    era: Era
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
    """The sections of a file, laid one after the other. Both streams of one are moved by the same time.

    A section follows the one before; where only the PIDs change and the clock goes on, it keeps its place.
    """
    found: list[Section] = []
    none = Stamps(*(np.zeros(0, np.int64),) * 3)
    for era in eras:
        pictures = survey.stamps.get(era.video_pid, none).between(era.start, era.end)
        sounds = none if era.audio_pid is None else survey.stamps.get(era.audio_pid, none).between(era.start, era.end)
        starts = [(era.start, era.start), *islice(_restarts(pictures, sounds), MAX_SECTIONS)]
        ends = [*starts[1:], (era.end, era.end)]
        for (shown_at, heard_at), (shown_to, heard_to) in zip(starts, ends, strict=True):
            shown, heard = pictures.between(shown_at, shown_to), sounds.between(heard_at, heard_to)
            placed = _placed(era, shown, heard, found[-1] if found else None)
            if placed is not None:
                start_s, end_s, zero = placed
                excerpts = (survey.excerpt(shown_at, shown_to, era.tables), survey.excerpt(heard_at, heard_to, era.tables))
                found.append(Section(start_s, end_s, zero, era, *excerpts, _first(shown), _first(heard)))
    return found


def _placed(era: Era, pictures: Stamps, sounds: Stamps, before: Section | None) -> tuple[float, float, int] | None:
    """Start and end of a section in seconds, and its zero; None for one without a timestamp.

    Its first picture follows the last one before, so that sound cut a little earlier than the picture, on either side, overlaps
    as it did before it was cut.
    """
    firsts = [first for first in (_first(pictures), _first(sounds)) if first is not None]
    if not firsts:
        return None
    zero = firsts[0] + min(int(apart(first, firsts[0])) for first in firsts)
    length_s = _end_s(pictures, zero)
    if _end_s(sounds, zero) > length_s + _SPLICED_S:
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
    """The earliest presentation time of the first second, None where there is none."""
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
    """Where the clock is set anew: the byte from which on the pictures, and that from which on the sounds, have the new one."""
    streams = pictures, sounds
    steps = tuple(stamps.steps() if len(stamps) else stamps.dts for stamps in streams)
    events = sorted((int(streams[k].at[at + 1]), k, int(at)) for k in (0, 1) for at in np.flatnonzero(is_jump(steps[k])))
    done = [-1, -1]  # up to which byte the jumps of either stream are accounted for
    for at, k, index in events:
        if at <= done[k]:
            continue
        step, other = int(steps[k][index]), streams[1 - k]
        following = int(np.searchsorted(other.at, at))
        if step > 0 and following > 0 and abs(apart(streams[k].dts[index + 1], other.dts[following - 1])) < FAR:
            continue  # the other stream went on meanwhile: this one had nothing to say
        # The other follows at its first step of that kind; sound is often written a little after its picture.
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


def survey(path: Path) -> Survey | None:
    """Go over the packets of a transport stream; None for a file in which no PAT and PMT is found. Raises OSError."""
    status = path.stat()
    return _survey(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1)  # a check opens its file several times
def _survey(path: Path, _size: int, _changed: int) -> Survey | None:
    with path.open("rb", buffering=0) as file:
        pass_ = _Pass(file.seek(0, io.SEEK_END))
        pass_.read(file)
    return pass_.found()


class _Pass:
    """One pass over a file."""

    def __init__(self, end: int) -> None:
        self._end = end
        self._size = 0
        self._pat: dict[int, int] = {}  # PID of the PMT by programme
        self._pat_packets = b""
        self._programmes: dict[int, Programme] = {}
        self._seen: dict[int, bytes] = {}  # the last table of a PID
        self._tables: list[Tables] = []
        self._rows: list[tuple[NDArray[np.int64], ...]] = []  # at, pid, dts, pts
        self._starts = np.zeros(_PADDING + 1, np.int64)  # PES packets by PID
        self._locked = np.zeros(_PADDING + 1, np.int64)  # those of them that are scrambled

    def read(self, file: io.RawIOBase) -> None:
        """Take every packet of the file, passing over what is none."""
        at: int | None = self._find(file, 0)
        buffer = bytearray(_CHUNK)
        while at is not None:
            file.seek(at)
            filled = file.readinto(buffer) or 0
            rows = (filled + self._size - _PACKET) // self._size
            if rows <= 0:
                return
            good = self._take(buffer, rows, at)
            at += good * self._size
            if good < rows:
                at = self._find(file, at)

    def found(self) -> Survey | None:
        """What the pass found."""
        if not self._tables:
            return None
        at, pid, dts, pts = (np.concatenate(columns) for columns in zip(*self._rows, strict=True))
        order = np.argsort(pid, kind="stable")
        cuts = np.flatnonzero(np.diff(pid[order])) + 1
        stamps = {}
        for part in np.split(order, cuts):
            if len(part):
                stamps[int(pid[part[0]])] = Stamps(at[part], dts[part], pts[part]).without_strays()
        scrambled = np.flatnonzero(self._locked * 2 > self._starts)
        return Survey(self._size, self._end, tuple(self._tables), stamps, frozenset(scrambled.tolist()))

    def _find(self, file: io.RawIOBase, at: int) -> int | None:
        """Where the next run of packets starts, of whatever size; the size is kept."""
        while at + _PACKET <= self._end:
            file.seek(at)
            window = np.frombuffer(file.read(_WINDOW) or b"", np.uint8) == _SYNC
            best: tuple[int, int] | None = None
            for size in _SIZES:
                # A short file has fewer packets to show.
                count = min(_IN_A_ROW, max(1, (len(window) - _PACKET) // size + 1)) if at == 0 else _IN_A_ROW
                runs = len(window) - (count - 1) * size
                if runs <= 0:
                    continue
                run = np.logical_and.reduce([window[k * size : k * size + runs] for k in range(count)])
                first = int(run.argmax())
                if run[first] and (best is None or first < best[0]):
                    best = first, size
            if best is not None:
                self._size = best[1]
                return at + best[0]
            if len(window) < _WINDOW:
                return None
            at += _WINDOW - _IN_A_ROW * max(_SIZES)
        return None

    def _take(self, buffer: bytearray, rows: int, at: int) -> int:
        """Take up to `rows` packets from a buffer that starts at byte `at`; how many there were before sync was lost."""
        head = np.ndarray((rows,), "<u4", buffer, 0, (self._size,))
        lost = np.flatnonzero((head & 0xFF) != _SYNC)
        if len(lost):  # a damaged byte is no loss of sync
            for first in lost.tolist():
                if np.count_nonzero((head[first : first + 8] & 0xFF) != _SYNC) > 4:
                    rows = first
                    head = head[:rows]
                    break
        starts = np.flatnonzero((head & 0x4000).astype(np.bool_) & ((head & 0xFF) == _SYNC))
        if len(starts):
            pids = _pids(head[starts])
            packets: NDArray[np.uint8] = np.ndarray((rows, _PACKET), np.uint8, buffer, 0, (self._size, 1))[starts]
            tables = np.isin(pids, [0, *self._pat.values()])
            if not self._pat:
                tables[:] = True  # the PIDs of the PMTs are not known before the first PAT
            for k in np.flatnonzero(tables).tolist():
                self._table(int(pids[k]), int(starts[k]), head, buffer, at)
            self._pes(packets, pids, at + starts.astype(np.int64) * self._size)
        return rows

    def _pes(self, packets: NDArray[np.uint8], pids: NDArray[np.int64], at: Ticks) -> None:
        """The timestamps of packets with which a PES packet starts, uint8 (n, 188)."""
        control = packets[:, 3].astype(np.int64)
        skip = 4 + np.where(control & 0x20, 1 + packets[:, 4].astype(np.int64), 0)
        fits = ((control & 0x10) != 0) & (skip <= _PACKET - 19)
        locked = (control & 0xC0) != 0
        row = np.arange(len(packets))
        skip = np.where(fits, skip, 4)

        def byte(k: int) -> NDArray[np.int64]:
            column: NDArray[np.int64] = packets[row, skip + k].astype(np.int64)
            return column

        stream = byte(3)
        is_pes = fits & ~locked & (byte(0) == 0) & (byte(1) == 0) & (byte(2) == 1)
        is_pes &= (stream == 0xBD) | (stream == 0xFD) | ((stream >= 0xC0) & (stream <= 0xEF))
        locked |= is_pes & ((byte(6) & 0x30) != 0)
        self._starts += np.bincount(pids[is_pes | locked], minlength=len(self._starts))
        self._locked += np.bincount(pids[locked], minlength=len(self._locked))
        flags = byte(7)
        dated = is_pes & ((flags & 0x80) != 0)

        def stamp(k: int) -> Ticks:
            high, middle, low = byte(k) >> 1 & 7, byte(k + 1) << 7 | byte(k + 2) >> 1, byte(k + 3) << 7 | byte(k + 4) >> 1
            return high << 30 | middle << 15 | low

        pts = stamp(9)
        dts = np.where((flags & 0xC0) == 0xC0, stamp(14), pts)
        self._rows.append((at[dated], pids[dated], dts[dated], pts[dated]))

    def _table(self, pid: int, row: int, head: NDArray[np.uint32], buffer: bytearray, at: int) -> None:
        """Take a table, if it says something new."""
        rows = [row]
        section = _payload(buffer, row * self._size)
        if not section or 1 + section[0] >= len(section):
            return
        section = section[1 + section[0] :]
        if len(section) < 8 or section[0] != (_PAT if pid == 0 else _PMT):
            return
        length = 3 + (section[1] & 0x0F) * 256 + section[2]
        if len(section) < length:
            for following in (np.flatnonzero(_pids(head[row + 1 :]) == pid) + row + 1).tolist():
                if head[following] & 0x4000 or len(section) >= length:
                    break
                rows.append(following)
                section += _payload(buffer, following * self._size)
        section = section[:length]
        if len(section) < length or length < 12 or section == self._seen.get(pid) or not section[5] & 1 or _crc(section):
            return
        self._seen[pid] = section
        packets = b"".join(_framed(bytes(buffer[k * self._size : k * self._size + _PACKET]), self._size) for k in rows)
        if pid == 0:
            self._take_pat(section, packets)
        else:
            self._take_pmt(section, packets, pid)
        known = {number: self._programmes[number] for number in self._pat if number in self._programmes}
        if known and (not self._tables or known != self._tables[-1].programmes):
            self._tables.append(Tables(at + row * self._size, known, frozenset(self._pat), self._pat_packets))

    def _take_pat(self, section: bytes, packets: bytes) -> None:
        found = {}
        for k in range(8, len(section) - 4, 4):
            number = int.from_bytes(section[k : k + 2], "big")
            if number:  # 0 names the network's table
                found[number] = int.from_bytes(section[k + 2 : k + 4], "big") & 0x1FFF
        if section[7]:  # one of several parts
            found = self._pat | found
            packets = self._pat_packets + packets if section[6] else packets
        for number, pid in self._pat.items():
            if found.get(number) != pid:
                self._programmes.pop(number, None)
                self._seen.pop(pid, None)
        self._pat, self._pat_packets = found, packets

    def _take_pmt(self, section: bytes, packets: bytes, pid: int) -> None:
        number = int.from_bytes(section[3:5], "big")
        if self._pat.get(number) != pid:
            self._seen.pop(pid)  # it may come before its PAT
            return
        types = {}
        k = 12 + (section[10] & 0x0F) * 256 + section[11]
        while k + 5 <= len(section) - 4:
            types[int.from_bytes(section[k + 1 : k + 3], "big") & 0x1FFF] = section[k]
            k += 5 + (section[k + 3] & 0x0F) * 256 + section[k + 4]
        self._programmes[number] = Programme(number, types, packets)


def _pids(head: NDArray[np.uint32]) -> NDArray[np.int64]:
    pids: NDArray[np.int64] = (head & 0x1F00 | head >> 16 & 0xFF).astype(np.int64)
    return pids


def _payload(buffer: bytearray, at: int) -> bytes:
    """What a packet carries after its header and adaptation field."""
    control = buffer[at + 3]
    skip = 4 + (1 + buffer[at + 4] if control & 0x20 else 0)
    return bytes(buffer[at + skip : at + _PACKET]) if control & 0x10 and not control & 0xC0 else b""


def _lead(size: int) -> int:
    """How many bytes a recorder puts in front of each packet."""
    return 4 if size == 192 else 0


def _framed(packet: bytes, size: int) -> bytes:
    """A packet of 188 bytes as one of `size`, with zeros for what a recorder adds."""
    lead = _lead(size)
    return bytes(lead) + packet + bytes(size - lead - len(packet))


def _crc(data: bytes) -> int:
    """The checksum of MPEG tables; 0 where the data end with their own."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[value >> 24 ^ byte]
    return value


def _crc_entry(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)
    return value & 0xFFFFFFFF


_CRC_TABLE = [_crc_entry(byte) for byte in range(256)]
