"""Pure arithmetic, no torch: score curves -> offset, confidence, drift; in sync, out of sync, or undecidable and why.

The classifier's logits become a probability over shifts with one more choice, "no match at any shift", whose weight is
calibrated with everything else: log p(s) is proportional to score(s) / temperature, log p(none) to `none`.

A file is a mixture: either nothing in it ever matches (a voice-over, a wrong sound track), or a share of its segments
matches, all at one shift, and the others show nothing. The share is not known, so every one is tried. Were segments simply
multiplied, a hundred of them that match nowhere would sooner or later agree on some shift by chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from avcheck.results import FRAME_MS, BlockResult, ReasonCode, Segment, Tolerance, Verdict

NEAR_FRAMES = 2.0  # confidence is the chance that the offset is right within this many frames (80 ms)
_SEGMENT_CONFIDENCE = 0.6  # below this a segment's own offset is not told, nor used for drift
_BLOCK_CONFIDENCE = 0.6
_BLOCK_REACH = 2  # a block's own offset is read together with this many neighbours either side
_JUMP_FRAMES = 3.0  # smaller changes between neighbouring segments are measuring noise
_SCATTER_FRAMES = 2.0  # segments of which a quarter lies further off a course follow none
_DRIFT_SURE = 2.5  # deviations by which the segments' order must speak for a drift; noise alone passes one time in a hundred
_FILE_MATCHES = 0.95  # how likely a file is to match anywhere, before it is looked at
_SHARES = np.array([0.97, *np.linspace(0.05, 0.9, 18)])  # of its segments that match, if it does
_SHARE_CHANCE = np.array([0.75, *np.full(18, 0.25 / 18)])
_SEGMENT_MATCHES = _FILE_MATCHES * float((_SHARES * _SHARE_CHANCE).sum())
UNMATCHED_ODDS = (1 - _SEGMENT_MATCHES) / _SEGMENT_MATCHES  # of a segment to match nowhere, before it is looked at
_MOST_TELLING = 1e4  # how much likelier one segment can make a shift: beyond that it is the fit that speaks, not what was seen
_UNSEEN_S, _UNSEEN_SHARE = 2.0, 0.1  # a file of which more than both was not looked at is never called in sync
_SILENT_DB = -65.0
_STILL = 1.0  # change in the liveliest tile; encoded stills measured up to 0.54 (0.75 with grain), speech from 2.4
_FLAT = 2.0  # deviation over a picture, 0..255, below which nothing is shown


@dataclass(frozen=True)
class Calibration:
    """Numbers fitted on clips with a known offset; they travel with the weights.

    temperature and none: see the module. match: how much the trunks' own score counts beside the joint layers'.
    bias_frames: the network's own constant offset. guard_ms: the measuring error allowed for beside the tolerance. decide: the
    confidence a verdict needs.
    """

    temperature: float = 1.0
    none: float = 0.0
    match: float = 0.0
    bias_frames: float = 0.0
    guard_ms: float = 40.0
    decide: float = 0.9

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"calibration: {name} must be a finite number, not {value!r}")
        if self.temperature <= 0:
            raise ValueError(f"calibration: temperature must be above 0, not {self.temperature}")


@dataclass(frozen=True)
class Curve:
    """What the classifier says of one segment at every candidate shift; S shifts, N blocks, P places.

    shifts: (S,) frames at 25 fps by which the sound is read later, so the best one is positive where the sound is late.
    score: (S,), logit "in sync" minus "not", of the joint layers; match: (S,), the same of the trunks alone, up to a constant;
    both -inf where under half of what the best shift has could be compared, and everywhere where that is little itself.
    block_start_s: (N,); block_score: (N, S), the same as score for each block alone, -inf where it could not be compared;
    block_match: (N, S), the same as match for each block alone.
    attention: (N, S), each block's share of the attention, summing to 1 over N. places: (N, S, P) attention on every place
    looked at, and `grid` says where each lies: (level, row, column, rows, columns). motion: (N,), mean change between pictures
    in the tile that changes most, 0..255. detail: (N,), deviation over a picture, 0..255. level_db: (N,), loudness of the
    sound, dBFS.
    """

    start_s: float
    end_s: float
    shifts: NDArray[np.int_]
    score: NDArray[np.float32]
    match: NDArray[np.float32]
    block_start_s: NDArray[np.float64]
    block_score: NDArray[np.float32]
    block_match: NDArray[np.float32]
    attention: NDArray[np.float32]
    places: NDArray[np.float32]
    grid: tuple[tuple[int, int, int, int, int], ...]
    motion: NDArray[np.float32]
    detail: NDArray[np.float32]
    level_db: NDArray[np.float32]


@dataclass(frozen=True)
class Estimate:
    """A shift in frames (positive = sound late) and the chance that it is right within `NEAR_FRAMES`."""

    frames: float
    confidence: float


@dataclass(frozen=True)
class Judgement:
    """What a file's curves say. `offset_ms`: positive = sound early; None when unknown."""

    verdict: Verdict
    reason: str | None
    offset_ms: float | None
    confidence: float
    drift_ms_per_min: float | None
    jumps_s: tuple[float, ...]
    segments: tuple[Segment, ...]
    blocks: tuple[BlockResult, ...]
    reason_code: ReasonCode | None = None


def evidence(curve: Curve, calibration: Calibration) -> NDArray[np.float64]:
    """What a segment says of every shift, (S,) logits: the joint layers' score and the trunks', each in its weight."""
    return weigh_up(curve.score, curve.match, calibration)


def weigh_up(score: NDArray[np.floating], match: NDArray[np.floating], calibration: Calibration) -> NDArray[np.float64]:
    """`evidence` of bare curves, (S,) each. The match counts by how far it stands out of its own median."""
    known = np.isfinite(match)
    middle = np.median(match[known]) if known.any() else 0.0
    return np.asarray(score, np.float64) + calibration.match * np.where(known, match - middle, 0.0)


def posterior(scores: NDArray[np.floating], calibration: Calibration) -> tuple[NDArray[np.float64], float]:
    """Chance of every shift (S,), and of no match at all; together they sum to 1. -inf scores get none, nor do NaN."""
    logits = np.asarray(scores, np.float64) / calibration.temperature
    logits = np.where(np.isfinite(logits), logits, -np.inf)
    if not np.isfinite(logits).any():
        return np.zeros(len(logits)), 1.0
    top = max(float(logits[np.isfinite(logits)].max()), calibration.none)
    weights = np.exp(logits - top)
    none = float(np.exp(calibration.none - top))
    total = float(weights.sum()) + none
    return weights / total, none / total


def match_ratio(scores: NDArray[np.floating], calibration: Calibration) -> NDArray[np.float64]:
    """How much likelier a match at each shift makes the evidence (..., S) than no match anywhere, as a logarithm (..., S).

    A shift that was not compared says nothing: 0.
    """
    logits = np.asarray(scores, np.float64) / calibration.temperature
    return np.where(np.isfinite(logits), logits - calibration.none + math.log(UNMATCHED_ODDS * logits.shape[-1]), 0.0)


def combine(curves: Sequence[NDArray[np.floating]], calibration: Calibration) -> NDArray[np.float64]:
    """Chance of every shift (S,) given the evidence (S,) of each segment of a file; what matches nowhere is spread evenly."""
    ratio = match_ratio(np.asarray(curves, np.float64), calibration)
    count = ratio.shape[1]
    ratio -= np.maximum(ratio.max(axis=1, keepdims=True) - math.log(_MOST_TELLING), 0.0)
    shares = _SHARES[:, None, None]
    mixed = np.logaddexp(np.log1p(-shares), np.log(shares) + ratio).sum(axis=1)  # (shares, S)
    shifts = np.logaddexp.reduce(np.log(_SHARE_CHANCE)[:, None] + mixed, axis=0) + math.log(_FILE_MATCHES / count)
    none = math.log(1 - _FILE_MATCHES)
    total = np.logaddexp(np.logaddexp.reduce(shifts), none)
    return np.asarray(np.exp(shifts - total) + math.exp(none - total) / count, np.float64)


def estimate(chances: NDArray[np.float64], shifts: NDArray[np.int_], calibration: Calibration) -> Estimate:
    """The likeliest shift, refined below a frame, and the chance mass within `NEAR_FRAMES` of it."""
    near = int(NEAR_FRAMES)
    window = np.convolve(chances, np.ones(2 * near + 1), mode="same")
    # The heaviest neighbourhood first, the peak within it second: one lonely spike is not an offset.
    centre = int(np.argmax(window))
    low = max(0, centre - near)
    best = low + int(np.argmax(chances[low : centre + near + 1]))
    frames = float(shifts[best]) + _vertex(np.log(chances + 1e-12), best)
    mass = float(chances[max(0, best - near) : best + near + 1].sum())
    return Estimate(frames - calibration.bias_frames, min(mass, 1.0))


def _vertex(values: NDArray[np.float64], at: int) -> float:
    """Where the parabola through a peak and its neighbours has its vertex, -0.5..0.5 steps from the peak."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, mid, right = values[at - 1 : at + 2]
    curvature = left - 2 * mid + right
    return float(np.clip(0.5 * (left - right) / curvature, -0.5, 0.5)) if curvature < -1e-9 else 0.0


def judge(curves: Sequence[Curve], tolerance: Tolerance, calibration: Calibration) -> Judgement:
    """The verdict on a file from its segments, in time order."""
    if not curves:
        return _undecided("there are no pictures to compare with the sound", (), ())
    shifts = curves[0].shifts
    singles = [estimate(combine([evidence(item, calibration)], calibration), shifts, calibration) for item in curves]
    segments = tuple(
        Segment(
            start_s=item.start_s,
            end_s=item.end_s,
            offset_ms=_to_ms(single.frames) if single.confidence >= _SEGMENT_CONFIDENCE else None,
            confidence=round(single.confidence, 4),
        )
        for item, single in zip(curves, singles, strict=True)
    )
    whole = estimate(combine([evidence(item, calibration) for item in curves], calibration), shifts, calibration)
    blocks = _block_results(curves, whole, calibration)
    missing = unseen(curves)
    if missing is not None:
        silent = tuple(replace(block, offset_ms=None) for block in blocks)
        return _undecided(missing, tuple(replace(segment, offset_ms=None) for segment in segments), silent)
    course = follow(segments)
    if course is not None and (course.jumps_s or course.drift_ms_per_min is not None):
        sure = _course_confidence(course, curves, calibration)
        if sure >= calibration.decide:
            return _judge_course(course, sure, segments, blocks, tolerance, calibration)
    if whole.confidence < calibration.decide:
        return _undecided(_why_unsure(curves, whole, calibration), segments, blocks, whole)
    offset_ms = _to_ms(whole.frames)
    verdict, reason = _against(offset_ms, tolerance, calibration)
    return Judgement(verdict, reason, offset_ms, round(whole.confidence, 4), None, (), segments, blocks)


def without_unseen(judgement: Judgement, unseen_s: Sequence[tuple[float, float]], length_s: float | None) -> Judgement:
    """The same judgement, but undecidable where it says "in sync" and a large part of the file was not looked at.

    unseen_s: (start, end) of the stretches that were not looked at; they may overlap. length_s: of the file, None: unknown,
    and then it is taken to end with the last block or stretch.
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
    reason = f"what was looked at is in sync, but {missed_s:.1f} s of {length_s:.1f} s were not looked at"
    return replace(judgement, verdict="undecidable", reason=reason, reason_code="not_all_looked_at")


def _to_ms(frames_late: float) -> float:
    return round(-frames_late * FRAME_MS, 1) + 0.0


def _against(offset_ms: float, tolerance: Tolerance, calibration: Calibration) -> tuple[Verdict, str | None]:
    """In, out, or within the measuring error of the limit."""
    beyond = _beyond(offset_ms, tolerance)
    if beyond > calibration.guard_ms:
        return "out_of_sync", None
    if beyond <= 0:
        return "in_sync", None
    side = f"early by {offset_ms:.0f} ms" if offset_ms > 0 else f"late by {-offset_ms:.0f} ms"
    limit = tolerance.early_ms if offset_ms > 0 else tolerance.late_ms
    return "undecidable", (
        f"too close to the limit to call: sound {side}, limit {limit:.0f} ms, measuring error {calibration.guard_ms:.0f} ms"
    )


def _beyond(offset_ms: float, tolerance: Tolerance) -> float:
    """How far beyond its limit an offset lies, in ms; 0 or less within."""
    return offset_ms - tolerance.early_ms if offset_ms > 0 else -offset_ms - tolerance.late_ms


def _undecided(
    reason: str, segments: tuple[Segment, ...], blocks: tuple[BlockResult, ...], found: Estimate | None = None
) -> Judgement:
    confidence = round(found.confidence, 4) if found is not None else 0.0
    return Judgement("undecidable", reason, None, confidence, None, (), segments, blocks)


def unseen(curves: Sequence[Curve]) -> str | None:
    """Why no comparison is possible at all, whatever the network says; None when there is something to compare."""
    motion, detail, level_db = (
        np.concatenate([getattr(item, name) for item in curves]) for name in ("motion", "detail", "level_db")
    )
    if (level_db < _SILENT_DB).mean() > 0.9:
        return "the sound is silent"
    if (detail < _FLAT).mean() > 0.9:
        return "the picture is black or blank"
    if (motion < _STILL).mean() > 0.9:
        return "the picture does not move"
    useful = (level_db >= _SILENT_DB) & (detail >= _FLAT) & (motion >= _STILL)
    if useful.sum() < 2:
        return f"only {int(useful.sum())} s of it has both moving pictures and sound; at least 2 s are needed"
    return None


def _why_unsure(curves: Sequence[Curve], whole: Estimate, calibration: Calibration) -> str:
    none = float(np.mean([posterior(evidence(item, calibration), calibration)[1] for item in curves]))
    if none > 0.5:
        return "nothing in the picture goes with the sound at any shift within 2 s (voice-over, music, or another sound track?)"
    return f"several offsets fit about equally well (confidence {whole.confidence:.2f}, {calibration.decide:.2f} needed)"


def _block_results(curves: Sequence[Curve], whole: Estimate, calibration: Calibration) -> tuple[BlockResult, ...]:
    """Every block's share of the file's attention at the file's offset, and its own offset read with its neighbours."""
    shifts = curves[0].shifts
    at = int(np.argmin(np.abs(shifts - (whole.frames + calibration.bias_frames))))
    # Segments weigh by how much they say, as the network's softmax over one segment cannot know of the others.
    strength = np.array([1.0 - posterior(evidence(item, calibration), calibration)[1] for item in curves]) + 1e-6
    seconds = np.array([len(item.block_start_s) for item in curves])
    strength = strength * seconds / float((strength * seconds).sum())
    results = []
    for item, share in zip(curves, strength, strict=True):
        for k, start_s in enumerate(item.block_start_s):
            here = slice(max(0, k - _BLOCK_REACH), k + _BLOCK_REACH + 1)
            known = np.isfinite(item.block_score[here])
            weight = np.where(known, item.attention[here, at][:, None], 0.0)
            total = weight.sum(axis=0)
            score = (np.where(known, item.block_score[here], 0.0) * weight).sum(axis=0) / np.maximum(total, 1e-9)
            match = np.where(known, item.block_match[here], 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
            told = np.isfinite(item.score) & (total > 0)
            curve = weigh_up(np.where(told, score, -np.inf), np.where(told, match, -np.inf), calibration)
            local = estimate(combine([curve], calibration), shifts, calibration)
            offset_ms = _to_ms(local.frames) if local.confidence >= _BLOCK_CONFIDENCE else None
            results.append(BlockResult(float(start_s), round(float(item.attention[k, at] * share), 6), offset_ms))
    return tuple(results)


@dataclass(frozen=True)
class Course:
    """How the offset goes through a file: pieces between jumps, each (start_s, end_s, offset_ms at either end).

    A constant piece has the same offset at both ends; a drift is one piece with two.
    """

    pieces: tuple[tuple[float, float, tuple[float, float]], ...]
    jumps_s: tuple[float, ...] = ()
    drift_ms_per_min: float | None = None


def follow(segments: Sequence[Segment]) -> Course | None:
    """A robust line through the segments that show an offset: constant, drifting, or jumping. None below three of them."""
    told = [segment for segment in segments if segment.offset_ms is not None]
    if len(told) < 3:
        return None
    time_s = np.array([(segment.start_s + segment.end_s) / 2 for segment in told])
    offset_ms = np.array([segment.offset_ms for segment in told], float)
    slope, middle = _theil_sen(time_s, offset_ms)
    residual = offset_ms - (middle + slope * (time_s - np.median(time_s)))
    noise_ms = max(1.4826 * float(np.median(np.abs(residual))), FRAME_MS / 4)
    span_ms = abs(slope) * float(time_s[-1] - time_s[0])
    jump_at = _best_split(offset_ms)
    if jump_at is not None:
        early, late = offset_ms[:jump_at], offset_ms[jump_at:]
        apart = abs(float(np.median(late) - np.median(early)))
        left_over = np.concatenate([early - np.median(early), late - np.median(late)])
        # A jump explains the segments better than a line, and is larger than their scatter.
        steady = _spread_ms(left_over) <= _SCATTER_FRAMES * FRAME_MS
        if steady and apart > _JUMP_FRAMES * FRAME_MS and np.abs(left_over).mean() < 0.7 * np.abs(residual).mean():
            where_s = (told[jump_at - 1].end_s + told[jump_at].start_s) / 2
            before, after = float(np.median(early)), float(np.median(late))
            pieces = ((told[0].start_s, where_s, (before, before)), (where_s, told[-1].end_s, (after, after)))
            return Course(pieces, jumps_s=(where_s,))
    steady = _spread_ms(residual) <= _SCATTER_FRAMES * FRAME_MS
    if steady and span_ms > max(3 * noise_ms, 1.5 * FRAME_MS) and abs(_trend(offset_ms)) > _DRIFT_SURE:
        first, last = (middle + slope * (float(t) - float(np.median(time_s))) for t in (time_s[0], time_s[-1]))
        return Course(((told[0].start_s, told[-1].end_s, (first, last)),), drift_ms_per_min=round(60.0 * slope, 2))
    constant = float(np.median(offset_ms))
    away = _stray_run(offset_ms, constant)
    if away is not None:
        run = told[away]
        apart_ms = float(np.median(offset_ms[away]))
        from_s = (told[away.start - 1].end_s + run[0].start_s) / 2
        to_s = (run[-1].end_s + told[away.stop].start_s) / 2
        whole = (told[0].start_s, from_s, constant), (from_s, to_s, apart_ms), (to_s, told[-1].end_s, constant)
        return Course(tuple((start_s, end_s, (ms, ms)) for start_s, end_s, ms in whole), jumps_s=(from_s, to_s))
    return Course(((told[0].start_s, told[-1].end_s, (constant, constant)),))


def _stray_run(offset_ms: NDArray[np.float64], constant: float) -> slice | None:
    """The longest run of segments in the middle (three at least) that lie together, off what the others keep to."""
    stray = np.abs(offset_ms - constant) > _JUMP_FRAMES * FRAME_MS
    edges = np.flatnonzero(np.diff(np.concatenate([[False], stray, [False]]).astype(int)))
    runs = [slice(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
    inner = [run for run in runs if run.start > 0 and run.stop < len(stray) and run.stop - run.start >= 3]
    steady = [run for run in inner if _spread_ms(offset_ms[run] - np.median(offset_ms[run])) <= _SCATTER_FRAMES * FRAME_MS]
    return max(steady, key=lambda run: run.stop - run.start, default=None)


def _spread_ms(residual_ms: NDArray[np.float64]) -> float:
    """How far off three quarters of the segments lie at most."""
    return float(np.percentile(np.abs(residual_ms), 75))


def _theil_sen(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Median slope over all pairs, and the median height at the median of x. At most 400 points are paired."""
    step = -(-len(x) // 400)
    first, second = np.triu_indices(len(x[::step]), 1)
    run, rise = (values[::step][second] - values[::step][first] for values in (x, y))
    slope = float(np.median(rise[run > 0] / run[run > 0])) if (run > 0).any() else 0.0
    return slope, float(np.median(y - slope * (x - np.median(x))))


def _trend(y: NDArray[np.float64]) -> float:
    """How surely the values rise (negative: fall) in their order, in deviations (Mann-Kendall); an outlier counts like any."""
    values = y[:: -(-len(y) // 400)]
    count = len(values)
    first, second = np.triu_indices(count, 1)
    balance = float(np.sign(values[second] - values[first]).sum())
    spread = np.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    return float(np.sign(balance) * max(0.0, abs(balance) - 1) / spread)


def _best_split(values: NDArray[np.float64]) -> int | None:
    """Index that splits the values into two runs (of at least two each) with the least absolute deviation."""
    if len(values) < 4:
        return None
    costs = {
        k: float(np.abs(values[:k] - np.median(values[:k])).sum() + np.abs(values[k:] - np.median(values[k:])).sum())
        for k in range(2, len(values) - 1)
    }
    return min(costs, key=lambda k: costs[k])


def _course_confidence(course: Course, curves: Sequence[Curve], calibration: Calibration) -> float:
    """How sure the least sure piece is: all segments in it are asked, those too that show no offset of their own."""
    shifts = curves[0].shifts
    sure = []
    for start_s, end_s, (first_ms, last_ms) in course.pieces:
        inside = [item for item in curves if start_s <= (item.start_s + item.end_s) / 2 <= end_s]
        turned = []
        for item in inside:
            way = ((item.start_s + item.end_s) / 2 - start_s) / max(end_s - start_s, 1e-9)
            late = round(-(first_ms + way * (last_ms - first_ms)) / FRAME_MS + calibration.bias_frames)
            turned.append(_moved(evidence(item, calibration), late))  # what goes with the course now peaks at 0
        told = estimate(combine(turned, calibration), shifts, calibration) if turned else Estimate(0.0, 0.0)
        sure.append(told.confidence if abs(told.frames) <= _SCATTER_FRAMES else 0.0)
    return min(sure)


def _moved(values: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    """Values over shifts, read `frames` further on; what is not known there is -inf."""
    out = np.full(len(values), -np.inf)
    low, high = max(0, -frames), min(len(values), len(values) - frames)
    if low < high:
        out[low:high] = values[low + frames : high + frames]
    return out


def _judge_course(
    course: Course,
    confidence: float,
    segments: tuple[Segment, ...],
    blocks: tuple[BlockResult, ...],
    tolerance: Tolerance,
    calibration: Calibration,
) -> Judgement:
    """A file whose offset changes: judged by its worst stretch."""
    ends_ms = [round(offset_ms, 1) + 0.0 for *_, ends in course.pieces for offset_ms in ends]
    # Early and late have limits of their own, so the worst is the furthest beyond its limit, not the largest.
    offset_ms = max(ends_ms, key=lambda value: _beyond(value, tolerance))
    verdict, unsure = _against(offset_ms, tolerance, calibration)
    sure = round(confidence, 4)
    return Judgement(verdict, unsure, offset_ms, sure, course.drift_ms_per_min, course.jumps_s, segments, blocks)
