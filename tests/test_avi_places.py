"""Packets of an AVI that are no picture of their own still take their place."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from avcheck.media import open_media
from tests.support.reading import late_ms

Clip = Callable[..., Path]
TICKS = 480  # of MPEG-4's own clock in a picture, by `make_clip` with times of its own


def stays(number: int) -> bytes:
    """A picture of MPEG-4 that is not coded: the one before stays."""
    bits = f"01_0_1_{TICKS * (number % 25):014b}_1_0_".replace("_", "")  # its kind, time, no more
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


def test_a_picture_that_is_not_coded_moves_no_other(clip: Clip, tmp_path: Path) -> None:
    """Encoders of the DivX family write one where nothing moves."""
    without = set(range(3, 40, 4))
    times_s = [number / 25 for number in range(50) if number not in without]
    source = clip("a.avi", vcodec="mpeg4", acodec="pcm_s16le", picture_times_s=times_s)
    path = rewritten(source, tmp_path / "b.avi", more={n: stays(n) for n in without})
    with av.open(str(path)) as reader:
        assert sum(bool(packet.size) for packet in reader.demux(video=0)) == 50
    assert late_ms(path) == pytest.approx(0, abs=0.1)
    with open_media(path) as file:
        assert [picture.pts_s for picture in file.pictures()] == pytest.approx(times_s)
        assert file.info.frame_rate == 25


@pytest.mark.parametrize("b_pictures", [0, 2])
def test_pictures_before_the_first_key_take_their_place(
    clip: Clip, tmp_path: Path, b_pictures: int
) -> None:
    """A decoder leaves out, without a word, what was cut off its key picture."""
    options = {"bf": str(b_pictures), "g": "25", "sc_threshold": "0", "b-adapt": "0"}
    source = clip(
        "a.avi",
        seconds=3.0,
        acodec="pcm_s16le",
        events_s=(2.0,),
        sound_late_s=0.12,
        video_options=options,
    )
    # 0.32 s are 15 frames of sound, to the sample.
    path = rewritten(source, tmp_path / "b.avi", from_s=Fraction(8, 25))
    assert late_ms(path) == pytest.approx(120, abs=0.1)
    with open_media(path) as file:
        assert file.info.first_picture_s == pytest.approx(0.68)


def as_avi_in_matroska(source: Path, path: Path) -> Path:
    """The packets of an AVI in a Matroska as mkvmerge copies them: with the header of the AVI's
    format for the codec's own.
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


@pytest.mark.parametrize("b_pictures", [0, 1, 2])
def test_matroska_that_holds_the_packets_of_an_avi(
    clip: Clip, tmp_path: Path, b_pictures: int
) -> None:
    options = {"bf": str(b_pictures), "g": "25"}
    source = clip("a.avi", vcodec="mpeg4", acodec="pcm_s16le", video_options=options, seconds=4)
    path = as_avi_in_matroska(source, tmp_path / "b.mkv")
    with av.open(str(path)) as reader:
        assert reader.streams.video[0].codec_context.codec_tag == "XVID"
    assert late_ms(path) == pytest.approx(0, abs=1)  # Matroska counts in ms
    with open_media(path) as file:
        times_s = [picture.pts_s for picture in file.pictures()]
        assert times_s == pytest.approx([number / 25 for number in range(100)], abs=1e-3)
        assert file.info.first_picture_s == 0
        later = [picture.pts_s for picture in file.pictures(from_s=3.0)]
        assert later == pytest.approx([number / 25 for number in range(75, 100)], abs=1e-3)
