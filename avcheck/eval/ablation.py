"""`avcheck ablate`: what each part of the head is worth. Heads of every kind, trained by one recipe on the weights' own trunks,
measured on the validation groups by their own scores alone (no second opinion of the trunks, no calibration).

The trunks run once over every clip, and once over every moved sound; what they gave is kept in the folder `out`, and so are
every head and its rows, so a run goes on where it was stopped. `late_*` is how much the sound was made late.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avcheck.blocks import BLOCK_FRAMES, FRAME_RATE, MEL_RATE, SAMPLE_RATE, log_mel, without_gaps
from avcheck.errors import UsageError
from avcheck.eval.measures import bootstrap, leave_one_group_out, share, table
from avcheck.eval.rows import Row, kept
from avcheck.eval.run import LONGEST_S, OFFSET_LATE_S, PAIR_MISSING_S, PAPER_FRAMES, chance, displacement, missing_s
from avcheck.eval.trunks import first_rows, first_table, trunk_rows, trunk_table
from avcheck.eval.windows import Footage, Shot, hear, observe
from avcheck.model import ATTENTION_KINDS, AttentionKind, FusionKind, Head, TransformerHead, best_places, fuse, make_head
from avcheck.results import FRAME_MS
from avcheck.scan import KEEP_PLACES, LEVELS, MAX_SHIFT, SHIFTS, Look, logit, look, sound_with_margin, weighed
from avcheck.scenes import make_scene
from avcheck.train.clean import usable
from avcheck.train.corpus import CACHE_SIDE, CachedClip, Clip, cache_clip, find_clips
from avcheck.train.heads import Feature, extract, learn_head
from avcheck.train.sampling import EDGE_FRAMES, read_sound
from avcheck.verdict import Calibration, estimate, posterior
from avcheck.weights import Loaded, load

T = TypeVar("T")

PAIR_MS = (40, 80, 200, 500)
OFFSET_FRAMES = (105, 250)  # 4.2 and 10 s
RATES = (24.0, 25.0, 30_000 / 1001, 50.0, 60.0)  # pictures a second
FAST = 40.0  # above this many pictures a second the trunk sees every second one
PACED = (24.0, 30_000 / 1001)  # rates near enough to 25 for a recorded clip to be played at
RATE_S = 8.0  # of picture, in the trials of rates
RATE_SCENES = 6
_SCENE_SEED = 900_000  # no scene of the training stages has it or one after it
_EPSILON = 1e-6


@dataclass(frozen=True)
class Variant:
    """A head to train: its kind, and what its loss weighs (`learn_head`)."""

    name: str
    kind: AttentionKind
    fusion: FusionKind = "cross"
    refuse: float = 0.5
    matching: float = 0.0

    @property
    def slug(self) -> str:
        """The name as a file's."""
        return "-".join(re.findall(r"\w+", self.name))


VARIANTS = (
    Variant("uniform", "uniform"),
    Variant("temporal", "temporal"),
    Variant("spatio-temporal", "spatio-temporal"),
    Variant("uniform, refuses no stranger", "uniform", refuse=0.0),
    Variant("temporal, refuses no stranger", "temporal", refuse=0.0),
    Variant("spatio-temporal + CTM", "spatio-temporal", matching=0.2),
    Variant("transformer, self-attention only", "transformer", "self"),
    Variant("transformer, cross-modal", "transformer", "cross"),
    Variant("transformer, cross-modal + CTM", "transformer", "cross", matching=0.2),
)


@dataclass(frozen=True)
class AblationSettings:
    """What `avcheck ablate` is asked to do.

    `steps` optimiser steps a head and seed; with `go_on` heads begin as those of the weights do (the paper's kinds as
    themselves, a transformer's joint layers as the spatio-temporal head), and learn at half the pace. With `trunk_steps` the
    visual trunk with and without alignment is compared too, with `first_steps` trunks from scratch with and without generated
    scenes (`eval.trunks`).
    """

    corpus: Path
    out: Path
    model: Path | None = None
    device: str = "auto"
    steps: int = 1500
    seeds: tuple[int, ...] = (1,)
    go_on: bool = False
    trunk_steps: int = 0
    first_steps: int = 0


def ablate(
    settings: AblationSettings,
    *,
    variants: Sequence[Variant] = VARIANTS,
    levels: tuple[int, ...] = LEVELS,
    on_step: Callable[[str, int, int], None] | None = None,
) -> Iterator[str]:
    """Train and measure every variant; yields the tables. `on_step(stage, done, total)` is called as it goes.

    Raises UsageError for an unusable corpus or folder, ModelError or UsageError as `weights.load` does.
    """
    tell = on_step or (lambda stage, done, total: None)
    out = settings.out
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is not a directory; give a new --out")
    for name in ("cache", "val", "trials", "heads", "rows"):
        (out / name).mkdir(parents=True, exist_ok=True)
    model = load(settings.model, device=settings.device)
    fuse(model.net)
    clips = find_clips(settings.corpus)
    _same_run(out, model, clips, settings, levels)
    held_out = _prepared(out, model, [clip for clip in clips if clip.split == "val"], levels, tell)
    features: list[Feature] = []
    rows: list[Row] = []
    heads: dict[str, Head] = {}
    seconds_s: dict[str, float] = {}
    for seed in settings.seeds:
        for variant in variants:
            name = f"{variant.slug}-{seed}"
            store = out / "heads" / f"{name}.pt"
            head = make_head(replace(model.net.config, attention=variant.kind, fusion=variant.fusion)).to(model.device)
            if store.is_file():
                head.load_state_dict(torch.load(store, map_location=model.device, weights_only=True))
            else:
                features = features or _features(out, model, clips, levels, tell)
                head = _learnt(model, variant, features, settings, seed, tell)
                _store(head.state_dict(), store)
            head.eval()
            if seed == settings.seeds[0]:
                heads[variant.name] = head
                seconds_s[variant.name] = head_seconds(head, model)
            rows += kept(
                out / "rows" / f"{name}.jsonl",
                (
                    {"variant": variant.name, "seed": seed, **row}
                    for number, clip in enumerate(held_out)
                    for row in _told(measure(*_opened(out, clip), head, model), tell, name, number, len(held_out))
                ),
            )
    yield heading(model, settings, held_out)
    yield head_table(rows, seconds_s)
    store = out / "rows" / f"rates-{settings.seeds[0]}.jsonl"
    yield rate_table(kept(store, _rates(out, heads, model, held_out, levels, tell)))
    trunks = partial(trunk_rows, model=settings.model)
    if settings.trunk_steps:
        yield trunk_table(_of_trunks(trunks, "trunks", settings.trunk_steps, settings, on_step), settings.trunk_steps)
    if settings.first_steps:
        yield first_table(_of_trunks(first_rows, "first", settings.first_steps, settings, on_step), settings.first_steps)


def _of_trunks(
    measured: Callable[..., list[T]],
    name: str,
    steps: int,
    settings: AblationSettings,
    on_step: Callable[[str, int, int], None] | None,
) -> list[T]:
    """The rows of one of the comparisons of `eval.trunks`, of all seeds."""
    out = settings.out
    common = {"cache": out / "cache", "device": settings.device, "steps": steps, "on_step": on_step}
    return [row for seed in settings.seeds for row in measured(settings.corpus, out / f"{name}-{steps}", seed=seed, **common)]


def _same_run(out: Path, model: Loaded, clips: Sequence[Clip], settings: AblationSettings, levels: tuple[int, ...]) -> None:
    """What is in the folder must be of these weights, this recipe and this corpus. Raises UsageError."""
    listed = json.dumps(sorted(clip.id for clip in clips)).encode("ascii")
    corpus = hashlib.sha256(listed).hexdigest()
    looked = {"levels": list(levels), "steady": True}
    facts = {"sha256": model.sha256, "steps": settings.steps, "go_on": settings.go_on, "clips_sha256": corpus, **looked}
    store = out / "of.json"
    # A folder of an earlier version does not say its corpus.
    found = {"clips_sha256": corpus} | json.loads(store.read_text()) if store.is_file() else facts
    if found["clips_sha256"] != corpus:
        raise UsageError(f"{out} holds an ablation on another corpus; give a new --out")
    if found != facts:
        raise UsageError(f"{out} holds an ablation of other weights or another recipe; give a new --out")
    store.write_text(json.dumps(facts))


def _store(what: object, path: Path) -> None:
    partial = path.with_suffix(".partial")
    torch.save(what, partial)
    partial.replace(path)


def _told(rows: Iterator[Row], tell: Callable[[str, int, int], None], stage: str, number: int, total: int) -> Iterator[Row]:
    yield from rows
    tell(stage, number + 1, total)


# ------------------------------------------------------------------------------------------------------------- preparing


def _features(
    out: Path, model: Loaded, clips: Sequence[Clip], levels: tuple[int, ...], tell: Callable[[str, int, int], None]
) -> list[Feature]:
    """Trunk features of the training clips whose own offset is known, or which have no speech; kept in `out`."""
    store = out / "features.pt"
    if not store.is_file():
        wanted = [clip for clip in clips if clip.split == "train" and (clip.kind == "generic" or usable(clip))]
        cached = [item for clip in wanted if (item := cache_clip(clip, out / "cache", with_faces=False)) is not None]
        if not cached:
            raise UsageError("no clip of the training groups is known well enough to learn from")
        found = extract(model, cached, seed=1, levels=levels, on_clip=lambda done, total: tell("features", done, total))
        _store([vars(item) for item in found], store)
    return [Feature(**item) for item in torch.load(store, weights_only=True)]


def _learnt(
    model: Loaded,
    variant: Variant,
    features: Sequence[Feature],
    settings: AblationSettings,
    seed: int,
    tell: Callable[[str, int, int], None],
) -> Head:
    start: Mapping[str, Tensor] | None = None
    if settings.go_on:
        kind = variant.kind if variant.kind in ATTENTION_KINDS else "spatio-temporal"
        start = load(settings.model, device=settings.device, attention=kind).net.head.state_dict()
    return learn_head(
        model.net,
        variant.kind,
        features,
        steps=settings.steps,
        rate=5e-4 if settings.go_on else 1e-3,
        fusion=variant.fusion,
        refuse=variant.refuse,
        matching=variant.matching,
        start=start,
        seed=seed,
        device=model.device,
        on_step=lambda done, total, _: tell(f"{variant.slug}-{seed}", done, total),
    )


def _prepared(
    out: Path, model: Loaded, clips: Sequence[Clip], levels: tuple[int, ...], tell: Callable[[str, int, int], None]
) -> list[Clip]:
    """Look at and listen to every validation clip once; the clips that can be used."""
    usable = []
    for number, clip in enumerate(sorted(clips, key=lambda clip: (clip.kind, clip.id))):
        seen, heard = out / "val" / f"{clip.id}.pt", out / "trials" / f"{clip.id}.pt"
        if not (seen.is_file() and heard.is_file()):
            cached = cache_clip(clip, out / "cache", with_faces=False)
            if cached is None:
                continue
            footage = _footage(cached, seen, model, levels)
            _store([vars(trial) for trial in trials(footage, model)], heard)
        usable.append(clip)
        tell("validation clips", number + 1, len(clips))
    return usable


def _footage(cached: CachedClip, store: Path, model: Loaded, levels: tuple[int, ...]) -> Footage:
    frames = np.array(cached.frames[: round(LONGEST_S * FRAME_RATE)])
    samples = cached.samples[: round(LONGEST_S * SAMPLE_RATE)].astype(np.float32) / 32768.0
    if not store.is_file():
        footage = observe(cached.clip, frames, samples, model, levels)
        seen = {"picture": footage.seen.picture[0].half(), "grid": footage.seen.grid, "blank": footage.blank.picture[0].half()}
        _store(seen, store)
    return _reopened(cached.clip, store, samples)


def _reopened(clip: Clip, store: Path, samples: NDArray[np.float32]) -> Footage:
    """A clip that was looked at before, without its pictures."""
    kept = torch.load(store, weights_only=True)
    picture, blank = kept["picture"][None].float(), kept["blank"][None].float()
    count = picture.shape[1]
    nothing = np.zeros(count, np.float32)
    return Footage(
        clip=clip,
        frames=np.zeros((count, 0, 0), np.uint8),
        samples=samples,
        seen=Look(0.0, picture, kept["grid"], np.ones(count, np.bool_)),
        blank=Look(0.0, blank, kept["grid"], np.ones(1, np.bool_)),
        change=nothing,
        detail=nothing,
    )


@dataclass(frozen=True)
class Trial:
    """A window of a clip with its sound moved, heard by the sound trunk.

    measure: "paper", "pairwise" or "offset"; first, count: its pictures; late_frames: how late the sound was made; sound:
    float16 (T + 2 MAX_SHIFT, D), T = `count` in whole blocks; heard: bool (T + 2 MAX_SHIFT,); keep: the places that go best
    with it, (K,).
    """

    measure: str
    first: int
    count: int
    late_frames: float
    sound: Tensor
    heard: Tensor
    keep: Tensor


def trials(footage: Footage, model: Loaded) -> Iterator[Trial]:
    """The trials of a clip; those of the paper's protocol and of the offset are the ones that `avcheck eval` makes.

    Displaced copies and offsets are of clips whose own offset is known: elsewhere they measure the recording.
    """
    clip = footage.clip
    rng = chance(clip, "paper")
    have_s = len(footage.samples) / SAMPLE_RATE
    seconds = PAPER_FRAMES / FRAME_RATE
    known = clip.kind == "speech" and clip.trusted
    for first in range(0, len(footage.frames) - PAPER_FRAMES + 1, PAPER_FRAMES):
        shot = footage.shot(first, PAPER_FRAMES)
        aligned_s = (first + footage.own_frames) / FRAME_RATE
        late_s = displacement(aligned_s, seconds, have_s, rng)
        moves = [("paper", 0.0)] if late_s is None else [("paper", 0.0), ("paper", late_s)]
        for late_ms in (sign * size for size in PAIR_MS for sign in (-1, 1)):
            if known and missing_s(footage, aligned_s - late_ms / 1000, seconds) <= PAIR_MISSING_S:
                moves.append(("pairwise", late_ms / 1000))
        for measure_, moved_s in moves:
            yield _trial(footage, shot, measure_, first, aligned_s - moved_s, moved_s, model)
    for count in OFFSET_FRAMES if known else ():
        rng = chance(clip, f"offset {count}")
        spare = len(footage.frames) % count
        for first in range(spare // 2, len(footage.frames) - count + 1, count):
            late_s = float(rng.uniform(-OFFSET_LATE_S, OFFSET_LATE_S))
            shot = footage.shot(first, count)
            yield _trial(footage, shot, "offset", first, first / FRAME_RATE - late_s, late_s, model)


@torch.inference_mode()
def _trial(footage: Footage, shot: Shot, measure_: str, first: int, start_s: float, late_s: float, model: Loaded) -> Trial:
    mel, heard = sound_with_margin([], hear(footage.samples, start_s, shot), [])
    sound = _listen(mel, model)
    return Trial(
        measure=measure_,
        first=first,
        count=shot.count,
        late_frames=late_s * FRAME_RATE,
        sound=sound[0].half(),
        heard=torch.from_numpy(heard),
        keep=best_places(shot.seen.picture, sound, KEEP_PLACES)[0],
    )


def _listen(mel: NDArray[np.float32], model: Loaded) -> Tensor:
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.half):
        return model.net.sound(torch.from_numpy(mel)[None].to(model.device)).float().cpu()  # type: ignore[no-any-return]


def _opened(out: Path, clip: Clip) -> tuple[Footage, list[Trial]]:
    kept = torch.load(out / "trials" / f"{clip.id}.pt", weights_only=True)
    return _reopened(clip, out / "val" / f"{clip.id}.pt", np.zeros(0, np.float32)), [Trial(**item) for item in kept]


# ------------------------------------------------------------------------------------------------------------- measuring


@torch.inference_mode()
def measure(footage: Footage, found: Sequence[Trial], head: Head, model: Loaded) -> Iterator[Row]:
    """The rows of a clip under one head."""
    keep = head.config.keep_places
    about = {
        "clip": footage.clip.id,
        "group": footage.clip.group,
        "kind": footage.clip.kind,
        "trusted": footage.clip.trusted and footage.clip.offset_frames is not None,
    }
    true: dict[int, float] = {}
    for trial in found:
        if trial.measure == "offset" and keep is None:
            continue  # the whole picture at every shift: ten times the work, for the heads that no check would use
        shot = footage.shot(trial.first, trial.count)
        picture, sound = shot.seen.picture, trial.sound[None].float()
        if keep is not None:
            picture = picture[:, :, trial.keep]
            if keep < len(trial.keep):
                picture = picture[:, :, best_places(picture, sound, keep)[0]]
        row = {"measure": trial.measure, **about, "first": trial.first, "late_frames": trial.late_frames}
        if trial.measure == "offset":
            values = scores(head, picture, sound, shot.seen.shown, trial.heard.numpy(), model)
            told = estimate(posterior(values, Calibration())[0], SHIFTS, Calibration()).frames
            error = told - trial.late_frames - footage.own_frames
            yield {**row, "seconds": trial.count / FRAME_RATE, "error_frames": error}
            continue
        present = shot.seen.shown & trial.heard.numpy()[MAX_SHIFT : MAX_SHIFT + len(shot.seen.shown)]
        value = _logits(head, picture, sound, np.zeros(1, np.int64), present[None], model)
        if trial.measure == "paper":
            if trial.late_frames == 0.0:
                true[trial.first] = float(value[0])
            yield {**row, "in_sync": trial.late_frames == 0.0, "logit": float(value[0])}
        else:
            yield {**row, "late_ms": round(trial.late_frames * FRAME_MS), "won": _won(true[trial.first], float(value[0]))}


def _won(true: float, other: float) -> float:
    return float(true > other) + 0.5 * (true == other)


def scores(
    head: Head,
    picture: Tensor,
    sound: Tensor,
    shown: NDArray[np.bool_],
    heard: NDArray[np.bool_],
    model: Loaded,
) -> NDArray[np.float32]:
    """The head's score of every shift, (S,), as `scan.Compared.weighed_score` has it."""
    times = len(shown)
    present = np.stack([shown & heard[MAX_SHIFT + shift : MAX_SHIFT + shift + times] for shift in SHIFTS])
    return weighed(_logits(head, picture, sound, SHIFTS, present, model), present)


def _logits(
    head: Head,
    picture: Tensor,
    sound: Tensor,
    shifts: NDArray[np.int64],
    present: NDArray[np.bool_],
    model: Loaded,
    **times: Tensor,
) -> NDArray[np.float32]:
    where = model.device
    with torch.autocast(where.type, dtype=torch.bfloat16, enabled=model.half):
        scored = head(
            picture.to(where),
            sound.to(where),
            torch.from_numpy(shifts),
            margin=MAX_SHIFT,
            present=torch.from_numpy(present)[None].to(where),
            **times,
        )
    return logit(scored.logits[0])


@torch.inference_mode()
def head_seconds(head: Head, model: Loaded, rounds: int = 3) -> float:
    """CPU seconds that the head alone takes for a minute of video at all shifts: 10 s of noise, the best of `rounds`."""
    rng = torch.Generator().manual_seed(1)
    times = 10 * BLOCK_FRAMES
    depth = model.net.config.embedding
    places = head.config.keep_places or 10 * KEEP_PLACES  # a wide picture at three sizes has about three hundred
    picture = torch.nn.functional.normalize(torch.randn(1, times, places, depth, generator=rng), dim=-1)
    sound = torch.nn.functional.normalize(torch.randn(1, times + 2 * MAX_SHIFT, depth, generator=rng), dim=-1)
    present = np.ones((len(SHIFTS), times), np.bool_)
    best = np.inf
    for _ in range(rounds):
        began = time.process_time()
        _logits(head, picture, sound, SHIFTS, present, model)
        best = min(best, time.process_time() - began)
    return 60.0 / 10.0 * float(best)


# ----------------------------------------------------------------------------------------------------------------- rates


@dataclass(frozen=True)
class Paced:
    """Pictures at a rate of their own, and their sound.

    frames: uint8 (n, H, W), picture k at k / rate s; sound: float32 (1, L, D), 1/25 s apart, the first MAX_SHIFT pictures
    of 25 fps before the first picture; heard: bool (L,).
    """

    source: str
    clip: str
    group: str
    rate: float
    late: int  # 25ths of a second
    frames: NDArray[np.uint8]
    sound: Tensor
    heard: NDArray[np.bool_]


def paced_clip(cached: CachedClip, rate: float, late: int, model: Loaded) -> Paced | None:
    """A recorded clip of 25 fps played at `rate`, sound and all: true pictures of that rate, nothing repeated or left out.

    None for a clip that is too short.
    """
    pace = rate / FRAME_RATE
    count = round(RATE_S * rate)
    first = (len(cached.frames) - count) // 2
    if first < EDGE_FRAMES:
        return None
    length = round(RATE_S * FRAME_RATE) + 2 * MAX_SHIFT
    start = first + (cached.clip.offset_frames or 0.0) - (MAX_SHIFT + late) * pace
    samples, heard = read_sound(cached, start, length, pace)
    mel = without_gaps(log_mel(samples), heard.repeat(MEL_RATE // FRAME_RATE))
    frames = np.array(cached.frames[first : first + count])
    return Paced("clips", cached.clip.id, cached.clip.group, rate, late, frames, _listen(mel, model), heard)


def paced_scene(seed: int, rate: float, late: int, model: Loaded, side: int = CACHE_SIDE) -> Paced:
    """A generated talking face at `rate` pictures a second."""
    margin_s = MAX_SHIFT / FRAME_RATE + 1.5
    scene = make_scene(
        "talking", seed=seed, seconds=RATE_S, size=(side, side * 5 // 4), frame_rate=rate, sound_margin_s=margin_s
    )
    clip = Clip(id=f"scene-{seed}", path=Path("scene"), group=f"scene-{seed}", kind="scene", split="val", offset_frames=0.0)
    samples = (scene.samples * 32767).astype(np.int16)
    cached = CachedClip(clip, scene.frames, samples, np.zeros((0, 4), np.float32))
    length = round(RATE_S * FRAME_RATE) + 2 * MAX_SHIFT
    start = (scene.start_s - scene.sound_start_s) * FRAME_RATE - MAX_SHIFT - late
    found, heard = read_sound(cached, start, length)
    return Paced("scenes", clip.id, clip.group, rate, late, scene.frames, _listen(log_mel(found), model), heard)


@torch.inference_mode()
def rate_rows(item: Paced, heads: Mapping[str, Head], model: Loaded, levels: tuple[int, ...]) -> Iterator[Row]:
    """Each head on the pictures brought to 25 fps by the nearest one, as a check does, and, where its tokens have times of
    their own, on the pictures as they are (every second one above `FAST`)."""
    step = 2 if item.rate > FAST else 1
    native = item.frames[::step]
    native_s = np.arange(len(native)) * step / item.rate
    grid_s = np.arange(round(RATE_S * FRAME_RATE)) / FRAME_RATE
    nearest = np.rint(grid_s * item.rate).astype(int).clip(0, len(item.frames) - 1)
    for fed, frames, times_s in (("25 fps", item.frames[nearest], grid_s), ("native", native, native_s)):
        spare = -len(frames) % BLOCK_FRAMES
        seen = look(frames, np.ones(len(frames), np.bool_), 0.0, model, levels).picture.float().cpu()
        seen = torch.cat([seen, seen[:, -1:].expand(-1, spare, -1, -1)], dim=1)
        gap_s = times_s[1] - times_s[0]
        times_s = np.concatenate([times_s, times_s[-1] + gap_s * np.arange(1, spare + 1)])
        shown = np.arange(len(times_s)) < len(frames)
        read = np.rint((times_s + SHIFTS[:, None] / FRAME_RATE) * FRAME_RATE).astype(int) + MAX_SHIFT
        inside = read < len(item.heard)
        present = shown & inside & item.heard[read.clip(0, len(item.heard) - 1)]
        on_grid = seen[:, np.rint(grid_s / gap_s).astype(int).clip(0, len(frames) - 1)]
        for name, head in heads.items():
            keep = head.config.keep_places
            if keep is None or (fed == "native" and not isinstance(head, TransformerHead)):
                continue
            picture = seen[:, :, best_places(on_grid, item.sound, keep)[0]]
            times = {}
            if fed == "native":
                sound_s = (torch.arange(item.sound.shape[1]) - MAX_SHIFT) / FRAME_RATE
                times = {"picture_s": torch.from_numpy(times_s).float().to(model.device), "sound_s": sound_s.to(model.device)}
            values = weighed(_logits(head, picture, item.sound, SHIFTS, present, model, **times), present)
            told = estimate(posterior(values, Calibration())[0], SHIFTS, Calibration()).frames
            at = MAX_SHIFT + item.late
            yield {
                "variant": name,
                "fed": fed,
                "source": item.source,
                "clip": item.clip,
                "group": item.group,
                "rate": round(item.rate, 2),
                "error_frames": told - item.late,
                "won_80_ms": float(np.mean([_won(values[at], values[at + k]) for k in (-2, 2)])),
            }


def _rates(
    out: Path,
    heads: Mapping[str, Head],
    model: Loaded,
    clips: Sequence[Clip],
    levels: tuple[int, ...],
    tell: Callable[[str, int, int], None],
) -> Iterator[Row]:
    known = [clip for clip in clips if clip.kind == "speech" and clip.trusted]
    total = len(known) + RATE_SCENES
    for number, clip in enumerate(known):
        cached = cache_clip(clip, out / "cache", with_faces=False)
        if cached is None:
            continue
        for rate in PACED:
            late = int(chance(clip, f"rate {rate:.2f}").integers(-FRAME_RATE, FRAME_RATE + 1))
            item = paced_clip(cached, rate, late, model)
            if item is not None:
                yield from rate_rows(item, heads, model, levels)
        tell("rates", number + 1, total)
    for number in range(RATE_SCENES):
        late = int(np.random.default_rng(number).integers(-FRAME_RATE, FRAME_RATE + 1))
        for rate in RATES:
            yield from rate_rows(paced_scene(_SCENE_SEED + number, rate, late, model), heads, model, levels)
        tell("rates", len(known) + number + 1, total)


# ---------------------------------------------------------------------------------------------------------------- tables


def heading(model: Loaded, settings: AblationSettings, clips: Sequence[Clip]) -> str:
    """What was trained and on what it was measured."""
    began = "going on from the heads of the weights" if settings.go_on else "from scratch"
    speech = [clip for clip in clips if clip.kind == "speech"]
    seeds = ", ".join(map(str, settings.seeds))
    return (
        f"Trunks of weights {model.sha256[:16]}; every head {settings.steps} steps {began}, seeds {seeds}.\n"
        f"Validation: {len(speech)} clips of speech, {len(clips) - len(speech)} others. "
        "In brackets: 95 % interval, bootstrap over groups; several seeds are pooled.\n"
    )


def head_table(rows: Sequence[Row], seconds_s: Mapping[str, float]) -> str:
    """One line a variant."""
    plain = seconds_s.get("spatio-temporal")
    lines = []
    for name in dict.fromkeys(row["variant"] for row in rows):
        mine = [row for row in rows if row["variant"] == name]
        paper = [row for row in mine if row["measure"] == "paper"]
        speech = [row for row in paper if row["kind"] == "speech"]
        trusted = [row for row in speech if row["trusted"]]
        cells: list[object] = [_accuracy(some) for some in (trusted, speech, [r for r in paper if r["kind"] == "generic"])]
        cells.insert(1, _best_accuracy(trusted))
        pairs = [row for row in mine if row["measure"] == "pairwise"]
        for size in PAIR_MS:
            some = [row for row in pairs if abs(row["late_ms"]) == size]
            cells.append(share([row["won"] for row in some], _groups(some)))
        for count in OFFSET_FRAMES:
            some = [row for row in mine if row["measure"] == "offset" and row["seconds"] == count / FRAME_RATE]
            cells.append(share([float(abs(row["error_frames"]) <= 1 + _EPSILON) for row in some], _groups(some)))
        cost = seconds_s.get(name)
        cells.append("-" if cost is None else f"{cost:.2f}" + ("" if not plain else f" ({cost / plain:.2f}x)"))
        lines.append((name, len({row["seed"] for row in mine}), *cells))
    header = (
        "head",
        "seeds",
        "speech, trusted",
        "the same, best threshold",
        "speech, all",
        "generic",
        *(f"pair {size} ms" for size in PAIR_MS),
        *(f"offset {count / FRAME_RATE:g} s" for count in OFFSET_FRAMES),
        "head, CPU s a minute",
    )
    note = (
        "Paper protocol: accuracy on windows of 4.2 s, as they are and displaced by 2 to 5.8 s, decided by the logit's sign. "
        "Pairs (true above displaced copy) and offset (within 1 frame, by the head's score alone): speech with a trusted own "
        "offset. Heads that look at the whole picture are not run at every shift."
    )
    return table("Heads", header, lines, note)


def _groups(rows: Sequence[Row]) -> list[str]:
    return [row["group"] for row in rows]


def _accuracy(rows: Sequence[Row]) -> object:
    """Share of decisions by sign that are right, windows that could not be displaced left out."""
    both = _paired(rows)
    return share([float((row["logit"] > 0) == row["in_sync"]) for row in both], _groups(both))


def _best_accuracy(rows: Sequence[Row]) -> object:
    hits: list[float] = []
    groups: list[str] = []
    for seed in dict.fromkeys(row["seed"] for row in rows):
        both = [row for row in _paired(rows) if row["seed"] == seed]
        found = leave_one_group_out([row["logit"] for row in both], [row["in_sync"] for row in both], _groups(both))
        hits += found
        groups += _groups(both) if found else []
    return share(hits, groups)


def _paired(rows: Sequence[Row]) -> list[Row]:
    moved = {(row["variant"], row["seed"], row["clip"], row["first"]) for row in rows if not row["in_sync"]}
    return [row for row in rows if (row["variant"], row["seed"], row["clip"], row["first"]) in moved]


def rate_table(rows: Sequence[Row]) -> str:
    """Pictures as they are against pictures brought to 25 fps."""
    lines = []
    keys = dict.fromkeys((row["source"], row["rate"], row["variant"], row["fed"]) for row in rows)
    for source, rate, name, fed in sorted(keys, key=lambda key: key[:2]):
        mine = [row for row in rows if (row["source"], row["rate"], row["variant"], row["fed"]) == (source, rate, name, fed)]
        errors, groups = np.array([abs(row["error_frames"]) for row in mine]), _groups(mine)
        near = [share((errors <= frames + _EPSILON).tolist(), groups) for frames in (0.5, 1)]
        middle = bootstrap(lambda chosen, errors=errors: FRAME_MS * float(np.median(errors[chosen])), groups)  # type: ignore[misc]
        won = share([row["won_80_ms"] for row in mine], groups)
        lines.append((source, f"{rate:g}", name, fed, len(mine), len(set(groups)), *near, middle.text(0), won))
    header = ("of", "fps", "head", "fed", "n", "groups", "within 20 ms", "within 40 ms", "median, ms", "pair 80 ms")
    note = (
        f"{RATE_S:g} s each, sound moved by up to 1 s. Clips: trusted speech of 25 fps played at the rate, sound and all. "
        "Scenes: generated talking faces. Native: every picture as it is (every second one of 50 and 60), at its own time."
    )
    return table("Frame rates", header, lines, note)
