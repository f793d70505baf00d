"""Scenes by name: one call that makes a scene of either kind. `scenes.base` says what a scene
is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avcheck.rates import SAMPLE_RATE
from avcheck.scenes.base import RandomStreams, Scene, SceneKind, SceneSetup, Thing
from avcheck.scenes.impacts import impacts
from avcheck.scenes.talking import talking


def make_scene(
    kind: SceneKind,
    *,
    seed: int,
    seconds: float,
    size: tuple[int, int] = (160, 224),
    frame_rate: float = 25.0,
    sound_margin_s: float = 0.0,
    head_share: float | None = None,
    studio: bool = False,
    things: Sequence[Thing] | None = None,
) -> Scene:
    """Generate a scene; the same arguments give the same scene.

    Args:
        kind: "talking", a drawn face whose mouth moves with speech-like sound; or "impacts", things
            that strike, each contact with its sound.
        seed: Of everything that is drawn at random.
        seconds: How long the pictures last.
        size: Height and width, px.
        frame_rate: Pictures a second.
        sound_margin_s: By how much the sound begins earlier and ends later than the pictures, so
            that it can be shifted without running out.
        head_share: Width of the head over the short side; None: 0.25 to 0.6, at random.
        studio: Even light, no shake, hardly any noise.
        things: What strikes, side by side; None: one to three, at random.

    Returns:
        The scene. Its pictures begin at 0 s, its sound `sound_margin_s` before that.

    Raises:
        ValueError: There is no such kind, or nothing can be drawn at that size or rate.
    """
    if kind not in ("talking", "impacts"):
        raise ValueError(f"there is no scene of kind {kind!r}")
    if seconds <= 0 or frame_rate <= 0 or min(size) < 16 or sound_margin_s < 0:
        raise ValueError(
            f"cannot draw {seconds} s of {size} pixels at {frame_rate} Hz with {sound_margin_s} s "
            "of sound margin"
        )
    frames_n = max(1, round(seconds * frame_rate))
    times_s = np.arange(frames_n) / frame_rate
    samples_n = round((seconds + 2 * sound_margin_s) * SAMPLE_RATE)
    setup = SceneSetup(
        RandomStreams(seed, kind), times_s, frame_rate, size, -sound_margin_s, samples_n, studio
    )
    return talking(setup, head_share) if kind == "talking" else impacts(setup, things)
