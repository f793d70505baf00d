"""What changed between two runs over the same files. Compares results; judges nothing again."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from avcheck.record.report import FRAME_MS, Report

ChangeKind = Literal["worse", "better", "changed", "new", "gone"]
CHANGE_KINDS: tuple[ChangeKind, ...] = ("worse", "better", "changed", "new", "gone")


@dataclass(frozen=True)
class Change:
    """The change of one path, or of one of its sounds. The reports come without their segments,
    blocks and detail.
    """

    path: str
    kind: ChangeKind  # whether it is for the worse, or the path is new or gone
    before: Report | None  # None: not in the earlier run
    after: Report | None  # None: not in the later run

    @property
    def causes(self) -> tuple[str, ...]:
        """What else differs between the two checks and may be the cause."""
        if self.before is None or self.after is None:
            return ()
        old, new = self.before, self.after
        differs = {
            "the file": (old.file_size, old.file_mtime_ns) != (new.file_size, new.file_mtime_ns),
            "the tolerance": old.tolerance != new.tolerance,
            "the weights": old.model_sha256 != new.model_sha256,
            "avcheck": old.avcheck_version != new.avcheck_version,
        }
        return tuple(name for name, does in differs.items() if does)


def changes_between(
    before: Iterable[Report], after: Iterable[Report], failing: Collection[str]
) -> list[Change]:
    """Every path whose result differs between two runs.

    A path is worse if it fails now and did not fail in the same way before: it had another verdict,
    an offset that was more than a frame (40 ms) less far beyond its limit, or no result at all. An
    offset that moves by up to a frame is no change.

    Args:
        before: The reports of the earlier run.
        after: Those of the later run.
        failing: The verdicts that fail a run.

    Returns:
        The changes, the worse ones first, then by path.
    """
    old = {(report.path, report.sound): _in_short(report) for report in before}
    changes = []
    for report in after:
        kind = _kind(earlier := old.pop((report.path, report.sound), None), report, failing)
        if kind is not None:
            changes.append(Change(report.path, kind, earlier, _in_short(report)))
    changes += [Change(path, "gone", report, None) for (path, _), report in old.items()]
    return sorted(changes, key=lambda change: (CHANGE_KINDS.index(change.kind), change.path))


def _in_short(report: Report) -> Report:
    return replace(report, segments=(), blocks=(), detail=None)


def _kind(old: Report | None, new: Report, failing: Collection[str]) -> ChangeKind | None:
    if old is None:
        return "worse" if new.verdict in failing else "new"
    if old.verdict != new.verdict:
        if new.verdict in failing:
            return "worse"
        return "better" if old.verdict in failing or new.verdict == "in_sync" else "changed"
    if old.offset_ms is not None and new.offset_ms is not None:
        # By one tolerance: where only that differs, the file has not changed
        beyond_ms = new.tolerance.beyond_ms
        if (
            new.verdict in failing
            and beyond_ms(new.offset_ms) - beyond_ms(old.offset_ms) > FRAME_MS
        ):
            return "worse"
        if abs(new.offset_ms - old.offset_ms) > FRAME_MS:
            return "changed"
    return "changed" if old.reason_code != new.reason_code else None
