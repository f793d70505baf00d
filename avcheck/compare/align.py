"""Where a file shows or plays what a reference shows or plays: two feature tracks -> pieces of a
piecewise linear time map.

Windows of the file are found in the reference by normalised cross-correlation, near where the last
one was found, or else anywhere. Windows that follow one line make a piece; between pieces something
was inserted, removed or slipped. What is found nowhere is left out: no time is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 100  # rows of a track a second
WINDOW_S = 8.0
HOP_S = 2.0
_NEAR_S = 2.0  # how far from the last match the next one is looked for first
_COARSE = 5  # rows in one of the coarse track, in which a window is looked for everywhere
_LEAST_SCORE = 0.35  # of a match; windows of unrelated sound reach 0.2, of unrelated pictures 0.3
# By which the best place must beat every other that is further off than `_BESIDE_S`
_LEAST_LEAD = 0.08
_BESIDE_S = 0.25
_CANDIDATES = 5  # places of the coarse track that are looked at closely
_LEAST_ROWS = 0.3  # of a window's rows that need something in them
_PROBES = 7  # windows that choose the pace
_LEAST_GAIN = 0.02  # in mean score, for another pace to be preferred to 1
_LEAST_MATCHES = 3  # in a row, that make a piece: by chance two can follow one another
_WORSE = 1.5  # times as far off as the best line, and ...
_NOISE_S = 0.0002  # ... more than this, and a pace is not that of the title
# Least agreement of two rows for them to count as the same, when the edge of a piece is looked for
_SAME = 0.35

# Paces at which a file may play its reference: reference seconds in one second of the file.
PACES = (1.0, 25 / 24, 24 / 25, 1001 / 1000, 1000 / 1001, 25 * 1001 / 24000, 24000 / (25 * 1001))

Rows = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Track:
    """Features of a sound or a picture: float32 (n, d), row k is of `start_s` + k / 100 s. A row of
    zeros tells nothing.
    """

    start_s: float
    rows: Rows

    @property
    def end_s(self) -> float:
        """The time of the row after the last, in seconds."""
        return self.start_s + len(self.rows) / RATE_HZ

    def at_pace(self, pace: float) -> Track:
        """The track as if it had played so that `pace` of its seconds pass in one: times are
        multiplied by `pace`.
        """
        if pace == 1.0:
            return self
        count = int(len(self.rows) * pace)
        at = np.arange(count) / pace
        low = np.minimum(at.astype(np.intp), max(0, len(self.rows) - 2))
        share = (at - low).astype(np.float32)[:, None]
        rows = (
            self.rows[low] * (1 - share)
            + self.rows[np.minimum(low + 1, len(self.rows) - 1)] * share
        )
        return Track(self.start_s * pace, rows)


@dataclass(frozen=True)
class Match:
    """The window around `file_s` of the file is what the reference has around `reference_s`; score
    in 0..1.
    """

    file_s: float
    reference_s: float
    score: float


@dataclass(frozen=True)
class Piece:
    """From `start_s` to `end_s` of the file, the reference's time is `reference_start_s` + `pace` x
    (time - `start_s`).
    """

    start_s: float
    end_s: float
    reference_start_s: float
    pace: float

    def reference_s(self, file_s: float) -> float:
        """The time of the reference that a time of the file corresponds to, in seconds."""
        return self.reference_start_s + self.pace * (file_s - self.start_s)


def matches(reference: Track, file: Track) -> tuple[list[Match], float]:
    """The windows of the file that are found in the reference, in the file's order, and the pace at
    which it plays.
    """
    pace = _choose_pace(reference, file)
    scaled = file.at_pace(pace)
    finder = _Finder(reference)
    length = _rows(WINDOW_S)
    starts = [
        at for at in _window_starts(len(scaled.rows)) if _tells(scaled.rows[at : at + length])
    ]
    hits: dict[int, tuple[float, float]] = {}

    def look(start: int, lag_s: float | None, *, everywhere: bool) -> float | None:
        """The lag at this window, or the one before where it is not found."""
        window = scaled.rows[start : start + length]
        at_s = scaled.start_s + start / RATE_HZ
        hit = finder.near(window, at_s + lag_s, _NEAR_S) if lag_s is not None else None
        hit = hit or (finder.anywhere(window) if everywhere else None)
        if hit is None:
            return lag_s
        hits[start] = hit
        return hit[0] - at_s

    lag_s: float | None = None
    for start in starts:
        lag_s = look(start, lag_s, everywhere=True)
    # A dull window is found only near where its neighbour was, which may be the one after it.
    for start in reversed(starts):
        at_s = scaled.start_s + start / RATE_HZ
        lag_s = hits[start][0] - at_s if start in hits else look(start, lag_s, everywhere=False)
    half_s = length / RATE_HZ / 2
    centres = {start: scaled.start_s + start / RATE_HZ + half_s for start in sorted(hits)}
    return [
        Match(centre_s / pace, hits[start][0] + half_s, hits[start][1])
        for start, centre_s in centres.items()
    ], pace


def pieces(found: Sequence[Match], pace: float, jump_s: float, edges: Edges) -> tuple[Piece, ...]:
    """The matches as lines; a step of more than `jump_s` from the line so far begins another.

    `pace`: what the lines' pace is about. A line of fewer than three matches is chance, and is left
    out.
    """
    runs: list[list[Match]] = []
    for match in found:
        if runs and abs(_off_line(runs[-1], match, pace)) <= jump_s:
            runs[-1].append(match)
        elif (
            len(runs) > 1
            and len(runs[-1]) < _LEAST_MATCHES
            and abs(_off_line(runs[-2], match, pace)) <= jump_s
        ):
            runs.pop()  # a few that lie off the line, which goes on after them
            runs[-1].append(match)
        else:
            runs.append([match])
    lines = [_line(run, pace) for run in runs if len(run) >= _LEAST_MATCHES]
    while True:
        parts = _laid_out(lines, edges)
        short = [k for k, part in enumerate(parts) if part.end_s - part.start_s < WINDOW_S / 2]
        if not short:
            return tuple(parts)
        # So short a piece is chance as well
        del lines[min(short, key=lambda k: parts[k].end_s - parts[k].start_s)]


def _laid_out(lines: Sequence[Piece], edges: Edges) -> list[Piece]:
    """The lines, each from where it begins to where it ends; none reaches into the next."""
    out: list[Piece] = []
    for line in lines:
        if out:
            end_s, start_s = edges.between(out[-1], line)
            out[-1] = _cut(out[-1], out[-1].start_s, end_s)
            out.append(_cut(line, start_s, line.end_s))
        else:
            out.append(_cut(line, edges.start_s(line), line.end_s))
    if out:
        out[-1] = _cut(out[-1], out[-1].start_s, edges.end_s(out[-1]))
    return out


@dataclass(frozen=True)
class Edges:
    """Says where pieces really begin and end: the rows of the two tracks are compared one by
    one.
    """

    reference: Track
    file: Track

    def between(self, before: Piece, after: Piece) -> tuple[float, float]:
        """Where one piece ends and the next begins, in seconds of the file: the same moment, or
        something lies between.
        """
        times = _times(
            max(before.start_s, before.end_s - WINDOW_S / 2),
            min(after.end_s, after.start_s + WINDOW_S / 2),
        )
        # Of giving all up to a row to the piece before
        gain = np.concatenate([[0.0], np.cumsum(self._gain(before, times))])
        rest = np.concatenate([np.cumsum(self._gain(after, times)[::-1])[::-1], [0.0]])
        best_end = np.maximum.accumulate(
            np.where(gain >= np.maximum.accumulate(gain), np.arange(len(gain)), 0)
        )
        start = int(np.argmax(gain[best_end] + rest))
        at_s = np.append(times, times[-1] + 1 / RATE_HZ)
        return float(at_s[best_end[start]]), float(at_s[start])

    def start_s(self, piece: Piece) -> float:
        """Where the first piece begins: as far back as it agrees with the reference."""
        times = _times(self.file.start_s, piece.start_s)
        rest = np.concatenate([np.cumsum(self._gain(piece, times)[::-1])[::-1], [0.0]])
        return float(np.append(times, piece.start_s)[int(np.argmax(rest))])

    def end_s(self, piece: Piece) -> float:
        """Where the last piece ends."""
        times = _times(piece.end_s, self.file.end_s)
        gain = np.concatenate([[0.0], np.cumsum(self._gain(piece, times))])
        at = len(gain) - 1 - int(np.argmax(gain[::-1]))
        return float(np.append(times, times[-1] + 1 / RATE_HZ)[at])

    def _gain(self, piece: Piece, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much the rows at these times of the file speak for the piece: cosine less `_SAME`; 0
        where a row is mute.
        """
        ours = _at(self.file, times)
        theirs = _at(self.reference, piece.reference_start_s + piece.pace * (times - piece.start_s))
        size = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        cosine = (ours * theirs).sum(axis=1) / np.maximum(size, 1e-9)
        return np.asarray(np.where(size > 0, cosine - _SAME, 0.0), np.float64)


def _times(start_s: float, end_s: float) -> NDArray[np.float64]:
    """Times a row apart, one at least."""
    return start_s + np.arange(max(1, round((end_s - start_s) * RATE_HZ))) / RATE_HZ


def _at(track: Track, times: NDArray[np.float64]) -> Rows:
    at = np.rint((times - track.start_s) * RATE_HZ).astype(np.intp)
    inside = (at >= 0) & (at < len(track.rows))
    return np.where(inside[:, None], track.rows[np.clip(at, 0, len(track.rows) - 1)], 0.0).astype(
        np.float32
    )


def _line(run: Sequence[Match], pace: float) -> Piece:
    """The line through matches that lie along one.

    Of pace `pace`, unless the median of the slopes between them (Theil and Sen) fits clearly
    better.
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
    (height, off_s), (plain_height, plain_off_s) = fitted(slope), fitted(pace)
    if plain_off_s <= max(_WORSE * off_s, _NOISE_S):
        slope, height = pace, plain_height
    return Piece(float(x[0]), float(x[-1]), height, slope)


def _off_line(run: Sequence[Match], match: Match, pace: float) -> float:
    """How far a match lies off where the last few of a run would have it, in seconds of the
    reference.
    """
    recent = run[-6:]
    last = recent[-1]
    if len(recent) >= _LEAST_MATCHES:
        return match.reference_s - _line(recent, pace).reference_s(match.file_s)
    return match.reference_s - last.reference_s - pace * (match.file_s - last.file_s)


def _cut(piece: Piece, start_s: float, end_s: float) -> Piece:
    return Piece(start_s, end_s, piece.reference_s(start_s), piece.pace)


def _choose_pace(reference: Track, file: Track) -> float:
    """The pace at which some windows of the file are best found in the reference; 1 unless another
    is better.
    """

    finder = _Finder(reference)

    def mean_score(pace: float) -> float:
        scaled = file.at_pace(pace)
        starts = [
            at
            for at in _window_starts(len(scaled.rows))
            if _tells(scaled.rows[at : at + _rows(WINDOW_S)])
        ]
        chosen = starts[:: max(1, len(starts) // _PROBES)]
        hits = [finder.anywhere(scaled.rows[at : at + _rows(WINDOW_S)]) for at in chosen]
        return sum(hit[1] for hit in hits if hit) / max(1, len(chosen))

    scores = {pace: mean_score(pace) for pace in PACES}
    scores[1.0] += _LEAST_GAIN
    return max(scores, key=lambda pace: scores[pace])


def _rows(seconds: float) -> int:
    return round(seconds * RATE_HZ)


def _window_starts(count: int) -> list[int]:
    length, hop = _rows(WINDOW_S), _rows(HOP_S)
    return list(range(0, max(1, count - length + 1), hop)) if count >= length // 2 else []


def _tells(window: Rows) -> bool:
    return bool(np.abs(window).any(axis=1).mean() >= _LEAST_ROWS)


class _Finder:
    """Finds windows in a reference by normalised cross-correlation."""

    def __init__(self, reference: Track) -> None:
        self._reference = reference
        self._energy = np.concatenate(
            [[0.0], np.cumsum((reference.rows.astype(np.float64) ** 2).sum(axis=1))]
        )
        self._coarse = _thinned(reference.rows)
        self._coarse_energy = np.concatenate(
            [[0.0], np.cumsum((self._coarse.astype(np.float64) ** 2).sum(axis=1))]
        )
        self._spectra: dict[int, NDArray[np.complex64]] = {}

    def near(self, window: Rows, at_s: float, reach_s: float) -> tuple[float, float] | None:
        """Where a window that begins at about `at_s` lies, and its score; None where it is not
        clearly found.
        """
        first = _rows(at_s - reach_s - self._reference.start_s)
        last = _rows(at_s + reach_s - self._reference.start_s) + len(window)
        low, high = max(0, first), min(len(self._reference.rows), last)
        if high - low < len(window):
            return None
        scores = _correlate(self._reference.rows[low:high], window, self._energy[low : high + 1])
        hit = _peak(scores)
        return None if hit is None else (self._reference.start_s + (low + hit[0]) / RATE_HZ, hit[1])

    def anywhere(self, window: Rows) -> tuple[float, float] | None:
        """The same, in the whole reference."""
        thin = _thinned(window)
        if len(self._coarse) < len(thin):
            return None
        size = _fft_size(len(self._coarse) + len(thin))
        if size not in self._spectra:
            self._spectra[size] = np.fft.rfft(self._coarse, size, axis=0).astype(np.complex64)
        scores = _correlate(self._coarse, thin, self._coarse_energy, self._spectra[size])
        hits = [self._best(window, at * _COARSE, _COARSE) for at in _tops(scores, _CANDIDATES)]
        first, *others = sorted(hits, key=lambda hit: hit[1], reverse=True)
        rivals = [score for at_s, score in others if abs(at_s - first[0]) > _BESIDE_S]
        if first[1] < _LEAST_SCORE or (rivals and first[1] - max(rivals) < _LEAST_LEAD):
            return None
        return first

    def _best(self, window: Rows, row: int, reach: int) -> tuple[float, float]:
        """The best place of a window within `reach` rows of `row`, and its score."""
        low = max(0, row - reach)
        high = min(len(self._reference.rows), row + reach + len(window))
        if high - low < len(window):
            return self._reference.start_s + row / RATE_HZ, 0.0
        scores = _correlate(self._reference.rows[low:high], window, self._energy[low : high + 1])
        at = int(np.argmax(scores))
        return self._reference.start_s + (low + at + vertex(scores, at)) / RATE_HZ, min(
            1.0, float(scores[at])
        )


def _thinned(rows: Rows) -> Rows:
    whole = rows[: len(rows) // _COARSE * _COARSE]
    return np.asarray(whole.reshape(-1, _COARSE, rows.shape[1]).mean(axis=1), np.float32)


def _fft_size(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _correlate(
    rows: Rows,
    window: Rows,
    energy: NDArray[np.float64],
    spectrum: NDArray[np.complex64] | None = None,
) -> NDArray[np.float64]:
    """Cosine of the window (m, d) and every run of as many rows of (n, d): (n - m + 1,). `energy`:
    (n + 1,) running sum.
    """
    size = _fft_size(len(rows) + len(window))
    spectrum = (
        np.fft.rfft(rows, size, axis=0).astype(np.complex64) if spectrum is None else spectrum
    )
    product = (spectrum * np.conj(np.fft.rfft(window, size, axis=0))).sum(axis=1)
    count = len(rows) - len(window) + 1
    dots = np.fft.irfft(product, size)[:count]
    local = np.maximum(energy[len(window) : len(window) + count] - energy[:count], 0.0)
    norm = np.sqrt(local * float((window.astype(np.float64) ** 2).sum()))
    # Where the reference holds much less than the window the quotient is noise.
    quiet = local < 1e-3 * max(float(local.max()), 1e-12)
    return np.asarray(np.where(quiet, 0.0, dots / np.maximum(norm, 1e-9)))


def _tops(scores: NDArray[np.float64], count: int) -> list[int]:
    """The places of the highest scores, at least `_BESIDE_S` apart in rows of the coarse track."""
    left = scores.copy()
    beside = round(_BESIDE_S * RATE_HZ / _COARSE)
    tops = []
    for _ in range(count):
        at = int(np.argmax(left))
        tops.append(at)
        left[max(0, at - beside) : at + beside + 1] = -np.inf
    return tops


def _peak(scores: NDArray[np.float64]) -> tuple[float, float] | None:
    """The best place, below a row, and its score; None where it is too low or another is nearly as
    good.
    """
    at = int(np.argmax(scores))
    score = float(scores[at])
    beside = round(_BESIDE_S * RATE_HZ)
    others = np.concatenate([scores[: max(0, at - beside)], scores[at + beside + 1 :]])
    if score < _LEAST_SCORE or (len(others) and score - float(others.max()) < _LEAST_LEAD):
        return None
    return at + vertex(scores, at), min(score, 1.0)


def vertex(values: NDArray[np.float64], at: int) -> float:
    """Where the parabola through a peak and its neighbours has its vertex, -0.5..0.5 steps from the
    peak.
    """
    if not 0 < at < len(values) - 1:
        return 0.0
    left, mid, right = (float(value) for value in values[at - 1 : at + 2])
    curvature = left - 2 * mid + right
    return (
        float(np.clip(0.5 * (left - right) / curvature, -0.5, 0.5)) if curvature < -1e-12 else 0.0
    )
