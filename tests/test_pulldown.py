"""Films of 24 pictures a second that are to be shown at 29.97, as on a DVD: every second picture
stays for a field longer (soft telecine).
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avcheck.media import open_media
from tests.support.clips import Clip, click_time_s
from tests.support.reading import whole

FILM = Fraction(24_000, 1001)
SHOWN = Fraction(30_000, 1001)
FIRST, EXTENSION, GROUP, SEQUENCE = 0x00, 0xB5, 0xB8, 0xB3
# Whether the upper field comes first, and whether the first is shown again, of four pictures
PATTERN = ((1, 1), (0, 0), (0, 1), (1, 0))


def with_pulldown(data: bytes, number: int) -> bytes:
    """A packet of MPEG-2 without B-pictures, its picture the `number`th of the film, as an encoder
    writes it that is told to show 29.97 a second (ISO/IEC 13818-2, 6.2.2 and 6.2.3).
    """
    packet = bytearray(data)
    at = -1
    while (at := packet.find(b"\0\0\1", at + 1)) >= 0:
        kind = packet[at + 3]
        if kind == SEQUENCE:
            packet[at + 7] = packet[at + 7] & 0xF0 | 4  # frame_rate_code
        elif kind == EXTENSION and packet[at + 4] >> 4 == 1:
            packet[at + 5] &= 0xF7  # progressive_sequence
        elif kind == EXTENSION and packet[at + 4] >> 4 == 8:
            upper, again = PATTERN[number % 4]
            packet[at + 7] = packet[at + 7] & 0x7D | upper << 7 | again << 1
    return bytes(packet)


@pytest.mark.parametrize("form", ["vob", "mpegts"])
def test_a_film_with_pulldown_has_the_rate_that_it_states(
    clip: Clip, tmp_path: Path, form: str
) -> None:
    options: dict[str, Any] = {"vcodec": "mpeg2video", "video_options": {"bf": "0"}}
    film = clip("film.mkv", fps=FILM, seconds=4, events_s=(2.0,), acodec="mp2", **options)
    path = tmp_path / f"film.{form}"
    number = 0
    with (
        av.open(str(film)) as reader,
        av.open(str(path), "w", format=form) as writer,
    ):
        streams = {
            stream.index: writer.add_stream_from_template(stream) for stream in reader.streams
        }
        for read in reader.demux():
            if not read.size:
                continue
            packet = read
            if read.stream.type == "video":
                packet = av.Packet(with_pulldown(bytes(read), number))
                fields = 5 * (number // 2) + 3 * (number % 2)
                packet.time_base = Fraction(1, 90_000)
                packet.pts = packet.dts = round(fields * 90_000 / SHOWN / 2)
                packet.is_keyframe = read.is_keyframe
                number += 1
            packet.stream = streams[read.stream.index]
            writer.mux(packet)
    with open_media(path) as file:
        pictures = [(picture.pts_s, picture.luma.mean()) for picture in file.pictures()]
        sounds = list(file.sounds())
        assert file.info.frame_rate == SHOWN
        assert not file.degraded
    times_s = [time_s for time_s, _ in pictures]
    assert 1000 * np.diff(times_s[:9]) == pytest.approx([50.05, 33.37] * 4, abs=0.1)
    [flash_s] = [time_s for time_s, luma in pictures if luma > 128]
    # The click is at 2 s, picture 48 at 2.002 s
    assert 1000 * (click_time_s(*whole(sounds)) - flash_s) == pytest.approx(-2.0, abs=0.1)
