"""JUnit and GitHub's annotations: read back by the rules of those that read them."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree

import junitparser
import pytest

from avcheck import render as rendering
from avcheck.record.report import Report
from avcheck.render import STEP_SUMMARY
from avcheck.render.worst import Worst
from tests.support.format_reports import (
    BORDERLINE,
    EACH,
    GOOD,
    HOSTILE,
    LATE,
    LATE_TEXT,
    UNSURE,
    document,
    hostile,
    rows,
)

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
    outcomes = {
        case.get("name"): [(child.tag, child.attrib) for child in case]
        for case in root.iter("testcase")
    }
    assert outcomes == {
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


def unescape(text: str) -> str:
    for code, char in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, char)
    return text


def annotations_of(text: str) -> list[tuple[str, str, str]]:
    """(level, file, message) of the workflow commands in a log."""
    matched = re.findall(r"^::(\w+) file=([^,:]*),title=[^,:]*::(.*)$", text, re.MULTILINE)
    return [(level, unescape(file), unescape(message)) for level, file, message in matched]


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
    annotated = annotations_of(document("github", [*unsure, *broken, *late]))
    assert [file for level, file, _ in annotated if level == "error"] == [
        *(f"{n}.mp4" for n in range(8, 0, -1)),
        "a.mp4",
        "w.mp4",
    ]
    assert [file for level, file, _ in annotated if level == "warning"] == [
        f"u{n:02}.mp4" for n in range(1, 11)
    ]


def test_the_worst_of_what_is_in_sync_is_farthest_off_and_no_offset_is_none() -> None:
    worst = Worst[str](4)
    for name, offset_ms in (("a", None), ("b", -20.0), ("c", 0.0), ("d", 30.0), ("e", 0.0)):
        worst.add(Report(name, "in_sync", offset_ms=offset_ms), name)
    assert worst.items() == ["d", "b", "a", "c"]


@pytest.mark.parametrize("name", HOSTILE)
def test_github_keeps_the_name_through_its_escapes(name: str) -> None:
    shown = (
        rendering.printable(name.replace("\r", "\0r").replace("\n", "\0n"))
        .replace("\\x00r", "\r")
        .replace("\\x00n", "\n")
    )
    annotated = annotations_of(document("github", hostile(name)))
    assert len(annotated) == 3
    if "\x00" not in name:
        assert {file for _, file, _ in annotated} == {shown}


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


@pytest.mark.parametrize(("length", "shown"), [(500, "x" * 500), (501, "x" * 499 + "…")])
def test_a_cell_of_the_step_summary_holds_500_characters(length: int, shown: str) -> None:
    text = document(STEP_SUMMARY, [Report("a.mp4", "error", reason="x" * length)])
    assert re.findall(r"<td>(x.*?)</td>", text) == [shown]
