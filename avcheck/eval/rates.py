"""Clips and scenes played at other frame rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avcheck.eval.protocol import OnStep, generator
from avcheck.eval.rows import Row
from avcheck.eval.stats import win_score
from avcheck.eval.trials import head_logits
from avcheck.network.heads import TransformerHead
from avcheck.network.make_head import Head
from avcheck.network.model import best_places
from avcheck.network.weights import Loaded
from avcheck.rates import FRAME_RATE
from avcheck.reading.blocks import BLOCK_FRAMES
from avcheck.reading.mel import log_mel
from avcheck.reading.segments import MAX_SHIFT
from avcheck.scan.looking import look
from avcheck.scan.shifts import SHIFTS, listen, weighed
from avcheck.scenes.generate import make_scene
from avcheck.train.corpus import CACHE_SIDE, CachedClip, Clip, cache_clip
from avcheck.train.run import scene_clip
from avcheck.train.sampling import EDGE_FRAMES, masked_mel, read_sound
from avcheck.verdict.posterior import Calibration, estimate, posterior

RATES = (24.0, 25.0, 30_000 / 1001, 50.0, 60.0)  # pictures a second
FAST = 40.0  # above this many pictures a second the trunk sees every second one
PACED = (24.0, 30_000 / 1001)  # rates near enough to 25 for recorded clips to play at
RATE_S = 8.0  # of picture, in the trials of rates
RATE_SCENES = 6
_SCENE_SEED = 900_000  # the first of the seeds that no scene of the training stages has


@dataclass(frozen=True)
class Paced:
    """Pictures at their own rate, and their sound."""

    source: str  # "clips" or "scenes"
    clip: str  # id of the clip or scene
    group: str  # as in `Clip`
    rate: float  # pictures a second
    late: int  # how late the sound was made, 25ths of a second
    frames: NDArray[np.uint8]  # (n, H, W), picture k at k / rate s
    sound: Tensor  # (1, L, D), 1/25 s apart, from MAX_SHIFT / 25 s before the first picture
    heard: NDArray[np.bool_]  # (L,), whether each is real sound


def paced_clip(cached: CachedClip, rate: float, late: int, model: Loaded) -> Paced | None:
    """A recorded clip of 25 fps played at `rate`, sound included, so that no picture is repeated or
    dropped. None if the clip is too short.
    """
    pace = rate / FRAME_RATE
    count = round(RATE_S * rate)
    first = (len(cached.frames) - count) // 2
    if first < EDGE_FRAMES:
        return None
    length = round(RATE_S * FRAME_RATE) + 2 * MAX_SHIFT
    start = first + (cached.clip.offset_frames or 0.0) - (MAX_SHIFT + late) * pace
    samples, heard = read_sound(cached, start, length, pace)
    mel = masked_mel(samples, heard)
    frames = np.array(cached.frames[first : first + count])
    return Paced(
        "clips",
        cached.clip.id,
        cached.clip.group,
        rate,
        late,
        frames,
        listen(mel, model).float().cpu(),
        heard,
    )


def paced_scene(seed: int, rate: float, late: int, model: Loaded) -> Paced:
    """A generated talking face at `rate` pictures a second."""
    margin_s = MAX_SHIFT / FRAME_RATE + 1.5
    scene = make_scene(
        "talking",
        seed=seed,
        seconds=RATE_S,
        size=(CACHE_SIDE, CACHE_SIDE * 5 // 4),
        frame_rate=rate,
        sound_margin_s=margin_s,
    )
    clip = scene_clip(seed, "val")
    samples = (scene.samples * 32767).astype(np.int16)
    cached = CachedClip(clip, scene.frames, samples, np.zeros((0, 4), np.float32))
    length = round(RATE_S * FRAME_RATE) + 2 * MAX_SHIFT
    start = (scene.start_s - scene.sound_start_s) * FRAME_RATE - MAX_SHIFT - late
    sound, heard = read_sound(cached, start, length)
    return Paced(
        "scenes",
        clip.id,
        clip.group,
        rate,
        late,
        scene.frames,
        listen(log_mel(sound), model).float().cpu(),
        heard,
    )


@torch.inference_mode()
def rate_rows(
    item: Paced, heads: Mapping[str, Head], model: Loaded, levels: tuple[int, ...]
) -> Iterator[Row]:
    """The rows of one trial: each head on pictures converted to 25 fps by the nearest one, as in a
    check; and, if its tokens have times of their own, on the pictures at their own rate (every
    second one above `FAST`).
    """
    step = 2 if item.rate > FAST else 1
    native = item.frames[::step]
    native_s = np.arange(len(native)) * step / item.rate
    grid_s = np.arange(round(RATE_S * FRAME_RATE)) / FRAME_RATE
    nearest = np.rint(grid_s * item.rate).astype(int).clip(0, len(item.frames) - 1)
    for fed, frames, times_s in (
        ("25 fps", item.frames[nearest], grid_s),
        ("native", native, native_s),
    ):
        spare = -len(frames) % BLOCK_FRAMES
        features = (
            look(frames, np.ones(len(frames), np.bool_), 0.0, model, levels).picture.float().cpu()
        )
        features = torch.cat([features, features[:, -1:].expand(-1, spare, -1, -1)], dim=1)
        gap_s = times_s[1] - times_s[0]
        times_s = np.concatenate([times_s, times_s[-1] + gap_s * np.arange(1, spare + 1)])
        shown = np.arange(len(times_s)) < len(frames)
        read = (
            np.rint((times_s + SHIFTS[:, None] / FRAME_RATE) * FRAME_RATE).astype(int) + MAX_SHIFT
        )
        inside = read < len(item.heard)
        present = shown & inside & item.heard[read.clip(0, len(item.heard) - 1)]
        on_grid = features[:, np.rint(grid_s / gap_s).astype(int).clip(0, len(frames) - 1)]
        for name, head in heads.items():
            keep = head.config.keep_places
            if keep is None or (fed == "native" and not isinstance(head, TransformerHead)):
                continue
            picture = features[:, :, best_places(on_grid, item.sound, keep)[0]]
            times = {}
            if fed == "native":
                sound_s = (torch.arange(item.sound.shape[1]) - MAX_SHIFT) / FRAME_RATE
                times = {
                    "picture_s": torch.from_numpy(times_s).float().to(model.device),
                    "sound_s": sound_s.to(model.device),
                }
            values = weighed(
                head_logits(head, picture, item.sound, SHIFTS, present, model, **times), present
            )
            frames_late = estimate(
                posterior(values, Calibration())[0], SHIFTS, Calibration()
            ).frames
            at = MAX_SHIFT + item.late
            yield {
                "variant": name,
                "fed": fed,
                "source": item.source,
                "clip": item.clip,
                "group": item.group,
                "rate": round(item.rate, 2),
                "error_frames": frames_late - item.late,
                "won_80_ms": float(
                    np.mean([win_score(values[at], values[at + k]) for k in (-2, 2)])
                ),
            }


def rates(
    out: Path,
    heads: Mapping[str, Head],
    model: Loaded,
    clips: Sequence[Clip],
    levels: tuple[int, ...],
    advance: OnStep,
) -> Iterator[Row]:
    """The rows of every trusted clip of speech and of some generated scenes.

    Args:
        out: Folder of the ablation, with the decoded clips.
        heads: By the names of their variants.
        model: The weights whose trunks are used.
        clips: Of the validation groups.
        levels: Short sides at which pictures are looked at, px.
        advance: Reports the progress.
    """
    known = [clip for clip in clips if clip.kind == "speech" and clip.trusted]
    total = len(known) + RATE_SCENES
    for number, clip in enumerate(known):
        cached = cache_clip(clip, out / "cache", with_faces=False)
        if cached is None:
            continue
        for rate in PACED:
            late = int(generator(clip, f"rate {rate:.2f}").integers(-FRAME_RATE, FRAME_RATE + 1))
            item = paced_clip(cached, rate, late, model)
            if item is not None:
                yield from rate_rows(item, heads, model, levels)
        advance("rates", number + 1, total)
    for number in range(RATE_SCENES):
        late = int(np.random.default_rng(number).integers(-FRAME_RATE, FRAME_RATE + 1))
        for rate in RATES:
            yield from rate_rows(
                paced_scene(_SCENE_SEED + number, rate, late, model), heads, model, levels
            )
        advance("rates", len(known) + number + 1, total)
