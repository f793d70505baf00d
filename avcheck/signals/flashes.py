"""Flashes: parts of a picture that become bright, or dark, at once, and soon are again as they
were.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avcheck.media import Picture

_ROWS, _COLUMNS = 12, 16  # cells of a picture
_CHANGE = 40  # of a cell's level, 0..255
_LONGEST_S = 1.0  # flash; longer is another picture
_BACK = 0.35  # of the change may remain when a flash has ended
_LEAST_CELLS = 2
_LIT = 0.9  # of the full level: a picture less bright than that was lit for a part of its time only
_FIRST_LIGHT = 0.15  # of the full level: what a codec leaves of the next picture is less

Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class Flash:
    """When a flash begins, in seconds on the file's clock, and which cells it fills."""

    start_s: float
    cells: NDArray[np.bool_]


def flashes_of(pictures: Iterable[Picture]) -> list[Flash]:
    """The flashes of a file in order.

    Where the first picture of a flash is not at its full level and the next one is, the flash began
    while it was exposed: the share of the light that is missing is the share of the picture's time
    that had passed.
    """
    times: list[float] = []
    levels: list[Levels] = []
    for picture in pictures:
        times.append(picture.pts_s)
        levels.append(_cells(picture.luma))
    return _flashes(np.array(times), np.array(levels, np.uint8)) if levels else []


def _cells(luma: NDArray[np.uint8]) -> Levels:
    """The mean of each cell of a picture, (R * C,) uint8."""
    height, width = luma.shape
    rows = np.linspace(0, height, min(_ROWS, height) + 1).astype(int)[:-1]
    columns = np.linspace(0, width, min(_COLUMNS, width) + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(luma.astype(np.uint32), rows, axis=0), columns, axis=1)
    sizes = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    means: Levels = (sums / sizes + 0.5).astype(np.uint8).ravel()
    return means


def _flashes(times_s: NDArray[np.float64], levels: Levels) -> list[Flash]:
    """`levels`: (N, cells)."""
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
        ended = at + 1 + back  # where the old picture is back
        flashes.append(Flash(_begin_s(times_s, levels, at, cells), cells))
    return flashes


def _sudden(levels: Levels) -> list[int]:
    """The pictures that differ from the one before by `_CHANGE` in some cells; or begin to, and do
    so in the next picture.
    """
    if len(levels) < 3:
        return []
    sudden: list[int] = []
    for at in range(1, len(levels)):
        before = levels[at - 1].astype(int)
        step = np.abs(levels[at].astype(int) - before)
        if (step >= _CHANGE).sum() >= _LEAST_CELLS:
            sudden.append(at)
        elif at + 1 < len(levels):
            two = np.abs(levels[at + 1].astype(int) - before)
            if ((two >= _CHANGE) & (step >= _FIRST_LIGHT * two)).sum() >= _LEAST_CELLS:
                sudden.append(at)
    return sudden


def _begin_s(times_s: NDArray[np.float64], levels: Levels, at: int, cells: NDArray[Any]) -> float:
    series = levels[at - 1 : at + 3, cells].astype(float).mean(axis=1)
    first = abs(series[1] - series[0])
    full = max(abs(value - series[0]) for value in series[1:])
    if at + 1 < len(times_s) and first < _LIT * full and abs(series[2] - series[0]) >= _LIT * full:
        return float(times_s[at] + (1 - first / full) * (times_s[at + 1] - times_s[at]))
    return float(times_s[at])
