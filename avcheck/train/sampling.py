"""Training samples: windows of picture and sound cut from cached clips, and augmented.

Decode first, shift after: the sound of a sample is longer than its pictures by `margin` frames on
both sides, and a candidate shift only reads it from another place. The labels come free, so nothing
at a cut may give the shift away: cuts are off the codec's grid, 0.12 s at either end of a clip are
never used, and a shift whose sound would leave the clip is masked out instead of padded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from avcheck.rates import FRAME_RATE, SAMPLES_A_FRAME
from avcheck.reading.blocks import without_gaps
from avcheck.reading.mel import MEL_MARGIN, MEL_RATE, log_mel
from avcheck.reading.stabilise import steadied
from avcheck.train.augment import treat_mel, treat_pictures, treat_sound
from avcheck.train.corpus import MOUTH_BELOW, CachedClip

EDGE_FRAMES = 3
LESSON_SIDE, _LESSON_FACE = 80, 72.0  # px: pictures of a mouth, and the width of the face there
_MOUTH_INSIDE_PX = 4  # of a window that shows a mouth, from there to its edge
cv2.setNumThreads(1)


@dataclass(frozen=True)
class Recipe:
    """How samples of a stage are cut, and how strongly they are augmented."""

    view: str  # "crop": a square around the mouth; "frame": part of the picture at a random scale
    size: tuple[int, int]  # height, width of the window in px
    frames: int = 40  # pictures of the window
    margin: int = 15  # frames of sound on either side of them, so the largest candidate shift
    strength: float = 0.3  # 0..1, of every augmentation
    face_px: tuple[float, float] = (32.0, 110.0)  # range of face widths in the window, log-uniform
    # The largest change of pace, as a natural logarithm: pictures and sound together are played
    # faster or slower, which gives every voice another pitch.
    speed: float = 0.0
    sigma: float = 0.7  # width of the target, frames; wide where a clip's own offset is not known
    steady: bool = True  # stabilise a "frame" view as in a check, but from the window alone


class Face(NamedTuple):
    """Where the face is in a window: the middle and the side of its square, in px of the frame."""

    x: float
    y: float
    width: float

    @property
    def mouth_y(self) -> float:
        """The height of the mouth, which lies below the middle."""
        return self.y + MOUTH_BELOW * self.width


class Sample(NamedTuple):
    """A window of T pictures with its sound. At index i of the shifts, the sound is read
    `i - margin` frames later.
    """

    pictures: NDArray[np.uint8]  # (T, H, W)
    mel: NDArray[np.float32]  # (4 (T + 2 margin), 64)
    valid: NDArray[np.bool_]  # (2 margin + 1,), whether the clip has all the sound of a shift
    centre: float  # the shift at which both match, frames, with a fraction


class Lesson(NamedTuple):
    """A sample, and what a network that teaches is shown of the same seconds: the mouth, large, and
    the sound, both untreated.
    """

    sample: Sample
    mouth: NDArray[np.uint8]  # (T, LESSON_SIDE, LESSON_SIDE), the mouth in its middle
    mel: NDArray[np.float32]  # (4 (T + 2 margin), 64)
    place: NDArray[np.float32]  # (2,), x and y of the mouth in the sample's pictures, px


def room(cached: CachedClip, frames: int) -> tuple[int, int] | None:
    """The first and the last picture at which a window of `frames` pictures can start; None if the
    clip is too short.
    """
    shift = abs(cached.clip.offset_frames or 0.0)
    low = EDGE_FRAMES + int(np.ceil(shift)) + 1
    high = len(cached.frames) - frames - low
    return (low, high) if high >= low else None


def draw(
    cached: CachedClip, recipe: Recipe, rng: np.random.Generator, voices: Sequence[CachedClip]
) -> Sample | None:
    """Draw one sample of a clip.

    Args:
        cached: The clip.
        recipe: How the window is cut, and how strongly it is augmented.
        rng: Everything is drawn from it.
        voices: Clips that lend their sound and pictures to the augmentation.

    Returns:
        The sample; None if the clip is too short or, for crops, the window shows no face.
    """
    window = _window(cached, recipe, rng)
    return None if window is None else _sampled(cached, window, recipe, rng, voices)[0]


def draw_lesson(
    cached: CachedClip, recipe: Recipe, rng: np.random.Generator, voices: Sequence[CachedClip]
) -> Lesson | None:
    """`draw`, with the same seconds as a network that teaches sees and hears them; None also if the
    window shows no mouth.
    """
    window = _window(cached, recipe, rng)
    if window is None:
        return None
    face = face_at(cached, window.first, window.lasts)
    if face is None:
        return None
    place = face.x, face.mouth_y
    mouth = np.linalg.solve(window.box[:, :2].astype(float), place - window.box[:, 2])
    if (np.minimum(mouth, recipe.size[::-1] - mouth) < _MOUTH_INSIDE_PX).any():
        return None
    side = (LESSON_SIDE, LESSON_SIDE)
    near = window_map(*place, face.width / _LESSON_FACE, side, flip=bool(window.box[0, 0] < 0))
    pictures = steadied(cut(cached.frames[window.shown], near, side))
    sample, samples = _sampled(cached, window, recipe, rng, voices)
    return Lesson(sample, pictures, log_mel(samples), mouth.astype(np.float32))


class _Window(NamedTuple):
    """Where in a clip a sample is cut: from picture `first` on, over `lasts` of them, of which
    `shown` are seen, at this pace; box: the map from px of the window to px of the picture, (2, 3).
    """

    first: int
    lasts: int
    pace: float
    shown: NDArray[np.int_]
    box: NDArray[np.float32]


def _window(cached: CachedClip, recipe: Recipe, rng: np.random.Generator) -> _Window | None:
    pace = (
        float(np.exp(rng.uniform(-recipe.speed, recipe.speed)))
        if recipe.speed and rng.random() < 0.5
        else 1.0
    )
    lasts = math.ceil(recipe.frames * pace)
    span = room(cached, lasts)
    if span is None:
        return None
    first = int(rng.integers(span[0], span[1] + 1))
    box = (
        _crop_box(cached, first, recipe, rng)
        if recipe.view == "crop"
        else _frame_box(cached, first, recipe, rng)
    )
    if box is None:
        return None
    shown = first + np.rint(np.arange(recipe.frames) * pace).astype(int)
    return _Window(first, lasts, pace, shown, box)


def _sampled(
    cached: CachedClip,
    window: _Window,
    recipe: Recipe,
    rng: np.random.Generator,
    voices: Sequence[CachedClip],
) -> tuple[Sample, NDArray[np.float32]]:
    """The sample of a window, and its sound as `read_sound` gives it, untreated."""
    first, lasts, pace, shown, box = window
    pictures = cut(cached.frames[shown], _held(box, recipe, rng), recipe.size)
    if recipe.view == "frame" and rng.random() < 0.4 * recipe.strength:
        _stand_beside(pictures, face_at(cached, first, lasts), box, recipe, rng, voices)
    pictures = treat_pictures(pictures, recipe.strength, rng)
    if recipe.view == "frame" and recipe.steady:
        pictures = steadied(pictures)
    centre = float(rng.uniform(-0.5, 0.5))
    # The sound is read `centre` frames early, so that it matches when it is read `centre` later.
    start = first + (cached.clip.offset_frames or 0.0) - (centre + recipe.margin) * pace
    samples, mel_valid = read_sound(cached, start, recipe.frames + 2 * recipe.margin, pace)
    treated = treat_sound(samples, recipe.strength, rng, voices)
    valid = np.array([mel_valid[i : i + recipe.frames].all() for i in range(2 * recipe.margin + 1)])
    mel = treat_mel(log_mel(treated), recipe.strength, rng)
    return Sample(pictures, mel, valid, centre), samples


def read_sound(
    cached: CachedClip, start: float, frames: int, pace: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The sound of a window.

    Args:
        cached: The clip.
        start: The picture at which it begins, with a fraction; may lie outside the clip.
        frames: How long it is, in pictures.
        pace: Above 1 it plays faster: it takes `frames * pace` pictures' worth of the clip.

    Returns:
        Samples at 16 kHz, with the context around them that `log_mel` needs, silent where the clip
        has none; and for which of the pictures it has sound, bool (frames,).
    """
    count = frames * SAMPLES_A_FRAME + 2 * MEL_MARGIN
    total = len(cached.samples)
    samples = np.zeros(count, np.float32)
    if pace == 1.0:
        low = round(start * SAMPLES_A_FRAME) - MEL_MARGIN
        inside = (
            cached.samples[max(low, 0) : max(min(low + count, total), 0)].astype(np.float32)
            / 32768.0
        )
        at = max(-low, 0)
        samples[at : at + len(inside)] = inside
    else:
        sample_at = start * SAMPLES_A_FRAME + (np.arange(count) - MEL_MARGIN) * pace
        low, high = max(math.floor(sample_at[0]), 0), min(math.ceil(sample_at[-1]) + 1, total)
        inside = cached.samples[low : max(high, low)].astype(np.float32) / 32768.0
        if len(inside):
            samples[:] = np.interp(
                sample_at, np.arange(low, low + len(inside)), inside, left=0.0, right=0.0
            )
    index = start + np.arange(frames) * pace
    last = total / SAMPLES_A_FRAME - EDGE_FRAMES - 1
    return samples, (index >= EDGE_FRAMES) & (index <= last)


def masked_mel(samples: NDArray[np.float32], heard: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The log-mel of what `read_sound` returns, (4 * frames, 64), as in a check where sound is
    missing.
    """
    return without_gaps(log_mel(samples), heard.repeat(MEL_RATE // FRAME_RATE))


def cut(
    frames: NDArray[np.uint8], box: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Cut a window out of pictures.

    Args:
        frames: Pictures, (T, H, W).
        box: The affine map from px of the window to px of the picture, (2, 3), or one for each
            picture, (T, 2, 3).
        size: Height and width of the window, px.

    Returns:
        (T, *size).
    """
    height, width = size
    zoom = float(np.hypot(*box[..., 0].reshape(-1, 2)[0]))
    out = np.empty((len(frames), height, width), np.uint8)
    for k, frame in enumerate(frames):
        source, matrix = np.asarray(frame), box if box.ndim == 2 else box[k]
        if zoom > 1.5:  # area first, so that a shrunken face does not alias
            shrink = 1.0 / zoom
            source = cv2.resize(source, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
            matrix = matrix * np.float32(shrink)
        out[k] = cv2.warpAffine(
            source,
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return out


def face_at(cached: CachedClip, first: int, frames: int) -> Face | None:
    """The median face during a window of `frames` pictures from `first` on; None if fewer than half
    of the looks saw one.
    """
    if not len(cached.faces):
        return None
    times = cached.faces[:, 0] * FRAME_RATE
    near = cached.faces[(times >= first - 5) & (times <= first + frames + 5)]
    if len(near) < max(2, frames // 20):
        return None
    x, y, width = np.median(near[:, 1:], axis=0)
    return Face(float(x), float(y), float(width))


def window_map(
    x: float, y: float, zoom: float, size: tuple[int, int], flip: bool
) -> NDArray[np.float32]:
    """The affine map, (2, 3), from px of a window of `size` (height, width) to px of the frame: its
    centre lies at (x, y), and one of its px covers `zoom` of the frame's.
    """
    height, width = size
    sign = -1.0 if flip else 1.0
    return np.array(
        [[sign * zoom, 0, x - sign * zoom * width / 2], [0, zoom, y - zoom * height / 2]],
        np.float32,
    )


def _crop_box(
    cached: CachedClip, first: int, recipe: Recipe, rng: np.random.Generator
) -> NDArray[np.float32] | None:
    face = face_at(cached, first, recipe.frames)
    if face is None:
        return None
    zoom = face.width * rng.uniform(0.75, 1.35) / recipe.size[1]
    jitter = 0.05 + 0.1 * recipe.strength
    x = face.x + face.width * rng.uniform(-jitter, jitter)
    y = face.mouth_y + face.width * rng.uniform(-jitter, jitter)
    return window_map(x, y, zoom, recipe.size, bool(rng.integers(2)))


def _frame_box(
    cached: CachedClip, first: int, recipe: Recipe, rng: np.random.Generator
) -> NDArray[np.float32]:
    height, width = cached.frames.shape[1:]
    face = face_at(cached, first, recipe.frames)
    rows, columns = recipe.size
    if face is None:
        zoom = min(height, width) / np.exp(rng.uniform(np.log(0.9 * rows), np.log(1.5 * rows)))
        x = _place(width, zoom * columns, rng)
        y = _place(height, zoom * rows, rng)
    else:
        low, high = recipe.face_px
        zoom = face.width / np.exp(rng.uniform(np.log(low), np.log(high)))
        zoom = min(zoom, 1.3 * min(height / rows, width / columns) + 0.3)
        reach_x, reach_y = (0.5 * zoom * n - 0.45 * face.width for n in (columns, rows))
        x = face.x + rng.uniform(-1, 1) * max(reach_x, 0.0)
        y = face.mouth_y + rng.uniform(-1, 1) * max(reach_y, 0.0)
        # Stay inside the picture if it is large enough.
        x = _inside(x, width, zoom * columns)
        y = _inside(y, height, zoom * rows)
    return window_map(x, y, zoom, recipe.size, bool(rng.integers(2)))


def _held(
    box: NDArray[np.float32], recipe: Recipe, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The map of a window, (2, 3), as from a hand-held camera: a little rotated and stretched, or
    drifting, which gives a map for each picture, (T, 2, 3).
    """
    chance = 0.6 * recipe.strength
    height, width = recipe.size
    if rng.random() < chance:
        turn, stretch = rng.uniform(-0.12, 0.12), np.exp(rng.uniform(-0.1, 0.1))
        about = np.array(
            [[np.cos(turn) * stretch, -np.sin(turn)], [np.sin(turn), np.cos(turn) / stretch]]
        )
        middle = np.array([width / 2, height / 2])
        linear = box[:, :2] @ about
        box = np.column_stack([linear, box[:, :2] @ middle + box[:, 2] - linear @ middle]).astype(
            np.float32
        )
    if rng.random() < chance:
        drift = np.cumsum(rng.standard_normal((recipe.frames + 8, 2)), axis=0)
        drift = np.stack([np.convolve(axis, np.ones(9) / 9, "valid") for axis in drift.T], axis=1)
        drift = (drift - drift.mean(axis=0)) * rng.uniform(0.1, 0.8) * np.hypot(*box[:, 0])
        box = np.repeat(box[None], recipe.frames, axis=0)
        box[:, :, 2] += drift.astype(np.float32)
    return box


def _stand_beside(
    pictures: NDArray[np.uint8],
    face: Face | None,
    box: NDArray[np.float32],
    recipe: Recipe,
    rng: np.random.Generator,
    others: Sequence[CachedClip],
) -> None:
    """Put a silent person beside the speaker, in place: two people in one picture, of whom one is
    heard.
    """
    other = others[int(rng.integers(len(others)))] if others else None
    span = room(other, recipe.frames) if other is not None else None
    if other is None or span is None or face is None:
        return
    width = recipe.size[1]
    at = (face.x - box[0, 2]) / box[0, 0]  # px of the window; the box may be mirrored
    reach = 0.6 * face.width / abs(box[0, 0])
    left, right = at - reach, width - (at + reach)
    free = int(min(max(left, right), 0.6 * width))
    if free < 24:
        return
    first = int(rng.integers(span[0], span[1] + 1))
    view = Recipe("frame", (recipe.size[0], free), recipe.frames, face_px=recipe.face_px)
    beside = cut(
        other.frames[first : first + recipe.frames], _frame_box(other, first, view, rng), view.size
    )
    if left > right:
        pictures[:, :, :free] = beside
    else:
        pictures[:, :, width - free :] = beside


def _place(extent: float, window: float, rng: np.random.Generator) -> float:
    return extent / 2 if window >= extent else float(rng.uniform(window / 2, extent - window / 2))


def _inside(centre: float, extent: float, window: float) -> float:
    return extent / 2 if window >= extent else min(max(centre, window / 2), extent - window / 2)
