"""The settings of a training run, and of one head in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from avcheck.network.model_config import AttentionKind, FusionKind


@dataclass(frozen=True)
class HeadSettings:
    """How one head is trained."""

    kind: AttentionKind  # of attention
    fusion: FusionKind = "cross"  # of a transformer
    refuse: float = 0.5  # weight of "no match", which is right for the sound of another group
    matching: float = 0.0  # weight of the cross-temporal matching loss (`losses.matching_loss`)
    steps: int = 1500  # of the optimiser
    batch: int = 8  # windows in a step
    rate: float = 1e-3  # of learning, at its highest
    seed: int = 1  # of the random numbers


@dataclass(frozen=True)
class TrainSettings:
    """What `avcheck train` is asked to do. Steps are optimiser steps of each stage."""

    data: tuple[Path, ...]  # corpus folders, or directories of media that are in sync
    out: Path  # folder for checkpoints, log and weights
    device: str = "auto"  # as `weights.choose_device` takes it
    seed: int = 1  # of the random numbers
    resume: bool = False  # go on from the checkpoints in `out`
    # Weights to start from. Their trunks are trained already, so the crops stage is left out, and
    # the frames stage is one in which they teach.
    start: Path | None = None
    faces: Path | None = None  # a file that `facemesh` wrote, which finds more faces
    crossfit_steps: int = 600  # of the stage that estimates offsets
    crop_steps: int = 2400  # on face crops
    frame_steps: int = 3000  # on whole pictures
    head_steps: int = HeadSettings.steps  # for each head
    adapt_steps: int = 100  # of the only stage that adapts weights to a catalogue

    def scaled(self, factor: float) -> TrainSettings:
        """The same with every stage's steps times `factor`, at least one each."""
        names = ("crossfit_steps", "crop_steps", "frame_steps", "head_steps", "adapt_steps")
        return replace(
            self, **{name: max(1, round(getattr(self, name) * factor)) for name in names}
        )
