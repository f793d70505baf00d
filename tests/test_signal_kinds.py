"""Clapperboards, countdowns and 2-pops: measured where they are, and nothing else taken for one."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from avcheck.cli.app import main
from avcheck.media import Picture, Sound
from avcheck.rates import SAMPLE_RATE
from avcheck.rates import SAMPLE_RATE as SCENE_RATE
from avcheck.record.report import PRESETS
from avcheck.scenes.generate import make_scene
from avcheck.signals.beeps import Beep, Beeps, beeps_of
from avcheck.signals.claps import closings_of
from avcheck.signals.flashes import flashes_of
from avcheck.signals.looks import Looks, looks_of
from avcheck.signals.signal import Signal, recognised_in, signal_in
from avcheck.signals.verdict import judge_signal
from tests.support.clips import Array, Pictures, Sounds, clicks, make_clip
from tests.support.slates import SIZE, claps, cuts, leader, pips, slate

SECONDS = 9.0
CLAPS_S = (1.613, 3.404, 5.187, 7.291)  # anywhere in a picture


def shown(draw: Pictures, fps: float = 25) -> list[Picture]:
    return [Picture(k / fps, draw(k / fps)) for k in range(round(SECONDS * fps))]


def heard(play: Sounds) -> list[Sound]:
    times_s = np.arange(round(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    return [Sound(0.0, play(times_s).astype(np.float32))]


def asked(draw: Pictures, play: Sounds, fps: float = 25) -> Signal:
    """What `avcheck signal` makes of it."""
    return signal_in(looks_of(shown(draw, fps)), beeps_of(heard(play)))


def recognised(draw: Pictures, play: Sounds, fps: float = 25) -> Signal | None:
    """What a check takes it for."""
    signal = recognised_in(looks_of(shown(draw, fps)), beeps_of(heard(play)))
    return signal if signal is not None and signal.is_test_signal else None


# -- what there is ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fps", "exposed", "late_s"), [(24, 0.0, 0.0), (24, 0.5, 0.3), (50, 0.5, -0.3)]
)
def test_a_clapperboard_that_closes_several_times(
    fps: float, exposed: float, late_s: float
) -> None:
    late = [clap_s + late_s for clap_s in CLAPS_S]
    signal = recognised(slate(CLAPS_S, exposed / fps), claps(late), fps)
    assert signal is not None
    assert (signal.kind, len(signal.events), signal.share) == ("clap", 4, 1.0)
    offsets_ms = [event.offset_ms for event in signal.events]
    assert offsets_ms == pytest.approx([-1000 * late_s] * 4, abs=400 / fps)
    assert signal.offset_ms == pytest.approx(-1000 * late_s, abs=250 / fps)


@pytest.mark.parametrize("exposed", [0.0, 1.0])
def test_a_clap_is_measured_at_any_moment_of_a_picture(exposed: float) -> None:
    claps_s = [0.04 * (27 + 42 * k + (k + 0.1) / 5) for k in range(5)]
    signal = recognised(slate(claps_s, exposed / 25), claps(claps_s))
    assert signal is not None
    assert [event.sound_s for event in signal.events] == pytest.approx(claps_s, abs=0.003)
    assert [event.offset_ms for event in signal.events] == pytest.approx([0] * 5, abs=16)


@pytest.mark.slow
def test_boards_of_any_speed_shutter_and_rate_are_measured_to_half_a_picture() -> None:
    """Most to a quarter. How long the shutter is open, which moves the estimate, is not known."""
    rng = np.random.default_rng(11)
    off: list[float] = []
    for fps, exposed in product((24, 25, 30, 50), (0.0, 0.25, 0.5, 1.0)):
        for _ in range(1):
            clap_s, swing_s = 1.0 + rng.uniform() / fps, rng.uniform(0.07, 0.15)
            draw = slate([clap_s], exposed / fps, swing_s)
            pictures = (Picture(k / fps, draw(k / fps)) for k in range(round(1.5 * fps)))
            (closing,) = closings_of(looks_of(pictures))
            off.append((closing.time_s - clap_s) * fps)
    assert max(map(abs, off)) < 0.5
    assert np.mean(np.abs(off) <= 0.25) >= 0.75


@pytest.mark.parametrize("apart_s", [1.32, 1.5])
def test_two_claps_in_a_row_are_both_seen(apart_s: float) -> None:
    claps_s = [3.013, 3.013 + apart_s]
    signal = asked(slate(claps_s, 0.02), claps(claps_s))
    assert [event.picture_s for event in signal.events] == pytest.approx(claps_s, abs=0.016)


@pytest.mark.parametrize("late_s", [0.0, 0.3, -0.25])
def test_one_slate_is_measured_when_asked_for_and_makes_no_test_signal(late_s: float) -> None:
    """Somebody calls the take before it."""
    scene = slate(CLAPS_S[1:2]), claps([CLAPS_S[1] + late_s], voice=0.05)
    signal = asked(*scene)
    assert (signal.kind, len(signal.events)) == ("clap", 1)
    assert signal.offset_ms == pytest.approx(-1000 * late_s, abs=16)
    assert recognised(*scene) is None
    assert recognised(slate(CLAPS_S[1:2]), claps([CLAPS_S[1] + late_s])) is None


@pytest.mark.parametrize(("fps", "late_s"), [(25, 0.0), (23.976, 0.16), (50, -0.3)])
@pytest.mark.parametrize("hand", [True, False])
def test_a_countdown_with_a_tick_a_second(fps: float, hand: bool, late_s: float) -> None:
    ticks_s = [1.0 + late_s + k for k in range(6)]
    signal = recognised(leader(0.0, 8, 2, hand=hand), pips(ticks_s), fps)
    assert signal is not None
    assert signal.kind == ("flash" if hand else "countdown")
    assert len(signal.events) >= 5
    assert signal.offset_ms == pytest.approx(-1000 * late_s, abs=1000 / fps)
    judged = judge_signal(signal, PRESETS["ebu-r37"])
    assert judged.verdict == ("in_sync" if late_s == 0 else "out_of_sync")


@pytest.mark.parametrize(("hand", "late_s"), [(True, 0.0), (True, -0.5), (False, 0.12)])
def test_the_pop_of_a_leader(hand: bool, late_s: float) -> None:
    """The 2 is one picture, with a pop of one picture; nothing sounds before it."""
    signal = recognised(leader(0.0, 6, 2, hand=hand, flash=True), pips([4.0 + late_s]))
    assert signal is not None
    assert (signal.kind, len(signal.events)) == ("2-pop", 1)
    assert signal.offset_ms == pytest.approx(-1000 * late_s, abs=3)


def test_a_pop_before_a_film_is_measured_when_asked_for() -> None:
    film = leader(0.0, 4, 2, hand=False, flash=True)
    talk = _talk(2)

    def play(times_s: Array) -> Array:
        return np.where(times_s < 4.5, pips([2.1])(times_s), talk[1](times_s))

    def draw(time_s: float) -> Array:
        return film(time_s) if time_s < 4.5 else talk[0](time_s)

    signal = asked(draw, play)
    assert (signal.kind, len(signal.events)) == ("2-pop", 1)
    assert signal.offset_ms == pytest.approx(-100, abs=3)
    assert recognised(draw, play) is None  # of the whole film one moment says too little


# -- what there is not -----------------------------------------------------------------------------


@cache
def _talk(seed: int) -> tuple[Pictures, Sounds]:
    scene = make_scene(
        "talking", seed=seed, seconds=SECONDS, size=SIZE[::-1], head_share=0.5, studio=True
    )
    at_s = np.arange(len(scene.samples)) / SCENE_RATE
    return (
        lambda time_s: scene.frames[min(round(25 * time_s), len(scene.frames) - 1)],
        lambda times_s: np.interp(times_s, at_s, scene.samples),
    )


def _and(*plays: Sounds) -> Sounds:
    return lambda times_s: np.sum([play(times_s) for play in plays], axis=0)


def _music(times_s: Array) -> Array:
    """Drums twice a second over a chord that never ends."""
    beat_s = np.mod(times_s, 0.5)
    drum = np.exp(-beat_s / 0.04) * np.sin(2 * np.pi * 90 * beat_s)
    return 0.3 * drum + 0.1 * np.sin(2 * np.pi * 220 * times_s)


def _strobe(time_s: float) -> Array:
    picture = cuts([])(time_s)
    return np.full_like(picture, 235) if time_s % 0.5 < 0.05 else picture


IRREGULAR_S = (1.12, 2.44, 3.32, 4.92, 6.2, 7.4)  # on pictures
# Drawn when a test asks for them, not when tests are collected
CASES: dict[str, Callable[[], tuple[Pictures, Sounds]]] = {
    "somebody talks and claps": lambda: (_talk(1)[0], _and(_talk(1)[1], claps(CLAPS_S))),
    "somebody claps beside a talker": lambda: (slate(CLAPS_S), _and(_talk(2)[1], claps(CLAPS_S))),
    "a talker, and a click now and then": lambda: (_talk(2)[0], clicks(CLAPS_S)),
    "strobes in music": lambda: (_strobe, _music),
    "cuts on the beat of music": lambda: (cuts(np.arange(0.5, 9, 0.5).tolist()), _music),
    "cuts on a click": lambda: (cuts(IRREGULAR_S), clicks(IRREGULAR_S)),
    "cuts a second apart on a tick": lambda: (cuts(range(1, 9)), pips(range(1, 9))),
    "cuts before every tick": lambda: (cuts(np.arange(0.8, 9).tolist()), pips(range(1, 9))),
    "a countdown that is silent": lambda: (leader(0.0, 8, 2, hand=True), pips([])),
    "ticks, and nothing to see": lambda: (cuts([]), pips(range(1, 9))),
    "one clap": lambda: (slate([4.3]), claps([4.3])),
    "one flash with a click": lambda: (_strobe, clicks([4.0])),
    "ticks at any time beside a slate": lambda: (slate(CLAPS_S), pips([0.5, 2.9, 4.1, 6.6])),
    "a pop in a film": lambda: (_talk(1)[0], pips([4.0])),
    "a countdown with ticks at any time": lambda: (
        leader(0.0, 8, 2, hand=True),
        pips([1.1, 1.9, 3.4, 4.0, 5.7, 6.2]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_no_test_signal(name: str) -> None:
    assert recognised(*CASES[name]()) is None


def test_of_two_pairs_that_fit_as_well_none_is_told() -> None:
    signal = asked(cuts([]), clicks([4.0]))
    assert (signal.events, signal.ambiguous) == ((), False)
    twice = asked(_flashing([3.0, 4.4]), clicks([4.0]))
    assert (twice.events, twice.ambiguous) == ((), True)
    judged = judge_signal(twice, PRESETS["ebu-r37"])
    assert (judged.verdict, judged.reason_code) == ("undecidable", "ambiguous")
    assert judged.reason == (
        "2 flashes in the picture and 1 beep in the sound, of which several may belong together"
    )


def _flashing(times_s: Sequence[float]) -> Pictures:
    still = cuts([])
    return lambda at_s: (
        np.full_like(still(0.0), 235)
        if any(abs(at_s - time_s) < 0.02 for time_s in times_s)
        else still(0.0)
    )


def test_a_hand_that_sweeps_is_no_flash() -> None:
    """Only where it starts anew does the picture change at once."""
    flashes = flashes_of(looks_of(shown(leader(0.0, 8, 2, hand=True))))
    starts_s = [flash.start_s for flash in flashes]
    assert starts_s == pytest.approx([1, 2, 3, 4, 5, 6])


def test_a_picture_of_another_shape_has_no_motion() -> None:
    """Recordings that were joined may have pictures of different shapes."""
    flashing = [np.full((48, 64), 235 if k == 20 else 16, np.uint8) for k in range(40)]
    wide = [np.full((48, 96), 235 if k == 20 else 16, np.uint8) for k in range(40)]
    looks = looks_of([Picture(k / 25, luma) for k, luma in enumerate([*flashing, *wide])])
    assert [flash.start_s for flash in flashes_of(looks)] == pytest.approx([0.8, 2.4])
    assert not looks.motion[40].any()
    assert looks.motion[60].any()


def test_pairing_takes_little_memory() -> None:
    """It grows with the length of a signal, not with its square."""
    seconds_s = np.arange(1000.0)
    beeps = tuple(Beep(time_s + 0.1, time_s + 0.14, 0.5) for time_s in seconds_s.tolist())
    times_s = np.add.outer(seconds_s, np.arange(5) / 5).ravel()
    lit = np.tile(np.arange(5) == 0, len(seconds_s))[:, None]
    levels = np.repeat(235 * lit.astype(np.uint8), 4, axis=1)
    looks = Looks(times_s[1:], levels[1:], np.zeros_like(levels[1:]))
    tracemalloc.start()
    signal = signal_in(looks, Beeps(beeps, 0.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(signal.events) == len(seconds_s) - 1
    assert signal.offset_ms == pytest.approx(-100)
    assert peak < 30e6


# -- the command -----------------------------------------------------------------------------------


def test_the_command_says_what_it_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_clip(
        tmp_path / "slate.mp4",
        seconds=5.0,
        size=SIZE,
        draw=slate([2.51]),
        play=claps([2.71], voice=0.05),
    )
    assert main(["signal", str(path)]) == 1
    out = capsys.readouterr().out
    assert "out of sync: sound late by" in out
    assert "1 closing with its clap" in out
