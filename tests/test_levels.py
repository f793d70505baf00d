"""At which sizes the pictures of a segment are looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avcheck.scan import curves as scanning
from avcheck.scan.curves import LevelChoice, scan
from avcheck.verdict.posterior import Calibration, Curve, Place
from tests.support.block_source import LEVELS, block, loaded
from tests.support.curves import curve as curve_of

torch.set_num_threads(1)

HARD_TO_MATCH = Calibration(none=6.0)  # of segments that match nowhere, none is confident by chance


@pytest.mark.slow
def test_only_the_favourite_level_is_looked_at_in_between() -> None:
    curves = list(
        scan((block(k, size=(48, 48)) for k in range(80)), loaded("uniform"), levels=LEVELS)
    )
    levels = [{place[0] for place in curve.grid} for curve in curves]
    assert len(curves) == 8
    assert levels[0] == levels[6] == set(LEVELS)
    assert all(len(sizes) == 1 for k, sizes in enumerate(levels) if k not in (0, 6))


def at_levels(levels: tuple[int, ...], frames: float | None, favourite: int) -> Curve:
    """A segment looked at at these levels, one place each; its attention is on the `favourite`."""
    item = curve_of(frames, noise=0.1)
    share = np.array([0.9 if level == favourite else 0.1 for level in levels], np.float32)
    return replace(
        item,
        looked=250 * len(levels),
        grid=tuple(Place.whole(level) for level in levels),
        places=item.attention[:, :, None] * share / share.sum(),
    )


def test_the_level_with_most_of_the_attention_on_a_match_is_kept() -> None:
    choice = LevelChoice(HARD_TO_MATCH, (80, 112, 160))
    looked_at = []
    for _ in range(8):
        looked_at.append(choice.levels)
        choice.after([at_levels(choice.levels, 3.0, favourite=80)])
    assert looked_at == [(80, 112, 160), *[(80,)] * 5, (80, 112, 160), (80,)]


def test_without_a_hint_of_a_match_the_levels_take_turns() -> None:
    choice = LevelChoice(HARD_TO_MATCH, (80, 112, 160))
    looked_at = []
    for _ in range(8):
        looked_at.append(choice.levels)
        choice.after([at_levels(choice.levels, None, favourite=160)])
    in_turn = [(112,), (160,), (80,), (112,), (160,)]
    assert looked_at == [(80, 112, 160), *in_turn, (80, 112, 160), (112,)]


def test_a_level_that_shows_a_match_when_its_turn_comes_is_kept() -> None:
    choice = LevelChoice(HARD_TO_MATCH, (80, 112, 160))
    looked_at = []
    for number in range(7):
        looked_at.append(choice.levels)
        # The surest sound chooses: here the second, from the third segment on
        sounds = [None, None] if number < 2 else [None, 3.0]
        choice.after([at_levels(choice.levels, frames, favourite=160) for frames in sounds])
    assert looked_at == [(80, 112, 160), (112,), *[(160,)] * 4, (80, 112, 160)]


def test_what_was_not_looked_at_teaches_nothing() -> None:
    choice = LevelChoice(HARD_TO_MATCH, (80, 112))
    choice.after([curve_of(None)])
    assert choice.levels == (80, 112)


@pytest.mark.parametrize(
    ("blocks", "sure_with", "levels"),
    [
        (4, {32}, {32}),
        (4, {16, 32}, {16, 32}),
        (4, {16, 32, 48}, {16, 32, 48}),
        (4, None, {16, 32, 48}),
        # Others follow, which look at the level that shows most in this one
        (20, {32}, {16, 32, 48}),
        (20, {16, 32}, {16, 32}),
    ],
)
def test_larger_sizes_are_looked_at_where_the_others_do_not_make_sure(
    monkeypatch: pytest.MonkeyPatch, blocks: int, sure_with: set[int] | None, levels: set[int]
) -> None:
    def sure(curve: Curve, _: Calibration) -> float:
        return 0.99 if {place.level for place in curve.grid} == sure_with else 0.98

    monkeypatch.setattr(scanning, "sureness", sure)
    curve = next(scan([block(k) for k in range(blocks)], loaded("uniform"), levels=(16, 32, 48)))
    assert {place.level for place in curve.grid} == levels


@pytest.mark.parametrize(
    ("levels", "alone", "expected"),
    [
        ((80,), True, ((80,),)),
        ((80,), False, ((80,),)),
        ((80, 112), True, ((80,), (80, 112))),
        ((80, 112), False, ((80,), (80, 112))),
        ((80, 112, 160), True, ((112,), (80, 112), (80, 112, 160))),
        ((80, 112, 160), False, ((80, 112), (80, 112, 160))),
    ],
)
def test_the_sizes_of_a_segment_in_turn(
    levels: tuple[int, ...], alone: bool, expected: tuple[tuple[int, ...], ...]
) -> None:
    assert scanning.stages(levels, alone=alone) == expected
