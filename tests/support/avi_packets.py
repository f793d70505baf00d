"""Packets as AVI has them: pictures that stay, and a Matroska that took them over."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

TICKS = 480  # of MPEG-4's own clock in a picture, by `make_clip` with times of its own


def stays(number: int) -> bytes:
    """A picture of MPEG-4 that is not coded, so that the one before stays."""
    # Its kind and its time, and that nothing follows
    bits = f"01_0_1_{TICKS * (number % 25):014b}_1_0_".replace("_", "")
    bits += "0" + "1" * (-(len(bits) + 1) % 8)
    return b"\0\0\1\xb6" + int(bits, 2).to_bytes(len(bits) // 8, "big")


def rewritten(
    source: Path, path: Path, from_s: Fraction = Fraction(0), more: dict[int, bytes] | None = None
) -> Path:
    """A copy that begins at `from_s`, on whatever picture, with more packets at these numbers."""
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        video: Any = writer.add_stream_from_template(reader.streams.video[0])
        audio: Any = writer.add_stream_from_template(reader.streams.audio[0])
        packets: list[Any] = [packet for packet in reader.demux() if packet.size]
        packets = [packet for packet in packets if packet.dts * packet.time_base >= from_s]
        for packet in packets:
            packet.pts = packet.dts = packet.dts - round(from_s / packet.time_base)
            packet.stream = video if packet.stream.type == "video" else audio
        for number, data in (more or {}).items():
            packet = av.Packet(data)
            packet.pts, packet.dts, packet.time_base = number, number, Fraction(1, 25)
            packet.stream = video
            packets.append(packet)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            writer.mux(packet)
    return path


def as_avi_in_matroska(source: Path, path: Path) -> Path:
    """Copy the packets of an AVI to Matroska as mkvmerge does: with the header of the AVI's format
    in place of the codec's own.
    """
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        streams = [writer.add_stream_from_template(stream) for stream in reader.streams]
        for packet in reader.demux():
            if packet.size:
                packet.pts, packet.stream = packet.dts, streams[packet.stream.index]
                writer.mux(packet)
    data = bytearray(path.read_bytes().replace(b"V_MPEG4/ISO/ASP", b"V_MS/VFW/FOURCC"))
    at = data.index(b"\x63\xa2") + 3  # its header, behind the name and the size of the element
    size = data[at - 1] & 0x7F
    header = struct.pack("<IiiHH4s5I", 40, 160, 120, 1, 24, b"XVID", 0, 0, 0, 0, 0)
    data[at : at + size] = header.ljust(size, b"\0")
    path.write_bytes(data)
    return path
