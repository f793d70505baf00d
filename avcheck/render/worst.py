"""The worst files of a run, for documents that show only so many."""

from __future__ import annotations

import bisect
from typing import Generic, TypeVar

from avcheck.record.report import Report

Shown = TypeVar("Shown")


class Worst(Generic[Shown]):
    """The worst so many of all items added, worst first. The others are forgotten, so memory stays
    small.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: list[tuple[tuple[int, float, str, int], Shown]] = []
        self._added = 0

    def add(self, report: Report, shown: Shown) -> None:
        """Keep what is shown of a report if it is among the worst so far."""
        # So that two reports of one path keep their order, and no two items are compared
        self._added += 1
        bisect.insort(self._kept, ((*_rank(report), self._added), shown))
        del self._kept[self._limit :]

    def items(self) -> list[Shown]:
        """The items kept, worst first."""
        return [shown for _, shown in self._kept]


def _rank(report: Report) -> tuple[int, float, str]:
    """Sort key, worst first: out of sync by the size of the offset, errors, undecidable by
    confidence, in sync by the offset.
    """
    if report.verdict == "out_of_sync":
        return 0, -abs(report.offset_ms or 0.0), report.path
    if report.verdict == "error":
        return 1, 0.0, report.path
    if report.verdict == "undecidable":
        return 2, report.confidence, report.path
    return 3, -abs(report.offset_ms or 0.0), report.path
