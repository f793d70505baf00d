"""The table of a single file: its offset over time, and every second if asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from avcheck.record.report import Report
from avcheck.render.text import change_of, percent, short_offset
from avcheck.text.times import clock

if TYPE_CHECKING:
    from rich.table import Table

ROWS = 30  # a file of more blocks is folded, unless every row is asked for
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def table(
    report: Report, *, width: int = 80, ascii_only: bool = False, every_row: bool = False
) -> Table:
    """A row for each block of a short file, or each stretch of a long one; with `every_row`, for
    each block of any file.

    `width`: the terminal's, in columns; with `ascii_only` the bars are made of "#".
    """
    if is_folded(report, every_row=every_row):
        return _stretches(report)
    return _blocks(report, width, ascii_only)


def is_folded(report: Report, *, every_row: bool) -> bool:
    """Whether `table` shows stretches, not blocks."""
    return not every_row and len(report.blocks) > ROWS


def _blocks(report: Report, width: int, ascii_only: bool) -> Table:
    """A block's time, its share of the attention as number and bar, and the offset that it shows
    alone.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    bar_width = max(1, min(30, width - 42))  # what the other columns leave
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    rows.add_column("Time", justify="right", no_wrap=True)
    rows.add_column("Attention", justify="right", no_wrap=True)
    rows.add_column("", width=bar_width, no_wrap=True)
    rows.add_column("Local offset", no_wrap=True)
    most = max((block.attention for block in report.blocks), default=0.0)
    for block in report.blocks:
        bar = _bar(block.attention / most if most > 0 else 0.0, bar_width, ascii_only)
        offset = "-" if block.offset_ms is None else short_offset(block.offset_ms)
        rows.add_row(
            clock(block.start_s), percent(block.attention), Text(bar, style="cyan"), offset
        )
    return rows


def _stretches(report: Report) -> Table:
    from rich import box
    from rich.table import Table

    rows = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption=f"-v shows {len(report.blocks)} rows of 1 s",
        caption_justify="left",
    )
    rows.add_column("From", justify="right", no_wrap=True)
    rows.add_column("To", justify="right", no_wrap=True)
    rows.add_column("Offset", no_wrap=True)
    for start_s, end_s, offset in _course(report):
        rows.add_row(clock(start_s), clock(end_s), offset)
    return rows


def event_table(report: Report) -> Table:
    """A row for each event of a test signal: when it is seen, when it is heard, and the offset."""
    from rich import box
    from rich.table import Table

    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("Seen", "Heard", "Offset"):
        rows.add_column(name, justify="right", no_wrap=True)
    digits = 1 if report.signal == "stamp" else 0
    for event in report.segments:
        offset_ms = event.offset_ms or 0.0
        beep_s = event.start_s - offset_ms / 1000
        rows.add_row(f"{event.start_s:.3f} s", f"{beep_s:.3f} s", short_offset(offset_ms, digits))
    return rows


def _course(report: Report) -> Iterator[tuple[float, float, str]]:
    """Which offset from when to when (s): the stretches, or else runs of segments with and without
    an offset.
    """
    for stretch in report.stretches:
        yield (
            stretch.start_s,
            stretch.end_s,
            change_of(stretch.start_offset_ms, stretch.end_offset_ms),
        )
    if not report.stretches:
        for is_known, run in groupby(
            report.segments, key=lambda segment: segment.offset_ms is not None
        ):
            segments = list(run)
            offsets = [segment.offset_ms for segment in segments if segment.offset_ms is not None]
            offset = change_of(min(offsets), max(offsets)) if is_known else "-"
            yield segments[0].start_s, segments[-1].end_s, offset


def _bar(share: float, width: int, ascii_only: bool) -> str:
    if ascii_only:
        return "#" * round(share * width)
    full, rest = divmod(round(min(share, 1.0) * width * 8), 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")
