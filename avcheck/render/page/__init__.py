"""A report for people: one HTML page that holds everything it shows, opens from disk, and makes no
request to the network.

A single file is shown in full. Of many, a table shows the worst first, and each row opens its
details. Other people's text (names, titles, languages) goes through `printable` and is escaped by
the templates. The page's content security policy allows its own style sheet and script by their
hashes, pictures inside the page, and nothing else.

Templates are Jinja2's, with autoescape. Jinja2 is no extra: PyTorch needs it, so it is installed
anyway. It is loaded only when a page is made.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from avcheck._version import __version__
from avcheck.record.report import VERDICT_TEXT, Report, confidence_text
from avcheck.render.base import Renderer
from avcheck.render.page import charts, film, words
from avcheck.render.records import to_json
from avcheck.render.text import (
    Titles,
    outcome,
    printable,
    short_offset,
    sound,
    summary,
    verdict_text,
)
from avcheck.render.worst import Worst
from avcheck.text.times import clock

if TYPE_CHECKING:
    from avcheck.evidence.stills import Illustration

MOST_ROWS = 10_000  # of the table, for the worst files; the others are only counted

Illustrate = Callable[[Report], "Illustration"]


class Page(Renderer):
    """The page of a run, written at the end. Memory holds the rows of the `limit` worst files at
    most.
    """

    def __init__(self, *, illustrate: Illustrate | None = None, limit: int = MOST_ROWS) -> None:
        """`illustrate` gives the stills of a file if it is the only one; None: there are none."""
        self._illustrate = illustrate
        self._verdicts: Counter[str] = Counter()
        self._titles = Titles()
        self._odd_one_out = ""  # of the last title that has several sounds
        self._first: Report | None = None
        self._rows: Worst[Markup] = Worst(limit)

    def item(self, report: Report) -> str:
        """Nothing yet. The first file is kept whole, of the others their rows."""
        self._verdicts[report.verdict] += 1
        self._odd_one_out = self._titles.summary_after(report) or self._odd_one_out
        if self._verdicts.total() == 1:
            self._first = report
            return ""
        if self._first is not None:
            self._rows.add(self._first, _row(self._first))
            self._first = None
        self._rows.add(report, _row(report))
        return ""

    def tail(self) -> str:
        """All of it."""
        if self._first is not None:
            return _one(self._first, self._illustrate)
        rows = self._rows.items()
        said = summary(self._verdicts, self._titles.count)
        return _document(
            "many.html",
            title=f"avcheck: {said}",
            summary=said,
            sentence=self._odd_one_out if self._titles.count == 1 else "",
            counts=[
                (verdict, text, self._verdicts[verdict])
                for verdict, text in _ORDER
                if self._verdicts[verdict]
            ],
            rows=rows,
            left=self._verdicts.total() - len(rows),
        )


# Runs before the body is read: rows that the script will show page by page are not laid out first,
# which takes long.
_EARLY = Markup('document.documentElement.classList.add("scripted");')

# In the order of the table.
_ORDER = [
    (verdict, VERDICT_TEXT[verdict])
    for verdict in ("out_of_sync", "error", "undecidable", "in_sync")
]


@dataclass(frozen=True)
class _Record:
    """The exact record, as a file to download."""

    name: str  # of the file, without ".gz"
    size: int  # bytes, unpacked
    packed: str  # gzip, base64: a quarter of the size for a two-hour title


def _drawn(report: Report) -> bool:
    """Whether there is an offset to draw over the length."""
    return bool(report.segments or report.stretches)


def _one(report: Report, illustrate: Illustrate | None) -> str:
    pictured = illustrate(report) if illustrate is not None else None
    data = to_json(report).encode("ascii") + b"\n"
    packed = base64.b64encode(gzip.compress(data, 9, mtime=0)).decode("ascii")
    name = words.file_name(report)
    return _document(
        "one.html",
        title=f"{name}: {verdict_text(report)} (avcheck)",
        report=report,
        name=name,
        path=printable(report.path),
        verdict=verdict_text(report),
        sentence=words.sentence(report),
        facts=words.facts(report),
        course=words.course(report),
        edits=words.edits(report),
        segments=words.segments(report),
        offset_chart=charts.offset_chart(report) if _drawn(report) else Markup(""),
        score_map=charts.score_map(report) if report.by_network else Markup(""),
        attention_chart=charts.attention_chart(report) if report.by_network else Markup(""),
        fit_legend=charts.fit_legend(),
        lane_legend=charts.lane_legend(report),
        frames=[film.frame(still, report) for still in pictured.stills] if pictured else [],
        no_frames=pictured.reason if pictured else "",
        unseen=words.unseen(report),
        notes=words.notes(report),
        container=words.container(report),
        audio_tracks=words.tracks(report.audio_tracks, report.audio_track),
        video_tracks=words.tracks(report.video_tracks, report.video_track),
        made=words.made(report),
        again=words.again(report),
        record=_Record(words.record_name(report), len(data), packed),
    )


def _row(report: Report) -> Markup:
    """A file's row in the table, with its details folded away."""
    path = printable(report.path) or "(empty path)"
    name = words.file_name(report)
    folder = path.removesuffix(name)
    duration_s = report.duration_s
    text = (
        _environment()
        .get_template("row.html")
        .render(
            report=report,
            folder=folder if folder != path else "",
            name=name if folder != path else path,
            sound=sound(report),
            verdict=verdict_text(report),
            said=outcome(report),
            facts=words.row_facts(report),
            lines=words.lines(report),
            chart=charts.small_chart(report) if _drawn(report) else Markup(""),
            offset="" if report.offset_ms is None else short_offset(report.offset_ms),
            confidence="" if report.verdict == "error" else confidence_text(report.confidence),
            duration="" if duration_s is None else clock(duration_s),
            again=words.again(report),
        )
    )
    return Markup(text)  # noqa: S704 - it comes from a template that escapes


def _document(template: str, **context: Any) -> str:
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(_EARLY)} "
        f"{_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    own = {
        "policy": policy,
        "style": style,
        "early": _EARLY,
        "script": script,
        "version": __version__,
    }
    return _environment().get_template(template).render(**own, **context) + "\n"


@lru_cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("avcheck.render", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache
def _asset(name: str) -> Markup:
    """A file that goes into the page as it is, but for white space at its ends: the Nu HTML Checker
    leaves that out of the hash that it compares.
    """
    text = resources.files(__name__).joinpath(name).read_text(encoding="utf-8").strip()
    return Markup(text)  # noqa: S704 - our own


def _hash(text: str) -> str:
    """The hash by which a content security policy allows a style sheet or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
