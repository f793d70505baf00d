"""Decoded sound as runs of 16 kHz mono without a gap, placed by their timestamps."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from typing import Any

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from avcheck.machine.files import stamp
from avcheck.media.base import (
    MAX_RATE,
    MIN_RATE,
    PLANAR_MOST,
    STALE_S,
    Samples,
    Sound,
    Source,
    Tally,
    cannot_seek,
    frame_end_s,
    no_sound,
)
from avcheck.media.container import open_source
from avcheck.media.joining import COUNTED, placed, without_counted
from avcheck.media.mixing import Mixer, averaged, run_up_from_s
from avcheck.media.packets import (
    dated,
    decoded_frames,
    has_to_seek,
    packets_from,
    packets_of,
    prepare,
    raise_if_memory_is_short,
)
from avcheck.media.unheard import muted, unheard_in
from avcheck.rates import SAMPLE_RATE

CHUNK_SAMPLES = SAMPLE_RATE // 2  # a Sound is at least this long, except the last one before a gap

# A sound decoder that starts in the middle is wrong at first (AAC for a frame, Opus for 80 ms), and
# some leave out what they do at the beginning of a file. The second half of the run-up is right,
# and the resampler settles in it.
_SOUND_RUN_UP_S = 0.4

# A smaller hole is a recorder's clock that drifted, not a lost packet
_LEAST_LOSS_S = 0.01

# Frames at the sound's start that show where its samples lie: the first may be shorter, or have a
# gap after it
_ANCHOR_FRAMES = 4

_NO_ARRAYS = {"s64", "s64p"}  # sample formats of which PyAV makes none


@dataclass(frozen=True)
class _Anchor:
    """Where the samples of a sound lie when it is decoded from its beginning, so that a decode from
    the middle gives the same.

    A run is placed by its first timestamp, and by counting from there; a timestamp in its middle is
    rounded to a tick, and the resampler's 16 kHz samples fall between those of other rates as the
    run began. The run of the file's first frames starts at `start_s`; after `offset` samples,
    frames of `size` samples follow each other.
    """

    start_s: float
    offset: int
    size: int
    rate: int  # samples a second, before they are resampled
    tick_s: float  # length of a tick of the timestamps

    def place(self, frame: AudioFrame, time_s: float) -> tuple[float, int]:
        """The exact time of a frame due about `time_s`, and how many samples before it the
        resampler has to begin.
        """
        if frame.sample_rate != self.rate:
            return time_s, 0
        frames = round(((time_s - self.start_s) * self.rate - self.offset) / self.size)
        taken = self.offset + frames * self.size
        exact_s = self.start_s + taken / self.rate
        # After a gap only the timestamp is left
        if abs(exact_s - time_s) > 1.5 * self.tick_s + 1e-4:
            return time_s, 0
        return exact_s, taken % (self.rate // math.gcd(self.rate, SAMPLE_RATE))


@lru_cache(maxsize=16)
def _anchor(source: Source, _: tuple[int | None, int | None]) -> _Anchor | None:
    """The anchor that the first frames of a sound make, as `Media.sounds` joins them; None if they
    have no timestamps.

    Kept, with the `stamp` of the file: a long title is heard in a hundred places, and opening it
    takes longer than hearing one.
    """
    start_s = 0.0
    taken = 0
    anchor = None
    container, source = open_source(source)
    with container:
        stream = container.streams[source.index]
        prepare(container, [stream], 1)
        tick_s = float(stream.time_base or 0)
        packets = packets_of(container, [stream], Tally(), source.retime)
        frames = dated(
            decoded_frames(container, stream, Tally(), packets), source.origin_s, Tally()
        )
        for place in islice(placed(frames, tick_s), _ANCHOR_FRAMES):
            if not place.joined:
                start_s, taken = place.time_s, 0
            if place.frame.samples:
                anchor = _Anchor(
                    start_s, taken, place.frame.samples, place.frame.sample_rate, tick_s
                )
                taken += place.frame.samples
    return anchor


class _Run:
    """Sound without a gap on its way to 16 kHz mono. Time is kept here: the resampler only sees
    samples.
    """

    def __init__(self, frame: AudioFrame, start_s: float, from_s: float, lead: int = 0) -> None:
        """A run that starts with `frame` at `start_s`; what lies before `from_s` is not given out.

        The resampler begins `lead` samples earlier, with silence.
        """
        self._start_s = start_s - lead / frame.sample_rate
        self._rate = frame.sample_rate
        self._key = _sound_format(frame)
        self._taken = 0  # samples at the source's rate
        self._given = 0  # samples at SAMPLE_RATE
        self._skip = max(0, math.ceil((from_s - self._start_s) * SAMPLE_RATE - 1e-3))
        self._pending: list[Samples] = []
        self._waiting = 0  # samples in them
        # The mixer averages channels without known positions
        layout = frame.layout.name
        named = "channels" not in layout and "ambi" not in layout
        kind, channels = frame.format, frame.layout.nb_channels
        is_readable = kind.name not in _NO_ARRAYS and (
            not kind.is_planar or channels <= PLANAR_MOST
        )
        self._packer = None if is_readable and named else AudioResampler("flt")
        # Without rematrix_maxval a stereo mix in floats can exceed 1.
        self._resampler = AudioResampler(
            "flt", "mono", SAMPLE_RATE, options={"rematrix_maxval": "1.0"}
        )
        self._mixer = Mixer(frame, start_s, named=named)
        if lead:
            self._taken += lead
            name = kind.name if self._packer is None else "flt"
            mixed = layout if named else "mono"
            self._resample(_silence(name, mixed, lead, self._rate), Tally())

    @property
    def end_s(self) -> float:
        """Where the sound taken so far ends."""
        return self._start_s + self._taken / self._rate

    def takes(self, frame: AudioFrame) -> bool:
        """Whether the frame has the format of this run."""
        return _sound_format(frame) == self._key

    def push(self, frame: AudioFrame, tally: Tally) -> Iterator[Sound]:
        self._taken += frame.samples
        for packed in self._packed(frame, tally):
            for part in self._mixer.push(packed, tally):
                yield from self._pass(part, tally)

    def flush(self, tally: Tally) -> Iterator[Sound]:
        """The rest, with what the resampler's filter still held."""
        for part in self._mixer.rest(tally):
            yield from self._pass(part, tally)
        self._resample(None, tally)
        # The filter's tail runs past the sound
        rest = self._taken * SAMPLE_RATE // self._rate - self._given
        yield from self._give(tally, max(0, rest))

    def _packed(self, frame: AudioFrame, tally: Tally) -> list[AudioFrame]:
        """The frame in the format that the mixer takes."""
        frame.pts = None
        if self._packer is None:
            return [frame]
        try:
            return self._packer.resample(frame)
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            raise_if_memory_is_short(error)
            tally.lost += 1
            return []

    def _pass(self, frame: AudioFrame, tally: Tally) -> Iterator[Sound]:
        self._resample(frame, tally)
        if self._waiting >= CHUNK_SAMPLES:
            yield from self._give(tally)

    def _resample(self, frame: AudioFrame | None, tally: Tally) -> None:
        try:
            for out in self._resampler.resample(frame):
                # `to_ndarray` takes six times as long, as it stacks the planes; this has one
                plane: Any = out.planes[0]
                samples = np.frombuffer(plane, np.float32, out.samples)
                self._pending.append(samples)
                self._waiting += len(samples)
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            raise_if_memory_is_short(error)
            tally.lost += 1

    def _give(self, tally: Tally, limit: int | None = None) -> Iterator[Sound]:
        samples = (
            np.concatenate(self._pending)[:limit] if self._pending else np.zeros(0, np.float32)
        )
        self._pending, self._waiting = [], 0
        first = min(len(samples), max(0, self._skip - self._given))
        start_s = self._start_s + (self._given + first) / SAMPLE_RATE
        self._given += len(samples)
        samples = samples[first:]
        if len(samples):
            # The filter is short: a NaN spreads by a millisecond
            good = np.isfinite(samples)
            tally.bad_samples += len(samples) - int(np.count_nonzero(good))
            yield Sound(start_s, np.clip(np.where(good, samples, np.float32(0)), -1.0, 1.0))


def _sound_format(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _silence(kind: str, layout: str, samples: int, rate: int) -> AudioFrame:
    frame = AudioFrame(kind, layout, samples)
    frame.sample_rate = rate
    middle = b"\x80" if kind.startswith("u8") else b"\x00"
    for plane in frame.planes:
        plane.update(middle * plane.buffer_size)
    return frame


def decode_sounds(
    source: Source, tally: Tally, from_s: float | None
) -> Generator[Sound, None, None]:
    """The sound of a stream, as `Media.sounds` describes it; what is lost counts in `tally`."""
    container, source = open_source(source)
    with container:
        stream = container.streams[source.index]
        prepare(container, [stream], 1)
        run: _Run | None = None
        begin_s = from_s or 0.0
        end_s = 0.0  # of the sound so far; anything before it is pre-roll or an overlap
        until_s = None if from_s is None else run_up_from_s(from_s) - _SOUND_RUN_UP_S
        sought = has_to_seek(until_s)
        anchor = _anchor(source, stamp(source.path)) if sought else None
        tick_s = float(stream.time_base or 0)
        packets = packets_from(container, stream, tally, until_s, source)
        decoded = decoded_frames(container, stream, tally, packets)
        unheard = unheard_in(source, container)
        if unheard is not None:
            decoded = muted(decoded, unheard.channels)
        decoded = averaged(decoded)
        if container.format.name == "loas":
            decoded = _counted(decoded)
        frames = _usable(dated(decoded, source.origin_s, tally), tally, from_s, sought)
        if not COUNTED.isdisjoint(container.format.name.split(",")):
            frames = without_counted(frames, tick_s)
        follows = False  # the frame before was left out
        for place in placed(frames, tick_s):
            frame, time_s = place.frame, place.time_s
            if sought and not place.exact:
                raise cannot_seek(container)
            follows &= place.joined
            if run is not None and not follows and frame_end_s(frame, time_s) <= end_s:
                if time_s < end_s - STALE_S:
                    tally.leave_out(frame, end_s)
                continue
            if run is not None and (not follows or not run.takes(frame)):
                if follows:
                    time_s = run.end_s
                elif time_s - max(begin_s, end_s) > _LEAST_LOSS_S:
                    tally.missing_s += time_s - max(begin_s, end_s)
                yield from run.flush(tally)
                run = None
            if run is None:
                lead = 0
                if anchor is not None:
                    time_s, lead = anchor.place(frame, time_s)
                    anchor = None
                run = _Run(frame, time_s, max(begin_s, end_s), lead)
            yield from run.push(frame, tally)
            follows = True
            if from_s is None:
                tally.start_s = min(tally.start_s, time_s)
            end_s = max(end_s, run.end_s)
            tally.end_s = max(tally.end_s, end_s)
        if run is not None:
            yield from run.flush(tally)
        tally.finished = True
        if run is None and from_s is None:
            raise no_sound(source.path)


def _counted(frames: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
    """The frames of a bare LATM stream, which has no times, dated by their samples.

    FFmpeg counts as well, but not the packets that it read to find the stream's parameters: all
    sound would come a second early.
    """
    end_s = Fraction(0)
    for frame in frames:
        frame.time_base = Fraction(1, frame.sample_rate)
        frame.pts = round(end_s * frame.sample_rate)
        end_s += Fraction(frame.samples, frame.sample_rate)
        yield frame


def _usable(
    frames: Iterator[tuple[float | None, AudioFrame]],
    tally: Tally,
    from_s: float | None,
    sought: bool,
) -> Iterator[tuple[float | None, AudioFrame]]:
    """The frames from the first with a time on; in the middle of a file, from where the decoder has
    settled.
    """
    begun = False
    settled_s: float | None = None
    for time_s, frame in frames:
        if not MIN_RATE <= frame.sample_rate <= MAX_RATE:  # it can change in mid-stream
            tally.lost += 1
            continue
        if not begun and time_s is None:
            tally.undated += from_s is None
            continue
        if not begun and time_s is not None and sought:
            settled_s = time_s + _SOUND_RUN_UP_S / 2 if settled_s is None else settled_s
            if time_s < settled_s:
                continue
        begun = True
        yield time_s, frame
