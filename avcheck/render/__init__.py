"""Reports in every output format. Never computes: what is not in the `Report` is not shown.

File names and reasons are other people's text; every format passes them through `printable` or an
escape of its own.
"""

from avcheck.render.base import Renderer
from avcheck.render.changes import change_line, changes_json, changes_summary
from avcheck.render.formats import FORMATS, ONE_TITLE, STEP_SUMMARY, Format, renderer
from avcheck.render.records import to_json
from avcheck.render.text import (
    FAILURES,
    Titles,
    details,
    failures,
    line,
    printable,
    styled_line,
    summary,
)
from avcheck.render.text_table import event_table, is_folded, table
from avcheck.render.worst import Worst

__all__ = [
    "FAILURES",
    "FORMATS",
    "ONE_TITLE",
    "STEP_SUMMARY",
    "Format",
    "Renderer",
    "Titles",
    "Worst",
    "change_line",
    "changes_json",
    "changes_summary",
    "details",
    "event_table",
    "failures",
    "is_folded",
    "line",
    "printable",
    "renderer",
    "styled_line",
    "summary",
    "table",
    "to_json",
]
