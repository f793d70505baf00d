"""Where a picture shows something else than the reference for a while, without a step in its time.

The brightness of its cells is compared with that of the reference at the same moments, and so is
how it moves: a still picture, or another take, is as bright as what it replaces, but moves
differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

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
_MOVING = 6  # cells, those that move most in the reference
_MOVES = 2.0  # luma, 0..255: by which they move at least in a second, root mean square
_SECOND = 25  # moments, over which movement is compared
_OTHERWISE = 0.3  # of a piece's usual likeness of movement, below which it moves otherwise
_ALIKE = 0.7  # of it, from which it shows the same, however coarse


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
    theirs, ours = at_times(reference, part.reference_s(times)), at_times(file, times)
    ends = [0, *chain.from_iterable(_replaced(theirs, ours))]
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


def _replaced(theirs: NDArray[np.float32], ours: NDArray[np.float32]) -> list[tuple[int, int]]:
    """The runs of rows (n, cells) of brightness in which the file shows something else: from, and
    up to.
    """
    same, alike = agreement(theirs, ours), likeness_of_motion(theirs, ours)
    usual, usually_alike = float(np.median(same)), float(np.nanmedian([*alike, 0.0]))
    runs = _long(same < _DIFFERENT * usual) if usual >= _USUAL else []
    if usually_alike < _USUAL:  # next to nothing moves
        return runs
    moves_as_well = _ALIKE * usually_alike
    runs = [run for run in runs if not np.median(alike[slice(*run)]) >= moves_as_well]
    # A second that holds a little of something else moves otherwise: how it looks tells better
    # from when to when
    otherwise = _long(alike < _OTHERWISE * usually_alike)
    return sorted([*runs, *(run for run in otherwise if not any(_meet(run, o) for o in runs))])


def _long(holds: NDArray[np.bool_]) -> list[tuple[int, int]]:
    return [(start, end) for start, end in _runs(holds) if end - start >= _LEAST_S / _STEP_S]


def _meet(first: tuple[int, int], second: tuple[int, int]) -> bool:
    return first[0] < second[1] and second[0] < first[1]


def likeness_of_motion(
    reference: NDArray[np.float32], file: NDArray[np.float32]
) -> NDArray[np.float32]:
    """How alike rows (n, cells) of brightness change over a second, in the cells that change most
    in the reference: 1 alike, 0 if the file stands still or changes otherwise; nan where the
    reference hardly changes.
    """
    theirs, ours = (rows - np.median(rows, axis=0) for rows in (reference, file))
    first, second = theirs.std(axis=0), ours.std(axis=0)
    moving = first >= np.median(first)
    ours = ours * (first[moving].sum() / max(float(second[moving].sum()), _FLOOR))
    power, shared, power_ours = (
        _shared(*each) for each in ((theirs, theirs), (theirs, ours), (ours, ours))
    )
    most = np.argsort(power, axis=1)[:, -_MOVING:]
    power, shared, power_ours = (
        np.take_along_axis(each, most, axis=1).sum(axis=1) for each in (power, shared, power_ours)
    )
    alike = 2 * shared / np.maximum(power + power_ours, 1e-6)
    known = power >= _MOVING * _MOVES**2
    known[: _SECOND // 2] = known[len(known) - _SECOND // 2 :] = False  # less than a second
    return np.where(known, alike, np.nan).astype(np.float32)


def _shared(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float32]:
    """How much rows (n, cells) change together over a second around each: their covariance."""
    product, one, other = (
        smoothed(np.asarray(each, np.float32), _SECOND) for each in (first * second, first, second)
    )
    return np.asarray(product - one * other, np.float32)


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
