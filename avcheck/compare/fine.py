"""The place of a sound to a fraction of a millisecond, once it is known to a few: generalised
cross-correlation.

Knapp and Carter, "The generalized correlation method for estimation of time delay" (1976), with the
phase transform: every frequency counts alike, so level, equalisation and most codecs do not matter.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from avcheck.compare.features import HIGH_HZ, LOW_HZ, Recording
from avcheck.compare.find import WindowMatch
from avcheck.rates import SAMPLE_RATE
from avcheck.verdict.posterior import vertex

_REACH_S = 0.03  # around the place known so far
# Least ratio of the peak to the highest one beyond `_BESIDE_S`; noise reaches 1.3
_LEAST_RATIO = 1.5
_BESIDE_S = 0.001
_FLOOR = 1e-3  # of the strongest frequency: below that the phase is noise, and is left out


def sharpen(
    match: WindowMatch, reference: Recording, file: Recording, pace: float, window_s: float
) -> WindowMatch | None:
    """The match with its place in the reference to a fraction of a sample; None if the waveforms do
    not show it.

    `pace`: seconds of the reference in one of the file. Over `window_s` its error must stay below a
    sample or two.
    """
    count = round(window_s * SAMPLE_RATE)
    theirs_s, theirs = excerpt(reference, match.reference_s - window_s / 2, count)
    ours_s, ours = excerpt(file, match.file_s - window_s / 2 / pace, count, pace)
    lag = delay(theirs, ours)
    if lag is None:
        return None
    # Both excerpts begin near where they were asked for, and end a window later.
    off_s = (theirs_s - match.reference_s) - pace * (ours_s - match.file_s)
    return WindowMatch(match.file_s, match.reference_s + lag / SAMPLE_RATE + off_s, match.score)


def excerpt(
    recording: Recording, start_s: float, count: int, pace: float = 1.0
) -> tuple[float, NDArray[np.float32]]:
    """`count` samples from the one nearest to `start_s` on, played so that `pace` of their seconds
    pass in one; and when the first is due.
    """
    first_s = recording.start_s + round((start_s - recording.start_s) * SAMPLE_RATE) / SAMPLE_RATE
    if pace == 1.0:
        return first_s, recording.read(first_s, count)
    samples = recording.read(first_s, round(count / pace) + 2)
    at = np.arange(count) / pace
    return first_s, np.interp(at, np.arange(len(samples)), samples).astype(np.float32)


def delay(first: NDArray[np.float32], second: NDArray[np.float32]) -> float | None:
    """By how many samples `second` is ahead of `first`, within 30 ms; None if no place stands
    out.
    """
    size = 1 << (2 * len(first) - 1).bit_length()
    window = _taper(len(first))
    ours, theirs = (np.fft.rfft(values * window, size) for values in (second, first))
    cross = theirs * np.conj(ours)
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    strength = np.abs(cross)
    used = (hz >= LOW_HZ) & (hz <= HIGH_HZ) & (strength > _FLOOR**2 * strength.max(initial=0.0))
    if not used.any():
        return None
    curve = np.fft.irfft(np.where(used, cross / np.maximum(strength, 1e-20), 0.0), size)
    reach = round(_REACH_S * SAMPLE_RATE)
    near = np.concatenate([curve[-reach:], curve[: reach + 1]])
    height = np.abs(near)  # inverted polarity is the same sound
    at = int(np.argmax(height))
    beside = round(_BESIDE_S * SAMPLE_RATE)
    others = np.concatenate([height[: max(0, at - beside)], height[at + beside + 1 :]])
    if height[at] < _LEAST_RATIO * float(others.max()):
        return None
    return at - reach + vertex(height, at)


@lru_cache(maxsize=2)
def _taper(count: int) -> NDArray[np.float32]:
    return np.hanning(count).astype(np.float32)
