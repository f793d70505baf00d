"""What two versions of a title have in common: features of sound and picture that survive encoding,
size, level and logos.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO

import numpy as np
from numpy.typing import NDArray

from avcheck.compare.align import RATE_HZ, Rows, Track
from avcheck.media import SAMPLE_RATE, Picture, Sound

PICTURE_SIDE = 48  # px, of the pictures that are asked for
_COLUMNS, _ROWS = 10, 6  # cells of a picture
_HOP = SAMPLE_RATE // RATE_HZ
_FFT = 512
_BANDS = 16
_LOW_HZ, _HIGH_HZ = 150.0, 4000.0  # narrow speech codecs carry no more
_FLOOR_DB = -75.0  # below is silence, whatever its colour
_SLOW_S = 2.0  # what a mean over this does not change is level, a logo or a room, not content
_STALE_S = 1.0  # a picture older than this is missing
_DULL = 0.6  # of 255: rows of pictures that change less tell nothing
# Of 255: lines at an edge whose mean changes by less are a letterbox, with or without a logo on it
_CHANGES = 3.0


@dataclass
class Recording:
    """Sound at 16 kHz on disk, so that a title of any length needs little memory; `close` it when
    done.

    Runs are placed by their time; what is missing between them is silence.
    """

    start_s: float = 0.0
    count: int = 0  # samples
    _file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    _mapped: NDArray[np.int16] | None = None

    def add(self, sound: Sound) -> None:
        """Append a run; runs come in their order."""
        if not self.count:
            self.start_s = sound.start_s
        at = max(self.count, round((sound.start_s - self.start_s) * SAMPLE_RATE))
        self._file.seek(2 * at)  # the hole reads as zeros
        samples = (np.clip(sound.samples, -1, 1) * 32767).astype(np.int16)
        self._file.write(samples.tobytes())
        self.count = at + len(samples)

    def read(self, start_s: float, count: int) -> NDArray[np.float32]:
        """`count` samples from `start_s` on, float32; zeros where there are none."""
        if self._mapped is None:
            self._file.flush()
            self._mapped = np.memmap(self._file, np.int16, "r", shape=(self.count,))
        first = round((start_s - self.start_s) * SAMPLE_RATE)
        low, high = max(0, first), min(self.count, first + count)
        out = np.zeros(count, np.float32)
        if low < high:
            out[low - first : high - first] = self._mapped[low:high] / np.float32(32767)
        return out

    def close(self) -> None:
        """Give the disk space back."""
        self._mapped = None
        self._file.close()


def record(sounds: Iterable[Sound]) -> Recording:
    """All the sound of a file."""
    recording = Recording()
    for sound in sounds:
        recording.add(sound)
    return recording


def sound_track(recording: Recording) -> Track:
    """How the level in each of 16 bands changes, float32 (n, 16): row k is centred on `start_s` + k
    / 100 s.
    """
    edges = np.geomspace(_LOW_HZ, _HIGH_HZ, _BANDS + 1)
    band = np.digitize(np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE), edges) - 1
    filters = np.stack([(band == k).astype(np.float32) for k in range(_BANDS)], axis=1)
    window = np.hanning(_FFT + 1)[:-1].astype(np.float32)
    parts: list[Rows] = []
    total = recording.count // _HOP
    step = 6000
    for first in range(0, total, step):
        count = min(step, total - first)
        # The window of row k is centred on its time.
        samples = recording.read(
            recording.start_s + first * _HOP / SAMPLE_RATE - _FFT / 2 / SAMPLE_RATE,
            count * _HOP + _FFT,
        )
        frames = np.lib.stride_tricks.sliding_window_view(samples, _FFT)[::_HOP][:count]
        power = np.abs(np.fft.rfft(frames * window, axis=1)).astype(np.float32) ** 2
        parts.append(
            10 * np.log10(np.einsum("tf,fb->tb", power, filters) / _FFT + 10 ** (_FLOOR_DB / 10))
        )
    level_db = np.concatenate(parts) if parts else np.zeros((0, _BANDS), np.float32)
    rows = _changes(level_db)
    rows[(level_db <= _FLOOR_DB + 1).all(axis=1)] = 0.0
    return Track(recording.start_s, np.clip(rows, -20, 20))


def picture_track(pictures: Iterable[Picture]) -> Track:
    """How the brightness of each of 60 cells changes, float32 (n, 60), as shown at `start_s` + k /
    100 s.

    A picture is shown until the next one. Lines at the edges that never change are left out, so a
    letterbox changes nothing; what stands still, as a logo does, is taken out with the mean.
    """
    times_s, cells = _cells(pictures)
    if not times_s:
        return Track(0.0, np.zeros((0, _COLUMNS * _ROWS), np.float32))
    times = np.array(times_s)
    grid = np.arange(times[0], times[-1] + 1 / RATE_HZ, 1 / RATE_HZ)
    shown = np.maximum(np.searchsorted(times, grid + 1e-6, side="right") - 1, 0)
    rows = _changes(cells[shown])
    rows[(grid - times[shown] > _STALE_S) | (np.abs(rows).max(axis=1) < _DULL)] = 0.0
    return Track(float(times[0]), rows)


def _cells(pictures: Iterable[Picture]) -> tuple[list[float], Rows]:
    """The time and the mean of every cell of each picture."""
    times_s: list[float] = []
    kept: list[NDArray[np.uint8]] = []
    for picture in pictures:
        if kept and picture.luma.shape != kept[0].shape:
            continue
        times_s.append(picture.pts_s)
        kept.append(picture.luma)
    if not kept:
        return [], np.zeros((0, _COLUMNS * _ROWS), np.float32)
    high, wide = (_content(np.stack([luma.mean(axis=axis) for luma in kept])) for axis in (1, 0))
    return times_s, np.stack([_means(luma[high, wide]) for luma in kept])


def _content(lines: NDArray[np.floating]) -> slice:
    """The lines (n, lines) that change over the n pictures, and all between them; every line where
    too few do.

    What changes in under a tenth of the pictures, an advertisement in full width say, is not what
    the title looks like.
    """
    low, high = np.percentile(lines, (10, 90), axis=0)
    changing = np.flatnonzero(high - low > _CHANGES)
    return (
        slice(int(changing[0]), int(changing[-1]) + 1) if len(changing) >= _COLUMNS else slice(None)
    )


def _means(luma: NDArray[np.uint8]) -> Rows:
    """The mean of each cell of a picture, row by row."""
    sums = np.add.reduceat(luma.astype(np.float32), _edges(luma.shape[0], _ROWS), axis=0)
    sums = np.add.reduceat(sums, _edges(luma.shape[1], _COLUMNS), axis=1)
    high, wide = (
        np.diff([*_edges(n, k), n]) for n, k in ((luma.shape[0], _ROWS), (luma.shape[1], _COLUMNS))
    )
    return np.asarray(sums / np.outer(high, wide), np.float32).reshape(-1)


def _edges(size: int, count: int) -> NDArray[np.intp]:
    return np.arange(count) * size // count


def _changes(values: Rows) -> Rows:
    """Values (n, d) less their mean over two seconds around each row."""
    if not len(values):
        return values
    reach = min(round(_SLOW_S * RATE_HZ / 2), max(0, len(values) - 1))
    padded = np.pad(values, ((reach + 1, reach), (0, 0)), "edge").astype(np.float64)
    total = np.cumsum(padded, axis=0)
    mean = (total[2 * reach + 1 :] - total[: -2 * reach - 1]) / (2 * reach + 1)
    return np.asarray(values - mean, np.float32)
