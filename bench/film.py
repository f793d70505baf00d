"""The title whose transcodes `python -m bench.compare` aligns: moving lights in changing scenes,
voices over a bed of music and effects. It is generated, so every moment of it is known.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SECONDS = 34.0
SIZE = (180, 320)  # height, width
SOUND_RATE = 48_000  # Hz
_SCENE_S = 4.7
_LIGHTS = 7  # in a scene
_BAND_HZ = 5000.0  # all sound lies below, so that linear interpolation does not harm it

Luma = NDArray[np.uint8]  # (T, H, W), limited range
Samples = NDArray[np.float32]  # (n,), at `SOUND_RATE`


def picture(time_s: float) -> NDArray[np.uint8]:
    """The picture at a moment, uint8 (H, W)."""
    scene = int(time_s // _SCENE_S)
    rng = np.random.default_rng(1000 + scene)
    y, x = (np.arange(size) / SIZE[0] for size in SIZE)
    wide = SIZE[1] / SIZE[0]
    light = np.full(SIZE, rng.uniform(40, 90)) + rng.uniform(-20, 20) * x
    for _ in range(_LIGHTS):
        reach = rng.uniform(0.06, 0.25)
        (rate_x, rate_y), (phase_x, phase_y) = rng.uniform(0.15, 0.9, 2), rng.uniform(0, 7, 2)
        at_x = wide * (0.5 + 0.48 * np.sin(2 * np.pi * rate_x * time_s + phase_x))
        at_y = 0.5 + 0.48 * np.sin(2 * np.pi * rate_y * time_s + phase_y)
        column = np.exp(-0.5 * ((y - at_y) / reach) ** 2)
        row = np.exp(-0.5 * ((x - at_x) / reach) ** 2)
        light += rng.uniform(-60, 150) * np.outer(column, row)
    return np.clip(light, 16, 235).astype(np.uint8)


def bed(take: int = 0) -> Samples:
    """Music and effects. Another `take` plays the same notes and noises, each slightly off."""
    score, played = np.random.default_rng(2), np.random.default_rng((3, take))
    out = np.zeros(round(SECONDS * SOUND_RATE), np.float32)
    for beat in np.arange(0, SECONDS, 0.24):
        pitch_hz = 110 * 2 ** (score.integers(0, 37) / 12)
        loud, noisy = score.uniform(0.03, 0.12), score.random() < 0.15
        start_s = beat + score.uniform(0, 0.05) + (played.uniform(-0.03, 0.03) if take else 0)
        times = np.arange(round(0.9 * SOUND_RATE)) / SOUND_RATE
        if noisy:
            note = _below(played.normal(size=len(times))) * np.exp(-9 * times)
        else:
            phases = played.uniform(0, 7, 6)
            note = sum(
                np.sin(2 * np.pi * k * pitch_hz * times + phases[k - 1]) / k
                for k in range(1, 7)
                if k * pitch_hz < _BAND_HZ
            ) * np.exp(-4 * times)
        _add(out, start_s, loud * note)
    return out


def voice(take: int = 0) -> Samples:
    """Speech-like syllables with pauses. Another `take` is another speaker with other words."""
    rng = np.random.default_rng((4, take))
    out = np.zeros(round(SECONDS * SOUND_RATE), np.float32)
    at_s = 0.3
    while at_s < SECONDS - 0.5:
        length_s = rng.uniform(0.1, 0.28)
        times = np.arange(round(length_s * SOUND_RATE)) / SOUND_RATE
        pitch_hz = rng.uniform(95, 210) * (1 + rng.uniform(-0.4, 0.4) * times)
        phase = 2 * np.pi * np.cumsum(pitch_hz) / SOUND_RATE
        formants = rng.uniform((300, 900, 2200), (800, 2200, 3400))
        sound = 0.02 * _below(rng.normal(size=len(times)))
        for k in range(1, int(_BAND_HZ / 300)):
            weight = np.exp(-(((k * 150 - formants) / 220) ** 2)).sum() + 0.05
            sound = sound + weight * np.sin(k * phase)
        _add(out, at_s, 0.12 * sound * np.sin(np.pi * times / length_s))
        at_s += length_s * rng.uniform(0.8, 1.1) + (
            rng.uniform(0.2, 1.2) if rng.random() < 0.2 else 0
        )
    return out


@lru_cache(maxsize=8)
def sound(voices: int = 0, music: int = 0, level: float = 1.0) -> Samples:
    """The whole sound: the take `voices` of the voice over the take `music` of the bed, the bed at
    `level`.
    """
    return np.asarray(np.clip(voice(voices) + level * bed(music), -1, 1), np.float32)


def _below(noise: NDArray[np.float64]) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(noise)
    spectrum[np.fft.rfftfreq(len(noise), 1 / SOUND_RATE) > _BAND_HZ] = 0
    return np.fft.irfft(spectrum, len(noise))


def _add(out: Samples, start_s: float, sound: NDArray[np.floating]) -> None:
    first = max(0, round(start_s * SOUND_RATE))
    last = min(len(out), first + len(sound))
    out[first:last] += sound[: last - first].astype(np.float32)
