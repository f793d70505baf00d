"""Countdowns: a figure in a still picture that changes once a second, and a tick in the sound."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from avcheck.signals.looks import Looks

_MOVED = 40  # quarters of a level, by which a changed cell differs
_LEAST_CELLS = 4
_MOST_CELLS = 0.5  # of a picture: more is another picture, as after a cut
_CALM = 0.1  # of a change's cells that may move between two changes
_SECOND_S = 1.0
_PICTURES = 1.5  # by which a second may be longer or shorter: a count appears on a picture
_SAME_CELLS = 0.5  # of a change's cells that the next one changes too
_LEAST = 3  # changes in a row


def counts_of(looks: Looks) -> list[float]:
    """When the figure of a countdown changes, in seconds on the file's clock: at least three times,
    a second apart, at one place of a picture that is still in between.
    """
    moved = looks.motion >= _MOVED
    cells = moved.sum(axis=1)
    changes = [
        at
        for at in np.flatnonzero(cells >= _LEAST_CELLS).tolist()
        if cells[at] <= _MOST_CELLS * moved.shape[1]
    ]
    runs: list[list[int]] = [[]]
    for before, after in pairwise(changes):
        if _follows(looks, moved, cells, before, after):
            runs[-1] = runs[-1] or [before]
            runs[-1].append(after)
        elif runs[-1]:
            runs.append([])
    longest = max(runs, key=len)
    return [float(looks.times_s[at]) for at in longest] if len(longest) >= _LEAST else []


def _follows(
    looks: Looks, moved: NDArray[np.bool_], cells: NDArray[np.int_], before: int, after: int
) -> bool:
    """Whether a change is the next count after another one."""
    picture_s = float(looks.times_s[after] - looks.times_s[after - 1])
    second_s = float(looks.times_s[after] - looks.times_s[before])
    between = cells[before + 1 : after]
    least = min(cells[before], cells[after])
    return (
        abs(second_s - _SECOND_S) <= _PICTURES * picture_s
        and (not len(between) or int(between.max()) <= _CALM * least)
        and int((moved[before] & moved[after]).sum()) >= _SAME_CELLS * least
    )
