"""Whether the offset of a file jumps once, and where it jumps, as closely as its blocks show. Pure
arithmetic.

A jump may lie between any two blocks. What a segment says is a mean over its blocks, so those
before the jump and those after it can be asked apart, even where one segment holds both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from avcheck.reading.blocks import BLOCK_S
from avcheck.record.report import FRAME_MS, Stretch
from avcheck.verdict.course import JUMP_MS, Course, Guess
from avcheck.verdict.posterior import (
    FILE_MATCHES,
    NEAR_FRAMES,
    Calibration,
    Curve,
    block_ratios,
    mixed,
    over_shares,
    to_offset_ms,
    vertex,
)

JUMPS = 0.2  # how likely a file that matches is to jump once, before it is looked at
_MISSED = 0.05  # how likely a jump may lie outside the interval that is given for it


def likeliest_jump(curves: Sequence[Curve], calibration: Calibration) -> Guess | None:
    """The likeliest jump between any two blocks; None for a file of one block."""
    rows = [block_ratios(each, calibration) for each in curves]
    before = _so_far(rows)[1:-1]
    after = _so_far([each[::-1] for each in rows[::-1]])[-2:0:-1]
    if not len(before):
        return None
    shifts = curves[0].shifts
    apart = np.abs(shifts[:, None] - shifts) * FRAME_MS > JUMP_MS
    starts_s = np.concatenate([each.block_start_s for each in curves])
    places = _places(starts_s)
    prior = math.log(FILE_MATCHES * JUMPS / places.sum() / apart.sum())
    every = _over_pairs(before, after, apart) + np.log(places)
    at = int(np.argmax(every))
    pair = np.where(apart, before[at][:, None] + after[at], -np.inf)
    old, new = map(int, np.unravel_index(int(pair.argmax()), pair.shape))
    reach = int(NEAR_FRAMES)
    near = np.zeros_like(apart)
    near[max(0, old - reach) : old + reach + 1, max(0, new - reach) : new + reach + 1] = True
    likely = _over_pairs(before, after, apart & near) + np.log(places)
    start_ms, end_ms = (
        to_offset_ms(shifts[k] + vertex(logs[at], k) - calibration.bias_frames)
        for logs, k in ((before, old), (after, new))
    )
    at_s = float(starts_s[at + 1])
    stretches = (
        Stretch(curves[0].start_s, at_s, start_ms, start_ms),
        Stretch(at_s, curves[-1].end_s, end_ms, end_ms),
    )
    chances = (prior + float(np.logaddexp.reduce(each)) for each in (likely, every))
    return Guess(Course(stretches), *chances)


def _places(starts_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """At how many places a jump between each block and the next may lie: one, or one for each
    second between them that was not looked at. starts_s: of the blocks.
    """
    return np.maximum(1.0, np.diff(starts_s) / BLOCK_S)


def _so_far(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """How much likelier a match at each shift makes the blocks up to each edge, (E, S), as a
    logarithm, from the `block_ratios` of each segment; the first edge is the start of the file.
    """
    before = np.zeros_like(mixed(rows[0][0]))
    likelihood = [over_shares(before)[None]]
    for row in rows:
        parts = before + mixed(row.cumsum(axis=0))
        likelihood.append(over_shares(parts))
        before = parts[-1]
    return np.concatenate(likelihood)


def _over_pairs(
    before: NDArray[np.float64], after: NDArray[np.float64], pairs: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The sum over these pairs of shifts (S, S) at each edge, as a logarithm, (E,)."""
    most = [each.max(axis=1, keepdims=True) for each in (before, after)]
    old, new = np.exp(before - most[0]), np.exp(after - most[1])
    total = ((old @ pairs.astype(float)) * new).sum(axis=1)
    logs: NDArray[np.float64] = (most[0] + most[1])[:, 0] + np.log(np.maximum(total, 1e-300))
    return logs


def narrowed(
    course: Course,
    curves: Sequence[Curve],
    seams_s: Sequence[float],
    calibration: Calibration,
) -> Course:
    """The course with each jump in the interval that holds it with a chance of 95 %. A jump at one
    of `seams_s` stays there.
    """
    stretches = list(course.stretches)
    for k, after in enumerate(course.stretches[1:], 1):
        before = stretches[k - 1]
        low_s, high_s = before.end_s - BLOCK_S, after.start_s + BLOCK_S
        if not any(low_s <= seam_s <= high_s for seam_s in seams_s):
            end_s, start_s = _between(before, after, curves, calibration)
            stretches[k - 1] = _within(before, before.start_s, end_s)
            stretches[k] = _within(after, start_s, after.end_s)
    return replace(course, stretches=tuple(stretches))


def _between(
    before: Stretch, after: Stretch, curves: Sequence[Curve], calibration: Calibration
) -> tuple[float, float]:
    """The times between which the offset jumps from that of one stretch to that of the next: in the
    last segment of the one, the first of the other, or between these.
    """
    low_s = max([before.start_s, *(each.start_s for each in curves if each.end_s <= before.end_s)])
    high_s = min([after.end_s, *(each.end_s for each in curves if each.start_s >= after.start_s)])
    shifts = curves[0].shifts
    starts_s, logs = [], []  # of each block; how much likelier the old offset is in it than the new
    for item in curves:
        if item.end_s <= low_s or item.start_s >= high_s:
            continue
        for start_s, ratio in zip(item.block_start_s, block_ratios(item, calibration), strict=True):
            old, new = (
                _near(ratio, shifts, calibration.bias_frames - each.offset_at(start_s) / FRAME_MS)
                for each in (before, after)
            )
            starts_s.append(float(start_s))
            logs.append(old - new)
    begun_s = np.array(starts_s)
    ended_s, next_s = begun_s[:-1] + BLOCK_S, begun_s[1:]
    likely = np.cumsum(logs)[:-1] + np.log(_places(begun_s))
    inside = (next_s > low_s) & (ended_s < high_s)
    if not inside.any():
        return before.end_s, after.start_s
    likely = likely[inside]
    chance = np.exp(likely - np.logaddexp.reduce(likely)).cumsum()
    first, last = np.searchsorted(chance, (_MISSED / 2, 1 - _MISSED / 2)).clip(0, len(chance) - 1)
    return float(ended_s[inside][first]) - BLOCK_S / 2, float(next_s[inside][last]) + BLOCK_S / 2


def _near(ratio: NDArray[np.float64], shifts: NDArray[np.int_], frames: float) -> float:
    """What a block says of a match at this shift, or one next to it."""
    near = np.abs(shifts - frames) <= 1.5
    return float(np.logaddexp.reduce(ratio[near])) if near.any() else 0.0


def _within(stretch: Stretch, start_s: float, end_s: float) -> Stretch:
    """The stretch from and up to other times, with the offsets that it has then."""
    slope = stretch.slope_ms_per_s
    ends_ms = (
        round(stretch.start_offset_ms + slope * (at_s - stretch.start_s), 1) + 0.0
        for at_s in (start_s, end_s)
    )
    return Stretch(start_s, end_s, *ends_ms)
