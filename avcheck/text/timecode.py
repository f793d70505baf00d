"""Pictures and their timecode (SMPTE ST 12-1) at the exact rate of a title.

A timecode counts pictures. At 29.97 and 59.94 pictures a second a count by 30 or 60 falls behind
the clock by 3.6 s an hour. Drop frame makes up for it by skipping numbers, never pictures: two (or
four) at the start of every minute that is not a multiple of ten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_NTSC = frozenset({24, 30, 48, 60, 120})  # these also run at 1000/1001 of their speed
_DROPS = frozenset({30, 60, 120})  # those of them that have a drop-frame count
_ROUNDING = Fraction(4, 10_000)  # of a rate in a header: 23.98 means 24000/1001, not 24
_TIMECODE = re.compile(r"([0-9]{1,2}):([0-9]{2}):([0-9]{2})([:;.,])([0-9]{2,3})")


def nearest_rate(rate: Fraction) -> Fraction:
    """Of the rates that a timecode can count, the one nearest to a mean rate: a whole number, or
    one times 1000/1001. Raises ValueError for a rate of 0 or less.
    """
    if rate <= 0:
        raise ValueError(f"no rate: {rate}")
    whole = max(1, round(rate))
    slow = Fraction(1000 * whole, 1001)
    return slow if whole in _NTSC and abs(rate - slow) < abs(rate - whole) else Fraction(whole)


def exact_rate(rate: Fraction) -> Fraction:
    """The exact rate behind a header's rounded one: 24000/1001 for 23.976 or 23.98; any other rate
    unchanged.
    """
    near = nearest_rate(rate)
    return near if abs(rate - near) < _ROUNDING * near else rate


@dataclass(frozen=True)
class Timecode:
    """The timecode of every picture of a title.

    `rate` is in pictures a second, `start` the number of the title's first picture, counted in
    pictures from 00:00:00:00.
    """

    rate: Fraction
    drop: bool = False  # drop frame: leaves out numbers, to keep to the clock
    start: int = 0

    def __post_init__(self) -> None:
        if self.rate != nearest_rate(self.rate):
            raise ValueError(f"no timecode counts {self.rate} pictures a second")
        if self.drop and not can_drop(self.rate):
            raise ValueError(f"there is no drop frame at {self.rate} pictures a second")

    @classmethod
    def of(cls, rate: Fraction, start: str | None) -> Timecode:
        """The timecode of a title, from its (mean) rate and what it says of its first picture.

        Without a usable start it begins at zero, with drop frame if the rate has it.
        """
        near = nearest_rate(rate)
        return cls._parsed(near, start or "") or cls(near, can_drop(near))

    @classmethod
    def _parsed(cls, rate: Fraction, text: str) -> Timecode | None:
        match = _TIMECODE.fullmatch(text.strip())
        if match is None:
            return None
        hours, minutes, seconds, pictures = (int(match[n]) for n in (1, 2, 3, 5))
        base = round(rate)
        if hours > 23 or minutes > 59 or seconds > 59 or pictures >= base:
            return None
        drop = match[4] != ":" and can_drop(rate)
        number = ((60 * hours + minutes) * 60 + seconds) * base + pictures
        if drop:
            whole_minutes = 60 * hours + minutes
            number -= _left_out(base) * (whole_minutes - whole_minutes // 10)
        return cls(rate, drop, number)

    def number_of(self, text: str) -> int | None:
        """Which picture of the title, counted from 0, has a timecode; None if none can have it.

        People write `:` for `;` too, so the count is the title's own, whatever the separator.
        """
        match = _TIMECODE.fullmatch(text.strip())
        if match is None:
            return None
        separator = ";" if self.drop else ":"
        parsed = self._parsed(self.rate, ":".join(match.group(1, 2, 3)) + separator + match[5])
        if parsed is None:
            return None
        base = round(self.rate)
        day = 24 * 3600 * base - (_left_out(base) * (24 * 60 - 24 * 6) if self.drop else 0)
        return (parsed.start - self.start) % day  # a title may run past midnight

    def picture_at(self, time_s: float) -> int:
        """The picture whose start is nearest to a moment, counted from the title's first, which
        starts at 0 s.
        """
        # Rounded, not cut off: 29 / 25 s times 25 is a little less than 29.
        return round(Fraction(time_s) * self.rate)

    def text(self, picture: int) -> str:
        """The timecode of a picture of the title, counted from 0; it starts again after a day."""
        base, number = round(self.rate), self.start + picture
        if self.drop:
            left_out = _left_out(base)
            ten_minutes = 600 * base - 9 * left_out
            tens, rest = divmod(number, ten_minutes)
            minutes = max(0, (rest - left_out) // (60 * base - left_out))
            number += left_out * (9 * tens + minutes)
        seconds, pictures = divmod(number, base)
        minutes, seconds = divmod(seconds, 60)
        hours = minutes // 60 % 24
        separator = ";" if self.drop else ":"
        digits = max(2, len(str(base - 1)))
        return f"{hours:02d}:{minutes % 60:02d}:{seconds:02d}{separator}{pictures:0{digits}d}"


def is_timecode(text: str) -> bool:
    """Whether text is a timecode and not a time: `01:00:04:12` or `01:00:04;12`, but not
    `01:00:04.12`.
    """
    match = _TIMECODE.fullmatch(text.strip())
    return match is not None and match[4] in ":;"


def can_drop(rate: Fraction) -> bool:
    """Whether an exact rate has a drop-frame count."""
    return rate.denominator == 1001 and round(rate) in _DROPS


def _left_out(base: int) -> int:
    """How many numbers drop frame skips in a minute."""
    return base // 15
