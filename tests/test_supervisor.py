"""The supervisor of worker processes alone, with tasks that are no files."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from multiprocessing import spawn
from pathlib import Path
from typing import Any

import pytest

from avcheck.batch import base, workers
from avcheck.batch import process as process_batch
from avcheck.batch.base import Limits, Lost, jobs_of
from avcheck.batch.process import threads_each
from avcheck.batch.workers import run_workers
from avcheck.errors import UsageError
from avcheck.machine.cores import cores
from tests.support import handlers

ROOT = Path(__file__).parent.parent


def test_answers_come_for_every_task_and_none_is_drawn_too_early() -> None:
    drawn: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(20):
            drawn.append(number)
            yield number

    answers = run_workers(tasks(), handlers.doubler, Limits(2))
    first = next(answers)
    assert len(drawn) <= 4
    assert dict([first, *answers]) == {number: 2 * number for number in range(20)}


def test_no_task_needs_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "Worker", None)
    assert list(run_workers([], handlers.doubler, Limits(2))) == []


def test_a_worn_worker_is_replaced_and_threads_are_shared_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The worker imports this package too, which sets it under pytest-xdist
    for name in ("OMP_NUM_THREADS", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(process_batch, "cores", lambda: 6)
    answers = [
        answer for _, answer in run_workers(range(4), handlers.pids, Limits(1, timeout_s=60))
    ]
    first, second, third, fourth = answers
    assert not isinstance(first, Lost)
    assert first == second
    assert third == fourth != first
    assert not isinstance(third, Lost)
    assert (first[1], first[2]) == (6, "6")
    assert threads_each(4) == 1
    assert threads_each(100) == 1
    assert 1 <= cores() <= (os.cpu_count() or 1)


def test_a_worker_is_replaced_after_many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "TASKS_A_WORKER", 2)
    answers = [answer for _, answer in run_workers([0] * 4, handlers.pids, Limits(1, timeout_s=60))]
    assert answers[0] == answers[1] != answers[2] == answers[3]


def test_threads_that_were_asked_for_are_not_shared_out() -> None:
    ((_, answer),) = run_workers([0], handlers.pids, Limits(2, timeout_s=60, threads=3))
    assert not isinstance(answer, Lost)
    assert answer[1] == 3


@pytest.mark.slow
def test_time_counts_for_every_task_of_a_worker_and_not_while_it_is_idle() -> None:
    def tasks() -> Iterator[float | None]:
        yield 0
        until_s = time.monotonic() + 2.5
        while time.monotonic() < until_s:
            time.sleep(0.05)
            yield None
        yield 0
        yield 600

    answers = list(run_workers(tasks(), handlers.sleeper, Limits(1, timeout_s=2.0)))
    assert [task for task, _ in answers] == [0, 0, 600]
    first, second, lost = (answer for _, answer in answers)
    assert first == second and not isinstance(first, Lost)
    assert isinstance(lost, Lost) and lost.code == "timeout"


def test_progress_comes_a_few_times_a_second() -> None:
    heard: list[float] = []
    answers = run_workers(
        [20_000],
        handlers.chatty,
        Limits(1, timeout_s=60),
        on_progress=lambda _, done: heard.append(done),
    )
    assert list(answers) == [(20_000, 20_000)]
    assert 1 <= len(heard) < 100


def test_a_handler_that_runs_out_of_memory_is_no_bug() -> None:
    ((_, lost),) = run_workers([1], handlers.starved, Limits(1, timeout_s=60))
    assert isinstance(lost, Lost)
    assert (lost.code, lost.bug) == ("out_of_memory", None)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has this score")
def test_a_worker_writes_no_core_and_is_killed_before_its_parent() -> None:
    assert list(run_workers([0], handlers.restricted, Limits(1, timeout_s=60))) == [(0, (0, "500"))]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal masks")
def test_signals_are_held_back_from_the_first_worker_of_a_process_too() -> None:
    code = """
from avcheck.batch.base import Limits
from avcheck.batch.workers import run_workers
from tests.support.handlers import holds_back
print(*run_workers([0], holds_back, Limits(1, timeout_s=60)))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert run.stdout == "(0, True)\n"


def test_what_a_killed_worker_wrote_is_cleaned_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kept: list[Path] = []
    for task, answer in run_workers([0, 1, 0], handlers.scratch, Limits(1, timeout_s=60)):
        if task:
            assert isinstance(answer, Lost)
        else:
            assert isinstance(answer, str)
            kept.append(Path(answer))
    assert all(tmp_path in path.parents for path in kept)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    assert dict(run_workers([2, 3], handlers.doubler, Limits(1, timeout_s=60))) == {2: 4, 3: 6}


def test_a_worker_is_not_sent_into_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner may not let it in, as under `sudo -u`."""
    prepare = spawn.get_preparation_data
    closed = {"dir": "/closed"}
    monkeypatch.setattr(spawn, "get_preparation_data", lambda name: prepare(name) | closed)
    assert dict(run_workers([2], handlers.doubler, Limits(1, timeout_s=60))) == {2: 4}


def test_a_working_directory_that_is_gone_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    with pytest.raises(UsageError, match="the working directory is gone"):
        list(run_workers([2], handlers.doubler, Limits(1, timeout_s=60)))


def test_workers_do_not_run_the_script_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        """
print("once")
from avcheck.batch.base import Limits
from avcheck.batch.workers import run_workers
from tests.support.handlers import doubler
print(sorted(run_workers([2, 3], doubler, Limits(2))))
"""
    )
    run = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.stdout.split("\n") == ["once", "[(2, 4), (3, 6)]", ""]


def test_an_exception_of_a_handler_costs_one_task() -> None:
    answers = dict(run_workers([3, 0, 2], handlers.thrower, Limits(1, timeout_s=60)))
    lost = answers.pop(0)
    assert answers == {3: 4, 2: 6}
    assert isinstance(lost, Lost) and lost.reason.startswith("ZeroDivisionError: ")
    assert "in thrower" in str(lost.bug) or "<lambda>" in str(lost.bug)


@pytest.mark.parametrize("can_start", [0, 1])
def test_a_machine_that_starts_no_more_processes(
    monkeypatch: pytest.MonkeyPatch, can_start: int
) -> None:
    real, started = process_batch.Worker, list[Any]()

    def start(*args: Any) -> Any:
        if len(started) >= can_start:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(real(*args))
        return started[-1]

    monkeypatch.setattr(workers, "Worker", start)
    answers = run_workers(range(5), handlers.doubler, Limits(3))
    if can_start:
        assert dict(answers) == {number: 2 * number for number in range(5)}
    else:
        with pytest.raises(
            UsageError, match="no worker can be started: Resource temporarily unavailable"
        ):
            list(answers)


def test_a_worker_that_does_not_start_is_tried_again(tmp_path: Path) -> None:
    make = functools.partial(handlers.unwilling, tmp_path / "x", 2)
    assert dict(run_workers(range(3), make, Limits(1, timeout_s=60))) == {0: 0, 1: 2, 2: 4}


@pytest.mark.parametrize(
    ("error", "is_bug"),
    [
        (ImportError("libtorch_cpu.so: cannot open shared object file"), False),
        (MemoryError(), False),
        (OSError(12, "Cannot allocate memory"), False),
        (KeyError("trunk"), True),
    ],
)
def test_what_keeps_a_worker_from_starting_is_a_bug_or_the_machine_s(
    error: Exception, is_bug: bool
) -> None:
    lost = process_batch._why_no_start(error)
    assert isinstance(lost, Lost)
    assert (lost.bug is not None, lost.code) == (is_bug, "bug" if is_bug else "crashed")


@pytest.mark.slow
def test_failed_starts_count_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "TASKS_A_WORKER", 1)
    make = functools.partial(handlers.starts_every_third_time, tmp_path / "x")
    assert dict(run_workers(range(2), make, Limits(1, timeout_s=60))) == {0: 0, 1: 2}


def test_if_no_worker_starts_the_run_ends(tmp_path: Path) -> None:
    make = functools.partial(handlers.unwilling, tmp_path / "x", 99)
    with pytest.raises(
        UsageError, match="no worker can be started: the worker ended with exit code 1"
    ):
        list(run_workers(range(3), make, Limits(2)))


@pytest.mark.skipif(sys.platform != "linux", reason="a memory limit needs Linux")
def test_too_low_a_memory_limit_is_said_to_be() -> None:
    with pytest.raises(UsageError, match="MemoryError; a memory limit of 100 MB may be too low"):
        list(run_workers(range(3), handlers.heavy, Limits(1, memory_mb=100)))


@pytest.mark.skipif(sys.platform != "linux", reason="a memory limit needs Linux")
def test_a_memory_limit_above_the_system_s_is_the_system_s(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    asked: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (0, 5 << 20))
    monkeypatch.setattr(resource, "setrlimit", lambda *each: asked.append(each))
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: 0)
    for megabytes in (4, 6):
        process_batch._limit(megabytes)
    assert [limits for what, limits in asked if what == resource.RLIMIT_DATA] == [
        (4 << 20, 4 << 20),
        (5 << 20, 5 << 20),
    ]


def test_windows_has_as_many_workers_as_it_can_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """63 things at a time; more are a ValueError, and each worker is two."""
    monkeypatch.setattr(base, "cores", lambda: 64)
    assert jobs_of(0) == 64
    assert Limits(jobs_of(40)).jobs == 40
    monkeypatch.setattr(sys, "platform", "win32")
    assert jobs_of(0) == Limits(jobs_of(0)).jobs == 31
    with pytest.raises(UsageError, match="must be at most 31 on Windows, not 40"):
        Limits(jobs_of(40))


def test_the_time_of_whoever_reads_the_answers_is_not_the_tasks() -> None:
    answers = run_workers([0, 1, 2, 3], handlers.doubler, Limits(2, timeout_s=1.0))
    got = []
    for answer in answers:
        got.append(answer)
        time.sleep(1.2 if len(got) == 1 else 0)
    assert dict(got) == {0: 0, 1: 2, 2: 4, 3: 6}


@pytest.mark.slow
def test_the_parent_s_memory_does_not_grow_with_the_number_of_files() -> None:
    tracemalloc.start()
    peaks = []
    try:
        for count in (100, 1000):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            assert (
                sum(1 for _ in run_workers(range(count), handlers.hoarder, Limits(1, timeout_s=60)))
                == count
            )
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000  # 900 answers of 20 kB would be 18 MB


def test_it_works_in_a_thread_too() -> None:
    got: list[tuple[int, int | Lost]] = []
    thread = threading.Thread(
        target=lambda: got.extend(run_workers([1], handlers.doubler, Limits(1, timeout_s=60)))
    )
    thread.start()
    thread.join(30)
    assert got == [(1, 2)]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("jobs", 0),
        ("timeout_s", 0.0),
        ("timeout_s", float("nan")),
        ("memory_mb", 0),
        ("threads", -1),
    ],
)
def test_limits_that_cannot_be(name: str, wrong: float) -> None:
    with pytest.raises(UsageError, match=f"^{name} must be .*, not {wrong:g}$"):
        Limits(**{name: wrong})  # type: ignore[arg-type]
