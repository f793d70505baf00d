"""`avcheck watch`: what is whole, where it goes, and that a kill at any moment neither loses nor
doubles a file.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_scan
import pytest

from avcheck.batch.process import Limits
from avcheck.batch.run import CheckSettings, check_many
from avcheck.cli.app import main
from avcheck.watch import place
from avcheck.watch.place import free_name, put
from avcheck.watch.steps import Steps
from avcheck.watch.whole import has_partial_name, is_being_written, is_complete

TESTS = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent)))}
# A process that kills itself at the point named by its first argument
KILLED = """
import os, signal, sys
import fake_scan
fake_scan.install()
from avcheck.batch.checkpoint import Checkpoint
from avcheck.watch import run
from avcheck.watch.steps import Steps

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def then_die(call):
    return lambda *args, **named: (call(*args, **named), die())

def half(self, result):
    line = run.to_json(result).encode()
    os.write(self._fd, line[: len(line) // 2])
    die()

point = sys.argv.pop(1)
if point == "half a record": Checkpoint.add = half
if point == "before the record": Checkpoint.add = die
if point == "after the record": Checkpoint.add = then_die(Checkpoint.add)
if point == "after the goal": Steps.begin = then_die(Steps.begin)
if point == "after the link": os.link = then_die(os.link)
if point == "after the move": run.put = then_die(run.put)
if point == "after the hook": run.subprocess.run = then_die(run.subprocess.run)
if point == "after the end": Steps.end = then_die(Steps.end)
from avcheck.cli.app import main
sys.exit(main())
"""


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_scan.stand_in(monkeypatch)
    fake_scan.MADE.clear()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def once(inbox: Path, *more: str, settle: float = 0.1) -> int:
    return main(["watch", str(inbox), "--once", "--poll", "--settle", str(settle), *more])


def sorted_out(inbox: Path) -> list[str]:
    """The options that move every file, by its verdict."""
    names = ("pass", "fail", "undecidable", "error")
    return [word for name in names for word in (f"--{name}", str(inbox.parent / name))]


def files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, less the journal."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".avcheck-watch" not in path.name
    }


def records(inbox: Path) -> list[dict[str, object]]:
    text = (inbox / ".avcheck-watch.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def checks() -> int:
    return sum(len(made.calls) for made in fake_scan.MADE)


# ---- what is whole


def test_an_mp4_is_complete_with_its_index_and_its_last_box(
    clip: Callable[..., Path], tmp_path: Path
) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    for name, settings in (("a.mp4", {}), ("b.mov", {}), ("c.mp4", {"container_options": options})):
        path = clip(name, **settings)
        data = path.read_bytes()
        assert is_complete(path)
        for part in (8, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:part])
            assert not is_complete(path), part


@pytest.mark.parametrize(
    ("name", "data", "complete"),
    [
        ("empty.mkv", b"", False),
        ("any.mkv", b"any", True),
        ("text.mp4", b"no mp4 at all", True),  # more of it will not make it one
        ("short.mp4", b"\0\0\0", False),
        ("to_the_end.mp4", b"\0\0\0\x08moov\0\0\0\0mdat1234", True),
        ("large.mp4", b"\0\0\0\x08moov\0\0\0\x01mdat\0\0\0\0\0\0\0\x14data", True),
        ("large_cut.mp4", b"\0\0\0\x08moov\0\0\0\x01mdat\0\0\0\0\0\0\0\x15data", False),
        ("no_index.mp4", b"\0\0\0\x08ftyp\0\0\0\x08mdat", False),
    ],
)
def test_what_says_that_more_is_to_come(
    tmp_path: Path, name: str, data: bytes, complete: bool
) -> None:
    (tmp_path / name).write_bytes(data)
    assert is_complete(tmp_path / name) is complete


def test_a_file_that_is_gone_is_not_whole(tmp_path: Path) -> None:
    assert not is_complete(tmp_path / "gone.mp4")
    assert not is_being_written(tmp_path / "gone.mp4")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_writer_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with path.open("wb") as file:
        file.write(b"data")
        file.flush()
        assert is_being_written(path)
    assert not is_being_written(path)
    with path.open("rb"):
        assert not is_being_written(path)


def test_partial_names() -> None:
    partial = ("a.mp4.part", "a.partial", "a.TMP", "a.mp4.crdownload", "b.download")
    assert all(has_partial_name(Path(name)) for name in partial)
    assert not any(has_partial_name(Path(name)) for name in ("part.mp4", "a.tmp.mov"))


# ---- where it goes


def test_a_move_takes_a_free_name_and_can_be_taken_again(tmp_path: Path) -> None:
    source, folder = tmp_path / "a.mp4", tmp_path / "to"
    source.write_bytes(b"new")
    (folder / "sub").mkdir(parents=True)
    taken = folder / "sub" / "a.mp4"
    taken.write_bytes(b"old")
    goal = free_name(folder, Path("sub/a.mp4"))
    assert goal == folder / "sub" / "a-2.mp4"
    assert not put(source, taken, link=False)
    assert put(source, goal, link=True) and put(source, goal, link=True)
    assert source.samefile(goal)
    assert put(source, goal, link=False)  # as after a kill between the link and the removal
    assert not source.exists()
    assert (goal.read_bytes(), taken.read_bytes()) == (b"new", b"old")


@pytest.mark.parametrize("has_links", [True, False])
def test_a_move_to_another_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    source, goal = tmp_path / "a.mp4", tmp_path / "to" / "a.mp4"
    source.write_bytes(b"film")
    os.utime(source, ns=(1, 1_700_000_000_123_456_789))
    link = os.link

    def across(one: Path, other: Path) -> None:
        if one.parent != other.parent:
            raise OSError(errno.EXDEV, "cross-device link")
        if not has_links:
            raise OSError(errno.EPERM, "no links")
        link(one, other)

    monkeypatch.setattr(os, "link", across)
    goal.parent.mkdir()
    (goal.parent / ".a.mp4.avcheck-partial").write_bytes(b"half a co")  # of a kill
    assert place._copied(source, goal)  # and then a kill
    assert put(source, goal, link=False)
    assert files(tmp_path) == {"to/a.mp4": b"film"}
    assert goal.stat().st_mtime_ns == 1_700_000_000_123_456_789
    source.write_bytes(b"more")
    assert not put(source, goal, link=False)  # another film of that name
    assert files(tmp_path) == {"a.mp4": b"more", "to/a.mp4": b"film"}


def test_the_log_of_steps_is_mended(tmp_path: Path) -> None:
    log, one, two = tmp_path / "steps", ("a", 1, 2), ("\udcff", 3, 4)
    with Steps(log) as steps:
        steps.begin(one, Path("to/a"))
        steps.begin(two, None)
        steps.end(two)
    with log.open("ab") as file:
        file.write(b'{"step": "end", "path": "a", "fi')
    for _ in range(2):
        with Steps(log) as steps:
            assert steps.goal(one) == Path("to/a")
            assert [each.key for each in steps.unfinished()] == [one]
            assert (steps.is_done(one), steps.is_done(two)) == (False, True)


# ---- the command


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
    where = inbox.parent / "fail" / "late film.mkv"
    assert f"out_of_sync {inbox / 'late film.mkv'} {where} two words $HOME\n" in err
    assert f"avcheck: the hook exited with 3 for {where}\n" in err
    assert "two words" not in out


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
    assert "good.mp4 is not complete; it is waited for" in capsys.readouterr().err
    assert checks() == 1


def test_a_file_that_cannot_be_moved_stays_and_the_rest_goes_on(
    inbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (inbox / "sub").mkdir()
    (inbox / "sub" / "late.mkv").write_bytes(b"x")
    (inbox / "late2.mkv").write_bytes(b"x")
    (inbox.parent / "fail").mkdir()
    (inbox.parent / "fail" / "sub").write_bytes(b"no folder")
    assert once(inbox, *sorted_out(inbox)) == 0
    assert "late.mkv stays where it is: File exists" in capsys.readouterr().err
    assert files(inbox) == {"sub/late.mkv": b"x"}
    (inbox.parent / "fail" / "sub").unlink()
    assert once(inbox, *sorted_out(inbox)) == 0
    assert files(inbox.parent / "fail") == {"late2.mkv": b"x", "sub/late.mkv": b"x"}
    assert checks() == 2


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

    found = []
    for report in check_many(arrivals(), CheckSettings(), Limits(jobs=2)):
        answered.set()
        found.append(report.verdict)
    assert found == ["in_sync", "in_sync"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--pass", "in/pass"], "--pass: in/pass is in the folder that is watched"),
        (["--fail", "gone/fail"], "--fail: cannot use gone/fail: No such file or directory"),
        (["--link"], "--link goes with --pass, --fail, --undecidable or --error"),
        (["--hook", "no-such-command x"], "--hook: there is no command no-such-command"),
        (["--hook", "'open"], "--hook: No closing quotation: 'open"),
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
    assert "pip install 'avcheck-sync[watch]'" in capsys.readouterr().err
    assert once(inbox) == 0  # by looking


# ---- kills


def process(program: str, *args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *args],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(
    ("point", "checked_again", "hooks"),
    [
        ("before the record", True, 1),
        ("half a record", True, 1),
        ("after the record", False, 1),
        ("after the goal", False, 1),
        ("after the link", False, 1),
        ("after the move", False, 1),
        ("after the hook", False, 2),  # nobody can know that it had run
        ("after the end", False, 1),
    ],
)
def test_killed_at_any_point_it_goes_on(
    inbox: Path, point: str, checked_again: bool, hooks: int
) -> None:
    (inbox / "late.mkv").write_bytes(b"film")
    log = inbox.parent / "log"
    hook = f"sh -c 'echo $AVCHECK_FILE >> {log}'"
    options = [str(inbox), "--once", "--poll", "--settle", "0.1", "--hook", hook]
    options += sorted_out(inbox)
    killed = process(KILLED, point, "watch", *options)
    _, said = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, said
    assert main(["watch", *options]) == 0
    assert files(inbox) == {}
    assert files(inbox.parent / "fail") == {"late.mkv": b"film"}
    assert [record["path"] for record in records(inbox)] == [str(inbox / "late.mkv")]
    assert checks() == (1 if checked_again else 0)
    assert log.read_text().splitlines() == [str(inbox.parent / "fail" / "late.mkv")] * hooks
    assert main(["watch", *options]) == 0  # nothing is left to do
    assert len(log.read_text().splitlines()) == hooks


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_again_and_again_nothing_is_lost_or_doubled(inbox: Path) -> None:
    names = [f"{kind} slow {n}.mkv" for n in range(8) for kind in ("good", "late")]
    for name in names:
        (inbox / name).write_bytes(name.encode())
    program = "import fake_scan, sys\nfake_scan.install()\nfrom avcheck.cli.app import main\n"
    program += "sys.exit(main())\n"
    options = [str(inbox), "--once", "--poll", "--settle", "0.1", *sorted_out(inbox)]
    for seconds in (0.9, 1.0, 1.2):
        running = process(program, "watch", *options)
        time.sleep(seconds)
        running.kill()
        running.communicate()
    assert main(["watch", *options]) == 0
    assert files(inbox) == {}
    found = {**files(inbox.parent / "pass"), **files(inbox.parent / "fail")}
    assert found == {name: name.encode() for name in names}
    assert Counter(record["path"] for record in records(inbox)) == {
        str(inbox / name): 1 for name in names
    }


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=["Ctrl-C", "SIGTERM"]
)
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_it_ends_when_it_is_told_to(inbox: Path, number: int, code: int, jobs: str) -> None:
    pytest.importorskip("watchfiles")
    program = "import fake_scan, sys\nfake_scan.install()\nfrom avcheck.cli.app import main\n"
    program += "if __name__ == '__main__':\n    sys.exit(main())\n"
    running = process(
        program, "watch", str(inbox), *sorted_out(inbox), "--settle", "0.1", "--jobs", jobs
    )
    (inbox / "good.mkv").write_bytes(b"x")
    arrived = inbox.parent / "pass" / "good.mkv"
    deadline_s = time.monotonic() + 30
    while not arrived.exists() or (inbox / "good.mkv").exists():
        assert time.monotonic() < deadline_s, running.poll()
        time.sleep(0.05)
    (inbox / "hangs.mkv").write_bytes(b"x")
    time.sleep(0.6)
    running.send_signal(number)
    _, err = running.communicate(timeout=20)
    assert running.returncode == code, err
    assert b"1 file: 1 in sync\n" in err and b"Traceback" not in err
    assert files(inbox) == {"hangs.mkv": b"x"}
    assert len(records(inbox)) == 1
