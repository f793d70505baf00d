"""The network alone: pictures and sound of blocks -> joint features -> attention -> in sync or not.
No I/O.

Khosravan, Ardeshir, Puri, "On Attention Modules for Audio-Visual Synchronization" (below: the
paper).

    pictures (B, T, H, W) --VisualTrunk--> (B, T, P, D)  P = places = H/16 x W/16
    log-mel  (B, 4T, M)   --SoundTrunk---> (B, T, D)
    both, at every candidate shift --Match--> one logit a shift, from the trunks alone
    both, at one candidate shift --JointHead--> joint features (B, N, T', P, C), attention over N,
    T', P -> 2 logits

Shapes: B clips, T pictures at 25 fps, N blocks of 25 pictures, T' = 5 times in a block, C joint
channels, S candidate shifts. The paper's 3-D convolutions are factorised here into 2-D over a
picture and 1-D over time; its joint convolutions have a first layer that is linear in both
modalities, W[v; a] = Wv v + Wa a, so a scan computes each half once and a candidate shift costs an
addition.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from avcheck.network.make_head import make_head
from avcheck.network.match import Match, Scored
from avcheck.network.model_config import ModelConfig
from avcheck.network.trunks import SoundTrunk, TimeBlock, VisualTrunk


def likeness(picture: Tensor, sound: Tensor) -> Tensor:
    """The mean likeness of every place to the sound at every shift.

    Args:
        picture: Features of the visual trunk, (B, T, P, D).
        sound: Features of the sound trunk, `margin` pictures longer on both sides: (B, T + 2
            margin, D).

    Returns:
        (B, P, S), S = 2 margin + 1.
    """
    times = picture.shape[1]
    windows = sound.unfold(1, sound.shape[1] - times + 1, 1)  # (B, T, D, S)
    return torch.einsum("btpd,btds->bps", picture, windows) / times


def standing_out(like: Tensor) -> Tensor:
    """How far a likeness (B, P, S) at its best shift rises above that at the others, (B, P). It
    favours no shift.
    """
    return like.amax(dim=2) - like.mean(dim=2)


def agreement(picture: Tensor, sound: Tensor) -> Tensor:
    """How well every place goes with the sound, (B, P): its `likeness`, `standing_out`."""
    return standing_out(likeness(picture, sound))


def best_places(picture: Tensor, sound: Tensor, keep: int) -> Tensor:
    """The places of a clip that go best with its sound at some shift, by their `agreement`. The
    joint layers then look only at these.

    Args:
        picture, sound: As for `likeness`.
        keep: How many places.

    Returns:
        Indices (B, min(keep, P)), ascending.
    """
    return places_by(likeness(picture, sound), keep)


def places_by(like: Tensor, keep: int) -> Tensor:
    """`best_places`, from the `likeness` of each place, (B, P, S)."""
    standing = standing_out(like)
    return standing.topk(min(keep, standing.shape[1]), dim=1).indices.sort(dim=1).values


class SyncNet(nn.Module):
    """The whole classifier."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = VisualTrunk(config)
        self.sound = SoundTrunk(config)
        self.match = Match()
        self.head = make_head(config)

    def forward(self, pictures: Tensor, mel: Tensor) -> Scored:
        """In sync or not, as is: pictures (B, N*25, H, W) and log-mel (B, N*100, M) of the same
        seconds -> `Scored`, S = 1.
        """
        picture, _ = self.visual(pictures)
        return self.head(picture, self.sound(mel), torch.zeros(1, dtype=torch.long), margin=0)  # type: ignore[no-any-return]


def fuse(net: SyncNet) -> SyncNet:
    """Fold every batch normalisation into its convolution, in place: the same function, faster, for
    inference only.
    """
    for module in list(net.modules()):
        if isinstance(module, TimeBlock) and isinstance(module.norm, nn.BatchNorm1d):
            module.conv, module.norm = fuse_conv_bn_eval(module.conv, module.norm), nn.Identity()
        elif isinstance(module, nn.Sequential):
            for at, (layer, norm) in enumerate(pairwise(list(module))):
                if isinstance(layer, nn.Conv1d | nn.Conv2d) and isinstance(
                    norm, nn.BatchNorm1d | nn.BatchNorm2d
                ):
                    module[at], module[at + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()
    return net
