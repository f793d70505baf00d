"""A look at the pictures of a segment: through the visual trunk, at several sizes, in parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avcheck.network.trunks import PLACE_PX, end_to_end, pictures_at_a_time
from avcheck.network.weights import Loaded
from avcheck.reading.stabilise import shake, steadied, views
from avcheck.verdict.posterior import Place

# Short sides, px: a face in a close-up fills the first, one in a medium shot the last
LEVELS = (80, 112, 160)
# Share of the short side, exceeded by one speech clip in seven: what shakes by more is also looked
# at unsteadied
MUCH_SHAKE = 0.03
# Pictures of a closer look that go through the trunk at a time: they are eleven times as large
CHUNK = 50
AROUND = 8  # pictures on either side that a feature may depend on, and some to spare


@dataclass(frozen=True)
class Look:
    """What the visual trunk sees in a run of pictures, the first at `start_s`.

    picture: unit features (1, T, P, D); grid: where each of the P places lies.
    shown: bool (T,), False where a picture is missing.
    """

    start_s: float
    picture: Tensor
    grid: tuple[Place, ...]
    shown: NDArray[np.bool_]

    def at(self, places: Sequence[int]) -> Look:
        """Only these places of it."""
        kept = torch.tensor(places, dtype=torch.long, device=self.picture.device)
        return replace(
            self, picture=self.picture[:, :, kept], grid=tuple(self.grid[k] for k in places)
        )


def by_level(view: Look) -> dict[int, Look]:
    """A look at several levels as one look for each."""
    places: dict[int, list[int]] = {}
    for k, (level, *_) in enumerate(view.grid):
        places.setdefault(level, []).append(k)
    return {level: view.at(kept) for level, kept in places.items()}


def together(looks: Sequence[Look]) -> Look:
    """Several looks at the same pictures as one."""
    grid = tuple(place for each in looks for place in each.grid)
    return replace(looks[0], picture=torch.cat([each.picture for each in looks], dim=2), grid=grid)


def look(
    pictures: NDArray[np.uint8],
    shown: NDArray[np.bool_],
    start_s: float,
    model: Loaded,
    levels: tuple[int, ...] = LEVELS,
) -> Look:
    """The visual trunk over pictures that are held steady.

    Where much of the picture shakes, it is also looked at unsteadied, place by place: in a steadied
    picture, whatever stood still in the shaking one (a speaker in a corner of it, say) shakes
    instead.

    Args:
        pictures: Luma, uint8 (T, H, W), 25 a second.
        shown: bool (T,), False where a picture is missing.
        start_s: When the first picture is due.
        model: The network.
        levels: Short sides, px, to which the pictures are scaled down, but never up.
    """
    return look_in_parts(pictures, shown, start_s, model, levels, chunk=max(1, len(pictures)))


@torch.inference_mode()
def look_in_parts(
    pictures: NDArray[np.uint8],
    shown: NDArray[np.bool_],
    start_s: float,
    model: Loaded,
    levels: tuple[int, ...] = LEVELS,
    chunk: int = CHUNK,
    much: float = MUCH_SHAKE,
) -> Look:
    """`look` with less memory, for long or large pictures.

    Args:
        pictures, shown, start_s, model, levels: As for `look`.
        chunk: How many pictures go through the trunk at a time, with enough around them to leave no
            seam.
        much: Pictures that shake by more than this share of the short side are also looked at
            unsteadied.
    """
    strayed = shake(pictures)
    shakes = float(np.sqrt((strayed**2).sum(axis=1).mean())) > much * min(pictures.shape[1:])
    strays = views(strayed, unsteadied=shakes)
    whole: Tensor | None = None
    grid: tuple[Place, ...] = ()
    for first in range(0, len(pictures), chunk):
        run = slice(max(0, first - AROUND), min(len(pictures), first + chunk + AROUND))
        for number, stray in enumerate(strays):
            part = look_as_it_is(
                steadied(pictures[run], stray[run]), shown[run], start_s, model, levels
            )
            if whole is None:  # joining the parts at the end would take the memory twice
                size = (1, len(pictures), len(strays) * len(part.grid), part.picture.shape[3])
                whole = part.picture.new_empty(size)
                grid = len(strays) * part.grid
            places = slice(number * len(part.grid), (number + 1) * len(part.grid))
            whole[:, first : first + chunk, places] = part.picture[:, first - run.start :][
                :, :chunk
            ]
    if whole is None:
        raise ValueError("there are no pictures to look at")
    return Look(start_s, whole, grid, shown)


@torch.inference_mode()
def look_as_it_is(
    pictures: NDArray[np.uint8],
    shown: NDArray[np.bool_],
    start_s: float,
    model: Loaded,
    levels: tuple[int, ...],
) -> Look:
    """`look` at pictures that are held steady already, or should not be."""
    short = min(pictures.shape[1:])
    source = torch.from_numpy(pictures)[None].to(model.device)
    parts: list[Tensor] = []
    grid: list[Place] = []
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.half):
        for level in sorted({min(level, short) for level in levels}):
            scaled = source
            if level != short:
                size = [max(16, round(side * level / short)) for side in pictures.shape[1:]]
                # A few at a time stay in the processor's cache: large pictures take a third less
                # time.
                scaled = end_to_end(
                    (
                        F.interpolate(
                            part.float(),
                            size=size,
                            mode="bilinear",
                            antialias=True,
                            align_corners=False,
                        )
                        for part in torch.split(source, pictures_at_a_time(source), dim=1)
                    ),
                    source.shape[1],
                )
            part, (rows, columns) = model.net.visual(scaled)
            parts.append(part)
            grid += places_in(level, (rows, columns), (scaled.shape[2], scaled.shape[3]))
    return Look(start_s, torch.cat(parts, dim=2), tuple(grid), shown)


def places_in(level: int, count: tuple[int, int], size: tuple[int, int]) -> list[Place]:
    """The places, rows and columns, of pictures (height, width, px).

    Each layer's padding centres its first output on the first pixel, so the middles of the places
    are the first pixel and every `PLACE_PX`th from there.
    """
    (rows, columns), (height, width) = count, size
    return [
        Place(
            level,
            row,
            column,
            y=(row * PLACE_PX + 0.5) / height,
            x=(column * PLACE_PX + 0.5) / width,
            height=PLACE_PX / height,
            width=PLACE_PX / width,
        )
        for row in range(rows)
        for column in range(columns)
    ]
