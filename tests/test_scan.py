"""From blocks to curves: every block once, nothing across a gap, sound lent by the neighbours,
memory bounded.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from avcheck.network.heads import JointHead
from avcheck.network.model import SyncNet
from avcheck.network.model_config import ATTENTION_KINDS, AttentionKind
from avcheck.reading.blocks import BLOCK_MELS, Block
from avcheck.reading.mel import MEL_BINS
from avcheck.reading.segments import MAX_SHIFT, Window
from avcheck.record.report import DEFAULT_PRESET, PRESETS
from avcheck.scan import curves as scanning
from avcheck.scan import looking, shifts
from avcheck.scan.curves import scan, score_segment
from avcheck.scan.looking import Look, look, places_in
from avcheck.scan.shifts import SHIFTS
from avcheck.verdict.judge import judge
from avcheck.verdict.posterior import Calibration
from tests.support.block_source import LEVELS, block, loaded
from tests.support.networks import TINY, judge_by_distance
from tests.support.shaken import filmed, followed, unsteady

torch.set_num_threads(1)


Array = np.ndarray[Any, Any]
HARD_TO_MATCH = Calibration(none=6.0)  # of segments that match nowhere, none is confident by chance


def test_no_blocks_no_curves() -> None:
    assert list(scan([], loaded())) == []


@pytest.mark.slow
def test_memory_holds_a_segment_however_long_the_film() -> None:
    made: list[weakref.ref[Array]] = []

    def film() -> Iterator[Block]:
        for k in range(200):
            item = block(k, size=(16, 16))
            made.append(weakref.ref(item.pictures))
            yield item

    most = 0
    for curve in scan(film(), loaded(), levels=(16,)):
        assert len(curve.block_start_s) <= 14
        gc.collect()
        most = max(most, sum(pictures() is not None for pictures in made))
    assert most <= 30


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
@pytest.mark.parametrize(
    "size", [(48, 64), (96, 96), (180, 101), (101, 180), (16, 16), (33, 47), (9, 20)]
)
def test_shapes_of_a_curve(kind: AttentionKind, size: tuple[int, int]) -> None:
    (curve,) = scan(
        [block(k, size=size, start_s=1.48) for k in range(2)], loaded(kind), levels=LEVELS
    )
    shifts, places = len(SHIFTS), len(curve.grid)
    assert curve.start_s == pytest.approx(1.48)
    assert curve.end_s == pytest.approx(3.48)
    assert curve.shifts.tolist() == list(range(-50, 51))
    assert curve.score.shape == (shifts,)
    assert curve.block_score.shape == (2, shifts)
    assert curve.attention.shape == (2, shifts)
    assert curve.places.shape == (2, shifts, places)
    assert curve.block_start_s.tolist() == pytest.approx([1.48, 2.48])
    assert curve.motion.shape == curve.detail.shape == curve.level_db.shape == (2,)
    assert curve.attention.sum(axis=0) == pytest.approx(1.0, abs=1e-4)
    assert curve.places.sum(axis=2) == pytest.approx(curve.attention, abs=1e-5)
    assert np.isfinite(curve.score[MAX_SHIFT])
    assert places <= 32 or kind != "spatio-temporal"
    for place in curve.grid:
        assert 0 < place.y < 1
        assert 0 < place.x < 1
        assert place.level in {min(level, min(size)) for level in LEVELS}


@pytest.mark.parametrize("length", [80, 90, 106])
def test_a_place_lies_in_the_middle_of_what_it_sees(length: int) -> None:
    """By what each column of pixels adds where all weights of the convolutions are equal."""
    visual = SyncNet(TINY).eval().visual
    for layer in visual.spatial.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.ones_(layer.weight)
    stripes = torch.eye(length)[:, None, None].expand(-1, visual.config.stem_frames, 64, -1)
    with torch.inference_mode():
        added = visual.spatial(stripes.contiguous())[:, :, 2].sum(dim=1).double()
    columns = added.shape[1]
    middles_px = (torch.arange(length).double() + 0.5) @ added / added.sum(dim=0)
    places = places_in(64, (4, columns), (64, length))[:columns]
    for place, middle_px in list(zip(places, middles_px, strict=True))[1:-1]:  # whole fields
        assert place.x * length == pytest.approx(middle_px.item(), abs=1e-4)


def test_a_curve_of_one_second_compares_half_of_it_at_least() -> None:
    (curve,) = scan([block(0)], loaded(), levels=LEVELS)
    assert np.isfinite(curve.score[MAX_SHIFT - 12 : MAX_SHIFT + 13]).all()
    assert not np.isfinite(curve.score[: MAX_SHIFT - 13]).any()
    assert not np.isfinite(curve.score[MAX_SHIFT + 14 :]).any()


def test_shifts_without_sound_are_not_compared_block_by_block() -> None:
    """The first block of a file has no sound before it, so it says nothing of early readings; the
    ones behind it do.
    """
    (curve,) = scan([block(k) for k in range(6)], loaded(), levels=LEVELS)
    compared = np.isfinite(curve.block_score)
    assert not compared[0, SHIFTS < -12].any()
    assert compared[0, SHIFTS >= -12].all()
    assert compared[2:4].all()
    assert not compared[5, SHIFTS > 13].any()
    assert np.isfinite(curve.score).all()


def test_no_sound_at_all_gives_no_score() -> None:
    (curve,) = scan([block(k, heard=False) for k in range(3)], loaded(), levels=LEVELS)
    assert not np.isfinite(curve.score).any()
    assert not np.isfinite(curve.block_score).any()
    assert np.isneginf(curve.level_db).all()


def test_neighbouring_sound_is_read_and_pictures_are_not() -> None:
    blocks = [block(k) for k in range(8)]
    model = loaded()
    (plain,) = score_segment(Window(blocks[3:6], blocks[2:3], blocks[6:7]), model, LEVELS)
    rng = np.random.default_rng(5)
    other_pictures = replace(blocks[2], pictures=rng.integers(0, 256, (25, 48, 64), np.uint8))
    (same,) = score_segment(Window(blocks[3:6], [other_pictures], blocks[6:7]), model, LEVELS)
    assert np.array_equal(plain.score, same.score)
    other_sound = replace(
        blocks[6], mel=rng.normal(-4, 2, (BLOCK_MELS, MEL_BINS)).astype(np.float32)
    )
    (changed,) = score_segment(Window(blocks[3:6], blocks[2:3], [other_sound]), model, LEVELS)
    assert not np.allclose(plain.score, changed.score)


def test_the_sound_around_a_segment_lies_in_its_place() -> None:
    blocks = [block(k) for k in range(10, 18)]
    mel, heard = scanning.sound_with_margin(Window(blocks[2:5], blocks[:2], blocks[5:7]))
    assert mel.shape == (7 * BLOCK_MELS, MEL_BINS)
    assert np.array_equal(mel, np.concatenate([item.mel for item in blocks[:7]]))
    assert heard.shape == (7 * 25,)
    assert heard.all()
    # One neighbour is missing on the left, both are on the right.
    mel, heard = scanning.sound_with_margin(Window(blocks[2:5], blocks[1:2]))
    assert np.array_equal(
        mel[BLOCK_MELS : 5 * BLOCK_MELS], np.concatenate([item.mel for item in blocks[1:5]])
    )
    # What is missing is the mean of what is there: it moves no band's mean, which the sound trunk
    # takes out.
    assert np.allclose(mel[:BLOCK_MELS], mel[BLOCK_MELS : 5 * BLOCK_MELS].mean(axis=0), atol=1e-4)
    assert heard.tolist() == [False] * 25 + [True] * 100 + [False] * 50


def blank(item: Block) -> Block:
    return replace(item, pictures=np.full_like(item.pictures, 90))


def still(item: Block) -> Block:
    return replace(item, pictures=np.repeat(item.pictures[:1], 25, axis=0))


def silent(item: Block) -> Block:
    return replace(item, level_db=-90.0)


@pytest.mark.parametrize("spoilt", [blank, still, silent])
def test_where_nothing_can_be_compared_nothing_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, spoilt: Callable[[Block], Block]
) -> None:
    looked = []

    def counted(pictures: Array, shown: Array, start_s: float, *others: Any) -> Look:
        looked.append(start_s)
        return look(pictures, shown, start_s, *others)

    monkeypatch.setattr(scanning, "look", counted)
    source = [*(spoilt(block(k)) for k in range(10)), *(block(k) for k in range(10, 20))]
    first, second = scan(source, loaded(), levels=(48,))
    assert looked == [10.0]
    assert (first.looked, second.looked) == (0, 250 * 3 * 4)
    assert not np.isfinite(first.score).any()
    assert (first.start_s, first.end_s, len(first.block_start_s)) == (0.0, 10.0, 10)
    assert first.attention.sum(axis=0) == pytest.approx(1.0)
    whole = judge([first, second], PRESETS[DEFAULT_PRESET], Calibration())
    alone = judge([second], PRESETS[DEFAULT_PRESET], Calibration())
    assert (whole.verdict, whole.offset_ms) == (alone.verdict, alone.offset_ms)
    assert len(whole.blocks) == 20


def test_a_look_level_by_level_is_the_look_at_once() -> None:
    pictures, shown = block(0).pictures, np.ones(25, np.bool_)
    once = look(pictures, shown, 0.0, loaded(), (16, 48))
    apart = looking.by_level(once)
    assert set(apart) == {16, 48}
    again = looking.together([apart[16], apart[48]])
    assert again.grid == once.grid
    assert torch.equal(again.picture, once.picture)


def test_a_planted_match_is_found_at_its_shift_with_its_sign() -> None:
    """Trunks that pass on what they are given and a decision set by hand: sound that is late by 7
    pictures peaks at +7.
    """
    rng = np.random.default_rng(0)
    code = torch.nn.functional.normalize(
        torch.from_numpy(rng.normal(0, 1, (150, TINY.embedding))).float(), dim=-1
    )

    class Sight(torch.nn.Module):
        def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
            return code[pictures[0, :, 0, 0].long()][None, :, None], (1, 1)

    class Hearing(torch.nn.Module):
        def forward(self, mel: torch.Tensor) -> torch.Tensor:
            return code[mel[0, ::4, 0].round().long().clamp(0)][None]

    model = loaded("uniform")
    assert isinstance(model.net.head, JointHead)
    judge_by_distance(model.net.head)
    model.net.visual, model.net.sound = Sight(), Hearing()  # type: ignore[assignment]
    source = []
    for k in range(5):
        number = np.arange(25 * k, 25 * k + 25)
        pictures = block(k, size=(16, 16)).pictures
        pictures[:, 0, 0] = number
        mel = np.repeat(np.clip(number - 7, 0, None), 4)[:, None] * np.ones(MEL_BINS)
        source.append(
            replace(block(k, size=(16, 16)), pictures=pictures, mel=mel.astype(np.float32))
        )
    (curve,) = scan(source, model, levels=(16,))
    assert SHIFTS[np.argmax(curve.score)] == 7
    assert SHIFTS[np.argmax(curve.block_score[2])] == 7


def test_a_camera_held_by_hand_sees_what_one_on_a_tripod_sees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    course = 0.2 * unsteady(60)
    held, carried = (filmed(way, (96, 128), noise=0) for way in (course, followed(course)))

    def features_of(frames: Array) -> torch.Tensor:
        looked = look(frames, np.ones(60, np.bool_), 0.0, loaded(), (96,))
        assert len(looked.grid) == 6 * 8
        return looked.picture.reshape(1, 60, 6, 8, -1)[:, 3:-3, 1:-1, 1:-1]

    steady = features_of(held)
    monkeypatch.setattr(looking, "shake", lambda frames: np.zeros((len(frames), 2)))
    truth, raw = features_of(carried), features_of(held)
    apart = [1 - (features * truth).sum(-1).mean().item() for features in (steady, raw)]
    assert apart[0] < 0.2 * apart[1]


def test_what_shakes_much_is_also_looked_at_as_it_comes() -> None:
    """A speaker who stands still in the corner of a shaking picture is not shaken for its sake."""
    pictures = filmed(2 * unsteady(60), (96, 128))
    pictures[:, 64:, 80:] = filmed(np.zeros((60, 2)), (32, 48), seed=5)
    shown = np.ones(60, np.bool_)
    looked = look(pictures, shown, 0.0, loaded(), (64, 96))
    count = len(looked.grid) // 2
    assert looked.grid[:count] == looked.grid[count:]
    assert {level for level, *_ in looked.grid} == {64, 96}
    corner = [
        k
        for k, (level, row, column, *_) in enumerate(looked.grid)
        if level == 96 and row == 5 and column in (6, 7)
    ]
    moves = (
        (looked.picture[:, 1:] - looked.picture[:, :-1])[..., corner, :]
        .norm(dim=-1)
        .mean(dim=(0, 1))
    )
    held, as_it_comes = moves[:2].mean(), moves[2:].mean()
    assert as_it_comes < 0.5 * held


def test_motion_and_detail_are_those_of_the_pictures_shown() -> None:
    still = replace(block(0), pictures=np.full((25, 48, 64), 90, np.uint8))
    half = block(1, shown=False)  # one picture only
    (curve,) = scan([still, half], loaded(), levels=LEVELS)
    assert curve.motion.tolist() == [0.0, 0.0]
    assert curve.detail[0] == 0
    assert curve.detail[1] > 60
    flicker = replace(
        still,
        pictures=np.tile(np.array([90, 94], np.uint8), 13)[:25, None, None]
        * np.ones((1, 48, 64), np.uint8),
    )
    (curve,) = scan([flicker], loaded(), levels=LEVELS)
    assert curve.motion[0] == pytest.approx(4.0)


def test_little_overlap_counts_little() -> None:
    """Scores are drawn to their median by the share of pictures that had sound; below half they are
    left out.
    """
    present = np.zeros((5, 100), np.bool_)
    for row, count in enumerate((100, 80, 60, 40, 0)):
        present[row, :count] = True
    values = np.array([1.0, 6.0, 11.0, 50.0, 90.0], np.float32)
    out = shifts.weighed(values, present)
    assert out[:3] == pytest.approx([6 + 1.0 * (1 - 6), 6.0, 6 + 0.6 * (11 - 6)])
    assert np.isneginf(out[3:]).all()
    assert np.isneginf(shifts.weighed(values, np.zeros_like(present))).all()


@pytest.mark.parametrize(("heard", "says"), [(39, False), (40, True)])
def test_a_segment_that_lacks_most_of_its_sound_says_nothing(heard: int, says: bool) -> None:
    present = np.zeros((5, 100), np.bool_)
    present[:, :heard] = True
    out = shifts.weighed(np.arange(5, dtype=np.float32), present)
    assert np.isfinite(out).all() if says else np.isneginf(out).all()
