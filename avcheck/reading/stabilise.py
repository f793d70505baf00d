"""Camera shake taken out before the network looks.

The network compares the same place from picture to picture. In a hand-held shot a mouth does not
stay in its place; in a phone's video of somebody who walks and talks nothing was left to compare.
So whatever moves as a whole, the scene or a face that fills the picture, is held on its smooth
course. How far each picture has moved from the one before is measured by phase correlation (Kuglin
and Hines, 1975), shot by shot; what a mean over four seconds does not follow is taken out. So a pan
stays a pan, except for two seconds at either end of a shot.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

_SIDE = 64  # side that pictures are brought to for the correlation
# Cycles a sample: finer detail is noise, or the codec's blocks, which do not move with the camera
_BAND = 0.2
# Of a perfect match; the pictures on either side of a cut reach 0.16, moving ones 0.5
_LEAST_PEAK = 0.3
_REACH = 50  # pictures on either side that the smooth course averages
_FARTHEST = 10  # samples from one picture to the next: a sixth of the picture
_LEAST_MOVE = 0.1  # px; less is not worth softening a picture for
_CHUNK = 50  # pictures measured at a time: their spectra stay in the processor's cache


def shake(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How far each picture has strayed from the smooth course of its shot.

    Args:
        pictures: Luma, uint8 (T, H, W), one after another.

    Returns:
        (T, 2), px to the right and down.
    """
    count, height, width = pictures.shape
    if count < 2:
        return np.zeros((count, 2))
    steps = np.concatenate(
        [_steps(pictures[at : at + _CHUNK + 1]) for at in range(0, count - 1, _CHUNK)]
    )
    shots = [_strayed(np.cumsum([(0.0, 0.0), *shot], axis=0)) for shot in _shots(steps)]
    return np.asarray(np.concatenate(shots) * (width / _SIDE, height / _SIDE))


def _shots(steps: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The steps (T - 1, 2) of each shot, from one cut to the next; a shot of one picture has
    none.
    """
    edges = [-1, *np.flatnonzero(np.isnan(steps[:, 0])).tolist(), len(steps)]
    return [steps[first + 1 : last] for first, last in pairwise(edges)]


def _strayed(course: NDArray[np.float64]) -> NDArray[np.float64]:
    """A course (T, 2) less its running mean, mirrored at both ends."""
    reach = min(_REACH, len(course) - 1)
    padded = np.pad(course, ((reach, reach), (0, 0)), "reflect") if reach else course
    total = np.cumsum(np.concatenate([np.zeros((1, 2)), padded]), axis=0)
    smooth = (total[2 * reach + 1 :] - total[: -2 * reach - 1]) / (2 * reach + 1)
    return np.asarray(course - smooth)


def steadied(
    pictures: NDArray[np.uint8], strayed: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """The pictures, each moved back by as much as it has strayed, borders mirrored.

    Args:
        pictures: Luma, uint8 (T, H, W).
        strayed: (T, 2), px to the right and down; None: as `shake` measures it.

    Returns:
        uint8 (T, H, W); `pictures` itself if none has strayed.
    """
    if strayed is None:
        strayed = shake(pictures)
    moved = np.abs(strayed).max(axis=1) >= _LEAST_MOVE
    if not moved.any():
        return pictures
    out = pictures.copy()
    for at in np.flatnonzero(moved):
        out[at] = _moved(pictures[at], *strayed[at])
    return out


def views(strayed: NDArray[np.float64], *, unsteadied: bool) -> list[NDArray[np.float64]]:
    """What `steadied` has to take out of pictures for each view of them.

    Args:
        strayed: (T, 2), px, as from `shake`.
        unsteadied: Look at the pictures as they come too, not only held steady.

    Returns:
        (T, 2) for each view.
    """
    return [strayed, np.zeros_like(strayed)] if unsteadied else [strayed]


def reduced(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures at the size at which `shake` correlates them: what it measures there is the same,
    in larger pixels.

    Args:
        pictures: Luma, uint8 (T, H, W).

    Returns:
        uint8 (T, 64, 64).
    """
    if pictures.shape[1:] == (_SIDE, _SIDE):
        return pictures
    whole = torch.from_numpy(pictures)[:, None]
    return F.interpolate(whole, size=(_SIDE, _SIDE), mode="bilinear", antialias=True)[:, 0].numpy()


def _steps(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How far each picture but the first has moved from the one before, (T - 1, 2), in samples of
    the reduced pictures.

    NaN at a cut: the two are too unlike, or too far apart for one camera movement.
    """
    patches = torch.from_numpy(reduced(pictures)).float()
    window = torch.hann_window(_SIDE, periodic=False)
    patches = (patches - patches.mean(dim=(1, 2), keepdim=True)) * (window[:, None] * window)
    spectrum = torch.fft.rfft2(patches)
    cross = spectrum[1:] * spectrum[:-1].conj()
    size = cross.abs()
    down, across = torch.fft.fftfreq(_SIDE)[:, None], torch.fft.rfftfreq(_SIDE)
    band = torch.exp(-(down**2 + across**2) / (2 * _BAND**2))
    cross *= band / (size + 1e-3 * size.mean(dim=(1, 2), keepdim=True) + 1e-6)
    correlation = torch.fft.irfft2(cross, s=(_SIDE, _SIDE)).numpy()
    perfect = float(torch.fft.irfft2(band, s=(_SIDE, _SIDE))[0, 0])
    row, column = np.divmod(correlation.reshape(len(correlation), -1).argmax(axis=1), _SIDE)
    each = np.arange(len(correlation))
    peak = correlation[each, row, column]
    x = column + _vertex(
        correlation[each, row, column - 1], peak, correlation[each, row, (column + 1) % _SIDE]
    )
    y = row + _vertex(
        correlation[each, row - 1, column], peak, correlation[each, (row + 1) % _SIDE, column]
    )
    steps = np.stack([x, y], axis=1)
    steps -= np.where(steps > _SIDE / 2, _SIDE, 0)
    is_clear = (peak >= _LEAST_PEAK * perfect) & (np.abs(steps).max(axis=1) <= _FARTHEST)
    return np.where(is_clear[:, None], steps, np.nan)


def _vertex(
    before: NDArray[np.floating], peak: NDArray[np.floating], after: NDArray[np.floating]
) -> NDArray[np.floating]:
    """The peak between samples, -0.5..0.5, of a Gaussian, which this band gives."""
    left, middle, right = (np.log(np.maximum(values, 1e-6)) for values in (before, peak, after))
    curvature = left - 2 * middle + right
    return np.clip(
        np.where(curvature < -1e-6, 0.5 * (left - right) / np.minimum(curvature, -1e-6), 0.0),
        -0.5,
        0.5,
    )


def _moved(picture: NDArray[np.uint8], right: float, down: float) -> NDArray[np.uint8]:
    """The picture (H, W) read so far to the right of and below each place, interpolated between
    pixels.
    """
    height = len(picture)
    columns, rows = int(np.floor(right)), int(np.floor(down))
    tall = picture.take(_mirrored(rows, height + 1, height), axis=0).astype(np.uint16)
    wide = _columns(_between(tall[:-1], tall[1:], down - rows), columns)
    both = _between(wide[:, :-1], wide[:, 1:], right - columns)
    return ((both + 128) >> 8).astype(np.uint8)


def _columns(picture: NDArray[np.uint16], first: int) -> NDArray[np.uint16]:
    """One column more than a picture (H, W) has, from the column `first` on, mirrored at both ends.

    Those inside the picture are copied at once, in a third of the time of one by one.
    """
    height, width = picture.shape
    out = np.empty((height, width + 1), np.uint16)
    low, high = max(0, min(-first, width + 1)), max(0, min(width - first, width + 1))
    at = _mirrored(first, width + 1, width)
    out[:, :low] = picture[:, at[:low]]
    out[:, low:high] = picture[:, first + low : first + high]
    out[:, max(low, high) :] = picture[:, at[max(low, high) :]]
    return out


def _between(
    first: NDArray[np.uint16], second: NDArray[np.uint16], part: float
) -> NDArray[np.uint16]:
    """16 times the mix of both, `part` 0..1 of the way in sixteenths: for bytes, even twice, that
    fits 16 bits.
    """
    sixteenths = round(16 * part)
    mixed: NDArray[np.uint16] = first * np.uint16(16 - sixteenths)
    mixed += second * np.uint16(sixteenths)
    return mixed


def _mirrored(first: int, count: int, length: int) -> NDArray[np.int_]:
    """`count` indices from `first` on into something of this length that is mirrored at both ends,
    again and again.
    """
    period = max(1, 2 * length - 2)
    at = np.arange(first, first + count) % period
    return np.where(at < length, at, period - at)
