"""From score curves of segments to how likely each shift is. Pure arithmetic, no torch.

The classifier's logits become a probability over shifts and one more choice, "no match at any
shift", whose weight is calibrated with everything else: log p(s) is proportional to score(s) /
temperature, log p(none) to `none`. Some curves scatter more than others, so the same peak is not
worth the same in each (`weigh_up`).

A file is a mixture: either nothing in it ever matches (a voice-over, a wrong sound track), or a
share of its segments matches, all at one shift, and the others show nothing. The share is unknown,
so every one is tried. If segments were simply multiplied, a hundred of them that match nowhere
would sooner or later agree on some shift by chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avcheck.reading.blocks import BLOCK_S
from avcheck.record.report import FRAME_MS

# Confidence is the chance that the offset is right within this many frames (80 ms)
NEAR_FRAMES = 2.0
FILE_MATCHES = 0.95  # how likely a file is to match anywhere, before it is looked at
_SHARES = np.array([0.97, *np.linspace(0.05, 0.9, 18)])  # of its segments that match, if it does
_SHARE_CHANCE = np.array([0.75, *np.full(18, 0.25 / 18)])
# How likely a segment is to match, in a file that matches
SEGMENT_MATCHES = float((_SHARES * _SHARE_CHANCE).sum())
_SEGMENT_MATCHES = FILE_MATCHES * SEGMENT_MATCHES
# Odds that a segment matches nowhere, before it is looked at
UNMATCHED_ODDS = (1 - _SEGMENT_MATCHES) / _SEGMENT_MATCHES
# How much likelier one segment can make a shift: a larger ratio comes from the fit, not from what
# was seen
MOST_TELLING = 1e4
USUAL_S = 10.0  # length of a segment
SHORT_S = 7.0  # a file shorter than this has to be surer
_DOUBT, _SHORT_DOUBT = 2.0, 5.0  # how much surer a file has to be than a segment; a short one
LEAST_ERROR_MS = 10.0  # of an offset, however much shows it
_MOST_ERROR = 1.25  # times that of `USUAL_S`, however little shows it
LEAST_SCATTER = 0.25  # logits, added: a curve that is flat except for its peak is no surer for that
_DEVIATION = 1.4826
SILENT_DB = -65.0
# Change in the liveliest tile; encoded stills measured up to 0.54 (0.75 with grain), speech from
# 2.4
STILL = 1.0
FLAT = 2.0  # deviation over a picture, 0..255; below, the picture is blank


@dataclass(frozen=True)
class Calibration:
    """Numbers fitted on clips of speech and on the same clips with a stranger's sound
    (`train.calibrate`); they travel with the weights.
    """

    temperature: float = 1.0  # logits for each unit of log chance; see the module
    none: float = 0.0  # log weight of "no match at any shift"
    match: float = 0.0  # weight of the trunks' own score beside the joint layers'
    bias_frames: float = 0.0  # the network's own constant offset
    guard_ms: float = 40.0  # the measuring error of `USUAL_S`; see `measuring_error_ms`
    decide: float = 0.9  # the confidence that a segment needs; a file, `needed_confidence`
    # For `weigh_up`; with these defaults neither length nor scatter of a curve matters
    level: float = 1.0  # weight of the joint layers' median score
    match_rise: float = 0.0  # weight of the trunks' score in units of its own scatter
    length: float = 0.0  # logits for each natural logarithm of the seconds over `USUAL_S`
    scatter: float = 0.0  # logits subtracted for each unit of the trunks' scatter

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not math.isfinite(value)
            ):
                raise ValueError(f"calibration: {name} must be a finite number, not {value!r}")
        if self.temperature <= 0:
            raise ValueError(f"calibration: temperature must be above 0, not {self.temperature}")


class Place(NamedTuple):
    """One place of a feature map: `row` from above, `column` from the left, of the pictures with a
    short side of `level` px.

    y, x: the middle of what it sees, as shares of the whole picture's height and width; height,
    width: how far it is from there to the next place, the same.
    """

    level: int
    row: int
    column: int
    y: float
    x: float
    height: float
    width: float

    @classmethod
    def whole(cls, level: int) -> Place:
        """A single place that sees the whole picture."""
        return cls(level, 0, 0, y=0.5, x=0.5, height=1.0, width=1.0)

    def in_larger(
        self, level: int, window: tuple[int, int, int, int], size: tuple[int, int]
    ) -> Place:
        """The same place of a window (top, left, height, width, px) as one of a picture (height,
        width, px) with a short side of `level` px.
        """
        (top, left, tall, wide), (high, across) = window, size
        return self._replace(
            level=level,
            y=(top + self.y * tall) / high,
            x=(left + self.x * wide) / across,
            height=self.height * tall / high,
            width=self.width * wide / across,
        )


@dataclass(frozen=True)
class Curve:
    """What the classifier says of one segment at every candidate shift; S shifts, N blocks, P
    places.

    shifts: (S,) frames at 25 fps by which the sound is read later, so the best one is positive
    where the sound is late. score: (S,), logit "in sync" minus "not", of the joint layers; match:
    (S,), the same of the trunks alone, up to a constant. Both are -inf where less than half as much
    could be compared as at the best shift, and everywhere if that is little itself. block_start_s:
    (N,); block_score: (N, S), the score of each block alone, -inf where it could not be compared;
    block_match: (N, S), the match of each block alone. attention: (N, S), each block's share of the
    attention, summing to 1 over N. places: (N, S, P) attention on every place looked at; `grid`
    says where each lies. motion: (N,), mean change between pictures in the tile that changes most,
    0..255. detail: (N,), deviation over a picture, 0..255. level_db: (N,), loudness of the sound,
    dBFS. looked: what the look at its pictures cost, in places times pictures.
    chosen_from: of how many windows of the pictures this one was the best.
    """

    start_s: float  # where its first block begins, on the file's clock
    end_s: float  # where its last block ends
    shifts: NDArray[np.int_]
    score: NDArray[np.float32]
    match: NDArray[np.float32]
    block_start_s: NDArray[np.float64]
    block_score: NDArray[np.float32]
    block_match: NDArray[np.float32]
    attention: NDArray[np.float32]
    places: NDArray[np.float32]
    grid: tuple[Place, ...]
    motion: NDArray[np.float32]
    detail: NDArray[np.float32]
    level_db: NDArray[np.float32]
    looked: int = 0
    chosen_from: int = 1

    @property
    def useful(self) -> NDArray[np.bool_]:
        """Which blocks have sound, and pictures that move, (N,)."""
        return (self.level_db >= SILENT_DB) & (self.detail >= FLAT) & (self.motion >= STILL)


@dataclass(frozen=True)
class Estimate:
    """A shift in frames (positive = sound late). confidence: the chance that it is right within
    `NEAR_FRAMES`.
    """

    frames: float
    confidence: float


def evidence(curve: Curve, calibration: Calibration) -> NDArray[np.float64]:
    """What a segment says of every shift, (S,) in logits: the weighted scores of the joint layers
    and the trunks.

    The best of K windows is K times as likely to match by chance, and says that much less.
    """
    # As long as what could be compared, and a block of which less than half could be
    compared = int(np.isfinite(curve.block_score).sum(axis=0).max(initial=0))
    seconds = min(curve.end_s - curve.start_s, (compared + 1) * BLOCK_S)
    weighed = weigh_up(curve.score, curve.match, seconds, calibration)
    return weighed - calibration.temperature * math.log(curve.chosen_from)


def weigh_up(
    score: NDArray[np.floating],
    match: NDArray[np.floating],
    seconds: float | NDArray[np.float64],
    calibration: Calibration,
) -> NDArray[np.float64]:
    """`evidence` of bare curves.

    Each counts by how far it rises above its own median; the joint layers' median counts by itself
    as well. A short piece, or one whose match scatters, has high peaks by chance and needs more.

    Args:
        score: Of the joint layers, (..., S), as in `Curve`.
        match: Of the trunks, (..., S), the same.
        seconds: How long each piece is, (...), or all of them.
        calibration: That of the weights.

    Returns:
        (..., S), in logits.
    """
    level, above, _ = above_median(score)
    _, match_above, scatter = above_median(match)
    weighed: NDArray[np.float64] = (
        above
        + (calibration.level * level)[..., None]
        + _match_weight(scatter, calibration)[..., None]
        * np.where(np.isfinite(match), match_above, 0.0)
        + (calibration.length * np.log(np.maximum(seconds, 1.0) / USUAL_S))[..., None]
        - (calibration.scatter * scatter)[..., None]
    )
    return weighed


def _match_weight(scatter: NDArray[np.float64], calibration: Calibration) -> NDArray[np.float64]:
    """What the trunks' score counts beside that of the joint layers, (...)."""
    weight: NDArray[np.float64] = calibration.match + calibration.match_rise / (
        scatter + LEAST_SCATTER
    )
    return weight


def above_median(
    curve: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Curves (..., S) against their own medians; values that are not finite are unknown.

    Returns:
        The median of the known values, (...); the curves above it, (..., S); and their scatter,
        (...): 1.48 times the median distance from it, which for normal noise is the standard
        deviation.
    """
    values = np.asarray(curve, np.float64)
    known = np.isfinite(values)
    middle = _median(values, known)
    above = values - middle[..., None]
    return middle, above, np.asarray(_DEVIATION * _median(np.abs(above), known))


def _median(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The medians (...) of the known values (..., S); 0 where none is known."""
    # By hand: `np.nanmedian` of many short curves takes ten times as long
    ordered = np.sort(np.where(known, values, np.inf), axis=-1).reshape(-1, values.shape[-1])
    count = known.sum(axis=-1)
    many, row = count.ravel(), np.arange(count.size)
    middle = (ordered[row, np.maximum(many - 1, 0) // 2] + ordered[row, many // 2]) / 2
    return np.where(count > 0, middle.reshape(count.shape), 0.0)


def posterior(
    scores: NDArray[np.floating], calibration: Calibration
) -> tuple[NDArray[np.float64], float]:
    """The chance of every shift (S,), and of no match at all; together they sum to 1. Scores of
    -inf and NaN get none.
    """
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
    """How much likelier a match at each shift makes the evidence (..., S) than no match anywhere,
    as a logarithm (..., S).

    A shift that was not compared says nothing: 0.
    """
    logits = np.asarray(scores, np.float64) / calibration.temperature
    return np.where(
        np.isfinite(logits),
        logits - calibration.none + math.log(UNMATCHED_ODDS * logits.shape[-1]),
        0.0,
    )


def block_ratios(curve: Curve, calibration: Calibration) -> NDArray[np.float64]:
    """What each block adds to the `match_ratio` of its segment, (N, S).

    The scores of a segment are means over its blocks, so each block adds its share of the mean.
    """
    logits = evidence(curve, calibration)
    compared, known = np.isfinite(logits), np.isfinite(curve.block_score)
    weight = np.where(known, curve.attention, 0.0)
    weight /= np.maximum(weight.sum(axis=0), 1e-9)
    _, score, _ = above_median(curve.block_score)
    _, match, _ = above_median(curve.block_match)
    *_, scatter = above_median(curve.match)
    count = len(weight)
    added = weight * np.where(known, score, 0.0)
    added += _match_weight(scatter, calibration) / count * np.where(np.isfinite(match), match, 0.0)
    added = np.where(compared, added / calibration.temperature, 0.0)
    # What counts for the segment as a whole is spread evenly
    ratio = match_ratio(logits, calibration)
    return np.asarray(added + (ratio - added.sum(axis=0)) / count, np.float64)


def log_likelihood(
    curves: Sequence[NDArray[np.floating]], calibration: Calibration
) -> NDArray[np.float64]:
    """How much likelier a file that matches at each shift makes the evidence (S,) of its segments
    than a file that matches at none.

    As a logarithm, (S,).
    """
    ratio = match_ratio(np.asarray(curves, np.float64), calibration)
    return over_shares(mixed(ratio).sum(axis=0))


def mixed(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the `match_ratio` of segments (..., S) says of files of which each share matches,
    (..., shares, S).
    """
    excess = np.maximum(ratio.max(axis=-1, keepdims=True) - math.log(MOST_TELLING), 0.0)
    shares = _SHARES[:, None]
    # Nothing is too large for `exp`, and `np.logaddexp` takes up to four times as long
    return np.asarray(np.log((1 - shares) + shares * np.exp(ratio - excess)[..., None, :]))


def over_shares(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the shares that may match, (..., S), of logarithms (..., shares, S)."""
    weighed = np.log(_SHARE_CHANCE)[:, None] + logs
    return np.asarray(np.logaddexp.reduce(weighed, axis=-2), np.float64)


def combine(
    curves: Sequence[NDArray[np.floating]], calibration: Calibration
) -> NDArray[np.float64]:
    """The chance of every shift, given what all segments of a file say.

    Args:
        curves: The `evidence` of each segment, (S,), in logits.
        calibration: That of the weights.

    Returns:
        (S,), summing to 1; the chance of no match is spread evenly over the shifts.
    """
    shifts = log_likelihood(curves, calibration)
    count = len(shifts)
    shifts += math.log(FILE_MATCHES / count)
    none = math.log(1 - FILE_MATCHES)
    total = np.logaddexp(np.logaddexp.reduce(shifts), none)
    return np.asarray(np.exp(shifts - total) + math.exp(none - total) / count, np.float64)


def estimate(
    chances: NDArray[np.float64], shifts: NDArray[np.int_], calibration: Calibration
) -> Estimate:
    """The likeliest shift, refined below a frame, and the chance mass within `NEAR_FRAMES` of it.

    Args:
        chances: Of every shift, (S,), as `combine` gives them.
        shifts: (S,), frames, as in `Curve`.
        calibration: That of the weights; its bias is taken out.
    """
    near = int(NEAR_FRAMES)
    window = np.convolve(chances, np.ones(2 * near + 1), mode="same")
    # The heaviest neighbourhood first, the peak within it second: one lonely spike is not an
    # offset.
    centre = int(np.argmax(window))
    low = max(0, centre - near)
    best = low + int(np.argmax(chances[low : centre + near + 1]))
    frames = float(shifts[best]) + vertex(np.log(chances + 1e-12), best)
    mass = float(chances[max(0, best - near) : best + near + 1].sum())
    return Estimate(frames - calibration.bias_frames, min(mass, 1.0))


def to_offset_ms(frames_late: float) -> float:
    """The offset, in ms, of a sound that is so many frames late; it is rounded to a tenth."""
    return round(-frames_late * FRAME_MS, 1) + 0.0  # no -0.0


def vertex(values: NDArray[np.float64], at: int) -> float:
    """The vertex of the parabola through a peak and its neighbours, -0.5..0.5 steps from the
    peak.
    """
    if not 0 < at < len(values) - 1:
        return 0.0
    left, mid, right = values[at - 1 : at + 2]
    curvature = left - 2 * mid + right
    return float(np.clip(0.5 * (left - right) / curvature, -0.5, 0.5)) if curvature < -1e-9 else 0.0


def mean_of_blocks(
    score: NDArray[np.floating], match: NDArray[np.floating], weight: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int_]]:
    """The means of N blocks at every shift.

    Args:
        score, match: Of each block, (..., N, S), as in `Curve`.
        weight: How much each score counts, (..., N, S) or (..., N, 1).

    Returns:
        The weighted mean of the scores, the plain mean of the matches, and how many blocks could be
        compared, (..., S) each. Both means are -inf where no block of any weight could be.
    """
    known = np.isfinite(score)
    count, weight = known.sum(axis=-2), np.where(known, weight, 0.0)
    total = weight.sum(axis=-2)
    mean = (np.where(known, score, 0.0) * weight).sum(axis=-2) / np.maximum(total, 1e-9)
    mean_match = np.where(known, match, 0.0).sum(axis=-2) / np.maximum(count, 1)
    return np.where(total > 0, mean, -np.inf), np.where(total > 0, mean_match, -np.inf), count


def read_on(values: NDArray[np.floating], frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows over shifts (N, S), each read `frames` (N,) further on, interpolated between two shifts;
    -inf where one of these is unknown or beyond the row.
    """
    count = values.shape[1]
    whole = np.floor(frames).astype(int)
    part = (frames - whole)[:, None]
    at = whole[:, None] + np.arange(1, count + 1)  # of the padded rows
    padded = np.pad(np.asarray(values, np.float64), ((0, 0), (1, 1)), constant_values=-np.inf)
    left, right = (
        np.take_along_axis(padded, np.clip(at + step, 0, count + 1), axis=1) for step in (0, 1)
    )
    right = np.where(part > 0, right, left)
    known = np.isfinite(left) & np.isfinite(right)
    between = (1 - part) * np.where(known, left, 0.0) + part * np.where(known, right, 0.0)
    return np.where(known, between, -np.inf)


def needed_confidence(seconds: float, calibration: Calibration, *, changes: bool = False) -> float:
    """The confidence that the verdict on a file of so many seconds needs. A stranger's sound
    matches by chance too often, above all in a few seconds, but seldom on a course that `changes`.
    """
    doubt = _SHORT_DOUBT if seconds < SHORT_S else 1.0 if changes else _DOUBT
    return 1 - (1 - calibration.decide) / doubt


def measuring_error_ms(seconds: float, calibration: Calibration) -> float:
    """The error, in ms, within which 95 % of the offsets lie that so many seconds show. It falls
    with the seconds as that of a mean of independent values does.
    """
    share = min(math.sqrt(USUAL_S / max(seconds, 1e-9)), _MOST_ERROR)
    return max(calibration.guard_ms * share, min(LEAST_ERROR_MS, calibration.guard_ms))


def sureness(curve: Curve, calibration: Calibration) -> float:
    """The confidence in the offset that a segment shows by itself."""
    return estimate(
        combine([evidence(curve, calibration)], calibration), curve.shifts, calibration
    ).confidence
