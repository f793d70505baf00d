"""JUnit, GitHub, CSV, JSON and text, each read back by somebody else's parser, with file names that
mean harm.
"""

from __future__ import annotations

import gc
import json
import math
import re
import tracemalloc
import xml.etree.ElementTree as ElementTree

import pytest

from avcheck import render as rendering
from avcheck.record.report import Report
from avcheck.render import FORMATS, STEP_SUMMARY, renderer
from avcheck.render.base import Renderer
from tests.support.format_reports import EACH, HOSTILE, LATE, document, hostile, rows
from tests.support.formats import WRITABLE


@pytest.mark.parametrize("form", [*WRITABLE, STEP_SUMMARY])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_can_neither_break_a_line_nor_command_a_terminal_or_a_build_server(
    form: str, name: str
) -> None:
    text = document(form, hostile(name))
    assert not re.search(
        r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u200b]", text
    )
    assert "\r" not in text.replace("\r\n", "") if form == "csv" else "\r" not in text
    assert not re.search(r"##\w*\[", text)
    text.encode("utf-8")  # no lone surrogates
    ours = re.compile(r"::(error|warning) file=[^:,]*,title=avcheck%3A [a-z ]+::")
    commands = [row for row in text.splitlines() if row.lstrip().startswith("::")]
    assert len(commands) == (3 if form == "github" else 0)
    assert all(ours.match(row) for row in commands)


@pytest.mark.parametrize("form", [form for form in FORMATS if form not in ("otio", "fcpxml")])
def test_an_empty_run_is_a_whole_document(form: str) -> None:
    text = document(form, [])
    if form == "json":
        assert json.loads(text) == []
    elif form == "junit":
        assert ElementTree.fromstring(text)[0].get("tests") == "0"
    elif form == "csv":
        assert len(text.splitlines()) == 1
    elif form == "html":
        assert "No file was checked." in text
        assert text.endswith("</html>\n")
    else:
        assert text == ""


@pytest.mark.parametrize("form", [*sorted({*WRITABLE} - {"html", "fcpxml"}), STEP_SUMMARY])
def test_no_report_is_kept(form: str) -> None:
    made = renderer(form)
    many = [
        Report(f"{n:06}.mp4", "out_of_sync", offset_ms=-float(n), confidence=0.9)
        for n in range(750)
    ]
    for report in many[:150]:
        made.item(report)
    gc.freeze()  # so that only what is made from here on is looked through
    # What Python itself enlarges now and then, as its table of interned names, grows once only.
    assert any(_grown(made, many[first : first + 200]) < 30_000 for first in (150, 350, 550))


def _grown(made: Renderer, reports: list[Report]) -> int:
    """By how many bytes a document grows with these reports; records are six times the limit."""
    tracemalloc.start()
    for report in reports:
        made.item(report)
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return grown


def test_csv_has_a_row_a_file() -> None:
    late, good, unsure, broken = rows(document("csv", EACH))
    assert late == dict.fromkeys(("frame_rate", "start_timecode", "markers"), "") | {
        "path": "late.mp4",
        "verdict": "out_of_sync",
        "reason": "",
        "offset_ms": "-120.0",
        "offset_text": "sound late by 120 ms (3.0 frames)",
        "confidence": "0.97",
        "early_ms": "40",
        "late_ms": "60",
        "preset": "ebu-r37",
        "container_offset_ms": "-23.2",
        "drift_ms_per_min": "",
        "jumps_s": "12; 90.5",
        "duration_s": "100.0",
        "sampled_s": "",
        "audio_track": "0",
        "corrupt_frames": "2",
        "missing_audio_s": "0.0",
        "missing_video_s": "0.0",
        "truncated": "no",
        "notes": "two edits; =1+1",
        "avcheck_version": "0.1.0",
        "model_sha256": "0" * 64,
        "reason_code": "",
        "unseen_s": "",
        "jump_intervals_s": "10 to 14; 90.5 to 90.5",
        "stretches": "0 to 10 s: 4 to 4 ms; 14 to 90.5 s: -120 to -120 ms; 90.5 to 100 s: 4 to "
        "24.5 ms",
        "audio_language": "",
        "audio_path": "",
        "part_start_s": "",
        "part_end_s": "",
        "title_summary": "",
        "audio_clock": "",
        "measuring_error_ms": "",
    }
    assert (good["path"], good["offset_ms"]) == ("good.mp4", "4.0")
    assert (unsure["reason"], unsure["offset_ms"]) == ("silence", "")
    assert (broken["verdict"], broken["reason"]) == ("error", "not a media file avcheck reads")


def test_csv_leaves_numbers_bare_and_quotes_text() -> None:
    row = document("csv", [LATE]).splitlines()[1]
    assert row.startswith('"late.mp4","out_of_sync","",-120.0,"sound late')
    assert ",-23.2," in row


def test_csv_knows_no_nan() -> None:
    row = rows(
        document(
            "csv", [Report("a.mp4", "undecidable", confidence=math.nan, drift_ms_per_min=math.inf)]
        )
    )[0]
    assert (row["confidence"], row["drift_ms_per_min"]) == ("", "")


@pytest.mark.parametrize("name", HOSTILE)
def test_csv_with_hostile_names(name: str) -> None:
    read = rows(document("csv", hostile(name)))
    assert len(read) == 3
    for row in read:
        assert row["path"].removeprefix("'") == rendering.printable(name)
        for cell in (row["path"], row["reason"], row["notes"]):
            assert not cell.lstrip(" ").startswith(tuple("=+-@\t\r＝＋－＠"))  # noqa: RUF001


@pytest.mark.parametrize(
    "name",
    ["=1.mp4", "+1.mp4", "-1.mp4", "@1.mp4", "\t1.mp4", "\r1.mp4", "  =1.mp4", "\xa0\u3000=1.mp4"],
)
def test_csv_defuses_formulas(name: str) -> None:
    assert rows(document("csv", [Report(name, "in_sync")]))[0]["path"].startswith("'")


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_keeps_every_name_exactly(form: str, name: str) -> None:
    text = document(form, hostile(name))
    read = json.loads(text) if form == "json" else [json.loads(row) for row in text.splitlines()]
    assert [record["path"] for record in read] == [name] * 3
    assert text.isascii()
