"""The network over one segment: from pictures and sound to score curves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from avcheck.network.weights import Loaded
from avcheck.reading.blocks import BLOCK_FRAMES, BLOCK_MELS, BLOCK_S, Block, without_gaps
from avcheck.reading.mel import MEL_BINS
from avcheck.reading.segments import MARGIN_BLOCKS, MAX_SHIFT, Window, segments
from avcheck.scan.looking import LEVELS, Look, by_level, look, together
from avcheck.scan.shifts import SHIFTS, compare, listen, logit
from avcheck.verdict.judge import obstacle
from avcheck.verdict.posterior import Calibration, Curve, Place, sureness

# segments; in between, only the level with most of the attention is looked at
LEARN_LEVEL_EVERY = 6
_NOTHING_TO_COMPARE = {"silent", "blank", "still"}
SURE = 0.99  # a segment whose offset has this confidence needs no larger look
_HINT = 0.2  # a segment whose offset has less confidence does not show where a face is
_MELS_A_FRAME = BLOCK_MELS // BLOCK_FRAMES
_TILE = 16  # px


class HeardSound(NamedTuple):
    """The sound of a segment and `MAX_SHIFT` pictures on either side: its features, (1, T + 2
    MAX_SHIFT, D), and which of these pictures have sound.
    """

    features: Tensor
    heard: NDArray[np.bool_]


def scan(
    source: Iterable[Block],
    model: Loaded,
    *,
    levels: tuple[int, ...] = LEVELS,
    on_block: Callable[[Block], None] | None = None,
) -> Iterator[Curve]:
    """Score curves of a file, segment by segment, as its blocks come in."""
    for (curve,) in scan_sounds(segments(source, on_block), model, 1, levels):
        yield curve


def scan_sounds(
    windows: Iterable[Window], model: Loaded, count: int, levels: tuple[int, ...] = LEVELS
) -> Iterator[list[Curve]]:
    """The curves of `count` sounds, segment by segment; the pictures are looked at once."""
    choice = LevelChoice(Calibration(**model.calibration), levels)
    for window in windows:
        curves = score_segment(window, model, choice.levels, count)
        choice.after(curves)
        yield curves


class LevelChoice:
    """At which levels of the pyramid the next segment is looked at: all of them every
    `LEARN_LEVEL_EVERY`th time, in between the one that drew most of the attention then.

    Attention on something that does not match says nothing, and would choose the largest level,
    which has most places. So without a hint of a match the levels take turns.
    """

    def __init__(self, calibration: Calibration, levels: tuple[int, ...] = LEVELS) -> None:
        self._calibration = calibration
        self._all = self.levels = levels
        self._segments = 0
        self._has_hint = False

    def after(self, curves: Sequence[Curve]) -> None:
        """Learn from the segment just looked at, if it was: `curves` of all its sounds.

        The face is in the same place whatever the sound, so the surest sound chooses.
        """
        sure = [sureness(each, self._calibration) for each in curves]
        curve = curves[int(np.argmax(sure))]
        if not curve.looked:
            return
        if self.levels == self._all:
            self._has_hint = False
        self._segments += 1
        if self._segments % LEARN_LEVEL_EVERY == 0 or len(self._all) == 1:
            self.levels = self._all
        elif max(sure) >= _HINT and not self._has_hint:
            self.levels, self._has_hint = (_favourite(curve),), True
        elif not self._has_hint:
            self.levels = (self._all[self._segments % len(self._all)],)


def _favourite(curve: Curve) -> int:
    """The level with most of the attention at the best shift."""
    share: dict[int, float] = {}
    at = int(np.argmax(curve.score))
    for (level, *_), weight in zip(curve.grid, curve.places[:, at].sum(axis=0), strict=True):
        share[level] = share.get(level, 0.0) + float(weight)
    return max(share, key=lambda level: share[level])


def score_segment(
    window: Window, model: Loaded, levels: tuple[int, ...] = LEVELS, count: int = 1
) -> list[Curve]:
    """The classifier on one segment at every shift in `SHIFTS`, for each of its `count` sounds."""
    inside = window.inside
    windows = [window.with_sound(number) for number in range(count)]
    curves = _nothing_seen(inside, windows)
    to_hear = [number for number, curve in enumerate(curves) if not _nothing_to_compare(curve)]
    if not to_hear:
        return curves
    pictures = np.concatenate([block.pictures for block in inside])
    shown = np.concatenate([block.picture_mask for block in inside])
    looks: dict[int, Look] = {}
    sounds = {number: heard_in(windows[number], model) for number in to_hear}

    def curves_at(levels: tuple[int, ...]) -> Iterator[Curve]:
        if missing := tuple(level for level in levels if level not in looks):
            looks.update(by_level(look(pictures, shown, inside[0].start_s, model, missing)))
        view = together([looks[level] for level in levels])
        for number in to_hear:
            nothing = curves[number]
            yield score(
                view, windows[number], model, nothing.motion, nothing.detail, sounds[number]
            )

    short = min(pictures.shape[1:])
    levels = tuple(sorted({min(level, short) for level in levels}))
    scored = until_any_is_sure(stages(levels, alone=window.alone), curves_at, model)
    for number, curve in zip(to_hear, scored, strict=True):
        curves[number] = curve
    return curves


def stages(levels: tuple[int, ...], *, alone: bool) -> tuple[tuple[int, ...], ...]:
    """At which of these levels (rising) a segment is looked at first, second and so on, until a
    sound is sure.

    All but the largest come first: it takes over half of the time, and for a face that fills the
    smaller ones it moves the offset by a millisecond. Of a segment that is `alone` the largest of
    those comes before them, as no other segment has to know which level shows the face best.
    """
    smaller = levels[:-1]
    tried = (smaller[-1:], smaller, levels) if alone else (smaller, levels)
    return tuple(dict.fromkeys(each for each in tried if each))


def until_sure(
    turns: Sequence[tuple[int, ...]], curve_at: Callable[[tuple[int, ...]], Curve], model: Loaded
) -> Curve:
    """`until_any_is_sure` for one sound."""
    (curve,) = until_any_is_sure(turns, lambda levels: iter([curve_at(levels)]), model)
    return curve


def until_any_is_sure(
    turns: Sequence[tuple[int, ...]],
    curves_at: Callable[[tuple[int, ...]], Iterator[Curve]],
    model: Loaded,
) -> list[Curve]:
    """The curves of a segment, one for each sound, at the first of these `stages` that makes a
    sound sure, or at the last.
    """
    calibration = Calibration(**model.calibration)
    for levels in turns[:-1]:
        tried, coming = [], curves_at(levels)
        for curve in coming:
            tried.append(curve)
            if sureness(curve, calibration) >= SURE:
                return [*tried, *coming]
    return list(curves_at(turns[-1]))


def _nothing_to_compare(curve: Curve) -> bool:
    why = obstacle([curve])
    return why is not None and why.code in _NOTHING_TO_COMPARE


def _nothing_seen(inside: Sequence[Block], windows: Sequence[Window]) -> list[Curve]:
    """The curves of a segment that is not looked at, one for each of the `windows`, which differ in
    their sound: every shift is as likely as any other.

    This is for segments with nothing to hear, or nothing that moves: the network could only guess.
    """
    count, shifts = len(inside), len(SHIFTS)
    even = np.full((count, shifts), 1 / count, np.float32)
    unknown, each = (
        np.full(shifts, -np.inf, np.float32),
        np.full((count, shifts), -np.inf, np.float32),
    )
    curve = Curve(
        start_s=inside[0].start_s,
        end_s=inside[-1].start_s + BLOCK_S,
        shifts=SHIFTS,
        score=unknown,
        match=unknown,
        block_start_s=np.array([item.start_s for item in inside]),
        block_score=each,
        block_match=each,
        attention=even,
        places=even[:, :, None],  # the whole picture
        grid=(Place.whole(min(LEVELS)),),
        motion=np.array([motion_of(item) for item in inside], np.float32),
        detail=np.array([detail_of(item) for item in inside], np.float32),
        level_db=np.zeros(count, np.float32),
    )
    levels_db = (np.array([item.level_db for item in each.inside], np.float32) for each in windows)
    return [replace(curve, level_db=level_db) for level_db in levels_db]


def score(
    view: Look,
    window: Window,
    model: Loaded,
    motion: NDArray[np.float32],
    detail: NDArray[np.float32],
    sound: HeardSound | None = None,
) -> Curve:
    """`score_segment` for pictures that were looked at before.

    Args:
        view: What the visual trunk sees in them.
        window: The segment; only the sound of its blocks is read.
        model: The network.
        motion, detail: (N,), as in `Curve`.
        sound: What the sound trunk makes of the window, if that is known.
    """
    inside = window.inside
    features, heard = heard_in(window, model) if sound is None else sound
    compared = compare(view, features, heard, model)
    attention = compared.scored.attention[0].float()  # (S, N, T', P)
    return Curve(
        start_s=inside[0].start_s,
        end_s=inside[-1].start_s + BLOCK_S,
        shifts=SHIFTS,
        score=compared.weighed_score(),
        match=compared.weighed_match(),
        block_start_s=np.array([item.start_s for item in inside]),
        block_score=logit(compared.scored.block_logits[0]).T,
        block_match=compared.block_match,
        attention=attention.sum(dim=(2, 3)).T.cpu().numpy(),
        places=attention.sum(dim=2).transpose(0, 1).cpu().numpy(),
        grid=compared.grid,
        motion=motion,
        detail=detail,
        level_db=np.array([item.level_db for item in inside], np.float32),
        looked=len(view.shown) * len(view.grid),
    )


def heard_in(window: Window, model: Loaded) -> HeardSound:
    """What the sound trunk makes of the sound of a segment, `MAX_SHIFT` pictures longer on both
    sides.
    """
    mel, heard = sound_with_margin(window)
    return HeardSound(listen(mel, model), heard)


def sound_with_margin(window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The sound of a segment and `MAX_SHIFT` pictures on either side.

    Returns:
        Its log-mel, float32 (4 T + 8 MAX_SHIFT, 64), and which of these pictures have sound, bool
        (T + 2 MAX_SHIFT,).
    """
    inside = window.inside
    near = [*window.before[-MARGIN_BLOCKS:], *inside, *window.after[:MARGIN_BLOCKS]]
    first, last = inside[0].index - MARGIN_BLOCKS, inside[-1].index + MARGIN_BLOCKS
    count = (last - first + 1) * BLOCK_MELS
    mel = np.zeros((count, MEL_BINS), np.float32)
    heard = np.zeros(count, np.bool_)
    for block in near:
        if not first <= block.index <= last:
            continue
        at = (block.index - first) * BLOCK_MELS
        mel[at : at + BLOCK_MELS] = block.mel
        heard[at : at + BLOCK_MELS] = block.mel_mask
    spare = (MARGIN_BLOCKS * BLOCK_FRAMES - MAX_SHIFT) * _MELS_A_FRAME
    cut = slice(spare, count - spare)
    mel = without_gaps(mel, heard)
    return mel[cut], heard[cut].reshape(-1, _MELS_A_FRAME).mean(axis=1) > 0.5


def change(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """Mean change of luma, 0..255, in the tile of 16 px where two pictures (H, W) differ most.

    A mouth is a small part of the picture: averaged over all of it, 4 of 60 clips of speaking faces
    would not move.
    """
    step = np.maximum(before, after) - np.minimum(before, after)
    rows, columns = (min(_TILE, side) for side in step.shape)
    whole = step[: step.shape[0] // rows * rows, : step.shape[1] // columns * columns]
    strips = whole.reshape(-1, rows, whole.shape[1]).sum(axis=1, dtype=np.uint16)
    most = strips.reshape(len(strips), -1, columns).sum(axis=2).max()
    return float(most / (rows * columns))


def motion_of(block: Block) -> float:
    """`change` from picture to picture, on average; 0 for fewer than two pictures."""
    shown = block.pictures[block.picture_mask]
    return (
        float(np.mean([change(before, after) for before, after in pairwise(shown)]))
        if len(shown) > 1
        else 0.0
    )


def detail_of(block: Block) -> float:
    """Deviation of luma over a picture, 0..255, on average."""
    shown = block.pictures[block.picture_mask]
    # One at a time stay in the processor's cache: half of the time of all at once
    deviations = []
    for picture in shown:
        luma = picture.astype(np.float32).ravel()
        luma -= luma.mean()
        deviations.append(np.sqrt(luma @ luma / luma.size))
    return float(np.mean(deviations))
