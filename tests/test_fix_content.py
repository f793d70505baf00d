"""`avcheck fix` whole, with the network before and after: what a talking head says comes when its
mouth says it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avcheck.cli.app import main
from tests.support.films import Early, talking

pytestmark = pytest.mark.slow

WITHIN_MS = 15.0  # of zero, measured again
SIZE = (256, 192)  # px, large enough for the network


def fixed(source: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    target = source.with_name(f"fixed{source.suffix}")
    code = main(["fix", "--json", str(source), str(target)])
    record = json.loads(capsys.readouterr().out)
    assert (code, record["status"]) == (0, "fixed"), record["reason"]
    assert target.is_file()
    return record


@pytest.mark.parametrize(
    ("name", "offset_ms"),
    [
        ("film.mp4", -180),
        ("film.mov", 1500),
        ("film.mkv", 250),
        ("film.ts", -700),
        ("film.avi", 120),
        ("film.mxf", -400),
    ],
)
def test_an_offset_is_taken_out(
    name: str, offset_ms: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = talking(
        tmp_path / name, 8.0, lambda times_s: np.full(len(times_s), offset_ms / 1000), size=SIZE
    )
    record = fixed(source, capsys)
    assert record["before"]["offset_ms"] == pytest.approx(offset_ms, abs=40)
    assert abs(record["after"]["offset_ms"]) <= WITHIN_MS
    assert {each["action"] for each in record["streams"]} <= {"copied", "moved", "rewritten"}
    if name == "film.mp4":  # what is in sync now is left as it is
        again = tmp_path / "again.mp4"
        assert main(["fix", "--json", str(tmp_path / "fixed.mp4"), str(again)]) == 0
        assert json.loads(capsys.readouterr().out)["status"] == "in_sync"
        assert not again.exists()


@pytest.mark.parametrize(
    ("name", "seconds", "early", "action"),
    [
        ("film.mp4", 40.0, lambda times_s: 0.1 + 0.005 * times_s, "encoded"),
        # A fast drift is at first known to some percent only
        ("film.mp4", 40.0, lambda times_s: times_s / 24, "encoded"),
        ("film.mxf", 40.0, lambda times_s: np.where(times_s < 20, -0.25, 0.15), "rewritten"),
    ],
    ids=["drift", "25 to 24", "jump"],
)
def test_drifts_and_jumps_are_taken_out(
    name: str,
    seconds: float,
    early: Early,
    action: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In other containers, with what is measured given: `test_fix.py`."""
    record = fixed(talking(tmp_path / name, seconds, early, size=SIZE), capsys)
    assert [each["action"] for each in record["streams"]] == ["copied", action]
    assert abs(record["after"]["offset_ms"]) <= WITHIN_MS
    assert record["after"]["drift_ms_per_min"] is None
    assert record["after"]["jumps_s"] == []
