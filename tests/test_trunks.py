"""The trunks: what they see and hear, without seams, along what moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from avcheck.network import trunks as trunks_module
from avcheck.network.trunks import SoundTrunk, VisualTrunk, local_contrast, neighbours
from tests.support import networks

torch.set_num_threads(1)


TINY = replace(networks.TINY, visual_channels=(4, 8, 8, 12), joint_channels=6, contrast_px=41)


@pytest.mark.parametrize("size", [(80, 80), (112, 200), (16, 16), (96, 97), (181, 100)])
def test_visual_trunk_gives_unit_features_at_any_size(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    trunk = VisualTrunk(TINY).eval()
    pictures = torch.randint(0, 256, (2, 6, *size), dtype=torch.uint8)
    with torch.inference_mode():
        out, (rows, columns) = trunk(pictures)
    assert (rows, columns) == (-(-size[0] // 16), -(-size[1] // 16))
    assert out.shape == (2, 6, rows * columns, TINY.embedding)
    assert torch.allclose(out.norm(dim=-1), torch.ones(1), atol=1e-5)


def test_visual_trunk_takes_floats_of_the_same_range_and_treats_clips_apart() -> None:
    torch.manual_seed(0)
    trunk = VisualTrunk(TINY).eval()
    pictures = torch.randint(0, 256, (2, 5, 48, 64), dtype=torch.uint8)
    with torch.inference_mode():
        both = trunk(pictures)[0]
        assert torch.allclose(trunk(pictures.float())[0], both, atol=1e-5)
        assert torch.allclose(trunk(pictures[1:])[0], both[1:], atol=1e-5)


@pytest.mark.parametrize("times", [1, 3, 49, 50, 51, 103])
def test_runs_of_pictures_have_no_seams(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    torch.manual_seed(0)
    trunk = VisualTrunk(TINY).eval()
    pictures = torch.randint(0, 256, (1, times, 32, 48), dtype=torch.uint8)
    with torch.inference_mode():
        in_runs = trunk(pictures)[0]
        monkeypatch.setattr(trunks_module, "_TIMES", 1000)
        at_once = trunk(pictures)[0]
    assert in_runs.shape == at_once.shape
    assert torch.allclose(in_runs, at_once, atol=1e-5)


def test_places_run_along_rows_first() -> None:
    """What changes in a corner of the picture changes the features of that corner's place, and not
    of the far one.
    """
    torch.manual_seed(0)
    trunk = VisualTrunk(replace(TINY, contrast_px=8)).eval()
    pictures = torch.randint(0, 256, (1, 5, 128, 256), dtype=torch.uint8)
    changed = pictures.clone()
    changed[..., :16, 240:] = 255 - changed[..., :16, 240:]  # top right
    with torch.inference_mode():
        before, (rows, columns) = trunk(pictures)
        after, _ = trunk(changed)
    moved = (after - before).abs().sum(dim=(0, 1, 3)).view(rows, columns)
    assert moved.argmax() == columns - 1
    assert moved[0, -1] > 0
    assert moved[-1, 0] == 0


def test_sound_trunk_gives_one_unit_feature_a_picture() -> None:
    torch.manual_seed(0)
    trunk = SoundTrunk(TINY).eval()
    with torch.inference_mode():
        out = trunk(torch.randn(3, 4 * 25, 64))
    assert out.shape == (3, 25, TINY.embedding)
    assert torch.allclose(out.norm(dim=-1), torch.ones(1), atol=1e-5)


def test_sound_trunk_does_not_hear_colour_or_loudness() -> None:
    """A gain, even one per band, is a constant in the logarithm, and is taken out."""
    torch.manual_seed(0)
    trunk = SoundTrunk(TINY).eval()
    mel = torch.randn(1, 100, 64)
    with torch.inference_mode():
        assert torch.allclose(trunk(mel), trunk(mel + torch.randn(64)), atol=1e-4)


def test_local_contrast_hardly_sees_brightness_or_gain() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = 64 + 128 * torch.rand(1, 3, 96, 128, generator=generator)
    plain = local_contrast(pictures, 41)
    assert plain.shape == pictures.shape
    assert torch.allclose(local_contrast(pictures + 50, 41), plain, atol=1e-4)
    dimmed = local_contrast(0.6 * pictures, 41)
    # The small constant below the deviation keeps flat places quiet, so a gain is taken out for the
    # most part only.
    assert (dimmed - plain).abs().mean() < 0.15 * plain.abs().mean()
    assert torch.corrcoef(torch.stack([dimmed.flatten(), plain.flatten()]))[0, 1] > 0.995
    assert local_contrast(torch.full((1, 1, 40, 40), 180.0), 41).abs().max() < 1e-4


def test_local_statistics_are_those_of_the_library() -> None:
    """Means by matrices and the enlarging of whole ratio against PyTorch's pooling and
    interpolation.
    """
    values = torch.rand(1, 2, 44, 57, generator=torch.Generator().manual_seed(1))
    cells = F.avg_pool2d(values, 4, ceil_mode=True, count_include_pad=False)
    for window, padding in (((7, 1), (3, 0)), ((1, 7), (0, 3))):
        cells = F.avg_pool2d(cells, window, stride=1, padding=padding, count_include_pad=False)
    means = trunks_module._square_mean(values, 3)
    assert torch.allclose(means, cells, atol=1e-6)
    larger = F.interpolate(means, scale_factor=4, mode="bilinear", align_corners=False)
    assert torch.allclose(trunks_module._enlarged(means), larger, atol=1e-6)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_first_layer_is_a_convolution_over_five_pictures(kind: torch.dtype) -> None:
    torch.manual_seed(2)
    stem = trunks_module._Stem(*trunks_module._conv2d(5, 8, 5, 2)).eval().to(kind)
    pictures = torch.randn(2, 9, 22, 30).to(kind)
    stacked = torch.stack([pictures[:, k : k + 5] for k in range(5)], dim=1).flatten(0, 1)
    with torch.inference_mode():
        plain = nn.Sequential.forward(stem, stacked)
        assert torch.allclose(stem(pictures), plain, atol=1e-5 if kind == torch.float32 else 0.05)
        assert (plain > 0.2).any()


def test_what_is_seen_does_not_depend_on_how_many_pictures_are_seen_at_a_time() -> None:
    torch.manual_seed(0)
    trunk = VisualTrunk(TINY).eval()
    pictures = torch.randint(0, 256, (1, 61, 42, 55), dtype=torch.uint8)
    at_once, grid = trunk(pictures)  # with gradients
    reported: list[tuple[int, int]] = []
    trunk.on_seen = lambda count, side: reported.append((count, side))
    with torch.inference_mode():
        in_turn, same_grid = trunk(pictures)
    assert reported == [(27, 42), (25, 42), (9, 42)]
    assert grid == same_grid
    assert torch.allclose(at_once, in_turn, atol=1e-4)


def test_ten_seconds_are_seen_in_turns_of_one_size() -> None:
    """For every other size all layers are compiled anew."""
    pictures = torch.zeros((1, 250, 32, 32), dtype=torch.uint8)
    reach = TINY.stem_frames // 2
    turns = list(trunks_module.in_turn(pictures, 25, TINY))
    assert [turn.shape[1] - 2 * reach for turn in turns] == 10 * [25]


def test_time_is_looked_along_alike_at_one_place_and_at_many() -> None:
    torch.manual_seed(0)
    for dilation in (1, 2):
        block = trunks_module.TimeBlock(6, dilation).eval()
        x = torch.randn(2, 6, 9, 4)
        with torch.inference_mode():
            apart = torch.stack(
                [x[..., k] + F.relu(block.norm(block.conv(x[..., k]))) for k in range(4)], dim=-1
            )
            assert torch.allclose(block(x), apart, atol=1e-5)
            assert torch.allclose(block(x[..., 0]), apart[..., 0], atol=1e-5)


def test_the_first_layer_sees_an_odd_number_of_pictures() -> None:
    with pytest.raises(ValueError, match="stem_frames must be odd"):
        VisualTrunk(replace(TINY, stem_frames=4))
    trunk = VisualTrunk(replace(TINY, stem_frames=1)).eval()
    pictures = torch.randint(0, 256, (1, 60, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        assert trunk(pictures)[0].shape[1] == 60


def test_neighbours_follow_what_moves() -> None:
    picture = F.normalize(
        torch.randn(1, 1, 6, 8, 12, generator=torch.Generator().manual_seed(3)), dim=-1
    )
    # One down and one to the left
    moved = torch.cat([picture, picture.roll((1, -1), dims=(2, 3))], dim=1)
    before, after = neighbours(moved)
    place = torch.arange(48).view(6, 8)
    assert torch.equal(before[0, 0].view(6, 8)[1:, :-1], place[:-1, 1:])
    assert torch.equal(after[0, 0].view(6, 8)[:-1, 1:], place[1:, :-1])
    still, again = neighbours(picture.expand(1, 4, 6, 8, 12))
    assert torch.equal(still, place.flatten().expand(1, 3, 48))
    assert torch.equal(again, still)
    flat, _ = neighbours(torch.ones(1, 2, 6, 8, 12))  # everything is as like as everything else
    assert torch.equal(flat, place.flatten().expand(1, 1, 48))


def test_alignment_changes_nothing_where_nothing_moves() -> None:
    torch.manual_seed(0)
    plain = VisualTrunk(TINY).eval()
    aligned = VisualTrunk(replace(TINY, alignment=True)).eval()
    aligned.load_state_dict(plain.state_dict())
    still = torch.randint(0, 256, (1, 1, 96, 160), dtype=torch.uint8).expand(1, 6, 96, 160)
    moving = torch.randint(0, 256, (1, 6, 96, 160), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.allclose(plain(still)[0], aligned(still)[0], atol=1e-5)
        assert not torch.allclose(plain(moving)[0], aligned(moving)[0], atol=1e-5)


def test_a_convolution_over_time_follows_what_moves() -> None:
    torch.manual_seed(0)
    block = VisualTrunk(TINY).eval().temporal[0]
    assert isinstance(block, trunks_module.TimeBlock)
    # Of one thing, which goes a place to the right with each picture
    life = torch.randn(1, 6, TINY.width)
    features = torch.zeros(1, 6, 4, 8, TINY.width)
    for time in range(6):
        features[0, time, 2, 1 + time] = life[0, time]
    path = 2 * 8 + 1 + torch.arange(6)
    before = torch.arange(32).repeat(1, 5, 1)
    after = before.clone()
    before[0, range(5), path[1:]] = path[:-1]
    after[0, range(5), path[:-1]] = path[1:]
    with torch.inference_mode():
        followed = block.follow(features.flatten(2, 3), before, after)
        alone = block(life.transpose(1, 2)).transpose(1, 2)
    assert torch.allclose(followed[0, range(6), path], alone[0], atol=1e-5)
