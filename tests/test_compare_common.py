"""What two versions have in common where not all is the same: a bed under other voices, and a part
of the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from avcheck.compare.align import Edges, Piece
from avcheck.compare.bed import _elected, _Vote, common_bed
from avcheck.compare.comparison import sight
from avcheck.compare.features import Recording
from avcheck.compare.find import RATE_HZ, WINDOW_S, Features, WindowMatch, likeness, matches
from avcheck.compare.pictures import StoredPictures, View, keep, views
from avcheck.media import Picture, Sound
from avcheck.rates import SAMPLE_RATE
from tests.support.scenery import scenery

Array = np.ndarray[Any, Any]
SECONDS = 32.0
SHOWN = (Piece(0.0, SECONDS, 0.0, 1.0),)  # the picture is the same throughout


def steps(seed: int, seconds: float = SECONDS) -> Array:
    """Sound that comes and goes: noise below 4 kHz in bursts, float32 at 16 kHz."""
    rng = np.random.default_rng(seed)
    noise = np.repeat(rng.normal(size=round(seconds * SAMPLE_RATE / 2)), 2)
    burst = np.repeat(rng.random(round(seconds * 8)) < 0.6, SAMPLE_RATE // 8)
    return np.asarray(0.2 * noise[: len(burst)] * burst, np.float32)


def recorded(samples: Array, start_s: float = 0.0) -> Recording:
    recording = Recording()
    recording.add(Sound(start_s, np.asarray(samples, np.float32)))
    return recording


def late(samples: Array, count: int) -> Array:
    return np.concatenate([np.zeros(count, np.float32), samples[: len(samples) - count]])


@pytest.mark.parametrize("late_ms", [0, 5, 150, 2000])
def test_a_dub_is_aligned_by_the_bed_it_shares(late_ms: int) -> None:
    bed, original, dub = 0.3 * steps(1), steps(2), steps(3)
    count = late_ms * SAMPLE_RATE // 1000
    (piece,) = common_bed(recorded(original + bed), recorded(late(dub + bed, count)), SHOWN)
    assert piece.reference_s(16.0) == pytest.approx(16.0 - late_ms / 1000, abs=0.0003)
    assert piece.pace == 1.0
    assert piece.end_s - piece.start_s > 0.9 * SECONDS - late_ms / 1000


def test_a_bed_whose_polarity_was_turned_is_the_same() -> None:
    bed = 0.3 * steps(1)
    (piece,) = common_bed(recorded(steps(2) + bed), recorded(steps(3) - bed), SHOWN)
    assert piece.reference_s(16.0) == pytest.approx(16.0, abs=0.0003)


def test_a_piece_cut_out_of_the_bed_is_a_jump() -> None:
    bed = 0.4 * steps(1, 2 * SECONDS)
    whole, half = round(2 * SECONDS * SAMPLE_RATE), round(SECONDS * SAMPLE_RATE)
    shorter = np.concatenate([bed[:half], bed[half + SAMPLE_RATE // 5 :]])
    first, second = common_bed(
        recorded(steps(2, 2 * SECONDS) + bed),
        recorded(steps(3, 2 * SECONDS)[: len(shorter)] + shorter),
        (Piece(0.0, whole / SAMPLE_RATE, 0.0, 1.0),),
    )
    assert first.reference_s(10.0) == pytest.approx(10.0, abs=0.0003)
    assert second.reference_s(50.0) == pytest.approx(50.2, abs=0.0003)
    assert first.end_s == pytest.approx(SECONDS, abs=4)


def test_another_performance_has_no_bed_in_common() -> None:
    assert common_bed(recorded(steps(2) + steps(1)), recorded(steps(3) + steps(4)), SHOWN) == ()


def test_a_loop_fits_at_several_places_and_so_at_none() -> None:
    loop = np.tile(0.4 * steps(1, 1.0), round(SECONDS))
    assert common_bed(recorded(steps(2) + loop), recorded(steps(3) + loop), SHOWN) == ()


@pytest.mark.parametrize(("agreeing", "is_elected"), [(2, False), (3, True)])
def test_half_of_the_windows_that_could_agree_have_to(agreeing: int, is_elected: bool) -> None:
    """Of six that share no sound with the first, so many name the same offset."""
    votes = [
        _Vote(file_s, (file_s + 1.0 if k <= agreeing else file_s + 0.1 * k,), (5.0,))
        for k, file_s in enumerate((0.0, 8.0, 11.0, 14.0, 17.0, 20.0, 23.0))
    ]
    elected = _elected(votes[0], votes, 1.0)
    assert elected == (WindowMatch(0.0, 1.0, agreeing / 6) if is_elected else None)


def test_silence_has_no_bed() -> None:
    silence = recorded(np.zeros(round(SECONDS * SAMPLE_RATE)))
    assert common_bed(silence, recorded(steps(3)), SHOWN) == ()
    assert common_bed(recorded(steps(3)), silence, SHOWN) == ()


def whole(luma: Array) -> Array:
    return luma


@cache
def shown(fps: float = 25, look: Callable[[Array], Array] = whole) -> StoredPictures:
    times = np.arange(round(12 * fps)) / fps
    return keep(
        Picture(float(time_s), np.ascontiguousarray(look(fine(float(time_s))))) for time_s in times
    )


@cache
def fine(time_s: float) -> Array:
    """A picture of 48 lines with detail that a crop does not leave in the same cells."""
    across = 2 * np.pi * (_RATES_HZ * time_s + _ACROSS * np.linspace(0, 1, 80))
    down = 2 * np.pi * _DOWN * np.linspace(0, 1, 48)
    waves = np.cos(down).T @ np.sin(across) + np.sin(down).T @ np.cos(across)  # sine of the sum
    return np.asarray(np.clip(125 + 25 * waves, 20, 230), np.uint8)


_WAVES = np.random.default_rng(7).uniform((0.2, 0.5, 0.5), (2.3, 2.5, 2.5), (9, 3))
_RATES_HZ, _ACROSS, _DOWN = (column[:, None] for column in _WAVES.T)


@pytest.mark.parametrize(
    ("look", "parts"),
    [
        (whole, (View(), View())),
        (lambda luma: luma[:, ::-1], (View(), View(mirrored=True))),
        (lambda luma: luma[:, 10:70], (View(wide=0.125), View())),
        (lambda luma: luma[6:42], (View(high=0.125), View())),
        (lambda luma: luma[:, 70:10:-1], (View(wide=0.125), View(mirrored=True))),
        (lambda luma: luma[5:43, 8:72], (View(high=0.1, wide=0.1), View())),
        (lambda luma: luma[7:41, 12:68], (View(high=0.15, wide=0.15), View())),
    ],
    ids=[
        "whole",
        "mirrored",
        "sides cut off",
        "top and bottom cut off",
        "both",
        "enlarged, four fifths shown",
        "enlarged, seven tenths shown",
    ],
)
def test_the_part_that_both_show_is_found(
    look: Callable[[Array], Array], parts: tuple[View, View]
) -> None:
    sighted = sight(shown(), shown(look=look), 1.0)
    for view, wanted in zip(sighted.views, parts, strict=True):
        assert view.mirrored == wanted.mirrored
        assert (view.high, view.wide) == pytest.approx((wanted.high, wanted.wide), abs=0.02)
    assert likeness(sighted.reference, sighted.file, 1.0)[0] > 0.9


@pytest.mark.parametrize("cut", [0, 10])
def test_a_search_that_ends_early_gives_up_no_better_likeness(cut: int) -> None:
    reference, file = shown().track(), shown(look=lambda luma: luma[:, cut : 80 - cut]).track()
    score, matched = likeness(reference, file, 1.0)
    assert likeness(reference, file, 1.0, score - 0.01) == (score, matched)
    assert likeness(reference, file, 1.0, score)[0] <= score
    assert likeness(reference, file, 1.0, 1.0) == (0.0, 0.0)  # not one window is searched for


def test_a_picture_may_be_a_part_of_the_other_by_three_steps() -> None:
    cuts = [(ours, theirs) for ours, theirs in views(1.5, 1.5) if not theirs.mirrored]
    cut = {round(2 * max(ours.high, theirs.high), 3) for ours, theirs in cuts}
    assert cut == {0, 0.1, 0.2, 0.3}


@pytest.mark.slow
def test_pictures_of_something_else_have_no_part_in_common() -> None:
    other = keep(Picture(k / 25, np.asarray(scenery(500 + 1.3 * k / 25))) for k in range(350))
    sighted = sight(shown(), other, 1.0)
    assert likeness(sighted.reference, sighted.file, 1.0)[0] < 0.3


def test_a_view_that_is_too_small_to_be_divided_is_left_out() -> None:
    """Where little of a tall picture moves, its part with the aspect of a wide one is narrower than
    the ten cells of a row, and some of these would be empty.
    """

    def slit(luma: Array) -> Array:
        out = np.full_like(luma, 90)
        out[:, 38:50] = luma[:, 38:50]
        return out

    narrow, other = shown(look=slit), shown(look=whole)
    assert narrow.holds(View(moving=True)) and not narrow.holds(View(wide=0.2, moving=True))
    with np.errstate(all="raise"):
        sighted = sight(other, narrow, 1.0)
    for track in (sighted.reference, sighted.file):
        assert np.isfinite(track.rows).all()


def places_s(reference: Features, file: Features) -> float:
    """By how much the file's pictures lie later than the reference's, in seconds."""
    matched, pace = matches(reference, file)
    assert pace == 1.0
    return -float(np.median([match.reference_s - match.file_s for match in matched]))


@pytest.mark.parametrize("fps", [24, 30, 50, 60])
def test_pictures_of_any_rate_lie_where_they_are_due(fps: float) -> None:
    assert places_s(shown().track(), shown(fps).track()) == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize("times", [2, 3])
def test_pictures_shown_several_times_lie_where_they_were(times: int) -> None:
    repeated = keep(
        Picture(k / 25 / times, np.ascontiguousarray(fine(k // times / 25)))
        for k in range(350 * times)
    )
    assert places_s(shown().track(), repeated.track()) == pytest.approx(0, abs=0.002)


def test_a_piece_that_agrees_throughout_leaves_the_next_no_row() -> None:
    rows = np.random.default_rng(3).normal(size=(round(60 * RATE_HZ), 8)).astype(np.float32)
    whole, chance = Piece(0.0, 32.0, 0.0, 1.0), Piece(30.0, 60.0, 7.0, 1.0)
    end_s, start_s = Edges(Features(0.0, rows), Features(0.0, rows)).between(whole, chance)
    assert end_s == start_s == pytest.approx(30.0 + WINDOW_S / 2, abs=1e-6)


@pytest.mark.parametrize("mute_s", [(5.0, 0.0), (0.0, 5.0)])
def test_a_piece_does_not_reach_beyond_the_reference(mute_s: tuple[float, float]) -> None:
    """Silence or black before or after a title says nothing, and is not what the title plays."""
    rows = np.random.default_rng(3).normal(size=(round(60 * RATE_HZ), 8)).astype(np.float32)
    before, after = (np.zeros((round(RATE_HZ * each), 8), np.float32) for each in mute_s)
    edges = Edges(Features(0.0, rows), Features(0.0, np.concatenate([before, rows, after])))
    piece = Piece(mute_s[0] + 4.0, mute_s[0] + 56.0, 4.0, 1.0)
    assert edges.start_s(piece) == pytest.approx(mute_s[0])
    assert edges.end_s(piece) == pytest.approx(mute_s[0] + 60.0)
