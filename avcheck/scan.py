"""One file: blocks -> trunks once -> the classifier at every candidate shift -> a score curve per segment.

A segment is ten blocks (10 s) in a row, and up to fourteen where a run of blocks ends. Memory holds one segment and the two
seconds of sound on either side of it. A title that is sampled is looked at in probes of two segments (`avcheck.probes` says
where), which are the same segments, with the same sound around them, as those of the whole title. A file that stays undecidable
may get a closer look (`zoom`): a few of its segments again, their pictures more than three times the size.
"""

from __future__ import annotations

import queue
import threading
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avcheck import __version__
from avcheck.blocks import BLOCK_FRAMES, BLOCK_MELS, BLOCK_S, MEL_BINS, SOUND_LEAD_S, Block, blocks, without_gaps
from avcheck.cores import cores
from avcheck.errors import CannotSeek, MediaError, is_out_of_memory
from avcheck.media import Media, MediaInfo, open_media
from avcheck.model import AttentionKind, Scored, agreement, best_places, fuse
from avcheck.probes import PROBE_BLOCKS, first_probes, more_probes, stretches
from avcheck.results import DEFAULT_PRESET, PRESETS, Degraded, Report, Tolerance
from avcheck.steady import shake, steadied
from avcheck.tracks import others
from avcheck.verdict import Calibration, Curve, Judgement, judge, obstacle, without_unseen
from avcheck.weights import Loaded, load
from avcheck.zoom import CLOSER_SIDE, LEAST_SIDE, best_window, spread

SEGMENT_BLOCKS = 10
MAX_SHIFT = 50  # frames: candidate shifts are -2 s .. +2 s, one frame (40 ms) apart
SHIFTS = np.arange(-MAX_SHIFT, MAX_SHIFT + 1)
LEVELS = (80, 112, 160)  # short sides, px: a face of a close-up fills the first, one of a medium shot the last
LEARN_LEVEL_EVERY = 6  # segments; in between, only the level that drew the attention is looked at
MUCH_SHAKE = 0.03  # of the short side, so far strays one clip of speech in seven: looked at as it comes as well
MUCH_SHAKE_CLOSER = 0.002  # the same of a closer look: a pixel
KEEP_PLACES = 32  # the most that any head keeps
_MARGIN_BLOCKS = -(-MAX_SHIFT // BLOCK_FRAMES)
_MELS_A_FRAME = BLOCK_MELS // BLOCK_FRAMES
_TILE = 16  # px
_LEAST_SHARE = 0.4  # of a segment's pictures that need sound at some shift: else what there is says nothing of the segment
_FIRST_SHARE = 0.8  # of the progress shown, for the probes that are sure to be looked at
_PROBES_AHEAD = 1  # a probe's pictures take some 30 MB
ZOOM_SEGMENTS = 3  # of an undecided file are looked at closer at first, and as many again if one of them shows an offset
_CHUNK = 50  # pictures of a closer look that go through the trunk at a time: they are eleven times as large
_PLACES_AT_A_TIME = 500
_SOUND_IN_DOUBT = {"silent", "too_short", "no_match", "ambiguous"}  # reasons that another sound may not have
_PICTURE_IN_DOUBT = {"blank", "still", "too_short", "no_match", "ambiguous"}  # the same of pictures
_REACH = 8  # pictures on either side that a feature may depend on, with some to spare

Item = TypeVar("Item")


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


def scan(
    source: Iterable[Block], model: Loaded, *, levels: tuple[int, ...] = LEVELS, on_block: Callable[[Block], None] | None = None
) -> Iterator[Curve]:
    """Score curves of a file, segment after segment, as its blocks come in."""
    yield from _scan_segments(segments(source, on_block), model, levels)


def _scan_segments(
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
        """Learn from what was seen of the segment just looked at."""
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


def segments(
    source: Iterable[Block], on_block: Callable[[Block], None] | None, seams_s: Sequence[float] = ()
) -> Iterator[tuple[list[Block], list[Block], list[Block]]]:
    """(the blocks just before, the segment's blocks, the blocks just after).

    A segment never spans a gap in time, nor a change of the pictures' shape (a stream that is turned half-way). It ends at one
    of `seams_s`, where one recording was joined to another, unless it would be too short to show an offset.
    """
    before: list[Block] = []
    waiting: list[Block] = []
    for block in source:
        if on_block is not None:
            on_block(block)
        if waiting and block.index != waiting[-1].index + 1:
            yield from _flush(before, waiting)
            before, waiting = [], []
        elif waiting and block.pictures.shape != waiting[-1].pictures.shape:
            yield before, waiting, [block]
            before, waiting = waiting[-_MARGIN_BLOCKS:], []
        elif len(waiting) >= SEGMENT_BLOCKS // 2 and _starts_at(block, seams_s):
            yield before, waiting, []
            before, waiting = [], []
        waiting.append(block)
        # A tail too short to judge alone is kept for the last segment, so wait for half a segment more than is used.
        while len(waiting) >= SEGMENT_BLOCKS + SEGMENT_BLOCKS // 2:
            inside, rest = waiting[:SEGMENT_BLOCKS], waiting[SEGMENT_BLOCKS:]
            yield before, inside, rest[:_MARGIN_BLOCKS]
            before, waiting = inside[-_MARGIN_BLOCKS:], rest
    yield from _flush(before, waiting)


def _starts_at(block: Block, seams_s: Sequence[float]) -> bool:
    """Whether a seam lies nearer to the start of this block than to that of any other; `seams_s` rise."""
    low, high = (bisect_left(seams_s, block.start_s + side * BLOCK_S / 2) for side in (-1, 1))
    return low < high


def _flush(before: list[Block], waiting: list[Block]) -> Iterator[tuple[list[Block], list[Block], list[Block]]]:
    if waiting:
        yield before, waiting, []


@dataclass(frozen=True)
class Probe:
    """A stretch of a file: its blocks, and those just before and after it, which lend their sound."""

    before: list[Block]
    inside: list[Block]
    after: list[Block]

    def segments(self) -> Iterator[tuple[list[Block], list[Block], list[Block]]]:
        """What `segments` gives for these blocks in the middle of the whole title."""
        for before, inside, after in segments(self.inside, None):
            yield before or self.before, inside, after or self.after


def probes(
    media: Media, where: Iterable[int], origin_s: float, on_block: Callable[[Block], None] | None = None
) -> Iterator[Probe]:
    """Decode these stretches of a file whose blocks start at `origin_s`. Raises CannotSeek, and MediaError as `media` does."""
    for stretch in where:
        yield _stretch(media, stretch * PROBE_BLOCKS, (stretch + 1) * PROBE_BLOCKS, origin_s, on_block)


def _stretch(media: Media, start: int, end: int, origin_s: float, on_block: Callable[[Block], None] | None = None) -> Probe:
    """Blocks `start` up to `end`, with those around them."""
    first = max(0, start - _MARGIN_BLOCKS)
    start_s = origin_s + first * BLOCK_S
    probe = Probe([], [], [])
    with closing(media.pictures(start_s)) as pictures, closing(media.sounds(start_s - SOUND_LEAD_S)) as sounds:
        for block in blocks(pictures, sounds, origin_s=origin_s, first=first, count=end + _MARGIN_BLOCKS - first):
            if on_block is not None:
                on_block(block)
            part = probe.before if block.index < start else probe.inside if block.index < end else probe.after
            part.append(block)
    return probe


def score_segment(
    before: list[Block], inside: list[Block], after: list[Block], model: Loaded, levels: tuple[int, ...] = LEVELS
) -> Curve:
    """The classifier on one run of blocks at every shift in `SHIFTS`; `before` and `after` lend their sound."""
    pictures = np.concatenate([block.pictures for block in inside])
    shown = np.concatenate([block.picture_mask for block in inside])
    seen = look(pictures, shown, inside[0].start_s, model, levels)
    motion = np.array([motion_of(item) for item in inside], np.float32)
    detail = np.array([detail_of(item) for item in inside], np.float32)
    return score(seen, before, inside, after, model, motion, detail)


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
    )


def look_closer(pictures: NDArray[np.uint8], shown: NDArray[np.bool_], start_s: float, model: Loaded) -> Look:
    """The visual trunk over large pictures, whole, for `score_closer`. A small face leaves its place with little shake."""
    kept = torch.bfloat16 if model.half else torch.float32  # what is done with them next rounds them to that
    return look_in_parts(pictures, shown, start_s, model, (CLOSER_SIDE,), much=MUCH_SHAKE_CLOSER, kept=kept)


def score_closer(
    seen: Look, curve: Curve, before: list[Block], inside: list[Block], after: list[Block], model: Loaded
) -> Curve:
    """`curve`, of one segment, from a larger look at its pictures, of which the window that goes best with the sound is kept.

    One window only: what the rest of the picture shows is at best nothing, and lowers the confidence. Of the blocks only the
    sound is read.
    """
    mel, _ = sound_with_margin(before, inside, after)
    window = best_window(_strength(seen, mel, model), seen.grid)
    grid = tuple(seen.grid[k] for k in window.tolist())
    narrow = replace(seen, picture=seen.picture[:, :, torch.from_numpy(window)], grid=grid)
    return score(narrow, before, inside, after, model, curve.motion, curve.detail)


def zoom(
    curves: list[Curve],
    found: Judgement,
    closer: Callable[[Curve], Curve],
    tolerance: Tolerance,
    calibration: Calibration,
) -> tuple[list[Curve], Judgement]:
    """The curves of a file and what they say, after a closer look at some of the segments that showed nothing.

    `closer` gives a segment's curve from a closer look. A file that is decided, or of which an offset is told, costs nothing,
    nor does one whose sound is silent or whose pictures do not move.
    """
    if found.verdict != "undecidable" or found.offset_ms is not None or obstacle(curves) is not None:
        return curves, found
    curves = list(curves)
    mute = [k for k, part in enumerate(found.segments) if part.offset_ms is None and obstacle([curves[k]]) is None]
    for _ in range(2):
        chosen = spread(mute, ZOOM_SEGMENTS)
        for k in chosen:
            curves[k] = closer(curves[k])
        found = judge(curves, tolerance, calibration)
        mute = [k for k in mute if k not in chosen]
        told = found.verdict != "undecidable" or found.offset_ms is not None
        if told or not any(found.segments[k].offset_ms is not None for k in chosen):
            break
    return curves, found


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
    kept: torch.dtype = torch.float32,
) -> Look:
    """`look`, `chunk` pictures at a time, with so many around them that no seam is seen: memory for what is long or large.

    What shakes by over `much` of the short side is looked at as it comes as well. `kept`: what the features are kept as.
    """
    strayed = shake(pictures)
    shakes = float(np.sqrt((strayed**2).sum(axis=1).mean())) > much * min(pictures.shape[1:])
    ways = (strayed, np.zeros_like(strayed)) if shakes else (strayed,)
    whole: Tensor | None = None
    grid: tuple[tuple[int, int, int, int, int], ...] = ()
    for first in range(0, len(pictures), chunk):
        run = slice(max(0, first - _REACH), min(len(pictures), first + chunk + _REACH))
        for number, way in enumerate(ways):
            part = _look(steadied(pictures[run], way[run]), shown[run], start_s, model, levels)
            if whole is None:  # parts put together in the end would take the memory twice
                size = (1, len(pictures), len(ways) * len(part.grid), part.picture.shape[3])
                whole = part.picture.new_empty(size, dtype=kept)
                grid = len(ways) * part.grid
            places = slice(number * len(part.grid), (number + 1) * len(part.grid))
            whole[:, first : first + chunk, places] = part.picture[:, first - run.start :][:, :chunk]
    if whole is None:
        raise ValueError("there are no pictures to look at")
    return Look(start_s, whole, grid, shown)


@torch.inference_mode()
def _look(
    pictures: NDArray[np.uint8], shown: NDArray[np.bool_], start_s: float, model: Loaded, levels: tuple[int, ...]
) -> Look:
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


@torch.inference_mode()
def _strength(seen: Look, mel: NDArray[np.float32], model: Loaded) -> NDArray[np.float32]:
    """`model.agreement` of every place with the sound, (P,)."""
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.half):
        sound = model.net.sound(torch.from_numpy(mel)[None].to(model.device))
        # The places of a closer look are thousands, and are copied to be compared.
        parts = torch.split(seen.picture, _PLACES_AT_A_TIME, dim=2)
        found = [agreement(part, sound)[0].float() for part in parts]
    strength: NDArray[np.float32] = torch.cat(found).cpu().numpy()
    return strength


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
    near = [*before[-_MARGIN_BLOCKS:], *inside, *after[:_MARGIN_BLOCKS]]
    first, last = inside[0].index - _MARGIN_BLOCKS, inside[-1].index + _MARGIN_BLOCKS
    count = (last - first + 1) * BLOCK_MELS
    there = [block for block in near if first <= block.index <= last]
    mel = np.zeros((count, MEL_BINS), np.float32)
    heard = np.zeros(count, np.bool_)
    for block in there:
        at = (block.index - first) * BLOCK_MELS
        mel[at : at + BLOCK_MELS] = block.mel
        heard[at : at + BLOCK_MELS] = block.mel_mask
    spare = (_MARGIN_BLOCKS * BLOCK_FRAMES - MAX_SHIFT) * _MELS_A_FRAME
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


def ahead(
    source: Iterator[Item], depth: int = 2 * SEGMENT_BLOCKS, ended: threading.Event | None = None
) -> Generator[Item, None, None]:
    """The same items, up to `depth` of them made in a thread of their own while the network is at work. Errors come through.

    `ended` is set when the last one is made. Close the iterator when done: the thread then stops at its next item.
    """
    made: queue.Queue[Item | BaseException | None] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def hand_over(item: Item | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                made.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in source:
                if not hand_over(item):
                    return
            if ended is not None:
                ended.set()
            hand_over(None)
        except BaseException as error:  # raised again where the blocks are wanted
            hand_over(error)

    worker = threading.Thread(target=make, name="avcheck-decode", daemon=True)
    worker.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        # The caller closes the file next, so the thread must be out of it first.
        stop.set()
        worker.join()


def _beside_decoding(source: Iterator[Item], ended: threading.Event) -> Generator[Item, None, None]:
    """The same items, with a core left to the decoder until it has `ended`.

    Threads of the network that have to wait for it slow all the others down.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    try:
        for item in source:
            if ended.is_set():
                torch.set_num_threads(threads)
            yield item
    finally:
        torch.set_num_threads(threads)


@dataclass
class _Tell:
    """Tells how far a sampled check has come: from `done`, by `step` with every block that is decoded."""

    on_progress: Callable[[float], None] | None
    done: float
    step: float

    def __call__(self, block: Block) -> None:
        self.done = min(1.0, self.done + self.step)
        if self.on_progress is not None:
            self.on_progress(self.done)


class Checker:
    """Weights loaded once, to check any number of files.

    `model`: a weights file, or None for the shipped one; `device`: "auto", "cpu", "cuda" or "mps"; `attention`: one of
    `model.ATTENTION_KINDS`, or None for the file's own; `threads`: for the network and for the decoder, 0 = as PyTorch and
    `open_media` choose, within what this process may use. Raises ModelError or UsageError as `weights.load` does.
    """

    def __init__(
        self, model: Path | None = None, device: str = "auto", attention: AttentionKind | None = None, threads: int = 0
    ) -> None:
        self._threads = threads
        # PyTorch counts the machine's cores, whatever a container's share of them is.
        torch.set_num_threads(threads or min(torch.get_num_threads(), cores()))
        self.loaded = load(model, device=device, attention=attention)
        fuse(self.loaded.net)
        self.calibration = Calibration(**self.loaded.calibration)

    def curves(
        self,
        path: str | Path,
        *,
        audio_track: int | None = None,
        video_track: int | None = None,
        program: int | None = None,
        audio: str | Path | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> tuple[list[Curve], MediaInfo, Degraded]:
        """The score curves of a file, with what is known of it and what was lost on the way. Raises MediaError."""
        with open_media(
            path,
            audio_track=audio_track,
            video_track=video_track,
            program=program,
            audio_path=audio,
            short_side=max(LEVELS),
            threads=self._threads,
        ) as media:
            info = media.info
            first_s = info.first_picture_s or 0.0

            def tell(block: Block) -> None:
                if on_progress is not None and info.duration_s:
                    on_progress(min(1.0, (block.start_s + BLOCK_S - first_s) / info.duration_s))

            ended = threading.Event()
            with (
                closing(ahead(blocks(media.pictures(), media.sounds()), ended=ended)) as coming,
                closing(_beside_decoding(segments(coming, tell, media.seams_s), ended)) as found,
            ):
                curves = list(_scan_segments(found, self.loaded))
            return curves, media.info, media.degraded

    def sampled_curves(
        self,
        path: str | Path,
        probes_first: int,
        *,
        audio_track: int | None = None,
        video_track: int | None = None,
        program: int | None = None,
        audio: str | Path | None = None,
        tolerance: Tolerance = PRESETS[DEFAULT_PRESET],
        on_progress: Callable[[float], None] | None = None,
    ) -> tuple[list[Curve], MediaInfo, Degraded] | None:
        """As `curves`, of stretches spread over the title only, and of more where those leave the verdict open.

        None for a title that is too short for `probes_first` of them, or cannot be read from the middle: check it whole.
        Raises MediaError.
        """
        with open_media(
            path,
            audio_track=audio_track,
            video_track=video_track,
            program=program,
            audio_path=audio,
            short_side=max(LEVELS),
            threads=self._threads,
        ) as media:
            origin_s = media.info.first_picture_s
            if not media.seekable or origin_s is None or media.info.duration_s is None:
                return None
            total = stretches(media.info.duration_s - origin_s)
            where = first_probes(total, probes_first)
            looked: list[int] = []
            curves: list[Curve] = []
            done, share = 0.0, _FIRST_SHARE
            try:
                while where:
                    tell = _Tell(on_progress, done, (1 - done) * share / (len(where) * (PROBE_BLOCKS + 2 * _MARGIN_BLOCKS)))
                    ended = threading.Event()
                    with (
                        closing(ahead(probes(media, where, origin_s, tell), _PROBES_AHEAD, ended)) as source,
                        closing(_beside_decoding(source, ended)) as coming,
                    ):
                        for probe in coming:
                            curves += _scan_segments(probe.segments(), self.loaded)
                    done, share = done + (1 - done) * share, 0.5
                    looked += where
                    curves.sort(key=lambda curve: curve.start_s)
                    found = judge(curves, tolerance, self.calibration)
                    where = more_probes(looked, found, total, probes_first, origin_s)
            except CannotSeek:
                return None
            if curves and on_progress is not None:
                on_progress(1.0)
            return (curves, media.info, media.degraded) if curves else None

    def _closer(
        self,
        path: str | Path,
        info: MediaInfo,
        stack: ExitStack,
        *,
        audio_track: int | None,
        video_track: int | None,
        program: int | None,
        audio: str | Path | None,
    ) -> Callable[[Curve], Curve]:
        """Looks closer at segments of a file, which is opened again, until `stack` is closed, when the first is asked for.

        A file whose pictures are too small for that, or that cannot be read from the middle, raises CannotSeek then.
        """
        opened: list[Media] = []

        def open_again() -> Media:
            if info.first_picture_s is None or min(info.width, info.height) < LEAST_SIDE:
                raise CannotSeek(f"{path}: there is nothing to look closer at")
            media = open_media(
                path,
                audio_track=audio_track,
                video_track=video_track,
                program=program,
                audio_path=audio,
                short_side=CLOSER_SIDE,
                threads=self._threads,
            )
            opened.append(stack.enter_context(media))
            if not media.seekable:
                raise CannotSeek(f"{path}: cannot be read from the middle")
            return media

        def closer(curve: Curve) -> Curve:
            media = opened[0] if opened else open_again()
            try:
                return look_again(media, curve)
            except Exception as error:  # what was seen at first still holds
                if isinstance(error, MediaError) or is_out_of_memory(error):
                    return curve
                raise

        def look_again(media: Media, curve: Curve) -> Curve:
            origin_s = info.first_picture_s or 0.0
            start = round((curve.start_s - origin_s) / BLOCK_S)
            end = start + len(curve.block_start_s)
            stretch = _stretch(media, start, end, origin_s)
            if len(stretch.inside) != end - start or len({block.pictures.shape for block in stretch.inside}) > 1:
                return curve  # damaged: decoded from here, it is not what was looked at first
            pictures = np.concatenate([block.pictures for block in stretch.inside])
            shown = np.concatenate([block.picture_mask for block in stretch.inside])
            # Large pictures are let go as soon as they can be; a view would keep them.
            before, inside, after = (
                [replace(block, pictures=block.pictures[:0].copy()) for block in part]
                for part in (stretch.before, stretch.inside, stretch.after)
            )
            del stretch
            seen = look_closer(pictures, shown, curve.start_s, self.loaded)
            return score_closer(seen, curve, before, inside, after, self.loaded)

        return closer

    def check(
        self,
        path: str | Path,
        *,
        audio_track: int | None = None,
        video_track: int | None = None,
        program: int | None = None,
        audio: str | Path | None = None,
        tolerance: Tolerance = PRESETS[DEFAULT_PRESET],
        sample: int | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Report:
        """Check one file, or with `sample` only that many stretches of it at first, if it is long enough for that.

        Raises MediaError for a file that cannot be judged (`avcheck.check` turns it into a report).
        """
        sampled = None
        if sample is not None:
            sampled = self.sampled_curves(
                path,
                sample,
                audio_track=audio_track,
                video_track=video_track,
                program=program,
                audio=audio,
                tolerance=tolerance,
                on_progress=on_progress,
            )
        curves, info, degraded = sampled or self.curves(
            path, audio_track=audio_track, video_track=video_track, program=program, audio=audio, on_progress=on_progress
        )
        found = judge(curves, tolerance, self.calibration)
        with ExitStack() as stack, suppress(MediaError):  # it cannot be opened again, or not be read from the middle
            closer = self._closer(
                path, info, stack, audio_track=audio_track, video_track=video_track, program=program, audio=audio
            )
            curves, found = zoom(curves, found, closer, tolerance, self.calibration)
        found = without_unseen(found, degraded.unseen_s, info.duration_s)
        return Report(
            path=str(path),
            verdict=found.verdict,
            reason=_reason(found, info),
            reason_code=found.reason_code,
            offset_ms=found.offset_ms,
            confidence=found.confidence,
            tolerance=tolerance,
            container_offset_ms=info.container_offset_ms,
            drift_ms_per_min=found.drift_ms_per_min,
            jumps_s=found.jumps_s,
            jump_intervals_s=found.jump_intervals_s,
            stretches=found.stretches,
            duration_s=info.duration_s,
            sampled_s=None if sampled is None else BLOCK_S * sum(len(curve.block_start_s) for curve in curves),
            audio_track=info.audio_track,
            video_track=info.video_track,
            program=info.program,
            programs=info.programs,
            audio_tracks=info.audio_tracks,
            video_tracks=info.video_tracks,
            segments=found.segments,
            blocks=found.blocks,
            degraded=degraded,
            model_sha256=self.loaded.sha256,
            avcheck_version=__version__,
        )


def _reason(found: Judgement, info: MediaInfo) -> str | None:
    """Why a file is undecidable, with the tracks that were not looked at where one of them may be the one that was meant."""
    # A separate sound file stands in place of the tracks, so none of its own can be chosen.
    audio = [track for track in info.audio_tracks if info.audio_track not in (None, track.number)]
    video = [track for track in info.video_tracks if track.number != info.video_track]
    audio = audio if found.reason_code in _SOUND_IN_DOUBT else []
    video = video if found.reason_code in _PICTURE_IN_DOUBT else []
    return "; ".join(part for part in (found.reason, others(audio, video)) if part)
