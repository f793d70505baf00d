"""Where windows of a file are in its reference: two feature tracks -> matches.

Windows are found by normalised cross-correlation, near the last one or else anywhere. A window that
is found nowhere is left out: no time is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from avcheck.verdict.posterior import vertex

RATE_HZ = 100  # rows of a track a second
WINDOW_S = 8.0
LEAST_WINDOW_S = 4.0
SHORTEST_S = 3.8  # of a title of some 4 s: its windows, and what it must have to be aligned
HOP_S = 2.0
# Short windows are tried in gaps up to this long: each is searched for in the whole reference
_LONGEST_GAP_S = 60.0
_SHORT_HOP_S = 0.5  # between short windows in a gap
_LEAST_WINDOWS = 6  # in a short track
LEAST_MATCHES = 3  # in a row, that make a piece: two can follow each other by chance
_NEAR_S = 2.0  # how far from the last match the next one is looked for first
_COARSE = 5  # rows in one of the coarse track, which is searched as a whole
# Least score of a match of whole windows; unrelated sound reaches 0.2, unrelated pictures 0.3
_LEAST_SCORE = 0.35
# Margin by which the best place must beat every other that is further off than `_BESIDE_S`
_LEAST_LEAD = 0.08
_BESIDE_S = 0.25
_CANDIDATES = 5  # places of the coarse track that are tried in the fine one
_LEAST_ROWS = 0.3  # of a window's rows that must not be zero
_PROBES = 7  # windows that choose the pace
_LEAST_GAIN = 0.02  # in mean score, to prefer another pace to 1

# Paces at which a file may play its reference: reference seconds in one second of the file.
PACES = (1.0, 25 / 24, 24 / 25, 1001 / 1000, 1000 / 1001, 25 * 1001 / 24000, 24000 / (25 * 1001))

Rows = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Features:
    """Features of a sound or a picture. rows: float32 (n, d), row k is at `start_s` + k / 100 s;
    one of zeros says nothing.
    """

    start_s: float
    rows: Rows

    @property
    def end_s(self) -> float:
        """The time of the row after the last, in seconds."""
        return self.start_s + len(self.rows) / RATE_HZ

    def at_pace(self, pace: float) -> Features:
        """The track played so that `pace` of its seconds pass in one: times are multiplied by
        `pace`.
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
        return Features(self.start_s * pace, rows)


@dataclass(frozen=True)
class WindowMatch:
    """The window around `file_s` of the file is what the reference has around `reference_s`; score
    in 0..1.
    """

    file_s: float
    reference_s: float
    score: float


def matches(reference: Features, file: Features) -> tuple[list[WindowMatch], float]:
    """The windows of the file that the reference has, in the file's order, and the pace at which it
    plays.
    """
    pace = _choose_pace(reference, file)
    scaled = file.at_pace(pace)
    finder = _Finder(reference)
    length, starts = _windows(scaled)
    hits = _look(finder, scaled, length, starts)
    short = _rows(LEAST_WINDOW_S)
    if length > short:
        # The content between two edits may be shorter than a window
        for low, high in _gaps(hits, length, len(scaled.rows)):
            inner = range(low, high - short + 1, _rows(_SHORT_HOP_S))
            tells = [at for at in inner if _is_telling(scaled.rows[at : at + short])]
            hits |= _look(finder, scaled, short, tells)
    return [
        WindowMatch((scaled.start_s + centre / RATE_HZ) / pace, *hits[centre])
        for centre in sorted(hits)
    ], pace


def _look(
    finder: _Finder, track: Features, length: int, starts: Sequence[int]
) -> dict[int, tuple[float, float]]:
    """Search for the windows of `length` rows that begin at `starts`. Returns those found, by their
    middle row: its time in the reference, and the score.
    """
    hits: dict[int, tuple[float, float]] = {}

    def lag_at(start: int, lag_s: float | None, *, everywhere: bool) -> float | None:
        """The lag at this window; if it is not found, the one before."""
        window = track.rows[start : start + length]
        at_s = track.start_s + start / RATE_HZ
        hit = finder.near(window, at_s + lag_s, _NEAR_S) if lag_s is not None else None
        hit = hit or (finder.anywhere(window) if everywhere else None)
        if hit is None:
            return lag_s
        hits[start] = hit
        return hit[0] - at_s

    lag_s: float | None = None
    for start in starts:
        lag_s = lag_at(start, lag_s, everywhere=True)
    # A dull window is found only near a neighbour that was, which may be the one after it.
    for start in reversed(starts):
        at_s = track.start_s + start / RATE_HZ
        lag_s = hits[start][0] - at_s if start in hits else lag_at(start, lag_s, everywhere=False)
    half_s = length // 2 / RATE_HZ
    return {start + length // 2: (at_s + half_s, score) for start, (at_s, score) in hits.items()}


def _gaps(
    hits: Mapping[int, tuple[float, float]], length: int, count: int
) -> Iterator[tuple[int, int]]:
    """The gaps, from row to row, between windows of `length` rows that follow one line, in a track
    of `count` rows. Too few windows to make a line lie in a gap: they may be chance, which only the
    shorter windows tried there can show.
    """
    lines: list[list[int]] = []
    for centre in sorted(hits):
        if lines:
            last = lines[-1][-1]
            step_s = hits[centre][0] - hits[last][0] - (centre - last) / RATE_HZ
        if not lines or abs(step_s) > _BESIDE_S:
            lines.append([])
        lines[-1].append(centre)
    runs = [(line[0], line[-1]) for line in lines if len(line) >= LEAST_MATCHES]
    ends = [(0, -length // 2), *runs, (count + length // 2, count)]
    for (_, before), (after, _) in pairwise(ends):
        if length < after - before <= length + _rows(_LONGEST_GAP_S):
            yield max(0, before), min(count, after)


def likeness(
    reference: Features, file: Features, pace: float, least: float = -1.0
) -> tuple[float, float]:
    """How well some windows of the file, at this pace, are found in the reference: the mean, with 0
    for those that are not, and the median of those that are; 0..1. A mean that is not over `least`
    may come out too low, as the search then ends early.
    """
    scores = _scores(_Finder(reference), file.at_pace(pace), _mean, least)
    matched = [score for score in scores if score]
    return _mean(scores), float(np.median(matched or [0.0]))


def _choose_pace(reference: Features, file: Features) -> float:
    """The pace at which some windows of the file are best found in the reference; 1 unless another
    is better.
    """
    finder = _Finder(reference)
    first, *others = PACES
    best, most = first, _upper_half(_scores(finder, file)) + _LEAST_GAIN
    for pace in others:
        if most >= 1.0:
            break
        score = _upper_half(_scores(finder, file.at_pace(pace), _upper_half, most))
        if score > most:
            best, most = pace, score
    return best


def _upper_half(scores: Sequence[float]) -> float:
    """The mean of the better half: the others may lie where something was inserted."""
    return float(np.mean(sorted(scores)[len(scores) // 2 :])) if scores else 0.0


def _mean(scores: Sequence[float]) -> float:
    return float(np.mean(scores or [0.0]))


def _scores(
    finder: _Finder,
    file: Features,
    judge: Callable[[Sequence[float]], float] = _mean,
    least: float = -1.0,
) -> list[float]:
    """The scores of some windows, 0 for one that is not found. Once `judge` of them all, which
    grows with each, can no longer exceed `least`, the others are not searched for and are 0 too.
    """
    length, starts = _windows(file)
    chosen = starts[:: max(1, len(starts) // _PROBES)]
    scores: list[float] = []
    for at in chosen:
        left = len(chosen) - len(scores)
        if judge([*scores, *[1.0] * left]) <= least:
            return [*scores, *[0.0] * left]
        hit = finder.anywhere(file.rows[at : at + length])
        scores.append(hit[1] if hit else 0.0)
    return scores


def _rows(seconds: float) -> int:
    return round(seconds * RATE_HZ)


def _windows(track: Features) -> tuple[int, list[int]]:
    """How many rows a window has, and where windows that say something begin: in a short track they
    are shorter, and nearer to each other.
    """
    count = len(track.rows)
    length = max(_rows(SHORTEST_S), min(_rows(WINDOW_S), 2 * count // 3))
    if count < length:
        return length, []
    hop = max(1, min(_rows(HOP_S), (count - length) // _LEAST_WINDOWS))
    starts = range(0, count - length + 1, hop)
    return length, [at for at in starts if _is_telling(track.rows[at : at + length])]


def _least_score(count: int) -> float:
    """The score that a window of so many rows needs: the shorter it is, the better chance fits
    it.
    """
    return float(_LEAST_SCORE * np.sqrt(max(1.0, _rows(WINDOW_S) / count)))


def _is_telling(window: Rows) -> bool:
    """Whether enough rows of a window say something."""
    return bool(np.abs(window).any(axis=1).mean() >= _LEAST_ROWS)


class _Finder:
    """Finds windows in a reference by normalised cross-correlation."""

    def __init__(self, reference: Features) -> None:
        self._reference = reference
        self._energy = np.concatenate(
            [[0.0], np.cumsum((reference.rows.astype(np.float64) ** 2).sum(axis=1))]
        )
        self._coarse = _thinned(reference.rows)
        self._coarse_energy = np.concatenate(
            [[0.0], np.cumsum((self._coarse.astype(np.float64) ** 2).sum(axis=1))]
        )
        self._spectrum: NDArray[np.complex64] | None = None  # of the coarse track

    def near(self, window: Rows, at_s: float, reach_s: float) -> tuple[float, float] | None:
        """Where a window that begins at about `at_s` lies, and its score; None if it is not clearly
        found.
        """
        first = _rows(at_s - reach_s - self._reference.start_s)
        last = _rows(at_s + reach_s - self._reference.start_s) + len(window)
        low, high = max(0, first), min(len(self._reference.rows), last)
        if high - low < len(window):
            return None
        scores = _correlate(self._reference.rows[low:high], window, self._energy[low : high + 1])
        hit = _peak(scores, _least_score(len(window)))
        return None if hit is None else (self._reference.start_s + (low + hit[0]) / RATE_HZ, hit[1])

    def anywhere(self, window: Rows) -> tuple[float, float] | None:
        """The same, in the whole reference."""
        thin = _thinned(window)
        if len(self._coarse) < len(thin):
            return None
        if self._spectrum is None:
            # What wraps around its end is at no place where the whole window lies in the track
            self._spectrum = _spectrum(self._coarse, len(self._coarse))
        scores = _correlate(self._coarse, thin, self._coarse_energy, self._spectrum)
        whole = _energy(window)
        hits = [
            self._best(window, whole, at * _COARSE, _COARSE) for at in _tops(scores, _CANDIDATES)
        ]
        first, *others = sorted(hits, key=lambda hit: hit[1], reverse=True)
        rivals = [score for at_s, score in others if abs(at_s - first[0]) > _BESIDE_S]
        if first[1] < _least_score(len(window)) or (
            rivals and first[1] - max(rivals) < _LEAST_LEAD
        ):
            return None
        return first

    def _best(self, window: Rows, whole: float, row: int, reach: int) -> tuple[float, float]:
        """The best place of a window of energy `whole` within `reach` rows of `row`, and its
        score.
        """
        low = max(0, row - reach)
        high = min(len(self._reference.rows), row + reach + len(window))
        count = high - low - len(window) + 1
        if count < 1:
            return self._reference.start_s + row / RATE_HZ, 0.0
        rows = self._reference.rows
        dots = [
            float(np.vdot(rows[at : at + len(window)], window)) for at in range(low, low + count)
        ]
        scores = _cosine(np.array(dots), self._energy[low : high + 1], len(window), whole)
        at = int(np.argmax(scores))
        return self._reference.start_s + (low + at + vertex(scores, at)) / RATE_HZ, min(
            1.0, float(scores[at])
        )


def _thinned(rows: Rows) -> Rows:
    whole = rows[: len(rows) // _COARSE * _COARSE]
    return np.asarray(whole.reshape(-1, _COARSE, rows.shape[1]).mean(axis=1), np.float32)


def _spectrum(rows: Rows, least: int) -> NDArray[np.complex64]:
    """The spectrum of each column of (n, d), of so many rows at least."""
    size = 1 << (least - 1).bit_length()
    return np.fft.rfft(rows, size, axis=0).astype(np.complex64)


def _correlate(
    rows: Rows,
    window: Rows,
    energy: NDArray[np.float64],
    spectrum: NDArray[np.complex64] | None = None,
) -> NDArray[np.float64]:
    """Cosine of the window (m, d) and every run of as many rows of (n, d): (n - m + 1,). `energy`:
    (n + 1,) running sum; `spectrum`: of the rows.
    """
    if spectrum is None:
        spectrum = _spectrum(rows, len(rows) + len(window))
    size = 2 * len(spectrum) - 2
    product = (spectrum * np.conj(np.fft.rfft(window, size, axis=0))).sum(axis=1)
    dots = np.fft.irfft(product, size)[: len(rows) - len(window) + 1]
    return _cosine(dots, energy, len(window), _energy(window))


def _energy(window: Rows) -> float:
    return float((window.astype(np.float64) ** 2).sum())


def _cosine(
    dots: NDArray[np.float64], energy: NDArray[np.float64], rows: int, whole: float
) -> NDArray[np.float64]:
    """Dot products of a window of `rows` rows with runs of as many (k,), divided by the norms of
    both. `energy`: the running sum of the rows' squares, beginning at the first run; `whole`: the
    window's.
    """
    count = len(dots)
    local = np.maximum(energy[rows : rows + count] - energy[:count], 0.0)
    norm = np.sqrt(local * whole)
    # If the reference holds much less than the window, the quotient is noise.
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


def _peak(scores: NDArray[np.float64], least: float) -> tuple[float, float] | None:
    """The best place, below a row, and its score; None if that is too low or another is nearly as
    good.
    """
    at = int(np.argmax(scores))
    score = float(scores[at])
    beside = round(_BESIDE_S * RATE_HZ)
    others = np.concatenate([scores[: max(0, at - beside)], scores[at + beside + 1 :]])
    if score < least or (len(others) and score - float(others.max()) < _LEAST_LEAD):
        return None
    return at + vertex(scores, at), min(score, 1.0)
