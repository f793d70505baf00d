"""Two comparisons of trunks, measured by their own match on validation clips.

What is following things from picture to picture worth? Two trunks continue from the same weights
over the same samples, one with `ModelConfig.alignment` (alignment-guided temporal attention, ATA)
and one without. They are measured on clips as they are and as if from a hand-held camera, each with
and without stabilisation (`avcheck.reading.stabilise`).

What are generated scenes worth in the first hours? Trunks start from scratch on face crops of
recorded clips, with and without scenes among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from avcheck.errors import UsageError
from avcheck.eval.protocol import PAPER_FRAMES, OnStep
from avcheck.eval.rows import Row, kept
from avcheck.eval.stats import share, table
from avcheck.network.model_config import ModelConfig
from avcheck.network.weights import choose_device, load
from avcheck.train.clean import usable
from avcheck.train.corpus import CachedClip, cache_clip, find_clips
from avcheck.train.learn import ClipSource, Learner, Stage, run_stage
from avcheck.train.measure import windows
from avcheck.train.recipes import CROP, FRAME, WHOLE
from avcheck.train.run import scenes

_RATE = 2e-4  # the trunks are trained; they only have to get used to the change
_DRIFT_PX = 1.5  # a picture, at a short side of 176 px
SCENES = ("none", "among the clips", "first")  # where generated scenes come in
_SCENES = 60  # two talking ones for each with impacts, which has no face to crop
_SCENE_SHARE = 0.3
_SCENES_ALONE = 0.3
_FIGURES = ("seeds", "windows", "groups", "within 1 frame", "within 3 frames", "pair 200 ms")


@dataclass(frozen=True)
class TrunkRow:
    """One window of 4.2 s of a clip. steady: whether its pictures were stabilised; error_frames:
    from the clip's own offset; won: share of the copies displaced by 200 ms that it scores above.
    """

    alignment: bool  # whether the trunk has `ModelConfig.alignment`
    steady: bool
    seed: int  # of the training
    camera: str  # "as it is" or "held by hand"
    group: str  # as in `Clip`
    error_frames: float
    won: float | None


@dataclass(frozen=True)
class FirstRow:
    """One window of 4.2 s of a clip's face crop. scenes: where generated scenes came in; seed,
    group, error_frames and won: as in `TrunkRow`.
    """

    scenes: str
    seed: int
    group: str
    error_frames: float
    won: float | None


def held_by_hand(cached: CachedClip, seed: int) -> CachedClip:
    """The clip as from an unsteady hand-held camera: whole pictures drift smoothly, with mirrored
    borders.
    """
    rng = np.random.default_rng(seed)
    count, height, width = cached.frames.shape
    speed = np.cumsum(rng.standard_normal((count + 24, 2)), axis=0)
    speed = np.stack([np.convolve(axis, np.ones(25) / 25, "valid") for axis in speed.T], axis=1)
    speed *= _DRIFT_PX / np.abs(speed).mean()
    path = np.cumsum(speed, axis=0)
    reach = 0.12 * min(height, width)
    path = reach * np.sin(path / reach)  # a hand comes back
    moved: NDArray[np.uint8] = np.empty_like(cached.frames)
    for at, (x, y) in enumerate(path):
        moving = np.array([[1.0, 0.0, x], [0.0, 1.0, y]], np.float32)
        frame = np.asarray(cached.frames[at])
        moved[at] = cv2.warpAffine(
            frame,
            moving,
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return replace(cached, frames=moved)


def trunk_rows(
    clips: TrustedClips,
    out: Path,
    *,
    model: Path | None,
    device: str = "auto",
    steps: int,
    seed: int,
    on_step: OnStep | None = None,
) -> list[TrunkRow]:
    """Train both trunks and measure them.

    Args:
        clips: What they learn from and are measured on.
        out: Folder for checkpoints and rows; what is already in it is not done again.
        model: The weights to continue from; None: the shipped ones.
        device: Where to train.
        steps: Of the optimiser.
        seed: Of the samples.
        on_step: Called with (stage, done, total).

    Raises:
        UsageError: The corpus has no such clips, or as `weights.load`.
        ModelError: As `weights.load`.
    """
    advance = on_step or (lambda stage, done, total: None)
    out.mkdir(parents=True, exist_ok=True)
    on_device = choose_device(device)
    start = load(model, device="cpu").net

    def measured(alignment: bool, name: str) -> Iterator[Row]:
        config: ModelConfig = replace(start.config, alignment=alignment)
        learner = Learner.fresh(config, seed, start)
        recorded = clips.to_learn_from()
        stage = Stage(
            name,
            [ClipSource(recorded, 1.0, FRAME)],
            steps,
            rate=_RATE,
            harden=(0.5, 0.5),
            voices=recorded,
        )
        run_stage(
            learner,
            stage,
            folder=out,
            device=on_device,
            seed=seed,
            on_step=lambda done, total, _: advance(name, done, total),
        )
        yield from map(
            vars, _measured(learner, clips.of("val"), alignment, seed, partial(advance, name))
        )

    rows: list[TrunkRow] = []
    for alignment in (False, True):
        name = f"trunk-{'aligned' if alignment else 'plain'}-{seed}"
        rows += [
            TrunkRow(**row)
            for row in kept(out / "rows" / f"{name}.jsonl", measured(alignment, name))
        ]
    return rows


def first_rows(
    clips: TrustedClips,
    out: Path,
    *,
    device: str = "auto",
    steps: int,
    seed: int,
    on_step: OnStep | None = None,
) -> list[FirstRow]:
    """Train trunks from scratch on face crops for `steps`, in each of the ways `SCENES`. Results
    are kept, and errors raised, as in `trunk_rows`.
    """
    advance = on_step or (lambda stage, done, total: None)
    out.mkdir(parents=True, exist_ok=True)
    on_device = choose_device(device)
    talking: list[CachedClip] = []

    def measured(number: int, way: str) -> Iterator[Row]:
        name = f"first steps, {way}"
        with_faces = [item for item in clips.to_learn_from() if len(item.faces) > 3]
        if not with_faces:
            raise UsageError(
                f"{clips.corpus}: no face is found in the training clips, and first steps take "
                "crops of faces"
            )
        if not talking and way != "none":
            talking.extend(
                item
                for item in scenes(seed, _SCENES, partial(advance, name))
                if len(item.faces) > 3
            )
        recorded, generated = (
            ClipSource(with_faces, 1.0 - _SCENE_SHARE, CROP),
            ClipSource(talking, _SCENE_SHARE, CROP, "scenes"),
        )
        learner = Learner.fresh(ModelConfig(), seed)
        alone = round(_SCENES_ALONE * steps) if way == "first" else 0
        stages = [Stage(f"scenes-{seed}", [generated], alone, harden=(0.2, 0.2))] if alone else []
        sources = [recorded, generated] if way == "among the clips" else [recorded]
        stages.append(Stage(f"first-{number}-{seed}", sources, steps - alone, harden=(0.2, 0.3)))
        for stage in stages:
            run_stage(
                learner,
                replace(stage, voices=with_faces),
                folder=out,
                device=on_device,
                seed=seed,
                on_step=lambda done, total, _: advance(name, done, total),
            )
        net = learner.mean_net.eval()
        for item in clips.of("val"):
            for error, won in windows(net, item, CROP, PAPER_FRAMES):
                yield vars(FirstRow(way, seed, item.clip.group, error, won))

    rows: list[FirstRow] = []
    for number, way in enumerate(SCENES):
        rows += [
            FirstRow(**row)
            for row in kept(out / "rows" / f"first-{number}-{seed}.jsonl", measured(number, way))
        ]
    return rows


class TrustedClips:
    """Speech clips whose own offset is trusted, decoded when first needed."""

    def __init__(self, corpus: Path, cache: Path) -> None:
        """cache: folder for the decoded clips."""
        self.corpus, self._cache = corpus, cache
        self._clips: list[CachedClip] = []

    def of(self, split: str) -> list[CachedClip]:
        """The clips of one split. Raises UsageError if there is none."""
        if not self._clips:
            wanted = [
                clip for clip in find_clips(self.corpus) if clip.kind == "speech" and clip.trusted
            ]
            self._clips = [
                item for clip in wanted if (item := cache_clip(clip, self._cache)) is not None
            ]
        return self._some([item for item in self._clips if item.clip.split == split], split)

    def to_learn_from(self) -> list[CachedClip]:
        """The training clips whose offset is small enough to learn from. Raises UsageError if there
        is none.
        """
        return self._some([item for item in self.of("train") if usable(item.clip)], "train")

    def _some(self, items: list[CachedClip], split: str) -> list[CachedClip]:
        if not items:
            raise UsageError(
                f"{self.corpus}: no clip of the {split} groups is known well enough for a "
                "comparison of trunks"
            )
        return items


@torch.inference_mode()
def _measured(
    learner: Learner,
    clips: Sequence[CachedClip],
    alignment: bool,
    seed: int,
    on_clip: Callable[[int, int], None],
) -> list[TrunkRow]:
    net = learner.mean_net.eval()
    rows = []
    for number, item in enumerate(clips):
        for camera, shown in (("as it is", item), ("held by hand", held_by_hand(item, number))):
            for steady in (False, True):
                for error, won in windows(net, shown, replace(WHOLE, steady=steady), PAPER_FRAMES):
                    rows.append(
                        TrunkRow(alignment, steady, seed, camera, item.clip.group, error, won)
                    )
        on_clip(number + 1, len(clips))
    return rows


def trunk_table(rows: Sequence[TrunkRow], steps: int) -> str:
    """Plain and aligned trunks side by side."""
    lines = []
    for camera in dict.fromkeys(row.camera for row in rows):
        for steady, alignment in product((False, True), repeat=2):
            mine = [
                row
                for row in rows
                if (row.camera, row.steady, row.alignment) == (camera, steady, alignment)
            ]
            pictures, trunk = (
                "held steady" if steady else "as they come",
                "aligned" if alignment else "plain",
            )
            lines.append((camera, pictures, trunk, *_cells(mine)))
    header = ("camera", "pictures", "trunk", *_FIGURES)
    note = (
        f"Both trunks went on from the same weights for {steps} steps over the same samples, held "
        "steady. Windows of 4.2 s of speech with a trusted own offset, whole pictures, the trunks' "
        "match alone, 1 s searched either way, sound beyond the window there. By hand: moved up "
        "and down and sideways only."
    )
    return table(
        "Pictures held steady, and alignment of neighbouring ones (ATA) in the visual trunk",
        header,
        lines,
        note,
    )


def first_table(rows: Sequence[FirstRow], steps: int) -> str:
    """Trunks from scratch, with and without generated scenes."""
    lines = [
        (way, *_cells([row for row in rows if row.scenes == way]))
        for way in dict.fromkeys(row.scenes for row in rows)
    ]
    note = (
        f"Trunks from scratch, {steps} steps each on face crops of training clips; scenes: none, "
        f"in {_SCENE_SHARE:.0%} of the batches, or alone in the first {_SCENES_ALONE:.0%} of the "
        "steps, as a stage with its own rise and fall of the rate. Face crops of 4.2 s of "
        "validation speech with a trusted own offset, the trunks' match alone, 1 s searched either "
        "way."
    )
    return table("Generated scenes in the first steps", ("scenes", *_FIGURES), lines, note)


def _cells(rows: Sequence[TrunkRow] | Sequence[FirstRow]) -> tuple[object, ...]:
    groups = [row.group for row in rows]
    near = [share([float(row.error_frames <= frames) for row in rows], groups) for frames in (1, 3)]
    compared = [row for row in rows if row.won is not None]
    won = share(
        [row.won for row in compared if row.won is not None], [row.group for row in compared]
    )
    return len({row.seed for row in rows}), len(rows), len(set(groups)), *near, won
