"""The only place where rates change: pictures and sound of any rate -> blocks of 25 pictures and
their log-mel.

Khosravan et al. (section 3.1) cut a video into non-overlapping blocks of 25 frames. Here a block is
exactly one second on a 25 fps grid that starts at the first picture, so that every file, whatever
its frame rate, is seen at the same pace. Pictures and sound keep their place in time: what is
missing is masked, never closed up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.reading.mel import MEL_HOP, MEL_MARGIN, MEL_RATE, log_mel

BLOCK_FRAMES = 25  # pictures in a block
BLOCK_S = BLOCK_FRAMES / FRAME_RATE
BLOCK_MELS = int(MEL_RATE * BLOCK_S)
BLOCK_SAMPLES = int(SAMPLE_RATE * BLOCK_S)
SOUND_LEAD_S = 0.05  # the log-mel of a block needs at least so much sound before it
_HOLD_S = 1.0  # an older picture is missing, not repeated: a file can claim a gap of 30 hours
# From 10 fps on the nearest picture shows a moment best; below, a picture stays until the next
_NEAREST_GAP_S = 0.1


class Picture(Protocol):
    """What `blocks` needs of a picture: its time and its luma, uint8 (H, W)."""

    @property
    def pts_s(self) -> float: ...
    @property
    def luma(self) -> NDArray[np.uint8]: ...


class Sound(Protocol):
    """What `blocks` needs of a run of sound: its start and float32 mono samples at 16 kHz."""

    @property
    def start_s(self) -> float: ...
    @property
    def samples(self) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Heard:
    """One more sound of a block; mel, mel_mask and level_db are those of `Block`."""

    mel: NDArray[np.float32]
    mel_mask: NDArray[np.bool_]
    level_db: float


@dataclass(frozen=True)
class Block:
    """One second of a file.

    index: its number, 0 at the first picture of the file. pictures: uint8 (25, H, W), picture k
    shows `start_s` + k/25 s; picture_mask: bool (25,), False where there was none. mel: float32
    (100, 64), column j is centred on `start_s` + (j + 0.5)/100 s; mel_mask: bool (100,), False
    where there was no sound. level_db: loudness of the block's sound, dBFS (RMS); -inf for digital
    silence or none. further: the other sounds of a title that has several.
    """

    index: int
    start_s: float
    pictures: NDArray[np.uint8]
    picture_mask: NDArray[np.bool_]
    mel: NDArray[np.float32]
    mel_mask: NDArray[np.bool_]
    level_db: float
    further: tuple[Heard, ...] = ()

    def with_sound(self, number: int) -> Block:
        """The same pictures with only this sound, counted from 0."""
        if number == 0:
            return replace(self, further=())
        heard = self.further[number - 1]
        return replace(
            self, mel=heard.mel, mel_mask=heard.mel_mask, level_db=heard.level_db, further=()
        )

    def sound_alone(self) -> Block:
        """The same block without its pictures, which take most of the memory."""
        return replace(self, pictures=np.zeros((0, *self.pictures.shape[1:]), np.uint8))


def without_gaps(mel: NDArray[np.float32], heard: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A log-mel in which every column without sound is the mean of those with sound.

    The sound trunk subtracts each band's mean. Silence in place of missing sound would move that
    mean, and with it every feature of a short file; the mean itself moves nothing.

    Args:
        mel: float32 (columns, 64).
        heard: bool (columns,), False where there is no sound.

    Returns:
        float32 (columns, 64); `mel` itself if all columns have sound, or none has.
    """
    if heard.all() or not heard.any():
        return mel
    filled = mel.copy()
    filled[~heard] = mel[heard].mean(axis=0)
    return filled


class SoundTimeline:
    """Pieces of sound laid out by their own timestamps: read any stretch, and get its samples and a
    mask of where there was sound.

    Only what follows the last read is kept, so memory stays bounded however long the file is.
    """

    def __init__(self, sounds: Iterable[Sound]) -> None:
        self._sounds = iter(sounds)
        self._pieces: list[tuple[float, NDArray[np.float32]]] = []
        self._ended = False

    def read(self, start_s: float, count: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A stretch of the sound.

        Args:
            start_s: Where it starts; at most 1 s before any start read earlier.
            count: How many samples it has.

        Returns:
            The samples, float32 (count,), 0 where there is no sound; and where there is some, bool
            (count,).
        """
        end_s = start_s + count / SAMPLE_RATE
        while not self._ended and (not self._pieces or self._piece_end_s(self._pieces[-1]) < end_s):
            piece = next(self._sounds, None)
            if piece is None:
                self._ended = True
            elif len(piece.samples):
                self._pieces.append((piece.start_s, piece.samples))
                self._drop_before(start_s - 1.0)
                if piece.start_s >= end_s:
                    break
        self._drop_before(start_s - 1.0)
        samples = np.zeros(count, np.float32)
        mask = np.zeros(count, np.bool_)
        for piece_start_s, values in self._pieces:
            first = round((piece_start_s - start_s) * SAMPLE_RATE)
            low, high = max(first, 0), min(first + len(values), count)
            if low < high:
                samples[low:high] = values[low - first : high - first]
                mask[low:high] = True
        return samples, mask

    @staticmethod
    def _piece_end_s(piece: tuple[float, NDArray[np.float32]]) -> float:
        return piece[0] + len(piece[1]) / SAMPLE_RATE

    def _drop_before(self, time_s: float) -> None:
        keep = [piece for piece in self._pieces if self._piece_end_s(piece) > time_s]
        # The last piece says how far the source has been read, so it always stays.
        self._pieces = keep or self._pieces[-1:]


def blocks(
    pictures: Iterable[Picture],
    *sounds: Iterable[Sound],
    origin_s: float | None = None,
    first: int = 0,
    count: int | None = None,
    margin: int = 0,
) -> Iterator[Block]:
    """Cut a file, with one sound or several, into blocks, lazily; memory holds a block or two.

    A picture is repeated for at most 1 s; a stretch without pictures gives no block, and the next
    block keeps its true `start_s` on the same grid. Sound outside the time of the pictures is not
    used. A stretch of a file gives the same blocks as the whole. Nothing is read further than
    needed.

    Args:
        pictures: In order. Those of a stretch begin with the one shown as block `first` starts.
        sounds: One or more, each in order. Those of a stretch begin `SOUND_LEAD_S` before the first
            block, margin included.
        origin_s: Where the grid starts, on the file's clock; None: at the first picture.
        first: The number of the first block.
        count: How many blocks; None: to the end.
        margin: How many blocks on either side also come, without pictures, as `Block.sound_alone`.
            Before the first there are no more than `first`.
    """
    timelines = [SoundTimeline(sound) for sound in sounds]
    for number in range(max(0, first - margin), first):
        yield _block(number, origin_s or 0.0, [], timelines)
    shown: list[NDArray[np.uint8] | None] = []
    index = first
    for slot, start_s, picture in _on_grid(pictures, origin_s, first * BLOCK_FRAMES):
        origin_s = start_s
        while slot >= (index + 1) * BLOCK_FRAMES:
            if any(item is not None for item in shown):
                yield _block(index, origin_s, shown, timelines)
            shown = []
            index = slot // BLOCK_FRAMES if slot >= (index + 2) * BLOCK_FRAMES else index + 1
        if count is not None and index >= first + count:
            for number in range(index, first + count + margin):
                yield _block(number, start_s, [], timelines)
            return
        shown += [None] * (slot - index * BLOCK_FRAMES - len(shown))
        # Scaled down at once, while the decoder works on; large pictures are not kept.
        shown.append(picture.luma)
    if origin_s is not None and any(item is not None for item in shown):
        yield _block(index, origin_s, shown, timelines)


def _on_grid(
    pictures: Iterable[Picture], origin_s: float | None, slot: int
) -> Iterator[tuple[int, float, Picture]]:
    """(slot, origin_s, picture) for every slot of the 25 fps grid from `slot` on that has a
    picture, in rising order.
    """
    source = iter(pictures)
    here = next(source, None)
    if here is None:
        return
    if origin_s is None:
        origin_s = here.pts_s
    gap_s = 1 / FRAME_RATE
    while here is not None:
        following = next(source, None)
        if following is None:
            # The last picture lasts one frame of the grid, or of the file if that is shorter: at 50
            # a second a title would else go on into a block that begins where it ends.
            lasts_s = min(gap_s, 1 / FRAME_RATE)
            if origin_s + slot / FRAME_RATE <= here.pts_s + lasts_s / 2:
                yield slot, origin_s, here
            return
        gap_s = following.pts_s - here.pts_s
        until_s = (
            here.pts_s + gap_s / 2
            if gap_s <= _NEAREST_GAP_S
            else here.pts_s + min(gap_s, _HOLD_S) - 1e-6
        )
        while origin_s + slot / FRAME_RATE <= until_s:
            yield slot, origin_s, here
            slot += 1
        if gap_s > _HOLD_S:
            slot = max(slot, math.ceil((following.pts_s - origin_s) * FRAME_RATE - 0.5))
        here = following


def _block(
    index: int,
    origin_s: float,
    shown: list[NDArray[np.uint8] | None],
    timelines: Sequence[SoundTimeline],
) -> Block:
    """A block of a title.

    Args:
        index: Its number, from 0.
        origin_s: Where block 0 begins, on the file's clock.
        shown: The luma (H, W) of each of its pictures, None for one that is missing; empty for
            a block of sound alone.
        timelines: The sounds of the title.
    """
    start_s = origin_s + index * BLOCK_S
    shape = next((luma.shape for luma in shown if luma is not None), (0, 0))
    frames = np.zeros((BLOCK_FRAMES if shown else 0, *shape), np.uint8)
    mask = np.zeros(BLOCK_FRAMES, np.bool_)
    for k, luma in enumerate(shown):
        if luma is not None and luma.shape == shape:
            frames[k], mask[k] = luma, True
    first, *further = (_heard(timeline, start_s) for timeline in timelines)
    return Block(
        index=index,
        start_s=start_s,
        pictures=frames,
        picture_mask=mask,
        mel=first.mel,
        mel_mask=first.mel_mask,
        level_db=first.level_db,
        further=tuple(further),
    )


def _heard(timeline: SoundTimeline, start_s: float) -> Heard:
    """What one sound has in the block that begins at `start_s`."""
    samples, present = timeline.read(
        start_s - MEL_MARGIN / SAMPLE_RATE, BLOCK_SAMPLES + 2 * MEL_MARGIN
    )
    inner = slice(MEL_MARGIN, MEL_MARGIN + BLOCK_SAMPLES)
    rms = float(np.sqrt(np.mean(samples[inner] ** 2)))
    return Heard(
        mel=log_mel(samples),
        mel_mask=present[inner].reshape(BLOCK_MELS, MEL_HOP).mean(axis=1) > 0.5,
        level_db=20.0 * math.log10(rms) if rms > 0 else -math.inf,
    )
