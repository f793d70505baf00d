"""The network over one segment: pictures and sound to score curves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avcheck.blocks import BLOCK_FRAMES, BLOCK_MELS, BLOCK_S, Block, without_gaps
from avcheck.heads import Scored
from avcheck.mel import MEL_BINS
from avcheck.model import best_places
from avcheck.segments import MARGIN_BLOCKS, MAX_SHIFT, segments
from avcheck.stabilise import shake, steadied
from avcheck.verdict import Calibration, Curve, obstacle, sureness
from avcheck.weights import Loaded

SHIFTS = np.arange(-MAX_SHIFT, MAX_SHIFT + 1)
LEVELS = (80, 112, 160)  # short sides, px: a face of a close-up fills the first, one of a medium shot the last
LEARN_LEVEL_EVERY = 6  # segments; in between, only the level that drew the attention is looked at
_NOTHING_TO_COMPARE = {"silent", "blank", "still"}
_SURE = 0.99  # confidence in a segment's offset from which it needs no larger look
MUCH_SHAKE = 0.03  # of the short side, so far strays one clip of speech in seven: looked at as it comes as well
KEEP_PLACES = 32  # the most that any head keeps
_MELS_A_FRAME = BLOCK_MELS // BLOCK_FRAMES
_TILE = 16  # px
_LEAST_SHARE = 0.4  # of a segment's pictures that need sound at some shift: else what there is says nothing of the segment
_CHUNK = 50  # pictures of a closer look that go through the trunk at a time: they are eleven times as large
_REACH = 8  # pictures on either side that a feature may depend on, with some to spare


@dataclass(frozen=True)
class Look:
    """What the visual trunk sees in a run of pictures, the first at `start_s`.

    picture: unit features (1, T, P, D); grid: where each of the P places lies, (level, row, column, rows, columns).
    shown: bool (T,), False where a picture is missing.
    """

    start_s: float
    picture: Tensor
    grid: tuple[tuple[int, int, int, int, int], ...]
    shown: NDArray[np.bool_]

    def at(self, places: Sequence[int]) -> Look:
        """These places of it alone."""
        kept = torch.tensor(places, dtype=torch.long, device=self.picture.device)
        return replace(self, picture=self.picture[:, :, kept], grid=tuple(self.grid[k] for k in places))


def scan(
    source: Iterable[Block], model: Loaded, *, levels: tuple[int, ...] = LEVELS, on_block: Callable[[Block], None] | None = None
) -> Iterator[Curve]:
    """Score curves of a file, segment after segment, as its blocks come in."""
    yield from scan_segments(segments(source, on_block), model, levels)


def scan_segments(
    found: Iterable[tuple[list[Block], list[Block], list[Block]]], model: Loaded, levels: tuple[int, ...] = LEVELS
) -> Iterator[Curve]:
    choice = LevelChoice(levels)
    for before, inside, after in found:
        curve = score_segment(before, inside, after, model, choice.levels)
        choice.after(curve)
        yield curve


class LevelChoice:
    """Which levels of the pyramid the next segment is looked at: all of them every `LEARN_LEVEL_EVERY`th time, and in between
    the one that drew most of the attention then.
    """

    def __init__(self, levels: tuple[int, ...] = LEVELS) -> None:
        self._all = self.levels = levels
        self._segments = 0

    def after(self, curve: Curve) -> None:
        """Learn from what was seen of the segment just looked at, if it was."""
        if not curve.looked:
            return
        if self.levels == self._all and len(self._all) > 1:
            self.levels = (_favourite(curve),)
        self._segments += 1
        if self._segments % LEARN_LEVEL_EVERY == 0:
            self.levels = self._all


def _favourite(curve: Curve) -> int:
    """The level with most of the attention at the best shift."""
    share: dict[int, float] = {}
    at = int(np.argmax(curve.score))
    for (level, *_), weight in zip(curve.grid, curve.places[:, at].sum(axis=0), strict=True):
        share[level] = share.get(level, 0.0) + float(weight)
    return max(share, key=lambda level: share[level])


def score_segment(
    before: list[Block], inside: list[Block], after: list[Block], model: Loaded, levels: tuple[int, ...] = LEVELS
) -> Curve:
    """The classifier on one run of blocks at every shift in `SHIFTS`; `before` and `after` lend their sound."""
    nothing = _nothing_seen(inside)
    why = obstacle([nothing])
    if why is not None and why.code in _NOTHING_TO_COMPARE:
        return nothing
    pictures = np.concatenate([block.pictures for block in inside])
    shown = np.concatenate([block.picture_mask for block in inside])
    looks: dict[int, Look] = {}

    def curve_at(levels: tuple[int, ...]) -> Curve:
        if missing := tuple(level for level in levels if level not in looks):
            looks.update(by_level(look(pictures, shown, inside[0].start_s, model, missing)))
        return score(together([looks[level] for level in levels]), before, inside, after, model, nothing.motion, nothing.detail)

    short = min(pictures.shape[1:])
    return until_sure(tuple(sorted({min(level, short) for level in levels})), curve_at, model)


def until_sure(levels: tuple[int, ...], curve_at: Callable[[tuple[int, ...]], Curve], model: Loaded) -> Curve:
    """The curve of a segment at all levels but the largest, which rise, or at all of them where that does not make sure.

    The largest takes over half of the time, and of a face that fills the smaller ones it moves the offset by a millisecond.
    """
    if len(levels) > 1:
        curve = curve_at(levels[:-1])
        if sureness(curve, Calibration(**model.calibration)) >= _SURE:
            return curve
    return curve_at(levels)


def by_level(seen: Look) -> dict[int, Look]:
    """A look at several levels as one of each."""
    places: dict[int, list[int]] = {}
    for k, (level, *_) in enumerate(seen.grid):
        places.setdefault(level, []).append(k)
    return {level: seen.at(kept) for level, kept in places.items()}


def together(looks: Sequence[Look]) -> Look:
    """Looks at the same pictures as one."""
    grid = tuple(place for each in looks for place in each.grid)
    return replace(looks[0], picture=torch.cat([each.picture for each in looks], dim=2), grid=grid)


def _nothing_seen(inside: list[Block]) -> Curve:
    """The curve of a segment that is not looked at: every shift is as likely as any other.

    So it is where there is nothing to hear, or nothing that moves: the network could only guess.
    """
    count, shifts = len(inside), len(SHIFTS)
    even = np.full((count, shifts), 1 / count, np.float32)
    unknown, each = np.full(shifts, -np.inf, np.float32), np.full((count, shifts), -np.inf, np.float32)
    return Curve(
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
        grid=((min(LEVELS), 0, 0, 1, 1),),
        motion=np.array([motion_of(item) for item in inside], np.float32),
        detail=np.array([detail_of(item) for item in inside], np.float32),
        level_db=np.array([item.level_db for item in inside], np.float32),
    )


def score(
    seen: Look,
    before: list[Block],
    inside: list[Block],
    after: list[Block],
    model: Loaded,
    motion: NDArray[np.float32],
    detail: NDArray[np.float32],
) -> Curve:
    """`score_segment` for pictures looked at before; of the blocks only the sound is read. `motion`, `detail`: (N,)."""
    mel, heard = sound_with_margin(before, inside, after)
    found = compare(seen, mel, heard, model)
    attention = found.scored.attention[0].float()  # (S, N, T', P)
    return Curve(
        start_s=inside[0].start_s,
        end_s=inside[-1].start_s + BLOCK_S,
        shifts=SHIFTS,
        score=found.weighed_score(),
        match=found.weighed_match(),
        block_start_s=np.array([item.start_s for item in inside]),
        block_score=logit(found.scored.block_logits[0]).T,
        block_match=found.block_match,
        attention=attention.sum(dim=(2, 3)).T.cpu().numpy(),
        places=attention.sum(dim=2).transpose(0, 1).cpu().numpy(),
        grid=found.grid,
        motion=motion,
        detail=detail,
        level_db=np.array([item.level_db for item in inside], np.float32),
        looked=len(seen.shown) * len(seen.grid),
    )


def look(
    pictures: NDArray[np.uint8], shown: NDArray[np.bool_], start_s: float, model: Loaded, levels: tuple[int, ...] = LEVELS
) -> Look:
    """The visual trunk over uint8 (T, H, W), held steady, at every level: short side `level` px, never scaled up.

    Where much of the picture shakes it is looked at as it comes as well, place by place: in a picture held steady, what stood
    still in the shaking one (a speaker in a corner of it, say) shakes instead.
    """
    return look_in_parts(pictures, shown, start_s, model, levels, chunk=max(1, len(pictures)))


@torch.inference_mode()
def look_in_parts(
    pictures: NDArray[np.uint8],
    shown: NDArray[np.bool_],
    start_s: float,
    model: Loaded,
    levels: tuple[int, ...] = LEVELS,
    chunk: int = _CHUNK,
    much: float = MUCH_SHAKE,
) -> Look:
    """`look`, `chunk` pictures at a time, with so many around them that no seam is seen: memory for what is long or large.

    What shakes by over `much` of the short side is looked at as it comes as well.
    """
    strayed = shake(pictures)
    shakes = float(np.sqrt((strayed**2).sum(axis=1).mean())) > much * min(pictures.shape[1:])
    ways = (strayed, np.zeros_like(strayed)) if shakes else (strayed,)
    whole: Tensor | None = None
    grid: tuple[tuple[int, int, int, int, int], ...] = ()
    for first in range(0, len(pictures), chunk):
        run = slice(max(0, first - _REACH), min(len(pictures), first + chunk + _REACH))
        for number, way in enumerate(ways):
            part = look_as_it_is(steadied(pictures[run], way[run]), shown[run], start_s, model, levels)
            if whole is None:  # parts put together in the end would take the memory twice
                size = (1, len(pictures), len(ways) * len(part.grid), part.picture.shape[3])
                whole = part.picture.new_empty(size)
                grid = len(ways) * part.grid
            places = slice(number * len(part.grid), (number + 1) * len(part.grid))
            whole[:, first : first + chunk, places] = part.picture[:, first - run.start :][:, :chunk]
    if whole is None:
        raise ValueError("there are no pictures to look at")
    return Look(start_s, whole, grid, shown)


@torch.inference_mode()
def look_as_it_is(
    pictures: NDArray[np.uint8], shown: NDArray[np.bool_], start_s: float, model: Loaded, levels: tuple[int, ...]
) -> Look:
    """`look` at pictures that are held steady already, or are not to be."""
    short = min(pictures.shape[1:])
    source = torch.from_numpy(pictures)[None].to(model.device)
    parts, grid = [], []
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.half):
        for level in sorted({min(level, short) for level in levels}):
            scaled = source
            if level != short:
                size = [max(16, round(side * level / short)) for side in pictures.shape[1:]]
                # A second at a time, which stays in the processor's cache.
                scaled = torch.cat(
                    [
                        F.interpolate(part.float(), size=size, mode="bilinear", antialias=True, align_corners=False)
                        for part in torch.split(source, BLOCK_FRAMES, dim=1)
                    ],
                    dim=1,
                )
            part, (rows, columns) = model.net.visual(scaled)
            parts.append(part)
            grid += [(level, row, column, rows, columns) for row in range(rows) for column in range(columns)]
    return Look(start_s, torch.cat(parts, dim=2), tuple(grid), shown)


@dataclass(frozen=True)
class Compared:
    """Pictures and sound compared at every shift in `SHIFTS`.

    scored: what the joint layers say; match: (S,), what the trunks say alone (`model.Match`), in logits; block_match: (N, S),
    the same of each block; grid: where the places of the attention lie, as in `Look`; present: which (shift, picture) could be
    compared, bool (S, T).
    """

    scored: Scored
    match: NDArray[np.float32]
    block_match: NDArray[np.float32]
    grid: tuple[tuple[int, int, int, int, int], ...]
    present: NDArray[np.bool_]

    def weighed_score(self) -> NDArray[np.float32]:
        """What the joint layers say of every shift, (S,), as `verdict.Curve.score` has it."""
        return weighed(logit(self.scored.logits[0]), self.present)

    def weighed_match(self) -> NDArray[np.float32]:
        """The same of the trunks, (S,), as `verdict.Curve.match` has it."""
        return weighed(self.match, self.present)


@torch.inference_mode()
def compare(seen: Look, mel: NDArray[np.float32], heard: NDArray[np.bool_], model: Loaded) -> Compared:
    """The classifier at every shift in `SHIFTS` of a sound that is `MAX_SHIFT` pictures longer on both sides.

    mel: (4 (T + 2 MAX_SHIFT), 64); heard: bool (T + 2 MAX_SHIFT,). T is a whole number of blocks. A block that lacks over
    half of its sound, or of its pictures, at a shift has a logit of -inf there.
    """
    times = len(seen.shown)
    present = np.stack([seen.shown & heard[MAX_SHIFT + shift : MAX_SHIFT + shift + times] for shift in SHIFTS])
    picture, grid = seen.picture, seen.grid
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.half):
        sound = model.net.sound(torch.from_numpy(mel)[None].to(model.device))
        mask = torch.from_numpy(present)[None].to(model.device)
        match = model.net.match(picture, sound, mask)
        if (places := model.net.config.keep_places) is not None:
            keep = best_places(picture, sound, places)[0]
            picture, grid = picture[:, :, keep], tuple(grid[i] for i in keep.tolist())
        block_match = torch.cat(
            [
                model.net.match(
                    picture[:, at : at + BLOCK_FRAMES],
                    sound[:, at : at + BLOCK_FRAMES + 2 * MAX_SHIFT],
                    mask[:, :, at : at + BLOCK_FRAMES],
                )
                for at in range(0, times, BLOCK_FRAMES)
            ]
        )
        logits, attention, block_logits = model.net.head(
            picture, sound, torch.from_numpy(SHIFTS), margin=MAX_SHIFT, present=mask
        )
    # What the head says of a block without enough sound to compare is about silence: certainly not a match.
    compared = mask.view(1, len(SHIFTS), -1, BLOCK_FRAMES).float().mean(dim=-1) >= 0.5  # (1, S, N)
    block_logits = torch.stack([block_logits[..., 0], block_logits[..., 1].masked_fill(~compared, -torch.inf)], dim=-1)
    # At a shift where nothing at all could be compared some heads attend to nothing; an even share sums to 1 like any other.
    attention = torch.where(attention.sum(dim=(2, 3, 4), keepdim=True) > 0, attention, 1 / attention[0, 0].numel())
    return Compared(
        scored=Scored(logits, attention, block_logits),
        match=match[0].float().cpu().numpy(),
        block_match=block_match.float().cpu().numpy(),
        grid=grid,
        present=present,
    )


def weighed(values: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Scores (S,) drawn towards their median by the share of the pictures that had no sound there; present: bool (S, T).

    Where a short file has little sound left to compare, the score is a mean over little and peaks by chance: of windows of
    4.2 s, 8 in 100 were lost to such a peak. -inf where under half of what the best shift has could be compared, and
    everywhere where that is little itself.
    """
    share = present.mean(axis=1)
    most = float(share.max())
    share = share / max(most, 1e-6)
    compared = (share >= 0.5) & np.isfinite(values)
    if most < _LEAST_SHARE or not compared.any():
        return np.full(len(values), -np.inf, np.float32)
    middle = np.median(values[compared])
    return np.where(compared, middle + (values - middle) * share, -np.inf).astype(np.float32)


def logit(logits: Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = (logits[..., 1] - logits[..., 0]).float().cpu().numpy()
    return values


def sound_with_margin(
    before: list[Block], inside: list[Block], after: list[Block]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Log-mel of the segment and `MAX_SHIFT` pictures either side, and which pictures have sound."""
    near = [*before[-MARGIN_BLOCKS:], *inside, *after[:MARGIN_BLOCKS]]
    first, last = inside[0].index - MARGIN_BLOCKS, inside[-1].index + MARGIN_BLOCKS
    count = (last - first + 1) * BLOCK_MELS
    there = [block for block in near if first <= block.index <= last]
    mel = np.zeros((count, MEL_BINS), np.float32)
    heard = np.zeros(count, np.bool_)
    for block in there:
        at = (block.index - first) * BLOCK_MELS
        mel[at : at + BLOCK_MELS] = block.mel
        heard[at : at + BLOCK_MELS] = block.mel_mask
    spare = (MARGIN_BLOCKS * BLOCK_FRAMES - MAX_SHIFT) * _MELS_A_FRAME
    cut = slice(spare, count - spare)
    mel = without_gaps(mel, heard)
    return mel[cut], heard[cut].reshape(-1, _MELS_A_FRAME).mean(axis=1) > 0.5


def change(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """Mean change of luma, 0..255, in the tile of 16 px where two pictures (H, W) differ most.

    Over the whole picture a mouth is little: of 60 clips of faces that speak, 4 would not move.
    """
    step = np.maximum(before, after) - np.minimum(before, after)
    rows, columns = (min(_TILE, side) for side in step.shape)
    whole = step[: step.shape[0] // rows * rows, : step.shape[1] // columns * columns]
    strips = whole.reshape(-1, rows, whole.shape[1]).sum(axis=1, dtype=np.uint16)
    most = strips.reshape(len(strips), -1, columns).sum(axis=2).max()
    return float(most / (rows * columns))


def motion_of(block: Block) -> float:
    shown = block.pictures[block.picture_mask]
    return float(np.mean([change(before, after) for before, after in pairwise(shown)])) if len(shown) > 1 else 0.0


def detail_of(block: Block) -> float:
    """Deviation of luma over a picture, 0..255, on average."""
    return float(block.pictures[block.picture_mask].std(axis=(1, 2)).mean())
