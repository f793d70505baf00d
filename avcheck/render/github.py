"""GitHub Actions: workflow commands that annotate the worst files, and a Markdown summary of the
step.

GitHub shows ten errors and ten warnings for a step, so no more are written. Worst first: out of
sync by the size of the offset, then files that could not be judged; equal ones by path. Undecidable
files are warnings, the least sure first; if the run fails on them, they are errors and in the
table.
"""

from __future__ import annotations

import html
from collections import Counter

from avcheck.record.report import Report
from avcheck.render.base import Renderer
from avcheck.render.text import (
    Titles,
    line,
    outcome,
    printable,
    sound,
    subject,
    summary,
    verdict_text,
)
from avcheck.render.worst import Worst

SHOWN = 10  # of each kind, that GitHub shows for a step
ROWS = 100  # of the summary's table; GitHub refuses summaries beyond 1 MiB
_CELL = 500  # characters of a path or reason in the table


class Annotations(Renderer):
    """A line of text for each file as it comes, then the annotations. An error's line goes to
    stderr only.
    """

    def __init__(self, *, strict: bool = False) -> None:
        """With `strict`, undecidable is an error."""
        self._strict = strict
        self._errors: Worst[str] = Worst(SHOWN)
        self._warnings: Worst[str] = Worst(SHOWN)
        self._titles = Titles()

    def item(self, report: Report) -> str:
        """The file's line; its annotation, if any, comes in the tail."""
        if report.verdict == "undecidable" and not self._strict:
            self._warnings.add(report, _command("warning", report))
        elif report.verdict != "in_sync":
            self._errors.add(report, _command("error", report))
        lines = (
            "" if report.verdict == "error" else line(report),
            self._titles.summary_after(report),
        )
        return "".join(f"{text}\n" for text in lines if text)

    def tail(self) -> str:
        """The annotations, worst first, errors before warnings."""
        return "".join(self._errors.items() + self._warnings.items())


class StepSummary(Renderer):
    """The summary of a step in Markdown: the counts, and a table of the worst files. All of it
    comes at the end.
    """

    def __init__(self, *, strict: bool = False) -> None:
        """With `strict`, undecidable files are in the table."""
        self._shown = {"out_of_sync", "error", *(("undecidable",) if strict else ())}
        self._verdicts: Counter[str] = Counter()
        self._titles = Titles()
        self._rows: Worst[str] = Worst(ROWS)

    def item(self, report: Report) -> str:
        """Nothing; the file is counted."""
        self._verdicts[report.verdict] += 1
        self._titles.summary_after(report)
        if report.verdict in self._shown:
            cells = (
                f"<code>{_html(subject(report))}</code>",
                verdict_text(report),
                _html(outcome(report)),
            )
            self._rows.add(report, f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n")
        return ""

    def tail(self) -> str:
        """All of it."""
        text = f"### avcheck: {summary(self._verdicts, self._titles.count)}\n\n"
        rows = self._rows.items()
        if not rows:
            return text
        # A table in HTML without blank lines: Markdown in a file name stays plain text there.
        table = (
            "<table>\n<tr><th>file</th><th>verdict</th><th>what was "
            f"found</th></tr>\n{''.join(rows)}</table>\n\n"
        )
        left = sum(self._verdicts[verdict] for verdict in self._shown) - len(rows)
        return text + table + (f"and {left} more\n\n" if left else "")


def _command(level: str, report: Report) -> str:
    verdict = verdict_text(report)
    title = f"avcheck: {verdict}"
    said = outcome(report) or verdict
    if name := sound(report):
        said = f"{name}: {said}"
    return f"::{level} file={_property(report.path)},title={_property(title)}::{_data(said)}\n"


def _data(text: str) -> str:
    """The text as the message of a workflow command."""
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return printable(escaped)


def _property(text: str) -> str:
    """The text as the value of a property of a workflow command."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _html(text: str) -> str:
    shown = printable(text)
    return html.escape(shown if len(shown) <= _CELL else shown[: _CELL - 1] + "…")
