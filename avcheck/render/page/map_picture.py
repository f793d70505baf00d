"""How well every offset fits, time by offset, as a PNG."""

from __future__ import annotations

from bisect import bisect_right

from avcheck.record.detail import Detail, SegmentDetail
from avcheck.render.page.png import Colour, indexed_png
from avcheck.render.page.svg import Axis

_MAP_COLUMNS = 900  # pixels of the score map
FIT_LIMIT = 10.0  # a better fit is drawn like this one: one in 20,000
_LEVELS = 63  # colours of the score map
# From "does not match" to "matches": dark to bright in visually even steps (the colour map
# "viridis", thinned out).
STOPS: tuple[Colour, ...] = (
    (68, 1, 84),
    (70, 50, 126),
    (54, 92, 141),
    (39, 127, 142),
    (31, 161, 135),
    (74, 193, 109),
    (160, 218, 57),
    (253, 231, 37),
)


def map_png(detail: Detail, axis: Axis) -> bytes:
    """The score map: a column for each moment, a row for each offset, early above; blank where
    nothing was looked at.
    """
    starts = [segment.start_s for segment in detail.segments]
    # Fine enough to begin a segment where it begins, also in a title that ends within a second
    columns = min(_MAP_COLUMNS, max(1, round(10 * (axis.end_s - axis.start_s))))
    blank = bytes(len(detail.offsets_ms))
    made: dict[int, bytes] = {}
    pixels = []
    for column in range(columns):
        time_s = axis.time_s((column + 0.5) / columns)
        at = bisect_right(starts, time_s) - 1
        if at < 0 or time_s >= detail.segments[at].end_s:
            pixels.append(blank)
            continue
        if at not in made:
            made[at] = _column(detail.segments[at])
        pixels.append(made[at])
    rows = [bytes(each) for each in zip(*pixels, strict=True)]
    return indexed_png(rows, palette())


def _column(segment: SegmentDetail) -> bytes:
    """The colours of one segment, from the earliest offset down to the latest."""
    return bytes(
        0
        if fit is None
        else 1 + round((_LEVELS - 1) * (min(max(fit / FIT_LIMIT, -1.0), 1.0) + 1) / 2)
        for fit in reversed(segment.fit)
    )


def palette() -> list[Colour]:
    """Colour 0 for blank, and `_LEVELS` from bad to good."""
    return [(0, 0, 0), *(_between(level / (_LEVELS - 1)) for level in range(_LEVELS))]


def _between(share: float) -> Colour:
    at = min(int(share * (len(STOPS) - 1)), len(STOPS) - 2)
    part = share * (len(STOPS) - 1) - at
    low, high = STOPS[at], STOPS[at + 1]
    red, green, blue = (round(a + part * (b - a)) for a, b in zip(low, high, strict=True))
    return red, green, blue
