"""What a report looks like as text and as JSON."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

from avcheck import render as rendering
from avcheck.record.report import (
    BlockResult,
    Degraded,
    Listened,
    Report,
    Stretch,
    Tolerance,
    confidence_text,
)
from avcheck.text.times import moment

LATE = Report("a.mp4", "out_of_sync", offset_ms=-120.0, confidence=0.97)


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (LATE, "a.mp4: out of sync: sound late by 120 ms (3.0 frames), confidence 0.97"),
        (
            Report("a.mp4", "in_sync", offset_ms=0.2, confidence=0.999),
            "a.mp4: in sync: sound and picture together (0 ms), confidence 0.99",
        ),
        (
            Report("a.mp4", "undecidable", reason="silence", offset_ms=400.0, confidence=0.3),
            "a.mp4: undecidable: silence",
        ),
        (Report("a.mp4", "undecidable"), "a.mp4: undecidable"),
        (Report("a.mp4", "error", reason="no video stream"), "a.mp4: error: no video stream"),
        (Report("a.mp4", "error", reason="two\nlines"), "a.mp4: error: two\\nlines"),
        (
            Report(
                "a.mp4",
                "out_of_sync",
                offset_ms=80.0,
                confidence=0.9,
                drift_ms_per_min=-12.34,
                jumps_s=(65.0, 3725.9),
            ),
            "a.mp4: out of sync: sound early by 80 ms (2.0 frames) at worst, confidence 0.90, "
            "sound drifts later by 12.3 ms a minute, offset jumps at 1:05, at 1:02:05",
        ),
        (
            Report(
                "a.mp4",
                "undecidable",
                reason="silence",
                duration_s=5400.0,
                sampled_s=160.0,
                degraded=Degraded(1),
            ),
            "a.mp4: undecidable: silence [sampled 2:40 of 1:30:00] [1 corrupt frame]",
        ),
        (
            Report(
                "a.mp4",
                "in_sync",
                offset_ms=0.0,
                confidence=0.95,
                duration_s=5400.0,
                listened=Listened(1000.0, 400.0),
            ),
            "a.mp4: in sync: sound and picture together (0 ms), confidence 0.95 "
            "[looked at 16:40 of 1:30:00]",
        ),
        (
            Report(
                "a.mp4",
                "undecidable",
                reason="silence",
                degraded=Degraded(1, 3.0, 0.1, True, ("multi\nedit",)),
            ),
            "a.mp4: undecidable: silence [1 corrupt frame; 3.0 s of sound missing; file cut "
            "short; multi\\nedit]",
        ),
        (
            Report(
                "a.mp4",
                "out_of_sync",
                offset_ms=-400.0,
                confidence=0.99,
                jumps_s=(550.0, 700.0),
                jump_intervals_s=((500.0, 600.0), (699.9, 700.1)),
            ),
            "a.mp4: out of sync: sound late by 400 ms (10.0 frames) at worst, confidence 0.99, "
            "offset jumps between 8:20 and 10:00, at 11:40",
        ),
        (
            Report(
                "a.mp4",
                "undecidable",
                reason="sound late by 70 ms (1.8 frames), limit 60 ms, measuring error 22 ms",
                reason_code="borderline",
                offset_ms=-70.0,
                confidence=1.0,
            ),
            "a.mp4: borderline: sound late by 70 ms (1.8 frames), "
            "limit 60 ms, measuring error 22 ms",
        ),
        (
            Report(
                "a.mp4",
                "in_sync",
                offset_ms=0.0,
                confidence=0.99,
                degraded=Degraded(1, unseen_s=((3.0, 9.04),)),
            ),
            "a.mp4: in sync: sound and picture together (0 ms), confidence 0.99 "
            "[1 corrupt frame; not looked at: 3.0 s to 9.0 s]",
        ),
        (
            Report(
                "a.mp4",
                "undecidable",
                reason="x",
                degraded=Degraded(
                    notes=("the clock restarts",), unseen_s=((58.0, 65.0), (3725.0, 3731.5))
                ),
            ),
            "a.mp4: undecidable: x [not looked at: 0:58 to 1:05, 1:02:05 to 1:02:11; the clock "
            "restarts]",
        ),
    ],
)
def test_the_line_of_a_file(report: Report, text: str) -> None:
    assert rendering.line(report) == text
    assert rendering.styled_line(report).plain == text


def test_a_steady_offset_says_nothing_of_drift() -> None:
    assert "drift" not in rendering.line(
        Report("a.mp4", "in_sync", offset_ms=1.0, drift_ms_per_min=0.01)
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("film é 映画 🎬.mp4", "film é 映画 🎬.mp4"),
        ("a\nb\r\t\x00\x7f", "a\\nb\\r\\t\\x00\\x7f"),
        ("\x1b[1mtitle\x07\x9b1m", "\\x1b[1mtitle\\x07\\x9b1m"),
        ("a\u2028b\u202ec\u200b", "a\\u2028b\\u202ec\\u200b"),
        ("\udcff\ud800", "\\xff\\ud800"),
        ("[red]a[/red]", "[red]a[/red]"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert rendering.printable(text) == shown


def shown_table(report: Report, width: int = 80, ascii_only: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(rendering.table(report, width=width, ascii_only=ascii_only))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_table_has_a_row_a_block() -> None:
    blocks = (
        BlockResult(0.0, 0.5, -118.4),
        BlockResult(1.0, 0.25, 0.3),
        BlockResult(3661.9, 0.25, None),
        BlockResult(3662.9, 0, 40.0),
    )
    rows = shown_table(Report("a.mp4", "out_of_sync", blocks=blocks))[3:]
    assert [row.split() for row in rows if row.strip()] == [
        ["0:00", "50.0", "%", "█" * 30, "118", "ms", "late"],
        ["0:01", "25.0", "%", "█" * 15, "0", "ms"],
        ["1:01:01", "25.0", "%", "█" * 15, "-"],
        ["1:01:02", "0.0", "%", "40", "ms", "early"],
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_table_fits_the_terminal(width: int) -> None:
    rows = shown_table(
        Report("a.mp4", "in_sync", blocks=(BlockResult(7200.0, 1.0, -1234.0),)),
        width,
        ascii_only=True,
    )
    assert max(map(len, rows)) <= width
    assert "…" not in "".join(rows)
    assert "1234 ms late" in "".join(rows)
    assert "#" in "".join(rows)


def test_a_table_without_attention_has_no_bars() -> None:
    assert "█" not in "".join(
        shown_table(Report("a.mp4", "undecidable", blocks=(BlockResult(0.0, 0.0, None),)))
    )


def test_details_say_only_what_there_is_to_say() -> None:
    assert rendering.details(LATE) == [
        ("tolerance", "early by at most 40 ms, late by at most 60 ms (ebu-r37)"),
    ]
    full = Report(
        "a.mp4",
        "undecidable",
        reason="too little evidence",
        offset_ms=400.0,
        confidence=0.31,
        tolerance=Tolerance(10, 20.5),
        container_offset_ms=21.4,
        drift_ms_per_min=3.0,
        degraded=Degraded(corrupt_frames=2, missing_video_s=1.0),
    )
    assert dict(rendering.details(full)) == {
        "best guess": "sound early by 400 ms (10.0 frames)",
        "confidence": "0.31",
        "tolerance": "early by at most 10 ms, late by at most 20.5 ms",
        "drift": "sound drifts earlier by 3.0 ms a minute",
        "timestamps": "the sound starts 21 ms before the picture",
        "damage": "2 corrupt frames; 1.0 s of picture missing",
    }
    error = Report("a.mp4", "error", reason="no\x07 video")
    assert (rendering.line(error), rendering.details(error)) == ("a.mp4: error: no\\x07 video", [])


def test_the_measuring_error_of_a_decided_file_is_said() -> None:
    known = replace(LATE, measuring_error_ms=14.14)
    assert ("precision", "within 14.1 ms (95 %)") in rendering.details(known)
    # The reason of a borderline one says it already
    borderline = replace(known, verdict="undecidable", reason_code="borderline")
    assert "precision" not in dict(rendering.details(borderline))


def test_it_is_said_when_a_sound_file_is_due() -> None:
    own = replace(LATE, audio_path="a.ts", audio_clock="stream")
    assert rendering.line(own).endswith(" [sound by the stream's clock]")
    assert ("sound", "due by the clock of the stream that both files were taken from") in (
        rendering.details(own)
    )
    usual = replace(LATE, audio_path="a.wav", audio_clock="film")
    assert rendering.line(usual) == rendering.line(LATE)
    assert ("sound", "begins with the film") in rendering.details(usual)


def test_stretches_are_told_where_the_offset_changes() -> None:
    jumps = replace(
        LATE, stretches=(Stretch(0.0, 500.0, 4.0, 4.0), Stretch(600.0, 1200.0, -400.0, -400.3))
    )
    assert [text for name, text in rendering.details(jumps) if name == "stretch"] == [
        "0:00 to 8:20: sound early by 4 ms (0.1 frames)",
        "10:00 to 20:00: sound late by 400 ms (10.0 frames)",
    ]
    drifts = replace(LATE, stretches=(Stretch(0.0, 51.0, 65.3, 178.0),))
    assert (
        "stretch",
        "0:00 to 0:51: from sound early by 65 ms (1.6 frames) to sound early by 178 ms (4.5 "
        "frames)",
    ) in (rendering.details(drifts))
    constant = replace(LATE, stretches=(Stretch(0.0, 51.0, -120.0, -120.0),))
    assert rendering.details(constant) == rendering.details(LATE)


def test_borderline_is_measured_and_no_guess() -> None:
    report = Report(
        "a.mp4",
        "undecidable",
        reason="x",
        reason_code="borderline",
        offset_ms=-70.0,
        confidence=1.0,
    )
    assert [name for name, _ in rendering.details(report)] == ["confidence", "tolerance"]
    assert "best guess" in dict(rendering.details(replace(report, reason_code="not_all_looked_at")))


def test_summary() -> None:
    assert rendering.summary(Counter(in_sync=9, error=2)) == "11 files: 9 in sync, 2 errors"
    assert rendering.summary(Counter(undecidable=1)) == "1 file: 1 undecidable"


def test_json_is_ascii_on_one_line_and_knows_no_nan() -> None:
    odd = Report(
        "é\n\udcff.mp4",
        "in_sync",
        drift_ms_per_min=math.nan,
        confidence=math.inf,
        blocks=(BlockResult(0.0, math.nan, None),),
    )
    text = rendering.to_json(odd)
    assert text.isascii() and "\n" not in text
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert record["path"] == "é\n\udcff.mp4"
    assert (
        record["drift_ms_per_min"]
        is record["confidence"]
        is record["blocks"][0]["attention"]
        is None
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.999, "0.99"), (0.897, "0.89"), (0.825, "0.82"), (0.29, "0.29"), (1.0, "1.00")],
)
def test_a_confidence_is_rounded_down(value: float, text: str) -> None:
    assert confidence_text(value) == text


@pytest.mark.parametrize(
    ("time_s", "text"),
    [(7.52, "0:07.52"), (59.999, "1:00.00"), (-0.02, "-0:00.02"), (-0.005, "0:00.00")],
)
def test_a_moment_is_written_to_the_hundredth(time_s: float, text: str) -> None:
    assert moment(time_s) == text
