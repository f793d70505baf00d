"""The clips' own offsets, estimated by networks that did not learn from them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from avcheck.network.model import SyncNet
from avcheck.network.model_config import ModelConfig
from avcheck.network.weights import Loaded
from avcheck.train.calibrate import estimate_offset
from avcheck.train.clean import clean, usable
from avcheck.train.corpus import CachedClip
from avcheck.train.learn import ClipSource, Learner, Stage, follow, run_stage
from avcheck.train.progress import AddLine
from avcheck.train.recipes import CROP, FRAME, WHOLE
from avcheck.train.sampling import Recipe
from avcheck.train.settings import TrainSettings
from avcheck.train.store import write_json
from avcheck.verdict.posterior import Calibration


def with_estimates(
    model: Loaded,
    clips: Sequence[CachedClip],
    calibration: Calibration,
    on_clip: Callable[[int, int], None],
) -> list[CachedClip]:
    """The clips with the offset that a check estimates; trusted if sure enough for a verdict."""
    out = []
    for number, item in enumerate(clips):
        estimated = estimate_offset(model, item, calibration)
        clip = replace(
            item.clip,
            offset_frames=estimated.frames,
            trusted=estimated.confidence >= calibration.decide,
        )
        out.append(replace(item, clip=clip))
        on_clip(number + 1, len(clips))
    return out


def mean_of(first: SyncNet, second: SyncNet) -> SyncNet:
    """A network whose weights are the mean of those of two of one configuration. It is as good as
    both if these are near each other.
    """
    net = copy.deepcopy(first)
    follow(net, second, 0.5)
    return net


def crossfit(
    settings: TrainSettings,
    speech: Sequence[CachedClip],
    device: torch.device,
    add_line: AddLine,
) -> list[CachedClip]:
    """Estimate the offsets of speech clips by two models, each trained on one half of the groups as
    recorded; each estimates the half that it never saw.

    With one group, or if neither model is sure of anything, the clips are taken as in sync.
    """
    as_recorded = [
        replace(item, clip=replace(item.clip, offset_frames=0.0, trusted=True)) for item in speech
    ]
    groups = sorted({item.clip.group for item in speech})
    if len(groups) < 2:
        return as_recorded
    halves = [
        [item for item in speech if groups.index(item.clip.group) % 2 == half] for half in (0, 1)
    ]
    out: list[CachedClip] = []
    for half in (0, 1):
        name = f"crossfit-{half}"
        faces = [item for item in halves[half] if len(item.faces) > 3]
        recipe = CROP if faces else FRAME
        learner = Learner.fresh(ModelConfig(), settings.seed + half)
        run_stage(
            learner,
            Stage(
                name,
                [ClipSource(faces or halves[half], 1.0, recipe)],
                settings.crossfit_steps,
                harden=(0.2, 0.2),
                voices=halves[half],
            ),
            folder=settings.out,
            device=device,
            seed=settings.seed + half,
            on_step=add_line(name),
        )
        net, others, estimating = (
            learner.mean_net,
            halves[1 - half],
            add_line(f"{name}: estimating"),
        )
        out += estimated(
            settings.out / f"{name}.json", others, partial(clean, net, others, recipe, estimating)
        )
    return out if any(usable(item.clip) for item in out) else as_recorded


def remaining(
    settings: TrainSettings,
    learner: Learner,
    speech: Sequence[CachedClip],
    known: Sequence[CachedClip],
    add_line: AddLine,
) -> list[CachedClip]:
    """Speech clips that had no trusted offset, with the estimate of the crops model, or of the
    model that training started from; only those that it is sure of.
    """
    familiar = {item.clip.id for item in known}
    others = [item for item in speech if item.clip.id not in familiar]

    def compute() -> list[CachedClip]:
        if settings.start is not None:  # it has learnt to look at whole pictures
            return clean(learner.mean_net, others, WHOLE, add_line("estimating offsets"))
        faced = [item for item in others if len(item.faces)]
        faceless = [item for item in others if not len(item.faces)]
        view = Recipe("frame", FRAME.size[:1] * 2)
        cleaned = clean(learner.mean_net, faced, CROP, add_line("estimating offsets"))
        return cleaned + clean(learner.mean_net, faceless, view, add_line("estimating offsets"))

    return [
        item for item in estimated(settings.out / "rest.json", others, compute) if usable(item.clip)
    ]


def estimated(
    store: Path, clips: Sequence[CachedClip], compute: Callable[[], list[CachedClip]]
) -> list[CachedClip]:
    """The clips with the offsets in `store`, and without those that are not in it. If it does not
    exist, the clips that `compute` gives, whose offsets are then stored.
    """
    if store.is_file():
        known = json.loads(store.read_text())
        return [
            replace(
                item,
                clip=replace(
                    item.clip, offset_frames=known[item.clip.id][0], trusted=known[item.clip.id][1]
                ),
            )
            for item in clips
            if item.clip.id in known
        ]
    computed = compute()
    write_json(
        store, {item.clip.id: [item.clip.offset_frames, item.clip.trusted] for item in computed}
    )
    return computed
