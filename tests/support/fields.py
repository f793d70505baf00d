"""H.264 (PAFF) and MPEG-2 whose pictures are coded as two fields each, as those of broadcasters and
camcorders are; no encoder in PyAV does that. In H.264 every sample is written as it is (I_PCM); in
MPEG-2 each block has one grey.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from tests.support.clips import Array

_SPS, _PPS, _IDR, _SLICE = 7, 8, 5, 1  # kinds of NAL units
_MACROBLOCK = 16  # px


class _Bits:
    """Bits as the syntax of H.264 writes them."""

    def __init__(self) -> None:
        self._bits = ""

    def fixed(self, value: int, count: int = 1) -> _Bits:
        self._bits += f"{value:0{count}b}"
        return self

    def ue(self, *values: int) -> _Bits:
        """Exp-Golomb codes without a sign."""
        for value in values:
            code = f"{value + 1:b}"
            self._bits += "0" * (len(code) - 1) + code
        return self

    def aligned(self, bit: str = "0") -> bytes:
        """What was written, filled up to a byte with zeros after `bit`."""
        bits = self._bits + (bit if bit == "1" else "")
        bits += "0" * (-len(bits) % 8)
        return int(bits or "0", 2).to_bytes(len(bits) // 8, "big")


def _unit(kind: int, payload: bytes) -> bytes:
    """A NAL unit with its start code; no three bytes within look like one."""
    safe = bytearray()
    zeros = 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            safe.append(3)
            zeros = 0
        safe.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes([0, 0, 0, 1, 3 << 5 | kind]) + bytes(safe)


def _parameters(width: int, height: int, ticks: int) -> bytes:
    sps = _Bits().fixed(77, 8).fixed(0, 8).fixed(30, 8)  # Main, level 3
    sps.ue(0, 0, 0, 4, 1).fixed(0)  # 8 bits for the order of pictures, one reference
    sps.ue(width // _MACROBLOCK - 1, height // (2 * _MACROBLOCK) - 1)
    sps.fixed(0b00_1_0_1, 5)  # fields, none mixed within a picture; no cropping; more to come:
    sps.fixed(0b0000_1, 5).fixed(1, 32).fixed(ticks, 32).fixed(1)  # a second
    sps.fixed(0b000_1_1, 5).ue(0, 0, 10, 10, 0, 1)  # no reordering
    pps = _Bits().ue(0, 0).fixed(0b00, 2).ue(0, 0, 0).fixed(0b000, 3).ue(0, 0, 0).fixed(0b100, 3)
    return _unit(_SPS, sps.aligned("1")) + _unit(_PPS, pps.aligned("1"))


def _field(number: int, luma: Array, bottom: bool) -> bytes:
    """One field of picture `number`, its top one as a key."""
    head = _Bits().ue(0, 7, 0).fixed(0, 4).fixed(1).fixed(bottom)
    if not bottom:
        head.ue(number % 2)
    head.fixed(bottom, 8).fixed(0, 1 if bottom else 2).ue(0, 1)
    height, width = luma.shape
    data = b""
    chroma = bytes([128]) * (_MACROBLOCK**2 // 2)
    for y in range(0, height, _MACROBLOCK):
        for x in range(0, width, _MACROBLOCK):
            block = luma[y : y + _MACROBLOCK, x : x + _MACROBLOCK]
            data += head.ue(25).aligned() + block.tobytes() + chroma
            head = _Bits()
    return _unit(_SLICE if bottom else _IDR, data + b"\x80")


def fields(pictures: Iterable[Array], ticks: int) -> list[bytes]:
    """The fields of pictures (luma, both sides multiples of 32), two for each, the upper first;
    ticks: in a second, of which a picture takes two.
    """
    coded = []
    for number, luma in enumerate(pictures):
        height, width = luma.shape
        before = b"" if number else _parameters(width, height, ticks)
        coded.append(before + _field(number, luma[::2], bottom=False))
        coded.append(_field(number, luma[1::2], bottom=True))
    return coded


# How many bits follow, in MPEG-2, for a difference of the mean of a block
_SIZES = ("100", "00", "01", "101", "110", "1110", "11110", "111110", "1111110")
_SAME, _SAME_CHROMA, _END = "100", "00", "10"


def _mpeg2_head(width: int, height: int) -> bytes:
    sequence = _Bits().fixed(width, 12).fixed(height, 12).fixed(1, 4).fixed(3, 4)  # 25 a second
    sequence.fixed(10_000, 18).fixed(1).fixed(112, 10).fixed(0b000, 3)
    interlaced = _Bits().fixed(1, 4).fixed(0x48, 8).fixed(0b0_01, 3).fixed(0, 16).fixed(1)
    interlaced.fixed(0, 8).fixed(1).fixed(0, 7)  # no reordering
    return b"\0\0\1\xb3" + sequence.aligned() + b"\0\0\1\xb5" + interlaced.aligned()


def _mpeg2_field(number: int, luma: Array, bottom: bool) -> bytes:
    head = _Bits().fixed(number % 1024, 10).fixed(1, 3).fixed(0xFFFF, 16).fixed(0)
    more = _Bits().fixed(8, 4).fixed(0xFFFF, 16).fixed(0, 2).fixed(2 if bottom else 1, 2)
    data = b"\0\0\1\0" + head.aligned() + b"\0\0\1\xb5" + more.fixed(0, 10).aligned()
    height, width = luma.shape
    for y in range(0, height, _MACROBLOCK):
        row, before = _Bits().fixed(8, 5).fixed(0), 128
        for x in range(0, width, _MACROBLOCK):
            grey = round(luma[y : y + _MACROBLOCK, x : x + _MACROBLOCK].mean())
            step, before = grey - before, grey
            size = abs(step).bit_length()
            code = f"{step if step > 0 else step + 2**size - 1:0{size}b}" if size else ""
            blocks = [_SIZES[size] + code] + 3 * [_SAME] + 2 * [_SAME_CHROMA]
            bits = "11" + "".join(block + _END for block in blocks)
            row.fixed(int(bits, 2), len(bits))
        data += b"\0\0\1" + bytes([1 + y // _MACROBLOCK]) + row.aligned()
    return data


def mpeg2_fields(pictures: Iterable[Array]) -> list[bytes]:
    """The same as `fields`, in MPEG-2 of 25 pictures a second."""
    coded = []
    for number, luma in enumerate(pictures):
        height, width = luma.shape
        head = _mpeg2_head(width, height)
        coded.append(head + _mpeg2_field(number, luma[::2], bottom=False))
        coded.append(_mpeg2_field(number, luma[1::2], bottom=True))
    return coded


def write_fields(
    path: Path,
    pictures: Iterable[Array],
    sound: Path,
    *,
    together: bool,
    ticks: int = 50,
    mpeg2: bool = False,
) -> Path:
    """A film of these pictures, 25 a second, with the sound of another file. With `together`, both
    fields of a picture lie in one packet. ticks: how many a second H.264 states, two a picture.
    """
    coded = mpeg2_fields(pictures) if mpeg2 else fields(pictures, ticks)
    if together:
        coded = [b"".join(pair) for pair in zip(coded[::2], coded[1::2], strict=True)]
    step_s = Fraction(1, 25 if together else 50)
    with (
        av.open(io.BytesIO(b"".join(coded)), format="mpegvideo" if mpeg2 else "h264") as bare,
        av.open(str(sound)) as other,
        av.open(str(path), "w") as writer,
    ):
        audio: Any = writer.add_stream_from_template(other.streams.audio[0])
        video: Any = writer.add_stream_from_template(bare.streams.video[0])
        packets: list[Any] = [packet for packet in other.demux(audio=0) if packet.size]
        for packet in packets:
            packet.stream = audio
        for number, data in enumerate(coded):
            packet = av.Packet(data)
            packet.pts, packet.dts, packet.duration = number, number, 1
            packet.time_base, packet.stream = step_s, video
            packet.is_keyframe = together or number % 2 == 0
            packets.append(packet)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            writer.mux(packet)
    return path
