"""The network alone: shapes of every stage, attention that sums to one, and the algebra a scan
relies on.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from avcheck.network import trunks as trunks_module
from avcheck.network.heads import JointHead
from avcheck.network.match import Match
from avcheck.network.model import SyncNet, best_places, likeness
from avcheck.network.model_config import (
    ATTENTION_KINDS,
    BLOCK_FRAMES,
    BLOCK_TIMES,
    AttentionKind,
    ModelConfig,
)
from tests.support import networks

torch.set_num_threads(1)


TINY = replace(networks.TINY, visual_channels=(4, 8, 8, 12), joint_channels=6, contrast_px=41)
KINDS = pytest.mark.parametrize("kind", ATTENTION_KINDS)


def head(kind: AttentionKind, seed: int = 0) -> JointHead:
    torch.manual_seed(seed)
    return JointHead(replace(TINY, attention=kind)).eval()


def features(batch: int, times: int, places: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(
        torch.randn(batch, times, places, TINY.embedding, generator=generator), dim=-1
    )


def sounds(batch: int, times: int, seed: int = 1) -> Tensor:
    return features(batch, times, 1, seed)[:, :, 0]


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_rectified_is_relu(kind: torch.dtype) -> None:
    values = torch.tensor([-3.0, -1e-30, -0.0, 0.0, 1e-30, 2.5, float("inf"), -float("inf")]).to(
        kind
    )
    with torch.inference_mode():
        assert torch.equal(trunks_module._rectified(values.clone()), F.relu(values))
    assert torch.equal(trunks_module._rectified(values.clone()), F.relu(values))


def test_the_head_in_whole_numbers_is_as_near_as_bfloat16() -> None:
    torch.manual_seed(0)
    head = JointHead(TINY).eval()
    picture = F.normalize(torch.randn(1, 50, 6, TINY.embedding), dim=-1)
    sound = F.normalize(torch.randn(1, 70, TINY.embedding), dim=-1)

    def joint(counted: bool) -> torch.Tensor:
        halves = head.from_picture(picture), head.from_sound(sound)[:, 10:60]
        if counted:
            return head.joint_features(*head._counted(*halves)).float()
        return head.joint_features(*halves).float()

    with torch.inference_mode():
        exact, near = joint(counted=False), joint(counted=True)
        with torch.autocast("cpu", torch.bfloat16):
            rough, whole = joint(counted=False), joint(counted=True)
    assert not torch.equal(whole, rough)
    assert (whole - exact).abs().mean() < 1.2 * (rough - exact).abs().mean()
    assert not torch.equal(near, exact)
    assert (near - exact).abs().mean() < 0.05 * (rough - exact).abs().mean()


def test_whole_numbers_of_the_head_do_not_run_over() -> None:
    """In bfloat16 1 and 0.00387 are 1 together: a bound made so is too small by four counts of a
    thousand.
    """
    head = JointHead(TINY)
    picture, sound = (
        torch.ones(1, 25, 1, 16).bfloat16(),
        torch.full((1, 25, 16), 0.00387).bfloat16(),
    )
    with torch.inference_mode():
        counted, heard, unit = head._counted(picture, sound)
        assert counted.dtype == torch.int16
        total = (counted + heard.unsqueeze(2)).view(5, 5, 16).sum(dim=1, dtype=torch.int16)
    assert total.min() > 0
    assert torch.allclose(total * unit / 5, torch.tensor(1.00387), atol=1e-3)


@KINDS
@pytest.mark.parametrize("blocks", [1, 3])
def test_shapes_and_attention_of_the_head(kind: AttentionKind, blocks: int) -> None:
    margin, places = 4, 6
    picture, sound = features(2, blocks * 25, places), sounds(2, blocks * 25 + 2 * margin)
    with torch.inference_mode():
        scored = head(kind)(picture, sound, torch.tensor([-4, 0, 3]), margin=margin)
    assert scored.logits.shape == (2, 3, 2)
    assert scored.block_logits.shape == (2, 3, blocks, 2)
    assert scored.attention.shape == (2, 3, blocks, BLOCK_TIMES, places)
    assert (scored.attention >= 0).all()
    assert torch.allclose(scored.attention.sum(dim=(2, 3, 4)), torch.ones(2, 3), atol=1e-5)


def test_uniform_attention_is_uniform_and_the_others_are_not() -> None:
    picture, sound = features(1, 75, 6), sounds(1, 75)
    spread = {}
    for kind in ATTENTION_KINDS:
        network = head(kind)
        if kind != "uniform":
            for parameter in network.confidence.parameters():
                torch.nn.init.normal_(parameter, std=2.0)
        with torch.inference_mode():
            attention = network(picture, sound, torch.tensor([0]), margin=0).attention[0, 0]
        spread[kind] = attention
    assert torch.allclose(spread["uniform"], torch.full((3, 5, 6), 1 / 90), atol=1e-7)
    assert spread["temporal"].std() > 1e-4
    # one weight a block
    assert torch.allclose(spread["temporal"], spread["temporal"][:, :1, :1].expand(3, 5, 6))
    assert spread["spatio-temporal"].std(dim=(1, 2)).min() > 1e-4


def test_uniform_logits_are_those_of_the_mean_feature() -> None:
    network, picture, sound = head("uniform"), features(1, 50, 4), sounds(1, 50)
    with torch.inference_mode():
        joint = network.joint_features(network.from_picture(picture), network.from_sound(sound))
        scored = network(picture, sound, torch.tensor([0]), margin=0)
        assert joint.shape == (1, 2, BLOCK_TIMES, 4, TINY.joint_channels)
        assert torch.allclose(
            scored.logits[0, 0], network.decide(joint.mean(dim=(1, 2, 3)))[0], atol=1e-5
        )
        assert torch.allclose(
            scored.block_logits[0, 0], network.decide(joint.mean(dim=(2, 3)))[0], atol=1e-5
        )


@KINDS
def test_cells_without_picture_or_sound_get_no_attention(kind: AttentionKind) -> None:
    blocks, places = 3, 4
    picture, sound = features(1, 75, places), sounds(1, 75)
    present = torch.ones(1, 1, 75, dtype=torch.bool)
    present[..., 10:15] = False  # the third fifth of the first block
    present[..., 27] = False  # one picture of the first fifth of the second block
    present[..., 50:] = False  # the third block
    with torch.inference_mode():
        attention = head(kind)(
            picture, sound, torch.tensor([0]), margin=0, present=present
        ).attention[0, 0]
    comparable = torch.ones(blocks, BLOCK_TIMES, dtype=torch.bool)
    comparable[0, 2] = comparable[1, 0] = False
    comparable[2] = False
    assert attention[~comparable].abs().max() == 0
    assert (attention[comparable] > 0).all()
    assert attention.sum() == pytest.approx(1.0, abs=1e-5)


@KINDS
def test_what_is_masked_changes_nothing(kind: AttentionKind) -> None:
    network, picture, sound = head(kind), features(1, 75, 4), sounds(1, 75)
    present = torch.ones(1, 1, 75, dtype=torch.bool)
    present[..., 25:40] = False
    other = picture.clone()
    other[:, 25:40] = features(1, 15, 4, seed=9)
    with torch.inference_mode():
        a = network(picture, sound, torch.tensor([0]), margin=0, present=present)
        b = network(other, sound, torch.tensor([0]), margin=0, present=present)
    assert torch.allclose(a.logits, b.logits, atol=1e-5)
    assert torch.allclose(a.block_logits, b.block_logits, atol=1e-5)


@KINDS
def test_nothing_present_is_finite(kind: AttentionKind) -> None:
    with torch.inference_mode():
        scored = head(kind)(
            features(1, 25, 4),
            sounds(1, 25),
            torch.tensor([0]),
            margin=0,
            present=torch.zeros(1, 1, 25, dtype=torch.bool),
        )
    assert all(tensor.isfinite().all() for tensor in scored)


def test_the_two_halves_are_one_linear_layer_on_both() -> None:
    """W[v; a] + b = (Wv v + b) + Wa a: what lets a scan compute each half once."""
    network = head("uniform")
    torch.nn.init.normal_(network.from_picture.weight)
    torch.nn.init.normal_(network.from_sound.weight)
    torch.nn.init.normal_(network.from_picture.bias)
    picture, sound = features(2, 25, 5), sounds(2, 25)
    weight = torch.cat([network.from_picture.weight, network.from_sound.weight], dim=1)
    joined = torch.cat([picture, sound.unsqueeze(2).expand_as(picture)], dim=-1)
    together = F.linear(joined, weight, network.from_picture.bias)
    apart = network.from_picture(picture) + network.from_sound(sound).unsqueeze(2)
    assert torch.allclose(together, apart, atol=1e-5)


@KINDS
def test_scoring_many_shifts_is_scoring_each_by_itself(kind: AttentionKind) -> None:
    network, margin = head(kind), 6
    picture, sound = features(1, 50, 4), sounds(1, 50 + 2 * margin)
    with torch.inference_mode():
        together = network(picture, sound, torch.arange(-margin, margin + 1), margin=margin)
        for index, shift in enumerate(range(-margin, margin + 1)):
            cut = sound[:, margin + shift : margin + shift + 50]
            alone = network(picture, cut, torch.tensor([0]), margin=0)
            assert torch.allclose(together.logits[:, index], alone.logits[:, 0], atol=1e-5)


@pytest.mark.parametrize("late", [-7, 0, 5])
def test_a_fresh_joint_layer_is_the_distance_of_picture_and_sound(late: int) -> None:
    """It starts as |v - a| for each channel, so it is nought where the sound is read as many
    pictures later as it is late.

    The layers behind it start at random, so the logits of an untrained head say nothing of the
    shift, and nothing is asked.
    """
    network, margin = head("uniform"), 8
    sound = sounds(1, 50 + 2 * margin)
    # What is heard `late` after is seen now
    picture = sound[:, margin + late : margin + late + 50].unsqueeze(2)
    with torch.inference_mode():
        size = [
            F.relu(
                network.from_picture(picture)
                + network.from_sound(sound[:, margin + s : margin + s + 50]).unsqueeze(2)
            ).mean()
            for s in range(-margin, margin + 1)
        ]
        assert int(torch.stack(size).argmin()) - margin == late
        assert size[margin + late] == pytest.approx(0.0, abs=1e-5)
        distance = (
            (picture[:, :, 0] - sound[:, margin : margin + 50]).abs().mean()
            * TINY.embedding**0.5
            / 2
        )
        assert size[margin] == pytest.approx(float(distance), abs=1e-4)


@pytest.mark.parametrize("late", [-7, 0, 5])
def test_a_head_that_has_learnt_peaks_where_the_sound_is(late: int) -> None:
    """With a decision set by hand to prefer small distances, the best shift is positive for late
    sound.
    """
    network, margin = head("uniform"), 8
    networks.judge_by_distance(network)
    sound = sounds(1, 75 + 2 * margin)
    picture = sound[:, margin + late : margin + late + 75].unsqueeze(2)
    with torch.inference_mode():
        logits = network(picture, sound, torch.arange(-margin, margin + 1), margin=margin).logits[0]
    assert int((logits[:, 1] - logits[:, 0]).argmax()) - margin == late


def test_an_unknown_kind_of_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="spatio-temporal"):
        JointHead(replace(TINY, attention="spatial"))  # type: ignore[arg-type]


def test_dropout_is_the_papers_and_only_in_training() -> None:
    assert [m.p for m in head("temporal").confidence if isinstance(m, torch.nn.Dropout)] == [0.5]
    assert [m.p for m in head("spatio-temporal").confidence if isinstance(m, torch.nn.Dropout)] == [
        0.4
    ]


def test_best_places_keeps_the_one_that_goes_with_the_sound() -> None:
    margin, places = 10, 40
    sound = sounds(1, 50 + 2 * margin)
    picture = features(1, 50, places, seed=3)
    for place, shift in ((17, 4), (33, -9)):
        picture[0, :, place] = F.normalize(
            sound[0, margin + shift : margin + shift + 50] + 0.3 * picture[0, :, place], dim=-1
        )
    assert best_places(picture, sound, 2)[0].tolist() == [17, 33]
    kept = best_places(picture, sound, 8)[0].tolist()
    assert kept == sorted(set(kept))
    assert {17, 33} <= set(kept)


def test_best_places_prefers_what_depends_on_the_shift() -> None:
    """A place that is always like the sound, at every shift, says nothing of the shift."""
    margin = 10
    steady = F.normalize(torch.ones(TINY.embedding), dim=0)
    sound = F.normalize(sounds(1, 50 + 2 * margin) + 3 * steady, dim=-1)
    picture = features(1, 50, 12, seed=3)
    picture[0, :, 2] = steady
    picture[0, :, 7] = sound[0, margin + 3 : margin + 53]
    mean = torch.einsum("tpd,td->p", picture[0], sound[0, margin : margin + 50])
    assert mean.argmax() == 2
    assert best_places(picture, sound, 1)[0].tolist() == [7]


def test_best_places_keeps_all_where_there_are_few() -> None:
    assert best_places(features(2, 25, 3), sounds(2, 35), 32).tolist() == [[0, 1, 2]] * 2


@KINDS
def test_the_whole_net_says_in_sync_or_not_of_blocks(kind: AttentionKind) -> None:
    torch.manual_seed(0)
    net = SyncNet(replace(TINY, attention=kind)).eval()
    with torch.inference_mode():
        scored = net(
            torch.randint(0, 256, (2, 2 * BLOCK_FRAMES, 48, 64), dtype=torch.uint8),
            torch.randn(2, 200, 64),
        )
    assert scored.logits.shape == (2, 1, 2)
    assert scored.attention.shape == (2, 1, 2, BLOCK_TIMES, 12)
    assert scored.block_logits.shape == (2, 1, 2, 2)


def test_the_shipped_shape_of_the_net_stays_under_15_mb() -> None:
    heads = sum(
        p.numel()
        for kind in ATTENTION_KINDS
        for p in JointHead(ModelConfig(attention=kind)).parameters()
    )
    net = SyncNet(ModelConfig())
    trunks = sum(p.numel() for part in (net.visual, net.sound) for p in part.parameters())
    assert 4 * (heads + trunks) < 15e6


def test_everything_learns() -> None:
    """Gradients reach every parameter of trunks, match and head."""
    torch.manual_seed(0)
    net = SyncNet(TINY).train()
    scored = net(torch.randint(0, 256, (2, 25, 48, 48), dtype=torch.uint8), torch.randn(2, 100, 64))
    F.cross_entropy(scored.logits[:, 0], torch.tensor([0, 1])).backward()
    picture, _ = net.visual(torch.randint(0, 256, (2, 25, 48, 48), dtype=torch.uint8))
    F.cross_entropy(
        net.match(picture, net.sound(torch.randn(2, 120, 64))), torch.tensor([0, 3])
    ).backward()
    without = [
        name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert without == []


@pytest.mark.parametrize("late", [-4, 0, 3])
def test_the_match_peaks_where_the_sound_goes_with_one_place(late: int) -> None:
    margin, generator = 6, torch.Generator().manual_seed(0)
    sound = F.normalize(torch.randn(1, 30 + 2 * margin, 8, generator=generator), dim=-1)
    picture = F.normalize(torch.randn(1, 30, 5, 8, generator=generator), dim=-1)
    picture[:, :, 3] = sound[:, margin + late : margin + late + 30]
    match = Match()
    with torch.inference_mode():
        assert int(match(picture, sound)[0].argmax()) - margin == late
        # Where every place says the same, the soft maximum is that, however many places there are.
        one = match(picture[:, :, 3:4], sound)
        assert torch.allclose(
            match(picture[:, :, 3:4].expand(-1, -1, 7, -1), sound), one, atol=1e-3
        )
        # a cosine of 1
        assert float(one.max()) == pytest.approx(float(match.log_scale.exp()), rel=1e-3)


def test_what_is_missing_says_nothing_in_the_match() -> None:
    """Sound that is not there, whatever stands in its place, leaves the scores of what is there."""
    margin, generator = 4, torch.Generator().manual_seed(0)
    sound = F.normalize(torch.randn(1, 60 + 2 * margin, 8, generator=generator), dim=-1)
    picture = F.normalize(torch.randn(1, 60, 5, 8, generator=generator), dim=-1)
    picture[:, :, 2] = sound[:, margin : margin + 60]
    heard = torch.ones(60 + 2 * margin, dtype=torch.bool)
    heard[: margin + 30] = False
    present = torch.stack([heard[k : k + 60] for k in range(2 * margin + 1)])[None]
    match = Match()
    with torch.inference_mode():
        masked = match(picture, sound, present)
        other = sound.clone()
        other[:, : margin + 30] = 1.0
        assert torch.allclose(match(picture, other, present), masked, atol=1e-4)
        assert int(masked[0].argmax()) == margin
        full = match(picture, sound, torch.ones_like(present))
        assert torch.allclose(full, match(picture, sound), atol=1e-4)
        assert torch.equal(
            match(picture, sound, torch.zeros_like(present)), torch.zeros(1, 2 * margin + 1)
        )


@pytest.mark.parametrize("times", [25, 30, 127])
def test_the_match_tells_how_like_every_place_is_beside_it(times: int) -> None:
    """Of all pictures, though some may be left over by the match, and all of the sound."""
    picture, sound = features(1, times, 5), features(1, times + 8, 1, seed=1)[:, :, 0]
    some = torch.arange(times) % 4 > 0
    for present in (None, some.expand(1, 9, times)):
        with torch.inference_mode():
            match, like = Match().beside_likeness(picture, sound, present)
            assert torch.equal(match, Match()(picture, sound, present))
        assert torch.allclose(like, likeness(picture, sound), atol=1e-6)
