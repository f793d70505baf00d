"""Offsets beyond the two seconds that the classifier searches: the sound is laid earlier and later
in steps, and each of these is compared with the same pictures, as a further sound would be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from avcheck.rates import FRAME_RATE
from avcheck.reading.choice import Choice
from avcheck.record.report import FRAME_MS, USUAL_REACH_S
from avcheck.verdict.judge import Judgement, Reason, no_match
from avcheck.verdict.posterior import (
    FILE_MATCHES,
    NEAR_FRAMES,
    Calibration,
    Curve,
    evidence,
    log_likelihood,
    needed_confidence,
)

# What two steps search overlaps by 0.4 s, as less can be compared at the end of a search
STEP_FRAMES = 90
# By how much smaller than usual the chance of error has to be for so large an offset, which is
# seldom
_DOUBT = 5.0
_NEAR_MS = NEAR_FRAMES * FRAME_MS


@dataclass(frozen=True)
class Search:
    """One search: of a sound laid `later_frames` later than the file says.

    judgement: with the offsets of the file; likelihood: how much likelier a match in its reach
    makes the file than none, summed over the shifts, as a logarithm.
    """

    later_frames: int
    judgement: Judgement
    likelihood: float

    @property
    def off_centre_ms(self) -> float:
        """How far from the middle of what was searched its offset lies."""
        return abs((self.judgement.offset_ms or 0.0) - self.later_frames * FRAME_MS)


def laid(choices: Sequence[Choice], reach_s: float) -> tuple[Choice, ...]:
    """These sounds, each laid where offsets of up to `reach_s` are found."""
    steps = math.ceil((reach_s - USUAL_REACH_S) * FRAME_RATE / STEP_FRAMES - 1e-9)
    return tuple(
        replace(choice, later_frames=STEP_FRAMES * step)
        for choice in choices
        for step in range(-steps, steps + 1)
    )


def as_in_file(curves: Sequence[Curve], choice: Choice) -> list[Curve]:
    """The curves of a sound that was laid elsewhere, over the shifts of the sound as it is."""
    return [replace(curve, shifts=curve.shifts - choice.later_frames) for curve in curves]


def likelihood_of(curves: Sequence[Curve], calibration: Calibration) -> float:
    """`Search.likelihood` of these curves."""
    logs = log_likelihood([evidence(each, calibration) for each in curves], calibration)
    return float(np.logaddexp.reduce(logs))


def foremost(choices: Sequence[Choice], judgements: Sequence[Judgement]) -> list[Judgement]:
    """For each sound, of the judgements on it as laid here and there, that which most segments
    agree with.
    """
    pairs = zip(choices, judgements, strict=True)
    by_sound = groupby(pairs, key=lambda pair: pair[0].as_it_is)
    return [max((each for _, each in its), key=_agreeing) for _, its in by_sound]


def _agreeing(judgement: Judgement) -> int:
    if judgement.offset_ms is None:
        return 0
    return sum(
        each.offset_ms is not None and abs(each.offset_ms - judgement.offset_ms) <= _NEAR_MS
        for each in judgement.segments
    )


def chosen_of(
    searches: Sequence[Search], shifts: int, reach_s: float, calibration: Calibration
) -> tuple[int, Judgement]:
    """What all searches for the offset of one sound say together.

    The usual one decides what it finds, unless another is sure beside it. Each counts by how much
    likelier it makes the file than the others do, and than no match does.

    Args:
        searches: One of them with `later_frames` 0.
        shifts: How many shifts each has.
        reach_s: How far was searched.
        calibration: That of the weights.

    Returns:
        The `later_frames` of the search that decides, and the judgement.
    """
    logs = np.array([each.likelihood for each in searches])
    none = math.log((1 - FILE_MATCHES) / FILE_MATCHES * len(searches) * shifts)
    shares = np.exp(logs - np.logaddexp(np.logaddexp.reduce(logs), none))

    def confidence(search: Search) -> float:
        offset_ms = search.judgement.offset_ms
        if offset_ms is None:
            return 0.0
        # Where two searches overlap both find the same
        agree = [
            each.judgement.offset_ms is not None
            and abs(each.judgement.offset_ms - offset_ms) <= _NEAR_MS
            for each in searches
        ]
        return search.judgement.confidence * float(shares[agree].sum())

    usual = next(each for each in searches if each.later_frames == 0)
    needed_near = needed_confidence(_seconds(usual.judgement), calibration)
    needed = 1 - (1 - needed_near) / _DOUBT
    sure = [each for each in searches if confidence(each) >= needed]
    if sure:
        best = min(sure, key=lambda each: each.off_centre_ms)
        return best.later_frames, best.judgement
    judgement = usual.judgement
    if judgement.reason_code == "no_match":
        best = max(searches, key=confidence)
        why = no_match(reach_s)
        if confidence(best) >= needed_near:
            why = _too_short(best, confidence(best), needed)
        judgement = replace(judgement, reason=why.text, reason_code=why.code)
    return 0, judgement


def _too_short(search: Search, confidence: float, needed: float) -> Reason:
    size_s = abs(search.judgement.offset_ms or 0.0) / 1000
    text = (
        f"too short to be sure of an offset of {size_s:.1f} s (confidence {confidence:.3f}, "
        f"{needed:g} needed beyond {USUAL_REACH_S:g} s)"
    )
    return Reason("too_short", text)


def _seconds(judgement: Judgement) -> float:
    """How much was looked at."""
    return sum(each.end_s - each.start_s for each in judgement.segments)
