"""How the offset goes through a file: constant, drifting or jumping. Pure arithmetic on the offsets
of its segments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from avcheck.report import FRAME_MS, Segment, Stretch, nearest_stretch

JUMP_MS = 3 * FRAME_MS  # smaller changes between neighbouring segments are measuring noise
SCATTER_MS = 2 * FRAME_MS  # segments of which a quarter lies further off a course follow none
_LEAST_SEGMENTS = 3  # that show an offset: below, there is no course
_LEAST_OF_DRIFT = 4  # with fewer the residuals say too little of the noise
_DRIFT_MS = 1.5 * FRAME_MS  # from one end to the other; less is not worth calling a drift
# How often noise alone may rise or fall as much, against the residuals from the line
_LINE_CHANCE = 0.01
_ORDER_CHANCE = 0.1  # the same by the order of the segments alone, which no outlier can bend
_LEAST_ERROR_MS = 1.0  # of a segment: residuals below that are luck
# Segments up to which every order is counted; beyond, the normal approximation is good to 0.001
_EXACT_ORDERS = 30
_PAIRED = 400  # segments at most of which all pairs are looked at


@dataclass(frozen=True)
class Course:
    """Stretches in time order, between any two of which the offset jumps; a drift is one stretch
    whose ends differ.
    """

    stretches: tuple[Stretch, ...]
    drift_ms_per_min: float | None = None

    @property
    def changes(self) -> bool:
        """Whether the offset is not the same all through."""
        return len(self.stretches) > 1 or self.drift_ms_per_min is not None

    @property
    def jump_intervals_s(self) -> tuple[tuple[float, float], ...]:
        """Between which times each jump lies: the end of the stretch before it and the start of the
        one after it.
        """
        return tuple((before.end_s, after.start_s) for before, after in pairwise(self.stretches))

    @property
    def jumps_s(self) -> tuple[float, ...]:
        """The middle of each interval."""
        return tuple((start_s + end_s) / 2 for start_s, end_s in self.jump_intervals_s)

    def nearest(self, time_s: float) -> Stretch:
        """The stretch a moment lies in or is nearest to."""
        return nearest_stretch(self.stretches, time_s)

    def offsets_ms(self, time_s: float) -> tuple[float, ...]:
        """What the offset can be at a moment: one value, and two where a jump may lie before or
        after it.
        """
        for before, after in pairwise(self.stretches):
            if before.end_s < time_s < after.start_s:
                return before.end_offset_ms, after.start_offset_ms
        return (self.nearest(time_s).offset_at(time_s),)


def follow(segments: Sequence[Segment]) -> Course | None:
    """The course of the segments that show an offset: constant, drifting, or jumping. None below
    three of them.

    A jump once, or away for a while and back, is found; outliers are not followed.
    """
    known = [segment for segment in segments if segment.offset_ms is not None]
    if len(known) < _LEAST_SEGMENTS:
        return None
    time_s = np.array([(segment.start_s + segment.end_s) / 2 for segment in known])
    offset_ms = np.array([segment.offset_ms for segment in known], float)
    slope, middle_ms = theil_sen(time_s, offset_ms)
    residual_ms = offset_ms - (middle_ms + slope * (time_s - np.median(time_s)))
    runs = _one_jump(offset_ms, residual_ms)
    if runs is None:
        drift = _drift(time_s, offset_ms, residual_ms)
        if drift is not None:
            ms_per_s, start_ms = drift
            start_s, end_s = known[0].start_s, known[-1].end_s
            ends_ms = (start_ms + ms_per_s * (at_s - time_s[0]) for at_s in (start_s, end_s))
            return Course(
                (Stretch(start_s, end_s, *map(_rounded, ends_ms)),), round(60.0 * ms_per_s, 2)
            )
        runs = _away_and_back(offset_ms) or [(slice(0, len(known)), float(np.median(offset_ms)))]
    return Course(tuple(_constant(known[run], run_ms) for run, run_ms in runs))


def _constant(segments: Sequence[Segment], offset_ms: float) -> Stretch:
    offset_ms = _rounded(offset_ms)
    return Stretch(segments[0].start_s, segments[-1].end_s, offset_ms, offset_ms)


def _rounded(offset_ms: float) -> float:
    return round(float(offset_ms), 1) + 0.0


def _one_jump(
    offset_ms: NDArray[np.float64], residual_ms: NDArray[np.float64]
) -> list[tuple[slice, float]] | None:
    """The runs on either side of a jump with their offsets, where two levels fit better than the
    line with these residuals.
    """
    split = _best_split(offset_ms)
    if split is None:
        return None
    before, after = offset_ms[:split], offset_ms[split:]
    before_ms, after_ms = float(np.median(before)), float(np.median(after))
    left_ms = np.concatenate([before - before_ms, after - after_ms])
    if _spread_ms(left_ms) > SCATTER_MS or abs(after_ms - before_ms) <= JUMP_MS:
        return None
    if np.abs(left_ms).mean() >= 0.7 * np.abs(residual_ms).mean():
        return None
    return [(slice(0, split), before_ms), (slice(split, len(offset_ms)), after_ms)]


def _away_and_back(offset_ms: NDArray[np.float64]) -> list[tuple[slice, float]] | None:
    """The longest run of segments in the middle (three at least) that lie together, off what the
    others keep to.
    """
    constant_ms = float(np.median(offset_ms))
    stray = np.abs(offset_ms - constant_ms) > JUMP_MS
    edges = np.flatnonzero(np.diff(np.concatenate([[False], stray, [False]]).astype(int)))
    runs = [
        slice(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]
    inner = [
        run for run in runs if run.start > 0 and run.stop < len(stray) and run.stop - run.start >= 3
    ]
    steady = [
        run for run in inner if _spread_ms(offset_ms[run] - np.median(offset_ms[run])) <= SCATTER_MS
    ]
    if not steady:
        return None
    away = max(steady, key=lambda run: run.stop - run.start)
    before, after = slice(0, away.start), slice(away.stop, len(offset_ms))
    return [(before, constant_ms), (away, float(np.median(offset_ms[away]))), (after, constant_ms)]


def _drift(
    time_s: NDArray[np.float64], offset_ms: NDArray[np.float64], residual_ms: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Slope (ms a second) of a drift and the offset (ms) at the first time, from the residuals off
    a robust line; None: none.

    The least-squares line through the segments that keep to the robust one must rise or fall by
    more than their residuals explain (Student's t), and so must the order of all segments
    (Mann-Kendall). Both chances are exact, so few segments do.
    """
    keeps = np.abs(residual_ms) <= JUMP_MS
    count = int(keeps.sum())
    if count < _LEAST_OF_DRIFT or _spread_ms(residual_ms) > SCATTER_MS:
        return None
    x, y = time_s[keeps] - time_s[keeps].mean(), offset_ms[keeps]
    slope = float((x * y).sum() / (x * x).sum())
    left_ms = y - y.mean() - slope * x
    error_ms = max(math.sqrt(float((left_ms * left_ms).sum()) / (count - 2)), _LEAST_ERROR_MS)
    if abs(slope) * float(time_s[-1] - time_s[0]) <= max(_DRIFT_MS, 3 * error_ms):
        return None
    if student_chance(slope * math.sqrt(float((x * x).sum())) / error_ms, count - 2) > _LINE_CHANCE:
        return None
    if order_chance(offset_ms) > _ORDER_CHANCE:
        return None
    return slope, float(y.mean() + slope * (time_s[0] - time_s[keeps].mean()))


def _spread_ms(residual_ms: NDArray[np.float64]) -> float:
    """How far off three quarters of the segments lie at most."""
    return float(np.percentile(np.abs(residual_ms), 75))


def _best_split(values: NDArray[np.float64]) -> int | None:
    """Index that splits the values into two runs (of at least two each) with the least absolute
    deviation.
    """
    if len(values) < 4:
        return None
    costs = {
        k: float(
            np.abs(values[:k] - np.median(values[:k])).sum()
            + np.abs(values[k:] - np.median(values[k:])).sum()
        )
        for k in range(2, len(values) - 1)
    }
    return min(costs, key=lambda k: costs[k])


def theil_sen(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Median slope over all pairs, and the median height at the median of x. At most 400 points are
    paired.
    """
    step = -(-len(x) // _PAIRED)
    first, second = np.triu_indices(len(x[::step]), 1)
    run, rise = (values[::step][second] - values[::step][first] for values in (x, y))
    slope = float(np.median(rise[run > 0] / run[run > 0])) if (run > 0).any() else 0.0
    return slope, float(np.median(y - slope * (x - np.median(x))))


def order_chance(values: NDArray[np.float64]) -> float:
    """How often values in random order rise or fall at least as steadily as these (Mann-Kendall,
    both sides).

    Exact for few values without ties, which the offsets of segments are; ties make it larger, never
    smaller.
    """
    values = values[:: -(-len(values) // _PAIRED)]
    count = len(values)
    first, second = np.triu_indices(count, 1)
    balance = abs(int(np.sign(values[second] - values[first]).sum()))
    if balance == 0:
        return 1.0
    pairs = len(first)
    if count > _EXACT_ORDERS:
        deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
        return math.erfc((balance - 1) / deviation / math.sqrt(2))
    # Share of the orders of the values so far that have so many pairs in descending order
    orders = np.ones(1)
    for size in range(2, count + 1):
        orders = np.convolve(orders, np.full(size, 1.0 / size))
    most_descending = (pairs - balance) // 2
    return min(1.0, 2 * float(orders[: most_descending + 1].sum()))


def student_chance(t: float, degrees: int) -> float:
    """How often Student's t with so many degrees of freedom lies at least as far from 0 (Abramowitz
    and Stegun, 26.7.3-4).
    """
    angle = math.atan(abs(t) / math.sqrt(degrees))
    cosine = math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for power in range(odd, degrees - 2, 2):
        term *= cosine * cosine * (power + 1) / (power + 2)
        total += term
    within = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return max(0.0, 1.0 - within)
