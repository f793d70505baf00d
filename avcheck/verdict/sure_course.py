"""The course on which the offset of a file changes, if its score curves are sure of one. Pure
arithmetic, no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from avcheck.record.report import FRAME_MS, Segment, Stretch
from avcheck.verdict.course import SCATTER_MS, Course, follow, jumping_at
from avcheck.verdict.fast_drift import FAST, MOST_LIKELY, fast_drift
from avcheck.verdict.jumps import JUMPS, likeliest_jump
from avcheck.verdict.posterior import (
    FILE_MATCHES,
    Calibration,
    Curve,
    Estimate,
    combine,
    estimate,
    evidence,
    log_likelihood,
    read_on,
)

LEAST_USEFUL_S = 2  # of moving pictures and sound, for an offset
_NEVER = 1e-4  # a chance too small to look for fast drifts, which takes half of a verdict's time
_LEAST_TOGETHER = 2  # sure segments that agree, of a stretch between two others


def sure_course(
    segments: Sequence[Segment],
    curves: Sequence[Curve],
    whole: Estimate,
    calibration: Calibration,
    seams_s: Sequence[float],
) -> tuple[Course, float] | None:
    """The course on which the offset changes, and how sure it is; None if none is sure enough.

    whole: the estimate for a constant offset; `seams_s` as in `judge`.
    """
    tried = _tried(segments, curves, whole, calibration, seams_s)
    first = next((each for each in tried if each[1] >= calibration.decide), None)
    if first is None:
        return None
    return _jumping_more_often(first[0], segments, curves, calibration) or first


def _tried(
    segments: Sequence[Segment],
    curves: Sequence[Curve],
    whole: Estimate,
    calibration: Calibration,
    seams_s: Sequence[float],
) -> Iterator[tuple[Course, float]]:
    """Courses on which the offset changes, in the order in which they are tried, and how sure each
    is.
    """
    for course in _courses(segments, seams_s):
        yield course, _course_confidence(course, curves, calibration)
    apart = _apart(segments, curves, whole, calibration)
    # One jump is better judged by all blocks than by the segments that are sure by themselves
    jumps_once = apart is not None and len(apart.stretches) == 2
    if apart is not None and not jumps_once:
        yield apart, _course_confidence(apart, curves, calibration)
    if (change := likeliest_change(curves, calibration)) is not None:
        yield change
    if apart is not None and jumps_once and whole.confidence < calibration.decide:
        yield apart, _course_confidence(apart, curves, calibration)


def likeliest_change(
    curves: Sequence[Curve], calibration: Calibration
) -> tuple[Course, float] | None:
    """The likeliest jump or fast drift, and how likely it is beside all others, all constant
    offsets and no match.
    """
    steady = log_likelihood([evidence(each, calibration) for each in curves], calibration)
    steady += math.log(FILE_MATCHES * (1 - JUMPS - FAST) / len(steady))
    tried = [likeliest_jump(curves, calibration)]
    if np.logaddexp.reduce(steady) + math.log(_NEVER) < MOST_LIKELY:
        tried.append(fast_drift(curves, calibration))
    guesses = [each for each in tried if each is not None]
    if not guesses:
        return None
    logs = [*(each.every for each in guesses), *steady, math.log(1 - FILE_MATCHES)]
    best = max(guesses, key=lambda each: each.near)
    return best.course, min(1.0, math.exp(best.near - np.logaddexp.reduce(logs)))


def _courses(segments: Sequence[Segment], seams_s: Sequence[float]) -> Iterator[Course]:
    """What several segments show together, and jumps where recordings were joined."""
    for finely in (True, False):  # every part if it is sure, or else as much as is
        course = follow(segments, finely=finely)
        if course is None or not course.changes:
            break
        yield course
    if (joined := jumping_at(segments, seams_s)) is not None:
        yield joined


def _apart(
    segments: Sequence[Segment],
    curves: Sequence[Curve],
    whole: Estimate,
    calibration: Calibration,
) -> Course | None:
    """The course that each sure segment shows by itself; None if it does not change."""
    useful = _useful(curves)
    explained = whole.confidence >= calibration.decide  # by one offset
    least = _least_beside_others(useful, calibration) if explained else calibration.decide
    sure, apart = _of_the_sure(segments, least)
    return apart if explained or 2 * len(sure) >= useful else None


def _useful(curves: Sequence[Curve]) -> int:
    """How many segments have enough to show an offset."""
    return sum(int(each.useful.sum()) >= LEAST_USEFUL_S for each in curves)


def _least_beside_others(useful: int, calibration: Calibration) -> float:
    """The confidence that one of so many segments needs: the more there are, the sooner one of them
    strays by chance.
    """
    return 1 - (1 - calibration.decide) / max(useful, 1)


def _of_the_sure(segments: Sequence[Segment], least: float) -> tuple[list[Segment], Course | None]:
    """The segments with this confidence, and the course that jumps wherever these do; None if they
    do not.
    """
    sure = [each for each in segments if each.confidence >= least]
    return sure, jumping_at(sure, [segment.start_s for segment in sure])


def _jumping_more_often(
    course: Course,
    segments: Sequence[Segment],
    curves: Sequence[Curve],
    calibration: Calibration,
) -> tuple[Course, float] | None:
    """The course that jumps more often than this one, which takes a stretch of two segments between
    two others for outliers; None if none is sure.

    By themselves two would be too few. In a file whose offset changes for sure, two neighbours
    that are sure, and agree, are no chance.
    """
    if not course.changes or course.drift_ms_per_min is not None:
        return None
    sure, finer = _of_the_sure(segments, _least_beside_others(_useful(curves), calibration))
    if finer is None or len(finer.stretches) <= len(course.stretches):
        return None
    for stretch in finer.stretches:
        inside = [each for each in sure if stretch.start_s <= each.start_s < stretch.end_s]
        if len(inside) < _LEAST_TOGETHER:
            return None
    here = int(np.argmin(np.abs(curves[0].shifts)))
    likely, less = (
        log_likelihood(_along(each, curves, calibration), calibration)[here]
        for each in (finer, course)
    )
    confidence = _course_confidence(finer, curves, calibration)
    return (finer, confidence) if likely > less and confidence >= calibration.decide else None


def _along(
    course: Course, curves: Sequence[Curve], calibration: Calibration
) -> list[NDArray[np.float64]]:
    """The evidence (S,) of every segment, moved so that a match along the course peaks at shift
    0.
    """
    moved = []
    for item in curves:
        middle_s = (item.start_s + item.end_s) / 2
        offset_ms = course.nearest(middle_s).offset_at(middle_s)
        frames = calibration.bias_frames - offset_ms / FRAME_MS
        moved.append(read_on(evidence(item, calibration)[None], np.array([frames]))[0])
    return moved


def _course_confidence(course: Course, curves: Sequence[Curve], calibration: Calibration) -> float:
    """How sure the least sure stretch is; 0 if a single offset explains everything better than the
    course does.

    All segments in a stretch, or nearer to it than to another, are asked, even those that show no
    offset of their own.
    """
    shifts = curves[0].shifts
    moved = _along(course, curves, calibration)
    constant = log_likelihood([evidence(item, calibration) for item in curves], calibration)
    if log_likelihood(moved, calibration)[int(np.argmin(np.abs(shifts)))] <= constant.max():
        return 0.0
    start_s, end_s = course.stretches[0].start_s, course.stretches[-1].end_s
    parts: dict[Stretch, list[NDArray[np.float64]]] = {stretch: [] for stretch in course.stretches}
    for item, values in zip(curves, moved, strict=True):
        middle_s = (item.start_s + item.end_s) / 2
        if start_s <= middle_s <= end_s:
            parts[course.nearest(middle_s)].append(values)
    estimates = [
        estimate(combine(part, calibration), shifts, calibration) for part in parts.values()
    ]
    bias = calibration.bias_frames  # from which the moved curves are free
    return min(
        each.confidence if abs(each.frames + bias) <= SCATTER_MS / FRAME_MS else 0.0
        for each in estimates
    )
