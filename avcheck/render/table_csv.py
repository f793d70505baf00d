"""CSV (RFC 4180), a row for each file, or for each of several sounds; numbers are bare, every text
is quoted, and no text is a formula.

A spreadsheet executes a cell that begins with = + - @, also in their full-width forms, or with a
tab or CR. Such a text (a file name is other people's text) gets an apostrophe in front. JSON has
the exact name.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator

from avcheck.record.markers import marked
from avcheck.record.report import Report
from avcheck.render.base import Renderer
from avcheck.render.text import printable

COLUMNS = (
    "path",
    "verdict",
    "reason",
    "offset_ms",
    "offset_text",
    "confidence",
    "early_ms",
    "late_ms",
    "preset",
    "container_offset_ms",
    "drift_ms_per_min",
    "jumps_s",
    "duration_s",
    "sampled_s",
    "audio_track",
    "corrupt_frames",
    "missing_audio_s",
    "missing_video_s",
    "truncated",
    "notes",
    "avcheck_version",
    "model_sha256",
    "reason_code",
    "unseen_s",
    "jump_intervals_s",
    "stretches",
    "frame_rate",
    "start_timecode",
    "markers",
    "audio_language",
    "audio_path",
    "part_start_s",
    "part_end_s",
    "title_summary",
    "audio_clock",
    "measuring_error_ms",
)
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - spreadsheets take the full-width ones too


class Csv(Renderer):
    """The table with its header line."""

    def head(self) -> str:
        """The names of the columns."""
        return _row(COLUMNS)

    def item(self, report: Report) -> str:
        """One row; unknown values are empty cells, several values in a cell are separated by ";
        ".
        """
        return _row(_cells(report))


def _cells(report: Report) -> Iterator[str | float | None]:
    tolerance, degraded = report.tolerance, report.degraded
    yield from (
        report.path,
        report.verdict,
        report.reason,
        report.offset_ms,
        report.offset_text,
        report.confidence,
    )
    yield from (tolerance.early_ms, tolerance.late_ms, tolerance.preset)
    yield from (
        report.container_offset_ms,
        report.drift_ms_per_min,
        "; ".join(f"{at:g}" for at in report.jumps_s),
    )
    yield from (report.duration_s, report.sampled_s, report.audio_track, degraded.corrupt_frames)
    yield from (
        degraded.missing_audio_s,
        degraded.missing_video_s,
        "yes" if degraded.truncated else "no",
    )
    yield from ("; ".join(degraded.notes), report.avcheck_version, report.model_sha256)
    yield from (
        report.reason_code,
        _intervals(degraded.unseen_s),
        _intervals(report.jump_intervals_s),
    )
    yield "; ".join(
        f"{each.start_s:g} to {each.end_s:g} s: {each.start_offset_ms:g} to "
        f"{each.end_offset_ms:g} ms"
        for each in report.stretches
    )
    yield from _timecodes(report)
    tracks = (each for each in report.audio_tracks if each.number == report.audio_track)
    yield next((track.language for track in tracks), None)
    yield from (report.audio_path, *(report.part_s or (None, None)), report.title_summary)
    yield from (report.audio_clock, report.measuring_error_ms)


def _timecodes(report: Report) -> Iterator[str | None]:
    """The rate of the pictures, the timecode of the first, and that of each marker; empty if the
    rate is not known.
    """
    title = marked(report)
    if report.verdict == "error" or not title.rate_known:
        yield from (None, None, None)
        return
    yield from (str(title.timecode.rate), title.timecode.text(0))
    yield "; ".join(
        f"{title.timecode.text(each.start)} to {title.timecode.text(each.end)}: {each.text}"
        for each in title.markers
    )


def _intervals(intervals_s: tuple[tuple[float, float], ...]) -> str:
    return "; ".join(f"{start_s:g} to {end_s:g}" for start_s, end_s in intervals_s)


def _row(cells: Iterator[str | float | None] | tuple[str, ...]) -> str:
    text = io.StringIO()
    # Quoting every text keeps a row from beginning with "::", which GitHub takes for a command.
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n").writerow(
        _cell(cell) for cell in cells
    )
    return text.getvalue()


def _cell(value: str | float | None) -> str | float:
    if value is None:
        return ""
    if isinstance(value, str):
        begins_a_formula = value.startswith(_FORMULA) or value.lstrip().startswith(_FORMULA)
        return ("'" if begins_a_formula else "") + printable(value)
    return value if math.isfinite(value) else ""
