"""Titles joined of measured segments."""

from __future__ import annotations

import numpy as np
import pytest

from avcheck.eval import joined, tables
from avcheck.eval.protocol import STRANGER
from avcheck.eval.rows import Row
from avcheck.scan.shifts import SHIFTS

NONE = -4.0


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined, "_DRAWN", 20)


def segment(clip: str, truth: float | None, height: float = 9.0) -> Row:
    """What a segment says whose sound is late by `truth` frames; None: of a stranger's sound."""
    logits = np.full(len(SHIFTS), NONE)
    if truth is not None:
        logits = logits + height * np.exp(-0.5 * (SHIFTS - truth) ** 2)
    return {
        "measure": "segment",
        "clip": clip,
        "case": STRANGER if truth is None else "as recorded",
        "truth_frames": truth or 0.0,
        "logits": [None, *logits[1:]],  # one shift was not compared
    }


def lines(text: str) -> dict[tuple[str, str], tuple[float, float]]:
    """(reported, wrong) by length and share."""
    rows = [line.strip("| ").split("|") for line in text.splitlines() if " min" in line]
    return {(row[0].strip(), row[1].strip()): (float(row[3]), float(row[4])) for row in rows}


def test_what_speaks_gets_an_offset_and_what_does_not_gets_none() -> None:
    rows = [segment("a", 3.0), segment("b", -5.0), segment("a", None), segment("b", None)]
    table = lines(joined.joined_table(rows, 0.9))
    assert set(table) == {
        (length, share)
        for length in ("1 min", "3 min", "10 min")
        for share in ("0", "0.1", "0.25", "0.5")
    }
    assert {share: table["10 min", share] for share in ("0", "0.1", "0.5")} == {
        "0": (0, 0),
        "0.1": (1, 0),
        "0.5": (1, 0),
    }


def test_an_offset_that_is_not_the_clip_s_is_wrong() -> None:
    astray = {**segment("a", 3.0), "truth_frames": 13.0}
    table = lines(joined.joined_table([astray, segment("b", None)], 0.9))
    assert table["3 min", "0.5"] == (1, 1)


def test_an_offset_of_strangers_alone_is_wrong() -> None:
    """If every segment agrees by mistake."""
    agree = {**segment("b", 0.0, 12.0), "case": STRANGER}
    reported, wrong = lines(joined.joined_table([segment("a", 0.0), agree], 0.9))["1 min", "0"]
    assert reported == wrong


@pytest.mark.parametrize("frames", [-60, -3, 0, 7, 60])
def test_a_segment_is_moved_as_a_whole(frames: int) -> None:
    row = segment("a", 3.0)
    moved = joined._moved(row, frames)
    assert len(moved) == len(SHIFTS)
    for shift, value in zip(SHIFTS, moved, strict=True):
        before = shift - frames - SHIFTS[0]
        known = 0 <= before < len(SHIFTS) and row["logits"][before] is not None
        assert value == (row["logits"][before] if known else -np.inf)


def test_the_table_comes_with_coverage() -> None:
    rows = [segment("a", 3.0), segment("a", None)]
    about = {"clip": "a", "group": "g", "added": 1, "face_share": None, "trusted": False}
    about |= {"kind": "speech", "own_frames": None, "clip_s": 10.0}
    cover = {**about, "measure": "coverage", "case": "as recorded", "offset_ms": None}
    texts = list(tables.tables([{**cover, "verdict": "undecidable"}, *rows]))
    assert [text.split("\n")[0] for text in texts][1:] == ["### Titles joined of segments"]
