"""The bar of `python -m bench.compare`: sound within a millisecond, picture within a quarter of a
picture, no false alarm. Two short ones always, every eighth by `pytest -m slow`; the
bench runs all.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avcheck.compare.align import Piece
from bench.compare import SOUND_MS, Outcome, main, off, outcomes
from bench.transcodes import TRANSCODES, Part, Transcode, reference_times

BY_NAME = {transcode.name: transcode for transcode in TRANSCODES}
QUICK = ["23.976 to 29.97, 3:2 pull-down", "24 to 25, PAL speed-up"]


def outcome_of(transcode: Transcode, folder: Path) -> Outcome:
    ((_, outcome),) = outcomes([transcode], folder)
    return outcome


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_short_transcode_is_told_as_exactly(name: str, tmp_path: Path) -> None:
    short = replace(BY_NAME[name], seconds=10.0, reference_s=12.0)
    outcome = outcome_of(short, tmp_path)
    assert (outcome.verdict, outcome.good) == (short.verdict, True), outcome


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BY_NAME)[::8])
def test_a_whole_transcode_is_told_as_exactly(name: str, tmp_path: Path) -> None:
    outcome = outcome_of(BY_NAME[name], tmp_path)
    assert (outcome.verdict, outcome.good) == (BY_NAME[name].verdict, True), outcome


def test_there_are_sixty_of_them_and_each_has_a_name() -> None:
    assert len(BY_NAME) == len(TRANSCODES) >= 60


def test_the_truth_of_an_edit_list() -> None:
    parts = (Part(0.0, 1.0), Part(10.0, None), Part(12.0, 5.0, 2.0))
    times = reference_times(parts, np.array([0.0, 9.0, 11.0, 12.0, 14.0]))
    assert times == pytest.approx([1.0, 10.0, np.nan, 5.0, 9.0], nan_ok=True)


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        (Piece(0.0, 10.0, 0.0, 1.0), 0.0),
        (Piece(0.0, 10.0, 0.005, 1.0), 5.0),
        (Piece(0.0, 10.0, 0.0, 1.001), 10.0),
        (Piece(0.0, 14.0, 0.0, 1.0), np.inf),  # reaches into what the reference does not have
    ],
)
def test_an_error_of_any_kind_is_seen(piece: Piece, expected: float) -> None:
    error_ms, share = off([piece], (Part(0.0, 0.0), Part(10.0, None)), 0.0, 15.0)
    assert error_ms == pytest.approx(expected, abs=1.0)
    assert share == 1.0


def test_an_outcome_beyond_the_bar_is_not_good() -> None:
    exact = Outcome(0.1, 1.0, 10.0, 1.0, "in_sync", "in_sync")
    assert exact.good
    assert not replace(exact, sound_ms=SOUND_MS + 0.1).good
    assert not replace(exact, picture_ms=10.1).good
    assert not replace(exact, share=0.5).good
    assert not replace(exact, sound_ms=None).good
    assert not replace(exact, verdict="out_of_sync").good
    assert replace(exact, sound_ms=None, verdict="undecidable", expected="undecidable").good


def test_a_word_that_no_name_has_is_refused() -> None:
    with pytest.raises(SystemExit, match="no transcode"):
        main(["hologram"])
