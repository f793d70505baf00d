"""Reports for tests of the formats, some with names that try to break them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from avcheck.record.report import BlockResult, Degraded, Report, Segment, Stretch, Tolerance
from avcheck.render import renderer

LATE = Report(
    "late.mp4",
    "out_of_sync",
    offset_ms=-120.0,
    confidence=0.97,
    tolerance=Tolerance(40, 60, "ebu-r37"),
    container_offset_ms=-23.2,
    jumps_s=(12.0, 90.5),
    jump_intervals_s=((10.0, 14.0), (90.5, 90.5)),
    stretches=(
        Stretch(0.0, 10.0, 4.0, 4.0),
        Stretch(14.0, 90.5, -120.0, -120.0),
        Stretch(90.5, 100.0, 4.0, 24.5),
    ),
    duration_s=100.0,
    audio_track=0,
    segments=(Segment(0.0, 100.0, -120.0, 0.97),),
    blocks=(BlockResult(0.0, 1.0, -118.0),),
    degraded=Degraded(corrupt_frames=2, notes=("two edits", "=1+1")),
    model_sha256="0" * 64,
    avcheck_version="0.1.0",
)


LATE_TEXT = (
    "sound late by 120 ms (3.0 frames) at worst, confidence 0.97, offset jumps between 0:10 and "
    "0:14, at 1:30 "
    "(0:00 to 0:10: 4 ms early; 0:14 to 1:30: 120 ms late; 1:30 to 1:40: 4 ms early to 24 ms "
    "early)"
)


BORDERLINE = Report(
    "near.mp4",
    "undecidable",
    reason="sound late by 70 ms (1.8 frames), limit 60 ms, measuring error 22 ms",
    reason_code="borderline",
    offset_ms=-70.0,
    confidence=1.0,
)


GOOD = Report("good.mp4", "in_sync", offset_ms=4.0, confidence=0.9)
UNSURE = Report("unsure.mkv", "undecidable", reason="silence", confidence=0.2)
BROKEN = Report("broken.mov", "error", reason="not a media file avcheck reads")
EACH = (LATE, GOOD, UNSURE, BROKEN)
HOSTILE = [
    "::error file=x::y.mp4",
    " ::warning::y.mp4",
    "a\n::error::b.mp4",
    "a\r::debug::b.mp4",
    "##[error]x.mp4",
    "a ##vso[task.debug]b.mp4",
    "##teamcity[message text='ok'].mp4",
    "100%,a:b%0A.mp4",
    "=1+1.mp4",
    "+1.mp4",
    "-1.mp4",
    "@SUM(1).mp4",
    "\t=1.mp4",
    "\r=1.mp4",
    "  =1.mp4",
    "＝1.mp4",  # noqa: RUF001
    '"quoted", twice.mp4',
    "<b>&amp;\"']]>.mp4",
    "</code><b>bold</b>.mp4",
    "| a | `b` | [c](d) **e**.mp4",
    "[red]a[/red].mp4",
    "\x1b[1m\x07\x9b1m.mp4",
    "\x00\x01\x0b\x1f\x7f\x85.mp4",
    "\ufffe\uffff.mp4",
    "\u202egp4.\u200b\u2028.mp4",
    "\udcff\ud800.mp4",
    "film é 映画 🎬.mp4",
]


def document(form: str, reports: Iterable[Report], *, strict: bool = False) -> str:
    made = renderer(form, strict=strict)
    items = "".join([made.item(report) for report in reports])
    return made.head() + items + made.tail()


def hostile(name: str) -> list[Report]:
    return [
        Report(
            name, "out_of_sync", offset_ms=-120.0, confidence=0.9, degraded=Degraded(notes=(name,))
        ),
        Report(name, "error", reason=f"cannot open {name}"),
        Report(name, "undecidable", reason=name),
    ]


def rows(text: str) -> list[dict[str, str]]:
    assert text.count("\n") == text.count("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
