"""Where faces may be in larger pictures: a small network over a few stills of a segment.

It only says where the closer look (`closeup`) should look; the sync network decides what matches
the sound. One still every two seconds costs a hundredth of a search through all pictures, so even a
face of a few per cent of the picture is found within the budget of that look.

The network is fully convolutional: for every fourth pixel it predicts whether the centre of a face
of some 10 to 30 px lies there, and the size of that face, as in "Objects as Points" (Zhou et al.,
2019). It is applied to a still at several scales, each half the one before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from avcheck.errors import ModelError
from avcheck.network.shipped import FACES_NAME, FACES_SHA256, shipped_path
from avcheck.network.weights import read_tensors

FORMAT = "avcheck-faces-1"
STRIDE = 4  # px between the places that are judged
FACE_SIDE = 16.0  # px; sizes are predicted in relation to it
CHANNELS = (16, 24, 32, 32)
SCALES = (1.0, 0.5, 0.25, 0.125)
# Least chance at which a place counts as a face
_LEAST_CHANCE = 0.15
_MOST_A_STILL = 8
_PEAK = 5  # places, a side: of the faces in such a square only the likeliest is kept
_CONTRAST = (4, 7)  # a mean over 28 px: reduced by the first, then over a square of the second
# From one still to the next a face may move by this many times its size, and its size may change by
# this factor
_FARTHEST, _MOST_GROWTH = 1.0, 1.6


class FaceFinder(nn.Module):
    """Luma (K, 1, H, W), 0..255 -> (K, 2, ceil(H/4), ceil(W/4)): the logit of a face's centre, and
    the logarithm of its size divided by `FACE_SIDE`.
    """

    def __init__(self, channels: tuple[int, int, int, int] = CHANNELS) -> None:
        super().__init__()
        first, second, third, last = channels
        self.body = nn.Sequential(
            _convolution(1, first, stride=2),
            _convolution(first, second, stride=2),
            _convolution(second, third),
            _convolution(third, last, dilation=2),
            _convolution(last, last, dilation=2),
            _convolution(last, last, dilation=2),
            _convolution(last, last),
        )
        self.out = nn.Conv2d(last, 2, 1)

    def forward(self, luma: Tensor) -> Tensor:
        scores: Tensor = self.out(self.body(local_contrast(luma)))
        return scores


def _convolution(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def local_contrast(luma: Tensor) -> Tensor:
    """(K, 1, H, W) less the mean around each pixel, divided by the standard deviation around it.

    The weights of the finder were learnt with these windows and this floor, which are not those of
    `trunks.local_contrast`.
    """

    def around(values: Tensor) -> Tensor:
        reduced, side = _CONTRAST
        small = F.avg_pool2d(values, reduced, ceil_mode=True, count_include_pad=False)
        small = F.avg_pool2d(small, side, 1, side // 2, count_include_pad=False)
        return F.interpolate(small, size=luma.shape[2:], mode="bilinear", align_corners=False)

    mean = around(luma)
    deviation = (around(luma * luma) - mean * mean).clamp_min(0).sqrt()
    return (luma - mean) / (deviation + 8)


@dataclass(frozen=True)
class Spot:
    """A likely face in one still: its chance, its centre (y, x), and the side of a square around
    it, in px.
    """

    chance: float
    y: float
    x: float
    side: float


@dataclass(frozen=True)
class Face:
    """A face in several stills of a run of pictures.

    chance: the mean over all stills, 0 for those without it; side: px; pictures: (K,), the numbers
    of the pictures that it was found in, ascending; centres: (K, 2), its y and x in those, px.
    """

    chance: float
    side: float
    pictures: NDArray[np.int_]
    centres: NDArray[np.float64]


def read_finder(path: Path, known_sha256: str | None = None) -> FaceFinder:
    """Read a finder from its file, in evaluation mode.

    Args:
        path: The safetensors file.
        known_sha256: The hash that the file must have; None: any.

    Raises:
        ModelError: As `read_tensors` raises it, or the file holds other tensors.
    """
    tensors, _, _ = read_tensors(path, FORMAT, known_sha256)
    net = FaceFinder()
    try:
        # Copied, as the file is mapped and may be replaced while a check runs.
        net.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()})
    except RuntimeError as error:
        raise ModelError(f"{path}: not the weights of a face finder") from error
    return net.eval().requires_grad_(False)


@lru_cache(maxsize=2)
def face_finder(device: torch.device) -> FaceFinder:
    """The shipped finder. Raises ModelError if its file is missing, or not the one that this
    version knows.
    """
    return read_finder(shipped_path(FACES_NAME), FACES_SHA256).to(device)


@torch.inference_mode()
def spots(
    still: NDArray[np.uint8], net: FaceFinder, scales: Sequence[float] = SCALES
) -> list[Spot]:
    """The likeliest faces in a picture, without overlaps, the likeliest first.

    Args:
        still: Luma, uint8 (H, W).
        net: The finder.
        scales: By how much to scale the picture, for faces of different sizes.

    Returns:
        At most `_MOST_A_STILL` faces.
    """
    device = next(net.parameters()).device
    luma = torch.from_numpy(np.ascontiguousarray(still)).to(device)[None, None].float()
    coming: list[Spot] = []
    for scale in scales:
        size = [max(16, round(side * scale)) for side in still.shape]
        scaled = luma
        if scale != 1:
            scaled = F.interpolate(
                luma, size=size, mode="bilinear", antialias=True, align_corners=False
            )
        chances, sizes = net(scaled)[0]
        coming += _peaks(torch.sigmoid(chances), sizes, size[0] / still.shape[0])
    coming.sort(key=lambda spot: spot.chance, reverse=True)
    kept: list[Spot] = []
    for spot in coming:
        if len(kept) == _MOST_A_STILL:  # a texture can give thousands
            break
        if all(_apart(spot, other) for other in kept):
            kept.append(spot)
    return kept


def _peaks(chances: Tensor, sizes: Tensor, scale: float) -> list[Spot]:
    """The faces at one scale of a picture, (h, w) places, in px of the original picture."""
    highest = F.max_pool2d(chances[None, None], _PEAK, 1, _PEAK // 2)[0, 0]
    at = torch.nonzero((chances == highest) & (chances >= _LEAST_CHANCE))
    middle = (STRIDE - 1) / 2
    return [
        Spot(
            float(chances[row, column]),
            (row * STRIDE + middle) / scale,
            (column * STRIDE + middle) / scale,
            FACE_SIDE * math.exp(float(sizes[row, column])) / scale,
        )
        for row, column in at.tolist()
    ]


def _apart(one: Spot, other: Spot) -> bool:
    return max(abs(one.y - other.y), abs(one.x - other.x)) > 0.5 * max(one.side, other.side)


def faces_in(
    stills: Sequence[NDArray[np.uint8]], pictures: Sequence[int], net: FaceFinder
) -> list[Face]:
    """Faces in stills (H, W) of one run, the likeliest first. pictures: the number of each still's
    picture in that run, ascending.

    A face is followed from still to still as long as it moves by less than its own size.
    """
    tracks: list[list[tuple[int, Spot]]] = []
    for number, still in zip(pictures, stills, strict=True):
        open_ = list(tracks)
        for spot in spots(still, net):
            near = [track for track in open_ if _goes_on(track[-1][1], spot)]
            if near:
                track = min(near, key=lambda track: _distance(track[-1][1], spot))
                track.append((number, spot))
                open_ = [each for each in open_ if each is not track]
            else:
                tracks.append([(number, spot)])
    faces = [
        Face(
            sum(spot.chance for _, spot in track) / len(stills),
            float(np.median([spot.side for _, spot in track])),
            np.array([number for number, _ in track]),
            np.array([(spot.y, spot.x) for _, spot in track]),
        )
        for track in tracks
    ]
    return sorted(faces, key=lambda face: face.chance, reverse=True)


def _distance(one: Spot, other: Spot) -> float:
    return math.hypot(one.y - other.y, one.x - other.x)


def _goes_on(before: Spot, after: Spot) -> bool:
    larger, smaller = max(before.side, after.side), min(before.side, after.side)
    return larger <= _MOST_GROWTH * smaller and _distance(before, after) <= _FARTHEST * larger
