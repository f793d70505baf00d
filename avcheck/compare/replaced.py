"""Where a picture that goes on in its time shows something else than the reference for a while: the
brightness of its cells is compared with what the reference has at the same moments.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avcheck.compare.align import Piece, at_times
from avcheck.compare.features import smoothed
from avcheck.compare.find import Features
from avcheck.compare.pictures import least_sizes

_LEAST_S = 0.7  # that something else is shown
_LEAST_PART_S = 0.5  # of what is left beside it
_STEP_S = 0.04  # between moments that are compared
_AROUND = 11  # of these, that agreement is averaged over
# Luma, 0..255: cells that change by less say as little as this, as an encoder changes them as well
_FLOOR = 1.5
_STILL = 0.25  # of the usual size, squared: what a picture that stands still is compared with
_DIFFERENT = 0.45  # of a piece's usual agreement, below which pictures differ
_USUAL = 0.5  # of agreement, in a piece that tells


def without_replaced(
    parts: Sequence[Piece], reference: Features, file: Features
) -> tuple[Piece, ...]:
    """The pieces less the stretches in which the file shows something else. `reference`, `file`:
    the brightness of the cells.
    """
    return tuple(rest for part in parts for rest in _rest(part, reference, file))


def _rest(part: Piece, reference: Features, file: Features) -> list[Piece]:
    count = max(1, round((part.end_s - part.start_s) / _STEP_S))
    times = part.start_s + _STEP_S * np.arange(0.5, count)
    same = agreement(at_times(reference, part.reference_s(times)), at_times(file, times))
    usual = float(np.median(same))
    if usual < _USUAL:
        return [part]
    ends = [0]
    for start, end in _runs(same < _DIFFERENT * usual):
        if end - start >= _LEAST_S / _STEP_S:
            ends += [start, end]
    ends.append(count)
    least = _LEAST_PART_S / _STEP_S
    kept = [(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True) if b - a >= least]
    if kept == [(0, count)]:
        return [part]
    return [
        Piece(
            part.start_s + first * _STEP_S,
            part.start_s + last * _STEP_S if last < count else part.end_s,
            part.reference_s(part.start_s + first * _STEP_S),
            part.pace,
        )
        for first, last in kept
    ]


def agreement(reference: NDArray[np.float32], file: NDArray[np.float32]) -> NDArray[np.float32]:
    """How well rows (n, cells) of brightness agree in how far they are from their middle: 1 the
    same, 0 as different as any two.
    """
    theirs, ours = (rows - np.median(rows, axis=0) for rows in (reference, file))
    first, second = (np.median(np.abs(rows), axis=0) for rows in (theirs, ours))
    least = least_sizes(first, second, _FLOOR)
    theirs, ours = (
        np.clip(rows / each, -1, 1) for rows, each in zip((theirs, ours), least, strict=True)
    )
    apart, of = (
        smoothed(np.asarray(values, np.float32)[:, None], _AROUND)[:, 0]
        for values in (
            np.square(ours - theirs).sum(axis=1),
            (np.square(ours) + np.square(theirs) + _STILL).sum(axis=1),
        )
    )
    return np.asarray(1 - apart / of, np.float32)


def _runs(holds: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The runs in which it holds: from, and up to."""
    steps = np.flatnonzero(np.diff(np.concatenate([[0], holds.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(steps[::2], steps[1::2], strict=True)]
