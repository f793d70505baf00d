"""Small faces: measured as a check looks at them."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from avcheck.eval import measure as measure_eval
from avcheck.eval import small, tables, windows
from avcheck.eval.protocol import Scenery
from avcheck.eval.rows import Row
from avcheck.eval.windows import observe
from avcheck.scan.closeup import zoom
from avcheck.train.corpus import Clip
from tests.support.matcher import Array, OtherSound, bench, clip, material, of


class Wall(Scenery):
    """In place of pictures of other groups, the same noise for all of a kind."""

    def __init__(self) -> None:
        super().__init__([])

    def pictures(self, clip: Clip, kind: str, count: int, short_side: int) -> Array:
        rng = np.random.default_rng(len(kind))
        return np.broadcast_to(
            rng.integers(60, 160, (1, short_side, short_side), np.uint8),
            (count, short_side, short_side),
        )


@pytest.mark.slow
def test_small_faces_are_measured_as_a_check_looks_at_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of one place for the whole picture: what it is not sure of is looked at closer."""
    for others in ("_paper", "_offsets", "_foreign_offsets", "_verdicts", "_controls"):
        monkeypatch.setattr(measure_eval, others, lambda *_: ())
    monkeypatch.setattr(small, "CLOSER_SIDE", 64)
    # One place costs so little at first that it pays for no closer look.
    monkeypatch.setattr(small, "zoom", functools.partial(zoom, thorough=True))
    under = bench()
    frames, samples = material(11.0, own_frames=2)
    monkeypatch.setattr(windows, "decode", lambda *_: (frames, samples))  # of no file
    footage = observe(
        clip("one", own=2.0, trusted=True), frames, samples, under.model, under.levels
    )
    rows = list(measure_eval.measure(footage, under, OtherSound(), Wall()))
    mine = {row["case"]: row for row in of(rows, "small")}
    assert list(mine) == ["alone", "1/2", "1/4", "1/8", "side by side"]
    alone = mine["alone"]
    assert alone["estimate_frames"] == pytest.approx(alone["late_frames"] + 2, abs=1.0)
    assert abs(alone["late_frames"]) <= 25
    assert len({row["late_frames"] for row in mine.values()}) == 1
    for case in ("1/2", "1/4", "1/8", "side by side"):
        assert mine[case]["closer"] == (mine[case]["first_confidence"] < under.decide)
    assert any(row["closer"] for row in mine.values() if row["case"] != "alone")
    assert 0 <= mine["side by side"]["attention"] <= 1
    assert [row["case"] for row in of(rows, "small_foreign")] == ["1/4"]
    assert "Small faces" in "".join(tables.tables(rows))
    untrusted = observe(clip("two"), frames, samples, under.model, under.levels)
    assert not of(list(measure_eval.measure(untrusted, under, OtherSound(), Wall())), "small")
    assert not of(list(measure_eval.measure(footage, under, OtherSound())), "small")


def test_the_table_of_small_faces_counts_what_is_near_sure_and_wrong() -> None:
    def row(case: str, error: float, confidence: float, **more: object) -> Row:
        figures = {
            "late_frames": 5.0,
            "estimate_frames": 5.0 + error,
            "first_frames": 30.0,
            "confidence": confidence,
        }
        about = {
            "clip": f"{case} {error}",
            "group": str(error),
            "own_frames": 0.0,
            "first_confidence": 0.1,
        }
        return {"measure": "small", "case": case, **about, **figures, **more}

    rows = [
        row("1/4", 0.5, 0.95),
        row("1/4", 1.5, 0.8),
        row("1/4", 9.0, 0.97),
        row("1/4", 30.0, 0.1),
    ]
    rows += [row("side by side", 0.0, 0.99, attention=0.8)]
    text = tables.small_table(rows, [row("1/4", 0.0, 0.95), row("1/4", 1.0, 0.2)], decide=0.9)
    quarter, both = (
        [cell.strip().split(" ")[0] for cell in line.split("|")[1:-1]]
        for line in text.splitlines()[-2:]
    )
    assert quarter[:4] == ["1/4", "4", "4", "4"]
    assert quarter[4:] == ["0.00", "0.25", "0.00", "0.50", "0.25", "-", "0.50"]
    assert both[4:] == ["0.00", "1.00", "0.00", "1.00", "0.00", "1.00", "-"]
