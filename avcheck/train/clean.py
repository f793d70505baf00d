"""Clips have offsets of their own ("in sync as recorded" is not quite true). A model that never saw
a clip estimates its offset.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from avcheck.network.model import SyncNet
from avcheck.train.corpus import CachedClip, Clip
from avcheck.train.measure import SEARCH, curve
from avcheck.train.sampling import Recipe

WINDOW_FRAMES = 75
MAX_WINDOWS = 8
MAX_OFFSET_FRAMES = 12.5  # a clip beyond this is taken for a voice-over or a mismatch, and dropped
_MIN_PEAK = 1.2  # peak of the mean curve above its median, in logits of the shift score


def offset_by_trunks(net: SyncNet, cached: CachedClip, recipe: Recipe) -> tuple[float, bool] | None:
    """The offset of a clip by the trunks alone.

    Args:
        net: The network, which never saw the clip.
        cached: The clip.
        recipe: How its pictures are seen.

    Returns:
        The offset in frames, positive = sound late; and whether it is trusted: the mean curve of
        windows of 3 s has a clear peak within `MAX_OFFSET_FRAMES`, and most windows peak near it.
        None if there is nothing to look at.
    """
    starts = range(3, len(cached.frames) - WINDOW_FRAMES - 2, WINDOW_FRAMES) or range(0, 1)
    chosen = np.linspace(0, len(starts) - 1, min(MAX_WINDOWS, len(starts))).round().astype(int)
    curves = []
    for index in chosen:
        frames = min(WINDOW_FRAMES, len(cached.frames) - starts[index])
        scores = curve(net, cached, starts[index], frames, recipe)
        if scores is not None and np.isfinite(scores).any():
            curves.append(np.where(np.isfinite(scores), scores, np.nan))
    if not curves:
        return None
    windows = np.isfinite(curves).sum(axis=0)
    mean = np.where(windows > 0, np.nansum(curves, axis=0) / np.maximum(windows, 1), np.nan)
    best = int(np.nanargmax(mean))
    peaks = np.array([int(np.nanargmax(scores)) for scores in curves])
    steady = float((np.abs(peaks - best) <= 2).mean())
    frames_late = float(best - SEARCH)
    if 0 < best < len(mean) - 1 and np.isfinite(mean[best - 1 : best + 2]).all():
        left, mid, right = mean[best - 1 : best + 2]
        frames_late += float(
            np.clip(0.5 * (left - right) / min(left - 2 * mid + right, -1e-6), -0.5, 0.5)
        )
    clear = float(mean[best] - np.nanmedian(mean)) > _MIN_PEAK
    return frames_late, bool(clear and steady >= 0.6 and abs(frames_late) <= MAX_OFFSET_FRAMES)


def usable(clip: Clip) -> bool:
    """Whether a clip's own offset is known well enough, and small enough, to learn from the
    clip.
    """
    return clip.trusted and abs(clip.offset_frames or 0.0) <= MAX_OFFSET_FRAMES


def clean(
    net: SyncNet,
    clips: Sequence[CachedClip],
    recipe: Recipe,
    on_clip: Callable[[int, int], None] | None = None,
) -> list[CachedClip]:
    """Estimate the offsets of clips (`offset_by_trunks`); a clip without a clear and steady match
    comes back untrusted. `on_clip` is called after each with (done, total).
    """
    net.eval()
    out = []
    for number, cached in enumerate(clips):
        with torch.inference_mode():
            estimated = offset_by_trunks(net, cached, recipe)
        frames, trusted = estimated if estimated is not None else (None, False)
        out.append(
            replace(cached, clip=replace(cached.clip, offset_frames=frames, trusted=trusted))
        )
        if on_clip is not None:
            on_clip(number + 1, len(clips))
    return out
