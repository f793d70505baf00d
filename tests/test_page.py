"""The page is whole, small and safe: read back by an HTML parser, with names that mean harm,
without any browser.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import json
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from avcheck.cli.app import main
from avcheck.evidence.stills import Illustration
from avcheck.record.report import Report, Stretch
from avcheck.render.page.charts import score_map
from avcheck.render.page.png import indexed_png
from avcheck.render.page.svg import INSIDE, LEFT
from avcheck.render.records import to_json
from avcheck.render.text import percent
from tests.support import fake_scan
from tests.support.page_reports import HOSTILE, OFFSETS_MS, hostile, page, run, stills, title

VOID = {"meta", "input", "link", "br", "img", "hr"}


class Reader(HTMLParser):
    """Every element with its attributes, the text of some, and what was left open or closed
    twice.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.wrong: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.wrong += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if len({name for name, _ in attrs}) != len(attrs):
            self.wrong.append(f"{tag} names an attribute twice")
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.wrong.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


PAGES = {
    "one": lambda: page([title(60)], stills),
    "one without detail": lambda: page([dataclasses.replace(title(60), detail=None)]),
    "an error": lambda: page(
        [Report("a.mp4", "error", reason="no video stream", reason_code="no_video")]
    ),
    "undecidable": lambda: page(
        [Report("a.mp4", "undecidable", reason="the sound is silent", reason_code="silent")]
    ),
    "many": lambda: page(run(40, seconds=60)),
    "none": lambda: page([]),
}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_whole_and_asks_for_nothing(name: str) -> None:
    text = PAGES[name]()
    read = Reader(text)
    assert read.wrong == []
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert (
        len(read.all("h1"))
        == len(read.all("main"))
        == len(re.findall(r"<title>[^<]+</title>\n<style>", text))
        == 1
    )
    addresses = [
        value
        for _, attributes in read.elements
        for key in ("src", "href")
        if (value := attributes.get(key))
    ]
    assert all(address.startswith("data:") for address in addresses)
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", text)
    assert not {"link", "iframe", "object", "embed", "base", "img", "audio", "video"} & {
        tag for tag, _ in read.elements
    }


@pytest.mark.parametrize("name", PAGES)
def test_the_policy_allows_the_pages_own_style_and_scripts_alone(name: str) -> None:
    text = PAGES[name]()
    read = Reader(text)
    (policy,) = (
        each["content"]
        for each in read.all("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.keys() == {
        "default-src",
        "img-src",
        "style-src",
        "script-src",
        "base-uri",
        "form-action",
    }
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        hashes = [
            f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"
            for inside in re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        ]
        assert rules[rule].split() == hashes
    # What the policy would refuse is not there in the first place.
    assert not [
        key
        for _, attributes in read.elements
        for key in attributes
        if key == "style" or key.startswith("on")
    ]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("count", [1, 3])
def test_a_name_is_text_wherever_it_stands(name: str, count: int) -> None:
    plain = Reader(page([hostile(re.sub("[^/]", "x", name))] * count, stills))
    read = Reader(page([hostile(name)] * count, stills))
    assert read.wrong == []

    # The same elements with the same attributes as for a harmless name: nothing of it has become
    # markup. (The command to do it again is left out for a name that cannot be typed.)
    def shape(each: Reader) -> list[tuple[str, tuple[str, ...]]]:
        return [
            (tag, tuple(attributes))
            for tag, attributes in each.elements
            if tag not in {"pre", "code", "p"}
            and attributes.get("class") not in {"command", "copy"}
        ]

    assert shape(read) == shape(plain)
    shown = "".join(read.texts["bdi"])
    if name.isprintable():
        assert name in shown
    assert not re.search(
        r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown
    )


def test_the_exact_record_can_be_downloaded() -> None:
    report = title(60, path="dir/<a> \udcff.mp4")
    (link,) = (each for each in Reader(page([report])).all("a") if "download" in each)
    kind, _, packed = str(link["href"]).partition(",")
    assert kind == "data:application/gzip;base64"
    record = gzip.decompress(base64.b64decode(packed)).decode("ascii")
    assert record == to_json(report) + "\n"
    assert Report.from_record(json.loads(record)) == report
    assert link["download"] == "a_.mp4.avcheck.json.gz"


def test_a_share_of_a_long_title_is_not_nothing() -> None:
    assert [percent(share) for share in (0.083, 0.0, 0.0026, 1 / 7200)] == [
        "8.3 %",
        "0.0 %",
        "0.26 %",
        "0.014 %",
    ]


@pytest.mark.slow
def test_a_two_hour_title_is_small_and_tells_every_share_of_it() -> None:
    text = page([title(7200)], stills)
    assert len(text.encode()) < 1_500_000
    assert " %</text>" in text and ">0.0 %</text>" not in text


@pytest.mark.slow
def test_a_thousand_files_are_small() -> None:
    assert len(page(run(1000, seconds=1200)).encode()) < 3_000_000


def test_a_title_says_it_in_words() -> None:
    text = "".join(
        part for parts in Reader(page([title(60)], stills)).texts.values() for part in parts
    )
    assert "Sound late by 240 ms (6.0 frames) at worst; at most 60 ms late is allowed." in text
    assert "offset jumps between 0:30 and 0:40" in text
    assert "240 ms late" in text  # on the drawing
    assert "2 damaged audio packets" in text
    assert "h264, 1920 x 1080, 25 pictures a second" in text
    assert (
        "avcheck film.mp4 --preset ebu-r37 --audio-track 0 --video-track 0 --output "
        "html=report.html" in text
    )
    assert "0:12.50" in text  # a still
    assert "12.0 s to 14.5 s" in text


def test_a_test_signal_is_not_explained_by_what_the_network_saw() -> None:
    signal = dataclasses.replace(title(60), measured_by="test_signal")
    for text, drawn in ((page([title(60)], stills), True), (page([signal], stills), False)):
        assert ("How well every offset fits" in text) is drawn
        assert ("Attention, second by second" in text) is drawn
        assert ("of the attention" in text) is ("where the attention falls" in text) is drawn
        assert "Offset over the length" in text


def test_the_course_is_drawn_where_it_lies() -> None:
    text = page([title(60)])
    (line,) = set(re.findall(r'class="course" d="([^"]+)"', text))
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", line)]
    (left, first, middle, again), (jump, second, right, last) = numbers[:4], numbers[4:]
    zero = float(re.findall(r'class="zero" d="M[\d.]+ ([\d.]+)', text)[0])
    assert first == again
    assert second == last
    # below the line: late
    assert (second - zero) / (first - zero) == pytest.approx(240 / 20, rel=0.02)
    assert (left, right) == (LEFT, LEFT + INSIDE)
    assert (middle - left) / (right - left) == pytest.approx(30 / 60, abs=0.001)
    assert (jump - left) / (right - left) == pytest.approx(40 / 60, abs=0.001)


@pytest.mark.parametrize(
    ("offset_ms", "labels"),
    [
        (25.0, ["100 late", "50 late", "50 early", "100 early"]),
        (600_000.0, ["500000 late", "500000 early"]),
    ],
)
def test_the_scale_of_offsets_has_few_round_steps(offset_ms: float, labels: list[str]) -> None:
    stretch = Stretch(0.0, 60.0, offset_ms, offset_ms)
    report = Report("a.mp4", "out_of_sync", offset_ms=offset_ms, stretches=(stretch,))
    drawn = re.findall(r'<text class="of"[^>]*>(\d+ (?:late|early))</text>', page([report]))
    assert drawn == labels


def test_a_jump_without_its_interval_is_drawn_and_named() -> None:
    report = dataclasses.replace(title(60), jumps_s=(25.0,), jump_intervals_s=())
    assert "<title>the offset jumps at 0:25</title>" in page([report])


def test_the_score_map_is_brightest_at_the_offset() -> None:
    report = title(60, jump=False)
    (packed,) = re.findall(r"data:image/png;base64,([^\"]+)", str(score_map(report)))
    columns, rows = pixels(base64.b64decode(packed))
    assert (columns, len(rows)) == (600, len(OFFSETS_MS))
    for segment in report.segments:
        if segment.offset_ms is not None:
            column = [row[10 * int(segment.start_s) + 50] for row in rows]
            offset_ms = OFFSETS_MS[::-1][column.index(max(column))]  # early at the top
            assert abs(offset_ms - -20.0) <= 40


def test_a_picture_of_indexed_colours_reads_back() -> None:
    assert pixels(
        indexed_png([b"\x00\x01\x02", b"\x02\x02\x00"], [(0, 0, 0), (1, 2, 3), (4, 5, 6)])
    ) == (
        3,
        [b"\x00\x01\x02", b"\x02\x02\x00"],
    )


def pixels(png: bytes) -> tuple[int, list[bytes]]:
    """Width and rows of a PNG without filters, its checksums looked at."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length]) == (
            zlib.crc32(kind + data),
        )
        chunks[kind] = data
        at += 12 + length
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = zlib.decompress(chunks[b"IDAT"])
    return width, [lines[k * (width + 1) + 1 : (k + 1) * (width + 1)] for k in range(height)]


# ---- many files


def test_the_worst_come_first_and_errors_show_their_line() -> None:
    reports = run(40, seconds=60)
    read = Reader(page(reports))
    rows = [str(each["class"]) for each in read.all("tr") if each.get("class")]
    assert rows == ["out_of_sync"] * 8 + ["error"] * 4 + ["undecidable"] * 4 + ["in_sync"] * 24
    offsets = [
        abs(float(str(each["data-offset"])))
        for each in read.all("tr")
        if each.get("class") == "out_of_sync"
    ]
    assert offsets == sorted(offsets, reverse=True)
    text = "".join(read.texts["bdi"])
    line = "the file has no audio track; give its sound with --audio FILE"
    assert text.count(line) == 2 * 4  # in the column, and in the details for narrow screens
    assert "40 files: 24 in sync, 8 out of sync, 4 undecidable, 4 errors" in "".join(
        read.texts["h1"]
    )
    assert len(read.all("template")) == 40


def test_the_table_is_bounded_and_the_counts_are_not() -> None:
    reports = run(40, seconds=60)
    text = page(reports, limit=10)
    assert len(Reader(text).all("template")) == 10
    assert "The table ends with the 10 worst; 30 more are counted above only." in text
    assert "40 files:" in text


# ---- the command


def test_the_command_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_scan.stand_in(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for name in ("late.mp4", "good.mp4", "broken.mp4"):
        (tmp_path / name).write_bytes(b"x")
    fake_scan.MADE.clear()
    assert main(["--no-config", "late.mp4", "--output", "html=one.html"]) == 1
    assert "Sound late by 120 ms (3.0 frames)" in (tmp_path / "one.html").read_text(
        encoding="utf-8"
    )
    assert (
        main(["--no-config", "late.mp4", "good.mp4", "broken.mp4", "--output", "html=many.html"])
        == 2
    )
    assert "3 files: 1 in sync, 1 out of sync, 1 error" in (tmp_path / "many.html").read_text(
        encoding="utf-8"
    )
    assert main(["--no-config", "late.mp4", "good.mp4", "--detail"]) == 1
    # The page of one file draws it, that of several only if asked
    details = [each.calls[-1]["settings"].detail for each in fake_scan.MADE]
    assert details == [True, False, True]


def test_a_page_is_made_of_saved_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reports = [title(60, path="a.mp4"), title(60, path="b.mp4", jump=False)]
    (tmp_path / "results.jsonl").write_text(
        "".join(f"{to_json(report)}\n" for report in reports), encoding="ascii"
    )
    assert main(["show", "results.jsonl", "--output", "html=all.html", "--quiet"]) == 1
    assert "2 files: 1 in sync, 1 out of sync" in (tmp_path / "all.html").read_text(
        encoding="utf-8"
    )
    assert main(["show", "results.jsonl", "a.mp4", "--output", "html=one.html", "--quiet"]) == 1
    assert (tmp_path / "one.html").read_text(encoding="utf-8") == page(
        [reports[0]], lambda report: Illustration((), "The file is not there any more.")
    )
    # What is read is never written
    assert main(["show", "results.jsonl", "--output", "html=results.jsonl", "--force"]) == 2


def test_a_page_without_stills_says_why() -> None:
    assert "There are no stills. The file is not there any more." in page(
        [title(60)], lambda report: Illustration((), "The file is not there any more.")
    )


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (
            Report("-a b.mp4", "in_sync", offset_ms=0.0, audio_track=0),
            "avcheck './-a b.mp4' --preset ebu-r37 --audio-track 0",
        ),
        (
            Report("a.mp4", "in_sync", offset_ms=0.0),
            "avcheck a.mp4 --preset ebu-r37 --audio SOUND_FILE",
        ),
        (title(60, path="a\nb.mp4"), ""),
    ],
)
def test_the_command_to_do_it_again(report: Report, words: str) -> None:
    code = "".join(Reader(page([report])).texts.get("code", []))
    assert words in code
    assert bool(words) == ("--output html=report.html" in code)
