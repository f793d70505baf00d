"""A closer look at one segment: where in its larger pictures, and what is seen there.

It looks at faces first (`faces`): at a window around each, scaled so that the face has the size
that the network sees best. If the segment is still unsure, it searches the whole picture at
`SEARCH_SIDE`, for a few seconds, for the places that match the sound. It then looks at windows
around the best places, in the picture at `CLOSER_SIDE` and for the whole segment. The window that
matches the sound best is kept. A thorough look searches the whole segment at `CLOSER_SIDE`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avcheck.network.model import agreement, likeness, standing_out
from avcheck.network.trunks import PLACE_PX
from avcheck.network.weights import Loaded
from avcheck.reading.blocks import BLOCK_FRAMES
from avcheck.reading.segments import MAX_SHIFT, Window
from avcheck.reading.stabilise import shake, steadied, views
from avcheck.scan.curves import SURE, HeardSound, heard_in, score
from avcheck.scan.faces import SCALES, Face, face_finder, faces_in
from avcheck.scan.larger import Larger, Pictures
from avcheck.scan.looking import AROUND, CHUNK, MUCH_SHAKE, Look, look_as_it_is, together
from avcheck.verdict.posterior import Calibration, Curve, Place, sureness

CLOSER_SIDE = 528  # px, short side: more than three times that of the first look
LEAST_SIDE = 264  # px; a smaller picture was searched well enough at first
SEARCH_SIDE = 264  # px
SEARCH_BLOCKS = 3  # s
LEAST_SEARCH = 2  # s; a shorter search finds nothing
WINDOW = 8  # places, a side: a little more than is judged
MOST_WINDOWS = 4
REACH = 3  # places on either side of a window's middle that are judged together
FACE_SIDE = 64.0  # px, to which a face is scaled
FACE_WINDOW = 6  # places, a side, of the window around a face
MOST_FACES = 3  # that are looked at in a segment
_FACE_EVERY = 50  # pictures between the stills in which faces are looked for
_MOUTH_BELOW = 0.1  # of a face's side: how far its window's middle lies below its own
_STAYS = 0.2  # of its side: a face that moves by more is followed
# Share of the short side, about a pixel: with more shake, pictures are looked at unsteadied as well
MUCH_SHAKE_CLOSER = 0.002
_PLACES_AT_A_TIME = 500


@dataclass(frozen=True)
class CloserLook:
    """A segment's curve after a closer look. spent: places times pictures; cut: whether a larger
    budget might show more.
    """

    curve: Curve
    spent: float = 0
    cut: bool = False


@torch.inference_mode()
def look_closer(
    curve: Curve,
    window: Window,
    model: Loaded,
    budget: float = math.inf,
    faces_alone: bool = False,
) -> CloserLook:
    """The curve of a segment from its larger pictures, which replaces that of the first look.

    Only one window of the pictures is judged: the rest of the picture adds nothing at best, and
    lowers the confidence.

    Args:
        curve: Of the segment, from the first look.
        window: Its blocks, whose pictures are all of one shape, with a short side of up to
            `CLOSER_SIDE` px.
        model: The network.
        budget: What the look may cost, in places times pictures.
        faces_alone: Look at faces, but do not search.
    """
    (closer,) = look_closer_for_all([curve], [window], model, budget, faces_alone)
    return closer


@torch.inference_mode()
def look_closer_for_all(
    curves: Sequence[Curve],
    by_sound: Sequence[Window],
    model: Loaded,
    budget: float = math.inf,
    faces_alone: bool = False,
) -> list[CloserLook]:
    """`look_closer` for several sounds of one segment.

    Args:
        curves: The segment's curve for each sound.
        by_sound: The window that holds each sound. All have the same pictures, which are looked at
            once.
        model, budget, faces_alone: As for `look_closer`; the budget is that of all sounds together.

    Returns:
        A look for each sound; `spent` and `cut` are the same in all of them.
    """
    larger = Larger.of(by_sound[0].inside)
    heard = [
        _SegmentSound(each, window, heard_in(window, model))
        for each, window in zip(curves, by_sound, strict=True)
    ]
    calibration = Calibration(**model.calibration)
    best: list[_Best | None] = [None] * len(heard)
    cut = False
    faces, spent = _faces_within(larger, model, budget)
    for face in faces:
        best = _best_of(heard, [_look_at_face(face, larger, model)], model, best)
        spent += _face_cost(larger)
        if any(each and sureness(each.curve, calibration) >= SURE for each in best):
            break
    else:
        cut = not math.isinf(budget) and larger.side >= LEAST_SIDE
        looks, cost = (
            ([], 0.0)
            if faces_alone
            else _look_where_it_sounds(larger, heard, model, budget - spent)
        )
        best = _best_of(heard, looks, model, best)
        spent += cost
    return [
        CloserLook(own if each is None else replace(each.curve, looked=own.looked), spent, cut)
        for own, each in zip(curves, best, strict=True)
    ]


@dataclass(frozen=True)
class _Best:
    """Of the windows looked at so far the one that matches a sound best: the strength of the match
    at its strongest place, and its curve, which says how many windows there were.
    """

    strength: float
    curve: Curve


@dataclass(frozen=True)
class _SegmentSound:
    """One sound of the segment: its curve from the first look, the window that holds it, and what
    the sound trunk makes of it.
    """

    curve: Curve
    window: Window
    sound: HeardSound

    def best_of(
        self, looks: Sequence[Look], model: Loaded, before: _Best | None = None
    ) -> _Best | None:
        """The best of these windows and the best one `before`; None if there are none."""
        if not looks:
            return before
        agrees = [_agreement(look, self.sound.features) for look in looks]
        strengths = [float(agreement.max()) for agreement in agrees]
        best, count = int(np.argmax(strengths)), len(looks)
        if before is not None:
            count += before.curve.chosen_from
            if strengths[best] <= before.strength:
                return replace(before, curve=replace(before.curve, chosen_from=count))
        narrow = looks[best].at(best_window(agrees[best], looks[best].grid).tolist())
        own = self.curve
        curve = score(narrow, self.window, model, own.motion, own.detail, self.sound)
        return _Best(strengths[best], replace(curve, chosen_from=count))


def _best_of(
    heard: Sequence[_SegmentSound],
    looks: Sequence[Look],
    model: Loaded,
    before: Sequence[_Best | None],
) -> list[_Best | None]:
    """`_SegmentSound.best_of` for each sound."""
    return [one.best_of(looks, model, own) for one, own in zip(heard, before, strict=True)]


def _faces_within(larger: Larger, model: Loaded, budget: float) -> tuple[list[Face], float]:
    """The likeliest faces, as many as the budget allows, and what finding them cost."""
    shown = np.flatnonzero(larger.shown)
    if not len(shown):
        return [], 0.0
    wanted = np.arange(min(_FACE_EVERY // 2, larger.count - 1), larger.count, _FACE_EVERY)
    numbers = sorted({int(shown[np.abs(shown - at).argmin()]) for at in wanted})
    # A place costs the finder about as much as it costs the visual trunk.
    places = math.prod(math.ceil(length / PLACE_PX) for length in larger.size)
    finding = len(numbers) * places * sum(scale**2 for scale in SCALES)
    if budget < finding + _face_cost(larger):
        return [], 0.0
    most = int(min(MOST_FACES, (budget - finding) // _face_cost(larger)))
    stills = [larger.picture(number) for number in numbers]
    return faces_in(stills, numbers, face_finder(model.device))[:most], finding


def _face_cost(larger: Larger) -> float:
    """What a look at one face costs."""
    return float(FACE_WINDOW**2 * larger.count)


def _look_at_face(face: Face, larger: Larger, model: Loaded) -> Look:
    """The visual trunk over a window around a face, scaled to `FACE_SIDE`. The window follows the
    face and is steadied by itself.
    """
    height, width = larger.size
    scale = max(FACE_SIDE / face.side, FACE_WINDOW * PLACE_PX / larger.side)
    side = min(round(FACE_WINDOW * PLACE_PX / scale), larger.side)
    middle, strayed = _followed(face, larger)
    top = min(max(0, round(middle[1] + _MOUTH_BELOW * face.side - side / 2)), height - side)
    left = min(max(0, round(middle[0] - side / 2)), width - side)
    corner = (top, left, side, side)
    # The face may shake differently from the background, which is most of the picture.
    strayed = strayed + shake(larger.cut(corner, strayed))
    at_its_size = FACE_WINDOW * PLACE_PX
    cut = _scaled(larger.cut(corner, strayed), at_its_size)
    look = look_as_it_is(cut, larger.shown, larger.inside[0].start_s, model, (at_its_size,))
    level = round(larger.side * scale)
    return replace(
        look, grid=tuple(place.in_larger(level, corner, larger.size) for place in look.grid)
    )


def _followed(face: Face, larger: Larger) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where a face is, x and y, px, and how far it has strayed from there in each picture, (T, 2).

    A face moves with the camera's shake or, as on a screen or in a car, without it: whichever keeps
    it closer to its place. If it still moves by more than a little, it is followed from still to
    still.
    """
    strays = views(larger.strayed, unsteadied=True)
    held = [face.centres[:, ::-1] - stray[face.pictures] for stray in strays]
    apart = [np.abs(at - np.median(at, axis=0)) for at in held]
    best = int(np.argmin([each.mean() for each in apart]))
    middle, strayed = np.median(held[best], axis=0), strays[best]
    if float(apart[best].max()) > _STAYS * face.side:
        numbers = np.arange(larger.count)
        course = [np.interp(numbers, face.pictures, held[best][:, axis]) for axis in (0, 1)]
        strayed = strayed + np.stack(course, axis=1) - middle
    return middle, strayed


def _scaled(pictures: Pictures, side: int) -> Pictures:
    """Square pictures (T, h, h) scaled to (T, side, side)."""
    parts = [
        F.interpolate(part[None], (side, side), mode="bilinear", antialias=True)[0]
        for part in torch.split(torch.from_numpy(pictures), CHUNK)
    ]
    return np.concatenate([part.numpy() for part in parts])


def _look_where_it_sounds(
    larger: Larger, heard: Sequence[_SegmentSound], model: Loaded, budget: float
) -> tuple[list[Look], float]:
    """Windows around the places that match a sound best, and what finding and looking at them cost.
    No windows if the budget is too small, or the first look already saw the picture well enough.
    """
    window_cost = float(WINDOW**2 * larger.count)
    search = _search_within(budget - window_cost, larger)
    if search is None:
        return [], 0.0
    left = budget - search.cost
    sounds = [one.sound.features for one in heard]
    strength, grid = _searched(
        larger, _best_run(heard[0].curve, search.blocks), sounds, model, search
    )
    unsteadied = larger.far > MUCH_SHAKE_CLOSER and left >= 2 * window_cost
    window_cost *= 1 + unsteadied
    chosen = windows(strength, grid, larger.size, int(min(MOST_WINDOWS, left // window_cost)))
    looks = [_look_into(part, larger, unsteadied, model) for part in chosen]
    return looks, search.cost + len(looks) * window_cost


@dataclass(frozen=True)
class _Search:
    """How a segment is searched: at which short side, px; for how many blocks; whether unsteadied
    as well; and the cost of that, in places times pictures.
    """

    side: int
    blocks: int
    unsteadied: bool
    cost: float


def _search_within(budget: float, larger: Larger) -> _Search | None:
    """The search of a segment that the budget allows; None if it is too small, or the pictures are
    too small to show more than the first look.
    """
    if larger.side < LEAST_SIDE:
        return None
    thorough, blocks = math.isinf(budget), len(larger.inside)
    side = min(CLOSER_SIDE if thorough else SEARCH_SIDE, larger.side)
    unsteadied = larger.far > MUCH_SHAKE
    places = math.prod(math.ceil(length * side / larger.side / PLACE_PX) for length in larger.size)
    block_cost = float((1 + unsteadied) * places * BLOCK_FRAMES)
    count = blocks if thorough else int(min(SEARCH_BLOCKS, blocks, budget // block_cost))
    return (
        _Search(side, count, unsteadied, count * block_cost)
        if count >= min(LEAST_SEARCH, blocks)
        else None
    )


def windows(
    strength: NDArray[np.floating], grid: Sequence[Place], size: tuple[int, int], most: int
) -> list[tuple[int, int, int, int]]:
    """Up to `most` windows of a picture (height, width) around its strongest places: top, left,
    height, width, px.

    strength: of every place, (P,); grid: of the places, as in `looking.Look`. No window has its
    middle inside another.
    """
    left = np.array(strength, np.float64)
    at = np.array([(place.y * size[0], place.x * size[1]) for place in grid])
    sides = [min(WINDOW * PLACE_PX, length) for length in size]
    corners = []
    for _ in range(most):
        if np.isneginf(left.max()):
            break
        middle = at[int(np.argmax(left))]
        left[(np.abs(at - middle) <= WINDOW * PLACE_PX / 2).all(axis=1)] = -np.inf
        corner = [
            min(max(0, round((place - side / 2) / PLACE_PX) * PLACE_PX), length - side)
            for place, side, length in zip(middle, sides, size, strict=True)
        ]
        corners.append((corner[0], corner[1], sides[0], sides[1]))
    return corners


def best_window(strength: NDArray[np.floating], grid: Sequence[Place]) -> NDArray[np.int_]:
    """The indices of the places within `REACH` of the strongest, ascending.

    strength: of every place, (P,); grid: of the places, as in `looking.Look`, all of one level.
    """
    at = np.array([place[1:3] for place in grid])
    window: NDArray[np.int_] = np.flatnonzero(
        (np.abs(at - at[int(np.argmax(strength))]) <= REACH).all(axis=1)
    )
    return window


def _best_run(curve: Curve, count: int) -> slice:
    """The `count` blocks in a row with the most sound while pictures move."""
    worth = np.where(curve.useful, np.maximum(curve.level_db, -100.0) + 101.0, 0.0)
    sums = np.convolve(worth, np.ones(count), mode="valid")
    first = int(np.argmax(sums))
    return slice(first, first + count)


def _searched(
    larger: Larger,
    run: slice,
    sounds: Sequence[Tensor],
    model: Loaded,
    search: _Search,
) -> tuple[NDArray[np.float32], tuple[Place, ...]]:
    """How well every place in the pictures of these blocks matches its best sound, (P,), and the
    grid of the places.
    """
    first, last = run.start * BLOCK_FRAMES, run.stop * BLOCK_FRAMES
    totals: list[Tensor | None] = [None] * len(sounds)
    grid: tuple[Place, ...] = ()
    for at in range(first, last, CHUNK):
        end = min(at + CHUNK, last)
        around = slice(max(0, at - AROUND), min(larger.count, end + AROUND))
        strayed = larger.strayed[around]
        like: list[list[Tensor]] = [[] for _ in sounds]
        grid = ()
        for stray in views(strayed, unsteadied=search.unsteadied):
            view = look_as_it_is(
                steadied(larger.run(around), stray),
                np.ones(len(stray), np.bool_),
                0.0,
                model,
                (search.side,),
            )
            part = view.picture[:, at - around.start :][:, : end - at]
            for sound, its in zip(sounds, like, strict=True):
                near = sound[:, at : end + 2 * MAX_SHIFT].to(part.dtype)
                # There are thousands of places, and comparing copies the sound for each.
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
    window: tuple[int, int, int, int], larger: Larger, unsteadied: bool, model: Loaded
) -> Look:
    """The visual trunk over a window of the pictures: steadied and, if so asked, unsteadied as
    well.
    """
    _, _, tall, wide = window
    looks = [
        look_as_it_is(
            larger.cut(window, stray),
            larger.shown,
            larger.inside[0].start_s,
            model,
            (min(tall, wide),),
        )
        for stray in views(larger.strayed, unsteadied=unsteadied)
    ]
    look = together(looks)
    grid = tuple(place.in_larger(larger.side, window, larger.size) for place in look.grid)
    return replace(look, grid=grid)


def _agreement(view: Look, sound: Tensor) -> NDArray[np.float32]:
    """The `model.agreement` of every place with the sound, (P,)."""
    strength: NDArray[np.float32] = (
        agreement(view.picture, sound.to(view.picture.dtype))[0].float().cpu().numpy()
    )
    return strength
