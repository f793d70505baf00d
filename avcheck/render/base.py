"""What all formats share: text that grows file by file, so that a run of any length needs little
memory.
"""

from __future__ import annotations

from typing import ClassVar

from avcheck.record.report import Report


class Renderer:
    """A document: a head, an item for each report as it comes, a tail.

    If `head_last`, the head holds what is known only at the end (counts): ask for it after the last
    item.
    """

    head_last: ClassVar[bool] = False

    def head(self) -> str:
        """What stands before the items."""
        return ""

    def item(self, report: Report) -> str:
        """What is written for one file."""
        raise NotImplementedError

    def tail(self) -> str:
        """What stands after the items."""
        return ""
