"""Drifts so fast that the offset changes by several frames within a segment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avcheck.verdict.fast_drift import MOST_LIKELY, fast_drift
from avcheck.verdict.posterior import Curve
from avcheck.verdict.sure_course import likeliest_change
from tests.support.curves import PLAIN, SHIFTS, Array, bump, curve, verdict

PAL = 1000 / 24  # ms a second: pictures of 24 a second played at 25, with the sound as it was


def film(seconds: int, ms_per_s: float, start_ms: float = 0.0, height: float = 7.0) -> list[Curve]:
    """Segments of 10 s of sound that is early by `start_ms` at 0 s, and by so much more each
    second.
    """
    return [segment(first, ms_per_s, start_ms, height) for first in range(0, seconds, 10)]


def segment(first: int, ms_per_s: float, start_ms: float, height: float) -> Curve:
    early_ms = start_ms + ms_per_s * (first + np.arange(10) + 0.5)
    rows = np.stack([bump(-each / 40, height) for each in early_ms]) + noise(first)
    flat = curve(None, start_s=float(first))
    match = np.stack([bump(-each / 40, 2.0) for each in early_ms])
    return replace(
        flat,
        score=rows.mean(axis=0),
        match=match.mean(axis=0),
        block_score=rows,
        block_match=match,
        attention=np.full_like(flat.attention, 0.1),
    )


def noise(seed: int) -> Array:
    return np.random.default_rng(seed).normal(0.0, 0.7, (10, len(SHIFTS))).astype(np.float32)


@pytest.mark.parametrize("ms_per_s", [PAL, -PAL, 30.0, -50.0])
def test_a_drift_that_smears_every_segment_is_found(ms_per_s: float) -> None:
    curves = film(40, ms_per_s, start_ms=-20.0)
    assert [each.offset_ms for each in verdict(curves).segments] == [None] * 4
    judgement = verdict(curves)
    assert judgement.verdict == "out_of_sync"
    assert judgement.drift_ms_per_min == pytest.approx(60 * ms_per_s, rel=0.03)
    (stretch,) = judgement.stretches
    assert (stretch.start_s, stretch.end_s) == (0.0, 40.0)
    assert stretch.start_offset_ms == pytest.approx(-20.0, abs=30)
    assert judgement.offset_ms == pytest.approx(40 * ms_per_s - 20, abs=30)
    assert judgement.confidence > 0.99


def test_a_drift_is_followed_only_as_far_as_shifts_reach() -> None:
    """Two seconds away after 48 s; what comes then was not compared at its place."""
    (stretch,) = verdict(film(120, PAL)).stretches
    assert (stretch.start_s, stretch.end_s) == (0.0, 50.0)


def test_a_title_that_ends_in_sync_is_followed_from_there() -> None:
    (stretch,) = verdict(film(120, PAL, start_ms=-120 * PAL)).stretches
    assert (stretch.start_s, stretch.end_s) == (70.0, 120.0)
    assert stretch.end_offset_ms == pytest.approx(0.0, abs=30)


def test_twenty_seconds_are_enough_and_ten_are_not() -> None:
    assert verdict(film(20, PAL, height=9.0)).drift_ms_per_min == pytest.approx(2500, rel=0.05)
    assert fast_drift(film(10, PAL, height=9.0), PLAIN) is None


@pytest.mark.parametrize("seed", range(4))
def test_sound_that_goes_with_nothing_does_not_drift(seed: int) -> None:
    rng = np.random.default_rng(seed)
    curves = [
        replace(
            item,
            block_score=rng.normal(-2.0, 2.0, item.block_score.shape).astype(np.float32),
            block_match=rng.normal(0.0, 0.5, item.block_match.shape).astype(np.float32),
        )
        for item in film(60, 0.0, height=0.0)
    ]
    assert chance(curves) < 0.1
    assert verdict(curves).verdict == "undecidable"


def test_one_offset_is_no_fast_drift() -> None:
    assert chance(film(60, 0.0, start_ms=-200.0)) < 1e-3


def test_lines_that_cannot_beat_a_steady_title_are_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    likeliest = fast_drift(film(120, PAL, height=1000.0), PLAIN)
    assert likeliest is not None
    assert likeliest.near <= MOST_LIKELY
    steady = film(120, 0.0)
    expected = likeliest_change(steady, PLAIN)
    tried: list[int] = []
    monkeypatch.setattr(
        "avcheck.verdict.sure_course.fast_drift", lambda curves, _: tried.append(len(curves))
    )
    change = likeliest_change(steady, PLAIN)
    assert tried == []
    assert change is not None and expected is not None
    assert change[1] == pytest.approx(expected[1], abs=1e-4)
    likeliest_change(film(30, 0.0), PLAIN)
    assert tried == [3]


def chance(curves: list[Curve]) -> float:
    change = likeliest_change(curves, PLAIN)
    return 0.0 if change is None else change[1]
