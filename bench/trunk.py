"""`python -m bench.trunk [--clips FOLDER]`: the visual trunk in 8-bit integers beside the same in
float32 and in bfloat16: what a picture costs, in CPU milliseconds of one thread, and what changes.
With ONEDNN_MAX_CPU_ISA in the environment one processor stands in for a lesser one.

`--layers` first measures each convolution by itself, as PyTorch's engines compute it. Then comes
the whole trunk over a talking head, and how unlike its features are (1 - cosine). `--clips` also
judges the middle of every video in a folder in float32 and in integers, and prints how far offset
and confidence move, and which verdicts change.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from avcheck.errors import MediaError
from avcheck.media import open_media
from avcheck.network.model import SyncNet, fuse
from avcheck.network.quantised import QuantisedTrunk, is_supported
from avcheck.network.weights import Loaded, load
from avcheck.reading.blocks import blocks
from avcheck.reading.choice import sounds_of
from avcheck.reading.segments import Window
from avcheck.scan.curves import score_segment
from avcheck.scan.looking import LEVELS
from avcheck.scenes.generate import make_scene
from avcheck.settings import DEFAULTS
from avcheck.verdict.judge import Judgement, judge
from avcheck.verdict.posterior import Calibration
from bench.rows import processor

_PICTURES = 25
_SIZE = (160, 284)  # height, width
_ENGINES = ("fbgemm", "x86", "onednn")
_RUNS = 5
_SUFFIXES = {".mkv", ".mp4", ".mov", ".webm", ".avi", ".ts"}


@dataclass(frozen=True)
class Judged:
    """A clip judged with the trunk in float32, `exact`, and in integers, `whole`."""

    exact: Judgement
    whole: Judgement

    @property
    def moved_ms(self) -> float | None:
        """By how much the offset differs; None if either has none."""
        if self.exact.offset_ms is None or self.whole.offset_ms is None:
            return None
        return abs(self.exact.offset_ms - self.whole.offset_ms)


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU milliseconds of this thread, the least of several runs."""
    work()
    spent = []
    for _ in range(_RUNS):
        began = time.thread_time()
        work()
        spent.append(time.thread_time() - began)
    return 1000 * min(spent)


@torch.inference_mode()
def layers(net: SyncNet) -> Iterator[str]:
    """A line for each convolution over a picture: its products, in millions, and the cost of each
    way.
    """
    yield f"{'ms a picture':8} {'products':>9} {'NCHW':>6} {'NHWC':>6} " + " ".join(
        f"{'int8 ' + name:>11}" for name in _ENGINES
    )
    height, width = _SIZE
    for number, part in enumerate(net.visual.spatial):
        conv: Any = part[0]  # type: ignore[index]
        weight, stride = conv.weight, conv.stride[0]
        if number == 0:
            # As in the trunk, four px become channels
            weight, stride = F.pixel_unshuffle(F.pad(weight, (0, 1, 0, 1)), 2), 1
            height, width = height // 2, width // 2
        x = torch.rand(_PICTURES, weight.shape[1], height, width)
        options = {"stride": stride, "padding": 1}
        ways = {
            "nchw": _float_way(x, weight.contiguous(), options),
            "nhwc": _float_way(
                x.contiguous(memory_format=torch.channels_last),
                weight.contiguous(memory_format=torch.channels_last),
                options,
            ),
        } | {name: _int8_way(name, x, weight, stride) for name in _ENGINES}
        height, width = -(-height // stride), -(-width // stride)
        products = weight.numel() * height * width / 1e6
        costs = [cpu_ms(way) / _PICTURES for way in ways.values()]
        yield f"layer {number + 1:6} {products:9.0f} {costs[0]:6.2f} {costs[1]:6.2f} " + " ".join(
            f"{cost:11.2f}" for cost in costs[2:]
        )


def _float_way(x: Tensor, weight: Tensor, options: dict[str, int]) -> Callable[[], Tensor]:
    return lambda: F.relu(F.conv2d(x, weight, **options), inplace=True)


def _int8_way(engine: str, x: Tensor, weight: Tensor, stride: int) -> Callable[[], object]:
    """The same by an engine of PyTorch's quantised layers, with weights of 7 bits."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        scale = weight.abs().flatten(1).amax(dim=1) / 63
        zeros = torch.zeros(len(weight), dtype=torch.long)
        whole = torch.quantize_per_channel(weight, scale, zeros, 0, torch.qint8)
        packed = torch.ops.quantized.conv2d_prepack(
            whole, torch.zeros(len(weight)), [stride, stride], [1, 1], [1, 1], 1
        )
    finally:
        torch.backends.quantized.engine = before
    wide = x.contiguous(memory_format=torch.channels_last)
    counted = torch.quantize_per_tensor(wide, 1 / 255, 0, torch.quint8)
    convolve: Any = torch.ops.quantized.conv2d_relu
    return lambda: convolve(counted, packed, 0.05, 0)


@torch.inference_mode()
def whole_trunk(exact: torch.nn.Module, whole: torch.nn.Module) -> Iterator[str]:
    """What each number format costs over a talking head, and how unlike its features are."""
    scene = make_scene("talking", seed=1, seconds=4.0, size=_SIZE, studio=True)
    pictures = torch.from_numpy(np.ascontiguousarray(scene.frames[:_PICTURES]))[None]

    def half() -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return exact(pictures)

    ways = {
        "float32": partial(exact, pictures),
        "bfloat16": half,
        "8-bit integers": partial(whole, pictures),
    }
    costs = {name: cpu_ms(way) / _PICTURES for name, way in ways.items()}
    each = ", ".join(f"{cost:.2f} in {name}" for name, cost in costs.items())
    yield f"whole trunk, {_SIZE[1]} x {_SIZE[0]}: ms a picture {each}"
    for name in ("bfloat16", "8-bit integers"):
        unlike = 1 - (exact(pictures)[0] * ways[name]()[0].float()).sum(dim=-1).flatten()
        yield (
            f"features in {name}: unlike by {unlike.mean():.5f} on average, "
            f"{unlike.quantile(0.99):.5f} in 99 %"
        )


def judged(path: Path, model: Loaded, trunks: Sequence[torch.nn.Module], seconds: int) -> Judged:
    """Up to so many seconds from the middle of a clip, as one segment. Raises MediaError."""
    (choice,) = sounds_of(path, DEFAULTS)[:1]
    with open_media(path, audio_track=choice.track, short_side=max(LEVELS), threads=1) as media:
        inside = list(blocks(media.pictures(), media.sounds()))
    first = max(0, (len(inside) - seconds) // 2)
    window = Window(inside[first : first + seconds], inside[:first][-2:], inside[first + seconds :])
    calibration = Calibration(**model.calibration)
    judgements = []
    for trunk in trunks:
        model.net.visual = trunk  # type: ignore[assignment]
        curves = score_segment(window, model)
        judgements.append(judge(curves, DEFAULTS.tolerance, calibration))
    return Judged(*judgements)


def compared(by_clip: dict[str, Judged]) -> Iterator[str]:
    """The largest differences, and the clips whose verdict changes."""
    moved = [each.moved_ms for each in by_clip.values() if each.moved_ms is not None]
    surer = [abs(each.exact.confidence - each.whole.confidence) for each in by_clip.values()]
    changed = {
        name: each for name, each in by_clip.items() if each.exact.verdict != each.whole.verdict
    }
    yield (
        f"{len(by_clip)} clips: offsets move by {max(moved, default=0.0):.1f} ms at most "
        f"({len(moved)} have one), confidence by {max(surer, default=0.0):.3f}; "
        f"{len(changed)} other verdicts"
    )
    for name, each in changed.items():
        yield (
            f"  {name}: {each.exact.verdict} {each.exact.confidence:.3f} -> {each.whole.verdict} "
            f"{each.whole.confidence:.3f}"
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.trunk", description="The visual trunk in 8-bit integers."
    )
    parser.add_argument("--clips", type=Path, metavar="FOLDER", help="judge these both ways")
    parser.add_argument("--seconds", type=int, default=10, help="of each clip")
    parser.add_argument("--most", type=int, default=100, help="clips at most, evenly spread")
    parser.add_argument("--layers", action="store_true", help="each convolution by itself, too")
    options = parser.parse_args(arguments)
    if not is_supported(torch.device("cpu")):
        raise SystemExit("this processor, or this build of PyTorch, has no quantised layers")
    torch.set_num_threads(1)
    model = replace(load(device="cpu"), half=False)
    whole = QuantisedTrunk(model.net.visual)
    print(processor())
    if options.layers:
        for line in layers(model.net):
            print(line, flush=True)
    fuse(model.net)
    trunks = (model.net.visual, whole)
    for line in whole_trunk(*trunks):
        print(line, flush=True)
    if options.clips is not None:
        by_clip: dict[str, Judged] = {}
        for path in _spread(options.clips, options.most):
            try:
                by_clip[path.name] = judged(path, model, trunks, options.seconds)
            except MediaError as error:
                print(error)
        print(*compared(by_clip), sep="\n")


def _spread(folder: Path, most: int) -> list[Path]:
    """Up to `most` videos of a folder, evenly spread over their names."""
    paths = sorted(each for each in folder.rglob("*") if each.suffix in _SUFFIXES)
    count = min(most, len(paths))
    return [paths[number * len(paths) // count] for number in range(count)]


if __name__ == "__main__":
    main()
