"""An edit list's pieces cut out of media that is given picture by picture, without a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from avcheck.media.base import Picture, Tally, shown_from
from avcheck.media.timeline import ShownPiece, Timeline, play_pictures

LUMA = np.zeros((2, 2), np.uint8)
EVERY_40_MS = [k / 25 for k in range(250)]


def played(
    times_s: Sequence[float],
    *pieces: ShownPiece,
    from_s: float | None = None,
    end_s: float = 10.0,
    unseen_s: Sequence[tuple[float, float]] = (),
) -> tuple[list[float], Tally]:
    """When the pictures of media (due at `times_s`) are shown, and what was lost."""

    def decode(inner: Tally, media_from_s: float | None) -> Iterator[Picture]:
        inner.end_s = end_s
        inner.unseen += unseen_s
        yield from shown_from((Picture(time_s, LUMA) for time_s in times_s), media_from_s)

    tally = Tally()
    shown = play_pictures(Timeline(pieces), decode, tally, from_s, Path("film.mp4"))  # type: ignore[arg-type]
    return [picture.pts_s for picture in shown], tally


def test_pieces_play_the_picture_that_lasts_to_the_end() -> None:
    """One picture in the media, due for ten seconds, of which two pieces show parts."""
    pieces = ShownPiece(1.0, 5.0, -1.0), ShownPiece(6.0, 8.0, -2.0)
    assert played([0.0], *pieces)[0] == [0.0, 4.0]
    assert Timeline(pieces).later(1.5).pieces[-1].end_s == 7.5


def test_a_picture_that_a_piece_shows_for_less_than_a_tick_is_rounding() -> None:
    times_s, _ = played(EVERY_40_MS, ShownPiece(0.0396, 0.1204, 0.0))
    assert times_s == pytest.approx([0.04, 0.08])
    times_s, _ = played(EVERY_40_MS, ShownPiece(0.038, 0.122, 0.0))
    assert times_s == pytest.approx([0.038, 0.04, 0.08, 0.12])


def test_what_was_lost_counts_where_and_as_long_as_a_piece_shows_it() -> None:
    pieces = ShownPiece(0.0, 1.0, 0.0), ShownPiece(2.0, 4.0, -1.0)
    _, tally = played(EVERY_40_MS, *pieces, unseen_s=[(0.5, 3.0), (5.0, 6.0)])
    assert tally.unseen == [(0.5, 1.0), (1.0, 2.0)]


def test_what_lies_between_two_pieces_is_not_missing() -> None:
    _, tally = played(EVERY_40_MS, ShownPiece(0.0, 1.0, 0.0), ShownPiece(3.0, 4.0, 2.0))
    assert tally.missing_s == 0
    with_hole = [time_s for time_s in EVERY_40_MS if not 1.0 < time_s < 4.0]
    _, tally = played(with_hole, ShownPiece(0.0, 8.0, 0.0))
    assert tally.missing_s == pytest.approx(2.0)  # of three, as one is let go


@pytest.mark.parametrize(
    ("from_s", "first_s"), [(None, 0.0), (0.0, 0.0), (0.05, 0.04), (0.08, 0.08), (99.0, 9.96)]
)
def test_what_is_shown_from_a_moment_begins_with_the_picture_on_screen(
    from_s: float | None, first_s: float
) -> None:
    shown = list(shown_from((Picture(time_s, LUMA) for time_s in EVERY_40_MS), from_s))
    assert [picture.pts_s for picture in shown] == [each for each in EVERY_40_MS if each >= first_s]
    assert list(shown_from([], from_s)) == []
