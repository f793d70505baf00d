"""Single pictures before black: the 2 of a leader, which is seen for one picture two seconds before
the film and heard as a pop.
"""

from __future__ import annotations

import numpy as np

from avcheck.signals.looks import Looks

_MOVED = 40  # quarters of a level, by which a changed cell differs
_LEAST_CELLS = 6
_SUDDEN = 3  # times as many cells change as in any picture just before
_BEFORE = 3  # so many pictures before
_LONGEST_S = 0.09  # for which it is seen; a picture of a slow film is several of a capture
_BLACK_S = 0.9  # that follows
_FLAT = 12  # levels between the cells of a black picture


def singles_of(looks: Looks) -> list[float]:
    """When single pictures before black are shown, in seconds on the file's clock."""
    times_s = looks.times_s
    moved = (looks.motion >= _MOVED).sum(axis=1)
    flat = np.ptp(looks.levels, axis=1) <= _FLAT
    at_s: list[float] = []
    for black in np.flatnonzero((moved >= _LEAST_CELLS) & flat).tolist():
        end = int(np.searchsorted(times_s, times_s[black] + _BLACK_S))
        if end >= len(times_s) or (moved[black + 1 : end] >= _LEAST_CELLS).any():
            continue
        first = int(np.searchsorted(times_s, times_s[black] - _LONGEST_S))
        if not 0 < first < black:
            continue
        at = first + int(moved[first:black].argmax())
        least = max(_LEAST_CELLS, _SUDDEN * int(moved[max(0, at - _BEFORE) : at].max(initial=0)))
        if moved[at] >= least:
            at_s.append(float(times_s[at]))
    return at_s
