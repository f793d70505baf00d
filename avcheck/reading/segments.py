"""Segments: runs of blocks with the margins that their sound needs, and decoding ahead of the
network.
"""

from __future__ import annotations

import queue
import threading
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch

from avcheck.media import Picture, Sound
from avcheck.reading.blocks import BLOCK_FRAMES, BLOCK_S, SOUND_LEAD_S, Block, blocks

SEGMENT_BLOCKS = 10
MAX_SHIFT = 50  # frames: candidate shifts are -2 s .. +2 s, one frame (40 ms) apart
MARGIN_BLOCKS = -(-MAX_SHIFT // BLOCK_FRAMES)

Item = TypeVar("Item")


class Film(Protocol):
    """What can be read from the middle: `Media`, or a title with several sounds."""

    def pictures(self, from_s: float | None = None) -> Generator[Picture, None, None]:
        """As `Media.pictures`."""

    def all_sounds(self, from_s: float | None = None) -> list[Generator[Sound, None, None]]:
        """Each of the sounds, as `Media.sounds`."""


@dataclass(frozen=True)
class Window:
    """The blocks inside a run, and those just before and after it, which lend their sound. alone:
    whether no other run is looked at.
    """

    inside: list[Block]
    before: list[Block] = field(default_factory=list)
    after: list[Block] = field(default_factory=list)
    alone: bool = False

    def with_sound(self, number: int) -> Window:
        """The same pictures with only this sound, counted from 0."""
        inside, before, after = (
            [block.with_sound(number) for block in run]
            for run in (self.inside, self.before, self.after)
        )
        return Window(inside, before, after, self.alone)

    def segments(self) -> Iterator[Window]:
        """The segments of these blocks in the middle of a title, as `segments` gives them for all
        of it.
        """
        for window in segments(self.inside):
            before, after = window.before or self.before, window.after or self.after
            yield Window(window.inside, before, after)


def segments(
    source: Iterable[Block],
    on_block: Callable[[Block], None] | None = None,
    seams_s: Sequence[float] = (),
    wanted: range | None = None,
) -> Iterator[Window]:
    """The segments of a file, as its blocks come in.

    A segment never spans a gap in time, or a change of the pictures' shape (a stream that is turned
    half-way).

    Args:
        source: The blocks in order.
        on_block: Called with each block.
        seams_s: Where recordings were joined, on the file's clock, rising. A segment ends there,
            unless it would be too short to show an offset.
        wanted: The numbers of the blocks to judge; None: all of them. The others are left out, but
            lend their sound to a segment beside them.
    """
    before: list[Block] = []
    waiting: list[Block] = []
    after: list[Block] = []
    first: int | None = None
    for block in source:
        if on_block is not None:
            on_block(block)
        if wanted is not None and block.index not in wanted:
            (before if block.index < wanted.start else after).append(block.sound_alone())
            continue
        if waiting and block.index != waiting[-1].index + 1:
            yield Window(waiting, before)
            before, waiting = [], []
        elif waiting and block.pictures.shape != waiting[-1].pictures.shape:
            yield Window(waiting, before, [block])
            before, waiting = waiting[-MARGIN_BLOCKS:], []
        elif len(waiting) >= SEGMENT_BLOCKS // 2 and _starts_at(block, seams_s):
            yield Window(waiting, before)
            before, waiting = [], []
        waiting.append(block)
        first = block.index if first is None else first
        # A tail too short to judge alone goes to the last segment, so half a segment more than is
        # used must have come.
        while len(waiting) >= SEGMENT_BLOCKS + SEGMENT_BLOCKS // 2:
            inside, rest = waiting[:SEGMENT_BLOCKS], waiting[SEGMENT_BLOCKS:]
            yield Window(inside, before, rest[:MARGIN_BLOCKS])
            before, waiting = inside[-MARGIN_BLOCKS:], rest
    if waiting:
        yield Window(waiting, before, after, alone=waiting[0].index == first)


def _starts_at(block: Block, seams_s: Sequence[float]) -> bool:
    """Whether a seam lies nearer to the start of this block than to that of any other; `seams_s`
    rise.
    """
    low, high = (bisect_left(seams_s, block.start_s + side * BLOCK_S / 2) for side in (-1, 1))
    return low < high


def window_over(
    media: Film,
    start: int,
    end: int,
    origin_s: float,
    on_block: Callable[[Block], None] | None = None,
) -> Window:
    """Some blocks of a file, with those around them, whose pictures are not decoded.

    Args:
        media: The file, which must allow reading from the middle.
        start: The number of the first block inside.
        end: The number of the block after the last.
        origin_s: Where block 0 starts, on the file's clock.
        on_block: Called with each block, also with those around.

    Raises:
        CannotSeek: The file cannot be read from there.
    """
    heard_from_s = origin_s + max(0, start - MARGIN_BLOCKS) * BLOCK_S - SOUND_LEAD_S
    window = Window([])
    with ExitStack() as stack:
        pictures = stack.enter_context(closing(media.pictures(origin_s + start * BLOCK_S)))
        sounds = [stack.enter_context(closing(sound)) for sound in media.all_sounds(heard_from_s)]
        for block in blocks(
            pictures,
            *sounds,
            origin_s=origin_s,
            first=start,
            count=end - start,
            margin=MARGIN_BLOCKS,
        ):
            if on_block is not None:
                on_block(block)
            if block.index < start:
                window.before.append(block)
            elif block.index < end:
                window.inside.append(block)
            else:
                window.after.append(block)
    return window


def ahead(
    source: Iterator[Item], depth: int = 2 * SEGMENT_BLOCKS, ended: threading.Event | None = None
) -> Generator[Item, None, None]:
    """The same items, made ahead in a thread while the network is at work. An error of `source` is
    raised here.

    Close the iterator when done: the thread then stops at its next item.

    Args:
        source: The items; only the thread iterates over it.
        depth: How many may wait.
        ended: Set when the last one is made.
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
        except BaseException as error:  # raised again where the blocks are used
            hand_over(error)

    worker = threading.Thread(target=make, name="avcheck-decode", daemon=True)
    worker.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        # The caller closes the file next, so the thread must have left it.
        stop.set()
        worker.join()


def beside_decoding(source: Iterator[Item], ended: threading.Event) -> Generator[Item, None, None]:
    """The same items; until `ended`, a core is left to the decoder.

    Threads of the network that have to wait for a core slow all the others down.
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
