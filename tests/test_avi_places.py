"""Packets of an AVI that are no picture of their own still take their place."""

from __future__ import annotations

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
