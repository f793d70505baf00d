"""The larger pictures of a segment for a closer look: whole or in part, with the camera's shake."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avcheck.reading.blocks import BLOCK_FRAMES, Block
from avcheck.reading.stabilise import reduced, shake, steadied

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Larger:
    """The larger pictures of a segment. strayed: how far the shake has moved each, (T, 2) px to the
    right and down; far: the RMS of that, as a share of the short side.
    """

    inside: list[Block]  # the segment's blocks
    size: tuple[int, int]  # height, width, px
    strayed: NDArray[np.float64]
    far: float

    @classmethod
    def of(cls, inside: list[Block]) -> Larger:
        height, width = inside[0].pictures.shape[1:]
        little = np.concatenate([reduced(block.pictures) for block in inside])
        strayed = shake(little) * (width / little.shape[2], height / little.shape[1])
        far = float(np.sqrt((strayed**2).sum(axis=1).mean())) / min(height, width)
        return cls(inside, (height, width), strayed, far)

    @property
    def side(self) -> int:
        """The short side, px."""
        return min(self.size)

    @property
    def count(self) -> int:
        """The number of pictures."""
        return BLOCK_FRAMES * len(self.inside)

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(T,), False for a missing picture."""
        return np.concatenate([block.picture_mask for block in self.inside])

    def picture(self, number: int) -> Pictures:
        """One picture, (H, W)."""
        block, at = divmod(number, BLOCK_FRAMES)
        picture: Pictures = self.inside[block].pictures[at]
        return picture

    def run(self, run: slice) -> Pictures:
        """The pictures in `run`, (T, H, W), without copying any others."""
        parts = []
        for number in range(run.start // BLOCK_FRAMES, math.ceil(run.stop / BLOCK_FRAMES)):
            first = number * BLOCK_FRAMES
            pictures = self.inside[number].pictures
            parts.append(pictures[max(0, run.start - first) : run.stop - first])
        return np.concatenate(parts)

    def cut(self, corner: tuple[int, int, int, int], strayed: NDArray[np.float64]) -> Pictures:
        """The part `corner` (top, left, height, width; px) of each picture, moved back by as much
        as the picture has `strayed`, (T, 2).
        """
        top, left, tall, wide = corner
        # Steadying needs some pixels around the part
        spare = math.ceil(float(np.abs(strayed).max())) + 1
        rows = slice(max(0, top - spare), top + tall + spare)
        columns = slice(max(0, left - spare), left + wide + spare)
        around = np.concatenate([block.pictures[:, rows, columns] for block in self.inside])
        return np.ascontiguousarray(
            steadied(around, strayed)[:, top - rows.start :, left - columns.start :][
                :, :tall, :wide
            ]
        )
