"""Distillation: a network learns to see a small, spoiled mouth, and to hear spoiled sound, as a
trained one sees the same mouth large and hears the same sound clean.

The shift of a window is one number; this is a target for every picture. After Hinton, Vinyals,
Dean, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531), on features in place of
chances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avcheck.network.model import SyncNet
from avcheck.network.trunks import PLACE_PX
from avcheck.network.weights import half_is_fast
from avcheck.train.sampling import Lesson

# Weights in the loss, beside the cross-entropy over the shifts
_OF_PICTURES, _OF_SOUND = 3.0, 2.0
_NEAR_FRAMES = 1.5  # within which the teacher has to find the true shift of a window


class Lessons(NamedTuple):
    """What a teacher is shown of B windows, as in `Lesson`."""

    mouth: NDArray[np.uint8]  # (B, T, side, side)
    mel: NDArray[np.float32]  # (B, 4 (T + 2 margin), 64)
    place: NDArray[np.float32]  # (B, 2), px

    @classmethod
    def of(cls, lessons: list[Lesson]) -> Lessons:
        return cls(*(np.stack([getattr(each, name) for each in lessons]) for name in cls._fields))


@dataclass(frozen=True)
class Teacher:
    """A trained network, which stays as it is."""

    net: SyncNet  # in evaluation mode

    def loss(
        self,
        lessons: Lessons,
        picture: Tensor,
        grid: tuple[int, int],
        sound: Tensor,
        valid: Tensor,
        centre: Tensor,
    ) -> Tensor:
        """How unlike the features of a network in training are to this one's.

        Pictures count in windows whose shift the teacher itself finds: in others nobody may be
        speaking.

        Args:
            lessons: What the teacher is shown.
            picture: The other network's features of the pictures, (B, T, P, D).
            grid: Rows and columns of the P places.
            sound: Its features of the sound, (B, T + 2 margin, D).
            valid: Whether the clip has the sound of a shift, bool (B, 2 margin + 1).
            centre: The true shifts, (B,) frames.

        Returns:
            The loss, a scalar.
        """
        device = picture.device
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, half_is_fast(device)):
            large, places = self.net.visual(torch.from_numpy(lessons.mouth).to(device))
            clean = self.net.sound(torch.from_numpy(lessons.mel).to(device))
            shift = self.net.match(large, clean).masked_fill(~valid, -torch.inf).argmax(dim=1)
            middle = torch.full((len(large), 2), lessons.mouth.shape[2] / 2, device=device)
            mouth = at_place(large, places, middle)
        knows = (shift - valid.shape[1] // 2 - centre).abs() <= _NEAR_FRAMES
        own = at_place(picture, grid, torch.from_numpy(lessons.place).to(device))
        unlike = 1 - (own * mouth).sum(dim=-1).mean(dim=1)  # (B,)
        of_pictures = (unlike * knows).sum() / knows.sum().clamp_min(1)
        of_sound = (1 - (sound * clean).sum(dim=-1)).mean()
        total: Tensor = _OF_PICTURES * of_pictures + _OF_SOUND * of_sound
        return total


def at_place(features: Tensor, grid: tuple[int, int], place: Tensor) -> Tensor:
    """Features between the places of a grid.

    Args:
        features: Of P places, (B, T, P, D).
        grid: Rows and columns of the places, of which the first lies at the first px.
        place: Where to look in each window's pictures, (B, 2), x and y, px.

    Returns:
        Unit features, (B, T, D).
    """
    batch, times, _, depth = features.shape
    rows, columns = grid
    maps = features.float().transpose(2, 3).reshape(batch, times * depth, rows, columns)
    last = torch.tensor([columns - 1, rows - 1], device=place.device).clamp_min(1)
    at = (2 * place / PLACE_PX / last - 1).view(batch, 1, 1, 2)
    looked = F.grid_sample(maps, at, align_corners=True, padding_mode="border")
    return F.normalize(looked.view(batch, times, depth), dim=-1)
