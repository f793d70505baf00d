"""Captures of av-drift-detector's test video, in which every picture, and the sound of every
picture, carries its number: read with that package's own reader, in memory. Needs the extra
`stamps`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING

import numpy as np

from avcheck.media import Picture, Sound
from avcheck.rates import SAMPLE_RATE
from avcheck.reading.blocks import Block, SoundTimeline
from avcheck.signals.signal import Event, Signal

if TYPE_CHECKING:
    from av_drift_detector import CapturedAudio, CapturedFrame, FrameDrift

STAMP_SIDE = 720  # pixels: a stamp that a camera caught is small
ERROR_MS = 1.0  # of a copy of the test video
_WINDOW_S = 120.0  # read at a time, so that a long capture's sound need not be held
_FARTHEST_S = 5.0  # that a picture's sound may be away from it
# Where a film was cut, pictures come this much earlier or later than by their numbers, and by this
# many times as much as usual. A camera that skips a picture has it a whole one early.
_CUT_S, _CUT_TIMES = 0.004, 3.0
# Other sound has a stamp's tone by chance, which goes with three pictures: speech about once in 2 s
_LEAST_RUN = 8  # pictures in a row with one offset
_RUN_GAP_S, _RUN_STEP_MS = 1.0, 25.0
_LOOKED_S = 3  # blocks of a title; a stamped capture shows a stamp within them
_EVERY = 5  # how many pictures of these go for each that is read, at some 0.5 ms


def can_read_stamps() -> bool:
    """Whether the package that reads stamps is installed."""
    return find_spec("av_drift_detector") is not None


def stamps_of(
    pictures: Iterable[Picture], sounds: Iterable[Sound], *, within_s: float = 10.0
) -> Signal | None:
    """The stamps of a capture: an event for each picture whose number is also heard.

    Args:
        pictures: All of the capture, in order.
        sounds: Its sound, which is decoded only if pictures are stamped.
        within_s: How soon the first stamp has to be seen, in seconds from the first picture.

    Returns:
        None if no picture is stamped by then, or the package that reads stamps is missing.
    """
    if not can_read_stamps():
        return None
    frames, size = _read(pictures, within_s)
    stamped = sum(frame.get("stamp") is not None for frame in frames)
    if not stamped:
        return None
    readings = list(_readings(frames, sounds, size))
    error_ms = max((reading.error_ms for reading in readings), default=None)
    step_ms = _RUN_STEP_MS + max((reading.picture_ms for reading in readings), default=0.0)
    events = _in_runs([event for reading in readings for event in reading.events], step_ms)
    return Signal("stamp", events, stamped, len(events), error_ms=error_ms, shown=len(frames))


def _in_runs(events: Sequence[Event], step_ms: float) -> tuple[Event, ...]:
    """The events that are in a row with others of the same offset; what is heard by chance is in no
    such row. Neighbours may differ by `step_ms`, as a picture that a camera took from a display can
    be off by a whole one.
    """
    runs: list[list[Event]] = []
    for event in events:
        last = runs[-1][-1] if runs else None
        if (
            last is None
            or event.picture_s - last.picture_s > _RUN_GAP_S
            or abs(event.offset_ms - last.offset_ms) > step_ms
        ):
            runs.append([])
        runs[-1].append(event)
    return tuple(event for run in runs if len(run) >= _LEAST_RUN for event in run)


class StampLook:
    """Finds out whether the first blocks of a title are stamped, as they come by."""

    def __init__(self) -> None:
        self.stamped = False
        self._reads = can_read_stamps()

    def see(self, block: Block) -> None:
        """Look at some pictures of a block, if it is one of the first."""
        if self.stamped or not self._reads or not 0 <= block.index < _LOOKED_S:
            return
        from av_drift_detector import read_frame

        height, width = block.pictures.shape[1:]
        self.stamped = any(
            read_frame(np.ascontiguousarray(picture), width, height) is not None
            for picture in block.pictures[block.picture_mask][::_EVERY]
        )


def _read(
    pictures: Iterable[Picture], within_s: float
) -> tuple[Sequence[CapturedFrame], tuple[int, int]]:
    """What the reader makes of the pictures, and their width and height."""
    from av_drift_detector import StampReader

    reader = StampReader()
    first_s: float | None = None
    is_stamped = False
    width = height = 0
    for picture in pictures:
        first_s = picture.pts_s if first_s is None else first_s
        if not is_stamped and picture.pts_s > first_s + within_s:
            return [], (width, height)
        height, width = picture.luma.shape
        luma = np.ascontiguousarray(picture.luma)
        frame = reader.read(luma, width, height, picture.pts_s)
        is_stamped = is_stamped or frame.get("stamp") is not None
    return reader.finish(), (width, height)


@dataclass(frozen=True)
class _Reading:
    """The events of one window; error_ms: how far off they may be; picture_ms: how long a picture
    lasts.
    """

    events: tuple[Event, ...]
    error_ms: float
    picture_ms: float


def _readings(
    frames: Sequence[CapturedFrame], sounds: Iterable[Sound], size: tuple[int, int]
) -> Iterator[_Reading]:
    from av_drift_detector import AvDriftError, analyze_frames

    heard = SoundTimeline(sounds)
    for start, end in pairwise([*_starts(frames), len(frames)]):
        window = frames[start:end]
        if len(window) < _LEAST_RUN:
            continue
        from_s, until_s = window[0]["time"] - _FARTHEST_S, window[-1]["time"] + _FARTHEST_S
        samples, _ = heard.read(from_s, round((until_s - from_s) * SAMPLE_RATE))
        audio: CapturedAudio = {
            "sample_rate": SAMPLE_RATE,
            "start_time": from_s,
            "samples": samples,
        }
        try:
            report = analyze_frames(window, audio, width=size[0], height=size[1])
            picture_ms = float(1000 / Fraction(report["fps"]))
            if report["capture"] == "file":
                yield _Reading(tuple(_events(report["frames"])), ERROR_MS, picture_ms)
                continue
            copy = analyze_frames(window, audio, width=size[0], height=size[1], capture="file")
        except AvDriftError:  # too little is stamped, or there are no tones
            continue
        # The package takes pictures at uneven times for a camera's: when the display showed one is
        # then known only to half a picture (seen: 20 ms at 25 fps, where the package says 12).
        events = tuple(_events(report["frames"], copy["frames"], picture_ms / 2))
        yield _Reading(events, picture_ms / 2, picture_ms)


def _events(
    frames: Sequence[FrameDrift], copy: Sequence[FrameDrift] = (), half_ms: float = 0.0
) -> Iterator[Event]:
    """Pictures whose sound is heard. Those of a camera were on the display when it took them, so
    they lie within a picture of what `copy` says, the reading as a file; the package's line through
    all of them can be farther off if the display did not go on at an even rate.
    """
    for frame, as_file in zip_longest(frames, copy):
        drift_ms = frame["drift_ms"]
        if frame["status"] != "ok" or drift_ms is None:
            continue
        if as_file is not None:
            least_ms = as_file["drift_ms"]
            if least_ms is None:
                continue
            if abs(drift_ms - least_ms - half_ms) > half_ms + ERROR_MS:
                drift_ms = least_ms + half_ms
        yield Event(frame["time"], frame["time"] + drift_ms / 1000)


def _starts(frames: Sequence[CapturedFrame]) -> Iterator[int]:
    """Where each window begins. None goes over a cut: at uneven times the package lays one line
    through the numbers of all pictures, and those behind a cut would be seconds away from it.
    """
    cuts = _cuts(frames)
    start_s = -np.inf
    for number, frame in enumerate(frames):
        if number in cuts or frame["time"] >= start_s + _WINDOW_S:
            start_s = frame["time"]
            yield number


def _cuts(frames: Sequence[CapturedFrame]) -> frozenset[int]:
    """The first picture after each cut."""
    numbers: list[int] = []
    began_s: list[float] = []  # when the film began, by the time and the number of a picture
    picture_s = 0.0
    for number, frame in enumerate(frames):
        stamp = frame.get("stamp")
        if stamp is not None and stamp["fps"] is not None:
            picture_s = float(1 / Fraction(stamp["fps"]))
            numbers.append(number)
            began_s.append(frame["time"] - stamp["frame_id"] * picture_s)
    steps_s = np.abs(np.diff(began_s))
    if not len(steps_s):
        return frozenset()
    least_s = max(_CUT_S, _CUT_TIMES * float(np.percentile(steps_s, 90)))
    is_cut = (steps_s > least_s) & (np.abs(steps_s - picture_s) > _CUT_S)
    return frozenset(np.array(numbers[1:])[is_cut].tolist())
