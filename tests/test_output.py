"""Files that results are written to: whole or not there, and nothing written over."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from avcheck.errors import UsageError
from avcheck.record.report import Report
from avcheck.render import renderer
from avcheck.render.output import Guard, parse_targets, to_file, to_stream

REPORTS = [Report("a.mp4", "in_sync", offset_ms=1.0), Report("b.mp4", "error", reason="no sound")]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- which files


def test_targets() -> None:
    first, second = parse_targets(["junit=report.xml", "json=a=b.json"])
    assert (first.form, first.path, second.form, second.path) == (
        "junit",
        Path("report.xml"),
        "json",
        Path("a=b.json"),
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["report.xml"],
            "--output takes FORMAT=FILE, for example junit=report.xml, not 'report.xml'",
        ),
        (["junit="], "--output takes FORMAT=FILE"),
        (
            ["xml=report.xml"],
            "there is no format 'xml'; there are text, json, jsonl, junit, github, csv",
        ),
        (["json=-"], "for stdout take --format json"),
        (["json=a", "csv=./a"], "named twice"),
        (["json=nowhere/a"], "there is no directory"),
        (["json=there.txt"], "there.txt exists already; --force writes over it"),
        (["json=link.txt"], "is not a regular file"),
        (["json=."], "is not a regular file"),
    ],
)
def test_what_cannot_be_written_is_refused(folder: Path, options: list[str], says: str) -> None:
    (folder / "there.txt").write_text("precious")
    (folder / "link.txt").symlink_to("nowhere")
    with pytest.raises(UsageError) as caught:
        parse_targets(options)
    assert says in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_force_takes_regular_files_only(folder: Path) -> None:
    (folder / "there.txt").write_text("old")
    os.mkfifo("pipe")
    assert parse_targets(["json=there.txt"], force=True)
    for name in ("pipe", "."):
        with pytest.raises(UsageError, match="not a regular file"):
            parse_targets([f"json={name}"], force=True)


def test_force_never_takes_what_is_read(folder: Path) -> None:
    (folder / "film.mp4").write_bytes(b"x")
    (folder / "link.json").symlink_to("film.mp4")
    (folder / "old.json").write_text("[]")
    os.link(folder / "film.mp4", folder / "hard.json")
    (folder / "here").symlink_to(".")
    for name in ("film.mp4", "link.json", "hard.json", "here/film.mp4"):
        guard = Guard(parse_targets([f"json={name}", "csv=new.csv"], force=True))
        guard.refuse(Path("gone.mp4"))
        with pytest.raises(UsageError, match=r"^--output: .*film.mp4 is a file that is read$"):
            guard.refuse(folder / "film.mp4")
    guard = Guard(parse_targets(["json=old.json", "csv=new.csv"], force=True))
    for path in (Path("film.mp4"), Path("gone.mp4")):
        guard.refuse(path)
    # Which a run may make, as that of --resume
    with pytest.raises(UsageError, match="a file that is read"):
        Guard(parse_targets(["csv=new.csv"])).refuse(Path("here/new.csv"))
    Guard([]).refuse(Path("film.mp4"))


# ---- the file


@pytest.mark.parametrize("form", ["json", "junit"])
def test_a_file_appears_when_it_is_whole(folder: Path, form: str) -> None:
    target = folder / "out"
    with to_file(renderer(form), target) as add:
        for report in REPORTS:
            add(report)
            assert not target.exists()
    assert names(folder) == ["out"]
    text: list[str] = []
    with to_stream(renderer(form), text.append) as add:
        for report in REPORTS:
            add(report)
    assert target.read_text() == "".join(text)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask()


def umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError, RuntimeError])
def test_a_run_that_ends_early_leaves_a_whole_document_of_what_was_done(
    folder: Path, error: type[BaseException]
) -> None:
    partial: list[Path] = []
    with (
        pytest.raises(error),
        to_file(renderer("json"), folder / "out.json", on_partial=partial.append) as add,
    ):
        add(REPORTS[0])
        raise error
    assert names(folder) == [partial[0].name]
    assert partial[0].name.startswith("out.json.") and partial[0].suffix == ".partial"
    assert [record["path"] for record in json.loads(partial[0].read_text())] == ["a.mp4"]


def test_a_line_is_on_the_disk_as_soon_as_its_file_is_done(folder: Path) -> None:
    with to_file(renderer("jsonl"), folder / "out.jsonl") as add:
        add(REPORTS[0])
        (partial,) = folder.glob("out.jsonl.*.partial")
        assert json.loads(partial.read_text())["path"] == "a.mp4"


def test_a_run_that_never_began_leaves_nothing(folder: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        to_file(
            renderer("json"),
            folder / "out.json",
            on_partial=lambda partial: pytest.fail(f"{partial} was kept"),
        ),
    ):
        raise RuntimeError
    assert names(folder) == []


def test_a_name_that_was_taken_meanwhile_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for links in (True, False):
        if not links:
            monkeypatch.setattr(
                os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here"))
            )
        partial: list[Path] = []
        target = folder / f"{links}.json"
        with (
            pytest.raises(UsageError, match="has appeared during the run"),
            to_file(renderer("json"), target, on_partial=partial.append) as add,
        ):
            add(REPORTS[0])
            target.write_text("precious")
        assert target.read_text() == "precious"
        assert len(json.loads(partial[0].read_text())) == 1


def test_a_file_system_without_links(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    with to_file(renderer("json"), folder / "out.json") as add:
        add(REPORTS[0])
    assert names(folder) == ["out.json"]


def test_force_replaces_in_one_step(folder: Path) -> None:
    target = folder / "out.json"
    target.write_text("old")
    with to_file(renderer("json"), target, force=True) as add:
        add(REPORTS[0])
        assert target.read_text() == "old"
    assert len(json.loads(target.read_text())) == 1
    assert names(folder) == ["out.json"]


def test_a_directory_that_takes_no_file_is_said_at_once(folder: Path) -> None:
    with (
        pytest.raises(UsageError, match="cannot write"),
        to_file(renderer("json"), folder / ("x" * 256)),
    ):
        pytest.fail("the run began")


# ---- the stream


def test_an_interrupted_list_is_still_a_list() -> None:
    text: list[str] = []
    with pytest.raises(KeyboardInterrupt), to_stream(renderer("json"), text.append) as add:
        add(REPORTS[0])
        raise KeyboardInterrupt
    assert len(json.loads("".join(text))) == 1


def test_a_reader_that_has_gone_gets_nothing_more() -> None:
    text: list[str] = []
    with pytest.raises(BrokenPipeError), to_stream(renderer("json"), text.append) as add:
        add(REPORTS[0])
        raise BrokenPipeError
    assert not "".join(text).rstrip().endswith("]")


def test_a_document_with_its_counts_in_front_waits_for_the_end() -> None:
    text: list[str] = []
    with to_stream(renderer("junit"), text.append) as add:
        add(REPORTS[0])
        assert text == []
    assert "".join(text).startswith("<?xml") and 'tests="1"' in "".join(text)
