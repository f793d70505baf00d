"""What a comparison says of a file, as the record that a check gives."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from avcheck import __version__
from avcheck.compare.comparison import SAME_MS, Change, Comparison, compare_titles, read_title
from avcheck.report import Degraded, Report, Stretch, Tolerance
from avcheck.verdict import against, beyond_ms

MEASURING_ERROR_MS = 10.0  # a quarter of a picture at 25 fps
_LEAST_ALIGNED = 0.5  # of what the file has, for a verdict
_LEAST_GAP_S = 1.0  # between stretches, that is worth a word


def compare_files(reference: Path, file: Path, tolerance: Tolerance) -> Report:
    """Decode and align both files and judge the difference. Raises MediaError and UsageError as
    `open_media`.
    """
    before = read_title(reference)
    try:
        after = read_title(file)
        try:
            return to_report(str(file), compare_titles(before, after), tolerance)
        finally:
            after.close()
    finally:
        before.close()


def to_report(path: str, found: Comparison, tolerance: Tolerance) -> Report:
    """The record of a comparison. `offset_ms` is the worst difference from the reference;
    `confidence` the share aligned.
    """
    share = found.aligned_s / found.duration_s if found.duration_s else 0.0
    plain = Report(
        path,
        "undecidable",
        measured_by="reference",
        tolerance=tolerance,
        duration_s=found.duration_s,
        avcheck_version=__version__,
    )
    if share < _LEAST_ALIGNED:
        missing = [
            name
            for name, parts in (("sound", found.sound), ("picture", found.picture))
            if not parts
        ]
        what = (
            f"its {' and '.join(missing)}"
            if missing
            else f"more than {found.aligned_s:.0f} s of {found.duration_s:.0f} s"
        )
        why = f"it cannot be aligned with the reference: {what} cannot be found there"
        return replace(plain, reason=why, reason_code="not_aligned", confidence=round(share, 4))
    ends_ms = [value for change in found.changes for value in (change.start_ms, change.end_ms)]
    offset_ms = max(ends_ms, key=lambda value: beyond_ms(value, tolerance))
    verdict, reason = against(offset_ms, tolerance, MEASURING_ERROR_MS)
    jumps = [
        (before.end_s, after.start_s)
        for before, after in pairwise(found.changes)
        if abs(after.start_ms - before.end_ms) >= SAME_MS
    ]
    longest = max(found.changes, key=lambda change: change.end_s - change.start_s)
    return replace(
        plain,
        verdict=verdict,
        reason=None if reason is None else reason.text,
        reason_code=None if reason is None else reason.code,
        offset_ms=round(offset_ms, 1) + 0.0,
        confidence=round(min(share, 1.0), 4),
        drift_ms_per_min=_drift(longest),
        jumps_s=tuple((start_s + end_s) / 2 for start_s, end_s in jumps),
        jump_intervals_s=tuple(jumps),
        stretches=tuple(
            Stretch(
                change.start_s,
                change.end_s,
                round(change.start_ms, 1) + 0.0,
                round(change.end_ms, 1) + 0.0,
            )
            for change in found.changes
        ),
        degraded=_unaligned(found),
    )


def _drift(change: Change) -> float | None:
    if change.start_ms == change.end_ms:
        return None
    return round(60 * (change.end_ms - change.start_ms) / (change.end_s - change.start_s), 2)


def _unaligned(found: Comparison) -> Degraded:
    """The stretches between those aligned."""
    gaps = [
        (before.end_s, after.start_s)
        for before, after in pairwise(found.changes)
        if after.start_s - before.end_s >= _LEAST_GAP_S
    ]
    return Degraded(
        notes=("parts of it are not in the reference",) if gaps else (), unseen_s=tuple(gaps)
    )
