"""What the formats for editing programs share: the title with its markers, and safe names."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from avcheck.record.markers import Marked, Marker, MarkerKind
from avcheck.record.report import VERDICT_TEXT, Report, describe_offset
from avcheck.render.text import printable, sound

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# OpenTimelineIO's names; the locators of an EDL use them too
COLOURS: dict[MarkerKind, str] = {
    "in_sync": "GREEN",
    "out_of_sync": "RED",
    "undecidable": "YELLOW",
    "jump": "MAGENTA",
    "edit": "CYAN",
}


def title_of(report: Report) -> str:
    """The file's name without folders, made safe."""
    return (
        printable(PurePosixPath(report.path.replace("\\", "/")).name or report.path) or "untitled"
    )


def project_of(report: Report) -> str:
    """The name of a title's project: the file's, and which of its sounds if there are several."""
    return f"{title_of(report)} {sound(report)}".rstrip()


def url_of(report: Report) -> str:
    """The file's location as a URL of printable ASCII; a relative path stays relative to where
    avcheck runs.
    """
    if _URL.match(report.path):
        return printable(report.path)
    absolute = Path(report.path).absolute().as_posix()
    return "file://" + quote(absolute, errors="surrogatepass", safe="/")


def marker_text(marker: Marker) -> str:
    """The text of a marker, on one line."""
    return printable(marker.text)


def about(report: Report, title: Marked) -> str:
    """What holds for the whole title, in one line."""
    line = VERDICT_TEXT[report.verdict]
    if report.reason:
        line += f": {printable(report.reason)}"
    elif report.offset_ms is not None:
        line += f": {describe_offset(report.offset_ms, float(1000 / title.timecode.rate))}"
        line += " at worst" if len(report.stretches) > 1 else ""
    limits = report.tolerance
    line += f"; tolerance {limits.early_ms:g} ms early, {limits.late_ms:g} ms late"
    if report.verdict != "error" and not title.rate_known:
        line += "; the rate of the pictures is not known, 25 a second are counted"
    return line
