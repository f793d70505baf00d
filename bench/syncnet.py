"""`python -m bench.syncnet`: CPU seconds of SyncNet's pipeline and of a whole check here, for a
second of video.

The pipeline looks for faces in each of 25 pictures a second (S3FD, pictures at a quarter of their
size). For each picture it gives the last five pictures of every face and 0.2 s of sound to SyncNet.
Both networks are built here from their descriptions (Chung and Zisserman 2016; Zhang et al. 2017),
with random weights, on which their cost does not depend. The rest of the pipeline (decoding twice,
writing every picture, cropping, shot detection) is left out, in its favour.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avcheck.machine.cores import cores
from avcheck.rates import FRAME_RATE
from bench import HERE
from bench.rows import ROWS, cost_of, processor

_SHRUNK = 4  # factor by which pictures are reduced for the face detector
_LIP_SIDE = 224  # px, of a cropped face
_LIP_PICTURES = 5
_MFCC = (13, 20)  # coefficients, and steps of 10 ms, of 0.2 s of sound
# S3FD: channels of the layers of VGG-16, "M" for pooling; faces are looked for at the end of every
# group from the third on.
_VGG = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def _conv(into: int, out: int, side: int = 3, stride: int = 1, padding: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, side, stride, padding), nn.ReLU(inplace=True))


class FaceDetector(nn.Module):
    """S3FD without non-maximum suppression: pictures (B, 3, H, W) -> scores and boxes at six
    scales.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = [(3, *_VGG[0]), *((a[-1], *b) for a, b in pairwise(_VGG))]
        self.groups = nn.ModuleList(
            nn.Sequential(*(_conv(into, out) for into, out in pairwise(group))) for group in widths
        )
        self.whole = nn.Sequential(_conv(512, 1024, padding=3), _conv(1024, 1024, 1, padding=0))
        self.far = nn.Sequential(_conv(1024, 256, 1, padding=0), _conv(256, 512, stride=2))
        self.farther = nn.Sequential(_conv(512, 128, 1, padding=0), _conv(128, 256, stride=2))
        channels = (256, 512, 512, 1024, 512, 256)
        self.scores = nn.ModuleList(nn.Conv2d(each, 2, 3, padding=1) for each in channels)
        self.boxes = nn.ModuleList(nn.Conv2d(each, 4, 3, padding=1) for each in channels)

    def forward(self, pictures: Tensor) -> list[tuple[Tensor, Tensor]]:
        x, features = pictures, []
        for number, group in enumerate(self.groups):
            x = group(x)
            if number >= 2:
                features.append(F.normalize(x))
            x = F.max_pool2d(x, 2, ceil_mode=True)
        for part in (self.whole, self.far, self.farther):
            x = part(x)
            features.append(x)
        return [
            (score(feature), box(feature))
            for feature, score, box in zip(features, self.scores, self.boxes, strict=True)
        ]


class SyncNet(nn.Module):
    """SyncNet: faces (B, 3, 5, 224, 224) and MFCC (B, 1, 13, 20) -> two features (B, 1024)."""

    def __init__(self) -> None:
        super().__init__()
        self.lips = nn.Sequential(
            *_block3d(3, 96, (5, 7, 7), 2, 0),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block3d(96, 256, (1, 5, 5), 2, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_block3d(256, 256, (1, 3, 3), 1, 1),
            *_block3d(256, 256, (1, 3, 3), 1, 1),
            *_block3d(256, 256, (1, 3, 3), 1, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block3d(256, 512, (1, 6, 6), 1, 0),
            *_top(),
        )
        self.sound = nn.Sequential(
            *_block2d(1, 64),
            *_block2d(64, 192),
            nn.MaxPool2d(3, (1, 2)),
            *_block2d(192, 384),
            *_block2d(384, 256),
            *_block2d(256, 256),
            nn.MaxPool2d(3, 2),
            *_block2d(256, 512, (5, 4), 0),
            *_top(),
        )

    def forward(self, faces: Tensor, mfcc: Tensor) -> tuple[Tensor, Tensor]:
        return self.lips(faces), self.sound(mfcc)


def _block3d(
    into: int, out: int, side: tuple[int, int, int], stride: int, padding: int
) -> Sequence[nn.Module]:
    convolution = nn.Conv3d(into, out, side, (1, stride, stride), (0, padding, padding))
    return convolution, nn.BatchNorm3d(out), nn.ReLU(inplace=True)


def _block2d(
    into: int, out: int, side: tuple[int, int] = (3, 3), padding: int = 1
) -> Sequence[nn.Module]:
    return nn.Conv2d(into, out, side, padding=padding), nn.BatchNorm2d(out), nn.ReLU(inplace=True)


def _top() -> Sequence[nn.Module]:
    return (
        nn.Flatten(),
        nn.Linear(512, 512),
        nn.BatchNorm1d(512),
        nn.ReLU(inplace=True),
        nn.Linear(512, 1024),
    )


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of all threads of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


@torch.inference_mode()
def second_of_faces(size: tuple[int, int], pictures: int) -> float:
    """CPU seconds to look for faces in a second of pictures (width, height), measured on a few."""
    detector = FaceDetector().eval()
    width, height = size
    picture = torch.rand(1, 3, height // _SHRUNK, width // _SHRUNK)
    detector(picture)
    return FRAME_RATE * statistics.median(cpu_s(lambda: detector(picture)) for _ in range(pictures))


@torch.inference_mode()
def second_of_syncnet(runs: int) -> float:
    """CPU seconds of SyncNet for a second of one cropped face."""
    net = SyncNet().eval()
    faces = torch.rand(FRAME_RATE, 3, _LIP_PICTURES, _LIP_SIDE, _LIP_SIDE)
    mfcc = torch.rand(FRAME_RATE, 1, *_MFCC)
    net(faces[:2], mfcc[:2])
    return statistics.median(cpu_s(lambda: net(faces, mfcc)) for _ in range(runs))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.syncnet", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the file checked")
    parser.add_argument("--runs", type=int, default=3, help="of each; the median counts")
    options = parser.parse_args(arguments)
    torch.set_num_threads(cores())
    print(f"{processor()}; medians of {options.runs}")
    row = ROWS["heads"]
    with tempfile.TemporaryDirectory(prefix="avcheck-bench-") as folder:
        path = Path(folder, row.name)
        row.make(path, options.seconds)
        ours: list[float] = []
        faces: list[float] = []
        lips: list[float] = []
        for _ in range(options.runs):  # in turn, as the machine may be busy at times
            ours.append(cost_of(HERE, path).cpu_s / options.seconds)
            faces.append(second_of_faces((1920, 1080), 5))
            lips.append(second_of_syncnet(1))
    check, detector, net = (statistics.median(each) for each in (ours, faces, lips))
    print("CPU seconds a second of 1080p video with one face")
    print(f"{'avcheck, all of a check':28} {check:8.3f}")
    print(f"{'S3FD, 25 pictures':28} {detector:8.3f}   {detector / check:6.0f} times as much")
    print(f"{'SyncNet, 25 windows':28} {net:8.3f}   {net / check:6.0f} times as much")
    print(f"{'both':28} {detector + net:8.3f}   {(detector + net) / check:6.0f} times as much")


if __name__ == "__main__":
    main()
