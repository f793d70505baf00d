"""The formats by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from avcheck.render.base import Renderer
from avcheck.render.edl import Edl
from avcheck.render.fcpxml import FcpXml
from avcheck.render.github import Annotations, StepSummary
from avcheck.render.junit import JUnit
from avcheck.render.otio import Otio
from avcheck.render.records import JsonLines, JsonList, JsonRecord
from avcheck.render.table_csv import Csv
from avcheck.render.text import Lines

if TYPE_CHECKING:
    from avcheck.render.page import Illustrate

FORMATS = (
    "text",
    "json",
    "jsonl",
    "junit",
    "github",
    "csv",
    "html",
    "otio",
    "edl",
    "fcpxml",
)
ONE_TITLE = ("edl",)  # formats that hold a single title
STEP_SUMMARY = "github-summary"


def renderer(
    form: str, *, strict: bool = False, single: bool = False, illustrate: Illustrate | None = None
) -> Renderer:
    """A new document in one of `FORMATS`, or the `STEP_SUMMARY`. Raises UsageError where the
    format needs what is not installed.

    With `strict`, undecidable is told as a failure; with `single`, JSON is the one record itself
    and no list. `illustrate` gives the stills for the html page of a single file; None: it has
    none.
    """
    if form == "html":
        from avcheck.render.page import Page  # late: brings Jinja2

        return Page(illustrate=illustrate)
    if form == "json" and single:
        return JsonRecord()
    if form == "junit":
        return JUnit(strict=strict)
    if form == "github":
        return Annotations(strict=strict)
    if form == STEP_SUMMARY:
        return StepSummary(strict=strict)
    plain: dict[str, Callable[[], Renderer]] = {
        "text": Lines,
        "json": JsonList,
        "jsonl": JsonLines,
        "csv": Csv,
        "otio": Otio,
        "edl": Edl,
        "fcpxml": FcpXml,
    }
    return plain[form]()
