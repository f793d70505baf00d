"""Offsets beyond the two seconds that are searched unless more is asked for."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avcheck.checker import Checker
from avcheck.errors import UsageError
from avcheck.reading.choice import Choice
from avcheck.record.report import Segment
from avcheck.scan.reach import Search, chosen_of, foremost, laid
from avcheck.scan.shifts import SHIFTS
from avcheck.settings import CheckSettings
from avcheck.verdict.judge import Judgement
from avcheck.verdict.posterior import Calibration
from tests.support.films import talking

CALIBRATION = Calibration()
LOOKED = (Segment(0.0, 30.0, None, 0.0),)
NOTHING = Judgement("undecidable", "nothing", None, 0.2, segments=LOOKED, reason_code="no_match")


def sure(offset_ms: float, confidence: float = 0.999) -> Judgement:
    return Judgement("out_of_sync", None, offset_ms, confidence, segments=LOOKED)


@pytest.mark.parametrize("reach_s", [2.0, 2.5, 6.0, 10.0, 20.0])
def test_the_searches_cover_all_offsets_in_reach(reach_s: float) -> None:
    choices = laid([Choice(1)], reach_s)
    assert {each.as_it_is for each in choices} == {Choice(1)}
    shifts = np.concatenate([SHIFTS - each.later_frames for each in choices])
    assert set(range(-round(25 * reach_s), round(25 * reach_s) + 1)) <= set(shifts.tolist())
    assert (len(choices) == 1) == (reach_s == 2.0)


def chosen(*searches: Search) -> tuple[int, Judgement]:
    return chosen_of(searches, len(SHIFTS), 5.6, CALIBRATION)


def test_an_offset_far_away_has_to_be_surer() -> None:
    def beside_nothing(confidence: float) -> tuple[int, Judgement]:
        far = Search(90, sure(3000.0, confidence), 30.0)
        return chosen(Search(-90, NOTHING, 0.0), Search(0, NOTHING, 1.0), far)

    assert beside_nothing(0.991) == (90, sure(3000.0, 0.991))
    later, judgement = beside_nothing(0.989)
    assert (later, judgement.verdict, judgement.offset_ms) == (0, "undecidable", None)
    assert judgement.reason_code == "too_short"
    assert judgement.reason is not None
    assert "an offset of 3.0 s (confidence 0.989, 0.99 needed beyond 2 s)" in judgement.reason
    _, judgement = beside_nothing(0.94)
    assert judgement.reason_code == "no_match"
    assert judgement.reason is not None
    assert "at any shift within 5.6 s" in judgement.reason


def test_the_more_searches_there_are_the_more_evidence_it_takes() -> None:
    far = Search(90, sure(3000.0), math.log(0.05 / 0.95 * 3 * len(SHIFTS)) + math.log(200.0))
    assert chosen(Search(-90, NOTHING, -50.0), Search(0, NOTHING, -50.0), far)[0] == 90
    others = [Search(90 * k, NOTHING, -50.0) for k in (-3, -2, -1, 0, 2, 3)]
    assert chosen(*others, far)[0] == 0


def test_the_usual_search_stands_unless_another_is_sure_beside_it() -> None:
    near = Search(0, sure(300.0, 0.92), 20.0)
    assert chosen(near, Search(90, sure(4000.0), 20.0)) == (0, near.judgement)
    far = Search(90, sure(4000.0), 30.0)
    assert chosen(near, far) == (90, far.judgement)


def test_two_searches_may_find_the_same() -> None:
    """Near the end of one, in the middle of the other."""
    ends, middle = Search(0, sure(-1960.0), 30.0), Search(-90, sure(-1980.0), 30.0)
    assert chosen(ends, middle) == (-90, middle.judgement)


def test_what_most_segments_agree_with_goes_first() -> None:
    segments = tuple(Segment(10.0 * k, 10.0 * k + 10, 5000.0 + k, 0.9) for k in range(3))
    far = replace(sure(5001.0), segments=segments)
    near = replace(sure(40.0), segments=(Segment(0.0, 10.0, 40.0, 0.9), *LOOKED))
    choices = laid([Choice(0), Choice(1)], 5.6)
    judgements = [NOTHING, near, far, NOTHING, NOTHING, NOTHING]
    assert foremost(choices, judgements) == [far, NOTHING]


@pytest.mark.parametrize("reach_s", [1.9, 20.1, float("nan")])
def test_how_far_can_be_searched(reach_s: float) -> None:
    with pytest.raises(UsageError, match="2 to 20 s"):
        CheckSettings(reach_s=reach_s)


def test_a_search_further_is_another_check() -> None:
    assert CheckSettings(reach_s=2.0).sha256() == CheckSettings().sha256()
    assert CheckSettings(reach_s=8.0).sha256() != CheckSettings().sha256()


@pytest.mark.slow
@pytest.mark.parametrize("late_s", [5.0, -6.5])
def test_a_film_seconds_out_of_sync_is_measured(tmp_path: Path, late_s: float) -> None:
    path = talking(
        tmp_path / "film.mkv",
        24.0,
        lambda t: 0 * t - late_s,
        lambda t: 0 * t - 0.2,
        languages=("eng", "fre"),
        acodec="pcm_s16le",
        size=(256, 192),
    )
    checker = Checker(device="cpu")
    near = checker.check(path)
    assert (near.verdict, near.reach_s) == ("undecidable", 2.0)
    assert "--reach" in (near.reason or "")
    far, other = checker.check_tracks(path, CheckSettings(every_track=True, reach_s=8.0))
    assert (far.verdict, far.reach_s, far.records) == ("out_of_sync", 8.0, 2)
    assert far.offset_ms == pytest.approx(-1000 * late_s, abs=40)
    assert far.confidence > 0.99
    offsets_ms = [each.offset_ms for each in far.segments if each.offset_ms is not None]
    assert offsets_ms == pytest.approx([-1000 * late_s] * len(offsets_ms), abs=60)
    assert other.offset_ms == pytest.approx(-200, abs=40)
    part = checker.check(path, CheckSettings(start=2.0, end=22.0, reach_s=8.0))
    assert part.offset_ms == pytest.approx(-1000 * late_s, abs=40)
