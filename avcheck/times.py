"""Times in a film, as people write them."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """A time in a film, rounded down to the second: 0:07, 12:05, 1:02:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def moment(time_s: float) -> str:
    """A time in a film to the hundredth of a second: 0:07.52."""
    if time_s <= -0.005:
        return f"-{moment(-time_s)}"
    hundredths = round(100 * abs(time_s))
    return f"{clock(hundredths // 100)}.{hundredths % 100:02d}"
