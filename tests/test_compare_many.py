"""Comparing directories: which file goes with which, and the batch's exit codes, formats and
resume.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from avcheck.batch.discovery import Selection, Shard
from avcheck.cli.app import main
from avcheck.compare import comparison
from avcheck.compare.comparison import Comparison, compare_titles, read_title
from avcheck.compare.pairs import pair
from avcheck.compare.verdict import to_report
from avcheck.errors import UsageError
from avcheck.record.report import PRESETS
from tests.support.clips import make_clip
from tests.support.scenery import noise, scenery

TOLERANCE = PRESETS["ebu-r37"]
EVERYTHING = Selection()
SECONDS = 13.0


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0")
    return root


@pytest.fixture
def masters(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "masters", "a.mov", "b/c.mxf", "lost.mkv", "two.mov", "two.mxf")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "out", "a.mp4", "a.webm", "b/c.mp4", "c.mp4", "two.mp4")


def paired(masters: Path, out: Path, selection: Selection = EVERYTHING) -> dict[str, Any]:
    """By the name of a file its reference, or why it has none."""
    pairs = pair(masters, out, TOLERANCE, selection)
    names: dict[str, Any] = {
        Path(file).relative_to(out).as_posix(): pairs.references[str(file)]
        .relative_to(masters)
        .as_posix()
        for file in pairs.files
    }
    assert all(each.verdict == "error" for each in pairs.errors)
    return names | {Path(each.path).name: each.reason_code for each in pairs.errors}


def test_files_are_compared_by_their_place_and_name(masters: Path, out: Path) -> None:
    assert paired(masters, out) == {
        "a.mp4": "a.mov",
        "a.webm": "a.mov",  # two versions of one title
        "b/c.mp4": "b/c.mxf",
        "c.mp4": "unpaired",  # another c.mp4, in another place
        "two.mp4": "unpaired",
        "lost.mkv": "unpaired",
    }


def test_why_a_file_has_no_partner_is_said(masters: Path, out: Path) -> None:
    reasons = {
        Path(each.path).name: each.reason
        for each in pair(masters, out, TOLERANCE, Selection()).errors
    }
    assert reasons == {
        "c.mp4": f"there is no reference of its name in {masters}",
        "two.mp4": (
            f"there are several references of its name: {masters}/two.mov, {masters}/two.mxf; "
            "keep one"
        ),
        "lost.mkv": f"this is a reference, and {out} has no file of its name",
    }


def test_what_is_excluded_needs_no_partner(masters: Path, out: Path) -> None:
    partners = paired(masters, out, Selection(exclude=("two.*", "lost.mkv", "/c.mp4")))
    assert sorted(partners) == ["a.mp4", "a.webm", "b/c.mp4"]


def test_shards_are_disjoint_and_miss_nothing(masters: Path, out: Path) -> None:
    parts = [paired(masters, out, Selection(shard=Shard(k, 3))) for k in (1, 2, 3)]
    names = [name for part in parts for name in part]
    assert sorted(names) == sorted(paired(masters, out))


def test_one_reference_goes_with_every_file(masters: Path, out: Path) -> None:
    pairs = pair(masters / "a.mov", out, TOLERANCE, Selection())
    assert len(pairs.files) == 5
    assert set(pairs.references.values()) == {masters / "a.mov"}
    assert pairs.errors == []


@pytest.mark.parametrize(
    ("reference", "file", "why"),
    [
        ("masters", "out/a.mp4", "is a directory and"),
        ("gone.mov", "out", "no such file"),
        ("masters", "gone", "no such file"),
        ("https://example.org/a.mp4", "out/a.mp4", "is a URL"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    masters: Path, out: Path, reference: str, file: str, why: str
) -> None:
    root = masters.parent
    first = reference if "://" in reference else root / reference
    with pytest.raises(UsageError, match=why):
        pair(first, root / file, TOLERANCE, Selection())


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A title, and a version whose sound is late."""
    folder = tmp_path_factory.mktemp("films")
    sound = noise(SECONDS + 1)
    make_clip(
        folder / "title.mkv",
        seconds=SECONDS,
        draw=scenery,
        play=sound,
        size=(160, 90),
        acodec="flac",
    )
    make_clip(
        folder / "late.mp4",
        seconds=SECONDS,
        draw=scenery,
        play=lambda times_s: sound(times_s - 0.15),
        size=(160, 90),
    )
    return folder


@pytest.fixture
def folders(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`masters` and `out` of three titles: one as it was, one late, one that is no film."""
    monkeypatch.chdir(tmp_path)
    for folder in ("masters", "out"):
        Path(folder).mkdir()
    for name in ("good", "late", "text"):
        shutil.copy(films / "title.mkv", f"masters/{name}.mkv")
    shutil.copy(films / "title.mkv", "out/good.mkv")
    shutil.copy(films / "late.mp4", "out/late.mp4")
    Path("out/text.mp4").write_text("no film\n", encoding="ascii")
    return tmp_path


def records(path: str) -> dict[str, Any]:
    lines = Path(path).read_text(encoding="ascii").splitlines()
    return {record["path"]: record for record in map(json.loads, lines)}


@pytest.mark.slow
def test_a_directory_is_a_gate_with_reports(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = [
        "--output",
        "junit=sync.xml",
        "--output",
        "html=sync.html",
        "--output",
        "csv=sync.csv",
    ]
    assert main(["compare", "masters", "out", *outputs, "--output", "jsonl=sync.jsonl"]) == 2
    shown = capsys.readouterr()
    assert "out/late.mp4: out of sync: sound late by 150 ms" in shown.out
    assert "out/text.mp4: error: " in shown.err
    assert "3 files: 1 in sync, 1 out of sync, 1 error" in shown.err
    by_path = records("sync.jsonl")
    assert by_path["out/late.mp4"]["reference"] == "masters/late.mkv"
    assert by_path["out/late.mp4"]["offset_ms"] == pytest.approx(-150, abs=1)
    assert {record["measured_by"] for record in by_path.values()} == {"reference"}
    suite = ElementTree.parse("sync.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    assert "out/late.mp4" in Path("sync.html").read_text("utf-8")


def test_a_quiet_run_shows_what_fails_alone(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out/text.mp4").unlink()
    Path("masters/text.mkv").unlink()
    assert main(["compare", "masters", "out", "--quiet"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    words = "out/late.mp4: out of sync: sound late by 150 ms (3.8 frames), confidence "
    assert line.startswith(words)
    assert float(line.removeprefix(words)) == pytest.approx(0.98, abs=0.011)  # FFmpeg's version


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The titles that are read, as they are."""
    paths: list[str] = []
    before = comparison.read_title

    def counted(path: Any, **options: Any) -> Any:
        paths.append(str(path))
        return before(path, **options)

    monkeypatch.setattr(comparison, "read_title", counted)
    return paths


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_stopped(
    folders: Path, read: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["compare", "masters", "out", "--resume", "results.jsonl"]
    assert main(line) == 2
    assert sorted(records("results.jsonl")) == ["out/good.mkv", "out/late.mp4", "out/text.mp4"]
    read.clear()
    assert main(line) == 2
    assert read == []
    assert "all done before" in capsys.readouterr().err
    # A reference that has changed is another comparison.
    os.utime("masters/good.mkv", ns=(1, 1))
    assert main(line) == 2
    assert sorted(read) == ["masters/good.mkv", "out/good.mkv"]


def test_one_reference_is_read_once(
    folders: Path, read: list[str], clip: Callable[..., Path]
) -> None:
    Path("out/text.mp4").unlink()
    assert main(["compare", "masters/good.mkv", "out"]) == 1
    assert read == ["masters/good.mkv", "out/good.mkv", "out/late.mp4"]


@pytest.mark.slow
def test_worker_processes_find_the_same(folders: Path) -> None:
    line = ["compare", "masters", "out", "--jobs", "2", "--timeout", "300"]
    assert main([*line, "--format", "jsonl", "--output", "jsonl=sync.jsonl"]) == 2
    verdicts = {path: record["verdict"] for path, record in records("sync.jsonl").items()}
    assert verdicts == {
        "out/good.mkv": "in_sync",
        "out/late.mp4": "out_of_sync",
        "out/text.mp4": "error",
    }


def test_a_reference_that_cannot_be_read_is_named(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("masters/good.mkv").write_text("no film\n", encoding="ascii")
    assert main(["compare", "masters/good.mkv", "out/good.mkv"]) == 2
    assert "out/good.mkv: error: masters/good.mkv" in capsys.readouterr().err


def test_a_format_of_one_title_is_refused_for_two(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in (["--format", "edl"], ["--output", "edl=sync.edl"]):
        assert main(["compare", "masters", "out", *options]) == 2
        said = capsys.readouterr()
        assert (said.out, "the format edl holds one title, and there are 3" in said.err) == (
            "",
            True,
        )
    assert not Path("sync.edl").exists()


def test_a_film_without_sound_is_refused_without_an_option_that_compare_lacks(
    folders: Path, capsys: pytest.CaptureFixture[str], clip: Callable[..., Path]
) -> None:
    silent = clip("silent.mp4", seconds=1, acodec=None)
    for pair_of in ((silent, "out/good.mkv"), ("out/good.mkv", silent)):
        assert main(["compare", *map(str, pair_of)]) == 2
        assert (
            "the file has no audio track; put the pictures and their sound into one file first"
            in capsys.readouterr().err
        )


def test_a_file_too_short_to_be_aligned_says_so() -> None:
    for has_s, words in ((3.2, "3.2 s"), (3.79, "3.7 s")):
        report = to_report("film.mp4", Comparison((), (), (), 0.0, has_s), TOLERANCE)
        assert (report.verdict, report.reason_code) == ("undecidable", "too_short")
        assert report.reason == (
            f"only {words} of the file has both pictures and sound; aligning takes 3.8 s"
        )


@pytest.mark.parametrize("seconds", [4.0, 4.2, 4.6])
def test_four_seconds_of_a_title_are_aligned(tmp_path: Path, seconds: float) -> None:
    play = noise(20.0)

    def clip_of(name: str, length_s: float, start_s: float, late_s: float) -> None:
        make_clip(
            tmp_path / name,
            seconds=length_s,
            draw=lambda time_s: scenery(start_s + time_s),
            play=lambda times_s: play(times_s + start_s - late_s),
            size=(160, 90),
        )

    clip_of("whole.mkv", 12.0, 0.0, 0.0)
    clip_of("short.mkv", seconds, 5.0, 0.12)
    with (
        closing(read_title(tmp_path / "whole.mkv")) as reference,
        closing(read_title(tmp_path / "short.mkv")) as file,
    ):
        report = to_report("short.mkv", compare_titles(reference, file), TOLERANCE)
    assert (report.verdict, report.confidence > 0.9) == ("out_of_sync", True)
    assert report.offset_ms == pytest.approx(-120, abs=10)


def test_json_of_two_files_is_one_object(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "masters/good.mkv", "out/good.mkv", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["verdict"], record["reference"]) == ("in_sync", "masters/good.mkv")
