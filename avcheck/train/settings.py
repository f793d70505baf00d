"""The settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class TrainSettings:
    """What `avcheck train` is asked to do. Steps are optimiser steps of each stage.

    `start` is a weights file to continue from: its trunks are trained already, so the crops stage
    is left out, and the frames stage uses smaller windows. `adapt_steps` are the steps of the only
    stage that adapts such weights to a catalogue. `faces` is a file of `facemesh`, which finds more
    faces.
    """

    data: tuple[Path, ...]
    out: Path
    device: str = "auto"
    seed: int = 1
    resume: bool = False
    start: Path | None = None
    faces: Path | None = None
    crossfit_steps: int = 600
    crop_steps: int = 2400
    frame_steps: int = 3000
    head_steps: int = 1500
    adapt_steps: int = 100

    def scaled(self, factor: float) -> TrainSettings:
        """The same with every stage's steps times `factor`, at least one each."""
        names = ("crossfit_steps", "crop_steps", "frame_steps", "head_steps", "adapt_steps")
        return replace(
            self, **{name: max(1, round(getattr(self, name) * factor)) for name in names}
        )
