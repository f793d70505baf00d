"""Flashes: parts of a picture that suddenly become bright or dark, and soon are as before. The hand
of a countdown makes one at every full second, as it starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avcheck.signals.looks import Levels, Looks

_CHANGE = 40  # of a cell's level, 0..255
_LONGEST_S = 1.0  # flash; longer is another picture
_GROWS = 2  # times as many cells may have changed by the end of a flash
_BACK = 0.35  # of the change may remain when a flash has ended
_LEAST_CELLS = 2
_SUDDEN = 3  # times as many cells change as in any picture just before
_BEFORE = 3  # so many pictures before
_LIT = 0.9  # of the full level: a darker picture was lit for only a part of its time
_FIRST_LIGHT = 0.15  # of the full level; a codec's leak of the next picture is weaker


@dataclass(frozen=True, eq=False)
class Flash:
    """A flash. start_s: when it begins, in seconds on the file's clock; cells: that it fills."""

    start_s: float
    cells: NDArray[np.bool_]


def flashes_of(looks: Looks) -> list[Flash]:
    """The flashes of a file in order.

    If the first picture of a flash is not at its full level and the next one is, the flash began
    while the first was exposed: the missing share of the light is the share of its time that had
    passed.
    """
    times_s, levels = looks.times_s, looks.levels
    flashes: list[Flash] = []
    ended = -1
    for at in _sudden(levels):
        if at <= ended:
            continue
        before = levels[at - 1].astype(int)
        first, second = levels[[at, min(at + 1, len(levels) - 1)]].astype(int) - before
        change = np.where(np.abs(second) > np.abs(first), second, first)
        changed = np.abs(change) >= _CHANGE
        end = int(np.searchsorted(times_s, times_s[at] + _LONGEST_S, "right"))
        after = levels[at + 1 : end].astype(int)
        left = np.abs(after - before) <= _BACK * np.abs(change)
        cells = changed & left.any(axis=0)
        if cells.sum() < _LEAST_CELLS or cells.sum() < 0.5 * changed.sum():
            continue
        back = int(np.median(left[:, cells].argmax(axis=0)))
        others = (np.abs(after[:back] - before) >= _CHANGE).sum(axis=1)
        if others.max(initial=0) > _GROWS * cells.sum():
            continue  # the hand of a countdown starts anew
        ended = at + 1 + back  # where the old picture is back
        flashes.append(Flash(_begin_s(times_s, levels, at, cells), cells))
    return flashes


def _sudden(levels: Levels) -> list[int]:
    """The pictures that differ from the one before by `_CHANGE` in some cells; or begin to, and do
    so in the next picture. A hand that sweeps through the picture changes as many cells all the
    time.
    """
    if len(levels) < 3:
        return []
    sudden: list[int] = []
    latest = [0] * _BEFORE
    for at in range(1, len(levels)):
        before = levels[at - 1].astype(int)
        step = np.abs(levels[at].astype(int) - before)
        count = int((step >= _CHANGE).sum())
        begun = count
        if count < _LEAST_CELLS and at + 1 < len(levels):
            two = np.abs(levels[at + 1].astype(int) - before)
            begun = int(((two >= _CHANGE) & (step >= _FIRST_LIGHT * two)).sum())
        if begun >= max(_LEAST_CELLS, _SUDDEN * max(latest)):
            sudden.append(at)
        latest = [*latest[1:], count]
    return sudden


def _begin_s(times_s: NDArray[np.float64], levels: Levels, at: int, cells: NDArray[Any]) -> float:
    series = levels[at - 1 : at + 3, cells].astype(float).mean(axis=1)
    first = abs(series[1] - series[0])
    full = max(abs(value - series[0]) for value in series[1:])
    if at + 1 < len(times_s) and first < _LIT * full and abs(series[2] - series[0]) >= _LIT * full:
        return float(times_s[at] + (1 - first / full) * (times_s[at + 1] - times_s[at]))
    return float(times_s[at])
