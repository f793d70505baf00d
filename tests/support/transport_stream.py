"""Transport streams taken apart and put together again: other PIDs, several programmes, other sizes
of packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

PACKET = 188
PMT_PID, VIDEO_PID, AUDIO_PID = 0x1000, 0x100, 0x101  # as FFmpeg writes them


def packets_of(path: Path) -> list[bytes]:
    data = path.read_bytes()
    assert len(data) % PACKET == 0
    return [data[at : at + PACKET] for at in range(0, len(data), PACKET)]


def pid_of(packet: bytes) -> int:
    return int.from_bytes(packet[1:3], "big") & 0x1FFF


def starts(packet: bytes) -> bool:
    """Whether a PES packet or a table begins in it."""
    return bool(packet[1] & 0x40)


def with_pid(packet: bytes, pid: int) -> bytes:
    head = int.from_bytes(packet[1:3], "big") & 0xE000 | pid
    return packet[:1] + head.to_bytes(2, "big") + packet[3:]


def with_blank_payload(packet: bytes) -> bytes:
    """The packet with zeros for what it carries, but for the header of a PES packet."""
    keep = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
    if starts(packet):
        keep += 9 + packet[keep + 8]
    return packet[:keep].ljust(PACKET, b"\0")


def crc(data: bytes) -> bytes:
    """CRC-32 of MPEG tables."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value.to_bytes(4, "big")


def table(pid: int, table_id: int, number: int, body: bytes) -> list[bytes]:
    """A table in as many packets as it takes."""
    section = (
        bytes([table_id])
        + (0xB000 | len(body) + 9).to_bytes(2, "big")
        + number.to_bytes(2, "big")
        + b"\xc1\0\0"
        + body
    )
    data = b"\0" + section + crc(section)
    packets = []
    for count, at in enumerate(range(0, len(data), PACKET - 4)):
        head = bytes([0x47, (0 if at else 0x40) | pid >> 8, pid & 0xFF, 0x10 | count])
        packets.append((head + data[at : at + PACKET - 4]).ljust(PACKET, b"\xff"))
    return packets


def pat(pmts: Mapping[int, int]) -> list[bytes]:
    """The table of programmes: PID of the PMT by number."""
    return table(
        0,
        0,
        1,
        b"".join(
            number.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big")
            for number, pid in pmts.items()
        ),
    )


def pmt(number: int, pid: int, types: Mapping[int, int], words: bytes = b"") -> list[bytes]:
    """The table of a programme: the stream type by PID; `words` go into a private descriptor of
    each.
    """
    clock = next(iter(types), 0x1FFF)
    descriptor = bytes([0x80, len(words)]) + words if words else b""
    body = (0xE000 | clock).to_bytes(2, "big") + b"\xf0\0"
    for stream, kind in types.items():
        body += (
            bytes([kind])
            + (0xE000 | stream).to_bytes(2, "big")
            + (0xF000 | len(descriptor)).to_bytes(2, "big")
            + descriptor
        )
    return table(pid, 2, number, body)


def renumbered(
    packets: Iterable[bytes], number: int, shift: int, types: Mapping[int, int]
) -> list[bytes]:
    """One programme with its PIDs moved by `shift` and its number changed; `types` by the old PIDs.
    The PAT is left out.
    """
    moved = pmt(number, PMT_PID + shift, {pid + shift: kind for pid, kind in types.items()})
    out = []
    for packet in packets:
        pid = pid_of(packet)
        if pid == PMT_PID:
            out += moved
        elif pid in types:
            out.append(with_pid(packet, pid + shift))
    return out


def interleaved(*streams: list[bytes]) -> list[bytes]:
    """Packets of several streams, each spread over the whole."""
    order = [
        (k / len(stream), number, packet)
        for number, stream in enumerate(streams)
        for k, packet in enumerate(stream)
    ]
    return [packet for _, _, packet in sorted(order, key=lambda each: each[:2])]


def write(path: Path, packets: Iterable[bytes], size: int = PACKET) -> Path:
    """Packets as a file, each with what a recorder puts in front of it (192) or behind it (204)."""
    lead = bytes(4) if size == 192 else b""
    path.write_bytes(b"".join((lead + packet).ljust(size, b"\0") for packet in packets))
    return path
