"""Whether a sound fits its place in the reference better than any other near it. A loop fits at
every turn as well, and a steady tone at every period.

The waveforms of windows all along a piece are correlated with the reference, by the phase
transform, and summed: a place stands out if no other comes near it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avcheck.compare.align import Piece
from avcheck.compare.bed import whitened
from avcheck.compare.features import HIGH_HZ, LOW_HZ, Recording
from avcheck.compare.fine import excerpt
from avcheck.rates import SAMPLE_RATE

_WINDOW_S = 8.0
_WINDOWS = 6  # of a piece, spread over it
_REACH_S = 3.0  # around a place: the longest bar of a loop
_BESIDE_S = 0.002  # a peak's own flanks
_OFF_S = 0.0015  # how far the peak may lie off the place, as where it is known to a pace only
_LEAD = 1.3  # times as high as any other peak; a loop under other voices reaches 1.1


def without_loops(
    parts: Sequence[Piece], shown: Sequence[Piece], reference: Recording, file: Recording
) -> tuple[Piece, ...]:
    """The pieces of the sound `parts` whose place stands out. `shown`: those of the picture, whose
    places are tried too: sound that fits there as well may be in sync.
    """
    return tuple(part for part in parts if _stands_out(part, shown, reference, file))


def _stands_out(part: Piece, shown: Sequence[Piece], reference: Recording, file: Recording) -> bool:
    own = _curve(part, part, reference, file)
    middle = len(own) // 2
    off, beside = round(_OFF_S * SAMPLE_RATE), round(_BESIDE_S * SAMPLE_RATE)
    height = float(own[middle - off : middle + off + 1].max())
    own[middle - beside : middle + beside + 1] = 0.0
    rivals = [float(own.max())]
    for line in shown:
        if line.end_s <= part.start_s or line.start_s >= part.end_s:
            continue
        middle_s = (max(line.start_s, part.start_s) + min(line.end_s, part.end_s)) / 2
        if abs(line.reference_s(middle_s) - part.reference_s(middle_s)) > _REACH_S - _BESIDE_S:
            rivals.append(float(_curve(part, line, reference, file).max()))
    return height > 0 and height >= _LEAD * max(rivals)


def _curve(part: Piece, line: Piece, reference: Recording, file: Recording) -> NDArray[np.float64]:
    """How well the file's sound in `part` fits the reference around the places of `line`, by the
    offset from them: `_REACH_S` to either side.
    """
    length_s = min(_WINDOW_S, part.end_s - part.start_s)
    first_s, last_s = part.start_s + length_s / 2, part.end_s - length_s / 2
    count, reach = round(length_s * SAMPLE_RATE), round(_REACH_S * SAMPLE_RATE)
    total = np.zeros(2 * reach + 1)
    windows = 1 + min(_WINDOWS - 1, int((last_s - first_s) / (length_s / 2)))
    for file_s in np.linspace(first_s, last_s, windows):
        ours_s, window = excerpt(file, file_s - length_s / 2 / line.pace, count, line.pace)
        place_s = line.reference_s(ours_s + length_s / 2 / line.pace) - length_s / 2
        _, region = excerpt(reference, place_s - _REACH_S, count + 2 * reach)
        curve_of = whitened(window, region)
        if curve_of is not None:
            total += curve_of(LOW_HZ, HIGH_HZ)
    return np.abs(total)  # inverted polarity is the same sound
