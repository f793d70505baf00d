"""Rendering of reports: text, JSON, JUnit, GitHub and CSV. Never computes: what is not in the `Report` is not said.

File names and reasons are other people's text; every format passes them through `printable` or an escape of its own.
"""

from avcheck.report.formats import FORMATS, STEP_SUMMARY, renderer
from avcheck.report.records import to_json
from avcheck.report.renderer import Renderer
from avcheck.report.text import clock, details, line, printable, styled_line, summary, table

__all__ = [
    "FORMATS",
    "STEP_SUMMARY",
    "Renderer",
    "clock",
    "details",
    "line",
    "printable",
    "renderer",
    "styled_line",
    "summary",
    "table",
    "to_json",
]
