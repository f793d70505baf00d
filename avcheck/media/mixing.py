"""Keeps the channels of a sound from cancelling each other when they are mixed to mono.

A stereo track whose right channel is its left one inverted (a miswired cable, a microphone in the
wrong mode) is silent when mixed, and so is the voice of a 5.1 track whose centre, or one of a pair,
is inverted. The rule, for each `WINDOW_S` of the file's time: if the mix, or the mix of the loudest
channel with any one other, holds less than `LEAST_SHARE` of the energy that the loudest channel
alone brings into it, one channel replaces all: the first that brings in at least half as much as
the loudest. Between windows it fades over `FADE_S`. Everywhere else the mix is untouched, bit for
bit.

Windows lie on the file's clock and are decided independently, so a decode from the middle of a file
decides the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import av
import av.error
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from avcheck.media.base import MOST_VALUES, PLANAR_MOST, Tally

WINDOW_S = 2.0

LEAST_SHARE = 0.1

FADE_S = 0.02

_MONO_S = 0.25  # a window of sound that needs no mixing

_RESAMPLED_MOST = 64  # channels; a master of Dolby Atmos has 128

_KINDS: dict[str, type[np.generic]] = {
    "s16": np.int16,
    "s32": np.int32,
    "flt": np.float32,
    "dbl": np.float64,
}


def run_up_from_s(from_s: float) -> float:
    """From where the sound is needed so that its mix from `from_s` on is that of a decode from the
    beginning.
    """
    return (math.floor(from_s / WINDOW_S) - 1) * WINDOW_S


@lru_cache(maxsize=64)
def mix_weights(layout: str, channels: int) -> NDArray[np.float64]:
    """What each channel of a layout contributes to the resampler's mono mix; equal shares if that
    is unknown.
    """
    try:
        impulses = np.repeat(np.eye(channels, dtype=np.float32), 16, axis=0).reshape(1, -1)
        frame = AudioFrame.from_ndarray(impulses, "flt", layout)
        frame.sample_rate = 16_000
        mixer = AudioResampler("flt", "mono", 16_000, options={"rematrix_maxval": "1.0"})
        mixed = np.concatenate(
            [
                part.to_ndarray().reshape(-1)
                for part in (*mixer.resample(frame), *mixer.resample(None))
            ]
        )
        weights: NDArray[np.float64] = mixed.reshape(channels, 16).mean(axis=1, dtype=np.float64)
        return weights
    except (av.error.FFmpegError, ValueError):
        return np.full(channels, 1 / channels)


def channel_instead(weights: NDArray[np.float64], power: NDArray[np.float64]) -> int | None:
    """The channel to take instead of the mix, by the rule of this module; None: the mix stands.

    `weights` (C,) make the mix; `power` (C, C) is the sum of products of the channels' samples.
    """
    parts = power * np.outer(weights, weights)
    alone = np.diag(parts)
    loudest = int(np.argmax(alone))
    if not np.isfinite(parts).all() or alone[loudest] <= 0:
        return None
    pairs = alone + alone[loudest] + 2 * parts[loudest]
    pairs[loudest] = np.inf
    others = alone > LEAST_SHARE * alone[loudest]
    least = min(float(parts.sum()), float(pairs[others].min(initial=np.inf)))
    if least >= LEAST_SHARE * alone[loudest]:
        return None
    return int(np.argmax(alone >= alone[loudest] / 2))


class Mixer:
    """Passes on the frames of one run of sound in their own format, those of a window as one, which
    the resampler takes in a third of the time; where channels cancel, all of them become one.
    Channels without known positions become their mean. No frame is planar with more than seven
    channels (`sound`).
    """

    def __init__(self, frame: AudioFrame, start_s: float, named: bool) -> None:
        """A run whose first frame is `frame`, at `start_s`. `named`: the channels have positions,
        by which they are mixed;
            without, frames are packed floats, and are averaged.
        """
        self._layout = frame.layout.name
        self._format = frame.format
        self._channels = frame.layout.nb_channels
        self._rate = frame.sample_rate
        self._start_s = start_s
        self._taken = 0
        self._named = named
        self._weights = None
        if self._channels > 1:
            self._weights = (
                mix_weights(self._layout, self._channels)
                if named
                else np.full(self._channels, 1 / self._channels)
            )
        self._window_s = _MONO_S if self._weights is None else WINDOW_S
        self._window: int | None = None
        self._parts: list[NDArray[Any]] = []  # of the window so far, (C, n)
        self._values = 0  # in them
        self._channel: int | None = None  # taken alone in the last window
        self._begun = False  # there was a window before

    def push(self, frame: AudioFrame, tally: Tally) -> Iterator[AudioFrame]:
        """Take a frame, and give the window that it completes."""
        window = math.floor((self._start_s + self._taken / self._rate) / self._window_s + 1e-6)
        self._taken += frame.samples
        if self._window is not None and (window != self._window or self._values > MOST_VALUES):
            yield from self.rest(tally)
        self._window, self._format = window, frame.format
        self._parts.append(self._samples(frame))
        self._values += frame.samples * self._channels

    def rest(self, tally: Tally) -> Iterator[AudioFrame]:
        """The window so far."""
        if not self._values:
            return
        samples = np.concatenate(self._parts, axis=1)
        if self._weights is not None:
            samples = self._without_cancelling(samples, self._weights, tally)
        window = self._frame(samples)
        window.sample_rate = self._rate
        self._parts, self._values = [], 0
        yield window

    def _frame(self, samples: NDArray[Any]) -> AudioFrame:
        if not self._named:  # the resampler refuses to mix such channels
            with np.errstate(invalid="ignore", over="ignore"):  # NaN is counted later
                mean = samples.mean(axis=0, dtype=np.float32, keepdims=True)
            return AudioFrame.from_ndarray(mean, "flt", "mono")
        values = samples if self._format.is_planar else samples.T.reshape(1, -1)
        values = np.ascontiguousarray(values)
        return AudioFrame.from_ndarray(values, self._format.name, self._layout)

    def _without_cancelling(
        self, samples: NDArray[Any], weights: NDArray[np.float64], tally: Tally
    ) -> NDArray[Any]:
        """A window (C, n); if its channels would cancel in the mix, all hold one of them."""
        channel = channel_instead(weights, self._power(samples))
        mixed = samples if channel is None else np.broadcast_to(samples[channel], samples.shape)
        if self._begun and channel != self._channel:
            mixed = self._faded(samples, mixed)
        if channel is not None:
            tally.one_channel_s += samples.shape[1] / self._rate
        self._channel, self._begun = channel, True
        return mixed

    def _power(self, samples: NDArray[Any]) -> NDArray[np.float64]:
        """The sum of products of the channels' samples (C, n), as (C, C)."""
        with np.errstate(all="ignore"):  # NaN is counted later
            waves = samples.astype(np.float32)
            if self._format.name.startswith("u8"):
                waves -= 128
            # Not `@`: the threads of a BLAS would spin for a while on the decoder's core
            power: NDArray[np.float32] = np.einsum("an,bn->ab", waves, waves)
        return power.astype(np.float64)

    def _faded(self, samples: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
        """A window (C, n) that begins as the last one ended, and goes over to `after`."""
        fade = min(round(FADE_S * self._rate), samples.shape[1])
        head = samples[:, :fade]
        before = head if self._channel is None else head[self._channel]
        gain = np.arange(fade) / round(FADE_S * self._rate)
        mixed = before + gain * (after[:, :fade].astype(np.float64) - before)
        if np.issubdtype(samples.dtype, np.integer):
            mixed = np.rint(mixed)
        return np.concatenate([mixed.astype(samples.dtype), after[:, fade:]], axis=1)

    def _samples(self, frame: AudioFrame) -> NDArray[Any]:
        """Its samples as (C, n), in their own type."""
        # `to_ndarray` takes six times as long, and is left for forms that are not read by hand
        if channels := samples_of(frame):
            return np.array(channels)
        values = frame.to_ndarray()
        return values if frame.format.is_planar else values.reshape(-1, self._channels).T


def samples_of(frame: AudioFrame) -> list[NDArray[Any]]:
    """The samples of each channel, as they lie in the frame; none of a form that is not read."""
    kind = _KINDS.get(frame.format.name.removesuffix("p"))
    count, channels = frame.samples, frame.layout.nb_channels
    if kind is None or not count or (frame.format.is_planar and channels > PLANAR_MOST):
        return []
    if frame.format.is_planar:
        return [np.frombuffer(memoryview(plane), kind, count) for plane in frame.planes]
    values = np.frombuffer(memoryview(frame.planes[0]), kind, count * channels)
    return list(values.reshape(count, channels).T)


def can_mix(context: AudioCodecContext) -> bool:
    """Whether as many channels as a sound has can be mixed in the form that its decoder gives."""
    kind = "" if context.format is None else context.format.name
    return context.layout.nb_channels <= _RESAMPLED_MOST or kind in _KINDS


def averaged(frames: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
    """The frames; the channels of one that has more than the resampler takes are averaged."""
    for frame in frames:
        if frame.layout.nb_channels <= _RESAMPLED_MOST or not (channels := samples_of(frame)):
            yield frame
            continue
        whole = np.iinfo(channels[0].dtype).max if channels[0].dtype.kind == "i" else 1.0
        with np.errstate(invalid="ignore", over="ignore"):  # NaN is counted later
            mean = np.stack(channels).mean(axis=0, dtype=np.float64) / whole
        mono = AudioFrame.from_ndarray(mean.astype(np.float32).reshape(1, -1), "flt", "mono")
        mono.sample_rate, mono.pts, mono.time_base = frame.sample_rate, frame.pts, frame.time_base
        yield mono
