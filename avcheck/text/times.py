"""Times in a film, as people write them."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """A time in a film, rounded down to the second: 0:07, 12:05, 1:02:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def moment(time_s: float) -> str:
    """A time in a film to the hundredth of a second: 0:07.52."""
    hundredths = round(100 * time_s)
    sign, hundredths = "-" if hundredths < 0 else "", abs(hundredths)
    return f"{sign}{clock(hundredths // 100)}.{hundredths % 100:02d}"


def between(start_s: float, end_s: float) -> str:
    """A place between two moments, in words: "between 0:11 and 0:14", or "at 0:12" if they are less
    than a second apart.
    """
    if end_s - start_s < 1:
        return f"at {clock((start_s + end_s) / 2)}"
    return f"between {clock(start_s)} and {clock(end_s)}"
