"""Test signals: flashes and beeps put in at known times come back as pairs with the known
offset.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avcheck.cli.app import main
from avcheck.media import Media, Picture, Sound, open_media
from avcheck.rates import SAMPLE_RATE
from avcheck.record.report import PRESETS
from avcheck.signals.beeps import beeps_of
from avcheck.signals.flashes import flashes_of
from avcheck.signals.looks import looks_of
from avcheck.signals.signal import Signal, recognised_in, signal_of
from avcheck.signals.verdict import check_signal
from tests.support.clips import Array, Sounds, clicks

Clip = Callable[..., Path]
# On a picture at 25 fps, and no two equally far apart
EVENTS_S = (
    1.0,
    2.4,
    4.2,
    6.0,
    7.0,
    9.4,
    11.0,
)
TOLERANCE = PRESETS["ebu-r37"]


@pytest.fixture
def clip(clip: Clip) -> Clip:
    """A clip whose sound is no finer than what is listened to, and quick to encode."""
    return partial(clip, sample_rate=SAMPLE_RATE)


def tone(start_s: float, length_s: float, level: float = 0.5, seconds: float = 3.0) -> list[Sound]:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    inside = (times >= start_s) & (times < start_s + length_s)
    samples = np.where(inside, level * np.sin(2 * np.pi * 1000 * times), 0).astype(np.float32)
    return [
        Sound(10 + at / SAMPLE_RATE, samples[at : at + 9000]) for at in range(0, len(samples), 9000)
    ]


@pytest.mark.parametrize("start_s", [0.0, 0.5, 1.2345])
@pytest.mark.parametrize("length_s", [0.02, 0.04, 0.5])
@pytest.mark.parametrize("level", [0.02, 0.9])
def test_a_beep_is_found_to_a_millisecond(start_s: float, length_s: float, level: float) -> None:
    (beep,) = beeps_of(tone(start_s, length_s, level)).heard
    assert beep.start_s == pytest.approx(10 + start_s, abs=0.0012)
    assert beep.end_s - beep.start_s == pytest.approx(length_s, abs=0.015)


def test_what_is_no_beep() -> None:
    assert not beeps_of(tone(0.5, 2.0)).heard  # a tone that stays
    assert not beeps_of(tone(0.5, 0.5, level=0.002)).heard  # inaudible
    assert not beeps_of([]).heard
    noise = np.random.default_rng(1).normal(0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)
    assert not beeps_of([Sound(0.0, noise)]).heard


def test_other_sound_beside_the_beeps_is_weighed() -> None:
    assert beeps_of(tone(0.5, 0.1)).other_share < 0.01
    noise = np.random.default_rng(1).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
    assert beeps_of([*tone(0.5, 0.1), Sound(13.0, noise)]).other_share == pytest.approx(
        0.4, abs=0.05
    )


def pictures(levels: list[float], fps: float = 25) -> list[Picture]:
    """A patch of such levels in a still picture."""
    still = np.random.default_rng(1).integers(20, 80, (48, 64))

    def draw(level: float) -> np.ndarray:
        picture = still.copy()
        picture[8:24, 8:24] = level
        return picture.astype(np.uint8)

    return [Picture(5 + k / fps, draw(level)) for k, level in enumerate(levels)]


@pytest.mark.parametrize(
    ("first", "start_s"),
    [((250,), 0.4), ((250, 250, 250), 0.4), ((130, 250), 0.42), ((70, 250, 250), 0.43)],
)
def test_a_flash_begins_where_its_light_does(first: tuple[int, ...], start_s: float) -> None:
    """A first picture that is lit for a part of its exposure tells when the flash began."""
    (flash,) = flashes_of(looks_of(pictures([10.0] * 10 + list(first) + [10.0] * 20)))
    assert flash.start_s == pytest.approx(5 + start_s, abs=0.002)


def test_a_dark_flash_is_one_too() -> None:
    (flash,) = flashes_of(looks_of(pictures([240.0] * 10 + [20.0] + [240.0] * 20)))
    assert flash.start_s == pytest.approx(5.4)


def test_another_picture_that_stays_is_no_flash() -> None:
    assert not flashes_of(looks_of(pictures([10.0] * 10 + [250.0] * 60)))
    assert not flashes_of(looks_of(pictures([10.0] * 60)))
    assert not flashes_of(looks_of([]))


@pytest.mark.parametrize("late_s", [0.0, 0.1, -0.25, 1.2])
def test_the_offset_put_in_is_found(clip: Clip, late_s: float) -> None:
    report = check_signal(clip(seconds=13, events_s=EVENTS_S, sound_late_s=late_s), TOLERANCE)
    assert report.offset_ms == pytest.approx(-1000 * late_s, abs=2)
    assert (report.measured_by, report.confidence, len(report.segments)) == ("test_signal", 1.0, 7)
    assert report.verdict == ("in_sync" if late_s == 0 else "out_of_sync")


@pytest.mark.parametrize("fps", [23.976, 29.97, 50])
def test_pictures_of_any_rate(clip: Clip, fps: float) -> None:
    """The flash is drawn in the picture nearest to its time, so that each event is up to half a
    picture off.
    """
    report = check_signal(
        clip(seconds=13, fps=fps, events_s=EVENTS_S, sound_late_s=0.15), TOLERANCE
    )
    assert report.offset_ms == pytest.approx(-150, abs=500 / fps)


def test_a_few_pairs_among_many_that_stand_alone_are_chance(clip: Clip) -> None:
    """Sound that is 5 s off meets some flashes of others."""
    events_s = [1.0, 2.4, 3.36, 5.2, 6.0, 7.6, 8.84, 10.4]
    path = clip(seconds=17, fps=25, events_s=events_s, sound_late_s=5.08)
    report = check_signal(path, TOLERANCE)
    assert (report.verdict, report.reason_code) == ("undecidable", "no_match")
    assert "of which too few belong together" in (report.reason or "")


@pytest.mark.parametrize(("start_s", "rule"), [(0.0, "film"), (600.0, "stream")])
def test_the_record_says_which_sound_and_when_it_is_due(
    clip: Clip, start_s: float, rule: str
) -> None:
    film = clip("film.ts", seconds=4, events_s=[2.0], acodec=None, start_s=start_s)
    sound = clip("sound.ts", seconds=4, events_s=[2.0], vcodec=None, start_s=start_s)
    report = check_signal(film, TOLERANCE, audio_path=sound)
    assert (report.audio_path, report.audio_clock, report.program) == (str(sound), rule, 1)


def test_one_clap_is_measured_when_asked_for_and_makes_no_test_signal(clip: Clip) -> None:
    path = clip(seconds=4, events_s=[2.0], sound_late_s=0.2)
    assert check_signal(path, TOLERANCE).offset_ms == pytest.approx(-200, abs=2)
    with open_media(path) as media:
        assert recognised(media) is None


def test_a_sound_that_is_not_quiet_is_no_test_signal(clip: Clip) -> None:
    beep = clicks(EVENTS_S)

    def play(times_s: Array) -> Array:
        hum: Array = 0.3 * np.sin(2 * np.pi * 300 * times_s) * (times_s % 3 > 1.5)
        return beep(times_s) + hum

    with open_media(clip(seconds=13, events_s=EVENTS_S, play=play)) as media:
        assert recognised(media) is None


def test_flashes_without_beeps_and_beeps_without_flashes(clip: Clip) -> None:
    pairs = signal_of_clip(clip(seconds=13, events_s=EVENTS_S))
    assert pairs.is_test_signal
    lone = replace(pairs, in_picture=12)
    assert not lone.is_test_signal  # five flashes have no beep
    silent = clip(
        "silent.mp4", seconds=4, events_s=[1.0], play=lambda times_s: np.zeros(len(times_s))
    )
    report = check_signal(silent, TOLERANCE)
    assert (report.verdict, report.reason_code, report.offset_ms) == (
        "undecidable",
        "no_match",
        None,
    )
    assert (
        report.reason
        == "1 flash in the picture and 0 beeps in the sound, of which none belong together"
    )


def recognised(media: Media) -> Signal | None:
    """What a check takes it for."""
    return recognised_in(looks_of(media.pictures()), beeps_of(media.sounds()))


def signal_of_clip(path: Path) -> Signal:
    with open_media(path) as media:
        return signal_of(media)


def test_of_a_signal_that_repeats_the_smallest_offset_is_told(clip: Clip) -> None:
    signal = signal_of_clip(
        clip(seconds=11, events_s=[1.0 * k for k in range(1, 10)], sound_late_s=0.12)
    )
    assert signal.offset_ms == pytest.approx(-120, abs=2)


def test_a_jump_is_followed(clip: Clip) -> None:
    times_s = [1.0 + 1.4 * k for k in range(16)]
    play: Sounds = clicks([time_s + (0.4 if time_s > 12 else 0.0) for time_s in times_s])
    report = check_signal(clip(seconds=25, events_s=times_s, play=play), TOLERANCE)
    assert [round(each.start_offset_ms, -1) for each in report.stretches] == pytest.approx(
        [0, -400]
    )
    assert report.offset_ms == pytest.approx(-400, abs=25)
    ((start_s, end_s),) = report.jump_intervals_s
    assert (start_s, end_s) == pytest.approx((10.8, 12.2), abs=0.05)


def test_a_check_takes_a_test_signal_for_what_it_is(
    clip: Clip, capsys: pytest.CaptureFixture[str]
) -> None:
    path = clip(seconds=13, events_s=EVENTS_S, sound_late_s=0.1)
    assert main(["check", str(path), "--json"]) == 1
    (record,) = as_list(capsys.readouterr().out)
    assert record["measured_by"] == "test_signal"
    assert record["offset_ms"] == pytest.approx(-100, abs=2)
    assert len(record["blocks"]) == 13


def as_list(text: str) -> list[dict[str, Any]]:
    record = json.loads(text)
    return record if isinstance(record, list) else [record]


def test_the_command_has_a_row_an_event(clip: Clip, capsys: pytest.CaptureFixture[str]) -> None:
    path = clip(seconds=13, events_s=EVENTS_S, sound_late_s=0.1)
    assert main(["signal", str(path)]) == 1
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows if row[1:2] == ["s"]] == [f"{time_s:.3f}" for time_s in EVENTS_S]
    assert main(["signal", str(path), "--late", "150"]) == 0
    assert "[test signal]" in capsys.readouterr().out
    assert main(["signal", str(path.with_name("none.mp4"))]) == 2
    assert "Seen" not in capsys.readouterr().out


def test_no_table_without_events(clip: Clip, capsys: pytest.CaptureFixture[str]) -> None:
    silent = clip("silent.mp4", seconds=4, events_s=[1.0], play=lambda times_s: 0 * times_s)
    assert main(["signal", str(silent)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{silent}: undecidable: 1 flash") and "Seen" not in out
