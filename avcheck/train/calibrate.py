"""Turn the classifier's scores into chances that hold: fitted on validation clips whose own offset is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avcheck.blocks import BLOCK_FRAMES, FRAME_RATE, MEL_RATE, log_mel, without_gaps
from avcheck.results import FRAME_MS
from avcheck.scan import LEVELS, MAX_SHIFT, SHIFTS, compare, look
from avcheck.train.corpus import CachedClip
from avcheck.train.sampling import EDGE_FRAMES, read_sound
from avcheck.verdict import Calibration, combine, estimate, posterior
from avcheck.weights import Loaded

_PIECE_S = (10, 4)  # long pieces, then what is left in short ones
_MAX_DISPLACED = 25  # frames
_FOREIGN_WEIGHT = 0.5


@dataclass(frozen=True)
class Trial:
    """One piece of a clip with its sound displaced by `truth` frames (positive = late), or a stranger's sound (None)."""

    clip: str
    score: NDArray[np.float32]
    truth: float | None


def trials(
    model: Loaded, clips: Sequence[CachedClip], *, seed: int = 7, on_clip: Callable[[int, int], None] | None = None
) -> list[Trial]:
    """Pieces of 10 s and 4 s of every clip, each once with its own sound displaced and once with another group's sound."""
    rng = np.random.default_rng(seed)
    out = []
    for number, cached in enumerate(clips):
        strangers = [item for item in clips if item.clip.group != cached.clip.group]
        first, end = EDGE_FRAMES, len(cached.frames) - EDGE_FRAMES
        while end - first >= _PIECE_S[-1] * BLOCK_FRAMES:
            times = next(seconds for seconds in _PIECE_S if end - first >= seconds * BLOCK_FRAMES) * BLOCK_FRAMES
            pictures = np.array(cached.frames[first : first + times])  # a copy: the cache is read-only
            seen = look(pictures, np.ones(times, np.bool_), first / BLOCK_FRAMES, model, LEVELS)
            truth = float(rng.uniform(-_MAX_DISPLACED, _MAX_DISPLACED))
            out.append(_trial(model, seen, cached, first + (cached.clip.offset_frames or 0.0) - truth, truth, cached.clip.id))
            if strangers:
                other = strangers[int(rng.integers(len(strangers)))]
                start = rng.uniform(0, max(1, len(other.frames) - times))
                out.append(_trial(model, seen, other, start, None, cached.clip.id))
            first += times
        if on_clip is not None:
            on_clip(number + 1, len(clips))
    return out


def _trial(model: Loaded, seen: Any, source: CachedClip, start: float, truth: float | None, clip: str) -> Trial:
    times = len(seen.shown)
    samples, heard = read_sound(source, start - MAX_SHIFT, times + 2 * MAX_SHIFT)
    # As in a file that ends here: there is no sound beyond the pictures' own time.
    heard[:MAX_SHIFT] = False
    heard[MAX_SHIFT + times :] = False
    scored, _, present = compare(seen, without_gaps(log_mel(samples), heard.repeat(MEL_RATE // FRAME_RATE)), heard, model)
    logits = scored.logits[0].float().cpu().numpy()
    score = logits[:, 1] - logits[:, 0]
    score[present.mean(axis=1) < 0.5] = -np.inf
    return Trial(clip, score, truth)


def fit(found: Sequence[Trial]) -> Calibration:
    """The temperature and the weight of "no match" under which the trials are likeliest; the constant bias; the guard."""
    own = [trial for trial in found if trial.truth is not None]
    foreign = [trial for trial in found if trial.truth is None]
    if not own:  # nothing to fit to: every candidate would do as well as the last
        return Calibration()
    best, least = Calibration(), np.inf
    for temperature in np.geomspace(0.3, 6.0, 25):
        for none in np.linspace(-6.0, 14.0, 41):
            candidate = Calibration(temperature=float(temperature), none=float(none))
            cost = sum(_surprise(trial, candidate) for trial in own) / max(len(own), 1)
            cost += _FOREIGN_WEIGHT * sum(_surprise(trial, candidate) for trial in foreign) / max(len(foreign), 1)
            if cost < least:
                best, least = candidate, cost
    errors = []
    for trial in own:
        told = estimate(combine([trial.score], best), SHIFTS, best)
        if told.confidence >= best.decide and trial.truth is not None:
            errors.append(told.frames - trial.truth)
    if errors:
        bias = float(np.median(errors))
        spread = float(np.percentile(np.abs(np.array(errors) - bias), 90))
        best = replace(
            best, bias_frames=round(bias, 3), guard_ms=round(min(max(spread * FRAME_MS, FRAME_MS), 1.5 * FRAME_MS), 1)
        )
    return replace(best, temperature=round(best.temperature, 4), none=round(best.none, 3))


def _surprise(trial: Trial, calibration: Calibration) -> float:
    shifts, none = posterior(trial.score, calibration)
    if trial.truth is None:
        return -float(np.log(none + 1e-9))
    near = np.abs(SHIFTS - trial.truth) <= 2.0
    # A piece may truly show nothing, so "no match" is a lesser fault than a wrong shift.
    return -float(np.log(shifts[near].sum() + none * near.mean() + 1e-9))


def calibrate(
    model: Loaded, held_out: Sequence[CachedClip], on_clip: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Calibration for the weights file, from the held-out speech clips with a trusted offset (all clips where none has one)."""
    known = [item for item in held_out if item.clip.trusted] or list(held_out)
    return asdict(fit(trials(model, known, on_clip=on_clip)))
