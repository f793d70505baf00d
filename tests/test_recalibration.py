"""What a score counts in view of its curve, and how that is fitted to clips of unknown offset."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avcheck.network import weights
from avcheck.scan.shifts import SHIFTS
from avcheck.train import calibrate, recalibrate
from avcheck.verdict.posterior import (
    Calibration,
    above_median,
    combine,
    estimate,
    evidence,
    log_likelihood,
    weigh_up,
)
from tests.support.clips import Array
from tests.support.curves import bump, curve
from tests.support.films import talking
from tests.support.networks import written

NOTHING = np.zeros(len(SHIFTS), np.float32)


def noise(seed: int, scatter: float = 1.0) -> Array:
    return scatter * np.random.default_rng(seed).standard_normal(len(SHIFTS)).astype(np.float32)


def sure(score: Array, match: Array, seconds: float, calibration: Calibration) -> float:
    weighed = weigh_up(score, match, seconds, calibration)
    return estimate(combine([weighed], calibration), SHIFTS, calibration).confidence


def test_by_default_a_score_counts_for_what_it_is() -> None:
    """So do weights that were made before curves were looked at."""
    score, match = bump(4.0), noise(1)
    expected = score + 1.5 * (match - np.median(match))
    assert weigh_up(score, match, 3.0, Calibration(match=1.5)) == pytest.approx(expected, abs=1e-5)


def test_a_shorter_piece_needs_a_higher_peak() -> None:
    calibration = Calibration(none=6.0, length=2.0)
    by_length = [sure(bump(4.0, 12.0), NOTHING, seconds, calibration) for seconds in (3, 10, 14)]
    assert by_length == sorted(by_length)
    assert by_length[0] < 0.6 < 0.8 < by_length[1] < 0.92 < by_length[2]
    item = curve(4.0, blocks=5)
    assert evidence(item, calibration) == pytest.approx(
        weigh_up(item.score, item.match, 5.0, calibration)
    )


def test_a_match_that_scatters_counts_less() -> None:
    """Its highest peak is chance."""
    calibration = Calibration(none=6.0, match=1.0, match_rise=1.0, scatter=2.0)
    quiet, wild = (noise(3, scatter) + bump(9.0, 6.0) for scatter in (0.2, 2.0))
    assert sure(bump(9.0, 3.0), quiet, 10.0, calibration) > 0.9
    assert sure(bump(9.0, 3.0), wild, 10.0, calibration) < 0.5


def test_the_median_of_the_score_counts_by_its_own_weight() -> None:
    high, low = bump(0.0) + 3.0, bump(0.0)
    for level, apart in ((1.0, 3.0), (0.5, 1.5), (0.0, 0.0)):
        calibration = Calibration(level=level)
        step = weigh_up(high, NOTHING, 10.0, calibration) - weigh_up(
            low, NOTHING, 10.0, calibration
        )
        assert step == pytest.approx(np.full(len(SHIFTS), apart), abs=1e-5)


def test_scatter_is_the_deviation_of_noise_whatever_peaks_in_it() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 20_001)
    values[:50] = 1e6
    values[50:80] = -np.inf
    middle, above, scatter = above_median(values)
    assert (middle, scatter) == pytest.approx((5.0, 2.0), rel=0.05)
    assert np.isneginf(above[50:80]).all()
    middle, _, scatter = above_median(np.full(3, -np.inf))
    assert middle == 0.0
    assert scatter == 0.0


def own(seed: int, height: float, *, known: bool) -> calibrate.CalibrationTrial:
    """A piece whose sound is late by 12 frames, and by those of the clip's own offset."""
    late = 12 + (0 if known else np.random.default_rng(seed).integers(-3, 4))
    return calibrate.CalibrationTrial(
        frozenset({str(seed)}), noise(seed) + bump(float(late), height), NOTHING, 12.0, 10.0, known
    )


def stranger(seed: int) -> calibrate.CalibrationTrial:
    return calibrate.CalibrationTrial(
        frozenset({str(seed)}), noise(seed) - np.float32(4.0), NOTHING, None, 10.0
    )


@pytest.mark.slow
def test_clips_of_unknown_offset_teach_what_a_weak_match_is_worth() -> None:
    """Fitted to strong matches alone, a weak one looks like none."""
    strong = [own(k, 30.0, known=True) for k in range(20)]
    weak = [own(100 + k, 7.0, known=False) for k in range(20)]
    strangers = [stranger(200 + k) for k in range(40)]
    with_weak = calibrate.fit_chances([*strong, *weak, *strangers])
    unseen = [own(300 + k, 7.0, known=False) for k in range(20)]
    confidences = [sure(each.score, each.match, 10.0, with_weak) for each in unseen]
    assert np.mean(np.array(confidences) > 0.9) > 0.8
    without = calibrate.fit_chances([*strong, *strangers])
    assert np.mean([sure(each.score, each.match, 10.0, without) for each in unseen]) < 0.6
    refused = [sure(stranger(400 + k).score, NOTHING, 10.0, with_weak) for k in range(40)]
    assert max(refused) < 0.9


def test_the_fit_weighs_a_piece_as_a_check_does() -> None:
    """It has to say so again, as what it learns by needs tensors."""
    calibration = Calibration(
        temperature=0.9, none=5.0, match=1.1, level=1.2, match_rise=1.9, length=1.4, scatter=0.8
    )
    some = [
        replace(trial, match=noise(k, 0.5) + bump(5.0, 2.0), seconds=4.0 + k)
        for k, trial in enumerate([own(1, 9.0, known=True), own(2, 30.0, known=True), stranger(3)])
    ]
    some[0].score[:20] = -np.inf
    values = torch.tensor([getattr(calibration, name) for name in calibrate._FITTED])
    chances = calibrate._Measured(some).log_chances(values.double()).numpy()
    for row, trial in zip(chances, some, strict=True):
        weighed = weigh_up(trial.score, trial.match, trial.seconds, calibration)
        fitted = row[:-1] - row[-1] + np.log(len(SHIFTS))
        assert fitted == pytest.approx(log_likelihood([weighed], calibration), abs=1e-6)


@pytest.mark.slow
def test_what_turns_no_score_into_a_chance_is_kept() -> None:
    start = Calibration(bias_frames=0.4, guard_ms=21.0, decide=0.8)
    fitted = calibrate.fit_chances([own(1, 9.0, known=True), stranger(2)], start)
    assert (fitted.bias_frames, fitted.guard_ms, fitted.decide) == (0.4, 21.0, 0.8)
    assert fitted.temperature != start.temperature


def test_right_and_wrong_are_judged_by_known_offsets() -> None:
    some = [own(1, 9.0, known=True), own(2, 9.0, known=False), stranger(3)]
    assert calibrate.known(some) == [some[0], some[2]]
    assert calibrate.known(some[1:]) == some[1:]
    bias = calibrate.fit([*(own(k, 30.0, known=True) for k in range(8)), *some]).bias_frames
    assert bias == pytest.approx(0.0, abs=0.2)


@pytest.mark.slow
def test_weights_are_calibrated_anew_and_are_otherwise_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, out = tmp_path / "start.safetensors", tmp_path / "out.safetensors"
    written(start)
    rows = []
    made = talking(tmp_path / "made.mp4", 4.5, lambda times_s: 0 * times_s, size=(288, 216))
    for number, added in enumerate((1, 2, 2)):
        film = tmp_path / f"{number}.mp4"
        film.hardlink_to(made)
        clip = {"id": str(number), "file": film.name, "group": f"speaker {number}"}
        rows.append({**clip, "kind": "speech", "split": "train", "added": added})
    (tmp_path / "index.jsonl").write_text("\n".join(map(json.dumps, rows)))
    cache = tmp_path / "cache"
    line = [str(tmp_path), str(out), "--from", str(start), "--added", "2", "--cache", str(cache)]
    assert recalibrate.main(line) == 0
    printed = json.loads(capsys.readouterr().out)
    before, after = (weights.load(path, device="cpu") for path in (start, out))
    assert printed["sha256"] == after.sha256 != before.sha256
    assert printed["calibration"] == after.calibration
    assert after.calibration["none"] != before.calibration["none"]
    assert after.calibration["bias_frames"] == before.calibration["bias_frames"]
    assert after.training == {**before.training, "calibrated_on_rounds": [2]}
    assert sorted(path.name for path in cache.iterdir()) == ["1", "2"]  # no clip of round 1
    state, same = before.net.state_dict(), after.net.state_dict()
    assert all((state[name] == same[name]).all() for name in state)


def test_a_corpus_that_is_none_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recalibrate.main([str(tmp_path), str(tmp_path / "out.safetensors")]) == 2
    assert "no clips found" in capsys.readouterr().err


def test_rounds_without_a_clip_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = {"id": "1", "file": "1.mp4", "group": "g", "kind": "speech", "split": "train"}
    (tmp_path / "index.jsonl").write_text(json.dumps(clip))
    written(tmp_path / "start.safetensors")
    line = [str(tmp_path), str(tmp_path / "out"), "--from", str(tmp_path / "start.safetensors")]
    assert recalibrate.main([*line, "--added", "9"]) == 2
    assert "no clip of speech of these rounds" in capsys.readouterr().err
    line[1] = str(tmp_path / "nowhere" / "out")
    assert recalibrate.main(line) == 2
    assert "there is no directory" in capsys.readouterr().err
