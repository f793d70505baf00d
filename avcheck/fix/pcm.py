"""PCM laid out again by time: silence where nothing is due, samples cut where two would be due at
once, all others untouched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from avcheck.fix.moves import Move, Moves
from avcheck.media.base import JITTER_S


class PcmLayout:
    """Puts the packets of one PCM track one behind the other, in samples of the new file; the first
    is due at 0 s.

    `frame`: bytes of one sample of all channels; `silence`: the byte of silence.
    """

    def __init__(self, moves: Moves, rate: int, frame: int, silence: int) -> None:
        self._moves = moves
        self._rate = rate
        self._frame = frame
        self._silence = bytes([silence]) * frame
        self._end = 0  # samples laid out so far
        self._was = 0  # how many the old file had up to there
        self._piece: Move | None = None  # of the sound laid out last; None: none yet

    def take(self, start_s: float, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The runs of samples that a packet, which began at `start_s` of the old file, becomes;
        each with the number of its first sample.
        """
        count = len(data) // self._frame
        begin = round(start_s * self._rate)
        self._was = (begin if abs(begin - self._was) > JITTER_S * self._rate else self._was) + count
        for piece in self._moves.pieces:
            first = max(0, _whole((piece.from_s - start_s) * self._rate))
            last = min(count, _whole((piece.until_s - start_s) * self._rate))
            if first < last:
                part = data[first * self._frame : last * self._frame]
                yield from self._lay(piece, piece.new_s(start_s + first / self._rate), part)

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """Silence up to where the old sound ended: MXF ends the pictures where the sound ends."""
        yield from self._be_silent(self._was - self._end)

    def _be_silent(self, samples: int) -> Iterator[tuple[int, bytes]]:
        while samples > 0:  # a second at a time: a minute of silence need not be in memory at once
            some = min(samples, self._rate)
            yield self._end, self._silence * some
            self._end += some
            samples -= some

    def _lay(self, piece: Move, new_s: float, data: bytes) -> Iterator[tuple[int, bytes]]:
        apart = round(new_s * self._rate) - self._end
        if piece is self._piece and abs(apart) <= JITTER_S * self._rate:
            apart = 0
        yield from self._be_silent(apart)
        data = data[max(0, -apart) * self._frame :]
        if data:
            self._piece = piece
            yield self._end, data
            self._end += len(data) // self._frame


def _whole(samples: float) -> int:
    """A whole number of samples; one beyond any sound if infinite."""
    return round(samples) if math.isfinite(samples) else (1 << 62 if samples > 0 else -(1 << 62))
