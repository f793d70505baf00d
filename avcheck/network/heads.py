"""The heads: from features of picture and sound to scores, how well they match at each shift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avcheck.network.match import SUMMED, Scored, cells, sums_of
from avcheck.network.model_config import (
    ATTENTION_KINDS,
    BLOCK_FRAMES,
    BLOCK_TIMES,
    FUSION_KINDS,
    TOKEN_S,
    ModelConfig,
)
from avcheck.network.trunks import Rectify, all_end_to_end

_SHIFTS_AT_A_TIME = 4


def _start_as(layer: nn.Linear, *factors: float) -> None:
    """Start a layer as identity matrices, each times its factor, on top of each other.

    Not on the meta device, where `weights.load` builds the network: a weights file can claim any
    size, and `torch.eye` would import PyTorch's compiler, which takes as long as PyTorch itself
    (seen with 2.13).
    """
    if not layer.weight.is_meta:
        eye = torch.eye(layer.in_features)
        with torch.no_grad():
            layer.weight.copy_(torch.cat([factor * eye for factor in factors]))


class JointHead(nn.Module):
    """Joint features, attention and decision: the paper's sections 3.1 (joint), 3.2 (attention),
    3.4.4 (decision).

    One class for the three rows of the paper's table 1: `uniform` (3.3), `temporal` (3.2.1),
    `spatio-temporal` (3.2.2).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.kind = config.attention
        depth, channels = config.embedding, config.joint_channels
        # Two halves of one linear layer on [v; a]. It starts as |v - a| in each channel, which
        # already tells the same moment.
        self.from_picture = nn.Linear(depth, 2 * depth)
        self.from_sound = nn.Linear(depth, 2 * depth, bias=False)
        scale = depth**0.5
        _start_as(self.from_picture, scale, -scale)
        _start_as(self.from_sound, -scale, scale)
        nn.init.zeros_(self.from_picture.bias)
        self.joint = nn.Sequential(
            nn.Linear(2 * depth, channels), Rectify(), nn.Linear(channels, channels), Rectify()
        )
        if self.kind == "temporal":
            self.confidence = nn.Sequential(
                nn.Linear(channels, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 1)
            )
        elif self.kind == "spatio-temporal":
            self.confidence = nn.Sequential(
                nn.Linear(channels, 16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, 1)
            )
        elif self.kind != "uniform":
            raise ValueError(
                f"attention must be one of {', '.join(ATTENTION_KINDS)}, not {self.kind!r}"
            )
        self.decide = nn.Sequential(nn.Linear(channels, 512), nn.ReLU(), nn.Linear(512, 2))

    def joint_features(self, picture_half: Tensor, sound_half: Tensor, unit: float = 1.0) -> Tensor:
        """Halves (B, N*25, P, J) and (B, N*25, J), already shifted -> joint features (B, N, T', P,
        C).

        unit: the value of 1 in halves that are whole numbers.
        """
        return self._joined(sums_of(picture_half, sound_half), unit)

    def _joined(self, sums: Tensor, unit: float) -> Tensor:
        """`sums_of` (..., J) -> joint features (..., C); unit as in `joint_features`."""
        if not sums.is_floating_point():
            half = torch.is_autocast_enabled(sums.device.type)
            sums = sums.to(torch.bfloat16 if half else torch.float32)
        # The mean's factor and the unit go into the weights, which are far fewer than the sums
        scale = unit / SUMMED
        linear, *further = self.joint
        out = F.linear(sums, linear.weight * scale, linear.bias)  # type: ignore[arg-type, operator]
        for layer in further:
            out = layer(out)
        return out

    def _counted(self, picture_half: Tensor, sound_half: Tensor) -> tuple[Tensor, Tensor, float]:
        """Both halves in 16-bit integers, and their unit: for a processor a third of the
        work of bfloat16, and finer; half of that of float32.

        Five sums of a half and a half stay within the numbers there are. The unit is a power of
        two, so that bfloat16 can be divided by it without rounding.
        """
        if torch.is_grad_enabled() or picture_half.device.type != "cpu":
            return picture_half, sound_half, 1.0
        # Added up in bfloat16 it may come out too small
        most = sum(max(map(abs, map(float, half.aminmax()))) for half in (picture_half, sound_half))
        unit = 2.0 ** math.ceil(math.log2(max(most, 1e-6) * SUMMED / (2**15 - 1 - BLOCK_FRAMES)))
        picture_half, sound_half = (
            (half * (1 / unit)).round_().to(torch.int16) for half in (picture_half, sound_half)
        )
        return picture_half, sound_half, unit

    def score(self, joint: Tensor, present: Tensor) -> Scored:
        """Joint features (B, S, N, T', P, C) and which cells had picture and sound, bool (B, S, N,
        T') -> `Scored`.

        Cells without picture or sound get no weight; a block, or a clip, without any cell gets the
        logits of an even mean.
        """
        times, places = joint.shape[3:5]
        if self.kind == "spatio-temporal":
            features = joint.flatten(3, 4)  # (B, S, N, T'*P, C)
            compared = present.unsqueeze(-1).expand(*present.shape, places).flatten(3)
            raw = self.confidence(features).squeeze(-1).float()
        else:
            share = present.float() / present.sum(-1, keepdim=True).clamp_min(1)
            features = (
                (joint.mean(dim=4) * share.unsqueeze(-1).to(joint.dtype))
                .sum(dim=3, keepdim=True)
                .squeeze(3)
                .unsqueeze(3)
            )
            compared = present.any(dim=-1, keepdim=True)
            raw = (
                self.confidence(features).squeeze(-1).float()
                if self.kind == "temporal"
                else compared.float()
            )
        raw = raw.masked_fill(~compared, -1e4)
        weight = raw.flatten(2).softmax(-1).view_as(raw)  # (B, S, N, K)
        clip = torch.matmul(weight.flatten(2).unsqueeze(2), features.flatten(2, 3)).squeeze(2)
        block = torch.matmul(raw.softmax(-1).unsqueeze(3), features).squeeze(3)
        if self.kind == "spatio-temporal":
            attention = weight.unflatten(-1, (times, places))
        else:
            attention = (weight.unsqueeze(-1) * share.unsqueeze(-1) / places).expand(
                *share.shape, places
            )
        return Scored(self.decide(clip), attention, self.decide(block))

    def forward(
        self,
        picture: Tensor,
        sound: Tensor,
        shifts: Tensor,
        *,
        margin: int,
        present: Tensor | None = None,
    ) -> Scored:
        """Score trunk features at each of S shifts.

        picture: (B, N*25, P, D); sound: (B, N*25 + 2 * margin, D), `margin` pictures longer on both
        sides; shifts: (S,) whole pictures in -margin..margin, positive = the sound is read later;
        present: bool (B, S, N*25), False where a picture or the sound read for it is missing, or
        None. Returns `Scored`.
        """
        times = picture.shape[1]
        at = [slice(margin + shift, margin + shift + times) for shift in shifts.tolist()]
        return self.score_reads(picture, sound, at, present)

    def score_reads(
        self,
        picture: Tensor,
        sound: Tensor,
        reads: Sequence[slice | Tensor],
        present: Tensor | None = None,
    ) -> Scored:
        """`forward`, with the sound that each shift reads given as S slices, or indices (N*25,),
        into (B, any, D).
        """
        picture_half, sound_half, unit = self._counted(
            self.from_picture(picture), self.from_sound(sound)
        )
        step = len(reads) if torch.is_grad_enabled() else _SHIFTS_AT_A_TIME

        def scored(some: slice) -> Scored:
            sums = [sums_of(picture_half, sound_half[:, at]) for at in reads[some]]
            joint = self._joined(torch.stack(sums, dim=1), unit)
            of_some = None if present is None else present[:, some]
            return self.score(joint, cells(of_some, joint, picture.shape[1]))

        parts = (scored(slice(first, first + step)) for first in range(0, len(reads), step))
        return Scored(*all_end_to_end(parts, len(reads)))

    def matched(self, picture: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of pictures (B, T, P, J) and sound (B, T', J), as the first joint layer
        compares them.
        """
        return F.normalize(self.from_picture(picture).float(), dim=-1), F.normalize(
            -self.from_sound(sound).float(), dim=-1
        )


def rotate(tokens: Tensor, times_s: Tensor) -> Tensor:
    """Rotary position from a time in seconds: tokens (..., A, D), their times (...) -> the same
    shape, float32.

    The product of two rotated tokens depends only on the seconds between them, whatever the rate of
    either: TaRoPE (Koo et al., "Multimodal Self-Attention Network with Temporal Alignment for
    Audio-Visual Emotion Recognition"). All A attention heads are rotated alike; the D/2 pairs of
    channels turn once in two seconds to once in a tenth of a second.
    """
    half = tokens.shape[-1] // 2
    # radians a second
    rates = (
        2 * math.pi * torch.logspace(math.log10(0.5), math.log10(10.0), half, device=tokens.device)
    )
    angle = (times_s.float().unsqueeze(-1) * rates).unsqueeze(-2)
    cos, sin = angle.cos(), angle.sin()
    first, second = tokens.float()[..., :half], tokens.float()[..., half:]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class _SelfAttention(nn.Module):
    """One transformer layer over the times of one kind of token: (R, L, D) at (L,) seconds -> unit
    (R, L, D).

    Tokens attend to those within `REACH_S`. Both branches start at zero, so a fresh layer changes
    nothing.
    """

    REACH_S = 0.41  # ten pictures of 25 fps, clear of the edges of the grid

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = width**0.5  # unit features come in; a layer expects values of about one
        self.norm_in, self.norm_mid = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mix = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        for last in (self.out, self.mix[-1]):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, tokens: Tensor, times_s: Tensor) -> Tensor:
        rows, times, _ = tokens.shape
        x = tokens * self.scale
        query, key, value = (
            self.query_key_value(self.norm_in(x)).view(rows, times, 3, self.heads, -1).unbind(2)
        )
        far = (times_s[:, None] - times_s).abs() > self.REACH_S
        query = rotate(query, times_s).to(value.dtype) * query.shape[-1] ** -0.5
        query, key, value = (
            part.transpose(1, 2) for part in (query, rotate(key, times_s).to(value.dtype), value)
        )
        # Instead of the fused kernel, whose backward pass took half of a training step at this head
        # size.
        weight = (query @ key.transpose(-1, -2)).masked_fill(far, -1e4).softmax(dim=-1)
        x = x + self.out((weight.to(value.dtype) @ value).transpose(1, 2).flatten(2))
        x = x + self.mix(self.norm_mid(x))
        return F.normalize(x.float(), dim=-1)


class TransformerHead(nn.Module):
    """A transformer on the trunks' features whose only clock is seconds, then joint features,
    attention and decision.

    Every token has a time in seconds (`rotate`). So pictures keep their own rate, a candidate shift
    only changes the times of the sound's tokens, and everything is projected once. Picture tokens
    attend to pictures at their own place, sound tokens to sound. Then, with `fusion` "cross", each
    sound token attends at each shift to all places of the pictures around it, and is joined with
    the result; with "self", sound is joined with every place of the picture at its time. The joint
    layers, the attention over them and the decision are those of `JointHead`.
    """

    WINDOW = 1  # a sound token attends to so many pictures on either side of the nearest

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.fusion not in FUSION_KINDS:
            raise ValueError(
                f"fusion must be one of {', '.join(FUSION_KINDS)}, not {config.fusion!r}"
            )
        depth = config.embedding
        self.config = config
        self.fusion, self.heads = config.fusion, config.attention_heads
        self.pictures = _SelfAttention(depth, self.heads)
        self.sounds = _SelfAttention(depth, self.heads)
        self.joint = JointHead(replace(config, attention="spatio-temporal"))
        if self.fusion == "cross":
            self.query, self.key, self.value = (
                nn.Linear(depth, depth, bias=False) for _ in range(3)
            )
            self.log_sharpness = nn.Parameter(torch.full((self.heads,), math.log(2.0 * depth**0.5)))
            # It starts as likeness, and passes its result on unchanged
            for layer in (self.query, self.key, self.value):
                _start_as(layer, 1.0)

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
        """Score trunk features at each of S shifts, as `JointHead.forward` does, at any picture
        rate.

        picture: (B, N*25, P, D) at picture_s (N*25,) seconds, rising; sound: (B, L, D) at sound_s
            (L,) seconds, 1/25 s apart;
        shifts: (S,) in 25ths of a second. Without times, pictures are 1/25 s apart and the sound
        begins `margin` pictures before the first. present: bool (B, S, N*25), False where a picture
        or the sound nearest to it is missing.
        """
        times = picture.shape[1]
        if picture_s is None:
            picture_s = torch.arange(times, device=picture.device) * TOKEN_S
        if sound_s is None:
            sound_s = (torch.arange(sound.shape[1], device=sound.device) - margin) * TOKEN_S
        picture, sound = self.matched(picture, sound, picture_s, sound_s)
        shifts_s = shifts.to(picture.device) * TOKEN_S
        # (S, T)
        read = (
            ((picture_s + shifts_s[:, None] - sound_s[0]) / TOKEN_S)
            .round()
            .long()
            .clamp(0, sound.shape[1] - 1)
        )
        if self.fusion == "self":
            return self.joint.score_reads(picture, sound, list(read), present)
        attended, places = self._attend(
            picture, sound, read, picture_s, sound_s[read] - shifts_s[:, None], present
        )
        batch, count = attended.shape[:2]
        found_half, sound_half = (
            self.joint.from_picture(attended),
            self.joint.from_sound(sound)[:, read],
        )
        joint = self.joint.joint_features(
            found_half.flatten(0, 1).unsqueeze(2), sound_half.flatten(0, 1)
        )
        joint = joint.view(batch, count, *joint.shape[1:])
        scored = self.joint.score(joint, cells(present, joint, times))
        # (B, S, N, T', 1) in time, and (B, S, T, P) among the places at each time.
        places = places.view(
            batch, count, -1, BLOCK_TIMES, BLOCK_FRAMES // BLOCK_TIMES, places.shape[-1]
        ).mean(dim=4)
        return scored._replace(attention=scored.attention * places)

    def matched(
        self,
        picture: Tensor,
        sound: Tensor,
        picture_s: Tensor | None = None,
        sound_s: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Unit vectors of pictures (B, T, P, D), sound (B, L, D) after attention to their own kind;
        times as in `forward`.
        """
        batch, times, places, _ = picture.shape
        if picture_s is None:
            picture_s = torch.arange(times, device=picture.device) * TOKEN_S
        if sound_s is None:
            sound_s = torch.arange(sound.shape[1], device=sound.device) * TOKEN_S
        rows = self.pictures(picture.transpose(1, 2).flatten(0, 1), picture_s)
        return rows.view(batch, places, times, -1).transpose(1, 2), self.sounds(sound, sound_s)

    def _attend(
        self,
        picture: Tensor,
        sound: Tensor,
        read: Tensor,
        picture_s: Tensor,
        asked_s: Tensor,
        present: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """What each sound token attends to in the pictures, (B, S, T, D), and where, (B, S, T, P),
        summing to 1.

        read: (S, T), the sound token nearest to each picture at each shift; asked_s: (S, T), its
        time on the pictures' clock.
        """
        batch, times, places, _ = picture.shape
        query = (
            rotate(self.query(sound).unflatten(-1, (self.heads, -1))[:, read], asked_s)
            * self.log_sharpness.exp()[:, None]
        )
        # (B, T, P, A, d)
        key = rotate(self.key(picture).unflatten(-1, (self.heads, -1)), picture_s[:, None])
        value = rotate(self.value(picture).unflatten(-1, (self.heads, -1)), picture_s[:, None])
        around = torch.arange(times, device=picture.device)[:, None] + torch.arange(
            -self.WINDOW, self.WINDOW + 1, device=picture.device
        )
        hidden = (around < 0) | (around >= times)  # (T, W)
        around = around.clamp(0, times - 1)
        hidden = (
            hidden.expand(batch, -1, -1)
            if present is None
            else hidden | ~present.any(dim=1)[:, around]
        )
        # Attention to nothing is undefined; the result is masked later
        hidden = hidden & ~hidden.all(dim=-1, keepdim=True)
        query = query.permute(0, 2, 3, 1, 4).to(picture.dtype)  # (B, T, A, S, d)
        founds, maps = [], []
        # A block at a time stays in the processor's cache
        step = times if torch.is_grad_enabled() else BLOCK_FRAMES
        for first in range(0, times, step):
            near = around[first : first + step]
            # (B, t, A, W*P, d)
            keys, values = (
                part[:, near].flatten(2, 3).permute(0, 1, 3, 2, 4).to(picture.dtype)
                for part in (key, value)
            )
            raw = query[:, first : first + step] @ keys.transpose(-1, -2)
            veil = hidden[:, first : first + step, :, None].expand(-1, -1, -1, places).flatten(2)
            # (B, t, A, S, W*P)
            weight = raw.float().masked_fill(veil[:, :, None, None], -1e4).softmax(dim=-1)
            founds.append((weight.to(values.dtype) @ values).float())
            maps.append(
                weight.mean(dim=2).view(batch, len(near), -1, near.shape[1], places).sum(dim=-2)
            )
        # (B, S, T, A, d), on the sound's own clock
        attended = rotate(torch.cat(founds, dim=1).permute(0, 3, 1, 2, 4), -asked_s)
        return F.normalize(attended.flatten(-2), dim=-1), torch.cat(maps, dim=1).transpose(1, 2)
