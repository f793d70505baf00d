"""Where to look closer: the window of a picture that goes best with the sound, for pictures in which a face is small.

In a wide shot a face is too small for the trunk at the size that a check looks at first, and what goes with the sound then
stands against a whole picture of what does not. A closer look sees the whole picture larger, and judges one window of it alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CLOSER_SIDE = 528  # px, short side: more than three times that of the first look
LEAST_SIDE = 264  # px; a smaller picture was seen well enough
REACH = 3  # places on either side of a window's middle, 16 px each


def best_window(strength: NDArray[np.floating], grid: Sequence[tuple[int, int, int, int, int]]) -> NDArray[np.int_]:
    """The places within `REACH` of the strongest, as indices, rising.

    strength: of every place, (P,); grid: where they lie, all of one level, as in `scan.Look`.
    """
    at = np.array([place[1:3] for place in grid])
    window: NDArray[np.int_] = np.flatnonzero((np.abs(at - at[int(np.argmax(strength))]) <= REACH).all(axis=1))
    return window


def spread(items: Sequence[int], count: int) -> list[int]:
    """At most `count` of the items, evenly spread and in their order."""
    if len(items) <= count:
        return list(items)
    return [items[int((k + 0.5) * len(items) / count)] for k in range(count)]
