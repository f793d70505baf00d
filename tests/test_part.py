"""A part of a title, given by times or by the title's timecode."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avcheck.errors import DecodeFailed, EmptyPart, UsageError
from avcheck.media import MediaInfo, Sound
from avcheck.rates import SAMPLE_RATE
from avcheck.reading.choice import Choice
from avcheck.reading.title import blocks_of, open_title, part_of, sounds_in
from avcheck.settings import CheckSettings, Time, time_of
from tests.support.clips import Clip

NTSC = Fraction(30000, 1001)


def info(**changes: Any) -> MediaInfo:
    values: dict[str, Any] = {
        "path": Path("film.mov"),
        "duration_s": 60.0,
        "video_codec": "h264",
        "width": 320,
        "height": 180,
        "rotation": 0,
        "frame_rate": NTSC,
        "audio_codec": "aac",
        "audio_track": 0,
        "video_track": 0,
        "program": None,
        "programs": (),
        "audio_tracks": (),
        "video_tracks": (),
        "first_picture_s": 0.0,
        "first_sound_s": 0.0,
        "timecode": "00:59:50;00",
    }
    return MediaInfo(**values | changes)


@pytest.mark.parametrize(
    ("title", "start", "end", "first_s", "last_s"),
    [
        (info(), "00:59:55;00", "01:00:00:00", 5.005, 10.005),  # no number is left out at 01:00
        (info(timecode="00:58:50;00"), "00:59:00;02", 15.1, 10.01, 15.01),  # :00 and :01 are
        (info(first_picture_s=1.5), "00:59:50;15", None, 1.5 + 0.5005, 1.5 + 0.5005 + 57),
        (info(frame_rate=Fraction(25), timecode=None), "00:00:10:05", "30", 10.2, 29.2),
    ],
)
def test_a_timecode_is_that_of_the_title(
    title: MediaInfo, start: Time, end: Time | None, first_s: float, last_s: float
) -> None:
    until = None if end is None else time_of(end)
    part = part_of(title, CheckSettings(start=time_of(start), end=until))
    assert part is not None
    assert (part.start_s, part.end_s) == pytest.approx((first_s, last_s))


@pytest.mark.parametrize(
    ("title", "start", "end", "says"),
    [
        (
            info(),
            "00:59:50;30",
            None,
            "has no picture that can have the timecode 00:59:50;30",
        ),
        (info(frame_rate=None), "00:59:50;00", None, "has no picture that can have the timecode"),
        # Before the title's first: nearly a day later
        (info(), "00:59:49;00", None, r"part from 00:59:49;00 on: .* begin at 0.0 s \(00:59:50;00"),
        (info(), "00:59:55;00", "00:59:55;20", "less than 1 s in the part from 00:59:55;00 to 00"),
        (info(), 70.0, None, "less than 1 s in the part from 70 s on"),
    ],
)
def test_a_part_that_the_title_does_not_have_is_an_error_of_the_file(
    title: MediaInfo, start: Time, end: Time | None, says: str
) -> None:
    with pytest.raises(EmptyPart, match=says):
        part_of(title, CheckSettings(start=start, end=end))


def test_what_is_neither_a_time_nor_a_timecode_is_refused_by_its_name() -> None:
    assert time_of(" 01:00:04;12 ") == "01:00:04;12"
    assert time_of("01:00:04.12") == pytest.approx(3604.12)
    with pytest.raises(UsageError, match=r"^end: '01:00:04:' is no time"):
        time_of("01:00:04:", "end")


@pytest.mark.parametrize("settings", [CheckSettings(), CheckSettings(start=1.5, end=3.5)])
def test_listeners_hear_all_of_the_sound_that_its_blocks_read(
    clip: Clip, settings: CheckSettings
) -> None:
    """Also what goes on after the pictures, and nothing outside the part."""
    film = clip("film.mkv", seconds=6, picture_times_s=[k / 25 for k in range(100)])
    heard: list[Sound] = []
    with open_title(film, settings, (Choice(),), short_side=64, threads=1) as title:
        part = part_of(title.info, settings)
        (alone,) = map(list, sounds_in(title, part))
        count = sum(1 for _ in blocks_of(title, part, [heard.append]))
    assert count == 4  # of the part two, and one on either side
    assert heard[0].start_s == pytest.approx(alone[0].start_s, abs=1e-6)
    samples, expected = (np.concatenate([each.samples for each in run]) for run in (heard, alone))
    assert len(samples) == pytest.approx((6 if part is None else 2) * SAMPLE_RATE, abs=2500)
    assert len(samples) == len(expected)
    assert np.abs(samples - expected).max() < 1e-3


def test_sound_that_fails_after_the_pictures_costs_no_block(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = clip("film.mkv", seconds=6, picture_times_s=[k / 25 for k in range(100)])
    heard: list[Sound] = []
    with open_title(film, CheckSettings(), (Choice(),), short_side=64, threads=1) as title:
        pieces = [piece for piece in title.sound(0) if piece.start_s < 5]

        def fails(*_: object) -> Iterator[Sound]:
            yield from pieces
            raise DecodeFailed(film, "the rest is damaged")

        monkeypatch.setattr(title, "all_sounds", lambda: [fails()])
        count = sum(1 for _ in blocks_of(title, None, [heard.append]))
    assert count == 4
    assert heard == pieces
