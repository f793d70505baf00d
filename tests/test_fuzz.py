"""A few seconds of the fuzz of media files (`python -m tests.support.fuzz --minutes N` runs it for
longer).
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from avcheck.record.report import Report
from avcheck.settings import CheckSettings
from tests.support import fuzz, guard, hostile
from tests.support.mutations import mutant

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not guard.AVAILABLE, reason="watching what is opened needs Linux"),
]


def test_no_damage_hangs_crashes_or_reads_another_file(tmp_path: Path) -> None:
    run = fuzz.Fuzz(seed=1, root=tmp_path, deadline_s=60)
    fuzz.run(run, 0, full=0, command=8, size=70)  # without the network, which takes long to load
    assert run.faults == []
    assert (run.cases, run.full, run.commands) == (70, 0, 1)
    assert run.verdicts["error"] > 15 and run.verdicts["in_sync"] > 15


def test_it_starts_as_a_module() -> None:
    """Its workers do not import the module that is run, and so find nothing by its name."""
    line = [sys.executable, "-m", "tests.support.fuzz", "--seed", "1", "--case", "3"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=fuzz.ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 cases" in done.stdout
    assert done.stdout.endswith(" 0 faults\n")


def test_a_case_is_always_the_same_file(tmp_path: Path) -> None:
    seeds = [("mp4", bytes(range(256)) * 40), ("mkv", b"\x1a\x45\xdf\xa3" * 900)]
    made = [[mutant(seeds, seed, number) for number in range(50)] for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


class Faulty:
    """Does to each case what `fault` says."""

    def __init__(self, fault: str, settings: CheckSettings, threads: int) -> None:
        self._fault = fault

    def check_tracks(self, path: str | Path, *_: Any) -> tuple[Report, ...]:
        if self._fault == "opens":
            Path(path).with_name(hostile.TARGET).read_bytes()
        elif self._fault == "hangs":
            time.sleep(60)
        elif self._fault == "socket":
            guard.forbid_network()
            socket.socket()
        elif self._fault == "bug":
            raise ZeroDivisionError
        reason = "two\nlines" if self._fault == "lines" else None
        return (Report(str(path), "in_sync", reason=reason),)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("opens", "opened target.dat"),
        ("hangs", "no result within 1 s"),
        ("socket", "SIGSYS"),
        ("bug", "internal error: ZeroDivisionError"),
        ("lines", "not one clear line"),
    ],
)
def test_a_fault_would_be_found(tmp_path: Path, fault: str, words: str) -> None:
    run = fuzz.Fuzz(seed=1, root=tmp_path, deadline_s=1, seeds=[("mp4", bytes(range(256)))])
    run.check([1, 2], make=partial(Faulty, fault))
    assert len(run.faults) == 2
    for said in run.faults:
        assert words in said and "seed 1 case" in said
