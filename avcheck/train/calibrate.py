"""Turn the classifier's scores into chances that hold: fitted on validation clips whose own offset
is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avcheck.blocks import BLOCK_FRAMES, FRAME_RATE, without_gaps
from avcheck.looking import LEVELS, Look, look
from avcheck.mel import MEL_RATE, log_mel
from avcheck.posterior import (
    NEAR_FRAMES,
    UNMATCHED_ODDS,
    Calibration,
    Estimate,
    combine,
    estimate,
    weigh_up,
)
from avcheck.report import FRAME_MS
from avcheck.segments import MAX_SHIFT, SEGMENT_BLOCKS
from avcheck.shifts import SHIFTS, compare
from avcheck.train.corpus import CachedClip
from avcheck.train.sampling import EDGE_FRAMES, read_sound
from avcheck.weights import Loaded

_LONG = SEGMENT_BLOCKS * BLOCK_FRAMES  # pictures: a segment of a film
_SHORT = 4 * BLOCK_FRAMES  # and the whole of a short file
_MAX_DISPLACED = 25  # frames
_TEMPERATURES = np.geomspace(0.3, 12.0, 34)
_NONES = np.linspace(-6.0, 14.0, 81)
_MATCHES = (0.0, 0.2, 0.5, 1.0, 1.5, 2.5, 4.0, 6.0)


@dataclass(frozen=True)
class Trial:
    """One piece of a clip with its sound displaced by `truth` frames (positive = late), or a
    stranger's sound (None).

    groups: of the clip whose pictures and of the one whose sound it is; score, match: (S,) as in
    `posterior.Curve`; seconds: how long the piece is.
    """

    groups: frozenset[str]
    score: NDArray[np.float32]
    match: NDArray[np.float32]
    truth: float | None
    seconds: float


def trials(
    model: Loaded,
    clips: Sequence[CachedClip],
    *,
    seed: int = 7,
    on_clip: Callable[[int, int], None] | None = None,
) -> list[Trial]:
    """Pieces of 10 s and 4 s of every clip, each once with its own sound displaced and once with
    another group's sound.
    """
    rng = np.random.default_rng(seed)
    out = []
    for number, cached in enumerate(clips):
        strangers = [item for item in clips if item.clip.group != cached.clip.group]
        truth = float(rng.uniform(-_MAX_DISPLACED, _MAX_DISPLACED))
        first, end = EDGE_FRAMES, len(cached.frames) - EDGE_FRAMES
        while end - first >= _SHORT:
            times = min(_LONG, (end - first) // BLOCK_FRAMES * BLOCK_FRAMES)
            # A copy: the cache is read-only
            pictures = np.array(cached.frames[first : first + times])
            view = look(pictures, np.ones(times, np.bool_), first / BLOCK_FRAMES, model, LEVELS)
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
) -> Trial:
    times = len(view.shown)
    samples, heard = read_sound(source, start - MAX_SHIFT, times + 2 * MAX_SHIFT)
    if alone:  # as in a file that ends here: there is no sound beyond the pictures' own time
        heard[:MAX_SHIFT] = False
        heard[MAX_SHIFT + times :] = False
    compared = compare(
        view, without_gaps(log_mel(samples), heard.repeat(MEL_RATE // FRAME_RATE)), heard, model
    )
    groups = frozenset({shown.clip.group, source.clip.group})
    return Trial(
        groups, compared.weighed_score(), compared.weighed_match(), truth, times / FRAME_RATE
    )


def fit(some: Sequence[Trial]) -> Calibration:
    """The calibration under which the trials are likeliest; then the constant bias and the
    measuring error.
    """
    # Nothing to fit to: every candidate would do as well as the last
    if not any(trial.truth is not None for trial in some):
        return Calibration()
    best = min((_fit_chances(some, match) for match in _MATCHES), key=lambda pair: pair[1])[0]
    errors = []
    for trial in some:
        estimated = estimate(
            combine([weigh_up(trial.score, trial.match, best)], best), SHIFTS, best
        )
        if estimated.confidence >= best.decide and trial.truth is not None:
            errors.append(estimated.frames - trial.truth)
    if errors:
        bias = float(np.median(errors))
        spread_ms = float(np.percentile(np.abs(np.array(errors) - bias), 95)) * FRAME_MS
        best = replace(
            best,
            bias_frames=round(bias, 3),
            guard_ms=round(float(np.clip(spread_ms, FRAME_MS / 2, 1.5 * FRAME_MS)), 1),
        )
    return best


def _fit_chances(some: Sequence[Trial], match: float) -> tuple[Calibration, float]:
    """The likeliest temperature and weight of "no match" at one weight of the trunks' score, and
    the mean surprise there.
    """
    raw = np.stack([weigh_up(trial.score, trial.match, Calibration(match=match)) for trial in some])
    own = np.array([trial.truth is not None for trial in some])
    near = (
        np.abs(
            SHIFTS - np.array([[np.nan if trial.truth is None else trial.truth] for trial in some])
        )
        <= NEAR_FRAMES
    )
    best, least = Calibration(match=match), np.inf
    for temperature in _TEMPERATURES:
        logits = raw / temperature
        everywhere = np.logaddexp.reduce(logits, axis=1)[:, None]
        at_truth = np.logaddexp.reduce(np.where(near, logits, -np.inf), axis=1)[:, None]
        total = np.logaddexp(everywhere, _NONES)  # (trials, candidates)
        none = np.exp(_NONES - total)
        # A piece may truly show nothing, so "no match" is a lesser fault than a wrong shift.
        chance = np.where(
            own[:, None], np.exp(at_truth - total) + none * near.mean(axis=1, keepdims=True), none
        )
        surprise = -np.log(chance + 1e-9)
        cost = surprise[own].mean(axis=0)
        if not own.all():
            cost = cost + UNMATCHED_ODDS * surprise[~own].mean(axis=0)
        at = int(np.argmin(cost))
        if cost[at] < least:
            best = replace(
                best, temperature=round(float(temperature), 4), none=round(float(_NONES[at]), 3)
            )
            least = float(cost[at])
    return best, least


def left_out(some: Sequence[Trial], folds: int = 5) -> dict[str, dict[str, float]]:
    """How the calibration holds on groups that its fit did not see: one row for each length of
    piece.

    Each fifth of the groups is judged with what was fitted to the others. `decided`: share of the
    pieces with the confidence a verdict needs; `right`: of those, within `NEAR_FRAMES` of the
    truth; `confidence` and `accuracy`: means over all pieces; `foreign_decided`: the share of
    pieces with a stranger's sound that would still be told an offset.
    """
    groups = sorted(set().union(*(trial.groups for trial in some)))
    rows: list[tuple[float, bool, float, bool]] = []
    for fold in range(min(folds, len(groups))):
        inside = set(groups[fold::folds])
        calibration = fit([trial for trial in some if not trial.groups & inside])
        for trial in some:
            if trial.groups <= inside or (trial.truth is None and trial.groups & inside):
                rows.append(_row(trial, calibration))
    return _shares(rows)


def judged(some: Sequence[Trial], calibration: Calibration) -> dict[str, dict[str, float]]:
    """How a calibration does on trials: as `left_out`, with the same one for all."""
    return _shares([_row(trial, calibration) for trial in some])


def _row(trial: Trial, calibration: Calibration) -> tuple[float, bool, float, bool]:
    """(seconds, own sound, confidence, right)"""
    estimated = estimate(
        combine([weigh_up(trial.score, trial.match, calibration)], calibration), SHIFTS, calibration
    )
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


def told_offset(model: Loaded, cached: CachedClip, calibration: Calibration) -> Estimate:
    """The offset of a whole clip as a check would tell it, from its pieces of 10 s (all of it where
    it is shorter).

    Without any confidence where it is too short for a block.
    """
    evidence = []
    count = len(cached.frames) // BLOCK_FRAMES * BLOCK_FRAMES
    for first in range(0, count, _LONG):
        times = min(_LONG, count - first)
        pictures = np.array(cached.frames[first : first + times])  # a copy: the cache is read-only
        view = look(pictures, np.ones(times, np.bool_), first / FRAME_RATE, model, LEVELS)
        piece = _trial(model, view, cached, cached, float(first), 0.0, alone=False)
        evidence.append(weigh_up(piece.score, piece.match, calibration))
    if not evidence:
        return Estimate(0.0, 0.0)
    return estimate(combine(evidence, calibration), SHIFTS, calibration)


def calibrate(
    model: Loaded, held_out: Sequence[CachedClip], on_clip: Callable[[int, int], None] | None = None
) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """Calibration for the weights file, from the held-out speech clips with a trusted offset (all
    clips where none has one).

    And how it holds on groups left out of the fit (`left_out`).
    """
    known = [item for item in held_out if item.clip.trusted] or list(held_out)
    measured = trials(model, known, on_clip=on_clip)
    return asdict(fit(measured)), left_out(measured)
