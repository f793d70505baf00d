"""What a test signal says of a file, as a judgement like the network's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from avcheck.course import Course, follow
from avcheck.media import open_media
from avcheck.report import Report, Segment, Tolerance
from avcheck.reporting import report_on
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
    """The record of a recorded test signal, by its flashes and beeps alone. Raises as
    `open_media`.
    """
    with open_media(
        path,
        audio_track=audio_track,
        video_track=video_track,
        audio_path=audio_path,
        short_side=SIGNAL_SIDE,
    ) as media:
        signal, info = signal_of(media), media.info
        degraded = media.degraded
    report = judge_signal(signal, tolerance)
    return replace(report_on(path, report, info, degraded, tolerance), measured_by="test_signal")


def judge_signal(signal: Signal, tolerance: Tolerance) -> Judgement:
    """The judgement of a signal; undecidable where no flash has a beep.

    Its segments are the events; `confidence` is the share of flashes and beeps that are in pairs.
    """
    if not signal.events:
        have = f"{signal.flashes} flashes in the picture and {signal.beeps} beeps in the sound"
        return Judgement(
            "undecidable", f"{have}, of which none belong together", reason_code="no_match"
        )
    events = tuple(
        Segment(each.picture_s, each.picture_s, round(each.offset_ms, 1) + 0.0, 1.0)
        for each in signal.events
    )
    course = follow(events) or Course(())
    ends_ms = [ms for each in course.stretches for ms in (each.start_offset_ms, each.end_offset_ms)]
    offset_ms = max(
        ends_ms or [signal.offset_ms or 0.0], key=lambda value: beyond_ms(value, tolerance)
    )
    verdict, reason = against(offset_ms, tolerance, MEASURING_ERROR_MS)
    return Judgement(
        verdict,
        None if reason is None else reason.text,
        offset_ms=round(offset_ms, 1) + 0.0,
        confidence=round(len(events) / max(signal.flashes, signal.beeps), 4),
        drift_ms_per_min=course.drift_ms_per_min,
        jumps_s=course.jumps_s,
        segments=events,
        reason_code=None if reason is None else reason.code,
        jump_intervals_s=course.jump_intervals_s,
        stretches=course.stretches,
    )
