"""What a verdict rests on, for drawing it: the part of a record that `--detail` adds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockPlaces:
    """Where in the picture the attention of one block falls: (column, row, share) of the cells with
    most of it.

    Cells are counted from 0 at the upper left corner; all shares of a block sum to 1 or, as small
    ones are left out, to less.
    """

    start_s: float  # of the block, on the file's clock
    cells: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True)
class SegmentDetail:
    """What the network says of one segment at every candidate offset, and where in the picture it
    looks.

    fit: for each of `Detail.offsets_ms`, the natural logarithm of how much likelier the pictures
    and sound are if the segment matches at that offset than if it matches at none; None if too
    little could be compared. columns, rows: the cells that the picture is divided into; blocks: the
    segment's blocks in order of time.
    """

    start_s: float  # on the file's clock
    end_s: float  # on the file's clock
    fit: tuple[float | None, ...]
    columns: int
    rows: int
    blocks: tuple[BlockPlaces, ...]


@dataclass(frozen=True)
class MediaFacts:
    """What the container and its streams say of themselves; width and height in pixels as
    displayed, times on the file's clock.
    """

    container: str  # FFmpeg's words for the kind of container
    video_codec: str  # FFmpeg's name of it
    width: int
    height: int
    rotation: int  # degrees that the picture was turned counterclockwise to stand upright
    frame_rate: float | None  # mean, by the header
    audio_codec: str  # as for the pictures
    first_picture_s: float | None  # None: unknown
    first_sound_s: float | None  # None: unknown


@dataclass(frozen=True)
class Detail:
    """What a verdict rests on, for drawing it. `offsets_ms` rise; positive = sound early."""

    offsets_ms: tuple[float, ...]
    segments: tuple[SegmentDetail, ...]  # in order of time
    media: MediaFacts  # what was checked

    def __post_init__(self) -> None:
        count = len(self.offsets_ms)
        for each in self.segments:
            if len(each.fit) != count:
                raise TypeError(f"fit has {len(each.fit)} values for {count} offsets")
