"""Beeps: a quiet sound that suddenly becomes loud, and is soon quiet again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avcheck.media import Sound
from avcheck.rates import SAMPLE_RATE

_STEP = 16  # samples: the level is taken every millisecond
_STEP_S = _STEP / SAMPLE_RATE
_WIDTH = 2  # steps that a level is averaged over
_LAGS = 2  # samples that a purity is predicted from
_RISE_DB = 20.0  # over the loudest moment just before
_BEFORE_S = 0.1  # for so long before
_LEAST_DB = -50.0  # dBFS
_PLATEAU_S = 0.012  # within which a beep reaches its full level
_LONGEST_S = 1.5  # beep; longer is a tone or a noise
_END_DB = 20.0  # below its level a beep has ended
_FLOOR_DB = -90.0
_LONGEST_QUIET_S = 3.0  # longer quiet is counted as this
_EDGE_S = 0.02  # before a beep, filled by a codec's pre-echo


@dataclass(frozen=True)
class Beep:
    """A beep from start_s to end_s, in seconds on the file's clock."""

    start_s: float
    end_s: float
    level: float  # amplitude, 0..1
    # The share of its power (0..1) that two coefficients of linear prediction explain: nearly all
    # of a tone, half of a clap
    purity: float = 0.0
    # How long nothing a tenth as loud is heard before and after it, up to 3 s; outside the file is
    # quiet
    quiet_s: tuple[float, float] = (0.0, 0.0)

    @property
    def length_s(self) -> float:
        """How long it lasts."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Beeps:
    """heard: the beeps of a file in order; other_share: the share of its time (0..1) in which
    something else is nearly as loud.
    """

    heard: tuple[Beep, ...]
    other_share: float


class BeepFinder:
    """Finds the beeps of a sound that others read: it takes each piece as it passes.

    A beep rises by 20 dB or more within 12 ms out of a tenth of a second of quiet, and falls by 20
    dB within 1.5 s. It begins where it begins to rise: a codec's pre-echo is weaker than that.
    """

    def __init__(self) -> None:
        self._starts_s: list[float] = []
        self._products: list[list[NDArray[np.float32]]] = []
        self._end_s, self._rest = -1.0, np.zeros(_LAGS, np.float32)

    def take(self, sound: Sound) -> None:
        """The next piece of the sound."""
        if not self._products or abs(sound.start_s - self._end_s) > 0.5 / SAMPLE_RATE:
            self._starts_s.append(sound.start_s)
            self._products.append([])
            self._rest = np.zeros(_LAGS, np.float32)
        samples = np.concatenate([self._rest, sound.samples])
        whole = (len(samples) - _LAGS) // _STEP * _STEP
        by_lag = [
            samples[_LAGS - lag : _LAGS - lag + whole].reshape(-1, _STEP)
            for lag in range(_LAGS + 1)
        ]
        products = [np.einsum("ts,ts->t", by_lag[0], earlier) for earlier in by_lag]
        self._products[-1].append(np.stack(products, axis=1))
        self._rest, self._end_s = samples[whole:], sound.end_s

    def beeps(self) -> Beeps:
        """The beeps of what was taken."""
        return _beeps_in(
            [
                _Run(start_s, _level(whole[:, 0]), whole)
                for start_s, parts in zip(self._starts_s, self._products, strict=True)
                for whole in [np.concatenate(parts)]
            ]
        )


def beeps_of(sounds: Iterable[Sound]) -> Beeps:
    """The beeps of a file, as `BeepFinder` finds them."""
    finder = BeepFinder()
    for sound in sounds:
        finder.take(sound)
    return finder.beeps()


def _beeps_in(runs: Sequence[_Run]) -> Beeps:
    beeps = [beep for run in runs for beep in _beeps(run)]
    least = (
        10 ** (-_END_DB / 20) * float(np.median([beep.level for beep in beeps])) if beeps else 0.0
    )
    loud = sum(float((run.level > least).sum()) * _STEP_S for run in runs)
    total_s = sum(len(run.level) * _STEP_S for run in runs)
    of_beeps = sum(beep.end_s - beep.start_s + 2 * _STEP_S for beep in beeps)
    return Beeps(tuple(beeps), max(0.0, loud - of_beeps) / total_s if total_s else 0.0)


@dataclass(frozen=True, eq=False)
class _Run:
    """Sound without a gap: when it begins, and for every millisecond the level (amplitude, 0..1)
    and the products of its samples with those none, one and two before them, summed, (T, 3).
    """

    start_s: float  # on the file's clock
    level: NDArray[np.float32]
    products: NDArray[np.float32]


def _level(energy: NDArray[np.float32]) -> NDArray[np.float32]:
    """The level every millisecond, from the sum of squares of each."""
    smooth = np.convolve(energy, np.full(_WIDTH, 1 / _WIDTH / _STEP), "full")[: len(energy)]
    return np.sqrt(np.maximum(smooth, 0)).astype(np.float32)


def _beeps(run: _Run) -> list[Beep]:
    level = run.level
    before, plateau = round(_BEFORE_S / _STEP_S), round(_PLATEAU_S / _STEP_S)
    if len(level) <= plateau:
        return []
    # Before a file there is quiet
    loudest_before = _loudest(np.pad(level, (before, 0)), before)[: len(level)]
    ahead = _loudest(np.pad(level, (0, plateau)), plateau + 1)
    least = 10 ** (_LEAST_DB / 20)
    rises = (ahead >= least) & (
        ahead >= 10 ** (_RISE_DB / 20) * np.maximum(loudest_before, 10 ** (_FLOOR_DB / 20))
    )
    beeps: list[Beep] = []
    at = 0
    for start in np.flatnonzero(rises).tolist():
        if start < at:
            continue
        # The foot of the rise, which a plateau from here on may include
        foot = float(ahead[start])
        onset = start + int(np.argmax(level[start:] >= foot / 2))
        reached = float(level[onset : onset + plateau + 1].max())
        quiet = np.flatnonzero(level[onset + plateau :] < reached * 10 ** (-_END_DB / 20))
        end = onset + plateau + int(quiet[0]) if len(quiet) else len(level)
        at = onset + plateau
        if (end - onset) * _STEP_S <= _LONGEST_S:
            at = end
            beeps.append(
                Beep(
                    run.start_s + _crossing(level, onset, foot / 2),
                    run.start_s + at * _STEP_S,
                    reached,
                    _purity(run.products[onset:at].sum(axis=0, dtype=np.float64)),
                    _quiet_s(level, onset, at, reached * 10 ** (-_END_DB / 20)),
                )
            )
    return beeps


def _loudest(level: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The largest of every `width` values in a row, (T,) -> (T - width + 1,)."""
    most, reach = level, 1
    while reach < width:  # in steps that double: a window a value would take ten times as long
        step = min(reach, width - reach)
        most, reach = np.maximum(most[:-step], most[step:]), reach + step
    return most


def _purity(products: NDArray[np.float64]) -> float:
    """The share of a sound's power that can be predicted from its last two samples: how much of a
    tone it is.
    """
    none, one, two = products
    if none <= 0 or none * none - one * one <= 1e-9 * none * none:
        return 0.0
    first = one * (none - two) / (none * none - one * one)
    second = (none * two - one * one) / (none * none - one * one)
    return float(np.clip((first * one + second * two) / none, 0.0, 1.0))


def _quiet_s(level: NDArray[np.float32], onset: int, end: int, least: float) -> tuple[float, float]:
    """How long it is quiet before a beep and after it, up to `_LONGEST_QUIET_S`.

    Args:
        level: That of the run, (n,), one for each `_STEP_S`.
        onset: The step in which the beep begins.
        end: The first step after it.
        least: What is louder is not quiet.
    """
    reach, edge = round(_LONGEST_QUIET_S / _STEP_S), round(_EDGE_S / _STEP_S)
    before = level[max(0, onset - edge - reach) : max(0, onset - edge)][::-1] > least
    after = level[end : end + reach] > least

    def until(loud: NDArray[np.bool_], lead_s: float) -> float:
        return float(loud.argmax()) * _STEP_S + lead_s if loud.any() else _LONGEST_QUIET_S

    return until(before, _EDGE_S), until(after, 0.0)


def _crossing(level: NDArray[np.float32], onset: int, half: float) -> float:
    """When the level passes `half`, in seconds from the start of the run, between two steps."""
    earlier, later = float(level[onset - 1]) if onset else 0.0, float(level[onset])
    share = (half - earlier) / (later - earlier) if later > earlier else 1.0
    # A level covers the samples of its own step and of the one before: it belongs to the border
    # between them.
    return max(0.0, (onset - 1 + share) * _STEP_S)
