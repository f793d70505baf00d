"""Markers for editors: what is marked, with which words and timecode."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from avcheck.cli.app import main
from avcheck.media import open_media
from avcheck.record.edits import Edit
from avcheck.record.markers import TitleClock, marked
from avcheck.record.report import PRESETS, Degraded, PictureFacts, Report, Stretch
from avcheck.render import to_json
from avcheck.verdict.judge import Judgement
from avcheck.verdict.reporting import report_on
from tests.support.fake_scan import stand_in
from tests.support.marked import CLOCKS, NTSC, document, film, number_of

Clip = Callable[..., Path]

# ---- what is marked


def test_stretches_jumps_and_the_part_of_a_drift_out_of_tolerance_are_marked() -> None:
    title = marked(film(Fraction(25)))
    assert (title.length, title.rate_known) == (2500, True)
    # 4 ms - 3.2 ms/s t reaches -60 ms after 20 s.
    assert [(each.start, each.end, each.kind, each.text) for each in title.markers] == [
        (0, 975, "in_sync", "in sync: sound early by 30 ms (0.8 frames)"),
        (
            975,
            1025,
            "jump",
            "the offset jumps: sound early by 30 ms (0.8 frames), then sound early by 4 ms "
            "(0.1 frames)",
        ),
        (
            1025,
            1525,
            "in_sync",
            "in sync: sound early by 4 ms (0.1 frames), then sound late by 60 ms (1.5 frames)",
        ),
        (
            1525,
            2025,
            "out_of_sync",
            "out of sync: sound late by 60 ms (1.5 frames), then sound late by 124 ms (3.1 frames)",
        ),
        (2025, 2250, "undecidable", "not looked at"),
    ]


def test_frames_are_those_of_the_title() -> None:
    late = film(
        NTSC[2],
        stretches=(Stretch(0.0, 100.0, -120.0, -120.0),),
        jumps_s=(),
        degraded=Degraded(),
        jump_intervals_s=(),
    )
    assert [each.text for each in marked(late).markers] == [
        "out of sync: sound late by 120 ms (7.2 frames)"
    ]
    assert late.offset_text == "sound late by 124 ms (3.1 frames)"  # of 25 a second


def test_pictures_are_counted_from_the_first_one() -> None:
    report = film(Fraction(25))
    assert report.picture is not None
    late = PictureFacts(1920, 1080, "25", 1.0, None)
    title = marked(Report(**{**vars(report), "picture": late}))
    assert title.length == 2475
    assert [each.start for each in title.markers] == [0, 950, 1000, 1500, 2000]


def test_a_jump_at_a_moment_takes_a_picture_and_nothing_overlaps_it() -> None:
    sharp = film(
        Fraction(25),
        jump_intervals_s=((40.0, 40.0),),
        stretches=(Stretch(0.0, 40.0, 30.0, 30.0), Stretch(40.0, 100.0, 4.0, 4.0)),
        degraded=Degraded(),
    )
    spans = [(each.start, each.end, each.kind) for each in marked(sharp).markers]
    assert spans == [(0, 1000, "in_sync"), (1000, 1001, "jump"), (1001, 2500, "in_sync")]


def test_no_two_markers_begin_at_one_picture() -> None:
    """DaVinci Resolve keeps one marker a picture: the others would be lost."""
    cut = Edit("removed", "both", 40.0, 40.0, 40.0, 42.0)
    slow = Edit("speed", "both", 0.0, 40.0, 0.0, 41.0)
    last = Edit("removed", "both", 100.0, 100.0, 102.0, 107.0)
    report = film(
        Fraction(25),
        jump_intervals_s=((40.0, 40.0),),
        stretches=(Stretch(0.0, 40.0, 30.0, 30.0), Stretch(40.0, 100.0, 4.0, 4.0)),
        degraded=Degraded(unseen_s=((99.99, 100.0),)),
        edits=(cut, slow, last),
    )
    spans = [(each.start, each.end, each.kind) for each in marked(report).markers]
    assert spans == [
        (0, 1000, "in_sync"),
        (1, 1000, "edit"),
        (1000, 1001, "jump"),
        (1001, 2500, "in_sync"),
        (1002, 1003, "edit"),
        (2498, 2500, "edit"),
        (2499, 2500, "undecidable"),
    ]


def test_a_title_ends_with_its_last_picture() -> None:
    """What was looked at is cut into whole seconds."""
    stretches = (Stretch(0.0, 13.0, -120.0, -120.0),)
    report = film(Fraction(25), stretches=stretches, jumps_s=(), jump_intervals_s=())
    title = marked(replace(report, degraded=Degraded(), duration_s=12.04))
    assert (title.length, title.markers[0].end) == (301, 301)
    # At more than 25 pictures a second, a last block can begin where the last picture ends
    fast = film(Fraction(50), stretches=stretches, jumps_s=(), jump_intervals_s=())
    title = marked(replace(fast, degraded=Degraded(), duration_s=12.0))
    assert (title.length, title.markers[0].end) == (600, 600)
    # The container is wrong about its duration
    assert marked(replace(report, degraded=Degraded(), duration_s=9.0)).length == 325


def test_a_title_shorter_than_its_markers_keeps_them_all() -> None:
    cuts = tuple(Edit("removed", "both", 0.0, 0.0, 0.0, each) for each in (1.0, 2.0, 3.0))
    report = film(Fraction(25), stretches=(), jumps_s=(), jump_intervals_s=(), edits=cuts)
    short = replace(report, degraded=Degraded(), duration_s=0.08)
    assert [each.start for each in marked(short).markers] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("rate", "timecode", "said", "time_s"),
    [
        (Fraction(25), "10:00:00:00", "10:00:02:12", 3.48),
        (Fraction(25), "10:00:00:00", "10:00:02;12", 3.48),
        (Fraction(25), "23:59:59:00", "00:00:01:00", 3.0),  # past midnight
        (NTSC[1], "00:59:59;00", "01:00:00:00", 2.001),  # `:` for `;`
        (Fraction(25), "10:00:00:00", "10:00:02:25", None),
        (None, None, "00:00:02:00", None),
    ],
)
def test_a_timecode_says_when_its_picture_is_shown(
    rate: Fraction | None, timecode: str | None, said: str, time_s: float | None
) -> None:
    report = film(rate, timecode)
    if report.picture is not None:
        report = replace(report, picture=replace(report.picture, first_s=1.0))
    clock = TitleClock.of(report.picture)
    assert clock.time_s(said) == (None if time_s is None else pytest.approx(time_s))
    if time_s is not None:
        assert clock.text(time_s).replace(";", ":") == said.replace(";", ":")


@pytest.mark.parametrize(
    ("report", "kinds"),
    [
        (Report("a", "error", reason="no audio stream"), []),
        (Report("a", "undecidable", reason="silence", duration_s=3.0), ["undecidable"]),
        (Report("a", "in_sync", offset_ms=4.0, duration_s=3.0), ["in_sync"]),
        (Report("a", "out_of_sync", offset_ms=99.0), ["out_of_sync"]),
        (  # within the limit by less than the measuring error is not in sync
            Report(
                "a",
                "undecidable",
                reason="near",
                reason_code="borderline",
                offset_ms=-55.0,
                stretches=(Stretch(0.0, 9.0, -55.0, -55.0),),
            ),
            ["undecidable", "undecidable"],
        ),
        (  # what was looked at is
            Report(
                "a",
                "undecidable",
                reason="a part was not looked at",
                reason_code="not_all_looked_at",
                offset_ms=4.0,
                stretches=(Stretch(0.0, 9.0, 4.0, 4.0),),
                degraded=Degraded(unseen_s=((9.0, 60.0),)),
                duration_s=60.0,
            ),
            ["in_sync", "undecidable", "undecidable"],
        ),
    ],
)
def test_the_colour_goes_by_what_was_found(report: Report, kinds: list[str]) -> None:
    assert [each.kind for each in marked(report).markers] == kinds


# ---- what the file says of itself


@pytest.mark.parametrize(
    ("name", "rate", "said", "first"),
    [
        ("a.mov", NTSC[1], "00:59:58;20", "00:59:58;20"),
        ("a.mov", NTSC[0], "01:00:00:00", "01:00:00:00"),
        ("a.mp4", NTSC[2], "10:00:00;02", "10:00:00;02"),
        ("a.mkv", NTSC[1], "00:59:58:20", "00:59:58:20"),
        ("a.mxf", Fraction(25), "10:00:00:00", "10:00:00:00"),
        ("a.avi", NTSC[1], None, "00:00:00;00"),
        ("a.ts", NTSC[0], None, "00:00:00:00"),
    ],
)
def test_the_record_knows_rate_and_timecode(
    clip: Clip, name: str, rate: Fraction, said: str | None, first: str
) -> None:
    kinds = {".mxf": ("mpeg2video", "pcm_s16le"), ".avi": ("mpeg4", "pcm_s16le")}
    vcodec, acodec = kinds.get(Path(name).suffix, ("mpeg4", "aac"))
    tags = {} if said is None else {"timecode": said}
    path = clip(name, fps=rate, vcodec=vcodec, acodec=acodec, tags=tags)
    with open_media(path) as media:
        report = report_on(
            path, Judgement("in_sync", None, 4.0, 0.9), media.info, Degraded(), PRESETS["film"]
        )
    assert report.picture is not None
    assert (report.picture.frame_rate, report.picture.timecode) == (str(rate), said)
    assert Report.from_record(json.loads(to_json(report))) == report
    assert marked(report).timecode.text(0) == first


# ---- CSV


def test_csv_has_the_timecodes() -> None:
    reports = [film(NTSC[1], "00:59:50;00"), film(rate=None)]
    known, unknown = csv.DictReader(io.StringIO(document("csv", reports)))
    assert (known["frame_rate"], known["start_timecode"]) == ("30000/1001", "00:59:50;00")
    assert known["markers"].split("; ")[0] == (
        "00:59:50;00 to 01:00:28;29: in sync: sound early by 30 ms (0.9 frames)"
    )
    assert [unknown[name] for name in ("frame_rate", "start_timecode", "markers")] == [""] * 3


@pytest.mark.parametrize(("rate", "first"), CLOCKS)
def test_csv_is_read_back_picture_by_picture(rate: Fraction, first: str) -> None:
    report = film(rate, first)
    (row,) = csv.DictReader(io.StringIO(document("csv", [report])))
    start = number_of(row["start_timecode"], rate)
    assert (Fraction(row["frame_rate"]), start) == (rate, number_of(first, rate))
    read = [
        tuple(number_of(each, rate) - start for each in span)
        for span in re.findall(r"(\S+) to (\S+):", row["markers"])
    ]
    assert read == [(each.start, each.end) for each in marked(report).markers]


# ---- the command


def test_the_command_writes_all_of_them_and_show_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("opentimelineio")
    stand_in(monkeypatch)
    (tmp_path / "late.mp4").write_bytes(b"\0")
    results = tmp_path / "r.jsonl"
    forms = ("otio", "edl", "fcpxml", "csv")

    def outputs(which: str) -> list[str]:
        return [f"--output={form}={tmp_path / f'{which}.{form}'}" for form in forms]

    command = [str(tmp_path / "late.mp4"), f"--output=jsonl={results}", *outputs("check")]
    assert main(command) == 1
    assert main(["show", str(results), *outputs("show")]) == 1
    capsys.readouterr()
    for form in forms:
        checked, shown = ((tmp_path / f"{each}.{form}").read_text() for each in ("check", "show"))
        assert checked == shown and "sound late by 120 ms (3.0 frames)" in checked


def test_a_part_that_shows_nothing_is_marked_alone() -> None:
    report = Report(
        "film.mov",
        "undecidable",
        reason="the sound is silent",
        part_s=(10.0, 20.0),
        duration_s=100.0,
        picture=PictureFacts(1920, 1080, "25", 0.0, None),
    )
    (marker,) = marked(report).markers
    assert (marker.start, marker.end) == (250, 500)
