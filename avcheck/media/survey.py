"""The survey of an MPEG transport stream: one pass over its packet headers, before FFmpeg reads it.

Layouts are those of ISO/IEC 13818-1: packets 2.4.3.2, PES headers 2.4.3.6, PAT and PMT 2.4.4.
"""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avcheck.media.transport import Programme, Stamps, Survey, Tables, Ticks, lead_bytes

_SYNC = 0x47
_PACKET = 188  # bytes
_SIZES = (188, 192, 204)  # plain, M2TS (a time stamp in front), with Reed-Solomon parity (behind)
_IN_A_ROW = 5  # sync bytes one packet apart that rule out chance
_CHUNK = 8 << 20
_WINDOW = 1 << 18  # bytes searched at a time for the next packet, where the file is damaged
_PAT, _PMT = 0x00, 0x02  # table ids
_PADDING = 0x1FFF


def survey_file(path: Path) -> Survey | None:
    """Go over the packets of a transport stream; None for a file without a PAT and a PMT. Raises
    OSError.
    """
    status = path.stat()
    return _survey(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1)  # a check opens its file several times
def _survey(path: Path, _size: int, _mtime_ns: int) -> Survey | None:
    with path.open("rb", buffering=0) as file:
        pass_ = _Pass(file.seek(0, io.SEEK_END))
        pass_.read(file)
    return pass_.survey()


class _Pass:
    """One pass over a file."""

    def __init__(self, end: int) -> None:
        self._end = end
        self._size = 0
        self._pat: dict[int, int] = {}  # PID of the PMT by programme
        self._pat_packets = b""
        self._programmes: dict[int, Programme] = {}
        self._last: dict[int, bytes] = {}  # the last table of a PID
        self._tables: list[Tables] = []
        self._rows: list[tuple[NDArray[np.int64], ...]] = []  # at, pid, dts, pts
        self._starts = np.zeros(_PADDING + 1, np.int64)  # PES packets by PID
        self._locked = np.zeros(_PADDING + 1, np.int64)  # those of them that are scrambled

    def read(self, file: io.RawIOBase) -> None:
        """Take every packet of the file, skipping everything else."""
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

    def survey(self) -> Survey | None:
        """What the packets say; None without a PAT and a PMT."""
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
        return Survey(
            self._size, self._end, tuple(self._tables), stamps, frozenset(scrambled.tolist())
        )

    def _find(self, file: io.RawIOBase, at: int) -> int | None:
        """Where the next run of packets starts, of whatever size; the size is kept."""
        while at + _PACKET <= self._end:
            file.seek(at)
            window = np.frombuffer(file.read(_WINDOW) or b"", np.uint8) == _SYNC
            best: tuple[int, int] | None = None
            for size in _SIZES:
                # A short file has fewer packets to show.
                count = (
                    min(_IN_A_ROW, max(1, (len(window) - _PACKET) // size + 1))
                    if at == 0
                    else _IN_A_ROW
                )
                runs = len(window) - (count - 1) * size
                if runs <= 0:
                    continue
                run = np.logical_and.reduce(
                    [window[k * size : k * size + runs] for k in range(count)]
                )
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
        """Take up to `rows` packets from a buffer that starts at byte `at`; return how many came
        before sync was lost.
        """
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
            packets: NDArray[np.uint8] = np.ndarray(
                (rows, _PACKET), np.uint8, buffer, 0, (self._size, 1)
            )[starts]
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
            high, middle, low = (
                byte(k) >> 1 & 7,
                byte(k + 1) << 7 | byte(k + 2) >> 1,
                byte(k + 3) << 7 | byte(k + 4) >> 1,
            )
            return high << 30 | middle << 15 | low

        pts = stamp(9)
        dts = np.where((flags & 0xC0) == 0xC0, stamp(14), pts)
        self._rows.append((at[dated], pids[dated], dts[dated], pts[dated]))

    def _table(
        self, pid: int, row: int, head: NDArray[np.uint32], buffer: bytearray, at: int
    ) -> None:
        """Take a table if it says something new."""
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
        if (
            len(section) < length
            or length < 12
            or section == self._last.get(pid)
            or not section[5] & 1
            or _crc(section)
        ):
            return
        self._last[pid] = section
        packets = b"".join(
            _framed(bytes(buffer[k * self._size : k * self._size + _PACKET]), self._size)
            for k in rows
        )
        if pid == 0:
            self._take_pat(section, packets)
        else:
            self._take_pmt(section, packets, pid)
        known = {
            number: self._programmes[number] for number in self._pat if number in self._programmes
        }
        if known and (not self._tables or known != self._tables[-1].programmes):
            self._tables.append(
                Tables(at + row * self._size, known, frozenset(self._pat), self._pat_packets)
            )

    def _take_pat(self, section: bytes, packets: bytes) -> None:
        programmes = {}
        for k in range(8, len(section) - 4, 4):
            number = int.from_bytes(section[k : k + 2], "big")
            if number:  # 0 names the network's table
                programmes[number] = int.from_bytes(section[k + 2 : k + 4], "big") & 0x1FFF
        if section[7]:  # one of several parts
            programmes = self._pat | programmes
            packets = self._pat_packets + packets if section[6] else packets
        for number, pid in self._pat.items():
            if programmes.get(number) != pid:
                self._programmes.pop(number, None)
                self._last.pop(pid, None)
        self._pat, self._pat_packets = programmes, packets

    def _take_pmt(self, section: bytes, packets: bytes, pid: int) -> None:
        number = int.from_bytes(section[3:5], "big")
        if self._pat.get(number) != pid:
            self._last.pop(pid)  # it may come before its PAT
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


def _framed(packet: bytes, size: int) -> bytes:
    """A packet of 188 bytes as one of `size`, with zeros for what a recorder adds."""
    lead = lead_bytes(size)
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
