"""One frame of the film: the picture with the attention over it, and the sound running below. Numpy
alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avcheck.evidence.letters import written
from avcheck.record.detail import BlockPlaces, SegmentDetail

_LETTER = 12  # px, the width of one with the gap after it
WIDTH, PICTURE_HEIGHT, PANEL_HEIGHT = 640, 360, 120  # px, even, as 4:2:0 needs
HEIGHT = PICTURE_HEIGHT + PANEL_HEIGHT
AROUND_S = 1.0  # of sound on either side of the picture's moment
_BLACK, _WHITE = 16, 235  # luma, video range
_GROUND, _WAVE, _GREY = 30, 130, 170
_GLOW = (90, 176)  # U and V: orange
_MARK = (100, 212)  # red
_TEXT_TOP, _WAVE_TOP, _WAVE_BOTTOM = 8, 32, PANEL_HEIGHT - 4

Plane = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Canvas:
    """A frame in 4:2:0, video range: y is uint8 (HEIGHT, WIDTH), u and v half as large each way."""

    y: Plane
    u: Plane
    v: Plane

    @classmethod
    def blank(cls) -> Canvas:
        """Black above, the ground of the panel below."""
        y = np.full((HEIGHT, WIDTH), _BLACK, np.uint8)
        y[PICTURE_HEIGHT:] = _GROUND
        half = (HEIGHT // 2, WIDTH // 2)
        return cls(y, np.full(half, 128, np.uint8), np.full(half, 128, np.uint8))

    def copy(self) -> Canvas:
        """A copy to draw on."""
        return Canvas(self.y.copy(), self.u.copy(), self.v.copy())

    def stacked(self) -> Plane:
        """As `VideoFrame.from_ndarray` takes it, uint8 (3 HEIGHT / 2, WIDTH)."""
        parts = [plane.reshape(-1, WIDTH) for plane in (self.y, self.u, self.v)]
        return np.concatenate(parts)


def picture(luma: Plane, glow: NDArray[np.float32] | None) -> Canvas:
    """Draw the picture, uint8 (H, W) full range, as large as fits, with the attention over it;
    `glow`: cells over it, 0..1.
    """
    canvas = Canvas.blank()
    height, width = luma.shape
    scale = min(PICTURE_HEIGHT / height, WIDTH / width)
    high, wide = (max(2, int(side * scale) // 2 * 2) for side in (height, width))
    rows = np.minimum((np.arange(high) / scale).astype(int), height - 1)
    columns = np.minimum((np.arange(wide) / scale).astype(int), width - 1)
    shown = 16 + luma[rows[:, None], columns].astype(np.float32) * (219 / 255)
    top, left = (PICTURE_HEIGHT - high) // 4 * 2, (WIDTH - wide) // 4 * 2
    if glow is not None:
        strength = _resized(glow, high, wide)
        shown = shown * (1 - 0.35 * strength) + 190 * 0.35 * strength
        half = strength[::2, ::2]
        for plane, colour in ((canvas.u, _GLOW[0]), (canvas.v, _GLOW[1])):
            part = plane[top // 2 : (top + high) // 2, left // 2 : (left + wide) // 2]
            part[:] = (128 + (colour - 128) * half).astype(np.uint8)
    canvas.y[top : top + high, left : left + wide] = shown.astype(np.uint8)
    return canvas


def glow_of(segment: SegmentDetail, block: BlockPlaces) -> NDArray[np.float32] | None:
    """Where the attention of a block falls, (rows, columns), the strongest cell 1; None if
    unknown.
    """
    if not block.cells:
        return None
    cells = np.zeros((segment.rows, segment.columns), np.float32)
    for column, row, share in block.cells:
        cells[row, column] = share
    strongest = cells / cells.max()
    return np.asarray(strongest, np.float32)


def panel(
    canvas: Canvas, samples: NDArray[np.float32], words: str, clock: str, its_s: float | None
) -> None:
    """Draw the sound below the picture, in place.

    samples: from `AROUND_S` before the moment of the picture to as much after it; words, clock: the
    captions at the left and right; its_s: how long after that moment the sound of the picture is
    heard, None if unknown.
    """
    room = (WIDTH - 20) // _LETTER - len(clock) - 1
    _write(canvas, words if len(words) <= room else words.split(" (")[0], 10)
    _write(canvas, clock, WIDTH - 10 - _LETTER * len(clock))
    middle = PICTURE_HEIGHT + (_WAVE_TOP + _WAVE_BOTTOM) // 2
    reach = (_WAVE_BOTTOM - _WAVE_TOP) / 2
    edges = np.arange(WIDTH) * len(samples) // WIDTH
    low = middle - np.minimum(np.maximum.reduceat(samples, edges), 1.0) * reach
    high = middle - np.maximum(np.minimum.reduceat(samples, edges), -1.0) * reach
    rows = np.arange(PICTURE_HEIGHT, HEIGHT)[:, None]
    canvas.y[PICTURE_HEIGHT:][(rows >= np.floor(low)) & (rows <= np.ceil(high))] = _WAVE
    top, bottom = PICTURE_HEIGHT + _WAVE_TOP, PICTURE_HEIGHT + _WAVE_BOTTOM
    if its_s is not None:
        x = round(WIDTH * (its_s + AROUND_S) / (2 * AROUND_S))
        if 0 <= x < WIDTH:
            left, right = sorted((x, WIDTH // 2))
            canvas.y[bottom - 4 : bottom, left : right + 1] = _GREY
            canvas.y[top:bottom, max(0, x - 1) : x + 1] = _GREY
            for plane, colour in ((canvas.u, _MARK[0]), (canvas.v, _MARK[1])):
                plane[top // 2 : bottom // 2, max(0, x - 1) // 2 : x // 2 + 1] = colour
                plane[(bottom - 4) // 2 : bottom // 2, left // 2 : right // 2 + 1] = colour
    canvas.y[top:bottom, WIDTH // 2 - 1 : WIDTH // 2 + 1] = _WHITE


def burn_in(canvas: Canvas, timecode: str) -> None:
    """Write a timecode on black into the upper right corner of the picture, in place."""
    dots = written(timecode)
    high, wide = (side + 2 * _TEXT_TOP for side in dots.shape)
    canvas.y[:high, WIDTH - wide :] = _BLACK
    for plane in (canvas.u, canvas.v):
        plane[: high // 2, (WIDTH - wide) // 2 :] = 128
    _write(canvas, timecode, WIDTH - wide + _TEXT_TOP, _TEXT_TOP)


def _write(canvas: Canvas, text: str, left: int, top: int = PICTURE_HEIGHT + _TEXT_TOP) -> None:
    dots = written(text)[:, : WIDTH - left]
    canvas.y[top : top + dots.shape[0], left : left + dots.shape[1]][dots] = _WHITE


def _resized(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Values of cells (h, w) at every pixel (height, width), bilinear between the centres of
    cells.
    """
    out = values
    for axis, size in ((0, height), (1, width)):
        count = out.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
        low = np.minimum(at.astype(int), max(count - 2, 0))
        part = (at - low).astype(np.float32)
        part = part[:, None] if axis == 0 else part[None, :]
        high = np.minimum(low + 1, count - 1)
        out = np.take(out, low, axis) * (1 - part) + np.take(out, high, axis) * part
    return np.asarray(out, np.float32)
