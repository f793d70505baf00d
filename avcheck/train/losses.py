"""Losses of trunks and heads: the true shift against its neighbours, and a moment against those
around it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Of `matching_loss`: what likeness is multiplied by before the softmax, and the width of the
# target, a Gaussian over the time between picture and sound
_SCALE, _SIGMA_S = 15.0, 0.03


def shift_target(centre: Tensor, margin: int, sigma: float = 0.7) -> Tensor:
    """The target over the candidate shifts: a Gaussian around the true one.

    Args:
        centre: The true shifts, (B,) frames, with fractions.
        margin: The largest candidate, frames.
        sigma: Width of the Gaussian, frames.

    Returns:
        (B, 2 margin + 1), for the shifts from -margin to margin; each row sums to 1.
    """
    grid = torch.arange(-margin, margin + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((grid - centre[:, None]) / sigma) ** 2)
    return weights / weights.sum(dim=1, keepdim=True)


def shift_loss(
    logits: Tensor, target: Tensor, valid: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Cross-entropy against a soft target over the valid shifts.

    Args:
        logits: (B, S).
        target: (B, S); what of it lies on shifts that are not valid is shared out over the others.
        valid: Bool (B, S).
        weight: Of each row, (B,); None: all the same.

    Returns:
        The mean over the rows, a scalar.
    """
    logits = logits.float().masked_fill(~valid, -1e4)
    target = target * valid
    target = target / target.sum(dim=1, keepdim=True).clamp_min(1e-6)
    each = -(target * logits.log_softmax(dim=1)).sum(dim=1)
    if weight is None:
        return each.mean()
    return (each * weight).sum() / weight.sum().clamp_min(1e-6)


def matching_loss(
    picture: Tensor,
    sound: Tensor,
    picture_s: Tensor,
    sound_s: Tensor,
    heard: Tensor,
) -> Tensor:
    """Cross-temporal matching (CTM, Koo et al.): pictures and sound that are close in time must be
    alike, and no others.

    Each picture chooses among all sounds and each sound among all pictures. The best place stands
    for its picture (soft maximum).

    Args:
        picture: Unit vectors (B, T, P, D).
        sound: Unit vectors (B, L, D), in sync with the pictures.
        picture_s: The times of the pictures, (T,) seconds.
        sound_s: The times of the sounds, (L,) seconds.
        heard: Where there is sound, bool (B, L).

    Returns:
        The loss, a scalar.
    """
    likeness = _SCALE * torch.einsum("btpd,bld->btpl", picture.float(), sound.float())
    likeness = torch.logsumexp(likeness, dim=2) - math.log(picture.shape[2])  # (B, T, L)
    apart_s = picture_s[:, None] - sound_s
    target = torch.exp(-0.5 * (apart_s / _SIGMA_S) ** 2).expand_as(likeness)
    near = (apart_s.abs() <= 2 * _SIGMA_S).expand_as(likeness)
    valid = heard[:, None].expand_as(likeness)
    # An item without a counterpart at its own time does not count.
    pictures_say = (valid & near).any(dim=2).float()
    sounds_say = (valid & near).any(dim=1).float()
    by_picture = shift_loss(
        likeness.flatten(0, 1), target.flatten(0, 1), valid.flatten(0, 1), pictures_say.flatten()
    )
    turned = likeness.transpose(1, 2).flatten(0, 1)
    by_sound = shift_loss(
        turned,
        target.transpose(1, 2).flatten(0, 1),
        torch.ones_like(turned, dtype=torch.bool),
        sounds_say.flatten(),
    )
    return 0.5 * (by_picture + by_sound)
