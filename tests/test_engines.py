"""Ray, where it is installed: the same reports as without it, whatever the files do."""

from __future__ import annotations

import builtins
import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from avcheck.batch import ray_engine
from avcheck.batch.base import BugInWorker, Limits
from avcheck.batch.ray_engine import _Actor, check_with_ray
from avcheck.batch.resume import Resumed
from avcheck.batch.run import CRASH_REMEDY
from avcheck.cli.app import main
from avcheck.errors import UsageError
from avcheck.record.report import PRESETS, Report
from avcheck.settings import CheckSettings
from tests.support import fake_scan


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in which Ray's processes find the stand-in for the network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    return tmp_path


def needs_ray(test: Any) -> Any:
    absent = importlib.util.find_spec("ray") is None
    return pytest.mark.slow(pytest.mark.skipif(absent, reason="Ray is not installed")(test))


def test_a_missing_ray_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("ray"):
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert main([str(tmp_path), "--engine", "ray"]) == 2
    message = "avcheck: the engine ray needs Ray (No module named 'ray'): pip install ray\n"
    assert tuple(capsys.readouterr()) == ("", message)


@pytest.mark.parametrize(
    ("make_checker", "says", "bug"),
    [
        (fake_scan.make_no_checker, "the weights are damaged", False),
        (fake_scan.make_bug, "KeyError: 'trunk'", True),
    ],
)
def test_what_concerns_every_file_comes_as_a_value(make_checker: Any, says: str, bug: bool) -> None:
    actor = _Actor(CheckSettings(), Limits(), make_checker)
    row = actor.check("good.mp4", "good.mp4", [])
    assert (row["records"], row["failed"]) == ([], says)
    assert ("make_bug" in row["bug"]) == bug


def test_a_file_that_is_given_up_is_known_to_a_later_run(tmp_path: Path) -> None:
    title, settings = tmp_path / "a.mp4", CheckSettings()
    title.write_bytes(b"x")
    lost = ray_engine._lost(ray_engine._Task(title, ()), settings)
    with Resumed(tmp_path / "r.jsonl", settings) as resumed:
        resumed.add(lost)
        assert resumed.plan([title], []) == ([], [])


def test_a_cluster_that_does_not_start_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a busy machine Ray gives up after 30 s, by an exception of no kind of its own."""

    def slow(**_: Any) -> None:
        raise Exception("The current node timed out during startup")

    ray = SimpleNamespace(init=slow, is_initialized=lambda: False)
    monkeypatch.setitem(sys.modules, "ray", ray)
    (tmp_path / "a.mp4").write_bytes(b"x")
    assert main([str(tmp_path), "--engine", "ray"]) == 2
    message = "avcheck: Ray cannot be reached: The current node timed out during startup\n"
    assert tuple(capsys.readouterr()) == ("", message)


@needs_ray
def test_a_crash_below_an_actor_costs_one_file(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    names = [
        "good.mp4",
        "segfault.mp4",
        "late.mp4",
        "raises.mp4",
        "bug.mp4",
        "killed.mp4",
        "good 2.mp4",
        "good 3.mp4",
        "good 4.mp4",
    ]
    for name in names:
        (workplace / name).write_bytes(b"x")
    settings = CheckSettings(tolerance=PRESETS["film"])
    try:
        with pytest.raises(UsageError, match="would wait for ever"):
            list(
                check_with_ray(
                    [Path("good.mp4")],
                    CheckSettings(device="cuda"),
                    Limits(),
                    make_checker=fake_scan.make_checker,
                )
            )
        with pytest.raises(UsageError, match=r"^the weights are damaged$"):
            list(
                check_with_ray(
                    [Path("good.mp4")] * 3,
                    CheckSettings(),
                    Limits(),
                    make_checker=fake_scan.make_no_checker,
                )
            )
        with pytest.raises(BugInWorker, match=r"^KeyError: 'trunk'$"):
            list(
                check_with_ray(
                    [Path("good.mp4")] * 3,
                    CheckSettings(),
                    Limits(),
                    make_checker=fake_scan.make_bug,
                )
            )
        files = [Path(name) for name in names]
        reports = {
            result[0].path: result[0]
            for result in check_with_ray(
                files, settings, Limits(2), make_checker=fake_scan.make_checker
            )
            if isinstance(result, tuple)
        }
    finally:
        ray.shutdown()
    assert sorted(reports) == sorted(names)
    assert {name for name, each in reports.items() if each.verdict == "error"} == {
        names[1],
        *names[3:6],
    }
    assert reports["segfault.mp4"].reason == (
        f"the worker was killed by signal 11 (SIGSEGV); {CRASH_REMEDY}"
    )
    assert reports["late.mp4"].verdict == "out_of_sync"
    assert {each.settings_sha256 for each in reports.values()} == {settings.sha256()}
    assert reports["good.mp4"].file_size == 1


@needs_ray
def test_a_machine_that_is_lost_costs_no_file(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two machines, one of which dies with a file in hand: every file is there once, the run ends,
    and what Ray says of it is not on stdout.
    """
    from ray.cluster_utils import Cluster

    names = [f"naps {number}.mp4" for number in range(12)]
    for name in names:
        (workplace / name).write_bytes(b"x")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        lost = cluster.add_node(num_cpus=1)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        reports: list[Report] = []
        for result in check_with_ray(
            [Path(name) for name in names],
            CheckSettings(),
            Limits(2),
            make_checker=fake_scan.make_checker,
        ):
            assert isinstance(result, tuple)
            reports += result
            if len(reports) == 3:
                cluster.remove_node(lost, allow_graceful=False)
    finally:
        cluster.shutdown()
    assert sorted(each.path for each in reports) == sorted(names)
    assert {each.verdict for each in reports} == {"in_sync"}
    assert capfd.readouterr().out == ""


@needs_ray
def test_a_file_that_takes_machines_along_is_given_up(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    for name in ("good.mp4", "actor.mp4", "good 2.mp4"):
        (workplace / name).write_bytes(b"x")
    monkeypatch.setattr(ray_engine, "_Actor", DyingActor)
    files = [workplace / name for name in ("good.mp4", "actor.mp4", "good 2.mp4")]
    reports = {
        Path(result[0].path).name: result[0]
        for result in check_with_ray(
            files, CheckSettings(), Limits(1), make_checker=fake_scan.make_checker
        )
        if isinstance(result, tuple)
    }
    assert reports["actor.mp4"].verdict == "error"
    assert reports["actor.mp4"].reason_code == "crashed"
    assert reports["actor.mp4"].reason == (
        "the machine or process that checked it was lost 3 times"
    )
    assert {reports[name].verdict for name in ("good.mp4", "good 2.mp4")} == {"in_sync"}


class DyingActor(_Actor):
    """Ends with the actor's process, as the loss of a machine does, for a file of that name."""

    def check(self, source: str, name: str, before: list[Any]) -> dict[str, Any]:
        if "actor" in name:
            os._exit(1)
        return super().check(source, name, before)
