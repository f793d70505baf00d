"""The common bed of two sounds that differ in the foreground, as a dub and the original share music
and effects: generalised cross-correlation with phase transform, and a vote.

The phase transform weighs every frequency alike, so the faint bed of a loud voice counts. Each
window names the places that fit best, for the whole spectrum and for bands of it. A place counts if
windows that share no sound with this one name it too; by chance two do not agree to a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from avcheck.compare.align import Lines, Piece, longest, pieces
from avcheck.compare.features import HIGH_HZ, LOW_HZ, Recording
from avcheck.compare.find import WindowMatch
from avcheck.compare.fine import excerpt
from avcheck.rates import SAMPLE_RATE
from avcheck.verdict.posterior import vertex

_WINDOW_S = 8.0
_HOP_S = 4.0
_REACH_S = 3.0  # around where the picture has the window
_BANDS = 4
_PLACES = 3  # that each window names for the whole spectrum; and one for each band
_BESIDE_S = 0.002  # a peak's own flanks
_AGREE_S = 0.001
_AROUND_S = 24.0  # how far apart windows that agree may be
_LEAST_VOTES = 2  # besides its own
_LEAST_SHARE = 0.5  # of the windows that could agree
_LEAD = 1.5  # times as many votes as for any other place, or a loop would be as good a match
_JUMP_S, _NOISE_S = 0.004, 0.0004
_FLOOR = 1e-6  # of the strongest frequency's power: below that the phase is noise


@dataclass(frozen=True)
class _Vote:
    """One window of the file, and the places in the reference that it names."""

    file_s: float  # its middle, on the file's clock
    # On the reference's clock; those that all frequencies name come first
    reference_s: tuple[float, ...]
    score: tuple[float, ...]  # of each place: its correlation, in times the usual value


def common_bed(reference: Recording, file: Recording, shown: Sequence[Piece]) -> tuple[Piece, ...]:
    """The pieces of the file's sound whose bed the reference has, near where the picture has the
    pieces `shown`; none if windows do not agree.
    """
    votes = [vote for part in shown for vote in _votes(reference, file, part)]
    if not votes:
        return ()
    pace = longest(shown).pace
    matches = [match for vote in votes if (match := _elected(vote, votes, pace)) is not None]
    return pieces(matches, Lines(pace, _JUMP_S, _NOISE_S), _Windows(file.start_s, file.end_s))


@dataclass(frozen=True)
class _Windows:
    """The ends of pieces whose sounds differ row by row: as far as their windows reach."""

    first_s: float  # where the file's sound begins, on the file's clock
    last_s: float  # where it ends

    def between(self, before: Piece, after: Piece) -> tuple[float, float]:
        """The middle of the gap between two pieces, or all of the gap if it is longer than the
        windows.
        """
        if after.start_s - before.end_s > _WINDOW_S:
            return before.end_s + _WINDOW_S / 2, after.start_s - _WINDOW_S / 2
        middle_s = (before.end_s + after.start_s) / 2
        return middle_s, middle_s

    def start_s(self, piece: Piece) -> float:
        """Where the first window begins."""
        return max(self.first_s, piece.start_s - _WINDOW_S / 2)

    def end_s(self, piece: Piece) -> float:
        """Where the last window ends."""
        return min(self.last_s, piece.end_s + _WINDOW_S / 2)


def _votes(reference: Recording, file: Recording, part: Piece) -> list[_Vote]:
    """The windows within a piece of the picture."""
    half_s = _WINDOW_S / 2
    first_s, last_s = part.start_s + half_s, part.end_s - half_s
    middles = np.append(np.arange(first_s, last_s, _HOP_S), last_s)
    votes = []
    count = round(_WINDOW_S * SAMPLE_RATE)
    for file_s in map(float, middles if last_s >= first_s else ()):
        ours_s, window = excerpt(file, file_s - half_s / part.pace, count, part.pace)
        theirs_s, region = excerpt(
            reference,
            part.reference_s(file_s) - half_s - _REACH_S,
            count + round(2 * _REACH_S * SAMPLE_RATE),
        )
        named = _places(window, region)
        middle_s = theirs_s + part.pace * (file_s - ours_s)
        if named:
            places = tuple(middle_s + at / SAMPLE_RATE for at, _ in named)
            votes.append(_Vote(file_s, places, tuple(score for _, score in named)))
    return votes


def _places(window: NDArray[np.float32], region: NDArray[np.float32]) -> list[tuple[float, float]]:
    """The offsets, in samples, at which the window fits the region best, and how many times its
    usual value the correlation has there.
    """
    curve_of = whitened(window, region)
    if curve_of is None:
        return []
    edges = np.geomspace(LOW_HZ, HIGH_HZ, _BANDS + 1)
    spans = [
        (LOW_HZ, HIGH_HZ, _PLACES),
        *((low, high, 1) for low, high in pairwise(edges)),
    ]
    named: list[tuple[float, float]] = []
    for low, high, most in spans:
        curve = curve_of(low, high)
        height = np.abs(curve)  # inverted polarity is the same sound
        usual = float(np.sqrt(np.mean(curve**2)))
        beside = round(_BESIDE_S * SAMPLE_RATE)
        for _ in range(most if usual > 0 else 0):
            at = int(np.argmax(height))
            named.append((at + vertex(height, at), float(height[at]) / usual))
            height[max(0, at - beside) : at + beside + 1] = 0
    return named


def whitened(
    window: NDArray[np.float32], region: NDArray[np.float32]
) -> Callable[[float, float], NDArray[np.float64]] | None:
    """Generalised cross-correlation with phase transform: a function that gives, for frequencies
    from one to another (Hz), how well the window fits the region at every place that holds all of
    it. None if either is silent.
    """
    size = 1 << (len(window) + len(region) - 1).bit_length()
    ours = np.fft.rfft(window * np.hanning(len(window)).astype(np.float32), size)
    cross = np.fft.rfft(region, size) * np.conj(ours)
    strength = np.abs(cross)
    if not strength.any():
        return None
    phase = np.where(strength > _FLOOR * strength.max(), cross / np.maximum(strength, 1e-20), 0)
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    count = len(region) - len(window) + 1

    def curve_of(low_hz: float, high_hz: float) -> NDArray[np.float64]:
        return np.fft.irfft(np.where((hz >= low_hz) & (hz < high_hz), phase, 0), size)[:count]

    return curve_of


def _elected(vote: _Vote, votes: Sequence[_Vote], pace: float) -> WindowMatch | None:
    """The place that a window names and others that share no sound with it confirm; None if too few
    do, or as many confirm another.
    """
    others = [
        each for each in votes if _WINDOW_S <= abs(each.file_s - vote.file_s) * pace <= _AROUND_S
    ]

    def confirmed(reference_s: float) -> int:
        return sum(
            any(
                abs(at - pace * (each.file_s - vote.file_s) - reference_s) <= _AGREE_S
                for at in each.reference_s
            )
            for each in others
        )

    counts = [confirmed(at) for at in vote.reference_s]
    best = max(range(len(counts)), key=lambda k: (counts[k], vote.score[k]))
    rivals = [
        count
        for count, at in zip(counts, vote.reference_s, strict=True)
        if abs(at - vote.reference_s[best]) > _BESIDE_S
    ]
    least = max(_LEAST_VOTES, _LEAST_SHARE * len(others), _LEAD * max(rivals, default=0))
    if counts[best] < least:
        return None
    return WindowMatch(
        vote.file_s, vote.reference_s[best], min(1.0, counts[best] / max(1, len(others)))
    )
