"""Calibration: turn the classifier's scores into reliable probabilities, fitted on validation
clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avcheck.network.weights import Loaded
from avcheck.rates import FRAME_RATE
from avcheck.reading.blocks import BLOCK_FRAMES
from avcheck.reading.segments import MAX_SHIFT, SEGMENT_BLOCKS
from avcheck.record.report import FRAME_MS
from avcheck.scan.looking import LEVELS, Look, look
from avcheck.scan.shifts import SHIFTS, compare, listen
from avcheck.train.corpus import CachedClip
from avcheck.train.sampling import EDGE_FRAMES, masked_mel, read_sound
from avcheck.verdict.posterior import (
    LEAST_ERROR_MS,
    LEAST_SCATTER,
    MOST_TELLING,
    NEAR_FRAMES,
    SEGMENT_MATCHES,
    UNMATCHED_ODDS,
    USUAL_S,
    Calibration,
    Estimate,
    above_median,
    combine,
    estimate,
    weigh_up,
)

_LONG = SEGMENT_BLOCKS * BLOCK_FRAMES  # pictures: a segment of a film
_SHORT = 4 * BLOCK_FRAMES  # and the whole of a short file
_MAX_DISPLACED = 25  # frames
_SEED = 7  # of the displacements
_FOLDS = 5  # of the cross-validation
_STEPS = 200  # of the fit
_HOLD = 1e-3  # penalty on the square of each parameter's move: a few trials move it little
_FRAMES = 0.8  # standard deviation of a known offset
# An unknown offset: recordings are mostly in sync, and some show no speaker at all
_UNKNOWN_FRAMES, _UNKNOWN_NONE, _KNOWN_NONE = 3.0, 0.3, 0.02


@dataclass(frozen=True)
class CalibrationTrial:
    """One piece of a clip with its sound displaced, or with a stranger's sound."""

    groups: frozenset[str]  # of the clips that the pictures and the sound come from
    score: NDArray[np.float32]  # (S,), as in `posterior.Curve`
    match: NDArray[np.float32]  # (S,), likewise
    truth: float | None  # frames by which the sound was displaced, positive = late; None: foreign
    seconds: float  # length of the piece
    known: bool = True  # whether the clip's own offset is; if not, it is taken to be about 0


def trials(
    model: Loaded,
    clips: Sequence[CachedClip],
    *,
    on_clip: Callable[[int, int], None] | None = None,
) -> list[CalibrationTrial]:
    """Pieces of 10 s and 4 s of every clip, each with its own sound displaced, and with another
    group's sound. `on_clip` is called after each clip with (done, total).
    """
    rng = np.random.default_rng(_SEED)
    out = []
    for number, cached in enumerate(clips):
        strangers = [item for item in clips if item.clip.group != cached.clip.group]
        truth = float(rng.uniform(-_MAX_DISPLACED, _MAX_DISPLACED))
        first, end = EDGE_FRAMES, len(cached.frames) - EDGE_FRAMES
        while end - first >= _SHORT:
            times = min(_LONG, (end - first) // BLOCK_FRAMES * BLOCK_FRAMES)
            # A copy: the cache is read-only
            pictures = np.array(cached.frames[first : first + times])
            view = look(pictures, np.ones(times, np.bool_), first / FRAME_RATE, model, LEVELS)
            pieces = [(0, times)] if times == _LONG else []
            pieces += [
                (at, at + _SHORT) for at in range(0, times - _SHORT + 1, _SHORT + BLOCK_FRAMES)
            ]
            for low, high in pieces:
                part = replace(view, picture=view.picture[:, low:high], shown=view.shown[low:high])
                start = first + low + (cached.clip.offset_frames or 0.0) - truth
                # A long piece is a short file, or a segment of a film that has sound before and
                # after it.
                alone = high - low < _LONG or bool(rng.integers(2))
                out.append(_trial(model, part, cached, cached, start, truth, alone))
                if strangers:
                    other = strangers[int(rng.integers(len(strangers)))]
                    start = rng.uniform(0, max(1, len(other.frames) - (high - low)))
                    out.append(_trial(model, part, cached, other, start, None, alone))
            first += times
        if on_clip is not None:
            on_clip(number + 1, len(clips))
    return out


def _trial(
    model: Loaded,
    view: Look,
    shown: CachedClip,
    source: CachedClip,
    start: float,
    truth: float | None,
    alone: bool,
) -> CalibrationTrial:
    times = len(view.shown)
    samples, heard = read_sound(source, start - MAX_SHIFT, times + 2 * MAX_SHIFT)
    if alone:  # as in a file that ends here: there is no sound beyond the pictures' own time
        heard[:MAX_SHIFT] = False
        heard[MAX_SHIFT + times :] = False
    compared = compare(view, listen(masked_mel(samples, heard), model), heard, model)
    return CalibrationTrial(
        frozenset({shown.clip.group, source.clip.group}),
        compared.weighed_score(),
        compared.weighed_match(),
        truth,
        times / FRAME_RATE,
        known=shown.clip.trusted,
    )


def fit(some: Sequence[CalibrationTrial]) -> Calibration:
    """Fit a calibration to the trials.

    The chances are fitted to all of them by maximum likelihood; then the network's constant bias to
    those whose offset is known (to all, if none is), and the measuring error to the long ones among
    these (to all of these, if none is long).
    """
    # With strangers' sound alone there is nothing to fit: every candidate is as good
    if not any(trial.truth is not None for trial in some):
        return Calibration()
    best = fit_chances(some)
    errors, seconds = [], []
    for trial in known(some):
        estimated = _estimate(trial, best)
        if estimated.confidence >= best.decide and trial.truth is not None:
            errors.append(estimated.frames - trial.truth)
            seconds.append(trial.seconds)
    if not errors:
        return best
    bias = float(np.median(errors))
    away = np.abs(np.array(errors) - bias)
    long = np.array(seconds) >= min(USUAL_S, max(seconds))
    error_ms = float(np.percentile(away[long], 95)) * FRAME_MS
    guard_ms = round(float(np.clip(error_ms, LEAST_ERROR_MS, 1.5 * FRAME_MS)), 1)
    return replace(best, bias_frames=round(bias, 3), guard_ms=guard_ms)


def known(some: Sequence[CalibrationTrial]) -> list[CalibrationTrial]:
    """The trials that can be judged right or wrong: those whose offset is known (all of them, if
    none is), and strangers.
    """
    sure = any(trial.known and trial.truth is not None for trial in some)
    return [trial for trial in some if trial.truth is None or trial.known or not sure]


def fit_chances(some: Sequence[CalibrationTrial], start: Calibration | None = None) -> Calibration:
    """Fit the parameters that turn scores into chances; the others stay as they are in `start`.

    The chance of a trial is that of `posterior.combine` for a file of this one segment with even
    odds of a match. Trials with their own sound and those with a stranger's weigh the same in
    total, whatever their numbers.
    """
    start = start or Calibration(match=1.0, none=3.0)
    measured, truth = _Measured(some), _truths(some)
    own = np.array([trial.truth is not None for trial in some])
    share = np.where(own, 0.5 / max(own.sum(), 1), 0.5 / max((~own).sum(), 1))
    weight = torch.from_numpy(share / share.sum())
    begun = torch.tensor([getattr(start, name) for name in _FITTED], dtype=torch.float64)
    moved = torch.zeros_like(begun, requires_grad=True)
    search = torch.optim.LBFGS([moved], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def values() -> Tensor:  # the temperature, which comes first, stays above 0
        return torch.cat([begun[:1] * moved[:1].exp(), begun[1:] + moved[1:]])

    def cost() -> Tensor:
        search.zero_grad()
        surprise = -torch.logsumexp(measured.log_chances(values()) + truth.log(), 1)
        total = (weight * surprise).sum() + _HOLD * (moved**2).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    search.step(cost)  # type: ignore[no-untyped-call]
    fitted = dict(zip(_FITTED, values().tolist(), strict=True))
    return replace(start, **{name: round(value, 4) for name, value in fitted.items()})


_FITTED = ("temperature", "none", "match", "level", "match_rise", "length", "scatter")


class _Measured:
    """What `posterior.weigh_up` needs of trials, as tensors, so that its weights can be learnt."""

    def __init__(self, some: Sequence[CalibrationTrial]) -> None:
        scores, matches = (
            above_median(np.stack([getattr(trial, name) for trial in some]))
            for name in ("score", "match")
        )
        self._known = torch.from_numpy(np.isfinite(scores[1]))
        self._level, self._score, _ = _tensors(*scores)
        _, self._match, self._match_scatter = _tensors(*matches)
        seconds = np.array([[max(trial.seconds, 1.0)] for trial in some])
        self._length = torch.from_numpy(np.log(seconds / USUAL_S))

    def log_chances(self, values: Tensor) -> Tensor:
        """Log probability of every shift and of "none", (trials, S + 1)."""
        temperature, none, match, level, match_rise, length, scatter = values
        logits = (
            self._score
            + level * self._level
            + (match + match_rise / (self._match_scatter + LEAST_SCATTER)) * self._match
            + length * self._length
            - scatter * self._match_scatter
        )
        count = logits.shape[1]
        ratio = logits / temperature - none + math.log(UNMATCHED_ODDS * count)
        ratio = ratio.masked_fill(~self._known, 0.0)
        ratio = ratio - (ratio.amax(1, keepdim=True) - math.log(MOST_TELLING)).clamp_min(0.0)
        shifts = torch.log(1 - SEGMENT_MATCHES + SEGMENT_MATCHES * ratio.exp()) - math.log(count)
        return torch.cat([shifts, torch.zeros_like(shifts[:, :1])], dim=1).log_softmax(dim=1)


def _tensors(
    level: NDArray[np.float64], above: NDArray[np.float64], scatter: NDArray[np.float64]
) -> tuple[Tensor, Tensor, Tensor]:
    """The results of `above_median` as tensors, (trials, 1 or S); 0 where a value is not known."""
    known = np.where(np.isfinite(above), above, 0.0)
    return (
        torch.from_numpy(level[:, None]),
        torch.from_numpy(known),
        torch.from_numpy(scatter[:, None]),
    )


def _truths(some: Sequence[CalibrationTrial]) -> Tensor:
    """The probability of every shift and of "none", given each trial's known truth, divided by the
    prior: (trials, S + 1), up to a factor, nowhere 0.

    In the prior each of the S shifts has 1 / S of the probability of "none".
    """
    return torch.from_numpy(np.stack([_truth(each) for each in some])).clamp_min(1e-12)


def _truth(trial: CalibrationTrial) -> NDArray[np.float64]:
    """A row of `_truths`, (S + 1,)."""
    count = len(SHIFTS)
    if trial.truth is None:
        return np.append(np.zeros(count), 1.0)
    away = np.abs(SHIFTS - trial.truth)
    none = _KNOWN_NONE if trial.known else _UNKNOWN_NONE
    near = np.exp(-0.5 * (away / _FRAMES) ** 2 if trial.known else -away / _UNKNOWN_FRAMES)
    return np.append((1 - none) * count * near / near.sum(), none)


def _estimate(trial: CalibrationTrial, calibration: Calibration) -> Estimate:
    weighed = weigh_up(trial.score, trial.match, trial.seconds, calibration)
    return estimate(combine([weighed], calibration), SHIFTS, calibration)


def left_out(some: Sequence[CalibrationTrial]) -> dict[str, dict[str, float]]:
    """How well the calibration does on groups that it was not fitted to (cross-validation): each
    fifth of the groups is judged by a calibration fitted to the others.

    Returns:
        A row for each length of piece, as "4 s". `pieces`: how many have their own sound;
        `decided`: the share of these with the confidence that a verdict needs; `right`: the share
        of those that is within `NEAR_FRAMES` of the truth; `confidence` and `accuracy`: means over
        all pieces; `foreign_decided`: the share of the pieces with a stranger's sound that would
        still get an offset.
    """
    groups = sorted(set().union(*(trial.groups for trial in some)))
    rows: list[tuple[float, bool, float, bool]] = []
    for fold in range(min(_FOLDS, len(groups))):
        inside = set(groups[fold::_FOLDS])
        calibration = fit([trial for trial in some if not trial.groups & inside])
        for trial in known(some):
            if trial.groups <= inside or (trial.truth is None and trial.groups & inside):
                rows.append(_row(trial, calibration))
    return _shares(rows)


def judged(
    some: Sequence[CalibrationTrial], calibration: Calibration
) -> dict[str, dict[str, float]]:
    """How well one calibration does on all trials, in rows as those of `left_out`."""
    return _shares([_row(trial, calibration) for trial in known(some)])


def _row(trial: CalibrationTrial, calibration: Calibration) -> tuple[float, bool, float, bool]:
    """(seconds, own sound, confidence, right)"""
    estimated = _estimate(trial, calibration)
    right = trial.truth is not None and abs(estimated.frames - trial.truth) <= NEAR_FRAMES
    return trial.seconds, trial.truth is not None, estimated.confidence, right


def _shares(rows: Sequence[tuple[float, bool, float, bool]]) -> dict[str, dict[str, float]]:
    out = {}
    for seconds in sorted({row[0] for row in rows}):
        own = [row for row in rows if row[0] == seconds and row[1]]
        foreign = [row for row in rows if row[0] == seconds and not row[1]]
        sure = [row for row in own if row[2] >= Calibration.decide]
        shares = {
            "pieces": float(len(own)),
            "decided": len(sure) / max(len(own), 1),
            "right": sum(row[3] for row in sure) / max(len(sure), 1),
            "confidence": sum(row[2] for row in own) / max(len(own), 1),
            "accuracy": sum(row[3] for row in own) / max(len(own), 1),
            "foreign_decided": sum(row[2] >= Calibration.decide for row in foreign)
            / max(len(foreign), 1),
        }
        out[f"{seconds:g} s"] = {name: round(value, 3) for name, value in shares.items()}
    return out


def estimate_offset(model: Loaded, cached: CachedClip, calibration: Calibration) -> Estimate:
    """The offset of a whole clip as a check would estimate it, from pieces of 10 s. The confidence
    is 0 for a clip shorter than a block.
    """
    evidence = []
    count = len(cached.frames) // BLOCK_FRAMES * BLOCK_FRAMES
    for first in range(0, count, _LONG):
        times = min(_LONG, count - first)
        pictures = np.array(cached.frames[first : first + times])  # a copy: the cache is read-only
        view = look(pictures, np.ones(times, np.bool_), first / FRAME_RATE, model, LEVELS)
        piece = _trial(model, view, cached, cached, float(first), 0.0, alone=False)
        evidence.append(weigh_up(piece.score, piece.match, piece.seconds, calibration))
    if not evidence:
        return Estimate(0.0, 0.0)
    return estimate(combine(evidence, calibration), SHIFTS, calibration)


def calibrate(
    model: Loaded, held_out: Sequence[CachedClip], on_clip: Callable[[int, int], None] | None = None
) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """The calibration for the weights file, fitted to the clips held out, and how well it does on
    groups that were left out of the fit (`left_out`). `on_clip` as in `trials`.
    """
    measured = trials(model, held_out, on_clip=on_clip)
    return asdict(fit(measured)), left_out(measured)
