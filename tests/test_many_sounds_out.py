"""A title with several sounds in every format, in resumed runs and by its options."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from avcheck.cli.app import main
from avcheck.record.odd_one_out import odd_one_out
from avcheck.record.report import Report
from avcheck.render.text import subject
from tests.support import fake_scan
from tests.support.fake_scan import stand_in
from tests.support.formats import SEVERAL


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    stand_in(monkeypatch)
    for name in ("one.mp4", "two.mp4"):
        Path(name).write_bytes(b"x")
    return tmp_path


FORMATS_OF_ONE = ("one.mp4", "--audio-track", "all", "--format")


def test_text_has_a_line_a_sound_and_one_for_the_title(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["one.mp4", "two.mp4", "--audio-track", "all"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[:4] == [
        "one.mp4 track 0 (eng): in sync: sound early by 4 ms (0.1 frames), confidence 0.97",
        "one.mp4 track 1 (fra): out of sync: sound late by 200 ms (5.0 frames), confidence 0.97",
        "one.mp4 track 2 (deu): in sync: sound early by 4 ms (0.1 frames), confidence 0.97",
        "one.mp4: track 1 (fra) is late by 200 ms; the other 2 are in sync",
    ]
    assert err.splitlines()[-1] == "6 sounds of 2 files: 4 in sync, 2 out of sync"
    assert "Failed: 2 of 6 sounds of 2 files" in out.splitlines()


def test_every_format_tells_the_sounds_apart(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {}
    for form in (each for each in SEVERAL if each != "text"):
        assert main([*FORMATS_OF_ONE, form]) == 1
        texts[form] = capsys.readouterr().out
    records = json.loads(texts["json"])
    assert [each["audio_track"] for each in records] == [0, 1, 2]
    assert [json.loads(line) for line in texts["jsonl"].splitlines()] == [
        {**record, "elapsed_s": line["elapsed_s"], "checked_at": line["checked_at"]}
        for record, line in zip(records, map(json.loads, texts["jsonl"].splitlines()), strict=True)
    ]
    assert texts["junit"].count("<testcase ") == 3
    assert 'name="one.mp4 track 1 (fra)"' in texts["junit"]
    assert 'tests="3" failures="1"' in texts["junit"]
    assert "::error file=one.mp4,title=avcheck%3A out of sync::track 1 (fra): sound late" in (
        texts["github"].replace("title=avcheck: ", "title=avcheck%3A ")
    )
    assert texts["csv"].count("\r\n") == 4
    assert '"fra"' in texts["csv"]
    if "otio" in texts:
        assert texts["otio"].count('"name": "one.mp4 track 1 (fra)"') == 1
    assert texts["fcpxml"].count('<project name="one.mp4 track 1 (fra)">') == 1
    assert "<bdi>track 1 (fra)</bdi>" in texts["html"]
    assert "3 sounds of 1 file" in texts["html"]
    odd = "one.mp4: track 1 (fra) is late by 200 ms; the other 2 are in sync"
    assert f'<p class="sentence"><bdi>{odd}</bdi></p>' in texts["html"]


def test_dubs_of_one_name_are_told_apart_by_their_folders() -> None:
    late = Report("one.mp4", "out_of_sync", offset_ms=-200.0, audio_path="fr/mix.wav", records=2)
    good = replace(late, verdict="in_sync", offset_ms=4.0, audio_path="de/mix.wav")
    assert [subject(each) for each in (late, good)] == [
        "one.mp4 with fr/mix.wav",
        "one.mp4 with de/mix.wav",
    ]
    assert odd_one_out((late, good)) == "fr/mix.wav is late by 200 ms; de/mix.wav is in sync"


def test_an_edl_of_saved_results_holds_the_sounds_of_one_title(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["one.mp4", "--audio-track", "all", "--output", "jsonl=r.jsonl"])
    capsys.readouterr()
    for words in (["show", "r.jsonl"], ["show", "r.jsonl", "one.mp4"], ["merge", "r.jsonl"]):
        assert main([*words, "--format", "edl"]) in (0, 1)
        assert capsys.readouterr().out.count("TITLE:") == 1
    main(["one.mp4", "two.mp4", "--audio-track", "all", "--output", "jsonl=two.jsonl"])
    capsys.readouterr()
    assert main(["show", "two.jsonl", "--format", "edl"]) == 2
    assert "there are 2;" in " ".join(capsys.readouterr().err.split())


def test_a_run_goes_on_with_the_title_of_which_a_sound_is_missing(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["one.mp4", "two.mp4", "--audio-track", "all", "--resume", "r.jsonl"]
    assert main(command) == 1
    lines = Path("r.jsonl").read_text(encoding="ascii").splitlines(keepends=True)
    assert len(lines) == 6
    Path("r.jsonl").write_text("".join(lines[:5]), encoding="ascii")  # killed before the last
    fake_scan.MADE.clear()
    assert main(command) == 1
    (made,) = fake_scan.MADE
    assert [call["path"].name for call in made.calls] == ["two.mp4"]
    fake_scan.MADE.clear()
    assert main(command) == 1 and not fake_scan.MADE
    assert "6 sounds of 2 files" in capsys.readouterr().err
    assert main(["merge", "r.jsonl", "--format", "jsonl"]) == 1
    merged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["path"], each["audio_track"]) for each in merged] == [
        (name, track) for name in ("one.mp4", "two.mp4") for track in range(3)
    ]


def test_diff_tells_which_sound_became_worse(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["one.mp4", "--audio-track", "all", "--resume", "new.jsonl"])
    old = Path("new.jsonl").read_text(encoding="ascii")
    better = old.replace('"out_of_sync"', '"in_sync"').replace("-200.0", "4.0")
    Path("old.jsonl").write_text(better, encoding="ascii")
    capsys.readouterr()
    assert main(["diff", "old.jsonl", "new.jsonl"]) == 1
    assert capsys.readouterr().out.startswith("worse    one.mp4 track 1 (fra): in sync -> out of ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--audio-track", "x"], "takes a number from 0 to 9999, or all"),
        (["--audio-track", "all", "--audio-track", "1"], "all goes alone"),
        (["--audio-track", "1", "--language", "fr"], "exclude each other"),
        (["--audio", "two.mp4", "--language", "fr"], "--audio and --language exclude each other"),
        (["--start", "1:99"], "is no time"),
        (["--start", "20", "--end", "10"], "is empty or too short"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    shelf: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(["one.mp4", *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "variable", "tracks", "every", "languages"),
    [
        ("audio-track = 2", "", (2,), False, ()),
        ("audio-track = [0, 2]", "", (0, 2), False, ()),
        ('audio-track = "all"', "", (), True, ()),
        ('language = ["fr", "de"]', "", (), False, ("fr", "de")),
        ("", "AVCHECK_AUDIO_TRACK=0,1", (0, 1), False, ()),
        ("", "AVCHECK_LANGUAGE=fr de", (), False, ("fr", "de")),
    ],
)
def test_a_project_may_set_them(
    shelf: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    variable: str,
    tracks: tuple[int, ...],
    every: bool,
    languages: tuple[str, ...],
) -> None:
    Path("avcheck.toml").write_text(f"{line}\n", encoding="utf-8")
    if variable:
        monkeypatch.setenv(*variable.split("="))
    fake_scan.MADE.clear()
    main(["one.mp4"])
    asked = fake_scan.MADE[-1].calls[0]["settings"]
    assert (asked.audio_tracks, asked.every_track, asked.languages) == (tracks, every, languages)
