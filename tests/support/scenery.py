"""Pictures and a sound that are known at every time, for what is compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def scenery(time_s: float, height: int = 90, width: int = 160) -> np.ndarray[Any, Any]:
    """A picture in which every region brightens and darkens in its own way, uint8 (height,
    width).
    """
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:1:6j, 0:1:10j]
    waves = [
        np.sin(2 * np.pi * (rate * time_s + px * x + py * y))
        for rate, px, py in rng.uniform(0.2, 2.3, (9, 3))
    ]
    cells = np.clip(125 + 25 * sum(waves), 20, 230)
    return np.kron(cells, np.ones((height // 6, width // 10))).astype(np.uint8)


def noise(seconds: float) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """A sound that is known at every time: noise below 4 kHz whose level comes and goes."""
    rng = np.random.default_rng(6)
    grid = np.arange(round(seconds * 12000)) / 12000
    level = 0.12 * (1.2 + np.sin(2 * np.pi * np.cumsum(rng.uniform(0.5, 5, len(grid))) / 12000))
    samples = rng.normal(size=len(grid)) * level
    return lambda times: np.interp(times, grid, samples)
