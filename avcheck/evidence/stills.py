"""The most telling moments of a checked file: the picture there, and the sound around it."""

from __future__ import annotations

import io
import math
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from avcheck.errors import AvcheckError, CannotSeek
from avcheck.media import Luma, Media, Sound, open_media
from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.record.report import BlockResult, Report

MOST = 6
SHORT_SIDE = 270  # px
AROUND_S = 1.0  # of sound on either side of a picture
PARTS = 200  # that the drawn sound is divided into
_TRIED = 200  # blocks of a stretch; so many may lie near a chosen one
_APART_S = 3.0  # stills nearer to each other show the same
# A title that cannot be read from the middle is read from its beginning, unless it is longer
_READ_THROUGH_S = 180.0
_QUALITY = 5  # quantiser of the JPEG, 2 (best) to 31


@dataclass(frozen=True)
class Still:
    """One picture as a grey JPEG, upright, and the sound around it.

    peaks: the lowest and highest sample (-1..1) in each of `PARTS` equal parts of the time from
    `sound_start_s` to `sound_end_s`; both are None in a part without sound.
    """

    time_s: float  # when it is due, on the file's clock
    jpeg: bytes  # the whole JPEG file
    width: int  # px
    height: int  # px
    sound_start_s: float
    sound_end_s: float
    peaks: tuple[tuple[float, float] | None, ...]


@dataclass(frozen=True)
class Illustration:
    """The stills of a file in order of time, or one sentence on why there are none."""

    stills: tuple[Still, ...]
    reason: str = ""  # "" if there are any


def illustrate(report: Report, audio: Path | None = None) -> Illustration:
    """Stills of a checked file, as long as it is there and unchanged.

    A fault of the file raises nothing; memory holds a second of pictures.

    Args:
        report: On the file.
        audio: The separate sound file, if there was one and it has moved.
    """
    if report.verdict == "error":
        return Illustration((), "The file could not be judged.")
    if "://" in report.path:
        return Illustration((), "Stills are taken from local files only.")
    path = Path(report.path)
    try:
        status = path.stat()
    except (OSError, ValueError):
        return Illustration((), "The file is not there any more.")
    if report.file_size is not None and (status.st_size, status.st_mtime_ns) != (
        report.file_size,
        report.file_mtime_ns,
    ):
        return Illustration((), "The file has changed since it was checked.")
    audio = audio or _sound_file(report)
    if report.audio_track is None and audio is None:
        return Illustration((), "Its sound came from another file.")
    times_s = moments(report)
    if not times_s:
        return Illustration((), "No moment stands out.")
    try:
        with open_again(report, SHORT_SIDE, audio) as media:
            stills = tuple(
                still for time_s in times_s if (still := _take(media, time_s)) is not None
            )
    except CannotSeek:
        return Illustration((), "This kind of file cannot be read from the middle.")
    except AvcheckError:
        return Illustration((), "The file could not be opened again.")
    return Illustration(
        stills, "" if stills else "There is no picture at the moments that stand out."
    )


def moments(report: Report, most: int = MOST) -> tuple[float, ...]:
    """The times (s), rising, of at most `most` pictures that best show the verdict.

    The most attended blocks of each stretch in turn, so that both sides of a jump are shown, then
    those outside every stretch; none close to another. Blocks with an offset of their own come
    first. Of a test signal, its events.
    """
    if report.by_signal and report.segments:
        return _of_events(report, most)
    ranked = sorted(report.blocks, key=lambda block: (block.offset_ms is None, -block.attention))
    parts = [
        [each for each in ranked if part.start_s <= each.start_s < part.end_s]
        for part in report.stretches
    ]
    in_turn = [block for each in zip_longest(*(part[:_TRIED] for part in parts)) for block in each]
    apart_s = _APART_S
    if report.blocks:
        apart_s = max(apart_s, (report.blocks[-1].start_s - report.blocks[0].start_s) / (4 * most))
    chosen: list[BlockResult] = []
    for block in [*in_turn, *ranked]:
        if block is None or block.attention <= 0 or len(chosen) == most:
            continue
        if all(abs(block.start_s - other.start_s) >= apart_s for other in chosen):
            chosen.append(block)
    return tuple(sorted(block.start_s + 0.5 for block in chosen))


def _of_events(report: Report, most: int) -> tuple[float, ...]:
    """Events of a test signal, evenly through the file: half a picture into each, as a flash may
    begin at its picture's very time.
    """
    rate = report.picture.frame_rate if report.picture is not None else None
    half_s = 0.5 / float(Fraction(rate) if rate else FRAME_RATE)
    count = len(report.segments)
    chosen = np.linspace(0, count - 1, min(most, count)).round().astype(int)
    return tuple(report.segments[k].start_s + half_s for k in chosen)


def _take(media: Media, time_s: float) -> Still | None:
    """The picture shown at a moment, with its sound; None if there is none."""
    start_s = max(0.0, time_s - AROUND_S)
    if not media.seekable and (media.info.duration_s or math.inf) > _READ_THROUGH_S:
        raise CannotSeek(media.info.path, "the file cannot be read from the middle")
    with closing(media.pictures(time_s if media.seekable else None)) as pictures:
        picture = None
        for each in pictures:
            if picture is None or each.pts_s <= time_s:
                picture = each
            if each.pts_s >= time_s:
                break
        if picture is None or abs(picture.pts_s - time_s) > _APART_S:
            return None
        luma = picture.luma
    sound, heard = sound_between(media, start_s, start_s + 2 * AROUND_S)
    height, width = luma.shape
    return Still(
        picture.pts_s,
        _jpeg(luma),
        width,
        height,
        start_s,
        sound.end_s,
        _peaks(sound.samples, heard),
    )


def open_again(report: Report, short_side: int, audio: Path | None = None) -> Media:
    """A checked file, on the tracks that were checked. Raises what `open_media` raises.

    Args:
        report: On the file.
        short_side: Of its pictures, px.
        audio: The separate sound file, if there was one and it has moved.
    """
    return open_media(
        report.path,
        audio_track=report.audio_track,
        video_track=report.video_track,
        program=report.program,
        audio_path=audio or _sound_file(report),
        short_side=short_side,
    )


def _sound_file(report: Report) -> Path | None:
    return None if report.audio_path is None else Path(report.audio_path)


def sound_between(media: Media, start_s: float, end_s: float) -> tuple[Sound, NDArray[np.bool_]]:
    """The sound from `start_s` to `end_s`, silent where there is none, and for each sample whether
    there is sound.
    """
    samples = np.zeros(round((end_s - start_s) * SAMPLE_RATE), np.float32)
    heard = np.zeros(len(samples), np.bool_)
    with closing(media.sounds(start_s if media.seekable else None)) as sounds:
        for sound in sounds:
            first = round((sound.start_s - start_s) * SAMPLE_RATE)
            low, high = max(first, 0), min(first + len(sound.samples), len(samples))
            if low < high:
                samples[low:high] = sound.samples[low - first : high - first]
                heard[low:high] = True
            if first + len(sound.samples) >= len(samples):
                break
    return Sound(start_s, samples), heard


def _peaks(
    samples: NDArray[np.float32], heard: NDArray[np.bool_]
) -> tuple[tuple[float, float] | None, ...]:
    """The least and the greatest of each of `PARTS` parts of a sound, (n,); None for a part in
    which nothing is `heard`, (n,).
    """
    parts = zip(np.array_split(samples, PARTS), np.array_split(heard, PARTS), strict=True)
    return tuple(
        (round(float(part.min()), 3), round(float(part.max()), 3)) if is_heard.any() else None
        for part, is_heard in parts
    )


def _jpeg(luma: Luma) -> bytes:
    """A grey picture, uint8 (H, W), as JPEG."""
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(luma), format="gray")
    frame = frame.reformat(format="yuvj420p", src_color_range="JPEG", dst_color_range="JPEG")
    frame.pts = 0
    target = io.BytesIO()
    with av.open(target, "w", format="mjpeg") as file:
        options = {"qmin": str(_QUALITY), "qmax": str(_QUALITY), "huffman": "optimal"}
        stream: VideoStream = file.add_stream("mjpeg", rate=Fraction(1), options=options)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuvj420p"
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return target.getvalue()
