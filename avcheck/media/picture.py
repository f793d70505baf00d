"""Decoded pictures as upright luma of one size, in the order they are shown."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import starmap
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from avcheck.errors import DecodeFailed, LimitExceeded
from avcheck.media.base import (
    STALE_S,
    Luma,
    Picture,
    Source,
    Tally,
    frame_end_s,
    no_pictures,
    shown_from,
)
from avcheck.media.container import open_source
from avcheck.media.fields import FieldSplitter, Shown, in_fields
from avcheck.media.packets import (
    dated,
    decoded_frames,
    packets_from,
    prepare,
    raise_if_memory_is_short,
)

MAX_ASPECT = 2.4  # a wider (or taller) picture is scaled by its long side instead

# Between the first picture and the last; a small file can claim any length
MAX_DURATION_S = 24 * 3600.0

MAX_UNDATED = 16  # pictures in a row without a time that are spread between their neighbours

_SMOOTH_FROM = 4  # a picture that will be this many times smaller need not be deblocked


def rotation_of(frame: VideoFrame) -> int:
    """How far to turn a frame counterclockwise to stand upright: 0, 90, 180 or 270 degrees."""
    return round(frame.rotation / 90) * 90 % 360


def pixel_aspect(stream: VideoStream) -> float:
    """Width of a pixel over its height."""
    aspect = float(stream.sample_aspect_ratio or 1)
    # Beyond is nonsense, and a way to demand a huge picture
    return aspect if 1 / 8 <= aspect <= 8 else 1.0


def display_size(size: VideoFrame | VideoCodecContext, aspect: float) -> tuple[int, int]:
    """Width and height in square pixels, before rotation."""
    return max(1, round(size.width * aspect)), max(1, size.height)


def is_full_range(pixels: VideoFormat) -> bool:
    """Whether black is 0 and white the largest number in this pixel format, unless a frame says
    otherwise.

    That is so if the numbers are not luma; luma keeps its foot and head room, whatever its packing
    (`uyvy422`, `p210`).
    """
    return (
        pixels.is_rgb
        or pixels.has_palette
        or pixels.is_bit_stream
        or pixels.is_bayer
        or pixels.name.startswith(("yuvj", "xyz"))
    )


def placed_between(
    frames: Iterable[tuple[float | None, VideoFrame]], tally: Tally
) -> Iterator[tuple[float, VideoFrame]]:
    """The pictures with their times; those without one are spread evenly between their neighbours.

    The last ones follow as far apart as those before. Of more than `MAX_UNDATED` in a row the first
    are placed by their own length: of H.264 in an MPEG program stream often only one in thirty has
    a time. If no time is near enough (none came before, or the gap is over a second a picture),
    they are left out and count as undated.
    """
    waiting: list[VideoFrame] = []
    last_s: float | None = None
    step_s = 0.0
    for time_s, frame in frames:
        if time_s is None:
            waiting.append(frame)
            if last_s is None or len(waiting) > MAX_UNDATED:
                oldest = waiting.pop(0)
                length_s = float((oldest.duration or 0) * (oldest.time_base or 0))
                if last_s is not None and 0 < length_s <= STALE_S:
                    last_s += length_s
                    yield last_s, oldest
                else:
                    tally.undated += 1
            continue
        if last_s is not None:
            step_s = (time_s - last_s) / (len(waiting) + 1)
            if 0 < step_s <= STALE_S:
                yield from (
                    (last_s + (k + 1) * step_s, undated) for k, undated in enumerate(waiting)
                )
            else:
                tally.undated += len(waiting)
        waiting.clear()
        yield time_s, frame
        last_s = time_s
    if last_s is not None and 0 < step_s <= STALE_S:
        yield from ((last_s + (k + 1) * step_s, undated) for k, undated in enumerate(waiting))
    else:
        tally.undated += len(waiting)


def _scaled_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Width and height scaled down, not up, to `short_side`, or to a long side of `MAX_ASPECT`
    times that.
    """
    scale = min(1.0, short_side / min(width, height), MAX_ASPECT * short_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


class Scaler:
    """Turns decoded frames into luma of one size, whatever size the stream changes to. One swscale
    context for all.
    """

    def __init__(self, stream: VideoStream, short_side: int, path: Path) -> None:
        self._path = path
        # Now: a closed container cannot be asked, and pictures may outlive theirs
        self._aspect = pixel_aspect(stream)
        self._short_side = short_side
        self._size: tuple[int, int] | None = None
        self._reformatter = VideoReformatter()
        self._splitter = FieldSplitter()

    def later(self, shown: Shown) -> Callable[[], Luma]:
        """A call that gives the luma of a frame or field: most frames of a 60 fps film are never
        used.
        """
        return lambda: self.scale(shown.frame, shown.field)

    def scale(self, frame: VideoFrame, field: int | None = None) -> Luma:
        """The luma of `frame`, or of one of its fields. Raises DecodeFailed where FFmpeg cannot
        read its format.
        """
        if self._size is None:
            self._size = _scaled_size(*display_size(frame, self._aspect), self._short_side)
        full = frame.color_range == ColorRange.JPEG or is_full_range(frame.format)
        lines, below = (frame, 0.0) if field is None else self._lines_of(frame, field)
        try:
            gray = self._reformatter.reformat(
                lines,
                *self._size,
                format="gray",
                interpolation=Interpolation.AREA,
                src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
                dst_color_range=ColorRange.JPEG,
                threads=1,
            )
        except av.error.FFmpegError as error:
            raise_if_memory_is_short(error)
            raise DecodeFailed(
                self._path,
                f"its pictures come as {frame.format.name}, which cannot be scaled; convert them "
                "to H.264, for example",
            ) from None
        rows = below * self._size[1] / frame.height
        luma = moved_down(gray.to_ndarray().astype(np.uint8, copy=False), rows)
        return np.ascontiguousarray(np.rot90(luma, rotation_of(frame) // 90))

    def _lines_of(self, frame: VideoFrame, field: int) -> tuple[VideoFrame, float]:
        """The lines of a field, and by how much of a line of the frame to move them down; all lines
        of a frame that FFmpeg cannot take apart.
        """
        try:
            part = self._splitter.field_of(frame, field)
        except (av.error.FFmpegError, ValueError) as error:
            raise_if_memory_is_short(error)
            return frame, 0.0
        return part.frame, part.below


def moved_down(luma: Luma, rows: float) -> Luma:
    """Luma (H, W) moved down by less than a row, or up: the lines of a field lie half a line of the
    frame beside it.
    """
    share = min(abs(rows), 0.5)
    if share == 0.0 or len(luma) < 2:
        return luma
    edge = luma[:1] if rows > 0 else luma[-1:]
    near = np.vstack([edge, luma[:-1]] if rows > 0 else [luma[1:], edge]).astype(np.float32)
    return np.rint(luma + share * (near - luma)).astype(np.uint8)


def decode_pictures(
    source: Source,
    tally: Tally,
    from_s: float | None,
    *,
    short_side: int,
    threads: int,
    whole: bool = False,
) -> Generator[Picture, None, None]:
    """The pictures of a stream, as `Media.pictures` describes them; what is lost counts in `tally`.

    whole: interlaced pictures as they are, not as two fields each.
    """
    container, source = open_source(source)
    with container:
        stream = next(stream for stream in container.streams.video if stream.index == source.index)
        prepare(container, [stream], threads)
        if (
            min(stream.codec_context.width, stream.codec_context.height)
            >= _SMOOTH_FROM * short_side
        ):
            # The deblocking filter smooths what scaling down averages away anyway, and takes a
            # fifth of an H.264 decoder's time.
            stream.codec_context.options |= {"skip_loop_filter": "all"}
        scaler = Scaler(stream, short_side, source.path)
        packets = packets_from(container, stream, tally, from_s, source)
        frames = dated(decoded_frames(container, stream, tally, packets), source.origin_s, tally)
        given = False
        with closing(_in_order(placed_between(frames, tally), source, tally, from_s)) as ordered:
            each_shown = starmap(Shown, ordered) if whole else in_fields(ordered)
            pictures = (Picture(each.time_s, scaler.later(each)) for each in each_shown)
            for picture in shown_from(pictures, from_s):
                given = True
                yield picture
        tally.finished = True
        if not given and from_s is None:
            raise no_pictures(source.path, undated=tally.undated)


def _in_order(
    frames: Iterable[tuple[float, VideoFrame]], source: Source, tally: Tally, from_s: float | None
) -> Generator[tuple[float, VideoFrame], None, None]:
    """The frames from zero on that are later than all before them; `tally` counts them, and what
    lies between and is left out.
    """
    first_s = last_s = -1.0
    for time_s, frame in frames:
        if first_s >= 0 and time_s > first_s + MAX_DURATION_S:
            raise LimitExceeded(
                source.path,
                f"a picture is due {(time_s - first_s) / 3600:.0f} hours after the first, over "
                f"the limit of {MAX_DURATION_S / 3600:.0f}; remux it to mend its timestamps, "
                "or cut it into parts",
            )
        if last_s < time_s and time_s >= 0:
            if last_s >= 0:
                tally.missing_s += max(0.0, time_s - last_s - STALE_S)
            tally.damaged += frame.is_corrupt
            first_s = time_s if first_s < 0 else first_s
            last_s = time_s
            if from_s is None:
                tally.start_s = min(tally.start_s, time_s)
            tally.end_s = max(tally.end_s, frame_end_s(frame, time_s))
            yield time_s, frame
        elif last_s >= 0 and time_s < last_s - STALE_S:  # what lies before zero is pre-roll
            tally.leave_out(frame, last_s)
