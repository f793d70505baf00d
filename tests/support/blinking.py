"""A film that blinks, with a tone that goes with it, and what stands in for the network there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from avcheck.rates import SAMPLE_RATE
from avcheck.reading.segments import MAX_SHIFT, Window
from avcheck.scan import curves as scanning
from avcheck.scan.shifts import SHIFTS
from avcheck.verdict.posterior import Curve, Place
from tests.support.clips import Sounds, make_clip

Array = np.ndarray[Any, Any]
BITS = np.random.default_rng(7).integers(0, 2, 25 * 260)  # whether each picture is bright
B_FRAMES = {"preset": "ultrafast", "bf": "3", "g": "250"}


def correlated(window: Window, _model: object, _levels: object, count: int = 1) -> list[Curve]:
    """In place of the network: how well brightness and loudness go together at every shift."""
    return [_correlated(window.with_sound(number)) for number in range(count)]


def _correlated(window: Window) -> Curve:
    inside = window.inside
    bright = np.concatenate([item.pictures.mean(axis=(1, 2)) for item in inside])
    bright = (bright - bright.mean()) / bright.std()
    mel, _ = scanning.sound_with_margin(window)
    loud = mel.max(axis=1).reshape(-1, 4).mean(axis=1)
    loud = (loud - loud.mean()) / max(loud.std(), 1e-9)  # silence has none
    score = np.array(
        [30 * np.mean(bright * loud[MAX_SHIFT + s : MAX_SHIFT + s + len(bright)]) for s in SHIFTS],
        np.float32,
    )
    count, shifts = len(inside), len(SHIFTS)
    even = np.full((count, shifts), 1 / count, np.float32)
    return Curve(
        start_s=inside[0].start_s,
        end_s=inside[-1].start_s + 1,
        shifts=SHIFTS,
        score=score,
        match=np.zeros(shifts, np.float32),
        block_start_s=np.array([item.start_s for item in inside]),
        block_score=np.tile(score, (count, 1)),
        block_match=np.zeros((count, shifts), np.float32),
        attention=even,
        places=even[:, :, None],
        grid=(Place.whole(112),),
        motion=np.full(count, 9.0, np.float32),
        detail=np.full(count, 50.0, np.float32),
        level_db=np.array([item.level_db for item in inside], np.float32),
    )


def film(path: Path, seconds: float, play: Sounds | list[Sounds], **options: Any) -> Path:
    """A small film that blinks. Its sound is ALAC, which is quickest to write and to read, unless
    `options` or the container say otherwise.
    """
    acodec = {".avi": "pcm_s16le", ".ts": "aac"}.get(path.suffix, "alac")
    about: dict[str, Any] = {"size": (64, 48), "sample_rate": SAMPLE_RATE, "acodec": acodec}
    return make_clip(path, seconds=seconds, draw=blink, play=play, **about | options)


def blink(time_s: float) -> Array:
    return np.full((48, 64), 60 + 140 * BITS[round(time_s * 25)], np.uint8)


def late(late_s: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A tone that is loud whenever the picture of `late_s` before is bright."""

    def play(times_s: Array) -> Array:
        at = np.floor((times_s - late_s(times_s)) * 25 + 0.5).astype(int)
        return np.where(BITS[at], 0.5, 0.02) * np.sin(2 * np.pi * 700 * times_s)

    return play
