"""What a test signal says of a file, as a judgement like the network's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from avcheck.media import Media, open_media
from avcheck.record.report import Report, Segment, Tolerance
from avcheck.signals.signal import SIGNAL_SIDE, Signal, SignalKind, signal_of
from avcheck.signals.stamps import STAMP_SIDE, can_read_stamps, stamps_of
from avcheck.verdict.course import Course, follow
from avcheck.verdict.judge import Judgement, against
from avcheck.verdict.reporting import report_on, within_title

_ERROR_MS: dict[SignalKind, float] = {"clap": 20.0}  # half a picture at 25 fps
_USUAL_ERROR_MS = 10.0  # a quarter of a picture at 25 fps
_SEEN: dict[SignalKind, tuple[str, str]] = {  # one, and several
    "flash": ("flash in the picture", "flashes in the picture"),
    "countdown": ("count in the picture", "counts in the picture"),
    "2-pop": ("single picture before black", "single pictures before black"),
    "clap": ("thing that stops dead in the picture", "things that stop dead in the picture"),
    "stamp": ("stamped picture", "stamped pictures"),
}
_HEARD: dict[SignalKind, tuple[str, str]] = {
    "flash": ("beep in the sound", "beeps in the sound"),
    "countdown": ("tick in the sound", "ticks in the sound"),
    "2-pop": ("pop in the sound", "pops in the sound"),
    "clap": ("clap in the sound", "claps in the sound"),
    "stamp": ("of them heard", "of them heard"),
}


def check_signal(
    path: Path,
    tolerance: Tolerance,
    *,
    audio_track: int | None = None,
    video_track: int | None = None,
    program: int | None = None,
    audio_path: Path | None = None,
) -> Report:
    """The record of a recorded test signal, from its events alone.

    `tolerance` is how much the sound may be early and late; the other arguments, and what is
    raised, are those of `open_media`.
    """

    def opened(short_side: int) -> Media:
        return open_media(
            path,
            audio_track=audio_track,
            video_track=video_track,
            program=program,
            audio_path=audio_path,
            short_side=short_side,
        )

    signal: Signal | None = None
    if can_read_stamps():
        with opened(STAMP_SIDE) as media:
            signal = stamps_of(media.pictures(), media.sounds())
            info, degraded = media.info, media.degraded
    if signal is None:
        with opened(SIGNAL_SIDE) as media:
            signal, info = signal_of(media), media.info
            degraded = media.degraded
    judged = judge_signal(signal, tolerance, every_picture=True)
    report = report_on(path, judged, info, degraded, tolerance)
    return replace(
        within_title(report),
        measured_by="test_signal",
        signal=signal.kind,
        audio_path=None if audio_path is None else str(audio_path),
        program=info.program,
        programs=info.programs,
    )


def judge_signal(signal: Signal, tolerance: Tolerance, *, every_picture: bool = False) -> Judgement:
    """The judgement on a signal; undecidable if nothing that is seen goes with what is heard.

    Its `segments` are the events; its `confidence` is the share of what is seen and heard that is
    in pairs.

    Args:
        signal: The events.
        tolerance: How much the sound may be early and late.
        every_picture: List every event of stamps, not only one a second.
    """
    if not signal.events or signal.is_chance:
        return undecided(signal)
    events = _segments(signal.thinned())
    course = follow(events) or Course(())
    ends_ms = [ms for each in course.stretches for ms in (each.start_offset_ms, each.end_offset_ms)]
    offset_ms = max(ends_ms or [signal.offset_ms or 0.0], key=tolerance.beyond_ms)
    error_ms = signal.error_ms or _ERROR_MS.get(signal.kind, _USUAL_ERROR_MS)
    verdict, reason = against(offset_ms, tolerance, error_ms)
    return Judgement(
        verdict,
        None if reason is None else reason.text,
        offset_ms=round(offset_ms, 1) + 0.0,
        confidence=round(signal.share, 4),
        drift_ms_per_min=course.drift_ms_per_min,
        jumps_s=course.jumps_s,
        segments=_segments(signal) if every_picture else events,
        reason_code=None if reason is None else reason.code,
        jump_intervals_s=course.jump_intervals_s,
        stretches=course.stretches,
        measuring_error_ms=round(error_ms, 1),
    )


def _segments(signal: Signal) -> tuple[Segment, ...]:
    return tuple(
        Segment(each.picture_s, each.picture_s, round(each.offset_ms, 1) + 0.0, 1.0)
        for each in signal.events
    )


def undecided(signal: Signal) -> Judgement:
    """The judgement that what is seen of a signal does not go with what is heard."""
    sights = _SEEN[signal.kind][signal.in_picture != 1]
    beeps = _HEARD[signal.kind][signal.in_sound != 1]
    have = f"{signal.in_picture} {sights} and {signal.in_sound} {beeps}"
    if signal.ambiguous:
        return Judgement(
            "undecidable",
            f"{have}, of which several may belong together",
            reason_code="ambiguous",
        )
    pairs = "too few" if signal.events else "none"
    return Judgement(
        "undecidable", f"{have}, of which {pairs} belong together", reason_code="no_match"
    )
