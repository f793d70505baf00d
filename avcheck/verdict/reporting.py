"""What was found in a file and what is known of it, as a report."""

from __future__ import annotations

from pathlib import Path

from avcheck._version import __version__
from avcheck.media import MediaInfo
from avcheck.record.report import Degraded, Report, Tolerance
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
