"""The network alone: pictures and sound of blocks -> joint features -> attention -> in sync or not. No I/O.

Khosravan, Ardeshir, Puri, "On Attention Modules for Audio-Visual Synchronization" (below: the paper).

    pictures (B, T, H, W) --VisualTrunk--> (B, T, P, D)  P = places = H/16 x W/16
    log-mel  (B, 4T, M)   --SoundTrunk---> (B, T, D)
    both, at every candidate shift --Match--> one logit a shift, from the trunks alone
    both, at one candidate shift --JointHead--> joint features (B, N, T', P, C), attention over N, T', P -> 2 logits

Shapes: B clips, T pictures at 25 fps, N blocks of 25 pictures, T' = 5 times in a block, C joint channels, S candidate shifts.
The paper's 3-D convolutions are factorised here into 2-D over a picture and 1-D over time; its joint convolutions have a
first layer that is linear in both modalities, W[v; a] = Wv v + Wa a, so a scan computes each half once and a candidate shift
costs an addition.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

AttentionKind = Literal["uniform", "temporal", "spatio-temporal", "transformer"]
ATTENTION_KINDS: tuple[AttentionKind, ...] = ("uniform", "temporal", "spatio-temporal")  # the paper's, in every weights file
HEAD_KINDS: tuple[AttentionKind, ...] = (*ATTENTION_KINDS, "transformer")
FusionKind = Literal["cross", "self"]
FUSION_KINDS: tuple[FusionKind, ...] = ("cross", "self")
BLOCK_FRAMES = 25  # the paper, section 3.1
_PX_AT_A_TIME = 176 * 422  # of a picture of which a block is seen at a time; those of a first look are smaller
BLOCK_TIMES = 5  # T': joint features are averaged over 5 pictures (0.2 s) within a block
TOKEN_S = 1 / BLOCK_FRAMES  # between two sound features, and between two pictures at 25 fps


@dataclass(frozen=True)
class ModelConfig:
    """Everything that rebuilds the network; it travels inside the weights file."""

    mel_bins: int = 64
    stem_frames: int = 5  # pictures seen by the first convolution
    visual_channels: tuple[int, int, int, int] = (24, 64, 128, 192)
    sound_channels: tuple[int, int, int, int] = (32, 64, 96, 128)
    width: int = 192  # channels of the 1-D convolutions over time, in both trunks
    embedding: int = 64  # D
    joint_channels: int = 64  # C
    attention: AttentionKind = "spatio-temporal"
    contrast_px: int = 41  # side of the square for local contrast normalisation
    alignment: bool = False  # follow what moves from picture to picture before looking along time (`neighbours`)
    fusion: FusionKind = "cross"  # of the transformer: sound attends to pictures, or each to its own kind only
    attention_heads: int = 4  # of the transformer

    @property
    def keep_places(self) -> int | None:
        """How many places the head looks at, those that go best with the sound (`best_places`); None: the whole picture."""
        return {"spatio-temporal": 32, "transformer": 12}.get(self.attention)


class Scored(NamedTuple):
    """What the head says of clips at S candidate shifts.

    logits: (B, S, 2), column 1 = in sync. attention: (B, S, N, T', P), sums to 1 over N, T', P.
    block_logits: (B, S, N, 2), the decision on each block alone.
    """

    logits: Tensor
    attention: Tensor
    block_logits: Tensor


_CELL_PX = 4  # of the grid on which local statistics are taken: smooth at this scale, and a sixteenth of the work


def local_contrast(pictures: Tensor, side: int) -> Tensor:
    """Subtract the local mean and divide by the local deviation over a square of about `side` px: (B, T, H, W), 0..255."""
    with torch.autocast(pictures.device.type, enabled=False):  # the mean of squares less the squared mean needs every bit
        mean, squares = (_square_mean(values, side // (2 * _CELL_PX)) for values in (pictures, pictures * pictures))
        gain = 1.0 / ((squares - mean * mean).clamp_min(0).sqrt() + 0.04 * 255.0)
        mean, gain = (_enlarged(grid)[..., : pictures.shape[-2], : pictures.shape[-1]] for grid in (mean, gain))
        return (pictures - mean).mul_(gain)


def _square_mean(values: Tensor, reach: int) -> Tensor:
    """Means (B, T, rows, columns) of cells of `_CELL_PX`, and then over the cells up to `reach` away in both directions."""
    cells = F.avg_pool2d(values, _CELL_PX, ceil_mode=True, count_include_pad=False)

    def band(count: int) -> Tensor:
        at = torch.arange(count, device=cells.device)
        near = ((at - at.unsqueeze(1)).abs() <= max(1, reach)).to(cells.dtype)
        return near / near.sum(dim=1, keepdim=True)

    return band(cells.shape[-2]) @ cells @ band(cells.shape[-1]).T  # a third of the time of pooling with these windows


def _enlarged(cells: Tensor) -> Tensor:
    """Bilinear, `_CELL_PX` times in both directions: (B, T, rows, columns) -> (B, T, rows * 4, columns * 4).

    The same as `interpolate`, in half the time: it knows that the ratio is whole.
    """
    half = _CELL_PX // 2
    share = (torch.arange(_CELL_PX, device=cells.device, dtype=cells.dtype) + 0.5) / _CELL_PX
    x = F.pad(cells, (1, 1, 1, 1), mode="replicate")
    x = torch.lerp(x[..., :-1, None], x[..., 1:, None], share).flatten(-2)[..., half:-half].contiguous()
    return torch.lerp(x[..., :-1, None, :], x[..., 1:, None, :], share.unsqueeze(1)).flatten(-3, -2)[..., half:-half, :]


def _rectified(x: Tensor) -> Tensor:
    """ReLU of what nobody needs as it was: in place."""
    if torch.is_grad_enabled() or x.dtype != torch.bfloat16:
        return F.relu(x, inplace=True)
    # A bfloat16 is negative where the whole number of the same bits is: the same result in a fifth of the time.
    x.view(torch.int16).clamp_min_(0)
    return x


class _Rectify(nn.Module):
    """`_rectified` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return _rectified(x)


class _TimeBlock(nn.Module):
    """Residual 1-D convolution over time, kernel 3: (B, C, T), or (B, C, T, P) at every place -> the same shape."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm: nn.BatchNorm1d | nn.Identity = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        wide = x if x.dim() == 4 else x.unsqueeze(-1)
        padding, dilation = (int(conv.padding[0]), 0), (conv.dilation[0], 1)
        y = F.conv2d(wide, conv.weight.unsqueeze(-1), conv.bias, padding=padding, dilation=dilation)
        rows = y.permute(0, 2, 3, 1)  # where all places of a picture come in at once they lie in memory like this
        y = self.norm(rows.flatten(0, 2)).view(rows.shape).permute(0, 3, 1, 2)
        return x + _rectified(y).view_as(x)

    def follow(self, x: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """The same convolution along the paths of `neighbours`: (B, T, P, C) -> (B, T, P, C)."""
        channels = x.shape[-1]
        earlier = torch.gather(x[:, :-1], 2, before.unsqueeze(-1).expand(-1, -1, -1, channels))
        later = torch.gather(x[:, 1:], 2, after.unsqueeze(-1).expand(-1, -1, -1, channels))
        weight = self.conv.weight
        y = F.linear(x, weight[:, :, 1], self.conv.bias)
        y = y + F.pad(F.linear(earlier, weight[:, :, 0]), (0, 0, 0, 0, 1, 0))
        y = y + F.pad(F.linear(later, weight[:, :, 2]), (0, 0, 0, 0, 0, 1))
        return x + _rectified(self.norm(y.flatten(0, 2))).view_as(y)


@torch.no_grad()
def neighbours(features: Tensor) -> tuple[Tensor, Tensor]:
    """Where each place of a picture was in the picture before, and where it will be in the next: by likeness, no parameters.

    Alignment-guided temporal attention (arXiv 2210.00132) aligns the patches of neighbouring pictures before anything looks
    along time. Here a place may move by one place in each direction from picture to picture; of equally like ones the place
    itself is taken. features (B, T, h, w, C) -> before, after: indices (B, T - 1, h*w), of the place in picture t that goes
    with a place of picture t + 1, and the other way round.
    """
    batch, times, rows, columns, _ = features.shape
    unit = F.normalize(features.float(), dim=-1)
    first, second = unit[:, :-1], unit[:, 1:]
    moves = [(0, 0), *((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))]
    place = torch.arange(rows * columns, device=features.device).view(rows, columns)
    found = []
    for here, there in ((second, first), (first, second)):
        wide = F.pad(there, (0, 0, 1, 1, 1, 1))
        # Beyond the border is nothing to go with; a place must be clearly more alike than the same one to be moved to.
        inside = F.pad(torch.ones_like(place, dtype=torch.bool), (1, 1, 1, 1))
        likeness, index = [], []
        for y, x in moves:
            like = (here * wide[:, :, 1 + y : 1 + y + rows, 1 + x : 1 + x + columns]).sum(-1)
            within = inside[1 + y : 1 + y + rows, 1 + x : 1 + x + columns]
            likeness.append((like - (0.0 if (y, x) == (0, 0) else 1e-3)).masked_fill(~within, -2.0))
            index.append(place + y * columns + x)
        best = torch.stack(likeness, dim=-1).argmax(dim=-1)  # (B, T - 1, h, w)
        where = torch.stack(index, dim=-1).expand(batch, times - 1, rows, columns, len(moves))
        found.append(torch.gather(where, -1, best.unsqueeze(-1)).flatten(2))
    return found[0], found[1]


def _conv2d(inputs: int, outputs: int, kernel: int, stride: int | tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        _Rectify(),
    )


def _pointwise(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs), _Rectify())


class _Stem(nn.Sequential):
    """The first layer, as `_conv2d` makes it: 5 x 5 px at a stride of 2, of some pictures in a row.

    Four px become channels first, and the convolution 3 x 3: the same sums, without the copies of single px that cost more
    than the sums do.
    """

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, T, H, W) of even sides -> (B * (T - F + 1), C, H/2, W/2), channels last, of every F in a row."""
        conv: nn.Conv2d = self[0]  # type: ignore[assignment]
        batch, times, height, width = pictures.shape
        frames = conv.in_channels
        count = times - frames + 1
        # Numbers of two bytes are moved two, and then four, at a time: to the same places, ten times as fast.
        small = pictures.element_size() == 2
        x = pictures.contiguous().view(torch.int32) if small else pictures
        x = (
            x.reshape(batch, times, height // 2, 2, width // 2, -1).transpose(3, 4).contiguous().flatten(4)
        )  # (B, T, H/2, W/2, 4 px)
        x = x.view(torch.int64) if small else x
        x = torch.stack([x[:, k : k + count] for k in range(frames)], dim=4).view(pictures.dtype)
        x = x.flatten(4).flatten(0, 1).permute(0, 3, 1, 2)  # (B * count, F * 4 px, H/2, W/2)
        weight = F.pixel_unshuffle(F.pad(conv.weight, (0, 1, 0, 1)), 2)  # (C, F * 4, 3, 3)
        y = F.conv2d(x, weight.contiguous(memory_format=torch.channels_last), conv.bias, padding=1)
        out: Tensor = self[2](self[1](y))
        return out


class VisualTrunk(nn.Module):
    """Luma to unit features of every place; fully convolutional, so it runs on face crops and whole frames alike."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.stem_frames % 2 == 0:
            raise ValueError(f"stem_frames must be odd, not {config.stem_frames}")
        self.config = config
        c1, c2, c3, c4 = config.visual_channels
        self.spatial = nn.Sequential(
            _Stem(*_conv2d(config.stem_frames, c1, 5, 2)), _conv2d(c1, c2, 3, 2), _conv2d(c2, c3, 3, 2), _conv2d(c3, c4, 3, 2)
        )
        self.mix = _pointwise(c4, config.width)
        self.temporal = nn.Sequential(_TimeBlock(config.width), _TimeBlock(config.width))
        self.project = nn.Conv1d(config.width, config.embedding, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Luma (B, T, H, W), 0..255 of any type -> unit features (B, T, P, D) and the grid (rows, columns) of the P places."""
        times = pictures.shape[1]
        # Without gradients a few pictures at a time: what is between two layers then stays in the processor's cache.
        # Larger pictures are seen fewer at a time, for the cache and for memory.
        fewer = BLOCK_FRAMES * _PX_AT_A_TIME // (pictures.shape[2] * pictures.shape[3])
        step = times if torch.is_grad_enabled() else max(4, min(BLOCK_FRAMES, fewer))
        seen = [self._see(some) for some in self._in_turn(pictures, step)]
        rows, columns = seen[0].shape[2:4]
        x = (seen[0] if len(seen) == 1 else torch.cat(seen, dim=1)).flatten(2, 3)  # (B, T, P, C)
        if self.config.alignment and times > 1:
            before, after = neighbours(x.view(*x.shape[:2], rows, columns, -1))
            for block in self.temporal:
                x = block.follow(x, before, after)  # type: ignore[operator]
        else:
            x = self.temporal(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = F.conv2d(x.permute(0, 3, 1, 2), self.project.weight.unsqueeze(-1), self.project.bias).permute(0, 2, 3, 1)
        return F.normalize(x.float(), dim=-1), (rows, columns)

    def _in_turn(self, pictures: Tensor, step: int) -> Iterator[Tensor]:
        """Pictures (B, T, H, W) with even contrast and sides, `step` at a time, with those that the first layer sees before
        and after them; beyond either end the picture there stands still.
        """
        reach = self.config.stem_frames // 2
        where = pictures.device.type
        kind = torch.get_autocast_dtype(where) if torch.is_autocast_enabled(where) else torch.float32
        odd = (0, pictures.shape[3] % 2, 0, pictures.shape[2] % 2)
        seen = 0
        before: Tensor | None = None
        for piece in torch.split(pictures, step, dim=1):
            flat = F.pad(local_contrast(piece.float(), self.config.contrast_px).to(kind), odd)
            seen += flat.shape[1]
            parts = [flat[:, :1].expand(-1, reach, -1, -1) if before is None else before, flat]
            if seen == pictures.shape[1]:
                parts.append(flat[:, -1:].expand(-1, reach, -1, -1))
            held = torch.cat(parts, dim=1)
            before = held[:, held.shape[1] - 2 * reach :]
            yield held

    def _see(self, pictures: Tensor) -> Tensor:
        """Some pictures, each with its neighbours: (B, T + 4, H, W) -> (B, T, h, w, C)."""
        x = self.spatial(pictures)
        rows, columns = x.shape[-2:]
        x = self.mix(x.flatten(2)).transpose(1, 2)  # (B*T, P, C)
        out: Tensor = x.reshape(len(pictures), -1, rows, columns, x.shape[-1])
        return out


class SoundTrunk(nn.Module):
    """Log-mel (four columns a picture) to one unit feature a picture."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c1, c2, c3, c4 = config.sound_channels
        self.spectral = nn.Sequential(
            _conv2d(1, c1, 3, (2, 1)), _conv2d(c1, c2, 3, (2, 2)), _conv2d(c2, c3, 3, (2, 2)), _conv2d(c3, c4, 3, (2, 1))
        )
        bands = -(-config.mel_bins // 16)
        self.mix = _pointwise(c4 * bands, config.width)
        self.temporal = nn.Sequential(_TimeBlock(config.width), _TimeBlock(config.width, dilation=2))
        self.project = nn.Conv1d(config.width, config.embedding, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """(B, 4T, M) natural-log mel energies -> (B, T, D)."""
        # A microphone's and a codec's colour is constant over a stretch: taking the mean out of each band removes it.
        x = (mel - mel.mean(dim=1, keepdim=True)) / 2.5
        x = self.spectral(x.transpose(1, 2).unsqueeze(1))  # (B, C, bands, T)
        x = self.project(self.temporal(self.mix(x.flatten(1, 2))))  # (B, D, T)
        return F.normalize(x.float(), dim=1).transpose(1, 2)


class Match(nn.Module):
    """How well picture and sound go together at every shift, from the trunks alone: what they are trained on (DESIGN of the
    stages: joint layers come after them), and a second opinion beside the joint layers in a check.

    Cosine similarity is averaged over short stretches of time at each place, and the places compete in a soft maximum
    within each stretch: the mouth, or the hammer, may be elsewhere a moment later. `scale` (learned) turns similarity into
    logits; `sharpness` (learned) is the hardness of the maximum.
    """

    STEP, REACH = 3, 3  # stretches of REACH steps of STEP pictures, one every STEP pictures

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.log_sharpness = nn.Parameter(torch.tensor(2.5))

    def forward(self, picture: Tensor, sound: Tensor, present: Tensor | None = None) -> Tensor:
        """Logits (B, S), S = 2M + 1, of pictures (B, T, P, D) and sound (B, T + 2M, D); T must be 9 or more.

        present: bool (B, S, T), False where a picture or the sound read for it is missing, or None. A shift at which nothing
        is present gets 0.
        """
        windows = sound.unfold(1, sound.shape[1] - picture.shape[1] + 1, 1)  # (B, T, D, S)
        likeness = torch.matmul(picture, windows).float()  # (B, T, P, S)
        if present is None:
            best = self._best(self._stretches(likeness))
            return self.log_scale.exp() * best.mean(dim=1)
        there = present.transpose(1, 2).unsqueeze(2).float()  # (B, T, 1, S)
        share = self._stretches(there)
        best = self._best(self._stretches(likeness * there) / share.clamp_min(1e-6))
        share = share.squeeze(2)
        return self.log_scale.exp() * (best * share).sum(dim=1) / share.sum(dim=1).clamp_min(1e-6)

    def _best(self, likeness: Tensor) -> Tensor:
        """Soft maximum over places: (B, T', P, S) -> (B, T', S); as many equal ones count like one."""
        sharpness = self.log_sharpness.exp()
        return (torch.logsumexp(sharpness * likeness, dim=2) - math.log(likeness.shape[2])) / sharpness

    def _stretches(self, x: Tensor) -> Tensor:
        """Means over stretches of time: (B, T, P, S) -> (B, T', P, S)."""
        batch, times, *rest = x.shape
        steps = x[:, : times // self.STEP * self.STEP].reshape(batch, -1, self.STEP, *rest).mean(dim=2)
        count = steps.shape[1] - self.REACH + 1
        return torch.stack([steps[:, k : k + count] for k in range(self.REACH)]).mean(dim=0)


def _cells(present: Tensor | None, joint: Tensor, times: int) -> Tensor:
    """Which cells have picture and sound throughout: bool (B, S, N*25), or None for all -> (B, S, N, T')."""
    if present is None:
        present = torch.ones(*joint.shape[:2], times, dtype=torch.bool, device=joint.device)
    return present.view(*present.shape[:2], -1, BLOCK_TIMES, BLOCK_FRAMES // BLOCK_TIMES).all(dim=-1)


class JointHead(nn.Module):
    """Joint features, attention and decision: the paper's sections 3.1 (joint), 3.2 (attention), 3.4.4 (decision).

    One class for the three rows of the paper's table 1: `uniform` (3.3), `temporal` (3.2.1), `spatio-temporal` (3.2.2).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.kind = config.attention
        depth, channels = config.embedding, config.joint_channels
        # Two halves of one linear layer on [v; a]; it starts as |v - a| per channel, which already says "same moment".
        self.from_picture = nn.Linear(depth, 2 * depth)
        self.from_sound = nn.Linear(depth, 2 * depth, bias=False)
        with torch.no_grad():
            scale = depth**0.5
            eye = torch.eye(depth) * scale
            self.from_picture.weight.copy_(torch.cat([eye, -eye]))
            self.from_sound.weight.copy_(torch.cat([-eye, eye]))
            self.from_picture.bias.zero_()
        self.joint = nn.Sequential(nn.Linear(2 * depth, channels), _Rectify(), nn.Linear(channels, channels), _Rectify())
        if self.kind == "temporal":
            self.confidence = nn.Sequential(nn.Linear(channels, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 1))
        elif self.kind == "spatio-temporal":
            self.confidence = nn.Sequential(nn.Linear(channels, 16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, 1))
        elif self.kind != "uniform":
            raise ValueError(f"attention must be one of {', '.join(ATTENTION_KINDS)}, not {self.kind!r}")
        self.decide = nn.Sequential(nn.Linear(channels, 512), nn.ReLU(), nn.Linear(512, 2))

    def joint_features(self, picture_half: Tensor, sound_half: Tensor, unit: float = 1.0) -> Tensor:
        """Halves (B, N*25, P, J) and (B, N*25, J), already shifted -> joint features (B, N, T', P, C).

        unit: what one is worth in halves of whole numbers.
        """
        batch, times, places, _ = picture_half.shape
        x = (picture_half + sound_half.unsqueeze(2)).relu_()
        x = x.view(batch, times // BLOCK_FRAMES, BLOCK_TIMES, BLOCK_FRAMES // BLOCK_TIMES, places, -1)
        # A mean of five: PyTorch takes five times as long over it when asked for a mean in bfloat16.
        first, *others = x.unbind(3)
        total = sum(others, first)
        if not total.is_floating_point():
            total = total.to(torch.bfloat16)
        out: Tensor = self.joint(total * (unit / (BLOCK_FRAMES // BLOCK_TIMES)))
        return out

    def _counted(self, picture_half: Tensor, sound_half: Tensor) -> tuple[Tensor, Tensor, float]:
        """Both halves in whole numbers of 16 bits, and their unit: for a processor a third of the work of bfloat16, and finer.

        Five sums of a half and a half stay within the numbers there are.
        """
        if torch.is_grad_enabled() or picture_half.dtype != torch.bfloat16 or picture_half.device.type != "cpu":
            return picture_half, sound_half, 1.0
        most = float(picture_half.abs().max()) + float(sound_half.abs().max())  # added in bfloat16 it may come out too small
        unit = max(most, 1e-6) * (BLOCK_FRAMES // BLOCK_TIMES) / (2**15 - 1 - BLOCK_FRAMES)
        picture_half, sound_half = ((half.float() / unit).round().to(torch.int16) for half in (picture_half, sound_half))
        return picture_half, sound_half, unit

    def score(self, joint: Tensor, present: Tensor) -> Scored:
        """Joint features (B, S, N, T', P, C) and which cells had picture and sound, bool (B, S, N, T') -> `Scored`.

        Cells without picture or sound get no weight; a block, or a clip, without any cell gets the logits of an even mean.
        """
        times, places = joint.shape[3:5]
        if self.kind == "spatio-temporal":
            features = joint.flatten(3, 4)  # (B, S, N, T'*P, C)
            seen = present.unsqueeze(-1).expand(*present.shape, places).flatten(3)
            raw = self.confidence(features).squeeze(-1).float()
        else:
            share = present.float() / present.sum(-1, keepdim=True).clamp_min(1)
            features = (
                (joint.mean(dim=4) * share.unsqueeze(-1).to(joint.dtype)).sum(dim=3, keepdim=True).squeeze(3).unsqueeze(3)
            )
            seen = present.any(dim=-1, keepdim=True)
            raw = self.confidence(features).squeeze(-1).float() if self.kind == "temporal" else seen.float()
        raw = raw.masked_fill(~seen, -1e4)
        weight = raw.flatten(2).softmax(-1).view_as(raw)  # (B, S, N, K)
        clip = torch.matmul(weight.flatten(2).unsqueeze(2), features.flatten(2, 3)).squeeze(2)
        block = torch.matmul(raw.softmax(-1).unsqueeze(3), features).squeeze(3)
        if self.kind == "spatio-temporal":
            attention = weight.unflatten(-1, (times, places))
        else:
            attention = (weight.unsqueeze(-1) * share.unsqueeze(-1) / places).expand(*share.shape, places)
        return Scored(self.decide(clip), attention, self.decide(block))

    def forward(self, picture: Tensor, sound: Tensor, shifts: Tensor, *, margin: int, present: Tensor | None = None) -> Scored:
        """Score trunk features at each of S shifts.

        picture: (B, N*25, P, D); sound: (B, N*25 + 2 * margin, D), `margin` pictures longer on both sides; shifts: (S,) whole
        pictures in -margin..margin, positive = the sound is read later; present: bool (B, S, N*25), False where a picture or
        the sound read for it is missing, or None. Returns `Scored`.
        """
        times = picture.shape[1]
        at = [slice(margin + shift, margin + shift + times) for shift in shifts.tolist()]
        return self.score_reads(picture, sound, at, present)

    def score_reads(
        self, picture: Tensor, sound: Tensor, reads: Sequence[slice | Tensor], present: Tensor | None = None
    ) -> Scored:
        """As `forward`, with the sound that each shift reads told by S slices, or indices (N*25,), into (B, any, D)."""
        picture_half, sound_half, unit = self._counted(self.from_picture(picture), self.from_sound(sound))
        joint = torch.stack([self.joint_features(picture_half, sound_half[:, at], unit) for at in reads], dim=1)
        return self.score(joint, _cells(present, joint, picture.shape[1]))

    def matched(self, picture: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of pictures (B, T, P, J) and sound (B, T', J) as the first joint layer compares them."""
        return F.normalize(self.from_picture(picture).float(), dim=-1), F.normalize(-self.from_sound(sound).float(), dim=-1)


def rotate(tokens: Tensor, times_s: Tensor) -> Tensor:
    """Rotary position from a time in seconds: tokens (..., A, D), their times (...) -> the same shape, float32.

    The product of two rotated tokens depends on the seconds between them alone, whatever the rate of either: TaRoPE (Koo et
    al., "Multimodal Self-Attention Network with Temporal Alignment for Audio-Visual Emotion Recognition"). Each of the A
    attention heads is turned alike, its D/2 pairs of channels from once in two seconds to once in a tenth of a second.
    """
    half = tokens.shape[-1] // 2
    rates = 2 * math.pi * torch.logspace(math.log10(0.5), math.log10(10.0), half, device=tokens.device)  # radians a second
    angle = (times_s.float().unsqueeze(-1) * rates).unsqueeze(-2)
    cos, sin = angle.cos(), angle.sin()
    first, second = tokens.float()[..., :half], tokens.float()[..., half:]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class _SelfAttention(nn.Module):
    """One transformer layer over the times of one kind of token: (R, L, D) at (L,) seconds -> unit (R, L, D).

    Tokens attend to those within `REACH_S`. Both branches start at nought: a fresh layer changes nothing.
    """

    REACH_S = 0.41  # ten pictures of 25 fps, and no edge of the grid

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = width**0.5  # unit features come in; a layer wants values of about one
        self.norm_in, self.norm_mid = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        for last in (self.out, self.mix[-1]):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, tokens: Tensor, times_s: Tensor) -> Tensor:
        rows, times, _ = tokens.shape
        x = tokens * self.scale
        query, key, value = self.query_key_value(self.norm_in(x)).view(rows, times, 3, self.heads, -1).unbind(2)
        far = (times_s[:, None] - times_s).abs() > self.REACH_S
        query = rotate(query, times_s).to(value.dtype) * query.shape[-1] ** -0.5
        query, key, value = (part.transpose(1, 2) for part in (query, rotate(key, times_s).to(value.dtype), value))
        # In place of the fused kernel, whose backward pass took half of a training step at this size of head.
        weight = (query @ key.transpose(-1, -2)).masked_fill(far, -1e4).softmax(dim=-1)
        x = x + self.out((weight.to(value.dtype) @ value).transpose(1, 2).flatten(2))
        x = x + self.mix(self.norm_mid(x))
        return F.normalize(x.float(), dim=-1)


class TransformerHead(nn.Module):
    """A transformer on the trunks' features whose only clock is seconds, then joint features, attention and decision.

    Every token has a time in seconds (`rotate`), so pictures come at their own rate, and a candidate shift is only other
    seconds on the sound's tokens: everything is projected once. Picture tokens attend to their place's own, sound tokens to
    sound. Then, with `fusion` "cross", at each shift each sound token attends to all places of the pictures around it, and
    is joined with what it finds there; with "self", sound is joined with every place of the picture at its time. The joint
    layers, the attention over them and the decision are those of `JointHead`.
    """

    WINDOW = 1  # a sound token attends to so many pictures on either side of the nearest one

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.fusion not in FUSION_KINDS:
            raise ValueError(f"fusion must be one of {', '.join(FUSION_KINDS)}, not {config.fusion!r}")
        depth = config.embedding
        self.config = config
        self.fusion, self.heads = config.fusion, config.attention_heads
        self.pictures = _SelfAttention(depth, self.heads)
        self.sounds = _SelfAttention(depth, self.heads)
        self.joint = JointHead(replace(config, attention="spatio-temporal"))
        if self.fusion == "cross":
            self.query, self.key, self.value = (nn.Linear(depth, depth, bias=False) for _ in range(3))
            self.log_sharpness = nn.Parameter(torch.full((self.heads,), math.log(2.0 * depth**0.5)))
            with torch.no_grad():
                for layer in (self.query, self.key, self.value):  # it starts as likeness, and hands over what it found as it is
                    layer.weight.copy_(torch.eye(depth))

    def forward(
        self,
        picture: Tensor,
        sound: Tensor,
        shifts: Tensor,
        *,
        margin: int,
        present: Tensor | None = None,
        picture_s: Tensor | None = None,
        sound_s: Tensor | None = None,
    ) -> Scored:
        """Score trunk features at each of S shifts, as `JointHead.forward` does, at any picture rate.

        picture: (B, N*25, P, D) at picture_s (N*25,) seconds, rising; sound: (B, L, D) at sound_s (L,) seconds, 1/25 s apart;
        shifts: (S,) in 25ths of a second. Without times, pictures are 1/25 s apart and the sound begins `margin` pictures
        before the first. present: bool (B, S, N*25), False where a picture or the sound nearest to it is missing.
        """
        times = picture.shape[1]
        if picture_s is None:
            picture_s = torch.arange(times, device=picture.device) * TOKEN_S
        if sound_s is None:
            sound_s = (torch.arange(sound.shape[1], device=sound.device) - margin) * TOKEN_S
        picture, sound = self.matched(picture, sound, picture_s, sound_s)
        shifts_s = shifts.to(picture.device) * TOKEN_S
        read = ((picture_s + shifts_s[:, None] - sound_s[0]) / TOKEN_S).round().long().clamp(0, sound.shape[1] - 1)  # (S, T)
        if self.fusion == "self":
            return self.joint.score_reads(picture, sound, list(read), present)
        found, places = self._attend(picture, sound, read, picture_s, sound_s[read] - shifts_s[:, None], present)
        batch, count = found.shape[:2]
        found_half, sound_half = self.joint.from_picture(found), self.joint.from_sound(sound)[:, read]
        joint = self.joint.joint_features(found_half.flatten(0, 1).unsqueeze(2), sound_half.flatten(0, 1))
        joint = joint.view(batch, count, *joint.shape[1:])
        scored = self.joint.score(joint, _cells(present, joint, times))
        # (B, S, N, T', 1) in time, and (B, S, T, P) among the places at each time.
        places = places.view(batch, count, -1, BLOCK_TIMES, BLOCK_FRAMES // BLOCK_TIMES, places.shape[-1]).mean(dim=4)
        return scored._replace(attention=scored.attention * places)

    def matched(
        self, picture: Tensor, sound: Tensor, picture_s: Tensor | None = None, sound_s: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Unit vectors of pictures (B, T, P, D), sound (B, L, D) after attention to their own kind; times as in `forward`."""
        batch, times, places, _ = picture.shape
        if picture_s is None:
            picture_s = torch.arange(times, device=picture.device) * TOKEN_S
        if sound_s is None:
            sound_s = torch.arange(sound.shape[1], device=sound.device) * TOKEN_S
        rows = self.pictures(picture.transpose(1, 2).flatten(0, 1), picture_s)
        return rows.view(batch, places, times, -1).transpose(1, 2), self.sounds(sound, sound_s)

    def _attend(
        self, picture: Tensor, sound: Tensor, read: Tensor, picture_s: Tensor, asked_s: Tensor, present: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What each sound token finds in the pictures, (B, S, T, D), and where, (B, S, T, P), summing to 1.

        read: (S, T), the sound token nearest to each picture at each shift; asked_s: (S, T), its time on the pictures' clock.
        """
        batch, times, places, _ = picture.shape
        query = rotate(self.query(sound).unflatten(-1, (self.heads, -1))[:, read], asked_s) * self.log_sharpness.exp()[:, None]
        key = rotate(self.key(picture).unflatten(-1, (self.heads, -1)), picture_s[:, None])  # (B, T, P, A, d)
        value = rotate(self.value(picture).unflatten(-1, (self.heads, -1)), picture_s[:, None])
        around = torch.arange(times, device=picture.device)[:, None] + torch.arange(
            -self.WINDOW, self.WINDOW + 1, device=picture.device
        )
        hidden = (around < 0) | (around >= times)  # (T, W)
        around = around.clamp(0, times - 1)
        hidden = hidden.expand(batch, -1, -1) if present is None else hidden | ~present.any(dim=1)[:, around]
        hidden = hidden & ~hidden.all(dim=-1, keepdim=True)  # attending to nothing is undefined; what it gives is masked later
        query = query.permute(0, 2, 3, 1, 4).to(picture.dtype)  # (B, T, A, S, d)
        founds, maps = [], []
        step = times if torch.is_grad_enabled() else BLOCK_FRAMES  # a block at a time stays in the processor's cache
        for first in range(0, times, step):
            near = around[first : first + step]
            keys, values = (
                part[:, near].flatten(2, 3).permute(0, 1, 3, 2, 4).to(picture.dtype) for part in (key, value)
            )  # (B, t, A, W*P, d)
            raw = query[:, first : first + step] @ keys.transpose(-1, -2)
            veil = hidden[:, first : first + step, :, None].expand(-1, -1, -1, places).flatten(2)
            weight = raw.float().masked_fill(veil[:, :, None, None], -1e4).softmax(dim=-1)  # (B, t, A, S, W*P)
            founds.append((weight.to(values.dtype) @ values).float())
            maps.append(weight.mean(dim=2).view(batch, len(near), -1, near.shape[1], places).sum(dim=-2))
        found = rotate(torch.cat(founds, dim=1).permute(0, 3, 1, 2, 4), -asked_s)  # (B, S, T, A, d), on the sound's own clock
        return F.normalize(found.flatten(-2), dim=-1), torch.cat(maps, dim=1).transpose(1, 2)


Head = JointHead | TransformerHead


def make_head(config: ModelConfig) -> Head:
    """A fresh head of the kind that `config.attention` names."""
    return TransformerHead(config) if config.attention == "transformer" else JointHead(config)


def agreement(picture: Tensor, sound: Tensor) -> Tensor:
    """How far every place's likeness to the sound at its best shift stands out of that at the others, (B, P).

    picture (B, T, P, D), sound (B, T + 2 margin, D), both of the trunks. The measure knows no shift, so it favours none.
    """
    times = picture.shape[1]
    windows = sound.unfold(1, sound.shape[1] - times + 1, 1)  # (B, T, D, S)
    mean = torch.einsum("btpd,btds->bps", picture, windows) / times
    return mean.amax(dim=2) - mean.mean(dim=2)


def best_places(picture: Tensor, sound: Tensor, keep: int) -> Tensor:
    """The places of a clip that ever go with its sound: indices (B, min(keep, P)), ascending, by their `agreement`.

    The joint layers then look at these only.
    """
    return agreement(picture, sound).topk(min(keep, picture.shape[2]), dim=1).indices.sort(dim=1).values


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
        """In sync or not, as is: pictures (B, N*25, H, W) and log-mel (B, N*100, M) of the same seconds -> `Scored`, S = 1."""
        picture, _ = self.visual(pictures)
        return self.head(picture, self.sound(mel), torch.zeros(1, dtype=torch.long), margin=0)  # type: ignore[no-any-return]


def fuse(net: SyncNet) -> SyncNet:
    """Fold every batch normalisation into its convolution, in place: the same function, faster, for inference only."""
    for module in list(net.modules()):
        if isinstance(module, _TimeBlock) and isinstance(module.norm, nn.BatchNorm1d):
            module.conv, module.norm = fuse_conv_bn_eval(module.conv, module.norm), nn.Identity()
        elif isinstance(module, nn.Sequential):
            for at, (layer, norm) in enumerate(pairwise(list(module))):
                if isinstance(layer, nn.Conv1d | nn.Conv2d) and isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                    module[at], module[at + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()
    return net
