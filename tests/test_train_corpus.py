"""The clips that training finds, decodes and cleans."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.support.clips import make_clip

pytest.importorskip("cv2")
from avcheck.errors import UsageError
from avcheck.network.match import Match
from avcheck.rates import SAMPLE_RATE
from avcheck.reading.mel import MEL_MARGIN
from avcheck.train import clean, corpus
from avcheck.train.corpus import Clip, find_clips
from avcheck.train.sampling import Recipe
from tests.support.stairs import A_FRAME, Array, stairs, touch

torch.set_num_threads(1)


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
def network(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stub network, and log-mel replaced by the number that `stairs` put into the sound."""
    from avcheck.train import measure

    def level(samples: Array) -> Array:
        inside = samples[MEL_MARGIN : len(samples) - MEL_MARGIN]
        return np.round(inside.reshape(-1, A_FRAME)[:, A_FRAME // 2] * 32768 / 100).astype(
            np.float32
        )[:, None]

    monkeypatch.setattr(measure, "log_mel", level)
    return Code(256)


@pytest.mark.parametrize("late", [-5, 0, 2, 5])
def test_a_clips_own_offset_is_found_with_its_sign(network: Any, late: int) -> None:
    estimate = clean.offset_by_trunks(network, stairs(240, late), Recipe("frame", (48, 48)))
    assert estimate is not None
    frames, trusted = estimate
    assert frames == pytest.approx(late, abs=0.3)
    assert trusted


def test_an_offset_beyond_belief_is_found_but_not_trusted(network: Any) -> None:
    estimate = clean.offset_by_trunks(network, stairs(240, 14), Recipe("frame", (48, 48)))
    assert estimate is not None
    assert estimate[0] == pytest.approx(14, abs=0.3)
    assert not estimate[1]


def test_sound_of_another_clip_is_not_trusted(network: Any) -> None:
    clip = stairs(240)
    rng = np.random.default_rng(0)
    foreign = np.repeat(100 * rng.integers(0, 256, 240), A_FRAME).astype(np.int16)
    (out,) = clean.clean(network, [replace(clip, samples=foreign)], Recipe("frame", (48, 48)))
    assert not out.clip.trusted


def test_cleaning_writes_the_estimate_into_the_clip_and_reports(network: Any) -> None:
    steps: list[tuple[int, int]] = []
    clips = [stairs(240, 3), stairs(64, -2)]
    out = clean.clean(network, clips, Recipe("frame", (48, 48)), lambda *step: steps.append(step))
    assert [item.clip.offset_frames for item in out] == pytest.approx([3, -2], abs=0.3)
    assert all(item.clip.trusted for item in out)
    assert out[0].frames is clips[0].frames
    assert steps == [(1, 2), (2, 2)]


def test_a_clip_without_a_face_has_no_crop_to_look_at(network: Any) -> None:
    (out,) = clean.clean(network, [stairs(240, 3)], Recipe("crop", (48, 48)))
    assert (out.clip.offset_frames, out.clip.trusted) == (None, False)


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


ROW = '"file": "a.mp4", "group": "g", "kind": "speech", "split": "val"}'


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        "{}",
        '"text"',
        '{"id": "x"}',
        f'{{"id": 5, {ROW}',
        f'{{"id": "../x", {ROW}',
        f'{{"id": "", {ROW}',
        f'{{"id": "x", "true_offset": {{"frames": "late"}}, {ROW}',
    ],
)
def test_a_broken_index_is_a_usage_error_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "index.jsonl").write_text(line + "\n")
    with pytest.raises(UsageError, match="line 1"):
        find_clips(tmp_path)


def test_an_index_in_another_encoding_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").write_text(f'{{"id": "é", {ROW}', encoding="latin-1")
    with pytest.raises(UsageError, match="cannot be read as UTF-8 text"):
        find_clips(tmp_path)


def test_two_clips_of_one_id_are_refused(tmp_path: Path) -> None:
    """The second would be taken for the first, whose pictures are in the cache."""
    row = f'{{"id": "x", {ROW}\n'
    (tmp_path / "index.jsonl").write_text(row)
    clips = find_clips(tmp_path)
    with pytest.raises(UsageError, match="have the same id: x"):
        corpus.require_own_ids([*clips, *clips])
    (tmp_path / "index.jsonl").write_text(2 * row)
    with pytest.raises(UsageError, match="have the same id: x"):
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


def test_faces_are_looked_for_in_a_clip_that_was_decoded_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an ablation, whose heads need none, and whose trunks do."""
    row = np.array([[0.0, 80.0, 60.0, 40.0]], np.float32)
    monkeypatch.setattr(corpus, "find_faces", lambda frames: row)
    clip = Clip("id", make_clip(tmp_path / "clip.mp4", seconds=3.2), "g", "speech", "train")
    for with_faces, count in ((False, 0), (True, 1), (False, 1)):
        cached = corpus.cache_clip(clip, tmp_path / "cache", with_faces=with_faces)
        assert cached is not None
        assert cached.faces.shape == (count, 4)


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


def test_a_fifth_of_the_later_validation_groups_is_set_aside() -> None:
    def some(added: int, split: str) -> list[bool]:
        return [
            corpus.set_aside(Clip("a", Path("a"), f"group {k}", "speech", split, added=added))
            for k in range(500)
        ]

    assert 0.15 < np.mean(some(2, "val")) < 0.25
    assert some(2, "val") == some(3, "val")
    assert not any(some(1, "val") + some(2, "train"))
