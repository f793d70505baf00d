"""Blocks of a film that does not exist, and a small network to look at them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from avcheck.network.model import SyncNet
from avcheck.network.model_config import AttentionKind
from avcheck.network.weights import Loaded
from avcheck.reading.blocks import BLOCK_MELS, Block
from avcheck.reading.mel import MEL_BINS
from tests.support.networks import TINY

LEVELS = (32, 48)


def loaded(kind: AttentionKind = "spatio-temporal", seed: int = 0) -> Loaded:
    torch.manual_seed(seed)
    net = SyncNet(replace(TINY, attention=kind)).eval().requires_grad_(False)
    return Loaded(net, "0" * 64, torch.device("cpu"), False, {}, {})


def block(
    index: int,
    *,
    size: tuple[int, int] = (48, 64),
    heard: bool = True,
    shown: bool = True,
    start_s: float = 0.0,
) -> Block:
    rng = np.random.default_rng((index, *size))
    mask = np.ones(25, np.bool_)
    mask[0 if shown else 1 :] = shown
    return Block(
        index=index,
        start_s=start_s + index,
        pictures=rng.integers(0, 256, (25, *size), np.uint8),
        picture_mask=mask,
        mel=rng.normal(-4, 2, (BLOCK_MELS, MEL_BINS)).astype(np.float32),
        mel_mask=np.full(BLOCK_MELS, heard),
        level_db=-20.0 if heard else -np.inf,
    )
