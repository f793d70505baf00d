"""The command's ends: bugs, interrupts, streams that are closed or full."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from avcheck.batch.run import CRASH_REMEDY
from avcheck.cli import check
from avcheck.cli.app import main
from avcheck.record.report import Report
from tests.support import fake_scan
from tests.support.commands import ENVIRONMENT, FAKE_MAIN, command

pytestmark = pytest.mark.usefixtures("fake")


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


def test_a_bug_in_the_only_file_is_3(
    clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (clips / "bug.mp4").write_bytes(b"x")
    monkeypatch.setattr("avcheck.scenes.demo.make_demo", lambda path, **_: path.write_bytes(b"x"))
    monkeypatch.setattr(fake_scan.FakeChecker, "_check", lambda *_: 1 // 0)
    commands = (["evidence", "bug.mp4", "out.mp4"], ["fix", "bug.mp4", "out.mp4"], ["demo"])
    for args in commands:
        assert main(args) == 3
        err = capsys.readouterr().err
        assert "please report" in err and "Traceback" not in err
    monkeypatch.setenv("AVCHECK_DEBUG", "1")
    for args in commands:
        assert main(args) == 3
        assert "Traceback" in capsys.readouterr().err


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
    verdicts = {record["path"]: record["verdict"] for record in map(json.loads, out.splitlines())}
    assert verdicts == {
        "good.mp4": "in_sync",
        "late.mp4": "out_of_sync",
        "unsure.mkv": "undecidable",
        "broken.mov": "error",
        "segfault.mp4": "error",
        "lib/a good.mp4": "in_sync",
        "lib/deep/late.webm": "out_of_sync",
    }
    assert (
        f"segfault.mp4: error: the worker was killed by signal 11 (SIGSEGV); {CRASH_REMEDY}\n"
        in err
    )
    assert fake_scan.MADE == []  # not even made in this process


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_a_file_that_crashes_its_decoder_costs_only_itself_without_any_option(
    clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_scan.stand_in(monkeypatch, fake_scan.make_checker)
    monkeypatch.setattr(check, "_ISOLATED", True)
    (clips / "segfault.mp4").write_bytes(b"x")
    assert main(["segfault.mp4", "late.mp4", "--format", "jsonl"]) == 2
    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert [(each["path"], each["verdict"], each["reason_code"]) for each in records] == [
        ("segfault.mp4", "error", "crashed"),
        ("late.mp4", "out_of_sync", None),
    ]
    assert err.startswith(
        f"segfault.mp4: error: the worker was killed by signal 11 (SIGSEGV); {CRASH_REMEDY}\n"
    )
    assert fake_scan.MADE == []  # nothing was decoded in this process


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
    for argument, what in ("good.mp4", b"results"), ("--help", b"output"), ("--version", b"output"):
        with open("/dev/full", "wb") as full:  # noqa: PTH123
            done = command(argument, stdout=full)
        assert done.returncode == 2
        said = b": No space left on device; make room there, or write to another disk\n"
        assert done.stderr == b"avcheck: cannot write the " + what + said


def test_a_full_disk_for_temporary_files_costs_one_file(
    clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = fake_scan.FakeChecker._check

    def fill(checker: fake_scan.FakeChecker, path: Path, *rest: Any) -> Report:
        if path.name == "late.mp4":
            raise OSError(errno.ENOSPC, "No space left on device")
        return check(checker, path, *rest)

    monkeypatch.setattr(fake_scan.FakeChecker, "_check", fill)
    assert main(["late.mp4", "good.mp4"]) == 2
    out, err = capsys.readouterr()
    says = "late.mp4: error: the disk for temporary files is full; set TMPDIR to a larger one\n"
    assert says in err and "good.mp4: in sync" in out


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_no_bug(clips: Path, closed: str) -> None:
    (clips / "command.py").write_text(FAKE_MAIN)
    lost = 2 if ">&-" in closed.replace("2>&-", "") else 1
    for args, code in (
        ("good.mp4 late.mp4 --output json=out.json --force", 1),  # where the results are kept
        ("--json late.mp4", lost),
    ):
        line = ["sh", "-c", f'"$0" command.py {args} {closed}', sys.executable]
        done = subprocess.run(line, capture_output=True, env=ENVIRONMENT, timeout=60, check=False)
        assert done.returncode == code
        assert b"internal error" not in done.stderr
        if code == 2 and "2>&-" not in closed:
            assert done.stderr == b"avcheck: cannot write the results: stdout is closed\n"
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
