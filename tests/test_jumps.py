"""Where the offset of a file jumps: between two segments, and then between two blocks."""

from __future__ import annotations

import pytest

from avcheck.record.report import BlockResult, Segment, Stretch
from avcheck.verdict.course import Course
from avcheck.verdict.jumps import narrowed, opened

SEGMENTS = [Segment(10.0 * k, 10.0 * k + 10, None, 0.95) for k in range(6)]
JUMP = Course((Stretch(0, 20, 0, 0), Stretch(20, 60, 400, 400)))


def seconds(*offsets_ms: float | None) -> list[BlockResult]:
    return [BlockResult(float(k), 0.1, offset_ms) for k, offset_ms in enumerate(offsets_ms)]


def placed(*offsets_ms: float | None, course: Course = JUMP) -> Course:
    return narrowed(opened(course, SEGMENTS, ()), seconds(*offsets_ms))


@pytest.mark.parametrize("offsets_ms", [(), [None] * 60, [200.0] * 60])
def test_without_blocks_a_jump_lies_between_the_middles_of_two_segments(
    offsets_ms: list[float | None],
) -> None:
    assert placed(*offsets_ms).jump_intervals_s == ((15.5, 24.5),)


def test_segments_that_show_nothing_lie_between() -> None:
    apart = Course((Stretch(0, 20, 0, 0), Stretch(40, 60, 400, 400)))
    assert placed(course=apart).jump_intervals_s == ((15.5, 44.5),)
    blocks = [0.0] * 20 + [None] * 20 + [400.0] * 20
    assert placed(*blocks, course=apart).jump_intervals_s == ((17.5, 42.5),)


def test_blocks_place_a_jump_to_what_they_are_read_with() -> None:
    """The last block that shows the old offset ends at 19 s, the first of the new one begins at
    20; each is read with two neighbours on either side.
    """
    course = placed(*[0.0] * 19, None, *[400.0] * 40)
    assert course.jump_intervals_s == ((16.5, 22.5),)
    assert course.jumps_s == (19.5,)
    assert course.stretches == (Stretch(0, 16.5, 0, 0), Stretch(22.5, 60, 400, 400))


def test_blocks_near_an_offset_go_with_it() -> None:
    assert placed(*[70.0] * 19, 90.0, *[330.0] * 40).jump_intervals_s == ((16.5, 22.5),)


@pytest.mark.parametrize(("at", "offset_ms"), [(17, 400.0), (22, 0.0)])
def test_one_block_that_strays_moves_no_jump(at: int, offset_ms: float) -> None:
    blocks = [0.0] * 20 + [400.0] * 40
    straight = placed(*blocks)
    blocks[at] = offset_ms
    assert placed(*blocks) == straight


def test_a_jump_at_a_seam_stays_there() -> None:
    assert opened(JUMP, SEGMENTS, (20.0,)) == JUMP
    assert narrowed(JUMP, seconds(*[0.0] * 18, *[400.0] * 42)) == JUMP
    assert opened(JUMP, SEGMENTS, (30.0,)) != JUMP


def test_a_segment_between_two_jumps_keeps_its_middle() -> None:
    course = Course((Stretch(0, 20, 0, 0), Stretch(20, 30, 400, 400), Stretch(30, 60, 0, 0)))
    assert placed(course=course).jump_intervals_s == ((15.5, 24.5), (25.5, 34.5))
    assert placed(*[0.0] * 22, *[400.0] * 6, *[0.0] * 32, course=course).stretches == (
        Stretch(0, 19.5, 0, 0),
        Stretch(24.5, 25.5, 400, 400),
        Stretch(30.5, 60, 0, 0),
    )


def test_the_ends_of_a_drift_stay_on_its_line() -> None:
    course = Course((Stretch(0, 20, 0, 0), Stretch(20, 60, 400, 600)), 300.0)
    blocks = [0.0] * 20 + [402.5 + 5 * k for k in range(40)]
    assert placed(*blocks, course=course) == Course(
        (Stretch(0, 17.5, 0, 0), Stretch(22.5, 60, 412.5, 600)), 300.0
    )
