"""The two trunks: from the pictures of a block, and its log-mel, to features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avcheck.network.model_config import BLOCK_FRAMES, ModelConfig

# Between the places of a feature map: four layers at a stride of 2
PLACE_PX = 16
# Of larger pictures, fewer than a block go through at a time; those of a first look are smaller
_PX_AT_A_TIME = 176 * 422
_TIMES = 50  # pictures that go through the layers over time at a time

# Called with how many pictures a trunk sees next, and their short side, px
OnSeen = Callable[[int, int], None]

# Local statistics are taken on cells this large: smooth at this scale, and a sixteenth of the work
_CELL_PX = 4


def local_contrast(pictures: Tensor, side: int) -> Tensor:
    """Subtract the local mean and divide by the local deviation, over a square of about `side` px:
    (B, T, H, W), 0..255.
    """
    # The mean of squares less the squared mean needs float32
    with torch.autocast(pictures.device.type, enabled=False):
        mean, squares = (
            _square_mean(values, side // (2 * _CELL_PX))
            for values in (pictures, pictures * pictures)
        )
        gain = 1.0 / ((squares - mean * mean).clamp_min(0).sqrt() + 0.04 * 255.0)
        mean, gain = (
            _enlarged(grid)[..., : pictures.shape[-2], : pictures.shape[-1]]
            for grid in (mean, gain)
        )
        return (pictures - mean).mul_(gain)


def _square_mean(values: Tensor, reach: int) -> Tensor:
    """Means (B, T, rows, columns) over cells of `_CELL_PX`, then over cells up to `reach` away in
    both directions.
    """
    cells = _cell_means(_cell_means(values, -2), -1)

    def band(count: int) -> Tensor:
        at = torch.arange(count, device=cells.device)
        near = ((at - at.unsqueeze(1)).abs() <= max(1, reach)).to(cells.dtype)
        return near / near.sum(dim=1, keepdim=True)

    # A third of the time of pooling with these windows
    return band(cells.shape[-2]) @ cells @ band(cells.shape[-1]).T


def _cell_means(values: Tensor, dim: int) -> Tensor:
    """Means of every `_CELL_PX` values along `dim`, counted from the end, including the remainder.
    Rows and then columns take a third of the time of pooling.
    """
    whole = values.shape[dim] // _CELL_PX * _CELL_PX
    shape = list(values.shape)
    shape[dim : dim + 1 or None] = whole // _CELL_PX, _CELL_PX
    first, *others = values.narrow(dim, 0, whole).reshape(shape).unbind(dim)
    means = sum(others, first) / _CELL_PX
    rest = values.narrow(dim, whole, values.shape[dim] - whole)
    return torch.cat([means, rest.mean(dim, keepdim=True)], dim) if rest.shape[dim] else means


def _enlarged(cells: Tensor) -> Tensor:
    """Bilinear, `_CELL_PX` times in both directions: (B, T, rows, columns) -> (B, T, rows * 4,
    columns * 4).

    The same as `interpolate`, in half the time, because the ratio is whole.
    """
    half = _CELL_PX // 2
    share = (torch.arange(_CELL_PX, device=cells.device, dtype=cells.dtype) + 0.5) / _CELL_PX
    x = F.pad(cells, (1, 1, 1, 1), mode="replicate")
    x = (
        torch.lerp(x[..., :-1, None], x[..., 1:, None], share)
        .flatten(-2)[..., half:-half]
        .contiguous()
    )
    return torch.lerp(x[..., :-1, None, :], x[..., 1:, None, :], share.unsqueeze(1)).flatten(
        -3, -2
    )[..., half:-half, :]


def end_to_end(parts: Iterable[Tensor], times: int) -> Tensor:
    """One or more parts (B, t, ...) put end to end: (B, T, ...), where T is `times`."""
    (whole,) = all_end_to_end(((part,) for part in parts), times)
    return whole


def all_end_to_end(parts: Iterable[Sequence[Tensor]], times: int) -> Sequence[Tensor]:
    """The same for several tensors a part.

    The result is allocated once. Keeping the parts and joining them at the end would take the
    memory twice, and small parts leave holes in it that fit nothing else (400 MB, as seen).
    """
    whole: Sequence[Tensor] = ()
    first = 0
    for part in parts:
        count = part[0].shape[1]
        if count == times:
            return part
        whole = whole or [each.new_empty(len(each), times, *each.shape[2:]) for each in part]
        for room, each in zip(whole, part, strict=True):
            room[:, first : first + count] = each
        first += count
    if not whole:
        raise ValueError("there is nothing to put together")
    return whole


def _rectified(x: Tensor) -> Tensor:
    """In-place ReLU, for values that are not needed again."""
    if torch.is_grad_enabled() or x.dtype != torch.bfloat16:
        return F.relu(x, inplace=True)
    # A bfloat16 is negative if the integer of the same bits is: the same result in a fifth of the
    # time.
    x.view(torch.int16).clamp_min_(0)
    return x


class Rectify(nn.Module):
    """`_rectified` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return _rectified(x)


class TimeBlock(nn.Module):
    """Residual 1-D convolution over time, kernel 3: (B, C, T), or (B, C, T, P) at every place ->
    the same shape.
    """

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm: nn.BatchNorm1d | nn.Identity = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        if x.dim() == 3:  # a fifth of the time of the other way with one place
            return x + _rectified(self.norm(conv(x)))
        padding, dilation = (int(conv.padding[0]), 0), (conv.dilation[0], 1)
        y = F.conv2d(x, conv.weight.unsqueeze(-1), conv.bias, padding=padding, dilation=dilation)
        # The usual memory layout when all places of a picture come together
        rows = y.permute(0, 2, 3, 1)
        y = self.norm(rows.flatten(0, 2)).view(rows.shape).permute(0, 3, 1, 2)
        return x + _rectified(y)

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
    """Where each place of a picture was in the picture before, and will be in the next: by
    likeness, without parameters.

    Alignment-guided temporal attention (arXiv 2210.00132) aligns the patches of neighbouring
    pictures before anything looks along time. Here a place may move by one place in each direction
    from picture to picture; of equally like places it stays. features (B, T, h, w, C) -> before,
    after: indices (B, T - 1, h*w) of the place in picture t that goes with a place of picture t +
    1, and the other way round.
    """
    batch, times, rows, columns, _ = features.shape
    unit = F.normalize(features.float(), dim=-1)
    first, second = unit[:, :-1], unit[:, 1:]
    moves = [(0, 0), *((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))]
    place = torch.arange(rows * columns, device=features.device).view(rows, columns)
    moved = []
    for one, other in ((second, first), (first, second)):
        wide = F.pad(other, (0, 0, 1, 1, 1, 1))
        # There is no match beyond the border; a place must be clearly more alike to be moved to.
        inside = F.pad(torch.ones_like(place, dtype=torch.bool), (1, 1, 1, 1))
        likeness, index = [], []
        for y, x in moves:
            like = (one * wide[:, :, 1 + y : 1 + y + rows, 1 + x : 1 + x + columns]).sum(-1)
            within = inside[1 + y : 1 + y + rows, 1 + x : 1 + x + columns]
            likeness.append((like - (0.0 if (y, x) == (0, 0) else 1e-3)).masked_fill(~within, -2.0))
            index.append(place + y * columns + x)
        best = torch.stack(likeness, dim=-1).argmax(dim=-1)  # (B, T - 1, h, w)
        index_of = torch.stack(index, dim=-1).expand(batch, times - 1, rows, columns, len(moves))
        moved.append(torch.gather(index_of, -1, best.unsqueeze(-1)).flatten(2))
    return moved[0], moved[1]


def _conv2d(inputs: int, outputs: int, kernel: int, stride: int | tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        Rectify(),
    )


def _pointwise(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs), Rectify()
    )


class _Stem(nn.Sequential):
    """The first layer, as `_conv2d` makes it: 5 x 5 px at a stride of 2, over some pictures in a
    row.

    Four px become channels first, and the convolution 3 x 3: the same sums, without copying single
    px, which costs more than the sums.
    """

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, T, H, W) of even sides -> (B * (T - F + 1), C, H/2, W/2), channels last, of
        every F in a row.
        """
        conv: nn.Conv2d = self[0]  # type: ignore[assignment]
        batch, times, height, width = pictures.shape
        frames = conv.in_channels
        count = times - frames + 1
        # Two-byte values are moved two, and then four, at a time: to the same places, ten times as
        # fast.
        small = pictures.element_size() == 2
        x = pictures.contiguous().view(torch.int32) if small else pictures
        # (B, T, H/2, W/2, 4 px)
        x = (
            x.reshape(batch, times, height // 2, 2, width // 2, -1)
            .transpose(3, 4)
            .contiguous()
            .flatten(4)
        )
        x = x.view(torch.int64) if small else x
        x = torch.stack([x[:, k : k + count] for k in range(frames)], dim=4).view(pictures.dtype)
        x = x.flatten(4).flatten(0, 1).permute(0, 3, 1, 2)  # (B * count, F * 4 px, H/2, W/2)
        weight = F.pixel_unshuffle(F.pad(conv.weight, (0, 1, 0, 1)), 2)  # (C, F * 4, 3, 3)
        y = F.conv2d(x, weight.contiguous(memory_format=torch.channels_last), conv.bias, padding=1)
        out: Tensor = self[2](self[1](y))
        return out


def pictures_at_a_time(pictures: Tensor) -> int:
    """How many of the pictures (B, T, H, W) go through at a time without gradients.

    Values between two layers then stay in the processor's cache. Fewer of larger pictures go
    through at a time, for the cache and for memory.
    """
    fewer = BLOCK_FRAMES * _PX_AT_A_TIME // (pictures.shape[2] * pictures.shape[3])
    return max(4, min(BLOCK_FRAMES, fewer))


def runs_in_time(times: int, reach: int) -> Iterator[tuple[slice, slice]]:
    """`times` in runs of `_TIMES`, each with `reach` more on either side, and where in that the run
    itself lies.
    """
    for first in range(0, times, _TIMES):
        start = max(0, first - reach)
        around = slice(start, min(times, first + _TIMES + reach))
        yield around, slice(first - start, first - start + _TIMES)


def in_turn(
    pictures: Tensor, step: int, config: ModelConfig, on_seen: OnSeen | None = None
) -> Iterator[Tensor]:
    """Pictures (B, T, H, W) with even contrast and sides, `step` at a time, with those that the
    first layer sees before and after; beyond either end the picture stands still. `on_seen` is
    called as they are handed out.

    The first time takes as many more as the layers need ahead, so that nearly every time has
    `step` results: for every other number, oneDNN compiles all layers anew.
    """
    reach = config.stem_frames // 2
    device_kind = pictures.device.type
    kind = (
        torch.get_autocast_dtype(device_kind)
        if torch.is_autocast_enabled(device_kind)
        else torch.float32
    )
    odd = (0, pictures.shape[3] % 2, 0, pictures.shape[2] % 2)
    work = 0
    before: Tensor | None = None
    ahead, later = pictures.tensor_split([step + reach], dim=1)
    for piece in (ahead, *torch.split(later, step, dim=1)):
        if not piece.shape[1]:
            continue
        flat = F.pad(local_contrast(piece.float(), config.contrast_px).to(kind), odd)
        work += flat.shape[1]
        parts = [flat[:, :1].expand(-1, reach, -1, -1) if before is None else before, flat]
        if work == pictures.shape[1]:
            parts.append(flat[:, -1:].expand(-1, reach, -1, -1))
        held = torch.cat(parts, dim=1)
        before = held[:, held.shape[1] - 2 * reach :]
        if on_seen is not None:
            on_seen(piece.shape[1], min(piece.shape[2:]))
        yield held


class VisualTrunk(nn.Module):
    """Luma to unit features of every place; fully convolutional, so it runs on face crops and whole
    frames alike.
    """

    on_seen: OnSeen | None = None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.stem_frames % 2 == 0:
            raise ValueError(f"stem_frames must be odd, not {config.stem_frames}")
        self.config = config
        c1, c2, c3, c4 = config.visual_channels
        self.spatial = nn.Sequential(
            _Stem(*_conv2d(config.stem_frames, c1, 5, 2)),
            _conv2d(c1, c2, 3, 2),
            _conv2d(c2, c3, 3, 2),
            _conv2d(c3, c4, 3, 2),
        )
        self.mix = _pointwise(c4, config.width)
        self.temporal = nn.Sequential(TimeBlock(config.width), TimeBlock(config.width))
        self.project = nn.Conv1d(config.width, config.embedding, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Luma (B, T, H, W), 0..255 of any type -> unit features (B, T, P, D) and the grid (rows,
        columns) of the P places.
        """
        times = pictures.shape[1]
        step = times if torch.is_grad_enabled() else pictures_at_a_time(pictures)
        looks = (self._see(some) for some in in_turn(pictures, step, self.config, self.on_seen))
        features = end_to_end(looks, times)
        rows, columns = features.shape[2:4]
        x = features.flatten(2, 3)  # (B, T, P, C)
        if self.config.alignment and times > 1:
            before, after = neighbours(x.view(*x.shape[:2], rows, columns, -1))
            for block in self.temporal:
                x = block.follow(x, before, after)  # type: ignore[operator]
            x = self._projected(x.permute(0, 3, 1, 2))
        elif torch.is_grad_enabled():
            x = self._projected(self.temporal(x.permute(0, 3, 1, 2)))
        else:
            x = end_to_end(self._over_time(x.permute(0, 3, 1, 2)), times)
        return x, (rows, columns)

    def _over_time(self, x: Tensor) -> Iterator[Tensor]:
        """The layers over time applied to (B, C, T, P), a few pictures at a time, because every
        layer copies its input.
        """
        for around, inside in runs_in_time(x.shape[2], len(self.temporal)):
            yield self._projected(self.temporal(x[:, :, around])[:, :, inside])

    def _projected(self, x: Tensor) -> Tensor:
        """(B, C, T, P) -> unit features (B, T, P, D)."""
        x = F.conv2d(x, self.project.weight.unsqueeze(-1), self.project.bias).permute(0, 2, 3, 1)
        return F.normalize(x.float(), dim=-1)

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
            _conv2d(1, c1, 3, (2, 1)),
            _conv2d(c1, c2, 3, (2, 2)),
            _conv2d(c2, c3, 3, (2, 2)),
            _conv2d(c3, c4, 3, (2, 1)),
        )
        bands = -(-config.mel_bins // 16)
        self.mix = _pointwise(c4 * bands, config.width)
        self.temporal = nn.Sequential(TimeBlock(config.width), TimeBlock(config.width, dilation=2))
        self.project = nn.Conv1d(config.width, config.embedding, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """(B, 4T, M) natural-log mel energies -> (B, T, D)."""
        # The colour of a microphone or codec is constant over a stretch: subtracting each band's
        # mean removes it.
        x = (mel - mel.mean(dim=1, keepdim=True)) / 2.5
        x = self.spectral(x.transpose(1, 2).unsqueeze(1))  # (B, C, bands, T)
        x = self.project(self.temporal(self.mix(x.flatten(1, 2))))  # (B, D, T)
        return F.normalize(x.float(), dim=1).transpose(1, 2)
