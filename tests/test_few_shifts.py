"""The head scores few of the shifts, and a few at a time: the same scores, in less time and
memory.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from avcheck.network.heads import JointHead
from avcheck.network.model_config import ATTENTION_KINDS, AttentionKind
from avcheck.reading.segments import MAX_SHIFT
from avcheck.scan.looking import Look, places_in
from avcheck.scan.shifts import SHIFTS, compare, listen, logit
from tests.support.block_source import loaded
from tests.support.networks import TINY


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_shifts_scored_a_few_at_a_time_are_those_scored_at_once(kind: AttentionKind) -> None:
    torch.manual_seed(1)
    net = JointHead(replace(TINY, attention=kind)).eval().requires_grad_(False)
    shifts = torch.arange(-9, 10)
    picture, sound = torch.randn(2, 50, 3, TINY.embedding), torch.randn(2, 70, TINY.embedding)
    present = torch.rand(2, len(shifts), 50) < 0.9
    at_once = net(picture, sound, shifts, margin=10, present=present)
    with torch.inference_mode():
        few = net(picture, sound, shifts, margin=10, present=present)
    for one, other in zip(at_once, few, strict=True):
        # A few at a time they are summed in 16-bit integers
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_between_the_shifts_that_the_head_scores_it_is_interpolated(kind: AttentionKind) -> None:
    torch.manual_seed(2)
    model, times = loaded(kind), 50
    picture = F.normalize(torch.randn(1, times, 2, model.net.config.embedding), dim=-1)
    grid = tuple(places_in(16, (1, 2), (16, 32)))
    view = Look(0.0, picture, grid, np.ones(times, np.bool_))
    rng = np.random.default_rng(2)
    mel = rng.normal(size=(4 * (times + 2 * MAX_SHIFT), 64)).astype(np.float32)
    compared = compare(view, listen(mel, model), np.ones(times + 2 * MAX_SHIFT, np.bool_), model)

    with torch.inference_mode():
        sound = model.net.sound(torch.from_numpy(mel)[None])
        every = model.net.head(picture, sound, torch.from_numpy(SHIFTS), margin=MAX_SHIFT)
    # The two best matches and two shifts on either side, and every tenth shift
    left, scored = compared.match.copy(), set(range(0, len(SHIFTS), 10))
    for _ in range(2):
        best = int(left.argmax())
        near = slice(max(0, best - 2), best + 3)
        scored |= set(range(len(SHIFTS))[near])
        left[near] = -np.inf
    at = sorted(scored)
    for name in ("logits", "block_logits"):
        expected, got = (logit(getattr(each, name)[0]).T for each in (every, compared.scored))
        for row, values in zip(*map(np.atleast_2d, (expected, got)), strict=True):
            assert values == pytest.approx(np.interp(np.arange(len(SHIFTS)), at, row[at]), abs=1e-3)
    attention = compared.scored.attention[0]
    torch.testing.assert_close(attention[at], every.attention[0, at], atol=1e-3, rtol=0)
    torch.testing.assert_close(attention.flatten(1).sum(dim=1), torch.ones(len(SHIFTS)))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_head_s_memory_does_not_grow_with_the_shifts() -> None:
    """In a process of its own, whose memory is kept as the command keeps it."""
    code = """
import torch
from pathlib import Path
from avcheck.network.heads import JointHead
from avcheck.machine.memory import keep_memory
from avcheck.network.model_config import ModelConfig
def most_mb():
    return int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]) / 1024
keep_memory()
torch.set_num_threads(1)
head = JointHead(ModelConfig()).eval()
def most_with(shifts):
    with torch.inference_mode():
        reach = shifts // 2
        picture, sound = torch.rand(1, 200, 32, 64), torch.rand(1, 200 + 2 * reach, 64)
        head(picture, sound, torch.arange(-reach, reach + 1), margin=reach)
    return most_mb()
few = most_with(11)
print(most_with(101) - few)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 40
