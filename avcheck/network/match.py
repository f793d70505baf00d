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

SUMMED = BLOCK_FRAMES // BLOCK_TIMES  # pictures whose joint features are added up


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
        times, rest = picture.shape[1], slice(picture.shape[1] // self.STEP * self.STEP, None)
        windows = sound.unfold(1, sound.shape[1] - times + 1, 1).mT  # (B, T, S, D)
        weight = None
        if present is None or present.all():
            runs = self._in_runs(*self._in_steps(picture, sound), None, 1)
        else:
            weight = present.transpose(1, 2).unsqueeze(3).float()  # (B, T, S, 1)
            runs = self._in_runs(picture, windows, weight, self.STEP)
        bests, likes = zip(*runs, strict=True)
        best, like = torch.cat(bests, dim=1), sum(likes[1:], likes[0])
        like = like + torch.matmul(windows[:, rest], picture[:, rest].mT).float().sum(dim=1)
        like = like.mT / times
        if weight is None:
            return self.log_scale.exp() * best.mean(dim=1), like
        share = self._stretches(weight, self.STEP).squeeze(3)
        mean = (best * share).sum(dim=1) / share.sum(dim=1).clamp_min(1e-6)
        return self.log_scale.exp() * mean, like

    def _in_steps(self, picture: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """The pictures of each step as one of STEP times the channels, (B, T', P, STEP * D), and
        the sound that each reads at every shift, (B, T', S, STEP * D): one product then gives their
        sum, where all are present.
        """
        batch, times, *rest = picture.shape
        count = times // self.STEP
        pictures = picture[:, : count * self.STEP].view(batch, count, self.STEP, *rest)
        sounds = sound.unfold(1, self.STEP, 1).mT.flatten(2)
        windows = sounds.unfold(1, sound.shape[1] - times + 1, self.STEP).mT
        return pictures.transpose(2, 3).flatten(3), windows

    def _in_runs(
        self, picture: Tensor, windows: Tensor, weight: Tensor | None, size: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """A few stretches at a time: the likeness of the best place in each, (B, T', S); and that
        of every place, (B, S, P), summed over the pictures that no later stretch has.

        picture (B, T, P, D), windows (B, T, S, D), weight (B, T, S, 1); size: how many of these T
        make a step.
        """
        count = picture.shape[1] // size - self.REACH + 1
        step = count if torch.is_grad_enabled() else self.AT_A_TIME
        for first in range(0, count, step):
            last = min(first + step, count)
            run = slice(size * first, size * (last + self.REACH - 1))
            # In this order PyTorch multiplies in two thirds of the time of the other
            like = torch.matmul(windows[:, run], picture[:, run].mT).float()  # (B, run, S, P)
            total = (like if last == count else like[:, : size * step]).sum(dim=1)
            if weight is None:
                yield self._best(self._stretches(like, size)), total
            else:
                part = weight[:, run]
                share = self._stretches(part, size).clamp_min(1e-6)
                yield self._best(self._stretches(like.mul_(part), size) / share), total

    def _best(self, likeness: Tensor) -> Tensor:
        """Soft maximum over places: (B, T', S, P) -> (B, T', S); several equal places count like
        one.
        """
        sharpness = self.log_sharpness.exp()
        return (
            torch.logsumexp(sharpness * likeness, dim=3) - math.log(likeness.shape[3])
        ) / sharpness

    def _stretches(self, x: Tensor, size: int) -> Tensor:
        """Means over stretches of time: (B, T, S, P) -> (B, T', S, P); size: how many of the T make
        a step.
        """
        steps = x
        if size > 1:
            whole = x[:, : x.shape[1] // size * size]
            steps = whole.reshape(len(x), -1, size, *x.shape[2:]).sum(dim=2)
        count = steps.shape[1] - self.REACH + 1
        first, *others = (steps[:, k : k + count] for k in range(self.REACH))
        return sum(others, first) / (self.REACH * self.STEP)


def cells(present: Tensor | None, joint: Tensor, times: int) -> Tensor:
    """Which cells have picture and sound throughout: bool (B, S, N*25), or None for all -> (B, S,
    N, T').
    """
    if present is None:
        present = torch.ones(*joint.shape[:2], times, dtype=torch.bool, device=joint.device)
    return present.view(*present.shape[:2], -1, BLOCK_TIMES, BLOCK_FRAMES // BLOCK_TIMES).all(
        dim=-1
    )


def sums_of(picture_half: Tensor, sound_half: Tensor) -> Tensor:
    """What halves (B, N*25, P, J) and (B, N*25, J) give together after a ReLU, added up over
    `SUMMED` pictures at a time: (B, N, T', P, J).
    """
    batch, _, places, depth = picture_half.shape
    pictures = picture_half.view(batch, -1, BLOCK_TIMES, SUMMED, places, depth).unbind(3)
    if picture_half.is_floating_point():
        sounds = sound_half.view(batch, -1, BLOCK_TIMES, SUMMED, 1, depth).unbind(3)
        # Not a mean: PyTorch takes five times as long over it when asked for one in bfloat16.
        first, *others = (
            (picture + sound).relu_() for picture, sound in zip(pictures, sounds, strict=True)
        )
        return sum(others, first)
    # Of whole numbers, relu(p + s) is exactly max(p, -s) + s, and the sounds can be added up by
    # themselves: half of the time.
    minus = (-sound_half).view(batch, -1, BLOCK_TIMES, SUMMED, 1, depth).unbind(3)
    total = torch.maximum(pictures[0], minus[0])
    room = torch.empty_like(total)
    for picture, sound in zip(pictures[1:], minus[1:], strict=True):
        total += torch.maximum(picture, sound, out=room)
    return total.sub_(sum(minus[1:], minus[0]))
