"""The last stage: joint layers, attention and decision on top of frozen trunks, as the paper does
(section 3.4.5).

The trunks run once over every clip; the heads then learn from the features alone, which takes
minutes. Each window is seen at its true shift, at near and far wrong ones (the paper's negatives),
and with the sound of another clip.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avcheck.network.heads import TransformerHead
from avcheck.network.make_head import Head, make_head
from avcheck.network.model import SyncNet, best_places
from avcheck.network.model_config import HEAD_KINDS, TOKEN_S
from avcheck.network.weights import Loaded, half_is_fast
from avcheck.rates import FRAME_RATE
from avcheck.reading.blocks import BLOCK_FRAMES
from avcheck.reading.segments import MAX_SHIFT
from avcheck.scan.looking import LEVELS, look
from avcheck.scan.shifts import KEEP_PLACES
from avcheck.train.corpus import CachedClip
from avcheck.train.losses import matching_loss, shift_loss
from avcheck.train.sampling import EDGE_FRAMES, masked_mel, read_sound
from avcheck.train.settings import HeadSettings

_PIECE_FRAMES = 10 * BLOCK_FRAMES
# Shifts that each step tries beside 0: all near ones, and some of the far ones
_NEAR = (-5, -3, -2, -1, 1, 2, 3, 5)
_FAR = [shift for shift in range(-MAX_SHIFT, MAX_SHIFT + 1) if abs(shift) > 5]
_FAR_A_STEP = 5


@dataclass(frozen=True)
class Feature:
    """Trunk features of one piece of a clip, with the clip's own offset taken out: picture and
    sound match at shift 0.
    """

    group: str  # as in `Clip`
    kind: str  # "speech", "generic" or "scene"
    best: Tensor  # float16 (T, K, D), the places that `best_places` keeps
    any: Tensor  # float16 (T, K, D), random places
    sound: Tensor  # float16 (T + 2 MAX_SHIFT, D), from MAX_SHIFT pictures before the first
    heard: Tensor  # bool (T + 2 MAX_SHIFT,), whether each is real sound


@torch.inference_mode()
def extract(
    model: Loaded,
    clips: Sequence[CachedClip],
    *,
    seed: int,
    max_pieces: int = 2,
    levels: tuple[int, ...] = LEVELS,
    on_clip: Callable[[int, int], None] | None = None,
) -> list[Feature]:
    """Trunk features to train heads on.

    Args:
        model: The weights whose trunks are used.
        clips: Decoded clips; those of less than 2 s give nothing.
        seed: Of the choice of pieces and random places.
        max_pieces: Pieces of 10 s that are used of a clip; a shorter clip is one piece.
        levels: Short sides at which pictures are looked at, px.
        on_clip: Called after each clip with (done, total).

    Returns:
        The features of each piece.
    """
    features = []
    for number, cached in enumerate(clips):
        rng = np.random.default_rng((seed, number))
        last = len(cached.frames) - EDGE_FRAMES
        starts = list(range(EDGE_FRAMES, max(last - _PIECE_FRAMES, EDGE_FRAMES) + 1, _PIECE_FRAMES))
        for first in rng.permutation(starts)[:max_pieces].tolist():
            times = min(_PIECE_FRAMES, last - first) // BLOCK_FRAMES * BLOCK_FRAMES
            if times < 2 * BLOCK_FRAMES:
                continue
            # A copy: the cache is read-only
            pictures = np.array(cached.frames[first : first + times])
            view = look(pictures, np.ones(times, np.bool_), first / FRAME_RATE, model, levels)
            start = first + (cached.clip.offset_frames or 0.0) - MAX_SHIFT
            samples, heard = read_sound(cached, start, times + 2 * MAX_SHIFT)
            mel = masked_mel(samples, heard)
            with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.half):
                sound = model.net.sound(torch.from_numpy(mel)[None].to(model.device))
            best = best_places(view.picture, sound, KEEP_PLACES)[0]
            anywhere = torch.from_numpy(rng.permutation(view.picture.shape[2])[: len(best)])
            features.append(
                Feature(
                    group=cached.clip.group,
                    kind=cached.clip.kind,
                    best=view.picture[0][:, best].half().cpu(),
                    any=view.picture[0][:, anywhere].half().cpu(),
                    sound=sound[0].half().cpu(),
                    heard=torch.from_numpy(heard),
                )
            )
        if on_clip is not None:
            on_clip(number + 1, len(clips))
    return features


@dataclass(frozen=True)
class _Batch:
    """B windows of T pictures."""

    picture: Tensor  # (B, T, K, D)
    sound: Tensor  # (B, T + 2 MAX_SHIFT, D), each window's own
    present: Tensor  # bool (B, T + 2 MAX_SHIFT), whether `sound` is real
    foreign: Tensor  # (B, T + 2 MAX_SHIFT, D), the sound of another clip


def _draw(
    features: Sequence[Feature], keep_places: int | None, batch: int, rng: np.random.Generator
) -> _Batch:
    """A batch of windows of 2 to 6 s; `keep_places` as in `ModelConfig`."""
    longest = max(len(item.best) for item in features) // BLOCK_FRAMES
    blocks = min(int(rng.integers(2, 7)), longest)
    times = blocks * BLOCK_FRAMES
    long_enough = [item for item in features if len(item.best) >= times]
    chance = np.array([1.0 if item.kind == "speech" else 0.6 for item in long_enough])
    own = rng.choice(len(long_enough), batch, p=chance / chance.sum()).tolist()
    strangers = [_stranger(long_enough, i, rng) for i in own]
    chosen = [*own, *strangers]
    rows: dict[str, list[Tensor]] = {"picture": [], "sound": [], "present": []}
    places = min(len(long_enough[i].best[0]) for i in chosen)
    for number, i in enumerate(chosen):
        item = long_enough[i]
        at = int(rng.integers(0, len(item.best) - times + 1))
        if number < batch:
            source = item.any if keep_places is None else item.best
            rows["picture"].append(source[at : at + times, :places].float())
        rows["sound"].append(item.sound[at : at + times + 2 * MAX_SHIFT].float())
        heard = item.heard[at : at + times + 2 * MAX_SHIFT].clone()
        # As in a short file: no sound beyond the pictures' own time, apart from its offset
        if rng.random() < 0.5:
            early = int(rng.integers(-20, 21))
            heard[: max(0, MAX_SHIFT + early)] = False
            heard[MAX_SHIFT + times + early :] = False
        rows["present"].append(heard)
    picture, sound, present = (torch.stack(rows[name]) for name in ("picture", "sound", "present"))
    if keep_places is not None and keep_places < places:
        chosen_places = best_places(picture, sound[:batch], keep_places)
        picture = picture.take_along_dim(chosen_places[:, None, :, None], dim=2)
    return _Batch(picture, sound[:batch], present[:batch], sound[batch:])


def _stranger(features: Sequence[Feature], own: int, rng: np.random.Generator) -> int:
    """The number of a feature of another group, within which the same speaker may say the same
    again; of any feature, if there is one group.
    """
    others = [k for k, item in enumerate(features) if item.group != features[own].group] or list(
        range(len(features))
    )
    return int(rng.choice(others))


def _matching(head: Head, drawn: _Batch, device: torch.device) -> Tensor:
    """The cross-temporal matching loss of a batch, between the head's features of pictures and of
    sound.
    """
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half_is_fast(device)):
        picture, sound = head.matched(drawn.picture.to(device), drawn.sound.to(device))
    picture_s = torch.arange(picture.shape[1], device=device) * TOKEN_S
    sound_s = (torch.arange(sound.shape[1], device=device) - MAX_SHIFT) * TOKEN_S
    return matching_loss(picture, sound, picture_s, sound_s, drawn.present.to(device))


def learn_head(
    net: SyncNet,
    features: Sequence[Feature],
    settings: HeadSettings,
    *,
    device: torch.device,
    start: Mapping[str, Tensor] | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
    log: Callable[[dict[str, Any]], None] | None = None,
) -> Head:
    """Train one head on features of frozen trunks.

    The loss is the paper's binary cross-entropy on in sync or not (section 3.4), plus what a check
    needs: a cross-entropy over the shifts and one more choice, "no match", which is right for the
    sound of another group.

    Args:
        net: The network whose trunks made the features; only its configuration is read.
        features: As `extract` makes them.
        settings: The kind of head, the weights in its loss, and the optimiser's settings.
        device: Where to train.
        start: The state of a `JointHead` to go on from; a transformer's joint layers begin as those
            of a spatio-temporal head. None: from scratch.
        on_step: Called after each step with (done, total, loss).
        log: Called every 50 steps with the means over them.

    Returns:
        The head, for use.
    """
    torch.manual_seed(settings.seed)
    steps = settings.steps
    config = replace(net.config, attention=settings.kind, fusion=settings.fusion)
    head = make_head(config).to(device).train()
    if start is not None:
        (head.joint if isinstance(head, TransformerHead) else head).load_state_dict(dict(start))
    none = torch.zeros(1, device=device, requires_grad=True)  # the logit of "no match"
    optimiser = torch.optim.AdamW([*head.parameters(), none], lr=settings.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: (
            min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        ),
    )
    rng = np.random.default_rng((settings.seed, HEAD_KINDS.index(settings.kind)))
    sums = np.zeros(3)
    began = time.monotonic()
    for step in range(steps):
        drawn = _draw(features, config.keep_places, settings.batch, rng)
        far = rng.choice(_FAR, _FAR_A_STEP, replace=False)
        shifts = np.concatenate([[0], _NEAR, far])
        loss, right = _head_loss(head, drawn, shifts, far, none, settings)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(head.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        sums += [loss.item(), *right]
        if on_step is not None:
            on_step(step + 1, steps, loss.item())
        if log is not None and (step + 1) % 50 == 0:
            mean = sums / 50
            log(
                {
                    "stage": f"head-{settings.kind}",
                    "step": step + 1,
                    "loss": mean[0],
                    "binary": mean[1],
                    "within1": mean[2],
                    "steps_per_s": (step + 1) / (time.monotonic() - began),
                }
            )
            sums[:] = 0
    return head.eval()


def _head_loss(
    head: Head,
    drawn: _Batch,
    shifts: NDArray[np.int64],
    far: NDArray[np.int64],
    none: Tensor,
    settings: HeadSettings,
) -> tuple[Tensor, tuple[float, float]]:
    """The loss of a batch, and how often the head was right.

    Args:
        head: The head.
        drawn: The batch.
        shifts: (S,) frames, tried on each window's own sound; 0 comes first.
        far: (F,) frames, tried on the sound of another clip.
        none: (1,), the logit of "no match".
        settings: The weights of the loss.

    Returns:
        The loss; and the shares that are right about in sync or not, and about the shift to within
        a frame.
    """
    device = none.device
    times = drawn.picture.shape[1]
    present = torch.stack(
        [drawn.present[:, MAX_SHIFT + s : MAX_SHIFT + s + times] for s in shifts], dim=1
    )
    picture = drawn.picture.to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half_is_fast(device)):
        scored = head(
            picture,
            drawn.sound.to(device),
            torch.from_numpy(shifts),
            margin=MAX_SHIFT,
            present=present.to(device),
        )
        strange = head(picture, drawn.foreign.to(device), torch.from_numpy(far), margin=MAX_SHIFT)
    logit = (scored.logits[..., 1] - scored.logits[..., 0]).float()
    foreign = (strange.logits[..., 1] - strange.logits[..., 0]).float()
    covered = present.float().mean(-1).to(device)
    valid = covered >= 0.5
    near = torch.from_numpy(np.exp(-0.5 * (shifts / 0.7) ** 2)).float().to(device)
    target = (near / near.sum()).expand_as(logit)
    no_match = none.expand(len(logit), 1)
    choose = shift_loss(
        torch.cat([logit, no_match], dim=1),
        F.pad(target, (0, 1)),
        F.pad(valid, (0, 1), value=True),
        weight=valid[:, 0].float(),
    )
    refused = -torch.cat([foreign, no_match], dim=1).log_softmax(dim=1)[:, -1].mean()
    away = torch.from_numpy(np.abs(shifts) >= 3).to(device)
    wrong = F.softplus(logit)[valid & away].mean()
    matched = F.softplus(-logit[:, 0][valid[:, 0]]).mean()
    loss = (
        choose
        + settings.refuse * refused
        + 0.5 * (matched + 0.5 * wrong + 0.5 * F.softplus(foreign).mean())
    )
    if settings.matching:
        loss = loss + settings.matching * _matching(head, drawn, device)
    with torch.no_grad():
        binary = 0.5 * ((logit[:, 0] > 0).float().mean() + (logit[valid & away] < 0).float().mean())
        hit = torch.from_numpy(np.abs(shifts))[logit.masked_fill(~valid, -1e4).argmax(1).cpu()] <= 1
    return loss, (float(binary), float(hit.float().mean()))
