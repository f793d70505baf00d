"""Films in mp4 whose pictures carry their number, and what avcheck and FFmpeg read of them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.frame import Frame
from av.video.frame import VideoFrame

from avcheck.media import Media
from tests.support.clips import Array, Clip, click, clicks
from tests.support.mp4_boxes import NOTHING, Row
from tests.support.reading import whole

FPS = 25
SECONDS = 6.0
CLICKS_S = (0.6, 1.42, 2.5, 3.8, 5.02)  # no two lie equally far from each other
B_FRAMES = {"preset": "veryfast", "crf": "10", "bf": "2", "g": "25", "sc_threshold": "0"}
AAC_FRAME_MS = 1000 * 1024 / 48000


def numbered(time_s: float) -> Array:
    """A picture whose level is its number, of 32."""
    return np.full((48, 64), 30 + 6 * (round(time_s * FPS) % 32), np.uint8)


def number_of(luma: Array) -> int:
    """The number of a picture, of 32."""
    return round((luma.mean() * 219 / 255 + 16 - 30) / 6)


def film(clip: Clip, name: str = "film.mp4", **options: object) -> Path:
    """Six seconds of numbered pictures with B-pictures, and a click at each of `CLICKS_S`."""
    return clip(
        name,
        **{
            "seconds": SECONDS,
            "draw": numbered,
            "play": clicks(CLICKS_S),
            "size": (64, 48),
            "video_options": B_FRAMES,
        }
        | options,
    )


def pictures_of(file: Media, from_s: float | None = None) -> list[tuple[float, int]]:
    """When each picture is shown, in ms, and its number."""
    return [(1000 * picture.pts_s, number_of(picture.luma)) for picture in file.pictures(from_s)]


def click_times_ms(start_s: float, samples: Array, rate: int = 16000) -> list[float]:
    """When each click begins, in ms."""
    template = click(np.arange(round(0.02 * rate)) / rate)
    size = 1 << (len(samples) + len(template)).bit_length()  # quick to transform
    spectrum = np.fft.rfft(samples, size) * np.conj(np.fft.rfft(template, size))
    match = np.abs(np.fft.irfft(spectrum, size)[: len(samples) + 1])
    times_ms: list[float] = []
    while match.max() > 0.5 * (template @ template):
        peak = int(match.argmax())
        times_ms.append(1000 * (start_s + peak / rate))
        match[max(0, peak - rate // 20) : peak + rate // 20] = 0
    return sorted(times_ms)


def heard(file: Media, from_s: float | None = None) -> list[float]:
    """When each click is heard, in ms."""
    return click_times_ms(*whole(list(file.sounds(from_s))))


def played(rows: Sequence[Row], times_s: Sequence[float], lasts_s: float = 0.0) -> list[float]:
    """When these rows of an edit list play what is due at `times_s` of the content, in ms; what
    lasts `lasts_s` must be played whole.
    """
    played_s, at_s = [], 0.0
    for row_s, from_s, *_ in rows:
        if from_s != NOTHING:
            until_s = from_s + row_s - 1e-9
            played_s += [
                at_s + time_s - from_s
                for time_s in times_s
                if from_s - 1e-9 <= time_s and time_s + lasts_s < until_s
            ]
        at_s += row_s
    return [1000 * time_s for time_s in played_s]


def ffmpeg_shows(path: Path) -> list[tuple[float, int]]:
    """The pictures of FFmpeg's own decode of the edit list: ms and number."""
    with av.open(str(path), options={"advanced_editlist": "1"}) as container:
        return [
            (1000 * float(_time_s(frame)), round((_luma(frame).mean() - 30) / 6))
            for frame in container.decode(video=0)
        ]


def _time_s(frame: Frame) -> Fraction:
    assert frame.pts is not None
    assert frame.time_base is not None
    return frame.pts * frame.time_base


def _luma(frame: VideoFrame) -> Array:
    """The luma plane as it was decoded, in limited range."""
    plane = frame.planes[0]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:, : frame.width]


def ffmpeg_plays(path: Path) -> list[float]:
    """When FFmpeg's own decode of the edit list has the clicks, in ms."""
    pieces = []
    with av.open(str(path), options={"advanced_editlist": "1"}) as container:
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray().reshape(-1).astype(np.float64)
            pieces.append(
                (
                    _time_s(frame),
                    samples / (32768 if frame.format.name.startswith("s16") else 1),
                )
            )
    whole = np.zeros(round(max(float(at) * 48000 + len(samples) for at, samples in pieces)) + 1)
    for at, samples in pieces:
        first = round(float(at) * 48000)
        whole[max(0, first) : first + len(samples)] = samples[max(0, -first) :]
    return click_times_ms(0.0, whole, 48000)


def in_empty(rows: Sequence[Row], time_ms: float) -> bool:
    """Whether nothing is due at a time: FFmpeg plays the beginning of the media there, unless it is
    before the first piece.
    """
    at_ms = 0.0
    for row_s, from_s, *_ in rows:
        if from_s == NOTHING and at_ms - 1 <= time_ms < at_ms + 1000 * row_s - 1:
            return True
        at_ms += 1000 * row_s
    return False
