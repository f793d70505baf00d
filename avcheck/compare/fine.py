"""The place of a sound to a fraction of a millisecond, once it is known to a few: generalised
cross-correlation.

Knapp and Carter, "The generalized correlation method for estimation of time delay" (1976), with the
phase transform: every frequency counts alike, so level, equalisation and most codecs do not matter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avcheck.compare.align import Match, vertex
from avcheck.compare.features import Recording
from avcheck.media import SAMPLE_RATE

_REACH_S = 0.03  # around the place known so far
_LOW_HZ, _HIGH_HZ = 150.0, 4000.0
# Of the peak to the highest that is further off than `_BESIDE_S`; of noise at most 1.3
_LEAST_RATIO = 1.5
_BESIDE_S = 0.001
_FLOOR = 1e-3  # of the strongest frequency: what is weaker is left out, as its phase is noise


def sharpen(
    match: Match, reference: Recording, file: Recording, pace: float, window_s: float
) -> Match | None:
    """The match with its place in the reference to a fraction of a sample; None where the waveforms
    do not tell.

    `pace`: seconds of the reference in one of the file. Over `window_s` an error in it must not
    reach a sample or two.
    """
    count = round(window_s * SAMPLE_RATE)
    theirs = reference.read(match.reference_s - window_s / 2, count)
    ours_count = round(count / pace) + 2
    ours = file.read(match.file_s - window_s / 2 / pace, ours_count)
    if pace != 1.0:
        at = np.arange(count) / pace
        ours = np.interp(at, np.arange(ours_count), ours).astype(np.float32)
    lag = delay(theirs, ours[:count])
    # The samples read begin at whole ones.
    theirs_off_s = _rounded_s(reference, match.reference_s - window_s / 2)
    ours_off_s = _rounded_s(file, match.file_s - window_s / 2 / pace) * pace
    if lag is None:
        return None
    return Match(
        match.file_s, match.reference_s + lag / SAMPLE_RATE + theirs_off_s - ours_off_s, match.score
    )


def delay(first: NDArray[np.float32], second: NDArray[np.float32]) -> float | None:
    """By how many samples `first` has later what `second` has, within 30 ms; None where no place
    stands out.
    """
    size = 1 << (2 * len(first) - 1).bit_length()
    window = np.hanning(len(first)).astype(np.float32)
    ours, theirs = (np.fft.rfft(values * window, size) for values in (second, first))
    cross = theirs * np.conj(ours)
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    strength = np.abs(cross)
    used = (hz >= _LOW_HZ) & (hz <= _HIGH_HZ) & (strength > _FLOOR**2 * strength.max(initial=0.0))
    if not used.any():
        return None
    curve = np.fft.irfft(np.where(used, cross / np.maximum(strength, 1e-20), 0.0), size)
    reach = round(_REACH_S * SAMPLE_RATE)
    near = np.concatenate([curve[-reach:], curve[: reach + 1]])
    height = np.abs(near)  # a track whose polarity was turned is the same sound
    at = int(np.argmax(height))
    beside = round(_BESIDE_S * SAMPLE_RATE)
    others = np.concatenate([height[: max(0, at - beside)], height[at + beside + 1 :]])
    if height[at] < _LEAST_RATIO * float(others.max()):
        return None
    return at - reach + vertex(height, at)


def _rounded_s(recording: Recording, start_s: float) -> float:
    """By how much later than asked for the samples begin that `read` gives."""
    at = (start_s - recording.start_s) * SAMPLE_RATE
    return (round(at) - at) / SAMPLE_RATE
