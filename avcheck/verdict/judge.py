"""What the curves of a file say: offset, confidence, drift; in sync, out of sync, or undecidable
and why. Pure arithmetic, no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from avcheck.reading.blocks import BLOCK_S
from avcheck.record.report import (
    FRAME_MS,
    BlockResult,
    Segment,
    Stretch,
    Tolerance,
    UndecidableCode,
    Verdict,
    confidence_text,
    describe_offset,
)
from avcheck.verdict.course import Course
from avcheck.verdict.jumps import narrowed
from avcheck.verdict.posterior import (
    FLAT,
    NEAR_FRAMES,
    SHORT_S,
    SILENT_DB,
    STILL,
    Calibration,
    Curve,
    Estimate,
    combine,
    estimate,
    evidence,
    match_ratio,
    mean_of_blocks,
    measuring_error_ms,
    needed_confidence,
    posterior,
    to_offset_ms,
    weigh_up,
)
from avcheck.verdict.sure_course import LEAST_USEFUL_S, sure_course

SEGMENT_CONFIDENCE = 0.6  # below this a segment's own offset is neither shown nor used for drift
_BLOCK_CONFIDENCE = 0.6
# A block's own offset is read together with so many neighbours on either side
_BLOCK_REACH = 2
# A block farther off its file's and its segment's offset needs more evidence of its own
_STRAY_FRAMES = 3.0
_STRAY_RATIO = 1e4  # how much likelier its own offset must be than theirs
# A file of which more than both of these was not looked at is never called in sync
_UNSEEN_S = 2.0
_UNSEEN_SHARE = 0.1


@dataclass(frozen=True)
class Reason:
    """Why a file is undecidable: a code for programs, and a text for people."""

    code: UndecidableCode
    text: str


@dataclass(frozen=True)
class Judgement:
    """What a file's curves say. `offset_ms`: positive = sound early; None if unknown."""

    verdict: Verdict  # never "error"
    reason: str | None  # why it is undecidable, in words
    offset_ms: float | None = None
    confidence: float = 0.0  # chance that the offset is right, 0..1
    drift_ms_per_min: float | None = None  # None: it does not drift
    jumps_s: tuple[float, ...] = ()  # on the file's clock, in the middle of `jump_intervals_s`
    segments: tuple[Segment, ...] = ()  # in order of time
    blocks: tuple[BlockResult, ...] = ()  # in order of time
    reason_code: UndecidableCode | None = None  # `reason` for programs
    jump_intervals_s: tuple[tuple[float, float], ...] = ()  # in each of which the offset jumps
    stretches: tuple[Stretch, ...] = ()  # between the jumps, in order of time
    measuring_error_ms: float | None = None  # as in `Report`


def judge(
    curves: Sequence[Curve],
    tolerance: Tolerance,
    calibration: Calibration,
    seams_s: Sequence[float] = (),
) -> Judgement:
    """The verdict on a file. A file whose offset changes is judged by its worst stretch.

    Args:
        curves: Of its segments, in order of time.
        tolerance: How early and late sound may be.
        calibration: That of the weights.
        seams_s: Where recordings were joined, on the file's clock, rising.
    """
    if not curves:
        return Judgement(
            "undecidable",
            "there are no pictures to compare with the sound",
            reason_code="no_pictures",
        )
    shifts = curves[0].shifts
    segments = tuple(_segment(item, calibration) for item in curves)
    whole = estimate(
        combine([evidence(item, calibration) for item in curves], calibration), shifts, calibration
    )
    reason = obstacle(curves)
    if reason is not None:
        segments = tuple(replace(segment, offset_ms=None) for segment in segments)
        blocks = tuple(
            replace(block, offset_ms=None) for block in _block_results(curves, whole, calibration)
        )
        return Judgement(
            "undecidable", reason.text, segments=segments, blocks=blocks, reason_code=reason.code
        )
    offset_ms = to_offset_ms(whole.frames)
    constant = Course((Stretch(segments[0].start_s, segments[-1].end_s, offset_ms, offset_ms),))
    changing = sure_course(segments, curves, whole, calibration, seams_s)
    course, confidence = changing or (constant, whole.confidence)
    changes = changing is not None
    needed = needed_confidence(_telling_s(curves), calibration, changes=changes)
    if confidence < needed:
        reason = _why_unsure(curves, whole, needed, calibration)
        blocks = _block_results(curves, whole, calibration)
        judgement = Judgement(
            "undecidable", reason.text, None, round(confidence, 4), segments=segments, blocks=blocks
        )
        return replace(judgement, reason_code=reason.code)
    course = narrowed(course, curves, seams_s, calibration)
    blocks = _block_results(curves, whole, calibration, segments, course)
    # Early and late have their own limits, so the worst is the farthest beyond its limit, not the
    # largest.
    ends_ms = [
        (end_ms, stretch)
        for stretch in course.stretches
        for end_ms in (stretch.start_offset_ms, stretch.end_offset_ms)
    ]
    worst_ms, worst = max(ends_ms, key=lambda end: tolerance.beyond_ms(end[0]))
    error_ms = measuring_error_ms(_shown_s(worst, course, segments), calibration)
    verdict, reason = against(worst_ms, tolerance, error_ms)
    return Judgement(
        verdict=verdict,
        reason=None if reason is None else reason.text,
        reason_code=None if reason is None else reason.code,
        offset_ms=worst_ms,
        confidence=round(confidence, 4),
        drift_ms_per_min=course.drift_ms_per_min,
        jumps_s=course.jumps_s,
        jump_intervals_s=course.jump_intervals_s,
        stretches=course.stretches,
        measuring_error_ms=round(error_ms, 1),
        segments=segments,
        blocks=blocks,
    )


def _segment(curve: Curve, calibration: Calibration) -> Segment:
    """A segment and its own offset, where it has one."""
    own = combine([evidence(curve, calibration)], calibration)
    single = estimate(own, curve.shifts, calibration)
    is_sure = single.confidence >= SEGMENT_CONFIDENCE
    return Segment(
        start_s=curve.start_s,
        end_s=curve.end_s,
        offset_ms=to_offset_ms(single.frames) if is_sure else None,
        confidence=round(single.confidence, 4),
    )


def _shown_s(stretch: Stretch, course: Course, segments: Sequence[Segment]) -> float:
    """How many seconds show the offset of a stretch by themselves.

    The end of a line through many offsets strays twice as far as their mean does, so an end of a
    drift is known as well as a quarter of its seconds would show it.
    """
    seconds = 0.0
    for segment in segments:
        middle_s = (segment.start_s + segment.end_s) / 2
        if segment.offset_ms is None or course.nearest(middle_s) != stretch:
            continue
        if abs(segment.offset_ms - stretch.offset_at(middle_s)) <= NEAR_FRAMES * FRAME_MS:
            seconds += segment.end_s - segment.start_s
    drifts = stretch.start_offset_ms != stretch.end_offset_ms
    return seconds / 4 if drifts else seconds


def without_unseen(
    judgement: Judgement, unseen_s: Sequence[tuple[float, float]], length_s: float | None
) -> Judgement:
    """The same judgement, but undecidable if it says "in sync" and a large part of the file was not
    looked at.

    Args:
        judgement: On what was looked at.
        unseen_s: (start, end) of the parts that were not looked at; they may overlap.
        length_s: Of the file. None: unknown; it then ends with the last segment or such part.
    """
    missed_s = 0.0
    looked_until_s = -math.inf
    for start_s, end_s in sorted(unseen_s):
        missed_s += max(0.0, end_s - max(start_s, looked_until_s))
        looked_until_s = max(looked_until_s, end_s)
    if length_s is None:
        length_s = max([0.0, looked_until_s, *(segment.end_s for segment in judgement.segments)])
    if judgement.verdict != "in_sync" or missed_s <= max(_UNSEEN_S, _UNSEEN_SHARE * length_s):
        return judgement
    reason = (
        f"what was looked at is in sync, but {missed_s:.1f} s of {length_s:.1f} s were not "
        "looked at"
    )
    return replace(judgement, verdict="undecidable", reason=reason, reason_code="not_all_looked_at")


def against(
    offset_ms: float, tolerance: Tolerance, error_ms: float
) -> tuple[Verdict, Reason | None]:
    """In sync, out of sync, or borderline: beyond the limit by no more than the measuring error.

    Args:
        offset_ms: Positive = sound early.
        tolerance: How early and late sound may be.
        error_ms: The measuring error.

    Returns:
        The verdict, and why it is undecidable.
    """
    beyond = tolerance.beyond_ms(offset_ms)
    if beyond > error_ms:
        return "out_of_sync", None
    if beyond <= 0:
        return "in_sync", None
    limit_ms = tolerance.limit_ms(offset_ms)
    text = f"{describe_offset(offset_ms)}, limit {limit_ms:g} ms, measuring error {error_ms:.0f} ms"
    return "undecidable", Reason("borderline", text)


def obstacle(curves: Sequence[Curve]) -> Reason | None:
    """What rules out any comparison, whatever the network says; None if there is something to
    compare.
    """
    motion, detail, level_db = (
        np.concatenate([getattr(item, name) for item in curves])
        for name in ("motion", "detail", "level_db")
    )
    if (level_db < SILENT_DB).mean() > 0.9:
        return Reason("silent", "the sound is silent")
    if (detail < FLAT).mean() > 0.9:
        return Reason("blank", "the picture is black or blank")
    if (motion < STILL).mean() > 0.9:
        return Reason("still", "the picture does not move")
    useful_s = sum(int(item.useful.sum()) for item in curves)
    if useful_s < LEAST_USEFUL_S:
        return Reason(
            "too_short",
            f"only {useful_s} s of the file has both moving pictures and sound; it takes "
            f"{LEAST_USEFUL_S} s",
        )
    return None


def no_match(searched_s: float) -> Reason:
    """Why a file is undecidable that shows no match at any shift so far."""
    text = (
        f"nothing in the picture goes with the sound at any shift within {searched_s:g} s "
        "(voice-over, music, or another sound track?)"
    )
    return Reason("no_match", text)


def _telling_s(curves: Sequence[Curve]) -> float:
    """How many seconds of a file can say something: without those before its first and after its
    last block with sound and moving pictures, as where its sound ends long before its pictures. A
    block beside them counts for half, as its sound may begin or end anywhere in it.
    """
    useful = np.concatenate([item.useful for item in curves])
    first, last = int(np.argmax(useful)), len(useful) - 1 - int(np.argmax(useful[::-1]))
    idle = sum(count + 0.5 for count in (first, len(useful) - 1 - last) if count)
    return sum(item.end_s - item.start_s for item in curves) - BLOCK_S * idle


def _why_unsure(
    curves: Sequence[Curve], whole: Estimate, needed: float, calibration: Calibration
) -> Reason:
    numbers = f"confidence {confidence_text(whole.confidence)}, {confidence_text(needed)} needed"
    if whole.confidence >= needed_confidence(SHORT_S, calibration):
        whole_s = sum(item.end_s - item.start_s for item in curves)
        both = "" if whole_s < SHORT_S else " of pictures with sound"
        text = f"too short to be sure of an offset ({numbers} under {SHORT_S:g} s{both})"
        return Reason("too_short", text)
    none = float(
        np.mean([posterior(evidence(item, calibration), calibration)[1] for item in curves])
    )
    if none > 0.5:
        return no_match(float(curves[0].shifts.max()) * FRAME_MS / 1000)
    return Reason("ambiguous", f"several offsets fit about equally well ({numbers})")


def _block_results(
    curves: Sequence[Curve],
    whole: Estimate,
    calibration: Calibration,
    segments: Sequence[Segment] = (),
    course: Course | None = None,
) -> tuple[BlockResult, ...]:
    """Every block's share of the file's attention at the file's offset, and its own offset, read
    with its neighbours.

    In a file whose `course` is known (else None), a block that strays from it, and from what its
    segment surely shows, has an offset only if there is much evidence for it.
    """
    shifts = curves[0].shifts
    at = int(np.argmin(np.abs(shifts - (whole.frames + calibration.bias_frames))))
    # Segments weigh by how much they say: a softmax over one segment knows nothing of the others.
    strength = (
        np.array([1.0 - posterior(evidence(item, calibration), calibration)[1] for item in curves])
        + 1e-6
    )
    seconds = np.array([len(item.block_start_s) for item in curves])
    strength = strength * seconds / float((strength * seconds).sum())
    results = []
    for number, (item, share) in enumerate(zip(curves, strength, strict=True)):
        rows = _block_evidence(item, at, calibration)
        for k, (start_s, curve) in enumerate(zip(item.block_start_s, rows, strict=True)):
            local = estimate(combine([curve], calibration), shifts, calibration)
            shows = local.confidence >= _BLOCK_CONFIDENCE
            if shows and course is not None:
                offsets_ms = course.offsets_ms(float(start_s))
                segment = segments[number]
                if segment.offset_ms is not None and segment.confidence >= calibration.decide:
                    offsets_ms = (*offsets_ms, segment.offset_ms)
                shows = _holds(local, curve, offsets_ms, shifts, calibration)
            offset_ms = to_offset_ms(local.frames) if shows else None
            results.append(
                BlockResult(
                    float(start_s), round(float(item.attention[k, at] * share), 6), offset_ms
                )
            )
    return tuple(results)


def _block_evidence(item: Curve, at: int, calibration: Calibration) -> NDArray[np.float64]:
    """What each block and its neighbours together say of every shift, (N, S); `at`: the shift whose
    attention weighs them.
    """
    count = len(item.block_start_s)
    near = [slice(max(0, k - _BLOCK_REACH), k + _BLOCK_REACH + 1) for k in range(count)]
    score, match = zip(*(_together(item, some, at) for some in near), strict=True)
    seconds = [BLOCK_S * len(item.block_start_s[some]) for some in near]
    return weigh_up(np.stack(score), np.stack(match), np.array(seconds), calibration)


def _together(item: Curve, near: slice, at: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean score and match of these blocks, (S,) each.

    As in `Curve`, a shift at which less than half as many of them could be compared as elsewhere
    says nothing: the mean of a few strays farther.
    """
    score, match, count = mean_of_blocks(
        item.block_score[near], item.block_match[near], item.attention[near, at][:, None]
    )
    compared = np.isfinite(item.score) & (2 * count >= count.max())
    return np.where(compared, score, -np.inf), np.where(compared, match, -np.inf)


def _holds(
    local: Estimate,
    curve: NDArray[np.float64],
    offsets_ms: Sequence[float],
    shifts: NDArray[np.int_],
    calibration: Calibration,
) -> bool:
    """Whether a block's own offset holds beside those of its file and its segment."""
    expected = [-offset_ms / FRAME_MS for offset_ms in offsets_ms]
    if min(abs(local.frames - frames) for frames in expected) <= _STRAY_FRAMES:
        return True
    ratio = match_ratio(curve, calibration)

    def best_near(frames: float) -> float:
        return float(
            ratio[np.abs(shifts - (frames + calibration.bias_frames)) <= NEAR_FRAMES].max(
                initial=-math.inf
            )
        )

    return best_near(local.frames) - max(0.0, *map(best_near, expected)) >= math.log(_STRAY_RATIO)
