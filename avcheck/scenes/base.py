"""Generated scenes whose picture and sound move together, from numpy alone: for training, the demo
and tests.

Time: frame k shows the state at the instant `start_s + k / frame_rate` (no exposure time), and
sample i is the sound at `sound_start_s + i / sample_rate`. Picture and sound are drawn from the
same continuous trajectories, so a scene is in sync by construction, to the sample. It begins in the
middle of what goes on: sound from before the first frame still rings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avcheck.rates import SAMPLE_RATE

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Reals = NDArray[np.floating[Any]]
SceneKind = Literal["talking", "impacts"]
Thing = Literal["ball", "hammer", "pendulum", "clapper"]

TRACK_RATE = 1000  # Hz; articulation is computed on this grid
HOP = 80  # samples between two settings of the vocal tract filter (5 ms)
WINDOW = 4 * HOP
FFT = 512
SETTLE_S = 1.5  # trajectories begin and end this far outside what is cut from them


@dataclass(frozen=True)
class Scene:
    """Pictures and their sound; and where the face and the contacts are, for crops and tests."""

    frames: NDArray[np.uint8]  # (T, H, W), luma
    frame_rate: float  # Hz
    samples: Floats  # (n,), mono, -1..1
    sample_rate: int = SAMPLE_RATE  # Hz
    start_s: float = 0.0  # time of frames[0]
    sound_start_s: float = 0.0  # time of samples[0]; earlier if a sound margin was asked for
    # Of a talking face; None for impacts
    faces: Floats | None = None  # (T, 3): head centre x, y and head width, px
    mouths: Floats | None = None  # (T, 2): mouth centre x, y, px
    opening: Floats | None = None  # (T,): of the mouth, 0 closed to about 1
    contacts_s: Doubles | None = None  # of impacts: rising times of all contacts within the sound


class RandomStreams:
    """A random generator for each purpose: drawing more from one does not change the others."""

    def __init__(self, seed: int, kind: SceneKind) -> None:
        self._seed, self._kind = seed, kind

    def __call__(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, *self._kind.encode(), *purpose.encode()])


@dataclass(frozen=True)
class SceneSetup:
    """What every kind of scene is made from."""

    rng_for: RandomStreams  # all that is random comes from it
    times_s: Doubles  # of the frames
    frame_rate: float  # pictures a second
    size: tuple[int, int]  # height, width in px
    begin_s: float  # of the sound
    samples_n: int  # of the sound
    studio: bool  # even light, no shake, hardly any noise

    @property
    def end_s(self) -> float:
        """Where the sound ends."""
        return self.begin_s + self.samples_n / SAMPLE_RATE


class KeyFrames:
    """A value over time by key frames; the ease of a key shapes the way from it to the next one."""

    SMOOTH, FAST_START, FAST_END, LINEAR = range(4)

    def __init__(self, value: float) -> None:
        self._t = [-1e6]
        self._v = [value]
        self._ease = [self.LINEAR]

    def key(self, t: float, value: float, ease: int = SMOOTH) -> None:
        """Add a key frame at `t` seconds; one before the last goes right behind that."""
        self._t.append(max(t, self._t[-1] + 1e-4))
        self._v.append(value)
        self._ease.append(ease)

    @property
    def last(self) -> float:
        """The value of the last key frame."""
        return self._v[-1]

    def at(self, times_s: Doubles) -> Doubles:
        """The values at these times."""
        t, v = np.array([*self._t, 1e6]), np.array([*self._v, self._v[-1]])
        i = np.clip(np.searchsorted(t, times_s, "right") - 1, 0, len(t) - 2)
        u = np.clip((times_s - t[i]) / (t[i + 1] - t[i]), 0.0, 1.0)
        shaped = np.choose(np.array(self._ease)[i], [u * u * (3 - 2 * u), u * (2 - u), u * u, u])
        course: Doubles = v[i] + (v[i + 1] - v[i]) * shaped
        return course


def wander(rng: np.random.Generator, times_s: Doubles, low_hz: float, high_hz: float) -> Doubles:
    """A smooth random course around 0, about -1..1, made of four sines."""
    hz = np.exp(rng.uniform(math.log(low_hz), math.log(high_hz), 4))
    weight = rng.uniform(0.3, 1.0, 4) / np.sqrt(hz)
    phase = rng.uniform(0, 2 * np.pi, 4)
    course: Doubles = np.sin(2 * np.pi * times_s[:, None] * hz + phase) @ weight
    return course / float(weight.sum())
