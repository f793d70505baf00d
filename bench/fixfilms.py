"""The sixty films of `python -m bench.fix`: one talking head in six containers, with the sound out
of place by a known amount. The pictures are encoded once for each codec and copied into every film.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from avcheck.rates import SAMPLE_RATE
from avcheck.scenes.generate import make_scene
from tests.support.clips import audio_frame, make_clip
from tests.support.films import KINDS, B

SIZE = (576, 432)  # width, height
MARGIN_S = 3.0  # of sound before and after the pictures
SOUND_RATE = 48_000  # Hz
_SHORT_S, _LONG_S = 12.0, 60.0
_PACKET = 1024  # samples in a packet of uncompressed sound
_SURE_MS = 100  # beyond any tolerance by more than the measuring error
_TRACKS = {".mp4": 2, ".mkv": 2, ".ts": 2}  # with a second track, which must not be moved

Times = NDArray[np.float64]  # (n,), seconds
Early = Callable[[Times], Times]  # by how many seconds the sound is early at these times


@dataclass(frozen=True)
class Film:
    """A film to make: `early_s` says how its sound strays; `jump_s` where it jumps, if it does."""

    name: str
    suffix: str
    early_s: Early
    seconds: float = _SHORT_S
    jump_s: float | None = None
    forced_ms: float | None = None  # given, as it is within tolerance; None: it is measured

    @property
    def tracks(self) -> int:
        """How many audio tracks it has."""
        return _TRACKS.get(self.suffix, 1)


def _moved(suffix: str, offset_ms: int) -> Film:
    return Film(
        f"{suffix[1:]} {offset_ms:+d} ms",
        suffix,
        lambda times_s: np.full(len(times_s), offset_ms / 1000),
        forced_ms=offset_ms if abs(offset_ms) < _SURE_MS else None,
    )


_SIZES = (40, 120, 250, 700, 1500)
FILMS = (
    *(
        _moved(suffix, sign * size)
        for suffix in (".mp4", ".mkv", ".ts", ".avi", ".mxf")
        for size in _SIZES
        for sign in (1, -1)
    ),
    *(_moved(".mov", sign * size) for size in (40, 250, 1500) for sign in (1, -1)),
    Film("mp4 drift 300 ms/min", ".mp4", lambda times_s: 0.1 + 0.005 * times_s, _LONG_S),
    Film("avi drift 240 ms/min", ".avi", lambda times_s: -0.2 + 0.004 * times_s, _LONG_S),
    Film("ts jump 500 ms", ".ts", lambda times_s: np.where(times_s < 30, 0.2, -0.3), _LONG_S, 30.0),
    Film(
        "mxf jump 400 ms", ".mxf", lambda times_s: np.where(times_s < 25, -0.25, 0.15), _LONG_S, 25
    ),
)


class Head:
    """A talking head of some length: its sound, and its pictures in any codec, encoded once."""

    def __init__(self, seconds: float, folder: Path) -> None:
        self.seconds = seconds
        self._folder = folder
        self._encoded: dict[str, Path] = {}

    @cached_property
    def _scene(self) -> Any:
        return make_scene(
            "talking",
            seed=1,
            seconds=self.seconds,
            size=SIZE[::-1],
            frame_rate=25,
            sound_margin_s=MARGIN_S,
            head_share=0.5,
            studio=True,
        )

    def sound(self, times_s: Times) -> Times:
        """The sound that belongs to the pictures at these times."""
        at_s = np.arange(len(self._scene.samples)) / SAMPLE_RATE - MARGIN_S
        return np.interp(times_s, at_s, self._scene.samples)

    def pictures(self, vcodec: str) -> Path:
        """A file of the pictures alone."""
        if vcodec not in self._encoded:
            frames = self._scene.frames
            self._encoded[vcodec] = make_clip(
                self._folder / f"{vcodec}-{self.seconds:g}.mov",
                seconds=self.seconds,
                size=SIZE,
                draw=lambda time_s: (
                    16 + frames[min(round(25 * time_s), len(frames) - 1)] * (219 / 255)
                ).astype(np.uint8),
                vcodec=vcodec,
                acodec=None,
                video_options=B if vcodec == "libx264" else {},
            )
        return self._encoded[vcodec]


def make_film(film: Film, head: Head, path: Path) -> Path:
    """Write a film to `path`: the pictures of `head` copied, its sound encoded out of place."""
    kind = KINDS[f"film{film.suffix}"]
    acodec = kind["acodec"]
    with av.open(str(head.pictures(kind["vcodec"]))) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        video = target.add_stream_from_template(stream)
        sounds: list[Any] = []
        for number in range(film.tracks):
            sound: Any = target.add_stream(acodec, rate=SOUND_RATE, layout="mono")
            sound.metadata["language"] = ("eng", "fra")[number]
            sound.disposition = int(number == 0)
            sounds.append(sound)
        packets: list[Any] = []
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = video
                packets.append(packet)
        for number, sound in enumerate(sounds):
            packets += _encoded(sound, film.early_s, head, own=number > 0)
        # In order of time: a container may buffer only a little of one stream ahead of the others
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            target.mux(packet)
    return path


def _encoded(stream: Any, early_s: Early, head: Head, *, own: bool) -> list[Any]:
    """The packets of a sound; with `own`, of another track that is in sync and quieter."""
    size = stream.codec_context.frame_size or _PACKET
    packets: list[Any] = []
    for first in range(0, round(head.seconds * SOUND_RATE), size):
        count = min(size, round(head.seconds * SOUND_RATE) - first)
        times_s = (first + np.arange(count)) / SOUND_RATE
        samples = 0.5 * head.sound(times_s) if own else head.sound(times_s + early_s(times_s))
        packets += stream.encode(audio_frame(stream, samples, first))
    packets += stream.encode(None)
    return packets
