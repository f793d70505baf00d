"""The most telling seconds of a title, and a film of them: as they are, and with the offset taken
out (H.264 and AAC in MP4).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avcheck.errors import DecodeFailed, UsageError
from avcheck.evidence.panel import (
    AROUND_S,
    HEIGHT,
    PICTURE_HEIGHT,
    WIDTH,
    Canvas,
    burn_in,
    glow_of,
    panel,
    picture,
)
from avcheck.evidence.stills import open_again, sound_between
from avcheck.film_writer import SOUND_RATE, at_sound_rate, write_film
from avcheck.media import Media, Picture
from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.reading.blocks import BLOCK_S
from avcheck.record.markers import TitleClock
from avcheck.record.report import Report, describe_offset
from avcheck.text.times import moment

SHORTEST_S, LONGEST_S, USUAL_S = 5.0, 15.0, 8.0
_STEP_S = 0.001  # how often the offset is taken from its course


@dataclass(frozen=True)
class ShownPart:
    """The part of a title to show: `length_s` from `start_s` on, on the title's clock."""

    start_s: float
    length_s: float

    @property
    def end_s(self) -> float:
        """Where it ends."""
        return self.start_s + self.length_s


def require_length(length_s: float) -> None:
    """Raise UsageError if a film cannot show that many seconds."""
    if not SHORTEST_S <= length_s <= LONGEST_S:
        raise UsageError(
            f"must lie between {SHORTEST_S:g} and {LONGEST_S:g} s, not {length_s:g}", "length_s"
        )


def require_inside(at_s: float, end_s: float) -> None:
    """Raise UsageError if a title that ends at `end_s` has nothing to show from `at_s` on."""
    if not 0 <= at_s < end_s:
        raise UsageError(f"must lie in the title, from 0 to {end_s:.1f} s, not {at_s:g}", "at_s")


def telling_span(report: Report, length_s: float = USUAL_S, at_s: float | None = None) -> ShownPart:
    """The part of a title to show: that which draws most of the attention, or has most events of a
    test signal, and, if it can, lies in one stretch.

    Args:
        report: On the title.
        length_s: How long the part is, as far as the title goes.
        at_s: Where it is to begin instead.

    Raises:
        UsageError: The length or the begin is out of range.
    """
    require_length(length_s)
    end_s = _end_s(report)
    if at_s is not None:
        require_inside(at_s, end_s)
        return ShownPart(at_s, min(length_s, end_s - at_s))
    length_s = min(length_s, end_s) if end_s else length_s
    starts = [block.start_s for block in report.blocks if block.start_s + length_s <= end_s + 1e-6]

    def weight(start_s: float) -> tuple[int, float]:
        inside = [block for block in report.blocks if start_s <= block.start_s < start_s + length_s]
        steady = any(
            each.start_s <= start_s and start_s + length_s <= each.end_s
            for each in report.stretches
        )
        if report.by_signal:
            until_s = start_s + length_s
            return int(steady), sum(start_s <= each.start_s < until_s for each in report.segments)
        return int(steady), sum(block.attention for block in inside)

    return ShownPart(max(starts, key=weight, default=0.0), length_s)


def _end_s(report: Report) -> float:
    """Where the title ends: as its header says, unless a block that was looked at begins later, by
    more than half of one of its pictures.
    """
    looked_s = max((segment.end_s for segment in report.segments), default=0.0)
    end_s = report.duration_s or 0.0
    return end_s if looked_s < end_s + BLOCK_S + 0.5 / FRAME_RATE else looked_s


def make_film(report: Report, span: ShownPart, target: Path, *, audio: Path | None = None) -> None:
    """Write the film of a span of a checked file. Without an offset it only shows the seconds as
    they are.

    Args:
        report: On the file.
        span: The part to show.
        target: The film, an MP4.
        audio: The separate sound file, if there was one and it has moved.

    Raises:
        MediaError: The file cannot be read.
        OSError: The film cannot be written.
    """
    with open_again(report, PICTURE_HEIGHT, audio) as media:
        pictures = _pictures(media, span, _Glows(report), TitleClock.of(report.picture))
        margin_s = AROUND_S + _farthest_s(report)
        first_s = max(0.0, span.start_s - margin_s)
        read, _ = sound_between(media, first_s, span.end_s + margin_s)
    sound = _FilmSound(read.start_s, at_sound_rate(read.samples, SAMPLE_RATE))
    gain = 0.9 / max(
        float(np.abs(_samples(sound, span.start_s, span.length_s)).max(initial=0.0)), 0.02
    )
    parts = [sound]
    if report.offset_at(span.start_s) is not None:
        parts.append(_in_place(sound, report))

    def frames() -> Iterator[Canvas]:
        for number, heard in enumerate(parts):
            for k, shown in enumerate(pictures):
                at_s = span.start_s + k / FRAME_RATE
                offset_ms = report.offset_at(at_s)
                words, its_s = "as it is: no offset found", None
                if number > 0:
                    words, its_s = "with the offset taken out", 0.0
                elif offset_ms is not None:
                    words, its_s = f"as it is: {describe_offset(offset_ms)}", -offset_ms / 1000
                frame = shown.copy()
                around = _samples(heard, at_s - AROUND_S, 2 * AROUND_S)
                panel(frame, gain * around, words, moment(at_s), its_s)
                yield frame

    length_s = len(pictures) / FRAME_RATE
    write_film(
        target,
        (HEIGHT, WIDTH),
        (canvas.stacked() for canvas in frames()),
        np.concatenate([_samples(heard, span.start_s, length_s) for heard in parts]),
        bit_rate=128_000,
        crf="21",
    )


def _farthest_s(report: Report) -> float:
    """How far the sound of a picture lies from it at most."""
    ends_ms = [(each.start_offset_ms, each.end_offset_ms) for each in report.stretches]
    return max(map(abs, (report.offset_ms or 0.0, *chain(*ends_ms)))) / 1000


class _Glows:
    """Where the attention falls in each second of a report."""

    def __init__(self, report: Report) -> None:
        detail = report.detail if report.by_network else None
        segments = detail.segments if detail else ()
        glows = [
            (block.start_s, segment, block) for segment in segments for block in segment.blocks
        ]
        self._starts_s = [start_s for start_s, _, _ in glows]
        self._glows = glows

    def at(self, time_s: float) -> NDArray[np.float32] | None:
        """The attention over the cells of the picture, 0..1; None if unknown."""
        k = bisect_right(self._starts_s, time_s) - 1
        if k < 0 or time_s >= self._starts_s[k] + BLOCK_S:
            return None
        return glow_of(*self._glows[k][1:])


@dataclass(frozen=True)
class _FilmSound:
    """A run of samples at the rate of the film's sound (`SOUND_RATE`)."""

    start_s: float  # when the first is heard
    samples: NDArray[np.float32]  # (n,), -1..1


def _in_place(sound: _FilmSound, report: Report) -> _FilmSound:
    """The sound where it belongs, at every moment by the offset of that moment: a film of a drift
    or a jump is in sync from end to end.
    """
    at = np.arange(len(sound.samples))
    steps = np.arange(0.0, len(at) + _STEP_S * SOUND_RATE, _STEP_S * SOUND_RATE)
    offsets_ms = [report.offset_at(sound.start_s + step / SOUND_RATE) or 0.0 for step in steps]
    # By whole samples where the offset is the same for a while: half of one would mute the treble
    early = np.rint(np.array(offsets_ms) * SOUND_RATE / 1000)
    # Sound early by x ms is heard x ms before its picture: that of the picture at t, at t - x.
    moved = np.interp(at - np.interp(at, steps, early), at, sound.samples, left=0.0, right=0.0)
    return _FilmSound(sound.start_s, moved.astype(np.float32))


def _samples(sound: _FilmSound, start_s: float, length_s: float) -> NDArray[np.float32]:
    """The part of a run of samples in that time; silence outside it."""
    first, count = round((start_s - sound.start_s) * SOUND_RATE), round(length_s * SOUND_RATE)
    out = np.zeros(count, np.float32)
    low, high = max(first, 0), min(first + count, len(sound.samples))
    if low < high:
        out[low - first : high - first] = sound.samples[low:high]
    return out


def _pictures(media: Media, span: ShownPart, glows: _Glows, clock: TitleClock) -> list[Canvas]:
    """The pictures of a span, 25 a second, each with its timecode and the attention of its second
    over it.
    """
    count = round(span.length_s * FRAME_RATE)
    canvases: list[Canvas] = []
    shown = None

    def drawn(each: Picture) -> Canvas:
        canvas = picture(each.luma, glows.at(each.pts_s))
        if timecode := clock.text(each.pts_s):
            burn_in(canvas, timecode)
        return canvas

    with closing(media.pictures(span.start_s if media.seekable else None)) as source:
        for each in source:
            while (
                shown is not None
                and len(canvases) < count
                and each.pts_s > span.start_s + (len(canvases) + 0.5) / FRAME_RATE
            ):
                canvases.append(drawn(shown))
            if len(canvases) == count:
                break
            shown = each
    if shown is None:
        raise DecodeFailed(media.info.path, f"there is no picture at {span.start_s:.1f} s")
    return canvases + [drawn(shown)] * (count - len(canvases))
