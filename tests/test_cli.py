"""The command: arguments, output on each stream, exit codes. The network is replaced by
`fake_scan`.
"""

from __future__ import annotations

import csv
import json
import os
import pty
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import avcheck
from avcheck.cli import config
from avcheck.cli.app import app, main
from avcheck.cli.gate import ExitCode
from avcheck.report import PRESETS, Report, Tolerance
from tests.support import fake_scan
from tests.support.formats import SEVERAL

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {
    **{
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AVCHECK_", "GITHUB_"))
    },
    "PYTHONPATH": str(ROOT),
    "PYTHONUTF8": "1",
}
FAKE_MAIN = "from tests.support import fake_scan; fake_scan.command()"


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_scan.stand_in(monkeypatch)
    for name in ("AVCHECK_DEBUG", "GITHUB_STEP_SUMMARY", *map(config.variable, config.KEYS)):
        monkeypatch.delenv(name, raising=False)
    fake_scan.MADE.clear()


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with one file of each kind, and two below it."""
    for name in (
        "good.mp4",
        "late.mp4",
        "unsure.mkv",
        "broken.mov",
        "lib/a good.mp4",
        "lib/deep/late.webm",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    (tmp_path / ".git").mkdir()  # ends the search for settings here
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(
    *args: str, stdout: Any = subprocess.PIPE, program: str = FAKE_MAIN
) -> subprocess.CompletedProcess[bytes]:
    """`avcheck ARGS` in a process of its own, with the stand-in for the network."""
    return subprocess.run(
        [sys.executable, "-c", program, *args],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        timeout=60,
        check=False,
    )


def rows(out: str) -> list[str]:
    """The files that have a line in the text, above the list of what failed."""
    return [row.split(":")[0] for row in out.partition("\n\n")[0].splitlines()]


# ---- one line a file, exit codes


@pytest.mark.parametrize(
    ("name", "code", "out", "err"),
    [
        (
            "good.mp4",
            0,
            "good.mp4: in sync: sound early by 4 ms (0.1 frames), confidence 0.97\n",
            "",
        ),
        (
            "late.mp4",
            1,
            "late.mp4: out of sync: sound late by 120 ms (3.0 frames), confidence 0.97\n",
            "",
        ),
        ("unsure.mkv", 0, "unsure.mkv: undecidable: the picture does not show what sounds\n", ""),
        ("broken.mov", 2, "", "broken.mov: error: not a media file avcheck reads\n"),
        ("gone.mp4", 2, "", "gone.mp4: error: no such file or directory\n"),
    ],
)
def test_one_plain_line_a_file(
    clips: Path, capsys: pytest.CaptureFixture[str], name: str, code: int, out: str, err: str
) -> None:
    assert main([name]) == code
    assert tuple(capsys.readouterr()) == (out, err)


def test_check_is_the_default_and_can_be_named(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["late.mp4"])
        == main(["check", "late.mp4"])
        == main(["-q", "late.mp4"])
        == main(["--", "late.mp4"])
        == 1
    )
    assert len(set(capsys.readouterr().out.splitlines())) == 1


def test_a_file_named_like_a_command(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clips / "demo").write_bytes(b"x")
    assert main(["./demo"]) == 0
    assert capsys.readouterr().out.startswith("demo: in sync")


def test_a_bad_file_never_stops_the_others(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clips / "raises.mp4").write_bytes(b"x")
    (clips / "huge.mp4").write_bytes(b"x")
    assert main(["gone.mp4", "broken.mov", "raises.mp4", "huge.mp4", "late.mp4", "good.mp4"]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "late.mp4: out of sync: sound late by 120 ms (3.0 frames), confidence 0.97",
        "good.mp4: in sync: sound early by 4 ms (0.1 frames), confidence 0.97",
        "",
        "Failed: 5 of 6 files",
        "  out of sync  late.mp4: sound late by 120 ms (3.0 frames), confidence 0.97",
        "  error        broken.mov: not a media file avcheck reads",
        "  error        gone.mp4: no such file or directory",
        "  error        huge.mp4: out of memory",
        "  error        raises.mp4: no audio stream",
    ]
    assert err.splitlines() == [
        "gone.mp4: error: no such file or directory",
        "broken.mov: error: not a media file avcheck reads",
        "raises.mp4: error: no audio stream",
        "huge.mp4: error: out of memory",
        "6 files: 1 in sync, 1 out of sync, 4 errors",
    ]


def test_a_directory_is_searched_and_the_model_loaded_once(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lib", "late.mp4"]) == 1
    out, err = capsys.readouterr()
    assert rows(out) == ["lib/a good.mp4", "lib/deep/late.webm", "late.mp4"]
    assert err == "3 files: 1 in sync, 2 out of sync\n"
    assert len(fake_scan.MADE) == 1


def test_a_directory_without_media(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clips / "notes").mkdir()
    (clips / "notes" / "a.txt").write_text("nothing")
    assert main(["notes"]) == 2
    assert tuple(capsys.readouterr()) == ("", "notes: error: no media files in this directory\n")
    assert fake_scan.MADE == []


def test_an_empty_argument_is_not_the_working_directory(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([""]) == 2
    assert tuple(capsys.readouterr()) == ("", "(empty path): error: no such file or directory\n")


def test_quiet_says_only_what_is_wrong(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-q", "good.mp4", "late.mp4", "unsure.mkv", "broken.mov"]) == 2
    out, err = capsys.readouterr()
    assert out == "late.mp4: out of sync: sound late by 120 ms (3.0 frames), confidence 0.97\n"
    assert err == "broken.mov: error: not a media file avcheck reads\n"


def test_exit_zero_forgives_findings_and_not_errors(clips: Path) -> None:
    assert main(["--exit-zero", "late.mp4"]) == 0
    assert main(["--exit-zero", "late.mp4", "broken.mov"]) == 2


def test_the_exit_codes_are_the_documented_ones() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "OUT_OF_SYNC": 1,
        "NOT_JUDGED": 2,
        "BUG": 3,
        "INTERRUPTED": 130,
        "BROKEN_PIPE": 141,
    }


@pytest.mark.parametrize(
    ("options", "names", "code"),
    [
        (["--fail-on", "out-of-sync"], ["good.mp4", "late.mp4"], 1),
        (["--fail-on", "out-of-sync"], ["good.mp4", "unsure.mkv"], 0),
        (["--fail-on", "out-of-sync"], ["good.mp4", "broken.mov"], 0),
        (["--fail-on", "out-of-sync"], ["broken.mov"], 2),  # nothing was judged
        (["--fail-on", "out-of-sync"], ["gone.mp4"], 2),
        (["--fail-on", "undecidable"], ["unsure.mkv"], 1),
        (["--fail-on", "undecidable"], ["late.mp4"], 0),
        (["--fail-on", "undecidable"], ["late.mp4", "unsure.mkv", "broken.mov"], 1),
        (
            ["--fail-on", "undecidable", "--fail-on", "error"],
            ["late.mp4", "unsure.mkv", "broken.mov"],
            2,
        ),
        (["--fail-on", "error"], ["late.mp4"], 0),
        (["--fail-on", "undecidable", "--exit-zero"], ["unsure.mkv"], 0),
        (["--fail-on", "undecidable"], ["bug.mp4", "good.mp4"], 3),
        (["--exit-zero"], ["bug.mp4", "good.mp4"], 3),
        (["--fail-on", "out-of-sync"], ["ctrlc.mp4"], 130),
    ],
)
def test_fail_on(clips: Path, options: list[str], names: list[str], code: int) -> None:
    for name in ("bug.mp4", "ctrlc.mp4"):
        (clips / name).write_bytes(b"x")
    assert main([*options, *names]) == code


def test_quiet_shows_undecidable_where_it_fails_the_run(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-q", "--fail-on", "undecidable", "good.mp4", "unsure.mkv"]) == 1
    assert (
        capsys.readouterr().out
        == "unsure.mkv: undecidable: the picture does not show what sounds\n"
    )


# ---- bugs, interrupts, broken pipes


def test_a_bug_in_one_file_is_3_and_the_rest_goes_on(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips / "bug.mp4").write_bytes(b"x")
    assert main(["bug.mp4", "broken.mov", "late.mp4"]) == 3
    out, err = capsys.readouterr()
    assert out.startswith("late.mp4: out of sync")
    assert "bug.mp4: error: internal error: RuntimeError: shapes differ [3, 4]" in err
    assert "please report" in err
    assert "Traceback" not in err


def test_a_bug_elsewhere_is_one_line(
    clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avcheck.cli.check.discover", lambda *_: 1 // 0)
    assert main(["good.mp4"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("avcheck: internal error: ZeroDivisionError: ")
    assert err.count("\n") == 1
    assert "please report" in err


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_traceback_on_request(
    clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    (clips / "bug.mp4").write_bytes(b"x")
    if how == "environment":
        monkeypatch.setenv("AVCHECK_DEBUG", "1")
    assert main(["bug.mp4", *(["-v"] if how == "option" else [])]) == 3
    assert "Traceback" in capsys.readouterr().err
    fake_scan.stand_in(monkeypatch, fake_scan.make_checker)
    assert main(["bug.mp4", "--timeout", "60", *(["-v"] if how == "option" else [])]) == 3
    err = capsys.readouterr().err
    assert "Traceback" in err and "fake_scan.py" in err


def test_files_checked_at_a_time_come_as_they_end(
    clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_scan.stand_in(monkeypatch, fake_scan.make_checker)
    (clips / "segfault.mp4").write_bytes(b"x")
    assert main([".", "--jobs", "2", "--format", "jsonl"]) == 2
    out, err = capsys.readouterr()
    found = {record["path"]: record["verdict"] for record in map(json.loads, out.splitlines())}
    assert found == {
        "good.mp4": "in_sync",
        "late.mp4": "out_of_sync",
        "unsure.mkv": "undecidable",
        "broken.mov": "error",
        "segfault.mp4": "error",
        "lib/a good.mp4": "in_sync",
        "lib/deep/late.webm": "out_of_sync",
    }
    assert "segfault.mp4: error: the worker was killed by signal 11 (SIGSEGV)\n" in err
    assert fake_scan.MADE == []  # not even made in this process


def test_limits_that_cannot_be_are_wrong_usage(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for args in (
        ["--jobs", "-1"],
        ["--timeout", "0"],
        ["--memory-limit", "0"],
        ["--shard", "0/3"],
        ["--engine", "spark"],
    ):
        assert main(["good.mp4", *args]) == 2
        assert capsys.readouterr().out == ""
    assert fake_scan.MADE == []


def test_interrupted_is_130_and_json_stays_whole(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips / "ctrlc.mp4").write_bytes(b"x")
    assert main(["--json", "late.mp4", "ctrlc.mp4", "good.mp4"]) == 130
    out, err = capsys.readouterr()
    assert [record["path"] for record in json.loads(out)] == ["late.mp4"]
    assert err == "avcheck: interrupted\n"


def test_a_reader_that_goes_away_is_not_a_finding(clips: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    for args in (["good.mp4"], ["--json", "good.mp4"], ["--help"]):
        done = command(*args, stdout=write)
        assert (done.returncode, done.stderr) == (141, b"")
    os.close(write)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110 - a condition, not a path to keep
def test_a_full_disk_is_one_line_and_2(clips: Path) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = command("good.mp4", stdout=full)
    assert done.returncode == 2
    assert done.stderr == b"avcheck: cannot write the results: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_no_bug(clips: Path, closed: str) -> None:
    (clips / "command.py").write_text(FAKE_MAIN)
    for args, code in (
        ("good.mp4 late.mp4 --output json=out.json --force", 1),
        ("--json late.mp4", 1),
    ):
        line = ["sh", "-c", f'"$0" command.py {args} {closed}', sys.executable]
        done = subprocess.run(line, capture_output=True, env=ENVIRONMENT, timeout=60, check=False)
        assert done.returncode == code
        assert b"internal error" not in done.stderr
    assert [record["path"] for record in json.loads((clips / "out.json").read_text())] == [
        "good.mp4",
        "late.mp4",
    ]


def test_a_closed_stdin_names_no_path(clips: Path) -> None:
    (clips / "command.py").write_text(FAKE_MAIN)
    line = ["sh", "-c", '"$0" command.py --files-from - <&-', sys.executable]
    done = subprocess.run(line, capture_output=True, env=ENVIRONMENT, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        b"avcheck: --files-from: there is no path in stdin\n",
    )


# ---- JSON


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
    assert listed[0]["reason"] == "no such file or directory"
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
    found = json.loads(capsys.readouterr().out)
    assert (
        [each["verdict"] for each in found] if isinstance(found, list) else found["verdict"]
    ) == verdicts
    assert json.loads((clips / "report.json").read_text()) == found


def test_json_stays_whole_when_the_model_fails(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--json", "--device", "cuda", "good.mp4"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out) is None
    assert err == "avcheck: no GPU that torch can use; take --device cpu\n"
    assert main(["--json", "--device", "cuda", "lib"]) == 2
    assert json.loads(capsys.readouterr().out) == []


# ---- other formats, and files


def test_every_format_goes_to_stdout_alone(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["good.mp4", "late.mp4", "unsure.mkv", "gone.mp4"]
    said = (
        "gone.mp4: error: no such file or directory\n4 files: 1 in sync, 1 out of sync, 1 "
        "undecidable, 1 error\n"
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
        .startswith("gone.mp4: error: no such file or directory\n")
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


# ---- resumed and merged runs


def test_the_gate_counts_what_a_resumed_run_found_before(clips: Path) -> None:
    args = ["unsure.mkv", "good.mp4", "--resume", "r.jsonl"]
    for _ in range(2):  # the second run checks nothing
        assert main([*args, "--fail-on", "undecidable"]) == 1
        assert main(args) == 0


def test_merge_takes_the_same_formats_files_and_gate(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["late.mp4", "--resume", "1.jsonl"]) == 1
    assert main(["unsure.mkv", "--resume", "2.jsonl"]) == 0
    merge = ["merge", "1.jsonl", "2.jsonl"]
    capsys.readouterr()
    assert (
        main(
            [*merge, "--format", "github", "--output", "junit=all.xml", "--fail-on", "undecidable"]
        )
        == 1
    )
    assert capsys.readouterr().out.count("::error file=") == 2
    assert ElementTree.parse(clips / "all.xml").getroot().get("failures") == "2"
    assert main([*merge, "--fail-on", "error"]) == 0
    assert main([*merge, "--output", "jsonl=1.jsonl", "--force"]) == 2
    assert "is a file that is read" in capsys.readouterr().err


def test_a_report_cannot_take_the_place_of_the_results_to_resume(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["good.mp4", "--resume", "r.jsonl", "--output", "jsonl=r.jsonl", "--force"]) == 2
    assert "r.jsonl is a file that is read" in capsys.readouterr().err


# ---- settings


def test_a_file_is_weaker_than_the_environment_and_that_than_an_option(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clips / "avcheck.toml").write_text("preset = 'film'\naudio-track = 3\ndevice = 'cpu'\n")
    assert main(["good.mp4"]) == 0
    monkeypatch.setenv("AVCHECK_AUDIO_TRACK", "4")
    assert (
        main(["good.mp4"])
        == main(["good.mp4", "--audio-track", "5"])
        == main(["--no-config", "good.mp4"])
        == 0
    )
    assert main(["good.mp4", "--audio", "late.mp4"]) == 0
    assert [(made.device, made.calls[0]["settings"].audio_tracks) for made in fake_scan.MADE] == [
        ("cpu", (3,)),
        ("cpu", (4,)),
        ("cpu", (5,)),
        ("auto", (4,)),
        ("cpu", ()),
    ]
    assert [made.calls[0]["settings"].tolerance for made in fake_scan.MADE[:4]] == [
        *[PRESETS["film"]] * 3,
        PRESETS["ebu-r37"],
    ]


def test_a_preset_on_the_command_line_drops_the_limits_of_the_file(clips: Path) -> None:
    (clips / "pyproject.toml").write_text("[tool.avcheck]\nearly = 1\nlate = 2\n")
    assert (
        main(["good.mp4"])
        == main(["good.mp4", "--preset", "film"])
        == main(["good.mp4", "--late", "9"])
        == 0
    )
    assert [made.calls[0]["settings"].tolerance for made in fake_scan.MADE] == [
        Tolerance(1, 2),
        PRESETS["film"],
        Tolerance(1, 9),
    ]


def test_format_and_fail_on_from_a_file(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clips / "other.toml").write_text("format = 'jsonl'\nfail-on = ['undecidable']\n")
    assert main(["--config", "other.toml", "late.mp4"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "out_of_sync"
    assert main(["--config", "other.toml", "unsure.mkv", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "undecidable"
    assert (
        main(["--config=other.toml", "late.mp4", "--format", "text", "--fail-on", "out-of-sync"])
        == 1
    )
    assert capsys.readouterr().out.startswith("late.mp4: out of sync")
    assert main(["-v", "--config=other.toml", "late.mp4"]) == 0
    assert capsys.readouterr().err == "avcheck: settings from other.toml\n"


@pytest.mark.parametrize(
    "args", [["--help"], ["check", "--help"], ["check", "--version"], ["--no-config", "good.mp4"]]
)
def test_wrong_settings_do_not_keep_from_help(clips: Path, args: list[str]) -> None:
    (clips / "avcheck.toml").write_text("presset = 'film'\n")
    assert main(args) == 0
    assert main(["good.mp4"]) == 2


@pytest.mark.parametrize("how", ["itself", "a hard link", "a link"])
@pytest.mark.parametrize(
    ("args", "read"),
    [
        (["--files-from", "list.txt"], "list.txt"),
        (["--files-from", "-"], "list.txt"),
        (["--config", "other.toml", "lib"], "other.toml"),
        (["good.mp4"], "avcheck.toml"),
        (["--model", "w.safetensors", "lib"], "w.safetensors"),
        (["--audio", "dub.wav", "good.mp4"], "dub.wav"),
        (["--resume", "r.jsonl", "lib"], "r.jsonl"),
        (["good.mp4", "late.mp4"], "late.mp4"),
        (["lib"], "lib/deep/late.webm"),
        (["lib", "--shard", "1/2"], "lib/deep/late.webm"),
        (["lib", "--shard", "2/2"], "lib/deep/late.webm"),
        (["good.mp4", "--shard", "1/2"], "good.mp4"),
        (["good.mp4", "--shard", "2/2"], "good.mp4"),
        (["lib"], "lib/.avcheckignore"),
        (["merge", "r.jsonl"], "r.jsonl"),
    ],
)
def test_force_never_writes_over_what_is_read(
    clips: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    read: str,
    how: str,
) -> None:
    if args[0] == "merge":
        assert main(["good.mp4", "--resume", "r.jsonl"]) == 0
    (clips / "list.txt").write_text("good.mp4\n")
    for name in ("avcheck.toml", "other.toml", "lib/.avcheckignore", "w.safetensors", "dub.wav"):
        (clips / name).write_text("# nothing")
    (clips / "r.jsonl").touch()
    target = {"itself": read, "a hard link": "hard.txt", "a link": "link.txt"}[how]
    if how == "a hard link":
        os.link(read, target)
    elif how == "a link":
        Path(target).symlink_to(read)
    before = (clips / read).read_bytes()
    fake_scan.MADE.clear()
    capsys.readouterr()
    line = [*args, "--output", f"json={target}", "--force"]
    if "-" in args:
        with Path("list.txt").open("rb") as stdin:
            program = [sys.executable, "-c", FAKE_MAIN, *line]
            done = subprocess.run(
                program, stdin=stdin, capture_output=True, env=ENVIRONMENT, timeout=60, check=False
            )
        code, err = done.returncode, done.stderr.decode()
    else:
        code, err = main(line), capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("avcheck: --output: ") and err.endswith(" is a file that is read\n")
    assert (clips / read).read_bytes() == before
    assert fake_scan.MADE == []


def test_force_writes_over_an_old_report_of_a_new_resume_file(clips: Path) -> None:
    (clips / "old.json").write_text("[]")
    assert main(["lib", "--output", "json=old.json", "--force", "--resume", "r.jsonl"]) == 1
    assert len(json.loads((clips / "old.json").read_text())) == 2
    assert main(["lib", "--output", "json=r2.jsonl", "--resume", "./r2.jsonl"]) == 2


# ---- hostile file names


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


# ---- options


def test_options_reach_the_check(clips: Path) -> None:
    (clips / "w.safetensors").write_bytes(b"x")
    (clips / "dub.wav").write_bytes(b"x")
    chosen = ["--audio-track", "2", "--video-track", "1", "--program", "101"]
    assert main(["good.mp4", *chosen, "--device", "cpu", "--model", "w.safetensors"]) == 0
    assert main(["good.mp4", "--audio", "dub.wav"]) == 0
    first, second = fake_scan.MADE
    assert (first.device, first.model, first.calls[0]["settings"].audio_tracks) == (
        "cpu",
        Path("w.safetensors"),
        (2,),
    )
    assert (first.calls[0]["settings"].video_track, first.calls[0]["settings"].program) == (1, 101)
    assert (second.device, second.model, second.calls[0]["settings"].audio) == (
        "auto",
        None,
        (Path("dub.wav"),),
    )


def test_sampling_is_asked_for_by_option_or_setting(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ([], ["--sample"], ["--sample", "--probes", "12"]):
        assert main(["good.mp4", *options]) == 0
    (clips / "avcheck.toml").write_text("sample = true\nprobes = 5\n")
    for options in ([], ["--probes", "6"], ["--no-sample"]):
        assert main(["good.mp4", *options]) == 0
    assert [made.calls[0]["settings"].sample for made in fake_scan.MADE] == [
        None,
        8,
        12,
        5,
        6,
        None,
    ]
    assert "[sampled 0:01 of 0:02]" in capsys.readouterr().out
    assert (
        main(["good.mp4", "--no-sample", "--probes", "6"])
        == main(["good.mp4", "--probes", "2"])
        == 2
    )
    errors = capsys.readouterr().err
    assert "--probes goes with --sample" in errors
    assert "--probes must be at least 3" in errors


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ([], PRESETS["ebu-r37"]),
        (["--preset", "film"], PRESETS["film"]),
        (["--early", "10", "--late", "20"], Tolerance(10, 20)),
        (["--early", "10"], Tolerance(10, 60)),
        (["--preset", "atsc", "--late", "0"], Tolerance(15, 0)),
    ],
)
def test_tolerance(clips: Path, options: list[str], tolerance: Tolerance) -> None:
    assert main(["good.mp4", *options]) == 0
    assert fake_scan.MADE[0].calls[0]["settings"].tolerance == tolerance


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["good.mp4", "--preset", "bbc"], "there is no preset 'bbc'"),
        (["good.mp4", "--early", "-5"], "--early must be a number of milliseconds of at least 0"),
        (["good.mp4", "--late", "nan"], "--late must be a number of milliseconds of at least 0"),
        (["good.mp4", "--late", "soon"], "--late must be a number"),
        (["good.mp4", "--audio-track", "-1"], "--audio-track"),
        (["good.mp4", "--video-track", "-1"], "--video-track"),
        (["good.mp4", "--program", "0"], "--program"),
        (
            ["good.mp4", "--audio", "gone.wav"],
            "--audio: cannot read gone.wav: No such file or directory",
        ),
        (["good.mp4", "--audio", "lib"], "--audio: lib is not a regular file"),
        (
            ["good.mp4", "late.mp4", "--audio", "late.mp4"],
            "--audio goes with exactly one file, not 2",
        ),
        (["lib", "--audio", "late.mp4"], "--audio goes with exactly one file, not 2"),
        (
            ["good.mp4", "--audio", "late.mp4", "--audio-track", "1"],
            "--audio and --audio-track exclude each other",
        ),
        (["good.mp4", "--model", "gone.safetensors"], "--model: cannot read gone.safetensors"),
        (["good.mp4", "--device", "tpu"], "tpu"),
        (
            ["good.mp4", "--json", "--format", "jsonl"],
            "--json and --format jsonl contradict each other",
        ),
        (["good.mp4", "--bogus"], "--bogus"),
        (["--bogus", "good.mp4"], "(see avcheck check --help)"),
        (["demo", "--bogus"], "(see avcheck demo --help)"),
        (["good.mp4", "--fail-on", "late"], "late"),
        (["good.mp4", "--format", "xml"], "xml"),
        (["good.mp4", "--output", "report.xml"], "--output takes FORMAT=FILE"),
        (["good.mp4", "--output", "json=late.mp4"], "late.mp4 exists already"),
        (
            ["good.mp4", "--config", "gone.toml"],
            "--config: cannot read gone.toml: No such file or directory",
        ),
        (["good.mp4", "--config", "lib"], "--config: lib is not a regular file"),
        (
            ["good.mp4", "--config", "wrong.toml"],
            "wrong.toml: there is no setting presset; did you mean preset?",
        ),
        (
            ["good.mp4", "--config", "right.toml", "--no-config"],
            "--config and --no-config contradict each other",
        ),
        (["check"], "PATH"),
        (["eval", "gone"], "gone: no such file or directory"),
        (["eval"], "give a CORPUS to measure, or --from FILE"),
        (["eval", "--from", "gone.jsonl"], "--from: cannot read gone.jsonl"),
        (
            ["eval", "lib", "--from", "right.toml"],
            "--from measures nothing, so only --plots goes with it",
        ),
        (["eval", "lib", "--faces", "gone.json"], "--faces: cannot read gone.json"),
        (["eval", "--from", "right.toml"], "right.toml: no rows of `avcheck eval --rows`"),
        (["eval", "lib", "--plots", "good.mp4"], "good.mp4 is not a directory"),
        (["ablate", "good.mp4"], "good.mp4 is not a directory"),
        (["train", "good.mp4"], "good.mp4 is not a directory"),
        (["demo", "--offset", "nan"], "--offset must lie between -1500 and 1500 ms"),
        (["demo", "--offset", "-9000"], "--offset must lie between -1500 and 1500 ms"),
        (["demo", "--keep", "new.avi"], "must end in .mp4"),
        (["demo", "--keep", "good.mp4"], "good.mp4 exists already"),
        (["demo", "--keep", "nowhere/x.mp4"], "there is no directory"),
    ],
)
def test_wrong_usage_is_one_line_and_2(
    clips: Path, capsys: pytest.CaptureFixture[str], args: list[str], says: str
) -> None:
    (clips / "wrong.toml").write_text("presset = 'film'\n")
    (clips / "right.toml").write_text("preset = 'film'\n")
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("avcheck: ")
    assert err.count("\n") == 1
    assert says in err
    assert fake_scan.MADE == []


# ---- the terminal


def on_a_terminal(*args: str, columns: int = 100) -> tuple[int, str]:
    """Exit code and everything shown when both stdout and stderr are a terminal."""
    ours, theirs = pty.openpty()
    environment = {
        **ENVIRONMENT,
        "TERM": "xterm",
        "COLUMNS": str(columns),
        "PYTHONUTF8": "1",
        "NO_COLOR": "",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", FAKE_MAIN, *args], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux reports the far end's close so
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return process.wait(timeout=60), shown.decode()


def test_a_single_file_on_a_terminal_gets_the_table(clips: Path) -> None:
    code, shown = on_a_terminal("late.mp4")
    assert code == 1
    assert "Attention" in shown and "Local offset" in shown
    assert "75.0 %" in shown and "118 ms late" in shown and "█" in shown
    assert "sound late by 120 ms (3.0 frames)" in shown
    assert "early by at most 40 ms, late by at most 60 ms (ebu-r37)" in shown
    assert "the sound starts 23 ms after the picture" in shown
    assert "%" in shown and "late.mp4" in shown


def test_several_files_on_a_terminal_get_a_line_each(clips: Path) -> None:
    code, shown = on_a_terminal("late.mp4", "good.mp4")
    assert code == 1
    assert "Attention" not in shown
    assert "2 files: 1 in sync, 1 out of sync" in shown


def test_quiet_on_a_terminal_shows_no_bar(clips: Path) -> None:
    assert on_a_terminal("-q", "good.mp4") == (0, "")


def test_verbose_gives_the_table_when_piped(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-v", "late.mp4", "good.mp4"]) == 1
    out = capsys.readouterr().out
    assert out.count("Local offset") == 2
    assert "\x1b" not in out


# ---- demo, train, eval


def with_demo(monkeypatch: pytest.MonkeyPatch, made: list[tuple[Path, float]]) -> None:
    def make_demo(path: Path, *, offset_ms: float, seconds: float = 12.0, seed: int = 1) -> None:
        path.write_bytes(b"clip")
        made.append((path, offset_ms))

    module = ModuleType("avcheck.demo")
    module.make_demo = make_demo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "avcheck.demo", module)


def test_demo_agrees_within_a_frame(
    clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[tuple[Path, float]] = []
    with_demo(monkeypatch, made)
    # The stand-in finds 4 ms in it
    assert main(["demo", "--offset", "-20", "--keep", "kept.mp4"]) == 0
    out = capsys.readouterr().out
    assert "made:  sound late by 20 ms (0.5 frames), kept as kept.mp4" in out
    assert (
        "found: sound early by 4 ms (0.1 frames), 24 ms from what was put in: right to within one "
        "frame" in out
    )
    assert (clips / "kept.mp4").read_bytes() == b"clip"
    assert made[0][1] == -20
    assert not made[0][0].exists()


def test_demo_that_finds_another_offset_is_2(
    clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_demo(monkeypatch, [])
    assert main(["demo", "--offset=-120"]) == 2
    assert "124 ms from what was put in: wrong by more than one frame" in capsys.readouterr().out


def test_demo_that_finds_nothing_is_2(
    clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_demo(monkeypatch, [])
    monkeypatch.setattr(
        fake_scan.FakeChecker,
        "check_tracks",
        lambda _, path, *__: (Report(str(path), "undecidable", "silence"),),
    )
    assert main(["demo"]) == 2
    assert "found: no offset avcheck would stand by" in capsys.readouterr().out


# ---- help, version, start-up


def test_version_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["--version"], ["check", "--version"], ["film.mp4", "--version"]):
        assert main(args) == 0
        assert tuple(capsys.readouterr()) == (f"avcheck {avcheck.__version__}\n", "")


@pytest.mark.parametrize(
    "args",
    [
        ["-h"],
        *([name, "--help"] for name in ("check", "demo", "train", "eval", "ablate")),
        ["--help"],
    ],
)
def test_help(args: list[str]) -> None:
    shown = CliRunner().invoke(app, args, prog_name="avcheck")
    assert shown.exit_code == 0
    assert f"Usage: avcheck {'' if args[0].startswith('-') else args[0]}".strip() in shown.stdout


def test_nothing_given_shows_the_help_and_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage: avcheck" in capsys.readouterr().out


def test_every_command_and_option_has_help() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert set(commands) == {
        *("check", "compare", "demo", "evidence", "fix", "help", "signal", "watch"),
        *("merge", "show", "diff"),
        *("train", "eval", "ablate"),
    }
    for name, each in commands.items():
        assert each.help, name
        for parameter in each.params:
            assert parameter.help, (name, parameter.name)


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], ["gone.mp4"], ["check", "--help"], ["gone.mp4", "--json"]]
)
def test_what_needs_no_network_loads_none(args: list[str]) -> None:
    program = (
        "import sys; from avcheck.cli.app import main; code = main(sys.argv[1:])\n"
        "heavy = {'torch', 'av', 'numpy', 'soundfile', 'safetensors', 'cv2'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    done = command(*args, program=program)
    assert b"loaded" not in done.stderr
    assert done.returncode == (2 if "gone.mp4" in args else 0)


def test_python_m_avcheck() -> None:
    line = [sys.executable, "-m", "avcheck", "--version"]
    done = subprocess.run(line, capture_output=True, env=ENVIRONMENT, timeout=60, check=False)
    assert (done.returncode, done.stdout.decode()) == (0, f"avcheck {avcheck.__version__}\n")


def test_the_version_is_the_package_s() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == avcheck.__version__
