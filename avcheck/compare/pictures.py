"""The features of a picture that survive a transcode: how the brightness of its cells changes, in
the part that both versions show.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

import numpy as np
from numpy.typing import NDArray

from avcheck.compare.features import changes, smoothed
from avcheck.compare.find import RATE_HZ, Features, Rows
from avcheck.media import Picture
from avcheck.media.base import STALE_S

PICTURE_SIDE = 48  # px, of the pictures that are asked for
_COLUMNS, _ROWS = 10, 6  # cells of a picture
_CELLS = _COLUMNS * _ROWS
_DULL = 0.6  # of 255: rows of pictures that change less tell nothing
_CHANGES = 3.0  # luma, 0..255: lines whose mean changes by less stand still
# Luma of the bars of a letterbox; by how much they change, as the picture beside them leaks in; and
# the least share of a line that is so: the rest may be a logo
_DARK, _LEAK, _BAR = 40.0, 12.0, 0.5
_LEAST = 0.1  # luma, by which a cell changes or may as well stand still
# Rows, about as long as a picture of a film lasts: a step at every picture fits at several places
_SMOOTH = 5
_LOOKED_AT = 4000  # pictures, spread over a title, that show what of it changes
_AT_ONCE = 1000  # pictures in memory
_FEW = 400  # pictures, of which the bars of a letterbox are dark
# A picture that differs from the last by less than this share of what others near it do repeats it
_REPEATS = 0.15
_NEAR = 5  # pictures on either side

Sizes = NDArray[np.floating]  # by how much each cell changes


@dataclass(frozen=True)
class View:
    """The part of a picture that is looked at: what is left out at either side, as shares of its
    height and width; and whether it is turned from left to right. moving: of the part that moves,
    not of all that is no letterbox.
    """

    high: float = 0.0  # share of the height left out, above and below
    wide: float = 0.0  # share of the width, at the left and right
    mirrored: bool = False  # turned from left to right
    moving: bool = False


WHOLE = View()


@dataclass
class StoredPictures:
    """The pictures of a title, small, on disk, so that any length needs little memory; `close` it
    when done. Those of another size than the first are left out.
    """

    times_s: list[float] = field(default_factory=list)  # when each is shown, on the file's clock
    _size: tuple[int, int] | None = None  # height, width, px, of the first; None: none came yet
    _file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)  # their luma, uint8
    _mapped: NDArray[np.uint8] | None = None  # the same, (n, H, W); None until it is read
    # By `moving`, what `_inside` gives, once known
    _parts: dict[bool, tuple[slice, slice]] = field(default_factory=dict)

    def add(self, picture: Picture) -> None:
        """Append a picture; they come in their order."""
        luma = picture.luma
        if self._size is None:
            self._size = luma.shape[0], luma.shape[1]
        if luma.shape == self._size:
            self._file.write(luma.tobytes())
            self.times_s.append(picture.pts_s)

    def close(self) -> None:
        """Give the disk space back."""
        self._mapped = None
        self._file.close()

    def aspect(self, *, moving: bool = False) -> float:
        """Width over height of what is no letterbox, or of what moves."""
        high, wide = self._inside(moving=moving)
        return float((wide.stop - wide.start) / (high.stop - high.start))

    def holds(self, view: View) -> bool:
        """Whether a view has a line and a column for every cell; a part of what moves may not."""
        lines = map(_without, self._inside(moving=view.moving), (view.high, view.wide))
        return all(
            each.stop - each.start >= least
            for each, least in zip(lines, (_ROWS, _COLUMNS), strict=True)
        )

    def track(self, view: View = WHOLE) -> Features:
        """How the brightness of each of 60 cells changes, float32 (n, 60).

        The bars of a letterbox are left out; what stands still, as a logo does, is taken out with
        the mean. A picture counts for the time around the moment that it is due at, not for that
        until the next: so versions of another rate, of which each picture stays longer or shorter,
        lie neither early nor late.
        """
        levels, known = self._levels(view)
        rows = changes(levels.rows)
        rows[~known | (np.abs(rows).max(axis=1, initial=0.0) < _DULL)] = 0.0
        return Features(levels.start_s, rows)

    def levels(self, view: View = WHOLE) -> Features:
        """The brightness itself of each cell, 0..255, in the rows of `track`."""
        return self._levels(view)[0]

    def _levels(self, view: View) -> tuple[Features, NDArray[np.bool_]]:
        """The brightness of each cell, and in which rows it is known."""
        if not self.times_s:
            return Features(0.0, np.zeros((0, _CELLS), np.float32)), np.zeros(0, np.bool_)
        cells = np.concatenate(list(self._cells(view)))
        times = np.array(self.times_s)
        grid = np.arange(times[0], times[-1] + 1 / RATE_HZ, 1 / RATE_HZ)
        # In the middle of a row, or rates that rows are a multiple of would come out earlier
        middle = grid + 0.5 / RATE_HZ
        shown = np.maximum(np.searchsorted(times, middle, side="right") - 1, 0)
        start_s = float(times[0]) - _lasting_s(times, cells) / 2
        return (
            Features(start_s, smoothed(cells[shown], _SMOOTH)),
            middle - times[shown] <= STALE_S,
        )

    def _read(self) -> NDArray[np.uint8]:
        """All the pictures, (T, H, W), mapped from disk."""
        if self._mapped is None:
            self._file.flush()
            high, wide = self._size or (1, 1)
            self._mapped = np.memmap(
                self._file, np.uint8, "r", shape=(len(self.times_s), high, wide)
            )
        return self._mapped

    def _inside(self, *, moving: bool) -> tuple[slice, slice]:
        """The lines and columns between the bars of a letterbox; or those that change, and all
        between them.
        """
        if moving not in self._parts:
            few = self._read()[:: 1 + len(self.times_s) // _LOOKED_AT]
            if moving:
                means = few.mean(axis=2, dtype=np.float32), few.mean(axis=1, dtype=np.float32)
                self._parts[moving] = _changing(means[0]), _changing(means[1])
            else:
                dark = _dark(few)
                self._parts[moving] = (
                    _between_bars(dark.mean(axis=1)),
                    _between_bars(dark.mean(axis=0)),
                )
        return self._parts[moving]

    def _cells(self, view: View) -> Iterator[Rows]:
        """The mean of every cell of each picture, (k, 60) at a time."""
        high, wide = (
            _without(lines, share)
            for lines, share in zip(
                self._inside(moving=view.moving), (view.high, view.wide), strict=True
            )
        )
        pictures = self._read()
        for first in range(0, len(pictures), _AT_ONCE):
            luma = pictures[first : first + _AT_ONCE, high, wide].astype(np.float32)
            yield _means(luma[:, :, ::-1] if view.mirrored else luma)


def keep(pictures: Iterable[Picture]) -> StoredPictures:
    """All the pictures of a file."""
    kept = StoredPictures()
    for picture in pictures:
        kept.add(picture)
    return kept


def views(ours: float, theirs: float) -> Iterator[tuple[View, View]]:
    """What two versions of these aspects may have in common: pairs of views of one and the other.

    One may be a part of the other, cut to its own aspect or smaller still, or be turned from left
    to right.
    """
    for mirrored in (False, True):
        for zoom in (1.0, 0.9, 0.8, 0.7):
            for high, wide in {_shares(ours, theirs), (1.0, 1.0)}:
                cut = View((1 - zoom * high) / 2, (1 - zoom * wide) / 2)
                yield cut, View(mirrored=mirrored)
            for high, wide in {_shares(theirs, ours), (1.0, 1.0)}:
                cut = View((1 - zoom * high) / 2, (1 - zoom * wide) / 2, mirrored)
                if cut != View(mirrored=mirrored):
                    yield WHOLE, cut


def _shares(of: float, to: float) -> tuple[float, float]:
    """The shares of height and width that a picture of one aspect keeps when it is cut to
    another.
    """
    return (min(1.0, of / to), min(1.0, to / of))


def _changing(lines: NDArray[np.floating]) -> slice:
    """The lines (n, lines) that change over the n pictures, and all between them; every line where
    too few do.

    What changes in under a tenth of the pictures, an advertisement in full width say, is not what
    the title looks like.
    """
    low, high = np.percentile(lines, (10, 90), axis=0)
    return _first_to_last(high - low > _CHANGES)


def _dark(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels (H, W) are dark and stand still in n pictures (n, H, W)."""
    low, high = np.percentile(pictures[:: 1 + len(pictures) // _FEW], (10, 90), axis=0)
    return np.asarray((high <= _DARK) & (high - low <= _LEAK))


def _between_bars(dark: NDArray[np.floating]) -> slice:
    """The lines between the bars at either edge, by the share of each line that is dark and stands
    still; every line where too few are left.
    """
    return _first_to_last(dark < _BAR)


def _first_to_last(chosen: NDArray[np.bool_]) -> slice:
    """From the first of the chosen lines up to the last; every line where too few are chosen."""
    at = np.flatnonzero(chosen)
    return slice(int(at[0]), int(at[-1]) + 1) if len(at) >= _COLUMNS else slice(0, len(chosen))


def in_common(first: Features, second: Features) -> tuple[Features, Features]:
    """Both tracks, with no cell changing by more in one than in the other, apart from contrast:
    captions or an animated logo in one of them would outweigh all that the two share.
    """
    changing = [track.rows[np.abs(track.rows).any(axis=1)] for track in (first, second)]
    if not (len(changing[0]) and len(changing[1])):
        return first, second
    ours, theirs = (np.median(np.abs(rows), axis=0) for rows in changing)
    least = least_sizes(ours, theirs, _LEAST)
    return _scaled(first, least[0], ours), _scaled(second, least[1], theirs)


def _scaled(track: Features, to: Sizes, size: Sizes) -> Features:
    return Features(track.start_s, track.rows * (to / np.maximum(size, _LEAST)).astype(np.float32))


def least_sizes(first: Sizes, second: Sizes, floor: float) -> tuple[Sizes, Sizes]:
    """By how much each cell changes in the version in which it changes less, in the contrast of the
    first version and in that of the second. How these differ is taken from the cells that change
    most in the first.
    """
    moving = first >= np.median(first)
    contrast = max(float(second[moving].sum()), floor) / max(float(first[moving].sum()), floor)
    least = np.maximum(np.minimum(first, second / contrast), floor)
    return least, contrast * least


def _without(lines: slice, share: float) -> slice:
    cut = round(share * (lines.stop - lines.start))
    return slice(lines.start + cut, lines.stop - cut)


def _means(luma: NDArray[np.float32]) -> Rows:
    """The mean of each cell of pictures (k, H, W), row by row: (k, 60)."""
    count, height, width = luma.shape
    high, wide = _cells_of(height, _ROWS), _cells_of(width, _COLUMNS)
    # Sums of whole numbers, which float32 holds exactly
    sums = high.T @ (luma.reshape(-1, width) @ wide).reshape(count, height, _COLUMNS)
    return np.asarray(sums / np.outer(high.sum(axis=0), wide.sum(axis=0)), np.float32).reshape(
        count, -1
    )


def _cells_of(size: int, count: int) -> NDArray[np.float32]:
    """Which lines lie in which cell: 1 in (lines, cells), else 0."""
    edges = np.arange(count) * size // count
    cell = np.searchsorted(edges, np.arange(size), side="right") - 1
    return np.asarray(cell[:, None] == np.arange(count), np.float32)


def _lasting_s(times: NDArray[np.float64], cells: Rows) -> float:
    """How long a picture lasts on average, seconds, until another comes that does not repeat it."""
    if len(times) < 2:
        return 0.0
    steps_s = np.diff(times)
    changed = np.abs(np.diff(cells, axis=0)).mean(axis=1)
    wide = 2 * _NEAR + 1
    around = np.lib.stride_tricks.sliding_window_view(np.pad(changed, _NEAR, "edge"), wide)
    typical = np.median(np.sort(around, axis=1)[:, -wide // 2 :], axis=1)
    moving = (typical > _DULL) & (steps_s < STALE_S)
    if not moving.any():
        return float(np.median(steps_s))
    new = moving & (changed > _REPEATS * typical)
    return float(steps_s[moving].sum() / max(1, new.sum()))
