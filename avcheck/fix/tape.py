"""Sound in order of time, read window after window, and where it is silent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from avcheck.media import Sound
from avcheck.rates import SAMPLE_RATE

QUIET = 1e-3  # root mean square below which there is nothing to hear
_SHORTEST_S = 0.5  # of a silence: a pause between two words is shorter
_GRAIN_S = 0.02

Floats = NDArray[np.float32]


class Tape:
    """Sound in order, read window after window."""

    def __init__(self, sounds: Iterator[Sound]) -> None:
        self._sounds = sounds
        self._held: list[Sound] = []
        self._done = False

    def read(self, start_s: float, count: int) -> Floats:
        """`count` samples from `start_s` on, (count,), silence where there is no sound. Times must
        not go back.
        """
        self._take(start_s + count / SAMPLE_RATE)
        self._held = [sound for sound in self._held if sound.end_s > start_s]
        window = np.zeros(count, np.float32)
        for sound in self._held:
            at = round((sound.start_s - start_s) * SAMPLE_RATE)
            low, high = max(0, at), min(count, at + len(sound.samples))
            if low < high:
                window[low:high] = sound.samples[low - at : high - at]
        return window

    def is_over(self, start_s: float) -> bool:
        """Whether nothing comes from `start_s` on. What lies before that can still be read."""
        self._take(start_s + 1 / SAMPLE_RATE)
        return self._done and all(sound.end_s <= start_s for sound in self._held)

    def _take(self, end_s: float) -> None:
        """Take sound up to `end_s`."""
        while not self._done and (not self._held or self._held[-1].end_s < end_s):
            sound = next(self._sounds, None)
            if sound is None:
                self._done = True
            else:
                self._held.append(sound)

    def longest_silence(self, start_s: float, end_s: float) -> tuple[float, float] | None:
        """From when to when it is silent longest between two moments; None if nowhere for
        `_SHORTEST_S`.
        """
        grain = round(_GRAIN_S * SAMPLE_RATE)
        count = max(0, int((end_s - start_s) / _GRAIN_S))
        parts = self.read(start_s, count * grain).reshape(count, grain)
        silent = np.array([level(part) < QUIET for part in parts], bool)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(int)))
        runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        first, stop = max(runs, key=lambda run: run[1] - run[0], default=(0, 0))
        if (stop - first) * _GRAIN_S < _SHORTEST_S:
            return None
        return start_s + first * _GRAIN_S, start_s + stop * _GRAIN_S


def level(samples: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
