"""The calibration that training fits, and the offset of a whole clip that it goes by."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("cv2")
from avcheck.scan.looking import Look
from avcheck.scan.shifts import SHIFTS
from avcheck.train import calibrate
from avcheck.train.corpus import CachedClip, Clip
from avcheck.verdict.posterior import Calibration, posterior
from tests.support.stairs import A_FRAME, Array

torch.set_num_threads(1)


def trial(
    truth: float | None, height: float = 10.0, seed: int = 0, seconds: float = 4.0
) -> calibrate.CalibrationTrial:
    rng = np.random.default_rng(seed)
    score = rng.normal(-3, 0.7, len(SHIFTS))
    if truth is not None:
        score += height * np.exp(-0.5 * ((SHIFTS - truth - 0.6) / 1.2) ** 2)
    match = np.zeros(len(score), np.float32)
    return calibrate.CalibrationTrial(
        frozenset({"group"}), score.astype(np.float32), match, truth, seconds
    )


def test_calibration_learns_bias_and_tells_own_from_foreign() -> None:
    rng = np.random.default_rng(0)
    fitted = calibrate.fit(
        [trial(float(rng.uniform(-25, 25)), seed=k) for k in range(12)]
        + [trial(None, seed=100 + k) for k in range(12)]
    )
    assert fitted.bias_frames == pytest.approx(0.6, abs=0.2)
    assert 10.0 <= fitted.guard_ms <= 60.0
    own, foreign = (posterior(trial(truth, seed=77).score, fitted)[1] for truth in (5.0, None))
    assert own < 0.1 < 0.7 < foreign
    assert json.loads(json.dumps(vars(fitted))) == vars(fitted)


def test_the_measuring_error_is_that_of_long_pieces() -> None:
    """They lie within 16 ms of their truth, the short ones within 32 ms."""
    some = [trial(None, seed=100 + k) for k in range(24)]
    for k, truth in enumerate(np.linspace(-20, 20, 24)):
        true, seconds = (truth + 0.4, 10.0) if k % 3 else (truth + 0.8, 4.0)
        moved = trial(float(true), height=14.0, seed=k, seconds=seconds)
        # The noise of the score moves the peak by a few ms more
        some += [replace(moved, truth=truth), replace(moved, truth=2 * true - truth)]
    long = [each for each in some if each.seconds == 10.0 or each.truth is None]
    assert calibrate.fit(long).guard_ms == pytest.approx(calibrate.fit(some).guard_ms, abs=2.0)
    assert 16.0 < calibrate.fit(some).guard_ms < 26.0


def test_the_trunks_score_gets_weight_where_it_knows_more() -> None:
    """The joint layers' curve is noise; the match peaks at the truth. The other way round it gets
    none.
    """
    rng = np.random.default_rng(0)
    noise = [trial(None, seed=200 + k).score for k in range(24)]
    true = [trial(float(truth), seed=k) for k, truth in enumerate(rng.uniform(-25, 25, 12))]
    blind = [
        replace(own, score=bare, match=own.score) for own, bare in zip(true, noise, strict=False)
    ]
    strangers = [trial(None, seed=100 + k) for k in range(12)]
    assert calibrate.fit([*blind, *strangers]).match >= 0.5
    astray = [replace(own, match=bare) for own, bare in zip(true, noise, strict=False)]
    assert calibrate.fit([*astray, *strangers]).match <= 0.2


def test_a_calibration_is_tried_on_groups_it_was_not_fitted_to() -> None:
    rng = np.random.default_rng(0)
    own = [
        replace(
            trial(float(rng.uniform(-25, 25)), seed=k, seconds=4.0 + 6 * (k % 2)),
            groups=frozenset({str(k % 6)}),
        )
        for k in range(24)
    ]
    foreign = [
        replace(
            trial(None, seed=100 + k, seconds=4.0 + 6 * (k % 2)), groups=frozenset({str(k % 6)})
        )
        for k in range(24)
    ]
    by_length = calibrate.left_out([*own, *foreign])
    assert set(by_length) == {"4 s", "10 s"}
    # One that refuses everything decides nothing, whatever was fitted.
    refused = calibrate.judged([*own, *foreign], Calibration(none=60.0))
    assert {name: (row["pieces"], row["decided"]) for name, row in refused.items()} == {
        "4 s": (12, 0),
        "10 s": (12, 0),
    }
    for row in by_length.values():
        assert row["pieces"] == 12
        assert row["accuracy"] == 1.0
        assert row["decided"] > 0.9
        assert row["right"] == 1.0
        assert row["confidence"] > 0.9
        assert row["foreign_decided"] == 0.0


def test_nothing_to_calibrate_on_gives_the_defaults() -> None:
    assert calibrate.fit([]) == Calibration()


def test_a_whole_clip_has_the_offset_that_a_check_would_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pieces of 10 s and the rest agree on the sound's delay, with the sound either side of
    each.
    """
    pieces: list[tuple[float, int]] = []

    def look(pictures: Array, shown: Array, start_s: float, *_: object) -> Look:
        pieces.append((start_s, len(pictures)))
        return Look(start_s, torch.zeros(1, len(pictures), 1, 1), (), shown)

    def compare(part: Look, mel: Array, heard: Array, _: object) -> Any:
        assert len(mel) == 4 * len(heard) == 4 * (len(part.shown) + 100)
        score = np.where(SHIFTS == 3, 20.0, -5.0).astype(np.float32)
        return SimpleNamespace(
            weighed_score=lambda: score, weighed_match=lambda: np.zeros(101, np.float32)
        )

    monkeypatch.setattr(calibrate, "look", look)
    monkeypatch.setattr(calibrate, "listen", lambda mel, _: mel)
    monkeypatch.setattr(calibrate, "compare", compare)
    clip = Clip(id="a", path=Path("a"), group="a", kind="speech", split="train")
    item = CachedClip(
        clip,
        np.zeros((610, 8, 8), np.uint8),
        np.zeros(610 * A_FRAME, np.int16),
        np.zeros((0, 4), np.float32),
    )
    estimated = calibrate.estimate_offset(None, item, Calibration(bias_frames=0.25))  # type: ignore[arg-type]
    assert pieces == [(0.0, 250), (10.0, 250), (20.0, 100)]
    assert estimated.frames == pytest.approx(2.75, abs=0.01)
    assert estimated.confidence > 0.99
    short = replace(item, frames=item.frames[:20])
    assert calibrate.estimate_offset(None, short, Calibration()).confidence == 0  # type: ignore[arg-type]
