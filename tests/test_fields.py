"""Pictures that are coded as two fields."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avcheck.media import open_media
from tests.support.clips import flashes
from tests.support.fields import write_fields
from tests.support.reading import late_ms

Clip = Callable[..., Path]


@pytest.mark.parametrize("together", [False, True], ids=["a field a packet", "two a packet"])
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        *[(suffix, "h264") for suffix in ("ts", "mkv", "mp4", "flv", "avi", "asf", "nut")],
        *[(suffix, "mpeg2") for suffix in ("ts", "mkv", "mp4", "avi", "asf")],
    ],
)
def test_two_fields_are_one_picture(
    clip: Clip, tmp_path: Path, suffix: str, codec: str, together: bool
) -> None:
    draw = flashes((1.0,), 25, (96, 64))
    pictures = [draw(number / 25) for number in range(50)]
    acodec = "pcm_s16le" if suffix in ("avi", "nut") else "aac"
    sound = clip("sound.mkv", vcodec=None, acodec=acodec, events_s=(1.04,))
    path = write_fields(
        tmp_path / f"film.{suffix}", pictures, sound, together=together, mpeg2=codec == "mpeg2"
    )
    assert late_ms(path) == pytest.approx(40, abs=0.5)
    with open_media(path) as file:
        shown = list(file.pictures())
        assert file.info.frame_rate == 25
    assert len(shown) == 50
    assert np.diff([picture.pts_s for picture in shown]) == pytest.approx(0.04, abs=0.001)


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_an_encoder_that_writes_half_the_rate_is_not_believed(
    clip: Clip, tmp_path: Path, suffix: str
) -> None:
    """It counts pictures, where H.264 has it count fields."""
    draw = flashes((), 25, (96, 64))
    sound = clip("sound.mp4", vcodec=None)
    pictures = [draw(number / 25) for number in range(50)]
    path = write_fields(tmp_path / f"film.{suffix}", pictures, sound, together=True, ticks=25)
    with open_media(path) as file:
        assert file.info.frame_rate == 25
