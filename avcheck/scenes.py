"""Generated scenes whose picture and sound move together, from numpy alone: for training, for the demo and for tests.

Time: frame k shows the state at the instant `start_s + k / frame_rate` (no exposure time), and sample i is the sound at
`sound_start_s + i / sample_rate`. Picture and sound are drawn from the same continuous trajectories, so a scene is in sync by
construction and to the sample; what was played before the first frame is not cut off, the scene begins in the middle of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Reals = NDArray[np.floating[Any]]
Kind = Literal["talking", "impacts"]
Thing = Literal["ball", "hammer", "pendulum", "clapper"]

SAMPLE_RATE = 16000
TRACK_RATE = 1000  # Hz; articulation is computed on this grid
HOP = 80  # samples between two settings of the vocal tract filter (5 ms)
WINDOW = 4 * HOP
FFT = 512
SETTLE_S = 1.5  # trajectories begin and end this far outside what is cut from them


@dataclass(frozen=True)
class Scene:
    """Pictures and their sound.

    frames: uint8 (T, H, W), luma. frame_rate: Hz. samples: float32 (n,), mono, -1..1, at `sample_rate` Hz.
    start_s: time of frames[0]; sound_start_s: time of samples[0], equal to start_s unless a sound margin was asked for.

    What is true of the scene, for tests and for cutting crops:
    faces: float32 (T, 3), head centre x, y and head width in pixels; mouths: float32 (T, 2), mouth centre x, y in pixels;
    opening: float32 (T,), mouth opening, 0 closed .. about 1. All three None for impacts.
    contacts_s: float64 (m,), rising times of all contacts within the sound; None for talking.
    """

    frames: NDArray[np.uint8]
    frame_rate: float
    samples: Floats
    sample_rate: int = SAMPLE_RATE
    start_s: float = 0.0
    sound_start_s: float = 0.0
    faces: Floats | None = None
    mouths: Floats | None = None
    opening: Floats | None = None
    contacts_s: Doubles | None = None


def make_scene(
    kind: Kind,
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
    """A scene of `seconds`, `size` = (H, W) pixels, the same for the same arguments.

    "talking": a drawn face whose mouth moves with speech-like sound. "impacts": one to three things that strike, each contact
    with its sound.

    sound_margin_s: samples cover so much more before the first and after the last frame, so that the sound can be shifted
    without running out. head_share: head width over the short side of the frame (None: 0.25..0.6 at random).
    studio: even light, no shake, hardly any noise. things: what strikes (None: at random).
    """
    if kind not in ("talking", "impacts"):
        raise ValueError(f"there is no scene of kind {kind!r}")
    if seconds <= 0 or frame_rate <= 0 or min(size) < 16 or sound_margin_s < 0:
        raise ValueError(f"cannot draw {seconds} s of {size} pixels at {frame_rate} Hz with {sound_margin_s} s of sound margin")
    frames_n = max(1, round(seconds * frame_rate))
    times_s = np.arange(frames_n) / frame_rate
    samples_n = round((seconds + 2 * sound_margin_s) * SAMPLE_RATE)
    stage = _Stage(_Roll(seed, kind), times_s, frame_rate, size, -sound_margin_s, samples_n, studio)
    return _talking(stage, head_share) if kind == "talking" else _impacts(stage, things)


class _Roll:
    """Independent random generators by purpose, so that one purpose drawing more does not change the others."""

    def __init__(self, seed: int, kind: Kind) -> None:
        self._seed, self._kind = seed, kind

    def __call__(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, *self._kind.encode(), *purpose.encode()])


@dataclass(frozen=True)
class _Stage:
    """What every kind of scene is made from."""

    roll: _Roll
    times_s: Doubles  # of the frames
    frame_rate: float
    size: tuple[int, int]
    begin_s: float  # of the sound
    samples_n: int
    studio: bool

    @property
    def end_s(self) -> float:
        """Where the sound ends."""
        return self.begin_s + self.samples_n / SAMPLE_RATE


# ---------------------------------------------------------------------------------------------------------- trajectories


class _Track:
    """A value over time by key frames; the ease of a key shapes the way from it to the next one."""

    SMOOTH, FAST_START, FAST_END, LINEAR = range(4)

    def __init__(self, value: float) -> None:
        self._t = [-1e6]
        self._v = [value]
        self._ease = [self.LINEAR]

    def key(self, t: float, value: float, ease: int = SMOOTH) -> None:
        self._t.append(max(t, self._t[-1] + 1e-4))
        self._v.append(value)
        self._ease.append(ease)

    @property
    def last(self) -> float:
        return self._v[-1]

    def at(self, times_s: Doubles) -> Doubles:
        t, v = np.array([*self._t, 1e6]), np.array([*self._v, self._v[-1]])
        i = np.clip(np.searchsorted(t, times_s, "right") - 1, 0, len(t) - 2)
        u = np.clip((times_s - t[i]) / (t[i + 1] - t[i]), 0.0, 1.0)
        shaped = np.choose(np.array(self._ease)[i], [u * u * (3 - 2 * u), u * (2 - u), u * u, u])
        course: Doubles = v[i] + (v[i + 1] - v[i]) * shaped
        return course


def _wander(rng: np.random.Generator, times_s: Doubles, low_hz: float, high_hz: float, waves: int = 4) -> Doubles:
    """A smooth random course around 0, about -1..1, made of a few sines."""
    hz = np.exp(rng.uniform(math.log(low_hz), math.log(high_hz), waves))
    weight = rng.uniform(0.3, 1.0, waves) / np.sqrt(hz)
    phase = rng.uniform(0, 2 * np.pi, waves)
    course: Doubles = np.sin(2 * np.pi * times_s[:, None] * hz + phase) @ weight
    return course / float(weight.sum())


# --------------------------------------------------------------------------------------------------------------- drawing


class _Pen:
    """Antialiased shapes on a float canvas (H, W), in the units and axes of a local frame: x right, y down, turned by `angle`.

    x0, y0: origin in pixels; scale: pixels per unit.
    """

    def __init__(self, canvas: Reals, x0: float, y0: float, scale: float, angle: float = 0.0) -> None:
        self.canvas = canvas
        self.x0, self.y0, self.scale = x0, y0, scale
        self.cos, self.sin = math.cos(angle), math.sin(angle)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """The pixel place (column, row) of a local place."""
        s = self.scale
        return self.x0 + s * (self.cos * x - self.sin * y), self.y0 + s * (self.sin * x + self.cos * y)

    def grid(self, x: float, y: float, rx: float, ry: float) -> tuple[Reals, Reals, Reals] | None:
        """Canvas part around the box (x +- rx, y +- ry) with local coordinates relative to (x, y); None when out of frame."""
        cx, cy = self.pixel(x, y)
        ex = self.scale * (abs(self.cos) * rx + abs(self.sin) * ry) + 2
        ey = self.scale * (abs(self.sin) * rx + abs(self.cos) * ry) + 2
        height, width = self.canvas.shape
        left, right = max(0, math.floor(cx - ex)), min(width, math.ceil(cx + ex) + 1)
        top, bottom = max(0, math.floor(cy - ey)), min(height, math.ceil(cy + ey) + 1)
        if left >= right or top >= bottom:
            return None
        px = (np.arange(left, right, dtype=np.float32) - cx) / self.scale
        py = ((np.arange(top, bottom, dtype=np.float32) - cy) / self.scale)[:, None]
        u = px * self.cos + py * self.sin
        v = py * self.cos - px * self.sin
        return self.canvas[top:bottom, left:right], u, v

    def cover(self, distance: Reals, soft: float = 1.0) -> Reals:
        """Share of a pixel that is inside (distance < 0, local units); soft: width of the edge in pixels."""
        share: Reals = np.clip(0.5 - distance * (self.scale / max(soft, 1.0)), 0.0, 1.0)
        return share

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, tone: float, *, soft: float = 1.0, ink: float = 1.0, light: float = 0.0
    ) -> None:
        """A filled ellipse of grey `tone`, `ink` opaque; light > 0: brighter to the upper left."""
        edge = soft / self.scale
        part = self.grid(x, y, rx + edge, ry + edge)
        if part is None:
            return
        canvas, u, v = part
        away = np.sqrt((u / rx) ** 2 + (v / ry) ** 2)
        share = self.cover((away - 1.0) * min(rx, ry), soft) * ink
        if light:
            canvas += share * (tone * (1 - light * (u / rx + v / ry) / 2) - canvas)
        else:
            canvas += share * (tone - canvas)

    def box(self, x: float, y: float, rx: float, ry: float, tone: float, *, ink: float = 1.0, soft: float = 1.0) -> None:
        """A filled box with half sides rx, ry."""
        part = self.grid(x, y, rx, ry)
        if part is None:
            return
        canvas, u, v = part
        share = self.cover(np.maximum(np.abs(u) - rx, np.abs(v) - ry), soft) * ink
        canvas += share * (tone - canvas)


def _texture(rng: np.random.Generator, height: int, width: int, cells: Sequence[int]) -> Floats:
    """Smooth noise (height, width), mean 0, standard deviation 1, summed over grids of so many cells across."""
    total = np.zeros((height, width), np.float32)
    for n in cells:
        rows = max(2, round(n * height / width) + 1)
        coarse = rng.standard_normal((rows + 1, n + 2)).astype(np.float32)
        y = np.linspace(0, rows - 1e-3, height, dtype=np.float32)
        x = np.linspace(0, n + 1 - 1e-3, width, dtype=np.float32)
        iy, ix = y.astype(int), x.astype(int)
        fy, fx = (y - iy)[:, None], x - ix
        fy, fx = fy * fy * (3 - 2 * fy), fx * fx * (3 - 2 * fx)
        top = coarse[iy][:, ix] * (1 - fx) + coarse[iy][:, ix + 1] * fx
        low = coarse[iy + 1][:, ix] * (1 - fx) + coarse[iy + 1][:, ix + 1] * fx
        total += top * (1 - fy) + low * fy
    spread = float(total.std()) or 1.0
    even: Floats = (total - total.mean()) / spread
    return even


def _backdrop(rng: np.random.Generator, height: int, width: int, studio: bool) -> Floats:
    """A still background, float (height, width) in 0..255: gradient, blotches, and some furniture."""
    base = rng.uniform(60, 95) if studio else rng.uniform(35, 215)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)
    slope = rng.uniform(-30, 30, 2)
    wall: Floats = (base + float(slope[0]) * x + float(slope[1]) * y).astype(np.float32)
    wall = wall + _texture(rng, height, width, (3, 7)) * float(rng.uniform(2, 8 if studio else 22))
    if rng.random() < 0.6:
        wall = wall + _texture(rng, height, width, (24, 60)) * float(rng.uniform(1, 3 if studio else 11))
    pen = _Pen(wall, 0, 0, min(height, width))
    for _ in range(int(rng.integers(0, 3 if studio else 7))):
        wide, high = rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.4)
        tone = float(np.clip(base + rng.uniform(-70, 70), 5, 250))
        soft = float(rng.uniform(1, 6)) * min(height, width) / 160
        place = float(rng.uniform(0, width / min(height, width))), float(rng.uniform(0, height / min(height, width)))
        pen.box(*place, float(wide), float(high), tone, ink=float(rng.uniform(0.3, 0.9)), soft=soft)
    return wall


class _Camera:
    """The background seen by a slightly unsteady camera, and what lens and sensor do to a picture."""

    MARGIN = 6  # pixels of background beyond each border

    def __init__(self, stage: _Stage) -> None:
        rng, times_s, studio = stage.roll("camera"), stage.times_s, stage.studio
        self.height, self.width = stage.size
        self.backdrop = _backdrop(rng, self.height + 2 * self.MARGIN, self.width + 2 * self.MARGIN, studio)
        reach = 0.0 if studio or rng.random() < 0.4 else float(rng.uniform(0.2, 2.0))
        self.shake = np.stack([reach * _wander(rng, times_s, 0.5, 6.0) for _ in range(2)], axis=1)
        grain = float(rng.uniform(0.5, 1.2) if studio else np.exp(rng.uniform(math.log(0.7), math.log(6))))
        self.gain = float(rng.uniform(0.97, 1.03) if studio else rng.uniform(0.6, 1.15))
        self.lift = float(0 if studio else rng.uniform(-8, 30))
        self.flicker = 1 + float(0 if studio else rng.uniform(0, 0.03)) * _wander(rng, times_s, 0.1, 10.0)
        self.blur = float(0.04 if studio else rng.choice([0.0, rng.uniform(0.03, 0.25)]))
        # A pool of noise read from random places: fresh normal noise for every frame would cost as much as the drawing.
        self._noise = grain * rng.standard_normal(4 * self.height * self.width, dtype=np.float32)
        self._rng = rng

    def canvas(self, k: int) -> tuple[Reals, float, float]:
        """The background of frame k, float (H, W), and the shake (x, y) in pixels that everything drawn on it must follow."""
        sx, sy = float(self.shake[k, 0]), float(self.shake[k, 1])
        left, top = self.MARGIN - sx, self.MARGIN - sy
        ix, iy = math.floor(left), math.floor(top)
        fx, fy = left - ix, top - iy
        part = self.backdrop[iy : iy + self.height + 1, ix : ix + self.width + 1]
        rows = part[:-1] * (1 - fy) + part[1:] * fy
        return rows[:, :-1] * (1 - fx) + rows[:, 1:] * fx, sx, sy

    def expose(self, canvas: Reals, k: int, out: NDArray[np.uint8]) -> None:
        """Lens blur, brightness and sensor noise; writes uint8 (H, W) to `out`."""
        if self.blur:
            side = self.blur
            canvas[:, 1:-1] = canvas[:, 1:-1] * (1 - 2 * side) + (canvas[:, :-2] + canvas[:, 2:]) * side
            canvas[1:-1] = canvas[1:-1] * (1 - 2 * side) + (canvas[:-2] + canvas[2:]) * side
        canvas *= self.gain * float(self.flicker[k])
        start = int(self._rng.integers(0, self._noise.size - canvas.size + 1))
        canvas += self._noise[start : start + canvas.size].reshape(canvas.shape)
        canvas += self.lift + 0.5
        np.clip(canvas, 0, 255, out=canvas)
        out[...] = canvas


# ---------------------------------------------------------------------------------------------------------------- talking


@dataclass(frozen=True)
class _Vowel:
    opening: float  # 0..1
    width: float  # 1 at rest


@dataclass(frozen=True)
class _Consonant:
    opening: float  # of the lips while it lasts; 0 = lips closed
    width: float
    voice: float = 0.0  # loudness of the voice while it lasts, 1 = vowel
    hiss: float = 0.0  # loudness of friction
    hiss_hz: float = 4500.0
    burst: float = 0.0  # loudness of the plosion at the release
    breath_s: float = 0.0  # breath between release and voice
    muffled_hz: float = 7000.0  # the voice is heard through a low-pass at this frequency
    tuck: float = 0.0  # lower lip drawn under the upper teeth
    tongue: float = 0.0


VOWELS = (
    _Vowel(1.0, 1.0),  # a
    _Vowel(0.8, 1.13),  # ae
    _Vowel(0.55, 1.13),  # e
    _Vowel(0.3, 1.25),  # i
    _Vowel(0.62, 0.64),  # o
    _Vowel(0.3, 0.45),  # u
    _Vowel(0.45, 0.95),  # schwa
)
LABIALS = (
    _Consonant(0.0, 1.0, voice=0.4, muffled_hz=350),  # m
    _Consonant(0.0, 1.0, voice=0.07, muffled_hz=250, burst=0.3, breath_s=0.008),  # b
    _Consonant(0.0, 1.0, burst=0.6, breath_s=0.045),  # p
)
OTHERS = (
    _Consonant(0.05, 1.0, hiss=0.10, hiss_hz=5000, tuck=1.0),  # f
    _Consonant(0.05, 1.0, voice=0.3, hiss=0.04, muffled_hz=700, tuck=1.0),  # v
    _Consonant(0.12, 1.08, hiss=0.30, hiss_hz=6000),  # s
    _Consonant(0.15, 0.75, hiss=0.34, hiss_hz=3300),  # sh
    _Consonant(0.2, 1.0, burst=0.5, breath_s=0.04, tongue=0.5),  # t
    _Consonant(0.22, 1.0, voice=0.06, muffled_hz=300, burst=0.3, breath_s=0.01, tongue=0.5),  # d
    _Consonant(0.3, 1.0, burst=0.45, breath_s=0.05),  # k
    _Consonant(0.22, 1.0, voice=0.4, muffled_hz=450, tongue=0.6),  # n
    _Consonant(0.35, 1.0, voice=0.5, muffled_hz=1500, tongue=0.9),  # l
    _Consonant(0.1, 0.42, voice=0.4, muffled_hz=600),  # w
)


class _Speech:
    """Random syllables: the courses of the mouth, and the sound that such a mouth would make."""

    def __init__(self, rng: np.random.Generator, begin_s: float, end_s: float) -> None:
        self.opening, self.width = _Track(0.02), _Track(1.0)
        self.tuck, self.tongue = _Track(0.0), _Track(0.2)
        self.voice, self.hiss, self.breath = _Track(0.0), _Track(0.0), _Track(0.0)
        self.hiss_hz, self.muffled_hz, self.pitch = _Track(4500.0), _Track(7000.0), _Track(1.0)
        self.bursts: list[tuple[float, float]] = []  # time in s, loudness
        self._rng = rng
        self._rate_hz = rng.uniform(3.0, 6.0)
        self._vigour = rng.uniform(0.75, 1.1)  # how far this speaker opens the mouth
        self._labials = rng.uniform(0.35, 0.6)
        t = begin_s + rng.uniform(0, 1.0)
        while t < end_s:
            t = self._phrase(t)
            t += rng.uniform(0.22, 0.5) if rng.random() < 0.65 else rng.uniform(0.5, 1.1)

    def _phrase(self, t: float) -> float:
        """Append a phrase that is first heard at t; returns when its sound ends."""
        rng = self._rng
        count = int(rng.integers(2, 10))
        rest = rng.uniform(0.0, 0.08)
        ahead = rng.uniform(0.14, 0.28)  # the mouth gets ready before it is heard
        self.opening.key(t - ahead, rest)
        self.width.key(t - ahead, 1.0)
        for i in range(count):
            t = self._syllable(t, first=i == 0, last=i == count - 1, fall=1.12 - 0.3 * i / count)
        self.voice.key(t, 0.0)
        self.opening.key(t + rng.uniform(0.1, 0.22), rest)
        self.width.key(t + 0.2, 1.0)
        self.tongue.key(t + 0.2, 0.2)
        return t

    def _syllable(self, t: float, *, first: bool, last: bool, fall: float) -> float:
        rng = self._rng
        length = rng.uniform(0.75, 1.35) / self._rate_hz * (1.25 if last else 1.0)
        choices = LABIALS if rng.random() < self._labials else OTHERS
        sound = choices[int(rng.integers(len(choices)))]
        vowel = VOWELS[int(rng.integers(len(VOWELS)))]
        stress = rng.uniform(0.55, 1.0)
        wide_open = vowel.opening * self._vigour * (0.65 + 0.35 * stress) * rng.uniform(0.9, 1.1)
        held = min(rng.uniform(0.06, 0.12), 0.4 * length)
        release = t + held
        rest_of = length - held
        rise, drop = min(rng.uniform(0.06, 0.09), 0.4 * rest_of), min(rng.uniform(0.06, 0.1), 0.4 * rest_of)
        end = t + length

        # Before a phrase the lips are in place a little earlier than anything is heard.
        reach = t - 0.04 if first else t
        closed = sound.opening == 0.0
        self.opening.key(reach, sound.opening)
        self.opening.key(release, sound.opening, _Track.FAST_START if closed else _Track.SMOOTH)
        self.opening.key(release + rise, wide_open)
        self.opening.key(end - drop, 0.88 * wide_open, _Track.SMOOTH)
        for track, consonant, later in (
            (self.width, sound.width, 1 + (vowel.width - 1) * rng.uniform(0.8, 1.1)),
            (self.tuck, sound.tuck, 0.0),
            (self.tongue, sound.tongue, rng.uniform(0.0, 0.5)),
        ):
            track.key(reach, consonant)
            track.key(release, consonant)
            track.key(release + rise, later)
            track.key(end - drop, later)

        onset = release + sound.breath_s
        if first:
            self.voice.key(t - 0.015, 0.0)
        self.voice.key(t, sound.voice * stress)
        self.voice.key(onset, sound.voice * stress, _Track.LINEAR)
        self.voice.key(onset + 0.035, stress)
        self.voice.key(end - (0.09 if last else 0.03), stress * (0.8 if last else 0.9))
        self.muffled_hz.key(t + 0.004, sound.muffled_hz)
        self.muffled_hz.key(release - 0.004, sound.muffled_hz)
        self.muffled_hz.key(release + 0.012, 7000.0)
        self.muffled_hz.key(end - 0.008, 7000.0)
        if sound.hiss:
            self.hiss_hz.key(t - 0.03, sound.hiss_hz, _Track.LINEAR)
            self.hiss_hz.key(end, sound.hiss_hz, _Track.LINEAR)
            self.hiss.key(t - 0.01, 0.0)
            self.hiss.key(t + 0.3 * held, sound.hiss * stress)
            self.hiss.key(release - 0.02, sound.hiss * stress)
            self.hiss.key(release + 0.012, 0.0)
        if sound.burst:
            self.bursts.append((release, sound.burst * stress))
        if sound.breath_s > 0.02:
            self.breath.key(release, 0.0, _Track.LINEAR)
            self.breath.key(release + 0.006, 0.16 * stress)
            self.breath.key(onset + 0.02, 0.0)
        self.pitch.key(t, fall * rng.uniform(0.95, 1.05))
        self.pitch.key(release + 0.5 * rest_of, fall * (0.92 + 0.22 * stress))
        return end

    def sound(self, rng: np.random.Generator, begin_s: float, samples_n: int) -> Doubles:
        """The voice, float64 (samples_n,), vowels about 0.1 strong; sample 0 at begin_s."""
        grid_n = samples_n * TRACK_RATE // SAMPLE_RATE + 2
        grid_s = begin_s + np.arange(grid_n) / TRACK_RATE
        sample_s = begin_s + np.arange(samples_n) / SAMPLE_RATE

        def fine(course: Doubles) -> Doubles:
            return np.interp(sample_s, grid_s, course)

        opening, width = self.opening.at(grid_s), self.width.at(grid_s)
        pitch_hz = float(np.exp(rng.uniform(math.log(85), math.log(250))))
        tract = float(np.clip(0.92 + 0.2 * (pitch_hz - 85) / 165 + rng.normal(0, 0.03), 0.85, 1.2))
        f0 = pitch_hz * self.pitch.at(grid_s) * (1 + 0.012 * _wander(rng, grid_s, 3, 9))
        phase = np.cumsum(fine(f0)) / SAMPLE_RATE % 1.0
        flow = np.where(phase < 0.4, 0.5 - 0.5 * np.cos(np.pi * phase / 0.4), np.cos(np.pi / 2 * (phase - 0.4) / 0.2))
        flow[phase >= 0.6] = 0.0
        source = np.diff(flow, prepend=flow[0])
        source[1:] -= 0.75 * source[:-1]  # a voice raised for the back row: overtones up to 4 kHz
        source += rng.standard_normal(samples_n) * source.std() * rng.uniform(0.02, 0.12)
        noise = rng.standard_normal(samples_n)

        # The vocal tract follows the mouth that is drawn: jaw -> first formant, lip spreading -> second.
        steps_s = begin_s + np.arange(-(-samples_n // HOP) + WINDOW // HOP) * HOP / SAMPLE_RATE

        def coarse(course: Doubles) -> Floats:
            return np.interp(steps_s, grid_s, course).astype(np.float32)

        first_hz = coarse(tract * (270 + 560 * np.clip(opening, 0, 1.15)))
        second_hz = coarse(tract * (750 + 1750 * np.clip(width - 0.45, 0, 0.85)))
        third_hz = np.maximum(second_hz + 500, 2500 * tract).astype(np.float32)
        muffled_hz, hiss_hz = coarse(self.muffled_hz.at(grid_s)), coarse(self.hiss_hz.at(grid_s))
        bins_hz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE).astype(np.float32)
        delay = np.exp(-2j * np.pi * bins_hz / SAMPLE_RATE).astype(np.complex64)
        shape = (1 / (1 + (bins_hz / muffled_hz[:, None]) ** 2)).astype(np.complex64)
        for centre_hz, band_hz in (
            (first_hz, 80.0),
            (second_hz, 110.0),
            (third_hz, 170.0),
            (3700 * tract + 0 * first_hz, 250.0),
        ):
            damp = math.exp(-math.pi * band_hz / SAMPLE_RATE)
            turn = (2 * damp * np.cos(2 * np.pi / SAMPLE_RATE * centre_hz)).astype(np.float32)[:, None]
            shape *= (1 - turn + damp * damp) / (1 - turn * delay + np.float32(damp * damp) * delay * delay)
        voiced = _filtered(source, shape)
        hissing = _filtered(noise, np.exp(-0.5 * ((bins_hz - hiss_hz[:, None]) / 1300) ** 2))

        # Loudness last, on the samples themselves, so that no window smears a closure or a release.
        radiated = 0.3 + 0.7 * np.sqrt(np.clip(opening, 0, 1))
        sealed = self.muffled_hz.at(grid_s) < 1000  # what is heard through the nose does not pass the lips
        voice = self.voice.at(grid_s) * np.where(sealed, 0.6, radiated)
        result: Doubles = voiced * fine(voice) * (0.1 / (voiced.std() + 1e-12))
        result += hissing * fine(self.hiss.at(grid_s)) * (0.1 / (hissing.std() + 1e-12))
        result += noise * fine(self.breath.at(grid_s)) * 0.1
        for at_s, loud in self.bursts:
            _add_at(result, (at_s - begin_s) * SAMPLE_RATE, _burst(rng, loud))
        return result


def _burst(rng: np.random.Generator, loud: float) -> Doubles:
    """The plosion at a release: 12 ms of decaying noise, its first sample at full strength."""
    n = SAMPLE_RATE * 12 // 1000
    noise = rng.standard_normal(n)
    noise[1:] += 0.7 * noise[:-1]
    return 0.2 * loud * noise * np.exp(-np.arange(n) / (0.0035 * SAMPLE_RATE))


def _add_at(samples: Doubles, place: float, what: Doubles) -> None:
    """Add `what` to samples from the nearest sample to `place` on, cut at both ends."""
    begin = round(place)
    skip = max(0, -begin)
    end = min(len(samples), begin + len(what))
    if begin + skip < end:
        samples[begin + skip : end] += what[skip : end - begin]


def _filtered(samples: Doubles, shape: NDArray[np.complex64] | NDArray[np.float32]) -> Doubles:
    """`samples` (n,) through a filter that changes every HOP samples; shape (steps, FFT // 2 + 1)."""
    steps = len(shape)
    padded = np.zeros((steps - 1) * HOP + WINDOW, np.float32)
    lead = WINDOW // 2
    padded[lead : lead + len(samples)] = samples[: len(padded) - lead]
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32) / 2
    pieces = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * window
    heard = np.fft.irfft(np.fft.rfft(pieces, FFT) * shape, FFT)
    blocks = -(-FFT // HOP)
    heard = np.pad(heard, ((0, 0), (0, blocks * HOP - FFT))).reshape(steps, blocks, HOP)
    result = np.zeros((steps + blocks, HOP))
    for b in range(blocks):
        result[b : b + steps] += heard[:, b]
    joined: Doubles = result.reshape(-1)[lead : lead + len(samples)]
    return joined


@dataclass(frozen=True)
class _Face:
    """How a head looks. Lengths in half head widths, tones 0..255."""

    long: float  # half height of the head
    taper: float  # narrowing towards the chin
    skin: float
    hair: float
    hair_style: int  # 0 none, 1 short, 2 long
    hairline: float
    fringe: float
    cloth: float
    neck: float
    shoulders: float
    eye_x: float
    eye_y: float
    eye_w: float
    eye_h: float
    iris: float
    iris_tone: float
    brow_tone: float
    brow_thick: float
    brow_tilt: float
    nose: float
    nose_w: float
    mouth_y: float
    mouth_w: float
    mouth_open: float  # inner height of the fully open mouth
    lip_up: float
    lip_low: float
    lip_tone: float  # share of the skin's tone
    inside: float
    teeth: float
    teeth_tone: float
    curl: float  # corners up (> 0) or down
    light_x: float
    light_y: float
    rough: float
    glasses: bool
    beard: float  # 0 none; share of hair tone over the lower face


def _face(rng: np.random.Generator, studio: bool) -> _Face:
    def pick(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    skin = pick(150, 200) if studio else pick(85, 220)
    long = pick(1.22, 1.45)
    hair = pick(15, 70) if rng.random() < 0.7 else pick(110, 215)
    if abs(hair - skin) < 30:
        hair = max(10.0, skin - 50)
    return _Face(
        long=long,
        taper=pick(0.03, 0.14),
        skin=skin,
        hair=hair,
        hair_style=int(rng.choice([0, 1, 1, 1, 2, 2])) if not studio else int(rng.choice([1, 2])),
        hairline=pick(0.5, 0.72),
        fringe=pick(-0.25, 0.35),
        cloth=pick(25, 220),
        neck=pick(0.42, 0.6),
        shoulders=pick(1.9, 2.6),
        eye_x=pick(0.36, 0.45),
        eye_y=pick(-0.2, -0.02),
        eye_w=pick(0.15, 0.2),
        eye_h=pick(0.075, 0.12),
        iris=pick(0.07, 0.095),
        iris_tone=pick(20, 110),
        brow_tone=max(8.0, min(hair, skin - 40) * pick(0.7, 1.0)),
        brow_thick=pick(0.025, 0.06),
        brow_tilt=pick(0.0, 0.15) if studio else pick(-0.15, 0.25),
        nose=pick(0.36, 0.5),
        nose_w=pick(0.13, 0.2),
        mouth_y=long * pick(0.5, 0.58),
        mouth_w=pick(0.36, 0.46),
        mouth_open=pick(0.44, 0.54) if studio else pick(0.34, 0.54),
        lip_up=pick(0.06, 0.1),
        lip_low=pick(0.08, 0.13),
        lip_tone=pick(0.55, 0.8),
        inside=min(pick(8, 40), 0.2 * skin),
        teeth=pick(0.04, 0.09) if rng.random() < 0.75 else 0.0,
        teeth_tone=pick(170, 240),
        curl=pick(0.02, 0.07) if studio else pick(-0.03, 0.07),
        light_x=pick(-0.2, 0.2),
        light_y=pick(-0.12, 0.05),
        rough=pick(1, 3) if studio else pick(1, 7),
        glasses=bool(rng.random() < 0.2) and not studio,
        beard=pick(0.25, 0.6) if rng.random() < 0.15 and not studio else 0.0,
    )


@dataclass(frozen=True)
class _Pose:
    """Everything that moves, at one instant. Head units, radians, pixels for x, y and scale."""

    x: float
    y: float
    scale: float
    body_x: float
    body_y: float
    roll: float
    yaw: float
    nod: float
    lids: float
    gaze_x: float
    gaze_y: float
    brows: float
    opening: float
    width: float
    tuck: float
    tongue: float


def _draw_face(canvas: Reals, face: _Face, pose: _Pose, grain: Floats) -> tuple[float, float]:
    """Draw one head; grain: noise (256, 256) fixed to the skin. Returns the pixel place (x, y) of the mouth."""
    scale = pose.scale
    edge = max(1.0, scale / 40)  # no edge in a face is sharper than this many pixels
    drop = pose.opening * face.mouth_open
    body = _Pen(canvas, pose.body_x, pose.body_y, scale)
    pen = _Pen(canvas, pose.x, pose.y, scale, pose.roll)
    tall = face.long

    if face.hair_style == 2:
        pen.ellipse(0, 0.25, 1.22, tall * 1.2, face.hair * 0.8, soft=2 * edge)
    body.box(0, tall * 0.95, face.neck, 0.6, face.skin * 0.72, soft=2 * edge)
    body.ellipse(0, tall + 1.55, face.shoulders, 1.2, face.cloth, soft=edge, light=0.15)
    body.ellipse(0, tall + 0.42, face.neck * 1.05, 0.2, face.skin * 0.78, soft=2 * edge)
    if face.hair_style:
        pen.ellipse(0, -0.18, 1.1, tall * 1.0, face.hair, soft=2 * edge, light=0.25)
    for side in (-1, 1):
        pen.ellipse(side * 1.0, -0.02, 0.13, 0.24, face.skin * 0.84, soft=edge)

    part = pen.grid(0, 0, 1.1, tall + drop)
    if part is not None:
        skin, u, v = part
        low = (tall + 0.62 * drop) ** -2
        upright = v * v * np.where(v > 0, np.float32(low), np.float32(tall**-2))
        narrow = 1 + face.taper * np.maximum(v, 0)
        around = (u * narrow) ** 2 + upright
        share = pen.cover(np.sqrt(around) - 1, edge)
        iu = np.clip((u - 0.6 * pose.yaw) * 60 + 128, 0, 255).astype(np.int32)
        iv = np.clip((v - 0.6 * pose.nod) * 60 + 128, 0, 255).astype(np.int32)
        noise = grain.ravel().take(iv * 256 + iu)
        tone = face.skin * (1.06 - 0.24 * around + face.light_x * u + face.light_y * v) + face.rough * noise
        if face.beard:
            hairy = np.clip((v - 0.3 - 0.5 * (1 - u * u)) * 5 + 0.5, 0, 1) * face.beard
            tone += hairy * (face.hair + 4 * face.rough * noise - tone)
        if face.hair_style:
            line = -tall * face.hairline + 0.35 * u * u + face.fringe * u
            tone += np.clip((line - v) * (scale / (2 * edge)) + 0.5, 0, 1) * (
                face.hair * (1 - 0.11 * u - 0.125 / tall * (v + 0.18)) + noise - tone
            )
        skin += share * (tone - skin)

    # Features ride on the front of the head: turning moves them further than the outline.
    face_x, face_y = pen.pixel(pose.yaw, pose.nod)
    front = _Pen(canvas, face_x, face_y, scale, pose.roll)
    line_soft = max(edge, 0.03 * scale)
    for side in (-1, 1):
        x = side * face.eye_x
        front.ellipse(x, face.eye_y, face.eye_w * 1.5, face.eye_h * 2.2, face.skin * 0.8, soft=0.16 * scale, ink=0.5)
        brow_y = face.eye_y - face.eye_h - 0.13 - pose.brows
        brow_x, brow_row = front.pixel(x, brow_y)
        brow = _Pen(canvas, brow_x, brow_row, scale, pose.roll + side * face.brow_tilt)
        brow.ellipse(0, 0, face.eye_w * 1.35, face.brow_thick, face.brow_tone, soft=line_soft, ink=0.9)
        _draw_eye(front, face, pose, x, edge)
        if face.glasses:
            part = front.grid(x, face.eye_y, 0.33, 0.26)
            if part is not None:
                skin, u, v = part
                ring = np.abs(np.sqrt((u / 0.3) ** 2 + (v / 0.23) ** 2) - 1) * 0.25
                skin -= front.cover(ring - 0.018, edge) * (skin - 25)

    tip = face.eye_y + face.nose
    side = 1 if face.light_x >= 0 else -1
    front.ellipse(-side * 0.09, (face.eye_y + tip) / 2, 0.05, 0.24, face.skin * 0.82, soft=0.1 * scale, ink=0.6)
    front.ellipse(0, tip - 0.03, face.nose_w * 0.8, 0.09, min(250.0, face.skin * 1.1), soft=0.12 * scale, ink=0.6)
    front.ellipse(0, tip + 0.06, face.nose_w * 1.1, 0.05, face.skin * 0.74, soft=0.08 * scale, ink=0.7)
    for side in (-1, 1):
        front.ellipse(side * face.nose_w * 0.5, tip + 0.045, 0.04, 0.025, face.skin * 0.3, soft=line_soft, ink=0.9)
    _draw_mouth(front, face, pose, edge)
    return front.pixel(0, face.mouth_y)


def _draw_eye(pen: _Pen, face: _Face, pose: _Pose, x: float, edge: float) -> None:
    part = pen.grid(x, face.eye_y, face.eye_w * 1.2, face.eye_h * 1.8)
    if part is None:
        return
    eye, u, v = part
    arch = 1 - (u / face.eye_w) ** 2
    upper = -face.eye_h * (2.0 * pose.lids - 0.9) * arch  # from half closed at 0 to the open lid at 1
    lower = 0.9 * face.eye_h * arch
    inside = pen.cover(np.maximum(upper - v, v - lower), edge)
    away = np.sqrt((u - pose.gaze_x) ** 2 + (v - pose.gaze_y) ** 2)
    tone = np.float32(min(245.0, face.skin * 0.5 + 130)) * (1 - 0.25 * np.abs(u) / face.eye_w)
    tone += pen.cover(away - face.iris, edge) * (face.iris_tone - tone)
    tone += pen.cover(away - face.iris * 0.45, edge) * (8 - tone)
    eye += inside * (tone - eye)
    lash = pen.cover(np.abs(v - upper) - 0.014, max(edge, 0.025 * pen.scale)) * (arch > -0.15)
    eye -= 0.85 * lash * (eye - 15)


def _draw_mouth(pen: _Pen, face: _Face, pose: _Pose, edge: float) -> None:
    gap = max(0.0, pose.opening) * face.mouth_open
    half = face.mouth_w * pose.width
    full = 1 + 0.5 * max(0.0, 1 - pose.width)  # rounded lips are thicker
    up, low = face.lip_up * full, face.lip_low * full * (1 - 0.6 * pose.tuck)
    part = pen.grid(0, face.mouth_y + 0.35 * gap, half * 1.25, 0.6 * gap + up + low + 0.2)
    if part is None:
        return
    mouth, u, v = part
    v = v + np.float32(0.35 * gap)  # 0 where the closed lips meet
    x = u / half
    x2 = x * x
    v = v + face.curl * (np.minimum(x2, 1.5) - 0.4)
    outer = np.maximum(1 - x2, -0.5)
    inner = np.maximum(1 - 1.2 * x2, -0.5)
    inner_top, inner_low = -0.28 * gap * inner, 0.72 * gap * inner
    bow = 1 - 0.3 * np.exp(-((x / 0.16) ** 2))
    top = -0.28 * gap * outer - 1.1 * up * outer * bow
    low_edge = 0.72 * gap * outer + 1.1 * low * outer
    # Soft shade below the lower lip, and round the corners.
    shade = np.exp(-(((v - low_edge - 0.07) / 0.06) ** 2) - (x / 0.7) ** 2)
    mouth *= 1 - 0.16 * shade
    lips = pen.cover(np.maximum(top - v, v - low_edge), 1.3 * edge)
    tone = face.skin * face.lip_tone * np.where(v < inner_top, np.float32(0.88), np.float32(1.08))
    tone += 0.16 * face.skin * np.exp(-(((v - inner_low - 0.5 * low) / (0.35 * low + 1e-3)) ** 2) - (x / 0.45) ** 2)
    mouth += lips * (tone - mouth)
    hole = pen.cover(np.maximum(inner_top - v, v - inner_low) - 0.006, edge) * (x2 < 1)
    tone = np.full_like(v, face.inside)
    if pose.tongue > 0.05 and gap > 0.05:
        flesh = pen.cover(inner_low - (0.2 + 0.35 * pose.tongue) * gap * inner - v, 0.08 * pen.scale)
        tone += flesh * (face.skin * face.lip_tone * 0.62 - tone)
    if face.teeth:
        # Teeth stay with the skull: a narrow opening shows them less.
        rim = np.minimum(-0.2 * gap + face.teeth, inner_top + face.teeth)
        seen = pen.cover(v - rim, edge) * np.clip(2.4 - 2.6 * np.abs(x), 0, 1) * min(1.0, 6 * gap)
        tone += seen * (face.teeth_tone * (1 - 0.4 * x2) - tone)
    mouth += hole * (tone - mouth)


def _talking(stage: _Stage, head_share: float | None) -> Scene:
    roll, times_s, studio = stage.roll, stage.times_s, stage.studio
    height, width = stage.size
    speech = _Speech(roll("speech"), stage.begin_s - SETTLE_S, stage.end_s + SETTLE_S)
    samples = _recorded(roll("room"), speech.sound(roll("voice"), stage.begin_s, stage.samples_n), studio)

    rng = roll("look")
    face = _face(rng, studio)
    short = min(height, width)
    head = (float(rng.uniform(0.25, 0.6)) if head_share is None else head_share) * short / 2
    side, above, below = 1.15 * head, (face.long + 0.1) * head, (face.long + 0.25) * head
    free = 0.25 if studio else 1.0  # how much of the free room round the head its place is drawn from
    x0 = width / 2 + free * float(rng.uniform(-1, 1)) * max(0.0, width / 2 - side)
    y0 = (above + height - below) / 2 + free * float(rng.uniform(-1, 1)) * max(0.0, (height - above - below) / 2)
    lively = float(rng.uniform(0.2, 1.0)) * (0.7 if studio else 1.0)
    sway_x, sway_y = (_wander(rng, times_s, 0.1, 0.9) for _ in range(2))
    grow = 1 + 0.04 * lively * _wander(rng, times_s, 0.05, 0.4)
    turn, yaw, nod = (_wander(rng, times_s, 0.15, 1.3) for _ in range(3))
    brows = _wander(rng, times_s, 0.2, 1.5)
    glance = _Track(0.0), _Track(0.0)
    lids = _Track(1.0)
    t = -SETTLE_S
    while t < times_s[-1] + SETTLE_S:
        t += float(rng.uniform(0.8, 4.5))
        lids.key(t, 1.0)
        lids.key(t + 0.07, 0.0)
        lids.key(t + 0.1, 0.0)
        lids.key(t + 0.22, 1.0)
        for axis, reach in zip(glance, (0.05, 0.02), strict=True):
            axis.key(t, axis.last)
            axis.key(t + 0.05, float(rng.uniform(-reach, reach)))
    grain = _texture(rng, 256, 256, (10, 40, 90))
    camera = _Camera(stage)

    courses = [track.at(times_s) for track in (speech.opening, speech.width, speech.tuck, speech.tongue, lids, *glance)]
    opening, spread, tuck, tongue, eyes, look_x, look_y = courses
    frames = np.empty((len(times_s), height, width), np.uint8)
    faces, mouths = np.empty((len(times_s), 3), np.float32), np.empty((len(times_s), 2), np.float32)
    for k in range(len(times_s)):
        canvas, sx, sy = camera.canvas(k)
        scale = head * float(grow[k])
        move_x, move_y = 0.22 * lively * head * float(sway_x[k]), 0.12 * lively * head * float(sway_y[k])
        pose = _Pose(
            x=x0 + sx + move_x,
            y=y0 + sy + move_y,
            scale=scale,
            body_x=x0 + sx + 0.4 * move_x,
            body_y=y0 + sy + 0.3 * move_y,
            roll=0.16 * lively * float(turn[k]),
            yaw=0.2 * lively * float(yaw[k]),
            nod=0.12 * lively * float(nod[k]),
            lids=float(eyes[k]),
            gaze_x=float(look_x[k]),
            gaze_y=float(look_y[k]),
            brows=0.05 * float(brows[k]),
            opening=float(opening[k]),
            width=float(spread[k]),
            tuck=float(tuck[k]),
            tongue=float(tongue[k]),
        )
        mouths[k] = _draw_face(canvas, face, pose, grain)
        faces[k] = pose.x, pose.y, 2 * scale
        camera.expose(canvas, k, frames[k])
    return Scene(
        frames=frames,
        frame_rate=stage.frame_rate,
        samples=samples,
        sound_start_s=stage.begin_s,
        faces=faces,
        mouths=mouths,
        opening=opening.astype(np.float32),
    )


# ---------------------------------------------------------------------------------------------------------------- impacts


class _Striker:
    """One thing that strikes again and again at irregular times; draws itself, and knows its sound."""

    def __init__(
        self,
        rng: np.random.Generator,
        thing: Thing,
        slot: tuple[float, float],
        size: tuple[int, int],
        begin_s: float,
        end_s: float,
    ) -> None:
        self.thing = thing
        self.height, self.width = size
        self.left, self.right = slot  # pixel columns that belong to it
        short_s, long_s = (0.3, 1.0) if thing in ("ball", "pendulum") else (0.2, 1.4)
        lengths = np.exp(rng.uniform(math.log(short_s), math.log(long_s), 2 + int((end_s - begin_s) / short_s)))
        times = begin_s + rng.uniform(0, short_s) + np.cumsum(lengths)
        self.contacts_s = times[: int(np.searchsorted(times, end_s)) + 2]
        self.flights_s = np.diff(self.contacts_s)
        self.longest_s = long_s
        self.tone, self.body = float(rng.uniform(10, 245)), float(rng.uniform(15, 240))
        self.light = float(rng.uniform(0.1, 0.5))
        self.room = self.right - self.left
        self.places = rng.uniform(0.2, 0.8, len(self.contacts_s))
        self.spin = rng.uniform(-6, 6, len(self.contacts_s))
        self.floor = float(rng.uniform(0.72, 0.93)) * self.height
        self.unit = min(self.room, self.height)
        self.size = float(rng.uniform(0.09, 0.18)) * self.unit
        self.reach = float(rng.uniform(0.7, 1.3))  # rad
        if thing in ("pendulum", "clapper"):  # a narrow slot takes a smaller swing rather than a short arm
            self.reach = min(self.reach, max(0.35, math.asin(min(1.0, self._side() / (0.42 * self.height)))))
        self.mirror = int(rng.choice([-1, 1]))
        self.strength = np.concatenate([[0.7], 0.4 + 0.6 * self.flights_s / long_s])
        self.angle = self._angles(rng)

    def _angles(self, rng: np.random.Generator) -> _Track:
        track = _Track(0.0)
        for i in range(len(self.flights_s)):
            t, flight = float(self.contacts_s[i]), float(self.flights_s[i])
            if self.thing == "clapper":
                track.key(t, self.reach * (1 - 2 * (i % 2)), _Track.LINEAR)
            else:
                raised = self.reach * min(1.0, 0.4 + flight)
                down_s = min(float(rng.uniform(0.1, 0.16)), 0.4 * flight)
                track.key(t, 0.0, _Track.FAST_START)
                track.key(t + 0.4 * flight, 0.85 * raised)
                track.key(t + flight - down_s, raised, _Track.FAST_END)
        return track

    def still(self, backdrop: Floats, margin: int) -> None:
        """Draw what does not move onto the background: the thing that is struck."""
        pen = _Pen(backdrop, margin, margin, 1.0)
        behind = float(backdrop[:, margin + int(self.left) : margin + int(self.right)].mean())
        if abs(self.tone - behind) < 50:
            self.tone = behind + 60 if behind < 128 else behind - 60
        if abs(self.body - behind) < 30:
            self.body = behind + 45 if behind < 128 else behind - 45
        middle = (self.left + self.right) / 2
        if self.thing == "ball":
            pen.box(middle, self.floor + 0.1 * self.height, 0.48 * self.room, 0.1 * self.height, self.body)
        elif self.thing == "hammer":
            x, y = self._pivot()
            arm = 0.62 * self.unit
            pen.box(x + self.mirror * arm, y + self.size + 0.12 * self.unit, 0.13 * self.unit, 0.12 * self.unit, self.body)
        else:
            x, y = self._pivot()
            arm = self._arm()
            thick = 0.05 * self.unit
            sides = (-1, 1) if self.thing == "clapper" else (self.mirror,)
            for side in sides:
                angle = self.reach * side if self.thing == "clapper" else 0.0
                bob_x, bob_y = x + arm * math.sin(angle), y + arm * math.cos(angle)
                pen.box(bob_x + side * (self.size + thick), bob_y, thick, 1.6 * self.size, self.body)

    def _pivot(self) -> tuple[float, float]:
        if self.thing == "hammer":
            return (self.left + self.right) / 2 - self.mirror * 0.32 * self.unit, self.floor - self.size - 0.05 * self.height
        return (self.left + self.right) / 2, 0.1 * self.height

    def _arm(self) -> float:
        return min(0.6 * self.height, self._side() / math.sin(self.reach))

    def _side(self) -> float:
        return 0.5 * self.room - self.size - 0.1 * self.unit

    def draw(self, canvas: Reals, t: float, sx: float, sy: float) -> None:
        i = int(np.clip(np.searchsorted(self.contacts_s, t, "right") - 1, 0, len(self.flights_s) - 1))
        flight = float(self.flights_s[i])
        u = float(np.clip((t - self.contacts_s[i]) / flight, 0, 1))
        if self.thing == "ball":
            top = min(0.9, 0.85 * (flight / self.longest_s) ** 2 + 0.04) * (self.floor - 2 * self.size)
            near = min(u, 1 - u) * flight
            squash = 1 - 0.22 * max(0.0, 1 - near / 0.03)
            x = self.left + self.room * float(self.places[i] + (self.places[i + 1] - self.places[i]) * u)
            y = self.floor - self.size * squash - 4 * top * u * (1 - u)
            self._bob(canvas, x + sx, y + sy, squash, float(self.spin[i]) * (t - float(self.contacts_s[i])))
            return
        x, y = self._pivot()
        if self.thing == "hammer":
            angle = float(self.angle.at(np.array([t]))[0])
            arm = 0.62 * self.unit
            pen = _Pen(canvas, x + sx, y + sy, 1.0, -self.mirror * angle)
            pen.box(self.mirror * arm / 2, 0, arm / 2, max(1.0, 0.022 * self.unit), 0.6 * self.tone)
            pen.box(self.mirror * arm, 0, 0.06 * self.unit, self.size, self.tone)
            return
        if self.thing == "pendulum":
            angle = -self.mirror * self.reach * min(1.0, flight / 0.8) * math.sin(math.pi * u)
        else:
            angle = float(self.angle.at(np.array([t]))[0])
        arm = self._arm()
        pen = _Pen(canvas, x + sx, y + sy, 1.0, -angle)
        pen.box(0, arm / 2, max(0.8, 0.012 * self.unit), arm / 2, 0.6 * self.tone)
        self._bob(canvas, *pen.pixel(0, arm), 1.0, angle)

    def _bob(self, canvas: Reals, x: float, y: float, squash: float, turned: float) -> None:
        r = self.size
        _Pen(canvas, x, y, 1.0).ellipse(0, 0, r / math.sqrt(squash), r * squash, self.tone, light=self.light)
        _Pen(canvas, x, y, 1.0, turned).ellipse(0.45 * r, 0, 0.3 * r, 0.3 * r, 255 - self.tone, ink=0.7)

    def sound(self, rng: np.random.Generator, samples: Doubles, begin_s: float) -> None:
        """Add the sound of every contact: modes of one body, struck harder or softer, first sample at the contact."""
        n = SAMPLE_RATE * 6 // 10
        t = np.arange(n) / SAMPLE_RATE
        modes = int(rng.integers(3, 7))
        lowest_hz = float(np.exp(rng.uniform(math.log(110), math.log(1200))))
        hz = np.minimum(lowest_hz * np.cumsum(np.concatenate([[1.0], rng.uniform(0.4, 1.7, modes - 1)])), 7400)
        decay_s = np.exp(rng.uniform(math.log(0.015), math.log(0.14))) / np.sqrt(hz / hz[0])
        weight = rng.uniform(0.3, 1.0, modes) / np.sqrt(np.arange(1, modes + 1))
        click = float(rng.uniform(0.2, 1.0))
        for at_s, strength in zip(self.contacts_s, self.strength, strict=True):
            detune = 1 + 0.01 * rng.standard_normal()
            ring = (weight[:, None] * np.exp(-t / decay_s[:, None]) * np.cos(2 * np.pi * detune * hz[:, None] * t)).sum(0)
            ring += click * rng.standard_normal(n) * np.exp(-t / 0.002)
            _add_at(samples, (float(at_s) - begin_s) * SAMPLE_RATE, 0.25 * float(strength) * ring)


def _impacts(stage: _Stage, things: Sequence[Thing] | None) -> Scene:
    rng = stage.roll("things")
    every: tuple[Thing, ...] = ("ball", "ball", "hammer", "pendulum", "clapper")
    if things is None:
        things = [every[int(rng.integers(len(every)))] for _ in range(int(rng.choice([1, 1, 2, 2, 3])))]
    room = stage.size[1] / len(things)
    begin_s, end_s = stage.begin_s - SETTLE_S, stage.end_s + SETTLE_S
    strikers = [_Striker(rng, thing, (i * room, (i + 1) * room), stage.size, begin_s, end_s) for i, thing in enumerate(things)]
    camera = _Camera(stage)
    dry = np.zeros(stage.samples_n)
    for striker in strikers:
        striker.still(camera.backdrop, camera.MARGIN)
        striker.sound(rng, dry, stage.begin_s)
    frames = np.empty((len(stage.times_s), *stage.size), np.uint8)
    for k, t in enumerate(stage.times_s):
        canvas, sx, sy = camera.canvas(k)
        for striker in strikers:
            striker.draw(canvas, float(t), sx, sy)
        camera.expose(canvas, k, frames[k])
    contacts = np.sort(np.concatenate([striker.contacts_s for striker in strikers]))
    return Scene(
        frames=frames,
        frame_rate=stage.frame_rate,
        samples=_recorded(stage.roll("room"), dry, stage.studio),
        sound_start_s=stage.begin_s,
        contacts_s=contacts[(contacts >= stage.begin_s) & (contacts < stage.end_s)],
    )


# -------------------------------------------------------------------------------------------------------------- recording


def _recorded(rng: np.random.Generator, dry: Doubles, studio: bool) -> Floats:
    """What a microphone makes of the dry sound: room, background noise, level; float32 (n,) in -1..1. Adds no delay."""
    n = len(dry)
    sound = dry
    if studio or rng.random() < 0.6:
        tail_s = float(rng.uniform(0.05, 0.12) if studio else rng.uniform(0.06, 0.35))
        tail_n = int(tail_s * SAMPLE_RATE)
        echo = rng.standard_normal(tail_n) * np.exp(-4 * np.arange(tail_n) / tail_n)
        echo *= float(rng.uniform(0.1, 0.3) if studio else rng.uniform(0.1, 0.7)) / np.sqrt((echo**2).sum())
        echo[: SAMPLE_RATE // 500] = 0.0
        echo[0] = 1.0
        sound = _convolved(dry, echo)
    sound = sound * np.exp(float(0.05 if studio else rng.uniform(0, 0.4)) * _wander(rng, np.arange(n) / SAMPLE_RATE, 0.05, 0.5))
    loud = float(np.sqrt((sound**2).mean())) or 0.1
    hz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    slope = float(rng.uniform(0, 1))
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) / np.maximum(hz, 40.0) ** slope, n)
    noise /= noise.std() + 1e-12
    if not studio and rng.random() < 0.3:
        hum_hz = float(rng.choice([50.0, 60.0, 100.0, 120.0]))
        noise += float(rng.uniform(0.2, 1.0)) * np.sin(2 * np.pi * hum_hz * np.arange(n) / SAMPLE_RATE)
    below_db = float(rng.uniform(42, 50) if studio else rng.uniform(10, 45))
    sound = sound + noise * loud * 10 ** (-below_db / 20)
    peak = float(rng.uniform(0.7, 0.9) if studio else np.exp(rng.uniform(math.log(0.08), math.log(0.98))))
    sound = sound * (peak / (float(np.abs(sound).max()) or 1.0))
    return np.clip(sound, -1.0, 1.0).astype(np.float32)


def _convolved(sound: Doubles, answer: Doubles) -> Doubles:
    """Linear convolution cut to the length of `sound`."""
    n = 1 << (len(sound) + len(answer) - 1).bit_length()
    joined: Doubles = np.fft.irfft(np.fft.rfft(sound, n) * np.fft.rfft(answer, n), n)[: len(sound)]
    return joined
