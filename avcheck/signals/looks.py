"""Looks: the levels of a picture's cells, and how much they move. Test signals are searched for in
them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from avcheck.media import Luma, Picture

ROWS, COLUMNS = 12, 16  # cells of a picture
_FINE = 2  # times as many, either way, for motion
_MOTION_STEPS = 4  # to a level: cells move by little

Levels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Looks:
    """The N pictures of a file in order."""

    times_s: NDArray[np.float64]  # (N,), when each is shown, on the file's clock
    levels: Levels  # (N, R * C), the mean of each cell, 0..255
    # (N, r * c) of finer cells: how far their pixels are on average from those of the picture
    # before, in quarters of a level
    motion: Levels

    def __len__(self) -> int:
        return len(self.times_s)


def looks_of(pictures: Iterable[Picture]) -> Looks:
    """The looks of pictures. The first has no motion, nor has one of another shape than the one
    before, as where recordings were joined.
    """
    times_s: list[float] = []
    levels: list[Levels] = []
    motion: list[Levels] = []
    before: NDArray[np.int16] | None = None
    for picture in pictures:
        luma = picture.luma
        here = luma.astype(np.int16)
        if before is None or before.shape != here.shape:
            before = here
        moved = np.abs(here - before)
        before = here
        times_s.append(picture.pts_s)
        levels.append(_cells(luma, ROWS, COLUMNS, 1))
        motion.append(_cells(moved, _FINE * ROWS, _FINE * COLUMNS, _MOTION_STEPS))
    none = np.zeros((0, 1), np.uint8)
    return Looks(
        np.array(times_s, np.float64),
        np.stack(levels) if levels else none,
        np.stack(motion) if motion else none,
    )


def _cells(values: Luma | NDArray[np.int16], rows: int, columns: int, steps: int) -> Levels:
    """The mean of each cell of a picture, in `steps` to a level, (rows * columns,) uint8."""
    down, across, areas = _grid(*values.shape, rows, columns)
    # By matrices, which is several times as quick as `reduceat`; sums below 2^24 are exact
    sums = (down @ values.astype(np.float32) @ across.T).astype(np.float64)
    means = steps * sums / areas
    cells: Levels = np.minimum(means + 0.5, 255).astype(np.uint8).ravel()
    return cells


@lru_cache(maxsize=4)
def _grid(
    height: int, width: int, rows: int, columns: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The `_membership` of each side of a picture, and how many pixels each cell has."""
    down, across = _membership(height, rows), _membership(width, columns)
    return down, across, np.outer(down.sum(axis=1), across.sum(axis=1))


def _membership(pixels: int, cells: int) -> NDArray[np.float32]:
    """Which of the pixels of a side each of its cells has: (cells, pixels), 0 or 1."""
    edges = np.linspace(0, pixels, min(cells, pixels) + 1).astype(int)
    at = np.arange(pixels)
    return ((at >= edges[:-1, None]) & (at < edges[1:, None])).astype(np.float32)
