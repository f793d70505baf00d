"""A sound that fits its reference at several places is not known to be at one of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from avcheck.compare.align import Piece
from avcheck.compare.features import Recording
from avcheck.compare.loops import without_loops
from avcheck.media import Sound
from avcheck.rates import SAMPLE_RATE

Array = np.ndarray[Any, Any]
SECONDS = 32.0
SHOWN = (Piece(0.0, SECONDS, 0.0, 1.0),)  # the picture is the same throughout


def noise(seed: int, seconds: float = SECONDS) -> Array:
    """Sound below 4 kHz that comes and goes, float32 at 16 kHz."""
    rng = np.random.default_rng(seed)
    carrier = np.repeat(rng.normal(size=round(seconds * SAMPLE_RATE / 2)), 2)
    burst = np.repeat(rng.random(round(seconds * 8)) < 0.6, SAMPLE_RATE // 8)
    return np.asarray(0.2 * carrier[: len(burst)] * burst, np.float32)


def loop(turn_s: float) -> Array:
    """The same sound over and over, to the sample."""
    turns = int(SECONDS / turn_s) + 1
    return np.tile(noise(1, turn_s), turns)[: round(SECONDS * SAMPLE_RATE)]


def recorded(samples: Array) -> Recording:
    recording = Recording()
    recording.add(Sound(0.0, np.asarray(samples, np.float32)))
    return recording


def at(late_s: float) -> Piece:
    """The whole file, so much later than the reference."""
    return Piece(0.0, SECONDS, -late_s, 1.0)


@pytest.mark.parametrize("off_s", [0.0, 1.0, 12.0])
@pytest.mark.parametrize("turn_s", [1.0, 2.0])
def test_a_loop_under_other_voices_is_nowhere(turn_s: float, off_s: float) -> None:
    bed = loop(turn_s)
    first, second = recorded(noise(2) + bed), recorded(noise(3) + bed)
    assert without_loops([at(off_s)], SHOWN, first, second) == ()


def test_a_loop_of_long_turns_is_known_by_the_picture() -> None:
    """Eight seconds off, the whole loop fits; and so it does where the picture is."""
    bed = loop(8.0)
    first, second = recorded(noise(2) + bed), recorded(noise(3) + bed)
    assert without_loops([at(8.0)], SHOWN, first, second) == ()
    assert without_loops([at(0.0)], SHOWN, first, second) == (at(0.0),)


@pytest.mark.parametrize("pace", [1.0, 25 / 24])
@pytest.mark.parametrize("bed_level", [1.0, 0.3])
def test_what_is_the_same_once_stays(bed_level: float, pace: float) -> None:
    """Music under other voices, as it is and sped up."""
    bed = bed_level * noise(1)
    samples = noise(3) + bed
    count = int(len(samples) / pace)
    faster = np.interp(np.arange(count) * pace, np.arange(len(samples)), samples)
    part = Piece(0.0, SECONDS / pace, 0.0, pace)
    assert without_loops([part], (part,), recorded(noise(2) + bed), recorded(faster)) == (part,)


def test_the_same_voices_over_a_loop_stay() -> None:
    both = noise(2) + loop(1.0)
    assert without_loops([at(0.0)], SHOWN, recorded(both), recorded(both)) == (at(0.0),)


def test_a_loop_with_a_room_of_its_own_stays() -> None:
    """No two turns of a real performance are alike."""
    bed = loop(1.0) + 0.3 * noise(5)
    first, second = recorded(noise(2) + bed), recorded(noise(3) + bed)
    assert without_loops([at(0.0)], SHOWN, first, second) == (at(0.0),)
    assert without_loops([at(1.0)], SHOWN, first, second) == ()


@pytest.mark.parametrize("seconds", [1.5, 4.0])
def test_a_short_piece_is_taken_as_a_whole(seconds: float) -> None:
    sound = recorded(noise(2))
    part = Piece(10.0, 10.0 + seconds, 10.0, 1.0)
    assert without_loops([part], SHOWN, sound, sound) == (part,)


def test_silence_is_nowhere() -> None:
    silence = recorded(np.zeros(round(SECONDS * SAMPLE_RATE)))
    assert without_loops([at(0.0)], SHOWN, silence, silence) == ()
