"""The media that the rows are measured on, all generated."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np

from avcheck.scenes.demo import make_demo
from avcheck.scenes.generate import make_scene
from bench import film
from tests.support.clips import Array, make_clip

SIZE = (1920, 1080)  # width, height
RATE = 16_000  # Hz
_COARSE = 3  # factor by which a drawn talking head is enlarged
_CELL = 24  # px of the texture
_SHOT_S = 8.0
# The kinds of shots, in tenths of a title: 40 % dialogue, half of which shows the speaker
_SHOTS = ("speaker",) * 2 + ("voice",) * 2 + ("music",) * 3 + ("ambience",) * 2 + ("silence",)
_TITLE_S = 240.0  # a whole number of shots; a longer title repeats them
_SIXTH = 6  # factor by which a shot without a speaker is enlarged


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
    """A moving texture of 1080 lines with noise as sound: undecidable, after a closer look."""
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


@dataclass(frozen=True)
class _Shot:
    """Pictures (T, H, W) at 25 fps and samples (n,) at `RATE`, both from the start of the shot;
    pictures are enlarged by `coarse`.
    """

    frames: Array
    samples: Array
    coarse: int


def title(path: Path, seconds: float) -> None:
    """A film-like title of 1080 lines: dialogue, music, ambience and silence, in shots of 8 s.

    Two of ten shots show who speaks. Drawing takes longer than checking, so the title repeats after
    240 s.
    """
    if seconds > _TITLE_S:
        with tempfile.TemporaryDirectory(prefix="avcheck-bench-") as folder:
            once = Path(folder, path.name)
            title(once, _TITLE_S)
            repeat(once, path, _TITLE_S, seconds)
        return
    kinds = _kinds(seconds)

    @lru_cache(maxsize=1)  # pictures are drawn in order, and all shots would not fit into memory
    def shot(number: int) -> _Shot:
        return _shot(kinds[number], number)

    def draw(time_s: float) -> Array:
        number = int(time_s // _SHOT_S)
        now = shot(number)
        picture = now.frames[min(len(now.frames) - 1, round((time_s - number * _SHOT_S) * 25))]
        return picture.repeat(now.coarse, axis=0).repeat(now.coarse, axis=1)

    samples = np.concatenate([shot(number).samples for number in range(len(kinds))])
    make_clip(path, seconds=seconds, size=SIZE, draw=draw, play=_played(samples), sample_rate=RATE)


def repeat(once: Path, path: Path, every_s: float, seconds: float) -> None:
    """Write a file of `every_s` seconds again and again until it lasts so many `seconds`; packets
    are copied.
    """
    with av.open(str(path), "w") as out:
        streams: list[Any] = []
        for start_s in np.arange(0.0, seconds, every_s):
            with av.open(str(once)) as source:
                streams = streams or [out.add_stream_from_template(each) for each in source.streams]
                for packet in source.demux():
                    if packet.pts is None or packet.dts is None or packet.time_base is None:
                        continue
                    time_s = float(packet.pts * packet.time_base)
                    if not 0 <= time_s < min(every_s, seconds - start_s):
                        continue
                    later = round(start_s / packet.time_base)
                    packet.pts, packet.dts = packet.pts + later, packet.dts + later
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)


def _kinds(seconds: float) -> list[str]:
    """The kind of each shot of a title, and of one more."""
    rng = np.random.default_rng(1)
    count = int(seconds // _SHOT_S) + 2
    tens = -(-count // len(_SHOTS))
    return [_SHOTS[k] for _ in range(tens) for k in rng.permutation(len(_SHOTS))][:count]


def _shot(kind: str, number: int) -> _Shot:
    rng = np.random.default_rng((2, number))
    count = round(_SHOT_S * RATE)
    if kind in ("speaker", "voice"):
        speaks = kind == "speaker"
        size = (SIZE[1] // _COARSE, SIZE[0] // _COARSE) if speaks else (64, 64)
        scene = make_scene("talking", seed=number, seconds=_SHOT_S, size=size, studio=True)
        if speaks:
            frames = (scene.frames * (219 / 255) + 16).astype(np.uint8)
            return _Shot(frames, scene.samples[:count], _COARSE)
        samples = scene.samples[:count]
    elif kind == "music":
        first = round(rng.uniform(0, film.SECONDS - _SHOT_S) * RATE)
        samples = film.bed()[:: film.SOUND_RATE // RATE][first : first + count]
    else:
        loud = 0.02 if kind == "ambience" else 0.0
        samples = loud * rng.standard_normal(count)
    return _Shot(_scenery(number), samples, _SIXTH)


def _scenery(number: int) -> Array:
    """A picture without a speaker, for a pan."""
    rng = np.random.default_rng((3, number))
    height, width = SIZE[1] // _SIXTH, SIZE[0] // _SIXTH
    wide = rng.integers(40, 210, (height // 4 + 1, width // 2)).astype(np.uint8)
    wide = wide.repeat(4, axis=0).repeat(4, axis=1)[:height]
    left = (np.arange(round(_SHOT_S * 25)) * rng.uniform(0.2, 1.5)).astype(int)
    return np.stack([wide[:, at : at + width] for at in left])


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
    path.write_text("Notes, and no video.\n", encoding="utf-8")


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
