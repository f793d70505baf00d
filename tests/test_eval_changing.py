"""Clips whose sound is made to jump or to drift, under a network whose answers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from avcheck.eval import changing, tables
from avcheck.eval.protocol import STRANGER
from avcheck.eval.rows import Row
from avcheck.eval.windows import observe
from avcheck.rates import SAMPLE_RATE
from tests.support.matcher import bench, cells, clip, material


def test_a_jump_leaves_what_lies_before_it_in_place() -> None:
    samples = np.arange(1, 2 * SAMPLE_RATE + 1, dtype=np.float32)
    late = changing.with_jump(samples, 1.0, 0.25)
    assert len(late) == len(samples)
    assert (late[:SAMPLE_RATE] == samples[:SAMPLE_RATE]).all()
    assert not late[SAMPLE_RATE : SAMPLE_RATE * 5 // 4].any()
    assert (late[SAMPLE_RATE * 5 // 4 :] == samples[SAMPLE_RATE : SAMPLE_RATE * 7 // 4]).all()
    early = changing.with_jump(samples, 1.0, -0.25)
    assert len(early) == len(samples)
    assert (early[:SAMPLE_RATE] == samples[:SAMPLE_RATE]).all()
    assert (early[SAMPLE_RATE : SAMPLE_RATE * 7 // 4] == samples[SAMPLE_RATE * 5 // 4 :]).all()
    assert not early[SAMPLE_RATE * 7 // 4 :].any()


@pytest.mark.parametrize("faster", [0.02, -0.02])
def test_a_sound_played_faster_is_early_by_more_and_more(faster: float) -> None:
    samples = np.arange(1, SAMPLE_RATE + 1, dtype=np.float32)
    played = changing.played_faster(samples, faster)
    assert len(played) == len(samples)
    assert played[5000] == pytest.approx(samples[5000] + 5000 * faster)
    assert (played[-1] == 0) == (faster > 0)  # what comes after the end


def test_the_rows_of_a_network_that_knows() -> None:
    """The clip's sound is late by two frames to begin with."""
    under = bench()
    frames, samples = material(31.0, own_frames=2)
    footage = observe(
        clip("one", own=2.0, trusted=True), frames, samples, under.model, under.levels
    )
    vars(footage)["larger"] = frames  # there is no file to decode them from
    rows = list(changing.measure_changes(footage, under))
    assert [row["case"] for row in rows] == ["jump"] * 4 + ["drift"] * 3
    assert all(row["ends_ms"][0] == -80 for row in rows)
    for row in rows[:4]:
        assert row["verdict"] == "out_of_sync"
        assert 80 <= abs(row["ends_ms"][1] + 80) <= 600
        assert 0.15 * 31 <= row["at_s"] <= 0.85 * 31
    for row in rows[4:]:
        assert row["ends_ms"][1] + 80 == pytest.approx(row["true_ms_per_min"] * 31 / 60)
        assert 0.002 * 60_000 <= abs(row["true_ms_per_min"]) <= 0.03 * 60_000
    assert len({row["ends_ms"][1] for row in rows}) == 7


@pytest.mark.parametrize(
    "known", [{"kind": "generic", "trusted": True}, {"own": 2.0, "trusted": False}]
)
def test_only_speech_with_a_trusted_offset_is_measured(known: dict[str, Any]) -> None:
    under = bench()
    frames, samples = material(19.0)
    footage = observe(clip("one", **known), frames, samples, under.model, under.levels)
    assert not list(changing.measure_changes(footage, under))


def row_of(case: str, end_ms: float, verdict: str, **more: Any) -> Row:
    about = {"clip": "a", "group": "g", "clip_s": 30.0, "at_s": 15.0, "ends_ms": [0.0, end_ms]}
    quiet: Row = {"jumps_s": [], "jump_intervals_s": [], "drift_ms_per_min": None}
    return {**about, **quiet, "case": case, "verdict": verdict, **more}


def test_the_table_counts_what_is_surely_outside_and_what_is_reported_right() -> None:
    rows = [
        row_of("jump", -200.0, "out_of_sync", jump_intervals_s=[[2.0, 4.0], [14.0, 15.0]]),
        row_of("jump", 200.0, "out_of_sync", jump_intervals_s=[[16.0, 17.0]]),
        row_of("jump", 200.0, "in_sync"),
        row_of("jump", 200.0, "undecidable"),
        row_of("jump", -75.0, "in_sync"),  # late by 75 ms, 60 are allowed: left out
        row_of("jump", 200.0, "out_of_sync", at_s=25.0, jump_intervals_s=[[24.0, 26.0]]),
        row_of("drift", 200.0, "out_of_sync", drift_ms_per_min=371.0, true_ms_per_min=400.0),
        row_of("drift", 200.0, "out_of_sync", drift_ms_per_min=350.0, true_ms_per_min=400.0),
        row_of("drift", 200.0, "out_of_sync", drift_ms_per_min=-400.0, true_ms_per_min=400.0),
        row_of("drift", -200.0, "out_of_sync", drift_ms_per_min=-400.0, true_ms_per_min=-400.0),
    ]
    recorded = [
        row_of("as recorded", 0.0, "in_sync"),
        row_of("as recorded", 0.0, "in_sync", jumps_s=[9.0]),
        row_of("as recorded", 0.0, "in_sync", drift_ms_per_min=20.0),
        row_of("as recorded", 0.0, "in_sync", jumps_s=[9.0], clip="shorter"),
        row_of(STRANGER, 0.0, "undecidable", jumps_s=[9.0]),
    ]
    text = changing.changes_table(rows, recorded)
    lines = [[line[1], *(cell.split()[0] for cell in line[4:])] for line in cells(text)]
    assert lines == [
        ["4", "0.50", "0.25", "0.25", "0.25"],
        ["1", "1.00", "0.00", "0.00", "1.00"],
        ["4", "1.00", "0.00", "0.00", "0.50"],
    ]
    assert "2 of these 3 clips are said to change" in " ".join(text.split())
    about = {"measure": "changing", "kind": "speech"}
    coverage: Row = {"added": 1, "own_frames": None, "trusted": False, "face_share": None}
    coverage |= {"measure": "coverage", "kind": "speech", "offset_ms": None}
    both = [{**about, **rows[0]}, {**recorded[0], **coverage}]
    assert [each.split("\n")[0] for each in tables.tables(both)][1:] == [
        "### Files whose offset changes"
    ]
