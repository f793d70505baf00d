"""Training samples: windows of picture and sound cut from cached clips, and what media suffer on the way (augmentation).

Decode first, shift after: the sound of a sample is longer than its pictures by `margin` frames on both sides, and candidate
shifts only read it elsewhere. Nothing at a cut tells the shift (DESIGN of the labels: they come free, so they must not leak):
the cut is off the codec's grid, 0.12 s of either end of a clip is never used, and a shift whose sound would leave the
clip is masked out instead of padded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from avcheck.blocks import FRAME_RATE
from avcheck.mel import SAMPLE_RATE, context_samples, log_mel
from avcheck.stabilise import steadied
from avcheck.train.corpus import CachedClip

EDGE_FRAMES = 3
_SAMPLES_A_FRAME = SAMPLE_RATE // FRAME_RATE
cv2.setNumThreads(1)


@dataclass(frozen=True)
class Recipe:
    """How samples of a stage are cut and how hard they are treated.

    view "crop": a square around the mouth; "frame": a window of the whole picture at a random scale.
    strength 0..1 scales every augmentation; face_px is the range of face widths in the window, log-uniform. `speed` is the
    largest change of pace, as a natural logarithm: pictures and sound together are played faster or slower, which gives every
    voice another pitch. `sigma` is the width of the target over shifts, in frames: wide where a clip's own offset is not known.
    `steady`: of windows of whole pictures the camera's shake is taken out, as in a check, but as far as the window alone tells.
    """

    view: str
    size: tuple[int, int]  # height, width of the window in px
    frames: int = 40
    margin: int = 15
    strength: float = 0.3
    face_px: tuple[float, float] = (32.0, 110.0)
    speed: float = 0.0
    sigma: float = 0.7
    steady: bool = True


class Sample(NamedTuple):
    """pictures uint8 (T, H, W); mel float32 (4 (T + 2 margin), 64); valid bool (2 margin + 1,); centre: true shift in frames.

    At shift index i the sound is read `i - margin` frames later; `centre` is the (fractional) shift at which both match.
    """

    pictures: NDArray[np.uint8]
    mel: NDArray[np.float32]
    valid: NDArray[np.bool_]
    centre: float


def room(cached: CachedClip, frames: int) -> tuple[int, int] | None:
    """First and last picture at which a window of `frames` pictures can start, or None where the clip is too short."""
    shift = abs(cached.clip.offset_frames or 0.0)
    low = EDGE_FRAMES + int(np.ceil(shift)) + 1
    high = len(cached.frames) - frames - low
    return (low, high) if high >= low else None


def draw(cached: CachedClip, recipe: Recipe, rng: np.random.Generator, voices: Sequence[CachedClip]) -> Sample | None:
    """One sample of a clip; None where the clip is too short or, for crops, shows no face there. `voices` are mixed in."""
    pace = float(np.exp(rng.uniform(-recipe.speed, recipe.speed))) if recipe.speed and rng.random() < 0.5 else 1.0
    lasts = math.ceil(recipe.frames * pace)
    span = room(cached, lasts)
    if span is None:
        return None
    first = int(rng.integers(span[0], span[1] + 1))
    window = _crop_box(cached, first, recipe, rng) if recipe.view == "crop" else _frame_box(cached, first, recipe, rng)
    if window is None:
        return None
    shown = first + np.rint(np.arange(recipe.frames) * pace).astype(int)
    pictures = cut(cached.frames[shown], _held(window, recipe, rng), recipe.size)
    if recipe.view == "frame" and rng.random() < 0.4 * recipe.strength:
        _stand_beside(pictures, face_at(cached, first, lasts), window, recipe, rng, voices)
    pictures = _treat_pictures(pictures, recipe.strength, rng)
    if recipe.view == "frame" and recipe.steady:
        pictures = steadied(pictures)
    centre = float(rng.uniform(-0.5, 0.5))
    # The sound is read `centre` frames early, so that it matches when it is read `centre` later.
    start = first + (cached.clip.offset_frames or 0.0) - (centre + recipe.margin) * pace
    samples, mel_valid = read_sound(cached, start, recipe.frames + 2 * recipe.margin, pace)
    samples = _treat_sound(samples, recipe.strength, rng, voices)
    ends = np.array([mel_valid[i : i + recipe.frames].all() for i in range(2 * recipe.margin + 1)])
    return Sample(pictures, _treat_mel(log_mel(samples), recipe.strength, rng), ends, centre)


def read_sound(
    cached: CachedClip, start: float, frames: int, pace: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Sound of `frames` pictures from picture `start` (fractional) on, with the context `log_mel` wants; bool (frames,).

    At a `pace` above 1 it is played faster: `frames` pictures take `frames * pace` pictures' worth of the clip.
    """
    context = context_samples()
    count = frames * _SAMPLES_A_FRAME + 2 * context
    total = len(cached.samples)
    samples = np.zeros(count, np.float32)
    if pace == 1.0:
        low = round(start * _SAMPLES_A_FRAME) - context
        inside = cached.samples[max(low, 0) : max(min(low + count, total), 0)].astype(np.float32) / 32768.0
        at = max(-low, 0)
        samples[at : at + len(inside)] = inside
    else:
        where = start * _SAMPLES_A_FRAME + (np.arange(count) - context) * pace
        low, high = max(math.floor(where[0]), 0), min(math.ceil(where[-1]) + 1, total)
        inside = cached.samples[low : max(high, low)].astype(np.float32) / 32768.0
        if len(inside):
            samples[:] = np.interp(where, np.arange(low, low + len(inside)), inside, left=0.0, right=0.0)
    index = start + np.arange(frames) * pace
    last = total / _SAMPLES_A_FRAME - EDGE_FRAMES - 1
    return samples, (index >= EDGE_FRAMES) & (index <= last)


def cut(frames: NDArray[np.uint8], box: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Windows of (T, H, W): `box` is the 2 x 3 affine map from window px to frame px, or one for each picture, (T, 2, 3)."""
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
            source, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT_101
        )
    return out


def face_at(cached: CachedClip, first: int, frames: int) -> tuple[float, float, float] | None:
    """Median face (x, y, width in px) during a window, or None when fewer than half of the looks found one."""
    if not len(cached.faces):
        return None
    times = cached.faces[:, 0] * FRAME_RATE
    near = cached.faces[(times >= first - 5) & (times <= first + frames + 5)]
    if len(near) < max(2, frames // 20):
        return None
    x, y, width = np.median(near[:, 1:], axis=0)
    return float(x), float(y), float(width)


def _box(x: float, y: float, zoom: float, size: tuple[int, int], flip: bool) -> NDArray[np.float32]:
    height, width = size
    sign = -1.0 if flip else 1.0
    return np.array([[sign * zoom, 0, x - sign * zoom * width / 2], [0, zoom, y - zoom * height / 2]], np.float32)


def _crop_box(cached: CachedClip, first: int, recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float32] | None:
    face = face_at(cached, first, recipe.frames)
    if face is None:
        return None
    x, y, width = face
    zoom = width * rng.uniform(0.75, 1.35) / recipe.size[1]
    jitter = 0.05 + 0.1 * recipe.strength
    x += width * rng.uniform(-jitter, jitter)
    y += width * (0.28 + rng.uniform(-jitter, jitter))
    return _box(x, y, zoom, recipe.size, bool(rng.integers(2)))


def _frame_box(cached: CachedClip, first: int, recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float32]:
    height, width = cached.frames.shape[1:]
    face = face_at(cached, first, recipe.frames)
    rows, columns = recipe.size
    if face is None:
        zoom = min(height, width) / np.exp(rng.uniform(np.log(0.9 * rows), np.log(1.5 * rows)))
        x = _place(width, zoom * columns, rng)
        y = _place(height, zoom * rows, rng)
    else:
        low, high = recipe.face_px
        zoom = face[2] / np.exp(rng.uniform(np.log(low), np.log(high)))
        zoom = min(zoom, 1.3 * min(height / rows, width / columns) + 0.3)
        reach_x, reach_y = (0.5 * zoom * n - 0.45 * face[2] for n in (columns, rows))
        x = face[0] + rng.uniform(-1, 1) * max(reach_x, 0.0)
        y = face[1] + 0.28 * face[2] + rng.uniform(-1, 1) * max(reach_y, 0.0)
        # Stay inside the picture where it is large enough.
        x = _inside(x, width, zoom * columns)
        y = _inside(y, height, zoom * rows)
    return _box(x, y, zoom, recipe.size, bool(rng.integers(2)))


def _held(box: NDArray[np.float32], recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float32]:
    """The window as a hand holds the camera: a little turned and stretched, and drifting; (2, 3) or (T, 2, 3)."""
    chance = 0.6 * recipe.strength
    height, width = recipe.size
    if rng.random() < chance:
        turn, stretch = rng.uniform(-0.12, 0.12), np.exp(rng.uniform(-0.1, 0.1))
        about = np.array([[np.cos(turn) * stretch, -np.sin(turn)], [np.sin(turn), np.cos(turn) / stretch]])
        middle = np.array([width / 2, height / 2])
        linear = box[:, :2] @ about
        box = np.column_stack([linear, box[:, :2] @ middle + box[:, 2] - linear @ middle]).astype(np.float32)
    if rng.random() < chance:
        drift = np.cumsum(rng.standard_normal((recipe.frames + 8, 2)), axis=0)
        drift = np.stack([np.convolve(axis, np.ones(9) / 9, "valid") for axis in drift.T], axis=1)
        drift = (drift - drift.mean(axis=0)) * rng.uniform(0.1, 0.8) * np.hypot(*box[:, 0])
        box = np.repeat(box[None], recipe.frames, axis=0)
        box[:, :, 2] += drift.astype(np.float32)
    return box


def _stand_beside(
    pictures: NDArray[np.uint8],
    face: tuple[float, float, float] | None,
    box: NDArray[np.float32],
    recipe: Recipe,
    rng: np.random.Generator,
    others: Sequence[CachedClip],
) -> None:
    """Put somebody else, who is not heard, beside the one who is: two people in one picture of whom one speaks. In place."""
    other = others[int(rng.integers(len(others)))] if others else None
    span = room(other, recipe.frames) if other is not None else None
    if other is None or span is None or face is None:
        return
    width = recipe.size[1]
    at = (face[0] - box[0, 2]) / box[0, 0]  # px of the window; the box may be mirrored
    reach = 0.6 * face[2] / abs(box[0, 0])
    left, right = at - reach, width - (at + reach)
    free = int(min(max(left, right), 0.6 * width))
    if free < 24:
        return
    first = int(rng.integers(span[0], span[1] + 1))
    view = Recipe("frame", (recipe.size[0], free), recipe.frames, face_px=recipe.face_px)
    beside = cut(other.frames[first : first + recipe.frames], _frame_box(other, first, view, rng), view.size)
    if left > right:
        pictures[:, :, :free] = beside
    else:
        pictures[:, :, width - free :] = beside


def _place(extent: float, window: float, rng: np.random.Generator) -> float:
    return extent / 2 if window >= extent else float(rng.uniform(window / 2, extent - window / 2))


def _inside(centre: float, extent: float, window: float) -> float:
    return extent / 2 if window >= extent else min(max(centre, window / 2), extent - window / 2)


def _treat_pictures(pictures: NDArray[np.uint8], strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Tone, noise, softness, recompression and dropped pictures, constant over the window as a camera's or codec's are."""
    chance = 0.6 * strength
    x = pictures
    if rng.random() < 0.5:
        gamma = np.exp(rng.uniform(-0.5, 0.5) * (0.3 + strength))
        gain, lift = rng.uniform(1 - 0.4 * strength, 1 + 0.3 * strength), rng.uniform(-30, 30) * strength
        table = np.clip(255 * (np.arange(256) / 255) ** gamma * gain + lift, 0, 255).astype(np.uint8)
        x = table[x]
    if rng.random() < chance:  # low resolution
        height, width = x.shape[1:]
        shrink = rng.uniform(1.2, 1 + 1.5 * strength + 0.3)
        small = (max(8, int(width / shrink)), max(8, int(height / shrink)))
        x = np.stack([cv2.resize(cv2.resize(f, small, interpolation=cv2.INTER_AREA), (width, height)) for f in x])
    if rng.random() < chance:
        noise = rng.standard_normal(x.shape, np.float32) * rng.uniform(2, 10) * strength
        x = np.clip(x + noise, 0, 255).astype(np.uint8)
    if rng.random() < chance:
        if rng.random() < 0.5:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 70))]
            x = np.stack([np.asarray(cv2.imdecode(cv2.imencode(".jpg", f, quality)[1], cv2.IMREAD_GRAYSCALE)) for f in x])
        else:
            x = _recompress(x, quality=int(rng.integers(26, 40)))
    if rng.random() < 0.4 * strength:  # a lower frame rate: pictures are shown twice, or one in a few is missing
        if rng.random() < 0.5:
            keep = rng.random(len(x)) > rng.uniform(0.1, 0.5)
            keep[0] = True
            x = x[np.maximum.accumulate(np.where(keep, np.arange(len(x)), 0))]
        else:
            rate, phase = rng.choice([12.0, 15.0, 18.0, 20.0, 24.0]) / FRAME_RATE, rng.random()
            nearest = np.rint((np.rint(np.arange(len(x)) * rate + phase) - phase) / rate).astype(int)
            x = x[np.clip(nearest, 0, len(x) - 1)]
    if rng.random() < 0.15 * strength:  # a converter that blends neighbours
        mixed = cv2.blur(x.reshape(len(x), -1).astype(np.float32), (1, 3), borderType=cv2.BORDER_REPLICATE)
        x = mixed.reshape(x.shape).astype(np.uint8)
    return x


def _recompress(pictures: NDArray[np.uint8], *, quality: int) -> NDArray[np.uint8]:
    """Through H.264 and back, at a constant rate factor: with the blocks and the smearing along time of a small file."""
    coder = av.CodecContext.create("libx264", "w")
    height, width = (side // 2 * 2 for side in pictures.shape[1:])
    coder.width, coder.height, coder.pix_fmt = width, height, "yuv420p"
    coder.time_base = Fraction(1, FRAME_RATE)
    # x264's macroblock tree reads memory that nobody wrote: for small pictures its choices differ from call to call.
    coder.options = {"preset": "veryfast", "crf": str(quality), "threads": "1", "x264-params": "mbtree=0"}
    reader = av.CodecContext.create("h264", "r")
    reader.thread_count = 1
    grey = np.full((height // 2, width), 128, np.uint8)
    packets = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.concatenate([picture[:height, :width], grey]), format="yuv420p")
        frame.pts = number
        packets += coder.encode(frame)
    packets += coder.encode(None)
    frames = [frame.to_ndarray()[:height] for packet in [*packets, None] for frame in reader.decode(packet)]
    if len(frames) != len(pictures):
        raise RuntimeError(f"H.264 gave {len(frames)} of {len(pictures)} pictures back")
    out = pictures.copy()
    out[:, :height, :width] = np.stack(frames)
    return out


def _treat_sound(
    samples: NDArray[np.float32], strength: float, rng: np.random.Generator, voices: Sequence[CachedClip]
) -> NDArray[np.float32]:
    """Noise, other voices, music or sounds below the first, colour and band limits, an echo, a room."""
    chance = 0.6 * strength
    power = float(np.mean(samples**2)) + 1e-9
    x = samples
    if rng.random() < chance:
        colour = rng.standard_normal(len(x)).astype(np.float32)
        if rng.random() < 0.5:
            colour = np.cumsum(colour - colour.mean()).astype(np.float32)
            colour -= np.convolve(colour, np.ones(400, np.float32) / 400, "same")
        x = x + colour * np.float32(np.sqrt(power / (np.mean(colour**2) + 1e-9)) * 10 ** (-rng.uniform(6, 35) / 20))
    if voices and rng.random() < chance:
        other = voices[int(rng.integers(len(voices)))].samples
        if len(other) > len(x):
            at = int(rng.integers(len(other) - len(x)))
            added = other[at : at + len(x)].astype(np.float32) / 32768.0
            x = x + added * np.float32(np.sqrt(power / (np.mean(added**2) + 1e-9)) * 10 ** (-rng.uniform(6, 24) / 20))
    if rng.random() < chance:
        spectrum = np.fft.rfft(x)
        hz = np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE)
        low, high = rng.uniform(0, 300), rng.uniform(2500, 8000)
        spectrum *= 1 / (1 + (hz / high) ** 8) * (1 - 1 / (1 + (hz / (low + 1)) ** 4))
        colour_db = np.interp(np.log(hz + 50), np.linspace(np.log(50), np.log(8050), 8), rng.uniform(-8, 8, 8) * strength)
        spectrum *= 10 ** (colour_db / 20)
        x = np.fft.irfft(spectrum, len(x)).astype(np.float32)
    if rng.random() < 0.5 * chance:  # one early reflection and a short tail; the direct sound stays first
        delay = int(rng.uniform(0.01, 0.05) * SAMPLE_RATE)
        gain = np.float32(rng.uniform(0.2, 0.5))
        echo = x.copy()
        for k in range(1, 4):
            echo[k * delay :] += gain**k * x[: len(x) - k * delay]
        x = echo
    if rng.random() < 0.5 * chance:
        x = _in_a_room(x, rng)
    return np.asarray(x * np.float32(10 ** (rng.uniform(-20, 6) / 20)), np.float32)


def _in_a_room(samples: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Reverberation as decaying noise after the direct sound, which stays where it is."""
    lasts_s = rng.uniform(0.15, 0.7)  # until it has fallen by 60 dB
    count = int(lasts_s * SAMPLE_RATE)
    tail = rng.standard_normal(count) * 10 ** (-3.0 * np.arange(count) / count)
    tail[: int(0.003 * SAMPLE_RATE)] = 0.0
    tail *= 10 ** (-rng.uniform(2, 15) / 20) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    size = 1 << (len(samples) + count - 2).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)
    return wet[: len(samples)].astype(np.float32)


def _treat_mel(mel: NDArray[np.float32], strength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Another vocal tract (the bands stretched or squeezed, as in vocal tract length perturbation) and bands that are lost."""
    bins = mel.shape[1]
    if rng.random() < strength:
        where = np.clip(np.arange(bins) * np.exp(rng.uniform(-0.14, 0.14)), 0, bins - 1)
        low = np.minimum(where.astype(int), bins - 2)
        share = (where - low).astype(np.float32)
        mel = mel[:, low] * (1 - share) + mel[:, low + 1] * share
    if rng.random() < 0.5 * strength:
        mel = mel.copy()
        width = int(rng.integers(3, 11))
        at = int(rng.integers(0, bins - width + 1))
        mel[:, at : at + width] = mel[:, at : at + width].mean(axis=0)
    return mel
