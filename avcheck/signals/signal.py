"""Events of the picture and the sound in pairs: what a test signal says of the offset, and whether
a file is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from avcheck.media import Media
from avcheck.signals.beeps import Beep, Beeps, beeps_of
from avcheck.signals.claps import closings_of
from avcheck.signals.counts import counts_of
from avcheck.signals.flashes import Flash, flashes_of
from avcheck.signals.looks import Looks, looks_of
from avcheck.signals.singles import singles_of

SignalKind = Literal["flash", "countdown", "2-pop", "clap", "stamp"]

MAX_OFFSET_S = 2.0
SIGNAL_SIDE = 160  # pixels: enough for the cells of a picture, and for a stamp
_TOGETHER_S = 0.025  # pairs of one offset lie this near to each other
_LEAST_PAIRS = 3  # of a test signal: one clap is none
_LEAST_SHARE = 0.8  # of what is seen, and of what is heard, that must be in a pair
_OTHER_SHARE = 0.05  # of the time of a test signal that something else may sound
_SAME_CELLS = 0.5  # of a flash's cells that most others fill too
_POP_S = 0.09  # a pop is as long as a picture
_PURE = 0.9  # of a pop's power that is a tone
_CLAP_S = 0.4  # after which a clap has died away
_CLAP_LEVEL = 0.5  # of the loudest
_ALONE_S = 0.9  # nothing else is heard on either side of a pop
_TWO_POPS = 2  # at the head and the tail of a film


@dataclass(frozen=True)
class Event:
    """What is seen at picture_s, and heard with it at sound_s, in seconds on the file's clock."""

    picture_s: float
    sound_s: float

    @property
    def offset_ms(self) -> float:
        """Positive = sound early."""
        return 1000 * (self.picture_s - self.sound_s)


@dataclass(frozen=True)
class Signal:
    """The events of a file, and how much there is in all, even without a partner."""

    kind: SignalKind  # what its events are
    events: tuple[Event, ...]
    in_picture: int  # how many of its kind are seen
    in_sound: int  # how many are heard
    other_share: float = 0.0  # of the time (0..1): something else is nearly as loud
    ambiguous: bool = False  # there are no events because several pairs fit equally well
    error_ms: float | None = None  # of each event, if the capture says; None: usual for its kind
    shown: int = 0  # of stamps: how many pictures there are
    others: int = 0  # beeps of another kind
    unnatural: bool = False  # several flashes and nothing but tones, in pairs or not

    @property
    def is_test_signal(self) -> bool:
        """Whether picture and sound belong together beyond chance: at least three pairs, hardly any
        without a partner, and little else heard. A single pop counts in black and silence, if
        nothing else beeps; in a film, one at either end does.
        """
        pairs = len(self.events)
        quiet, paired = self.other_share <= _OTHER_SHARE, self.share >= _LEAST_SHARE
        if self.kind == "stamp":
            return pairs > 0
        if self.kind == "2-pop":
            return (pairs > 0 and paired and not self.others) if quiet else pairs >= _TWO_POPS
        return quiet and pairs >= _LEAST_PAIRS and paired

    @property
    def is_all(self) -> bool:
        """Whether there is nothing else in the file, so that the network, which has learnt from
        people and things, has no say in it. It has learnt claps and what moves with them.
        """
        if self.kind == "stamp":
            return self.in_picture >= self.shown / 2
        quiet = self.other_share <= _OTHER_SHARE
        return self.unnatural or (quiet and self.kind != "clap" and self.is_test_signal)

    @property
    def share(self) -> float:
        """The share of what is seen, or of what is heard, that is in pairs; the lesser of the
        two.
        """
        return len(self.events) / max(self.in_picture, self.in_sound, 1)

    @property
    def is_chance(self) -> bool:
        """Whether most of what is seen and most of what is heard has no partner, so that the pairs
        may be chance. Stamps carry their number.
        """
        least = min(self.in_picture, self.in_sound)
        return self.kind != "stamp" and least >= _LEAST_PAIRS and len(self.events) < least / 2

    @property
    def offset_ms(self) -> float | None:
        """The median of the events; None without one."""
        return float(np.median([event.offset_ms for event in self.events])) if self.events else None

    def thinned(self) -> Signal:
        """Stamps thinned to one event a second, that of the middle offset; any other signal as it
        is.
        """
        if self.kind != "stamp":
            return self
        seconds = [
            sorted(events, key=lambda event: event.offset_ms)
            for _, events in groupby(self.events, key=lambda event: int(event.picture_s))
        ]
        return replace(self, events=tuple(each[len(each) // 2] for each in seconds))


def may_be_signal(beeps: Beeps) -> bool:
    """Whether a sound may be that of a test signal, so that its pictures are worth reading."""
    return _is_quiet(beeps) or any(map(_is_pop, beeps.heard))


def _is_quiet(beeps: Beeps) -> bool:
    """Whether beeps are nearly all that is heard."""
    return len(beeps.heard) >= _LEAST_PAIRS and beeps.other_share <= _OTHER_SHARE


def recognised_in(looks: Looks, beeps: Beeps) -> Signal | None:
    """The test signal that the pictures and a sound of a file make; None if they make none. A file
    of nothing but flashes and tones is one even if these do not go together (`unnatural`).
    """
    if not may_be_signal(beeps):
        return None
    signals = list(_signals(looks, beeps))
    test_signals = (each for each in signals if each.is_test_signal)
    return next(test_signals, _unnatural(signals, beeps) if _is_quiet(beeps) else None)


def _unnatural(signals: Iterable[Signal], beeps: Beeps) -> Signal | None:
    """The flashes and tones of a file that has nothing else, whether they go together or not."""
    tones = np.median([beep.purity for beep in beeps.heard]) >= _PURE
    flashes = (each for each in signals if each.kind == "flash" and each.in_picture >= _LEAST_PAIRS)
    return next((replace(each, unnatural=True) for each in flashes if tones), None)


def signal_of(media: Media) -> Signal:
    """What is seen and heard in an open file, in pairs, as the most credible kind of signal.

    Raises:
        DecodeFailed, NoAudio: As `Media.pictures` and `Media.sounds`.
    """
    return signal_in(looks_of(media.pictures()), beeps_of(media.sounds()))


def signal_in(looks: Looks, beeps: Beeps) -> Signal:
    """The same, from looks and beeps."""
    return max(_signals(looks, beeps), key=_worth)  # the first of equals


def _worth(signal: Signal) -> int:
    """How credible a signal is beside those of other kinds."""
    if signal.is_test_signal:
        return 5
    if not signal.events:
        return int(signal.ambiguous)
    if signal.kind == "2-pop" or signal.share >= _LEAST_SHARE:
        return 4
    return 3 if signal.kind == "clap" else 2


def _signals(looks: Looks, beeps: Beeps) -> Iterable[Signal]:
    heard = [beep.start_s for beep in beeps.heard]
    yield _paired("flash", [flash.start_s for flash in _alike(flashes_of(looks))], heard, beeps)
    yield _paired("countdown", counts_of(looks), heard, beeps)
    pops = [beep.start_s for beep in beeps.heard if _is_pop(beep)]
    two_pop = _paired("2-pop", singles_of(looks), pops, beeps)
    yield replace(two_pop, others=len(heard) - len(pops))
    claps = _claps(beeps.heard)
    yield _paired("clap", [each.time_s for each in closings_of(looks)], claps, beeps)


def _is_pop(beep: Beep) -> bool:
    return beep.length_s <= _POP_S and beep.purity >= _PURE and min(beep.quiet_s) >= _ALONE_S


def _claps(beeps: Sequence[Beep]) -> list[float]:
    """When something is heard that may be a clap: as loud as the loudest, soon gone, not a tone."""
    short = [beep for beep in beeps if beep.length_s <= _CLAP_S and beep.purity < _PURE]
    loudest = max((beep.level for beep in short), default=0.0)
    return [beep.start_s for beep in short if beep.level >= _CLAP_LEVEL * loudest]


def _paired(
    kind: SignalKind, seen_s: Sequence[float], heard_s: Sequence[float], beeps: Beeps
) -> Signal:
    events, ambiguous = _pairs(np.array(seen_s), np.array(heard_s))
    return Signal(kind, events, len(seen_s), len(heard_s), beeps.other_share, ambiguous)


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


def _pairs(
    seen_s: NDArray[np.float64], heard_s: NDArray[np.float64]
) -> tuple[tuple[Event, ...], bool]:
    """What is seen paired with what is heard, by the offset that gives most pairs; of two that give
    as many, by the smaller one. If no offset gives more than one pair, and several give one, there
    are no events, and the result is ambiguous.

    The offset may change slowly or by a jump, so the rest is paired by an offset of its own.
    """
    events: list[Event] = []
    flashes_s, beeps_s = np.sort(seen_s), np.sort(heard_s)
    while len(flashes_s) and len(beeps_s):
        candidates_s = _differences(flashes_s, beeps_s)
        if not len(candidates_s):
            break
        first = np.searchsorted(candidates_s, candidates_s - _TOGETHER_S, "left")
        counts = np.searchsorted(candidates_s, candidates_s + _TOGETHER_S, "right") - first
        if counts.max() == 1 < len(counts) and not events:
            return (), True
        best_s = float(min(candidates_s[counts >= 0.9 * counts.max()], key=abs))
        if counts.max() < (_LEAST_PAIRS if events else 1):
            break
        mates = _nearest(beeps_s, flashes_s - best_s)
        paired = np.abs(flashes_s - beeps_s[mates] - best_s) <= _TOGETHER_S
        mates = mates[paired]
        events += [
            Event(float(at_s), float(beep_s))
            for at_s, beep_s in zip(flashes_s[paired], beeps_s[mates], strict=True)
        ]
        flashes_s, beeps_s = flashes_s[~paired], np.delete(beeps_s, mates)
    return tuple(sorted(events, key=lambda event: event.picture_s)), False


def _differences(
    flashes_s: NDArray[np.float64], beeps_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How long after a beep a flash comes, of all that lie within `MAX_OFFSET_S` of each other,
    from low to high. Both rise; a test signal of hours has too many to compare each with each.
    """
    first = np.searchsorted(beeps_s, flashes_s - MAX_OFFSET_S, "left")
    last = np.searchsorted(beeps_s, flashes_s + MAX_OFFSET_S, "right")
    near = [
        flash_s - beeps_s[low:high]
        for flash_s, low, high in zip(flashes_s, first, last, strict=True)
    ]
    return np.sort(np.concatenate(near))


def _nearest(values: NDArray[np.float64], to: NDArray[np.float64]) -> NDArray[np.intp]:
    """The index of the value, of several that rise, that is nearest to each of `to`."""
    after = np.clip(np.searchsorted(values, to), 1, max(1, len(values) - 1))
    before = after - 1
    after = np.minimum(after, len(values) - 1)
    return np.where(to - values[before] <= values[after] - to, before, after)
