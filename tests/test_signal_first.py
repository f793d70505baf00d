"""A file that is a test signal and nothing else is judged by that, whatever the network says."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avcheck.checker import Checker
from avcheck.media import Picture, Sound
from avcheck.rates import SAMPLE_RATE
from avcheck.reading.title import Title, open_title
from avcheck.record.report import Report
from avcheck.scan.closeup import Zoomed
from avcheck.scan.first_look import FirstLook
from avcheck.settings import CheckSettings
from avcheck.signals.stamps import stamps_of
from avcheck.verdict.judge import Judgement
from tests.support.clips import Array, Clip, Sounds, clicks, make_clip
from tests.support.networks import written
from tests.support.slates import SIZE, claps, pips, slate

avd = pytest.importorskip("av_drift_detector")

EVENTS_S = (0.6, 1.4, 2.6, 3.4)  # on a picture
STAMPED = (320, 180)  # px, the least that is drawn
NETWORK_MS = 809.0


@pytest.fixture
def checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checker:
    """One whose network is sure that the sound is early."""
    sure = Judgement("out_of_sync", None, offset_ms=NETWORK_MS, confidence=0.92)

    def certain(self: Checker, opener: Any, first: FirstLook, *rest: object) -> list[Zoomed]:
        return [Zoomed(curves, sure) for curves in first.curves]

    monkeypatch.setattr(Checker, "_closer_look", certain)
    path = tmp_path / "tiny.safetensors"
    written(path)
    return Checker(path, "cpu")


def stamped(time_s: float) -> Array:
    return _stamped(round(time_s * 25))


@cache
def _stamped(number: int) -> Array:
    return np.frombuffer(_renderer().render(number), np.uint8).reshape(STAMPED[::-1])


@cache  # it takes longer to set up than to draw
def _renderer() -> Any:
    return avd.PatternRenderer(fps="25", width=STAMPED[0], height=STAMPED[1])


def stamps(path: Path, play: Sounds | None, seconds: float = 2.4) -> Path:
    tones = np.asarray(avd.synthesize_audio(round((seconds + 1) * 48_000), fps="25", delay=0.1))

    def own(times_s: Array) -> Array:
        sound: Array = tones[np.round(times_s * 48_000).astype(int)]
        return sound

    return make_clip(
        path, seconds=seconds, fps=Fraction(25), size=STAMPED, draw=stamped, play=play or own
    )


def babble(times_s: Array) -> Array:
    """Syllables on a voice that rises and falls, which has the stamps' tones now and then."""
    rng = np.random.default_rng(3)
    out = np.zeros(len(times_s))
    pitch_hz = 120 + 40 * np.sin(2 * np.pi * 0.8 * times_s)
    for harmonic in range(1, 40):
        swell = 1 + np.sin(2 * np.pi * (rng.uniform(2, 6) * times_s + rng.uniform()))
        out += 0.02 * swell * np.sin(harmonic * 2 * np.pi * pitch_hz * times_s) / harmonic**0.5
    voiced: Array = out * (np.sin(2 * np.pi * 1.7 * times_s) > -0.5)
    return voiced


def outcome(report: Report) -> tuple[str, str | None, str]:
    return report.verdict, report.reason_code, report.measured_by


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stamps(tmp_path_factory.mktemp("stamps") / "capture.mkv", None)


@pytest.mark.parametrize("settings", [CheckSettings(), CheckSettings(thorough=True)])
def test_stamps_go_before_the_network(
    capture: Path, checker: Checker, settings: CheckSettings
) -> None:
    report = checker.check(capture, settings)
    assert outcome(report) == ("out_of_sync", None, "test_signal")
    assert report.offset_ms == pytest.approx(-100, abs=0.1)


def test_stamped_pictures_with_other_sound_are_undecidable(
    tmp_path: Path, checker: Checker
) -> None:
    report = checker.check(stamps(tmp_path / "capture.mkv", babble))
    assert outcome(report) == ("undecidable", "no_match", "test_signal")
    assert report.offset_ms is None
    assert report.reason is not None
    assert report.reason.startswith("60 stamped pictures and 0 of them heard")


def test_a_film_that_shows_a_stamped_screen_is_no_test_signal(
    tmp_path: Path, checker: Checker
) -> None:
    """The network sees the rest of it."""

    def draw(time_s: float) -> Array:
        return stamped(time_s) if time_s < 1 else np.full(STAMPED[::-1], 50, np.uint8)

    path = make_clip(tmp_path / "film.mkv", seconds=4.0, size=STAMPED, draw=draw, play=babble)
    report = checker.check(path)
    assert (report.measured_by, report.offset_ms) == ("network", NETWORK_MS)


def test_flashes_and_beeps_go_before_the_network(clip: Clip, checker: Checker) -> None:
    report = checker.check(clip(seconds=4.2, events_s=EVENTS_S, sound_late_s=0.1))
    assert outcome(report) == ("out_of_sync", None, "test_signal")
    assert report.offset_ms == pytest.approx(-100, abs=2)


def test_tones_alone_that_go_with_nothing_are_undecidable(clip: Clip, checker: Checker) -> None:
    path = clip(seconds=4.2, events_s=EVENTS_S, play=pips([0.2, 1.15, 1.9, 2.4, 3.9]))
    report = checker.check(path)
    assert outcome(report) == ("undecidable", "no_match", "test_signal")
    assert report.reason == (
        "4 flashes in the picture and 5 beeps in the sound, of which too few belong together"
    )


@pytest.mark.slow
def test_claps_and_other_sound_are_the_network_s(
    clip: Clip, tmp_path: Path, checker: Checker
) -> None:
    """It has learnt from people and things; a beep in a talk makes no test signal."""
    scene: dict[str, Any] = {"size": SIZE, "draw": slate(EVENTS_S), "play": claps(EVENTS_S)}
    pip = pips(EVENTS_S)

    def talk(times_s: Array) -> Array:
        return babble(times_s) + pip(times_s)

    for path in (
        make_clip(tmp_path / "claps.mp4", seconds=4.2, **scene),
        clip(seconds=4.2, events_s=EVENTS_S, play=talk),
        clip(seconds=4.2, events_s=EVENTS_S[:2], play=clicks(EVENTS_S[:2])),
    ):
        report = checker.check(path)
        assert (report.measured_by, report.offset_ms) == ("network", NETWORK_MS)


def test_a_tone_that_other_sound_has_by_chance_is_no_stamp() -> None:
    """One number is heard, of sixty."""
    count = 60
    own = np.array(avd.synthesize_audio(SAMPLE_RATE * 3, fps="25", sample_rate=SAMPLE_RATE))
    pictures = [Picture(k / 25, stamped(k / 25)) for k in range(count)]
    between = np.arange(len(own)) // (SAMPLE_RATE // 25)
    for heard, events in ((range(30, 32), 0), (range(10, 50), 40)):
        samples = np.where(np.isin(between, heard), own, 0).astype(np.float32)
        signal = stamps_of(pictures, [Sound(0.0, samples)])
        assert signal is not None
        assert len(signal.events) == pytest.approx(events, abs=4)
        assert (len(signal.events) > 0) == (events > 0)
        assert signal.is_test_signal == (events > 0)
        assert signal.is_all  # every picture is stamped
        assert not replace(signal, shown=10 * count).is_all


@pytest.mark.parametrize(("play", "times"), [(babble, 1), (pips(EVENTS_S), 2)])
def test_a_film_is_read_again_only_if_its_sound_may_be_a_test_signals(
    tmp_path: Path, checker: Checker, monkeypatch: pytest.MonkeyPatch, play: Sounds, times: int
) -> None:
    opened: list[object] = []

    def counted(*arguments: Any, **options: Any) -> Title:
        opened.append(arguments)
        return open_title(*arguments, **options)

    monkeypatch.setattr("avcheck.checker.open_title", counted)
    checker.check(make_clip(tmp_path / "film.mp4", seconds=5, play=play))
    assert len(opened) == times
