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
_APART = 5  # frames (200 ms) by which a copy is displaced
_EVERY = 100  # frames between two windows of a clip
_WINDOW = 105  # frames


def view_of(
    cached: CachedClip, first: int, frames: int, recipe: Recipe
) -> NDArray[np.uint8] | None:
    """The pictures of a window.

    Args:
        cached: The clip.
        first: Its picture at which the window begins.
        frames: Pictures of the window.
        recipe: Its `view` is "frame", whole pictures as a check sees them, or "crop", a square
            around the mouth; its `size[0]` is the short side, px.

    Returns:
        (frames, h, w); None if a face is to be cropped and there is none.
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
            window_map(face.x, face.mouth_y, face.width / side, (side, side), False),
            (side, side),
        )
    zoom = min(height, width) / side
    size = (round(height / zoom), round(width / zoom))
    whole = cut(pictures, window_map(width / 2, height / 2, zoom, size, False), size)
    return steadied(whole) if recipe.steady else whole


@torch.inference_mode()
def curve(
    net: SyncNet, cached: CachedClip, first: int, frames: int, recipe: Recipe
) -> NDArray[np.float32] | None:
    """The trunks' own score of a window at every shift.

    Args:
        net: The network; only its trunks and their match are used.
        cached: The clip.
        first: Its picture at which the window begins.
        frames: Pictures of the window.
        recipe: How the pictures are seen, as in `view_of`.

    Returns:
        Logits (2 SEARCH + 1,), -inf where the sound would leave the clip; None if there is no face.
    """
    pictures = view_of(cached, first, frames, recipe)
    if pictures is None:
        return None
    samples, inside = read_sound(cached, first - SEARCH, frames + 2 * SEARCH)
    device = next(net.parameters()).device
    half = half_is_fast(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        picture, _ = net.visual(torch.from_numpy(pictures)[None].to(device))
        sound = net.sound(torch.from_numpy(log_mel(samples))[None].to(device))
    logits: Tensor = net.match(picture, sound)[0]
    out = logits.float().cpu().numpy()
    # Up to a fifth of the window may be silence beyond the clip's end; more would be a guess.
    covered = np.array([inside[i : i + frames].mean() >= 0.8 for i in range(2 * SEARCH + 1)])
    return np.where(covered, out, -np.inf)


def windows(
    net: SyncNet, cached: CachedClip, recipe: Recipe, frames: int
) -> Iterator[tuple[float, float | None]]:
    """Measure one window every 4 s of a clip.

    Args:
        net: The network, as in `curve`.
        cached: The clip, with its own offset; none if that is beyond `SEARCH`, where no shift is
            right.
        recipe: How the pictures are seen.
        frames: Pictures of a window.

    Yields:
        For each window, the error in frames; and the share of its copies, displaced by 200 ms
        either way, that score below the truth, None if the clip has no sound for a copy.
    """
    offset = cached.clip.offset_frames or 0.0
    if abs(offset) > SEARCH:
        return
    for first in range(
        SEARCH // 2, max(len(cached.frames) - frames - SEARCH // 2, SEARCH // 2 + 1), _EVERY
    ):
        if first + frames > len(cached.frames):
            continue
        scores = curve(net, cached, first, frames, recipe)
        if scores is None:
            continue
        at = SEARCH + round(offset)
        copies = [each for each in (at - _APART, at + _APART) if 0 <= each < len(scores)]
        won = [float(scores[at] > scores[each]) for each in copies if np.isfinite(scores[each])]
        yield abs(int(scores.argmax()) - SEARCH - offset), float(np.mean(won)) if won else None


def accuracy(net: SyncNet, clips: Sequence[CachedClip], recipe: Recipe) -> dict[str, float]:
    """Figures for the log over the `windows` of 4.2 s of clips: how many there are, the shares
    within 1 and 3 frames of the known offset, and the share of displaced copies that score below
    the truth. What nothing was measured for is left out.
    """
    net.eval()
    pairs = [pair for cached in clips for pair in windows(net, cached, recipe, _WINDOW)]
    errors = np.array([error for error, _ in pairs])
    won = [each for _, each in pairs if each is not None]
    figures = {"val_windows": float(len(pairs))}
    if pairs:
        figures["val_within1"] = float((errors <= 1.0).mean())
        figures["val_within3"] = float((errors <= 3.0).mean())
    if won:
        figures["val_pair200"] = float(np.mean(won))
    return figures
