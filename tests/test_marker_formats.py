"""Markers for editors as OTIO, EDL and FCPXML, each read back, by OpenTimelineIO where it can."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from avcheck.cli.app import main
from avcheck.record.markers import marked
from avcheck.record.report import Degraded, Report, Track
from tests.support.fake_scan import stand_in
from tests.support.marked import CLOCKS, NTSC, RATES, document, film, number_of

# ---- OTIO


@pytest.fixture
def otio() -> Any:
    return pytest.importorskip("opentimelineio")


def read(otio: Any, reports: Iterable[Report]) -> Any:
    return otio.adapters.read_from_string(document("otio", reports), "otio_json")


@pytest.mark.parametrize(("rate", "first"), CLOCKS)
def test_otio_is_read_back_picture_by_picture(otio: Any, rate: Fraction, first: str) -> None:
    report = film(rate, first)
    timeline, title = read(otio, [report]), marked(report)
    assert timeline.name == "a film.mov"
    assert timeline.global_start_time.value == title.timecode.start == number_of(first, rate)
    (clip,) = timeline.find_clips()
    assert clip.media_reference.target_url.endswith("/films/a%20film.mov")
    assert clip.trimmed_range().duration.value == title.length
    assert Fraction(clip.trimmed_range().duration.rate).limit_denominator(1001) == rate
    colours = {"in_sync": "GREEN", "out_of_sync": "RED", "undecidable": "YELLOW", "jump": "MAGENTA"}
    assert len(clip.markers) == 5
    for marker, meant in zip(clip.markers, title.markers, strict=True):
        span = marker.marked_range
        assert span.start_time.value == title.timecode.start + meant.start
        assert span.duration.value == meant.length
        assert (marker.name, marker.comment, marker.color) == (
            meant.text,
            meant.text,
            colours[meant.kind],
        )


def test_several_titles_are_a_collection(otio: Any) -> None:
    titles = read(otio, [film(), film(Fraction(25)), film(NTSC[0])])
    assert [Fraction(each.global_start_time.rate).limit_denominator(1001) for each in titles] == [
        NTSC[1],
        Fraction(25),
        NTSC[0],
    ]
    assert len(read(otio, [])) == 0


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
        "avcheck: the format otio needs OpenTimelineIO: pip install opentimelineio\n",
    )
    assert not target.exists()


# ---- EDL


def events(text: str) -> list[tuple[str, str, str]]:
    """(in, out, what is said) of the events, whose record times are their source times."""
    rows = re.findall(
        r"^\d{3}  AX +V +C +(\S+) (\S+) (\S+) (\S+)\n"
        r" \|C:ResolveColor(\w+) \|M:([^|\n]*) \|D:(\d+)$",
        text,
        re.MULTILINE,
    )
    assert all(
        source_in == record_in and source_out == record_out
        for source_in, source_out, record_in, record_out, *_ in rows
    )
    return [(each[0], each[1], f"{each[4]} {each[6]}: {each[5]}") for each in rows]


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


def test_the_sounds_of_a_title_share_an_edl() -> None:
    """Two lists in one file are read by few programs, and of two markers at a picture only one."""
    tracks = (Track(0, "eng", "", "aac", True), Track(1, "fra", "", "aac", False))
    sounds = [
        film(Fraction(25), "10:00:00:00", audio_track=k, audio_tracks=tracks, records=2)
        for k in (0, 1)
    ]
    text = document("edl", sounds)
    assert [text.count(word) for word in ("TITLE:", "FCM:", "* track 1 (fra): out of sync")] == [
        1,
        1,
        1,
    ]
    starts = [event[0] for event in events(text)]
    assert len(starts) == len(set(starts)) == 2 * len(marked(sounds[0]).markers)
    assert [line[:3] for line in text.splitlines() if " AX " in line] == [
        f"{k:03d}" for k in range(1, len(starts) + 1)
    ]
    assert events(text)[5][2] == (
        "Green 974: track 1 (fra): in sync: sound early by 30 ms (0.8 frames)"
    )


@pytest.mark.parametrize(("rate", "first"), CLOCKS)
def test_an_edl_is_read_back_picture_by_picture(rate: Fraction, first: str) -> None:
    report = film(rate, first)
    title = marked(report)
    read = [
        tuple(number_of(each, rate) - number_of(first, rate) for each in event[:2])
        for event in events(document("edl", [report]))
    ]
    assert read == [(each.start, each.end) for each in title.markers]


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


@pytest.mark.parametrize(("rate", "first"), CLOCKS)
def test_fcpxml_is_read_back_picture_by_picture(rate: Fraction, first: str) -> None:
    report = film(rate, first)
    root, title = checked_fcpxml(document("fcpxml", [report])), marked(report)
    assert [seconds(each.get("frameDuration")) for each in root.iter("format")] == [1 / rate]
    (clip,) = root.iter("asset-clip")
    assert clip.get("name") == "a film.mov"
    counts = {each.get("tcFormat") for each in (clip, *root.iter("sequence"))}
    assert counts == {"DF" if ";" in first else "NDF"}
    assert seconds(clip.get("start")) * rate == title.timecode.start == number_of(first, rate)
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
        (Fraction(each.start), Fraction(each.length), each.text, states[each.kind])
        for each in title.markers
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
