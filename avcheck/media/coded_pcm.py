"""Channels of a sound that hold coded data in the place of samples, such as Dolby E or AC-3 in the
PCM of a broadcast file. Whoever plays them without a decoder hears noise.

SMPTE ST 337 and IEC 61937: data comes in bursts, one for each frame of the codec. A burst begins
with two sync words, and a third that says what it is; in a pair of channels, they take turns. DTS
of a CD has no bursts, only frames with a sync word of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from avcheck.machine.files import stamp
from avcheck.media.base import PLANAR_MOST, Source, Tally
from avcheck.media.container import open_source
from avcheck.media.packets import decoded_frames, packets_of, prepare

# Codecs that keep every bit, besides PCM itself
_LOSSLESS = frozenset({"alac", "ape", "flac", "tak", "tta", "wavpack"})

_LOOK_S = 0.6  # of sound, without the silence before it; E-AC-3 has the longest bursts, .13 s
_SILENCE_S = 10.0  # of silence before it, at most

# First and second sync word of a burst, as words of 16, 20 and 24 bits in the upper bits of 32
_SYNC = (
    (0xF872_0000, 0x4E1F_0000),
    (0x6F87_2000, 0x54E1_F000),
    (0x96F8_7200, 0xA54E_1F00),
)

# DTS in words of 14 and 16 bits: its sync word in the left and the right channel, then bits of the
# left that are always the same, and which these are
_DTS = (
    (0x1FFF_0000, 0xE800_0000, 0x07F0_0000, 0xFFF0_0000),
    (0x7FFE_0000, 0x8001_0000, 0xFC00_0000, 0xFC00_0000),
)

# What the lowest five bits of the third word say (SMPTE ST 338, IEC 61937-2)
_KINDS = {
    1: "AC-3",
    7: "AAC",
    11: "DTS",
    12: "DTS",
    13: "DTS",
    16: "E-AC-3",
    17: "DTS-HD",
    21: "E-AC-3",
    22: "TrueHD",
    28: "Dolby E",
}

_REST = 4  # samples of silence before a burst: none is as long as its frame lasts
_LEAST = 3  # bursts that follow each other regularly; one word alone can be any sample
_APART = 256  # samples, the least from one burst to the next
_UNEVEN = 2  # samples, as 1601 and 1602 take turns at 29.97 pictures a second

_WHOLE_NUMBERS: dict[str, type[np.signedinteger[Any]]] = {"s16": np.int16, "s32": np.int32}

_Samples = NDArray[np.signedinteger[Any]]
_Words = NDArray[np.uint32]
_Places = NDArray[np.intp]


@dataclass(frozen=True)
class Coded:
    """What some channels of a sound hold in the place of samples."""

    kind: str  # "Dolby E", for example
    channels: tuple[int, ...]  # that hold it, counted from 0
    whole: bool  # these are all


def coded_in(source: Source, codec: str) -> Coded | None:
    """What of a sound is coded data; None if all of it is sound, as the codec of its samples (by
    FFmpeg's name) or its first second says. Raises as `open_container`.
    """
    if not (codec.startswith(("pcm_s16", "pcm_s24", "pcm_s32")) or codec in _LOSSLESS):
        return None
    return _coded(source, stamp(source.path))


@lru_cache(maxsize=16)  # a title is heard in a hundred places
def _coded(source: Source, _: tuple[int | None, int | None]) -> Coded | None:
    words = _first_words(source)
    if words is None:
        return None
    kinds: dict[int, str] = {}
    for channel in range(words.shape[1]):
        kind = _kind_of(words, channel)
        if kind is not None:
            kinds[channel] = kind
    if not kinds:
        return None
    named = [kind for kind in kinds.values() if kind] or ["coded data"]
    return Coded(named[0], tuple(kinds), len(kinds) == words.shape[1])


def _first_words(source: Source) -> _Words | None:
    """The first samples (n, channels) that are not silent, in the upper bits of 32; None if they
    are no whole numbers.
    """
    parts: list[_Words] = []
    silent, count = 0, 0
    container, source = open_source(source)
    with container:
        stream = container.streams[source.index]
        prepare(container, [stream], 1)
        packets = packets_of(container, [stream], Tally(), source.retime)
        for frame in decoded_frames(container, stream, Tally(), packets):
            words = _words_of(frame)
            if words is None or (parts and words.shape[1] != parts[0].shape[1]):
                break
            if not parts and not words.any():
                silent += len(words)
                if silent > _SILENCE_S * frame.sample_rate:
                    break
                continue
            parts.append(words)
            count += len(words)
            if count > _LOOK_S * frame.sample_rate:
                break
    return np.concatenate(parts) if parts else None


def _words_of(frame: AudioFrame) -> _Words | None:
    samples = _samples_of(frame)
    if not samples:
        return None
    words = np.stack(samples, axis=1).astype(np.int64).astype(np.uint32)
    return words << np.uint32(32 - 8 * samples[0].itemsize)


def _samples_of(frame: AudioFrame) -> list[_Samples]:
    """The samples of each channel, as they lie in the frame; none of one that holds no whole
    numbers.
    """
    kind = _WHOLE_NUMBERS.get(frame.format.name.removesuffix("p"))
    count, channels = frame.samples, frame.layout.nb_channels
    if kind is None or not count or (frame.format.is_planar and channels > PLANAR_MOST):
        return []
    if frame.format.is_planar:
        return [np.frombuffer(memoryview(plane), kind, count) for plane in frame.planes]
    values = np.frombuffer(memoryview(frame.planes[0]), kind, count * channels)
    return list(values.reshape(count, channels).T)


def muted(frames: Iterator[AudioFrame], channels: Collection[int]) -> Iterator[AudioFrame]:
    """The frames, with silence in these channels."""
    for frame in frames:
        for channel, samples in enumerate(_samples_of(frame)):
            if channel in channels:
                samples[:] = 0
        yield frame


def _kind_of(words: _Words, channel: int) -> str | None:
    """What a channel holds: "" if that cannot be told, None if it is sound."""
    own = words[:, channel]
    partners = [words[:, each] for each in (channel + 1, channel - 1) if 0 <= each < words.shape[1]]
    rests = np.concatenate([np.zeros(_REST, np.uint32), own])
    for first, second in _SYNC:
        for sync, other in ((first, second), (second, first)):
            places = np.flatnonzero(own[:-2] == sync)
            paired = [
                place
                for place in places
                if not rests[place : place + _REST].any()
                or any(partner[place] == other for partner in partners)
            ]
            if not _is_regular(np.array(paired, np.intp)):
                continue
            if sync == second:
                return ""
            after = own[np.array(paired) + 1]
            if after[0] == second:  # both in one channel
                after = own[np.array(paired) + 2]
            numbers = [int(word >> 16) & 0x1F for word in after]
            return next((_KINDS[number] for number in numbers if number in _KINDS), "")
    for left, right, bits, mask in _DTS:
        for pair in _pairs(channel, words.shape[1]):
            places = np.flatnonzero(
                (words[:-1, pair] == left)
                & (words[:-1, pair + 1] == right)
                & (words[1:, pair] & np.uint32(mask) == bits)
            )
            if _is_regular(places):
                return "DTS"
    return None


def _pairs(channel: int, channels: int) -> Iterator[int]:
    """The left channel of each pair that this one can belong to."""
    return (left for left in (channel - 1, channel) if 0 <= left < channels - 1)


def _is_regular(places: _Places) -> bool:
    """Whether these are the places of bursts that follow each other."""
    if len(places) < _LEAST:
        return False
    apart = np.diff(places)
    return bool(apart.min() >= _APART and apart.max() - apart.min() <= _UNEVEN)
