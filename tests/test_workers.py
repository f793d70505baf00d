"""Worker processes: what a crash, a hang, a lack of memory, a bad start and an interrupt cost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from avcheck.batch.base import BugInWorker, Done, Limits
from avcheck.batch.run import CRASH_REMEDY, OUT_OF_MEMORY, check_many
from avcheck.batch.workers import run_workers
from avcheck.cli.app import main
from avcheck.errors import ModelError, UsageError
from avcheck.machine.files import stamp
from avcheck.record.report import PRESETS, Report
from avcheck.settings import CheckSettings, OnProgress
from tests.support import fake_scan

ROOT = Path(__file__).parent.parent


def check(
    *names: str, jobs: int = 2, timeout_s: float | None = 60.0, memory_mb: int | None = None
) -> dict[str, Report]:
    files = [Path(name) for name in names]
    limits = Limits(jobs, timeout_s, memory_mb)
    reports = list(
        check_many(
            files,
            CheckSettings(tolerance=PRESETS["film"]),
            limits,
            make_checker=fake_scan.make_checker,
        )
    )
    # each once, whatever happened
    assert sorted(report.path for report in reports) == sorted(names)
    assert all(report.settings_sha256 and report.checked_at for report in reports)
    return {report.path: report for report in reports}


def test_a_crash_costs_one_file_and_says_so() -> None:
    names = [
        "segfault.mp4",
        "good.mp4",
        "killed.mp4",
        "exits.mp4",
        "late.mp4",
        "raises.mp4",
        "huge.mp4",
        "good2.mp4",
    ]
    reports = check(*names)
    assert {name: report.verdict for name, report in reports.items()} == {
        **dict.fromkeys(names, "error"),
        "good.mp4": "in_sync",
        "good2.mp4": "in_sync",
        "late.mp4": "out_of_sync",
    }
    assert {
        name: report.reason for name, report in reports.items() if report.verdict == "error"
    } == {
        "segfault.mp4": f"the worker was killed by signal 11 (SIGSEGV); {CRASH_REMEDY}",
        "killed.mp4": "the worker was killed by signal 9 (SIGKILL; out of memory?); "
        + CRASH_REMEDY,
        "exits.mp4": f"the worker ended with exit code 7; {CRASH_REMEDY}",
        "raises.mp4": "no audio stream",
        "huge.mp4": OUT_OF_MEMORY,
    }
    assert {
        name: report.reason_code for name, report in reports.items() if report.verdict == "error"
    } == {
        "segfault.mp4": "crashed",
        "killed.mp4": "crashed",
        "exits.mp4": "crashed",
        "raises.mp4": "no_audio",
        "huge.mp4": "out_of_memory",
    }
    assert {report.tolerance for report in reports.values()} == {PRESETS["film"]}


def test_a_hang_ends_at_the_deadline() -> None:
    began = time.monotonic()
    reports = check("hangs.mp4", "good.mp4", jobs=1, timeout_s=0.5)
    assert reports["hangs.mp4"].reason == (
        "there was no result within 0.5 s; allow more with --timeout"
    )
    assert reports["hangs.mp4"].reason_code == "timeout"
    assert reports["good.mp4"].verdict == "in_sync"
    assert time.monotonic() - began < 20


@pytest.mark.skipif(sys.platform != "linux", reason="a memory limit needs Linux")
def test_memory_is_capped() -> None:
    reports = check("eats.mp4", "good.mp4", jobs=1, memory_mb=512)
    assert reports["eats.mp4"].reason == OUT_OF_MEMORY
    assert reports["good.mp4"].verdict == "in_sync"


def test_a_bug_in_a_worker_is_heard_with_its_traceback() -> None:
    bugs: list[tuple[Path | str, Exception]] = []
    (report,) = check_many(
        [Path("bug.mp4")],
        CheckSettings(),
        Limits(timeout_s=60),
        on_bug=lambda path, error: bugs.append((path, error)),
        make_checker=fake_scan.make_checker,
    )
    assert str(report.reason).startswith("internal error: RuntimeError: shapes differ [3, 4]")
    assert report.reason_code == "bug"
    ((path, error),) = bugs
    assert path == Path("bug.mp4")
    assert isinstance(error, BugInWorker)
    assert "fake_scan.py" in error.traceback


def test_an_error_that_concerns_every_file_costs_one_file_and_no_worker() -> None:
    reports = check("pid.mp4", "model.mp4", "pid too.mp4", jobs=1)
    assert (reports["model.mp4"].verdict, reports["model.mp4"].reason) == (
        "error",
        "the network gave no numbers",
    )
    assert reports["model.mp4"].reason_code == "model"
    assert reports["pid.mp4"].reason == reports["pid too.mp4"].reason


def test_a_worker_that_ran_out_of_memory_is_replaced() -> None:
    reports = check("pid.mp4", "huge.mp4", "pid too.mp4", jobs=1)
    assert reports["pid.mp4"].reason != reports["pid too.mp4"].reason


def test_a_file_that_cost_its_worker_is_known_again(tmp_path: Path) -> None:
    files = [tmp_path / "killed.mp4", tmp_path / "model.mp4"]
    for file in files:
        file.write_bytes(b"x")
    reports = list(
        check_many(
            files, CheckSettings(), Limits(timeout_s=60), make_checker=fake_scan.make_checker
        )
    )
    assert [report.reason_code for report in reports] == ["crashed", "model"]
    assert [(report.file_size, report.file_mtime_ns) for report in reports] == [
        stamp(file) for file in files
    ]


@pytest.mark.slow
def test_a_bug_as_a_worker_loads_is_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BugInWorker, match=r"^KeyError: 'trunk'$") as caught:
        list(
            check_many(
                [Path("good.mp4")], CheckSettings(), Limits(2), make_checker=fake_scan.make_bug
            )
        )
    assert "make_bug" in caught.value.traceback
    fake_scan.stand_in(monkeypatch, fake_scan.make_bug)
    (tmp_path / "good.mp4").write_bytes(b"x")
    assert main([str(tmp_path), "--timeout", "60"]) == 3
    said = (
        "avcheck: internal error: KeyError: 'trunk' (please report it; AVCHECK_DEBUG=1 shows "
        "where)\n"
    )
    assert tuple(capsys.readouterr()) == ("", said)


def test_a_library_that_cannot_be_loaded_is_no_bug() -> None:
    with pytest.raises(
        UsageError,
        match=r"started: ImportError: libtorch_cpu.so: failed to map .*; "
        r"a memory limit of 900 MB may",
    ):
        list(
            check_many(
                [Path("good.mp4")],
                CheckSettings(),
                Limits(2, None, 900),
                make_checker=fake_scan.make_unloadable,
            )
        )


def test_too_little_memory_to_load_is_no_bug() -> None:
    with pytest.raises(
        UsageError, match=r"no worker can be started: MemoryError: .*can't allocate memory"
    ):
        list(
            check_many(
                [Path("good.mp4")], CheckSettings(), Limits(2), make_checker=fake_scan.make_too_big
            )
        )


def test_what_concerns_every_file_is_raised() -> None:
    with pytest.raises(ModelError, match="no GPU"):
        list(
            check_many(
                [Path("good.mp4")],
                CheckSettings(device="cuda"),
                Limits(2),
                make_checker=fake_scan.make_checker,
            ),
        )


def test_progress_and_beginnings_are_heard() -> None:
    began: list[Path | str] = []
    heard: list[tuple[Path | str, float]] = []
    files = [Path("good.mp4"), Path("late.mp4")]
    reports = check_many(
        files,
        CheckSettings(),
        Limits(timeout_s=60),
        on_file=began.append,
        on_progress=lambda path, done: heard.append((path, done)),
        make_checker=fake_scan.make_checker,
    )
    assert [report.path for report in reports] == ["good.mp4", "late.mp4"]
    assert began == files
    assert heard[0] == (files[0], 0.5)  # the rest comes too soon after it to be told


def toucher(threads: int) -> Callable[[Path, OnProgress], Done[str]]:
    def handle(task: Path, tell: OnProgress) -> Done[str]:
        task.touch()
        return Done(task.name)

    return handle


def test_the_first_interrupt_loses_no_answer_and_the_second_does_not_wait(tmp_path: Path) -> None:
    answers = run_workers([tmp_path / "0", tmp_path / "1", tmp_path / "2"], toucher, Limits(2))
    got = [next(answers)]
    deadline = time.monotonic() + 30
    first = (tmp_path / "0", tmp_path / "1")  # either may have come first
    while not all(each.exists() for each in first) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)  # they were touched just before the answers were sent
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        got.extend(answers)
    assert sorted(got) == [(tmp_path / "0", "0"), (tmp_path / "1", "1")]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


RUN = """
import sys
from tests.support import fake_scan
from pathlib import Path
from avcheck.batch.base import Limits
from avcheck.batch.run import check_many
from avcheck.settings import CheckSettings
try:
    paths = map(Path, sys.argv[1:])
    limits = Limits(2, 2.0)
    make = fake_scan.make_checker
    for report in check_many(paths, CheckSettings(), limits, make_checker=make):
        print(report.path, report.verdict, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def running(*names: str, scratch: Path | None = None) -> subprocess.Popen[str]:
    variables = {"PYTHONPATH": str(ROOT)} | ({} if scratch is None else {"TMPDIR": str(scratch)})
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
        start_new_session=True,
    )


def left_over(session: int) -> list[int]:
    """The processes of a session that do not end within 10 s."""
    deadline = time.monotonic() + 10
    while (pids := alive(session)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return pids


def alive(session: int) -> list[int]:
    pids = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            pids.append(int(entry.parent.name))
    return pids


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc here")
def test_an_interrupt_leaves_no_process_and_no_traceback() -> None:
    process = running("good.mp4", "hangs.mp4", "hangs too.mp4")
    assert process.stdout is not None
    assert process.stdout.readline() == "good.mp4 in_sync\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
    out, err = process.communicate(timeout=30)
    assert out.splitlines() == ["interrupted"]
    assert err == ""
    assert left_over(process.pid) == []


@pytest.mark.slow
def test_the_time_that_everything_is_stopped_is_not_the_tasks() -> None:
    process = running("good.mp4", "naps.mp4")
    assert process.stdout is not None
    assert process.stdout.readline() == "good.mp4 in_sync\n"
    os.killpg(process.pid, signal.SIGSTOP)  # Ctrl-Z
    time.sleep(2.5)
    os.killpg(process.pid, signal.SIGCONT)
    assert process.communicate(timeout=30) == ("naps.mp4 in_sync\n", "")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc here")
def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    process = running("good.mp4", "hangs.mp4", scratch=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "good.mp4 in_sync\n"
    assert list(tmp_path.iterdir())
    process.kill()
    process.wait(timeout=10)
    assert left_over(process.pid) == []
    assert list(tmp_path.iterdir()) == []
    process.communicate()
