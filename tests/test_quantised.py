"""The trunks in 8-bit integers: those that they are made of, but for rounding."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from avcheck.network import quantised
from avcheck.network.model import SyncNet
from avcheck.network.model_config import ModelConfig
from avcheck.network.quantised import (
    QuantisedSpectral,
    QuantisedTrunk,
    _Layer,
    is_supported,
    make_ready,
)
from avcheck.network.trunks import VisualTrunk
from avcheck.network.weights import Loaded, load

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not is_supported(CPU), reason="this processor has no use for it")


@pytest.fixture(scope="module")
def shipped() -> Loaded:
    return replace(load(device="cpu"), half=False)


def pictures(count: int, size: tuple[int, int] = (80, 96)) -> Tensor:
    """Soft shapes that move, (1, T, H, W)."""
    rng = torch.Generator().manual_seed(1)
    wide = torch.rand(1, 1, size[0] // 8, size[1] // 8 + count, generator=rng)
    wide = F.interpolate(wide, scale_factor=8.0, mode="bicubic")[0, 0].clamp(0, 1) * 255
    return torch.stack([wide[:, 2 * k : 2 * k + size[1]] for k in range(count)])[None]


@torch.inference_mode()
def test_features_are_those_of_the_trunk(shipped: Loaded) -> None:
    trunk = shipped.net.visual
    frames = pictures(60)
    ours, grid = QuantisedTrunk(trunk)(frames)
    exact, same_grid = trunk(frames)
    assert grid == same_grid
    assert ours.shape == exact.shape
    unlike = 1 - (ours * exact).sum(dim=-1)
    assert float(unlike.mean()) < 1e-3
    assert float(unlike.max()) < 0.02
    # What is compared with the sound: how features change from picture to picture
    change, exact_change = ours.diff(dim=1).flatten(), exact.diff(dim=1).flatten()
    assert float(F.cosine_similarity(change, exact_change, dim=0)) > 0.98


@torch.inference_mode()
@pytest.mark.parametrize("times", [1, 9, 51, 60])
def test_runs_of_pictures_have_no_seams(
    shipped: Loaded, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    trunk, frames = QuantisedTrunk(shipped.net.visual), pictures(times, (48, 47))
    at_once, _ = trunk(frames)
    monkeypatch.setattr(quantised, "pictures_at_a_time", lambda _: 7)
    reported: list[tuple[int, int]] = []
    trunk.on_seen = lambda count, side: reported.append((count, side))
    in_turn, _ = trunk(frames)
    assert torch.equal(at_once, in_turn)
    assert sum(count for count, _ in reported) == times
    assert {side for _, side in reported} == {47}


@torch.inference_mode()
def test_the_sound_s_features_are_those_of_its_trunk(shipped: Loaded) -> None:
    trunk = shipped.net.sound
    # A voice stops and starts, and its bands go up and down together
    rng = torch.Generator().manual_seed(3)
    rough = torch.randn(1, 1, 60, 8, generator=rng)
    mel = 3 * F.interpolate(rough, size=(400, 64), mode="bicubic")[0] - 8
    ours = copy.deepcopy(trunk)
    ours.spectral = QuantisedSpectral(trunk.spectral)  # type: ignore[assignment]
    exact, near = trunk(mel), ours(mel)
    assert near.shape == exact.shape == (1, 100, shipped.net.config.embedding)
    unlike = 1 - (near * exact).sum(dim=-1)
    assert float(unlike.mean()) < 1e-3
    assert float(unlike.max()) < 0.02


@torch.inference_mode()
def test_sums_of_the_largest_numbers_do_not_run_over() -> None:
    """Without VNNI a processor adds two products in 16 bits."""
    weight = torch.ones(8, 16, 3, 3)
    weight[::2] = -1
    layer = _Layer(weight, torch.zeros(8), 1.0, torch.full((8,), 255 * 16 * 9.0), padding=(1, 1))
    out = layer(torch.full((1, 16, 5, 5), 255, dtype=torch.uint8))
    assert out[0, 1::2, 2, 2].tolist() == [255] * 4
    assert out[0, ::2].max() == 0
    assert out[0, 1, 0, 0] == round(255 * 4 / 9)


@torch.inference_mode()
def test_a_layer_is_the_convolution_that_it_says() -> None:
    rng = torch.Generator().manual_seed(2)
    weight, bias = torch.randn(6, 4, 3, 3, generator=rng), torch.randn(6, generator=rng)
    reach = torch.linspace(10, 60, 6)
    x = torch.randint(0, 256, (2, 4, 9, 8), generator=rng, dtype=torch.uint8)
    layer = _Layer(weight, bias / reach, 2 / 255, reach, zero=128, stride=2, padding=(1, 1))
    expected = F.relu(F.conv2d((x.float() - 128) * 2 / 255, weight, bias, stride=2, padding=1))
    out = layer(x.contiguous(memory_format=torch.channels_last)).float() / 255
    assert torch.allclose(out, (expected / reach.view(-1, 1, 1)).clamp(0, 1), atol=0.02)


def test_only_what_it_helps_is_quantised(shipped: Loaded) -> None:
    def ready(model: Loaded) -> tuple[str, str]:
        make_ready(model)
        return type(model.net.visual).__name__, type(model.net.sound.spectral).__name__

    whole, real = ("QuantisedTrunk", "QuantisedSpectral"), ("VisualTrunk", "Sequential")
    assert ready(replace(shipped, net=copy.deepcopy(shipped.net))) == whole
    assert ready(replace(shipped, net=copy.deepcopy(shipped.net), half=True)) == real
    follows = SyncNet(ModelConfig(alignment=True)).eval()
    assert ready(replace(shipped, net=follows)) == real
    with pytest.raises(ValueError, match="aligns"):
        QuantisedTrunk(VisualTrunk(ModelConfig(alignment=True)))
