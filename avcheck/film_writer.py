"""A film of avcheck's own as MP4: H.264 pictures, 25 a second, and AAC, both from time 0."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from avcheck.rates import FRAME_RATE

SOUND_RATE = 48_000  # Hz; every player takes it
_PACKET = 1024  # samples of an AAC frame


def write_film(
    path: Path,
    size: tuple[int, int],
    frames: Iterable[NDArray[np.uint8]],
    samples: NDArray[np.float32],
    *,
    bit_rate: int,
    **options: str,
) -> None:
    """Write a film.

    Args:
        path: The file, written over if it exists.
        size: Height and width of the pictures, px, both even.
        frames: The pictures in 4:2:0, video range: (3 height / 2, width), luma above U and V.
        samples: The sound at `SOUND_RATE`, -1..1: (n,), or (2, n) for stereo. What goes on after
            the pictures is left out.
        bit_rate: Of the sound, bits a second.
        options: Of x264, such as crf="20".

    Raises:
        OSError: The file cannot be written.
    """
    channels = np.atleast_2d(samples)
    layout = "mono" if len(channels) == 1 else "stereo"
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as file:
        video = file.add_stream(
            "libx264", rate=FRAME_RATE, options={"preset": "veryfast"} | options
        )
        video.height, video.width = size
        video.pix_fmt = "yuv420p"
        audio = file.add_stream("aac", rate=SOUND_RATE, layout=layout, bit_rate=bit_rate)
        sent = 0
        for k, picture in enumerate(frames):
            frame = VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = k, Fraction(1, FRAME_RATE)
            file.mux(video.encode(frame))
            # Sound follows its pictures closely, so that players need not read far ahead.
            while sent < channels.shape[1] and sent * FRAME_RATE < (k + 1) * SOUND_RATE:
                file.mux(
                    audio.encode(_audio_frame(channels[:, sent : sent + _PACKET], layout, sent))
                )
                sent += _PACKET
        file.mux(video.encode(None))
        file.mux(audio.encode(None))


def at_sound_rate(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Bring sound to `SOUND_RATE`. The spectrum is padded, which adds no delay; it rings at both
    ends.

    Args:
        samples: (n,), -1..1.
        rate: Of the samples, Hz. `SOUND_RATE` is a multiple of it.

    Returns:
        (n * `SOUND_RATE` / rate,), -1..1.
    """
    factor = SOUND_RATE // rate
    count = len(samples) * factor
    return (np.fft.irfft(np.fft.rfft(samples), count) * factor).astype(np.float32).clip(-1, 1)


def _audio_frame(samples: NDArray[np.float32], layout: str, place: int) -> AudioFrame:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, place, Fraction(1, SOUND_RATE)
    return frame
