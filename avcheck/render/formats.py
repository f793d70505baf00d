"""The formats by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avcheck.render.base import Renderer
from avcheck.render.github import Annotations, StepSummary
from avcheck.render.junit import JUnit
from avcheck.render.records import JsonLines, JsonList, JsonRecord
from avcheck.render.table_csv import Csv
from avcheck.render.text import Lines

if TYPE_CHECKING:
    from avcheck.render.page import Illustrate

FORMATS = ("text", "json", "jsonl", "junit", "github", "csv", "html")
STEP_SUMMARY = "github-summary"


def renderer(
    form: str, *, strict: bool = False, single: bool = False, illustrate: Illustrate | None = None
) -> Renderer:
    """A new document in one of `FORMATS`, or the `STEP_SUMMARY`.

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
    plain: dict[str, type[Renderer]] = {
        "text": Lines,
        "json": JsonList,
        "jsonl": JsonLines,
        "csv": Csv,
    }
    return plain[form]()
