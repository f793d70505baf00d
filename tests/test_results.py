"""The record of a file: its signs, its words and its fields."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from avcheck.record.report import (
    DEFAULT_PRESET,
    PRESETS,
    BlockResult,
    Degraded,
    Report,
    Segment,
    Stretch,
    Tolerance,
    describe_offset,
)

# DESIGN.md's record. More fields may follow, these keep their names and the first ones their order.
DOCUMENTED = [
    "schema_version", "avcheck_version", "model_sha256", "path", "verdict", "reason",
    "offset_ms", "offset_text", "confidence", "tolerance", "container_offset_ms",
    "drift_ms_per_min", "duration_s", "audio_track", "segments", "blocks", "degraded",
]  # fmt: skip


@pytest.mark.parametrize(
    ("offset_ms", "text"),
    [
        (120.0, "sound early by 120 ms (3.0 frames)"),
        (-120.0, "sound late by 120 ms (3.0 frames)"),
        (-0.6, "sound late by 1 ms (0.0 frames)"),
        (0.0, "sound and picture together (0 ms)"),
        (-0.0, "sound and picture together (0 ms)"),
        (0.4, "sound and picture together (0 ms)"),
        (1999.6, "sound early by 2000 ms (50.0 frames)"),
    ],
)
def test_positive_is_early_and_it_is_said_in_words(offset_ms: float, text: str) -> None:
    assert describe_offset(offset_ms) == text
    assert Report("a.mp4", "in_sync", offset_ms=offset_ms).offset_text == text


def test_an_unknown_offset_has_no_words() -> None:
    assert Report("a.mp4", "undecidable").offset_text is None


def test_the_record_has_the_documented_fields() -> None:
    record = Report("a.mp4", "in_sync").to_record()
    assert [key for key in record if key in DOCUMENTED] == DOCUMENTED
    assert set(record) == {*DOCUMENTED, *(field.name for field in dataclasses.fields(Report))}
    assert set(record["tolerance"]) == {"early_ms", "late_ms", "preset"}


def test_the_record_is_plain_json() -> None:
    report = Report(
        "a.mp4",
        "out_of_sync",
        offset_ms=-120.0,
        confidence=0.97,
        segments=(Segment(0.0, 10.0, -120.0, 0.9), Segment(10.0, 20.0, None, 0.1)),
        blocks=(BlockResult(0.0, 1.0, None),),
        degraded=Degraded(corrupt_frames=3, notes=("two edits",)),
    )
    record = json.loads(json.dumps(report.to_record()))
    assert record["offset_text"] == "sound late by 120 ms (3.0 frames)"
    assert record["segments"][1] == {
        "start_s": 10.0,
        "end_s": 20.0,
        "offset_ms": None,
        "confidence": 0.1,
    }
    assert record["blocks"] == [{"start_s": 0.0, "attention": 1.0, "offset_ms": None}]
    assert record["degraded"]["notes"] == ["two edits"]
    assert record["schema_version"] == 1


def test_the_presets_are_the_documented_ones() -> None:
    assert {name: (limit.early_ms, limit.late_ms) for name, limit in PRESETS.items()} == {
        "ebu-r37": (40, 60),
        "itu-detect": (45, 125),
        "itu-accept": (90, 185),
        "atsc": (15, 45),
        "film": (22, 22),
    }
    assert all(limit.preset == name for name, limit in PRESETS.items())
    assert DEFAULT_PRESET == "ebu-r37"


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_a_tolerance_is_a_finite_size(wrong: float) -> None:
    with pytest.raises(ValueError, match="early_ms"):
        Tolerance(wrong, 10)
    with pytest.raises(ValueError, match="late_ms"):
        Tolerance(10, wrong)


def test_results_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Report("a.mp4", "in_sync").verdict = "error"  # type: ignore[misc]


def test_degraded_is_true_when_something_is_worth_saying() -> None:
    assert not Degraded()
    assert not Degraded(missing_audio_s=0.4)
    assert Degraded(missing_audio_s=0.6)
    assert Degraded(corrupt_frames=1)
    assert Degraded(truncated=True)
    assert Degraded(unseen_s=((3.0, 9.0),))


@pytest.mark.parametrize("wrong", [(9.0, 3.0), (0.0, math.inf), (math.nan, 1.0)])
def test_what_was_not_looked_at_is_a_stretch_of_time(wrong: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no stretch of time"):
        Degraded(unseen_s=((0.0, 1.0), wrong))


def test_a_record_gives_back_its_stretches() -> None:
    stretches = (Stretch(0.0, 500.0, 4.0, 4.0), Stretch(600, 1200.0, -400.0, -410.0))
    report = Report(
        "a.mp4",
        "out_of_sync",
        offset_ms=-410.0,
        jump_intervals_s=((500.0, 600.0),),
        stretches=stretches,
    )
    record = json.loads(json.dumps(report.to_record()))
    assert record["stretches"][1] == {
        "start_s": 600,
        "end_s": 1200.0,
        "start_offset_ms": -400.0,
        "end_offset_ms": -410.0,
    }
    assert record["jump_intervals_s"] == [[500.0, 600.0]]
    assert Report.from_record(record) == report
    for name, wrong in (
        ("stretches", [{"start_s": 0}]),
        ("stretches", [3]),
        ("jump_intervals_s", [[1, 2, 3]]),
    ):
        with pytest.raises(ValueError, match="not a record"):
            Report.from_record({**record, name: wrong})


def test_a_stretch_says_the_offset_at_every_moment() -> None:
    stretch = Stretch(10.0, 20.0, -100.0, 100.0)
    assert [stretch.offset_at(at_s) for at_s in (0.0, 10.0, 12.5, 20.0, 99.0)] == [
        -100.0,
        -100.0,
        -50.0,
        100.0,
        100.0,
    ]
    assert Stretch(5.0, 5.0, 3.0, 3.0).offset_at(5.0) == 3.0


def test_a_record_gives_back_what_was_not_looked_at() -> None:
    report = Report(
        "a.mp4",
        "undecidable",
        reason="x",
        reason_code="silent",
        degraded=Degraded(unseen_s=((3.0, 9.5), (20, 21.0))),
    )
    record = json.loads(json.dumps(report.to_record()))
    assert record["degraded"]["unseen_s"] == [[3.0, 9.5], [20, 21.0]]
    assert record["reason_code"] == "silent"
    assert Report.from_record(record) == report
    for wrong in ([[3.0]], [[1.0, 2.0, 3.0]], [3.0, 9.5], [["3", "9"]], "3-9", [[9.0, 3.0]]):
        with pytest.raises(ValueError, match=r"unseen_s|no stretch of time"):
            Report.from_record({**record, "degraded": {**record["degraded"], "unseen_s": wrong}})
