"""Augmentation: what happens to pictures and sound on their way to a viewer, done to training
media.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.train.corpus import CachedClip


def treat_pictures(
    pictures: NDArray[np.uint8], strength: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Treat pictures as a camera, a codec and a converter do, in one way over the whole window.

    Args:
        pictures: (T, H, W).
        strength: 0..1, how often and how much.
        rng: Everything is drawn from it.

    Returns:
        The same number of pictures with other tones, noise and sharpness, recompressed, some of
        them dropped or repeated.
    """
    chance = 0.6 * strength
    x = pictures
    if rng.random() < 0.5:
        gamma = np.exp(rng.uniform(-0.5, 0.5) * (0.3 + strength))
        gain, lift = (
            rng.uniform(1 - 0.4 * strength, 1 + 0.3 * strength),
            rng.uniform(-30, 30) * strength,
        )
        table = np.clip(255 * (np.arange(256) / 255) ** gamma * gain + lift, 0, 255).astype(
            np.uint8
        )
        x = table[x]
    if rng.random() < chance:  # low resolution
        height, width = x.shape[1:]
        shrink = rng.uniform(1.2, 1 + 1.5 * strength + 0.3)
        small = (max(8, int(width / shrink)), max(8, int(height / shrink)))
        x = np.stack(
            [
                cv2.resize(cv2.resize(f, small, interpolation=cv2.INTER_AREA), (width, height))
                for f in x
            ]
        )
    if rng.random() < chance:
        noise = rng.standard_normal(x.shape, np.float32) * rng.uniform(2, 10) * strength
        x = np.clip(x + noise, 0, 255).astype(np.uint8)
    if rng.random() < chance:
        if rng.random() < 0.5:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 70))]
            x = np.stack(
                [
                    np.asarray(
                        cv2.imdecode(cv2.imencode(".jpg", f, quality)[1], cv2.IMREAD_GRAYSCALE)
                    )
                    for f in x
                ]
            )
        else:
            x = _recompress(x, quality=int(rng.integers(26, 40)))
    # A lower frame rate: pictures are shown twice, or one in every few is missing
    if rng.random() < 0.4 * strength:
        if rng.random() < 0.5:
            keep = rng.random(len(x)) > rng.uniform(0.1, 0.5)
            keep[0] = True
            x = x[np.maximum.accumulate(np.where(keep, np.arange(len(x)), 0))]
        else:
            rate, phase = rng.choice([12.0, 15.0, 18.0, 20.0, 24.0]) / FRAME_RATE, rng.random()
            nearest = np.rint((np.rint(np.arange(len(x)) * rate + phase) - phase) / rate).astype(
                int
            )
            x = x[np.clip(nearest, 0, len(x) - 1)]
    if rng.random() < 0.15 * strength:  # a converter that blends neighbours
        mixed = cv2.blur(
            x.reshape(len(x), -1).astype(np.float32), (1, 3), borderType=cv2.BORDER_REPLICATE
        )
        x = mixed.reshape(x.shape).astype(np.uint8)
    return x


def _recompress(pictures: NDArray[np.uint8], *, quality: int) -> NDArray[np.uint8]:
    """Encode and decode in H.264 at a constant rate factor, which adds the blocking and the
    temporal smearing of a small file.
    """
    coder = av.CodecContext.create("libx264", "w")
    height, width = (side // 2 * 2 for side in pictures.shape[1:])
    coder.width, coder.height, coder.pix_fmt = width, height, "yuv420p"
    coder.time_base = Fraction(1, FRAME_RATE)
    # x264's macroblock tree reads uninitialised memory: for small pictures its choices differ from
    # call to call.
    coder.options = {
        "preset": "veryfast",
        "crf": str(quality),
        "threads": "1",
        "x264-params": "mbtree=0",
    }
    reader = av.CodecContext.create("h264", "r")
    reader.thread_count = 1
    grey = np.full((height // 2, width), 128, np.uint8)
    packets = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(
            np.concatenate([picture[:height, :width], grey]), format="yuv420p"
        )
        frame.pts = number
        packets += coder.encode(frame)
    packets += coder.encode(None)
    frames = [
        frame.to_ndarray()[:height]
        for packet in [*packets, None]
        for frame in reader.decode(packet)
    ]
    if len(frames) != len(pictures):
        raise RuntimeError(f"H.264 gave {len(frames)} of {len(pictures)} pictures back")
    out = pictures.copy()
    out[:, :height, :width] = np.stack(frames)
    return out


def treat_sound(
    samples: NDArray[np.float32],
    strength: float,
    rng: np.random.Generator,
    voices: Sequence[CachedClip],
) -> NDArray[np.float32]:
    """Treat sound as a recording and its mix do; the direct sound keeps its time.

    Args:
        samples: (n,) at 16 kHz.
        strength: 0..1, how often and how much.
        rng: Everything is drawn from it.
        voices: Clips whose sound is mixed in, quieter.

    Returns:
        (n,), with noise, other sounds, equalisation, an echo and a room, at another level.
    """
    chance = 0.6 * strength
    power = float(np.mean(samples**2)) + 1e-9
    x = samples
    if rng.random() < chance:
        colour = rng.standard_normal(len(x)).astype(np.float32)
        if rng.random() < 0.5:
            colour = np.cumsum(colour - colour.mean()).astype(np.float32)
            colour -= np.convolve(colour, np.ones(400, np.float32) / 400, "same")
        x = x + colour * np.float32(
            np.sqrt(power / (np.mean(colour**2) + 1e-9)) * 10 ** (-rng.uniform(6, 35) / 20)
        )
    if voices and rng.random() < chance:
        other = voices[int(rng.integers(len(voices)))].samples
        if len(other) > len(x):
            at = int(rng.integers(len(other) - len(x)))
            added = other[at : at + len(x)].astype(np.float32) / 32768.0
            x = x + added * np.float32(
                np.sqrt(power / (np.mean(added**2) + 1e-9)) * 10 ** (-rng.uniform(6, 24) / 20)
            )
    if rng.random() < chance:
        spectrum = np.fft.rfft(x)
        hz = np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE)
        low, high = rng.uniform(0, 300), rng.uniform(2500, 8000)
        spectrum *= 1 / (1 + (hz / high) ** 8) * (1 - 1 / (1 + (hz / (low + 1)) ** 4))
        colour_db = np.interp(
            np.log(hz + 50),
            np.linspace(np.log(50), np.log(8050), 8),
            rng.uniform(-8, 8, 8) * strength,
        )
        spectrum *= 10 ** (colour_db / 20)
        x = np.fft.irfft(spectrum, len(x)).astype(np.float32)
    # One early reflection and a short tail; the direct sound stays first, so the timing is kept
    if rng.random() < 0.5 * chance:
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
    """Add reverberation: decaying noise after the direct sound, which stays where it is."""
    lasts_s = rng.uniform(0.15, 0.7)  # until it has fallen by 60 dB
    count = int(lasts_s * SAMPLE_RATE)
    tail = rng.standard_normal(count) * 10 ** (-3.0 * np.arange(count) / count)
    tail[: int(0.003 * SAMPLE_RATE)] = 0.0
    tail *= 10 ** (-rng.uniform(2, 15) / 20) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    size = 1 << (len(samples) + count - 2).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)
    return wet[: len(samples)].astype(np.float32)


def treat_mel(
    mel: NDArray[np.float32], strength: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Stretch or squeeze the bands of a log-mel (columns, bins) as another vocal tract would (vocal
    tract length perturbation), and drop some.
    """
    bins = mel.shape[1]
    if rng.random() < strength:
        bin_at = np.clip(np.arange(bins) * np.exp(rng.uniform(-0.14, 0.14)), 0, bins - 1)
        low = np.minimum(bin_at.astype(int), bins - 2)
        share = (bin_at - low).astype(np.float32)
        mel = mel[:, low] * (1 - share) + mel[:, low + 1] * share
    if rng.random() < 0.5 * strength:
        mel = mel.copy()
        width = int(rng.integers(3, 11))
        at = int(rng.integers(0, bins - width + 1))
        mel[:, at : at + width] = mel[:, at : at + width].mean(axis=0)
    return mel
