"""The command's formats and files, whatever a file's name."""

from __future__ import annotations

import csv
import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from avcheck.cli.app import main
from tests.support import fake_scan
from tests.support.commands import command, rows
from tests.support.formats import SEVERAL

pytestmark = pytest.mark.usefixtures("fake")


def test_json_is_a_list_and_jsonl_a_record_a_line(
    clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avcheck.batch.run._now", lambda: "2026-03-01T12:00:00.000Z")
    monkeypatch.setattr("avcheck.batch.run._seconds", lambda: 0.0)
    assert main(["--json", "late.mp4", "gone.mp4"]) == 2
    listed = json.loads(capsys.readouterr().out)
    assert main(["--format", "json", "late.mp4", "gone.mp4"]) == 2
    assert json.loads(capsys.readouterr().out) == listed
    assert main(["--format", "jsonl", "late.mp4", "gone.mp4"]) == 2
    assert [json.loads(row) for row in capsys.readouterr().out.splitlines()] == listed
    assert {record["path"]: (record["verdict"], record["offset_ms"]) for record in listed} == {
        "gone.mp4": ("error", None),
        "late.mp4": ("out_of_sync", -120.0),
    }
    assert listed[0]["reason"] == "there is no such file or directory; check the path"
    assert listed[1]["offset_text"] == "sound late by 120 ms (3.0 frames)"


@pytest.mark.parametrize(
    ("args", "verdicts"),
    [
        (["good.mp4"], "in_sync"),
        (["gone.mp4"], "error"),
        (["good.mp4", "late.mp4"], ["in_sync", "out_of_sync"]),
        (["lib/deep"], ["out_of_sync"]),  # a directory is a list, however many files are in it
        (["--files-from", "list.txt"], ["in_sync"]),
    ],
)
def test_json_of_one_named_file_is_one_object(
    clips: Path, capsys: pytest.CaptureFixture[str], args: list[str], verdicts: str | list[str]
) -> None:
    (clips / "list.txt").write_text("good.mp4\n")
    main(["--json", *args, "--output", "json=report.json"])
    shown = json.loads(capsys.readouterr().out)
    assert (
        [each["verdict"] for each in shown] if isinstance(shown, list) else shown["verdict"]
    ) == verdicts
    assert json.loads((clips / "report.json").read_text()) == shown


def test_json_stays_whole_when_the_model_fails(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--json", "--device", "cuda", "good.mp4"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out) is None
    assert err == "avcheck: no GPU that torch can use; take --device cpu\n"
    assert main(["--json", "--device", "cuda", "lib"]) == 2
    assert json.loads(capsys.readouterr().out) == []


def test_every_format_goes_to_stdout_alone(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["good.mp4", "late.mp4", "unsure.mkv", "gone.mp4"]
    said = (
        "gone.mp4: error: there is no such file or directory; check the path\n"
        "4 files: 1 in sync, 1 out of sync, 1 undecidable, 1 error\n"
    )
    shown = {}
    for form in SEVERAL:
        assert main(["--format", form, *names]) == 2
        shown[form], err = capsys.readouterr()
        assert err == said
    assert len(ElementTree.fromstring(shown["junit"]).findall(".//testcase")) == 4
    assert len(list(csv.DictReader(shown["csv"].splitlines()))) == 4
    assert [row.split(" ")[0] for row in shown["github"].splitlines() if row.startswith("::")] == [
        "::error",
        "::error",
        "::warning",
    ]


def test_several_files_at_once_beside_the_text(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = [f"{form}=report.{form}" for form in SEVERAL]
    names = ["good.mp4", "late.mp4", "gone.mp4"]
    args = [*names, *(word for output in outputs for word in ("--output", output))]
    assert main(args) == 2
    assert rows(capsys.readouterr().out) == ["good.mp4", "late.mp4"]
    listed = json.loads((clips / "report.json").read_text())
    # wrong paths come first
    assert [record["path"] for record in listed] == [
        "gone.mp4",
        "good.mp4",
        "late.mp4",
    ]
    assert [json.loads(row) for row in (clips / "report.jsonl").read_text().splitlines()] == listed
    assert (clips / "report.csv").read_bytes().count(b"\r\n") == 4
    assert (
        (clips / "report.text")
        .read_text()
        .startswith("gone.mp4: error: there is no such file or directory; check the path\n")
    )
    assert "::error file=late.mp4," in (clips / "report.github").read_text()
    assert ElementTree.parse(clips / "report.junit").getroot().get("tests") == "3"
    assert not list(clips.glob("*.partial"))

    assert main(args) == 2
    assert "report.text exists already; --force writes over it" in capsys.readouterr().err
    assert main([*args[:2], *args[3:], "--force"]) == 1
    assert [record["path"] for record in json.loads((clips / "report.json").read_text())] == [
        "good.mp4",
        "late.mp4",
    ]


def test_force_spares_what_is_checked(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lib", "--output", "json=lib/deep/late.webm", "--force"]) == 2
    assert "is a file that is read" in capsys.readouterr().err
    assert (clips / "lib/deep/late.webm").read_bytes() == b"x"
    assert fake_scan.MADE == []


def test_an_interrupted_run_says_where_its_results_are(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips / "ctrlc.mp4").write_bytes(b"x")
    assert main(["late.mp4", "ctrlc.mp4", "--output", "junit=report.xml"]) == 130
    (left,) = clips.glob("report.xml*")
    assert ElementTree.parse(left).getroot().get("failures") == "1"
    assert (
        capsys.readouterr().err
        == f"avcheck: the results so far are in {left.name}\navcheck: interrupted\n"
    )


def test_a_model_that_fails_leaves_no_file(clips: Path) -> None:
    assert main(["good.mp4", "--device", "cuda", "--output", "json=report.json"]) == 2
    assert not list(clips.glob("report*"))


def test_the_step_summary_is_added_to(
    clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = clips / "summary.md"
    target.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(target))
    assert main(["late.mp4", "good.mp4"]) == 1
    assert target.read_text() == "before\n"
    assert main(["late.mp4", "good.mp4", "--format", "github"]) == 1
    assert main(["late.mp4", "--output", "github=notes.txt"]) == 1
    text = target.read_text()
    assert text.startswith("before\n### avcheck: 2 files: 1 in sync, 1 out of sync\n")
    assert text.count("<td><code>late.mp4</code></td>") == 2
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(clips))
    capsys.readouterr()
    assert main(["good.mp4", "--format", "github"]) == 0
    assert "cannot write the step summary" in capsys.readouterr().err


def test_hostile_names_cannot_touch_the_terminal(clips: Path) -> None:
    names = ["[red]late [1] .mp4", "late \x1b[2Jx\n\x07.mp4", "late :warning: \u202egp4.mp4"]
    for name in names:
        (clips / name).write_bytes(b"x")
    raw = os.fsencode(clips) + b"/late \xff.mp4"
    with open(raw, "wb"):  # noqa: PTH123 - a name that is not UTF-8
        pass
    done = command(*names, os.fsdecode(raw))
    assert done.returncode == 1
    rows = done.stdout.decode("ascii").splitlines()
    assert [row.split(": out of sync")[0] for row in rows[:3]] == [
        "[red]late [1] .mp4",
        "late \\x1b[2Jx\\n\\x07.mp4",
        "late :warning: \\u202egp4.mp4",
    ]
    assert rows[3].endswith(
        "late \\xff.mp4: out of sync: sound late by 120 ms (3.0 frames), confidence 0.97"
    )
    listed = json.loads(command("--json", *names, os.fsdecode(raw)).stdout.decode("ascii"))
    assert [os.fsencode(record["path"]) for record in listed] == [
        *(name.encode() for name in names),
        raw,
    ]


@pytest.mark.parametrize("form", SEVERAL)
def test_hostile_names_in_every_format(
    clips: Path, form: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    names = [
        "::error::late.mp4",
        "late\n::error::x.mp4",
        "=late.mp4",
        "late##[error]\x1b[2J<b>&.mp4",
        "late \U0001f3ac,a:b%.mp4",
    ]
    for name in names:
        (clips / name).write_bytes(b"x")
    raw = os.fsencode(clips) + b"/late \xff.mp4"
    with open(raw, "wb"):  # noqa: PTH123 - a name that is not UTF-8
        pass
    line = ["--format", form, "--output", f"{form}=report", "--", *names, os.fsdecode(raw)]
    assert main(line) == 1
    out, err = capfdbinary.readouterr()
    assert err == b"6 files: 6 out of sync\n"
    shown = out.decode("utf-8")
    assert b"\x1b" not in out and "##[" not in shown
    commands = [row for row in shown.splitlines() if row.startswith("::")]
    assert len(commands) == (6 if form == "github" else 0)
    assert (clips / "report").read_text("utf-8") == shown.replace("\r\n", "\n").partition(
        "\n\nFailed: "
    )[0].rstrip("\n") + "\n"


def test_a_piped_path_is_never_cut(clips: Path) -> None:
    deep = clips.joinpath(*["a very long folder name"] * 8)
    deep.mkdir(parents=True)
    (deep / "late.mp4").write_bytes(b"x")
    row = command(str(deep / "late.mp4")).stdout.decode()
    assert (
        row == f"{deep / 'late.mp4'}: out of sync: sound late by 120 ms (3.0 frames), confidence "
        "0.97\n"
    )


@pytest.mark.parametrize(
    "args",
    [
        ["late.mp4", "--output", "csv=closed/a.csv"],
        ["demo", "--keep", "closed/a.mp4"],
        ["evidence", "late.mp4", "closed/a.mp4"],
        ["fix", "late.mp4", "closed/a.mp4"],
    ],
)
def test_a_directory_that_cannot_be_written_to_is_named_before_any_work(
    clips: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
) -> None:
    closed, real = clips / "closed", os.access
    closed.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed and real(path, mode))
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"no permission to write to {closed}" in err
    assert fake_scan.MADE == []


def test_a_demo_that_cannot_be_kept_is_no_bug(
    clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("avcheck.scenes.demo.make_demo", lambda path, **_: path.write_bytes(b"x"))
    assert main(["demo", "--keep", f"{'x' * 300}.mp4"]) == 2
    assert "avcheck: --keep: cannot write xxx" in capsys.readouterr().err
