"""Rows, tables and pictures of networks whose answers are known: one that matches brightness with
loudness, and a constant one.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from avcheck.errors import UsageError
from avcheck.eval import confidence_tables, plots, protocol, stats, tables
from avcheck.eval.rows import RISK_FROM, RISK_S, Row, errors_frames
from avcheck.network.model_config import ATTENTION_KINDS
from tests.support.matcher import bench, cells, of, rows_under

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def oracle_rows() -> list[Row]:
    """Rows of three speech clips (two with an own offset that is known) and one generic clip, under
    the matching network.
    """
    return rows_under(bench())


@pytest.fixture(scope="module")
def constant_rows() -> list[Row]:
    """Of two speech clips and a generic one: what is constant is so for all."""
    return rows_under(bench(gain=0.0), ("two", "three", "four"))


def test_a_network_that_knows_is_right_everywhere(oracle_rows: list[Row]) -> None:
    paper = of(oracle_rows, "paper")
    assert len(paper) == 2 * 4 * (5 + 2 + 2 + 2)
    assert {row["attention"] for row in paper} == {*ATTENTION_KINDS, protocol.AS_A_CHECK}
    known = [row for row in paper if row["trusted"] or row["kind"] == "generic"]
    assert all((row["logit"] > 0) == row["in_sync"] for row in known)
    # The clip whose own offset is not trusted is not corrected, so it is rightly seen as out of
    # sync.
    assert all(row["logit"] < 0 for row in paper if row["clip"] == "three")
    assert len(of(oracle_rows, "paper_left_out")) == 1  # the clip of 5 s
    pairs = [row for row in of(oracle_rows, "pairwise") if row["clip"] != "three"]
    assert {abs(row["late_ms"]) for row in pairs} == set(protocol.PAIR_MS)
    assert all(row["logit_true"] > row["logit"] for row in pairs)
    within = of(oracle_rows, "offset_in_film")
    assert {row["seconds"] for row in within} == {4.2, 5.0, 10.0}
    for row in [*of(oracle_rows, "offset"), *within]:
        true = {"one": 2, "two": -1, "three": 8}.get(row["clip"], 0) + row["late_frames"]
        assert row["estimate_frames"] == pytest.approx(true, abs=1.0)
        assert row["confidence"] > 0.5


def test_windows_do_not_overlap_and_are_counted(oracle_rows: list[Row]) -> None:
    for seconds, expected in ((4.2, 5), (5.0, 4), (10.0, 2), (20.0, 1)):
        starts = [row["start_s"] for row in of(oracle_rows, "offset", clip="one", seconds=seconds)]
        assert len(starts) == expected
        assert all(b - a == pytest.approx(seconds) for a, b in pairwise(starts))
        assert starts[0] == pytest.approx((21.0 - expected * seconds) / 2, abs=0.04)
    assert all(abs(row["late_frames"]) <= 25 for row in of(oracle_rows, "offset"))


def test_verdicts_of_a_network_that_knows(oracle_rows: list[Row]) -> None:
    corrected = of(oracle_rows, "verdict", case="corrected")
    assert {row["clip"] for row in corrected} == {"one", "two"}
    assert all(row["verdict"] == "in_sync" for row in corrected)
    recorded = {row["clip"]: row for row in of(oracle_rows, "verdict", case="as recorded")}
    assert len(recorded) == 5
    assert recorded["one"]["offset_ms"] == pytest.approx(-80, abs=8)
    assert recorded["one"]["verdict"] == "out_of_sync"  # late by 80 ms, 60 are allowed
    # Early by 40 ms, 40 are allowed, 10 the measuring error
    assert recorded["two"]["verdict"] == "in_sync"
    assert recorded["three"]["verdict"] == "out_of_sync"
    shifted = of(oracle_rows, "verdict", case="shifted")
    assert len(shifted) == 3 * 8
    for row in shifted:
        if row["trusted"]:
            assert row["verdict"] == "out_of_sync"
            assert row["offset_ms"] == pytest.approx(-row["late_ms"], abs=25)  # late is negative
    controls = of(oracle_rows, "control")
    assert len(controls) == 3 * 6
    assert not [row for row in controls if row["verdict"] == "in_sync"]
    assert all(
        row["verdict"] == "undecidable"
        for row in controls
        if row["case"] in ("black picture", "mute", "frozen picture")
    )


def test_a_constant_network_is_at_chance(constant_rows: list[Row]) -> None:
    paper = of(constant_rows, "paper")
    assert {row["attention"] for row in paper} == {*ATTENTION_KINDS, protocol.AS_A_CHECK}
    assert np.mean([(row["logit"] > 0) == row["in_sync"] for row in paper]) == 0.5
    assert all(row["logit_true"] == row["logit"] for row in of(constant_rows, "pairwise"))
    text = tables.pairwise_table(of(constant_rows, "pairwise"))
    assert "0.50 [0.50, 0.50]" in text
    assert all(row["verdict"] == "undecidable" for row in of(constant_rows, "verdict"))
    errors = np.abs(errors_frames(of(constant_rows, "offset"), corrected=False))
    assert np.mean(errors <= 1) < 0.25
    agreement = tables.agreement_table(of(constant_rows, "offset"))
    assert "1.00 [" not in agreement


def test_every_table_says_what_the_rows_say(oracle_rows: list[Row]) -> None:
    text = "\n".join(tables.tables(oracle_rows))
    for title in (
        "Paper protocol",
        "Pairwise",
        "Offset",
        "Offset, within a film",
        "Agreement",
        "Verdict on untouched",
        "Verdict on shifted",
        "Controls",
    ):
        assert f"### {title}" in text
    assert "Reliability of the confidence: speech (trusted, corrected)" in text
    paper = cells(tables.paper_table(of(oracle_rows, "paper"), 1))
    assert [row[:6] for row in paper[:3]] == [
        ["speech", "trusted", kind, "7", "2", "2"] for kind in ATTENTION_KINDS
    ]
    assert paper[3][:6] == ["speech", "trusted", protocol.AS_A_CHECK, "7", "2", "2"]
    assert all(row[6:] == ["1.00 [1.00, 1.00]"] * 2 for row in paper[:4])
    assert paper[4][:6] == ["speech", "all", "uniform", "9", "3", "3"]
    # Two windows of 18 decisions are of the clip that is not corrected
    assert paper[4][6].startswith("0.89 ")
    pairs = {
        (row[0], row[1], row[2]): row
        for row in cells(tables.pairwise_table(of(oracle_rows, "pairwise")))
    }
    assert pairs["speech", "trusted", "40 ms"][4:] == ["2", "2", "1.00 [1.00, 1.00]"]
    near = [row for row in of(oracle_rows, "pairwise", trusted=True) if abs(row["late_ms"]) == 40]
    assert pairs["speech", "trusted", "40 ms"][3] == str(len(near))
    offsets = {
        (row[0], row[1], row[2]): row
        for row in cells(tables.offset_table(of(oracle_rows, "offset")))
    }
    assert offsets["speech", "trusted, corrected", "10 s"][3:8] == [
        "3",
        "2",
        "2",
        "1.00 [1.00, 1.00]",
        "1.00 [1.00, 1.00]",
    ]
    assert offsets["speech", "any estimate, corrected", "10 s"][3:7] == [
        "4",
        "3",
        "3",
        "1.00 [1.00, 1.00]",
    ]
    assert offsets["speech", "all, own offset taken as 0", "10 s"][7].startswith("0.75 ")
    assert offsets["generic", "all, own offset taken as 0", "10 s"][6] == "1.00 [one group]"
    untouched = {
        (row[0], row[1]): row for row in cells(tables.untouched_table(of(oracle_rows, "verdict")))
    }
    assert untouched["speech", "as recorded, own offset trusted and inside the tolerance"][2:5] == [
        "1",
        "1",
        "0.00 [one group]",
    ]
    assert (
        untouched["speech", "as recorded, own offset trusted and outside"][4] == "1.00 [one group]"
    )
    assert untouched["speech", "as recorded, all"][4].startswith("0.67 ")
    assert untouched["both", "as recorded, all"][4].startswith("0.40 ")
    unknown = untouched["both", "as recorded, all but those known to be outside"]
    assert unknown[2] == "4"
    assert unknown[4].startswith("0.25 ")  # the clip whose own offset is large but not trusted
    shifted = {
        (row[1], row[2]): row for row in cells(tables.shifted_table(of(oracle_rows, "verdict")))
    }
    assert shifted["trusted", "200 ms both"][3:7] == ["4", "2", "2", "1.00 [1.00, 1.00]"]
    assert shifted["trusted", "200 ms early"][9] == "1.00 [1.00, 1.00]"


def test_a_stranger_s_sound_is_less_sure_than_a_window_s_own(oracle_rows: list[Row]) -> None:
    foreign = of(oracle_rows, "foreign")
    assert {row["kind"] for row in foreign} == {"speech"}
    for seconds in RISK_S:
        own = [
            row["confidence"] for row in of(oracle_rows, "offset", kind="speech", seconds=seconds)
        ]
        strangers = [row["confidence"] for row in foreign if row["seconds"] == seconds]
        assert len(strangers) == len(own)
        assert max(strangers) < min(own)


def test_the_risk_table_counts_what_is_kept(oracle_rows: list[Row]) -> None:
    rows = [dict(row) for row in of(oracle_rows, "offset", clip="one", seconds=4.2)] * 2
    rows = [
        {**row, "confidence": sure}
        for row, sure in zip(rows, np.linspace(0.1, 1.0, 10), strict=True)
    ]
    rows[0]["estimate_frames"] += 2.5  # the least sure one is wrong, and a sure one
    rows[8]["estimate_frames"] -= 9.0
    foreign = [
        {**row, "confidence": sure}
        for row, sure in zip(rows[:4], (0.1, 0.2, 0.6, 0.97), strict=True)
    ]
    trusted, known = confidence_tables.risk_tables(rows, foreign)
    assert "speech (trusted, corrected)" in trusted
    assert "speech (any estimate, corrected)" in known
    by_least = {row[1]: row for row in cells(trusted)}
    assert list(by_least) == [f"{least:g}" for least in RISK_FROM]
    assert by_least["0"][2:] == ["10", "1.00 [one group]", "0.20 [one group]", "1.00 [one group]"]
    assert by_least["0.5"][2:] == ["6", "0.60 [one group]", "0.17 [one group]", "0.50 [one group]"]
    assert by_least["0.95"][2:] == ["1", "0.10 [one group]", "0.00 [one group]", "0.25 [one group]"]
    assert "no order 0.200" in trusted
    without = cells(next(iter(confidence_tables.risk_tables(rows, []))))
    assert {row[5] for row in without} == {"-"}


def test_agreement_takes_pairs_of_neighbours_and_undoes_each_move() -> None:
    def piece(name: str, start_s: float, late: float, estimate: float) -> Row:
        about = {"clip": name, "group": name, "kind": "speech", "seconds": 10.0, "start_s": start_s}
        return {"measure": "offset", **about, "late_frames": late, "estimate_frames": estimate}

    rows = [
        piece("a", 10, 5, 7.5),
        piece("a", 0, -20, -17),
        piece("a", 20, 0, 9),
        piece("b", 0, 3, 3),
        piece("b", 10, -3, 3),
    ]
    assert cells(tables.agreement_table(rows)) == [
        ["speech", "10 s", "2", "2", "2", "0.50 [0.00, 1.00]"]
    ]


def test_pictures_show_the_figures_of_the_tables(oracle_rows: list[Row]) -> None:
    offsets, foreign = of(oracle_rows, "offset"), of(oracle_rows, "foreign")
    figure = plots.risk_coverage(offsets, foreign)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == [
        "speech, trusted, corrected",
        "speech, any estimate, corrected",
    ]
    lines = {str(line.get_label()): line.get_xydata() for line in figure.axes[1].lines}
    drawn = next(data for name, data in lines.items() if name.startswith("10 s, wrong"))
    mine = of(offsets, "offset", kind="speech", seconds=10.0)
    wrong = (np.abs(errors_frames(mine, corrected=True)) > 2).astype(float)
    expected = stats.risk_curve(np.array([row["confidence"] for row in mine]), wrong)
    assert np.array_equal(np.asarray(drawn), np.column_stack(expected))
    figure = plots.detection(of(oracle_rows, "verdict"))
    assert figure is not None
    at = figure.axes[0]
    names = [text.get_text() for text in at.get_xticklabels()]
    assert names == ["-500", "-200", "-120", "-80", "0", "+80", "+120", "+200", "+500"]
    heights = dict(
        zip(
            plots._SHADES,
            ([bar.get_height() for bar in bars] for bars in at.containers),
            strict=True,
        )
    )
    assert heights["in_sync"] == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert heights["out_of_sync"] == [1, 1, 1, 1, 0, 1, 1, 1, 1]


def test_pictures_are_written_where_there_is_something_to_draw(
    oracle_rows: list[Row], tmp_path: Path
) -> None:
    written = plots.draw(oracle_rows, tmp_path / "new" / "folder")
    assert [path.stem for path in written] == [
        "reliability",
        "risk-coverage",
        "offset-error",
        "detection",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    generic = [row for row in oracle_rows if row["kind"] == "generic"]
    assert plots.draw(generic, tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write plots there"):
        plots.draw(oracle_rows, tmp_path / "file")
