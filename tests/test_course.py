"""How the offset goes through a file: drift, jump or constant from the offsets of its segments, and
the chances behind it.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from avcheck.record.report import Segment, Stretch
from avcheck.verdict.course import Course, follow, order_chance, student_chance, theil_sen

Array = np.ndarray[Any, Any]
SEEDS = range(8)


def segments(offsets_ms: list[float], confidence: float = 0.95) -> list[Segment]:
    return [Segment(10.0 * k, 10.0 * k + 10, ms, confidence) for k, ms in enumerate(offsets_ms)]


def course(offsets_ms: list[float]) -> tuple[tuple[float, ...], float | None]:
    followed = follow(segments(offsets_ms))
    assert followed is not None
    return followed.jumps_s, followed.drift_ms_per_min


def test_a_course_needs_three_segments_that_tell() -> None:
    assert follow(segments([0.0, 200.0])) is None
    assert follow([Segment(10.0 * k, 10.0 * k + 10, None, 0.1) for k in range(9)]) is None


@pytest.mark.parametrize("slope", [-60.0, -20.0, 20.0, 120.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_drift_is_found(slope: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    minutes = (np.arange(40) * 10 + 5) / 60
    jumps_s, drift = course((slope * minutes + rng.normal(0, 12, 40)).tolist())
    assert jumps_s == ()
    assert drift == pytest.approx(slope, abs=3)


def test_a_rise_that_the_order_of_all_segments_contradicts_is_no_drift() -> None:
    """Eight segments lie on a line, and two strays, far above at the start and far below at the
    end, off it.
    """
    on_the_line = [15.0 * k for k in range(8)]
    jumps_s, drift = course(on_the_line)
    assert jumps_s == ()
    assert drift == pytest.approx(90.0)
    assert course([600.0, *on_the_line, -600.0]) == ((), None)


@pytest.mark.parametrize(("segments_of_it", "drifts"), [(3, False), (4, True)])
def test_the_part_after_a_jump_needs_four_segments_to_drift(
    segments_of_it: int, drifts: bool
) -> None:
    jumps_s, drift = course([0.0] * 4 + [200.0 + 30.0 * k for k in range(segments_of_it)])
    assert jumps_s == (40.0,)
    assert drift == (pytest.approx(180.0) if drifts else None)


@pytest.mark.parametrize("jump_ms", [-400.0, 200.0])
@pytest.mark.parametrize("jump_at", [2, 10, 17])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_jump_is_found_where_it_is(jump_ms: float, jump_at: int, seed: int) -> None:
    offsets_ms = np.random.default_rng(seed).normal(0, 12, 20)
    offsets_ms[jump_at:] += jump_ms
    jumps_s, drift = course(offsets_ms.tolist())
    assert jumps_s == (10.0 * jump_at,)
    assert drift is None


@pytest.mark.parametrize(("off_ms", "drifts"), [(15.0, True), (25.0, False)])
def test_a_drift_is_three_times_what_its_segments_lie_off_it(off_ms: float, drifts: bool) -> None:
    """Of 66 ms from end to end, however certain it is that the offset rises."""
    offsets_ms = [66 / 29 * k + off_ms * (-1) ** k for k in range(30)]
    assert (course(offsets_ms)[1] is not None) == drifts


@pytest.mark.parametrize("kind", ["normal", "heavy tails"])
@pytest.mark.parametrize(("stray_ms", "share"), [(10, 0.0), (20, 0.02)])
def test_a_constant_is_not_called_drift_or_jump_under_noise(
    stray_ms: float, share: float, kind: str
) -> None:
    """No constant file whose segments stray by their usual error, and at most two in a hundred of
    those that stray by twice as much; with heavy tails, rarely by eight times as much.
    """
    for count, files in ((3, 100), (4, 100), (5, 100), (6, 100), (8, 100), (12, 50), (30, 10)):
        rng = np.random.default_rng(count + 10)
        noise_ms = stray_ms * (
            rng.normal(size=(files, count))
            if kind == "normal"
            else rng.standard_t(3, (files, count)) / 3**0.5
        )
        wrong = sum(course((-70 + row).tolist()) != ((), None) for row in noise_ms)
        print(f"{kind} noise of {stray_ms} ms, {count} segments: {wrong} of {files} change")
        assert wrong <= share * files


@pytest.mark.parametrize("seed", SEEDS)
def test_fifty_seconds_that_drift_by_a_hundred_milliseconds_are_told(seed: int) -> None:
    """Five segments, 120 ms a minute: too few for the order alone to be sure, enough for their
    residuals.
    """
    rng = np.random.default_rng(seed)
    jumps_s, drift = course((60 + 20 * np.arange(5) + rng.normal(0, 4, 5)).tolist())
    assert jumps_s == ()
    assert drift == pytest.approx(120, abs=25)


def test_the_usual_error_of_segments_helps_a_few_residuals() -> None:
    """51 s of a real clip whose sound is 0.2 % fast. By its own residuals alone the rise has a
    chance of 0.035.
    """
    jumps_s, drift = course([21.0, 57.0, 65.0, 100.0, 86.0])
    assert jumps_s == ()
    assert drift == pytest.approx(120, abs=25)


def test_thirty_seconds_are_the_least_that_can_drift() -> None:
    assert follow(segments([0.0, 80.0])) is None
    followed = follow(segments([0.0, 40.0, 80.0]))
    assert followed == Course((Stretch(0.0, 30.0, -20.0, 100.0),), 240.0)


def test_a_rise_that_its_residuals_explain_is_no_drift() -> None:
    """In perfect order, and yet the steps between the segments say that the next file may as well
    fall.
    """
    assert course([0.0, 3.0, 60.0, 63.0]) == ((), None)


def test_a_drift_reaches_the_ends_of_its_segments() -> None:
    followed = follow([Segment(100.0 + 10 * k, 110.0 + 10 * k, 10.0 * k, 0.9) for k in range(12)])
    assert followed == Course((Stretch(100.0, 220.0, -5.0, 115.0),), 60.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_outliers_do_not_bend_the_course(seed: int) -> None:
    rng = np.random.default_rng(seed)
    offsets_ms = rng.normal(20, 12, 60)
    offsets_ms[rng.choice(60, 6, replace=False)] = rng.uniform(-2000, 2000, 6)
    assert course(offsets_ms.tolist()) == ((), None)


@pytest.mark.slow
def test_follow_is_quick_on_a_long_film() -> None:
    """Two hours in pieces of 10 s; all pairs of them are never looked at one by one."""
    offsets_ms = np.random.default_rng(0).normal(0, 15, 3000)
    assert course(offsets_ms.tolist()) == ((), None)


def test_segments_that_peak_anywhere_follow_no_course() -> None:
    """What chance puts here and there in a film of voice-over is neither a jump nor a drift."""
    rng = np.random.default_rng(0)
    for count, films, most in (
        (4, 100, 6),
        (5, 100, 2),
        (6, 100, 2),
        (8, 100, 0),
        (12, 25, 0),
        (30, 3, 0),  # takes a hundred times as long as the first
    ):
        strayed = 0
        for _ in range(films):
            offsets_ms = rng.uniform(-2000, 2000, count)
            strayed += course(offsets_ms.tolist()) != ((), None)
        assert strayed <= most, count


def test_the_interval_of_a_jump_goes_from_what_agrees_with_before_to_what_agrees_with_after() -> (
    None
):
    rows = [
        Segment(0.0, 10.0, 0.0, 0.9),
        Segment(10.0, 20.0, 4.0, 0.9),
        Segment(20.0, 30.0, None, 0.1),
    ]
    rows += [
        Segment(30.0, 41.0, None, 0.1),
        Segment(41.0, 51.0, -400.0, 0.9),
        Segment(51.0, 60.0, -404.0, 0.9),
    ]
    followed = follow(rows)
    assert followed is not None
    assert followed.stretches == (Stretch(0.0, 20.0, 2.0, 2.0), Stretch(41.0, 60.0, -402.0, -402.0))
    assert followed.jump_intervals_s == ((20.0, 41.0),)
    assert followed.jumps_s == (30.5,)
    # Within the interval the offset may be either.
    assert [followed.offsets_ms(at_s) for at_s in (5.0, 20.0, 30.0, 41.0, 99.0)] == [
        (2.0,), (2.0,), (2.0, -402.0), (-402.0,), (-402.0,),
    ]  # fmt: skip


def test_away_and_back_is_three_stretches() -> None:
    followed = follow(segments([0.0] * 4 + [480.0] * 3 + [0.0] * 4))
    assert followed is not None
    assert [(each.start_s, each.end_s, each.start_offset_ms) for each in followed.stretches] == [
        (0.0, 40.0, 0.0), (40.0, 70.0, 480.0), (70.0, 110.0, 0.0),
    ]  # fmt: skip
    assert followed.jumps_s == (40.0, 70.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_level_of_a_title_made_of_several_recordings_is_found(seed: int) -> None:
    levels_ms = np.repeat([0.0, 240.0, -160.0, 120.0], [9, 4, 7, 6])
    noisy_ms = levels_ms + np.random.default_rng(seed).normal(0, 12, len(levels_ms))
    followed = follow(segments(noisy_ms.tolist()))
    assert followed is not None
    assert [(each.start_s, each.end_s) for each in followed.stretches] == [
        (0.0, 90.0), (90.0, 130.0), (130.0, 200.0), (200.0, 260.0),
    ]  # fmt: skip
    offsets_ms = [each.start_offset_ms for each in followed.stretches]
    assert offsets_ms == pytest.approx([0.0, 240.0, -160.0, 120.0], abs=20)
    assert followed.drift_ms_per_min is None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_drift_that_starts_anew_with_every_reel(seed: int) -> None:
    """Three reels of 200 s, each from 0 to 400 ms."""
    one_ms = 20.0 * np.arange(20)
    noisy_ms = np.tile(one_ms, 3) + np.random.default_rng(seed).normal(0, 12, 60)
    followed = follow(segments(noisy_ms.tolist()))
    assert followed is not None
    assert followed.jumps_s == (200.0, 400.0)
    assert followed.drift_ms_per_min == pytest.approx(120.0, abs=8)
    for stretch in followed.stretches:
        assert stretch.start_offset_ms == pytest.approx(-10.0, abs=25)
        assert stretch.end_offset_ms == pytest.approx(390.0, abs=25)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_level_and_then_a_drift_from_another(seed: int) -> None:
    offsets_ms = np.concatenate([np.full(15, -60.0), 200 + 15.0 * np.arange(15)])
    offsets_ms += np.random.default_rng(seed).normal(0, 10, 30)
    followed = follow(segments(offsets_ms.tolist()))
    assert followed is not None
    assert followed.jumps_s == (150.0,)
    level, drift = followed.stretches
    assert level.start_offset_ms == level.end_offset_ms == pytest.approx(-60.0, abs=12)
    assert drift.end_offset_ms - drift.start_offset_ms == pytest.approx(225.0, abs=40)


def test_one_drift_over_the_whole_title_is_never_cut() -> None:
    rng = np.random.default_rng(0)
    for count, titles in ((20, 20), (60, 5), (200, 1)):  # the longest takes a second
        for _ in range(titles):
            slope_ms = rng.uniform(-40, 40)
            course_ms = slope_ms * np.arange(count) + rng.normal(0, 15, count)
            course_ms[rng.choice(count, count // 15, replace=False)] = rng.uniform(-2000, 2000)
            assert course(course_ms.tolist())[0] == ()


def test_without_finely_there_is_one_jump_at_most() -> None:
    rows = segments(np.repeat([0.0, 400.0, 250.0], 6).tolist())
    coarse, fine = follow(rows, finely=False), follow(rows)
    assert coarse is not None and fine is not None
    assert [each.start_s for each in coarse.stretches] == [0.0, 60.0]
    assert [each.start_s for each in fine.stretches] == [0.0, 60.0, 120.0]


# The chances, against counting and simulation


def balance_of(values: tuple[float, ...]) -> int:
    return sum((b > a) - (b < a) for a, b in itertools.combinations(values, 2))


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7])
def test_the_chance_of_an_order_is_what_counting_every_order_gives(count: int) -> None:
    orders = np.array(list(itertools.permutations(range(count))))
    earlier, later = np.triu_indices(count, 1)
    balances = np.abs(np.sign(orders[:, later] - orders[:, earlier]).sum(axis=1))
    for k in range(0, len(orders), 1 + len(orders) // 60):
        expected = np.mean(balances >= balances[k])
        assert order_chance(orders[k].astype(float)) == pytest.approx(expected, abs=1e-12)


def test_the_chance_of_a_perfect_order_is_one_in_half_of_all() -> None:
    for count in (3, 5, 8):
        assert order_chance(np.arange(count, dtype=float)) == pytest.approx(
            2 / math.factorial(count)
        )
        assert order_chance(-np.arange(count, dtype=float)) == pytest.approx(
            2 / math.factorial(count)
        )
    assert order_chance(np.ones(6)) == 1.0


def test_many_segments_go_by_the_normal_approximation_without_a_step() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        values = rng.normal(0.02 * np.arange(30), 1.0)
        exact = order_chance(values)
        deviation = math.sqrt(30 * 29 * 65 / 18)
        approximate = math.erfc(
            (abs(balance_of(tuple(values.tolist()))) - 1) / deviation / math.sqrt(2)
        )
        assert exact == pytest.approx(approximate, abs=0.003)
    assert order_chance(np.arange(31.0)) < 1e-10


@pytest.mark.parametrize(
    ("degrees", "t"),
    [
        (1, 63.657),
        (2, 9.925),
        (3, 5.841),
        (4, 4.604),
        (5, 4.032),
        (10, 3.169),
        (29, 2.756),
        (1000, 2.581),
    ],
)
def test_students_t_has_its_tabled_values(degrees: int, t: float) -> None:
    """Two-sided 1 % points as every table of the distribution has them."""
    assert student_chance(t, degrees) == pytest.approx(0.01, rel=2e-3)
    assert student_chance(-t, degrees) == student_chance(t, degrees)
    assert student_chance(0.0, degrees) == 1.0


@pytest.mark.parametrize("degrees", [2, 3, 8])
def test_students_t_is_what_drawing_it_gives(degrees: int) -> None:
    drawn = np.abs(np.random.default_rng(degrees).standard_t(degrees, 200_000))
    for t in (0.5, 1.5, 4.0):
        assert student_chance(t, degrees) == pytest.approx(float((drawn >= t).mean()), abs=0.005)


@pytest.mark.parametrize("seed", SEEDS)
def test_theil_sen_is_the_median_of_every_slope(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.uniform(0, 100, 9)), rng.normal(0, 10, 9)
    slopes = sorted((y[k] - y[j]) / (x[k] - x[j]) for j, k in itertools.combinations(range(9), 2))
    slope, middle = theil_sen(x, y)
    assert slope == pytest.approx((slopes[17] + slopes[18]) / 2)
    left = y - middle - slope * (x - np.median(x))
    assert (left > 1e-9).sum() == (left < -1e-9).sum() == 4
