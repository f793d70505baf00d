"""How many processors a process may use, by what the kernel says in files; these are made here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from avcheck.machine.cores import cores, wait_patiently
from tests.support.clips import make_clip

Tree = Callable[[dict[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Makes the files of a machine with 16 processors, and returns its root."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)

    def make(files: dict[str, str]) -> Path:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(os.fsencode(text))
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 16),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 16),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "6400000 100000\n"}, 16),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "nonsense\n"}, 16),
        # A quota of a slice above holds for what is in it.
        (
            {
                "proc/self/cgroup": "0::/jobs/one\n",
                "sys/fs/cgroup/jobs/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/jobs/one/cpu.max": "max 100000\n",
            },
            3,
        ),
        # A name of any bytes
        (
            {
                "proc/self/cgroup": "0::/caf\udce9\n",
                "sys/fs/cgroup/caf\udce9/cpu.max": "300000 100000\n",
            },
            3,
        ),
        # Version 1, its controllers mounted together or apart.
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/ab\n3:memory:/docker/ab\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/ab\n",
                "sys/fs/cgroup/cpu/ab/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/ab/cpu.cfs_period_us": "100000\n",
            },
            16,
        ),
    ],
)
def test_the_quota_of_the_cgroup_counts(tree: Tree, files: dict[str, str], count: int) -> None:
    assert cores(tree(files)) == count


def test_a_process_tied_to_fewer_processors_has_fewer(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "800000 100000\n"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert cores(root) == 1


def test_threads_wait_patiently_unless_the_user_says_how_they_wait() -> None:
    patient = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
    for given in ({}, {"OMP_WAIT_POLICY": ""}, {"OMP_NUM_THREADS": "1"}):
        environment = dict(given)
        wait_patiently(environment)
        assert environment == given | patient
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"):
        environment = {name: "5"}
        wait_patiently(environment)
        assert environment == {name: "5"}


@pytest.mark.parametrize(
    ("given", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")]
)
def test_the_command_waits_patiently_and_the_library_does_not_interfere(
    given: dict[str, str], policy: str
) -> None:
    plain = {
        name: value
        for name, value in os.environ.items()
        if name not in ("OMP_WAIT_POLICY", "KMP_BLOCKTIME")
    }
    code = "import os, avcheck{0}; print(os.environ.get('OMP_WAIT_POLICY'))"
    command = code.format("; from avcheck.cli.app import main; main(['--version'])")
    for text, wanted in (
        (command, policy),
        (code.format(""), given.get("OMP_WAIT_POLICY", "None")),
    ):
        run = subprocess.run(
            [sys.executable, "-c", text],
            capture_output=True,
            text=True,
            check=True,
            env=plain | given,
        )
        assert run.stdout.splitlines()[-1] == wanted


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no such call on this system")
def test_the_av1_encoder_leaves_this_thread_its_priority(tmp_path: Path) -> None:
    """Left in real time, as it leaves root's, one process of tests would starve all others."""
    before = os.sched_getscheduler(0)
    make_clip(tmp_path / "a.webm", seconds=0.2, vcodec="libsvtav1", acodec="libopus")
    assert os.sched_getscheduler(0) == before
