"""Train the face finder (`avcheck.scan.faces`) on collages of stills of a corpus, new ones a step.

    python -m avcheck.train.finder CORPUS boxes.json faces.safetensors [--steps N]
    python -m avcheck.train.finder CORPUS boxes.json faces.safetensors --measure

`boxes.json` is what `face_boxes` wrote. Each training picture is a collage: parts of stills with
and without faces, each at a size of its own, on a still without a face. So neither an edge nor the
surroundings give a face away. Stills of validation clips are not learnt from; in collages of them
the share of faces found is measured and printed.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from avcheck.errors import AvcheckError, MediaError, UsageError
from avcheck.network.weights import write_tensors
from avcheck.scan.faces import FACE_SIDE, FORMAT, STRIDE, FaceFinder, read_finder, spots
from avcheck.train.face_boxes import all_clips, read_boxes, stills_of
from avcheck.train.learn import follow
from avcheck.train.store import require_writable

COLLAGE = 160  # px, a side
BATCH = 12
LEARN_SIDES = (10.0, 30.0)  # px: faces of other sizes belong to another scale
RATE = 3e-3
_DECAY = 0.995  # of the running mean of the weights, which does better than the last ones
_PLACES = COLLAGE // STRIDE
_AT = np.arange(_PLACES) * STRIDE + (STRIDE - 1) / 2  # px, centres of the places
_TRIALS = 300  # collages that the finder is measured on
_MEASURED = (11.0, 28.0)  # px, sides of the faces counted
_CHANCE = 0.3  # from which a face counts as found
_REPORT = 100  # steps

FloatPicture = NDArray[np.float32]


@dataclass(frozen=True)
class LabelledPicture:
    """A picture with its faces."""

    picture: FloatPicture  # (H, W)
    faces: NDArray[np.float64]  # (k, 3): centre x, centre y, side, px
    plain: bool  # from a clip without speech, and without a face


@dataclass(frozen=True)
class LabelledPictures:
    """The stills of one split: every one, those with_faces, and the plain ones."""

    every: tuple[LabelledPicture, ...]
    with_faces: tuple[LabelledPicture, ...]
    plain: tuple[LabelledPicture, ...]

    @classmethod
    def of(cls, stills: Sequence[LabelledPicture]) -> LabelledPictures:
        return cls(
            tuple(stills),
            tuple(still for still in stills if len(still.faces)),
            tuple(still for still in stills if still.plain),
        )


def read_stills(corpus: Path, boxes: Path) -> tuple[LabelledPictures, LabelledPictures]:
    """The stills to learn from and those to measure on.

    Args:
        corpus: The folder of the clips.
        boxes: The file that `face_boxes` wrote for them.

    Raises:
        UsageError: As `find_clips` and `read_boxes`.
    """
    by_clip = read_boxes(boxes)
    split: dict[str, list[LabelledPicture]] = {"train": [], "val": []}
    for clip in all_clips(corpus):
        if clip.id not in by_clip or clip.split not in split:
            continue
        try:
            pictures, numbers = stills_of(clip)
        except MediaError as error:
            print(error, file=sys.stderr)
            continue
        at = dict(zip(numbers, pictures, strict=True))
        for item in by_clip[clip.id]:
            if item.picture in at:
                picture = at[item.picture].astype(np.float32)
                faces = item.faces * min(picture.shape)
                plain = clip.kind == "generic" and not len(faces)
                split[clip.split].append(LabelledPicture(picture, faces, plain))
    return LabelledPictures.of(split["train"]), LabelledPictures.of(split["val"])


def require_both(stills: LabelledPictures, name: str) -> None:
    """Raise UsageError if the stills of the split `name` are not enough to make collages of."""
    if not stills.with_faces or not stills.plain:
        raise UsageError(
            f"collages need stills with a face, and stills of generic clips without one; the {name}"
            f" clips have {len(stills.with_faces)} and {len(stills.plain)}"
        )


def collage(
    stills: LabelledPictures, rng: np.random.Generator
) -> tuple[FloatPicture, NDArray[np.float64]]:
    """A picture (COLLAGE, COLLAGE), and the faces visible in it, (k, 3)."""
    ground = _any(stills.plain, rng)
    scale = COLLAGE / min(ground.picture.shape) * rng.uniform(1.01, 1.5)
    whole = _scaled(ground.picture, scale, scale)
    top, left = (int(rng.integers(0, side - COLLAGE + 1)) for side in whole.shape)
    out = whole[top : top + COLLAGE, left : left + COLLAGE].copy()
    faces = np.zeros((0, 3))
    for _ in range(int(rng.integers(2, 6))):
        part, own = _part(stills, rng)
        tall, wide = part.shape
        top = int(rng.integers(-(tall // 4), COLLAGE - tall * 3 // 4))
        left = int(rng.integers(-(wide // 4), COLLAGE - wide * 3 // 4))
        rows = slice(max(0, top), min(COLLAGE, top + tall))
        columns = slice(max(0, left), min(COLLAGE, left + wide))
        out[rows, columns] = part[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        hidden = _within(faces, rows, columns, -0.3)
        shown = own + np.array([left, top, 0.0])
        faces = np.concatenate([faces[~hidden], shown[_within(shown, rows, columns, 0.0)]])
    return _degraded(out, rng), faces


def _any(stills: Sequence[LabelledPicture], rng: np.random.Generator) -> LabelledPicture:
    return stills[int(rng.integers(len(stills)))]


def _part(
    stills: LabelledPictures, rng: np.random.Generator
) -> tuple[FloatPicture, NDArray[np.float64]]:
    """A part of a still at a random size, more often than not with a face."""
    if rng.random() < 0.6:
        still = _any(stills.with_faces, rng)
        side = still.faces[int(rng.integers(len(still.faces))), 2]
        scale = math.exp(rng.uniform(math.log(8), math.log(44))) / side
    else:
        still = _any(stills.plain if rng.random() < 0.7 else stills.every, rng)
        scale = math.exp(rng.uniform(math.log(0.12), math.log(0.9)))
    stretch = math.exp(rng.normal(0, 0.06))
    picture = _scaled(still.picture, scale * stretch, scale / stretch)
    faces = still.faces * np.array([scale / stretch, scale * stretch, scale])
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
        faces = faces * np.array([-1, 1, 1]) + np.array([picture.shape[1], 0, 0])
    whole = rng.random() < 0.5
    tall, wide = (
        min(side if whole else min(side, int(rng.uniform(0.45, 1) * side) + 4), COLLAGE)
        for side in picture.shape
    )
    top = int(rng.integers(0, picture.shape[0] - tall + 1))
    left = int(rng.integers(0, picture.shape[1] - wide + 1))
    if len(faces) and rng.random() < 0.85:
        x, y, _ = faces[int(rng.integers(len(faces)))]
        top = int(np.clip(y - rng.uniform(0.2, 0.8) * tall, 0, picture.shape[0] - tall))
        left = int(np.clip(x - rng.uniform(0.2, 0.8) * wide, 0, picture.shape[1] - wide))
    cut = picture[top : top + tall, left : left + wide]
    mean = float(cut.mean())
    cut = (cut - mean) * rng.uniform(0.5, 1.2) + np.clip(mean * rng.uniform(0.5, 1.4), 10, 235)
    return np.asarray(cut, np.float32), faces - np.array([left, top, 0.0])


def _within(
    faces: NDArray[np.float64], rows: slice, columns: slice, share: float
) -> NDArray[np.bool_]:
    """Which centres lie inside, by at least this share of the face's side."""
    x, y, spare = faces[:, 0], faces[:, 1], share * faces[:, 2]
    down = (y >= rows.start + spare) & (y < rows.stop - spare)
    across = (x >= columns.start + spare) & (x < columns.stop - spare)
    return np.asarray(down & across)


def _scaled(picture: FloatPicture, down: float, across: float) -> FloatPicture:
    size = [
        max(2, round(side * by)) for side, by in zip(picture.shape, (down, across), strict=True)
    ]
    source = torch.from_numpy(np.ascontiguousarray(picture))[None, None]
    scaled = F.interpolate(source, size, mode="bilinear", antialias=True, align_corners=False)
    return np.asarray(scaled[0, 0].numpy())


def _degraded(picture: FloatPicture, rng: np.random.Generator) -> FloatPicture:
    """The picture as bad media show it: blurred, noisy, too dark or too bright."""
    if rng.random() < 0.3:
        by = rng.uniform(0.4, 0.9)
        small = torch.from_numpy(_scaled(picture, by, by))[None, None]
        picture = F.interpolate(small, picture.shape, mode="bilinear")[0, 0].numpy()
    worn = picture + rng.normal(0, rng.uniform(0, 6), picture.shape)
    if rng.random() < 0.3:
        worn = 255 * (np.clip(worn, 0, 255) / 255) ** rng.uniform(0.6, 1.7)
    return np.asarray(worn, np.float32)


def targets(faces: NDArray[np.float64]) -> tuple[FloatPicture, FloatPicture, FloatPicture]:
    """The targets for a collage with these faces, each (places, places): 1 at the centre of a face;
    the weight of each place, 0 around a centre; the logarithm of the face's size.
    """
    centre, size = np.zeros((2, _PLACES, _PLACES), np.float32)
    weight = np.ones((_PLACES, _PLACES), np.float32)
    for x, y, side in faces:
        far = np.hypot(_AT[None, :] - x, _AT[:, None] - y)
        weight[far < max(0.7 * side, 5.0)] = 0.0
        if LEARN_SIDES[0] <= side <= LEARN_SIDES[1]:
            here = far < max(0.22 * side, 2.9)
            centre[here], weight[here], size[here] = 1.0, 1.0, math.log(side / FACE_SIDE)
        elif side > LEARN_SIDES[1] + 10:
            weight[far < 0.45 * side] = 0.3
    return centre, weight, size


def learn(
    stills: LabelledPictures, trials: LabelledPictures, steps: int, seed: int = 1
) -> FaceFinder:
    """Train a finder on these stills; prints its progress."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = FaceFinder()
    mean = copy.deepcopy(net).eval()
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-3)
    losses: list[float] = []
    for step in range(steps):
        for group in optimiser.param_groups:
            falling = 0.5 + 0.5 * math.cos(math.pi * step / steps)
            group["lr"] = RATE * min(1.0, (step + 1) / 100) * falling + 1e-5
        made = [collage(stills, rng) for _ in range(BATCH)]
        pictures = torch.from_numpy(np.stack([picture for picture, _ in made]))[:, None]
        wanted = [targets(faces) for _, faces in made]
        centre, weight, size = (
            torch.from_numpy(np.stack(each)) for each in zip(*wanted, strict=True)
        )
        loss = _loss(net(pictures), centre, weight, size)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        follow(mean, net, min(_DECAY, (1 + step) / (10 + step)))
        losses.append(float(loss.detach()))
        if step % _REPORT == _REPORT - 1 or step == steps - 1:
            row: dict[str, float] = {"step": step + 1, "loss": float(np.mean(losses[-_REPORT:]))}
            if step % (5 * _REPORT) == 5 * _REPORT - 1 or step == steps - 1:
                row |= measured(mean, trials)
            print(json.dumps({name: round(value, 4) for name, value in row.items()}), flush=True)
    return mean


def _loss(
    scores: torch.Tensor, centre: torch.Tensor, weight: torch.Tensor, size: torch.Tensor
) -> torch.Tensor:
    """The focal loss of the centres (Lin et al., 2017) plus the absolute error of the sizes at
    them.
    """
    each = F.binary_cross_entropy_with_logits(scores[:, 0], centre, reduction="none")
    chance = torch.sigmoid(scores[:, 0]).detach()
    hard = torch.where(centre > 0, 1 - chance, chance) ** 2
    count = centre.sum().clamp_min(1)
    centres = (each * hard * weight * torch.where(centre > 0, 1.0, 0.5)).sum() / count
    sizes = (centre * (scores[:, 1] - size).abs()).sum() / count
    return centres + 0.5 * sizes


def measured(net: FaceFinder, stills: LabelledPictures) -> dict[str, float]:
    """The share of faces of 11 to 28 px that is found in collages of these stills, and how many
    places a collage are wrongly taken for a face.
    """
    rng = np.random.default_rng(0)
    hits, count, wrong = 0, 0, 0
    for _ in range(_TRIALS):
        picture, faces = collage(stills, rng)
        still = np.clip(picture, 0, 255).round().astype(np.uint8)
        likely = [spot for spot in spots(still, net, (1.0,)) if spot.chance >= _CHANCE]
        at = np.array([(spot.x, spot.y) for spot in likely]).reshape(-1, 2)
        apart = np.abs(faces[:, None, :2] - at[None]).max(axis=2)  # (faces, spots), px
        near: NDArray[np.float64] = apart / faces[:, None, 2]
        sides: NDArray[np.float64] = faces[:, 2]
        counted = np.flatnonzero((sides >= _MEASURED[0]) & (sides <= _MEASURED[1]))
        count += len(counted)
        hits += int((near[counted] < 0.4).any(axis=1).sum())
        wrong += int((near >= 0.6).all(axis=0).sum())
    return {"faces": count, "found": hits / max(count, 1), "wrong_a_collage": wrong / _TRIALS}


def main(arguments: Sequence[str]) -> int:
    """`CORPUS BOXES OUT`: learn, write the weights, and print their hash last."""
    parser = argparse.ArgumentParser(prog="python -m avcheck.train.finder")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("boxes", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--measure", action="store_true", help="measure OUT, and learn nothing")
    asked = parser.parse_args(arguments)
    try:
        stills, trials = read_stills(asked.corpus, asked.boxes)
        require_both(trials, "validation")
        if asked.measure:
            net = read_finder(asked.out)
            parameters = sum(each.numel() for each in net.parameters())
            print(json.dumps({**measured(net, trials), "parameters": parameters}))
            return 0
        require_both(stills, "training")
        require_writable(asked.out)
        print(json.dumps({"stills": len(stills.every), "with_faces": len(stills.with_faces)}))
        net = learn(stills, trials, asked.steps, asked.seed)
    except AvcheckError as error:
        print(error, file=sys.stderr)
        return 2
    training = {"steps": asked.steps, "seed": asked.seed, "stills": len(stills.every)}
    tensors = {name: value.contiguous() for name, value in net.state_dict().items()}
    print(write_tensors(asked.out, tensors, {"format": FORMAT, "training": json.dumps(training)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
