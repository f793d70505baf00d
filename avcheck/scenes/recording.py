"""What a microphone in a room makes of a sound."""

from __future__ import annotations

import math

import numpy as np

from avcheck.rates import SAMPLE_RATE
from avcheck.scenes.base import Doubles, Floats, wander


def add_at(samples: Doubles, place: float, what: Doubles) -> None:
    """Add `what` to `samples`, in place, from the sample nearest to `place` on; what lies beyond
    either end is cut off.
    """
    begin = round(place)
    skip = max(0, -begin)
    end = min(len(samples), begin + len(what))
    if begin + skip < end:
        samples[begin + skip : end] += what[skip : end - begin]


def recorded(rng: np.random.Generator, dry: Doubles, studio: bool) -> Floats:
    """The dry sound (n,) as a microphone records it, with room, background noise and level: (n,),
    -1..1. Adds no delay.
    """
    n = len(dry)
    sound = dry
    if studio or rng.random() < 0.6:
        tail_s = float(rng.uniform(0.05, 0.12) if studio else rng.uniform(0.06, 0.35))
        tail_n = int(tail_s * SAMPLE_RATE)
        echo = rng.standard_normal(tail_n) * np.exp(-4 * np.arange(tail_n) / tail_n)
        echo *= float(rng.uniform(0.1, 0.3) if studio else rng.uniform(0.1, 0.7)) / np.sqrt(
            (echo**2).sum()
        )
        echo[: SAMPLE_RATE // 500] = 0.0
        echo[0] = 1.0
        sound = _convolved(dry, echo)
    sound = sound * np.exp(
        float(0.05 if studio else rng.uniform(0, 0.4))
        * wander(rng, np.arange(n) / SAMPLE_RATE, 0.05, 0.5)
    )
    loud = float(np.sqrt((sound**2).mean())) or 0.1
    hz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    slope = float(rng.uniform(0, 1))
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) / np.maximum(hz, 40.0) ** slope, n)
    noise /= noise.std() + 1e-12
    if not studio and rng.random() < 0.3:
        hum_hz = float(rng.choice([50.0, 60.0, 100.0, 120.0]))
        noise += float(rng.uniform(0.2, 1.0)) * np.sin(
            2 * np.pi * hum_hz * np.arange(n) / SAMPLE_RATE
        )
    below_db = float(rng.uniform(42, 50) if studio else rng.uniform(10, 45))
    sound = sound + noise * loud * 10 ** (-below_db / 20)
    peak = float(
        rng.uniform(0.7, 0.9) if studio else np.exp(rng.uniform(math.log(0.08), math.log(0.98)))
    )
    sound = sound * (peak / (float(np.abs(sound).max()) or 1.0))
    return np.clip(sound, -1.0, 1.0).astype(np.float32)


def _convolved(sound: Doubles, answer: Doubles) -> Doubles:
    """Linear convolution cut to the length of `sound`."""
    n = 1 << (len(sound) + len(answer) - 1).bit_length()
    joined: Doubles = np.fft.irfft(np.fft.rfft(sound, n) * np.fft.rfft(answer, n), n)[: len(sound)]
    return joined
