"""What a comparison says of a file, as the record that a check gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from avcheck._version import __version__
from avcheck.compare.align import Piece
from avcheck.compare.comparison import Comparison, Digest, SyncChange
from avcheck.compare.find import SHORTEST_S
from avcheck.record.edits import TIMES, Edit
from avcheck.record.report import Degraded, Report, Stretch, Tolerance, UndecidableCode
from avcheck.verdict.judge import against

MEASURING_ERROR_MS = 10.0  # a quarter of a picture at 25 fps
_LEAST_ALIGNED = 0.5  # of what the file has, for a verdict
_LEAST_GAP_S = 1.0  # beside stretches, that is worth a word
_OTHER_VOICES = "its voices are others: the music and effects under them were aligned"
# If only the sound or only the picture was found in more of a file, it cannot be called in sync
_LEAST_ALONE_S, _ALONE_SHARE = 3.0, 0.1


def to_report(
    path: str, comparison: Comparison, tolerance: Tolerance, title: Digest | None = None
) -> Report:
    """The record of a comparison. `offset_ms` is the worst difference from the reference;
    `confidence` the share aligned. `title`: the file, for what is known of it.
    """
    report = _judged(path, comparison, tolerance)
    if title is None:
        return report
    info, lost = title.info, title.degraded
    return replace(
        report,
        # What was compared ends with the shorter of sound and picture
        duration_s=report.duration_s if info.duration_s is None else info.duration_s,
        container_offset_ms=info.container_offset_ms,
        audio_track=info.audio_track,
        video_track=info.video_track,
        program=info.program,
        programs=info.programs,
        audio_tracks=info.audio_tracks,
        video_tracks=info.video_tracks,
        picture=info.picture_facts,
        degraded=replace(
            lost,
            notes=(*report.degraded.notes, *lost.notes),
            unseen_s=(*report.degraded.unseen_s, *lost.unseen_s),
        ),
    )


def _judged(path: str, comparison: Comparison, tolerance: Tolerance) -> Report:
    plain = Report(
        path,
        "undecidable",
        confidence=round(min(comparison.share, 1.0), 4),
        measured_by="reference",
        tolerance=tolerance,
        duration_s=comparison.duration_s,
        avcheck_version=__version__,
    )
    if comparison.duration_s < SHORTEST_S:
        return replace(plain, reason=_too_short(comparison), reason_code="too_short")
    if comparison.share < _LEAST_ALIGNED:
        return replace(plain, reason=_not_aligned(comparison), reason_code="not_aligned")
    ends_ms = [value for change in comparison.changes for value in (change.start_ms, change.end_ms)]
    offset_ms = max(ends_ms, key=tolerance.beyond_ms)
    verdict, reason = against(offset_ms, tolerance, MEASURING_ERROR_MS)
    text: str | None = None if reason is None else reason.text
    code: UndecidableCode | None = None if reason is None else reason.code
    alone_s = sum(end_s - start_s for start_s, end_s in _alone(comparison))
    if verdict == "in_sync" and alone_s > max(_LEAST_ALONE_S, _ALONE_SHARE * comparison.duration_s):
        verdict, code = "undecidable", "not_all_looked_at"
        text = (
            f"what could be aligned is as it was, but for {alone_s:.1f} s of "
            f"{comparison.duration_s:.1f} s the reference has only the sound or only the picture"
        )
    jumps = [
        (before.end_s, after.start_s)
        for before, after in pairwise(comparison.changes)
        if abs(after.start_ms - before.end_ms) >= MEASURING_ERROR_MS
    ]
    longest = max(comparison.changes, key=lambda change: change.end_s - change.start_s)
    return replace(
        plain,
        verdict=verdict,
        reason=text,
        reason_code=code,
        offset_ms=round(offset_ms, 1) + 0.0,
        measuring_error_ms=MEASURING_ERROR_MS,
        drift_ms_per_min=_drift(longest),
        jumps_s=tuple((start_s + end_s) / 2 for start_s, end_s in jumps),
        jump_intervals_s=tuple(jumps),
        stretches=tuple(map(_stretch, comparison.changes)),
        edits=tuple(map(_rounded, comparison.edits)),
        degraded=_unaligned(comparison),
    )


def _too_short(comparison: Comparison) -> str:
    has_s = math.floor(10 * comparison.duration_s) / 10  # 3.78 s are not 3.8 s
    return (
        f"only {has_s:.1f} s of the file has both pictures and sound; aligning takes "
        f"{SHORTEST_S:g} s"
    )


def _not_aligned(comparison: Comparison) -> str:
    sides = (("sound", comparison.sound), ("picture", comparison.picture))
    missing = [name for name, parts in sides if not parts]
    what = f"more than {comparison.aligned_s:.0f} s of {comparison.duration_s:.0f} s"
    if missing:
        what = f"its {' and '.join(missing)}"
    return f"it cannot be aligned with the reference: {what} cannot be found there"


def _stretch(change: SyncChange) -> Stretch:
    return Stretch(
        round(change.start_s, 3),
        round(change.end_s, 3),
        round(change.start_ms, 1) + 0.0,
        round(change.end_ms, 1) + 0.0,
    )


def _rounded(edit: Edit) -> Edit:
    """To a millisecond: no more is known."""
    return replace(edit, **{name: round(getattr(edit, name), 3) + 0.0 for name in TIMES})


def _drift(change: SyncChange) -> float | None:
    if change.start_ms == change.end_ms:
        return None
    return round(60 * (change.end_ms - change.start_ms) / (change.end_s - change.start_s), 2)


def _alone(comparison: Comparison) -> list[tuple[float, float]]:
    """The stretches of the file in which only its sound or only its picture was found: there one
    may have been moved against the other. Where neither was, something was inserted.
    """
    parts = (*comparison.sound, *comparison.picture)
    ends = {
        comparison.start_s,
        comparison.end_s,
        *(part.start_s for part in parts),
        *(part.end_s for part in parts),
    }
    times = sorted(time for time in ends if comparison.start_s <= time <= comparison.end_s)

    def has(parts: Sequence[Piece], time_s: float) -> bool:
        return any(part.start_s <= time_s <= part.end_s for part in parts)

    return [
        (low, high)
        for low, high in pairwise(times)
        if has(comparison.sound, (low + high) / 2) != has(comparison.picture, (low + high) / 2)
    ]


def _unaligned(comparison: Comparison) -> Degraded:
    """The stretches that were not aligned, and what else is not as it was."""
    ends = [
        comparison.start_s,
        *(time for each in comparison.changes for time in (each.start_s, each.end_s)),
    ]
    ends.append(comparison.end_s)
    gaps = [
        (round(start_s, 3), round(end_s, 3))
        for start_s, end_s in zip(ends[::2], ends[1::2], strict=True)
        if end_s - start_s >= _LEAST_GAP_S
    ]
    notes = [
        note
        for note, holds in (
            ("its picture is mirrored", any(view.mirrored for view in comparison.views or ())),
            (_OTHER_VOICES, comparison.bed),
        )
        if holds
    ]
    return Degraded(notes=tuple(notes), unseen_s=tuple(gaps))
