"""Beeps: where a quiet sound becomes loud at once, and soon is quiet again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avcheck.media import SAMPLE_RATE, Sound

_STEP = 16  # samples: the level is taken every millisecond
_STEP_S = _STEP / SAMPLE_RATE
_WIDTH = 2  # steps that a level is the mean of
_RISE_DB = 20.0  # over the loudest moment
_BEFORE_S = 0.1  # of so long before
_LEAST_DB = -50.0  # dBFS
_PLATEAU_S = 0.012  # in which a beep reaches its full level
_LONGEST_S = 1.5  # beep; longer is a tone or a noise
_END_DB = 20.0  # below its level a beep has ended
_FLOOR_DB = -90.0


@dataclass(frozen=True)
class Beep:
    """When a beep begins and ends, in seconds on the file's clock, and its level (amplitude,
    0..1).
    """

    start_s: float
    end_s: float
    level: float


@dataclass(frozen=True)
class Beeps:
    """The beeps of a file in order, and how much of its time (0..1) something else is nearly as
    loud.
    """

    heard: tuple[Beep, ...]
    other_share: float


def beeps_of(sounds: Iterable[Sound]) -> Beeps:
    """The beeps of a file.

    A beep rises by 20 dB or more within 12 ms out of a tenth of a second of quiet, and falls by 20
    dB within 1.5 s. It begins where its level passes half of what it reaches: a codec's pre-echo is
    weaker than that.
    """
    runs = _joined(sounds)
    beeps = [beep for start_s, level in runs for beep in _beeps(start_s, level)]
    least = (
        10 ** (-_END_DB / 20) * float(np.median([beep.level for beep in beeps])) if beeps else 0.0
    )
    loud = sum(float((level > least).sum()) * _STEP_S for _, level in runs)
    total_s = sum(len(level) * _STEP_S for _, level in runs)
    of_beeps = sum(beep.end_s - beep.start_s + 2 * _STEP_S for beep in beeps)
    return Beeps(tuple(beeps), max(0.0, loud - of_beeps) / total_s if total_s else 0.0)


def _joined(sounds: Iterable[Sound]) -> list[tuple[float, NDArray[np.float32]]]:
    """Runs without a gap: when each begins, and its level (amplitude, 0..1) every millisecond."""
    runs: list[tuple[float, list[NDArray[np.float32]]]] = []
    end_s, rest = -1.0, np.zeros(0, np.float32)
    for sound in sounds:
        if not runs or abs(sound.start_s - end_s) > 0.5 / SAMPLE_RATE:
            runs.append((sound.start_s, []))
            rest = rest[:0]
        samples = np.concatenate([rest, sound.samples])
        whole = len(samples) // _STEP * _STEP
        rest, end_s = samples[whole:], sound.end_s
        runs[-1][1].append(np.mean(samples[:whole].reshape(-1, _STEP) ** 2, axis=1))
    levels: list[tuple[float, NDArray[np.float32]]] = []
    for start_s, parts in runs:
        power = np.concatenate(parts)
        smooth = np.convolve(power, np.full(_WIDTH, 1 / _WIDTH), "full")[: len(power)]
        levels.append((start_s, np.sqrt(smooth).astype(np.float32)))
    return levels


def _beeps(start_s: float, level: NDArray[np.float32]) -> list[Beep]:
    before, plateau = round(_BEFORE_S / _STEP_S), round(_PLATEAU_S / _STEP_S)
    if len(level) <= plateau:
        return []
    # What comes before a file is quiet
    padded = np.concatenate([np.zeros(before, np.float32), level])
    loudest_before = np.lib.stride_tricks.sliding_window_view(padded, before)[: len(level)].max(
        axis=1
    )
    ahead = np.lib.stride_tricks.sliding_window_view(np.pad(level, (0, plateau)), plateau + 1).max(
        axis=1
    )
    least = 10 ** (_LEAST_DB / 20)
    rises = (ahead >= least) & (
        ahead >= 10 ** (_RISE_DB / 20) * np.maximum(loudest_before, 10 ** (_FLOOR_DB / 20))
    )
    beeps: list[Beep] = []
    at = 0
    for start in np.flatnonzero(rises).tolist():
        if start < at:
            continue
        reached = float(level[start : start + plateau + 1].max())
        onset = start + int(np.argmax(level[start:] >= reached / 2))
        quiet = np.flatnonzero(level[onset + plateau :] < reached * 10 ** (-_END_DB / 20))
        at = onset + plateau + int(quiet[0]) if len(quiet) else len(level)
        if (at - onset) * _STEP_S <= _LONGEST_S:
            beeps.append(
                Beep(
                    start_s + _crossing(level, onset, reached / 2), start_s + at * _STEP_S, reached
                )
            )
    return beeps


def _crossing(level: NDArray[np.float32], onset: int, half: float) -> float:
    """When the level passes `half`, in seconds from the start of the run, between two steps."""
    earlier, later = float(level[onset - 1]) if onset else 0.0, float(level[onset])
    share = (half - earlier) / (later - earlier) if later > earlier else 1.0
    # A level stands for the samples of its own step and of the one before: it is that of the border
    # between them.
    return max(0.0, (onset - 1 + share) * _STEP_S)
