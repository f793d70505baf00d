"""Windows of a clip are those of a check, and sound is displaced to the sample."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from avcheck.eval import protocol
from avcheck.eval.windows import as_they_are, curves, hear, observe
from avcheck.media import Picture, Sound
from avcheck.network.model import SyncNet
from avcheck.network.model_config import ATTENTION_KINDS
from avcheck.network.weights import Loaded
from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.reading.blocks import blocks
from avcheck.scan.curves import scan
from avcheck.scan.looking import look
from tests.support.matcher import SAMPLES_A_FRAME, SIDE, clip, loaded, material
from tests.support.networks import SMALL


def test_a_whole_clip_gives_the_blocks_of_a_check() -> None:
    frames, samples = material(5.4)
    footage = observe(clip("x"), frames, samples, loaded(), (SIDE,))
    shot = footage.shot(0, len(frames))
    heard = hear(samples, 0.0, shot)
    pictures = [Picture(k / FRAME_RATE, frame) for k, frame in enumerate(frames)]
    true = list(blocks(pictures, [Sound(0.0, samples)]))
    assert len(true) == len(heard) == 6
    for mine, block in zip(heard, true, strict=True):
        assert np.array_equal(mine.mel_mask, block.mel_mask)
        assert np.array_equal(mine.picture_mask, block.picture_mask)
        assert np.allclose(mine.mel, block.mel, atol=1e-4)
        assert mine.level_db == pytest.approx(block.level_db, abs=1e-3)


@pytest.mark.parametrize("seconds", [5.4, 16.0, 26.2])
def test_a_whole_clip_gives_the_curves_of_a_check(seconds: float) -> None:
    frames, samples = material(seconds, own_frames=3)
    model = loaded()
    footage = observe(clip("x"), frames, samples, model, (24, SIDE))
    shot = footage.shot(0, len(frames))
    pictures = [Picture(k / FRAME_RATE, frame) for k, frame in enumerate(frames)]
    true = list(scan(blocks(pictures, [Sound(0.0, samples)]), model, levels=(24, SIDE)))
    mine = list(curves(shot, hear(samples, 0.0, shot), model))
    assert len(mine) == len(true)
    for ours, theirs in zip(mine, true, strict=True):
        for name in (
            "score",
            "match",
            "block_start_s",
            "block_score",
            "block_match",
            "attention",
            "places",
            "motion",
            "detail",
            "level_db",
        ):
            assert np.allclose(getattr(ours, name), getattr(theirs, name), atol=1e-3), name
        assert (ours.start_s, ours.end_s, ours.grid) == (theirs.start_s, theirs.end_s, theirs.grid)
        assert ours.shifts[np.argmax(ours.score)] == 3


def test_features_of_a_window_are_those_of_a_look_of_its_own_but_at_its_edges() -> None:
    torch.manual_seed(1)
    net = SyncNet(SMALL).eval().requires_grad_(False)
    model = Loaded(net, "", torch.device("cpu"), False, {}, {})
    frames, samples = material(13.0)  # over one chunk of the visual trunk
    footage = observe(clip("x"), frames, samples, model, (32, SIDE))
    shot = footage.shot(200, 105)
    own = look(frames[200:305], np.ones(105, bool), 0.0, model, (32, SIDE)).picture
    assert torch.allclose(shot.view.picture[:, 4:101], own[:, 4:101], atol=1e-4)
    assert not torch.allclose(shot.view.picture[:, :2], own[:, :2], atol=1e-4)
    assert shot.blocks == 5
    assert shot.view.picture.shape[1] == 125
    assert shot.view.shown.sum() == 105


@pytest.mark.parametrize("late_s", [0.05, -0.05, 2.0, -3.1234])
def test_sound_is_displaced_to_the_sample_and_only_that_of_the_window_is_heard(
    late_s: float,
) -> None:
    frames, samples = material(16.0)
    footage = observe(clip("x"), frames, samples, loaded(), (SIDE,))
    shot = footage.shot(125, 105)
    moved = hear(samples, 5.0 - late_s, shot)
    first = 5 * SAMPLE_RATE - round(late_s * SAMPLE_RATE)
    alone = np.zeros_like(samples)
    alone[: 105 * SAMPLES_A_FRAME] = samples[first : first + 105 * SAMPLES_A_FRAME]
    expected = hear(alone, 0.0, shot)
    assert all(np.array_equal(a.mel, b.mel) for a, b in zip(moved, expected, strict=True))
    assert [int(block.mel_mask.sum()) for block in moved] == [100, 100, 100, 100, 20]


def test_sound_the_clip_does_not_have_is_missing_not_wrapped() -> None:
    frames, samples = material(5.0)
    footage = observe(clip("x"), frames, samples, loaded(), (SIDE,))
    shot = footage.shot(0, 125)
    late = hear(samples, -1.5, shot)
    assert [int(block.mel_mask.sum()) for block in late] == [0, 50, 100, 100, 100]
    assert late[0].level_db == -math.inf
    early = hear(samples, 1.5, shot)
    assert [int(block.mel_mask.sum()) for block in early] == [100, 100, 100, 50, 0]
    nothing = hear(samples, 9.0, shot)
    assert not any(block.mel_mask.any() for block in nothing)


def test_late_means_that_the_sound_belongs_to_earlier_pictures() -> None:
    frames, samples = material(12.0)
    footage = observe(clip("x"), frames, samples, loaded(), (SIDE,))
    shot = footage.shot(100, 150)
    for late in (-7, 0, 12):
        curve = next(curves(shot, hear(samples, (100 - late) / FRAME_RATE, shot), loaded()))
        assert curve.shifts[np.argmax(curve.score)] == late
        assert (
            as_they_are(shot, hear(samples, (100 - late) / FRAME_RATE, shot), loaded()) > 0
        ) == (late == 0)


def test_one_shift_alone_scores_as_among_all() -> None:
    torch.manual_seed(1)
    frames, samples = material(6.0)
    for kind in ATTENTION_KINDS:
        net = SyncNet(replace(SMALL, attention=kind)).eval().requires_grad_(False)
        model = Loaded(net, "", torch.device("cpu"), False, {}, {})
        footage = observe(clip("x"), frames, samples, model, (SIDE,))
        shot = footage.shot(0, 105)
        sound = hear(samples, 0.02, shot)
        curve = next(curves(shot, sound, model))
        assert as_they_are(shot, sound, model) == pytest.approx(float(curve.score[50]), abs=1e-4)


def test_black_and_frozen_pictures_do_not_move() -> None:
    frames, samples = material(6.0)
    model = loaded()
    footage = observe(clip("x"), frames, samples, model, (SIDE,))
    black, frozen, grainy = (
        footage.black(130),
        footage.frozen(130, model, (SIDE,)),
        footage.frozen(130, model, (SIDE,), 2.0),
    )
    for shot in (black, frozen, grainy):
        assert shot.view.picture.shape[1] == 150
        assert shot.view.shown.sum() == 130
    assert black.detail.max() == 0
    assert frozen.motion.max() == 0
    assert frozen.detail.min() > 5
    assert 1.5 < grainy.motion.min() <= grainy.motion.max() < 3.0


def test_displacement_is_2_to_5_8_s_within_the_clip() -> None:
    rng = np.random.default_rng(1)
    drawn = [protocol.displacement(20.0, 4.2, 60.0, rng) or 0.0 for _ in range(400)]
    assert all(2.0 <= abs(late) <= 5.8 for late in drawn)
    assert 0.4 < np.mean([late > 0 for late in drawn]) < 0.6
    assert max(drawn) > 5.5
    assert min(drawn) < -5.5
    # At the beginning of a clip sound can only be read later, so that it is early.
    edge = [protocol.displacement(0.0, 4.2, 7.2, rng) or 0.0 for _ in range(50)]
    assert all(-3.0 <= late <= -2.0 for late in edge)
    assert protocol.displacement(0.0, 4.2, 6.1, rng) is None
    assert protocol.displacement(1.9, 4.2, 8.0, rng) is None
    ends = [protocol.displacement(4.2, 4.2, 8.4, rng) or 0.0 for _ in range(50)]
    assert all(2.0 <= late <= 4.2 for late in ends)
