"""What the trunks are trained on: tell the true shift from its neighbours."""

from __future__ import annotations

import torch
from torch import Tensor


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
