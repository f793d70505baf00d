"""Curves to a verdict: planted offsets come out with their sign, what shows nothing is never
guessed at.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from avcheck.record.report import FRAME_MS, PRESETS, describe_offset
from avcheck.verdict.judge import against, without_unseen
from avcheck.verdict.posterior import Calibration, measuring_error_ms
from tests.support.curves import EBU, PLAIN, SEEDS, SHIFTS, bump, curve, film, verdict

# The sign


@pytest.mark.parametrize("frames_late", [-20, -5, 5, 12.5])
def test_sound_that_is_read_later_to_match_is_late_and_negative(frames_late: float) -> None:
    judgement = verdict([curve(frames_late)])
    assert judgement.verdict == "out_of_sync"
    assert judgement.reason is None
    assert judgement.offset_ms == pytest.approx(-frames_late * FRAME_MS, abs=4)
    side = "late" if frames_late > 0 else "early"
    assert judgement.offset_ms is not None
    assert describe_offset(judgement.offset_ms).startswith(
        f"sound {side} by {abs(frames_late) * FRAME_MS:.0f}"[:-1]
    )
    assert all(
        segment.offset_ms == pytest.approx(-frames_late * FRAME_MS, abs=4)
        for segment in judgement.segments
    )
    assert all(
        block.offset_ms == pytest.approx(-frames_late * FRAME_MS, abs=4)
        for block in judgement.blocks
    )


def test_zero_is_not_minus_zero() -> None:
    judgement = verdict([curve(0.0)])
    assert judgement.verdict == "in_sync"
    assert judgement.offset_ms is not None
    assert math.copysign(1.0, judgement.offset_ms) == 1.0


# The confidence


def test_a_short_file_has_to_be_surer() -> None:
    """In a few seconds a stranger's sound matches by chance."""
    for blocks, least in ((3, 0.98), (6, 0.98), (7, 0.95), (10, 0.95)):
        for height in (8.1, 8.5, 9.5):
            judgement = verdict([curve(0.0, blocks=blocks, height=height)])
            assert judgement.confidence > 0.95
            assert (judgement.verdict == "in_sync") == (judgement.confidence >= least)
            if judgement.verdict != "in_sync":
                assert (judgement.offset_ms, judgement.reason_code) == (None, "too_short")
                assert judgement.reason is not None
                assert judgement.reason.endswith("0.98 needed under 7 s)")
    unsure = verdict([curve(0.0, blocks=6, height=6.0)])
    assert (unsure.verdict, unsure.reason_code) == ("undecidable", "ambiguous")
    unsure = verdict([curve(0.0, blocks=10, height=7.2)])
    assert 0.9 < unsure.confidence < 0.95
    assert (unsure.verdict, unsure.reason_code) == ("undecidable", "ambiguous")
    # Two segments of a part are as long as both
    assert (
        verdict([curve(0.0, blocks=4, height=8.1), curve(0.0, blocks=4, start_s=20.0)]).offset_ms
        == 0
    )


@pytest.mark.parametrize("name", ["level_db", "motion", "detail"])
@pytest.mark.parametrize(
    ("idle", "is_short"),
    [
        (slice(6, None), True),
        (slice(0, 10), True),
        (slice(0, 2), False),
        (slice(6, 10), False),
        (slice(8, None), False),
    ],
)
def test_what_is_silent_or_blank_at_either_end_does_not_make_a_file_long(
    name: str, idle: slice, is_short: bool
) -> None:
    """Six seconds of sound under sixteen of pictures are as short as a film of six."""
    item = curve(0.0, blocks=16, height=8.1)
    values = getattr(item, name).copy()
    values[idle] = -90.0 if name == "level_db" else 0.0
    judgement = verdict([replace(item, **{name: values})])
    assert 0.95 < judgement.confidence < 0.98
    assert judgement.reason_code == ("too_short" if is_short else None)
    if is_short:
        assert str(judgement.reason).endswith("0.98 needed under 7 s of pictures with sound)")


# The tolerance


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "film"])
def test_presets_forgive_late_sound_more(name: str) -> None:
    tolerance = PRESETS[name]
    between_ms = (tolerance.early_ms + tolerance.late_ms) / 2
    sharp = Calibration(guard_ms=0.0)
    late = verdict([curve(between_ms / FRAME_MS)], tolerance, sharp)
    early = verdict([curve(-between_ms / FRAME_MS)], tolerance, sharp)
    assert (late.verdict, early.verdict) == ("in_sync", "out_of_sync")


def test_the_film_preset_is_even() -> None:
    sharp = Calibration(guard_ms=0.0)
    for frames in (-0.75, 0.75):
        assert verdict([curve(frames)], PRESETS["film"], sharp).verdict == "out_of_sync"


@pytest.mark.parametrize(
    ("seconds", "error_ms"),
    [(0, 25.0), (2, 25.0), (6.4, 25.0), (10, 20.0), (40, 10.0), (4000, 10.0)],
)
def test_the_more_shows_an_offset_the_better_it_is_known(seconds: float, error_ms: float) -> None:
    known = measuring_error_ms(seconds, Calibration(guard_ms=20.0))
    assert known == pytest.approx(error_ms)


def test_an_offset_that_a_long_film_shows_is_borderline_within_less() -> None:
    beyond_ms = EBU.early_ms + 16.0
    known = Calibration(guard_ms=20.0)
    short, long = (verdict(film([beyond_ms] * count), EBU, known) for count in (1, 4))
    assert (short.verdict, short.reason_code) == ("undecidable", "borderline")
    assert short.reason is not None
    assert short.reason.endswith("limit 40 ms, measuring error 20 ms")
    assert long.verdict == "out_of_sync"
    assert (short.measuring_error_ms, long.measuring_error_ms) == (20.0, 10.0)
    # Segments that show nothing tell no more of it
    mixed = verdict(film([beyond_ms, None, None], noise=0.1), EBU, known)
    assert (mixed.verdict, mixed.reason_code) == ("undecidable", "borderline")
    assert verdict(film([None] * 3), EBU, known).measuring_error_ms is None


@pytest.mark.parametrize("side", ["early", "late"])
def test_within_the_measuring_error_of_the_limit_nothing_is_claimed(side: str) -> None:
    sign, limit_ms = (1, EBU.early_ms) if side == "early" else (-1, EBU.late_ms)
    for beyond_ms, expected in (
        (-15, "in_sync"),
        (15, "undecidable"),
        (30, "undecidable"),
        (50, "out_of_sync"),
    ):
        judgement = verdict([curve(-sign * (limit_ms + beyond_ms) / FRAME_MS)])
        assert judgement.verdict == expected
        assert judgement.offset_ms == pytest.approx(sign * (limit_ms + beyond_ms), abs=5)
        if expected == "undecidable":
            assert judgement.offset_ms is not None
            assert judgement.reason_code == "borderline"
            said = (
                f"{describe_offset(judgement.offset_ms)}, limit {limit_ms:.0f} ms, "
                "measuring error 40 ms"
            )
            assert judgement.reason == said
            assert side in said
        else:
            assert judgement.reason is judgement.reason_code is None


@pytest.mark.parametrize(("sign", "limit_ms"), [(1, 40.0), (-1, 60.0)])
def test_at_most_includes_the_limit_and_the_measuring_error(sign: int, limit_ms: float) -> None:
    for beyond_ms, expected in (
        (0.0, "in_sync"),
        (0.1, "undecidable"),
        (20.0, "undecidable"),
        (20.1, "out_of_sync"),
    ):
        assert against(sign * (limit_ms + beyond_ms), EBU, 20.0)[0] == expected


# No evidence


def test_no_segments_is_undecidable() -> None:
    judgement = verdict([])
    assert judgement.verdict == "undecidable"
    assert judgement.reason == "there are no pictures to compare with the sound"
    assert judgement.reason_code == "no_pictures"
    assert judgement.offset_ms is None
    assert judgement.segments == ()
    assert judgement.blocks == ()


@pytest.mark.parametrize("level", [-30.0, -5.5, -3.8, 0.0, 30.0])  # even chances at -4.6
def test_a_flat_curve_is_undecidable(level: float) -> None:
    judgement = verdict([curve(score=np.full(len(SHIFTS), level, np.float32))])
    assert judgement.verdict == "undecidable"
    assert judgement.offset_ms is None
    assert judgement.confidence < 0.1
    assert judgement.reason is not None
    assert (
        "nothing in the picture goes with the sound" if level < -4.6 else "several offsets fit"
    ) in judgement.reason
    assert judgement.reason_code == ("no_match" if level < -4.6 else "ambiguous")
    assert all(segment.offset_ms is None for segment in judgement.segments)
    assert all(block.offset_ms is None for block in judgement.blocks)


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_is_undecidable(seed: int) -> None:
    rng = np.random.default_rng(seed)
    curves = [
        curve(score=rng.normal(-4, 1, len(SHIFTS)).astype(np.float32), start_s=10.0 * k)
        for k in range(5)
    ]
    judgement = verdict(curves)
    assert judgement.verdict == "undecidable"
    assert judgement.offset_ms is None


def test_two_offsets_that_fit_equally_are_undecidable() -> None:
    judgement = verdict([curve(score=np.maximum(bump(-20.0), bump(15.0)))])
    assert judgement.verdict == "undecidable"
    assert judgement.reason is not None
    assert judgement.reason.startswith("several offsets fit")
    assert 0.3 < judgement.confidence < 0.7


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ({"level_db": -90.0}, "silent", "the sound is silent"),
        ({"level_db": -math.inf}, "silent", "the sound is silent"),
        ({"detail": 0.5, "motion": 0.0}, "blank", "the picture is black or blank"),
        ({"motion": 0.05}, "still", "the picture does not move"),
        (
            {"blocks": 1},
            "too_short",
            "only 1 s of the file has both moving pictures and sound; it takes 2 s",
        ),
    ],
)
def test_what_is_missing_is_said_however_sure_the_network(
    options: dict[str, Any], code: str, reason: str
) -> None:
    judgement = verdict([curve(0.0, height=30.0, **options)])
    assert judgement.verdict == "undecidable"
    assert (judgement.reason_code, judgement.reason) == (code, reason)
    assert judgement.offset_ms is None
    assert judgement.confidence == 0.0
    assert len(judgement.blocks) == options.get("blocks", 10)


def test_silence_in_half_of_a_film_is_not_silence() -> None:
    assert verdict([curve(0.0), curve(None, start_s=10.0, level_db=-90.0)]).verdict == "in_sync"


def test_all_shifts_uncompared_is_undecidable() -> None:
    judgement = verdict([curve(score=np.full(len(SHIFTS), -np.inf, np.float32))])
    assert judgement.verdict == "undecidable"
    assert judgement.offset_ms is None
    assert sum(block.attention for block in judgement.blocks) == pytest.approx(1.0, abs=1e-3)


def test_scores_that_are_not_numbers_never_give_a_verdict() -> None:
    judgement = verdict([curve(score=np.full(len(SHIFTS), np.nan, np.float32))])
    assert judgement.verdict == "undecidable"
    assert judgement.offset_ms is None


@pytest.mark.parametrize("seed", SEEDS)
def test_confidence_below_the_bar_never_gives_a_verdict(seed: int) -> None:
    """Whatever the curves: a verdict has an offset and the confidence asked for, and every number
    is in its range.
    """
    rng = np.random.default_rng(seed)
    for _ in range(4):
        count = int(rng.integers(1, 9))
        curves = [
            curve(
                None if rng.random() < 0.3 else float(rng.uniform(-50, 50)),
                start_s=10.0 * k,
                height=float(rng.uniform(0, 12)),
                noise=float(rng.uniform(0, 2)),
                blocks=int(rng.integers(1, 15)),
                seed=int(rng.integers(1 << 30)),
            )
            for k in range(count)
        ]
        judgement = verdict(curves)
        assert judgement.verdict in ("in_sync", "out_of_sync", "undecidable")
        assert 0 <= judgement.confidence <= 1
        assert (
            (judgement.reason is None)
            == (judgement.reason_code is None)
            == (judgement.verdict != "undecidable")
        )
        assert bool(judgement.stretches) == (judgement.offset_ms is not None)
        if judgement.verdict != "undecidable":
            assert judgement.confidence >= PLAIN.decide
            assert judgement.offset_ms is not None
            assert abs(judgement.offset_ms) <= 50.5 * FRAME_MS
        assert len(judgement.segments) == count
        assert all(0 <= segment.confidence <= 1 for segment in judgement.segments)
        assert len(judgement.blocks) == sum(len(item.block_start_s) for item in curves)
        assert sum(block.attention for block in judgement.blocks) == pytest.approx(1.0, abs=1e-3)


# What was not looked at


@pytest.mark.parametrize(
    ("unseen_s", "length_s", "expected"),
    [
        ((), 20.0, "in_sync"),
        (((3.0, 5.0),), 20.0, "in_sync"),  # 2 s are let go whatever the length
        (((3.0, 5.1),), 20.0, "undecidable"),
        (((0.0, 10.0),), 100.0, "in_sync"),
        (((0.0, 9.9),), 100.0, "in_sync"),  # and a tenth
        (((0.0, 10.1),), 100.0, "undecidable"),
        (((0.0, 1.5), (10.0, 11.5)), 20.0, "undecidable"),  # together
        (((0.0, 2.0), (0.5, 1.5), (1.0, 2.0)), 20.0, "in_sync"),  # what overlaps counts once
        (((18.0, 24.0),), None, "undecidable"),  # 6 of 24 s
        (((20.0, 21.9),), None, "in_sync"),
    ],
)
def test_a_file_of_which_a_large_part_was_not_looked_at_is_never_in_sync(
    unseen_s: tuple[tuple[float, float], ...], length_s: float | None, expected: str
) -> None:
    judgement = without_unseen(verdict(film([0.0, 0.0])), unseen_s, length_s)
    assert judgement.verdict == expected
    assert judgement.offset_ms == pytest.approx(0.0, abs=4)
    assert judgement.reason_code == (None if expected == "in_sync" else "not_all_looked_at")
    assert (judgement.reason is None) == (expected == "in_sync")


def test_what_was_not_looked_at_is_said_in_seconds() -> None:
    judgement = without_unseen(verdict(film([0.0, 0.0])), ((3.0, 9.0),), 20.0)
    assert (
        judgement.reason == "what was looked at is in sync, but 6.0 s of 20.0 s were not looked at"
    )


def test_what_is_out_of_sync_stays_so_whatever_was_not_looked_at() -> None:
    late = verdict(film([-300.0, -300.0]))
    assert without_unseen(late, ((0.0, 100.0),), 120.0) == late
    silent = verdict([curve(0.0, level_db=-90.0)])
    assert without_unseen(silent, ((0.0, 100.0),), 120.0) == silent
