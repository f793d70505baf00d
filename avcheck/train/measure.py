"""How well the trunks alone find the shift on clips that training never saw; printed during
training, never trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avcheck.network.model import SyncNet
from avcheck.network.weights import half_is_fast
from avcheck.reading.mel import log_mel
from avcheck.reading.stabilise import steadied
from avcheck.train.corpus import CachedClip
from avcheck.train.sampling import Recipe, cut, face_at, read_sound, window_map

SEARCH = 25  # frames either way


def view_of(
    cached: CachedClip, first: int, frames: int, recipe: Recipe
) -> NDArray[np.uint8] | None:
    """Pictures of a window, (frames, h, w): as a check would see them ("frame", short side
    `size[0]`), or a square face crop ("crop"), which is None if there is no face.
    """
    side = recipe.size[0]
    pictures = cached.frames[first : first + frames]
    height, width = pictures.shape[1:]
    if recipe.view == "crop":
        face = face_at(cached, first, frames)
        if face is None:
            return None
        return cut(
            pictures,
            window_map(face[0], face[1] + 0.28 * face[2], face[2] / side, (side, side), False),
            (side, side),
        )
    zoom = min(height, width) / side
    size = (round(height / zoom), round(width / zoom))
    whole = cut(pictures, window_map(width / 2, height / 2, zoom, size, False), size)
    return steadied(whole) if recipe.steady else whole


@torch.inference_mode()
def curve(
    net: SyncNet, cached: CachedClip, first: int, frames: int, recipe: Recipe, search: int = SEARCH
) -> NDArray[np.float32] | None:
    """Score (2 search + 1,) of a window at every shift, -inf if the sound would leave the clip;
    None if there is no face.
    """
    pictures = view_of(cached, first, frames, recipe)
    if pictures is None:
        return None
    samples, inside = read_sound(cached, first - search, frames + 2 * search)
    device = next(net.parameters()).device
    half = half_is_fast(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        picture, _ = net.visual(torch.from_numpy(pictures)[None].to(device))
        sound = net.sound(torch.from_numpy(log_mel(samples))[None].to(device))
    logits: Tensor = net.match(picture, sound)[0]
    out = logits.float().cpu().numpy()
    # Up to a fifth of the window may be silence beyond the clip's end; more would be a guess.
    covered = np.array([inside[i : i + frames].mean() >= 0.8 for i in range(2 * search + 1)])
    return np.where(covered, out, -np.inf)


def windows(
    net: SyncNet, cached: CachedClip, recipe: Recipe, frames: int
) -> Iterator[tuple[float, float | None]]:
    """One window of `frames` pictures every 4 s of a clip: (error in frames, share of the copies
    displaced by 5 frames that score below the truth; None if the clip has no sound for a copy).
    """
    offset = cached.clip.offset_frames or 0.0
    for first in range(
        SEARCH // 2, max(len(cached.frames) - frames - SEARCH // 2, SEARCH // 2 + 1), 100
    ):
        if first + frames > len(cached.frames):
            continue
        scores = curve(net, cached, first, frames, recipe)
        if scores is None:
            continue
        at = SEARCH + round(offset)
        won = [
            float(scores[at] > scores[other])
            for other in (at - 5, at + 5)
            if np.isfinite(scores[other])
        ]
        yield abs(int(scores.argmax()) - SEARCH - offset), float(np.mean(won)) if won else None


def accuracy(
    net: SyncNet, clips: Sequence[CachedClip], recipe: Recipe, *, frames: int = 105
) -> dict[str, float]:
    """Over the `windows` of the clips: the shares within 1 and 3 frames of the known offset, and
    the share of copies displaced by 5 frames that score below the truth.
    """
    net.eval()
    pairs = [pair for cached in clips for pair in windows(net, cached, recipe, frames)]
    errors = np.array([error for error, _ in pairs])
    return {
        "val_windows": len(pairs),
        "val_within1": float((errors <= 1.0).mean()),
        "val_within3": float((errors <= 3.0).mean()),
        "val_pair200": float(np.mean([won for _, won in pairs if won is not None])),
    }
