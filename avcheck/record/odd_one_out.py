"""What the sounds of one title say together, and which is the odd one out."""

from __future__ import annotations

from collections.abc import Sequence

from avcheck.record.report import FRAME_MS, Report
from avcheck.record.tracks import sound_named

_MOST_NAMED = 6
# In a tie, the better verdict counts as the majority
_RANKS = ("in_sync", "out_of_sync", "undecidable", "error")


def odd_one_out(reports: Sequence[Report]) -> str:
    """One sentence on a title with two sounds or more, as in "track 2 (fra) is late by 200 ms; the
    other 3 are in sync".
    """
    groups = _alike(reports)
    majority = min(groups, key=lambda group: (-len(group), _RANKS.index(group[0].verdict)))
    if len(majority) == len(reports):
        which = "both" if len(majority) == 2 else f"all {len(majority)}"
        return f"{which} sounds are {_state(majority)}"
    odd = [report for report in reports if report not in majority]
    parts = [f"{_name(report)} is {_state([report])}" for report in odd[:_MOST_NAMED]]
    if len(odd) > _MOST_NAMED:
        more = len(odd) - _MOST_NAMED
        parts.append(f"{more} more {'differs' if more == 1 else 'differ'} as well")
    others = f"the other {len(majority)} are" if len(majority) > 1 else f"{_name(majority[0])} is"
    return f"{', '.join(parts)}; {others} {_state(majority)}"


def _alike(reports: Sequence[Report]) -> list[list[Report]]:
    """The reports that agree: sounds that are out of sync agree if neighbouring offsets differ by a
    picture at most.
    """
    groups: list[list[Report]] = []
    for report in sorted(reports, key=lambda each: (each.verdict, each.offset_ms or 0.0)):
        before = groups[-1][-1] if groups else None
        same = before is not None and before.verdict == report.verdict
        if same and before is not None and report.verdict == "out_of_sync":
            same = abs((report.offset_ms or 0.0) - (before.offset_ms or 0.0)) <= FRAME_MS
        if same:
            groups[-1].append(report)
        else:
            groups.append([report])
    return groups


def _name(report: Report) -> str:
    return sound_named(report.audio_track, report.audio_tracks, report.audio_path)


def _state(group: Sequence[Report]) -> str:
    """What these reports, which agree, say."""
    first = group[0]
    if first.verdict == "in_sync":
        return "in sync"
    if first.verdict == "error":
        return "not judged"
    if first.verdict == "undecidable" or first.offset_ms is None:
        return "borderline" if first.reason_code == "borderline" else "undecidable"
    offsets_ms = [report.offset_ms or 0.0 for report in group]
    mean_ms = sum(offsets_ms) / len(offsets_ms)
    changes = any(len(each.stretches) > 1 or each.drift_ms_per_min for each in group)
    side = "early" if mean_ms > 0 else "late"
    about = "about " if len(group) > 1 else ""
    return f"{side} by {about}{abs(mean_ms):.0f} ms{' at worst' if changes else ''}"
