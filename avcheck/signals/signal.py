"""Flashes and beeps as pairs: what a test signal says of the offset, and whether a file is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avcheck.media import Media, Sound
from avcheck.signals.beeps import Beeps, beeps_of
from avcheck.signals.flashes import Flash, flashes_of

MAX_OFFSET_S = 2.0
SIGNAL_SIDE = 48  # pixels: enough for the cells of a picture
MEASURING_ERROR_MS = 10.0  # a quarter of a picture at 25 fps
_TOGETHER_S = 0.025  # pairs of one offset lie so near to each other
_LEAST_PAIRS = 3  # that make a test signal: one clap is none
_LEAST_SHARE = 0.8  # of the flashes, and of the beeps, that are in a pair
_OTHER_SHARE = 0.05  # of the time of a test signal something else may sound
_SAME_CELLS = 0.5  # of a flash's cells that most others fill too


@dataclass(frozen=True)
class Event:
    """A flash and its beep. Times in seconds on the file's clock."""

    picture_s: float
    sound_s: float

    @property
    def offset_ms(self) -> float:
        """Positive = sound early."""
        return 1000 * (self.picture_s - self.sound_s)


@dataclass(frozen=True)
class Signal:
    """The events of a file, and how many flashes and beeps there are in all."""

    events: tuple[Event, ...]
    flashes: int
    beeps: int

    @property
    def is_test_signal(self) -> bool:
        """Whether flashes and beeps belong together beyond chance: three pairs at least, and hardly
        one without its mate.
        """
        pairs = len(self.events)
        return pairs >= _LEAST_PAIRS and pairs >= _LEAST_SHARE * max(self.flashes, self.beeps)

    @property
    def offset_ms(self) -> float | None:
        """The median of the events; None without one."""
        return float(np.median([event.offset_ms for event in self.events])) if self.events else None

    @property
    def period_s(self) -> float | None:
        """The time from flash to flash where all are equally far apart. The offset is then known
        but for whole periods.
        """
        steps_s = np.diff([event.picture_s for event in self.events])
        if len(steps_s) < 2 or np.ptp(steps_s) > 2 * _TOGETHER_S:
            return None
        return float(np.median(steps_s))


def as_test_signal(media: Media) -> Signal | None:
    """The test signal that an open file is; None for any other, whose pictures are decoded only if
    its sound might be one's.

    Raises as `signal_of`.
    """
    return test_signal_in(media.sounds(), lambda: flashes_of(media.pictures()))


def test_signal_in(sound: Iterable[Sound], flashes: Callable[[], Sequence[Flash]]) -> Signal | None:
    """The same of a sound, and of pictures whose `flashes` are found when they are asked for."""
    beeps = beeps_of(sound)
    if len(beeps.heard) < _LEAST_PAIRS or beeps.other_share > _OTHER_SHARE:
        return None
    signal = _signal(flashes(), beeps)
    return signal if signal.is_test_signal else None


def signal_of(media: Media) -> Signal:
    """The flashes and beeps of an open file, in pairs. Raises DecodeFailed, NoAudio as
    `Media.pictures` and `Media.sounds`.
    """
    return _signal(flashes_of(media.pictures()), beeps_of(media.sounds()))


def _signal(flashes: Sequence[Flash], beeps: Beeps) -> Signal:
    beeps_s = [beep.start_s for beep in beeps.heard]
    flashes_s = [flash.start_s for flash in _alike(flashes)]
    return Signal(_pairs(np.array(flashes_s), np.array(beeps_s)), len(flashes_s), len(beeps_s))


def _alike(flashes: Sequence[Flash]) -> list[Flash]:
    """Those that fill the cells that most of them fill."""
    if not flashes:
        return []
    common = np.mean([flash.cells for flash in flashes], axis=0) >= 0.5
    return [
        flash
        for flash in flashes
        if (flash.cells & common).sum() >= _SAME_CELLS * max(common.sum(), 1)
    ]


def _pairs(flashes_s: NDArray[np.float64], beeps_s: NDArray[np.float64]) -> tuple[Event, ...]:
    """Every flash with its beep: the offset that pairs most of them, and of two that pair as many
    the smaller one.

    The offset may change slowly or by a jump, so that what is left is paired by its own offset.
    """
    events: list[Event] = []
    flashes, beeps = flashes_s, beeps_s
    while len(flashes) and len(beeps):
        ways_s = np.subtract.outer(flashes, beeps)
        near = np.abs(ways_s) <= MAX_OFFSET_S
        if not near.any():
            break
        candidates_s = ways_s[near]
        counts = (np.abs(np.subtract.outer(candidates_s, candidates_s)) <= _TOGETHER_S).sum(axis=1)
        best_s = float(min(candidates_s[counts >= 0.9 * counts.max()], key=abs))
        if counts.max() < (_LEAST_PAIRS if events else 1):
            break
        off_s = np.abs(ways_s - best_s)
        paired = off_s.min(axis=1) <= _TOGETHER_S
        mates = off_s.argmin(axis=1)[paired]
        events += [
            Event(float(flash), float(beep))
            for flash, beep in zip(flashes[paired], beeps[mates], strict=True)
        ]
        flashes, beeps = flashes[~paired], np.delete(beeps, mates)
    return tuple(sorted(events, key=lambda event: event.picture_s))
