"""When the flashes and clicks of a transport stream are seen and heard."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from avcheck.media import Media, Sound
from tests.support.clips import Array, click_time_s
from tests.support.transport_stream import AUDIO_PID, VIDEO_PID

H264, AAC = 0x1B, 0x0F
TYPES = {VIDEO_PID: H264, AUDIO_PID: AAC}


def flashes_s(file: Media) -> list[float]:
    """When the bright pictures are shown; pictures must rise."""
    pictures = [(picture.pts_s, picture.luma.mean() > 128) for picture in file.pictures()]
    assert all(before[0] < after[0] for before, after in pairwise(pictures))
    return [time_s for time_s, bright in pictures if bright]


def clicks_s(sounds: Sequence[Sound], near_s: Sequence[float]) -> list[float]:
    """When the clicks are heard, one within half a second of each of `near_s`; sounds must not
    overlap.
    """
    assert all(before.end_s <= after.start_s + 1e-6 for before, after in pairwise(sounds))
    times_s = []
    for time_s in near_s:
        samples: Array = np.zeros(16000, np.float32)
        for sound in sounds:
            first = round((sound.start_s - time_s + 0.5) * 16000)
            low, high = max(0, first), min(16000, first + len(sound.samples))
            if low < high:
                samples[low:high] = sound.samples[low - first : high - first]
        assert np.abs(samples).max() > 0.3
        times_s.append(click_time_s(time_s - 0.5, samples))
    return times_s


def late_ms(file: Media) -> list[float]:
    """How late each click is against its flash."""
    shown_s = flashes_s(file)
    heard_s = clicks_s(list(file.sounds()), shown_s)
    return [1000 * (heard - shown) for heard, shown in zip(heard_s, shown_s, strict=True)]


def changing(time_s: float) -> Array:
    """A picture unlike those around it, and small when encoded: 30 of them share a PES packet."""
    return np.full((64, 96), 16 + round(25 * time_s) * 7 % 200, np.uint8)
