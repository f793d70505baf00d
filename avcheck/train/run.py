"""`avcheck train`: from a corpus to a weights file, stage by stage; a killed stage can be resumed.

* cache: decode once, and find faces, around which windows are cut (a training aid only).
* crossfit: if the corpus knows too few offsets, train two models, each on one half of the groups;
  each estimates the offsets of the other half.
* crops: mouths, easy and dense, from which the trunks learn to add_line moments apart.
* rest: the crops model estimates the clips without a trusted offset, which it never saw.
* frames: windows of whole pictures at many scales, generic sounds and generated scenes.
* distil, in place of crops and frames where training goes on from weights: these teach small,
  spoiled windows (`distil`). The mean of the trunks before and after it is kept.
* heads: joint layers, attention and decision of each kind, on frozen trunks.
* weights: calibrate on the validation groups, then write one safetensors file.

Media without known offsets, together with weights to start from, are a catalogue to adapt to: that
is one short stage (`_adapt`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avcheck._version import __version__
from avcheck.errors import UsageError
from avcheck.machine.memory import keep_memory
from avcheck.network.make_head import Head, make_head
from avcheck.network.model import SyncNet, fuse
from avcheck.network.model_config import ATTENTION_KINDS, AttentionKind, ModelConfig
from avcheck.network.shipped import weights_sha256
from avcheck.network.weights import Loaded, choose_device, load, load_heads, save
from avcheck.scenes.base import SceneKind
from avcheck.scenes.generate import make_scene
from avcheck.train.calibrate import calibrate, judged, trials
from avcheck.train.clean import usable
from avcheck.train.corpus import (
    CACHE_SIDE,
    FACE_EVERY,
    CachedClip,
    Clip,
    cache_clip,
    find_clips,
    require_own_ids,
)
from avcheck.train.crossfit import crossfit, estimated, mean_of, remaining, with_estimates
from avcheck.train.distil import Teacher
from avcheck.train.facemesh import Faces, read_faces
from avcheck.train.heads import extract, learn_head
from avcheck.train.learn import ClipSource, Learner, Stage, run_stage, save_state, write_log
from avcheck.train.measure import accuracy
from avcheck.train.progress import AddLine, progress
from avcheck.train.recipes import CROP, FRAME, GENERIC, SMALL_FRAME, WHOLE
from avcheck.train.sampling import Recipe, room
from avcheck.train.settings import HeadSettings, TrainSettings
from avcheck.train.store import make_folder
from avcheck.verdict.posterior import Calibration

_ADAPT_RATE = 2e-4


def train(settings: TrainSettings) -> Path:
    """Run every stage and write the weights file; `summary.json` beside it holds its hash and what
    it was made from.

    Args:
        settings: What is asked for.

    Returns:
        The weights file.

    Raises:
        UsageError: The corpus or the folder cannot be used, or as `weights.load`.
        ModelError: As `weights.load`.
    """
    out = settings.out
    make_folder(out)
    if any(out.iterdir()) and not settings.resume:
        raise UsageError(
            f"{out} is not empty; give a new one, or resume to go on with what is there", "out"
        )
    keep_memory(all_sizes=True)
    device = choose_device(settings.device)
    start = None if settings.start is None else load(settings.start, device="cpu").net
    with progress() as add_line:
        clips = _cached(settings, add_line)
        if settings.start is not None and not any(item.clip.trusted for item in clips):
            return _adapt(settings, settings.start, clips, device, add_line)
        if start is not None and start.config != ModelConfig():
            raise UsageError(
                f"{settings.start} holds another network than this version trains; leave it out",
                "start",
            )
        training = [item for item in clips if item.clip.split == "train"]
        held_out = [item for item in clips if item.clip.split == "val"]
        speech = [item for item in training if item.clip.kind == "speech"]
        generic = [item for item in training if item.clip.kind == "generic"]
        known = [item for item in speech if usable(item.clip)]
        if len(known) < len(speech) / 4:
            known = [
                item for item in crossfit(settings, speech, device, add_line) if usable(item.clip)
            ]
        learner = Learner.fresh(ModelConfig(), settings.seed, start)

        trusted = [item for item in held_out if item.clip.trusted]

        def run(stage: Stage, view: Recipe) -> None:
            run_stage(
                learner,
                replace(stage, voices=[*speech, *generic]),
                folder=out,
                device=device,
                seed=settings.seed,
                validate=(lambda net: accuracy(net, trusted, view)) if trusted else None,
                on_step=add_line(stage.name),
            )

        faces = [item for item in known if len(item.faces) > 3]
        if faces and settings.start is None:
            run(
                Stage(
                    "crops", [ClipSource(faces, 1.0, CROP)], settings.crop_steps, harden=(0.2, 0.6)
                ),
                CROP,
            )
        rest = remaining(settings, learner, speech, known, add_line)
        made = scenes(settings.seed, 120, add_line("scenes"))
        sources = _frame_sources([*known, *rest], generic, made)
        if start is None:
            frames = Stage("frames", sources, settings.frame_steps, rate=8e-4, harden=(0.3, 0.7))
            run(frames, WHOLE)
        else:
            run(_taught(settings, start, [*known, *rest], sources, device), WHOLE)
            learner.mean_net = mean_of(start, learner.mean_net)
        used = [*known, *rest, *generic]
        heads = _heads(settings, learner, [*used, *made[:40]], device, add_line)
        return _write(settings, learner, heads, used, clips, device, add_line)


def _frame_sources(
    speech: Sequence[CachedClip],
    generic: Sequence[CachedClip],
    made: Sequence[CachedClip],
) -> list[ClipSource]:
    """What the stage of whole pictures is trained on. made: generated scenes."""
    sources = [ClipSource(speech, 0.8, FRAME)] if speech else []
    if any(room(item, GENERIC.frames) for item in generic):
        # With a third of the batches they are learnt by heart: accuracy rises on training clips and
        # stays at chance on unseen ones.
        sources.append(ClipSource(generic, 0.12, GENERIC, "generic", batch=8))
    return [*sources, ClipSource(made, 0.08, FRAME, "scenes")]


def _taught(
    settings: TrainSettings,
    start: SyncNet,
    speech: Sequence[CachedClip],
    others: Sequence[ClipSource],
    device: torch.device,
) -> Stage:
    """The stage in which the weights to start from teach. others: what is learnt from if no clip of
    speech shows a face.
    """
    faces = [item for item in speech if len(item.faces) > 3]
    return Stage(
        "distil",
        [ClipSource(faces, 1.0, SMALL_FRAME, taught=True)] if faces else others,
        settings.frame_steps,
        rate=5e-4,
        harden=(0.4, 0.75),
        teacher=Teacher(copy.deepcopy(start).to(device).eval()),
    )


def _adapt(
    settings: TrainSettings,
    start: Path,
    clips: Sequence[CachedClip],
    device: torch.device,
    add_line: AddLine,
) -> Path:
    """Adapt weights a little to a catalogue, without forgetting the corpus that they were trained
    on, which is not at hand.

    Only the trunks are trained, for a few steps at a low rate, on the clips that the weights are
    already sure of (each corrected by its estimated offset) and some generated scenes. The result
    is the mean of the weights before and after. Heads and calibration stay: a few clips of one kind
    cannot teach them anything. How both do on the groups held out is written into the facts.
    """
    before = load(start, device=str(device))
    heads = {
        kind: loaded.net.head
        for kind, loaded in load_heads(before, start, device=str(device)).items()
    }
    calibration = Calibration(**before.calibration)
    checked = _as_checked(before.net, device)
    known = estimated(
        settings.out / "estimates.json",
        clips,
        partial(with_estimates, checked, clips, calibration, add_line("estimating offsets")),
    )
    sure = [item for item in known if usable(item.clip)]
    learnt_from = [item for item in sure if item.clip.split == "train"]
    held_out = [item for item in sure if item.clip.split == "val"]
    if not learnt_from:
        raise UsageError(
            f"{start.name} is sure of the offset of none of these clips, so there is nothing to "
            "learn from; give some in which somebody is seen to speak for 10 s or more"
        )
    learner = Learner.fresh(before.net.config, settings.seed, before.net)
    unseen = scenes(settings.seed, 20, add_line("scenes"))
    sources = [ClipSource(learnt_from, 0.9, FRAME), ClipSource(unseen, 0.1, FRAME, "scenes")]
    stage = Stage(
        "adapt", sources, settings.adapt_steps, batch=8, rate=_ADAPT_RATE, voices=learnt_from
    )
    run_stage(
        learner,
        stage,
        folder=settings.out,
        device=device,
        seed=settings.seed,
        on_step=add_line("adapt"),
    )
    net = mean_of(before.net, learner.mean_net)
    held_out_shares = {}
    if held_out:
        for name, model in (("before", checked), ("after", _as_checked(net, device))):
            held_out_shares[name] = judged(
                trials(model, held_out, on_clip=add_line(f"clips held out, {name}")), calibration
            )
    facts = {
        "avcheck": __version__,
        "seed": settings.seed,
        "adapted_from": before.sha256,
        "adapt_steps": settings.adapt_steps,
        "clips_used": len(learnt_from),
        "minutes_used": round(sum(item.seconds for item in learnt_from) / 60, 1),
        "groups_used": len({item.clip.group for item in learnt_from}),
        "clips_dropped": len(clips) - len(sure),
        "validation_groups": len({item.clip.group for item in held_out}),
        "adapt_on_groups_held_out": held_out_shares,
        "training_before": before.training,
    }
    return _save(
        settings.out,
        net,
        heads,
        before.calibration,
        facts,
        dropped=sorted(set(_ids(clips)) - set(_ids(sure))),
    )


def _cached(settings: TrainSettings, add_line: AddLine) -> list[CachedClip]:
    clips = [clip for folder in settings.data for clip in find_clips(folder)]
    require_own_ids(clips)
    meshes = read_faces(settings.faces) if settings.faces is not None else {}
    step = add_line("cache")
    cached = []
    for number, clip in enumerate(clips):
        item = cache_clip(clip, settings.out / "cache")
        if item is not None:
            cached.append(with_faces(item, meshes.get(clip.id)))
        step(number + 1, len(clips))
    if not any(item.clip.split == "train" for item in cached):
        raise UsageError(
            "no clip of the training groups decodes; avcheck train needs video with sound"
        )
    return cached


def with_faces(item: CachedClip, faces: Faces | None) -> CachedClip:
    """The clip with the faces that a mesh saw, if these are more than those of the cascade."""
    if faces is None or len(faces.rows) <= len(item.faces):
        return item
    return replace(item, faces=faces.in_px(min(item.frames.shape[1:])))


def scenes(seed: int, count: int, on_scene: Callable[[int, int], None]) -> list[CachedClip]:
    """Generated scenes as clips, with an offset of exactly 0: two talking ones for each with
    impacts.
    """
    clips = []
    for number in range(count):
        kind: SceneKind = "impacts" if number % 3 == 2 else "talking"
        size = (CACHE_SIDE, CACHE_SIDE * (4 if number % 2 else 5) // 4)
        scene = make_scene(kind, seed=100_000 * seed + number, seconds=8.0, size=size)
        faces = np.zeros((0, 4), np.float32)
        if scene.faces is not None:
            every = np.arange(0, len(scene.frames), FACE_EVERY)
            faces = np.column_stack([every / scene.frame_rate, scene.faces[every]]).astype(
                np.float32
            )
        clip = scene_clip(number, "train")
        clips.append(
            CachedClip(clip, scene.frames, (scene.samples * 32767).astype(np.int16), faces)
        )
        on_scene(number + 1, count)
    return clips


def scene_clip(number: int, split: str) -> Clip:
    """The clip that a generated scene counts as: a group of its own, in sync."""
    name = f"scene-{number}"
    return Clip(name, Path("scene"), name, "scene", split, offset_frames=0.0, trusted=True)


def _heads(
    settings: TrainSettings,
    learner: Learner,
    clips: Sequence[CachedClip],
    device: torch.device,
    add_line: AddLine,
) -> dict[AttentionKind, Head]:
    store = settings.out / "heads.pt"
    net = learner.mean_net.to(device).eval()
    if store.is_file():
        saved = torch.load(store, map_location=device, weights_only=True)
        heads: dict[AttentionKind, Head] = {
            kind: make_head(replace(net.config, attention=kind)).to(device).eval()
            for kind in ATTENTION_KINDS
        }
        for kind, head in heads.items():
            head.load_state_dict(saved[kind])
        return heads
    model = _as_checked(net, device)
    features = extract(model, clips, seed=settings.seed, on_clip=add_line("features"))
    heads = {}
    for kind in ATTENTION_KINDS:
        heads[kind] = learn_head(
            net,
            features,
            HeadSettings(kind, steps=settings.head_steps, seed=settings.seed),
            device=device,
            on_step=add_line(f"head: {kind}"),
            log=partial(write_log, settings.out / "log.jsonl"),
        )
    save_state(store, {kind: head.state_dict() for kind, head in heads.items()})
    return heads


def _write(
    settings: TrainSettings,
    learner: Learner,
    heads: dict[AttentionKind, Head],
    used: Sequence[CachedClip],
    clips: Sequence[CachedClip],
    device: torch.device,
    add_line: AddLine,
) -> Path:
    """Calibrate on the validation clips, and write the weights. used: the clips learnt from; clips:
    all of them.
    """
    training, held_out = (
        [item for item in clips if item.clip.split == split] for split in ("train", "val")
    )
    net = learner.mean_net
    net.head = heads[net.config.attention]
    model = _as_checked(net, device)
    calibration, reliability = (
        calibrate(model, held_out, on_clip=add_line("calibrating")) if held_out else ({}, {})
    )
    facts = {
        "avcheck": __version__,
        "seed": settings.seed,
        "started_from": None if settings.start is None else weights_sha256(settings.start),
        "crop_steps": settings.crop_steps if settings.start is None else 0,
        "frame_steps": settings.frame_steps,
        "head_steps": settings.head_steps,
        "clips_used": len(used),
        "minutes_used": round(sum(item.seconds for item in used) / 60, 1),
        "groups_used": len({item.clip.group for item in used}),
        "clips_shifted": sum(1 for item in used if abs(item.clip.offset_frames or 0.0) > 0.5),
        "clips_dropped": len(training) - len(used),
        "validation_groups": len({item.clip.group for item in held_out}),
        "reliability_on_groups_left_out": reliability,
    }
    return _save(
        settings.out,
        net,
        heads,
        calibration,
        facts,
        dropped=sorted(set(_ids(training)) - set(_ids(used))),
    )


def _ids(clips: Sequence[CachedClip]) -> list[str]:
    return [item.clip.id for item in clips]


def _save(
    out: Path,
    net: SyncNet,
    heads: dict[AttentionKind, Head],
    calibration: dict[str, Any],
    facts: dict[str, Any],
    *,
    dropped: Sequence[str],
) -> Path:
    """Write the weights file, and beside it a summary, which also names the clips that were not
    learnt from.
    """
    path = out / "sync.safetensors"
    digest = save(path, net, heads, calibration=calibration, training=facts)
    summary = {
        "weights": path.name,
        "sha256": digest,
        "training": facts,
        "calibration": calibration,
        "dropped": list(dropped),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return path


def _as_checked(net: SyncNet, device: torch.device) -> Loaded:
    """A copy of the network as a check runs it."""
    return Loaded(
        fuse(copy.deepcopy(net).to(device).eval()),
        "",
        device,
        device.type in ("cpu", "cuda"),
        {},
        {},
    )
