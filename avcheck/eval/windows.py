"""Windows of decoded clips, each treated like a file that was cut there after its sound was moved.

Like a real file, a window has sound for its own time only; sound that the clip lacks is masked. The
visual features are computed once per clip and cut with the window. So a picture at a window's edge
is seen together with up to four pictures beyond it, and the camera's shake is measured over the
whole clip. Everything else is as in a check (`shifts.compare` and `verdict`, segment by segment).

If sound is late by x, the picture at t meets the sound that belongs to the picture at t - x. In a
clip whose own offset is f frames (positive = late), the sound that belongs to the picture at t is
heard at t + f / 25.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from avcheck.network.model import best_places
from avcheck.network.weights import Loaded
from avcheck.rates import FRAME_RATE, SAMPLE_RATE, SAMPLES_A_FRAME
from avcheck.reading.blocks import BLOCK_FRAMES, BLOCK_MELS, BLOCK_S, BLOCK_SAMPLES, Block
from avcheck.reading.mel import MEL_MARGIN, MEL_RATE, log_mel
from avcheck.reading.segments import MAX_SHIFT, Window, segments
from avcheck.scan.curves import LevelChoice, change, score, sound_with_margin, stages, until_sure
from avcheck.scan.looking import AROUND, LEVELS, Look, look, look_in_parts
from avcheck.scan.searching import CLOSER_SIDE
from avcheck.scan.shifts import logit
from avcheck.train.corpus import Clip, decode
from avcheck.verdict.posterior import Calibration, Curve, Place

_CHUNK = 250  # pictures that go through the visual trunk at a time
_NO_PICTURES = np.zeros((BLOCK_FRAMES, 0, 0), np.uint8)
GRAIN = 2.0  # standard deviation of the grain on a frozen picture, in grey levels of 255


@dataclass(frozen=True)
class Shot:
    """Pictures as the network sees them, padded with masked black to N whole blocks."""

    view: Look  # over N * 25 pictures
    count: int  # of the real ones
    motion: NDArray[np.float32]  # (N,), as in `Curve`
    detail: NDArray[np.float32]  # (N,), likewise

    @property
    def blocks(self) -> int:
        """N."""
        return len(self.motion)

    @property
    def seconds(self) -> float:
        """How long the pictures last."""
        return self.count / FRAME_RATE


@dataclass(frozen=True)
class Footage:
    """A decoded clip and what the visual trunk sees in it."""

    clip: Clip
    frames: NDArray[np.uint8]  # (T, H, W) at 25 fps
    samples: NDArray[np.float32]  # (n,) at 16 kHz
    view: Look  # over all T pictures
    blank: Look  # over one black picture
    change: NDArray[np.float32]  # (T,), mean difference from the picture before, 0..255; first: 0
    detail: NDArray[np.float32]  # (T,), standard deviation over each picture

    @property
    def seconds(self) -> float:
        """How long the pictures last."""
        return len(self.frames) / FRAME_RATE

    @property
    def own_frames(self) -> float:
        """The offset to correct for: the clip's own if it is trusted, else 0."""
        return (self.clip.offset_frames or 0.0) if self.clip.trusted else 0.0

    @cached_property
    def larger(self) -> NDArray[np.uint8]:
        """The same pictures as in a closer look, (T, h, w). Raises MediaError."""
        return decode(self.clip.path, CLOSER_SIDE)[0][: len(self.frames)]

    def shot(self, first: int, count: int) -> Shot:
        """`count` pictures from `first` on, as a file of their own."""
        run = slice(first, first + count)
        return _shot(
            self.view.picture[:, run],
            self.view.grid,
            self.change[run],
            self.detail[run],
            self.blank,
        )

    def black(self, count: int) -> Shot:
        """`count` black pictures."""
        nothing = np.zeros(count, np.float32)
        return _shot(
            self.blank.picture.expand(-1, count, -1, -1),
            self.blank.grid,
            nothing,
            nothing,
            self.blank,
        )

    def frozen(
        self, count: int, model: Loaded, levels: tuple[int, ...] = LEVELS, grain: float = 0.0
    ) -> Shot:
        """The clip's middle picture, `count` times, with Gaussian noise that repeats every 2 s.
        grain: the standard deviation of the noise, in grey levels of 255.
        """
        still = _grainy(self.frames, grain)
        period = len(still)
        around = still[np.arange(-AROUND, period + AROUND) % period]
        picture = look(around, np.ones(len(around), np.bool_), 0.0, model, levels).picture[
            :, AROUND:-AROUND
        ]
        picture = _as_often(picture, len(self.view.grid))
        turn = np.arange(count) % period
        change = (
            np.abs(still.astype(np.int16) - np.roll(still, 1, axis=0))
            .mean(axis=(1, 2))
            .astype(np.float32)
        )
        detail = _detail(still)
        return _shot(picture[:, turn], self.view.grid, change[turn], detail[turn], self.blank)


def frozen_pictures(frames: NDArray[np.uint8], count: int, grain: float = 0.0) -> NDArray[np.uint8]:
    """The middle picture of (T, H, W), `count` times, as in `Footage.frozen`."""
    still = _grainy(frames, grain)
    return still[np.arange(count) % len(still)]


def _grainy(frames: NDArray[np.uint8], grain: float) -> NDArray[np.uint8]:
    middle = frames[len(frames) // 2]
    period = 2 * FRAME_RATE if grain else 1
    noise = np.random.default_rng(1).normal(0.0, 1.0, (period, *middle.shape)) * grain
    still: NDArray[np.uint8] = np.clip(middle + noise, 0, 255).round().astype(np.uint8)
    return still


def observe(
    clip: Clip,
    frames: NDArray[np.uint8],
    samples: NDArray[np.float32],
    model: Loaded,
    levels: tuple[int, ...] = LEVELS,
) -> Footage:
    """Run the visual trunk over a whole clip, in chunks that overlap so that no seam shows.

    Args:
        clip: Which clip it is.
        frames: Its pictures, (T, H, W) at 25 fps.
        samples: Its sound, (n,) at 16 kHz.
        model: The weights.
        levels: Short sides at which the pictures are looked at, px.
    """
    shown = np.ones(len(frames), np.bool_)
    view = look_in_parts(frames, shown, 0.0, model, levels, _CHUNK)
    black = np.zeros((2 * AROUND + 1, *frames.shape[1:]), np.uint8)
    blank = look(black, np.ones(len(black), np.bool_), 0.0, model, levels)
    picture = _as_often(blank.picture[:, AROUND : AROUND + 1], len(view.grid))
    blank = Look(0.0, picture, view.grid, shown[:1])
    return Footage(clip, frames, samples, view, blank, _change(frames), _detail(frames))


def _as_often(picture: torch.Tensor, places: int) -> torch.Tensor:
    """Bring a look without shake, (1, T, P, D), to the number of places of a look with it, which
    has every place twice (`looking.look`).
    """
    return picture.repeat(1, 1, places // picture.shape[2], 1)


def _change(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    steps = [change(a, b) for a, b in pairwise(frames)]
    return np.array([0.0, *steps], np.float32)


def _detail(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.array([frame.std() for frame in frames], np.float32)


def _shot(
    picture: torch.Tensor,
    grid: tuple[Place, ...],
    change: NDArray[np.float32],
    detail: NDArray[np.float32],
    blank: Look,
) -> Shot:
    """The pictures of a window as whole blocks, the last one filled up.

    Args:
        picture: Features of its pictures, (1, T, P, D).
        grid: The places, P of them.
        change: How much each picture differs from the one before, (T,).
        detail: How much there is to see in each, (T,).
        blank: A look at one black picture, to fill up with.
    """
    count = picture.shape[1]
    blocks = -(-count // BLOCK_FRAMES)
    spare = blocks * BLOCK_FRAMES - count
    if spare:
        picture = torch.cat([picture, blank.picture.expand(-1, spare, -1, -1)], dim=1)
    shown = np.arange(blocks * BLOCK_FRAMES) < count
    starts = range(0, count, BLOCK_FRAMES)
    # The first picture of a block has none before it, in the block, to be compared with.
    motion = [
        float(change[k + 1 : k + BLOCK_FRAMES].mean()) if k + 1 < count else 0.0 for k in starts
    ]
    return Shot(
        view=Look(0.0, picture, grid, shown),
        count=count,
        motion=np.array(motion, np.float32),
        detail=np.array([float(detail[k : k + BLOCK_FRAMES].mean()) for k in starts], np.float32),
    )


def hear(samples: NDArray[np.float32], start_s: float, shot: Shot, around: int = 0) -> list[Block]:
    """The sound of a window, as the blocks that a check would make of it, without their pictures.

    Args:
        samples: The clip's sound, (n,) at 16 kHz.
        start_s: Where in it the window begins, to the nearest sample; may be negative.
        shot: The window's pictures, which last as long as the sound.
        around: Blocks of sound on either side to add, as within a film.
    """
    before = around * BLOCK_SAMPLES
    length = (
        max(shot.count * SAMPLES_A_FRAME, shot.blocks * BLOCK_SAMPLES if around else 0) + 2 * before
    )
    first = round(start_s * SAMPLE_RATE) - before
    low, high = max(first, 0), min(first + length, len(samples))
    blocks = shot.blocks + 2 * around
    total = blocks * BLOCK_SAMPLES
    padded = np.zeros(total + 2 * MEL_MARGIN, np.float32)
    recorded = np.zeros(total, np.bool_)
    if low < high:
        padded[MEL_MARGIN + low - first : MEL_MARGIN + high - first] = samples[low:high]
        recorded[low - first : high - first] = True
    mel = log_mel(padded)
    heard = recorded.reshape(-1, SAMPLE_RATE // MEL_RATE).mean(axis=1) > 0.5
    power = (
        (padded[MEL_MARGIN : MEL_MARGIN + total] ** 2)
        .reshape(blocks, -1)
        .mean(axis=1, dtype=np.float64)
    )
    return [
        Block(
            index=k - around,
            start_s=(k - around) * BLOCK_S,
            pictures=_NO_PICTURES,
            picture_mask=_shown(shot, k - around),
            mel=mel[k * BLOCK_MELS : (k + 1) * BLOCK_MELS],
            mel_mask=heard[k * BLOCK_MELS : (k + 1) * BLOCK_MELS],
            level_db=10.0 * math.log10(power[k]) if power[k] > 0 else -math.inf,
        )
        for k in range(blocks)
    ]


def _shown(shot: Shot, block: int) -> NDArray[np.bool_]:
    if 0 <= block < shot.blocks:
        return shot.view.shown[block * BLOCK_FRAMES : (block + 1) * BLOCK_FRAMES]
    return np.zeros(BLOCK_FRAMES, np.bool_)


def within_a_film(shot: Shot, sound: Sequence[Block], model: Loaded) -> Curve:
    """The window as one segment in the middle of a film: `sound` also has the blocks before and
    after it (`hear`, `around`).
    """
    around = -sound[0].index
    inside, before, after = sound[around:-around], sound[:around], sound[-around:]
    window = Window(list(inside), list(before), list(after))
    return score(shot.view, window, model, shot.motion, shot.detail)


def curves(shot: Shot, sound: Sequence[Block], model: Loaded) -> Iterator[Curve]:
    """What `scan.scan` yields for a file of these pictures and this sound."""
    choice = LevelChoice(
        Calibration(**model.calibration),
        tuple(dict.fromkeys(level for level, *_ in shot.view.grid)),
    )
    for window in segments(sound):
        inside = window.inside
        first, last = inside[0].index, inside[-1].index + 1
        view = replace(
            shot.view,
            start_s=inside[0].start_s,
            picture=shot.view.picture[:, first * BLOCK_FRAMES : last * BLOCK_FRAMES],
            shown=shot.view.shown[first * BLOCK_FRAMES : last * BLOCK_FRAMES],
        )
        motion, detail = shot.motion[first:last], shot.detail[first:last]
        curve = until_sure(
            stages(choice.levels, alone=window.alone),
            partial(_scored, view, window, model, motion, detail),
            model,
        )
        choice.after([curve])
        yield curve


def _scored(
    view: Look,
    window: Window,
    model: Loaded,
    motion: NDArray[np.float32],
    detail: NDArray[np.float32],
    levels: tuple[int, ...],
) -> Curve:
    return score(at_levels(view, levels), window, model, motion, detail)


def at_levels(view: Look, levels: tuple[int, ...]) -> Look:
    """The look with only the places of these levels of the pyramid."""
    keep = [k for k, place in enumerate(view.grid) if place[0] in levels]
    if len(keep) == len(view.grid):
        return view
    return view.at(keep)


@torch.inference_mode()
def as_they_are(shot: Shot, sound: list[Block], model: Loaded) -> float:
    """Logit of "in sync" minus that of "not in sync" for a window as it is, taken as one segment:
    `shifts.compare` at shift 0 alone.
    """
    mel, heard = sound_with_margin(Window(sound))
    present = shot.view.shown & heard[MAX_SHIFT : MAX_SHIFT + len(shot.view.shown)]
    picture = shot.view.picture
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.half):
        features = model.net.sound(torch.from_numpy(mel)[None].to(model.device))
        if (places := model.net.config.keep_places) is not None:
            picture = picture[:, :, best_places(picture, features, places)[0]]
        mask = torch.from_numpy(present)[None, None].to(model.device)
        scored = model.net.head(
            picture, features, torch.zeros(1, dtype=torch.long), margin=MAX_SHIFT, present=mask
        )
    return float(logit(scored.logits[0])[0])
