"""Score curves of segments whose offset is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from avcheck.record.report import DEFAULT_PRESET, FRAME_MS, PRESETS, Tolerance
from avcheck.verdict.judge import Judgement, judge
from avcheck.verdict.posterior import (
    Calibration,
    Curve,
    Place,
)

Array = np.ndarray[Any, Any]


SHIFTS = np.arange(-50, 51)


PLAIN = Calibration()
EBU = PRESETS[DEFAULT_PRESET]
SEEDS = range(8)


def bump(frames: float, height: float = 12.0) -> Array:
    """A peak of logits at a shift, on a floor far below it."""
    return (height * np.exp(-0.5 * ((SHIFTS - frames) / 1.2) ** 2) - 4.0).astype(np.float32)


def curve(
    frames: float | None = 0.0,
    *,
    start_s: float = 0.0,
    blocks: int = 10,
    height: float = 12.0,
    noise: float = 0.0,
    seed: int = 0,
    motion: float = 3.0,
    detail: float = 40.0,
    level_db: float = -20.0,
    score: Array | None = None,
    match: Array | None = None,
) -> Curve:
    """A segment whose sound is late by `frames`; None: nothing matches."""
    rng = np.random.default_rng(seed)
    if score is None:
        score = np.full(len(SHIFTS), -4.0, np.float32) if frames is None else bump(frames, height)
        score = (score + noise * rng.standard_normal(len(SHIFTS))).astype(np.float32)
    attention = rng.uniform(0.1, 1.0, (blocks, len(SHIFTS))).astype(np.float32)
    attention /= attention.sum(axis=0)
    return Curve(
        start_s=start_s,
        end_s=start_s + blocks,
        shifts=SHIFTS,
        score=score,
        match=np.zeros_like(score) if match is None else match,
        block_start_s=start_s + np.arange(blocks, dtype=float),
        block_score=np.tile(score, (blocks, 1)),
        block_match=np.tile(np.zeros_like(score) if match is None else match, (blocks, 1)),
        attention=attention,
        places=attention[:, :, None],
        grid=(Place.whole(112),),
        motion=np.full(blocks, motion, np.float32),
        detail=np.full(blocks, detail, np.float32),
        level_db=np.full(blocks, level_db, np.float32),
    )


def film(offsets_ms: Sequence[float | None], **options: Any) -> list[Curve]:
    """Segments of 10 s in a row, each with the sound early by its offset."""
    return [
        curve(None if ms is None else -ms / FRAME_MS, start_s=10.0 * k, seed=k, **options)
        for k, ms in enumerate(offsets_ms)
    ]


def verdict(
    curves: list[Curve], tolerance: Tolerance = EBU, calibration: Calibration = PLAIN
) -> Judgement:
    return judge(curves, tolerance, calibration)
