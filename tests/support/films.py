"""Films to be fixed: a talking head, or tiles under bursts of noise, whose sound strays from the
picture as a test wants.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from avcheck.rates import SAMPLE_RATE
from avcheck.scenes.generate import make_scene
from tests.support.clips import Array, make_clip

MARGIN_S = 3.0  # of sound before and after a talking head
# Times (n,) in seconds -> by how many seconds the sound is early then
Early = Callable[[Array], Array]
KINDS: dict[str, dict[str, Any]] = {  # container and codecs by the name of a file
    "film.mp4": {"vcodec": "libx264", "acodec": "aac"},
    "film.mov": {"vcodec": "libx264", "acodec": "pcm_s16le"},
    "film.mkv": {"vcodec": "libx264", "acodec": "libopus"},
    "film.ts": {"vcodec": "libx264", "acodec": "aac"},
    "film.avi": {"vcodec": "mpeg4", "acodec": "pcm_s16le"},
    "film.mxf": {"vcodec": "mpeg2video", "acodec": "pcm_s16le"},
}
B = {"preset": "ultrafast", "bf": "2", "g": "25"}  # of H.264: with B-pictures


def talking(
    path: Path,
    seconds: float,
    *early: Early,
    size: tuple[int, int] = (576, 432),  # width, height
    **options: Any,
) -> Path:
    """A talking head; what the mouth says at t + early(t) is heard at t. Each `early` makes an
    audio track.
    """
    scene = _head(seconds, size)

    def draw(time_s: float) -> Array:
        return np.asarray(
            16 + scene.frames[min(round(25 * time_s), len(scene.frames) - 1)] * (219 / 255),
            np.uint8,
        )

    at_s = np.arange(len(scene.samples)) / SAMPLE_RATE - MARGIN_S

    def played(one: Early) -> Callable[[Array], Array]:
        return lambda times_s: np.interp(times_s + one(times_s), at_s, scene.samples)

    options = {**KINDS[f"film{path.suffix}"], **options}
    plays = [played(one) for one in early]
    return make_clip(path, seconds=seconds, size=size, draw=draw, play=plays, **options)


@lru_cache(maxsize=1)
def _head(seconds: float, size: tuple[int, int]) -> Any:
    return make_scene(
        "talking",
        seed=1,
        seconds=seconds,
        size=size[::-1],
        frame_rate=25,
        sound_margin_s=MARGIN_S,
        head_share=0.5,
        studio=True,
    )


def tiles(path: Path, seconds: float = 4.0, **options: Any) -> Path:
    """Every picture is another one, and so is every stretch of the sound: noise that swells once a
    second.
    """
    settings = {**KINDS.get(path.name, {}), **options}
    if settings.get("vcodec", "libx264") == "libx264":
        settings.setdefault("video_options", B)
    settings = {"seconds": seconds, "size": (96, 64), "draw": _tile, "play": noise, **settings}
    key = f"{path.name} {sorted(options.items())} {seconds}"
    if "play" in options or key not in _MADE:  # a function has no name to know it by
        _MADE[key] = make_clip(path, **settings).read_bytes()
    path.write_bytes(_MADE[key])
    return path


_MADE: dict[str, bytes] = {}  # a film is made once


def _tile(time_s: float) -> Array:
    values = np.random.default_rng(round(time_s * 1000)).integers(40, 220, (4, 6))
    return values.astype(np.uint8).repeat(16, axis=0).repeat(16, axis=1)


def noise(times_s: Array) -> Array:
    """Noise as a function of time, so that any rate and any shift of it is the same sound."""
    samples = _noise()
    swell = 0.1 + 0.9 * (np.mod(times_s, 1.0) < 0.6)
    places = np.maximum(times_s * 16_000, 0.0)
    whole = places.astype(int)
    return swell * (samples[whole] + (places - whole) * (samples[whole + 1] - samples[whole]))


@lru_cache(maxsize=1)
def _noise() -> Array:
    return np.random.default_rng(7).uniform(-0.6, 0.6, 70 * 16000)
