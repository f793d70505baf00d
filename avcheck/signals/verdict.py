"""What a test signal says of a file, as a judgement like the network's."""

from __future__ import annotations

from pathlib import Path

from avcheck import __version__
from avcheck.course import follow
from avcheck.media import open_media
from avcheck.report import Report, Segment, Tolerance
from avcheck.signals.signal import MEASURING_ERROR_MS, SIGNAL_SIDE, Signal, signal_of
from avcheck.verdict import Judgement, against, beyond_ms


def check_signal(
    path: Path,
    tolerance: Tolerance,
    *,
    audio_track: int | None = None,
    video_track: int | None = None,
    audio_path: Path | None = None,
) -> Report:
    """The record of a recorded test signal, by its flashes and beeps alone. Raises as `open_media`."""
    with open_media(
        path, audio_track=audio_track, video_track=video_track, audio_path=audio_path, short_side=SIGNAL_SIDE
    ) as media:
        signal, info = signal_of(media), media.info
        degraded = media.degraded
    found = judge_signal(signal, tolerance)
    return Report(
        path=str(path),
        verdict=found.verdict,
        reason=found.reason,
        reason_code=found.reason_code,
        offset_ms=found.offset_ms,
        confidence=found.confidence,
        measured_by="test_signal",
        tolerance=tolerance,
        container_offset_ms=info.container_offset_ms,
        drift_ms_per_min=found.drift_ms_per_min,
        jumps_s=found.jumps_s,
        jump_intervals_s=found.jump_intervals_s,
        stretches=found.stretches,
        duration_s=info.duration_s,
        audio_track=info.audio_track,
        video_track=info.video_track,
        audio_tracks=info.audio_tracks,
        video_tracks=info.video_tracks,
        segments=found.segments,
        degraded=degraded,
        avcheck_version=__version__,
    )


def judge_signal(signal: Signal, tolerance: Tolerance) -> Judgement:
    """The judgement of a signal; undecidable where no flash has a beep.

    Its segments are the events; `confidence` is the share of flashes and beeps that are in pairs.
    """
    if not signal.events:
        have = f"{signal.flashes} flashes in the picture and {signal.beeps} beeps in the sound"
        return Judgement("undecidable", f"{have}, of which none belong together", reason_code="no_match")
    events = tuple(Segment(each.picture_s, each.picture_s, round(each.offset_ms, 1) + 0.0, 1.0) for each in signal.events)
    course = follow(events)
    ends_ms = [] if course is None else [ms for each in course.stretches for ms in (each.start_offset_ms, each.end_offset_ms)]
    offset_ms = max(ends_ms or [signal.offset_ms or 0.0], key=lambda value: beyond_ms(value, tolerance))
    verdict, reason = against(offset_ms, tolerance, MEASURING_ERROR_MS)
    return Judgement(
        verdict,
        None if reason is None else reason.text,
        round(offset_ms, 1) + 0.0,
        round(len(events) / max(signal.flashes, signal.beeps), 4),
        None if course is None else course.drift_ms_per_min,
        () if course is None else course.jumps_s,
        events,
        reason_code=None if reason is None else reason.code,
        jump_intervals_s=() if course is None else course.jump_intervals_s,
        stretches=() if course is None else course.stretches,
    )
