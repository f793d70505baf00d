"""A short film with a known offset, to see avcheck at work without any media at hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avcheck.errors import UsageError
from avcheck.film_writer import SOUND_RATE, at_sound_rate, write_film
from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.scenes.base import Scene
from avcheck.scenes.generate import make_scene

SIZE = (432, 576)  # height, width
LONGEST_OFFSET_MS = 60_000.0
# Sound rendered beyond both ends, where resampling rings; every offset within it is cut from the
# very same scene
MARGIN_S = 3.0
TINT = (118, 139)  # constant U and V: skin rather than grey


def make_demo(path: Path, *, offset_ms: float, seconds: float = 12.0, seed: int = 1) -> None:
    """Write a talking head as MP4, H.264 and AAC.

    The scene is rendered longer and then cut, so both streams start at 0 and have the same length,
    and only their content shows the offset, which is exact to a sample of 48 kHz. The same seed and
    length give the same scene at any offset up to 2 s.

    Args:
        path: The file, written over if it exists.
        offset_ms: By how much the sound is early; negative: late.
        seconds: How long the film lasts.
        seed: Of everything that is drawn at random.

    Raises:
        UsageError: Offset or length are beyond what a demo can have.
        OSError: The file cannot be written.
    """
    if not (math.isfinite(offset_ms) and abs(offset_ms) <= LONGEST_OFFSET_MS):
        raise UsageError(
            f"a demo can be off by up to {LONGEST_OFFSET_MS:.0f} ms, not {offset_ms} ms",
            "offset_ms",
        )
    if not (math.isfinite(seconds) and seconds >= 1 / FRAME_RATE):
        raise UsageError(f"a demo lasts at least one frame, not {seconds} s", "seconds")
    margin_s = max(MARGIN_S, math.ceil(abs(offset_ms) / 1000) + 1.0)
    scene = make_scene(
        "talking",
        seed=seed,
        seconds=seconds,
        size=SIZE,
        frame_rate=FRAME_RATE,
        sound_margin_s=margin_s,
        head_share=0.5,
        studio=True,
    )
    # Sound early by x: what belongs to the picture at t + x is heard at t.
    begin = round((margin_s + offset_ms / 1000) * SOUND_RATE)
    length = len(scene.frames) * SOUND_RATE // FRAME_RATE
    sound = at_sound_rate(scene.samples, SAMPLE_RATE)[begin : begin + length]
    write_film(path, SIZE, _pictures(scene), sound, bit_rate=96_000, crf="20", threads="1")


def _pictures(scene: Scene) -> Iterator[NDArray[np.uint8]]:
    """The pictures in 4:2:0, video range."""
    height, width = scene.frames.shape[1:]
    picture = np.empty((height * 3 // 2, width), np.uint8)
    picture[height : height * 5 // 4], picture[height * 5 // 4 :] = TINT
    for luma in scene.frames:
        np.multiply(luma, 219 / 255, out=picture[:height], casting="unsafe")
        picture[:height] += 16
        yield picture
