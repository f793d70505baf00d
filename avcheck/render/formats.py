"""The formats by name. Each is loaded only when it is asked for: a run needs one or two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from avcheck.render.base import Renderer

if TYPE_CHECKING:
    from avcheck.render.page import Illustrate

Format = Literal["text", "json", "jsonl", "junit", "github", "csv", "html", "otio", "edl", "fcpxml"]
FORMATS: tuple[Format, ...] = get_args(Format)
ONE_TITLE = ("edl",)  # formats that hold a single title
STEP_SUMMARY = "github-summary"


def renderer(
    form: str, *, strict: bool = False, single: bool = False, illustrate: Illustrate | None = None
) -> Renderer:
    """A new document.

    Args:
        form: One of `FORMATS`, or `STEP_SUMMARY`.
        strict: Undecidable counts as a failure.
        single: JSON is the record itself and not a list.
        illustrate: Gives the stills for the html page of a single file; None: it has none.

    Raises:
        UsageError: The format needs a package that is not installed.
    """
    if form == "html":
        from avcheck.render.page import Page

        return Page(illustrate=illustrate)
    if form in ("json", "jsonl"):
        from avcheck.render.records import JsonLines, JsonList, JsonRecord

        if form == "jsonl":
            return JsonLines()
        return JsonRecord() if single else JsonList()
    if form == "junit":
        from avcheck.render.junit import JUnit

        return JUnit(strict=strict)
    if form in ("github", STEP_SUMMARY):
        from avcheck.render.github import Annotations, StepSummary

        return Annotations(strict=strict) if form == "github" else StepSummary(strict=strict)
    if form == "csv":
        from avcheck.render.table_csv import Csv

        return Csv()
    if form == "otio":
        from avcheck.render.otio import Otio

        return Otio()
    if form == "edl":
        from avcheck.render.edl import Edl

        return Edl()
    if form == "fcpxml":
        from avcheck.render.fcpxml import FcpXml

        return FcpXml()
    from avcheck.render.text import Lines

    return Lines()
