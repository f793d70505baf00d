"""Training from a directory of clips to a weights file, and the signs and arithmetic it stands
on.
"""

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
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support.clips import make_clip
from tests.support.networks import TINY
from tests.support.shaken import filmed, unsteady

pytest.importorskip("cv2")

from avcheck import weights
from avcheck.blocks import FRAME_RATE
from avcheck.errors import UsageError
from avcheck.heads import JointHead
from avcheck.looking import Look
from avcheck.match import Match
from avcheck.mel import SAMPLE_RATE, context_samples, log_mel
from avcheck.model import SyncNet
from avcheck.model_config import ATTENTION_KINDS
from avcheck.posterior import Calibration, Estimate, posterior
from avcheck.scenes.generate import make_scene
from avcheck.train import (
    augment,
    calibrate,
    clean,
    corpus,
    crossfit,
    heads,
    learn,
    measure,
    run,
    sampling,
)
from avcheck.train import settings as settings_train
from avcheck.train.corpus import CachedClip, Clip, find_clips
from avcheck.train.losses import shift_loss, shift_target
from avcheck.train.sampling import EDGE_FRAMES, Recipe, read_sound

torch.set_num_threads(1)
Array = np.ndarray[Any, Any]
A_FRAME = SAMPLE_RATE // FRAME_RATE
PLAIN = Recipe("frame", (48, 48), frames=20, margin=5, strength=0.0)


def cached(
    frames: Array,
    samples: Array,
    *,
    offset: float | None = 0.0,
    name: str = "a",
    faces: Array | None = None,
) -> CachedClip:
    clip = Clip(
        id=name,
        path=Path(name),
        group=name,
        kind="speech",
        split="train",
        offset_frames=offset,
        trusted=True,
    )
    return CachedClip(
        clip, frames, samples, np.zeros((0, 4), np.float32) if faces is None else faces
    )


def stairs(count: int, late: float = 0.0, size: int = 48) -> CachedClip:
    """Picture k shows k, and the sound of picture k is k as well, `late` pictures behind."""
    frames = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, size, size))
    at = np.arange(count * A_FRAME) / A_FRAME - late
    return cached(
        np.ascontiguousarray(frames),
        (100 * np.floor(at)).clip(0, 32000).astype(np.int16),
        offset=late,
    )


# Losses


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


# Samples


@pytest.mark.parametrize("start", [20.0, 20.37, 7.5, 3.0])
def test_sound_is_read_where_it_is_asked_for(start: float) -> None:
    rng = np.random.default_rng(0)
    clip = cached(
        np.zeros((60, 8, 8), np.uint8), rng.integers(-20000, 20000, 60 * A_FRAME).astype(np.int16)
    )
    samples, valid = read_sound(clip, start, 10)
    context = context_samples()
    assert len(samples) == 10 * A_FRAME + 2 * context
    first = round(start * A_FRAME) - context
    assert np.array_equal(
        samples, clip.samples[first : first + len(samples)].astype(np.float32) / 32768
    )
    assert valid.all()
    assert log_mel(samples).shape == (40, 64)


@pytest.mark.parametrize("pace", [0.9, 1.1])
def test_sound_at_another_pace_is_read_where_the_pictures_are(pace: float) -> None:
    ramp = np.arange(100 * A_FRAME) / 8.0
    clip = cached(np.zeros((100, 8, 8), np.uint8), ramp.astype(np.int16))
    samples, valid = read_sound(clip, 30.0, 20, pace)
    context = context_samples()
    where = 30.0 * A_FRAME + (np.arange(len(samples)) - context) * pace
    assert np.abs(samples * 32768 - where / 8.0).max() < 1.0
    assert valid.all()
    _, late = read_sound(clip, 80.0, 20, pace)
    assert int(late.sum()) == np.count_nonzero(80.0 + np.arange(20) * pace <= 96.0)


def test_a_sample_at_another_pace_still_matches_at_its_centre() -> None:
    """Each picture shows its number and sounds like it: at the true shift both agree, whatever the
    pace.
    """
    clip = stairs(200, late=2.0)
    recipe = replace(PLAIN, frames=40, speed=0.15, strength=0.0)
    paces = set()
    for seed in range(12):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sampling, "treat_pictures", lambda pictures, *_: pictures)
            patch.setattr(sampling, "treat_sound", lambda samples, *_: samples)
            patch.setattr(sampling, "treat_mel", lambda mel, *_: mel)
            patch.setattr(sampling, "log_mel", lambda samples: samples)
            sample = sampling.draw(clip, recipe, np.random.default_rng(seed), [])
        assert sample is not None
        shown = sample.pictures[:, 24, 24].astype(float)
        middle = context_samples() + (np.arange(40) + recipe.margin + sample.centre + 0.5) * A_FRAME
        heard = sample.mel[middle.round().astype(int)] * 32768 / 100
        paces.add(round((shown[-1] - shown[0]) / 39, 1))
        assert np.abs(heard - shown).max() <= 1.2
        assert abs(float((heard - shown).mean())) < 0.7
    assert len(paces) > 1


@pytest.mark.parametrize("start", [-8.0, -2.4, 52.0, 58.3, -100.0, 200.0])
def test_sound_beyond_the_clip_is_silent_and_not_valid(start: float) -> None:
    clip = cached(np.zeros((60, 8, 8), np.uint8), np.full(60 * A_FRAME, 16384, np.int16))
    samples, valid = read_sound(clip, start, 10)
    context = context_samples()
    index = round(start * A_FRAME) - context + np.arange(len(samples))
    assert np.array_equal(samples != 0, (index >= 0) & (index < 60 * A_FRAME))
    moment = start + np.arange(10)
    # Neither end of a clip is used, and every valid picture's whole sound is inside.
    assert np.array_equal(valid, (moment >= EDGE_FRAMES) & (moment + 1 <= 60 - EDGE_FRAMES))


@pytest.mark.parametrize("late", [-5.0, 0.0, 3.0, 4.6])
def test_a_sample_matches_when_its_sound_is_read_centre_pictures_later(
    late: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound that is late by `late` pictures, and is known to be: at shift `centre` the picture's
    own sound is read.
    """
    clip = stairs(120, late)
    monkeypatch.setattr(sampling, "log_mel", lambda samples: samples)
    recipe = replace(PLAIN, size=(16, 16))
    monkeypatch.setattr(sampling, "treat_pictures", lambda pictures, *_: pictures)
    monkeypatch.setattr(sampling, "treat_sound", lambda samples, *_: samples)
    monkeypatch.setattr(sampling, "treat_mel", lambda mel, *_: mel)
    for seed in range(20):
        sample = sampling.draw(clip, recipe, np.random.default_rng(seed), ())
        assert sample is not None
        assert -0.5 <= sample.centre <= 0.5
        assert sample.pictures.shape == (20, 16, 16)
        assert sample.valid.shape == (11,)
        first = int(sample.pictures[0, 8, 8])
        assert sample.pictures[:, 8, 8].tolist() == list(range(first, first + 20))
        samples = np.asarray(sample.mel)[context_samples() :]  # log_mel is not applied here
        # Index 0 of the sound belongs to shift -margin; half a picture further on is the middle of
        # a stair.
        for k in (0, 7, 19):
            at = round((recipe.margin + sample.centre + k + 0.5) * A_FRAME)
            assert round(float(samples[at]) * 32768 / 100) == first + k


@pytest.mark.parametrize("offset", [0.0, -5.7, 6.0])
def test_windows_leave_room_for_the_clips_own_offset(offset: float) -> None:
    clip = stairs(60, offset)
    span = sampling.room(clip, 20)
    assert span is not None
    low, high = span
    assert low - abs(offset) >= EDGE_FRAMES
    assert high + 20 + abs(offset) <= 60 - EDGE_FRAMES
    assert sampling.room(clip, 60) is None


def test_valid_shifts_are_those_whose_sound_is_in_the_clip() -> None:
    clip = stairs(40)
    for seed in range(20):
        sample = sampling.draw(clip, replace(PLAIN, margin=15), np.random.default_rng(seed), ())
        assert sample is not None
        assert sample.valid[15]
        runs = np.flatnonzero(np.diff(sample.valid.astype(int)))
        assert len(runs) == 2  # one run of valid shifts, invalid ones on either side


def test_draws_are_repeatable_and_treated_harder_with_strength() -> None:
    scene = make_scene("talking", seed=3, seconds=3.0, size=(96, 96))
    clip = cached(scene.frames, (scene.samples * 32767).astype(np.int16))
    for strength in (0.0, 0.5, 1.0):
        recipe = replace(PLAIN, strength=strength)
        for seed in range(12):
            a, b = (
                sampling.draw(clip, recipe, np.random.default_rng(seed), [clip]) for _ in range(2)
            )
            assert a is not None
            assert b is not None
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
            assert a.pictures.dtype == np.uint8
            assert a.mel.shape == (4 * 30, 64)
            assert np.isfinite(a.mel).all()


def test_recompressing_a_moving_picture_gives_the_same_each_time() -> None:
    scene = make_scene("talking", seed=3, seconds=3.0, size=(96, 96))
    pictures = np.stack([np.roll(scene.frames[k], (k, 2 * k), (0, 1)) for k in range(60)])
    first = augment._recompress(pictures, quality=30)
    assert not np.array_equal(first, pictures)
    rng = np.random.default_rng(0)
    # Memory of many sizes taken and left in between, so that the coder meets others' leavings
    for _ in range(10):
        [rng.integers(0, 255, int(rng.integers(1, 300_000)), np.uint8) for _ in range(10)]
        assert np.array_equal(augment._recompress(pictures, quality=30), first)


def test_crops_are_cut_around_the_mouth() -> None:
    frames = np.zeros((40, 120, 160), np.uint8)
    frames[:, 78:90, 90:110] = 255  # the mouth of a face at (100, 70) of width 50
    faces = np.array([[t, 100.0, 70.0, 50.0] for t in np.arange(0, 1.6, 0.4)], np.float32)
    clip = cached(frames, np.zeros(40 * A_FRAME, np.int16), faces=faces)
    for seed in range(8):
        sample = sampling.draw(clip, replace(PLAIN, view="crop"), np.random.default_rng(seed), ())
        assert sample is not None
        rows, columns = np.nonzero(sample.pictures[0] > 128)
        assert abs(rows.mean() - 23.5) < 10
        assert abs(columns.mean() - 23.5) < 10
    assert (
        sampling.draw(
            replace(clip, faces=faces[:0]),
            replace(PLAIN, view="crop"),
            np.random.default_rng(0),
            (),
        )
        is None
    )


def test_a_window_is_cut_where_its_box_says() -> None:
    frame = np.arange(100 * 140, dtype=np.int64).reshape(1, 100, 140) % 251
    box = sampling._box(70.0, 50.0, 1.0, (20, 30), False)
    assert np.array_equal(
        sampling.cut(frame.astype(np.uint8), box, (20, 30))[0], frame[0, 40:60, 55:85]
    )


def test_recompressed_pictures_keep_their_order_and_size() -> None:
    frames = np.stack([np.full((51, 64), 20 + 6 * k, np.uint8) for k in range(30)])
    frames[:, 10:30, 10:30] += 40
    back = augment._recompress(frames, quality=30)
    assert back.shape == frames.shape
    assert np.abs(back.astype(int) - frames).mean() < 4
    assert not np.array_equal(back, frames)


def test_a_held_camera_drifts_about_the_window_and_stays_near_it() -> None:
    box = sampling._box(70.0, 50.0, 1.5, (40, 60), True)
    recipe = replace(PLAIN, size=(40, 60), strength=1.0)
    seen = [sampling._held(box, recipe, np.random.default_rng(seed)) for seed in range(40)]
    moving = [item for item in seen if item.ndim == 3]
    assert 10 < len(moving) < 40
    assert all(item.shape == (recipe.frames, 2, 3) for item in moving)
    assert all(np.ptp(item[:, 0, 2]) > 0 for item in moving)
    middle = np.array([30.0, 20.0, 1.0])
    centres = np.array([(item if item.ndim == 2 else item.mean(axis=0)) @ middle for item in seen])
    assert np.abs(centres - [70.0, 50.0]).max() < 1e-3  # turned and stretched about its middle
    assert np.array_equal(
        sampling._held(box, replace(recipe, strength=0.0), np.random.default_rng(0)), box
    )


def test_windows_of_whole_pictures_are_held_steady_as_in_a_check() -> None:
    item = cached(filmed(unsteady(120), (96, 128)), np.zeros(120 * A_FRAME, np.int16))

    def change(pictures: Array) -> float:
        return float(np.abs(np.diff(pictures[:, 16:-16, 16:-16].astype(float), axis=0)).mean())

    recipe = Recipe("frame", (96, 128), frames=60, margin=5, strength=0.0)
    drawn, viewed = [], []
    for steady in (False, True):
        sample = sampling.draw(item, replace(recipe, steady=steady), np.random.default_rng(1), [])
        assert sample is not None
        drawn.append(change(sample.pictures))
        window = measure.view_of(item, 20, 60, replace(recipe, steady=steady))
        assert window is not None
        viewed.append(change(window))
    assert drawn[1] < 0.6 * drawn[0]
    assert viewed[1] < 0.6 * viewed[0]


@pytest.mark.parametrize("flip", [False, True])
def test_somebody_else_is_put_beside_the_face_and_never_over_it(flip: bool) -> None:
    other = cached(np.full((60, 90, 120), 200, np.uint8), np.zeros(60 * A_FRAME, np.int16))
    recipe = replace(PLAIN, size=(48, 96))
    box = sampling._box(60.0, 45.0, 1.0, (48, 96), flip)
    for x in (30.0, 60.0, 90.0):
        face = (x, 45.0, 20.0)
        at = round((x - box[0, 2]) / box[0, 0])
        pictures = np.zeros((recipe.frames, 48, 96), np.uint8)
        sampling._stand_beside(pictures, face, box, recipe, np.random.default_rng(0), [other])
        assert (pictures == 200).any()
        assert not pictures[:, :, max(0, at - 10) : at + 10].any()
    untouched = np.zeros((recipe.frames, 48, 96), np.uint8)
    sampling._stand_beside(untouched, None, box, recipe, np.random.default_rng(0), [other])
    assert not untouched.any()


def test_a_room_rings_on_and_leaves_the_direct_sound_in_place() -> None:
    click = np.zeros(16_000, np.float32)
    click[5_000] = 1.0
    wet = augment._in_a_room(click, np.random.default_rng(0))
    assert int(np.abs(wet).argmax()) == 5_000
    assert not np.abs(wet[:4_999]).max() > 1e-4
    assert np.abs(wet[5_050:7_000]).sum() > 0.5


def test_another_vocal_tract_moves_bands_and_no_columns() -> None:
    mel = np.full((40, 64), -10.0, np.float32)
    mel[17, 30] = 0.0
    peaks = set()
    for seed in range(30):
        out = augment.treat_mel(mel, 1.0, np.random.default_rng(seed))
        assert out.shape == mel.shape
        if out.max() > -8:  # not in a band that was lost
            time, band = np.unravel_index(int(out.argmax()), out.shape)
            assert time == 17
            peaks.add(int(band))
    assert len(peaks) > 4
    assert np.array_equal(augment.treat_mel(mel, 0.0, np.random.default_rng(0)), mel)


# Cleaning


class Code(nn.Module):
    """Trunks that tell the time: picture k and its sound have one random unit feature each."""

    def __init__(self, count: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.code = nn.Parameter(F.normalize(torch.randn(count, 16, generator=generator), dim=-1))
        self.match = Match()

    def visual(self, pictures: Tensor) -> tuple[Tensor, tuple[int, int]]:
        middle = pictures.shape[-1] // 2
        return self.code[pictures[0, :, middle, middle].long()][None, :, None], (1, 1)

    def sound(self, mel: Tensor) -> Tensor:
        return self.code[mel[0, :, 0].long()][None]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Code:
    """A stub network, and log-mel replaced by the number that `stairs` put into the sound."""
    from avcheck.train import measure

    def level(samples: Array) -> Array:
        inside = samples[context_samples() : len(samples) - context_samples()]
        return np.round(inside.reshape(-1, A_FRAME)[:, A_FRAME // 2] * 32768 / 100).astype(
            np.float32
        )[:, None]

    monkeypatch.setattr(measure, "log_mel", level)
    return Code(256)


@pytest.mark.parametrize("late", [-5, 0, 2, 5])
def test_a_clips_own_offset_is_found_with_its_sign(told: Code, late: int) -> None:
    found = clean.estimate_offset(told, stairs(240, late), Recipe("frame", (48, 48)))  # type: ignore[arg-type]
    assert found is not None
    frames, trusted = found
    assert frames == pytest.approx(late, abs=0.3)
    assert trusted


def test_an_offset_beyond_belief_is_found_but_not_trusted(told: Code) -> None:
    found = clean.estimate_offset(told, stairs(240, 14), Recipe("frame", (48, 48)))  # type: ignore[arg-type]
    assert found is not None
    assert found[0] == pytest.approx(14, abs=0.3)
    assert not found[1]


def test_sound_of_another_clip_is_not_trusted(told: Code) -> None:
    clip = stairs(240)
    rng = np.random.default_rng(0)
    foreign = np.repeat(100 * rng.integers(0, 256, 240), A_FRAME).astype(np.int16)
    (out,) = clean.clean(told, [replace(clip, samples=foreign)], Recipe("frame", (48, 48)))  # type: ignore[arg-type]
    assert not out.clip.trusted


def test_cleaning_writes_the_estimate_into_the_clip_and_reports(told: Code) -> None:
    steps: list[tuple[int, int]] = []
    clips = [stairs(240, 3), stairs(64, -2)]
    out = clean.clean(told, clips, Recipe("frame", (48, 48)), lambda *step: steps.append(step))  # type: ignore[arg-type]
    assert [item.clip.offset_frames for item in out] == pytest.approx([3, -2], abs=0.3)
    assert all(item.clip.trusted for item in out)
    assert out[0].frames is clips[0].frames
    assert steps == [(1, 2), (2, 2)]


def test_a_clip_without_a_face_has_no_crop_to_look_at(told: Code) -> None:
    (out,) = clean.clean(told, [stairs(240, 3)], Recipe("crop", (48, 48)))  # type: ignore[arg-type]
    assert (out.clip.offset_frames, out.clip.trusted) == (None, False)


# Corpus


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_plain_directory_is_split_by_its_folders(tmp_path: Path) -> None:
    for k in range(30):
        for name in ("a.mp4", "b.WMV", "notes.txt", ".hidden.mp4"):
            touch(tmp_path / f"group-{k}" / "deeper" / name)
    clips = find_clips(tmp_path)
    assert len(clips) == 60
    assert len({clip.id for clip in clips}) == 60
    assert {clip.kind for clip in clips} == {"speech"}
    by_group: dict[str, set[str]] = {}
    for clip in clips:
        by_group.setdefault(clip.group, set()).add(clip.split)
    assert len(by_group) == 30
    assert all(len(splits) == 1 for splits in by_group.values())
    assert 2 <= sum(splits == {"val"} for splits in by_group.values()) <= 12
    assert find_clips(tmp_path) == clips
    assert {clip.split for clip in find_clips(tmp_path, split="val")} == {"val"}


def test_files_of_the_same_name_in_two_directories_are_two_clips(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        touch(tmp_path / folder / "clip.mp4")
    assert find_clips(tmp_path / "one")[0].id != find_clips(tmp_path / "two")[0].id


@pytest.mark.parametrize("name", [f"group-{k}" for k in range(12)])
def test_a_directory_of_one_group_is_learnt_from(tmp_path: Path, name: str) -> None:
    """Whatever its name hashes to: with every clip kept for validation there would be nothing to
    train on.
    """
    touch(tmp_path / name / "a.mp4")
    assert [clip.split for clip in find_clips(tmp_path)] == ["train"]


def test_a_corpus_is_read_from_its_index(tmp_path: Path) -> None:
    row = {
        "id": "x1",
        "file": "media/x1.mp4",
        "group": "g",
        "kind": "speech",
        "split": "val",
        "face_rel": 0.4,
    }
    known = {**row, "id": "x2", "true_offset": {"frames": 2.5, "trusted": True}}
    (tmp_path / "index.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(known) + "\n")
    first, second = find_clips(tmp_path)
    assert (first.offset_frames, first.trusted, first.face_rel) == (None, False, 0.4)
    assert (second.offset_frames, second.trusted) == (2.5, True)
    assert first.path == tmp_path / "media" / "x1.mp4"


@pytest.mark.parametrize("line", ["not json", "[]", "{}", '"text"', '{"id": "x"}'])
def test_a_broken_index_is_a_usage_error_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "index.jsonl").write_text(line + "\n")
    with pytest.raises(UsageError, match="line 1"):
        find_clips(tmp_path)


def test_an_empty_directory_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no clips found"):
        find_clips(tmp_path)


def test_a_clip_is_decoded_once_with_its_sound_in_place(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", seconds=3.2, size=(320, 240), events_s=(1.0, 2.0))
    clip = Clip("id", path, "g", "generic", "train")
    first = corpus.cache_clip(clip, tmp_path / "cache")
    assert first is not None
    assert first.frames.shape == (80, 176, 235)
    assert len(first.samples) == 80 * A_FRAME
    assert int(first.frames.mean(axis=(1, 2)).argmax()) in (25, 50)
    loud = np.flatnonzero(np.abs(first.samples.astype(int)) > 6000)
    assert loud[0] == pytest.approx(SAMPLE_RATE, abs=0.02 * SAMPLE_RATE)
    path.unlink()
    again = corpus.cache_clip(clip, tmp_path / "cache")
    assert again is not None
    assert np.array_equal(again.frames, first.frames)


def test_what_does_not_decode_or_is_too_short_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a film")
    for _ in range(2):
        assert (
            corpus.cache_clip(
                Clip("text", tmp_path / "text.mp4", "g", "speech", "train"), tmp_path / "cache"
            )
            is None
        )
    short = make_clip(tmp_path / "short.mp4", seconds=1.0)
    assert (
        corpus.cache_clip(Clip("short", short, "g", "generic", "train"), tmp_path / "cache") is None
    )


@pytest.mark.parametrize("hole_s", [1.3, 2.5, 20.0])
def test_pictures_after_a_gap_are_not_closed_up(tmp_path: Path, hole_s: float) -> None:
    """A hole in the picture ends the clip: what follows would move ahead of its sound."""
    times_s = [k / 25 for k in range(40)] + [1.56 + hole_s + k / 25 for k in range(50)]
    path = make_clip(
        tmp_path / "gap.mp4",
        seconds=times_s[-1] + 0.5,
        picture_times_s=times_s,
        draw=lambda t: np.full((120, 160), 60 if t < 1.57 else 200, np.uint8),
    )
    frames, samples = corpus.decode(path, 64)
    assert 40 <= len(frames) <= 66  # held for a second at most
    assert frames.mean(axis=(1, 2)).max() < 100
    assert len(samples) == len(frames) * A_FRAME


# Calibration


def trial(
    truth: float | None, height: float = 10.0, seed: int = 0, seconds: float = 4.0
) -> calibrate.Trial:
    rng = np.random.default_rng(seed)
    score = rng.normal(-3, 0.7, len(calibrate.SHIFTS))
    if truth is not None:
        score += height * np.exp(-0.5 * ((calibrate.SHIFTS - truth - 0.6) / 1.2) ** 2)
    match = np.zeros(len(score), np.float32)
    return calibrate.Trial(frozenset({"group"}), score.astype(np.float32), match, truth, seconds)


def test_calibration_learns_bias_and_tells_own_from_foreign() -> None:
    rng = np.random.default_rng(0)
    found = calibrate.fit(
        [trial(float(rng.uniform(-25, 25)), seed=k) for k in range(12)]
        + [trial(None, seed=100 + k) for k in range(12)]
    )
    assert found.bias_frames == pytest.approx(0.6, abs=0.2)
    assert 20.0 <= found.guard_ms <= 60.0
    own, foreign = (posterior(trial(truth, seed=77).score, found)[1] for truth in (5.0, None))
    assert own < 0.1 < 0.7 < foreign
    assert json.loads(json.dumps(vars(found))) == vars(found)


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
    found = calibrate.left_out([*own, *foreign])
    assert set(found) == {"4 s", "10 s"}
    # One that refuses everything decides nothing, whatever was fitted.
    refused = calibrate.judged([*own, *foreign], Calibration(none=60.0))
    assert {name: (row["pieces"], row["decided"]) for name, row in refused.items()} == {
        "4 s": (12, 0),
        "10 s": (12, 0),
    }
    for row in found.values():
        assert row["pieces"] == 12
        assert row["accuracy"] == 1.0
        assert row["decided"] > 0.9
        assert row["right"] == 1.0
        assert row["confidence"] > 0.9
        assert row["foreign_decided"] == 0.0


def test_nothing_to_calibrate_on_gives_the_defaults() -> None:
    assert calibrate.fit([]) == Calibration()


# The whole of it


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


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same training, with a small network, small windows and three scenes."""
    scenes = run.scenes
    monkeypatch.setattr(run, "ModelConfig", lambda: TINY)
    monkeypatch.setattr(run, "CROP", Recipe("crop", (48, 48), frames=20, margin=6))
    monkeypatch.setattr(run, "FRAME", Recipe("frame", (48, 64), frames=20, margin=6, speed=0.1))
    monkeypatch.setattr(run, "Stage", functools.partial(learn.Stage, batch=4))
    monkeypatch.setattr(run, "scenes", lambda seed, _, tell: scenes(seed, 3, tell))
    monkeypatch.setattr(
        run, "extract", functools.partial(heads.extract, levels=(48,), max_pieces=1)
    )
    monkeypatch.setattr(run, "learn_head", functools.partial(heads.learn_head, batch=2))
    monkeypatch.setattr(run, "keep_memory", lambda **_: None)


def settings(films: Path, out: Path, **options: Any) -> settings_train.TrainSettings:
    steps = {"crossfit_steps": 2, "crop_steps": 2, "frame_steps": 2, "head_steps": 2}
    return settings_train.TrainSettings(
        data=(films,), out=out, device="cpu", **{**steps, **options}
    )


def test_a_fifth_of_the_later_validation_groups_is_set_aside() -> None:
    def some(added: int, split: str) -> list[bool]:
        return [
            corpus.set_aside(Clip("a", Path("a"), f"group {k}", "speech", split, added=added))
            for k in range(500)
        ]

    assert 0.15 < np.mean(some(2, "val")) < 0.25
    assert some(2, "val") == some(3, "val")
    assert not any(some(1, "val") + some(2, "train"))


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
    stage = learn.Stage("frames", [learn.Source([stairs(60)], 1.0, PLAIN)], steps=1, batch=2)
    learn.run_stage(learner, stage, folder=tmp_path, device=torch.device("cpu"), seed=1)
    measure.curve(learner.net.eval(), stairs(90), 30, 25, PLAIN, search=5)
    assert used["trunk"] == [fast] * 2

    made = heads.make_head
    monkeypatch.setattr(
        heads,
        "make_head",
        lambda config: (head := made(config), head.register_forward_pre_hook(note("head")))[0],
    )
    part = torch.randn(50, 6, 8).half()
    feature = heads.Feature(
        "a", "speech", part, part, torch.randn(150, 8).half(), torch.ones(150, dtype=torch.bool)
    )
    heads.learn_head(
        learner.net, "temporal", [feature], steps=1, batch=2, seed=1, device=torch.device("cpu")
    )
    assert used["head"] == [fast] * 2  # of its own sound and of a stranger's


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

    with pytest.raises(UsageError, match="--resume"):
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

    def told_offset(_: weights.Loaded, item: CachedClip, calibration: Calibration) -> Estimate:
        assert calibration.none == 3.25
        if item.clip.split == "train" and not unsure:
            unsure.append(item.clip.id)
            return Estimate(0.5, 0.79)
        return Estimate(0.5, 0.81)

    monkeypatch.setattr(crossfit, "told_offset", told_offset)
    out = tmp_path / "run"
    path = run.train(settings(films, out, start=start, adapt_steps=3))
    assert len(json.loads((out / "told.json").read_text())) == 5
    assert {item.name for item in out.iterdir()} == {
        "cache",
        "told.json",
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

    monkeypatch.setattr(crossfit, "told_offset", lambda *_: Estimate(0.0, 0.1))
    with pytest.raises(
        UsageError, match=r"start\.safetensors is sure of the offset of none of these clips"
    ):
        run.train(settings(films, tmp_path / "other", start=start))


def test_a_whole_clip_s_offset_is_told_as_by_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 10 s and the rest agree on the sound's delay, with the sound either side of
    each.
    """
    seen: list[tuple[float, int]] = []

    def look(pictures: Array, shown: Array, start_s: float, *_: object) -> Look:
        seen.append((start_s, len(pictures)))
        return Look(start_s, torch.zeros(1, len(pictures), 1, 1), (), shown)

    def compare(part: Look, mel: Array, heard: Array, _: object) -> Any:
        assert len(mel) == 4 * len(heard) == 4 * (len(part.shown) + 100)
        score = np.where(calibrate.SHIFTS == 3, 20.0, -5.0).astype(np.float32)
        return SimpleNamespace(
            weighed_score=lambda: score, weighed_match=lambda: np.zeros(101, np.float32)
        )

    monkeypatch.setattr(calibrate, "look", look)
    monkeypatch.setattr(calibrate, "compare", compare)
    clip = Clip(id="a", path=Path("a"), group="a", kind="speech", split="train")
    item = CachedClip(
        clip,
        np.zeros((610, 8, 8), np.uint8),
        np.zeros(610 * A_FRAME, np.int16),
        np.zeros((0, 4), np.float32),
    )
    told = calibrate.told_offset(None, item, Calibration(bias_frames=0.25))  # type: ignore[arg-type]
    assert seen == [(0.0, 250), (10.0, 250), (20.0, 100)]
    assert told.frames == pytest.approx(2.75, abs=0.01)
    assert told.confidence > 0.99
    short = replace(item, frames=item.frames[:20])
    assert calibrate.told_offset(None, short, Calibration()).confidence == 0  # type: ignore[arg-type]


def test_an_out_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    films = touch(tmp_path / "films" / "ann" / "1.mp4").parents[1]  # none of which is decoded
    touch(tmp_path / "used" / "file")
    with pytest.raises(UsageError, match="not empty"):
        run.train(settings(films, tmp_path / "used"))
    with pytest.raises(UsageError, match="not a directory"):
        run.train(settings(films, tmp_path / "used" / "file"))


def test_a_directory_without_usable_clips_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "text.mp4").write_text("not a film")
    with pytest.raises(UsageError, match="no clip"):
        run.train(settings(tmp_path / "films", tmp_path / "run"))


def test_generated_scenes_are_clips_in_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run.scenes(1, 3, lambda *_: None)
    assert [item.clip.offset_frames for item in found] == [0.0] * 3
    assert all(
        item.frames.dtype == np.uint8 and len(item.samples) == len(item.frames) * A_FRAME
        for item in found
    )
    assert [len(item.faces) > 0 for item in found] == [True, True, False]
    face = sampling.face_at(found[0], 10, 40)
    assert face is not None
    assert 0 < face[0] < found[0].frames.shape[2]
    assert 0 < face[1] < found[0].frames.shape[1]


def test_settings_scale_every_stage() -> None:
    plain = settings_train.TrainSettings(data=(), out=Path("out"))
    assert plain.scaled(0.5).frame_steps == plain.frame_steps // 2
    assert plain.scaled(1e-9).head_steps == plain.scaled(1e-9).crossfit_steps == 1


def test_a_stage_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    """Eight steps in one go, and in two goes with a kill in between, give the same network."""
    scene = make_scene("talking", seed=1, seconds=4.0, size=(64, 64))
    clip = cached(scene.frames, (scene.samples * 32767).astype(np.int16))
    recipe = Recipe("frame", (32, 32), frames=20, margin=5)
    stage = learn.Stage("test", [learn.Source([clip], 1.0, recipe)], 8, batch=2)

    def trained(folder: Path, kill_at: int | None) -> dict[str, Tensor]:
        folder.mkdir()
        learner = learn.Learner.fresh(TINY, 3)
        if kill_at is not None:

            def kill(step: int, total: int, loss: float) -> None:
                if step == kill_at:
                    learn._save(
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


def test_the_log_tells_the_sources_apart(tmp_path: Path) -> None:
    clip = stairs(120, size=32)
    recipe = Recipe("frame", (32, 32), frames=20, margin=5)
    sources = [
        learn.Source([clip], 0.5, recipe),
        learn.Source([clip], 0.5, replace(recipe, sigma=2.0), "generic", batch=1),
    ]
    stage = learn.Stage("test", sources, 50, batch=2)
    learn.run_stage(
        learn.Learner.fresh(TINY, 1), stage, folder=tmp_path, device=torch.device("cpu"), seed=1
    )
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {row["source"] for row in rows} == {"speech", "generic"}
    assert all(row["loss"] > 0 and 0 <= row["within1"] <= 1 for row in rows)
    batch = learn.Batches(stage, 1, 0, []).next()
    assert len(batch.pictures) == (1 if batch.source == "generic" else 2)


def test_clips_too_short_for_a_stage_are_said_so(tmp_path: Path) -> None:
    clip = stairs(30)
    stage = learn.Stage(
        "test", [learn.Source([clip], 1.0, Recipe("frame", (32, 32), frames=40))], 2, batch=1
    )
    with pytest.raises(RuntimeError, match="drawing samples failed") as caught:
        learn.run_stage(
            learn.Learner.fresh(TINY, 1), stage, folder=tmp_path, device=torch.device("cpu"), seed=1
        )
    assert "too few clips are long enough" in str(caught.value.__cause__)


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
        "spatio-temporal",
        features,
        steps=40,
        batch=4,
        rate=1e-2,
        seed=1,
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
