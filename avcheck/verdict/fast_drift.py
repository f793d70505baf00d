"""Drifts so fast that the offset changes within a segment: a sound that plays at another pace than
its pictures, as when one of both is sped up from 24 to 25 pictures a second. Pure arithmetic.

Along a line of so many frames a second every block is read at its own shift, so that what it shows
adds up again. Lines of many slopes are tried beside the constant offsets, each about as likely
beforehand as its share of all that is tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avcheck.reading.blocks import BLOCK_S
from avcheck.record.report import FRAME_MS, Stretch
from avcheck.verdict.course import Course
from avcheck.verdict.posterior import (
    FILE_MATCHES,
    Calibration,
    Curve,
    evidence,
    log_likelihood,
    read_on,
    weigh_up,
)

# Frames a second, 0.8 to 5.6 %; segments show slower drifts by themselves
_SLOPES = np.arange(0.2, 1.41, 0.1)
_FINE = np.arange(-0.08, 0.081, 0.02)  # tried around the best
_FAST = 0.05  # how likely a file that matches is to drift so fast, before it is looked at
_MOST_SEGMENTS = 12  # on either side of the moment that a line is tried at
_NEAR_FRAMES = 4.0  # lines that lie this near to each other at both ends say the same


@dataclass(frozen=True)
class _Line:
    """Sound that is late by `late` frames at `at_s`, and by `slope` more each second."""

    slope: float
    at_s: float
    late: float = 0.0

    def late_at(self, time_s: float) -> float:
        return self.late + self.slope * (time_s - self.at_s)


def fast_drift(curves: Sequence[Curve], calibration: Calibration) -> tuple[Course, float] | None:
    """The likeliest line through the segments, where it is in reach of the shifts, and how likely
    it is; None for a file that is too short to show one.
    """
    if len(curves) < 2:
        return None
    shifts = curves[0].shifts
    start_s, end_s = curves[0].start_s, curves[-1].end_s
    lines = [
        _Line(sign * slope, at_s)
        for slope in _SLOPES.tolist()
        for sign in (-1, 1)
        for at_s in (start_s, (start_s + end_s) / 2, end_s)
    ]
    constant = log_likelihood([evidence(each, calibration) for each in curves], calibration)
    drifting = np.stack([_likelihood(line, curves, calibration) for line in lines])
    logs = [
        constant + math.log(FILE_MATCHES * (1 - _FAST) / len(shifts)),
        (drifting + math.log(FILE_MATCHES * _FAST / drifting.size)).ravel(),
        np.array([math.log(1 - FILE_MATCHES)]),
    ]
    total = np.logaddexp.reduce(np.concatenate(logs))
    chances = np.exp(logs[1] - total).reshape(drifting.shape)
    best = _refined(lines[int(chances.max(axis=1).argmax())], curves, calibration)
    reach = [each for each in curves if abs(best.late_at(_middle_s(each))) <= shifts.max()]
    if len(reach) < 2:
        return None
    ends_s = reach[0].start_s, reach[-1].end_s
    confidence = 0.0
    for line, chance in zip(lines, chances, strict=True):
        apart = np.abs([line.late_at(at_s) + shifts - best.late_at(at_s) for at_s in ends_s])
        confidence += float(chance[(apart <= _NEAR_FRAMES).all(axis=0)].sum())
    ends_ms = (
        round(float(calibration.bias_frames - best.late_at(at_s)) * FRAME_MS, 1) for at_s in ends_s
    )
    drift_ms_per_min = round(-60 * float(best.slope) * FRAME_MS, 2)
    return Course((Stretch(*ends_s, *ends_ms),), drift_ms_per_min), min(confidence, 1.0)


def _refined(line: _Line, curves: Sequence[Curve], calibration: Calibration) -> _Line:
    """The likeliest line of about this slope."""
    fine = [_Line(line.slope + step, line.at_s) for step in _FINE.tolist()]
    chances = np.stack([_likelihood(each, curves, calibration) for each in fine])
    number, k = np.unravel_index(int(chances.argmax()), chances.shape)
    return _Line(fine[number].slope, line.at_s, float(curves[0].shifts[k]))


def _likelihood(
    line: _Line, curves: Sequence[Curve], calibration: Calibration
) -> NDArray[np.float64]:
    """`log_likelihood` of a match along the line if it is later by each shift, (S,)."""
    near = sorted(curves, key=lambda each: abs(_middle_s(each) - line.at_s))
    rows = [_along(line, each, calibration) for each in near[: 2 * _MOST_SEGMENTS]]
    return log_likelihood(rows, calibration)


def _middle_s(curve: Curve) -> float:
    return (curve.start_s + curve.end_s) / 2


def _along(line: _Line, item: Curve, calibration: Calibration) -> NDArray[np.float64]:
    """What a segment says of a match along the line, later by each shift, (S,)."""
    late = np.array([line.late_at(at_s + BLOCK_S / 2) for at_s in item.block_start_s])
    known = np.isfinite(item.block_score)
    attention = read_on(np.where(known, item.attention, 0.0), late)
    score, match = (
        read_on(np.where(known, values, -np.inf), late)
        for values in (item.block_score, item.block_match)
    )
    known = np.isfinite(score) & np.isfinite(attention)
    count, weight = known.sum(axis=0), np.where(known, attention, 0.0)
    total = weight.sum(axis=0)
    mean = (np.where(known, score, 0.0) * weight).sum(axis=0) / np.maximum(total, 1e-9)
    mean_match = np.where(known, match, 0.0).sum(axis=0) / np.maximum(count, 1)
    compared = (total > 0) & (2 * count >= len(late))
    return weigh_up(
        np.where(compared, mean, -np.inf),
        np.where(compared, mean_match, -np.inf),
        len(late) * BLOCK_S,
        calibration,
    )
