"""What changed between two runs, as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from avcheck.record.changes import CHANGE_KINDS, Change
from avcheck.record.report import Report
from avcheck.render.text import judged, outcome, printable, subject, verdict_text


def change_line(change: Change) -> str:
    """One line, for example "worse a.mp4: in sync -> out of sync: sound late by 120 ms (3.0
    frames), confidence 0.97".
    """
    old, new = change.before, change.after
    if new is None:
        result = f"was {_result(old)}" if old is not None else ""
    elif old is None:
        result = f"new: {_result(new)}"
    elif old.verdict == new.verdict:
        result = f"{_result(new)}; was {outcome(old)}"
    else:
        result = f"{verdict_text(old)} -> {_result(new)}"
    causes = f" [{', '.join(change.causes)} changed]" if change.causes else ""
    about = new or old
    name = printable(change.path) if about is None else subject(about)
    return f"{change.kind:<8} {name}: {result}{causes}"


def changes_summary(changes: Sequence[Change], before: int, after: int, titles: int) -> str:
    """How many changes of each kind, for example "12 files, 12 before: 1 worse, 2 better, 9 the
    same".

    Args:
        changes: Of one run since another.
        before: The number of records of the earlier run.
        after: That of the later one.
        titles: The number of files of the later run, which may have several sounds each.
    """
    kinds = Counter(change.kind for change in changes)
    same = after - sum(count for kind, count in kinds.items() if kind != "gone")
    parts = [f"{kinds[kind]} {kind}" for kind in CHANGE_KINDS if kinds[kind]] + [f"{same} the same"]
    return f"{judged(after, titles)}, {before} before: {', '.join(parts)}"


def changes_json(changes: Sequence[Change]) -> str:
    """A list with an object for each change: `path`, `change`, `causes`, `before` and `after`;
    these two are null where there is no report.
    """
    rows = [
        {
            "path": change.path,
            "audio_track": _sound(change)[0],
            "audio_path": _sound(change)[1],
            "change": change.kind,
            "causes": change.causes,
            "before": _record(change.before),
            "after": _record(change.after),
        }
        for change in changes
    ]
    return json.dumps(rows, indent=2, ensure_ascii=True) + "\n"


def _sound(change: Change) -> tuple[int | None, str | None]:
    about = change.after or change.before
    return (None, None) if about is None else about.sound


def _result(report: Report) -> str:
    said = outcome(report)
    return verdict_text(report) + (f": {said}" if said else "")


def _record(report: Report | None) -> dict[str, Any] | None:
    if report is None:
        return None
    keys = (
        "verdict",
        "reason",
        "reason_code",
        "offset_ms",
        "offset_text",
        "confidence",
        "tolerance",
        "checked_at",
    )
    record = report.to_record()
    return {key: record[key] for key in keys}
