"""Claps: something that moves quickly at one place of the picture and stops dead, like the stick of
a closing clapperboard, or hands that meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avcheck.signals.looks import Looks

_MOVED = 24  # quarters of a level, by which a cell of the stick moves at least
# a stick closes within the first; before and after, it hardly moves for the second
_SWING_S, _REST_S = 0.2, 0.15
_LEAST_PICTURES = 3  # of either
_AFTER, _BEFORE = 0.3, 0.5  # of its quickest motion, then
_LEAST_CELLS = 2
_MOST_CELLS = 0.3  # of the picture: more is a cut, or the camera
_QUICK = 0.5  # of its quickest motion, just before it stops
_STOPPED = 0.1
# Of the time between two pictures, when a stick has moved by next to nothing in it, and by as much
# as in the one before; measured on drawn boards, with shutters open for none to all of the time
_PASSED = (0.01, 0.88)
_USUAL_S = 1.5  # on either side: a hand that is never still
_USUAL_SHARE = 50  # percent of that time in which a cell moves
_USUAL = 4  # times less than when the stick closes
_WEAK = 0.4  # of the strongest: other things that stop


@dataclass(frozen=True)
class Closing:
    """Something stops dead at time_s, in seconds on the file's clock. strength: how much moved
    before.
    """

    time_s: float
    strength: float


def closings_of(looks: Looks) -> list[Closing]:
    """What stops dead, in order, except what moves much less than the strongest.

    It stops between two pictures, the later the more it moves from one to the other.
    """
    if len(looks) < 2:
        return []
    motion = looks.motion.astype(np.int16)
    picture_s = float(np.median(np.diff(looks.times_s)))
    swing, rest = (
        max(_LEAST_PICTURES, round(each_s / picture_s)) for each_s in (_SWING_S, _REST_S)
    )
    stops: list[Closing] = []
    for at in range(swing + rest, len(looks) - rest):
        stop = _stop(motion, at, swing, rest, round(_USUAL_S / picture_s))
        if stop is not None:
            strength, passed = stop
            before_s, at_s = looks.times_s[at - 1 : at + 1]
            stops.append(Closing(float(before_s + passed * (at_s - before_s)), strength))
    strongest = max((each.strength for each in stops), default=0.0)
    return _apart([each for each in stops if each.strength >= _WEAK * strongest], _SWING_S)


def _stop(
    motion: NDArray[np.int16], at: int, swing: int, rest: int, usual: int
) -> tuple[float, float] | None:
    """How much moves in the `swing` pictures up to `at`, and not in the `rest` before and after
    them; and which share of the time since the picture before had passed when it stopped. None if
    nothing stops dead, or no more than in the `usual` pictures on either side.
    """
    moving = motion[at - swing + 1 : at + 1]
    before, after = motion[at - swing - rest + 1 : at - swing + 1], motion[at + 1 : at + rest + 1]
    quickest = moving.max(axis=0)
    cells = quickest >= _MOVED
    if not _LEAST_CELLS <= cells.sum() <= _MOST_CELLS * len(cells):
        return None
    cells &= (after.max(axis=0) <= _AFTER * quickest) & (before.max(axis=0) <= _BEFORE * quickest)
    if cells.sum() < _LEAST_CELLS:
        return None
    around = motion[max(0, at - usual) : at + usual, cells]
    noise = float(np.median(around, axis=0).sum())
    course = np.maximum(moving[:, cells].sum(axis=1) - noise, 0.0)
    most, left = float(course.max()), float(after[:, cells].sum(axis=1).max()) - noise
    moves = most > 0 and course[-2] >= _QUICK * most and course[-1] >= _STOPPED * most
    if not moves or left >= _STOPPED * most:
        return None
    rare = quickest[cells] >= _USUAL * np.percentile(around, _USUAL_SHARE, axis=0)
    if rare.sum() < _LEAST_CELLS:
        return None
    share = min(1.0, float(course[-1] / course[-2]))
    return float(quickest[cells][rare].sum()), _PASSED[0] + share * (_PASSED[1] - _PASSED[0])


def _apart(closings: list[Closing], near_s: float) -> list[Closing]:
    """Keep the strongest of closings that lie together: something that seems to stop while the rest
    still moves is weaker.
    """
    kept: list[Closing] = []
    for each in closings:
        if kept and each.time_s - kept[-1].time_s <= near_s:
            if each.strength >= kept[-1].strength:
                kept[-1] = each
        else:
            kept.append(each)
    return kept
