"""Training from a directory of clips to a file of weights."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.clips import make_clip
from tests.support.networks import TINY

pytest.importorskip("cv2")
from avcheck.cli.app import main
from avcheck.errors import UsageError
from avcheck.network import weights
from avcheck.network.heads import JointHead
from avcheck.network.model import SyncNet
from avcheck.network.model_config import ATTENTION_KINDS
from avcheck.scenes.generate import make_scene
from avcheck.train import corpus, crossfit, heads, learn, run, sampling
from avcheck.train import settings as settings_train
from avcheck.train.corpus import CachedClip
from avcheck.train.sampling import Recipe
from avcheck.verdict.posterior import Calibration, Estimate
from tests.support.stairs import A_FRAME, Array, stairs, touch

torch.set_num_threads(1)


def talking(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scene = make_scene("talking", seed=seed, seconds=5.0, size=(96, 128))
    frames = scene.frames.astype(np.float32) * (219 / 255) + 16

    def play(times_s: Array) -> Array:
        return np.interp(times_s, np.arange(len(scene.samples)) / scene.sample_rate, scene.samples)

    return make_clip(
        path,
        seconds=5.0,
        size=(128, 96),
        draw=lambda t: frames[min(round(t * 25), len(frames) - 1)].astype(np.uint8),
        play=play,
    )


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five talking scenes in three folders, one of which is kept for validation."""
    root = tmp_path_factory.mktemp("films")
    for number, folder in enumerate(["ann", "ben", "ann", "hal", "ben"]):
        talking(root / folder / f"{number}.mp4", seed=number)
    return root


make_scenes = run.scenes


@functools.cache  # every training reads them, and none changes them
def three_scenes(seed: int) -> list[CachedClip]:
    return make_scenes(seed, 3, lambda *_: None)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same training, with a small network, small windows and three scenes."""
    monkeypatch.setattr(run, "ModelConfig", lambda: TINY)
    monkeypatch.setattr(run, "CROP", Recipe("crop", (48, 48), frames=20, margin=6))
    monkeypatch.setattr(run, "FRAME", Recipe("frame", (48, 64), frames=20, margin=6, speed=0.1))
    monkeypatch.setattr(run, "Stage", functools.partial(learn.Stage, batch=4))
    monkeypatch.setattr(run, "scenes", lambda seed, *_: three_scenes(seed))
    monkeypatch.setattr(
        run, "extract", functools.partial(heads.extract, levels=(48,), max_pieces=1)
    )
    monkeypatch.setattr(
        run,
        "learn_head",
        lambda net, features, settings, **options: heads.learn_head(
            net, features, replace(settings, batch=2), **options
        ),
    )
    monkeypatch.setattr(run, "keep_memory", lambda **_: None)


def settings(films: Path, out: Path, **options: Any) -> settings_train.TrainSettings:
    steps = {"crossfit_steps": 2, "crop_steps": 2, "frame_steps": 2, "head_steps": 2}
    return settings_train.TrainSettings(
        data=(films,), out=out, device="cpu", **{**steps, **options}
    )


@pytest.mark.slow
def test_training_from_a_directory_to_weights_and_on_after_a_kill(
    films: Path, small: None, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    path = run.train(settings(films, out))
    assert path == out / "sync.safetensors"
    for kind in ATTENTION_KINDS:
        loaded = weights.load(path, device="cpu", attention=kind)
    assert loaded.net.config == replace(TINY, attention=ATTENTION_KINDS[-1])
    assert loaded.training["clips_used"] >= 1
    assert loaded.training["seed"] == 1
    Calibration(**loaded.calibration)
    assert {item.name for item in out.iterdir()} >= {
        "cache",
        "crossfit-0.pt",
        "crossfit-1.pt",
        "frames.pt",
        "heads.pt",
    }
    assert not list(out.glob("*.partial"))

    with pytest.raises(UsageError, match=r"^out: .* or resume"):
        run.train(settings(films, out))

    # A kill after the trunks: the heads are learnt again, from the same trunks with the same seed,
    # to the same file.
    digest, trunks = loaded.sha256, (out / "frames.pt").stat().st_mtime_ns
    path.unlink()
    (out / "heads.pt").unlink()
    assert weights.load(run.train(settings(films, out, resume=True)), device="cpu").sha256 == digest
    assert (out / "frames.pt").stat().st_mtime_ns == trunks

    # A kill during the frames stage: that stage is trained again, and what came before it is not.
    before = (out / "crossfit-0.pt").stat().st_mtime_ns
    for name in ("frames.pt", "heads.pt", "sync.safetensors"):
        (out / name).unlink()
    assert weights.load(run.train(settings(films, out, resume=True)), device="cpu").sha256 == digest
    assert (out / "crossfit-0.pt").stat().st_mtime_ns == before


def start_weights(path: Path, **calibration: float) -> Path:
    torch.manual_seed(7)
    made = {kind: JointHead(replace(TINY, attention=kind)) for kind in ATTENTION_KINDS}
    weights.save(
        path,
        SyncNet(TINY),
        made,
        calibration=calibration,
        training={"seed": 5, "minutes_used": 90.0},
    )
    return path


@pytest.mark.slow
def test_a_catalogue_moves_the_trunks_a_little_and_nothing_else(
    films: Path, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights to go on from and no offset known: heads and calibration stay, and clips they are not
    sure of are left out.
    """
    start = start_weights(tmp_path / "start.safetensors", none=3.25, decide=0.8)
    unsure: list[str] = []

    def estimate_offset(_: weights.Loaded, item: CachedClip, calibration: Calibration) -> Estimate:
        assert calibration.none == 3.25
        if item.clip.split == "train" and not unsure:
            unsure.append(item.clip.id)
            return Estimate(0.5, 0.79)
        return Estimate(0.5, 0.81)

    monkeypatch.setattr(crossfit, "estimate_offset", estimate_offset)
    out = tmp_path / "run"
    path = run.train(settings(films, out, start=start, adapt_steps=3))
    assert len(json.loads((out / "estimates.json").read_text())) == 5
    assert {item.name for item in out.iterdir()} == {
        "cache",
        "estimates.json",
        "adapt.pt",
        "sync.safetensors",
        "summary.json",
    }
    assert json.loads((out / "summary.json").read_text())["dropped"] == unsure
    adapted = torch.load(out / "adapt.pt", weights_only=True)["learner"]["mean_net"]
    for kind in ATTENTION_KINDS:
        before, after = (weights.load(each, device="cpu", attention=kind) for each in (start, path))
        assert after.calibration == before.calibration == {"none": 3.25, "decide": 0.8}
        for name, value in before.net.state_dict().items():
            now = after.net.state_dict()[name]
            if name.startswith("head."):
                assert torch.equal(now, value), name
            elif value.is_floating_point():
                assert torch.allclose(now, (value + adapted[name]) / 2, atol=1e-6), name
    first = "visual." + next(iter(before.net.visual.state_dict()))
    assert not torch.equal(before.net.state_dict()[first], after.net.state_dict()[first])
    facts = after.training
    assert facts["adapted_from"] == before.sha256
    assert facts["training_before"] == {"seed": 5, "minutes_used": 90.0}
    clips = corpus.find_clips(films)
    trained = [clip for clip in clips if clip.split == "train" and clip.id not in unsure]
    assert (facts["clips_used"], facts["clips_dropped"]) == (len(trained), 1)
    assert set(facts["adapt_on_groups_held_out"]) == {"before", "after"}
    assert (
        facts["adapt_on_groups_held_out"]["after"]["4 s"]["pieces"] == len(clips) - len(trained) - 1
    )

    monkeypatch.setattr(crossfit, "estimate_offset", lambda *_: Estimate(0.0, 0.1))
    with pytest.raises(
        UsageError, match=r"start\.safetensors is sure of the offset of none of these clips"
    ):
        run.train(settings(films, tmp_path / "other", start=start))


def test_weights_of_another_network_are_refused_before_anything_is_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = start_weights(tmp_path / "tiny.safetensors")
    trusted = SimpleNamespace(clip=SimpleNamespace(trusted=True))
    monkeypatch.setattr(run, "_cached", lambda *_: [trusted])
    monkeypatch.setattr(run, "keep_memory", lambda **_: None)
    out = f"--out={tmp_path / 'run'}"
    assert main(["train", str(tmp_path), out, f"--from={start}"]) == 2
    assert capsys.readouterr().err.lstrip() == (
        f"avcheck: --from: {start} holds another network than this version trains; leave it out\n"
    )


@pytest.mark.parametrize(("count", "sources"), [(70, []), (100, ["generic"])])
def test_sounds_shorter_than_their_windows_do_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, sources: list[str]
) -> None:
    """No window can be cut from them, and all that came before would be lost."""
    short = stairs(count)
    short = replace(short, clip=replace(short.clip, kind="generic"))
    stages: list[learn.Stage] = []
    monkeypatch.setattr(run, "_cached", lambda *_: [stairs(200), short])
    monkeypatch.setattr(run, "keep_memory", lambda **_: None)
    monkeypatch.setattr(run, "ModelConfig", lambda: TINY)
    monkeypatch.setattr(run, "scenes", lambda *_: [stairs(200)])
    monkeypatch.setattr(run, "run_stage", lambda _, stage, **options: stages.append(stage))
    monkeypatch.setattr(run, "_heads", lambda *_: {})
    monkeypatch.setattr(run, "_write", lambda *_: tmp_path)
    run.train(settings(tmp_path, tmp_path / "run"))
    (frames,) = stages
    assert [source.name for source in frames.sources] == ["speech", *sources, "scenes"]


def test_an_out_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    films = touch(tmp_path / "films" / "ann" / "1.mp4").parents[1]  # none of which is decoded
    touch(tmp_path / "used" / "file")
    with pytest.raises(UsageError, match="not empty"):
        run.train(settings(films, tmp_path / "used"))
    with pytest.raises(UsageError, match="not a directory"):
        run.train(settings(films, tmp_path / "used" / "file"))
    with pytest.raises(UsageError, match=r"out: cannot make .*: Not a directory"):
        run.train(settings(films, tmp_path / "used" / "file" / "run"))


def test_the_same_corpus_twice_is_refused(tmp_path: Path) -> None:
    films = touch(tmp_path / "films" / "ann" / "1.mp4").parents[1]
    twice = replace(settings(films, tmp_path / "run"), data=(films, films))
    with pytest.raises(UsageError, match="have the same id"):
        run.train(twice)


def test_a_directory_without_usable_clips_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "text.mp4").write_text("not a film")
    with pytest.raises(UsageError, match="no clip"):
        run.train(settings(tmp_path / "films", tmp_path / "run"))


@pytest.mark.slow
def test_generated_scenes_are_clips_in_sync() -> None:
    scenes = three_scenes(1)
    assert [item.clip.offset_frames for item in scenes] == [0.0] * 3
    assert all(
        item.frames.dtype == np.uint8 and len(item.samples) == len(item.frames) * A_FRAME
        for item in scenes
    )
    assert [len(item.faces) > 0 for item in scenes] == [True, True, False]
    face = sampling.face_at(scenes[0], 10, 40)
    assert face is not None
    assert 0 < face.x < scenes[0].frames.shape[2]
    assert 0 < face.y < scenes[0].frames.shape[1]


def test_settings_scale_every_stage() -> None:
    plain = settings_train.TrainSettings(data=(), out=Path("out"))
    assert plain.scaled(0.5).frame_steps == plain.frame_steps // 2
    assert plain.scaled(1e-9).head_steps == plain.scaled(1e-9).crossfit_steps == 1
