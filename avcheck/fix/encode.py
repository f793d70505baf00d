"""Sound played at other paces: decoded, interpolated at the new places, and encoded by its old
codec.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet
from numpy.typing import NDArray

from avcheck.fix.moves import Move, Moves
from avcheck.media.base import JITTER_S

_TAPS = 32  # on either side of a place
_PHASES = 512  # between two samples, and linear between those: errors below -100 dB
_ROOM = 0.97  # of the band that is kept; the rest is for the filter to fall off
_BETA = 9.0  # of the Kaiser window
_CHUNK = 8192  # places interpolated at a time

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Span:
    """A piece of the sound (`move`), and the samples of the new file that it fills: `first` to
    before `end`, whole numbers counted from 0 s, infinite where it has no bound. table: the weights
    of the samples around a place, as `_sinc_table` makes them.
    """

    move: Move
    first: float
    end: float
    table: Floats


class Pace:
    """Plays runs of samples (channels, n) at the new paces of moves; what comes before 0 s of the
    new file is left out. At a jump there is silence, or the piece before plays to its end.
    """

    def __init__(self, moves: Moves, rate: int, channels: int) -> None:
        self._rate = rate
        self._spans: list[_Span] = []
        for move in moves.pieces:
            before = self._spans[-1].end if self._spans else -math.inf
            first, end = (_sample(move.new_s(at_s), rate) for at_s in (move.from_s, move.until_s))
            if end > before:
                table = _sinc_table(min(1.0, move.pace) * _ROOM)
                self._spans.append(_Span(move, max(first, before), end, table))
        self._held = np.zeros((channels, 0), np.float32)
        self._held_from = 0  # number of the first sample held, counted from 0 s of the old file
        # Number of the next sample to give out, counted from 0 s of the new file; -1: none has come
        # in yet
        self._next = -1

    def take(self, start_s: float, samples: Floats) -> Iterator[tuple[int, Floats]]:
        """Add samples (channels, n) that began at `start_s`; return runs for the new file, each
        with the number of its first sample.
        """
        place = round(start_s * self._rate)
        if self._next < 0:
            self._held_from = place
            # With silence up to the first sound: in AVI and MXF every stream begins at 0
            self._next = 0
        apart = place - (self._held_from + self._held.shape[1])
        if abs(apart) > JITTER_S * self._rate:
            if apart > 0:
                self._held = np.pad(self._held, ((0, 0), (0, apart)))
            else:
                samples = samples[:, -apart:]
        self._held = np.concatenate([self._held, samples], axis=1)
        yield from self._give(self._held_from + self._held.shape[1] - _TAPS)

    def rest(self, *, as_long: bool = False) -> Iterator[tuple[int, Floats]]:
        """What is left at the end, as if silence followed; `as_long`: with silence up to where the
        old sound ended.
        """
        end = self._held_from + self._held.shape[1]
        self._held = np.pad(self._held, ((0, 0), (0, _TAPS)))
        yield from self._give(end)
        while as_long and self._next < end:
            count = min(end - self._next, _CHUNK)
            yield self._next, np.zeros((len(self._held), count), np.float32)
            self._next += count

    def _give(self, known_to: int) -> Iterator[tuple[int, Floats]]:
        """All samples of the new file whose place in the old one lies before the sample
        `known_to`.
        """
        while True:
            span = next(each for each in self._spans if self._next < each.end)
            move = span.move
            last = min(span.end, math.floor(move.new_s(known_to / self._rate) * self._rate))
            if last <= self._next:
                return
            if self._next < span.first:
                count = int(min(span.first - self._next, _CHUNK))
                yield self._next, np.zeros((len(self._held), count), np.float32)
                self._next += count
                continue
            numbers = np.arange(self._next, min(last, self._next + _CHUNK))
            # The times are close together and far from 0: taking their difference keeps the
            # precision.
            places = (
                numbers / self._rate - move.later_s
            ) / move.pace * self._rate - self._held_from
            yield self._next, _interpolated(self._held, places, span.table)
            self._next += len(numbers)
            let_go = int(places[-1]) - _TAPS
            if let_go > 0:
                self._held = self._held[:, let_go:]
                self._held_from += let_go


def _sample(time_s: float, rate: int) -> float:
    """The number of the first sample from a moment on; infinite if the moment is."""
    return time_s if math.isinf(time_s) else math.ceil(time_s * rate)


def _sinc_table(cutoff: float) -> Floats:
    """(phases + 1, 2 x taps): the weights of the samples around a place, by where it lies between
    two of them.
    """
    at = np.arange(-_TAPS + 1, _TAPS + 1)[None, :] - np.linspace(0, 1, _PHASES + 1)[:, None]
    window = np.i0(_BETA * np.sqrt(np.clip(1 - (at / _TAPS) ** 2, 0, 1))) / np.i0(_BETA)
    table = cutoff * np.sinc(cutoff * at) * window
    return np.asarray(table / table.sum(axis=1, keepdims=True), np.float32)


def _interpolated(samples: Floats, places: NDArray[np.float64], table: Floats) -> Floats:
    """Samples (channels, n) at places that need not be whole; outside there is silence."""
    whole = np.floor(places).astype(np.int64)
    phase = (places - whole) * _PHASES
    low = np.minimum(phase.astype(np.int64), _PHASES - 1)
    part = (phase - low).astype(np.float32)[:, None]
    weights = (1 - part) * table[low] + part * table[low + 1]
    around = whole[:, None] + np.arange(-_TAPS + 1, _TAPS + 1)[None, :]
    padded = np.pad(samples, ((0, 0), (1, 1)))
    near = padded[:, np.clip(around + 1, 0, samples.shape[1] + 1)]
    return np.asarray((near * weights).sum(axis=2), np.float32)


class Encoder:
    """Decodes the packets of a track, plays them at the new pace, and encodes them for a stream of
    the new file.
    """

    def __init__(
        self,
        source: AudioStream,
        target: AudioStream,
        moves: Moves,
        origin_s: float,
        *,
        as_long: bool = False,
    ) -> None:
        """`as_long`: end no earlier than the old sound, as MXF ends the pictures where the sound
        ends.
        """
        context = source.codec_context
        self._source = source
        self._target = target
        self._rate = int(context.sample_rate)
        self._layout = context.layout.name
        self._origin = round(origin_s * self._rate)
        self._channels = context.layout.nb_channels
        self._pace = Pace(moves, self._rate, self._channels)
        # Packed, as not every PyAV can read or fill planar frames of many channels
        self._packed = AudioResampler(format="flt", layout=self._layout, rate=self._rate)
        self._as_long = as_long
        self._waiting: list[Floats] = []
        self._first = 0  # number of the first sample that waits

    def take(self, packet: Packet[AudioStream], retime_s: float) -> list[Packet[AudioStream]]:
        """Packets for the new file; `retime_s` is added to the times of decoded frames to put them
        on the file's clock.
        """
        made: list[Packet[AudioStream]] = []
        for frame in packet.decode():
            if frame.pts is None or frame.time_base is None:
                continue
            start_s = float(frame.pts * frame.time_base) + retime_s
            for part in self._packed.resample(frame):
                packed = part.to_ndarray().astype(np.float32, copy=False)
                by_channel = packed.reshape(-1, self._channels).T
                for first, samples in self._pace.take(start_s, by_channel):
                    made += self._encode(first, samples)
        return made

    def rest(self) -> list[Packet[AudioStream]]:
        """The last packets."""
        made: list[Packet[AudioStream]] = []
        for first, samples in self._pace.rest(as_long=self._as_long):
            made += self._encode(first, samples)
        made += self._encode_waiting(whole_only=False)
        return [*made, *self._target.encode(None)]

    def _encode(self, first: int, samples: Floats) -> list[Packet[AudioStream]]:
        if not self._waiting:
            self._first = first
        self._waiting.append(samples)
        return self._encode_waiting(whole_only=True)

    def _encode_waiting(self, *, whole_only: bool) -> list[Packet[AudioStream]]:
        """Frames of the size that the encoder wants; the last may be shorter."""
        size = self._target.codec_context.frame_size or 1024
        if not self._waiting:
            return []
        samples = np.concatenate(self._waiting, axis=1)
        made: list[Packet[AudioStream]] = []
        at = 0
        while at + (size if whole_only else 1) <= samples.shape[1]:
            made += self._target.encode(self._frame(samples[:, at : at + size], self._first + at))
            at += size
        self._waiting = [samples[:, at:]] if at < samples.shape[1] else []
        self._first += at
        return made

    def _frame(self, samples: Floats, number: int) -> AudioFrame:
        packed = np.ascontiguousarray(samples.clip(-1, 1).T).reshape(1, -1)
        frame = AudioFrame.from_ndarray(packed, format="flt", layout=self._layout)
        frame.sample_rate = self._rate
        frame.pts = number + self._origin
        frame.time_base = Fraction(1, self._rate)
        return frame
