"""What the trunks are trained on: tell the true shift from its neighbours."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ShiftScore(nn.Module):
    """Similarity of picture and sound at every shift: a soft maximum over places of short-time mean cosine similarity.

    `scale` (learned) turns similarity into logits; `sharpness` (learned) is the hardness of the maximum over places.
    """

    def __init__(self, smooth_frames: int = 9) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.log_sharpness = nn.Parameter(torch.tensor(2.5))
        self.smooth_frames = smooth_frames

    def similarity(self, picture: Tensor, sound: Tensor) -> Tensor:
        """(B, T, P, D) and (B, T + 2M, D) -> mean similarity (B, T, S), S = 2M + 1."""
        times = picture.shape[1]
        windows = sound.unfold(1, sound.shape[1] - times + 1, 1)  # (B, T, D, S)
        places = torch.matmul(picture, windows)  # (B, T, P, S)
        batch, _, count, shifts = places.shape
        if self.smooth_frames > 1:
            flat = places.permute(0, 2, 3, 1).reshape(batch * count * shifts, 1, times)
            flat = F.avg_pool1d(flat, self.smooth_frames, stride=3)
            places = flat.view(batch, count, shifts, -1).permute(0, 3, 1, 2)
        sharpness = self.log_sharpness.exp()
        return (torch.logsumexp(sharpness * places, dim=2) - torch.log(torch.tensor(float(count)))) / sharpness

    def forward(self, picture: Tensor, sound: Tensor) -> Tensor:
        """(B, T, P, D) and (B, T + 2M, D) -> logits (B, S)."""
        return self.log_scale.exp() * self.similarity(picture, sound).mean(dim=1)


def shift_target(centre: Tensor, margin: int, sigma: float = 0.7) -> Tensor:
    """Gaussian over shifts -margin..margin around the (fractional) true shift, (B,) -> (B, 2 margin + 1), rows sum to 1."""
    grid = torch.arange(-margin, margin + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((grid - centre[:, None]) / sigma) ** 2)
    return weights / weights.sum(dim=1, keepdim=True)


def shift_loss(logits: Tensor, target: Tensor, valid: Tensor, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy against a soft target over the valid shifts: (B, S) logits, target and bool mask -> scalar."""
    logits = logits.float().masked_fill(~valid, -1e4)
    target = target * valid
    target = target / target.sum(dim=1, keepdim=True).clamp_min(1e-6)
    each = -(target * logits.log_softmax(dim=1)).sum(dim=1)
    if weight is None:
        return each.mean()
    return (each * weight).sum() / weight.sum().clamp_min(1e-6)
