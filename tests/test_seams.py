"""A verdict on a file that was joined of several recordings, at places that are known."""

from __future__ import annotations

import pytest

from avcheck.record.report import PRESETS, Segment
from avcheck.verdict.course import jumping_at
from avcheck.verdict.judge import Judgement, judge
from tests.support.curves import PLAIN, film


def segments(*offsets_ms: float | None) -> list[Segment]:
    return [Segment(10.0 * k, 10.0 * k + 10, ms, 0.95) for k, ms in enumerate(offsets_ms)]


def verdict(
    *offsets_ms: float | None, seams_s: tuple[float, ...] = (), **options: object
) -> Judgement:
    return judge(film(list(offsets_ms), **options), PRESETS["ebu-r37"], PLAIN, seams_s)


def test_one_segment_on_either_side_shows_a_jump_at_a_seam() -> None:
    judgement = verdict(12.0, -388.0, seams_s=(10.0,))
    assert judgement.verdict == "out_of_sync"
    assert judgement.offset_ms == pytest.approx(-388, abs=2)
    assert judgement.jumps_s == (10.0,)
    assert [stretch.start_offset_ms for stretch in judgement.stretches] == pytest.approx(
        [12, -388], abs=2
    )
    assert judgement.confidence > 0.9


@pytest.mark.parametrize("seams_s", [(), (25.0,)])
def test_without_a_seam_between_them_a_jump_lies_anywhere_between(
    seams_s: tuple[float, ...],
) -> None:
    judgement = verdict(12.0, -388.0, seams_s=seams_s)
    assert (judgement.verdict, judgement.jump_intervals_s) == ("out_of_sync", ((6.5, 13.5),))


def test_recordings_in_sync_are_one_stretch() -> None:
    judgement = verdict(12.0, 8.0, 15.0, seams_s=(10.0, 20.0))
    assert judgement.verdict == "in_sync"
    assert len(judgement.stretches) == 1


def test_a_part_that_shows_too_little_leaves_it_open() -> None:
    """The surer part alone is no verdict on the file, whichever it is."""
    for offsets_ms in ((12.0, -388.0), (-388.0, 12.0)):
        curves = film(list(offsets_ms))
        weak = film(list(offsets_ms), height=2.0, noise=1.5)
        judgement = judge([curves[0], weak[1]], PRESETS["ebu-r37"], PLAIN, (10.0,))
        assert len(judgement.stretches) < 2


def test_parts_of_several_segments_have_their_median() -> None:
    course = jumping_at(segments(0, 4, 8, None, 300, 304, -400), (30.0, 60.0))
    assert course is not None
    assert [(each.start_s, each.end_s, each.start_offset_ms) for each in course.stretches] == [
        (0, 30, 4),
        (40, 60, 302),
        (60, 70, -400),
    ]


def test_recordings_of_nearly_the_same_offset_are_one_part_of_their_mean() -> None:
    course = jumping_at(segments(*[0] * 6, 60, 60, *[400] * 4), (60.0, 80.0))
    assert course is not None
    assert [(each.start_s, each.end_s, each.start_offset_ms) for each in course.stretches] == [
        (0, 80, 15),
        (80, 120, 400),
    ]


@pytest.mark.parametrize("offsets_ms", [(), (None, None), (0.0, None), (0.0, 100.0)])
def test_no_change_at_a_seam_is_no_course(offsets_ms: tuple[float | None, ...]) -> None:
    assert jumping_at(segments(*offsets_ms), (10.0,)) is None
