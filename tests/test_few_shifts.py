"""The head scores a few shifts at a time: the same scores, in less memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from avcheck.heads import JointHead
from avcheck.model_config import ATTENTION_KINDS, AttentionKind
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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_head_s_memory_does_not_grow_with_the_shifts() -> None:
    """In a process of its own, whose memory is kept as the command keeps it."""
    code = """
import torch
from pathlib import Path
from avcheck.heads import JointHead
from avcheck.memory import keep_memory
from avcheck.model_config import ModelConfig
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
