"""Films that carry av-drift-detector's stamps, `LATE_MS` late, and copies of their packets."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("SVT_LOG", "1")  # else its AV1 encoder prints on stderr

import av
import av_drift_detector as instrument
import numpy as np

from tests.support.clips import Array, make_clip

LATE_MS = 40.0  # of the sound in every file as it is written
SECONDS = 2.4
SIZE = (320, 180)  # px, the least that the instrument draws
RATE = 48_000  # Hz, of the instrument's sound
CUT_S = 1.3  # where cuts begin, in the middle of a group of 25 pictures


@dataclass(frozen=True)
class Case:
    """A file: how it is written, what is done to it afterwards by copying packets, and how late its
    sound then is.
    """

    name: str
    suffix: str
    vcodec: str
    acodec: str
    options: dict[str, Any] = field(default_factory=dict)  # of make_clip
    after: Callable[[Path, Path], None] | None = None  # copies the packets to another file
    after_suffix: str = ""  # of that file; "": the same
    late_ms: float = LATE_MS  # the truth by the file's own timestamps
    why: str = ""  # why that is not `LATE_MS`
    pictures: int = 60  # how many are shown
    slow: bool = False  # takes long, or is a near repeat of another
    only: str = ""  # the major version of PyAV that can write it
    wrong: str = ""  # what is not right yet


@lru_cache(maxsize=8)
def _drawn(fps: str, size: tuple[int, int]) -> list[Array]:
    """The instrument's pictures, luma in limited range."""
    renderer = instrument.PatternRenderer(fps=fps, width=size[0], height=size[1], sample_rate=RATE)
    count = round(SECONDS * Fraction(fps))
    return [
        np.frombuffer(renderer.render(number), np.uint8).reshape(size[1], size[0])
        for number in range(count)
    ]


@lru_cache(maxsize=4)
def _played(fps: str, rate: int) -> Array:
    """The instrument's sound, `LATE_MS` late, at a codec's rate."""
    made = np.array(
        instrument.synthesize_audio(
            round(SECONDS * RATE), fps=fps, sample_rate=RATE, delay=LATE_MS / 1000
        )
    )
    return made if rate == RATE else resampled(made, round(SECONDS * rate))


def resampled(samples: Array, count: int) -> Array:
    """As many samples as asked for in the same time, by the spectrum."""
    spectrum = np.fft.rfft(samples)
    wanted = np.zeros(count // 2 + 1, complex)
    shared = min(len(spectrum), len(wanted))
    wanted[:shared] = spectrum[:shared]
    return np.fft.irfft(wanted, count) * (count / len(samples))


_ENCODED: dict[str, bytes] = {}  # what several cases copy the packets of is encoded once


def write(case: Case, folder: Path) -> Path:
    """The file of a case in an empty folder."""
    path = folder / f"written.{case.suffix}"
    if case.after is None:
        return _encode(case, path)
    source = repr((case.suffix, case.vcodec, case.acodec, case.options))
    if source not in _ENCODED:
        _ENCODED[source] = _encode(case, path).read_bytes()
    path.write_bytes(_ENCODED[source])
    done = folder / f"after.{case.after_suffix or case.suffix}"
    case.after(path, done)
    return done


def _encode(case: Case, path: Path) -> Path:
    options = {"fps": "25", "size": SIZE, "sample_rate": RATE, **case.options}
    fps, rate = options["fps"], options["sample_rate"]
    pictures, sound = _drawn(fps, options["size"]), _played(fps, rate)

    def draw(time_s: float) -> Array:
        return pictures[min(round(time_s * Fraction(fps)), len(pictures) - 1)]

    def play(times_s: Array) -> Array:
        places = np.round(times_s * rate).astype(int)
        return np.where(places < len(sound), sound[np.minimum(places, len(sound) - 1)], 0.0)

    return make_clip(
        path,
        vcodec=case.vcodec,
        acodec=case.acodec,
        seconds=SECONDS,
        draw=draw,
        play=play,
        **{**options, "fps": Fraction(fps)},
    )


def copied(
    source: Path,
    target: Path,
    *,
    from_s: float = 0.0,
    later_s: tuple[float, float] = (0.0, 0.0),
    options: dict[str, str] | None = None,
    format: str | None = None,
) -> None:
    """Copy packets from `from_s` on, as `ffmpeg -ss S -i IN -c copy OUT` does: those of the
    pictures from the key frame before it on. `from_s` becomes zero; `later_s` is added to the times
    of pictures and of sound.
    """
    with (
        av.open(str(source)) as reader,
        av.open(str(target), "w", format=format, options=options or {}) as writer,
    ):
        outputs: dict[int, Any] = {
            stream.index: writer.add_stream_from_template(stream, opaque=True)
            for stream in reader.streams
        }
        start_s = (reader.start_time or 0) / av.time_base if from_s else 0.0
        packets = [packet for packet in reader.demux() if packet.size]
        complete(packets)
        keys_s = [
            _time_s(packet) - start_s
            for packet in packets
            if packet.stream.type == "video" and packet.is_keyframe
        ]
        key_s = max((key_s for key_s in keys_s if key_s <= from_s + 1e-6), default=0.0)
        shown = False
        for packet in packets:
            is_picture = packet.stream.type == "video"
            time_s = _time_s(packet) - start_s
            shown = shown or (is_picture and packet.is_keyframe and time_s >= key_s - 1e-6)
            if from_s and (not shown if is_picture else time_s < from_s - 1e-6):
                continue
            shift = round((later_s[not is_picture] - from_s - start_s) / packet.time_base)
            assert packet.dts is not None  # else `complete` would have given it one
            packet.dts += shift
            packet.pts = None if packet.pts is None else packet.pts + shift
            packet.stream = outputs[packet.stream.index]
            writer.mux(packet)


def complete(packets: Sequence[Any]) -> None:
    """Give the first packets of a matroska file with B-pictures the decoding times that FFmpeg does
    not work out for them.
    """
    later: dict[int, Any] = {}
    for packet in reversed(packets):
        if packet.dts is None:
            following = later[packet.stream.index]
            packet.dts = following.dts - (following.duration or 1)
        later[packet.stream.index] = packet


def _time_s(packet: Any) -> float:
    return float((packet.dts if packet.pts is None else packet.pts) * packet.time_base)
