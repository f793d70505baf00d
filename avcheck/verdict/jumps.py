"""Where the offset of a file jumps, as closely as its blocks show. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from avcheck.reading.blocks import BLOCK_S
from avcheck.record.report import BlockResult, Segment, Stretch
from avcheck.verdict.course import SCATTER_MS, Course

BLOCK_REACH = 2  # a block's own offset is read together with so many neighbours on either side
_READ_S = (BLOCK_REACH + 0.5) * BLOCK_S  # before or after a jump, by which that offset may change


def opened(course: Course, segments: Sequence[Segment], seams_s: Sequence[float]) -> Course:
    """The course with each jump between the middle blocks of the segments on either side: a segment
    shows the offset that most of it has. A jump at one of `seams_s` stays there.
    """
    stretches = list(course.stretches)
    for k, (before, after) in enumerate(pairwise(course.stretches)):
        low_s, high_s = before.end_s - BLOCK_S, after.start_s + BLOCK_S
        if any(low_s <= seam_s <= high_s for seam_s in seams_s):
            continue
        last = max(each for each in map(_times, segments) if each[1] <= before.end_s)
        first = min(each for each in map(_times, segments) if each[0] >= after.start_s)
        stretches[k] = _within(stretches[k], stretches[k].start_s, (sum(last) + BLOCK_S) / 2)
        stretches[k + 1] = _within(after, (sum(first) - BLOCK_S) / 2, after.end_s)
    return replace(course, stretches=tuple(stretches))


def narrowed(course: Course, blocks: Sequence[BlockResult]) -> Course:
    """An `opened` course with each jump between the last block that goes with what came before and
    the first that goes with what comes after.
    """
    stretches = list(course.stretches)
    for k, (before, after) in enumerate(pairwise(course.stretches)):
        if before.end_s < after.start_s:
            end_s, start_s = _between(before, after, blocks)
            stretches[k] = _within(stretches[k], stretches[k].start_s, end_s)
            stretches[k + 1] = _within(after, start_s, after.end_s)
    return replace(course, stretches=tuple(stretches))


def _between(before: Stretch, after: Stretch, blocks: Sequence[BlockResult]) -> tuple[float, float]:
    """The times between which the offset jumps from that of one stretch to that of the next."""
    old_s, new_s = [before.end_s - BLOCK_S], [after.start_s]
    for block in blocks:
        if block.offset_ms is None or not before.end_s <= block.start_s < after.start_s:
            continue
        from_old, from_new = (
            abs(block.offset_ms - each.offset_at(block.start_s)) for each in (before, after)
        )
        if min(from_old, from_new) <= SCATTER_MS:
            (old_s if from_old < from_new else new_s).append(block.start_s)
    # The splits that leave the fewest blocks on the wrong side
    edges = sorted({*old_s, *new_s, max(old_s) + BLOCK_S})
    wrong = [sum(at >= edge for at in old_s) + sum(at < edge for at in new_s) for edge in edges]
    best = [edge for edge, count in zip(edges, wrong, strict=True) if count == min(wrong)]
    last_s = max((at for at in old_s if at < best[-1]), default=best[0]) + BLOCK_S
    first_s = min((at for at in new_s if at >= best[0]), default=best[-1])
    low_s, high_s = min(last_s, first_s) - _READ_S, max(last_s, first_s) + _READ_S
    return max(low_s, before.end_s), min(high_s, after.start_s)


def _times(segment: Segment) -> tuple[float, float]:
    return segment.start_s, segment.end_s


def _within(stretch: Stretch, start_s: float, end_s: float) -> Stretch:
    """The stretch from and up to other times, with the offsets that it has then."""
    slope = stretch.slope_ms_per_s
    ends_ms = (
        round(stretch.start_offset_ms + slope * (at_s - stretch.start_s), 1) + 0.0
        for at_s in (start_s, end_s)
    )
    return Stretch(start_s, end_s, *ends_ms)
