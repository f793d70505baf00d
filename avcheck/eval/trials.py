"""Trials of a head: clips at known shifts, and the scores they get."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avcheck.eval.protocol import (
    OFFSET_LATE_S,
    PAIR_MISSING_S,
    PAPER_FRAMES,
    displacement,
    generator,
    missing_s,
)
from avcheck.eval.rows import Row
from avcheck.eval.stats import win_score
from avcheck.eval.windows import Footage, Shot, hear
from avcheck.network.make_head import Head
from avcheck.network.model import best_places
from avcheck.network.weights import Loaded
from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.reading.blocks import BLOCK_FRAMES
from avcheck.reading.segments import MAX_SHIFT, Window
from avcheck.record.report import FRAME_MS
from avcheck.scan.curves import sound_with_margin
from avcheck.scan.shifts import KEEP_PLACES, SHIFTS, listen, logit, weighed
from avcheck.verdict.posterior import Calibration, estimate, posterior

# Fewer than in `avcheck eval`, as many heads are tried
HEAD_PAIR_MS = (40, 80, 200, 500)
HEAD_FRAMES = (105, 250)  # 4.2 and 10 s
_ROUNDS = 3  # of measuring the time that a head takes


@dataclass(frozen=True)
class HeadTrial:
    """A window of a clip with its sound moved. T is `count` in whole blocks."""

    measure: str  # "paper", "pairwise" or "offset"
    first: int  # picture
    count: int  # of pictures
    late_frames: float  # how late the sound was made
    sound: Tensor  # float16 (T + 2 MAX_SHIFT, D), features of the sound trunk
    heard: Tensor  # bool (T + 2 MAX_SHIFT,), whether each is real sound
    keep: Tensor  # (K,), the places that go best with the sound


def trials(footage: Footage, model: Loaded) -> Iterator[HeadTrial]:
    """The trials of a clip; those of the paper's protocol and of the offset are the same as in
    `avcheck eval`.

    Only clips whose own offset is known have trials of displaced copies and of the offset: with
    others these would measure the recording.
    """
    clip = footage.clip
    rng = generator(clip, "paper")
    have_s = len(footage.samples) / SAMPLE_RATE
    seconds = PAPER_FRAMES / FRAME_RATE
    known = clip.kind == "speech" and clip.trusted
    for first in range(0, len(footage.frames) - PAPER_FRAMES + 1, PAPER_FRAMES):
        shot = footage.shot(first, PAPER_FRAMES)
        aligned_s = (first + footage.own_frames) / FRAME_RATE
        late_s = displacement(aligned_s, seconds, have_s, rng)
        moves = [("paper", 0.0)] if late_s is None else [("paper", 0.0), ("paper", late_s)]
        for late_ms in (sign * size for size in HEAD_PAIR_MS for sign in (-1, 1)):
            if known and missing_s(footage, aligned_s - late_ms / 1000, seconds) <= PAIR_MISSING_S:
                moves.append(("pairwise", late_ms / 1000))
        for measure_, moved_s in moves:
            yield _trial(footage, shot, measure_, first, aligned_s - moved_s, moved_s, model)
    for count in HEAD_FRAMES if known else ():
        rng = generator(clip, f"offset {count}")
        spare = len(footage.frames) % count
        for first in range(spare // 2, len(footage.frames) - count + 1, count):
            late_s = float(rng.uniform(-OFFSET_LATE_S, OFFSET_LATE_S))
            shot = footage.shot(first, count)
            yield _trial(footage, shot, "offset", first, first / FRAME_RATE - late_s, late_s, model)


@torch.inference_mode()
def _trial(
    footage: Footage,
    shot: Shot,
    measure_: str,
    first: int,
    start_s: float,
    late_s: float,
    model: Loaded,
) -> HeadTrial:
    mel, heard = sound_with_margin(Window(hear(footage.samples, start_s, shot)))
    sound = listen(mel, model).float().cpu()
    return HeadTrial(
        measure=measure_,
        first=first,
        count=shot.count,
        late_frames=late_s * FRAME_RATE,
        sound=sound[0].half(),
        heard=torch.from_numpy(heard),
        keep=best_places(shot.view.picture, sound, KEEP_PLACES)[0],
    )


@torch.inference_mode()
def measure(
    footage: Footage, trials: Sequence[HeadTrial], head: Head, model: Loaded
) -> Iterator[Row]:
    """The rows of a clip under one head."""
    keep = head.config.keep_places
    about = {
        "clip": footage.clip.id,
        "group": footage.clip.group,
        "kind": footage.clip.kind,
        "trusted": footage.clip.trusted and footage.clip.offset_frames is not None,
    }
    true: dict[int, float] = {}  # by the first picture: the logit of the sound as it is
    for trial in trials:
        if trial.measure == "offset" and keep is None:
            # The whole picture at every shift would be ten times the work, for heads that no check
            # uses
            continue
        row = {
            "measure": trial.measure,
            **about,
            "first": trial.first,
            "late_frames": trial.late_frames,
        }
        shot = footage.shot(trial.first, trial.count)
        picture, sound = _seen_and_heard(shot, trial, keep)
        heard, shown = trial.heard.numpy(), shot.view.shown
        if trial.measure == "offset":
            values = scores(head, picture, sound, shown, heard, model)
            chances, _ = posterior(values, Calibration())
            late = estimate(chances, SHIFTS, Calibration()).frames
            error = late - trial.late_frames - footage.own_frames
            yield {**row, "seconds": trial.count / FRAME_RATE, "error_frames": error}
            continue
        present = (shown & heard[MAX_SHIFT : MAX_SHIFT + len(shown)])[None]
        at_rest = np.zeros(1, np.int64)
        value = float(head_logits(head, picture, sound, at_rest, present, model)[0])
        if trial.measure == "paper":
            in_sync = trial.late_frames == 0.0
            if in_sync:
                true[trial.first] = value
            yield {**row, "in_sync": in_sync, "logit": value}
        else:
            late_ms = round(trial.late_frames * FRAME_MS)
            yield {**row, "late_ms": late_ms, "won": win_score(true[trial.first], value)}


def _seen_and_heard(shot: Shot, trial: HeadTrial, keep: int | None) -> tuple[Tensor, Tensor]:
    """What a head gets of a trial: the picture at the `keep` places that go best with the sound, or
    at all of them, (1, T, P, D); and the sound, (1, T + 2 MAX_SHIFT, D).
    """
    picture, sound = shot.view.picture, trial.sound[None].float()
    if keep is not None:
        picture = picture[:, :, trial.keep]
        if keep < len(trial.keep):
            picture = picture[:, :, best_places(picture, sound, keep)[0]]
    return picture, sound


def scores(
    head: Head,
    picture: Tensor,
    sound: Tensor,
    shown: NDArray[np.bool_],
    heard: NDArray[np.bool_],
    model: Loaded,
) -> NDArray[np.float32]:
    """The head's score of every shift, (S,), as in `shifts.Compared.weighed_score`."""
    times = len(shown)
    present = np.stack(
        [shown & heard[MAX_SHIFT + shift : MAX_SHIFT + shift + times] for shift in SHIFTS]
    )
    return weighed(head_logits(head, picture, sound, SHIFTS, present, model), present)


def head_logits(
    head: Head,
    picture: Tensor,
    sound: Tensor,
    shifts: NDArray[np.int64],
    present: NDArray[np.bool_],
    model: Loaded,
    **times: Tensor,
) -> NDArray[np.float32]:
    """The head's logit of "in sync" minus that of "not in sync".

    Args:
        head: The head.
        picture: (1, T, P, D).
        sound: (1, T + 2 MAX_SHIFT, D).
        shifts: (S,) frames.
        present: Where both are real, bool (S, T).
        model: Says the device and the kind of numbers.
        times: `picture_s` and `sound_s` of a transformer, seconds.

    Returns:
        (S,).
    """
    device = model.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=model.half):
        scored = head(
            picture.to(device),
            sound.to(device),
            torch.from_numpy(shifts),
            margin=MAX_SHIFT,
            present=torch.from_numpy(present)[None].to(device),
            **times,
        )
    return logit(scored.logits[0])


@torch.inference_mode()
def head_seconds(head: Head, model: Loaded) -> float:
    """CPU seconds that the head alone takes for a minute of video at all shifts, measured on 10 s
    of noise, the best of three.
    """
    rng = torch.Generator().manual_seed(1)
    times = 10 * BLOCK_FRAMES
    depth = model.net.config.embedding
    # A wide picture at three sizes has about three hundred
    places = head.config.keep_places or 10 * KEEP_PLACES
    picture = torch.nn.functional.normalize(
        torch.randn(1, times, places, depth, generator=rng), dim=-1
    )
    sound = torch.nn.functional.normalize(
        torch.randn(1, times + 2 * MAX_SHIFT, depth, generator=rng), dim=-1
    )
    present = np.ones((len(SHIFTS), times), np.bool_)
    best = np.inf
    for _ in range(_ROUNDS):
        began = time.process_time()
        head_logits(head, picture, sound, SHIFTS, present, model)
        best = min(best, time.process_time() - began)
    return 60.0 / 10.0 * float(best)
