"""Timecode at exact rates, against the arithmetic of SMPTE ST 12-1 and against OpenTimelineIO."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from avcheck.text.timecode import Timecode, can_drop, exact_rate, nearest_rate

NTSC = {n: Fraction(1000 * n, 1001) for n in (24, 30, 48, 60, 120)}


@pytest.mark.parametrize(
    ("said", "exact"),
    [
        ("23.976", NTSC[24]),
        ("23.98", NTSC[24]),
        ("24", Fraction(24)),
        ("25.001", Fraction(25)),
        ("29.97", NTSC[30]),
        ("30", Fraction(30)),
        ("47.952", NTSC[48]),
        ("59.94", NTSC[60]),
        ("119.88", NTSC[120]),
        ("29.83", Fraction(2983, 100)),  # a phone's mean
        ("12.5", Fraction(25, 2)),
    ],
)
def test_a_rounded_rate_is_the_usual_one_it_means(said: str, exact: Fraction) -> None:
    assert exact_rate(Fraction(said)) == exact


def test_every_rate_has_one_that_can_be_counted() -> None:
    assert nearest_rate(Fraction("29.83")) == NTSC[30]
    assert nearest_rate(Fraction("29.99")) == 30
    assert nearest_rate(Fraction("0.2")) == 1
    with pytest.raises(ValueError, match="no rate"):
        nearest_rate(Fraction(0))
    with pytest.raises(ValueError, match="no timecode counts"):
        Timecode(Fraction("29.97"))
    with pytest.raises(ValueError, match="no drop frame"):
        Timecode(NTSC[24], drop=True)


@pytest.mark.parametrize(
    ("rate", "picture", "text"),
    [
        (NTSC[30], 1799, "00:00:59;29"),
        (NTSC[30], 1800, "00:01:00;02"),  # ;00 and ;01 are left out
        (NTSC[30], 17981, "00:09:59;29"),
        (NTSC[30], 17982, "00:10:00;00"),  # nothing is left out
        (NTSC[30], 107892, "01:00:00;00"),  # an hour of the clock, to 4 ms
        (NTSC[60], 3600, "00:01:00;04"),
        (NTSC[60], 215784, "01:00:00;00"),
        (NTSC[120], 7200, "00:01:00;008"),
        (NTSC[24], 86400, "01:00:00:00"),  # 3.6 s later by the clock
        (Fraction(25), 90000, "01:00:00:00"),
        (Fraction(25), 24 * 90000 + 1, "00:00:00:01"),  # a new day
        (Fraction(120), 119, "00:00:00:119"),
    ],
)
def test_timecodes(rate: Fraction, picture: int, text: str) -> None:
    timecode = Timecode.of(rate, None)
    assert (timecode.start, timecode.drop) == (0, can_drop(rate))
    assert timecode.text(picture) == text
    assert Timecode.of(rate, text).start == picture % (24 * 90000)


@pytest.mark.parametrize(("rate", "drop"), [(24, False), (30, True), (30, False), (60, True)])
def test_opentimelineio_counts_alike(rate: int, drop: bool) -> None:
    otio = pytest.importorskip("opentimelineio").opentime
    exact, rng = NTSC[rate], random.Random(1)
    day = 24 * 3598 * rate  # OpenTimelineIO ends a day after 24 hours of the clock
    for picture in [*range(rate * 61), *(rng.randrange(day) for _ in range(2000))]:
        time = otio.RationalTime(picture, float(exact))
        text = Timecode(exact, drop).text(picture)
        assert text == otio.to_timecode(time, float(exact), drop)
        assert Timecode.of(exact, text) == Timecode(exact, drop, picture)
        assert otio.from_timecode(text, float(exact)).value == picture


@pytest.mark.parametrize(
    ("rate", "said", "drop", "start"),
    [
        (NTSC[30], "01:00:00;00", True, 107892),
        (NTSC[30], "01:00:00.00", True, 107892),
        (NTSC[30], "01:00:00:00", False, 108000),
        (NTSC[24], "01:00:00;00", False, 86400),  # there is no such drop frame
        (Fraction(25), "10:00:00:24", False, 900024),
        (Fraction(25), "10:00:00:25", False, 0),  # there is no such picture
        (Fraction(25), "24:00:00:00", False, 0),
        (Fraction(25), "-1:00:00:00", False, 0),
        (NTSC[30], "noon", True, 0),
    ],
)
def test_what_a_file_says_of_its_first_picture(
    rate: Fraction, said: str, drop: bool, start: int
) -> None:
    assert Timecode.of(rate, said) == Timecode(rate, drop, start)


def test_a_moment_is_rounded_to_a_picture_and_not_cut_off() -> None:
    assert 29 / 25 * 25 < 29
    assert Timecode(Fraction(25)).picture_at(29 / 25) == 29
    for rate in NTSC.values():
        timecode = Timecode(rate)
        assert all(timecode.picture_at(float(n / rate)) == n for n in range(0, 200_000, 37))
