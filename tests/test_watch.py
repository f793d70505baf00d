"""`avcheck watch`: what is checked when, and where it goes."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from avcheck.batch.base import Limits
from avcheck.batch.checkpoint import Checkpoint
from avcheck.batch.run import check_many
from avcheck.cli import check
from avcheck.cli.app import main
from avcheck.cli.watch import _command
from avcheck.record.report import Report
from avcheck.settings import CheckSettings
from avcheck.watch.whole import unchanged_s
from tests.support import fake_scan
from tests.support.watching import checks, files, once, records, sorted_out

pytestmark = pytest.mark.usefixtures("fake")


def test_files_go_where_their_verdict_says(
    inbox: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("good.mkv", "day/late.mkv", "unsure.mkv", "raises.mkv")
    passed_over = (".hidden.mkv", "late.mkv.part", "late.partial", "notes.txt", ".day/late.mkv")
    for name in (*names, *passed_over):
        (inbox / name).parent.mkdir(exist_ok=True)
        (inbox / name).write_bytes(name.encode())
    (inbox / "link.mkv").symlink_to("good.mkv")
    (inbox.parent / "pass").mkdir()
    (inbox.parent / "pass" / "good.mkv").write_bytes(b"yesterday's")
    assert once(inbox, *sorted_out(inbox)) == 0
    out, err = capsys.readouterr()
    assert files(inbox) == {name: name.encode() for name in sorted(passed_over)}
    assert files(inbox.parent / "pass") == {"good-2.mkv": b"good.mkv", "good.mkv": b"yesterday's"}
    assert files(inbox.parent / "fail") == {"day/late.mkv": b"day/late.mkv"}
    assert files(inbox.parent / "undecidable") == {"unsure.mkv": b"unsure.mkv"}
    assert files(inbox.parent / "error") == {"raises.mkv": b"raises.mkv"}
    assert f"{inbox / 'day/late.mkv'}: out of sync: sound late by 120 ms" in out
    assert f"{inbox / 'good.mkv'} moved to {inbox.parent / 'pass/good-2.mkv'}\n" in err
    assert err.endswith("4 files: 1 in sync, 1 out of sync, 1 undecidable, 1 error\n")
    verdicts = Counter(record["verdict"] for record in records(inbox))
    assert verdicts == {"in_sync": 1, "out_of_sync": 1, "undecidable": 1, "error": 1}
    assert main(["show", str(inbox / ".avcheck-watch.jsonl"), "-q"]) == 2


def test_a_film_without_sound_is_not_told_of_an_option_that_watch_lacks(
    inbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (inbox / "mute.mkv").write_bytes(b"x")
    assert once(inbox) == 0
    line = "the file has no audio track; put the pictures and their sound into one file first"
    assert [record["reason"] for record in records(inbox)] == [line]
    assert f"mute.mkv: error: {line}\n" in capsys.readouterr().err


def test_what_stays_is_checked_once_and_again_when_it_changes(inbox: Path) -> None:
    (inbox / "good.mkv").write_bytes(b"x")
    assert once(inbox) == once(inbox) == 0
    assert checks() == len(records(inbox)) == 1
    (inbox / "good.mkv").write_bytes(b"longer")
    assert once(inbox) == 0
    assert checks() == len(records(inbox)) == 2
    assert once(inbox, "--late", "10") == 0  # other settings may find another verdict
    assert checks() == 3


def test_a_bug_is_tried_once_in_a_run(inbox: Path) -> None:
    (inbox / "bug.mkv").write_bytes(b"x")
    assert once(inbox) == 3
    assert checks() == 1
    assert once(inbox) == 3
    assert checks() == 2


def test_what_is_delivered_again_unchanged_is_moved_again_unchecked(inbox: Path) -> None:
    for _ in range(2):
        (inbox / "good.mkv").write_bytes(b"x")
        os.utime(inbox / "good.mkv", ns=(1, 1))
        assert once(inbox, *sorted_out(inbox)) == 0
    assert checks() == 1
    assert files(inbox.parent / "pass") == {"good-2.mkv": b"x", "good.mkv": b"x"}


def test_links(inbox: Path) -> None:
    (inbox / "good.mkv").write_bytes(b"x")
    assert once(inbox, *sorted_out(inbox), "--link") == 0
    linked = inbox.parent / "pass" / "good.mkv"
    assert linked.samefile(inbox / "good.mkv")
    linked.unlink()  # taken by whoever wanted it
    assert once(inbox, *sorted_out(inbox), "--link") == 0
    assert not linked.exists() and checks() == 1


def test_the_hook_gets_the_record(inbox: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (inbox / "late film.mkv").write_bytes(b"x")
    hook = inbox.parent / "hook.py"
    hook.write_text(
        "import json, os, sys\nrecord = json.load(sys.stdin)\n"
        "print(record['verdict'], record['path'], os.environ['AVCHECK_FILE'], *sys.argv[1:])\n"
        "sys.exit(3)\n"
    )
    command = f"'{sys.executable}' '{hook}' 'two words' $HOME"
    assert once(inbox, *sorted_out(inbox), "--hook", command) == 0
    out, err = capfd.readouterr()
    target = inbox.parent / "fail" / "late film.mkv"
    assert f"out_of_sync {inbox / 'late film.mkv'} {target} two words $HOME\n" in err
    assert f"avcheck: the hook exited with 3 for {target}\n" in err
    assert "two words" not in out


def test_a_hook_that_takes_long_is_named(
    inbox: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs held everything up without a word."""
    monkeypatch.setattr("avcheck.watch.hook.SLOW_S", 0.1)
    record = "x" * 300_000  # of a long film; more than a pipe holds
    monkeypatch.setattr("avcheck.watch.run.to_json", lambda _report: record)
    (inbox / "late.mkv").write_bytes(b"x")
    hook = inbox.parent / "hook.py"
    hook.write_text("import sys, time\ntime.sleep(0.5)\nsys.exit(len(sys.stdin.read()) < 3e5)\n")
    assert once(inbox, *sorted_out(inbox), "--hook", f"'{sys.executable}' '{hook}'") == 0
    target = inbox.parent / "fail" / "late.mkv"
    err = capsys.readouterr().err
    assert f"the hook still runs for {target}; nothing else is moved until it ends\n" in err
    assert "exited" not in err


def test_a_file_that_is_replaced_or_goes_during_its_check_says_so(
    inbox: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (inbox / "late.mkv").write_bytes(b"x")
    (inbox / "good.mkv").write_bytes(b"x")
    add = Checkpoint.add

    def replaced(self: Checkpoint, *results: Report) -> None:
        add(self, *results)
        if checks() == 1:
            (inbox / "good.mkv").unlink()
        if checks() == 2:
            (inbox / "late.mkv").write_bytes(b"other")

    monkeypatch.setattr(Checkpoint, "add", replaced)
    assert once(inbox, *sorted_out(inbox)) == 0
    said = capsys.readouterr().err
    assert f"avcheck: {inbox / 'good.mkv'} is gone since it was checked\n" in said
    changed = f"avcheck: {inbox / 'late.mkv'} has changed since its check began, so it is checked"
    assert f"{changed} again\n" in said
    assert files(inbox.parent / "fail") == {"late.mkv": b"other"}
    assert checks() == 3


@pytest.mark.skipif(sys.platform == "win32", reason="scripts and signals of Unix")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\nkill -9 $$\n", "the hook was killed by signal 9 (SIGKILL) for {target}"),
        ("#!/bin/sh\n", ""),  # one that reads nothing
        (
            "echo\n",
            "the hook cannot be run for {target}: ./hook.sh is no program; begin it with "
            "#!/bin/sh, or give --hook 'sh ./hook.sh'",
        ),
        (
            "#!/no/such/shell\n",
            "the hook cannot be run for {target}: the program that the first line of ./hook.sh "
            "names is not there",
        ),
    ],
    ids=["killed", "reads nothing", "no program", "no shell"],
)
def test_a_hook_that_fails_is_named(
    inbox: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    script: str,
    said: str,
) -> None:
    monkeypatch.chdir(inbox.parent)
    Path("hook.sh").write_text(script)
    Path("hook.sh").chmod(0o755)
    (inbox / "late.mkv").write_bytes(b"x")
    assert once(inbox, *sorted_out(inbox), "--hook", "./hook.sh") == 0
    target = inbox.parent / "fail" / "late.mkv"
    steps = [line for line in capfd.readouterr().err.splitlines() if "the hook " in line]
    assert steps == ([f"avcheck: {said.format(target=target)}"] if said else [])


@pytest.mark.skipif(sys.platform == "win32", reason="there the suffix says what may be executed")
def test_a_hook_that_may_not_be_executed_says_what_to_do(
    inbox: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(inbox.parent)
    Path("hook.sh").write_text("#!/bin/sh\n")
    for hook, said in (
        ("hook.sh", "there is no command hook.sh on the PATH; for the file here give ./hook.sh"),
        ("./hook.sh", "./hook.sh may not be executed; chmod +x ./hook.sh"),
        ("''", "there is no command "),
        ("", "the command is empty"),
    ):
        assert once(inbox, "--hook", hook) == 2
        assert capsys.readouterr().err == f"avcheck: --hook: {said}\n"


def test_a_file_that_grows_is_waited_for(inbox: Path) -> None:
    path = inbox / "good.mkv"

    def grow() -> None:
        for _ in range(8):
            with path.open("ab") as file:
                file.write(b"more")
            time.sleep(0.1)

    path.write_bytes(b"")
    writer = threading.Thread(target=grow)
    writer.start()
    assert once(inbox, settle=0.4) == 0
    writer.join()
    assert [record["file_size"] for record in records(inbox)] == [32]


def test_an_unfinished_mp4_is_checked_when_patience_ends(
    inbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (inbox / "good.mp4").write_bytes(b"\0\0\0\x08ftyp\0\0\0\x08mdat")
    began_s = time.monotonic()
    assert once(inbox, "--patience", "0.6") == 0
    assert time.monotonic() - began_s > 0.6
    assert (
        "good.mp4 is not complete; it is checked as it is once it has not changed for"
        in capsys.readouterr().err
    )
    assert checks() == 1


def test_a_file_that_cannot_be_moved_stays_and_the_rest_goes_on(
    inbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (inbox / "sub").mkdir()
    (inbox / "sub" / "late.mkv").write_bytes(b"x")
    (inbox / "late2.mkv").write_bytes(b"x")
    (inbox.parent / "fail").mkdir()
    (inbox.parent / "fail" / "sub").write_bytes(b"no folder")
    assert once(inbox, *sorted_out(inbox)) == 2
    said = capsys.readouterr().err
    assert "late.mkv stays where it is: File exists" in said
    assert "; the next run tries again" in said
    assert files(inbox) == {"sub/late.mkv": b"x"}
    (inbox.parent / "fail" / "sub").unlink()
    assert once(inbox, *sorted_out(inbox)) == 0
    assert files(inbox.parent / "fail") == {"late2.mkv": b"x", "sub/late.mkv": b"x"}
    assert checks() == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_a_file_that_crashes_its_decoder_does_not_end_the_watch(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_scan.stand_in(monkeypatch, in_workers=fake_scan.make_checker)
    monkeypatch.setattr(check, "_ISOLATED", True)
    for name in ("a segfault.mkv", "good.mkv"):
        (inbox / name).write_bytes(b"x")
    assert once(inbox, *sorted_out(inbox)) == 0
    assert files(inbox.parent / "error") == {"a segfault.mkv": b"x"}
    assert files(inbox.parent / "pass") == {"good.mkv": b"x"}


def test_workers_are_given_files_as_they_come(
    inbox: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_scan.stand_in(monkeypatch, in_workers=fake_scan.make_checker)
    (tmp_path / "good.mkv").write_bytes(b"x")
    answered = threading.Event()

    def arrivals() -> Iterator[Path | None]:
        yield tmp_path / "good.mkv"
        while not answered.is_set():  # an answer does not wait for the next file
            yield None
            time.sleep(0.01)
        yield tmp_path / "good.mkv"

    verdicts = []
    for report in check_many(arrivals(), CheckSettings(), Limits(jobs=2)):
        answered.set()
        verdicts.append(report.verdict)
    assert verdicts == ["in_sync", "in_sync"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--pass", "in/pass"], "--pass: in/pass is in the folder that is watched"),
        (["--fail", "gone/fail"], "--fail: cannot use gone/fail: No such file or directory"),
        (["--link"], "--link goes with --pass, --fail, --undecidable or --error"),
        (["--hook", "no-such-command x"], "--hook: there is no command no-such-command"),
        (["--hook", "'open"], "--hook: No closing quotation: 'open"),
        (["--probes", "5"], "--probes goes with --sample"),
        (["--journal", "notes.txt"], "--journal: {}/notes.txt is not a results file of avcheck"),
    ],
)
def test_wrong_usage(
    inbox: Path,
    more: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(inbox.parent)
    Path("notes.txt").write_text("notes\n")
    assert main(["watch", "in", "--once", *more]) == 2
    assert said.format(inbox.parent) in capsys.readouterr().err
    assert Path("notes.txt").read_text() == "notes\n"
    assert main(["watch", "gone"]) == 2


def test_without_the_library_it_is_said_what_to_install(
    inbox: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert main(["watch", str(inbox), "--once"]) == 2
    said = capsys.readouterr().err
    assert "without watchfiles use `avcheck watch --poll`, or: pip install watchfiles" in said
    assert "none checked" not in said
    assert once(inbox) == 0  # by looking


@pytest.mark.parametrize(
    ("platform", "words"),
    [
        ("linux", ("python", "my files/a#b.py", "C:qcnotify.py")),
        ("win32", ("python", "my files/a#b.py", r"C:\qc\notify.py")),
    ],
)
def test_a_hook_of_windows_keeps_its_backslashes(
    monkeypatch: pytest.MonkeyPatch, platform: str, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(sys, "platform", platform)
    assert _command(r'python "my files/a#b.py" C:\qc\notify.py') == words


def test_a_link_out_of_the_folder_is_named_with_what_can_be_done(
    inbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (inbox.parent / "elsewhere.mp4").write_bytes(b"x")
    (inbox / "out.mp4").symlink_to("../elsewhere.mp4")
    assert once(inbox) == 0
    err = capsys.readouterr().err
    assert f"{inbox / 'out.mp4'}: links are passed over; put the file itself there\n" in err
    assert "by name" not in err


def test_by_a_timer_a_file_that_was_left_unfinished_long_ago_is_not_waited_for(
    inbox: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (inbox / "empty.mkv").write_bytes(b"")
    monkeypatch.setattr("avcheck.watch.run.unchanged_s", lambda path: 601.0)
    assert once(inbox, "--patience", "600") == 0
    assert "is not complete" not in capsys.readouterr().err
    assert "empty.mkv" in [Path(str(each["path"])).name for each in records(inbox)]


def test_since_when_a_file_has_not_changed(tmp_path: Path) -> None:
    """A file that was copied with its old time has changed all the same."""
    file = tmp_path / "film.mkv"
    file.write_bytes(b"x")
    os.utime(file, (1e9, 1e9))
    if sys.platform != "win32":
        assert unchanged_s(file) < 60
    assert unchanged_s(tmp_path / "none.mkv") == 0
