"""How far the check of a file has come, counted in the work of its visual trunk, which takes most
of the time.

Decoding runs ahead of the network, and a short file is decoded whole before the network begins, so
decoding is no measure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
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
) -> Iterator[Callable[[], None]]:
    """Report the progress of `trunk` over so many seconds of pictures, from 0 to `FIRST_LOOK`. Call
    what this gives after every segment.
    """
    if on_progress is None:
        yield lambda: None
        return
    work = _Work(seconds)

    def hear(pictures: int, short_side: int) -> None:
        work.add(pictures, short_side)
        on_progress(FIRST_LOOK * min(_MOST, work.share))

    trunk.on_seen = hear
    try:
        yield work.end_segment
    finally:
        trunk.on_seen = None


class _Work:
    """The work of a first look, and what is left of it.

    Every sixth segment is looked at at all levels, the others at one. Which one that is, and at how
    many levels a segment is sure, the first segments show: their mean is expected of the others.
    """

    def __init__(self, seconds: float) -> None:
        self.share = 0.0  # done of all, never falling
        self._left = max(1, math.ceil(seconds / (SEGMENT_BLOCKS * BLOCK_S)))  # segments
        self._here = 0  # in the present segment
        pictures = round(min(max(seconds / BLOCK_S, 1), SEGMENT_BLOCKS) * BLOCK_FRAMES)
        middle = sorted(LEVELS)[len(LEVELS) // 2]
        # Before the first of its kind, what a segment at all levels and one at a single level take
        self._assumed = {
            True: sum(_work(pictures, level) for level in LEVELS),
            False: _work(pictures, middle),
        }
        self._taken: dict[bool, list[int]] = {True: [], False: []}

    def add(self, pictures: int, short_side: int) -> None:
        self._here += _work(pictures, short_side)
        done = sum(map(sum, self._taken.values())) + self._here
        last = self._looked + self._left - 1
        at_all = last // LEARN_LEVEL_EVERY - self._looked // LEARN_LEVEL_EVERY
        left = max(0.0, self._expected(self._is_at_all) - self._here)
        left += at_all * self._expected(True) + (self._left - 1 - at_all) * self._expected(False)
        self.share = max(self.share, done / (done + left))

    def end_segment(self) -> None:
        self._left = max(1, self._left - 1)
        if self._here:  # else there was nothing to look at
            self._taken[self._is_at_all].append(self._here)
            self._here = 0

    @property
    def _looked(self) -> int:
        return sum(map(len, self._taken.values()))

    @property
    def _is_at_all(self) -> bool:
        """Whether the present segment is looked at at all levels."""
        return self._looked % LEARN_LEVEL_EVERY == 0

    def _expected(self, at_all: bool) -> float:
        taken = self._taken[at_all]
        return sum(taken) / len(taken) if taken else self._assumed[at_all]


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


def _work(pictures: int, short_side: int) -> int:
    return pictures * short_side**2
