"""No time in a record lies behind the end of its title: what was looked at ends with a whole
second.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from avcheck.checker import Checker
from avcheck.cli.app import main
from avcheck.media import open_media
from avcheck.record.detail import Detail, MediaFacts, SegmentDetail
from avcheck.record.report import BlockResult, Degraded, Report, Segment, Stretch
from avcheck.settings import CheckSettings
from avcheck.verdict.reporting import within_title
from tests.support.clips import Clip
from tests.support.films import talking, tiles

END_S = 60.4
DRIFTING = Report(
    "film.mp4",
    "out_of_sync",
    offset_ms=270.0,
    confidence=0.99,
    drift_ms_per_min=157.4,
    duration_s=END_S,
    stretches=(Stretch(0.0, 61.0, 110.0, 270.0),),
    segments=(Segment(0.0, 50.0, 150.0, 1.0), Segment(50.0, 61.0, 260.0, 1.0)),
    blocks=(BlockResult(60.0, 1.0, None),),
    degraded=Degraded(unseen_s=((59.0, 61.0), (60.4, 61.0))),
)


def test_what_was_looked_at_ends_with_the_title() -> None:
    report = within_title(DRIFTING)
    (stretch,) = report.stretches
    assert stretch == Stretch(0.0, END_S, 110.0, 268.4)  # on the same line
    assert report.offset_ms == 268.4  # at its worst
    assert report.segments == (DRIFTING.segments[0], Segment(50.0, END_S, 260.0, 1.0))
    assert report.degraded.unseen_s == ((59.0, END_S),)
    assert within_title(report) == report


def test_a_verdict_keeps_the_offset_that_it_rests_on() -> None:
    line = Stretch(0.0, 61.0, 0.0, 40.2)  # the limit is 40 ms
    report = within_title(replace(DRIFTING, offset_ms=40.2, stretches=(line,)))
    assert (report.stretches[0].end_offset_ms, report.offset_ms) == (39.8, 40.2)


@pytest.mark.parametrize("duration_s", [None, 59.5])
def test_a_length_that_is_not_known_cuts_nothing(duration_s: float | None) -> None:
    """A header may say that a file is shorter than it is."""
    report = replace(DRIFTING, duration_s=duration_s)
    assert within_title(report) == report


def test_the_detail_ends_with_the_title() -> None:
    part = SegmentDetail(50.0, 61.0, (), 1, 1, ())
    media = MediaFacts("mp4", "h264", 320, 180, 0, 25.0, "aac", 0.0, 0.0)
    report = within_title(replace(DRIFTING, detail=Detail((), (part,), media)))
    assert report.detail == Detail((), (replace(part, end_s=END_S),), media)


@pytest.mark.slow
def test_a_check_names_no_time_behind_the_end(tmp_path: Path) -> None:
    film = talking(tmp_path / "film.mp4", 8.4, lambda t: 0 * t - 0.2, size=(256, 192))
    report = Checker(device="cpu").check(film, CheckSettings(device="cpu", detail=True))
    assert report.duration_s == pytest.approx(8.4, abs=0.03)
    assert report.detail
    assert report.verdict == "out_of_sync"
    ends_s = {each.end_s for each in report.segments} | {each.end_s for each in report.stretches}
    assert ends_s | {each.end_s for each in report.detail.segments} == {report.duration_s}


def test_a_comparison_says_how_long_the_file_plays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is compared ends with the shorter of sound and picture, in this case before the file."""
    film = tiles(tmp_path / "film.mp4", 12.0, vcodec="libx264", acodec="aac")
    late = tiles(tmp_path / "late.mp4", 12.0, vcodec="libx264", acodec="aac", audio_offset_s=0.4)
    assert main(["compare", "--json", str(film), str(late)]) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["offset_ms"] == pytest.approx(-400, abs=10)
    assert record["duration_s"] == pytest.approx(12.4, abs=0.05)
    assert record["stretches"][-1]["end_s"] <= record["duration_s"]


def test_an_asf_may_state_its_length_without_the_preroll(clip: Clip) -> None:
    """As VLC writes it. FFmpeg takes the preroll off again, which leaves 4.9 of 8 seconds."""
    path = clip("clip.wmv", seconds=8, vcodec="wmv2", acodec="wmav2")
    with open_media(path) as file:
        length_s = file.info.duration_s
    content = bytearray(path.read_bytes())
    at = content.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    content[at + 64 : at + 72] = content[at + 72 : at + 80]  # play and send duration
    path.write_bytes(content)
    with open_media(path) as file:
        assert file.info.duration_s == pytest.approx(length_s, abs=0.001)
        ends_s = [picture.pts_s for picture in file.pictures()]
        assert list(file.sounds())
        assert not file.degraded
    assert ends_s[-1] == pytest.approx(8.0, abs=0.1)
