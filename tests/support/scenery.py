"""Pictures and a sound that are known at every time, for what is compared."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np


def scenery(time_s: float, height: int = 90, width: int = 160) -> np.ndarray[Any, Any]:
    """A picture in which every region brightens and darkens in its own way, uint8 (height,
    width).
    """
    waves = np.sin(2 * np.pi * (_RATES_HZ * time_s + _PHASES)).sum(axis=0)
    cells = np.clip(125 + 25 * waves, 20, 230).astype(np.uint8)
    return cells.repeat(height // 6, axis=0).repeat(width // 10, axis=1)


_WAVES = np.random.default_rng(5).uniform(0.2, 2.3, (9, 3, 1, 1))
_RATES_HZ = _WAVES[:, 0]
_PHASES = _WAVES[:, 1] * np.linspace(0, 1, 10) + _WAVES[:, 2] * np.linspace(0, 1, 6)[:, None]


@lru_cache
def noise(seconds: float) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """A sound that is known at every time: noise below 4 kHz whose level comes and goes."""
    rng = np.random.default_rng(6)
    grid = np.arange(round(seconds * 12000)) / 12000
    level = 0.12 * (1.2 + np.sin(2 * np.pi * np.cumsum(rng.uniform(0.5, 5, len(grid))) / 12000))
    samples = rng.normal(size=len(grid)) * level
    return lambda times: np.interp(times, grid, samples)
