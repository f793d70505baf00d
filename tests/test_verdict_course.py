"""What is judged along a film: the offset of each block, drifts, jumps, and the stretches between
them.
"""

from __future__ import annotations

import numpy as np
import pytest

from avcheck.record.report import FRAME_MS, Stretch, Tolerance
from avcheck.verdict.course import Course
from avcheck.verdict.judge import Judgement
from avcheck.verdict.posterior import Calibration, Curve
from avcheck.verdict.sure_course import _course_confidence
from tests.support.curves import EBU, PLAIN, SEEDS, SHIFTS, Array, bump, curve, film, verdict

# Blocks


def test_a_blocks_own_offset_is_read_with_its_neighbours() -> None:
    item = curve(0.0, blocks=10)
    scores = np.stack([bump(0.0 if k < 5 else 10.0) for k in range(10)])
    item = Curve(**{**vars(item), "block_score": scores})
    offsets_ms = [block.offset_ms for block in verdict([item]).blocks]
    assert offsets_ms[:3] == pytest.approx([0.0] * 3, abs=4)
    assert offsets_ms[7:] == pytest.approx([-400.0] * 3, abs=4)


def test_a_block_that_could_not_be_compared_lends_nothing() -> None:
    item = curve(0.0, blocks=10)
    scores = np.tile(bump(5.0), (10, 1))
    scores[0, :60] = -np.inf  # the file's first second, where the sound read earlier is missing
    scores[3:6] = -np.inf  # the middle one is read with two on either side
    judgement = verdict([Curve(**{**vars(item), "block_score": scores})])
    assert all(block.offset_ms == pytest.approx(-200, abs=4) for block in judgement.blocks)
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


def test_a_stray_block_must_beat_no_match_as_well() -> None:
    """Where the file's offset is less likely than no match, another one is no likelier for that."""
    scores = np.tile(bump(0.0), (10, 1))
    scores[5:] = bump(39.0, height=9.6)
    blocks = verdict([with_blocks(curve(0.0), scores)]).blocks
    assert [block.offset_ms for block in blocks[8:]] == [None, None]
    scores[5:] = bump(39.0, height=11.0)
    blocks = verdict([with_blocks(curve(0.0), scores)]).blocks
    assert [block.offset_ms for block in blocks[8:]] == pytest.approx([-1560.0] * 2, abs=5)


@pytest.mark.parametrize(("height", "shown"), [(4.5, None), (5.5, -480.0)])
def test_a_segment_that_is_hardly_likelier_right_than_wrong_shows_no_offset(
    height: float, shown: float | None
) -> None:
    (segment,) = verdict([curve(12.0, height=height)]).segments
    assert 0.4 < segment.confidence < 0.8
    assert segment.offset_ms == (None if shown is None else pytest.approx(shown, abs=5))


def test_an_unsure_segment_is_no_ground_for_a_stray_block() -> None:
    judgement = verdict([*film([0.0] * 6), curve(12.0, start_s=60.0, height=6.5)])
    assert judgement.segments[-1].offset_ms == pytest.approx(-480.0, abs=5)
    assert 0.6 < judgement.segments[-1].confidence < PLAIN.decide
    assert {block.offset_ms for block in judgement.blocks[60:]} == {None}


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


@pytest.mark.parametrize("away", [1, 2, 4])
def test_segments_that_are_sure_to_lie_away_from_the_others_are_a_part(away: int) -> None:
    judgement = verdict(film([0.0] * 6 + [-300.0] * away + [0.0] * 6))
    assert judgement.verdict == "out_of_sync"
    assert jumps_at(judgement, 60.0, 60.0 + 10 * away)
    assert [each.start_offset_ms for each in judgement.stretches] == pytest.approx(
        [0, -300, 0], abs=5
    )
    assert [block.offset_ms for block in judgement.blocks[60 : 60 + 10 * away]] == pytest.approx(
        [-300.0] * 10 * away, abs=8
    )


def test_one_of_many_segments_has_to_be_surer_to_be_a_part() -> None:
    """Its blocks show what it shows all the same."""
    few, many = (
        [*film([0.0] * 2), away(20.0), *film([0.0] * 4)[3:]],
        [*film([0.0] * 6), away(60.0), *film([0.0] * 60)[7:]],
    )
    assert verdict(few).segments[2].confidence == pytest.approx(0.98, abs=0.008)
    assert [len(verdict(curves).stretches) for curves in (few, many)] == [3, 1]
    assert [block.offset_ms for block in verdict(many).blocks[60:70]] == pytest.approx(
        [-300.0] * 10, abs=8
    )


def away(start_s: float) -> Curve:
    """A segment that is less sure, of sound that is 300 ms late."""
    return curve(7.5, start_s=start_s, height=9.0)


@pytest.mark.parametrize("offsets_ms", [[0.0] * 5 + [-400.0] * 5, [20.0 * k for k in range(10)]])
def test_blocks_of_a_jump_or_drift_keep_their_offsets(offsets_ms: list[float | None]) -> None:
    blocks = verdict(film(offsets_ms)).blocks
    assert [block.offset_ms for block in blocks] == pytest.approx(
        [ms for ms in offsets_ms for _ in range(10)], abs=8
    )


def test_blocks_of_a_segment_that_matches_weigh_more() -> None:
    judgement = verdict(film([0.0, None]), calibration=Calibration(none=2.0))
    shares = [
        sum(block.attention for block in judgement.blocks[first : first + 10]) for first in (0, 10)
    ]
    assert sum(shares) == pytest.approx(1.0, abs=1e-4)
    assert shares[0] > 0.7


# The course of a long film


def jumps_at(judgement: Judgement, *places_s: float) -> bool:
    """Whether the offset is said to jump at these places alone, each in an interval of at most 15
    s.
    """
    intervals_s = judgement.jump_intervals_s
    return len(intervals_s) == len(places_s) and all(
        start_s <= at_s <= end_s <= start_s + 15
        for at_s, (start_s, end_s) in zip(places_s, intervals_s, strict=True)
    )


def test_a_drifting_film_is_judged_by_its_worst_end() -> None:
    judgement = verdict(film([10.0 * k for k in range(24)]))
    assert judgement.verdict == "out_of_sync"
    assert judgement.drift_ms_per_min == pytest.approx(60.0, abs=3)
    assert judgement.jumps_s == ()
    (stretch,) = judgement.stretches
    assert (stretch.start_s, stretch.end_s) == (0.0, 240.0)
    assert stretch.start_offset_ms == pytest.approx(-5.0, abs=5)
    assert judgement.offset_ms == stretch.end_offset_ms == pytest.approx(235.0, abs=5)


def test_fifty_seconds_that_drift_are_judged_by_their_worst_end() -> None:
    """Sound 0.2 % fast: 120 ms a minute, from 50 to 150 ms early. As a constant it would pass for
    100 ms.
    """
    judgement = verdict(film([60.0, 80.0, 100.0, 120.0, 140.0], noise=0.3))
    assert judgement.drift_ms_per_min == pytest.approx(120.0, abs=10)
    assert judgement.offset_ms == pytest.approx(150.0, abs=8)
    assert verdict(
        film([60.0, 80.0, 100.0, 120.0, 140.0], noise=0.3),
        Tolerance(120, 60),
        Calibration(guard_ms=10),
    ).verdict == ("out_of_sync")


@pytest.mark.parametrize(("beyond_ms", "verdict_is"), [(16, "undecidable"), (24, "out_of_sync")])
def test_the_end_of_a_drift_is_known_half_as_well(beyond_ms: float, verdict_is: str) -> None:
    """Of 100 s an offset is known to 10 ms, the end of a drift to 20 ms."""
    ends_ms = EBU.early_ms + beyond_ms
    drifts = film([ends_ms - 10 * (9.5 - k) for k in range(10)])
    assert verdict(drifts, EBU, Calibration(guard_ms=31.7)).verdict == verdict_is


def test_a_drift_within_the_tolerance_is_in_sync_and_told() -> None:
    judgement = verdict(film([-30.0 + 5 * k for k in range(14)]))
    assert judgement.verdict == "in_sync"
    assert judgement.drift_ms_per_min == pytest.approx(30.0, abs=3)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_constant_film_whose_segments_are_unsure_does_not_drift(seed: int) -> None:
    judgement = verdict(
        [curve(2.0, start_s=10.0 * k, height=9.0, noise=1.0, seed=100 * seed + k) for k in range(5)]
    )
    assert judgement.drift_ms_per_min is None
    assert judgement.jumps_s == ()


def test_a_film_that_jumps_out_of_sync_is_out_of_sync() -> None:
    judgement = verdict(film([0.0] * 6 + [-300.0] * 4))
    assert judgement.verdict == "out_of_sync"
    assert jumps_at(judgement, 60.0)
    assert judgement.offset_ms == pytest.approx(-300.0, abs=5)
    assert judgement.drift_ms_per_min is None
    assert (judgement.stretches[0].start_s, judgement.stretches[1].end_s) == (0.0, 100.0)
    assert [each.start_offset_ms for each in judgement.stretches] == pytest.approx(
        [0.0, -300.0], abs=5
    )


@pytest.mark.parametrize("first", [3, 6])
@pytest.mark.parametrize("last", [3, 6])
def test_two_segments_between_two_jumps_are_a_part(first: int, last: int) -> None:
    """A title of several recordings, one of which is short: its sound is the worst of all."""
    judgement = verdict(film([20.0] * first + [220.0] * 2 + [-140.0] * last, noise=0.3))
    assert jumps_at(judgement, 10.0 * first, 10.0 * (first + 2))
    assert [each.start_offset_ms for each in judgement.stretches] == pytest.approx(
        [20.0, 220.0, -140.0], abs=8
    )
    assert judgement.offset_ms == pytest.approx(220.0, abs=8)
    # One such segment is an outlier
    judgement = verdict(film([20.0] * first + [220.0] + [-140.0] * last, noise=0.3))
    assert len(judgement.stretches) == 2


def test_a_jump_is_followed_whatever_the_bias_of_the_network() -> None:
    biased = Calibration(bias_frames=3.0)
    judgement = verdict(film([0.0] * 3 + [-400.0] * 3), calibration=biased)
    assert judgement.jumps_s == (30.0,)
    assert [each.start_offset_ms for each in judgement.stretches] == pytest.approx(
        [120, -280], abs=5
    )


def test_a_part_that_is_not_sure_does_not_cost_the_jump_before_it() -> None:
    """Two segments at the end disagree, so what they show together is nothing."""
    judgement = verdict(film([0.0] * 8 + [-320.0] * 12 + [-800.0, -960.0]))
    assert judgement.verdict == "out_of_sync"
    assert judgement.jumps_s == (80.0,)
    assert [each.start_offset_ms for each in judgement.stretches] == pytest.approx([0, -320], abs=5)


def test_a_course_that_one_of_its_parts_contradicts_is_not_sure() -> None:
    curves = film([0.0] * 3 + [-400.0] * 3 + [400.0] * 3)
    ends = [Stretch(0, 30, 0, 0), Stretch(30, 60, -400, -400)]
    right, wrong = (Course((*ends, Stretch(60, 90, ms, ms))) for ms in (400, 200))
    assert _course_confidence(right, curves, PLAIN) > 0.99
    assert _course_confidence(wrong, curves, PLAIN) == 0
    # What lies beyond its ends is not asked
    assert _course_confidence(Course(tuple(ends)), curves, PLAIN) > 0.99


def test_a_title_of_several_recordings_is_told_part_by_part() -> None:
    """Three levels and a drift: the worst is the end of the drift, which none of the levels is."""
    offsets_ms = [0.0] * 5 + [200.0] * 4 + [-160.0] * 5
    offsets_ms += [100.0 + 30.0 * k for k in range(12)]
    judgement = verdict(film(offsets_ms))
    assert judgement.verdict == "out_of_sync"
    assert jumps_at(judgement, 50.0, 90.0, 140.0)
    assert judgement.offset_ms == pytest.approx(445.0, abs=15)
    assert judgement.drift_ms_per_min == pytest.approx(180.0, abs=6)


def test_a_jump_between_undecided_segments_lies_in_an_interval() -> None:
    """In sync up to 8:20, 400 ms late from 10:00 on; in between nothing goes with the sound, and
    the jump lies anywhere.
    """
    judgement = verdict(in_a_row(*[0] * 50, *[None] * 10, *[10] * 50))
    assert judgement.verdict == "out_of_sync"
    ((start_s, end_s),) = judgement.jump_intervals_s
    assert (start_s, end_s) == pytest.approx((500.0, 600.0), abs=5)
    assert judgement.jumps_s == pytest.approx((550.0,), abs=5)
    assert [(each.start_s, each.end_s) for each in judgement.stretches] == [
        (0.0, start_s),
        (end_s, 1100.0),
    ]
    assert [each.end_offset_ms for each in judgement.stretches] == pytest.approx(
        [0.0, -400.0], abs=8
    )
    assert judgement.offset_ms == pytest.approx(-400.0, abs=8)


def test_a_constant_film_is_one_stretch_and_an_undecided_one_none() -> None:
    judgement = verdict(film([20.0] * 4))
    assert [
        (each.start_s, each.end_s, each.start_offset_ms, each.end_offset_ms)
        for each in judgement.stretches
    ] == [(0.0, 40.0, judgement.offset_ms, judgement.offset_ms)]
    assert verdict(film([None] * 4)).stretches == ()


def test_the_worst_stretch_is_the_furthest_beyond_its_own_limit() -> None:
    """Early by 180 ms is 140 over what R37 allows, late by 190 only 130."""
    judgement = verdict(film([180.0] * 5 + [-190.0] * 5))
    assert judgement.offset_ms == pytest.approx(180.0, abs=5)
    wide_late = Tolerance(60, 400)
    assert verdict(film([130.0] * 5 + [-190.0] * 5), wide_late).verdict == "out_of_sync"


def in_a_row(*offsets: float | None) -> list[Curve]:
    """Segments in a row, the sound of each late by so many frames; None: nothing matches."""
    return [curve(frames, start_s=10.0 * k, noise=0.3, seed=k) for k, frames in enumerate(offsets)]


def test_chance_matches_at_the_end_are_no_jump() -> None:
    """A speaker, then pictures without one, where two segments match by chance: what the speaker
    shows holds.
    """
    judgement = verdict(in_a_row(*[0] * 20, *[None] * 20, -37, -22))
    assert judgement.verdict == "in_sync"
    assert judgement.jumps_s == ()


@pytest.mark.slow
def test_chance_matches_in_hours_of_voice_over_are_no_jump() -> None:
    offsets: list[float | None] = [None] * 304
    for k, frames in ((50, -20), (120, -21), (200, 30), (280, 31)):
        offsets[k] = frames
    assert verdict(in_a_row(*offsets)).verdict == "undecidable"


@pytest.mark.parametrize(("around", "inside", "late"), [(20, 20, 12), (3, 3, 5), (30, 4, -20)])
def test_a_displaced_stretch_in_the_middle_is_found(around: int, inside: int, late: int) -> None:
    judgement = verdict(in_a_row(*[0] * around, *[late] * inside, *[0] * around))
    assert judgement.verdict == "out_of_sync"
    assert judgement.offset_ms == pytest.approx(-late * FRAME_MS, abs=8)
    assert jumps_at(judgement, 10.0 * around, 10.0 * (around + inside))


def test_a_long_constant_film_is_in_sync_without_drift() -> None:
    judgement = verdict(film([20.0] * 30, noise=0.5))
    assert judgement.verdict == "in_sync"
    assert judgement.drift_ms_per_min is None
    assert judgement.jumps_s == ()
    assert judgement.confidence > 0.99
