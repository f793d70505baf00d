"""Anti-aliased shapes, textures, and a camera."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avcheck.scenes.base import Floats, Reals, SceneSetup, wander


class Pen:
    """Draws anti-aliased shapes on a float canvas (H, W), in the units and axes of a local frame.

    The frame's origin lies at x0, y0 in pixels, and `scale` pixels make a unit; x points right and
    y down, turned by `angle` (rad).
    """

    def __init__(
        self, canvas: Reals, x0: float, y0: float, scale: float, angle: float = 0.0
    ) -> None:
        self.canvas = canvas
        self.x0, self.y0, self.scale = x0, y0, scale
        self.cos, self.sin = math.cos(angle), math.sin(angle)

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """The pixel place (column, row) of a local place."""
        s = self.scale
        return self.x0 + s * (self.cos * x - self.sin * y), self.y0 + s * (
            self.sin * x + self.cos * y
        )

    def grid(self, x: float, y: float, rx: float, ry: float) -> tuple[Reals, Reals, Reals] | None:
        """The part of the canvas around the box (x +- rx, y +- ry), and the local coordinates u, v
        of its pixels from (x, y); None if the box is out of the picture.
        """
        cx, cy = self.pixel(x, y)
        ex = self.scale * (abs(self.cos) * rx + abs(self.sin) * ry) + 2
        ey = self.scale * (abs(self.sin) * rx + abs(self.cos) * ry) + 2
        height, width = self.canvas.shape
        left, right = max(0, math.floor(cx - ex)), min(width, math.ceil(cx + ex) + 1)
        top, bottom = max(0, math.floor(cy - ey)), min(height, math.ceil(cy + ey) + 1)
        if left >= right or top >= bottom:
            return None
        px = (np.arange(left, right, dtype=np.float32) - cx) / self.scale
        py = ((np.arange(top, bottom, dtype=np.float32) - cy) / self.scale)[:, None]
        u = px * self.cos + py * self.sin
        v = py * self.cos - px * self.sin
        return self.canvas[top:bottom, left:right], u, v

    def cover(self, distance: Reals, soft: float = 1.0) -> Reals:
        """Which share of each pixel is covered, given its distance to an edge in local units,
        negative inside. soft: width of the edge in px.
        """
        share: Reals = 0.5 - distance * (self.scale / max(soft, 1.0))
        share = np.minimum(np.maximum(share, 0.0), 1.0)  # np.clip takes longer for so few pixels
        return share

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        tone: float,
        *,
        soft: float = 1.0,
        ink: float = 1.0,
        light: float = 0.0,
    ) -> None:
        """Draw a filled ellipse with half axes rx, ry. ink: how opaque it is, 0..1; light: above 0,
        it is brighter to the upper left.
        """
        edge = soft / self.scale
        part = self.grid(x, y, rx + edge, ry + edge)
        if part is None:
            return
        canvas, u, v = part
        away = np.sqrt((u / rx) ** 2 + (v / ry) ** 2)
        share = self.cover((away - 1.0) * min(rx, ry), soft) * ink
        if light:
            canvas += share * (tone * (1 - light * (u / rx + v / ry) / 2) - canvas)
        else:
            canvas += share * (tone - canvas)

    def box(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        tone: float,
        *,
        ink: float = 1.0,
        soft: float = 1.0,
    ) -> None:
        """Draw a filled box with half sides rx, ry, `ink` opaque."""
        part = self.grid(x, y, rx, ry)
        if part is None:
            return
        canvas, u, v = part
        share = self.cover(np.maximum(np.abs(u) - rx, np.abs(v) - ry), soft) * ink
        canvas += share * (tone - canvas)


def texture(rng: np.random.Generator, height: int, width: int, cells: Sequence[int]) -> Floats:
    """Smooth noise (height, width), mean 0, standard deviation 1: a sum of grids of random values,
    each with so many `cells` across.
    """
    total = np.zeros((height, width), np.float32)
    for n in cells:
        rows = max(2, round(n * height / width) + 1)
        coarse = rng.standard_normal((rows + 1, n + 2)).astype(np.float32)
        y = np.linspace(0, rows - 1e-3, height, dtype=np.float32)
        x = np.linspace(0, n + 1 - 1e-3, width, dtype=np.float32)
        iy, ix = y.astype(int), x.astype(int)
        fy, fx = (y - iy)[:, None], x - ix
        fy, fx = fy * fy * (3 - 2 * fy), fx * fx * (3 - 2 * fx)
        top = coarse[iy][:, ix] * (1 - fx) + coarse[iy][:, ix + 1] * fx
        low = coarse[iy + 1][:, ix] * (1 - fx) + coarse[iy + 1][:, ix + 1] * fx
        total += top * (1 - fy) + low * fy
    spread = float(total.std()) or 1.0
    even: Floats = (total - total.mean()) / spread
    return even


def _backdrop(rng: np.random.Generator, height: int, width: int, studio: bool) -> Floats:
    """A still background, float (height, width) in 0..255: gradient, blotches, and some
    furniture.
    """
    base = rng.uniform(60, 95) if studio else rng.uniform(35, 215)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)
    slope = rng.uniform(-30, 30, 2)
    wall: Floats = (base + float(slope[0]) * x + float(slope[1]) * y).astype(np.float32)
    wall = wall + texture(rng, height, width, (3, 7)) * float(rng.uniform(2, 8 if studio else 22))
    if rng.random() < 0.6:
        wall = wall + texture(rng, height, width, (24, 60)) * float(
            rng.uniform(1, 3 if studio else 11)
        )
    pen = Pen(wall, 0, 0, min(height, width))
    for _ in range(int(rng.integers(0, 3 if studio else 7))):
        wide, high = rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.4)
        tone = float(np.clip(base + rng.uniform(-70, 70), 5, 250))
        soft = float(rng.uniform(1, 6)) * min(height, width) / 160
        place = (
            float(rng.uniform(0, width / min(height, width))),
            float(rng.uniform(0, height / min(height, width))),
        )
        pen.box(*place, float(wide), float(high), tone, ink=float(rng.uniform(0.3, 0.9)), soft=soft)
    return wall


class Camera:
    """The background seen by a slightly unsteady camera, and what lens and sensor do to a
    picture.
    """

    MARGIN = 6  # pixels of background beyond each border

    def __init__(self, setup: SceneSetup) -> None:
        rng, times_s, studio = setup.rng_for("camera"), setup.times_s, setup.studio
        self.height, self.width = setup.size
        self.backdrop = _backdrop(
            rng, self.height + 2 * self.MARGIN, self.width + 2 * self.MARGIN, studio
        )
        reach = 0.0 if studio or rng.random() < 0.4 else float(rng.uniform(0.2, 2.0))
        self.shake = np.stack([reach * wander(rng, times_s, 0.5, 6.0) for _ in range(2)], axis=1)
        grain = float(
            rng.uniform(0.5, 1.2) if studio else np.exp(rng.uniform(math.log(0.7), math.log(6)))
        )
        self.gain = float(rng.uniform(0.97, 1.03) if studio else rng.uniform(0.6, 1.15))
        self.lift = float(0 if studio else rng.uniform(-8, 30))
        self.flicker = 1 + float(0 if studio else rng.uniform(0, 0.03)) * wander(
            rng, times_s, 0.1, 10.0
        )
        self.blur = float(0.04 if studio else rng.choice([0.0, rng.uniform(0.03, 0.25)]))
        # A pool of noise read from random places: fresh normal noise for every frame would cost as
        # much as the drawing.
        self._noise = grain * rng.standard_normal(4 * self.height * self.width, dtype=np.float32)
        self._rng = rng

    def canvas(self, k: int) -> tuple[Reals, float, float]:
        """The background of frame k, float (H, W), and the shake (x, y) in pixels that everything
        drawn on it must follow.
        """
        sx, sy = float(self.shake[k, 0]), float(self.shake[k, 1])
        left, top = self.MARGIN - sx, self.MARGIN - sy
        ix, iy = math.floor(left), math.floor(top)
        fx, fy = left - ix, top - iy
        part = self.backdrop[iy : iy + self.height + 1, ix : ix + self.width + 1]
        rows = part[:-1] * (1 - fy) + part[1:] * fy
        return rows[:, :-1] * (1 - fx) + rows[:, 1:] * fx, sx, sy

    def expose(self, canvas: Reals, k: int, out: NDArray[np.uint8]) -> None:
        """Add lens blur, brightness and sensor noise to the canvas of frame k, and write it to
        `out`, (H, W).
        """
        if self.blur:
            side = self.blur
            canvas[:, 1:-1] = (
                canvas[:, 1:-1] * (1 - 2 * side) + (canvas[:, :-2] + canvas[:, 2:]) * side
            )
            canvas[1:-1] = canvas[1:-1] * (1 - 2 * side) + (canvas[:-2] + canvas[2:]) * side
        canvas *= self.gain * float(self.flicker[k])
        start = int(self._rng.integers(0, self._noise.size - canvas.size + 1))
        canvas += self._noise[start : start + canvas.size].reshape(canvas.shape)
        canvas += self.lift + 0.5
        np.clip(canvas, 0, 255, out=canvas)
        out[...] = canvas
