"""The classifier at every candidate shift of the sound, over features that the trunks made once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avcheck.network.match import Scored
from avcheck.network.model import places_by
from avcheck.network.weights import Loaded
from avcheck.reading.blocks import BLOCK_FRAMES
from avcheck.reading.segments import MAX_SHIFT
from avcheck.scan.looking import Look
from avcheck.verdict.posterior import Place

SHIFTS = np.arange(-MAX_SHIFT, MAX_SHIFT + 1)
KEEP_PLACES = 32  # the most that any head keeps
# Of a segment's pictures that need sound at some shift; with less, the segment says nothing
_LEAST_SHARE = 0.4
# Comparing at every shift would take the joint layers a sixth of a clip's time. They compare at
# every tenth, and around those where the trunks match best: the verdicts are the same
_STRIDE = 10
_BEST, _AROUND = 2, 2


@dataclass(frozen=True)
class Compared:
    """Pictures and sound compared at every shift in `SHIFTS`.

    scored: what the joint layers say; match: (S,), what the trunks say by themselves
    (`match.Match`), in logits; block_match: (N, S), the same for each block; grid: where the places
    of the attention lie, as in `Look`; present: which (shift, picture) could be compared, bool (S,
    T).
    """

    scored: Scored
    match: NDArray[np.float32]
    block_match: NDArray[np.float32]
    grid: tuple[Place, ...]
    present: NDArray[np.bool_]

    def weighed_score(self) -> NDArray[np.float32]:
        """What the joint layers say of every shift, (S,), as `posterior.Curve.score` has it."""
        return weighed(logit(self.scored.logits[0]), self.present)

    def weighed_match(self) -> NDArray[np.float32]:
        """The same of the trunks, (S,), as `posterior.Curve.match` has it."""
        return weighed(self.match, self.present)


@torch.inference_mode()
def listen(mel: NDArray[np.float32], model: Loaded) -> Tensor:
    """Features of the sound trunk, (1, L, D), of a log-mel (4 L, 64)."""
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.half):
        sound: Tensor = model.net.sound(torch.from_numpy(mel)[None].to(model.device))
    return sound


@torch.inference_mode()
def compare(
    view: Look,
    sound: Tensor,
    heard: NDArray[np.bool_],
    model: Loaded,
) -> Compared:
    """The classifier at every shift in `SHIFTS`.

    A block that lacks over half of its sound or pictures at a shift has a logit of -inf there.
    Between shifts where no match is likely, the joint layers' score is interpolated.

    Args:
        view: What the visual trunk sees in T pictures, a whole number of blocks.
        sound: As `listen` gives it, `MAX_SHIFT` pictures longer on both sides: (1, T + 2 MAX_SHIFT,
            D).
        heard: Which of these pictures have sound, bool (T + 2 MAX_SHIFT,).
        model: The network.
    """
    times = len(view.shown)
    present = np.stack(
        [view.shown & heard[MAX_SHIFT + shift : MAX_SHIFT + shift + times] for shift in SHIFTS]
    )
    picture, grid = view.picture, view.grid
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.half):
        mask = torch.from_numpy(present)[None].to(model.device)
        match, like = model.net.match.beside_likeness(picture, sound, mask)
        if (places := model.net.config.keep_places) is not None:
            keep = places_by(like, places)[0]
            picture, grid = picture[:, :, keep], tuple(grid[i] for i in keep.tolist())
        block_match = model.net.match(
            picture.view(-1, BLOCK_FRAMES, *picture.shape[2:]),
            sound[0].unfold(0, BLOCK_FRAMES + 2 * MAX_SHIFT, BLOCK_FRAMES).transpose(1, 2),
            mask[0].view(len(SHIFTS), -1, BLOCK_FRAMES).transpose(0, 1),
        )
        asked = _likely(match[0])
        logits, attention, block_logits = model.net.head(
            picture,
            sound,
            torch.from_numpy(SHIFTS[asked]),
            margin=MAX_SHIFT,
            present=mask[:, asked],
        )
    # At a shift without anything to compare some heads attend to nothing; an even share sums to 1
    # like any other.
    attention = torch.where(
        attention.sum(dim=(2, 3, 4), keepdim=True) > 0, attention, 1 / attention[0, 0].numel()
    )
    logits, attention, block_logits = _between(Scored(logits, attention, block_logits), asked)
    # Of a block without enough sound the head says something about silence: certainly not a match.
    compared = mask.view(1, len(SHIFTS), -1, BLOCK_FRAMES).float().mean(dim=-1) >= 0.5  # (1, S, N)
    block_logits = torch.stack(
        [block_logits[..., 0], block_logits[..., 1].masked_fill(~compared, -torch.inf)], dim=-1
    )
    return Compared(
        scored=Scored(logits, attention, block_logits),
        match=match[0].float().cpu().numpy(),
        block_match=block_match.float().cpu().numpy(),
        grid=grid,
        present=present,
    )


def _likely(match: Tensor) -> NDArray[np.int_]:
    """Indices into `SHIFTS`, rising: every `_STRIDE`th, both ends, and those around the peaks of
    the trunks' match, (S,).
    """
    left = match.float().cpu().numpy().copy()
    every = np.arange(len(left))
    wanted = every % _STRIDE == 0
    wanted[-1] = True
    for _ in range(_BEST):
        near = np.abs(every - int(np.argmax(left))) <= _AROUND
        wanted |= near
        left[near] = -np.inf
    return np.flatnonzero(wanted)


def _between(said: Scored, asked: NDArray[np.int_]) -> Scored:
    """The joint layers' results at the shifts `asked`, extended to every shift: interpolated
    between both neighbours, and so is the attention, which still sums to 1.
    """
    every = np.arange(len(SHIFTS))
    high = np.searchsorted(asked, every).clip(1, len(asked) - 1)
    low = high - 1
    share = torch.from_numpy((every - asked[low]) / (asked[high] - asked[low])).float()

    def spread(values: Tensor) -> Tensor:
        left, right = values[:, low].float(), values[:, high].float()
        part = share.to(values.device).view(1, -1, *(1,) * (values.dim() - 2))
        return torch.lerp(left, right, part)

    return Scored(*map(spread, said))


def weighed(values: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Scores drawn towards their median by the share of the pictures without sound.

    Where a short file has little sound left to compare, the score is a mean over little and peaks
    by chance: of windows of 4.2 s, 8 in 100 were lost to such a peak. -inf where less than half as
    much could be compared as at the best shift, and everywhere if that is little itself.

    Args:
        values: The score at every shift, (S,).
        present: Which pictures could be compared at each shift, bool (S, T).
    """
    share = present.mean(axis=1)
    most = float(share.max())
    share = share / max(most, 1e-6)
    compared = (share >= 0.5) & np.isfinite(values)
    if most < _LEAST_SHARE or not compared.any():
        return np.full(len(values), -np.inf, np.float32)
    middle = np.median(values[compared])
    return np.where(compared, middle + (values - middle) * share, -np.inf).astype(np.float32)


def logit(logits: Tensor) -> NDArray[np.float32]:
    """The logit of "in sync" minus that of "not in sync": (..., 2) -> (...)."""
    values: NDArray[np.float32] = (logits[..., 1] - logits[..., 0]).float().cpu().numpy()
    return values
