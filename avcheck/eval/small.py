"""Clips set into larger pictures, where a face is small or one of two: what a check sees of them,
with its closer look.

A larger picture stands for one of 1080 lines or so. It is made, from the clip's own pixels, at
whatever size it is looked at, and the clip takes the same share of it at every size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from avcheck.eval.windows import Footage, Shot, curves, observe
from avcheck.network.weights import Loaded
from avcheck.reading.blocks import BLOCK_FRAMES, Block
from avcheck.reading.segments import segments
from avcheck.record.report import Tolerance
from avcheck.scan.closeup import Closer, zoom
from avcheck.scan.searching import CLOSER_SIDE, CloserLook, look_closer
from avcheck.train.corpus import Clip
from avcheck.verdict.judge import judge
from avcheck.verdict.posterior import Calibration, Curve

ASPECT = 16 / 9  # of the larger picture
FULL = ((0.0, 0.0), (1.0, 1.0))

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Layer:
    """Pictures and their place in the larger one."""

    frames: Pictures  # (T, h, w)
    corner: tuple[float, float]  # top and left, as shares of the larger height and width
    extent: tuple[float, float]  # height and width, likewise
    fill: bool = False  # crop pictures of another shape than their place around the middle


@dataclass(frozen=True)
class Setting:
    """A larger picture, composed of layers."""

    layers: tuple[Layer, ...]  # from the back to the front, each of the same number of pictures
    aspect: float = ASPECT  # width by height

    def pictures(self, short_side: int) -> Pictures:
        """The composed pictures, (T, H, W)."""
        size = (
            (short_side, round(short_side * self.aspect))
            if self.aspect >= 1
            else (round(short_side / self.aspect), short_side)
        )
        out = np.zeros((len(self.layers[0].frames), *size), np.uint8)
        for layer in self.layers:
            top, left = (
                round(share * length) for share, length in zip(layer.corner, size, strict=True)
            )
            rows, columns = (
                max(1, round(share * length))
                for share, length in zip(layer.extent, size, strict=True)
            )
            rows, columns = min(rows, size[0] - top), min(columns, size[1] - left)
            for first in range(0, len(out), BLOCK_FRAMES):
                run = slice(first, first + BLOCK_FRAMES)
                out[run, top : top + rows, left : left + columns] = _scaled(
                    layer.frames[run], (rows, columns), layer.fill
                )
        return out


def _scaled(frames: Pictures, shape: tuple[int, int], fill: bool) -> Pictures:
    """The pictures at (H, W) px; with `fill`, cropped to that shape first."""
    height, width = frames.shape[1:]
    if fill:
        scale = min(height / shape[0], width / shape[1])
        rows, columns = max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
        top, left = (height - rows) // 2, (width - columns) // 2
        frames = frames[:, top : top + rows, left : left + columns]
    source = torch.from_numpy(np.ascontiguousarray(frames))[None].float()
    scaled = F.interpolate(
        source, size=shape, mode="bilinear", antialias=True, align_corners=False
    )[0]
    return scaled.round().clamp(0, 255).to(torch.uint8).numpy()


def shrunk(frames: Pictures, ground: Pictures, factor: int, rng: np.random.Generator) -> Setting:
    """A clip in front of another.

    Args:
        frames: Its pictures, (T, h, w).
        ground: Those of the other, (T, H, W).
        factor: The clip is at 1 / `factor` of the size that it would have alone, or smaller, if it
            is too tall or too wide to fit.
        rng: Draws its place.
    """
    height, width = frames.shape[1:]
    # Of the larger picture's height, per px
    share = min(1 / factor / min(height, width), 1 / height, ASPECT / width)
    extent = height * share, width * share / ASPECT
    top, left = (float(rng.uniform(0, max(0.0, 1 - each))) for each in extent)
    corner = top, left
    return Setting((Layer(ground, *FULL, fill=True), Layer(frames, corner, extent)))


def side_by_side(left: Pictures, right: Pictures) -> tuple[Setting, float]:
    """Two clips of one height side by side, and where they meet, as a share of the width."""
    wide = [frames.shape[2] / frames.shape[1] for frames in (left, right)]
    meet = wide[0] / sum(wide)
    layers = Layer(left, (0.0, 0.0), (1.0, meet)), Layer(right, (0.0, meet), (1.0, 1 - meet))
    return Setting(layers, aspect=sum(wide)), meet


def there_and_back(frames: Pictures, count: int) -> Pictures:
    """`count` pictures of a clip that may be shorter: played forwards, backwards, and so on, so
    that nothing ever jumps.
    """
    turn = np.arange(count) % max(1, 2 * len(frames) - 2)
    return frames[np.where(turn < len(frames), turn, 2 * len(frames) - 2 - turn)]


def closer_over(pictures: Callable[[], Pictures], sound: Sequence[Block], model: Loaded) -> Closer:
    """The closer look of a check at the segments of a file.

    Args:
        pictures: Makes all larger pictures of the file, (T, H, W), when they are needed; the last
            block may be incomplete.
        sound: The file's blocks, without pictures.
        model: The weights.
    """
    by_start = {window.inside[0].start_s: window for window in segments(sound)}

    def closer(curve: Curve, budget: float, faces_alone: bool) -> CloserLook:
        window, larger = by_start[curve.start_s], pictures()
        inside = []
        for block in window.inside:
            own = larger[block.index * BLOCK_FRAMES : (block.index + 1) * BLOCK_FRAMES]
            black = np.zeros((BLOCK_FRAMES - len(own), *larger.shape[1:]), np.uint8)
            inside.append(replace(block, pictures=np.concatenate([own, black])))
        return look_closer(curve, replace(window, inside=inside), model, budget, faces_alone)

    return closer


class ViewedSetting:
    """A setting as the first look sees it and, on demand, as the closer look does."""

    def __init__(
        self, clip: Clip, setting: Setting, model: Loaded, levels: tuple[int, ...]
    ) -> None:
        self._model = model
        self._larger = cache(lambda: setting.pictures(CLOSER_SIDE))
        self._footage: Footage = observe(
            clip, setting.pictures(max(levels)), np.zeros(0, np.float32), model, levels
        )

    @property
    def shot(self) -> Shot:
        """The whole setting, as the first look sees it."""
        return self._footage.shot(0, len(self._footage.frames))

    def judged(
        self, sound: list[Block], tolerance: Tolerance, calibration: Calibration
    ) -> tuple[Curve, Curve]:
        """The score curves of a segment with this sound: that of the first look, and the one that
        a check judges in the end.
        """
        whole = list(curves(self.shot, sound, self._model))
        closer = closer_over(self._larger, sound, self._model)
        zoomed = zoom(whole, judge(whole, tolerance, calibration), closer, tolerance, calibration)
        return whole[0], zoomed.curves[0]


def share_beyond(curve: Curve, column_share: float, shift: int) -> float:
    """Share of the attention to the right of `column_share` (0..1 of the width), at the index
    `shift` of the shifts.
    """
    weight = curve.places[:, shift].sum(axis=0)
    right = np.array([place.x > column_share for place in curve.grid])
    return float(weight[right].sum() / max(float(weight.sum()), 1e-9))
