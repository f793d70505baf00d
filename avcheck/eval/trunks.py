"""What following things from picture to picture is worth in the visual trunk (alignment-guided temporal attention, ATA).

Two trunks go on from the same weights over the same samples, one with `ModelConfig.alignment` and one without, and are
measured by their own match on validation clips, as they are and as if the camera had been held by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from avcheck.errors import UsageError
from avcheck.eval.measures import share, table
from avcheck.model import ModelConfig
from avcheck.scan import LEVELS
from avcheck.train.clean import usable
from avcheck.train.corpus import CachedClip, cache_clip, find_clips
from avcheck.train.learn import Learner, Source, Stage, run_stage
from avcheck.train.measure import windows
from avcheck.train.run import FRAME
from avcheck.train.sampling import Recipe
from avcheck.weights import choose_device, load

_RATE = 2e-4  # the trunks have learnt; this is for getting used to the change
_DRIFT_PX = 1.5  # a picture, at a short side of 176 px
_WINDOW_FRAMES = 105  # 4.2 s


@dataclass(frozen=True)
class TrunkRow:
    """One window of 4.2 s of a clip. error_frames: from the clip's own offset; won: above copies
    displaced by 200 ms, 0..1."""

    alignment: bool
    seed: int
    camera: str
    group: str
    error_frames: float
    won: float | None


def held_by_hand(cached: CachedClip, seed: int) -> CachedClip:
    """The clip as a camera in an unsteady hand would have seen it: whole pictures drift smoothly, borders mirrored."""
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
        moved[at] = cv2.warpAffine(frame, moving, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return replace(cached, frames=moved)


def trunk_rows(
    corpus: Path,
    out: Path,
    *,
    cache: Path,
    model: Path | None,
    device: str = "auto",
    steps: int,
    seed: int,
    on_step: Callable[[str, int, int], None] | None = None,
) -> list[TrunkRow]:
    """Train both trunks for `steps` and measure them; what is in `out` already is not done again. `cache`: of decoded clips.

    Raises UsageError for an unusable corpus, ModelError or UsageError as `weights.load` does.
    """
    tell = on_step or (lambda stage, done, total: None)
    out.mkdir(parents=True, exist_ok=True)
    where = choose_device(device)
    start = load(model, device="cpu").net
    cached: list[CachedClip] = []

    def clips(split: str) -> list[CachedClip]:
        if not cached:
            wanted = [clip for clip in find_clips(corpus) if clip.kind == "speech" and clip.trusted]
            cached.extend(item for clip in wanted if (item := cache_clip(clip, cache)) is not None)
        found = [item for item in cached if item.clip.split == split]
        if not found:
            raise UsageError(f"{corpus}: no clip of the {split} groups is known well enough for a comparison of trunks")
        return found

    rows: list[TrunkRow] = []
    for alignment in (False, True):
        name = f"trunk-{'aligned' if alignment else 'plain'}-{seed}"
        store = out / "rows" / f"{name}.jsonl"
        if not store.is_file():
            config: ModelConfig = replace(start.config, alignment=alignment)
            learner = Learner.fresh(config, seed, start)
            known = [item for item in clips("train") if usable(item.clip)]
            run_stage(
                learner,
                Stage(name, [Source(known, 1.0, FRAME)], steps, rate=_RATE, harden=(0.5, 0.5)),
                folder=out,
                device=where,
                seed=seed,
                voices=known,
                on_step=lambda done, total, _, name=name: tell(name, done, total),  # type: ignore[misc]
            )
            found = _measured(learner, clips("val"), alignment, seed, lambda done, total, name=name: tell(name, done, total))  # type: ignore[misc]
            store.parent.mkdir(parents=True, exist_ok=True)
            partial = store.with_suffix(".partial")
            partial.write_text("".join(json.dumps(vars(row)) + "\n" for row in found))
            partial.replace(store)
        rows += [TrunkRow(**json.loads(line)) for line in store.read_text().splitlines()]
    return rows


@torch.inference_mode()
def _measured(
    learner: Learner, clips: Sequence[CachedClip], alignment: bool, seed: int, on_clip: Callable[[int, int], None]
) -> list[TrunkRow]:
    net = learner.mean_net.eval()
    view = Recipe("frame", (LEVELS[-1], LEVELS[-1]))
    rows = []
    for number, item in enumerate(clips):
        for camera, shown in (("as it is", item), ("held by hand", held_by_hand(item, number))):
            for error, won in windows(net, shown, view, _WINDOW_FRAMES):
                rows.append(TrunkRow(alignment, seed, camera, item.clip.group, error, won))
        on_clip(number + 1, len(clips))
    return rows


def trunk_table(rows: Sequence[TrunkRow], steps: int) -> str:
    """Plain and aligned trunks side by side."""
    lines = []
    for camera in dict.fromkeys(row.camera for row in rows):
        for alignment in (False, True):
            mine = [row for row in rows if row.camera == camera and row.alignment == alignment]
            groups = [row.group for row in mine]
            near = [share([float(row.error_frames <= frames) for row in mine], groups) for frames in (1, 3)]
            told = [row for row in mine if row.won is not None]
            won = share([row.won for row in told if row.won is not None], [row.group for row in told])
            seeds = len({row.seed for row in mine})
            lines.append((camera, "aligned" if alignment else "plain", seeds, len(mine), len(set(groups)), *near, won))
    header = ("camera", "trunk", "seeds", "windows", "groups", "within 1 frame", "within 3 frames", "pair 200 ms")
    note = (
        f"Both trunks went on from the same weights for {steps} steps over the same samples. Windows of 4.2 s of speech with a "
        "trusted own offset, whole pictures, the trunks' match alone, 1 s searched either way, sound beyond the window there."
    )
    return table("Alignment of neighbouring pictures (ATA) in the visual trunk", header, lines, note)
