"""Claps: something that moves quickly at one place of the picture and stops dead, as the stick of a
clapperboard that closes, or hands that meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avcheck.signals.looks import Looks

_MOVED = 24  # quarters of a level, that a cell of the stick moves by at most quick
_SWING = 5  # pictures in which a stick closes
_REST = 4  # pictures before and after, in which it hardly moves
_AFTER, _BEFORE = 0.3, 0.5  # of its quickest motion, then
_LEAST_CELLS = 2
_MOST_CELLS = 0.3  # of the picture: more is a cut, or the camera
_QUICK = 0.5  # of its quickest motion, just before it stops
_STOPPED = 0.15
_WEAK = 0.5  # of the strongest: other things that stop


@dataclass(frozen=True)
class Closing:
    """When something stops dead, in seconds on the file's clock, and how much moved before."""

    time_s: float
    strength: float


def closings_of(looks: Looks) -> list[Closing]:
    """What stops dead, in order; of what moves much less than the strongest, nothing.

    It stops between two pictures, of which the middle is told: half a picture is the error.
    """
    motion = looks.motion.astype(np.int16)
    found = [
        closing
        for at in range(_SWING + _REST, len(looks) - _REST)
        if (closing := _closing(looks.times_s, motion, at)) is not None
    ]
    strongest = max((each.strength for each in found), default=0.0)
    return _apart([each for each in found if each.strength >= _WEAK * strongest], looks)


def _closing(times_s: NDArray[np.float64], motion: NDArray[np.int16], at: int) -> Closing | None:
    """What moves for the last time between the pictures `at - 1` and `at`."""
    swing = motion[at - _SWING + 1 : at + 1]
    quickest = swing.max(axis=0)
    cells = quickest >= _MOVED
    if not _LEAST_CELLS <= cells.sum() <= _MOST_CELLS * len(cells):
        return None
    after = motion[at + 1 : at + 1 + _REST].max(axis=0)
    before = motion[at - _SWING - _REST + 1 : at - _SWING + 1].max(axis=0)
    cells &= (after <= _AFTER * quickest) & (before <= _BEFORE * quickest)
    if cells.sum() < _LEAST_CELLS:
        return None
    course = motion[at - _SWING + 1 : at + 1 + _REST, cells].sum(axis=1).astype(float)
    most, rest = float(course[:_SWING].max()), float(course[_SWING:].max())
    if (
        course[_SWING - 1] < _STOPPED * most
        or course[_SWING - 2] < _QUICK * most
        or rest > _STOPPED * most
    ):
        return None
    return Closing(float(times_s[at - 1 : at + 1].mean()), float(quickest[cells].sum()))


def _apart(closings: list[Closing], looks: Looks) -> list[Closing]:
    """One of those that lie together: what seems to stop while the rest still moves is weaker."""
    near_s = _SWING * float(np.median(np.diff(looks.times_s))) if len(looks) > 1 else 0.0
    kept: list[Closing] = []
    for each in closings:
        if kept and each.time_s - kept[-1].time_s <= near_s:
            if each.strength >= kept[-1].strength:
                kept[-1] = each
        else:
            kept.append(each)
    return kept
