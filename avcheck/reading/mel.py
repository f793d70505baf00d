"""Log-mel spectra of the sound, a column for every 10 ms."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from avcheck.rates import SAMPLE_RATE

MEL_RATE = 100  # log-mel columns a second: four to a picture
MEL_BINS = 64

MEL_HOP = SAMPLE_RATE // MEL_RATE
_FFT = 512
# samples that a column sees beyond its own 10 ms, on either side: `log_mel` needs so many more
MEL_MARGIN = (_FFT - MEL_HOP) // 2
_MEL_LOW_HZ, _MEL_HIGH_HZ = 60.0, 7600.0
_GROUP = 16  # filters whose product is formed at once
_LOG_FLOOR = 1e-5  # about -100 dBFS: digital silence and dither look alike


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-mel spectrogram of sound, by a Hann window of 32 ms.

    Args:
        samples: (160 * columns + 352,), mono, 16 kHz: the sound of the columns, with `MEL_MARGIN`
            samples of context before and after it (zeros where there is none).

    Returns:
        float32 (columns, 64), natural logarithm of the power in each band. Column j is centred on
        sample 176 + 160 * j + 80.
    """
    columns = (len(samples) - 2 * MEL_MARGIN) // MEL_HOP
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FFT)[::MEL_HOP][:columns]
    spectrum = np.fft.rfft(frames * _hann(), axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    bands = [power[:, bins] @ weights for bins, weights in _filter_groups()]
    mel: NDArray[np.float32] = np.log(np.concatenate(bands, axis=1) + _LOG_FLOOR)
    return mel


@lru_cache(maxsize=1)
def _hann() -> NDArray[np.float32]:
    return np.hanning(_FFT + 1)[:-1].astype(np.float32)


@lru_cache(maxsize=1)
def _filter_groups() -> tuple[tuple[slice, NDArray[np.float32]], ...]:
    """The filters in groups of neighbours: the bins that a group sees, and its weights for them,
    float32 (bins, filters).

    A filter sees few bins, so a group's product is a quarter of the work. It is also too small for
    OpenBLAS to share among threads, which would spin for a while after it on the decoder's core.
    """
    groups = []
    for weights in np.split(_mel_filters(), MEL_BINS // _GROUP, axis=1):
        bins = np.flatnonzero(weights.any(axis=1))
        span = slice(int(bins[0]), int(bins[-1]) + 1)
        groups.append((span, np.ascontiguousarray(weights[span])))
    return tuple(groups)


@lru_cache(maxsize=1)
def _mel_filters() -> NDArray[np.float32]:
    """Triangular filters, float32 (257, 64), equal in area, on the HTK mel scale."""

    def to_mel(hz: float) -> float:
        return 2595.0 * math.log10(1.0 + hz / 700.0)

    edges_mel = np.linspace(to_mel(_MEL_LOW_HZ), to_mel(_MEL_HIGH_HZ), MEL_BINS + 2)
    edges_hz = 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0)
    bins_hz = np.fft.rfftfreq(_FFT, 1.0 / SAMPLE_RATE)[:, None]
    low, mid, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    filters = np.clip(
        np.minimum((bins_hz - low) / (mid - low), (high - bins_hz) / (high - mid)), 0.0, None
    )
    # The lowest filters are narrower than an FFT bin: without this floor some would see nothing at
    # all.
    empty = filters.sum(axis=0) == 0
    filters[np.argmin(np.abs(bins_hz - mid), axis=0)[empty], np.flatnonzero(empty)] = 1.0
    normed: NDArray[np.float32] = (filters / filters.sum(axis=0)).astype(np.float32)
    return normed
