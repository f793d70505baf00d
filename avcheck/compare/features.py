"""The features of a sound that survive encoding, equalisation and gain: how its level changes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO

import numpy as np
from numpy.typing import NDArray

from avcheck.compare.find import RATE_HZ, Features, Rows
from avcheck.media import Sound
from avcheck.rates import SAMPLE_RATE

_HOP = SAMPLE_RATE // RATE_HZ
_FFT = 512
_BANDS = 16
LOW_HZ, HIGH_HZ = 150.0, 4000.0  # narrow speech codecs carry no more
_FLOOR_DB = -75.0  # below is silence, whatever its colour
_SLOW_S = 2.0  # what a mean over this keeps is level, a logo or a room, not content


@dataclass
class Recording:
    """Sound at 16 kHz on disk, so that a title of any length needs little memory; `close` it when
    done.

    Runs are placed by their time; what is missing between them is silence.
    """

    start_s: float = 0.0  # of the first sample, on the file's clock
    count: int = 0  # samples
    _file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)  # the samples, int16
    _mapped: NDArray[np.int16] | None = None  # the same, (count,); None until some are read

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

    @property
    def end_s(self) -> float:
        """The time of the sample after the last, in seconds."""
        return self.start_s + self.count / SAMPLE_RATE

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


def sound_track(recording: Recording) -> Features:
    """How the level in each of 16 bands changes, float32 (n, 16): row k is centred on `start_s` + k
    / 100 s.
    """
    edges = np.geomspace(LOW_HZ, HIGH_HZ, _BANDS + 1)
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
    rows = changes(level_db)
    rows[(level_db <= _FLOOR_DB + 1).all(axis=1)] = 0.0
    return Features(recording.start_s, np.clip(rows, -20, 20))


def changes(values: Rows) -> Rows:
    """Values (n, d) less their mean over two seconds around each row."""
    return values - smoothed(values, 2 * round(_SLOW_S * RATE_HZ / 2) + 1)


def smoothed(values: Rows, rows: int) -> Rows:
    """The mean of values (n, d) over so many rows, an odd number, around each."""
    reach = min(rows // 2, len(values) - 1)
    if reach < 1:
        return values
    padded = np.pad(values, ((reach + 1, reach), (0, 0)), "edge").astype(np.float64)
    total = np.cumsum(padded, axis=0)
    mean = (total[2 * reach + 1 :] - total[: -2 * reach - 1]) / (2 * reach + 1)
    return np.asarray(mean, np.float32)
