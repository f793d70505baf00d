"""What an edit list makes of a track: which piece of its media is shown when.

A track is decoded by the time of its media, from `ShownPiece.from_s` on; here the result is cut to
the pieces, and moved to when they are shown. A piece that lies before the last one, or shows some
of it again, is decoded again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from avcheck.errors import CannotSeek
from avcheck.media.base import STALE_S, Picture, Sound, Tally, no_pictures, no_sound, shown_from
from avcheck.rates import SAMPLE_RATE

# Edit lists count in ms, or in 1/600 s: a picture that a piece shows for less is rounding
TICK_S = 0.001

# A piece this far behind the last one is sought; nearer, what lies between is decoded and dropped
_LEAP_S = 60.0


@dataclass(frozen=True)
class ShownPiece:
    """Media from `from_s` up to `until_s` (seconds of the media; inf: to its end) that is shown
    `shift_s` later.
    """

    from_s: float
    until_s: float
    shift_s: float

    @property
    def start_s(self) -> float:
        """When it is shown, in seconds."""
        return self.from_s + self.shift_s

    @property
    def end_s(self) -> float:
        """When it has been shown, in seconds; inf where it goes to the end of the media."""
        return self.until_s + self.shift_s


@dataclass(frozen=True)
class Timeline:
    """The pieces of a track's media in the order they are shown; no two are shown at once.

    `other_speed` are the stretches, (start, end) in seconds, that are played faster or slower: they
    are not looked at. `held_s` is how long the media lasts, in seconds; 0: unknown.
    """

    pieces: tuple[ShownPiece, ...]
    other_speed: tuple[tuple[float, float], ...] = ()
    held_s: float = 0.0

    @property
    def shown_s(self) -> float:
        """How much of the media is shown, in seconds, what is shown twice counted twice."""
        return sum(
            max(0.0, min(piece.until_s, self.held_s) - piece.from_s) for piece in self.pieces
        ) + sum(end_s - start_s for start_s, end_s in self.other_speed)

    def later(self, by_s: float) -> Timeline:
        """The same, shown `by_s` seconds later."""
        return Timeline(
            tuple(
                dataclasses.replace(piece, shift_s=piece.shift_s + by_s) for piece in self.pieces
            ),
            tuple((start_s + by_s, end_s + by_s) for start_s, end_s in self.other_speed),
            self.held_s,
        )


_Item = TypeVar("_Item", Picture, Sound)

# Decodes a track by the time of its media, from a time on or from the beginning, as
# `Media.pictures` and `Media.sounds` do.
Decode = Callable[[Tally, float | None], Generator[_Item, None, None]]


def play_pictures(
    timeline: Timeline, decode: Decode[Picture], tally: Tally, from_s: float | None, path: Path
) -> Generator[Picture, None, None]:
    """The pictures of a track as its timeline shows them; for `from_s` and the errors see
    `Media.pictures`.

    The picture on screen when a piece starts comes at the piece's start, however much earlier its
    media has it.
    """
    pieces: Sequence[ShownPiece] = timeline.pieces
    begin_s = pieces[0].from_s
    if from_s is not None:
        # Between two pieces the last picture of the first is still the latest one.
        pieces = pieces[max(0, sum(piece.start_s <= from_s for piece in pieces) - 1) :]
        begin_s = max(pieces[0].from_s, min(from_s - pieces[0].shift_s, pieces[0].until_s - TICK_S))
    given = False
    tally.unseen += timeline.other_speed
    with closing(
        _passes(pieces, begin_s, decode, tally, _cut_pictures, must_seek=from_s is not None)
    ) as pictures:
        for picture in shown_from(pictures, from_s):
            given = True
            yield picture
    _finish(tally, timeline)
    if not given and from_s is None:
        raise no_pictures(path, undated=tally.undated)


def play_sounds(
    timeline: Timeline, decode: Decode[Sound], tally: Tally, from_s: float | None, path: Path
) -> Generator[Sound, None, None]:
    """The sound of a track as its timeline plays it, cut to the sample; for `from_s` and the errors
    see `Media.sounds`.
    """
    pieces = list(timeline.pieces)
    if from_s is not None:
        pieces = [piece for piece in pieces if piece.end_s > from_s]
        if pieces and pieces[0].start_s < from_s:
            pieces[0] = dataclasses.replace(pieces[0], from_s=from_s - pieces[0].shift_s)
    given = False
    tally.unseen += timeline.other_speed
    if pieces:
        begin_s = pieces[0].from_s
        with closing(
            _passes(pieces, begin_s, decode, tally, _cut_sounds, must_seek=from_s is not None)
        ) as sounds:
            for sound in sounds:
                given = True
                yield sound
    _finish(tally, timeline)
    if not given and from_s is None:
        raise no_sound(path)


def _finish(tally: Tally, timeline: Timeline) -> None:
    tally.finished = True
    tally.end_s = max(tally.end_s, *(end_s for _, end_s in timeline.other_speed), 0.0)


def _passes(
    pieces: Sequence[ShownPiece],
    begin_s: float,
    decode: Decode[_Item],
    tally: Tally,
    cut: Callable[[Iterator[_Item], Sequence[ShownPiece], Tally, Tally], Iterator[_Item]],
    *,
    must_seek: bool,
) -> Generator[_Item, None, None]:
    """The passes over the media that `pieces` need, one for each run of pieces that follow each
    other in it, beginning at `begin_s`.

    With `must_seek` the first raises CannotSeek if the file cannot be sought; otherwise it is
    decoded from its beginning.
    """
    for number, run in enumerate(_runs(pieces)):
        inner = Tally()
        media_from_s = begin_s if number == 0 else run[0].from_s
        try:
            with closing(
                _media(decode, inner, media_from_s, must_seek=must_seek and number == 0)
            ) as media:
                yield from cut(media, run, inner, tally)
        finally:
            shown = [
                (
                    max(from_s, piece.from_s) + piece.shift_s,
                    min(until_s, piece.until_s) + piece.shift_s,
                )
                for from_s, until_s in inner.unseen
                for piece in run
            ]
            inner.unseen = [(from_s, until_s) for from_s, until_s in shown if from_s < until_s]
            inner.start_s = math.inf
            inner.missing_s = inner.end_s = 0.0  # of the media; `cut` counted what of it is shown
            tally.add(inner, 0.0)


def _runs(pieces: Sequence[ShownPiece]) -> Iterator[Sequence[ShownPiece]]:
    run: list[ShownPiece] = []
    for piece in pieces:
        if run and not run[-1].until_s <= piece.from_s <= run[-1].until_s + _LEAP_S:
            yield run
            run = []
        run.append(piece)
    yield run


def _media(
    decode: Decode[_Item], tally: Tally, from_s: float, *, must_seek: bool
) -> Generator[_Item, None, None]:
    try:
        yield from decode(tally, from_s)
    except CannotSeek:
        if must_seek:
            raise
        yield from decode(tally, None)


class _Gaps:
    """Counts what is missing inside a piece. Between two pieces nothing is shown, so nothing is
    missing.
    """

    def __init__(self, tally: Tally, allowed_s: float) -> None:
        self._tally = tally
        self._allowed_s = allowed_s
        self._end_s: float | None = None

    def begin_piece(self) -> None:
        self._end_s = None

    def take(self, start_s: float, end_s: float) -> None:
        """Something is shown from `start_s` to `end_s`."""
        if self._end_s is not None and start_s - self._end_s > self._allowed_s:
            self._tally.missing_s += start_s - self._end_s - self._allowed_s
        self._end_s = end_s


def _cut_pictures(
    media: Iterator[Picture], run: Sequence[ShownPiece], inner: Tally, tally: Tally
) -> Iterator[Picture]:
    """The pictures that a run of pieces shows; `inner` is the tally of their media."""
    gaps = _Gaps(tally, STALE_S)
    rest = iter(run)
    piece = next(rest)
    latest: Picture | None = None  # of the media, whether a piece shows it or not
    begun = False

    def goes_on() -> bool:
        nonlocal piece, begun
        following = next(rest, None)
        if following is not None:
            piece, begun = following, False
            gaps.begin_piece()
        return following is not None

    def shown(picture: Picture) -> Picture:
        pts_s = max(picture.pts_s, piece.from_s) + piece.shift_s
        tally.end_s = max(tally.end_s, pts_s, min(inner.end_s, piece.until_s) + piece.shift_s)
        gaps.take(pts_s, pts_s)
        return picture.at(pts_s)

    for picture in media:
        while picture.pts_s >= piece.until_s - TICK_S:
            if latest is not None and not begun:
                yield shown(latest)
            if not goes_on():
                return
        if picture.pts_s > piece.from_s + TICK_S:
            if latest is not None and not begun:
                yield shown(latest)
            yield shown(picture)
            begun = True
        latest = picture
    # The media's last picture, for as long as it lasts
    while latest is not None and piece.from_s <= max(inner.end_s, latest.pts_s):
        if not begun:
            yield shown(latest)
        if not goes_on():
            return


def _cut_sounds(
    media: Iterator[Sound], run: Sequence[ShownPiece], _inner: Tally, tally: Tally
) -> Iterator[Sound]:
    """The sound that a run of pieces plays."""
    gaps = _Gaps(tally, 0.0)
    rest = iter(run)
    piece = next(rest)
    for sound in media:
        while True:
            first = max(0, math.ceil((piece.from_s - sound.start_s) * SAMPLE_RATE - 1e-3))
            last = math.floor(
                min(len(sound.samples), (piece.until_s - sound.start_s) * SAMPLE_RATE + 1e-3)
            )
            if first < last:
                cut = Sound(
                    sound.start_s + first / SAMPLE_RATE + piece.shift_s, sound.samples[first:last]
                )
                gaps.take(cut.start_s, cut.end_s)
                tally.end_s = max(tally.end_s, cut.end_s)
                yield cut
            if piece.until_s > sound.end_s:
                break
            following = next(rest, None)
            if following is None:
                return
            piece = following
            gaps.begin_piece()
