"""The two fields of an interlaced picture. A camera takes them half a picture apart, and a
television shows them so; woven into one picture they look a quarter of a picture ahead of its time.
Much that is coded as fields is of one moment all the same, as film is, and stays whole.

FFmpeg's `separatefields` knows the order from each picture's own flag, which PyAV does not tell,
and copies nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.error import BlockingIOError, EOFError
from av.filter import Graph
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from avcheck.media.base import STALE_S

_COLUMNS = 96  # of a frame that are looked at for a comb
_TILE = 16  # of these, and of lines
_TIMES, _LEAST_COMB = 2.5, 2.0  # levels of 8 bits; less is noise, and moves nothing
_LEAST_LINES = 8
_ALL_OF, _EVERY = (
    25,
    4,
)  # the first frames are looked at, then only some: a film makes no comb at all
_TICK = Fraction(1, 1000)  # of times that nobody reads


@dataclass(frozen=True)
class Shown:
    """A frame, or one of its fields, at its time.

    time_s: on the file's clock; frame: as decoded; field: 0 for the first in time, 1 for the
    second, None for all of it.
    """

    time_s: float
    frame: VideoFrame
    field: int | None = None


def in_fields(frames: Iterable[tuple[float, VideoFrame]]) -> Iterator[Shown]:
    """The frames, those whose fields are of two moments as two: the second is due half-way to the
    next frame. The last frame, or one before a gap, lasts as long as that before it.

    After the first that shows it, all that are coded as fields count as such: a slow mouth makes no
    comb that could be told from fine lines, but is a quarter of a picture off all the same.
    """
    waiting: tuple[float, VideoFrame] | None = None
    step_s = 0.0
    of_two_moments = False
    for time_s, frame in frames:
        if waiting is not None:
            step_s = time_s - waiting[0] if time_s - waiting[0] <= STALE_S else step_s
            yield from _second(*waiting, step_s)
            waiting = None
        of_two_moments = of_two_moments or (frame.interlaced_frame and is_combed(frame))
        if frame.interlaced_frame and of_two_moments:
            waiting = time_s, frame
            yield Shown(time_s, frame, 0)
        else:
            yield Shown(time_s, frame)
    if waiting is not None:
        yield from _second(*waiting, step_s)


def _second(time_s: float, frame: VideoFrame, step_s: float) -> Iterator[Shown]:
    if step_s > 0:
        yield Shown(time_s + step_s / 2, frame, 1)


def is_combed(frame: VideoFrame) -> bool:
    """Whether the lines of a frame look like those of two moments: somewhere each of them differs
    from both its neighbours by more than from the next of its own field. Fine lines may do so too:
    they are split for nothing, which does no harm.
    """
    plane, pixels = frame.planes[0], frame.format
    if frame.height < _LEAST_LINES or plane.line_size <= 0:  # lines that go up cannot be read here
        return False
    bits = pixels.components[0].bits
    kind = np.dtype("u1" if bits <= 8 else "<u2")
    rows = np.frombuffer(memoryview(plane), kind)
    rows = rows[: frame.height * plane.line_size // kind.itemsize].reshape(frame.height, -1)
    a_pixel = 1 if pixels.is_planar else max(1, pixels.padded_bits_per_pixel // kind.itemsize // 8)
    count = frame.width * a_pixel
    # An odd step meets the luma of packed pixels as well as their chroma
    values = (rows[:, : count : count // _COLUMNS | 1] >> max(0, bits - 8)).astype(np.int16)
    by_line, by_field = (_tiled(_sticking_out(values, lines)) for lines in (1, 2))
    return bool((by_line > _TIMES * by_field + _LEAST_COMB).any())


def _sticking_out(values: NDArray[np.int16], lines: int) -> NDArray[np.int16]:
    """By how much each value lies above, or below, both of those so many lines away."""
    middle = values[2:-2]
    up = middle - values[2 - lines : -2 - lines]
    down = middle - values[2 + lines : len(values) - 2 + lines]
    above, below = np.minimum(up, down), np.maximum(up, down)
    return np.asarray(np.maximum(above, 0) - np.minimum(below, 0))


def _tiled(values: NDArray[np.int16]) -> NDArray[np.float64]:
    """Means over tiles; what is left of a tile at the edges is left out."""
    rows, columns = (max(1, min(_TILE, side)) for side in values.shape)
    whole = values[: len(values) // rows * rows, : values.shape[1] // columns * columns]
    strips = whole.reshape(len(whole) // rows, rows, -1).sum(axis=1, dtype=np.int32)
    sums = strips.reshape(len(strips), -1, columns).sum(axis=2)
    return np.asarray(sums / (rows * columns))


@dataclass(frozen=True)
class Field:
    """One field of a frame.

    frame: its lines alone, half as many; below: by how much of a line of the frame its middle lies
    below that of the frame, -0.5 or 0.5.
    """

    frame: VideoFrame
    below: float


class FieldSplitter:
    """Takes frames apart. They may come in any order, and in different sizes and formats."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._key: tuple[int, int, str] | None = None
        self._top_first = True  # of the last frame that showed it

    def field_of(self, frame: VideoFrame, number: int) -> Field:
        """The first (0) or second (1) field of a frame. Raises av.error.FFmpegError or ValueError
        if FFmpeg cannot take its format apart.
        """
        graph = self._graph_for(frame)
        # The filter holds the second field of a frame back until the next comes
        first = self._pushed(graph, frame)[-1]
        self._top_first = _is_top(first, frame, self._top_first)
        field = self._pushed(graph, frame)[0] if number else first
        return Field(field, -0.5 if self._top_first != bool(number) else 0.5)

    def _graph_for(self, frame: VideoFrame) -> Graph:
        key = frame.width, frame.height, frame.format.name
        if self._graph is None or key != self._key:
            graph = Graph()
            source = graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=_TICK,
            )
            separate, sink = graph.add("separatefields"), graph.add("buffersink")
            source.link_to(separate)
            separate.link_to(sink)
            graph.configure()
            self._graph, self._key = graph, key
        return self._graph

    @staticmethod
    def _pushed(graph: Graph, frame: VideoFrame) -> list[VideoFrame]:
        graph.vpush(frame)
        fields: list[VideoFrame] = []
        while True:
            try:
                field = graph.vpull()
            except (BlockingIOError, EOFError):
                return fields
            fields.append(field)


def _is_top(field: VideoFrame, frame: VideoFrame, otherwise: bool) -> bool:
    """Whether a field is the upper of the frame, by the first lines; `otherwise` if those are the
    same.
    """
    plane = frame.planes[0]
    if plane.line_size <= 0:
        return otherwise
    count, lines = min(plane.line_size, frame.width), memoryview(plane)
    top, bottom = (bytes(lines[at : at + count]) for at in (0, plane.line_size))
    return otherwise if top == bottom else bytes(memoryview(field.planes[0])[:count]) == top
