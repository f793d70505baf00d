"""What a network learns from one that is trained already: the same mouth, small and spoiled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.support.networks import TINY

pytest.importorskip("cv2")
from avcheck.network.model import SyncNet
from avcheck.network.trunks import PLACE_PX
from avcheck.scenes.generate import make_scene
from avcheck.train import learn
from avcheck.train.distil import Lessons, Teacher, at_place
from avcheck.train.sampling import LESSON_SIDE, Face, Recipe, draw, draw_lesson
from tests.support.stairs import PLAIN, cached, stairs

torch.set_num_threads(1)
RECIPE = Recipe("frame", (48, 64), frames=20, margin=5, strength=0.0, face_px=(20.0, 30.0))


def test_features_are_read_where_the_places_lie() -> None:
    grid = (3, 4)
    features = F.normalize(torch.randn(2, 5, 12, 8), dim=-1)
    for row, column in ((0, 0), (1, 2), (2, 3)):
        place = torch.tensor([[column, row], [column, row]]) * float(PLACE_PX)
        here = features[:, :, row * grid[1] + column]
        assert torch.allclose(at_place(features, grid, place), here, atol=1e-5)
    between = at_place(features, grid, torch.full((2, 2), PLACE_PX / 2))
    mean = F.normalize(features[:, :, [0, 1, 4, 5]].mean(dim=2), dim=-1)
    assert torch.allclose(between, mean, atol=1e-5)
    # Beyond the last place, the last place
    far = at_place(features, grid, torch.full((2, 2), 500.0))
    assert torch.allclose(far, features[:, :, -1], atol=1e-5)


def test_a_lesson_shows_the_mouth_of_its_sample_large() -> None:
    """A white dot for a mouth, in a picture that is mirrored half of the time."""
    frames = np.full((120, 200, 240), 40, np.uint8)
    x, y, width = 150, 80, 60
    mouth = round(Face(x, y, width).mouth_y)
    frames[:, mouth - 3 : mouth + 4, x - 3 : x + 4] = 250
    faces = np.array([[at / 25, x, y, width] for at in range(120)], np.float32)
    clip = cached(frames, np.zeros(120 * 640, np.int16), faces=faces)
    for seed in range(12):
        lesson = draw_lesson(clip, RECIPE, np.random.default_rng(seed), [])
        assert lesson is not None
        assert lesson.mouth.shape == (20, LESSON_SIDE, LESSON_SIDE)
        large = np.argwhere(lesson.mouth[0] > 150).mean(axis=0)
        assert np.abs(large - LESSON_SIDE / 2).max() < 2
        small = np.argwhere(lesson.sample.pictures[0] > 100).mean(axis=0)
        assert np.abs(small[::-1] - lesson.place).max() < 1.5


def test_a_lesson_is_its_sample_and_the_sound_before_it_was_treated() -> None:
    scene = make_scene("talking", seed=1, seconds=4.0, size=(96, 96))
    assert scene.faces is not None
    every = np.arange(len(scene.frames))
    faces = np.column_stack([every / 25, scene.faces]).astype(np.float32)
    clip = cached(scene.frames, (scene.samples * 32767).astype(np.int16), faces=faces)
    spoiled = replace(RECIPE, strength=0.9)
    lesson = draw_lesson(clip, spoiled, np.random.default_rng(3), [clip])
    sample = draw(clip, spoiled, np.random.default_rng(3), [clip])
    assert lesson is not None
    assert sample is not None
    assert np.array_equal(lesson.sample.pictures, sample.pictures)
    assert np.array_equal(lesson.sample.mel, sample.mel)
    assert lesson.mel.shape == sample.mel.shape
    assert not np.allclose(lesson.mel, sample.mel, atol=0.1)
    plain = draw_lesson(clip, RECIPE, np.random.default_rng(3), [])
    assert plain is not None
    loud = plain.mel > -2
    assert np.ptp((plain.mel - plain.sample.mel)[loud]) < 0.1  # only the level differs


def test_a_window_without_a_mouth_teaches_nothing() -> None:
    assert draw_lesson(stairs(120), PLAIN, np.random.default_rng(1), []) is None
    far = np.array([[at / 25, 24, 400, 20] for at in range(120)], np.float32)
    beside = replace(stairs(120), faces=far)
    assert draw_lesson(beside, PLAIN, np.random.default_rng(1), []) is None


def test_the_loss_is_least_for_the_teacher_itself_and_counts_what_it_knows() -> None:
    torch.manual_seed(2)
    net, other = SyncNet(TINY).eval(), SyncNet(TINY).eval()
    side, margin = 48, 5
    mouth = np.random.default_rng(0).integers(0, 256, (2, 20, side, side)).astype(np.uint8)
    mel = np.random.default_rng(1).normal(-4, 2, (2, 4 * (20 + 2 * margin), 64)).astype(np.float32)
    lessons = Lessons(mouth, mel, np.full((2, 2), side / 2, np.float32))
    valid = torch.ones(2, 2 * margin + 1, dtype=torch.bool)
    with torch.no_grad():
        picture, grid = net.visual(torch.from_numpy(mouth))
        sound = net.sound(torch.from_numpy(mel))
        centre = net.match(picture, sound).argmax(dim=1).float() - margin
        unlike, _ = other.visual(torch.from_numpy(mouth))
    teacher = Teacher(net)

    def loss(own: torch.Tensor, at: torch.Tensor) -> float:
        return float(teacher.loss(lessons, own, grid, sound, valid, at))

    assert loss(picture, centre) == pytest.approx(0.0, abs=0.02)
    assert loss(unlike, centre) > 0.3
    # Where the teacher does not find the shift, its pictures teach nothing
    assert loss(unlike, centre + 4) == pytest.approx(0.0, abs=0.02)


@pytest.mark.slow
def test_a_taught_stage_comes_nearer_to_its_teacher(tmp_path: Path) -> None:
    scene = make_scene("talking", seed=1, seconds=4.0, size=(96, 96))
    assert scene.faces is not None
    every = np.arange(len(scene.frames))
    faces = np.column_stack([every / 25, scene.faces]).astype(np.float32)
    clip = cached(scene.frames, (scene.samples * 32767).astype(np.int16), faces=faces)
    teacher = Teacher(SyncNet(TINY).eval())
    source = learn.ClipSource([clip], 1.0, RECIPE, taught=True)
    stage = learn.Stage("distil", [source], 30, batch=2, rate=3e-3, teacher=teacher)
    losses: list[float] = []
    learn.run_stage(
        learn.Learner.fresh(TINY, 4),
        stage,
        folder=tmp_path,
        device=torch.device("cpu"),
        seed=1,
        on_step=lambda _, __, loss: losses.append(loss),
    )
    untaught = learn.Batches(replace(stage, sources=[replace(source, taught=False)]), 1, 0).next()
    assert untaught.lessons is None
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
