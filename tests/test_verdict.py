"""Curves to a verdict: planted offsets come out with their sign, what shows nothing is never
guessed at.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from avcheck.posterior import (
    UNMATCHED_ODDS,
    Calibration,
    Curve,
    combine,
    estimate,
    evidence,
    match_ratio,
    posterior,
)
from avcheck.report import DEFAULT_PRESET, FRAME_MS, PRESETS, Tolerance, describe_offset
from avcheck.verdict import Judgement, judge, without_unseen
from tests.support.curves import PLAIN, SHIFTS, Array, bump, curve, film

EBU = PRESETS[DEFAULT_PRESET]
SEEDS = range(8)


def verdict(
    curves: list[Curve], tolerance: Tolerance = EBU, calibration: Calibration = PLAIN
) -> Judgement:
    return judge(curves, tolerance, calibration)


# Chances


@pytest.mark.parametrize("seed", SEEDS)
def test_posterior_sums_to_one_whatever_the_scores(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 10 ** rng.uniform(-1, 4), len(SHIFTS))
    scores[rng.random(len(SHIFTS)) < 0.3] = -np.inf
    calibration = Calibration(
        temperature=float(rng.uniform(0.3, 6)), none=float(rng.uniform(-6, 14))
    )
    chances, none = posterior(scores, calibration)
    assert chances.sum() + none == pytest.approx(1.0)
    assert (chances >= 0).all()
    assert none >= 0
    assert (chances[~np.isfinite(scores)] == 0).all()


def test_posterior_follows_score_and_temperature() -> None:
    chances, none = posterior(np.array([0.0, 2.0, -np.inf]), Calibration(temperature=2.0, none=1.0))
    expected = np.array([1.0, math.e, 0.0, math.e]) / (1 + 2 * math.e)
    assert [*chances, none] == pytest.approx(expected)


@pytest.mark.parametrize("empty", [-np.inf, np.nan])
def test_scores_that_are_none_leave_only_no_match(empty: float) -> None:
    chances, none = posterior(np.full(5, empty), PLAIN)
    assert none == 1.0
    assert not chances.any()


def test_a_score_that_is_not_a_number_counts_as_not_compared() -> None:
    scores = bump(3.0)
    scores[10] = np.nan
    chances, none = posterior(scores, PLAIN)
    assert chances[10] == 0
    assert chances.sum() + none == pytest.approx(1.0)
    assert estimate(combine([scores], PLAIN), SHIFTS, PLAIN).frames == pytest.approx(3.0, abs=0.1)


def test_match_ratio_weighs_a_match_at_a_shift_against_none() -> None:
    calibration = Calibration(temperature=2.0, none=3.0)
    scores = np.array([[6.0, 8.0, -np.inf, np.nan]])
    # By `posterior` the match at a shift has e^(score / temperature - none) times the chance of no
    # match; before anything is seen it has 1 / (UNMATCHED_ODDS * 4).
    chances, none = posterior(scores[0], calibration)
    found = match_ratio(scores, calibration)
    assert found.shape == scores.shape
    assert np.exp(found[0, :2]) == pytest.approx(chances[:2] / none * UNMATCHED_ODDS * 4)
    assert found[0, 2:].tolist() == [0, 0]


@pytest.mark.parametrize("seed", SEEDS)
def test_combine_is_a_distribution_and_knows_no_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = [rng.normal(0, 3, len(SHIFTS)) for _ in range(4)]
    chances = combine(scores, PLAIN)
    assert chances.sum() == pytest.approx(1.0)
    assert combine(scores[::-1], PLAIN) == pytest.approx(chances)


def test_several_weak_segments_beat_one() -> None:
    def weak(seed: int) -> Array:
        return bump(4.0, height=5.0) + np.random.default_rng(seed).normal(0, 0.5, len(SHIFTS))

    one = estimate(combine([weak(0)], PLAIN), SHIFTS, PLAIN)
    many = estimate(combine([weak(k) for k in range(6)], PLAIN), SHIFTS, PLAIN)
    assert one.confidence < 0.9 < many.confidence
    assert many.frames == pytest.approx(4.0, abs=0.3)


def test_a_segment_that_matches_nowhere_moves_next_to_nothing() -> None:
    clear = bump(-7.0)
    nothing = np.full(len(SHIFTS), -20.0)
    alone = combine([clear], PLAIN)
    assert combine([clear, nothing, np.full(len(SHIFTS), -np.inf)], PLAIN) == pytest.approx(
        alone, abs=0.05
    )


def test_one_wrong_segment_does_not_outvote_three() -> None:
    found = estimate(combine([bump(2.0), bump(2.0), bump(30.0), bump(2.0)], PLAIN), SHIFTS, PLAIN)
    assert found.frames == pytest.approx(2.0, abs=0.1)
    assert found.confidence > 0.99


def test_what_could_not_be_compared_is_not_held_against_a_shift() -> None:
    """One segment sees shift 40 clearly, the other, at the file's edge, cannot compare it at
    all.
    """
    blind = np.full(len(SHIFTS), -4.0)
    blind[SHIFTS > 20] = -np.inf
    found = estimate(combine([bump(40.0), blind], PLAIN), SHIFTS, PLAIN)
    assert found.frames == pytest.approx(40.0, abs=0.1)
    assert found.confidence > 0.9


@pytest.mark.parametrize("frames", [-12.0, -3.4, -0.25, 0.0, 0.3, 1.5, 7.77, 40.2])
def test_a_planted_peak_is_found_to_a_tenth_of_a_frame(frames: float) -> None:
    found = estimate(combine([bump(frames)], PLAIN), SHIFTS, PLAIN)
    assert found.frames == pytest.approx(frames, abs=0.1)
    assert found.confidence > 0.95


@pytest.mark.parametrize("frames", [-50.0, 50.0])
def test_a_peak_at_the_end_of_the_search_stays_within_it(frames: float) -> None:
    found = estimate(combine([bump(frames)], PLAIN), SHIFTS, PLAIN)
    assert found.frames == pytest.approx(frames, abs=0.51)
    assert abs(found.frames) <= 50.5
    assert 0 <= found.confidence <= 1


def test_a_lonely_spike_loses_to_a_neighbourhood() -> None:
    chances = np.full(len(SHIFTS), 1e-4)
    chances[80] = 0.3
    chances[28:33] = 0.15
    found = estimate(chances / chances.sum(), SHIFTS, PLAIN)
    assert -22 <= found.frames <= -18


def test_the_networks_own_bias_is_taken_out() -> None:
    biased = Calibration(bias_frames=0.8)
    assert estimate(combine([bump(3.8)], biased), SHIFTS, biased).frames == pytest.approx(
        3.0, abs=0.1
    )
    found = verdict([curve(0.8)], calibration=biased)
    assert found.offset_ms == pytest.approx(0.0, abs=4)
    assert found.blocks[0].offset_ms == pytest.approx(0.0, abs=4)


# The sign


@pytest.mark.parametrize("frames_late", [-20, -5, 5, 12.5])
def test_sound_that_is_read_later_to_match_is_late_and_negative(frames_late: float) -> None:
    found = verdict([curve(frames_late)])
    assert found.verdict == "out_of_sync"
    assert found.reason is None
    assert found.offset_ms == pytest.approx(-frames_late * FRAME_MS, abs=4)
    side = "late" if frames_late > 0 else "early"
    assert describe_offset(found.offset_ms).startswith(
        f"sound {side} by {abs(frames_late) * FRAME_MS:.0f}"[:-1]
    )
    assert all(
        segment.offset_ms == pytest.approx(-frames_late * FRAME_MS, abs=4)
        for segment in found.segments
    )
    assert all(
        block.offset_ms == pytest.approx(-frames_late * FRAME_MS, abs=4) for block in found.blocks
    )


def test_zero_is_not_minus_zero() -> None:
    found = verdict([curve(0.0)])
    assert found.verdict == "in_sync"
    assert found.offset_ms is not None
    assert math.copysign(1.0, found.offset_ms) == 1.0


# The tolerance


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "film"])
def test_presets_forgive_late_sound_more(name: str) -> None:
    tolerance = PRESETS[name]
    between_ms = (tolerance.early_ms + tolerance.late_ms) / 2
    sharp = Calibration(guard_ms=0.0)
    late = verdict([curve(between_ms / FRAME_MS)], tolerance, sharp)
    early = verdict([curve(-between_ms / FRAME_MS)], tolerance, sharp)
    assert (late.verdict, early.verdict) == ("in_sync", "out_of_sync")


def test_the_film_preset_is_even() -> None:
    sharp = Calibration(guard_ms=0.0)
    for frames in (-0.75, 0.75):
        assert verdict([curve(frames)], PRESETS["film"], sharp).verdict == "out_of_sync"


@pytest.mark.parametrize("side", ["early", "late"])
def test_within_the_measuring_error_of_the_limit_nothing_is_claimed(side: str) -> None:
    sign, limit_ms = (1, EBU.early_ms) if side == "early" else (-1, EBU.late_ms)
    for beyond_ms, expected in (
        (-15, "in_sync"),
        (15, "undecidable"),
        (30, "undecidable"),
        (50, "out_of_sync"),
    ):
        found = verdict([curve(-sign * (limit_ms + beyond_ms) / FRAME_MS)])
        assert found.verdict == expected
        assert found.offset_ms == pytest.approx(sign * (limit_ms + beyond_ms), abs=5)
        if expected == "undecidable":
            assert found.offset_ms is not None
            assert found.reason_code == "borderline"
            said = (
                f"{describe_offset(found.offset_ms)}, limit {limit_ms:.0f} ms, measuring "
                "error "
                "40 ms"
            )
            assert found.reason == said
            assert side in said
        else:
            assert found.reason is found.reason_code is None


# No evidence


def test_no_segments_is_undecidable() -> None:
    found = verdict([])
    assert found.verdict == "undecidable"
    assert found.reason == "there are no pictures to compare with the sound"
    assert found.reason_code == "no_pictures"
    assert found.offset_ms is None
    assert found.segments == found.blocks == ()


@pytest.mark.parametrize("level", [-30.0, 0.0, 30.0])
def test_a_flat_curve_is_undecidable(level: float) -> None:
    found = verdict([curve(score=np.full(len(SHIFTS), level, np.float32))])
    assert found.verdict == "undecidable"
    assert found.offset_ms is None
    assert found.confidence < 0.1
    assert found.reason is not None
    assert (
        "nothing in the picture goes with the sound" if level < 0 else "several offsets fit"
    ) in found.reason
    assert found.reason_code == ("no_match" if level < 0 else "ambiguous")
    assert all(segment.offset_ms is None for segment in found.segments)
    assert all(block.offset_ms is None for block in found.blocks)


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_is_undecidable(seed: int) -> None:
    rng = np.random.default_rng(seed)
    curves = [
        curve(score=rng.normal(-4, 1, len(SHIFTS)).astype(np.float32), start_s=10.0 * k)
        for k in range(5)
    ]
    found = verdict(curves)
    assert found.verdict == "undecidable"
    assert found.offset_ms is None


def test_two_offsets_that_fit_equally_are_undecidable() -> None:
    found = verdict([curve(score=np.maximum(bump(-20.0), bump(15.0)))])
    assert found.verdict == "undecidable"
    assert found.reason is not None
    assert found.reason.startswith("several offsets fit")
    assert 0.3 < found.confidence < 0.7


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ({"level_db": -90.0}, "silent", "the sound is silent"),
        ({"level_db": -math.inf}, "silent", "the sound is silent"),
        ({"detail": 0.5, "motion": 0.0}, "blank", "the picture is black or blank"),
        ({"motion": 0.05}, "still", "the picture does not move"),
        (
            {"blocks": 1},
            "too_short",
            "only 1 s of it has both moving pictures and sound; at least 2 s are needed",
        ),
    ],
)
def test_what_is_missing_is_said_however_sure_the_network(
    options: dict[str, Any], code: str, reason: str
) -> None:
    found = verdict([curve(0.0, height=30.0, **options)])
    assert found.verdict == "undecidable"
    assert (found.reason_code, found.reason) == (code, reason)
    assert found.offset_ms is None
    assert found.confidence == 0.0
    assert len(found.blocks) == options.get("blocks", 10)


def test_silence_in_half_of_a_film_is_not_silence() -> None:
    assert verdict([curve(0.0), curve(None, start_s=10.0, level_db=-90.0)]).verdict == "in_sync"


def test_all_shifts_uncompared_is_undecidable() -> None:
    found = verdict([curve(score=np.full(len(SHIFTS), -np.inf, np.float32))])
    assert found.verdict == "undecidable"
    assert found.offset_ms is None
    assert sum(block.attention for block in found.blocks) == pytest.approx(1.0, abs=1e-3)


def test_scores_that_are_not_numbers_never_give_a_verdict() -> None:
    found = verdict([curve(score=np.full(len(SHIFTS), np.nan, np.float32))])
    assert found.verdict == "undecidable"
    assert found.offset_ms is None


@pytest.mark.parametrize("seed", SEEDS)
def test_confidence_below_the_bar_never_gives_a_verdict(seed: int) -> None:
    """Whatever the curves: a verdict has an offset and the confidence asked for, and every number
    is in its range.
    """
    rng = np.random.default_rng(seed)
    for _ in range(30):
        count = int(rng.integers(1, 9))
        curves = [
            curve(
                None if rng.random() < 0.3 else float(rng.uniform(-50, 50)),
                start_s=10.0 * k,
                height=float(rng.uniform(0, 12)),
                noise=float(rng.uniform(0, 2)),
                blocks=int(rng.integers(1, 15)),
                seed=int(rng.integers(1 << 30)),
            )
            for k in range(count)
        ]
        found = verdict(curves)
        assert found.verdict in ("in_sync", "out_of_sync", "undecidable")
        assert 0 <= found.confidence <= 1
        assert (
            (found.reason is None)
            == (found.reason_code is None)
            == (found.verdict != "undecidable")
        )
        assert bool(found.stretches) == (found.offset_ms is not None)
        if found.verdict != "undecidable":
            assert found.confidence >= PLAIN.decide
            assert found.offset_ms is not None
            assert abs(found.offset_ms) <= 50.5 * FRAME_MS
        assert len(found.segments) == count
        assert all(0 <= segment.confidence <= 1 for segment in found.segments)
        assert len(found.blocks) == sum(len(item.block_start_s) for item in curves)
        assert sum(block.attention for block in found.blocks) == pytest.approx(1.0, abs=1e-3)


# Blocks


def test_a_blocks_own_offset_is_read_with_its_neighbours() -> None:
    item = curve(0.0, blocks=10)
    scores = np.stack([bump(0.0 if k < 5 else 10.0) for k in range(10)])
    item = Curve(**{**vars(item), "block_score": scores})
    told = [block.offset_ms for block in verdict([item]).blocks]
    assert told[:3] == pytest.approx([0.0] * 3, abs=4)
    assert told[7:] == pytest.approx([-400.0] * 3, abs=4)


def test_a_block_that_could_not_be_compared_lends_nothing() -> None:
    item = curve(0.0, blocks=10)
    scores = np.tile(bump(5.0), (10, 1))
    scores[0, :60] = -np.inf  # the file's first second, where the sound read earlier is missing
    scores[4] = -np.inf
    found = verdict([Curve(**{**vars(item), "block_score": scores})])
    assert all(block.offset_ms == pytest.approx(-200, abs=4) for block in found.blocks)
    scores[:] = -np.inf
    assert all(
        block.offset_ms is None
        for block in verdict([Curve(**{**vars(item), "block_score": scores})]).blocks
    )


def with_blocks(item: Curve, scores: Array) -> Curve:
    return Curve(**{**vars(item), "block_score": scores.astype(np.float32)})


def test_a_block_that_strays_on_little_evidence_shows_no_offset() -> None:
    """Four blocks at 95 ms early, and a last one that alone would be 1575 ms late."""
    scores = np.tile(bump(-2.4), (10, 1))
    scores[5:] = np.maximum(bump(39.4, height=9.0), bump(-2.4, height=5.0))
    blocks = verdict([with_blocks(curve(-2.4), scores)]).blocks
    assert [block.offset_ms for block in blocks[:3]] == pytest.approx([95.0] * 3, abs=5)
    assert [block.offset_ms for block in blocks[8:]] == [None, None]
    # The same blocks of a file that shows no offset may say what they see.
    unsure = with_blocks(curve(score=np.maximum(bump(-20.0), bump(15.0))), scores)
    assert verdict([unsure]).blocks[9].offset_ms == pytest.approx(-1575.0, abs=5)


def test_a_shift_that_few_blocks_could_be_compared_at_is_none() -> None:
    """At the end of a file one block of three can be compared with sound that comes much later: a
    mean of one strays far.
    """
    scores = np.tile(bump(0.0), (10, 1))
    scores[8:, SHIFTS > 20] = -np.inf
    scores[7] = bump(45.0, height=30.0)
    assert verdict([with_blocks(curve(0.0), scores)]).blocks[9].offset_ms == pytest.approx(
        0.0, abs=5
    )


def test_displaced_blocks_keep_their_offset() -> None:
    """Two segments away from the others are no course, but the blocks of a segment that is sure
    show what it shows.
    """
    found = verdict(film([0.0] * 6 + [-300.0] * 2 + [0.0] * 6))
    assert found.jumps_s == ()
    assert [block.offset_ms for block in found.blocks[60:80]] == pytest.approx([-300.0] * 20, abs=8)
    weak = [*film([0.0] * 6), curve(7.5, start_s=60.0, height=9.0)]
    assert [block.offset_ms for block in verdict(weak).blocks[60:]] == pytest.approx(
        [-300.0] * 10, abs=8
    )


@pytest.mark.parametrize("offsets_ms", [[0.0] * 5 + [-400.0] * 5, [20.0 * k for k in range(10)]])
def test_blocks_of_a_jump_or_drift_keep_their_offsets(offsets_ms: list[float | None]) -> None:
    blocks = verdict(film(offsets_ms)).blocks
    assert [block.offset_ms for block in blocks] == pytest.approx(
        [ms for ms in offsets_ms for _ in range(10)], abs=8
    )


def test_blocks_of_a_segment_that_matches_weigh_more() -> None:
    found = verdict(film([0.0, None]), calibration=Calibration(none=2.0))
    shares = [
        sum(block.attention for block in found.blocks[first : first + 10]) for first in (0, 10)
    ]
    assert sum(shares) == pytest.approx(1.0, abs=1e-4)
    assert shares[0] > 0.7


# The course of a long film


def test_a_drifting_film_is_judged_by_its_worst_end() -> None:
    found = verdict(film([10.0 * k for k in range(24)]))
    assert found.verdict == "out_of_sync"
    assert found.drift_ms_per_min == pytest.approx(60.0, abs=3)
    assert found.jumps_s == ()
    (stretch,) = found.stretches
    assert (stretch.start_s, stretch.end_s) == (0.0, 240.0)
    assert stretch.start_offset_ms == pytest.approx(-5.0, abs=5)
    assert found.offset_ms == stretch.end_offset_ms == pytest.approx(235.0, abs=5)


def test_fifty_seconds_that_drift_are_judged_by_their_worst_end() -> None:
    """Sound 0.2 % fast: 120 ms a minute, from 50 to 150 ms early. As a constant it would pass for
    100 ms.
    """
    found = verdict(film([60.0, 80.0, 100.0, 120.0, 140.0], noise=0.3))
    assert found.drift_ms_per_min == pytest.approx(120.0, abs=10)
    assert found.offset_ms == pytest.approx(150.0, abs=8)
    assert verdict(
        film([60.0, 80.0, 100.0, 120.0, 140.0], noise=0.3),
        Tolerance(120, 60),
        Calibration(guard_ms=10),
    ).verdict == ("out_of_sync")


def test_a_drift_within_the_tolerance_is_in_sync_and_told() -> None:
    found = verdict(film([-30.0 + 5 * k for k in range(14)]))
    assert found.verdict == "in_sync"
    assert found.drift_ms_per_min == pytest.approx(30.0, abs=3)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_constant_film_whose_segments_are_unsure_does_not_drift(seed: int) -> None:
    found = verdict(
        [curve(2.0, start_s=10.0 * k, height=9.0, noise=1.0, seed=100 * seed + k) for k in range(5)]
    )
    assert found.drift_ms_per_min is None
    assert found.jumps_s == ()


def test_a_film_that_jumps_out_of_sync_is_out_of_sync() -> None:
    found = verdict(film([0.0] * 6 + [-300.0] * 4))
    assert found.verdict == "out_of_sync"
    assert found.jumps_s == (60.0,)
    assert found.offset_ms == pytest.approx(-300.0, abs=5)
    assert found.drift_ms_per_min is None
    assert [(each.start_s, each.end_s) for each in found.stretches] == [(0.0, 60.0), (60.0, 100.0)]
    assert [each.start_offset_ms for each in found.stretches] == pytest.approx([0.0, -300.0], abs=5)


def test_a_title_of_several_recordings_is_told_part_by_part() -> None:
    """Three levels and a drift: the worst is the end of the drift, which none of the levels is."""
    offsets_ms: list[float | None] = [0.0] * 5 + [200.0] * 4 + [-160.0] * 5
    offsets_ms += [100.0 + 30.0 * k for k in range(12)]
    found = verdict(film(offsets_ms))
    assert found.verdict == "out_of_sync"
    assert [(each.start_s, each.end_s) for each in found.stretches] == [
        (0.0, 50.0), (50.0, 90.0), (90.0, 140.0), (140.0, 260.0),
    ]  # fmt: skip
    assert found.offset_ms == pytest.approx(445.0, abs=15)
    assert found.drift_ms_per_min == pytest.approx(180.0, abs=6)
    assert found.jumps_s == (50.0, 90.0, 140.0)


def test_a_jump_between_undecided_segments_lies_in_an_interval() -> None:
    """In sync up to 8:20, 400 ms late from 10:00 on; in between nothing goes with the sound, and
    the jump lies anywhere.
    """
    found = verdict(seen(*[0] * 50, *[None] * 10, *[10] * 50))
    assert found.verdict == "out_of_sync"
    assert found.jump_intervals_s == ((500.0, 600.0),)
    assert found.jumps_s == (550.0,)
    assert [(each.start_s, each.end_s) for each in found.stretches] == [
        (0.0, 500.0),
        (600.0, 1100.0),
    ]
    assert [each.end_offset_ms for each in found.stretches] == pytest.approx([0.0, -400.0], abs=8)
    assert found.offset_ms == pytest.approx(-400.0, abs=8)


def test_a_constant_film_is_one_stretch_and_an_undecided_one_none() -> None:
    found = verdict(film([20.0] * 4))
    assert [
        (each.start_s, each.end_s, each.start_offset_ms, each.end_offset_ms)
        for each in found.stretches
    ] == [(0.0, 40.0, found.offset_ms, found.offset_ms)]
    assert verdict(film([None] * 4)).stretches == ()


def test_the_worst_stretch_is_the_furthest_beyond_its_own_limit() -> None:
    """Early by 180 ms is 140 over what R37 allows, late by 190 only 130."""
    found = verdict(film([180.0] * 5 + [-190.0] * 5))
    assert found.offset_ms == pytest.approx(180.0, abs=5)
    wide_late = Tolerance(60, 400)
    assert verdict(film([130.0] * 5 + [-190.0] * 5), wide_late).verdict == "out_of_sync"


def seen(*offsets: float | None) -> list[Curve]:
    """Segments in a row, the sound of each late by so many frames; None: nothing matches."""
    return [curve(frames, start_s=10.0 * k, noise=0.3, seed=k) for k, frames in enumerate(offsets)]


def test_chance_matches_at_the_end_are_no_jump() -> None:
    """A speaker, then pictures without one, where two segments match by chance: what the speaker
    shows holds.
    """
    found = verdict(seen(*[0] * 20, *[None] * 20, -37, -22))
    assert found.verdict == "in_sync"
    assert found.jumps_s == ()


def test_chance_matches_in_hours_of_voice_over_are_no_jump() -> None:
    offsets: list[float | None] = [None] * 304
    for k, frames in ((50, -20), (120, -21), (200, 30), (280, 31)):
        offsets[k] = frames
    assert verdict(seen(*offsets)).verdict == "undecidable"


@pytest.mark.parametrize(("around", "inside", "late"), [(20, 20, 12), (3, 3, 5), (30, 4, -20)])
def test_a_displaced_stretch_in_the_middle_is_found(around: int, inside: int, late: int) -> None:
    found = verdict(seen(*[0] * around, *[late] * inside, *[0] * around))
    assert found.verdict == "out_of_sync"
    assert found.offset_ms == pytest.approx(-late * FRAME_MS, abs=8)
    assert found.jumps_s == pytest.approx((10.0 * around, 10.0 * (around + inside)))


def test_a_long_constant_film_is_in_sync_without_drift() -> None:
    found = verdict(film([20.0] * 30, noise=0.5))
    assert found.verdict == "in_sync"
    assert found.drift_ms_per_min is None
    assert found.jumps_s == ()
    assert found.confidence > 0.99


# What was not looked at


@pytest.mark.parametrize(
    ("unseen_s", "length_s", "expected"),
    [
        ((), 20.0, "in_sync"),
        (((3.0, 5.0),), 20.0, "in_sync"),  # 2 s are let go whatever the length
        (((3.0, 5.1),), 20.0, "undecidable"),
        (((0.0, 9.9),), 100.0, "in_sync"),  # and a tenth
        (((0.0, 10.1),), 100.0, "undecidable"),
        (((0.0, 1.5), (10.0, 11.5)), 20.0, "undecidable"),  # together
        (((0.0, 2.0), (0.5, 1.5), (1.0, 2.0)), 20.0, "in_sync"),  # what overlaps counts once
        (((18.0, 24.0),), None, "undecidable"),  # 6 of 24 s
        (((20.0, 21.9),), None, "in_sync"),
    ],
)
def test_a_file_of_which_a_large_part_was_not_looked_at_is_never_in_sync(
    unseen_s: tuple[tuple[float, float], ...], length_s: float | None, expected: str
) -> None:
    found = without_unseen(verdict(film([0.0, 0.0])), unseen_s, length_s)
    assert found.verdict == expected
    assert found.offset_ms == pytest.approx(0.0, abs=4)
    assert found.reason_code == (None if expected == "in_sync" else "not_all_looked_at")
    assert (found.reason is None) == (expected == "in_sync")


def test_what_was_not_looked_at_is_said_in_seconds() -> None:
    found = without_unseen(verdict(film([0.0, 0.0])), ((3.0, 9.0),), 20.0)
    assert found.reason == "what was looked at is in sync, but 6.0 s of 20.0 s were not looked at"


def test_what_is_out_of_sync_stays_so_whatever_was_not_looked_at() -> None:
    late = verdict(film([-300.0, -300.0]))
    assert without_unseen(late, ((0.0, 100.0),), 120.0) == late
    silent = verdict([curve(0.0, level_db=-90.0)])
    assert without_unseen(silent, ((0.0, 100.0),), 120.0) == silent


# Calibration


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"none": math.nan},
        {"guard_ms": math.inf},
        {"decide": "0.9"},
        {"match": None},
    ],
)
def test_a_calibration_of_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="calibration"):
        Calibration(**wrong)


def test_temperature_softens_and_no_match_lowers() -> None:
    def confidence(**options: float) -> float:
        calibration = Calibration(**options)
        return estimate(
            combine([bump(3.0, height=8.0)], calibration), SHIFTS, calibration
        ).confidence

    assert confidence() > confidence(temperature=3.0)
    assert confidence() > confidence(none=6.0)


def test_the_match_is_evidence_beside_the_score() -> None:
    """Each alone is unsure between two shifts; together they agree on one. What was not compared
    stays out.
    """
    score, match = np.maximum(bump(0.0), bump(20.0)), np.maximum(bump(20.0), bump(-30.0))
    both = curve(score=score, match=match)
    assert verdict([both]).verdict == "undecidable"
    weights = Calibration(match=1.0)
    assert verdict([both], calibration=weights).offset_ms == pytest.approx(-20 * FRAME_MS, abs=4)
    # A constant added to the match says nothing.
    moved = curve(score=score, match=(match + 7.0).astype(np.float32))
    assert evidence(moved, weights) == pytest.approx(evidence(both, weights), abs=1e-5)
    gone = np.where(SHIFTS > 10, -np.inf, score).astype(np.float32)
    told = evidence(
        curve(score=gone, match=np.where(SHIFTS > 10, -np.inf, match).astype(np.float32)), weights
    )
    assert np.isneginf(told[SHIFTS > 10]).all()
    assert np.isfinite(told[SHIFTS <= 10]).all()


@pytest.mark.parametrize("count", [30, 100, 700])
def test_many_segments_that_match_nowhere_never_agree_by_chance(count: int) -> None:
    """A voice-over for hours: one segment in twenty peaks somewhere by chance, and some of those
    agree.
    """
    rng = np.random.default_rng(count)
    calibration = Calibration(none=3.0)
    for _ in range(3):
        curves = [
            rng.normal(-4.0, 0.7, len(SHIFTS))
            if rng.random() > 0.05
            else bump(float(rng.integers(-50, 51)), 11.0)
            for _ in range(count)
        ]
        found = estimate(combine(curves, calibration), SHIFTS, calibration)
        assert found.confidence < 0.5


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_share_of_segments_that_match_is_enough(share: float) -> None:
    """The same hours with a speaker in view now and then, always at one offset."""
    rng = np.random.default_rng(1)
    calibration = Calibration(none=3.0)
    curves = [
        bump(7.0 + rng.normal(0, 0.3), 11.0)
        if k < 100 * share
        else rng.normal(-4.0, 0.7, len(SHIFTS))
        for k in range(100)
    ]
    found = estimate(combine(curves, calibration), SHIFTS, calibration)
    assert found.confidence > 0.99
    assert found.frames == pytest.approx(7.0, abs=0.5)


def test_one_segment_combined_is_its_posterior() -> None:
    scores = bump(4.0, 6.0)
    shifts, none = posterior(scores, PLAIN)
    assert combine([scores], PLAIN) == pytest.approx(shifts + none / len(SHIFTS), abs=1e-9)
