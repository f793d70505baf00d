"""A film with all that is marked for editors, and its documents."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from avcheck.record.report import Degraded, PictureFacts, Report, Stretch, Tolerance
from avcheck.render import renderer

NTSC = [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)]
RATES = [*NTSC, *map(Fraction, (24, 25, 30, 50, 120))]
# Rates with the timecode of a title's first picture, NDF and, where there is one, DF
CLOCKS = [
    *((rate, "00:59:50:00") for rate in RATES),
    *((rate, "00:59:50;00") for rate in NTSC[1:]),
]


def film(rate: Fraction | None = NTSC[1], timecode: str | None = None, **changes: Any) -> Report:
    """100 s with a jump at 40 s and a drift from 4 ms early to 124 ms late in the last 40 s."""
    facts: dict[str, Any] = {
        "offset_ms": -124.0,
        "tolerance": Tolerance(40, 60, "ebu-r37"),
        "jumps_s": (40.0,),
        "jump_intervals_s": ((39.0, 41.0),),
        "stretches": (Stretch(0.0, 39.0, 30.0, 30.0), Stretch(41.0, 81.0, 4.0, -124.0)),
        "duration_s": 100.0,
        "audio_track": 0,
        "degraded": Degraded(unseen_s=((81.0, 90.0),)),
    }
    picture = None if rate is None else PictureFacts(1920, 1080, str(rate), 0.0, timecode)
    return Report("films/a film.mov", "out_of_sync", picture=picture, **{**facts, **changes})


def number_of(timecode: str, rate: Fraction) -> int:
    """The number of a timecode, counted from 00:00:00:00 (SMPTE ST 12-1)."""
    hours, minutes, seconds, pictures = map(int, timecode.replace(";", ":").split(":"))
    minutes += 60 * hours
    left_out = round(rate) // 15 if ";" in timecode else 0
    number = (60 * minutes + seconds) * round(rate) + pictures
    return number - left_out * (minutes - minutes // 10)


def document(form: str, reports: Iterable[Report]) -> str:
    made = renderer(form)
    items = "".join([made.item(report) for report in reports])
    return made.head() + items + made.tail()
