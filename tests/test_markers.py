"""Markers for editors: what is marked, and every format read back, by OpenTimelineIO where it
can.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from fake_scan import stand_in

from avcheck.cli.app import main
from avcheck.markers import marked
from avcheck.media import open_media
from avcheck.render import renderer, to_json
from avcheck.report import PRESETS, Degraded, PictureFacts, Report, Stretch, Tolerance
from avcheck.reporting import report_on
from avcheck.verdict import Judgement

Clip = Callable[..., Path]
NTSC = [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)]
RATES = [*NTSC, Fraction(24), Fraction(25), Fraction(50), Fraction(120)]


def film(rate: Fraction | None = NTSC[1], timecode: str | None = None, **changes: Any) -> Report:
    """100 s with a jump at 40 s and a drift from 4 ms early to 124 ms late in the last 40 s."""
    facts: dict[str, Any] = {
        "offset_ms": -124.0,
        "tolerance": Tolerance(40, 60, "ebu-r37"),
        "jumps_s": (40.0,),
        "jump_intervals_s": ((39.0, 41.0),),
        "stretches": (Stretch(0.0, 39.0, 30.0, 30.0), Stretch(41.0, 81.0, 4.0, -124.0)),
        "duration_s": 100.0,
        "audio_track": 0,
        "degraded": Degraded(unseen_s=((81.0, 90.0),)),
    }
    picture = None if rate is None else PictureFacts(1920, 1080, str(rate), 0.0, timecode)
    return Report("films/a film.mov", "out_of_sync", picture=picture, **{**facts, **changes})


def document(form: str, reports: Iterable[Report]) -> str:
    made = renderer(form)
    items = "".join([made.item(report) for report in reports])
    return made.head() + items + made.tail()


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


# ---- OTIO


def read_otio(text: str) -> Any:
    otio = pytest.importorskip("opentimelineio")
    return otio.adapters.read_from_string(text, "otio_json")


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_otio_is_read_back_picture_by_picture(rate: Fraction) -> None:
    report = film(rate, "01:00:00:00")
    timeline, title = read_otio(document("otio", [report])), marked(report)
    assert timeline.name == "a film.mov"
    assert timeline.global_start_time.value == title.timecode.start == 3600 * round(rate)
    (clip,) = timeline.find_clips()
    assert clip.media_reference.target_url.endswith("/films/a%20film.mov")
    assert clip.trimmed_range().duration.value == title.length
    assert Fraction(clip.trimmed_range().duration.rate).limit_denominator(1001) == rate
    colours = {"in_sync": "GREEN", "out_of_sync": "RED", "undecidable": "YELLOW", "jump": "MAGENTA"}
    assert len(clip.markers) == 5
    for found, meant in zip(clip.markers, title.markers, strict=True):
        span = found.marked_range
        assert span.start_time.value == title.timecode.start + meant.start
        assert span.duration.value == meant.length
        assert (found.name, found.comment, found.color) == (
            meant.text,
            meant.text,
            colours[meant.kind],
        )


def test_several_titles_are_a_collection() -> None:
    found = read_otio(document("otio", [film(), film(Fraction(25)), film(NTSC[0])]))
    assert [Fraction(each.global_start_time.rate).limit_denominator(1001) for each in found] == [
        NTSC[1],
        Fraction(25),
        NTSC[0],
    ]
    assert len(read_otio(document("otio", []))) == 0


def test_without_the_library_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    stand_in(monkeypatch)
    (tmp_path / "a.mp4").write_bytes(b"\0")
    target = tmp_path / "a.otio"
    assert main([str(tmp_path / "a.mp4"), "--output", f"otio={target}"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        "avcheck: the format otio needs OpenTimelineIO: pip install 'avcheck-sync[markers]'\n",
    )
    assert not target.exists()


# ---- EDL


def events(text: str) -> list[tuple[str, str, str]]:
    """(in, out, what is said) of the events, whose record times are their source times."""
    found = re.findall(
        r"^\d{3}  AX +V +C +(\S+) (\S+) (\S+) (\S+)\n"
        r" \|C:ResolveColor(\w+) \|M:([^|\n]*) \|D:(\d+)$",
        text,
        re.MULTILINE,
    )
    assert all(
        source_in == record_in and source_out == record_out
        for source_in, source_out, record_in, record_out, *_ in found
    )
    return [(each[0], each[1], f"{each[4]} {each[6]}: {each[5]}") for each in found]


def test_an_edl_counts_drop_frame() -> None:
    text = document("edl", [film(NTSC[1], "00:59:50;00")])
    assert text.startswith("TITLE: a film.mov\nFCM: DROP FRAME\n\n001  AX ")
    assert text.endswith("\n") and not text.endswith("\n\n")
    remark = (
        "* out of sync: sound late by 124 ms (3.7 frames) at worst; tolerance 40 ms early, 60 ms "
        "late"
    )
    assert text.splitlines().count(remark) == 1
    # 39 s are 1168.8 pictures, 41 s 1228.8, 61 s 1828.2, 81 s 2427.6 and 90 s 2697.3. Minute 60
    # leaves no number out, minute 61 two.
    assert events(text) == [
        ("00:59:50;00", "01:00:28;29", "Green 1169: in sync: sound early by 30 ms (0.9 frames)"),
        (
            "01:00:28;29",
            "01:00:30;29",
            "Fuchsia 60: the offset jumps: sound early by 30 ms (0.9 frames), then sound early by "
            "4 ms (0.1 frames)",
        ),
        (
            "01:00:30;29",
            "01:00:50;28",
            "Green 599: in sync: sound early by 4 ms (0.1 frames), then sound late by 60 ms "
            "(1.8 frames)",
        ),
        (
            "01:00:50;28",
            "01:01:11;00",
            "Red 600: out of sync: sound late by 60 ms (1.8 frames), then sound late by 124 ms "
            "(3.7 frames)",
        ),
        ("01:01:11;00", "01:01:19;29", "Yellow 269: not looked at"),
    ]


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate <= 60], ids=str)
def test_an_edl_as_opentimelineio_reads_it(rate: Fraction) -> None:
    otio = pytest.importorskip("opentimelineio")
    pytest.importorskip("otio_cmx3600_adapter")
    report = film(rate, "01:00:00:00", degraded=Degraded())
    timeline = otio.adapters.read_from_string(
        document("edl", [report]), "cmx_3600", rate=float(rate)
    )
    title = marked(report)
    assert timeline.name == "a film.mov"
    clips = list(timeline.find_clips())
    spans = [
        (each.source_range.start_time.value, each.source_range.duration.value) for each in clips
    ]
    assert spans == [(title.timecode.start + each.start, each.length) for each in title.markers]
    assert [each.markers[0].name for each in clips] == [each.text for each in title.markers]
    assert {each.name for each in clips} == {"a film.mov"}


def test_an_edl_of_a_file_that_was_not_judged_says_why() -> None:
    text = document("edl", [Report("a.mov", "error", reason="no audio stream")])
    assert not events(text)
    assert "* error: no audio stream; tolerance" in text


def test_an_edl_holds_one_title(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch)
    for name in ("late.mp4", "good.mp4"):
        (tmp_path / name).write_bytes(b"\0")
    target, results = tmp_path / "a.edl", tmp_path / "r.jsonl"
    assert main([str(tmp_path), "--output", f"edl={target}"]) == 2
    said = "avcheck: the format edl holds one title, and there are 2; otio and fcpxml hold many\n"
    assert capsys.readouterr().err == said
    assert main([str(tmp_path), "-q", "--output", f"jsonl={results}"]) == 1
    capsys.readouterr()
    assert main(["show", str(results), "--output", f"edl={target}"]) == 2
    assert capsys.readouterr().err == said
    assert main(["show", str(results), "late.mp4", "--output", f"edl={target}"]) == 1
    assert [span[2] for span in events(target.read_text())] == [
        "Red 50: out of sync: sound late by 120 ms (3.0 frames)"
    ]
    assert "25 a second are counted" in target.read_text()  # the record knows no rate


# ---- FCPXML

# Of Apple's DTD 1.10: what an element may contain, in this order, and the attributes used here.
DTD = {
    "fcpxml": ("resources library", "version"),
    "resources": ("format asset", ""),
    "format": ("", "id frameDuration width height"),
    "asset": ("media-rep", "id name start duration hasVideo format hasAudio audioSources"),
    "media-rep": ("", "kind src"),
    "library": ("event", ""),
    "event": ("project", "name"),
    "project": ("sequence", "name"),
    "sequence": ("spine", "format duration tcStart tcFormat"),
    "spine": ("asset-clip", ""),
    "asset-clip": ("note marker", "ref offset name start duration format tcFormat"),
    "note": ("", ""),
    "marker": ("", "start duration value completed"),
}


def seconds(text: str | None) -> Fraction:
    assert text is not None and re.fullmatch(r"\d+(/\d+)?s", text)
    return Fraction(text[:-1])


def checked_fcpxml(text: str) -> ElementTree.Element:
    """The parsed document, held to the elements of the DTD, its references and its times."""
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n')
    root = ElementTree.fromstring(text)
    assert (root.tag, root.get("version")) == ("fcpxml", "1.10")
    for element in root.iter():
        children, attributes = (names.split() for names in DTD[element.tag])
        places = [children.index(child.tag) for child in element]
        assert element.tag == "resources" or places == sorted(places)
        assert set(element.attrib) <= set(attributes)
    ids = [each.get("id") for each in root.findall("resources/*")]
    assert len(ids) == len(set(ids))
    lengths = {each.get("id"): seconds(each.get("frameDuration")) for each in root.iter("format")}
    for clip in root.iter("asset-clip"):
        assert clip.get("ref") in ids
        length = lengths[clip.get("format")]
        end = seconds(clip.get("start")) + seconds(clip.get("duration"))
        for each in (clip, *clip.iter("marker")):
            start, duration = seconds(each.get("start")), seconds(each.get("duration"))
            assert (start / length).denominator == (duration / length).denominator == 1
            assert start + duration <= end
    return root


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_fcpxml_is_read_back_picture_by_picture(rate: Fraction) -> None:
    report = film(rate, "01:00:00:00")
    root, title = checked_fcpxml(document("fcpxml", [report])), marked(report)
    assert [seconds(each.get("frameDuration")) for each in root.iter("format")] == [1 / rate]
    (clip,) = root.iter("asset-clip")
    assert clip.get("name") == "a film.mov"
    assert {each.get("tcFormat") for each in (clip, *root.iter("sequence"))} == {"NDF"}
    assert seconds(clip.get("start")) * rate == title.timecode.start
    assert seconds(clip.get("duration")) * rate == title.length
    states = {"in_sync": "1", "out_of_sync": "0", "undecidable": None, "jump": None}
    read = [
        (
            seconds(each.get("start")) * rate - title.timecode.start,
            seconds(each.get("duration")) * rate,
            each.get("value"),
            each.get("completed"),
        )
        for each in clip.iter("marker")
    ]
    assert read == [
        (each.start, each.length, each.text, states[each.kind]) for each in title.markers
    ]


def test_fcpxml_says_drop_frame_and_shares_formats() -> None:
    reports = [film(), film(), film(Fraction(25)), Report("gone.mp4", "error", reason="gone")]
    root = checked_fcpxml(document("fcpxml", reports))
    assert [each.get("tcFormat") for each in root.iter("sequence")] == ["DF", "DF", "NDF"]
    assert len(root.findall("resources/format")) == 2
    assert len(root.findall("resources/asset")) == len(root.findall(".//project")) == 3
    assert not list(checked_fcpxml(document("fcpxml", [])).iter("project"))


def test_fcpxml_as_opentimelineio_reads_it() -> None:
    otio = pytest.importorskip("opentimelineio")
    pytest.importorskip("otio_fcpx_xml_adapter")
    report = film(Fraction(25))  # at NTSC rates the reader takes 29 pictures a second for 29.97
    read = otio.adapters.read_from_string(document("fcpxml", [report]), "fcpx_xml")
    (clip,) = read.find_clips()
    spans = [(each.marked_range.start_time.value, each.name) for each in clip.markers]
    assert spans == [(each.start, each.text) for each in marked(report).markers]


# ---- CSV


def test_csv_has_the_timecodes() -> None:
    reports = [film(NTSC[1], "00:59:50;00"), film(rate=None)]
    known, unknown = csv.DictReader(io.StringIO(document("csv", reports)))
    assert (known["frame_rate"], known["start_timecode"]) == ("30000/1001", "00:59:50;00")
    assert known["markers"].split("; ")[0] == (
        "00:59:50;00 to 01:00:28;29: in sync: sound early by 30 ms (0.9 frames)"
    )
    assert [unknown[name] for name in ("frame_rate", "start_timecode", "markers")] == [""] * 3


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
