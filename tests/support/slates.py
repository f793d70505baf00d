"""Test signals as they are filmed: a clapperboard that somebody holds, leaders that count down, and
what is not one. Times are true to a fraction of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from tests.support.clips import Array, Pictures, Sounds

SIZE = (320, 240)  # width, height
_SWING_S = 0.1  # a stick needs to close
_OPEN = 0.55  # radians
_SAMPLES = 4  # instants of an exposure


@cache
def _backdrop() -> Array:
    """A still room, soft and uneven."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(50, 150, (7, 9)).astype(float)
    return np.kron(coarse, np.ones((40, 40)))[: SIZE[1], : SIZE[0]]


def slate(claps_s: Sequence[float], exposure_s: float = 0.0) -> Pictures:
    """Somebody holds a slate and closes its stick at `claps_s`; it opens slowly a second after."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]].astype(float)

    def angle(time_s: float) -> float:
        for clap_s in claps_s:
            if clap_s - _SWING_S <= time_s < clap_s:
                return _OPEN * (1 - max(0.0, (time_s - clap_s + _SWING_S) / _SWING_S) ** 1.5)
            if clap_s <= time_s < clap_s + 0.6:
                return 0.0
            if clap_s + 0.6 <= time_s < clap_s + 1.2:
                return _OPEN * (time_s - clap_s - 0.6) / 0.6
        return _OPEN

    def instant(time_s: float) -> Array:
        at_x = 110 + 1.2 * np.sin(5 * time_s) + 0.7 * np.sin(13 * time_s)  # a hand is never still
        at_y = 120 + 1.0 * np.sin(6.1 * time_s)
        picture = _backdrop().copy()
        head = ((x - 215 - 3 * np.sin(1.1 * time_s)) / 38) ** 2 + ((y - 80) / 50) ** 2 < 1
        picture[head] = 175
        u, v = x - at_x, y - at_y
        board = (u >= 0) & (u < 90) & (v >= 0) & (v < 60)
        picture[board] = np.where((v[board] // 15) % 2 < 1, 60, 45)
        for turn in (0.0, angle(time_s)):  # the lower bar, and the stick above it
            along = u * np.cos(turn) - v * np.sin(turn)
            across = u * np.sin(turn) + v * np.cos(turn)
            top = 0.0 if turn == 0.0 else -10.0
            bar = (along >= 0) & (along < 90) & (across >= top - 10) & (across < top)
            picture[bar] = np.where(((along[bar] + across[bar]) // 12) % 2 < 1, 225, 25)
        return picture

    def draw(time_s: float) -> Array:
        instants = time_s + exposure_s * (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        return np.mean([instant(each) for each in instants], axis=0).astype(np.uint8)

    return draw


def clapping(claps_s: Sequence[float], room: float = 0.002, voice: float = 0.0) -> Sounds:
    """A clap at `claps_s`: noise that dies away in a room; a murmur before the first one."""

    def play(times_s: Array) -> Array:
        rng = np.random.default_rng(int(times_s[0] * 1e6) % 2**32)
        out = room * rng.standard_normal(len(times_s))
        noise = rng.standard_normal(len(times_s))
        for clap_s in claps_s:
            since = times_s - clap_s
            out += np.where(since >= 0, 0.25 * np.exp(-np.maximum(since, 0) / 0.03), 0.0) * noise
        if voice and claps_s:
            said = (np.sin(2 * np.pi * 2.3 * times_s) > 0.2) & (times_s < claps_s[0] - 0.4)
            tone = np.sin(2 * np.pi * 130 * times_s) + 0.6 * np.sin(2 * np.pi * 650 * times_s)
            out += voice * said * tone
        return np.clip(out, -1, 1)

    return play
