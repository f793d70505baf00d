"""What all formats have in common: text that grows file by file, so that a run of any length needs
no memory.
"""

from __future__ import annotations

from typing import ClassVar

from avcheck.report import Report


class Renderer:
    """One document: its head, an item for each report as it comes, its tail.

    Where `head_last` is true the head tells what only the end knows (counts): ask for it after the
    last item.
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
