"""Channels of a sound that nobody is meant to hear: coded data in the place of samples, and
timecode. To a listener they are noise, and so they would be to a check.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
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

_LOOK_S = 0.6  # of sound, without the silence before it; E-AC-3 has the longest bursts, .13 s
_SILENCE_S = 10.0  # of silence before it, at most

_Samples = NDArray[Any]


@dataclass(frozen=True)
class Unheard:
    """Which channels of a sound are no sound."""

    kinds: tuple[tuple[int, str], ...]  # a channel, counted from 0, and what it is
    whole: bool  # these are all channels

    @property
    def channels(self) -> tuple[int, ...]:
        """The numbers of the channels, from 0."""
        return tuple(channel for channel, _ in self.kinds)

    @property
    def kind(self) -> str:
        """What the first of them is, the one that can be told."""
        return self.kinds[0][1]


def unheard_in(source: Source, container: InputContainer) -> Unheard | None:
    """Which channels of the sound of an open file are none, by its first second; None if all are
    sound. Raises as `open_container`.
    """
    if container.format.name in _NOT_ASKED:
        return None
    return _unheard(source, stamp(source.path))


@lru_cache(maxsize=16)  # a title is heard in a hundred places
def _unheard(source: Source, _: tuple[int | None, int | None]) -> Unheard | None:
    codec, rate, samples = _beginning(source)
    if samples is None:
        return None
    kinds: dict[int, str] = {}
    if codec.startswith("pcm_") or codec in _LOSSLESS:
        kinds = coded_kind(samples)
    for channel in range(samples.shape[1]):
        if channel not in kinds and is_ltc(samples[:, channel], rate):
            kinds[channel] = LTC
    return Unheard(tuple(sorted(kinds.items())), len(kinds) == samples.shape[1]) if kinds else None


def _beginning(source: Source) -> tuple[str, int, _Samples | None]:
    """Codec and rate of a sound, and its first samples (n, channels) that are not silent; None if
    there are none, or none that can be read.
    """
    parts: list[_Samples] = []
    silent = count = rate = 0
    container, source = open_source(source)
    with container:
        stream = container.streams[source.index]
        prepare(container, [stream], 1)
        codec = stream.codec_context.name
        packets = packets_of(container, [stream], Tally(), source.retime)
        for frame in decoded_frames(container, stream, Tally(), packets):
            channels = samples_of(frame)
            if not channels or (
                parts
                and (len(channels), frame.sample_rate, channels[0].dtype)
                != (parts[0].shape[1], rate, parts[0].dtype)
            ):
                break
            rate = frame.sample_rate
            samples = np.stack(channels, axis=1)
            if not parts and not samples.any():
                silent += len(samples)
                if silent > _SILENCE_S * rate:
                    break
                continue
            parts.append(samples)
            count += len(samples)
            if count > _LOOK_S * rate:
                break
    return codec, rate, np.concatenate(parts) if parts else None


def muted(frames: Iterator[AudioFrame], channels: Collection[int]) -> Iterator[AudioFrame]:
    """The frames, with silence in these channels."""
    for frame in frames:
        for channel, samples in enumerate(samples_of(frame)):
            if channel in channels:
                samples[:] = 0
        yield frame
