"""How the offset goes through a file: constant, drifting, jumping, or one after another. Pure
arithmetic on the offsets of its segments.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from avcheck.record.report import FRAME_MS, Segment, Stretch, nearest_stretch

JUMP_MS = 3 * FRAME_MS  # smaller changes between neighbouring segments are measuring noise
SCATTER_MS = 2 * FRAME_MS  # a course that a quarter of the segments miss by more is none
_LEAST_SEGMENTS = 3  # with an offset; fewer give no course
# Jumps must leave less than this share of the mean residual off one line
_BETTER = 0.7
_COST_MS = 200.0  # what a jump or a slope must save, summed over the residuals of all segments
_MOST_PLACES = 60  # where a jump is looked for
_LEAST_ON_LINE = 5  # segments, between jumps
_LEAST_OF_DRIFT = 3  # segments
_DRIFT_MS = 1.5 * FRAME_MS  # from one end to the other; less is not worth calling a drift
# How often noise alone may rise or fall as much, against the residuals from the line
_LINE_CHANCE = 0.01
_ORDER_CHANCE = 0.1  # the same by the order of the segments, which no outlier can bend
# The usual standard error of a segment (95 % of offsets from 10 s lie within twice that, see the
# model card), and the residuals it counts as: a few segments by themselves say little of the noise
_USUAL_ERROR_MS = 10.0
_USUAL_WEIGHT = 2
# Above, the normal approximation is good to 0.001
_EXACT_ORDERS = 30
_PAIRED = 400  # segments of which all pairs are compared


@dataclass(frozen=True)
class Course:
    """The stretches in order of time; the offset jumps between any two. A drift is one stretch
    whose ends differ.

    drift_ms_per_min: of the longest stretch that drifts; None if none does.
    """

    stretches: tuple[Stretch, ...]
    drift_ms_per_min: float | None = None

    @property
    def changes(self) -> bool:
        """Whether the offset is not the same throughout."""
        return len(self.stretches) > 1 or self.drift_ms_per_min is not None

    @property
    def jump_intervals_s(self) -> tuple[tuple[float, float], ...]:
        """The times between which each jump lies: the end of the stretch before it and the start of
        the one after.
        """
        return tuple((before.end_s, after.start_s) for before, after in pairwise(self.stretches))

    @property
    def jumps_s(self) -> tuple[float, ...]:
        """The middle of each interval."""
        return tuple((start_s + end_s) / 2 for start_s, end_s in self.jump_intervals_s)

    def nearest(self, time_s: float) -> Stretch:
        """The stretch that a moment lies in, or the nearest one."""
        return nearest_stretch(self.stretches, time_s)

    def offsets_ms(self, time_s: float) -> tuple[float, ...]:
        """The possible offsets at a moment: one, or two if a jump may lie before or after it."""
        for before, after in pairwise(self.stretches):
            if before.end_s < time_s < after.start_s:
                return before.end_offset_ms, after.start_offset_ms
        return (self.nearest(time_s).offset_at(time_s),)


@dataclass(frozen=True)
class Guess:
    """The likeliest course of its kind (one jump, or one fast drift), with the logarithm of prior
    times likelihood: near: summed over it and the courses that say the same; every: summed over all
    of its kind.
    """

    course: Course
    near: float
    every: float


@dataclass(frozen=True)
class _Run:
    """Segments `first` to before `stop` of those with an offset. offset_ms: the offset at the
    middle of the first; ms_per_s: its slope.
    """

    first: int
    stop: int
    offset_ms: float
    ms_per_s: float = 0.0


def follow(segments: Sequence[Segment], *, finely: bool = True) -> Course | None:
    """The course of the segments that show an offset. Outliers are never followed.

    Args:
        segments: In order of time.
        finely: Either side of a jump may jump again, or drift. Otherwise the course is one drift,
            or has one jump, or leaves for a while and returns.

    Returns:
        The course, which may be constant; None for fewer than three such segments.
    """
    known = [segment for segment in segments if segment.offset_ms is not None]
    if len(known) < _LEAST_SEGMENTS:
        return None
    time_s = np.array([(segment.start_s + segment.end_s) / 2 for segment in known])
    offset_ms = np.array([segment.offset_ms for segment in known], float)
    runs = _joined(_runs(time_s, offset_ms, finely))
    drifts = [run for run in runs if run.ms_per_s]
    longest = max(drifts, key=lambda run: time_s[run.stop - 1] - time_s[run.first], default=None)
    return Course(
        tuple(_stretch(run, known, time_s) for run in runs),
        None if longest is None else round(60.0 * longest.ms_per_s, 2),
    )


def jumping_at(segments: Sequence[Segment], places_s: Sequence[float]) -> Course | None:
    """The course of a file whose offset changes only at `places_s`; None if it does not change
    there.

    Where the place of a jump is known, one segment on either side is enough to show it.
    """
    known = [segment for segment in segments if segment.offset_ms is not None]
    time_s = np.array([(segment.start_s + segment.end_s) / 2 for segment in known])
    offset_ms = np.array([segment.offset_ms for segment in known], float)
    edges = sorted({0, *np.searchsorted(time_s, places_s).tolist(), len(known)})
    runs = _joined([_level(offset_ms, first, stop) for first, stop in pairwise(edges)])
    if len(runs) < 2:
        return None
    return Course(tuple(_stretch(run, known, time_s) for run in runs))


def _stretch(run: _Run, segments: Sequence[Segment], time_s: NDArray[np.float64]) -> Stretch:
    start_s, end_s = segments[run.first].start_s, segments[run.stop - 1].end_s
    ends_ms = (
        run.offset_ms + run.ms_per_s * (at_s - time_s[run.first]) for at_s in (start_s, end_s)
    )
    return Stretch(start_s, end_s, *map(_rounded, ends_ms))


def _runs(time_s: NDArray[np.float64], offset_ms: NDArray[np.float64], finely: bool) -> list[_Run]:
    """The course of these segments as runs."""
    count = len(offset_ms)
    slope, middle_ms = theil_sen(time_s, offset_ms)
    residual_ms = offset_ms - (middle_ms + slope * (time_s - _median(time_s)))
    runs = _parts(time_s, offset_ms, residual_ms) if finely else None
    if runs is None and (split := _one_jump(offset_ms, residual_ms)) is not None:
        runs = [_level(offset_ms, 0, split), _level(offset_ms, split, count)]
    if runs is None and (drift := _drift(time_s, offset_ms, residual_ms)) is not None:
        runs = [_Run(0, count, drift[1], drift[0])]
    if runs is None:
        constant = _level(offset_ms, 0, count)
        runs = [constant]
        if (away := _away_and_back(offset_ms)) is not None:
            runs = [
                _Run(0, away.start, constant.offset_ms),
                _level(offset_ms, away.start, away.stop),
                _Run(away.stop, count, constant.offset_ms),
            ]
    return runs


def _level(offset_ms: NDArray[np.float64], first: int, stop: int) -> _Run:
    return _Run(first, stop, _median(offset_ms[first:stop]))


def _parts(
    time_s: NDArray[np.float64], offset_ms: NDArray[np.float64], residual_ms: NDArray[np.float64]
) -> list[_Run] | None:
    """Two or more runs in each of which the offset stays or drifts, if these fit better than the
    line with these residuals.
    """
    edges = _best_edges(time_s, offset_ms)
    if len(edges) < 3:
        return None
    runs = []
    for first, stop in pairwise(edges):
        x, y = time_s[first:stop], offset_ms[first:stop]
        slope, middle_ms = theil_sen(x, y)
        drift = _drift(x, y, y - (middle_ms + slope * (x - _median(x))))
        runs.append(
            _level(offset_ms, first, stop)
            if drift is None
            else _Run(first, stop, drift[1], drift[0])
        )
    runs = _joined(runs)
    left_ms = np.concatenate(
        [
            offset_ms[run.first : run.stop]
            - run.offset_ms
            - run.ms_per_s * (time_s[run.first : run.stop] - time_s[run.first])
            for run in runs
        ]
    )
    is_better = np.abs(left_ms).mean() < _BETTER * np.abs(residual_ms).mean()
    return runs if len(runs) > 1 and is_better and _spread_ms(left_ms) <= SCATTER_MS else None


def _best_edges(time_s: NDArray[np.float64], offset_ms: NDArray[np.float64]) -> list[int]:
    """Where the runs begin, from 0, and the number of segments: the partition of least cost.

    Every run costs what its segments lie off its level, or its line, and a jump or a slope as much
    as `_COST_MS`. Optimal partitioning (Jackson et al. 2005) over the places where the offset may
    jump.
    """
    count = len(offset_ms)
    places = range(2, count - 1)
    steps = {
        at: abs(_median(offset_ms[at : at + 3]) - _median(offset_ms[max(0, at - 3) : at]))
        for at in places
    }
    likely = sorted(places, key=lambda at: steps[at], reverse=True)[:_MOST_PLACES]
    edges = [0, *sorted(at for at in likely if steps[at] > SCATTER_MS), count]
    best: dict[int, tuple[float, list[int]]] = {0: (-_COST_MS, [0])}
    for stop in edges[1:]:
        options = []
        for first in (edge for edge in edges if edge < stop and edge in best):
            inside = first > 0 and stop < count
            if stop - first >= (_LEAST_SEGMENTS if inside else 2) or (first, stop) == (0, count):
                cost, path = best[first]
                cost += _COST_MS + _run_cost(time_s[first:stop], offset_ms[first:stop])
                options.append((cost, [*path, stop]))
        if options:
            best[stop] = min(options)
    return best[count][1]


def _run_cost(time_s: NDArray[np.float64], offset_ms: NDArray[np.float64]) -> float:
    """How far these segments lie off their level, or off a line, in all, ms; an outlier counts no
    more than two jumps.
    """
    cost = _off(offset_ms - _median(offset_ms))
    if len(offset_ms) >= _LEAST_ON_LINE and cost > _COST_MS:
        step = -(-len(offset_ms) // 100)
        slope, middle_ms = theil_sen(time_s[::step], offset_ms[::step])
        left_ms = offset_ms - middle_ms - slope * (time_s - _median(time_s[::step]))
        cost = min(cost, _COST_MS + _off(left_ms))
    return cost


def _off(residual_ms: NDArray[np.float64]) -> float:
    return float(np.minimum(np.abs(residual_ms), 2 * JUMP_MS).sum())


def _joined(runs: Sequence[_Run]) -> list[_Run]:
    """The same runs, with neighbours of the same constant offset merged."""
    joined: list[_Run] = []
    for run in runs:
        if joined and _is_one(joined[-1], run):
            before = joined.pop()
            share = (before.stop - before.first) / (run.stop - before.first)
            offset_ms = share * before.offset_ms + (1 - share) * run.offset_ms
            run = _Run(before.first, run.stop, offset_ms)
        joined.append(run)
    return joined


def _is_one(before: _Run, after: _Run) -> bool:
    steady = before.ms_per_s == after.ms_per_s == 0
    return steady and abs(before.offset_ms - after.offset_ms) <= JUMP_MS


def _rounded(offset_ms: float) -> float:
    return round(float(offset_ms), 1) + 0.0


def _one_jump(offset_ms: NDArray[np.float64], residual_ms: NDArray[np.float64]) -> int | None:
    """The first segment after a jump, if two levels fit better than the line with these
    residuals.
    """
    split = _best_split(offset_ms)
    if split is None:
        return None
    before, after = offset_ms[:split], offset_ms[split:]
    before_ms, after_ms = _median(before), _median(after)
    left_ms = np.concatenate([before - before_ms, after - after_ms])
    if _spread_ms(left_ms) > SCATTER_MS or abs(after_ms - before_ms) <= JUMP_MS:
        return None
    if np.abs(left_ms).mean() >= _BETTER * np.abs(residual_ms).mean():
        return None
    return split


def _away_and_back(offset_ms: NDArray[np.float64]) -> slice | None:
    """The longest run of segments in the middle (three or more) that agree with each other, and not
    with the level of the rest.
    """
    constant_ms = _median(offset_ms)
    stray = np.abs(offset_ms - constant_ms) > JUMP_MS
    edges = np.flatnonzero(np.diff(np.concatenate([[False], stray, [False]]).astype(int)))
    runs = [
        slice(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]
    inner = [
        run for run in runs if run.start > 0 and run.stop < len(stray) and run.stop - run.start >= 3
    ]
    steady = [
        run for run in inner if _spread_ms(offset_ms[run] - _median(offset_ms[run])) <= SCATTER_MS
    ]
    if not steady:
        return None
    return max(steady, key=lambda run: run.stop - run.start)


def _drift(
    time_s: NDArray[np.float64], offset_ms: NDArray[np.float64], residual_ms: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Slope (ms a second) of a drift and the offset (ms) at the first time, from the residuals off
    a robust line; None: no drift.

    The least-squares line through the segments near the robust one must rise or fall by more than
    their residuals and the usual error of a segment explain (moderated t: Smyth 2004, 3), and so
    must the order of all segments (Mann-Kendall). Both chances are exact, so a few segments are
    enough.
    """
    keeps = np.abs(residual_ms) <= JUMP_MS
    count = int(keeps.sum())
    if count < _LEAST_OF_DRIFT or _spread_ms(residual_ms) > SCATTER_MS:
        return None
    x, y = time_s[keeps] - time_s[keeps].mean(), offset_ms[keeps]
    slope = float((x * y).sum() / (x * x).sum())
    left_ms = y - y.mean() - slope * x
    degrees = count - 2 + _USUAL_WEIGHT
    squares = float((left_ms * left_ms).sum()) + _USUAL_WEIGHT * _USUAL_ERROR_MS**2
    error_ms = math.sqrt(squares / degrees)
    if abs(slope) * float(time_s[-1] - time_s[0]) <= max(_DRIFT_MS, 3 * error_ms):
        return None
    if student_chance(slope * math.sqrt(float((x * x).sum())) / error_ms, degrees) > _LINE_CHANCE:
        return None
    # Any three are in order by chance often enough
    if len(offset_ms) > _LEAST_OF_DRIFT and order_chance(offset_ms) > _ORDER_CHANCE:
        return None
    return slope, float(y.mean() + slope * (time_s[0] - time_s[keeps].mean()))


def _spread_ms(residual_ms: NDArray[np.float64]) -> float:
    """The distance within which three quarters of the segments lie."""
    return float(np.percentile(np.abs(residual_ms), 75))


def _best_split(values: NDArray[np.float64]) -> int | None:
    """The index that splits the values into two runs (of two or more each) with the least absolute
    deviation.
    """
    if len(values) < 4:
        return None
    costs = {
        k: float(
            np.abs(values[:k] - _median(values[:k])).sum()
            + np.abs(values[k:] - _median(values[k:])).sum()
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
    slope = _median(rise[run > 0] / run[run > 0]) if (run > 0).any() else 0.0
    return slope, _median(y - slope * (x - _median(x)))


def _median(values: NDArray[np.float64]) -> float:
    # `np.median` takes many times as long for the offsets of some segments
    return float(statistics.median(values.tolist()))


def order_chance(values: NDArray[np.float64]) -> float:
    """How often values in random order rise or fall at least as steadily as these (Mann-Kendall,
    two-sided).

    Exact for few values without ties, like the offsets of segments; ties make it larger, never
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
    # Share of the orders of the values so far that have this many pairs in descending order
    orders = np.ones(1)
    for size in range(2, count + 1):
        orders = np.convolve(orders, np.full(size, 1.0 / size))
    most_descending = (pairs - balance) // 2
    return min(1.0, 2 * float(orders[: most_descending + 1].sum()))


def student_chance(t: float, degrees: int) -> float:
    """How often Student's t with so many degrees of freedom is at least this far from 0 (Abramowitz
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
