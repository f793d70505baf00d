"""The losses and the stages of training: repeatable, resumed after a kill, learning."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.support.networks import TINY

pytest.importorskip("cv2")
from avcheck.errors import UsageError
from avcheck.network import weights
from avcheck.network.heads import JointHead
from avcheck.network.make_head import Head, make_head
from avcheck.network.model import SyncNet
from avcheck.network.model_config import ModelConfig
from avcheck.scenes.generate import make_scene
from avcheck.train import crossfit, heads, learn, measure
from avcheck.train.losses import shift_loss, shift_target
from avcheck.train.sampling import Recipe
from avcheck.train.settings import HeadSettings
from tests.support.stairs import A_FRAME, PLAIN, cached, stairs

torch.set_num_threads(1)


def test_shift_target_is_a_gaussian_around_the_true_shift() -> None:
    target = shift_target(torch.tensor([0.0, 2.3, -0.5]), 5)
    assert target.shape == (3, 11)
    assert torch.allclose(target.sum(1), torch.ones(3))
    assert target.argmax(1).tolist()[:2] == [5, 7]
    grid = torch.arange(-5.0, 6.0)
    assert torch.allclose((target * grid).sum(1), torch.tensor([0.0, 2.3, -0.5]), atol=0.02)
    assert target[2, 4] == pytest.approx(float(target[2, 5]), abs=1e-6)
    assert target[0, 6] / target[0, 5] == pytest.approx(np.exp(-0.5 / 0.49), rel=1e-4)


def test_shift_loss_is_the_cross_entropy_over_valid_shifts() -> None:
    logits = torch.tensor([[1.0, 2.0, 50.0]])
    target = torch.tensor([[0.25, 0.75, 0.0]])
    valid = torch.tensor([[True, True, False]])
    expected = -(
        0.25 * F.log_softmax(logits[:, :2], 1)[0, 0] + 0.75 * F.log_softmax(logits[:, :2], 1)[0, 1]
    )
    assert shift_loss(logits, target, valid) == pytest.approx(float(expected), abs=1e-5)
    # What of the target lies on invalid shifts is shared out over the others.
    spread = torch.tensor([[0.125, 0.375, 0.5]])
    assert shift_loss(logits, spread, valid) == pytest.approx(float(expected), abs=1e-5)


def test_shift_loss_weighs_rows_and_is_least_at_the_target() -> None:
    valid = torch.ones(2, 11, dtype=torch.bool)
    target = shift_target(torch.tensor([0.0, 3.0]), 5)
    logits = torch.randn(2, 11, generator=torch.Generator().manual_seed(0))
    each = torch.stack(
        [shift_loss(logits[k : k + 1], target[k : k + 1], valid[:1]) for k in (0, 1)]
    )
    assert shift_loss(logits, target, valid) == pytest.approx(float(each.mean()), abs=1e-5)
    assert shift_loss(logits, target, valid, weight=torch.tensor([0.0, 2.0])) == pytest.approx(
        float(each[1]), abs=1e-5
    )
    entropy = -(target * target.clamp_min(1e-30).log()).sum(1).mean()
    assert shift_loss(target.clamp_min(1e-30).log(), target, valid) == pytest.approx(
        float(entropy), abs=1e-5
    )
    assert shift_loss(logits, target, valid) > entropy


@pytest.mark.parametrize("fast", [True, False])
def test_bfloat16_is_used_where_it_is_fast_alone(
    fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emulated, a step took eight times as long."""
    for module in (learn, heads, measure):
        monkeypatch.setattr(module, "half_is_fast", lambda _: fast)
    learner = learn.Learner.fresh(TINY, 1)
    used: dict[str, list[bool]] = {"trunk": [], "head": []}

    def note(which: str) -> Any:
        return lambda *_: used[which].append(torch.is_autocast_enabled("cpu"))

    learner.net.sound.register_forward_pre_hook(note("trunk"))
    stage = learn.Stage("frames", [learn.ClipSource([stairs(60)], 1.0, PLAIN)], steps=1, batch=2)
    learn.run_stage(learner, stage, folder=tmp_path, device=torch.device("cpu"), seed=1)
    measure.curve(learner.net.eval(), stairs(90), 30, 25, PLAIN)
    assert used["trunk"] == [fast] * 2

    def noted(config: ModelConfig) -> Head:
        head = make_head(config)
        head.register_forward_pre_hook(note("head"))
        return head

    monkeypatch.setattr(heads, "make_head", noted)
    part = torch.randn(50, 6, 8).half()
    feature = heads.Feature(
        "a", "speech", part, part, torch.randn(150, 8).half(), torch.ones(150, dtype=torch.bool)
    )
    heads.learn_head(
        learner.net,
        [feature],
        HeadSettings("temporal", steps=1, batch=2),
        device=torch.device("cpu"),
    )
    assert used["head"] == [fast] * 2  # of its own sound and of a stranger's


@pytest.mark.slow
def test_a_stage_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    """Eight steps in one go, and in two goes with a kill in between, give the same network."""
    scene = make_scene("talking", seed=1, seconds=4.0, size=(64, 64))
    clip = cached(scene.frames, (scene.samples * 32767).astype(np.int16))
    recipe = Recipe("frame", (32, 32), frames=20, margin=5)
    stage = learn.Stage("test", [learn.ClipSource([clip], 1.0, recipe)], 8, batch=2)

    def trained(folder: Path, kill_at: int | None) -> dict[str, Tensor]:
        folder.mkdir()
        learner = learn.Learner.fresh(TINY, 3)
        if kill_at is not None:

            def kill(step: int, total: int, loss: float) -> None:
                if step == kill_at:
                    learn.save_state(
                        folder / "test.pt",
                        {
                            "learner": learner.state(),
                            "optimiser": optimisers[-1].state_dict(),
                            "step": step,
                        },
                    )
                    raise KeyboardInterrupt

            optimisers: list[torch.optim.Optimizer] = []
            make = torch.optim.AdamW

            def remember(*args: Any, **options: Any) -> torch.optim.Optimizer:
                optimisers.append(make(*args, **options))
                return optimisers[-1]

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(torch.optim, "AdamW", remember)
                with pytest.raises(KeyboardInterrupt):
                    learn.run_stage(
                        learner,
                        stage,
                        folder=folder,
                        device=torch.device("cpu"),
                        seed=5,
                        on_step=kill,
                    )
            learner = learn.Learner.fresh(TINY, 99)
        learn.run_stage(learner, stage, folder=folder, device=torch.device("cpu"), seed=5)
        return learner.mean_net.state_dict()

    whole, halves = trained(tmp_path / "whole", None), trained(tmp_path / "halves", 4)
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_what_a_kill_cuts_short_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later run would take half of a file for the whole."""

    def half(file: Path, *_: object) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", lambda _, file: half(file))
        with pytest.raises(KeyboardInterrupt):
            learn.save_state(tmp_path / "heads.pt", {})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", half)
        with pytest.raises(KeyboardInterrupt):
            crossfit.estimated(tmp_path / "rest.json", [], list)
    assert list(tmp_path.iterdir()) == []
    assert crossfit.estimated(tmp_path / "rest.json", [], list) == []


@pytest.mark.slow
def test_the_log_tells_the_sources_apart(tmp_path: Path) -> None:
    clip = stairs(120, size=32)
    recipe = Recipe("frame", (32, 32), frames=20, margin=5)
    sources = [
        learn.ClipSource([clip], 0.5, recipe),
        learn.ClipSource([clip], 0.5, replace(recipe, sigma=2.0), "generic", batch=1),
    ]
    stage = learn.Stage("test", sources, 50, batch=2)
    learn.run_stage(
        learn.Learner.fresh(TINY, 1), stage, folder=tmp_path, device=torch.device("cpu"), seed=1
    )
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {row["source"] for row in rows} == {"speech", "generic"}
    assert all(row["loss"] > 0 and 0 <= row["within1"] <= 1 for row in rows)
    batch = learn.Batches(stage, 1, 0).next()
    assert len(batch.pictures) == (1 if batch.source == "generic" else 2)


@pytest.mark.slow
def test_the_logged_speed_counts_the_steps_since_a_stage_went_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes a second, and validation 700 s; the first 30 steps were done before a kill."""
    now_s = 0.0

    def step(*_: object) -> None:
        nonlocal now_s
        now_s += 1.0

    def validate(_: SyncNet) -> dict[str, float]:
        nonlocal now_s
        now_s += 700.0
        return {}

    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    monkeypatch.setattr(learn, "_VALIDATE_S", 10.0)
    sources = [learn.ClipSource([stairs(120, size=32)], 1.0, PLAIN)]
    for steps in (30, 50):
        learn.run_stage(
            learn.Learner.fresh(TINY, 1),
            learn.Stage("test", sources, steps, batch=1),
            folder=tmp_path,
            device=torch.device("cpu"),
            seed=1,
            validate=validate,
            on_step=step,
        )
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["steps_per_s"] for row in rows if "loss" in row] == [1.0]


def test_clips_that_cannot_be_validated_leave_no_figure() -> None:
    """Too short, without a face, or out of sync beyond what is searched."""
    net = SyncNet(TINY).eval()
    far = stairs(200)
    far = replace(far, clip=replace(far.clip, offset_frames=-26.0))
    for clip, recipe in (
        (stairs(60), PLAIN),
        (stairs(200), replace(PLAIN, view="crop")),
        (far, PLAIN),
    ):
        assert measure.accuracy(net, [clip], recipe) == {"val_windows": 0}


def test_a_clip_is_validated_up_to_the_last_shift_that_is_searched() -> None:
    """Beyond 20 frames one of the displaced copies is outside the search."""
    net = SyncNet(TINY).eval()
    for offset in (22.0, -22.0):
        clip = stairs(200)
        clip = replace(clip, clip=replace(clip.clip, offset_frames=offset))
        ((error, won),) = measure.windows(net, clip, PLAIN, 105)
        assert 0 <= error <= 47
        assert won in (0.0, 1.0)


def test_clips_too_short_for_a_stage_are_said_so(tmp_path: Path) -> None:
    clip = stairs(30)
    stage = learn.Stage(
        "test", [learn.ClipSource([clip], 1.0, Recipe("frame", (32, 32), frames=40))], 2, batch=1
    )
    with pytest.raises(UsageError, match=r"stage test: .* clips of speech .* to cut 1\.6 s from"):
        learn.run_stage(
            learn.Learner.fresh(TINY, 1), stage, folder=tmp_path, device=torch.device("cpu"), seed=1
        )


def test_features_of_a_piece_match_at_shift_nought() -> None:
    """A clip's own offset is taken out when its features are made: picture and sound of the same
    index belong together.
    """
    scene = make_scene("talking", seed=1, seconds=4.0, size=(48, 48))
    samples = (scene.samples * 32767).astype(np.int16)
    torch.manual_seed(0)
    model = weights.Loaded(SyncNet(TINY).eval(), "", torch.device("cpu"), False, {}, {})
    (plain,) = heads.extract(model, [cached(scene.frames, samples)], seed=1, levels=(48,))
    late = cached(scene.frames, np.roll(samples, 4 * A_FRAME), offset=4.0)
    (moved,) = heads.extract(model, [late], seed=1, levels=(48,))
    assert plain.best.shape == (75, 9, TINY.embedding)
    assert plain.sound.shape == (75 + 100, TINY.embedding)
    inside = slice(50, 50 + 60)
    apart = (plain.sound[inside].float() - moved.sound[inside].float()).abs().mean()
    a_frame_off = (plain.sound[inside].float() - plain.sound[51 : 51 + 60].float()).abs().mean()
    # Not equal: the band means are over what is heard, which here differs by four pictures.
    assert apart < 0.5 * a_frame_off
    assert plain.heard[inside].all()
    assert not plain.heard[:50].any()


@pytest.mark.slow
def test_a_head_learns_a_match_that_is_there() -> None:
    """On features where the true shift is plain to see, a few steps put it first."""
    rng = torch.Generator().manual_seed(0)
    features = []
    for k in range(6):
        sound = F.normalize(torch.randn(160 + 100, TINY.embedding, generator=rng), dim=-1)
        best = sound[50:210, None].expand(-1, 4, -1)
        features.append(
            heads.Feature(
                str(k),
                "speech",
                best.half(),
                best.half(),
                sound.half(),
                torch.ones(260, dtype=torch.bool),
            )
        )
    net = SyncNet(TINY)
    head = heads.learn_head(
        net,
        features,
        HeadSettings("spatio-temporal", steps=40, batch=4, rate=1e-2),
        device=torch.device("cpu"),
    )
    assert isinstance(head, JointHead)
    assert not head.training
    with torch.inference_mode():
        item = features[0]
        logits = head(
            item.best[None, :150].float(),
            item.sound[None, :250].float(),
            torch.arange(-50, 51),
            margin=50,
        ).logits[0]
    assert int((logits[:, 1] - logits[:, 0]).argmax()) == 50
