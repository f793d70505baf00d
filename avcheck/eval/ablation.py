"""`avcheck ablate`: what each part of the head is worth. Heads of every kind are trained by one
recipe on the weights' own trunks, and measured on the validation groups by their scores alone
(without the trunks' second opinion or a calibration).

The trunks run once over every clip, and once over every moved sound. The folder `out` keeps their
features, every head and its rows, so a run continues where it was stopped. `late_*` is how much the
sound was made late.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avcheck.errors import UsageError
from avcheck.eval.ablation_tables import head_table, rate_table
from avcheck.eval.protocol import LONGEST_S, OnStep
from avcheck.eval.rates import rates
from avcheck.eval.rows import Row, kept
from avcheck.eval.trials import HeadTrial, head_seconds, measure, trials
from avcheck.eval.trunks import TrustedClips, first_rows, first_table, trunk_rows, trunk_table
from avcheck.eval.windows import Footage, observe
from avcheck.network.make_head import Head, make_head
from avcheck.network.model import fuse
from avcheck.network.model_config import ATTENTION_KINDS
from avcheck.network.weights import Loaded, load
from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.scan.looking import LEVELS, Look
from avcheck.train.clean import usable
from avcheck.train.corpus import CachedClip, Clip, cache_clip, find_clips
from avcheck.train.heads import Feature, extract, learn_head
from avcheck.train.learn import save_state
from avcheck.train.settings import HeadSettings
from avcheck.train.store import make_folder, write_json
from avcheck.verdict.posterior import Place

T = TypeVar("T")


@dataclass(frozen=True)
class Variant:
    """A head to train. Its steps, rate and seed are those of the run."""

    name: str  # in the tables
    head: HeadSettings

    @property
    def slug(self) -> str:
        """The name, fit for a file."""
        return "-".join(re.findall(r"\w+", self.name))


VARIANTS = (
    Variant("uniform", HeadSettings("uniform")),
    Variant("temporal", HeadSettings("temporal")),
    Variant("spatio-temporal", HeadSettings("spatio-temporal")),
    Variant("uniform, refuses no stranger", HeadSettings("uniform", refuse=0.0)),
    Variant("temporal, refuses no stranger", HeadSettings("temporal", refuse=0.0)),
    Variant("spatio-temporal + CTM", HeadSettings("spatio-temporal", matching=0.2)),
    Variant("transformer, self-attention only", HeadSettings("transformer", "self")),
    Variant("transformer, cross-modal", HeadSettings("transformer", "cross")),
    Variant("transformer, cross-modal + CTM", HeadSettings("transformer", "cross", matching=0.2)),
)


@dataclass(frozen=True)
class AblationSettings:
    """What `avcheck ablate` is asked to do."""

    corpus: Path  # folder of the clips
    out: Path  # folder for features, heads and rows
    model: Path | None = None  # the weights whose trunks are used; None: the shipped ones
    device: str = "auto"  # as in `CheckSettings`
    steps: int = HeadSettings.steps  # of the optimiser, for each head and seed
    seeds: tuple[int, ...] = (1,)  # every head is trained once with each
    # Heads start from those of the weights (the paper's kinds from their own, a transformer's joint
    # layers from the spatio-temporal head) and learn at half the rate.
    go_on: bool = False
    trunk_steps: int = 0  # also compare visual trunks with and without alignment; 0: do not
    # Also compare trunks from scratch with and without generated scenes (`eval.trunks`); 0: do not
    first_steps: int = 0


def ablate(
    settings: AblationSettings,
    *,
    variants: Sequence[Variant] = VARIANTS,
    levels: tuple[int, ...] = LEVELS,
    on_step: OnStep | None = None,
) -> Iterator[str]:
    """Train and measure heads; yields the tables.

    Args:
        settings: What is asked for.
        variants: The heads.
        levels: Short sides at which pictures are looked at, px.
        on_step: Reports the progress.

    Raises:
        UsageError: The corpus or the folder cannot be used, or as `weights.load`.
        ModelError: As `weights.load`.
    """
    advance = on_step or (lambda stage, done, total: None)
    out = settings.out
    make_folder(out)
    for name in ("cache", "val", "trials", "heads", "rows"):
        make_folder(out / name)
    model = load(settings.model, device=settings.device)
    fuse(model.net)
    clips = find_clips(settings.corpus)
    _same_run(out, model, clips, settings, levels)
    held_out = _prepared(
        out, model, [clip for clip in clips if clip.split == "val"], levels, advance
    )
    features = cache(lambda: _features(out, model, clips, levels, advance))
    rows: list[Row] = []
    heads: dict[str, Head] = {}
    seconds_s: dict[str, float] = {}
    for seed in settings.seeds:
        for variant in variants:
            name = f"{variant.slug}-{seed}"
            store = out / "heads" / f"{name}.pt"
            if not store.is_file():
                learnt = _learnt(model, variant, features(), settings, seed, advance)
                save_state(store, learnt.state_dict())
            head = _reread(model, variant, store)
            if seed == settings.seeds[0]:
                heads[variant.name] = head
                seconds_s[variant.name] = head_seconds(head, model)
            rows += kept(
                out / "rows" / f"{name}.jsonl",
                (
                    {"variant": variant.name, "seed": seed, **row}
                    for number, clip in enumerate(held_out)
                    for row in _reported(
                        measure(*_opened(out, clip), head, model),
                        advance,
                        name,
                        number,
                        len(held_out),
                    )
                ),
            )
    yield heading(model, settings, held_out)
    yield head_table(rows, seconds_s)
    store = out / "rows" / f"rates-{settings.seeds[0]}.jsonl"
    yield rate_table(kept(store, rates(out, heads, model, held_out, levels, advance)))
    trunks = partial(trunk_rows, model=settings.model)
    if settings.trunk_steps:
        yield trunk_table(
            _of_trunks(trunks, "trunks", settings.trunk_steps, settings, on_step),
            settings.trunk_steps,
        )
    if settings.first_steps:
        yield first_table(
            _of_trunks(first_rows, "first", settings.first_steps, settings, on_step),
            settings.first_steps,
        )


def _of_trunks(
    measured: Callable[..., list[T]],
    name: str,
    steps: int,
    settings: AblationSettings,
    on_step: OnStep | None,
) -> list[T]:
    """The rows of one comparison of `eval.trunks`, for all seeds."""
    out = settings.out
    clips = TrustedClips(settings.corpus, out / "cache")
    common = {"device": settings.device, "steps": steps, "on_step": on_step}
    return [
        row
        for seed in settings.seeds
        for row in measured(clips, out / f"{name}-{steps}", seed=seed, **common)
    ]


def _same_run(
    out: Path,
    model: Loaded,
    clips: Sequence[Clip],
    settings: AblationSettings,
    levels: tuple[int, ...],
) -> None:
    """Raise UsageError unless the folder belongs to these weights, this recipe and this corpus."""
    listed = json.dumps(sorted(clip.id for clip in clips)).encode("ascii")
    corpus = hashlib.sha256(listed).hexdigest()
    looked = {"levels": list(levels), "steady": True}
    facts = {
        "sha256": model.sha256,
        "steps": settings.steps,
        "go_on": settings.go_on,
        "clips_sha256": corpus,
        **looked,
    }
    store = out / "of.json"
    # Folders of earlier versions do not name their corpus.
    recorded = (
        {"clips_sha256": corpus} | json.loads(store.read_text()) if store.is_file() else facts
    )
    if recorded["clips_sha256"] != corpus:
        raise UsageError(f"{out} holds an ablation on another corpus; give a new one", "out")
    if recorded != facts:
        raise UsageError(
            f"{out} holds an ablation of other weights or another recipe; give a new one", "out"
        )
    write_json(store, facts)


def _reported(
    rows: Iterator[Row], advance: OnStep, stage: str, number: int, total: int
) -> Iterator[Row]:
    yield from rows
    advance(stage, number + 1, total)


def _features(
    out: Path,
    model: Loaded,
    clips: Sequence[Clip],
    levels: tuple[int, ...],
    advance: OnStep,
) -> list[Feature]:
    """Trunk features of the training clips with a known offset or without speech; kept in `out`."""
    store = out / "features.pt"
    if not store.is_file():
        wanted = [
            clip
            for clip in clips
            if clip.split == "train" and (clip.kind == "generic" or usable(clip))
        ]
        cached = [
            item
            for clip in wanted
            if (item := cache_clip(clip, out / "cache", with_faces=False)) is not None
        ]
        if not cached:
            raise UsageError("no clip of the training groups is known well enough to learn from")
        features = extract(
            model,
            cached,
            seed=1,
            levels=levels,
            on_clip=lambda done, total: advance("features", done, total),
        )
        save_state(store, [vars(item) for item in features])
    return [Feature(**item) for item in torch.load(store, weights_only=True)]


def _reread(model: Loaded, variant: Variant, store: Path) -> Head:
    """A head that was trained before, for use."""
    config = replace(model.net.config, attention=variant.head.kind, fusion=variant.head.fusion)
    head = make_head(config).to(model.device)
    head.load_state_dict(torch.load(store, map_location=model.device, weights_only=True))
    return head.eval()


def _learnt(
    model: Loaded,
    variant: Variant,
    features: Sequence[Feature],
    settings: AblationSettings,
    seed: int,
    advance: OnStep,
) -> Head:
    start: Mapping[str, Tensor] | None = None
    head = replace(variant.head, steps=settings.steps, seed=seed)
    if settings.go_on:
        kind = head.kind if head.kind in ATTENTION_KINDS else "spatio-temporal"
        start = load(settings.model, device=settings.device, attention=kind).net.head.state_dict()
        head = replace(head, rate=head.rate / 2)
    return learn_head(
        model.net,
        features,
        head,
        device=model.device,
        start=start,
        on_step=lambda done, total, _: advance(f"{variant.slug}-{seed}", done, total),
    )


def _prepared(
    out: Path,
    model: Loaded,
    clips: Sequence[Clip],
    levels: tuple[int, ...],
    advance: OnStep,
) -> list[Clip]:
    """Look at and listen to every validation clip once; return the clips that can be used. Raises
    UsageError if there is none.
    """
    ready = []
    for number, clip in enumerate(sorted(clips, key=lambda clip: (clip.kind, clip.id))):
        pictures, heard = out / "val" / f"{clip.id}.pt", out / "trials" / f"{clip.id}.pt"
        if not (pictures.is_file() and heard.is_file()):
            cached = cache_clip(clip, out / "cache", with_faces=False)
            if cached is None:
                continue
            footage = _footage(cached, pictures, model, levels)
            save_state(heard, [vars(trial) for trial in trials(footage, model)])
        ready.append(clip)
        advance("validation clips", number + 1, len(clips))
    if not ready:
        raise UsageError("no clip of the validation groups decodes, so nothing can be measured")
    return ready


def _footage(cached: CachedClip, store: Path, model: Loaded, levels: tuple[int, ...]) -> Footage:
    frames = np.array(cached.frames[: round(LONGEST_S * FRAME_RATE)])
    samples = cached.samples[: round(LONGEST_S * SAMPLE_RATE)].astype(np.float32) / 32768.0
    if not store.is_file():
        footage = observe(cached.clip, frames, samples, model, levels)
        parts = {
            "picture": footage.view.picture[0].half(),
            "grid": [tuple(place) for place in footage.view.grid],  # plain, as weights_only wants
            "blank": footage.blank.picture[0].half(),
        }
        save_state(store, parts)
    return _reopened(cached.clip, store, samples)


def _reopened(clip: Clip, store: Path, samples: NDArray[np.float32]) -> Footage:
    """A clip that was looked at before, reopened without its pictures."""
    kept = torch.load(store, weights_only=True)
    picture, blank = kept["picture"][None].float(), kept["blank"][None].float()
    grid = tuple(Place(*place) for place in kept["grid"])
    count = picture.shape[1]
    nothing = np.zeros(count, np.float32)
    return Footage(
        clip=clip,
        frames=np.zeros((count, 0, 0), np.uint8),
        samples=samples,
        view=Look(0.0, picture, grid, np.ones(count, np.bool_)),
        blank=Look(0.0, blank, grid, np.ones(1, np.bool_)),
        change=nothing,
        detail=nothing,
    )


def _opened(out: Path, clip: Clip) -> tuple[Footage, list[HeadTrial]]:
    kept = torch.load(out / "trials" / f"{clip.id}.pt", weights_only=True)
    return _reopened(clip, out / "val" / f"{clip.id}.pt", np.zeros(0, np.float32)), [
        HeadTrial(**item) for item in kept
    ]


def heading(model: Loaded, settings: AblationSettings, clips: Sequence[Clip]) -> str:
    """What was trained, and what it was measured on."""
    began = "going on from the heads of the weights" if settings.go_on else "from scratch"
    speech = [clip for clip in clips if clip.kind == "speech"]
    seeds = ", ".join(map(str, settings.seeds))
    return (
        f"Trunks of weights {model.sha256[:16]}; every head {settings.steps} steps {began}, seeds "
        f"{seeds}.\n"
        f"Validation: {len(speech)} clips of speech, {len(clips) - len(speech)} others. "
        "In brackets: 95 % interval, bootstrap over groups; several seeds are pooled.\n"
    )
