"""Where the offset of a file jumps: between any two blocks, also within a segment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avcheck.record.report import Stretch
from avcheck.verdict.course import Course
from avcheck.verdict.jumps import likeliest_jump, narrowed
from avcheck.verdict.posterior import Curve, block_ratios, evidence, match_ratio
from avcheck.verdict.sure_course import likeliest_change
from tests.support.curves import PLAIN, SEEDS, bump, curve, verdict

HEIGHT = 60.0


def film(*offsets_ms: float | None, segment_s: int = 10, seed: int = 0) -> list[Curve]:
    """Sound that is early by so much in each second, in segments of some seconds."""
    return [
        seconds(offsets_ms[first : first + segment_s], first, seed)
        for first in range(0, len(offsets_ms), segment_s)
    ]


def seconds(offsets_ms: tuple[float | None, ...], first: int, seed: int) -> Curve:
    rng = np.random.default_rng((seed, first))
    flat = curve(None, start_s=float(first), blocks=len(offsets_ms))
    rows = [flat.score if ms is None else bump(-ms / 40, HEIGHT) for ms in offsets_ms]
    scores = np.stack(rows) + rng.normal(0.0, 0.7, (len(rows), len(flat.shifts)))
    return replace(
        flat,
        score=scores.mean(axis=0).astype(np.float32),
        block_score=scores.astype(np.float32),
        attention=np.full_like(flat.attention, 1 / len(rows)),
    )


def placed(course: Course, curves: list[Curve], seams_s: tuple[float, ...] = ()) -> Course:
    return narrowed(course, curves, seams_s, PLAIN)


def jump(at_s: float, end_s: float = 60.0, after_ms: float = 400.0) -> Course:
    return Course((Stretch(0, at_s, 0, 0), Stretch(at_s, end_s, after_ms, after_ms)))


def test_the_blocks_of_a_segment_add_up_to_what_it_says() -> None:
    (item,) = film(*[0.0] * 6, *[400.0] * 4)
    ratios = block_ratios(item, PLAIN)
    assert ratios.sum(axis=0) == pytest.approx(match_ratio(evidence(item, PLAIN), PLAIN), abs=1e-6)
    old, new = (int(np.flatnonzero(item.shifts == frames)[0]) for frames in (0, -10))
    assert (ratios[:6, old] > ratios[:6, new]).all()
    assert (ratios[6:, old] < ratios[6:, new]).all()


def test_a_shift_that_was_not_compared_says_nothing() -> None:
    (item,) = film(*[0.0] * 10)
    score = np.where(item.shifts > 20, -np.inf, item.score)
    assert (block_ratios(replace(item, score=score), PLAIN)[:, item.shifts > 20] == 0).all()


@pytest.mark.parametrize("at", [5, 10])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_jump_within_the_only_segment_is_reported(at: int, seed: int) -> None:
    judgement = verdict(film(*[0.0] * at, *[400.0] * (14 - at), segment_s=14, seed=seed))
    assert judgement.verdict == "out_of_sync"
    ((start_s, end_s),) = judgement.jump_intervals_s
    assert start_s <= at <= end_s
    assert end_s - start_s <= 8
    assert [each.start_offset_ms for each in judgement.stretches] == pytest.approx([0, 400], abs=15)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_jump_without_one(seed: int) -> None:
    steady = film(*[0.0] * 30, seed=seed)
    mute = film(*[None] * 30, seed=seed)
    some = film(*[0.0] * 10, *[None] * 10, *[0.0] * 10, seed=seed)
    for curves in (steady, mute, some):
        assert verdict(curves).jumps_s == ()
        change = likeliest_change(curves, PLAIN)
        assert change is None or change[1] < 0.2


def test_one_block_cannot_jump() -> None:
    assert likeliest_jump(film(0.0), PLAIN) is None


@pytest.mark.parametrize("at", [13, 17, 20, 24, 27])
def test_a_jump_is_placed_by_blocks_in_the_segments_on_either_side(at: int) -> None:
    """Wherever the segments say that it is: one of them shows what most of it has."""
    ((start_s, end_s),) = placed(
        jump(20.0), film(*[0.0] * at, *[400.0] * (60 - at))
    ).jump_intervals_s
    assert start_s <= at <= end_s
    assert end_s - start_s <= 8


def test_where_nothing_matches_a_jump_lies_anywhere() -> None:
    curves = film(*[0.0] * 20, *[None] * 20, *[400.0] * 20)
    apart = Course((Stretch(0, 20, 0, 0), Stretch(40, 60, 400, 400)))
    ((start_s, end_s),) = placed(apart, curves).jump_intervals_s
    assert 16 < start_s < 24
    assert 36 < end_s < 44


def test_a_jump_may_lie_anywhere_in_what_was_not_looked_at() -> None:
    first, *_, last = film(*[0.0] * 20, *[None] * 20, *[400.0] * 20, segment_s=20)
    apart = Course((Stretch(0, 20, 0, 0), Stretch(40, 60, 400, 400)))
    ((start_s, end_s),) = placed(apart, [first, last]).jump_intervals_s
    assert 16 < start_s < 20
    assert 40 < end_s < 44
    change = likeliest_change([first, last], PLAIN)
    assert change is not None
    assert change[0].jumps_s == (40.0,)


def test_a_jump_at_a_seam_stays_there() -> None:
    curves = film(*[0.0] * 18, *[400.0] * 42)
    assert placed(jump(20.0), curves, (20.0,)) == jump(20.0)
    assert placed(jump(20.0), curves, (30.0,)) != jump(20.0)


def test_two_jumps_around_a_segment_do_not_cross() -> None:
    course = Course((Stretch(0, 20, 0, 0), Stretch(20, 30, 400, 400), Stretch(30, 60, 0, 0)))
    for curves in (
        film(*[0.0] * 21, *[400.0] * 8, *[0.0] * 31),
        film(*[None] * 60),
    ):
        stretches = placed(course, curves).stretches
        times_s = [at_s for each in stretches for at_s in (each.start_s, each.end_s)]
        assert times_s == sorted(times_s)
    (first, second) = placed(course, film(*[0.0] * 21, *[400.0] * 8, *[0.0] * 31)).jump_intervals_s
    assert first[0] <= 21 <= first[1]
    assert second[0] <= 29 <= second[1]


def test_the_ends_of_a_drift_stay_on_its_line() -> None:
    course = Course((Stretch(0, 20, 0, 0), Stretch(20, 60, 400, 600)), 300.0)
    before, after = placed(course, film(*[0.0] * 20, *[402.5 + 5 * k for k in range(40)])).stretches
    assert before.end_s <= 20 <= after.start_s
    assert after.start_offset_ms == pytest.approx(400 + 5 * (after.start_s - 20), abs=0.1)
    assert after.end_offset_ms == 600
