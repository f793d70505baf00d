"""How far the check of a file has come, counted in the work of its visual trunk, which takes most
of the time.

Decoding runs ahead of the network, and a short file is decoded whole before the network begins, so
decoding is no measure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from avcheck.network.trunks import VisualTrunk
from avcheck.reading.blocks import BLOCK_FRAMES, BLOCK_S
from avcheck.reading.segments import SEGMENT_BLOCKS
from avcheck.scan.curves import LEARN_LEVEL_EVERY
from avcheck.scan.looking import LEVELS
from avcheck.settings import OnProgress

FIRST_LOOK = 0.9  # of the whole; the rest is for the closer look that a file may need
CLOSER_CALLS = 15  # of the trunk, in a closer look at three segments of ten seconds
_MOST = 0.99  # the most that is reported before the end: the work ahead is an estimate


class Rising:
    """Passes progress on so that it never goes back: if a look comes to nothing, the next one
    shares what is left.
    """

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._from = self._passed_on = self._last = 0.0

    def __call__(self, done: float) -> None:
        if done < self._last:  # another look has begun
            self._from = self._passed_on
        self._last = done
        self._passed_on = self._from + (1 - self._from) * done
        self._on_progress(self._passed_on)


@contextmanager
def first_look(
    trunk: VisualTrunk, seconds: float, on_progress: OnProgress | None
) -> Iterator[None]:
    """Report the progress of `trunk` over so many seconds of pictures, from 0 to `FIRST_LOOK`."""
    if on_progress is None:
        yield
        return
    expected = _expected(seconds)
    work_done = 0

    def hear(pictures: int, short_side: int) -> None:
        nonlocal work_done
        work_done += _work(pictures, short_side)
        on_progress(FIRST_LOOK * min(_MOST, work_done / expected))

    trunk.on_seen = hear
    try:
        yield
    finally:
        trunk.on_seen = None


@contextmanager
def closer_look(trunk: VisualTrunk, on_progress: OnProgress | None) -> Iterator[None]:
    """Report the progress of `trunk` over a few segments again, from `FIRST_LOOK` on; 1 at the end,
    even without work.
    """
    if on_progress is None:
        yield
        return
    calls = 0

    def hear(*_: object) -> None:
        nonlocal calls
        calls += 1
        on_progress(FIRST_LOOK + (1 - FIRST_LOOK) * min(_MOST, calls / CLOSER_CALLS))

    handle = trunk.register_forward_hook(hear)
    try:
        yield
    finally:
        handle.remove()
    on_progress(1.0)


def _expected(seconds: float) -> float:
    """The work of a first look: every sixth segment at all levels, the others at one, here the
    middle one.
    """
    whole, middle = (
        sum(_work(BLOCK_FRAMES, side) for side in sides)
        for sides in (LEVELS, (sorted(LEVELS)[len(LEVELS) // 2],))
    )
    segments = max(1, math.ceil(seconds / (SEGMENT_BLOCKS * BLOCK_S)))
    at_all_levels = math.ceil(segments / LEARN_LEVEL_EVERY) / segments
    return max(seconds, BLOCK_S) / BLOCK_S * (at_all_levels * whole + (1 - at_all_levels) * middle)


def _work(pictures: int, short_side: int) -> int:
    return pictures * short_side**2
