"""Timecode as a sound: linear timecode (LTC, SMPTE ST 12-1), which a timecode box puts on a channel
of a camera or a recorder, as loud as a voice.

A picture has 80 bits. The sound changes its sign where a bit begins, and in the middle of each 1.
A picture's last 16 bits are always the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# From one change of sign to the next, in seconds: within a 1, and of a 0, from 24 to 30 pictures a
# second and a little beyond
_HALF_S = (160e-6, 300e-6)
_WHOLE_S = (360e-6, 580e-6)
_FITTING = 0.95  # the share of changes that are so far apart

_LEAST_RATE = 16_000  # samples a second: less cannot hold it

_SYNC = bytes((0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1))
_BITS = 80  # of a picture
_LEAST = 3  # pictures in a row


def is_ltc(samples: NDArray[np.floating[Any]], rate: int) -> bool:
    """Whether half a second of one channel is timecode."""
    if rate < _LEAST_RATE:
        return False
    changes_s = _changes(samples) / rate
    bits = _bits_between(np.diff(changes_s))
    return bits is not None and _has_pictures(bits)


def _changes(samples: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Where the sign changes, to a fraction of a sample."""
    values = samples.astype(np.float64)
    at = np.flatnonzero((values[:-1] < 0) != (values[1:] < 0))
    before, after = values[at], values[at + 1]
    with np.errstate(over="ignore"):  # damaged samples may be huge
        return np.asarray(at + before / (before - after), np.float64)


def _bits_between(apart_s: NDArray[np.float64]) -> bytes | None:
    """The bits, if nearly all changes of sign are as far apart as those of timecode."""
    halves = (apart_s > _HALF_S[0]) & (apart_s < _HALF_S[1])
    wholes = (apart_s > _WHOLE_S[0]) & (apart_s < _WHOLE_S[1])
    if not len(apart_s) or np.mean(halves | wholes) < _FITTING:
        return None
    bits = bytearray()
    open_half = False
    for half, whole in zip(halves, wholes, strict=True):
        if half and open_half:
            bits.append(1)
        elif whole:
            bits.append(0)
        open_half = bool(half) and not open_half
    return bytes(bits)


def _has_pictures(bits: bytes) -> bool:
    """Whether several pictures follow each other."""
    at = bits.find(_SYNC)
    while at >= 0:
        if all(bits.startswith(_SYNC, at + number * _BITS) for number in range(_LEAST)):
            return True
        at = bits.find(_SYNC, at + 1)
    return False
