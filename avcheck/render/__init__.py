"""Rendering of reports: text, JSON, JUnit, GitHub and CSV. Never computes: what is not in the `Report` is not said.

File names and reasons are other people's text; every format passes them through `printable` or an escape of its own.
"""

from avcheck.render.base import Renderer
from avcheck.render.formats import FORMATS, STEP_SUMMARY, renderer
from avcheck.render.records import to_json
from avcheck.render.text import clock, details, event_table, line, printable, styled_line, summary, table

__all__ = [
    "FORMATS",
    "STEP_SUMMARY",
    "Renderer",
    "clock",
    "details",
    "event_table",
    "line",
    "printable",
    "renderer",
    "styled_line",
    "summary",
    "table",
    "to_json",
]
