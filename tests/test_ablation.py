"""The ablation: what is trained, what is kept, and that the tables say what the rows say."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from avcheck.errors import UsageError
from avcheck.eval import ablation, ablation_tables, trunks
from avcheck.eval import rates as rates_eval
from avcheck.eval.ablation import AblationSettings, Variant, ablate
from avcheck.eval.rows import Row
from avcheck.network.heads import JointHead
from avcheck.network.model import SyncNet
from avcheck.network.model_config import ATTENTION_KINDS
from avcheck.network.weights import Loaded, save
from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.reading.segments import MAX_SHIFT
from avcheck.scenes.generate import make_scene
from avcheck.train.corpus import CachedClip, Clip, cache_clip
from avcheck.train.learn import Stage
from avcheck.train.sampling import Recipe
from avcheck.train.settings import HeadSettings
from tests.support.clips import make_clip
from tests.support.networks import SMALL

torch.set_num_threads(1)
FEW = (
    Variant("uniform", HeadSettings("uniform", refuse=0.0)),
    Variant("spatio-temporal", HeadSettings("spatio-temporal")),
    Variant("transformer, cross-modal + CTM", HeadSettings("transformer", "cross", matching=0.2)),
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    lines: list[dict[str, Any]] = []
    plan = (
        ("s1", "val", "speech", "g1", 10.6),
        ("s2", "val", "speech", "g2", 6.6),
        ("o1", "val", "generic", "g3", 6.6),
        ("t1", "train", "speech", "g8", 3.6),
        ("t2", "train", "generic", "g9", 3.6),
    )
    for name, split, kind, group, seconds in plan:
        path = folder / f"{name}.mkv"
        path.parent.mkdir(parents=True, exist_ok=True)
        make_clip(path, seconds=seconds, size=(64, 48), acodec="libopus", events_s=(1.0, 2.2, 3.1))
        line = {"id": name, "split": split, "kind": kind, "group": group, "file": path.name}
        lines.append(
            line | ({"true_offset": {"frames": 0.5, "trusted": True}} if kind == "speech" else {})
        )
    (folder / "index.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.fixture
def settings(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AblationSettings:
    torch.manual_seed(1)
    weights = tmp_path / "w.safetensors"
    heads = {kind: JointHead(replace(SMALL, attention=kind)) for kind in ATTENTION_KINDS}
    save(weights, SyncNet(SMALL), heads, calibration={}, training={})
    monkeypatch.setattr(rates_eval, "RATES", (50.0,))
    monkeypatch.setattr(ablation_tables, "RATE_S", 2.0)
    monkeypatch.setattr(rates_eval, "RATE_S", 2.0)
    monkeypatch.setattr(rates_eval, "RATE_SCENES", 1)
    return AblationSettings(
        corpus, tmp_path / "out", weights, "cpu", steps=2, seeds=(1,), go_on=True
    )


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.slow
def test_heads_are_trained_measured_and_kept(
    settings: AblationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages: list[str] = []
    texts = list(
        ablate(
            settings,
            variants=FEW,
            levels=(48,),
            on_step=lambda stage, done, total: stages.append(stage),
        )
    )
    assert "2 steps going on from the heads of the weights, seeds 1" in texts[0]
    assert "2 clips of speech, 1 others" in texts[0]
    assert [row[:2] for row in cells(texts[1])] == [[variant.name, "1"] for variant in FEW]
    assert {"features", "validation clips", "transformer-cross-modal-CTM-1"} <= set(stages)
    rates = [
        json.loads(line)
        for line in (settings.out / "rows" / "rates-1.jsonl").read_text().splitlines()
    ]
    fed = {(row["source"], row["variant"], row["fed"]) for row in rows_of(rates)}
    transformer, plain = FEW[2].name, FEW[1].name
    assert fed == {
        (source, name, how)
        for source in ("clips", "scenes")
        for name, how in ((plain, "25 fps"), (transformer, "25 fps"), (transformer, "native"))
    }
    # The trained heads are other than what they began as, and the sound of a pair is measured on
    # trusted speech alone.
    rows = [
        json.loads(line)
        for line in (settings.out / "rows" / "spatio-temporal-1.jsonl").read_text().splitlines()
    ]
    assert {row["clip"] for row in rows if row["measure"] == "paper"} == {"s1", "s2", "o1"}
    assert {row["clip"] for row in rows if row["measure"] == "offset"} == {"s1", "s2"}
    assert {abs(row["late_ms"]) for row in rows if row["measure"] == "pairwise"} == {
        40,
        80,
        200,
        500,
    }

    def never(*_: object, **__: object) -> None:
        raise AssertionError("this was done before")

    for name in ("learn_head", "measure", "extract", "observe"):
        monkeypatch.setattr(ablation, name, never)
    monkeypatch.setattr(rates_eval, "rate_rows", never)
    again = list(ablate(settings, variants=FEW, levels=(48,)))
    assert [[row[:-1] for row in cells(text)] for text in again] == [
        [row[:-1] for row in cells(text)] for text in texts
    ]
    with pytest.raises(UsageError, match="another recipe"):
        list(ablate(replace(settings, steps=3), variants=FEW, levels=(48,)))
    index = settings.corpus / "index.jsonl"
    index.write_text(index.read_text().partition("\n")[2])
    with pytest.raises(UsageError, match="another corpus"):
        list(ablate(settings, variants=FEW, levels=(48,)))


def test_an_ablation_that_cannot_be_kept_or_measured_is_refused(settings: AblationSettings) -> None:
    (settings.corpus / "file").touch()
    with pytest.raises(UsageError, match=r"out: cannot make .*: Not a directory"):
        next(ablate(replace(settings, out=settings.corpus / "file" / "out"), variants=FEW))
    index = settings.corpus / "index.jsonl"
    training = [line for line in index.read_text().splitlines() if "train" in line]
    index.write_text("\n".join(training))
    with pytest.raises(UsageError, match="no clip of the validation groups decodes"):
        next(ablate(settings, variants=FEW))


def rows_of(rows: list[Row]) -> list[Row]:
    assert all(np.isfinite(row["error_frames"]) and 0 <= row["won_80_ms"] <= 1 for row in rows)
    return rows


class Listener(nn.Module):
    """Hears how loud each 40 ms is."""

    def sound(self, mel: Tensor) -> Tensor:
        return mel.unflatten(1, (-1, 4)).mean(dim=(2, 3)).unsqueeze(-1)


@pytest.mark.parametrize("rate", [24.0, 30_000 / 1001])
@pytest.mark.parametrize("late", [-8, 0, 5])
def test_a_clip_at_another_rate_has_its_sound_where_it_is_said_to_be(
    rate: float, late: int
) -> None:
    rng = np.random.default_rng(1)
    code = rng.uniform(0, 1, 400)
    frames = np.broadcast_to((code * 255).astype(np.uint8)[:, None, None], (400, 16, 16))
    own = 3  # the clip's own sound is so much late
    level = np.exp(-6 + 4.5 * np.roll(code, own))
    a_frame = SAMPLE_RATE // FRAME_RATE
    samples = (np.repeat(level, a_frame) * rng.uniform(-1, 1, 400 * a_frame) * 32767).astype(
        np.int16
    )
    clip = Clip(
        id="c",
        path=Path("c"),
        group="g",
        kind="speech",
        split="val",
        offset_frames=float(own),
        trusted=True,
    )
    net: Any = Listener()
    model = Loaded(net, "", torch.device("cpu"), False, {}, {})
    item = rates_eval.paced_clip(
        CachedClip(clip, frames, samples, np.zeros((0, 4), np.float32)), rate, late, model
    )
    assert item is not None
    assert len(item.frames) == round(8 * rate)
    assert item.heard.all()
    bright = item.frames[:, 0, 0].astype(float)
    middle_s = (np.arange(len(bright)) + 0.5) / rate
    heard_s = (np.arange(item.sound.shape[1]) - MAX_SHIFT + 0.5) / FRAME_RATE
    loud = item.sound[0, :, 0].numpy()
    likeness = [
        np.corrcoef(
            bright[10:-10], np.interp(middle_s[10:-10] + shift / FRAME_RATE, heard_s, loud)
        )[0, 1]
        for shift in range(-15, 16)
    ]
    assert int(np.argmax(likeness)) - 15 == late
    assert max(likeness) > 0.6


def test_a_short_clip_is_not_played_at_another_rate() -> None:
    clip = Clip(id="c", path=Path("c"), group="g", kind="speech", split="val")
    short = CachedClip(
        clip,
        np.zeros((200, 16, 16), np.uint8),
        np.zeros(128_000, np.int16),
        np.zeros((0, 4), np.float32),
    )
    net: Any = Listener()
    assert (
        rates_eval.paced_clip(
            short, 30_000 / 1001, 0, Loaded(net, "", torch.device("cpu"), False, {}, {})
        )
        is None
    )


def test_the_table_of_heads_says_what_the_rows_say() -> None:
    rows: list[Row] = []
    for seed, group, right in ((1, "a", True), (1, "b", True), (2, "a", True), (2, "b", False)):
        about = {
            "variant": "v",
            "seed": seed,
            "clip": group,
            "group": group,
            "kind": "speech",
            "trusted": True,
            "first": 0,
        }
        for in_sync in (True, False):
            rows.append(
                {
                    **about,
                    "measure": "paper",
                    "in_sync": in_sync,
                    "logit": 1.0 if in_sync == right else -1.0,
                }
            )
        # not displaced: no decision
        rows.append({**about, "first": 105, "measure": "paper", "in_sync": True, "logit": -1.0})
        rows.append({**about, "measure": "pairwise", "late_ms": -80, "won": 0.5})
        rows.append(
            {**about, "measure": "offset", "seconds": 4.2, "error_frames": -1.0 if right else 1.5}
        )
    (row,) = cells(ablation_tables.head_table(rows, {"v": 0.5, "spatio-temporal": 1.0}))
    assert row[:2] == ["v", "2"]
    assert row[2].startswith("0.75 [")
    assert row[4] == row[2]
    assert row[5] == "-"
    assert row[6] == "-"
    assert row[7].startswith("0.50 [")
    assert row[10].startswith("0.75 [")
    assert row[11] == "-"
    assert row[12] == "0.50 (0.50x)"


@pytest.mark.slow
def test_trunks_are_trained_measured_and_kept(
    settings: AblationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trunks, "FRAME", Recipe("frame", (48, 64), frames=20, margin=6))
    out, cache = settings.out / "trunks", settings.out / "cache"
    cache.mkdir(parents=True)
    clips = trunks.TrustedClips(settings.corpus, cache)
    rows = trunks.trunk_rows(clips, out, model=settings.model, device="cpu", steps=2, seed=1)
    assert {(row.alignment, row.steady, row.camera, row.group) for row in rows} == {
        (alignment, steady, camera, group)
        for alignment in (False, True)
        for steady in (False, True)
        for camera in ("as it is", "held by hand")
        for group in ("g1", "g2")
    }
    plain, aligned = (
        torch.load(out / f"trunk-{name}-1.pt", weights_only=True) for name in ("plain", "aligned")
    )
    assert not torch.equal(
        *(kept["learner"]["net"]["visual.project.weight"] for kept in (plain, aligned))
    )
    monkeypatch.setattr(trunks, "run_stage", None)  # this was done before
    assert (
        trunks.trunk_rows(clips, out, model=settings.model, device="cpu", steps=2, seed=1) == rows
    )
    lines = cells(trunks.trunk_table(rows, 2))
    assert [line[:3] for line in lines] == [
        [camera, pictures, trunk]
        for camera in ("as it is", "held by hand")
        for pictures in ("as they come", "held steady")
        for trunk in ("plain", "aligned")
    ]


def test_clips_too_far_out_of_sync_to_learn_from_are_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Clip("c", tmp_path, "g", "speech", "train", offset_frames=14.0, trusted=True)
    item = CachedClip(far, *(np.zeros(0) for _ in range(3)))  # type: ignore[arg-type]
    monkeypatch.setattr(trunks, "find_clips", lambda _: [far])
    monkeypatch.setattr(trunks, "cache_clip", lambda *_: item)
    clips = trunks.TrustedClips(tmp_path, tmp_path)
    assert clips.of("train") == [item]
    with pytest.raises(UsageError, match="no clip of the train groups is known well enough"):
        clips.to_learn_from()


def test_a_hand_moves_whole_pictures_smoothly_and_not_far() -> None:
    rng = np.random.default_rng(0)
    scene = np.repeat(np.repeat(rng.integers(0, 256, (11, 14), np.uint8), 16, axis=0), 16, axis=1)
    clip = Clip(id="c", path=Path("c"), group="g", kind="speech", split="val")
    still = CachedClip(
        clip,
        np.broadcast_to(scene, (80, 176, 224)),
        np.zeros(0, np.int16),
        np.zeros((0, 4), np.float32),
    )
    held = trunks.held_by_hand(still, 3)
    assert held.frames.shape == still.frames.shape
    assert np.array_equal(held.frames, trunks.held_by_hand(still, 3).frames)
    window = np.hanning(176)[:, None] * np.hanning(224)
    spectra = [np.fft.fft2((frame - frame.mean()) * window) for frame in held.frames]
    moves = []
    for before, after in pairwise(spectra):
        cross = np.fft.ifft2(after * before.conj()).real
        at = np.unravel_index(int(cross.argmax()), cross.shape)
        moves.append([(at[0] + 88) % 176 - 88, (at[1] + 112) % 224 - 112])
    moves_px = np.array(moves)
    assert np.abs(moves_px).max() <= 12
    assert 0.3 < np.abs(moves_px).mean() < 4
    assert np.abs(moves_px.cumsum(axis=0)).max() < 2.5 * 0.12 * 176


@pytest.mark.slow
def test_first_steps_with_and_without_scenes(
    settings: AblationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = Recipe("crop", (48, 48), frames=20, margin=6)
    monkeypatch.setattr(trunks, "CROP", crop)
    monkeypatch.setattr(trunks, "ModelConfig", lambda: SMALL)
    monkeypatch.setattr(trunks, "_SCENES", 2)
    generated = make_scene("talking", seed=9, seconds=4.0, size=(96, 96))
    assert generated.faces is not None
    faces = np.column_stack([np.arange(0, 100, 5) / 25, generated.faces[::5]]).astype(np.float32)

    def with_a_face(clip: Clip, folder: Path) -> CachedClip:
        cached = cache_clip(clip, folder)
        assert cached is not None
        return replace(cached, faces=faces)

    monkeypatch.setattr(trunks, "cache_clip", with_a_face)
    stages: list[list[str]] = []
    monkeypatch.setattr(
        trunks, "run_stage", lambda learner, stage, **_: stages.append(_sources(stage))
    )

    def run() -> list[trunks.FirstRow]:
        cache = settings.out / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        clips = trunks.TrustedClips(settings.corpus, cache)
        return trunks.first_rows(clips, settings.out / "first", device="cpu", steps=10, seed=1)

    rows = run()
    assert stages == [
        ["speech x 10"],
        ["speech x 10", "scenes x 10"],
        ["scenes x 3"],
        ["speech x 7"],
    ]
    assert {(row.scenes, row.group) for row in rows} == {
        (way, group) for way in trunks.SCENES for group in ("g1", "g2")
    }
    assert run() == rows
    assert len(stages) == 4  # kept
    lines = cells(trunks.first_table(rows, 10))
    assert [line[:2] for line in lines] == [[way, "1"] for way in trunks.SCENES]


def _sources(stage: Stage) -> list[str]:
    return [f"{source.name} x {stage.steps}" for source in stage.sources]
