"""A kill at any moment of `avcheck watch` neither loses nor doubles a file."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from avcheck.cli.app import main
from tests.support.commands import ENVIRONMENT, FAKE_MAIN
from tests.support.watching import checks, files, records, sorted_out

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fake")]
# A process that kills itself at the point named by its first argument
KILLED = """
import os, signal, sys
from tests.support import fake_scan
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
if point == "after the hook": run.run_hook = then_die(run.run_hook)
if point == "after the end": Steps.end = then_die(Steps.end)
from avcheck.cli.app import main
sys.exit(main())
"""


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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_again_and_again_nothing_is_lost_or_doubled(inbox: Path) -> None:
    names = [f"{kind} slow {n}.mkv" for n in range(8) for kind in ("good", "late")]
    for name in names:
        (inbox / name).write_bytes(name.encode())
    options = [str(inbox), "--once", "--poll", "--settle", "0.1", *sorted_out(inbox)]
    for seconds in (0.9, 1.0, 1.2):
        running = process(FAKE_MAIN, "watch", *options)
        time.sleep(seconds)
        running.kill()
        running.communicate()
    assert main(["watch", *options]) == 0
    assert files(inbox) == {}
    arrived = {**files(inbox.parent / "pass"), **files(inbox.parent / "fail")}
    assert arrived == {name: name.encode() for name in names}
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
    running = process(
        FAKE_MAIN, "watch", str(inbox), *sorted_out(inbox), "--settle", "0.1", "--jobs", jobs
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
    assert err.startswith(f"avcheck: watching {inbox}, results go to ".encode())
    assert b"1 file: 1 in sync\n" in err and b"Traceback" not in err
    assert files(inbox) == {"hangs.mkv": b"x"}
    assert len(records(inbox)) == 1
