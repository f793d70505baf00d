"""The second, closer look: which segments, which windows of their pictures, and what that may cost.

A closer look first searches: the whole picture at `SEARCH_SIDE` for a few seconds, for the places
that go with the sound. Around the best of them windows of the picture at `CLOSER_SIDE` are then
looked at for the whole segment, and the one that goes best with the sound is kept. It may cost as
much as the first look at the file did, in places times pictures that the visual trunk goes over,
and no more seconds are decoded again than the file has. A thorough look has no such budget, and
searches at `CLOSER_SIDE` all the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avcheck.blocks import BLOCK_FRAMES, Block
from avcheck.looking import MUCH_SHAKE, Look, look_as_it_is, together
from avcheck.model import agreement, likeness, standing_out
from avcheck.posterior import Calibration, Curve, Place
from avcheck.report import Tolerance
from avcheck.scan import score, sound_with_margin
from avcheck.segments import MARGIN_BLOCKS, MAX_SHIFT, Window
from avcheck.stabilise import reduced, shake, steadied
from avcheck.verdict import Judgement, judge, obstacle
from avcheck.weights import Loaded

CLOSER_SIDE = 528  # px, short side: more than three times that of the first look
LEAST_SIDE = 264  # px; a smaller picture was seen well enough
SEARCH_SIDE = 264  # px
SEARCH_BLOCKS = 3  # s
LEAST_SEARCH = 2  # s; less finds nothing
PLACE = 16  # px
WINDOW = 8  # places, a side: a little more than is judged
MOST_WINDOWS = 4
REACH = 3  # places on either side of a window's middle that are judged together
# Of the short side, a pixel: what shakes by more is looked at as it comes as well
MUCH_SHAKE_CLOSER = 0.002
# Of an undecided file are looked at closer at first, and as many again if one of them shows an
# offset
ZOOM_SEGMENTS = 3
_SEEK_S = 2  # decoded from a key frame on, on average, before what was asked for
_CHUNK = 50  # pictures searched at a time
_AROUND = 8  # pictures on either side that a feature may depend on, with some to spare
_PLACES_AT_A_TIME = 500


@dataclass(frozen=True)
class Zoomed:
    """The curves of a file and what they say after a closer look; cut: whether that ended at its
    budget, and told nothing.
    """

    curves: list[Curve]
    found: Judgement
    cut: bool = False


@dataclass(frozen=True)
class Seen:
    """A segment's curve after a closer look. spent: places times pictures; cut: whether a larger
    budget might show more.
    """

    curve: Curve
    spent: float = 0
    cut: bool = False


# A segment's curve and what a look at it may cost -> its curve from a closer look.
Closer = Callable[[Curve, float], Seen]


def zoom(
    curves: list[Curve],
    judgement: Judgement,
    closer: Closer,
    tolerance: Tolerance,
    calibration: Calibration,
    *,
    thorough: bool = False,
) -> Zoomed:
    """A closer look at some of the segments that showed nothing.

    A file that is decided, or of which an offset is told, costs nothing, nor does one whose sound
    is silent or whose pictures do not move. `thorough` lifts the budget.
    """
    if (
        judgement.verdict != "undecidable"
        or judgement.offset_ms is not None
        or obstacle(curves) is not None
    ):
        return Zoomed(curves, judgement)
    budget = math.inf if thorough else float(sum(item.looked for item in curves))
    seconds = math.inf if thorough else float(sum(len(item.block_start_s) for item in curves))
    curves = list(curves)
    cut, begun = False, False
    mute = [
        k
        for k, part in enumerate(judgement.segments)
        if part.offset_ms is None and obstacle([curves[k]]) is None
    ]
    for _ in range(2):
        chosen = likeliest(mute, curves, [part.confidence for part in judgement.segments])
        for k in chosen:
            takes_s = len(curves[k].block_start_s) + 2 * MARGIN_BLOCKS + _SEEK_S
            if begun and takes_s > seconds:
                cut = True
                continue
            closer_look = closer(curves[k], budget)
            curves[k], budget, seconds, begun = (
                closer_look.curve,
                budget - closer_look.spent,
                seconds - takes_s,
                True,
            )
            cut = cut or closer_look.cut
        judgement = judge(curves, tolerance, calibration)
        mute = [k for k in mute if k not in chosen]
        has_offset = judgement.verdict != "undecidable" or judgement.offset_ms is not None
        if has_offset or not any(judgement.segments[k].offset_ms is not None for k in chosen):
            break
    return Zoomed(
        curves,
        judgement,
        cut and judgement.verdict == "undecidable" and judgement.offset_ms is None,
    )


def likeliest(
    mute: Sequence[int], curves: Sequence[Curve], confidence: Sequence[float]
) -> list[int]:
    """Of each of `ZOOM_SEGMENTS` equal parts of these segments the one where a closer look is
    likeliest to tell, that first.

    So it is where more of it sounds and moves, and then where more was seen at first.
    """

    def promise(k: int) -> tuple[float, float]:
        return float(curves[k].useful.mean()), confidence[k]

    parts = [
        part.tolist() for part in np.array_split(np.array(mute, int), ZOOM_SEGMENTS) if len(part)
    ]
    return sorted((max(part, key=promise) for part in parts), key=promise, reverse=True)


@torch.inference_mode()
def look_closer(
    curve: Curve,
    window: Window,
    model: Loaded,
    budget: float = math.inf,
) -> Seen:
    """`curve`, of one segment, from larger pictures of it; the window's blocks have them, all of
    one shape, with a short side of up to `CLOSER_SIDE`.

    One window only is judged: what the rest of the picture shows is at best nothing, and lowers the
    confidence.
    """
    inside = window.inside
    height, width = inside[0].pictures.shape[1:]
    little = np.concatenate([reduced(block.pictures) for block in inside])
    strayed = shake(little) * (width / little.shape[2], height / little.shape[1])
    far = float(np.sqrt((strayed**2).sum(axis=1).mean())) / min(height, width)
    window_cost = float(WINDOW**2 * BLOCK_FRAMES * len(inside))
    search = _search_within(budget - window_cost, (height, width), len(inside), far)
    if search is None:
        return Seen(curve, cut=True)
    budget -= search.cost
    mel, _ = sound_with_margin(window)
    sound = _heard(mel, model)
    strength, grid = _searched(
        inside, _best_run(curve, search.blocks), strayed, sound, model, search
    )
    both = far > MUCH_SHAKE_CLOSER and budget >= 2 * window_cost
    window_cost *= 1 + both
    corners = windows(
        strength, grid, (height, width), int(min(MOST_WINDOWS, budget // window_cost))
    )
    looks = [_look_into(part, inside, strayed, both, model) for part in corners]
    agrees = [_agreement(each, sound) for each in looks]
    best = max(range(len(looks)), key=lambda k: agrees[k].max())
    narrow = looks[best].at(best_window(agrees[best], looks[best].grid).tolist())
    closer_curve = score(narrow, window, model, curve.motion, curve.detail)
    return Seen(
        replace(closer_curve, looked=curve.looked),
        search.cost + len(looks) * window_cost,
        cut=not math.isinf(budget),
    )


@dataclass(frozen=True)
class _Search:
    """How a segment is searched: at which short side, px, for how many blocks, in how many ways (2:
    held steady, and as it comes), and what that costs in places times pictures.
    """

    side: int
    blocks: int
    ways: int
    cost: float


def _search_within(budget: float, size: tuple[int, int], blocks: int, far: float) -> _Search | None:
    """The search of a segment for so much; None where that is too little. far: how far it shakes,
    of the short side.
    """
    thorough = math.isinf(budget)
    side = min(CLOSER_SIDE if thorough else SEARCH_SIDE, *size)
    ways = 2 if far > MUCH_SHAKE else 1
    places = math.prod(math.ceil(length * side / min(size) / PLACE) for length in size)
    block_cost = float(ways * places * BLOCK_FRAMES)
    count = blocks if thorough else int(min(SEARCH_BLOCKS, blocks, budget // block_cost))
    return (
        _Search(side, count, ways, count * block_cost)
        if count >= min(LEAST_SEARCH, blocks)
        else None
    )


def windows(
    strength: NDArray[np.floating], grid: Sequence[Place], size: tuple[int, int], most: int
) -> list[tuple[int, int, int, int]]:
    """Up to `most` windows of a picture (height, width) around its strongest places: top, left,
    height, width, px.

    strength: of every place, (P,); grid: where they lie, as in `looking.Look`. No window has its
    middle in another.
    """
    left = np.array(strength, np.float64)
    at = np.array(
        [
            ((row + 0.5) / rows * size[0], (column + 0.5) / columns * size[1])
            for _, row, column, rows, columns in grid
        ]
    )
    sides = [min(WINDOW * PLACE, length) for length in size]
    corners = []
    for _ in range(most):
        if np.isneginf(left.max()):
            break
        middle = at[int(np.argmax(left))]
        left[(np.abs(at - middle) <= WINDOW * PLACE / 2).all(axis=1)] = -np.inf
        corner = [
            min(max(0, round((place - side / 2) / PLACE) * PLACE), length - side)
            for place, side, length in zip(middle, sides, size, strict=True)
        ]
        corners.append((corner[0], corner[1], sides[0], sides[1]))
    return corners


def best_window(strength: NDArray[np.floating], grid: Sequence[Place]) -> NDArray[np.int_]:
    """The places within `REACH` of the strongest, as indices, rising.

    strength: of every place, (P,); grid: where they lie, all of one level, as in `looking.Look`.
    """
    at = np.array([place[1:3] for place in grid])
    window: NDArray[np.int_] = np.flatnonzero(
        (np.abs(at - at[int(np.argmax(strength))]) <= REACH).all(axis=1)
    )
    return window


def _best_run(curve: Curve, count: int) -> slice:
    """The `count` blocks in a row with most sound among pictures that move."""
    worth = np.where(curve.useful, np.maximum(curve.level_db, -100.0) + 101.0, 0.0)
    sums = np.convolve(worth, np.ones(count), mode="valid")
    first = int(np.argmax(sums))
    return slice(first, first + count)


def _heard(mel: NDArray[np.float32], model: Loaded) -> Tensor:
    """What the sound trunk makes of a segment's log-mel, (1, T + 2 MAX_SHIFT, D)."""
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.half):
        sound: Tensor = model.net.sound(torch.from_numpy(mel)[None].to(model.device))
    return sound


def _searched(
    inside: list[Block],
    run: slice,
    strayed: NDArray[np.float64],
    sound: Tensor,
    model: Loaded,
    search: _Search,
) -> tuple[NDArray[np.float32], tuple[Place, ...]]:
    """How well every place of these blocks' pictures goes with the sound, (P,), and where the
    places lie.
    """
    first, last = run.start * BLOCK_FRAMES, run.stop * BLOCK_FRAMES
    total: Tensor | None = None
    grid: tuple[Place, ...] = ()
    for at in range(first, last, _CHUNK):
        end = min(at + _CHUNK, last)
        around = slice(max(0, at - _AROUND), min(BLOCK_FRAMES * len(inside), end + _AROUND))
        pictures = _pictures(inside, around)
        like, grid = [], ()
        for way in (strayed[around], np.zeros_like(strayed[around]))[: search.ways]:
            view = look_as_it_is(
                steadied(pictures, way),
                np.ones(len(pictures), np.bool_),
                0.0,
                model,
                (search.side,),
            )
            part = view.picture[:, at - around.start :][:, : end - at]
            near = sound[:, at : end + 2 * MAX_SHIFT].to(part.dtype)
            # The places are thousands, and the sound is copied for each to be compared.
            like += [likeness(some, near) for some in torch.split(part, _PLACES_AT_A_TIME, dim=2)]
            grid += view.grid
        here = torch.cat(like, dim=1).float() * (end - at)
        total = here if total is None else total + here
    if total is None:
        raise ValueError("there are no pictures to search")
    strength: NDArray[np.float32] = standing_out(total / (last - first))[0].cpu().numpy()
    return strength, grid


def _look_into(
    window: tuple[int, int, int, int],
    inside: list[Block],
    strayed: NDArray[np.float64],
    both: bool,
    model: Loaded,
) -> Look:
    """The visual trunk over a window of the pictures of these blocks, held steady, and with `both`
    as they come as well.
    """
    top, left, tall, wide = window
    height, width = inside[0].pictures.shape[1:]
    # Of the picture around it, from which it is held steady
    spare = math.ceil(float(np.abs(strayed).max())) + 1
    rows, columns = (
        slice(max(0, top - spare), top + tall + spare),
        slice(max(0, left - spare), left + wide + spare),
    )
    around = np.concatenate([block.pictures[:, rows, columns] for block in inside])
    shown = np.concatenate([block.picture_mask for block in inside])
    looks = []
    for way in (strayed, np.zeros_like(strayed))[: 2 if both else 1]:
        cut = steadied(around, way)[:, top - rows.start :, left - columns.start :][:, :tall, :wide]
        looks.append(
            look_as_it_is(
                np.ascontiguousarray(cut), shown, inside[0].start_s, model, (min(tall, wide),)
            )
        )
    whole = math.ceil(height / PLACE), math.ceil(width / PLACE)
    side = min(height, width)
    grid = tuple(
        Place(side, place.row + top // PLACE, place.column + left // PLACE, *whole)
        for look in looks
        for place in look.grid
    )
    return replace(together(looks), grid=grid)


def _agreement(view: Look, sound: Tensor) -> NDArray[np.float32]:
    """`model.agreement` of every place with the sound, (P,)."""
    strength: NDArray[np.float32] = (
        agreement(view.picture, sound.to(view.picture.dtype))[0].float().cpu().numpy()
    )
    return strength


def _pictures(inside: list[Block], run: slice) -> NDArray[np.uint8]:
    """Pictures `run` of these blocks, (T, H, W); no others are copied."""
    blocks = inside[run.start // BLOCK_FRAMES : -(-run.stop // BLOCK_FRAMES)]
    first = run.start // BLOCK_FRAMES * BLOCK_FRAMES
    return np.concatenate([block.pictures for block in blocks])[
        run.start - first : run.stop - first
    ]
