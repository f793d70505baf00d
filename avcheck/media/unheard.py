"""Channels of a sound that nobody is meant to hear: coded data in the place of samples, and
timecode. To a listener they are noise, and so they would be to a check.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer
from numpy.typing import NDArray

from avcheck.machine.files import stamp
from avcheck.media.base import Source, Tally
from avcheck.media.coded_pcm import coded_kind
from avcheck.media.container import open_source
from avcheck.media.ltc import is_ltc
from avcheck.media.mixing import samples_of
from avcheck.media.packets import decoded_frames, packets_of, prepare

LTC = "timecode (LTC)"

# Codecs that keep every bit, and so can carry data
_LOSSLESS = frozenset({"alac", "ape", "flac", "tak", "tta", "wavpack"})

# Formats of broadcasts and discs: opening one again takes half a second, and they have timecode and
# data in streams of their own
_NOT_ASKED = frozenset({"mpeg", "mpegts"})

_LOOK_S = 0.6  # of sound at a time; E-AC-3 has the longest bursts, .13 s
_LOOKS = 100  # a minute, if the first shows data: it may be a leader, or crosstalk before a voice
_SILENCE_S = 10.0  # of silence before the first, at most, and until each channel has sounded
_QUIET = 0.003  # of full scale, its root mean square: an open input hums and hisses less
_MOST = 0.5  # the share of a channel, in energy and in time, from which all of it is data
_CROSSTALK = 0.01  # the energy of timecode that leaks into the next channel, at most: 20 dB less

_Samples = NDArray[Any]


@dataclass(frozen=True)
class Unheard:
    """Which channels of a track hold no sound."""

    kinds: tuple[tuple[int, str], ...]  # a channel, counted from 0, and what it is
    whole: bool  # whether these are all channels

    @property
    def channels(self) -> tuple[int, ...]:
        """The numbers of the channels, from 0."""
        return tuple(channel for channel, _ in self.kinds)

    @property
    def kind(self) -> str:
        """What the first of them is, which a message names for all."""
        return self.kinds[0][1]


def unheard_in(source: Source, container: InputContainer) -> Unheard | None:
    """Which channels of a track of an open file hold no sound, by its beginning; None if all do, or
    are to be heard whatever they hold. Raises as `open_container`.
    """
    if source.heard == "all" or container.format.name in _NOT_ASKED:
        return None
    unheard = _unheard(source, stamp(source.path))
    return None if unheard and unheard.whole and source.heard == "any" else unheard


@lru_cache(maxsize=16)  # a title is heard in a hundred places
def _unheard(source: Source, _: tuple[int | None, int | None]) -> Unheard | None:
    container, source = open_source(source)
    with container:
        stream = container.streams[source.index]
        prepare(container, [stream], 1)
        codec = stream.codec_context.name
        is_exact = codec.startswith("pcm_") or codec in _LOSSLESS
        packets = packets_of(container, [stream], Tally(), source.retime)
        looks = islice(_looks(decoded_frames(container, stream, Tally(), packets)), _LOOKS)
        channels: _Channels | None = None
        for samples, rate in looks:
            channels = channels or _Channels(samples.shape[1])
            channels.add(samples, rate, _kinds(samples, rate, is_exact))
            if channels.are_sound:
                return None
    return None if channels is None else channels.unheard()


class _Channels:
    """What the channels of a track held in the looks at it so far."""

    def __init__(self, count: int) -> None:
        self._kinds: dict[int, str] = {}  # a channel that was no sound in some look, and what
        # By channel, each in energy and in looks that are not silent: of all, and of the no-sound
        self._whole = np.zeros((2, count))
        self._data = np.zeros((2, count))
        self._was_loud = np.ones(count, np.bool_)  # in the last look; at first, none was missed
        self._has_sounded = np.zeros(count, np.bool_)
        self._heard_s = 0.0

    def add(self, samples: _Samples, rate: int, kinds: Mapping[int, str]) -> None:
        """Take in a look: its samples (n, channels), and which of its channels are no sound."""
        energy = _energy(samples)
        size = np.stack([energy, energy > 0])
        self._whole += size
        for channel, kind in kinds.items():
            self._data[:, channel] += size[:, channel]
            self._kinds.setdefault(channel, kind)
        loud = energy > len(samples) * (_QUIET * _full_scale(samples)) ** 2
        # What begins in the middle of a look is not recognised before the next
        self._has_sounded |= loud & self._was_loud
        self._was_loud = loud
        self._heard_s += len(samples) / rate

    @property
    def are_sound(self) -> bool:
        """Whether none holds anything else, by what was heard of each, and no look is needed."""
        return not self._kinds and bool(
            self._has_sounded.all() or self._heard_s > _SILENCE_S  # one that stays silent
        )

    def unheard(self) -> Unheard | None:
        """Those that are no sound for the most part; None if all are sound."""
        ltc = [self._data[0, channel] for channel, kind in self._kinds.items() if kind == LTC]
        leak = _CROSSTALK * max(ltc, default=0.0)
        kept = tuple(
            (channel, kind)
            for channel, kind in sorted(self._kinds.items())
            if (self._data[:, channel] >= _MOST * self._whole[:, channel]).all()
            and not (kind == LTC and self._data[0, channel] < leak)
        )
        return Unheard(kept, len(kept) == len(self._has_sounded)) if kept else None


def _kinds(samples: _Samples, rate: int, is_exact: bool) -> dict[int, str]:
    """The channels that are no sound in some samples (n, channels), and what they are; `is_exact`:
    the codec keeps every bit.
    """
    kinds = coded_kind(samples) if is_exact else {}
    for channel in range(samples.shape[1]):
        if channel not in kinds and is_ltc(samples[:, channel], rate):
            kinds[channel] = LTC
    return kinds


def _energy(samples: _Samples) -> NDArray[np.float64]:
    """The energy of each channel, in squares of the samples' own units."""
    with np.errstate(over="ignore"):
        return np.asarray((samples.astype(np.float64) ** 2).sum(axis=0), np.float64)


def _full_scale(samples: _Samples) -> float:
    """The largest value of samples, in their own units."""
    return 1.0 if samples.dtype.kind == "f" else 2.0 ** (8 * samples.itemsize - 1)


def _looks(frames: Iterator[AudioFrame]) -> Iterator[tuple[_Samples, int]]:
    """The samples (n, channels) of one stretch of a sound after the other, and their rate, from the
    first that is not silent on, as long as they can be read and keep their form.
    """
    parts: list[_Samples] = []
    form = None
    silent = count = 0
    for frame in frames:
        channels, rate = samples_of(frame), frame.sample_rate
        if not channels or form not in (None, (len(channels), rate, channels[0].dtype)):
            break
        samples = np.stack(channels, axis=1)
        if samples.dtype.kind == "f":  # damaged ones may be no number at all
            samples = np.nan_to_num(samples, posinf=0.0, neginf=0.0)
        if form is None and not samples.any():
            silent += len(samples)
            if silent > _SILENCE_S * rate:
                return
            continue
        form = len(channels), rate, channels[0].dtype
        parts.append(samples)
        count += len(samples)
        if count > _LOOK_S * rate:
            yield np.concatenate(parts), rate
            parts, count = [], 0
    if parts and form is not None:
        yield np.concatenate(parts), form[1]


def muted(frames: Iterator[AudioFrame], channels: Collection[int]) -> Iterator[AudioFrame]:
    """The frames, with silence in these channels."""
    for frame in frames:
        for channel, samples in enumerate(samples_of(frame)):
            if channel in channels:
                samples[:] = 0
        yield frame
