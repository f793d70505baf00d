"""Clips in which every picture, and the sound that goes with it, carries its number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.train.corpus import CachedClip, Clip
from avcheck.train.sampling import Recipe

Array = np.ndarray[Any, Any]
A_FRAME = SAMPLE_RATE // FRAME_RATE
PLAIN = Recipe("frame", (48, 48), frames=20, margin=5, strength=0.0)


def cached(
    frames: Array,
    samples: Array,
    *,
    offset: float | None = 0.0,
    faces: Array | None = None,
) -> CachedClip:
    clip = Clip(
        id="a",
        path=Path("a"),
        group="a",
        kind="speech",
        split="train",
        offset_frames=offset,
        trusted=True,
    )
    return CachedClip(
        clip, frames, samples, np.zeros((0, 4), np.float32) if faces is None else faces
    )


def stairs(count: int, late: float = 0.0, size: int = 48) -> CachedClip:
    """Picture k is k, and so is its sound, which is late by `late` pictures."""
    frames = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, size, size))
    at = np.arange(count * A_FRAME) / A_FRAME - late
    return cached(
        np.ascontiguousarray(frames),
        (100 * np.floor(at)).clip(0, 32000).astype(np.int16),
        offset=late,
    )


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path
