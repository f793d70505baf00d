"""When the frames of a sound begin, whether their timestamps are rounded, jitter, drift or have
gaps.

Sound is counted on from a timestamp sample by sample, as every player does. A frame's residual is
its timestamp minus that count; all frames of a run should have the same residual. A difference
within `JITTER_S`, or a tick of the container's clock, is rounding. Beyond that, the following
frames show what happened:

* They agree with the count: this one timestamp is off, as around the short blocks of Vorbis. The
frame is joined.
* They agree with this frame: packets are missing, or the clock has drifted away by so much. A new
run begins at the timestamp.
* They stray from this frame steadily and to one side: the timestamps were stretched, as by
mkvmerge's `--sync`. A new run begins at the timestamp here too.
* They do not agree with each other: the timestamps jitter, as those of browsers and WebRTC do.
Nothing is cut or filled for that. A run is placed by the mean of its residuals over some seconds,
in which a frame counts for as long as it lasts: a player goes by the residual of what it plays. It
is placed again when that mean has moved by `JITTER_S`, or when the following frames are late or
early by about `GAP_S`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from avcheck.media.base import JITTER_S, MOST_VALUES, lasting_s

GAP_S = 0.04  # a gap even if timestamps jitter

# A residual this far off belongs to what lies behind a gap, from which jitter has taken a part
_BEYOND_S = 0.75 * GAP_S

_NEXT_S = 0.5  # of sound, whose timestamps show whether a frame's own can be believed

_ENOUGH = 8  # timestamps that are enough to tell whether they agree

# The share of them that must agree; once they jitter, all must, as a few may agree by chance
_MOST = 0.75

# The most that stretched timestamps stray from a count of samples; PAL for film is 4 %
_STRETCH_MOST = 0.1

_LONG_S = 5.0  # of sound, over which jitter is averaged: 15 ms of it leave less than 1 ms

_AGAIN_S = 0.25  # how often the mean is checked

# Share by which a packet's stated length may differ from what it holds: no clock drifts as much
_SAME_LENGTH = 0.02

# Demuxers that count the times of packets from the lengths of those before, starting at one
# timestamp or at each.
COUNTED = frozenset({"mpegts", "mpeg", "aac", "loas", "mp3", "ac3", "eac3", "dts"})


@dataclass(frozen=True)
class Placed:
    """A frame. `time_s`: when it begins, on the clock of the times it came with; `joined`: where
    the frame before ends; `exact`: free of jitter.
    """

    frame: AudioFrame
    time_s: float
    joined: bool
    exact: bool = True


@dataclass(frozen=True)
class _Waiting:
    frame: AudioFrame  # not yet placed
    start_s: float  # in sound counted from the first frame on
    residual_s: float | None  # None: no timestamp

    @property
    def length_s(self) -> float:
        return float(self.frame.samples / self.frame.sample_rate)


def without_counted(
    frames: Iterable[tuple[float | None, AudioFrame]], tick_s: float
) -> Iterator[tuple[float | None, AudioFrame]]:
    """The frames, without times that a demuxer of `COUNTED` counted with a wrong length, as after a
    change of rate.
    """
    expected_s: float | None = None
    for time_s, frame in frames:
        counted = (
            time_s is not None
            and expected_s is not None
            and abs(time_s - expected_s) <= 1.5 * tick_s
        )
        yield (None if counted else time_s), frame
        expected_s = None
        length_s = frame.samples / frame.sample_rate
        stated_s = lasting_s(frame)
        if (
            time_s is not None
            and stated_s > 0
            and abs(stated_s - length_s) > _SAME_LENGTH * length_s
        ):
            expected_s = time_s + stated_s


def placed(frames: Iterable[tuple[float | None, AudioFrame]], tick_s: float) -> Iterator[Placed]:
    """The frames of a sound, placed as this module describes, from the first with a time on.
    Decodes ahead as far as it must.
    """
    rounding_s = min(max(JITTER_S, tick_s), GAP_S)
    ahead = _Ahead(frames)
    behind: deque[_Waiting] = deque()
    base_s: float | None = None  # the residual of the run
    jittering = False
    looked_s = 0.0
    while (item := ahead.pop()) is not None:
        own_s = item.residual_s
        before_s = base_s
        exact = True
        if own_s is not None and (base_s is None or abs(own_s - base_s) >= rounding_s):
            following = ahead.residuals_s(_NEXT_S)
            middle_s = float(np.median(following)) if len(following) else own_s
            if len(following) >= _ENOUGH:
                agreeing = np.mean(np.abs(following - middle_s) < rounding_s)
                jittering = bool(agreeing < (1.0 if jittering else _MOST))
            stretched = jittering and _is_stretched([item, *ahead.following(_NEXT_S)], rounding_s)
            jittering &= not stretched
            exact = not jittering
            if base_s is None:
                base_s = _centre_s(item, own_s, ahead) if jittering else own_s
            elif stretched:
                base_s = own_s
            elif not jittering:
                if abs(middle_s - base_s) >= rounding_s > abs(own_s - middle_s):
                    base_s = own_s
            elif min(abs(own_s - base_s), abs(_midmean(following, own_s) - base_s)) >= _BEYOND_S:
                base_s = _centre_s(item, own_s, ahead)
            elif item.start_s >= looked_s + _AGAIN_S:
                looked_s = item.start_s
                mean_s = _mean_s([*behind, item, *ahead.following(_LONG_S)], base_s)
                if abs(mean_s - base_s) >= rounding_s:
                    base_s = mean_s
        if base_s is None:
            continue
        behind.append(item)
        while behind[0].start_s < item.start_s - _LONG_S:
            behind.popleft()
        yield Placed(item.frame, base_s + item.start_s, joined=base_s == before_s, exact=exact)


def _centre_s(first: _Waiting, own_s: float, ahead: _Ahead) -> float:
    """The residual of a run whose first frame has `own_s`, by the frames that follow; `own_s` where
    theirs lie elsewhere.
    """
    centre_s = _midmean(ahead.residuals_s(_NEXT_S), own_s)
    if abs(own_s - centre_s) >= _BEYOND_S:
        return own_s
    return _mean_s([first, *ahead.following(_LONG_S)], centre_s)


def _mean_s(frames: Iterable[_Waiting], around_s: float) -> float:
    """The mean residual of those of the frames whose own lies around one; that one of none."""
    near = [
        (frame.residual_s, frame.length_s)
        for frame in frames
        if frame.residual_s is not None and abs(frame.residual_s - around_s) < _BEYOND_S
    ]
    all_s = sum(length_s for _, length_s in near)
    return sum(own_s * length_s for own_s, length_s in near) / all_s if all_s else around_s


def _is_stretched(frames: Sequence[_Waiting], rounding_s: float) -> bool:
    """Whether the residuals of these frames only rise or only fall, but for rounding, and no faster
    than timestamps are stretched.
    """
    residuals_s = np.array([each.residual_s for each in frames if each.residual_s is not None])
    if len(residuals_s) <= _ENOUGH:
        return False
    if residuals_s[-1] < residuals_s[0]:
        residuals_s = -residuals_s
    goes_back_s = float((np.maximum.accumulate(residuals_s) - residuals_s).max())
    most_s = _STRETCH_MOST * (frames[-1].start_s - frames[0].start_s) + rounding_s
    return goes_back_s < rounding_s and bool(residuals_s[-1] - residuals_s[0] <= most_s)


def _midmean(values: NDArray[np.float64], otherwise: float) -> float:
    """The mean of the middle half, which a few wild values do not move; `otherwise` of none."""
    if not len(values):
        return otherwise
    quarter = len(values) // 4
    return float(np.sort(values)[quarter : len(values) - quarter].mean())


class _Ahead:
    """Frames decoded ahead of time."""

    def __init__(self, frames: Iterable[tuple[float | None, AudioFrame]]) -> None:
        self._frames = iter(frames)
        self._queue: deque[_Waiting] = deque()
        self._values = 0  # in the queue
        self._end_s = 0.0  # of what was taken from `frames`, in sound counted from the first on

    def pop(self) -> _Waiting | None:
        """The next frame; None at the end."""
        if not self._queue and not self._pull():
            return None
        item = self._queue.popleft()
        self._values -= _values(item.frame)
        return item

    def residuals_s(self, seconds: float) -> NDArray[np.float64]:
        """The residuals of the frames that are `following`."""
        residuals = (item.residual_s for item in self.following(seconds))
        return np.array([own_s for own_s in residuals if own_s is not None])

    def following(self, seconds: float) -> list[_Waiting]:
        """The frames to come, over so much sound, but `_ENOUGH` of them at least if there are."""
        while (
            (
                len(self._queue) < _ENOUGH
                or self._queue[-1].start_s < self._queue[0].start_s + seconds
            )
            and self._values < MOST_VALUES
            and self._pull()
        ):
            pass
        until_s = self._queue[0].start_s + seconds if self._queue else 0.0
        return [
            item
            for number, item in enumerate(self._queue)
            if number < _ENOUGH or item.start_s < until_s
        ]

    def _pull(self) -> bool:
        time_s, frame = next(self._frames, (None, None))
        if frame is None:
            return False
        self._queue.append(
            _Waiting(frame, self._end_s, None if time_s is None else time_s - self._end_s)
        )
        self._values += _values(frame)
        self._end_s += self._queue[-1].length_s
        return True


def _values(frame: AudioFrame) -> int:
    return int(frame.samples * frame.layout.nb_channels)
