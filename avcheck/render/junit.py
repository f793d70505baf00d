"""JUnit XML as Jenkins, GitLab, Azure and Buildkite read it. A file is a test case; if several of
its sounds were checked, each sound is.

Out of sync is a failure, a file that could not be judged an error, undecidable is skipped (or a
failure, if the run fails on it). Only attributes of Jenkins' own schema (xunit-plugin,
junit-10.xsd) are written, so `testsuites` has no "skipped" and `testcase` no "file". The XML is
plain ASCII, so it survives any locale.
"""

from __future__ import annotations

import html
from collections import Counter

from avcheck._version import __version__
from avcheck.record.report import Report
from avcheck.render.base import Renderer
from avcheck.render.text import details, line, outcome, printable, sound, verdict_text

_ELEMENT = {"out_of_sync": "failure", "error": "error", "undecidable": "skipped"}


class JUnit(Renderer):
    """One test suite; its head holds the counts, so it comes last."""

    head_last = True

    def __init__(self, *, strict: bool = False) -> None:
        """With `strict`, undecidable is a failure."""
        self._element = {**_ELEMENT, "undecidable": "failure"} if strict else _ELEMENT
        self._counts: Counter[str | None] = Counter()
        self._elapsed_s = 0.0

    def head(self) -> str:
        """The XML declaration and both opening tags with the counts of every item so far."""
        counts = {
            "tests": self._counts.total(),
            "failures": self._counts["failure"],
            "errors": self._counts["error"],
        }
        suites = (
            " ".join(f'{name}="{count}"' for name, count in counts.items())
            + f' time="{self._elapsed_s:.3f}"'
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<testsuites name="avcheck" {suites}>\n'
            f'<testsuite name="avcheck" {suites} skipped="{self._counts["skipped"]}">\n'
            '<properties><property name="avcheck_version" '
            f'value="{xml_text(__version__)}"/></properties>\n'
        )

    def item(self, report: Report) -> str:
        """The test case of one file; its class is the folder, which build servers group by."""
        element = self._element.get(report.verdict)
        self._counts[element] += 1
        self._elapsed_s += report.elapsed_s or 0.0
        folder = report.path.replace("\\", "/").rpartition("/")[0]
        case = (
            f'<testcase classname="{xml_text(folder or "avcheck")}" '
            f'name="{xml_text(_name(report))}" '
            f'time="{report.elapsed_s or 0.0:.3f}"'
        )
        if element is None:
            return f"{case}/>\n"
        said = outcome(report)
        rows = [line(report, course=False), *(f"{name}: {text}" for name, text in details(report))]
        if report.title_summary:
            rows.append(f"sounds: {report.title_summary}")
        body = "\n".join(xml_text(row) for row in rows)
        if report.reason_code == "borderline":
            said = f"{verdict_text(report)}: {said}"
        message = f'type="{report.verdict}" message="{xml_text(said)}"'
        return f"{case}>\n<{element} {message}>{body}</{element}>\n</testcase>\n"

    def tail(self) -> str:
        """Both closing tags."""
        return "</testsuite>\n</testsuites>\n"


def _name(report: Report) -> str:
    """A name that no other case has: build servers compare cases by name from run to run."""
    return f"{report.path} {sound(report)}" if report.records > 1 else report.path


def xml_text(text: str) -> str:
    """The text for an attribute or an element; line breaks, and what XML 1.0 forbids, become
    visible escapes.
    """
    shown = printable(text).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
    return html.escape(shown).encode("ascii", "xmlcharrefreplace").decode("ascii")
