"""What the rows are measured on: generated, so that anybody can make it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from avcheck.demo import make_demo
from avcheck.scenes.generate import make_scene
from tests.support.clips import Array, make_clip

SIZE = (1920, 1080)  # width, height
RATE = 16_000  # Hz
_COARSE = 3  # px of a drawn talking head become so many times as large
_CELL = 24  # px of the texture


def clip(path: Path, seconds: float) -> None:
    """A talking head of 576 x 432."""
    make_demo(path, offset_ms=120.0, seconds=seconds)


def heads(path: Path, seconds: float) -> None:
    """A talking head of 1080 lines, in sync."""
    width, height = SIZE
    scene = make_scene(
        "talking",
        seed=1,
        seconds=seconds,
        size=(height // _COARSE, width // _COARSE),
        head_share=0.5,
        studio=True,
    )

    def draw(time_s: float) -> Array:
        picture = scene.frames[min(len(scene.frames) - 1, round(time_s * 25))]
        return (picture.repeat(_COARSE, axis=0).repeat(_COARSE, axis=1) * (219 / 255) + 16).astype(
            np.uint8
        )

    make_clip(
        path, seconds=seconds, size=SIZE, draw=draw, play=_played(scene.samples), sample_rate=RATE
    )


def texture(path: Path, seconds: float) -> None:
    """A moving texture of 1080 lines and noise: it ends undecidable, after a closer look."""
    width, height = SIZE
    rng = np.random.default_rng(1)
    cells = rng.integers(40, 210, (height // _CELL + 20, width // _CELL + 20)).astype(np.uint8)
    whole = cells.repeat(_CELL, axis=0).repeat(_CELL, axis=1)

    def draw(time_s: float) -> Array:
        top, left = int(200 + 150 * np.sin(1.3 * time_s)), int(200 + 150 * np.sin(0.9 * time_s))
        return whole[top : top + height, left : left + width]

    def play(times_s: Array) -> Array:
        return np.asarray(0.2 * rng.standard_normal(len(times_s)))

    make_clip(path, seconds=seconds, size=SIZE, draw=draw, play=play, sample_rate=RATE)


def slide(path: Path, seconds: float) -> None:
    """A still of 1080 lines and a voice: nothing in it moves."""
    width, height = SIZE
    scene = make_scene("talking", seed=1, seconds=seconds, size=(64, 64))
    picture = np.linspace(40, 210, width).astype(np.uint8)[None].repeat(height, axis=0)
    make_clip(
        path,
        seconds=seconds,
        size=SIZE,
        draw=lambda _: picture,
        play=_played(scene.samples),
        sample_rate=RATE,
    )


def text(path: Path, seconds: float) -> None:
    """No video at all."""
    path.write_text("Remember the milk.\n", encoding="utf-8")


def clips(folder: Path, seconds: float, count: int = 6) -> None:
    """A folder of talking heads of 576 x 432."""
    folder.mkdir()
    for number in range(count):
        make_demo(
            folder / f"{number}.mp4",
            offset_ms=40.0 * (number % 5 - 2),
            seconds=seconds,
            seed=number + 1,
        )


def _played(samples: Array) -> Callable[[Array], Array]:
    def play(times_s: Array) -> Array:
        return np.interp(times_s, np.arange(len(samples)) / RATE, samples)

    return play
