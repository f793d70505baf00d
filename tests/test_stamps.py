"""Captures with av-drift-detector's stamps: read picture by picture, to a fraction of a
millisecond.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from avcheck.cli.app import main
from avcheck.media import Picture, Sound
from avcheck.rates import SAMPLE_RATE
from avcheck.record.report import PRESETS
from avcheck.signals import stamps
from avcheck.signals.stamps import stamps_of
from avcheck.signals.verdict import check_signal, judge_signal
from tests.support.clips import Array, Pictures, Sounds, make_clip

avd = pytest.importorskip("av_drift_detector")

SIZE = (320, 180)  # width, height
SECONDS = 4.0
RATE = 48_000  # Hz


def capture(path: Path, late_s: float, fps: str = "25", seconds: float = SECONDS) -> Path:
    """The test video, its sound late, as PyAV writes it."""
    return make_clip(
        path, seconds=seconds, fps=Fraction(fps), size=SIZE, draw=_drawn(fps), play=_played(late_s)
    )


@cache
def _drawn(fps: str = "25") -> Pictures:
    renderer = avd.PatternRenderer(fps=fps, width=SIZE[0], height=SIZE[1])

    @cache
    def picture(number: int) -> Array:
        return np.frombuffer(renderer.render(number), np.uint8).reshape(SIZE[::-1])

    return lambda time_s: picture(round(time_s * float(Fraction(fps))))


def _played(late_s: float, fps: str = "25", seconds: float = SECONDS) -> Sounds:
    samples = np.asarray(avd.synthesize_audio(round(seconds * RATE), fps=fps, delay=late_s))
    return lambda times_s: samples[
        np.minimum(np.round(times_s * RATE).astype(int), len(samples) - 1)
    ]


@pytest.mark.parametrize("late_s", [0.0, 0.1234, -0.25])
def test_every_picture_is_measured_to_a_fraction_of_a_millisecond(
    tmp_path: Path, late_s: float
) -> None:
    report = check_signal(capture(tmp_path / "capture.mp4", late_s), PRESETS["ebu-r37"])
    assert (report.measured_by, report.signal) == ("test_signal", "stamp")
    assert report.verdict == ("in_sync" if late_s == 0 else "out_of_sync")
    offsets_ms = [each.offset_ms for each in report.segments]
    # Those whose sound lies outside the file are not
    assert len(offsets_ms) >= 25 * (SECONDS - abs(late_s)) - 4
    assert offsets_ms == pytest.approx([-1000 * late_s] * len(offsets_ms), abs=0.1)
    assert np.diff([each.start_s for each in report.segments]) == pytest.approx(0.04)


def pictures(seconds: float, jump_s: float = 1e9) -> Iterator[Picture]:
    """From `jump_s` on, 200 ms later than their sound."""
    draw = _drawn()
    for number in range(round(25 * seconds)):
        late_s = 0.2 if number / 25 >= jump_s else 0.0
        yield Picture(5.0 + number / 25, draw(number / 25 - late_s))


def sounds(seconds: float) -> Iterator[Sound]:
    samples = np.asarray(
        avd.synthesize_audio(round(seconds * SAMPLE_RATE), fps="25", sample_rate=SAMPLE_RATE)
    )
    for first in range(0, len(samples), 8000):
        yield Sound(5.0 + first / SAMPLE_RATE, samples[first : first + 8000])


def test_a_long_capture_is_read_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "_WINDOW_S", 4.0)
    signal = stamps_of(pictures(10.0, jump_s=6.0), sounds(10.0))
    assert signal is not None
    assert signal.is_test_signal
    assert len(signal.events) >= 240
    for event in signal.events:
        true_ms = 200 if event.picture_s >= 11.0 else 0
        if abs(event.picture_s - 11.0) > 0.3:
            assert event.offset_ms == pytest.approx(true_ms, abs=0.1), event
    judged = judge_signal(signal, PRESETS["ebu-r37"])
    assert len(judged.segments) == 10  # one a second
    assert len(judge_signal(signal, PRESETS["ebu-r37"], every_picture=True).segments) >= 240
    assert judged.offset_ms == pytest.approx(200, abs=0.1)
    assert len(judged.jumps_s) == 1


def test_at_uneven_times_stamps_are_good_to_half_a_picture() -> None:
    """Taken for a camera's capture, they read up to 20 ms off: too much to fail a file by."""
    uneven_s = np.random.default_rng(1).uniform(-0.009, 0.009, 250)
    late = (
        Picture(picture.pts_s - 0.055 + wander_s, picture.luma)
        for picture, wander_s in zip(pictures(10.0), uneven_s, strict=True)
    )
    signal = stamps_of(late, sounds(10.0))
    assert signal is not None
    assert signal.error_ms is not None
    assert signal.error_ms == pytest.approx(20.0)
    judged = judge_signal(signal, PRESETS["ebu-r37"])
    assert judged.offset_ms is not None
    assert judged.offset_ms == pytest.approx(-55.0, abs=signal.error_ms + 1)
    assert judged.offset_ms < -61  # beyond the limit, which 55 ms is not
    assert (judged.verdict, judged.reason_code) == ("undecidable", "borderline")
    exact = stamps_of(pictures(4.0), sounds(4.0))
    assert exact is not None
    assert exact.error_ms == stamps.ERROR_MS


def test_a_display_that_falls_behind_and_catches_up_does_not_mislead() -> None:
    """As in a call: 300 ms behind after a while, and even again. One line through all pictures
    reads them up to 175 ms off.
    """
    late_s = np.interp(np.arange(300) / 25, [3.0, 6.0, 9.0, 12.0], [0.0, 0.3, 0.3, 0.0])
    late_s += np.random.default_rng(3).uniform(-0.004, 0.004, len(late_s))
    shown = [
        Picture(picture.pts_s + by_s, picture.luma)
        for picture, by_s in zip(pictures(12.0), late_s, strict=True)
    ]
    true_ms = {picture.pts_s: 1000 * by_s for picture, by_s in zip(shown, late_s, strict=True)}
    signal = stamps_of(shown, sounds(12.0))
    assert signal is not None
    assert len(signal.events) >= 290
    assert signal.error_ms == pytest.approx(20.0)
    for event in signal.events:
        assert event.offset_ms == pytest.approx(true_ms[event.picture_s] - 20.0, abs=21.0), event


def test_a_film_that_was_cut_is_measured_behind_the_cut_too() -> None:
    """As joined cuts have it: the pictures go on at other times, 9 ms off those before."""

    def cut() -> Iterator[Picture]:
        for picture in pictures(8.0):
            if not 7.96 <= picture.pts_s < 9.0:
                yield Picture(picture.pts_s + 0.009 * (picture.pts_s >= 9.0), picture.luma)

    def heard() -> Iterator[Sound]:
        yield from (sound for sound in sounds(8.0) if sound.start_s != 8.0)

    signal = stamps_of(cut(), heard())
    assert signal is not None
    for late_ms, from_s in ((0.0, 5.0), (9.0, 9.0)):
        events = [each for each in signal.events if 0 <= each.picture_s - from_s < 2.9]
        assert len(events) >= 65
        for event in events:
            assert event.offset_ms == pytest.approx(late_ms, abs=0.1), event
    assert signal.error_ms == stamps.ERROR_MS


def test_pictures_recorded_as_they_were_shown_are_a_picture_early_or_late() -> None:
    """As a browser records a film that it plays: at even times, but now and then the next one."""
    shown = list(pictures(10.0))
    late = [
        Picture(picture.pts_s, shown[number + (number // 5) % 2].luma)
        for number, picture in enumerate(shown[:-1])
    ]
    signal = stamps_of(late, sounds(10.0))
    assert signal is not None
    assert len(signal.events) >= 240
    offsets_ms = {round(event.offset_ms, 1) for event in signal.events}
    assert min(offsets_ms) >= -60.1
    assert max(offsets_ms) <= 0.1


def test_pictures_that_are_not_stamped_end_the_search() -> None:
    taken: list[Picture] = []

    def plain() -> Iterator[Picture]:
        for number in range(500):
            taken.append(Picture(number / 25, np.full((180, 320), number % 200, np.uint8)))
            yield taken[-1]

    unheard: Iterator[Sound] = (pytest.fail("nobody asks for the sound") for _ in range(1))
    assert stamps_of(plain(), unheard, within_s=2.0) is None
    assert len(taken) == 52


def test_stamps_over_another_sound_tell_nothing() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)
    signal = stamps_of(pictures(3.0), [Sound(5.0, noise)])
    assert signal is not None
    assert signal.events == ()
    judged = judge_signal(signal, PRESETS["ebu-r37"])
    assert (judged.verdict, judged.reason_code) == ("undecidable", "no_match")


def test_without_the_package_there_are_no_stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "find_spec", lambda _: None)
    assert stamps_of(pictures(1.0), sounds(1.0)) is None


def test_a_check_takes_a_stamped_capture_for_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = capture(tmp_path / "capture.mp4", 0.1)
    assert main(["check", str(path), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert (record["measured_by"], record["signal"]) == ("test_signal", "stamp")
    assert record["offset_ms"] == pytest.approx(-100, abs=0.1)
