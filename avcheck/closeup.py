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
# Share of the short side, about a pixel: what shakes by more is looked at unsteadied as well
MUCH_SHAKE_CLOSER = 0.002
# Segments of an undecided file that are looked at closer at first, and as many again if one of
# them shows an offset
ZOOM_SEGMENTS = 3
# Share of the budget for sounds that show nothing, where another sound of the title does
FURTHER_SHARE = 0.1
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
    judgement: Judgement
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
# The same of several sounds: the curves of one segment, the numbers of their sounds, and what a
# look for all of them together may cost.
CloserAtAll = Callable[[Sequence[Curve], Sequence[int], float], list[Seen]]


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

    def closer_at_one(
        curves_of_one: Sequence[Curve], _: Sequence[int], budget: float
    ) -> list[Seen]:
        return [closer(curves_of_one[0], budget)]

    (zoomed,) = zoom_all(
        [Zoomed(curves, judgement)], closer_at_one, tolerance, calibration, thorough=thorough
    )
    return zoomed


def zoom_all(
    sounds: Sequence[Zoomed],
    closer: CloserAtAll,
    tolerance: Tolerance,
    calibration: Calibration,
    *,
    thorough: bool = False,
    seams_s: Sequence[float] = (),
) -> list[Zoomed]:
    """`zoom` for each sound of a title, at one and the same larger pictures; `seams_s` as in
    `judge`.

    All that are undecided share one look, with the budget of one. Where another sound shows an
    offset, the pictures were seen well enough, and those that do not match them get no more than
    `FURTHER_SHARE` of it.
    """
    sounds = list(sounds)
    open_ = [number for number, each in enumerate(sounds) if _is_open(each)]
    if not open_:
        return sounds
    # The one that comes nearest to an offset leads: it says where to look.
    lead = max(open_, key=lambda number: sounds[number].judgement.confidence)
    first = sounds[lead].curves
    share = FURTHER_SHARE if any(_is_told(each.judgement) for each in sounds) else 1.0
    budget = math.inf if thorough else share * sum(item.looked for item in first)
    seconds = math.inf if thorough else share * sum(len(item.block_start_s) for item in first)
    curves = {number: list(sounds[number].curves) for number in open_}
    cut, begun = False, False
    segments = sounds[lead].judgement.segments
    mute = [
        k
        for k, part in enumerate(segments)
        if part.offset_ms is None and obstacle([first[k]]) is None
    ]
    for _ in range(2):
        chosen = likeliest(mute, curves[lead], [part.confidence for part in segments])
        for k in chosen:
            takes_s = len(first[k].block_start_s) + 2 * MARGIN_BLOCKS + _SEEK_S
            if takes_s > seconds and (begun or share < 1):
                cut = True
                continue
            looks = closer([curves[number][k] for number in open_], open_, budget)
            for number, each in zip(open_, looks, strict=True):
                curves[number][k] = each.curve
            budget, seconds, begun = budget - looks[0].spent, seconds - takes_s, True
            cut = cut or looks[0].cut
        for number in open_:
            judgement = judge(curves[number], tolerance, calibration, seams_s)
            still_cut = cut and not _is_told(judgement)
            sounds[number] = Zoomed(curves[number], judgement, still_cut)
        segments = sounds[lead].judgement.segments
        mute = [k for k in mute if k not in chosen]
        left = [number for number in open_ if not _is_told(sounds[number].judgement)]
        if not any(
            sounds[n].judgement.segments[k].offset_ms is not None for n in left for k in chosen
        ):
            break
    return sounds


def _is_told(judgement: Judgement) -> bool:
    return judgement.verdict != "undecidable" or judgement.offset_ms is not None


def _is_open(sound: Zoomed) -> bool:
    return not _is_told(sound.judgement) and obstacle(sound.curves) is None


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
    (closer,) = look_closer_for_all([curve], [window], model, budget)
    return closer


@torch.inference_mode()
def look_closer_for_all(
    curves: Sequence[Curve],
    by_sound: Sequence[Window],
    model: Loaded,
    budget: float = math.inf,
) -> list[Seen]:
    """`look_closer` for several sounds of one segment, each with its curve, and the window that
    holds its sound; the pictures of all windows are the same, and are looked at once.
    """
    curve, inside = curves[0], by_sound[0].inside
    height, width = inside[0].pictures.shape[1:]
    little = np.concatenate([reduced(block.pictures) for block in inside])
    strayed = shake(little) * (width / little.shape[2], height / little.shape[1])
    far = float(np.sqrt((strayed**2).sum(axis=1).mean())) / min(height, width)
    window_cost = float(WINDOW**2 * BLOCK_FRAMES * len(inside))
    search = _search_within(budget - window_cost, (height, width), len(inside), far)
    if search is None:
        return [Seen(each, cut=True) for each in curves]
    budget -= search.cost
    sounds = [_heard(sound_with_margin(window)[0], model) for window in by_sound]
    strength, grid = _searched(
        inside, _best_run(curve, search.blocks), strayed, sounds, model, search
    )
    both = far > MUCH_SHAKE_CLOSER and budget >= 2 * window_cost
    window_cost *= 1 + both
    chosen = windows(strength, grid, (height, width), int(min(MOST_WINDOWS, budget // window_cost)))
    looks = [_look_into(part, inside, strayed, both, model) for part in chosen]
    spent = search.cost + len(looks) * window_cost
    out = []
    for each, window, sound in zip(curves, by_sound, sounds, strict=True):
        agrees = [_agreement(look, sound) for look in looks]
        best = int(np.argmax([strength.max() for strength in agrees]))
        narrow = looks[best].at(best_window(agrees[best], looks[best].grid).tolist())
        scored = score(narrow, window, model, each.motion, each.detail, each is not curve)
        kept = replace(scored, looked=each.looked)
        out.append(Seen(kept, spent, cut=not math.isinf(budget)))
    return out


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
    sounds: Sequence[Tensor],
    model: Loaded,
    search: _Search,
) -> tuple[NDArray[np.float32], tuple[Place, ...]]:
    """How well every place of these blocks' pictures goes with the sound that it goes with best,
    (P,), and where the places lie.
    """
    first, last = run.start * BLOCK_FRAMES, run.stop * BLOCK_FRAMES
    totals: list[Tensor | None] = [None] * len(sounds)
    grid: tuple[Place, ...] = ()
    for at in range(first, last, _CHUNK):
        end = min(at + _CHUNK, last)
        around = slice(max(0, at - _AROUND), min(BLOCK_FRAMES * len(inside), end + _AROUND))
        pictures = _pictures(inside, around)
        like: list[list[Tensor]] = [[] for _ in sounds]
        grid = ()
        for way in (strayed[around], np.zeros_like(strayed[around]))[: search.ways]:
            view = look_as_it_is(
                steadied(pictures, way),
                np.ones(len(pictures), np.bool_),
                0.0,
                model,
                (search.side,),
            )
            part = view.picture[:, at - around.start :][:, : end - at]
            for sound, its in zip(sounds, like, strict=True):
                near = sound[:, at : end + 2 * MAX_SHIFT].to(part.dtype)
                # The places are thousands, and the sound is copied for each to be compared.
                its += [
                    likeness(some, near) for some in torch.split(part, _PLACES_AT_A_TIME, dim=2)
                ]
            grid += view.grid
        for number, its in enumerate(like):
            here, before = torch.cat(its, dim=1).float() * (end - at), totals[number]
            totals[number] = here if before is None else before + here
    strengths = [standing_out(total / (last - first))[0] for total in totals if total is not None]
    if not strengths:
        raise ValueError("there are no pictures to search")
    strength: NDArray[np.float32] = torch.stack(strengths).amax(dim=0).cpu().numpy()
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
    # Pixels of the picture around the window, which steadying it draws from
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
