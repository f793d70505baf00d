"""Where each moment of the sound belongs: the way from its old time to its new one. Pure arithmetic
on a report.

Sound early by x (positive) has to come x later. Times are seconds on the file's clock, as
`avcheck.media` counts them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, starmap

from avcheck.errors import AvcheckError
from avcheck.record.report import Report, Stretch

MOST_MOVE_MS = 60_000.0  # a longer way means a wrong file, not an offset
# How well the place of a jump must be known: it is cut in the middle of where it may be, and up to
# half of that remains unmoved
JUMP_WITHIN_S = 11.0


class Refused(AvcheckError):
    """The file is not fixed, for a reason in the file itself: nothing was written."""


@dataclass(frozen=True)
class Move:
    """Sound from `from_s` up to `until_s` of the old file comes at `pace` x its old time, plus
    `later_s`.
    """

    from_s: float
    until_s: float
    later_s: float
    pace: float = 1.0

    def new_s(self, old_s: float) -> float:
        """The new time of what was heard at `old_s`."""
        return self.pace * old_s + self.later_s

    def old_s(self, new_s: float) -> float:
        """The old time of what comes at `new_s`."""
        return (new_s - self.later_s) / self.pace


@dataclass(frozen=True)
class Moves:
    """The pieces of the sound in order, together all of it. Between two, sound is cut or silence is
    inserted.
    """

    pieces: tuple[Move, ...]

    @property
    def drifts(self) -> bool:
        """Whether the sound must be played at another pace."""
        return any(piece.pace != 1.0 for piece in self.pieces)

    @property
    def jumps(self) -> bool:
        """Whether the sound is cut."""
        return len(self.pieces) > 1

    def at(self, old_s: float) -> Move:
        """The piece that a moment of the old file lies in."""
        return next((piece for piece in self.pieces if old_s < piece.until_s), self.pieces[-1])


def by(offset_ms: float) -> Moves:
    """All of the sound by one offset (positive = sound early, so it comes later). Raises Refused
    beyond `MOST_MOVE_MS`.
    """
    if not (math.isfinite(offset_ms) and abs(offset_ms) <= MOST_MOVE_MS):
        raise Refused(
            f"sound is moved by up to {MOST_MOVE_MS / 1000:.0f} s, not by {offset_ms:g} ms"
        )
    return Moves((Move(-math.inf, math.inf, offset_ms / 1000),))


def of(report: Report, cuts_s: Sequence[float] | None = None) -> Moves:
    """The moves that take the offset out of a measured file.

    `cuts_s`: where to cut at each jump, on the sound's clock; in the middle of where it may be, if
    nothing else is known. Raises Refused if the place of a jump is not known.
    """
    if not report.stretches:
        if report.offset_ms is None:
            raise Refused("its offset is not known")
        return by(report.offset_ms)
    if cuts_s is None:
        cuts_s = [(low_s + high_s) / 2 for low_s, high_s in jumps_of(report)]
    edges_s = [-math.inf, *cuts_s, math.inf]
    return Moves(
        tuple(
            _move(stretch, from_s, until_s)
            for (from_s, until_s), stretch in zip(pairwise(edges_s), report.stretches, strict=True)
        )
    )


def then(first: Moves, second: Moves, later_s: float) -> Moves:
    """Two moves one after the other. `second` counts on the clock of a file in which everything,
    the pictures too, comes `later_s` later than in that of `first`.
    """
    pieces = []
    for piece in first.pieces:
        for after in second.pieces:
            from_s = max(piece.from_s, piece.old_s(after.from_s - later_s))
            until_s = min(piece.until_s, piece.old_s(after.until_s - later_s))
            if from_s < until_s:
                moved_s = after.new_s(piece.later_s + later_s) - later_s
                pieces.append(Move(from_s, until_s, moved_s, piece.pace * after.pace))
    return Moves(tuple(pieces))


def _move(stretch: Stretch, from_s: float, until_s: float) -> Move:
    """One offset, or a drift: the sound of the picture at p is heard at p less the offset there."""
    slope = stretch.slope_ms_per_s / 1000
    if slope == 0:
        return Move(from_s, until_s, stretch.start_offset_ms / 1000)
    at_zero_s = stretch.start_offset_ms / 1000 - slope * stretch.start_s
    return Move(from_s, until_s, at_zero_s / (1 - slope), 1 / (1 - slope))


def jumps_of(report: Report) -> list[tuple[float, float]]:
    """Between which moments of the sound each jump lies. Raises Refused if that is not known."""
    return list(starmap(_jump_s, pairwise(report.stretches)))


def _jump_s(before: Stretch, after: Stretch) -> tuple[float, float]:
    low_s, high_s = before.end_s, after.start_s
    if high_s - low_s > JUMP_WITHIN_S:
        raise Refused(
            f"its offset jumps somewhere from {low_s:.0f} to {high_s:.0f} s, which is not known "
            "well enough to cut there "
            f"(within {JUMP_WITHIN_S:.0f} s)"
        )
    return low_s - before.end_offset_ms / 1000, high_s - after.start_offset_ms / 1000
