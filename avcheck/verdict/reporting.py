"""What was found in a file and what is known of it, as a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from avcheck._version import __version__
from avcheck.media import MediaInfo
from avcheck.record.report import Degraded, Report, Segment, Stretch, Tolerance
from avcheck.verdict.judge import Judgement


def report_on(
    path: str | Path,
    judgement: Judgement,
    info: MediaInfo,
    degraded: Degraded,
    tolerance: Tolerance,
) -> Report:
    """The report of a file that was judged; how that was done is for the caller to add."""
    return Report(
        path=str(path),
        verdict=judgement.verdict,
        reason=judgement.reason,
        reason_code=judgement.reason_code,
        offset_ms=judgement.offset_ms,
        confidence=judgement.confidence,
        measuring_error_ms=judgement.measuring_error_ms,
        tolerance=tolerance,
        container_offset_ms=info.container_offset_ms,
        drift_ms_per_min=judgement.drift_ms_per_min,
        jumps_s=judgement.jumps_s,
        jump_intervals_s=judgement.jump_intervals_s,
        stretches=judgement.stretches,
        duration_s=info.duration_s,
        audio_track=info.audio_track,
        audio_clock=info.audio_clock,
        video_track=info.video_track,
        audio_tracks=info.audio_tracks,
        video_tracks=info.video_tracks,
        picture=info.picture_facts,
        segments=judgement.segments,
        blocks=judgement.blocks,
        degraded=degraded,
        avcheck_version=__version__,
    )


def within_title(report: Report) -> Report:
    """The same report with no time behind the end of the title: what was looked at ends with a
    whole second, which may be after its last picture. Of a drift, the offset at the new end counts.
    """
    end_s = report.duration_s
    begun_s = [each.start_s for each in report.segments]
    begun_s += [each.start_s for each in report.stretches]
    begun_s += [each.start_s for each in report.blocks]
    if end_s is None or any(start_s >= end_s for start_s in begun_s):
        return report  # the file does not know how long it is

    def ended(span: tuple[float, float]) -> tuple[float, float]:
        return min(span[0], end_s), min(span[1], end_s)

    def cut(part: Segment) -> Segment:
        return replace(part, end_s=min(part.end_s, end_s))

    stretches = tuple(_until(each, end_s) for each in report.stretches)
    unseen_s = tuple(ended(span) for span in report.degraded.unseen_s if span[0] < end_s)
    worst_ms = {
        old.end_offset_ms: new.end_offset_ms
        for old, new in zip(report.stretches, stretches, strict=True)
    }
    detail = report.detail
    if detail is not None:
        segments = tuple(replace(each, end_s=min(each.end_s, end_s)) for each in detail.segments)
        detail = replace(detail, segments=segments)
    return replace(
        report,
        offset_ms=_as_judged(report, worst_ms),
        stretches=stretches,
        segments=tuple(map(cut, report.segments)),
        jumps_s=tuple(min(at_s, end_s) for at_s in report.jumps_s),
        jump_intervals_s=tuple(map(ended, report.jump_intervals_s)),
        degraded=replace(report.degraded, unseen_s=unseen_s),
        detail=detail,
    )


def _until(stretch: Stretch, end_s: float) -> Stretch:
    if stretch.end_s <= end_s:
        return stretch
    end_ms = round(stretch.offset_at(end_s), 1) + 0.0
    return replace(stretch, end_s=end_s, end_offset_ms=end_ms)


def _as_judged(report: Report, worst_ms: dict[float, float]) -> float | None:
    """The worst offset, at the new end of its stretch, unless that belongs to another verdict."""
    was_ms = report.offset_ms
    if was_ms is None:
        return None
    now_ms = worst_ms.get(was_ms, was_ms)
    beyond = [report.tolerance.beyond_ms(each_ms) > 0 for each_ms in (was_ms, now_ms)]
    return now_ms if beyond[0] == beyond[1] else was_ms
