"""How well the features of picture and sound match by themselves: what every head starts from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from avcheck.network.model_config import (
    BLOCK_FRAMES,
    BLOCK_TIMES,
)


class Scored(NamedTuple):
    """What the head says of clips at S candidate shifts.

    logits: (B, S, 2), column 1 = in sync. attention: (B, S, N, T', P), sums to 1 over N, T', P.
    block_logits: (B, S, N, 2), the decision on each block alone.
    """

    logits: Tensor
    attention: Tensor
    block_logits: Tensor


class Match(nn.Module):
    """How well picture and sound go together at every shift, from the trunks alone. The trunks are
    trained on this score, before any joint layer; in a check it is a second opinion beside the
    joint layers'.

    Cosine similarity is averaged over short stretches of time at each place, and the places compete
    in a soft maximum within each stretch: the mouth, or the hammer, may be elsewhere a moment
    later. `scale` (learned) turns similarity into logits; `sharpness` (learned) is the hardness of
    the maximum.
    """

    STEP, REACH = 3, 3  # stretches of REACH steps of STEP pictures, one every STEP pictures
    AT_A_TIME = 16  # stretches; all products of a segment at once would take 45 MB

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.log_sharpness = nn.Parameter(torch.tensor(2.5))

    def forward(self, picture: Tensor, sound: Tensor, present: Tensor | None = None) -> Tensor:
        """Logits (B, S), S = 2M + 1, of pictures (B, T, P, D) and sound (B, T + 2M, D); T must be 9
        or more.

        present: bool (B, S, T), False where a picture or the sound read for it is missing, or None.
        A shift at which nothing is present gets 0.
        """
        return self.beside_likeness(picture, sound, present)[0]

    def beside_likeness(
        self, picture: Tensor, sound: Tensor, present: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`forward`, and what `model.likeness` says of the same: the products are those of both."""
        windows = sound.unfold(1, sound.shape[1] - picture.shape[1] + 1, 1)  # (B, T, D, S)
        weight = None
        if present is not None and not present.all():
            weight = present.transpose(1, 2).unsqueeze(2).float()  # (B, T, 1, S)
        bests, likes = zip(*self._in_runs(picture, windows, weight), strict=True)
        best, like = torch.cat(bests, dim=1), sum(likes[1:], likes[0])
        rest = slice(picture.shape[1] // self.STEP * self.STEP, None)
        like = like + torch.matmul(picture[:, rest], windows[:, rest]).float().sum(dim=1)
        like = like / picture.shape[1]
        if weight is None:
            return self.log_scale.exp() * best.mean(dim=1), like
        share = self._stretches(weight).squeeze(2)
        mean = (best * share).sum(dim=1) / share.sum(dim=1).clamp_min(1e-6)
        return self.log_scale.exp() * mean, like

    def _in_runs(
        self, picture: Tensor, windows: Tensor, weight: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """A few stretches at a time: the likeness of the best place in each, (B, T', S); and that
        of every place, (B, P, S), summed over the pictures that no later stretch has.

        picture (B, T, P, D), windows (B, T, D, S), weight (B, T, 1, S).
        """
        count = picture.shape[1] // self.STEP - self.REACH + 1
        step = count if torch.is_grad_enabled() else self.AT_A_TIME
        for first in range(0, count, step):
            last = min(first + step, count)
            run = slice(self.STEP * first, self.STEP * (last + self.REACH - 1))
            like = torch.matmul(picture[:, run], windows[:, run]).float()  # (B, run, P, S)
            total = (like if last == count else like[:, : self.STEP * step]).sum(dim=1)
            if weight is None:
                yield self._best(self._stretches(like)), total
            else:
                part = weight[:, run]
                share = self._stretches(part).clamp_min(1e-6)
                yield self._best(self._stretches(like.mul_(part)) / share), total

    def _best(self, likeness: Tensor) -> Tensor:
        """Soft maximum over places: (B, T', P, S) -> (B, T', S); several equal places count like
        one.
        """
        sharpness = self.log_sharpness.exp()
        return (
            torch.logsumexp(sharpness * likeness, dim=2) - math.log(likeness.shape[2])
        ) / sharpness

    def _stretches(self, x: Tensor) -> Tensor:
        """Means over stretches of time: (B, T, P, S) -> (B, T', P, S)."""
        batch, times, *rest = x.shape
        steps = (
            x[:, : times // self.STEP * self.STEP].reshape(batch, -1, self.STEP, *rest).mean(dim=2)
        )
        count = steps.shape[1] - self.REACH + 1
        first, *others = (steps[:, k : k + count] for k in range(self.REACH))
        return sum(others, first) / self.REACH


def cells(present: Tensor | None, joint: Tensor, times: int) -> Tensor:
    """Which cells have picture and sound throughout: bool (B, S, N*25), or None for all -> (B, S,
    N, T').
    """
    if present is None:
        present = torch.ones(*joint.shape[:2], times, dtype=torch.bool, device=joint.device)
    return present.view(*present.shape[:2], -1, BLOCK_TIMES, BLOCK_FRAMES // BLOCK_TIMES).all(
        dim=-1
    )
