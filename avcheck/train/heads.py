"""The last stage: joint layers, attention and decision on top of frozen trunks, as the paper does (section 3.4.5).

The trunks run once over every clip; the heads then learn on the features alone, which takes minutes. Each window is seen at its
true shift, at near and far wrong ones (the paper's negatives), and with the sound of another clip.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avcheck.blocks import BLOCK_FRAMES, FRAME_RATE, MEL_RATE, log_mel, without_gaps
from avcheck.model import ATTENTION_KINDS, AttentionKind, JointHead, SyncNet, best_places
from avcheck.scan import KEEP_PLACES, LEVELS, MAX_SHIFT, look
from avcheck.train.corpus import CachedClip
from avcheck.train.losses import shift_loss
from avcheck.train.sampling import EDGE_FRAMES, read_sound
from avcheck.weights import Loaded

_PIECE_FRAMES = 10 * BLOCK_FRAMES
_STORED_PLACES = KEEP_PLACES * 3 // 2  # a short window ranks places a little differently from the whole piece
_NEAR = (-5, -3, -2, -1, 1, 2, 3, 5)
_FAR = [shift for shift in range(-MAX_SHIFT, MAX_SHIFT + 1) if abs(shift) > 5]
_BLOCKS, _BLOCKS_CHANCE = (2, 3, 4, 5, 6, 8, 10), (0.12, 0.16, 0.22, 0.2, 0.14, 0.08, 0.08)
_CLOSED = 0.7  # how often a window has no sound beyond its own time, as a short file has none
_BACKGROUND = 0.3  # how often another clip's sound is heard below the own one
_MELS_A_FRAME = MEL_RATE // FRAME_RATE


@dataclass(frozen=True)
class Feature:
    """One piece of a clip, its own offset taken out: picture and sound match at shift 0.

    best: float16 (T, K, D), picture features at the places that go best with the sound; any: float16 (T, K', D), at places
    taken at random; mel: float16 (4 (T + 2 MAX_SHIFT), 64), from MAX_SHIFT pictures before the first; heard: bool
    (T + 2 MAX_SHIFT,), where that is real sound.
    """

    group: str
    kind: str
    best: Tensor
    any: Tensor
    mel: NDArray[np.float16]
    heard: NDArray[np.bool_]


@torch.inference_mode()
def extract(
    model: Loaded,
    clips: Sequence[CachedClip],
    *,
    seed: int,
    max_pieces: int = 3,
    levels: tuple[int, ...] = LEVELS,
    on_clip: Callable[[int, int], None] | None = None,
) -> list[Feature]:
    """Features of up to `max_pieces` pieces of 10 s of every clip (whole clips where shorter)."""
    features = []
    for number, cached in enumerate(clips):
        rng = np.random.default_rng((seed, number))
        last = len(cached.frames) - EDGE_FRAMES
        starts = list(range(EDGE_FRAMES, max(last - _PIECE_FRAMES, EDGE_FRAMES) + 1, _PIECE_FRAMES))
        for first in rng.permutation(starts)[:max_pieces].tolist():
            times = min(_PIECE_FRAMES, last - first) // BLOCK_FRAMES * BLOCK_FRAMES
            if times < 2 * BLOCK_FRAMES:
                continue
            pictures = np.array(cached.frames[first : first + times])  # a copy: the cache is read-only
            seen = look(pictures, np.ones(times, np.bool_), first / BLOCK_FRAMES, model, levels)
            start = first + (cached.clip.offset_frames or 0.0) - MAX_SHIFT
            samples, heard = read_sound(cached, start, times + 2 * MAX_SHIFT)
            mel = log_mel(samples)
            with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.half):
                sound = model.net.sound(torch.from_numpy(_filled(mel, heard))[None].to(model.device))
            best = best_places(seen.picture, sound, _STORED_PLACES)[0]
            anywhere = torch.from_numpy(rng.permutation(seen.picture.shape[2])[:KEEP_PLACES])
            features.append(
                Feature(
                    group=cached.clip.group,
                    kind=cached.clip.kind,
                    best=seen.picture[0][:, best].half().cpu(),
                    any=seen.picture[0][:, anywhere].half().cpu(),
                    mel=mel.astype(np.float16),
                    heard=heard,
                )
            )
        if on_clip is not None:
            on_clip(number + 1, len(clips))
    return features


def _filled(mel: NDArray[np.float32], heard: NDArray[np.bool_]) -> NDArray[np.float32]:
    return without_gaps(mel, heard.repeat(_MELS_A_FRAME))


@dataclass(frozen=True)
class _Batch:
    picture: Tensor  # (B, T, K, D)
    mel: Tensor  # (B, 4 (T + 2 MAX_SHIFT), 64), at its own time
    present: Tensor  # bool (B, T + 2 MAX_SHIFT)
    foreign: Tensor  # the sound of another group


def _draw(features: Sequence[Feature], kind: AttentionKind, batch: int, rng: np.random.Generator) -> _Batch:
    """Windows as a check would meet them: half of a film's segment, or the whole of a short file."""
    times = int(rng.choice(_BLOCKS, p=_BLOCKS_CHANCE)) * BLOCK_FRAMES
    long_enough = [item for item in features if len(item.best) >= times]
    if not long_enough:
        times = 2 * BLOCK_FRAMES
        long_enough = list(features)
    chance = np.array([1.0 if item.kind == "speech" else 0.6 for item in long_enough])
    chance /= chance.sum()
    rows: dict[str, list[Any]] = {"picture": [], "mel": [], "present": [], "foreign": []}

    def one(but: str | None = None) -> Feature:
        for _ in range(20):
            item = long_enough[int(rng.choice(len(long_enough), p=chance))]
            if item.group != but:
                break
        return item

    for _ in range(batch):
        item = one()
        stranger = one(but=item.group)
        at = int(rng.integers(0, len(item.best) - times + 1))
        source = item.best if kind == "spatio-temporal" else item.any
        rows["picture"].append(source[at : at + times].float())
        closed = rng.random() < _CLOSED
        early = int(rng.integers(-MAX_SHIFT // 2, MAX_SHIFT // 2 + 1))
        background = stranger if rng.random() < _BACKGROUND else None
        mel, heard = _sound(item, at, times, early if closed else None, background, rng)
        rows["mel"].append(mel)
        rows["present"].append(heard)
        there = int(rng.integers(0, len(stranger.best) - times + 1))
        rows["foreign"].append(_sound(stranger, there, times, early if closed else None, None, rng)[0])
    places = min(picture.shape[1] for picture in rows["picture"])
    picture = torch.stack([picture[:, :places] for picture in rows["picture"]])
    return _Batch(picture, *(torch.from_numpy(np.stack(rows[name])) for name in ("mel", "present", "foreign")))


def _sound(
    item: Feature, at: int, times: int, early: int | None, background: Feature | None, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Log-mel and what is heard of a window; only its own time, displaced by `early` pictures, where that is a number."""
    run = slice(at, at + times + 2 * MAX_SHIFT)
    mels = slice(run.start * _MELS_A_FRAME, run.stop * _MELS_A_FRAME)
    mel, heard = item.mel[mels].astype(np.float32), item.heard[run].copy()
    if background is not None:
        other = background.mel[: len(mel)].astype(np.float32)
        quieter = rng.uniform(6.0, 24.0) / (10.0 / math.log(10.0))
        mel[: len(other)] = np.logaddexp(mel[: len(other)], other + mel.mean() - other.mean() - quieter)
    if early is not None:
        heard[: max(0, MAX_SHIFT + early)] = False
        heard[MAX_SHIFT + times + early :] = False
    return _filled(mel, heard), heard


def _kept(picture: Tensor, sound: Tensor, kind: AttentionKind) -> Tensor:
    """The places a check would look at, (B, T, K, D)."""
    if kind != "spatio-temporal":
        return picture
    keep = best_places(picture, sound, KEEP_PLACES)
    return torch.stack([each[:, places] for each, places in zip(picture, keep, strict=True)])


def learn_head(
    net: SyncNet,
    kind: AttentionKind,
    features: Sequence[Feature],
    *,
    steps: int,
    batch: int = 8,
    shifts_a_step: int = 14,
    rate: float = 1e-3,
    seed: int,
    device: torch.device,
    on_step: Callable[[int, int, float], None] | None = None,
    log: Callable[[dict[str, Any]], None] | None = None,
) -> JointHead:
    """Train one head; the loss is cross-entropy over shifts plus the paper's binary cross-entropy on in sync / not."""
    torch.manual_seed(seed)
    head = JointHead(replace(net.config, attention=kind)).to(device).train()
    net.eval()
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
    )
    rng = np.random.default_rng((seed, ATTENTION_KINDS.index(kind)))
    sums = np.zeros(3)
    began = time.monotonic()
    for step in range(steps):
        drawn = _draw(features, kind, batch, rng)
        far = rng.choice(_FAR, shifts_a_step - len(_NEAR) - 1, replace=False)
        shifts = np.concatenate([[0], _NEAR, far])
        times = drawn.picture.shape[1]
        present = torch.stack([drawn.present[:, MAX_SHIFT + s : MAX_SHIFT + s + times] for s in shifts], dim=1)
        picture = drawn.picture.to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            with torch.no_grad():
                sound, foreign = net.sound(torch.cat([drawn.mel, drawn.foreign]).to(device)).chunk(2)
            own, strangers = (_kept(picture, heard, kind) for heard in (sound, foreign))
            scored = head(own, sound, torch.from_numpy(shifts), margin=MAX_SHIFT, present=present.to(device))
            strange = head(
                strangers, foreign, torch.from_numpy(shifts[:2]), margin=MAX_SHIFT, present=present[:, :2].to(device)
            )
        logit = (scored.logits[..., 1] - scored.logits[..., 0]).float()
        mismatch = (strange.logits[..., 1] - strange.logits[..., 0]).float()
        covered = present.float().mean(-1).to(device)
        valid = covered >= 0.5
        near = torch.from_numpy(np.exp(-0.5 * (shifts / 0.7) ** 2)).float().to(device)
        target = (near / near.sum()).expand_as(logit)
        away = torch.from_numpy(np.abs(shifts) >= 3).to(device)
        # As a check weighs them: what little overlap says counts little.
        floor = (logit * (valid & away)).sum(1, keepdim=True) / (valid & away).sum(1, keepdim=True).clamp_min(1)
        choose = shift_loss((logit - floor) * covered, target, valid, weight=valid[:, 0].float())
        wrong = F.softplus(logit)[valid & away].mean()
        right = F.softplus(-logit[:, 0][valid[:, 0]]).mean()
        loss = choose + 0.5 * (right + 0.5 * wrong + 0.5 * F.softplus(mismatch).mean())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(head.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            binary = 0.5 * ((logit[:, 0] > 0).float().mean() + (logit[valid & away] < 0).float().mean())
            hit = torch.from_numpy(np.abs(shifts))[logit.masked_fill(~valid, -1e4).argmax(1).cpu()] <= 1
            sums += [loss.item(), float(binary), float(hit.float().mean())]
        if on_step is not None:
            on_step(step + 1, steps, loss.item())
        if log is not None and (step + 1) % 50 == 0:
            mean = sums / 50
            log(
                {
                    "stage": f"head-{kind}",
                    "step": step + 1,
                    "loss": mean[0],
                    "binary": mean[1],
                    "within1": mean[2],
                    "steps_per_s": (step + 1) / (time.monotonic() - began),
                }
            )
            sums[:] = 0
    return head.eval()
