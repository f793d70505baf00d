"""Score curves to chances: they follow the scores and the temperature, and several segments are
combined into one estimate.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from avcheck.record.report import FRAME_MS
from avcheck.verdict.posterior import (
    UNMATCHED_ODDS,
    Calibration,
    above_median,
    combine,
    estimate,
    evidence,
    log_likelihood,
    match_ratio,
    posterior,
)
from tests.support.curves import PLAIN, SEEDS, SHIFTS, Array, bump, curve, verdict

# Chances


@pytest.mark.parametrize("seed", SEEDS)
def test_posterior_sums_to_one_whatever_the_scores(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 10 ** rng.uniform(-1, 4), len(SHIFTS))
    scores[rng.random(len(SHIFTS)) < 0.3] = -np.inf
    calibration = Calibration(
        temperature=float(rng.uniform(0.3, 6)), none=float(rng.uniform(-6, 14))
    )
    chances, none = posterior(scores, calibration)
    assert chances.sum() + none == pytest.approx(1.0)
    assert (chances >= 0).all()
    assert none >= 0
    assert (chances[~np.isfinite(scores)] == 0).all()


def test_posterior_follows_score_and_temperature() -> None:
    chances, none = posterior(np.array([0.0, 2.0, -np.inf]), Calibration(temperature=2.0, none=1.0))
    expected = np.array([1.0, math.e, 0.0, math.e]) / (1 + 2 * math.e)
    assert [*chances, none] == pytest.approx(expected)


@pytest.mark.parametrize("count", [1, 2])
def test_one_segment_makes_a_shift_ten_thousand_times_likelier_at_most(count: int) -> None:
    overwhelming = [bump(3.0, height=80.0)] * count
    assert log_likelihood(overwhelming, PLAIN).max() == pytest.approx(
        count * math.log(1e4), abs=0.5
    )


def test_the_scatter_of_normal_noise_is_its_deviation() -> None:
    noise = np.random.default_rng(1).normal(2.0, 3.0, 20_000)
    middle, above, scatter = above_median(np.append(noise, -np.inf))
    assert (middle, scatter) == pytest.approx((2.0, 3.0), abs=0.1)
    assert above[:-1] == pytest.approx(noise - middle)


@pytest.mark.parametrize("empty", [-np.inf, np.nan])
def test_scores_that_are_none_leave_only_no_match(empty: float) -> None:
    chances, none = posterior(np.full(5, empty), PLAIN)
    assert none == 1.0
    assert not chances.any()


def test_a_score_that_is_not_a_number_counts_as_not_compared() -> None:
    scores = bump(3.0)
    scores[10] = np.nan
    chances, none = posterior(scores, PLAIN)
    assert chances[10] == 0
    assert chances.sum() + none == pytest.approx(1.0)
    assert estimate(combine([scores], PLAIN), SHIFTS, PLAIN).frames == pytest.approx(3.0, abs=0.1)


def test_match_ratio_weighs_a_match_at_a_shift_against_none() -> None:
    calibration = Calibration(temperature=2.0, none=3.0)
    scores = np.array([[6.0, 8.0, -np.inf, np.nan]])
    # By `posterior` the match at a shift has e^(score / temperature - none) times the chance of no
    # match; before anything is seen it has 1 / (UNMATCHED_ODDS * 4).
    chances, none = posterior(scores[0], calibration)
    log_ratios = match_ratio(scores, calibration)
    assert log_ratios.shape == scores.shape
    assert np.exp(log_ratios[0, :2]) == pytest.approx(chances[:2] / none * UNMATCHED_ODDS * 4)
    assert log_ratios[0, 2:].tolist() == [0, 0]


@pytest.mark.parametrize("seed", SEEDS)
def test_combine_is_a_distribution_and_knows_no_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = [rng.normal(0, 3, len(SHIFTS)) for _ in range(4)]
    chances = combine(scores, PLAIN)
    assert chances.sum() == pytest.approx(1.0)
    assert combine(scores[::-1], PLAIN) == pytest.approx(chances)


def test_several_weak_segments_beat_one() -> None:
    def weak(seed: int) -> Array:
        return bump(4.0, height=5.0) + np.random.default_rng(seed).normal(0, 0.5, len(SHIFTS))

    one = estimate(combine([weak(0)], PLAIN), SHIFTS, PLAIN)
    many = estimate(combine([weak(k) for k in range(6)], PLAIN), SHIFTS, PLAIN)
    assert one.confidence < 0.9 < many.confidence
    assert many.frames == pytest.approx(4.0, abs=0.3)


def test_a_segment_that_matches_nowhere_moves_next_to_nothing() -> None:
    clear = bump(-7.0)
    nothing = np.full(len(SHIFTS), -20.0)
    alone = combine([clear], PLAIN)
    assert combine([clear, nothing, np.full(len(SHIFTS), -np.inf)], PLAIN) == pytest.approx(
        alone, abs=0.05
    )


def test_one_wrong_segment_does_not_outvote_three() -> None:
    estimated = estimate(
        combine([bump(2.0), bump(2.0), bump(30.0), bump(2.0)], PLAIN), SHIFTS, PLAIN
    )
    assert estimated.frames == pytest.approx(2.0, abs=0.1)
    assert estimated.confidence > 0.99


def test_what_could_not_be_compared_is_not_held_against_a_shift() -> None:
    """One segment sees shift 40 clearly, the other, at the file's edge, cannot compare it at
    all.
    """
    blind = np.full(len(SHIFTS), -4.0)
    blind[SHIFTS > 20] = -np.inf
    estimated = estimate(combine([bump(40.0), blind], PLAIN), SHIFTS, PLAIN)
    assert estimated.frames == pytest.approx(40.0, abs=0.1)
    assert estimated.confidence > 0.9


@pytest.mark.parametrize("frames", [-12.0, -3.4, -0.25, 0.0, 0.3, 1.5, 7.77, 40.2])
def test_a_planted_peak_is_found_to_a_tenth_of_a_frame(frames: float) -> None:
    estimated = estimate(combine([bump(frames)], PLAIN), SHIFTS, PLAIN)
    assert estimated.frames == pytest.approx(frames, abs=0.1)
    assert estimated.confidence > 0.95


@pytest.mark.parametrize("frames", [-50.0, 50.0])
def test_a_peak_at_the_end_of_the_search_stays_within_it(frames: float) -> None:
    estimated = estimate(combine([bump(frames)], PLAIN), SHIFTS, PLAIN)
    assert estimated.frames == pytest.approx(frames, abs=0.51)
    assert abs(estimated.frames) <= 50.5
    assert 0 <= estimated.confidence <= 1


def test_a_lonely_spike_loses_to_a_neighbourhood() -> None:
    chances = np.full(len(SHIFTS), 1e-4)
    chances[80] = 0.3
    chances[28:33] = 0.15
    estimated = estimate(chances / chances.sum(), SHIFTS, PLAIN)
    assert -22 <= estimated.frames <= -18


def test_the_networks_own_bias_is_taken_out() -> None:
    biased = Calibration(bias_frames=0.8)
    assert estimate(combine([bump(3.8)], biased), SHIFTS, biased).frames == pytest.approx(
        3.0, abs=0.1
    )
    judgement = verdict([curve(0.8)], calibration=biased)
    assert judgement.offset_ms == pytest.approx(0.0, abs=4)
    assert judgement.blocks[0].offset_ms == pytest.approx(0.0, abs=4)


# Calibration


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"none": math.nan},
        {"guard_ms": math.inf},
        {"decide": "0.9"},
        {"match": None},
    ],
)
def test_a_calibration_of_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="calibration"):
        Calibration(**wrong)


@pytest.mark.parametrize("count", [2, 7])
def test_the_best_of_several_windows_makes_a_match_that_much_less_likely(count: int) -> None:
    calibration = Calibration(temperature=1.7, none=2.0, level=0.6)
    only = curve(3.0)
    best = replace(only, chosen_from=count)
    ratios = [match_ratio(evidence(each, calibration), calibration) for each in (only, best)]
    assert ratios[0] - ratios[1] == pytest.approx(math.log(count))


def test_temperature_softens_and_no_match_lowers() -> None:
    def confidence(**options: float) -> float:
        calibration = Calibration(**options)
        return estimate(
            combine([bump(3.0, height=8.0)], calibration), SHIFTS, calibration
        ).confidence

    assert confidence() > confidence(temperature=3.0)
    assert confidence() > confidence(none=6.0)


def test_the_match_is_evidence_beside_the_score() -> None:
    """Each alone is unsure between two shifts; together they agree on one. What was not compared
    stays out.
    """
    score, match = np.maximum(bump(0.0), bump(20.0)), np.maximum(bump(20.0), bump(-30.0))
    both = curve(score=score, match=match)
    assert verdict([both]).verdict == "undecidable"
    weights = Calibration(match=1.0)
    assert verdict([both], calibration=weights).offset_ms == pytest.approx(-20 * FRAME_MS, abs=4)
    # A constant added to the match says nothing.
    moved = curve(score=score, match=(match + 7.0).astype(np.float32))
    assert evidence(moved, weights) == pytest.approx(evidence(both, weights), abs=1e-5)
    gone = np.where(SHIFTS > 10, -np.inf, score).astype(np.float32)
    combined = evidence(
        curve(score=gone, match=np.where(SHIFTS > 10, -np.inf, match).astype(np.float32)), weights
    )
    assert np.isneginf(combined[SHIFTS > 10]).all()
    assert np.isfinite(combined[SHIFTS <= 10]).all()


@pytest.mark.parametrize("count", [30, 100, 700])
def test_many_segments_that_match_nowhere_never_agree_by_chance(count: int) -> None:
    """A voice-over for hours: one segment in twenty peaks somewhere by chance, and some of those
    agree.
    """
    rng = np.random.default_rng(count)
    calibration = Calibration(none=3.0)
    for _ in range(3):
        curves = [
            rng.normal(-4.0, 0.7, len(SHIFTS))
            if rng.random() > 0.05
            else bump(float(rng.integers(-50, 51)), 11.0)
            for _ in range(count)
        ]
        estimated = estimate(combine(curves, calibration), SHIFTS, calibration)
        assert estimated.confidence < 0.5


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_share_of_segments_that_match_is_enough(share: float) -> None:
    """The same hours with a speaker in view now and then, always at one offset."""
    rng = np.random.default_rng(1)
    calibration = Calibration(none=3.0)
    curves = [
        bump(7.0 + rng.normal(0, 0.3), 11.0)
        if k < 100 * share
        else rng.normal(-4.0, 0.7, len(SHIFTS))
        for k in range(100)
    ]
    estimated = estimate(combine(curves, calibration), SHIFTS, calibration)
    assert estimated.confidence > 0.99
    assert estimated.frames == pytest.approx(7.0, abs=0.5)


def test_one_segment_combined_is_its_posterior() -> None:
    scores = bump(4.0, 6.0)
    shifts, none = posterior(scores, PLAIN)
    assert combine([scores], PLAIN) == pytest.approx(shifts + none / len(SHIFTS), abs=1e-9)


def test_a_piece_is_as_long_as_what_could_be_compared_of_it() -> None:
    """Ten seconds of pictures over the first four of which, and some of the fifth, is sound."""
    calibration = replace(PLAIN, length=1.1)
    whole = curve(0.0, blocks=10)

    def of(blocks: int) -> Array:
        compared = whole.block_score.copy()
        compared[blocks:] = -np.inf
        return evidence(replace(whole, block_score=compared), calibration)

    np.testing.assert_allclose(of(4), evidence(curve(0.0, blocks=5), calibration), atol=1e-6)
    # The last block of a film is seldom whole
    np.testing.assert_allclose(of(9), evidence(whole, calibration), atol=1e-6)
    assert np.isfinite(of(0)).any()
