"""A closer look: at what, at how much of a file, and that it finds a small face and no match for a
stranger's sound.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avcheck.eval.small import Layer, Setting, share_beyond, shrunk, side_by_side, there_and_back
from avcheck.network.model import SyncNet
from avcheck.network.trunks import PLACE_PX
from avcheck.network.weights import Loaded
from avcheck.record.report import DEFAULT_PRESET, PRESETS
from avcheck.scan.closeup import MOST_ROUNDS, ZOOM_SEGMENTS, Closer, Zoomed, likeliest, zoom
from avcheck.scan.looking import look, look_in_parts, places_in
from avcheck.scan.searching import REACH, WINDOW, CloserLook, best_window, windows
from avcheck.verdict.judge import judge
from avcheck.verdict.posterior import Curve
from tests.support.curves import PLAIN, curve, film
from tests.support.networks import TINY
from tests.support.shaken import filmed, unsteady

torch.set_num_threads(1)


EBU = PRESETS[DEFAULT_PRESET]
GRID = places_in(528, (20, 30), (20 * PLACE_PX, 30 * PLACE_PX))


@pytest.mark.parametrize(
    ("row", "column", "rows", "columns"),
    [(10, 12, 7, 7), (0, 0, 4, 4), (19, 29, 4, 4), (1, 29, 5, 4)],
)
def test_the_window_lies_around_the_strongest_place_within_the_picture(
    row: int, column: int, rows: int, columns: int
) -> None:
    strength = np.random.default_rng(0).uniform(0, 0.1, len(GRID))
    strength[row * 30 + column] = 1.0
    places = [(GRID[k].row, GRID[k].column) for k in best_window(strength, GRID)]
    assert len(places) == rows * columns
    assert all(abs(y - row) <= REACH and abs(x - column) <= REACH for y, x in places)


def test_windows_lie_around_the_strongest_places_and_within_the_picture() -> None:
    strength = np.zeros(len(GRID))
    # The second lies in the window of the first
    strength[10 * 30 + 12], strength[10 * 30 + 13], strength[29] = (
        1.0,
        0.9,
        0.8,
    )
    size = (20 * PLACE_PX, 30 * PLACE_PX)
    side = WINDOW * PLACE_PX
    placed = windows(strength, GRID, size, 2)
    assert [window[2:] for window in placed] == [(side, side)] * 2
    assert all(top % PLACE_PX == left % PLACE_PX == 0 for top, left, *_ in placed)
    assert all(
        abs(top + side / 2 - y * PLACE_PX) <= PLACE_PX
        for (top, *_), y in zip(placed[:1], (10,), strict=True)
    )
    assert placed[1][:2] == (0, size[1] - side)  # the corner
    assert len(windows(strength, GRID, size, 1)) == 1
    # A picture no larger than a window
    assert windows(strength, GRID, (100, 100), 9)[0] == (
        0,
        0,
        100,
        100,
    )


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 100])
def test_what_is_looked_at_is_spread_over_the_file(count: int) -> None:
    chosen = likeliest(range(count), film([None] * count), [0.1] * count)
    assert len(chosen) == len(set(chosen)) == min(count, ZOOM_SEGMENTS)
    if count == 100:
        assert [k // 33 for k in sorted(chosen)] == [0, 1, 2]


def test_the_segments_that_sound_and_move_are_looked_at_and_the_one_that_showed_most_first() -> (
    None
):
    curves = film([None] * 9)
    useful = {2, 4, 8}
    for k in set(range(9)) - useful:
        curves[k] = replace(
            curves[k], level_db=np.where(np.arange(10) < 5, -90.0, curves[k].level_db)
        )
    assert likeliest(range(9), curves, [0.1, 0.9, 0.2, 0.1, 0.4, 0.1, 0.1, 0.1, 0.3]) == [4, 8, 2]


COST = 250 * 180  # places times pictures, of one segment


def closer_by(
    offsets: dict[int, float],
    looked: list[int],
    spent: float = COST,
    cut: bool = False,
    asked: list[bool] | None = None,
) -> Closer:
    """Looks closer at segments of 10 s for `spent`, if the budget allows: those of `offsets` show
    one then (frames late). `asked` gets, for each, whether faces alone were asked for.
    """

    def closer(item: Curve, budget: float, faces_alone: bool) -> CloserLook:
        if asked is not None:
            asked.append(faces_alone)
        if budget < spent:
            return CloserLook(item, cut=True)
        number = round(item.start_s / 10)
        looked.append(number)
        return CloserLook(
            curve(offsets[number], start_s=item.start_s) if number in offsets else item, spent, cut
        )

    return closer


def at_a_cost(curves: list[Curve]) -> list[Curve]:
    """The same, each looked at for `COST`."""
    return [replace(item, looked=COST) for item in curves]


@pytest.mark.parametrize(
    "curves",
    [
        film([0.0] * 6),
        film([200.0] * 6),
        film([None] * 6, level_db=-90.0),
        film([None] * 6, motion=0.1),
    ],
    ids=["in sync", "out of sync", "silent", "still"],
)
def test_what_is_decided_or_shows_nothing_to_look_at_is_not_looked_at_closer(
    curves: list[Curve],
) -> None:
    looked: list[int] = []
    judgement = judge(curves, EBU, PLAIN)
    assert zoom(curves, judgement, closer_by({}, looked), EBU, PLAIN) == Zoomed(curves, judgement)
    assert not looked


@pytest.mark.slow
def test_of_a_file_that_shows_nothing_one_segment_is_searched_and_a_few_for_faces() -> None:
    looked: list[int] = []
    asked: list[bool] = []
    curves = at_a_cost(film([None] * 60, noise=0.1))
    calibration = replace(PLAIN, none=6.0)
    judgement = judge(curves, EBU, calibration)
    assert judgement.verdict == "undecidable"
    after = zoom(curves, judgement, closer_by({}, looked, asked=asked), EBU, calibration)
    assert sorted(k // 20 for k in looked[:ZOOM_SEGMENTS]) == [0, 1, 2]
    assert len(looked) == len(set(looked)) == MOST_ROUNDS * ZOOM_SEGMENTS
    assert asked == [False] + [True] * (MOST_ROUNDS * ZOOM_SEGMENTS - 1)
    assert (after.judgement.verdict, after.cut) == ("undecidable", False)


@pytest.mark.slow
@pytest.mark.parametrize(("thorough", "times"), [(False, 2), (True, MOST_ROUNDS * ZOOM_SEGMENTS)])
def test_a_closer_look_costs_no_more_than_the_first(thorough: bool, times: int) -> None:
    looked: list[int] = []
    curves = at_a_cost(film([None] * 20, noise=0.1))
    calibration = replace(PLAIN, none=6.0)
    asked: list[bool] = []
    closer = closer_by({}, looked, spent=8 * COST, asked=asked)
    after = zoom(
        curves, judge(curves, EBU, calibration), closer, EBU, calibration, thorough=thorough
    )
    assert len(looked) == times
    assert any(asked) == (not thorough)
    assert after.cut == (not thorough)


@pytest.mark.parametrize(("segments", "times"), [(1, 1), (2, 1), (4, 2), (6, 3)])
def test_three_fifths_of_the_seconds_are_decoded_again_at_most(segments: int, times: int) -> None:
    looked: list[int] = []
    curves = at_a_cost(film([None] * segments, noise=0.1))
    calibration = replace(PLAIN, none=6.0)
    after = zoom(
        curves, judge(curves, EBU, calibration), closer_by({}, looked, spent=1), EBU, calibration
    )
    assert len(looked) == times
    assert after.cut == (times < segments)


def test_what_was_cut_is_not_told_of_a_file_that_is_decided() -> None:
    curves = at_a_cost(film([None] * 20, noise=0.1))
    calibration = replace(PLAIN, none=6.0)
    closer = closer_by(dict.fromkeys(range(20), 5.0), [], cut=True)
    after = zoom(curves, judge(curves, EBU, calibration), closer, EBU, calibration)
    assert (after.judgement.verdict, after.cut) == ("out_of_sync", False)


def test_a_few_segments_looked_at_closer_decide_a_film() -> None:
    looked: list[int] = []
    curves = at_a_cost(film([None] * 20, noise=0.1))
    calibration = replace(PLAIN, none=5.5)
    closer = closer_by(dict.fromkeys(range(20), 5.0), looked)
    zoomed = zoom(curves, judge(curves, EBU, calibration), closer, EBU, calibration)
    curves_after, after = zoomed.curves, zoomed.judgement
    assert after.verdict == "out_of_sync"
    assert after.offset_ms == pytest.approx(-200, abs=5)
    assert len(looked) == ZOOM_SEGMENTS
    assert len(curves_after) == len(after.segments) == 20
    assert [part.offset_ms is not None for part in after.segments] == [
        k in looked for k in range(20)
    ]


@pytest.mark.parametrize(
    "number", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, ZOOM_SEGMENTS - 1))]
)
def test_once_one_shows_an_offset_the_next_are_searched_as_well(number: int) -> None:
    looked: list[int] = []
    asked: list[bool] = []
    curves = at_a_cost(film([None] * 30, noise=0.1))
    calibration = replace(PLAIN, none=6.0, decide=1.0)  # never decided
    judgement = judge(curves, EBU, calibration)
    first = likeliest(range(30), curves, [part.confidence for part in judgement.segments])
    zoom(curves, judgement, closer_by({first[number]: 5.0}, looked, asked=asked), EBU, calibration)
    assert len(looked) == len(set(looked)) == MOST_ROUNDS * ZOOM_SEGMENTS
    further = MOST_ROUNDS * ZOOM_SEGMENTS - 1 - number
    assert asked == [False] + [True] * number + [False] * further


@pytest.mark.parametrize("far", [0.0, 0.3, 1.0])
def test_a_long_look_in_parts_is_the_look_at_once(far: float) -> None:
    torch.manual_seed(0)
    model = Loaded(
        SyncNet(TINY).eval().requires_grad_(False), "", torch.device("cpu"), False, {}, {}
    )
    pictures = filmed(far * unsteady(70), (48, 64))
    shown = np.ones(70, np.bool_)
    once, parts = (
        look(pictures, shown, 1.5, model, (48,)),
        look_in_parts(pictures, shown, 1.5, model, (48,), chunk=20),
    )
    assert torch.allclose(once.picture, parts.picture, atol=1e-5)
    assert (once.grid, once.start_s) == (parts.grid, parts.start_s)
    # What shakes much is seen twice at each place.
    assert once.picture.shape[2] == len(once.grid) == (2 if far == 1.0 else 1) * 3 * 4


def test_a_clip_takes_the_same_share_of_a_larger_picture_at_every_size() -> None:
    inner, ground = np.full((30, 60, 40), 250, np.uint8), np.full((30, 40, 50), 10, np.uint8)
    setting = shrunk(inner, ground, 4, np.random.default_rng(2))
    boxes = []
    for side in (160, 480):
        pictures = setting.pictures(side)
        assert pictures.shape == (30, side, round(side * 16 / 9))
        rows, columns = np.nonzero(pictures[7] > 200)
        boxes.append(
            np.array([rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1]) / side
        )
    assert boxes[0] == pytest.approx(boxes[1], abs=0.02)
    # The short side is a quarter of the picture's height
    assert boxes[1][2:] == pytest.approx([1.5 / 4, 1 / 4], abs=0.01)


@pytest.mark.parametrize(("height", "width"), [(234, 108), (100, 400)])
def test_a_clip_too_tall_or_wide_for_its_factor_is_smaller(height: int, width: int) -> None:
    """As a phone held upright records, at half of its size alone."""
    inner = np.full((2, height, width), 250, np.uint8)
    setting = shrunk(inner, np.zeros((2, 40, 50), np.uint8), 2, np.random.default_rng(2))
    _, rows, columns = np.nonzero(setting.pictures(180) > 200)
    shape = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert max(shape[0] / 180, shape[1] / 320) == 1
    assert shape[0] / shape[1] == pytest.approx(height / width, rel=0.02)


def test_what_fills_its_place_keeps_its_shape() -> None:
    stripes = np.zeros((2, 40, 80), np.uint8)
    stripes[:, :, 20:60] = 200  # a square in the middle
    (picture, _) = Setting(
        (Layer(stripes, (0.0, 0.0), (1.0, 1.0), fill=True),), aspect=1.0
    ).pictures(100)
    assert (picture > 150).all()


def test_two_side_by_side_are_of_one_height_and_meet_where_it_says() -> None:
    left, right = np.full((3, 40, 20), 60, np.uint8), np.full((3, 80, 120), 180, np.uint8)
    setting, meet = side_by_side(left, right)
    picture = setting.pictures(120)[0]
    assert picture.shape == (120, 240)
    assert meet == pytest.approx(0.25)
    assert (picture[:, :58] == 60).all()
    assert (picture[:, 62:] == 180).all()


@pytest.mark.parametrize(("have", "want"), [(4, 11), (1, 3), (9, 5)])
def test_there_and_back_never_jumps(have: int, want: int) -> None:
    numbers = np.arange(have)[:, None, None].astype(np.uint8)
    played = there_and_back(numbers, want)[:, 0, 0].astype(int)
    assert len(played) == want
    assert np.abs(np.diff(played)).max() <= 1
    assert played[: min(have, want)].tolist() == list(range(min(have, want)))


def test_attention_is_told_by_halves() -> None:
    item = curve(0.0)
    left, middle, _, right = places_in(176, (1, 4), (16, 64))
    places = np.stack([item.attention * share for share in (0.1, 0.2, 0.7)], axis=2)
    placed = replace(item, places=places, grid=(left, middle, right))
    assert share_beyond(placed, 0.5, 50) == pytest.approx(0.7)
    assert share_beyond(placed, 0.2, 50) == pytest.approx(0.9)
