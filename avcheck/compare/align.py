"""Where a file shows or plays what its reference does: matches -> pieces of a piecewise linear time
map.

Windows that follow one line make a piece; between pieces something was inserted, removed or
slipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from avcheck.compare.find import (
    LEAST_MATCHES,
    LEAST_WINDOW_S,
    RATE_HZ,
    WINDOW_S,
    Features,
    Rows,
    WindowMatch,
)

Seconds = TypeVar("Seconds", float, NDArray[np.float64])

# The expected pace is given up if its line is off by more than this many times as much as the best
# line, and by more than `Lines.noise_s`
_WORSE = 4.0
_BETTER = 0.5  # of what it is off by: then the other known pace is taken for it
# Least agreement of two rows that count as the same, when looking for the edge of a piece
_SAME = 0.35
_SAME_SHARE = 0.6  # of what rows inside the piece reach, if that is more
_INSIDE = 500  # rows


@dataclass(frozen=True)
class Piece:
    """From `start_s` to `end_s` of the file, the time in the reference is `reference_start_s` +
    `pace` x (time - `start_s`).
    """

    start_s: float
    end_s: float
    reference_start_s: float
    pace: float

    def reference_s(self, file_s: Seconds) -> Seconds:
        """The time in the reference for a time in the file, or for each of several; in seconds."""
        return self.reference_start_s + self.pace * (file_s - self.start_s)

    def file_s(self, reference_s: float) -> float:
        """The time in the file for a time in the reference, in seconds."""
        return self.start_s + (reference_s - self.reference_start_s) / self.pace


@dataclass(frozen=True)
class Lines:
    """What is known of the lines before they are laid. pace: which they have, nearly. jump_s: a
    step of more off a line begins another. noise_s: how far places may lie off their line, in the
    median. also: a pace that they may have as well, as that of the sound for pictures. span_s:
    matches that lie nearer together show no pace of their own, as their windows are the same.
    """

    pace: float
    jump_s: float
    noise_s: float
    also: float | None = None
    span_s: float = 0.0


def longest(parts: Sequence[Piece]) -> Piece:
    """The piece that covers most of the file; there must be one or more."""
    return max(parts, key=lambda part: part.end_s - part.start_s)


class Ends(Protocol):
    """Knows where pieces really begin and end, in seconds of the file."""

    def between(self, before: Piece, after: Piece) -> tuple[float, float]:
        """Where one piece ends and the next begins: the same moment, or something lies between."""

    def start_s(self, piece: Piece) -> float:
        """Where the first piece begins."""

    def end_s(self, piece: Piece) -> float:
        """Where the last piece ends."""


def pieces(
    matches: Sequence[WindowMatch], known: Lines, ends: Ends, least_s: float = LEAST_WINDOW_S
) -> tuple[Piece, ...]:
    """The matches as lines. A line of fewer than three matches, or of less than `least_s`, is
    chance, and is left out.
    """
    runs: list[list[WindowMatch]] = []
    for match in matches:
        if runs and abs(_off_line(runs[-1], match, known)) <= known.jump_s:
            runs[-1].append(match)
        elif (
            len(runs) > 1
            and len(runs[-1]) < LEAST_MATCHES
            and abs(_off_line(runs[-2], match, known)) <= known.jump_s
        ):
            runs.pop()  # a few off the line, which goes on after them
            runs[-1].append(match)
        else:
            runs.append([match])
    lines = [_line(run, known) for run in runs if len(run) >= LEAST_MATCHES]
    while True:
        parts = _laid_out(lines, ends)
        short = [k for k, part in enumerate(parts) if part.end_s - part.start_s < least_s]
        if not short:
            return tuple(parts)
        # A piece this short is chance, too
        del lines[min(short, key=lambda k: parts[k].end_s - parts[k].start_s)]


def _laid_out(lines: Sequence[Piece], ends: Ends) -> list[Piece]:
    """The lines, each from where it begins to where it ends; none reaches into the next."""
    out: list[Piece] = []
    for line in lines:
        if out:
            end_s, start_s = ends.between(out[-1], line)
            out[-1] = _cut(out[-1], out[-1].start_s, end_s)
            out.append(_cut(line, start_s, line.end_s))
        else:
            out.append(_cut(line, ends.start_s(line), line.end_s))
    if out:
        out[-1] = _cut(out[-1], out[-1].start_s, ends.end_s(out[-1]))
    return out


@dataclass(frozen=True)
class Edges:
    """Knows where pieces really begin and end: the rows of the two tracks are compared one by
    one.
    """

    reference: Features  # its sound or its pictures
    file: Features  # the same of the file that is compared with it

    def between(self, before: Piece, after: Piece) -> tuple[float, float]:
        """Where one piece ends and the next begins, in seconds of the file: the same moment, or
        something lies between.
        """
        times = _times(
            max(before.start_s, before.end_s - WINDOW_S / 2),
            min(after.end_s, after.start_s + WINDOW_S / 2),
        )
        # What is gained by giving all rows up to this one to the piece before
        gain = np.concatenate([[0.0], np.cumsum(self._gain(before, times))])
        rest = np.concatenate([np.cumsum(self._gain(after, times)[::-1])[::-1], [0.0]])
        best_end = np.maximum.accumulate(
            np.where(gain >= np.maximum.accumulate(gain), np.arange(len(gain)), 0)
        )
        start = int(np.argmax(gain[best_end] + rest))
        at_s = np.append(times, times[-1] + 1 / RATE_HZ)
        return float(at_s[best_end[start]]), float(at_s[start])

    def start_s(self, piece: Piece) -> float:
        """Where the first piece begins: as far back as it agrees with the reference, and not before
        that begins, as in silence put in front of a title.
        """
        last_s = min(piece.end_s, piece.start_s + WINDOW_S / 2)
        times = _times(max(self.file.start_s, piece.file_s(self.reference.start_s)), last_s)
        rest = np.concatenate([np.cumsum(self._gain(piece, times)[::-1])[::-1], [0.0]])
        return float(np.append(times, last_s)[int(np.argmax(rest))])

    def end_s(self, piece: Piece) -> float:
        """Where the last piece ends."""
        last_s = min(self.file.end_s, piece.file_s(self.reference.end_s))
        times = _times(max(piece.start_s, piece.end_s - WINDOW_S / 2), last_s)
        gain = np.concatenate([[0.0], np.cumsum(self._gain(piece, times))])
        at = len(gain) - 1 - int(np.argmax(gain[::-1]))
        return float(np.append(times, times[-1] + 1 / RATE_HZ)[at])

    def _gain(self, piece: Piece, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much the rows at these times of the file speak for the piece: their cosine, less what
        different rows reach; 0 for a mute row.
        """
        inside = np.linspace(piece.start_s, piece.end_s, _INSIDE)
        usual = float(np.median(self._cosine(piece, inside)))
        cosine = self._cosine(piece, times)
        return np.where(cosine == 0, 0.0, cosine - max(_SAME, _SAME_SHARE * usual))

    def _cosine(self, piece: Piece, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """The cosine of the file's rows at these times and the reference's rows that the piece
        pairs them with; 0 if either is mute.
        """
        ours = at_times(self.file, times)
        theirs = at_times(self.reference, piece.reference_s(times))
        size = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        return np.asarray((ours * theirs).sum(axis=1) / np.maximum(size, 1e-9), np.float64)


def _times(start_s: float, end_s: float) -> NDArray[np.float64]:
    """Times one row apart, at least one of them."""
    return start_s + np.arange(max(1, round((end_s - start_s) * RATE_HZ))) / RATE_HZ


def at_times(track: Features, times: NDArray[np.float64]) -> Rows:
    """The rows of a track at these times, in seconds; zeros where it has none."""
    at = np.rint((times - track.start_s) * RATE_HZ).astype(np.intp)
    inside = (at >= 0) & (at < len(track.rows))
    return np.where(inside[:, None], track.rows[np.clip(at, 0, len(track.rows) - 1)], 0.0).astype(
        np.float32
    )


def _line(run: Sequence[WindowMatch], known: Lines) -> Piece:
    """The line through matches that lie along one.

    Its slope is a known pace, unless the median of the slopes between the matches (Theil and Sen)
    fits clearly better.
    """
    x = np.array([match.file_s for match in run])
    y = np.array([match.reference_s for match in run])

    def fitted(slope: float) -> tuple[float, float]:
        """The height at the first match, and how far off the others lie at the middle."""
        off = y - slope * (x - x[0])
        height = float(np.median(off))
        return height, float(np.median(np.abs(off - height)))

    step = max(1, len(x) // 300)
    first, second = np.triu_indices(len(x[::step]), 1)
    slope = float(
        np.median((y[::step][second] - y[::step][first]) / (x[::step][second] - x[::step][first]))
    )
    (height, off_s), (known_height, known_off_s) = fitted(slope), fitted(known.pace)
    pace = known.pace
    if known.also is not None:
        other_height, other_off_s = fitted(known.also)
        if other_off_s < _BETTER * known_off_s:
            pace, known_height, known_off_s = known.also, other_height, other_off_s
    if known_off_s <= max(_WORSE * off_s, known.noise_s) or x[-1] - x[0] < known.span_s:
        slope, height = pace, known_height
    return Piece(float(x[0]), float(x[-1]), height, slope)


def _off_line(run: Sequence[WindowMatch], match: WindowMatch, known: Lines) -> float:
    """How far a match lies off the line of the last few of a run, in seconds of the reference."""
    recent = run[-6:]
    last = recent[-1]
    if len(recent) >= LEAST_MATCHES:
        return match.reference_s - _line(recent, known).reference_s(match.file_s)
    return match.reference_s - last.reference_s - known.pace * (match.file_s - last.file_s)


def _cut(piece: Piece, start_s: float, end_s: float) -> Piece:
    return Piece(start_s, end_s, piece.reference_s(start_s), piece.pace)
