"""Statistics of the measurements: shares with intervals, thresholds, calibration error, and their
tables. numpy only.

Clips of one group share a speaker, a camera and a codec, so windows are not independent draws:
every interval is a bootstrap over groups, 95 % by percentiles, with a fixed seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_SLOW_RESAMPLES = 500  # of a statistic that is no share
EPSILON = 1e-6  # by which a measured value may exceed a limit through rounding
_LEVEL = (2.5, 97.5)
_SEED = 20_240_601

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A measured value with its interval."""

    value: float
    low: float  # of the 95 % interval; NaN with fewer than two groups
    high: float  # of the same
    count: int  # of the rows it rests on

    def __str__(self) -> str:
        return self.text()

    def text(self, digits: int = 2) -> str:
        """Such as "0.88 [0.84, 0.91]"; "-" if nothing was measured."""
        if self.count == 0 or math.isnan(self.value):
            return "-"
        if math.isnan(self.low):
            return f"{self.value:.{digits}f} [one group]"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


_NOTHING = Figure(math.nan, math.nan, math.nan, 0)


def share(hits: Sequence[float], groups: Sequence[str]) -> Figure:
    """Mean of `hits` (0..1 each) with its interval; `groups` names the group of each."""
    if not len(hits):
        return _NOTHING
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    total = np.bincount(member, weights=np.asarray(hits, np.float64))
    size = np.bincount(member).astype(np.float64)
    value = float(total.sum() / size.sum())
    if len(names) < 2:
        return Figure(value, math.nan, math.nan, len(hits))
    drawn = _draws(len(names))
    low, high = np.percentile((drawn @ total) / (drawn @ size), _LEVEL)
    return Figure(value, float(low), float(high), len(hits))


def bootstrap(statistic: Callable[[NDArray[np.intp]], float], groups: Sequence[str]) -> Figure:
    """A statistic over all rows, with its interval. It is called with arrays of row numbers;
    `groups` names the group of each row.
    """
    if not len(groups):
        return _NOTHING
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    value = statistic(np.arange(len(groups)))
    if len(names) < 2:
        return Figure(value, math.nan, math.nan, len(groups))
    rows = [np.flatnonzero(member == k) for k in range(len(names))]
    # A few groups are drawn alike again and again
    drawn, which = np.unique(
        _draws(len(names))[:_SLOW_RESAMPLES].astype(int), axis=0, return_inverse=True
    )
    values = [
        statistic(np.concatenate([rows[k] for k, n in enumerate(times) for _ in range(n)]))
        for times in drawn
    ]
    low, high = np.percentile(np.array(values)[which.ravel()], _LEVEL)
    return Figure(value, float(low), float(high), len(groups))


def bootstrap_median(values: Reals, groups: Sequence[str]) -> Figure:
    """The median of the values (N,), with its interval over groups."""
    return bootstrap(lambda chosen: float(np.median(values[chosen])), groups)


def _draws(groups: int) -> Reals:
    """How often each group is drawn in each resample, (RESAMPLES, groups)."""
    rng = np.random.default_rng([_SEED, groups])
    return rng.multinomial(groups, np.full(groups, 1.0 / groups), size=RESAMPLES).astype(np.float64)


def win_score(true: float, displaced: float) -> float:
    """1 if the true window scores above its displaced copy, 0.5 for a tie, else 0."""
    return float(true > displaced) + 0.5 * (true == displaced)


def best_threshold(scores: Sequence[float], truth: Sequence[bool]) -> float:
    """The threshold for calling a score true that is right most often; of several equally good
    ones the middle one.
    """
    values = np.asarray(scores, np.float64)
    order = np.argsort(values, kind="stable")
    ranked, positive = values[order], np.asarray(truth, bool)[order]
    # Cut k calls the k lowest false. A cut between equal scores cannot be made.
    right = (
        np.concatenate([[0], np.cumsum(~positive)])
        + positive.sum()
        - np.concatenate([[0], np.cumsum(positive)])
    )
    edges = np.concatenate([[ranked[0] - 1.0], (ranked[1:] + ranked[:-1]) / 2, [ranked[-1] + 1.0]])
    possible = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])
    best = np.flatnonzero(possible & (right == right[possible].max()))
    return float(edges[best[len(best) // 2]])


def leave_one_group_out(
    scores: Sequence[float], truth: Sequence[bool], groups: Sequence[str]
) -> list[float]:
    """Whether each score is called correctly by the threshold that is best on all other groups: 1.0
    or 0.0. Empty if there is one group only.
    """
    values, wanted, names = (
        np.asarray(scores, np.float64),
        np.asarray(truth, bool),
        np.asarray(groups),
    )
    if len(np.unique(names)) < 2:
        return []
    hits = np.zeros(len(values))
    for name in np.unique(names):
        inside = names == name
        threshold = best_threshold(values[~inside].tolist(), wanted[~inside].tolist())
        hits[inside] = (values[inside] > threshold) == wanted[inside]
    return [float(hit) for hit in hits]


CONFIDENCE_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.0)


def confidence_bin(confidence: Reals) -> NDArray[np.intp]:
    """The bin between `CONFIDENCE_EDGES` that a confidence falls into; 1.0 belongs to the last."""
    return np.clip(np.digitize(confidence, CONFIDENCE_EDGES[1:-1]), 0, len(CONFIDENCE_EDGES) - 2)


def calibration_error(confidence: Reals, right: Reals) -> float:
    """Expected calibration error: mean over bins of |mean confidence - share right|, weighted by
    the bins' sizes.
    """
    bins = confidence_bin(confidence)
    error = 0.0
    for k in range(len(CONFIDENCE_EDGES) - 1):
        inside = bins == k
        if inside.any():
            error += inside.mean() * abs(float(confidence[inside].mean() - right[inside].mean()))
    return float(error)


def risk_curve(confidence: Reals, wrong: Reals) -> tuple[Reals, Reals]:
    """Share wrong among the k surest of n, for k = 1..n: (coverage k / n, risk), each (n,).

    wrong: 0..1 each. Values of equal confidence have no order, so each counts as their mean.
    """
    order = np.argsort(-confidence, kind="stable")
    _, member = np.unique(-confidence[order], return_inverse=True)
    level = np.bincount(member, weights=wrong[order]) / np.bincount(member)
    ranks = np.arange(1, len(confidence) + 1)
    return ranks / len(confidence), np.cumsum(level[member]) / ranks


def area_under_risk(confidence: Reals, wrong: Reals) -> float:
    """Mean risk over all coverages: 0 if never wrong; for a confidence that says nothing it is the
    share wrong.
    """
    return float(risk_curve(confidence, wrong)[1].mean())


def table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[object]], note: str = ""
) -> str:
    """A Markdown table with aligned columns, so that it also reads as plain text; ends with a blank
    line.
    """
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    body = lines if rows else ["(nothing to measure)"]
    return "\n".join([f"### {title}", "", *([note, ""] if note else []), *body, ""])
