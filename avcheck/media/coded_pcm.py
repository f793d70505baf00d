"""Channels of a sound that hold coded data in the place of samples, such as Dolby E or AC-3 in the
PCM of a broadcast file. Whoever plays them without a decoder hears noise.

SMPTE ST 337 and IEC 61937: data comes in bursts, one for each frame of the codec. A burst begins
with two sync words, and a third that says what it is; in a pair of channels, they take turns. DTS
of a CD has no bursts, only frames with a sync word of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

_REST = 4  # samples of silence before a burst, which is shorter than its frame lasts
_LEAST = 3  # bursts that follow each other regularly; one word alone can be any sample
_APART = 256  # samples, the least from one burst to the next
_UNEVEN = 2  # samples, as 1601 and 1602 take turns at 29.97 pictures a second

_Words = NDArray[np.uint32]
_Places = NDArray[np.intp]


def coded_kind(samples: NDArray[Any]) -> dict[int, str]:
    """The channels of some samples (n, channels) that hold coded data, and its kind."""
    if samples.dtype.kind != "i":
        return {}
    whole = samples.astype(np.int64).astype(np.uint32) << np.uint32(32 - 8 * samples.itemsize)
    words = np.asfortranarray(whole)  # channel by channel
    each = ((channel, _kind_of(words, channel)) for channel in range(words.shape[1]))
    kinds = {channel: kind for channel, kind in each if kind is not None}
    named = next((kind for kind in kinds.values() if kind), "coded data")
    return {channel: kind or named for channel, kind in kinds.items()}


def _kind_of(words: _Words, channel: int) -> str | None:
    """What a channel holds: "" if that cannot be told, None if it is sound."""
    own = words[:, channel]
    partners = [words[:, each] for each in (channel + 1, channel - 1) if 0 <= each < words.shape[1]]
    loud = np.concatenate([np.zeros(_REST + 1, np.intp), np.cumsum(own != 0)])
    rests = loud[:-_REST] == loud[_REST:]  # whether there is silence before each
    for first, second in _SYNC:
        for sync, other in ((first, second), (second, first)):
            places = np.flatnonzero(own[:-2] == sync)
            begun = rests[places]
            for partner in partners:
                begun |= partner[places] == other
            places = places[begun]
            if not _is_regular(places):
                continue
            if sync == second:
                return ""
            after = own[places + 1]
            if after[0] == second:  # both in one channel
                after = own[places + 2]
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
