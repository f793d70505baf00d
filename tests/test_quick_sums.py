"""Quicker ways to the same numbers, beside the plain ones."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from avcheck.network.match import Match, sums_of
from avcheck.network.model_config import BLOCK_TIMES


def test_whole_numbers_of_the_head_are_added_up_as_they_are_defined() -> None:
    random = torch.Generator().manual_seed(0)
    picture, sound = (
        torch.randint(-3000, 3000, shape, generator=random, dtype=torch.int16)
        for shape in ((2, 50, 7, 16), (2, 50, 16))
    )
    wanted = (picture + sound.unsqueeze(2)).relu().view(2, 2, BLOCK_TIMES, 5, 7, 16).sum(dim=3)
    assert torch.equal(sums_of(picture, sound).long(), wanted)


@pytest.mark.parametrize("times", [25, 30, 127])
def test_a_match_of_whole_steps_is_that_of_single_pictures(times: int) -> None:
    """Pictures are taken three at a time unless one is missing at some shift."""
    random = torch.Generator().manual_seed(0)
    picture, sound = (
        F.normalize(torch.randn(shape, generator=random), dim=-1)
        for shape in ((2, times, 5, 16), (2, times + 8, 16))
    )
    present = torch.ones(2, 9, times, dtype=torch.bool)
    present[:, 0, 0] = False
    with torch.inference_mode():
        steps, like = Match().beside_likeness(picture, sound)
        single, same = Match().beside_likeness(picture, sound, present)
    assert torch.allclose(steps[:, 1:], single[:, 1:], atol=1e-4)
    assert not torch.allclose(steps[:, 0], single[:, 0], atol=1e-4)
    assert torch.allclose(like, same, atol=1e-6)
