"""The findings of a report as an editor takes them: parts of a title, counted in pictures at its
own rate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, pairwise
from typing import Literal

from avcheck.rates import FRAME_RATE
from avcheck.record.edits import describe_edit
from avcheck.record.report import (
    FRAME_MS,
    VERDICT_TEXT,
    PictureFacts,
    Report,
    Stretch,
    describe_offset,
)
from avcheck.text.timecode import Timecode

MarkerKind = Literal["in_sync", "out_of_sync", "undecidable", "jump", "edit"]

# A block lasts 1 s and begins at most half of one of its 25 pictures after the title's last
_WHOLE_S = 1 + 0.5 / FRAME_RATE
# Undecidable for a reason that leaves what was looked at as it is
_PARTS_HOLD = "not_all_looked_at"


@dataclass(frozen=True)
class Marker:
    """A part of a title and what was found in it: its `kind`, and `text` in words.

    `start` and `length` count pictures, from the title's first; `length` is at least 1.
    """

    start: int
    length: int
    kind: MarkerKind
    text: str

    @property
    def end(self) -> int:
        """The picture after its last."""
        return self.start + self.length


@dataclass(frozen=True)
class TitleClock:
    """Which picture of a title a moment of its file is in, and with what timecode.

    `first_s`: when its first picture is shown, on the file's clock. `rate_known` is False for a
    record without a rate of pictures; 25 a second are then counted.
    """

    timecode: Timecode
    first_s: float
    rate_known: bool

    @classmethod
    def of(cls, facts: PictureFacts | None) -> TitleClock:
        """The clock of a title with such pictures; None: of a record that does not say."""
        picture = facts or PictureFacts(1, 1, None, None)
        rate = Fraction(picture.frame_rate or round(1000 / FRAME_MS))
        known = picture.frame_rate is not None
        return cls(Timecode.of(rate, picture.timecode), picture.first_s or 0.0, known)

    def picture_at(self, time_s: float) -> int:
        """The number of the picture nearest to a moment on the file's clock, counted from 0."""
        return self.timecode.picture_at(time_s - self.first_s)

    def time_s(self, timecode: str) -> float | None:
        """When the picture with a timecode is shown, on the file's clock; None if its rate is not
        known, or no picture can have that timecode.
        """
        number = self.timecode.number_of(timecode) if self.rate_known else None
        return None if number is None else self.first_s + float(number / self.timecode.rate)

    def text(self, time_s: float) -> str:
        """The timecode of that picture; "" if its rate is not known."""
        return self.timecode.text(max(0, self.picture_at(time_s))) if self.rate_known else ""


@dataclass(frozen=True)
class Marked:
    """A title of `length` pictures with its markers in the order of time.

    `rate_known` is False for a record without a rate of pictures; 25 a second are then counted.
    """

    timecode: Timecode  # of its pictures
    length: int
    markers: tuple[Marker, ...]
    rate_known: bool


@dataclass(frozen=True)
class _Part:
    """A marker of that kind and text while its times, start_s and end_s, are still in seconds on
    the file's clock.
    """

    start_s: float
    end_s: float
    kind: MarkerKind
    text: str


def marked(report: Report) -> Marked:
    """The title of a report with its markers: for each stretch (cut where a drift leaves the
    tolerance), each jump, each edit, and each part that was not looked at. An error has none.
    """
    clock = TitleClock.of(report.picture)
    frame_ms = float(1000 / clock.timecode.rate)
    parts = sorted(_parts(report, frame_ms), key=lambda each: each.start_s)
    end_s = max((each.end_s for each in parts), default=0.0)
    # What was looked at ends with a whole second, which may be after the title's last picture
    if report.duration_s is not None and end_s < report.duration_s + _WHOLE_S:
        end_s = report.duration_s
    length = max(1, clock.picture_at(end_s))
    markers: list[Marker] = []
    for part in parts:
        start = min(max(0, clock.picture_at(part.start_s)), length - 1)
        end = min(max(start + 1, clock.picture_at(part.end_s)), length)
        markers.append(Marker(start, end - start, part.kind, part.text))
    return Marked(clock.timecode, length, tuple(apart(markers, length)), clock.rate_known)


def apart(markers: Sequence[Marker], length: int, taken: Collection[int] = ()) -> list[Marker]:
    """Move markers so that each begins at a picture of its own: editing programs keep one marker a
    picture. One whose picture is taken begins at the next free picture or, if none is left after
    it, at the last free one before.

    Args:
        markers: The earlier in this list keep their pictures.
        length: How many pictures the title has.
        taken: Pictures at which no marker may begin.

    Returns:
        The markers in order of time. In a title of fewer pictures than markers some still share
        one.
    """
    taken = set(taken)
    placed: list[Marker] = []
    for marker in markers:
        later, earlier = range(marker.start, length), range(marker.start, -1, -1)
        free = (each for each in chain(later, earlier) if each not in taken)
        start = next(free, marker.start)
        taken.add(start)
        end = min(max(marker.end, start + 1), length)
        placed.append(replace(marker, start=start, length=end - start))
    return sorted(placed, key=lambda each: each.start)


def _parts(report: Report, frame_ms: float) -> Iterator[_Part]:
    """What each marker says, and about which part of the file; `frame_ms`: length of a picture."""
    if report.verdict == "error":
        return
    yield from _jumps(report, frame_ms)
    for stretch in report.stretches:
        for part in _within_and_without(report, stretch):
            kind = _kind(report, (part.start_offset_ms + part.end_offset_ms) / 2)
            change = _change(part.start_offset_ms, part.end_offset_ms, frame_ms)
            text = f"{VERDICT_TEXT[kind]}: {change}"
            yield _Part(part.start_s, part.end_s, kind, text)
    if not report.stretches:
        what = (
            report.reason or ""
            if report.verdict == "undecidable" or report.offset_ms is None
            else describe_offset(report.offset_ms, frame_ms)
        )
        text = f"{VERDICT_TEXT[report.verdict]}: {what}"
        start_s, end_s = report.part_s or (0.0, report.duration_s or 0.0)
        yield _Part(start_s, end_s, report.verdict, text)
    elif report.verdict == "undecidable":
        # The parts say what was measured, this marker why that is not enough.
        at_s = report.stretches[0].start_s
        yield _Part(at_s, at_s, "undecidable", f"undecidable: {report.reason}")
    for edit in report.edits:
        yield _Part(edit.start_s, edit.end_s, "edit", describe_edit(edit))
    for start_s, end_s in report.degraded.unseen_s:
        yield _Part(start_s, end_s, "undecidable", report.unseen_text)


def _jumps(report: Report, frame_ms: float) -> Iterator[_Part]:
    intervals_s = report.jumps_between_s
    changes = [
        f": {_change(before.end_offset_ms, after.start_offset_ms, frame_ms)}"
        for before, after in pairwise(report.stretches)
    ]
    if len(changes) != len(intervals_s):
        changes = [""] * len(intervals_s)
    for (start_s, end_s), change in zip(intervals_s, changes, strict=True):
        yield _Part(start_s, end_s, "jump", f"the offset jumps{change}")


def _kind(report: Report, offset_ms: float) -> MarkerKind:
    """What an offset in a part of the title comes to."""
    if report.verdict == "undecidable" and report.reason_code != _PARTS_HOLD:
        return "undecidable"
    within = report.tolerance.beyond_ms(offset_ms) <= 0
    return "in_sync" if within or report.verdict == "error" else report.verdict


def _within_and_without(report: Report, stretch: Stretch) -> Iterator[Stretch]:
    """The stretch, cut where its drift crosses a limit of the tolerance."""
    start_ms, end_ms = stretch.start_offset_ms, stretch.end_offset_ms
    change_ms = end_ms - start_ms
    shares = {0.0, 1.0}
    for limit_ms in (report.tolerance.early_ms, -report.tolerance.late_ms):
        if min(start_ms, end_ms) < limit_ms < max(start_ms, end_ms):
            shares.add((limit_ms - start_ms) / change_ms)
    length_s = stretch.end_s - stretch.start_s
    for share, following in pairwise(sorted(shares)):
        yield Stretch(
            stretch.start_s + share * length_s,
            stretch.start_s + following * length_s,
            start_ms + share * change_ms,
            start_ms + following * change_ms,
        )


def _change(start_ms: float, end_ms: float, frame_ms: float) -> str:
    start, end = describe_offset(start_ms, frame_ms), describe_offset(end_ms, frame_ms)
    return start if abs(end_ms - start_ms) < 1 else f"{start}, then {end}"
