"""Drifts so fast that the offset changes within a segment: a sound that plays at another pace than
its pictures, as when one of the two is sped up from 24 to 25 pictures a second. Pure arithmetic.

Along a line of so many frames a second every block is read at its own shift, so that what it shows
adds up again. Lines of many slopes are tried beside the constant offsets, each about as likely
beforehand as its share of all that is tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avcheck.reading.blocks import BLOCK_S
from avcheck.record.report import FRAME_MS, Stretch
from avcheck.verdict.course import Course, Guess
from avcheck.verdict.posterior import (
    FILE_MATCHES,
    MOST_TELLING,
    Calibration,
    Curve,
    log_likelihood,
    match_ratio,
    mean_of_blocks,
    read_on,
    to_offset_ms,
    weigh_up,
)

# Frames a second, 0.8 to 5.6 %; segments show slower drifts by themselves
_SLOPES = np.concatenate([np.arange(-1.4, -0.19, 0.1), np.arange(0.2, 1.41, 0.1)])
_FINE = np.arange(-0.08, 0.081, 0.02)  # tried around the best
FAST = 0.05  # how likely a file that matches is to drift so fast, before it is looked at
_MOST_SEGMENTS = 6  # nearest to the moment that lines are tried at
# Least logarithm of how much likelier a line makes a file than no match does: below it no line can
# be sure, as there are so many
_LEAST_LIKELY = 7.5
# Largest logarithm of the same, however well lines fit, with their chance beforehand
MOST_LIKELY = _MOST_SEGMENTS * math.log(MOST_TELLING) + math.log(FILE_MATCHES * FAST)
_NEAR_FRAMES = 4.0  # lines that lie this near to each other at both ends say the same


@dataclass(frozen=True)
class _Line:
    """Sound that is late by `late` frames at `at_s`, and by `slope` more each second."""

    slope: float
    at_s: float
    late: float

    def late_at(self, time_s: float) -> float:
        return self.late + self.slope * (time_s - self.at_s)


@dataclass(frozen=True)
class _Bundle:
    """Lines of some slopes (K,) that are late by each of some shifts (S,), in frames, at the moment
    at_s. likelihood: how much likelier each makes the file than no match does, (K, S), as a
    logarithm.
    """

    at_s: float
    slopes: NDArray[np.float64]
    shifts: NDArray[np.int_]
    likelihood: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        rows: Mapping[float, NDArray[np.float64]],
        at_s: float,
        slopes: NDArray[np.float64],
        shifts: NDArray[np.int_],
        calibration: Calibration,
    ) -> _Bundle:
        """rows: what segments say along the lines (K, S), by the times of their middles."""
        near = _nearest(rows, at_s)
        late = slopes[:, None] * (np.array(near) - at_s)
        moved = np.stack([rows[each] for each in near], axis=1)  # (K, N, S)
        moved = read_on(moved.reshape(-1, len(shifts)), late.ravel()).reshape(moved.shape)
        # No mixture of matches and none says more than this, which costs little
        most = match_ratio(moved, calibration).clip(0.0, math.log(MOST_TELLING)).sum(axis=1)
        likelihood = [
            log_likelihood(list(its), calibration) if limit.max() >= _LEAST_LIKELY else limit
            for its, limit in zip(moved, most, strict=True)
        ]
        return cls(at_s, slopes, shifts, np.stack(likelihood))

    @property
    def best(self) -> _Line:
        number, k = np.unravel_index(int(self.likelihood.argmax()), self.likelihood.shape)
        return _Line(float(self.slopes[number]), self.at_s, float(self.shifts[k]))

    def near(self, line: _Line, times_s: Sequence[float]) -> NDArray[np.bool_]:
        """Which lines say the same as this one at these times, (K, S)."""
        late = [
            (self.slopes * (at_s - self.at_s))[:, None] + self.shifts - line.late_at(at_s)
            for at_s in times_s
        ]
        return np.asarray((np.abs(late) <= _NEAR_FRAMES).all(axis=0))


def fast_drift(curves: Sequence[Curve], calibration: Calibration) -> Guess | None:
    """The likeliest line through the segments, where it is in reach of the shifts; None for a file
    that is too short to show one, or shows none.
    """
    if len(curves) < 2:
        return None
    shifts = curves[0].shifts
    by_middle = {_middle_s(each): each for each in curves}
    ends_s = curves[0].start_s, curves[-1].end_s
    places_s = ends_s[0], sum(ends_s) / 2, ends_s[1]

    def bundles_of(slopes: NDArray[np.float64], places_s: Sequence[float]) -> list[_Bundle]:
        needed = {each for at_s in places_s for each in _nearest(by_middle, at_s)}
        rows = {each: _along(slopes, by_middle[each], calibration) for each in sorted(needed)}
        return [_Bundle.of(rows, at_s, slopes, shifts, calibration) for at_s in places_s]

    bundles = bundles_of(_SLOPES, places_s)
    likeliest = max(bundles, key=lambda each: float(each.likelihood.max()))
    if likeliest.likelihood.max() < _LEAST_LIKELY:
        return None
    best = bundles_of(likeliest.best.slope + _FINE, [likeliest.at_s])[0].best
    most = float(shifts.max())
    reached = [each for each in curves if abs(best.late_at(_middle_s(each))) <= most]
    if len(reached) < 2:
        return None
    ends_s = reached[0].start_s, reached[-1].end_s
    ends_ms = (to_offset_ms(best.late_at(at_s) - calibration.bias_frames) for at_s in ends_s)
    course = Course((Stretch(*ends_s, *ends_ms),), round(-60 * best.slope * FRAME_MS, 2))
    prior = math.log(FILE_MATCHES * FAST / sum(each.likelihood.size for each in bundles))
    lines = np.stack([bundle.likelihood for bundle in bundles]) + prior
    near = np.stack([bundle.near(best, ends_s) for bundle in bundles])
    chances = (float(np.logaddexp.reduce(each)) for each in (lines[near], lines.ravel()))
    return Guess(course, *chances)


def _nearest(middles_s: Iterable[float], at_s: float) -> list[float]:
    return sorted(middles_s, key=lambda each: abs(each - at_s))[:_MOST_SEGMENTS]


def _middle_s(curve: Curve) -> float:
    return (curve.start_s + curve.end_s) / 2


def _along(
    slopes: NDArray[np.float64], item: Curve, calibration: Calibration
) -> NDArray[np.float64]:
    """What a segment says of a match along lines of these slopes (K,) that are late by each shift
    in its middle, (K, S).
    """
    seconds = len(item.block_start_s) * BLOCK_S
    away_s = item.block_start_s + BLOCK_S / 2 - _middle_s(item)
    late = (slopes[:, None] * away_s).ravel()

    def read(values: NDArray[np.floating]) -> NDArray[np.float64]:  # (K, N, S)
        rows = read_on(np.tile(values, (len(slopes), 1)), late)
        return rows.reshape(len(slopes), len(away_s), -1)

    *means, count = mean_of_blocks(*map(read, (item.block_score, item.block_match, item.attention)))
    score, match = (np.where(2 * count >= len(away_s), each, -np.inf) for each in means)
    return weigh_up(score, match, seconds, calibration)
