"""The transformer head: a clock in seconds, so that neither the pictures' rate nor where the clock
starts matters.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from avcheck.network.heads import TransformerHead, rotate
from avcheck.network.make_head import make_head
from avcheck.network.model import SyncNet
from avcheck.network.model_config import BLOCK_TIMES, FUSION_KINDS, FusionKind
from avcheck.train.losses import matching_loss
from tests.support import networks

torch.set_num_threads(1)
TINY = replace(networks.TINY, embedding=16, attention="transformer", attention_heads=2)
FUSIONS = pytest.mark.parametrize("fusion", FUSION_KINDS)
MARGIN = 10
SHIFTS = torch.arange(-MARGIN, MARGIN + 1)


def head(fusion: FusionKind, *, stirred: bool = True) -> TransformerHead:
    """A head that is not fresh, unless asked for: what starts at nought is drawn at random."""
    torch.manual_seed(0)
    made = make_head(replace(TINY, fusion=fusion))
    assert isinstance(made, TransformerHead)
    if stirred:
        for layer in (made.pictures, made.sounds):
            torch.nn.init.normal_(layer.out.weight, std=0.3)
            torch.nn.init.normal_(layer.mix[-1].weight, std=0.3)  # type: ignore[arg-type]
    return made.eval()


def features(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, TINY.embedding, generator=generator), dim=-1)


def course(times_s: Tensor) -> Tensor:
    """Something that goes on in time, seen or heard at any moment: unit vectors (T,) -> (T, D)."""
    generator = torch.Generator().manual_seed(5)
    rates_hz = 0.5 + 3.5 * torch.rand(TINY.embedding, generator=generator)
    phases = 6.28 * torch.rand(TINY.embedding, generator=generator)
    return F.normalize(
        torch.sin(6.2832 * rates_hz * times_s.double()[:, None] + phases).float(), dim=-1
    )


def gap(logits: Tensor) -> Tensor:
    return logits[..., 1] - logits[..., 0]


def test_the_product_of_rotated_tokens_knows_only_the_seconds_between_them() -> None:
    query, key = torch.randn(2, 3, 2, 8, generator=torch.Generator().manual_seed(1))
    at_s = torch.tensor([0.0, 1.3, 7.2])

    def product(query_s: Tensor, key_s: Tensor) -> Tensor:
        return (rotate(query, query_s) * rotate(key, key_s)).sum(-1)

    assert torch.allclose(product(at_s, at_s + 0.04), product(at_s + 3.0, at_s + 3.04), atol=1e-4)
    assert torch.allclose(product(at_s, at_s), (query * key).sum(-1), atol=1e-5)
    assert not torch.allclose(product(at_s, at_s), product(at_s, at_s + 0.04), atol=1e-2)
    assert torch.allclose(rotate(query, at_s).norm(dim=-1), query.norm(dim=-1), atol=1e-5)
    assert torch.allclose(rotate(rotate(query, at_s), -at_s), query, atol=1e-5)


@FUSIONS
@pytest.mark.parametrize("blocks", [1, 3])
def test_shapes_and_attention(fusion: FusionKind, blocks: int) -> None:
    with torch.inference_mode():
        scored = head(fusion)(
            features(2, 25 * blocks, 6),
            features(2, 25 * blocks + 8),
            torch.tensor([-4, 0, 3]),
            margin=4,
        )
    assert scored.logits.shape == (2, 3, 2)
    assert scored.block_logits.shape == (2, 3, blocks, 2)
    assert scored.attention.shape == (2, 3, blocks, BLOCK_TIMES, 6)
    assert (scored.attention >= 0).all()
    assert torch.allclose(scored.attention.sum(dim=(2, 3, 4)), torch.ones(2, 3), atol=1e-5)


@FUSIONS
def test_each_clip_and_each_shift_is_scored_by_itself(fusion: FusionKind) -> None:
    network, picture, sound = head(fusion), features(2, 50, 4), features(2, 50 + 2 * MARGIN, seed=1)
    with torch.inference_mode():
        together = network(picture, sound, SHIFTS, margin=MARGIN)
        for clip, shift in ((0, 0), (1, -7), (1, 10)):
            alone = network(
                picture[clip : clip + 1],
                sound[clip : clip + 1],
                torch.tensor([shift]),
                margin=MARGIN,
            )
            assert torch.allclose(
                together.logits[clip, shift + MARGIN], alone.logits[0, 0], atol=1e-4
            )
            assert torch.allclose(
                together.attention[clip, shift + MARGIN], alone.attention[0, 0], atol=1e-4
            )


@FUSIONS
def test_only_time_differences_count(fusion: FusionKind) -> None:
    """Where the clock starts changes nothing, and a shift is nothing but other seconds on the
    sound's tokens.
    """
    network, picture, sound = head(fusion), features(1, 50, 4), features(1, 50 + 2 * MARGIN, seed=1)
    picture_s, sound_s = torch.arange(50) / 25, (torch.arange(50 + 2 * MARGIN) - MARGIN) / 25
    with torch.inference_mode():
        plain = network(picture, sound, SHIFTS, margin=MARGIN).logits
        timed = network(
            picture, sound, SHIFTS, margin=MARGIN, picture_s=picture_s, sound_s=sound_s
        ).logits
        later = network(
            picture, sound, SHIFTS, margin=MARGIN, picture_s=picture_s + 3, sound_s=sound_s + 3
        ).logits
        nought = torch.zeros(1, dtype=torch.long)
        moved = network(
            picture, sound, nought, margin=MARGIN, picture_s=picture_s, sound_s=sound_s - 4 / 25
        ).logits
    assert torch.allclose(timed, plain, atol=1e-5)
    assert torch.allclose(later, plain, atol=1e-3)
    assert torch.allclose(moved[0, 0], plain[0, MARGIN + 4], atol=1e-4)
    assert gap(plain).std() > 1e-4


@FUSIONS
def test_what_is_missing_gets_no_attention(fusion: FusionKind) -> None:
    present = torch.ones(1, 1, 75, dtype=torch.bool)
    present[..., 10:15] = False
    present[..., 50:] = False
    with torch.inference_mode():
        scored = head(fusion)(
            features(1, 75, 4), features(1, 75), torch.tensor([0]), margin=0, present=present
        )
        nothing = head(fusion)(
            features(1, 25, 4),
            features(1, 25),
            torch.tensor([0]),
            margin=0,
            present=present[..., 50:],
        )
    assert scored.attention[0, 0, 0, 2].max() == 0
    assert scored.attention[0, 0, 2].max() == 0
    assert scored.attention[0, 0, 0, 0].min() > 0
    assert all(tensor.isfinite().all() for tensor in nothing)


def test_a_fresh_head_without_cross_attention_is_the_joint_head() -> None:
    network, picture, sound = (
        head("self", stirred=False),
        features(1, 50, 4),
        features(1, 50 + 2 * MARGIN, seed=1),
    )
    with torch.inference_mode():
        mine = network(picture, sound, SHIFTS, margin=MARGIN)
        plain = network.joint(picture, sound, SHIFTS, margin=MARGIN)
    assert torch.allclose(mine.logits, plain.logits, atol=1e-5)
    assert torch.allclose(mine.attention, plain.attention, atol=1e-5)


@FUSIONS
@pytest.mark.parametrize("late", [-6, 0, 5])
@pytest.mark.parametrize("rate", [24.0, 25.0, 30_000 / 1001])
def test_a_match_is_found_at_the_pictures_own_rate(
    fusion: FusionKind, late: int, rate: float
) -> None:
    """Pictures at their own times, sound 25 times a second: the best shift is where the sound is
    late, at every rate.
    """
    network = head(fusion, stirred=False)
    networks.judge_by_distance(network.joint)
    picture_s, sound_s = torch.arange(100) / rate, (torch.arange(130 + 2 * MARGIN) - MARGIN) / 25
    picture = course(picture_s)[None, :, None].repeat(1, 1, 3, 1)
    sound = course(sound_s - late / 25)[None]
    with torch.inference_mode():
        native = gap(
            network(
                picture, sound, SHIFTS, margin=MARGIN, picture_s=picture_s, sound_s=sound_s
            ).logits[0]
        )
        counted = gap(network(picture, sound, SHIFTS, margin=MARGIN).logits[0])
    assert int(native.argmax()) - MARGIN == late
    if rate != 25.0:  # pictures that are counted instead drift away from the sound
        assert native.max() > counted.max()


def test_sound_attends_to_the_place_that_goes_with_it() -> None:
    network = head("cross", stirred=False)
    picture, sound = features(1, 50, 5), features(1, 50, seed=1)
    picture[:, :, 3] = sound
    with torch.inference_mode():
        places = (
            network(picture, sound, torch.tensor([0]), margin=0).attention[0, 0].sum(dim=(0, 1))
        )
    assert int(places.argmax()) == 3
    assert places[3] > 2 * places[[0, 1, 2, 4]].max()


def test_everything_learns() -> None:
    for fusion in FUSION_KINDS:
        network = head(fusion).train()
        scored = network(
            features(2, 50, 4), features(2, 50 + 2 * MARGIN), torch.tensor([-3, 0]), margin=MARGIN
        )
        (scored.logits.square().sum() + scored.attention.square().sum()).backward()
        idle = [
            name
            for name, value in network.named_parameters()
            if value.grad is None or not value.grad.any()
        ]
        assert idle in ([], ["joint.confidence.3.bias"])  # a constant before a softmax


def test_the_whole_net_takes_it_and_unknown_fusions_are_refused() -> None:
    torch.manual_seed(0)
    net = SyncNet(TINY).eval()
    assert isinstance(net.head, TransformerHead)
    with torch.inference_mode():
        scored = net(
            torch.randint(0, 256, (1, 25, 48, 48), dtype=torch.uint8), torch.randn(1, 100, 64)
        )
    assert scored.logits.shape == (1, 1, 2)
    with pytest.raises(ValueError, match="cross, self"):
        TransformerHead(replace(TINY, fusion="late"))  # type: ignore[arg-type]


def test_matching_is_least_where_what_is_close_in_time_is_alike() -> None:
    picture_s, sound_s = torch.arange(30) / 25, (torch.arange(40) - 5) / 25
    sound = features(1, 40)
    heard = torch.ones(1, 40, dtype=torch.bool)
    losses = {
        late: float(
            matching_loss(sound[:, 5 + late : 35 + late, None], sound, picture_s, sound_s, heard)
        )
        for late in (-3, 0, 3)
    }
    assert losses[0] < 0.5 * min(losses[-3], losses[3])
    # One place that fits is enough, and what is not heard has no say.
    among = torch.cat([features(1, 30, 3, seed=9), sound[:, 5:35, None]], dim=2)
    assert float(matching_loss(among, sound, picture_s, sound_s, heard)) < min(
        losses[-3], losses[3]
    )
    heard[:, 20:] = False
    other = sound.clone()
    other[:, 20:] = features(1, 20, seed=8)
    a, b = (
        float(matching_loss(sound[:, 5:35, None], each, picture_s, sound_s, heard))
        for each in (sound, other)
    )
    assert a == pytest.approx(b, abs=1e-5)
