"""Speech-like sound with the mouth that goes with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avcheck.rates import SAMPLE_RATE
from avcheck.scenes.base import FFT, HOP, TRACK_RATE, WINDOW, Doubles, Floats, KeyFrames, wander
from avcheck.scenes.recording import add_at


@dataclass(frozen=True)
class _Vowel:
    opening: float  # 0..1
    width: float  # 1 at rest


@dataclass(frozen=True)
class _Consonant:
    opening: float  # of the lips while it lasts; 0 = lips closed
    width: float  # of the mouth, 1 at rest
    voice: float = 0.0  # loudness of the voice while it lasts, 1 = vowel
    hiss: float = 0.0  # loudness of friction
    hiss_hz: float = 4500.0  # where friction is loudest
    burst: float = 0.0  # loudness of the plosion at the release
    breath_s: float = 0.0  # breath between release and voice
    muffled_hz: float = 7000.0  # the voice is heard through a low-pass at this frequency
    tuck: float = 0.0  # lower lip drawn under the upper teeth
    tongue: float = 0.0  # how high it lies, 0..1


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


class Speech:
    """Random syllables: the courses of the mouth, and the sound that such a mouth would make."""

    def __init__(self, rng: np.random.Generator, begin_s: float, end_s: float) -> None:
        self.opening, self.width = KeyFrames(0.02), KeyFrames(1.0)
        self.tuck, self.tongue = KeyFrames(0.0), KeyFrames(0.2)
        self.voice, self.hiss, self.breath = KeyFrames(0.0), KeyFrames(0.0), KeyFrames(0.0)
        self.hiss_hz, self.muffled_hz, self.pitch = (
            KeyFrames(4500.0),
            KeyFrames(7000.0),
            KeyFrames(1.0),
        )
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
        rise, drop = (
            min(rng.uniform(0.06, 0.09), 0.4 * rest_of),
            min(rng.uniform(0.06, 0.1), 0.4 * rest_of),
        )
        end = t + length

        # Before a phrase the lips are in place a little earlier than anything is heard.
        reach = t - 0.04 if first else t
        closed = sound.opening == 0.0
        self.opening.key(reach, sound.opening)
        self.opening.key(
            release, sound.opening, KeyFrames.FAST_START if closed else KeyFrames.SMOOTH
        )
        self.opening.key(release + rise, wide_open)
        self.opening.key(end - drop, 0.88 * wide_open, KeyFrames.SMOOTH)
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
        self.voice.key(onset, sound.voice * stress, KeyFrames.LINEAR)
        self.voice.key(onset + 0.035, stress)
        self.voice.key(end - (0.09 if last else 0.03), stress * (0.8 if last else 0.9))
        self.muffled_hz.key(t + 0.004, sound.muffled_hz)
        self.muffled_hz.key(release - 0.004, sound.muffled_hz)
        self.muffled_hz.key(release + 0.012, 7000.0)
        self.muffled_hz.key(end - 0.008, 7000.0)
        if sound.hiss:
            self.hiss_hz.key(t - 0.03, sound.hiss_hz, KeyFrames.LINEAR)
            self.hiss_hz.key(end, sound.hiss_hz, KeyFrames.LINEAR)
            self.hiss.key(t - 0.01, 0.0)
            self.hiss.key(t + 0.3 * held, sound.hiss * stress)
            self.hiss.key(release - 0.02, sound.hiss * stress)
            self.hiss.key(release + 0.012, 0.0)
        if sound.burst:
            self.bursts.append((release, sound.burst * stress))
        if sound.breath_s > 0.02:
            self.breath.key(release, 0.0, KeyFrames.LINEAR)
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
        f0 = pitch_hz * self.pitch.at(grid_s) * (1 + 0.012 * wander(rng, grid_s, 3, 9))
        phase = np.cumsum(fine(f0)) / SAMPLE_RATE % 1.0
        flow = np.where(
            phase < 0.4,
            0.5 - 0.5 * np.cos(np.pi * phase / 0.4),
            np.cos(np.pi / 2 * (phase - 0.4) / 0.2),
        )
        flow[phase >= 0.6] = 0.0
        source = np.diff(flow, prepend=flow[0])
        source[1:] -= 0.75 * source[:-1]  # a raised voice has overtones up to 4 kHz
        source += rng.standard_normal(samples_n) * source.std() * rng.uniform(0.02, 0.12)
        noise = rng.standard_normal(samples_n)

        # The vocal tract follows the mouth that is drawn: jaw -> first formant, lip spreading ->
        # second.
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
            turn = (2 * damp * np.cos(2 * np.pi / SAMPLE_RATE * centre_hz)).astype(np.float32)[
                :, None
            ]
            shape *= (1 - turn + damp * damp) / (
                1 - turn * delay + np.float32(damp * damp) * delay * delay
            )
        voiced = _filtered(source, shape)
        hissing = _filtered(noise, np.exp(-0.5 * ((bins_hz - hiss_hz[:, None]) / 1300) ** 2))

        # Loudness last, on the samples themselves, so that no window smears a closure or a release.
        radiated = 0.3 + 0.7 * np.sqrt(np.clip(opening, 0, 1))
        # What is heard through the nose does not pass the lips
        sealed = self.muffled_hz.at(grid_s) < 1000
        voice = self.voice.at(grid_s) * np.where(sealed, 0.6, radiated)
        result: Doubles = voiced * fine(voice) * (0.1 / (voiced.std() + 1e-12))
        result += hissing * fine(self.hiss.at(grid_s)) * (0.1 / (hissing.std() + 1e-12))
        result += noise * fine(self.breath.at(grid_s)) * 0.1
        for at_s, loud in self.bursts:
            add_at(result, (at_s - begin_s) * SAMPLE_RATE, _burst(rng, loud))
        return result


def _burst(rng: np.random.Generator, loud: float) -> Doubles:
    """The plosion at a release: 12 ms of decaying noise, its first sample at full strength."""
    n = SAMPLE_RATE * 12 // 1000
    noise = rng.standard_normal(n)
    noise[1:] += 0.7 * noise[:-1]
    return 0.2 * loud * noise * np.exp(-np.arange(n) / (0.0035 * SAMPLE_RATE))


def _filtered(samples: Doubles, shape: NDArray[np.complex64] | NDArray[np.float32]) -> Doubles:
    """`samples` (n,) through a filter that changes every `HOP` samples.

    shape: its gain at each step and frequency, (steps, FFT // 2 + 1).
    """
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
