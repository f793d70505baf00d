"""JUnit, GitHub, CSV, JSON and text, each read back by somebody else's parser, with file names that
mean harm.
"""

from __future__ import annotations

import csv
import gc
import io
import json
import math
import re
import tracemalloc
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable

import junitparser
import pytest

from avcheck import render as rendering
from avcheck.render import FORMATS, STEP_SUMMARY, renderer
from avcheck.report import BlockResult, Degraded, Report, Segment, Stretch, Tolerance

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


# ---- every format


@pytest.mark.parametrize("form", [*FORMATS, STEP_SUMMARY])
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


@pytest.mark.parametrize("form", [*sorted({*FORMATS} - {"html", "fcpxml"}), STEP_SUMMARY])
def test_no_report_is_kept(form: str) -> None:
    made = renderer(form)
    many = [
        Report(f"{n:06}.mp4", "out_of_sync", offset_ms=-float(n), confidence=0.9)
        for n in range(350)
    ]
    for report in many[:150]:
        made.item(report)
    tracemalloc.start()
    for report in many[150:]:
        made.item(report)
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 30_000  # two hundred records are six times that


# ---- JUnit

# Attributes of Jenkins' schema (xunit-plugin, junit-10.xsd) that are needed, and those that may be
# there as well.
ATTRIBUTES = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {
            "time",
            "skipped",
            "timestamp",
            "hostname",
            "id",
            "package",
            "file",
            "log",
            "url",
            "group",
        },
    ),
    "properties": (set(), set()),
    "property": ({"name", "value"}, set()),
    "testcase": ({"name"}, {"time", "classname", "group"}),
    "failure": (set(), {"type", "message"}),
    "error": (set(), {"type", "message"}),
    "skipped": (set(), {"type", "message"}),
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "properties": {"property"},
    "testcase": {"failure", "error", "skipped"},
}


def checked_junit(text: str) -> ElementTree.Element:
    """The parsed document, held to the structure Jenkins validates."""
    assert text.isascii()
    root = ElementTree.fromstring(text)
    assert root.tag == "testsuites"
    for element in root.iter():
        needed, allowed = ATTRIBUTES[element.tag]
        assert needed <= set(element.attrib) <= needed | allowed, element.tag
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
    for suites in (root, root[0]):
        cases = root[0].findall("testcase")
        assert suites.get("tests") == str(len(cases))
        assert suites.get("failures") == str(
            sum(case.find("failure") is not None for case in cases)
        )
        assert suites.get("errors") == str(sum(case.find("error") is not None for case in cases))
    assert root[0].get("skipped") == str(len(root[0].findall("testcase/skipped")))
    return root


def test_junit_maps_verdicts() -> None:
    root = checked_junit(document("junit", EACH))
    found = {
        case.get("name"): [(child.tag, child.attrib) for child in case]
        for case in root.iter("testcase")
    }
    assert found == {
        "late.mp4": [
            ("failure", {"type": "out_of_sync", "message": LATE_TEXT}),
        ],
        "good.mp4": [],
        "unsure.mkv": [("skipped", {"type": "undecidable", "message": "silence"})],
        "broken.mov": [("error", {"type": "error", "message": "not a media file avcheck reads"})],
    }
    body = root.find(".//failure")
    assert body is not None and body.text is not None
    assert (
        "tolerance: early by at most 40 ms, late by at most 60 ms (ebu-r37)"
        in body.text.splitlines()
    )
    assert [row for row in body.text.splitlines() if row.startswith("stretch: ")] == [
        "stretch: 0:00 to 0:10: sound early by 4 ms (0.1 frames)",
        "stretch: 0:14 to 1:30: sound late by 120 ms (3.0 frames)",
        "stretch: 1:30 to 1:40: from sound early by 4 ms (0.1 frames) to sound early by 24 ms "
        "(0.6 frames)",
    ]


def test_borderline_is_said_in_words_and_stays_undecidable() -> None:
    """For programs the verdict and what hangs on it stay as they are; people read the word."""
    case = checked_junit(document("junit", [BORDERLINE])).find(".//skipped")
    assert case is not None
    assert case.attrib == {"type": "undecidable", "message": f"borderline: {BORDERLINE.reason}"}
    text = document("github", [BORDERLINE])
    assert text.splitlines()[0] == f"near.mp4: borderline: {BORDERLINE.reason}"
    assert annotations_of(text) == [("warning", "near.mp4", BORDERLINE.reason)]
    assert "title=avcheck%3A borderline::" in text
    row = rows(document("csv", [BORDERLINE]))[0]
    assert (row["verdict"], row["reason_code"], row["reason"]) == (
        "undecidable",
        "borderline",
        BORDERLINE.reason,
    )
    record = json.loads(document("jsonl", [BORDERLINE]))
    assert (record["verdict"], record["reason_code"], record["offset_ms"]) == (
        "undecidable",
        "borderline",
        -70.0,
    )


def test_junit_tells_a_reason_once_the_time_and_the_folder() -> None:
    reports = [
        Report("shows/one/a.mp4", "error", reason="no audio stream", elapsed_s=0.25),
        Report("shows/b.mp4", "in_sync", elapsed_s=61.5),
        Report("c.mp4", "error", reason="no such file or directory"),
        Report("https://host/films/d.mp4?redacted-0", "in_sync", elapsed_s=1),
    ]
    root = checked_junit(document("junit", reports))
    cases = [(case.get("classname"), case.get("time")) for case in root.iter("testcase")]
    assert cases == [
        ("shows/one", "0.250"),
        ("shows", "61.500"),
        ("avcheck", "0.000"),
        ("https://host/films", "1.000"),
    ]
    assert root.get("time") == root[0].get("time") == "62.750"
    assert [each.text for each in root.findall(".//error")] == [
        "shows/one/a.mp4: error: no audio stream",
        "c.mp4: error: no such file or directory",
    ]


def test_junit_as_junitparser_reads_it() -> None:
    read = junitparser.JUnitXml.fromstring(document("junit", EACH))
    assert (read.tests, read.failures, read.errors) == (4, 1, 1)
    assert [suite.skipped for suite in read] == [1]


def test_junit_tells_undecidable_as_a_failure_where_the_run_fails_on_it() -> None:
    root = checked_junit(document("junit", EACH, strict=True))
    assert [child.get("type") for child in root.findall(".//failure")] == [
        "out_of_sync",
        "undecidable",
    ]
    assert root[0].get("skipped") == "0"


@pytest.mark.parametrize("name", HOSTILE)
def test_junit_with_hostile_names(name: str) -> None:
    root = checked_junit(document("junit", hostile(name)))
    shown = rendering.printable(name).replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
    assert [case.get("name") for case in root.iter("testcase")] == [shown] * 3


# ---- GitHub


def unescape(text: str) -> str:
    for code, char in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, char)
    return text


def annotations_of(text: str) -> list[tuple[str, str, str]]:
    """(level, file, message) of the workflow commands in a log."""
    found = re.findall(r"^::(\w+) file=([^,:]*),title=[^,:]*::(.*)$", text, re.MULTILINE)
    return [(level, unescape(file), unescape(message)) for level, file, message in found]


def test_github_annotates_what_is_wrong() -> None:
    text = document("github", EACH)
    assert text.splitlines()[:3] == [rendering.line(report) for report in (LATE, GOOD, UNSURE)]
    assert annotations_of(text) == [
        (
            "error",
            "late.mp4",
            LATE_TEXT,
        ),
        ("error", "broken.mov", "not a media file avcheck reads"),
        ("warning", "unsure.mkv", "silence"),
    ]
    assert annotations_of(document("github", EACH, strict=True))[-1] == (
        "error",
        "unsure.mkv",
        "silence",
    )


def test_github_shows_the_ten_worst_in_the_documented_order() -> None:
    late = [
        Report(f"{n}.mp4", "out_of_sync", offset_ms=100.0 * n * (-1) ** n, confidence=0.9)
        for n in range(1, 9)
    ]
    broken = [Report(f"{name}.mp4", "error", reason="no sound") for name in "zyxwa"]
    unsure = [
        Report(f"u{n:02}.mp4", "undecidable", reason="silence", confidence=n / 100)
        for n in range(15, 0, -1)
    ]
    found = annotations_of(document("github", [*unsure, *broken, *late]))
    assert [file for level, file, _ in found if level == "error"] == [
        *(f"{n}.mp4" for n in range(8, 0, -1)),
        "a.mp4",
        "w.mp4",
    ]
    assert [file for level, file, _ in found if level == "warning"] == [
        f"u{n:02}.mp4" for n in range(1, 11)
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_github_keeps_the_name_through_its_escapes(name: str) -> None:
    shown = (
        rendering.printable(name.replace("\r", "\0r").replace("\n", "\0n"))
        .replace("\\x00r", "\r")
        .replace("\\x00n", "\n")
    )
    found = annotations_of(document("github", hostile(name)))
    assert len(found) == 3
    if "\x00" not in name:
        assert {file for _, file, _ in found} == {shown}


def test_the_step_summary_counts_and_lists_the_worst() -> None:
    text = document(STEP_SUMMARY, EACH)
    assert text.startswith(
        "### avcheck: 4 files: 1 in sync, 1 out of sync, 1 undecidable, 1 error\n\n<table>\n"
    )
    assert re.findall(r"<code>(.*?)</code>", text) == ["late.mp4", "broken.mov"]
    assert (
        re.findall(r"<code>(.*?)</code>", document(STEP_SUMMARY, EACH, strict=True))[-1]
        == "unsure.mkv"
    )
    assert "<table>" not in document(STEP_SUMMARY, [GOOD, UNSURE])


@pytest.mark.parametrize("name", HOSTILE)
def test_the_step_summary_with_hostile_names(name: str) -> None:
    text = document(STEP_SUMMARY, hostile(name))
    table = text.split("\n\n")[1]  # one block without a blank line, so nothing in it is Markdown
    root = ElementTree.fromstring(table.replace("\ufffe", "?").replace("\uffff", "?"))
    assert [row.findtext("td/code") for row in root.findall("tr")[1:]] == [
        rendering.printable(name).replace("\ufffe", "?").replace("\uffff", "?")
    ] * 2


def test_the_step_summary_stays_below_github_s_limit() -> None:
    many = (Report(f"{n:04}" + "&" * 4000, "out_of_sync", offset_ms=500.0) for n in range(300))
    text = document(STEP_SUMMARY, many)
    assert len(text.encode()) < 1 << 20
    assert text.count("<tr>") == 101
    assert text.endswith("and 200 more\n\n")


# ---- CSV


def rows(text: str) -> list[dict[str, str]]:
    assert text.count("\n") == text.count("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


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


# ---- JSON


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_keeps_every_name_exactly(form: str, name: str) -> None:
    text = document(form, hostile(name))
    read = json.loads(text) if form == "json" else [json.loads(row) for row in text.splitlines()]
    assert [record["path"] for record in read] == [name] * 3
    assert text.isascii()
