"""The arithmetic of the tables: shares and their intervals, thresholds, calibration, risk."""

from __future__ import annotations

import numpy as np
import pytest

from avcheck.eval import stats


def test_share_is_the_mean_and_its_interval_comes_from_groups() -> None:
    rng = np.random.default_rng(1)
    hits = [1.0] * 30 + [0.0] * 10
    apart = stats.share(hits, [str(k) for k in range(40)])
    assert apart.value == 0.75
    assert apart.count == 40
    # Forty independent draws at 0.75: the interval of a binomial.
    assert apart.low == pytest.approx(0.61, abs=0.04)
    assert apart.high == pytest.approx(0.88, abs=0.04)
    # The same figures from four groups that agree within themselves say far less.
    together = stats.share(hits, [str(k // 10) for k in range(40)])
    assert together.value == 0.75
    assert together.high - together.low > 1.5 * (apart.high - apart.low)
    assert str(stats.share([1.0, 0.0], ["a", "a"])) == "0.50 [one group]"
    assert str(stats.share([], [])) == "-"
    # A group weighs by its size.
    assert stats.share([1.0, 0.0, 0.0, 0.0], ["a", "b", "b", "b"]).value == 0.25
    values = rng.normal(size=40)
    middle = stats.bootstrap(
        lambda chosen: float(np.median(values[chosen])), [str(k // 2) for k in range(40)]
    )
    assert middle.value == pytest.approx(np.median(values))
    assert middle.low < middle.value < middle.high


def test_thresholds() -> None:
    assert 1.0 < stats.best_threshold([0.0, 1.0, 2.0, 3.0], [False, False, True, True]) < 2.0
    assert stats.best_threshold([1.0, 1.0, 1.0], [True, True, False]) < 1.0
    # The threshold of the other group is applied: perfect within each group, wrong across them.
    scores = [0.0, 1.0, 10.0, 11.0]
    truth = [False, True, False, True]
    assert stats.leave_one_group_out(scores, truth, ["a", "a", "b", "b"]) == [1.0, 0.0, 0.0, 1.0]
    assert stats.leave_one_group_out(scores, truth, ["a"] * 4) == []
    shifted = [5.0, 6.0, 5.1, 6.1]
    assert stats.leave_one_group_out(shifted, truth, ["a", "a", "b", "b"]) == [1.0] * 4


def test_calibration_error() -> None:
    confidence = np.array([0.95] * 20 + [0.5] * 10)
    right = np.array([1.0] * 19 + [0.0] + [1.0] * 5 + [0.0] * 5)
    assert stats.calibration_error(confidence, right) == pytest.approx(0.0, abs=1e-9)
    assert stats.calibration_error(confidence, np.zeros(30)) == pytest.approx(
        (20 * 0.95 + 10 * 0.5) / 30
    )
    assert stats.confidence_bin(np.array([0.0, 0.19, 0.2, 0.95, 1.0])).tolist() == [0, 0, 1, 6, 6]


def test_risk_against_coverage() -> None:
    confidence = np.array([0.2, 0.9, 0.9, 0.5])
    wrong = np.array([1.0, 0.0, 1.0, 0.0])
    coverage, risk = stats.risk_curve(confidence, wrong)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    # The two surest come in no order, so the first of them counts as half wrong.
    assert risk.tolist() == pytest.approx([0.5, 0.5, 1 / 3, 0.5])
    assert stats.area_under_risk(confidence, wrong) == pytest.approx(
        np.mean([0.5, 0.5, 1 / 3, 0.5])
    )
    assert stats.area_under_risk(np.full(4, 0.7), wrong) == pytest.approx(0.5)
    assert stats.area_under_risk(-wrong, wrong) == pytest.approx(np.mean([0, 0, 1 / 3, 0.5]))


def test_a_table_is_aligned_markdown() -> None:
    text = stats.table("T", ("a", "long"), [(1, "x"), ("yy", 2)], "note")
    assert text == "### T\n\nnote\n\n| a  | long |\n|----|------|\n| 1  | x    |\n| yy | 2    |\n"
    assert "(nothing to measure)" in stats.table("T", ("a",), [])
