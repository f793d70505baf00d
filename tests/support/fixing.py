"""A file moved by a forced offset, and its packets as PyAV reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np

from avcheck.fix import repair
from avcheck.fix.repair import FixSettings, Outcome, fix_file
from avcheck.media import open_media
from avcheck.rates import SAMPLE_RATE
from avcheck.record.report import Report, Stretch
from tests.support.clips import Array
from tests.support.films import noise
from tests.support.reading import whole

IN_SYNC = Report("film", "in_sync", offset_ms=0.0, audio_track=0, video_track=0)


def never(_path: Path, _audio: int | None, _video: int | None) -> Report:
    raise AssertionError("a forced offset needs no check")


def forced(source: Path, target: Path, offset_ms: float, **how: Any) -> Outcome:
    return fix_file(source, target, FixSettings(force_offset_ms=offset_ms, **how), never)


def packets(path: Path) -> dict[int, list[bytes]]:
    """The packets of every stream, as PyAV itself reads them."""
    by_stream: dict[int, list[bytes]] = {}
    # Those too that an edit list hides
    with av.open(str(path), options={"advanced_editlist": "0"}) as container:
        for packet in container.demux():
            if packet.size:
                by_stream.setdefault(packet.stream.index, []).append(bytes(packet))
    return by_stream


def measured(*stretches: Stretch) -> Report:
    worst_ms = max((each.end_offset_ms for each in stretches), key=abs)
    drift = 1.0 if stretches[0].start_offset_ms != stretches[0].end_offset_ms else None
    return Report(
        "film",
        "out_of_sync",
        offset_ms=worst_ms,
        drift_ms_per_min=drift,
        audio_track=0,
        video_track=0,
        stretches=stretches,
    )


def checks(*reports: Report) -> repair.Check:
    """A check that gives these reports, one after the other."""
    coming = iter(reports)
    return lambda _path, _audio, _video: next(coming)


def place(samples: Array, known: Array) -> int:
    """At which of `samples` the sound `known` begins."""
    size = 1 << (len(samples) + len(known)).bit_length()  # quick to transform
    match = np.fft.irfft(np.fft.rfft(samples, size) * np.conj(np.fft.rfft(known, size)), size)
    return int(np.abs(match[: len(samples)]).argmax())


def place_ms(path: Path, at_s: float) -> float:
    """How late the noise of `at_s` is heard against the pictures."""
    with open_media(path) as media:
        first_s = media.info.first_picture_s or 0.0
        sounds = [
            sound
            for sound in media.sounds()
            if sound.end_s > first_s + at_s - 1 and sound.start_s < first_s + at_s + 2
        ]
    start_s, heard = whole(sounds)
    at = place(heard, noise(at_s + np.arange(4000) / SAMPLE_RATE))
    return 1000 * (start_s + at / SAMPLE_RATE - first_s - at_s)
