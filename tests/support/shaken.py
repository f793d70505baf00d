"""Pictures through a camera that shakes, by a course that is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]


_MARGIN = 24


def world(height: int, width: int, seed: int = 1) -> NDArray[np.float64]:
    """Something with detail of every size, 0..255."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width))
    for size in (4, 8, 16, 32):
        coarse = rng.normal(0, 1, (height // size + 2, width // size + 2))
        total += np.kron(coarse, np.ones((size, size)))[:height, :width] * size**0.5
    return np.clip(128 + 40 * total / total.std(), 0, 255)


def filmed(
    course: NDArray[np.floating],
    size: tuple[int, int] = (120, 200),
    seed: int = 1,
    noise: float = 2.0,
) -> Pictures:
    """A still world through a camera whose view has moved by `course` (T, 2), px to the right and
    down.
    """
    rng = np.random.default_rng(seed)
    scene = world(size[0] + 2 * _MARGIN, size[1] + 2 * _MARGIN, seed)
    frames = []
    for x, y in course:
        # As the view moves right, what is seen moves left; bilinear between pixels.
        left, top = _MARGIN + x, _MARGIN + y
        column, row = int(np.floor(left)), int(np.floor(top))
        part = scene[row : row + size[0] + 1, column : column + size[1] + 1]
        part = part[:, :-1] * (1 - left + column) + part[:, 1:] * (left - column)
        part = part[:-1] * (1 - top + row) + part[1:] * (top - row)
        frames.append(part + rng.normal(0, noise, part.shape))
    return np.clip(np.array(frames), 0, 255).astype(np.uint8)


def unsteady(count: int) -> NDArray[np.float64]:
    """The course of a camera that shakes, (count, 2) px."""
    rng = np.random.default_rng(2)
    course = np.stack(
        [np.convolve(axis, np.ones(5) / 5, "valid") for axis in rng.normal(0, 4, (2, count + 4))],
        axis=1,
    )
    return np.asarray(np.clip(course - course[0], -_MARGIN + 2, _MARGIN - 2))


def followed(course: NDArray[np.floating]) -> NDArray[np.float64]:
    """The mean over four seconds of a course (T, 2), at each of its moments."""
    return np.stack(
        [
            np.convolve(np.pad(axis, 50, "reflect"), np.ones(101) / 101, "valid")
            for axis in course.T
        ],
        axis=1,
    )
