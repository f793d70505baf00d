"""Which line is laid through the places of windows: of a pace that is known, or of their own."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from avcheck.compare.align import Lines, Piece, pieces
from avcheck.compare.comparison import picture_lines
from avcheck.compare.find import WindowMatch


class AsTheyAre:
    """Ends that are those of the windows' middles."""

    def between(self, before: Piece, after: Piece) -> tuple[float, float]:
        return before.end_s, after.start_s

    def start_s(self, piece: Piece) -> float:
        return piece.start_s

    def end_s(self, piece: Piece) -> float:
        return piece.end_s


def laid(lags_ms: list[float], lines: Lines, step_s: float = 2.0) -> float:
    """The pace of the one line through windows that lag by so much."""
    windows = [
        WindowMatch(4 + step_s * k, 4 + step_s * k + lag_ms / 1000, 0.9)
        for k, lag_ms in enumerate(lags_ms)
    ]
    (piece,) = pieces(windows, lines, AsTheyAre(), 0.0)
    return piece.pace


def heard(pace: float) -> list[Piece]:
    return [Piece(0.0, 30.0, 0.0, pace), Piece(31.0, 33.0, 30.0, 1.0)]


@pytest.mark.parametrize(
    ("lags_ms", "reference", "file"),
    [
        ([12, 11, 7, 5, 5, 0, -5, -7], "25", "24"),
        ([1, 3, 3, -4, 4, 9, 14, 13], "25", "24000/1001"),
        ([5, 5, 5, -1, -1, 0, -6, -10, -10], "24", "25"),
        ([8, -7, -7, -7, -8, -4, -3, -2, 3, -1, 0], "25", "30000/1001"),
    ],
)
def test_pictures_that_were_dropped_or_repeated_do_not_play_slower(
    lags_ms: list[float], reference: str, file: str
) -> None:
    """As measured on clips of 13 to 25 s after ffmpeg's filter fps: 0.04 to 0.14 % were listed."""
    lines = picture_lines(1.0, [], Fraction(reference), Fraction(file))
    assert laid(lags_ms, lines) == 1.0


def test_pictures_of_one_rate_show_a_pace_of_their_own_sooner() -> None:
    lags_ms = [20.0 - 3 * k for k in range(9)]
    same = picture_lines(1.0, [], Fraction(25), Fraction(25))
    assert laid(lags_ms, same) == pytest.approx(1 - 0.0015)
    beside = picture_lines(1.0, [], Fraction(24), Fraction(24000, 1001))
    assert laid(lags_ms, beside) == pytest.approx(1 - 0.0015)


def test_a_slower_title_of_another_rate_still_is_slower() -> None:
    lines = picture_lines(1.0, [], Fraction(25), Fraction(24))
    assert laid([-2.0 * k for k in range(30)], lines) == pytest.approx(0.999)


def test_pictures_may_play_as_slowly_as_the_sound() -> None:
    """Eleven seconds at 1000/1001: 5 ms from first to last window, which alone say nothing."""
    pace = 1000 / 1001
    lags_ms = [1000 * (pace - 1) * 0.8 * k for k in range(7)]
    shift = np.random.default_rng(1).normal(0, 0.1, 7)
    lags_ms = [lag + off for lag, off in zip(lags_ms, shift, strict=True)]
    rates = Fraction(24), Fraction(24000, 1001)
    assert laid(lags_ms, picture_lines(1.0, [], *rates), 0.8) == 1.0
    assert laid(lags_ms, picture_lines(1.0, heard(pace), *rates), 0.8) == pace
    # A sound that alone slips does not take them with it
    assert laid(list(shift), picture_lines(1.0, heard(pace), *rates), 0.8) == 1.0


def test_windows_that_lie_close_show_no_pace_of_the_picture() -> None:
    """As measured on 5.5 s of a clip: 1.3 % were listed, and 44 ms at its end."""
    lags_ms = [3.0, 1.0, -3.3, -3.4, -3.5, -13.3, -16.4]
    lines = picture_lines(1.0, heard(1.0), Fraction(25), Fraction(25))
    assert laid(lags_ms, lines, 0.24) == 1.0
    assert laid(lags_ms, lines, 1.0) == pytest.approx(1 - 0.0033, abs=5e-4)


def test_few_pictures_do_not_play_faster_than_their_sound() -> None:
    """As measured on the two parts of a clip around advertisements: 0.1 % was listed."""
    for lags_ms in ([0.9, -2.6, -0.7, 0.2], [-1.2, -3.3, -5.1, -3.1, -1.1]):
        lines = picture_lines(1001 / 1000, heard(1.0), Fraction(25), Fraction(25))
        assert laid(lags_ms, lines) == 1.0
    # Where they clearly do, they have a pace of their own
    assert laid([2.0 * k for k in range(14)], lines) == pytest.approx(1.001)
