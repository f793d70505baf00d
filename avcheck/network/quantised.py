"""The trunks in 8-bit integers: the same functions except for rounding, in about half the time of
float32. bfloat16 rounds less, but is as fast only with AMX.

No data is needed to calibrate it. The range of each channel follows from its batch normalisation;
it is divided out of one layer and multiplied into the next, so that all channels of a layer share
one unit (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv 1906.04721). So it works for any weights file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avcheck.network.model import fuse
from avcheck.network.trunks import (
    OnSeen,
    VisualTrunk,
    end_to_end,
    in_turn,
    pictures_at_a_time,
    runs_in_time,
)
from avcheck.network.weights import Loaded

_MOST = 255  # largest activation
# Largest weight. Without VNNI a processor adds two products in 16 bits, which larger weights would
# overflow.
_MOST_WEIGHT = 63
# The range of a channel, in standard deviations above its mean; 1 value in 10,000 lies beyond it,
# and is clipped
_REACH = 10.0
_LEAST_REACH = 0.5
# The range of local contrast, either way: 1 value in 10,000 of real pictures lies beyond it
_CONTRAST = 3.0
_ZERO = 128  # the zero point of the contrast


def make_ready(model: Loaded) -> None:
    """Make a freshly loaded network as fast as its device allows, in place. It can no longer be
    trained after that.
    """
    net = model.net
    if is_supported(model.device) and not model.half and not net.config.alignment:
        net.visual = QuantisedTrunk(net.visual)  # type: ignore[assignment]
        net.sound.spectral = QuantisedSpectral(net.sound.spectral)  # type: ignore[assignment]
    fuse(net)
    if model.device.type == "cpu":
        # Channels last in place of first: the same sums in half of the time, of the whole trunk in
        # bfloat16 too
        net.sound.spectral.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def is_supported(device: torch.device) -> bool:
    """Whether PyTorch has these layers for this device, and they are fast on it."""
    return (
        device.type == "cpu"
        and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
        and "onednn" in torch.backends.quantized.supported_engines
    )


class QuantisedTrunk(nn.Module):
    """A `VisualTrunk` in 8-bit integers, for inference and without alignment. The batch
    normalisations of the trunk that it is made from must not be folded yet.
    """

    on_seen: OnSeen | None = None

    def __init__(self, trunk: VisualTrunk) -> None:
        super().__init__()
        self.config = trunk.config
        if self.config.alignment:
            raise ValueError("a trunk that aligns places cannot be quantised")
        spatial = [_folded(layer[0], layer[1]) for layer in trunk.spatial]  # type: ignore[index]
        stem, stem_bias, reach = spatial[0]
        # The first layer takes four px as channels, as `_Stem` does.
        stem = F.pixel_unshuffle(F.pad(stem, (0, 1, 0, 1)), 2)
        unit = 2 * _CONTRAST / (_MOST - 1)
        self._stem = _Layer(stem, stem_bias / reach, unit, reach, zero=_ZERO, padding=(1, 1))
        self._contrast_unit = unit
        self._layers: list[_Layer] = []
        for weight, bias, its_reach in spatial[1:]:
            weight = weight * reach.view(1, -1, 1, 1)
            self._layers.append(
                _Layer(weight, bias / its_reach, 1 / _MOST, its_reach, stride=2, padding=(1, 1))
            )
            reach = its_reach
        mix, mix_bias, mix_reach = _folded(trunk.mix[0], trunk.mix[1])
        over_time = [_folded(block.conv, block.norm) for block in trunk.temporal]
        # The layers over time add to the mix's output, so both need the same unit
        whole = torch.stack([mix_reach, *(each for _, _, each in over_time)]).amax(dim=0)
        self._layers.append(
            _Layer(mix.unsqueeze(-1) * reach.view(1, -1, 1, 1), mix_bias / whole, 1 / _MOST, whole)
        )
        self._over_time = [
            _Layer(
                weight.unsqueeze(-1) * whole.view(1, -1, 1, 1),
                bias / whole,
                (number + 1) / _MOST,
                whole,
                padding=(1, 0),
            )
            for number, (weight, bias, _) in enumerate(over_time)
        ]
        self._weight = trunk.project.weight[:, :, 0] * (whole / _MOST)
        self._bias = trunk.project.bias

    def forward(self, pictures: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """As `VisualTrunk.forward`."""
        times = pictures.shape[1]
        step = pictures_at_a_time(pictures)
        looks = (self._see(some) for some in in_turn(pictures, step, self.config, self.on_seen))
        x = end_to_end(looks, times)
        rows, columns = x.shape[2:4]
        out = end_to_end(self._along_time(x.flatten(2, 3)), times)
        return out, (rows, columns)

    def _see(self, pictures: Tensor) -> Tensor:
        """Contrast of some pictures and their neighbours, (B, T + 4, H, W) -> integers (B, T, h, w,
        C).
        """
        x = self._four_px(pictures)
        for layer in (self._stem, *self._layers):
            x = layer(x)
        rows = x.permute(0, 2, 3, 1)
        return rows.reshape(len(pictures), -1, *rows.shape[1:])

    def _four_px(self, contrast: Tensor) -> Tensor:
        """(B, T, H, W), even sides -> integers (B * (T - F + 1), F * 4 px, H/2, W/2), channels
        last, for every F pictures in a row.
        """
        frames = self.config.stem_frames
        batch, times, height, width = contrast.shape
        count = times - frames + 1
        x = (contrast * (1 / self._contrast_unit)).add_(_ZERO + 0.5).clamp_(0, _MOST)
        # Moving two px at a time, and then four, is faster than one by one.
        pairs = x.to(torch.uint8).view(torch.int16)
        four = pairs.view(batch, times, height // 2, 2, width // 2).transpose(3, 4).contiguous()
        fours = four.view(torch.int32).squeeze(4)
        every = torch.stack([fours[:, k : k + count] for k in range(frames)], dim=4)
        return every.view(torch.uint8).flatten(0, 1).permute(0, 3, 1, 2)

    def _along_time(self, x: Tensor) -> Iterator[Tensor]:
        """The layers over time: integers (B, T, P, C) -> unit features (B, t, P, D) of some
        pictures at a time.
        """
        for around, inside in runs_in_time(x.shape[1], len(self._over_time)):
            total = x[:, around]
            for number, layer in enumerate(self._over_time):
                # The sum of so many values is brought back to one value's range
                mean = total.float().div_(number + 1).add_(0.5).to(torch.uint8) if number else total
                more = layer(mean.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
                total = total.to(torch.int16) + more
            y = F.linear(total[:, inside].float(), self._weight, self._bias)
            yield F.normalize(y, dim=-1)


class QuantisedSpectral(nn.Module):
    """The first layers of a `SoundTrunk`, its `spectral`, for inference: the first of them in
    float32, the others in 8-bit integers. Their batch normalisations must not be folded yet.
    """

    def __init__(self, spectral: nn.Sequential) -> None:
        super().__init__()
        convs: list[nn.Conv2d] = [layer[0] for layer in spectral]  # type: ignore[index]
        folded = [_folded(*layer[:2]) for layer in spectral]  # type: ignore[index]
        weight, bias, reach = folded[0]
        scale = _MOST / reach
        # `contiguous` would leave it as it is: of one channel it counts as both
        self._weight = (weight * scale.view(-1, 1, 1, 1)).to(memory_format=torch.channels_last)
        self._bias = bias * scale + 0.5  # as cutting off rounds down
        self._stride, self._padding = convs[0].stride, convs[0].padding
        self._layers: list[_Layer] = []
        for conv, (weight, bias, its_reach) in zip(convs[1:], folded[1:], strict=True):
            weight = weight * reach.view(1, -1, 1, 1)
            self._layers.append(
                _Layer(
                    weight,
                    bias / its_reach,
                    1 / _MOST,
                    its_reach,
                    stride=conv.stride,
                    padding=(1, 1),
                )
            )
            reach = its_reach
        self._unit = (reach / _MOST).view(1, -1, 1, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """(B, 1, M, 4T) -> (B, C, bands, T), as `SoundTrunk.spectral` gives it."""
        x = F.conv2d(mel, self._weight, self._bias, self._stride, self._padding)
        x = x.clamp_(0, _MOST).to(torch.uint8)
        for layer in self._layers:
            x = layer(x)
        return x.float() * self._unit


class _Layer:
    """A convolution of integers (B, C, H, W), channels last, followed by a ReLU.

    weight: for real values, (C', C, h, w); bias: in units of `reach`; unit: the real value of 1 in
    the input (in the output it is 1 / 255 of `reach`, (C',)); zero: the zero point of the input.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        unit: float,
        reach: Tensor,
        *,
        zero: int = 0,
        stride: int | tuple[int, ...] = 1,
        padding: tuple[int, int] = (0, 0),
    ) -> None:
        weight = weight / reach.view(-1, 1, 1, 1)
        self._unit, self._zero, self._bias = unit, zero, bias.contiguous()
        self._stride = [stride, stride] if isinstance(stride, int) else list(stride)
        self._padding = list(padding)
        self._scale = (weight.abs().flatten(1).amax(dim=1) / _MOST_WEIGHT).clamp_min(1e-12)
        whole = (weight / self._scale.view(-1, 1, 1, 1)).round().to(torch.int8).contiguous()
        self._zeros = torch.zeros(len(whole), dtype=torch.int32)
        prepack: Any = torch.ops.onednn.qconv_prepack
        self._weight: Tensor = prepack(
            whole, self._scale, unit, zero, self._stride, self._padding, [1, 1], 1, None
        )

    def __call__(self, x: Tensor) -> Tensor:
        convolve: Any = torch.ops.onednn.qconv2d_pointwise
        out: Tensor = convolve(
            x,
            self._unit,
            self._zero,
            self._weight,
            self._scale,
            self._zeros,
            self._bias,
            self._stride,
            self._padding,
            [1, 1],
            1,
            1 / _MOST,
            0,
            torch.uint8,
            "relu",
            [],
            "",
        )
        return out


def _folded(conv: Any, norm: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Weight and bias of a convolution with its batch normalisation folded in, and the range of its
    channels.
    """
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = conv.weight * gain.view(-1, *(1,) * (conv.weight.dim() - 1))
    reach = norm.bias + _REACH * norm.weight.abs()
    return weight, norm.bias - norm.running_mean * gain, reach.clamp_min(_LEAST_REACH)
