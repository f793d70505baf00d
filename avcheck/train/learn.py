"""The trunk stages: an optimiser loop over samples, with checkpoints, resume, a seed and a log that
can be plotted.
"""

from __future__ import annotations

import copy
import json
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avcheck.machine.files import whole_file
from avcheck.network.model import SyncNet
from avcheck.network.model_config import ModelConfig
from avcheck.network.weights import half_is_fast
from avcheck.train.corpus import CachedClip
from avcheck.train.losses import shift_loss, shift_target
from avcheck.train.sampling import Recipe, Sample, draw

EMA_DECAY = 0.998  # of the running mean of the weights, for each step
_VALIDATE_S, _SAVE_S = 600.0, 120.0  # between two validations, and two checkpoints


@dataclass(frozen=True)
class ClipSource:
    """The clips of one kind and how often they are drawn. A clip's chance grows with the square
    root of its length.
    """

    clips: Sequence[CachedClip]
    share: float  # of the batches
    recipe: Recipe  # how windows are cut and augmented
    name: str = "speech"  # labels the loss in the log
    batch: int | None = None  # windows in a batch; None: as many as the stage's


@dataclass(frozen=True)
class Stage:
    """One stage of the trunks' training."""

    name: str  # of its checkpoint, and in the log
    sources: Sequence[ClipSource]  # what its windows are drawn from
    steps: int  # of the optimiser
    batch: int = 16  # windows in a batch
    rate: float = 1e-3  # of learning, after the warm-up
    final_rate: float = 1e-5  # of learning, at the last step
    # Strength of every recipe's augmentation at the first and the last step; linear in between
    harden: tuple[float, float] = (0.3, 0.3)
    voices: Sequence[CachedClip] = ()  # clips whose sound is mixed into that of others


class Batch(NamedTuple):
    """B samples of one source, each with S = 2M + 1 candidate shifts."""

    pictures: NDArray[np.uint8]  # (B, T, H, W)
    mel: NDArray[np.float32]  # (B, 4(T + 2M), 64)
    valid: NDArray[np.bool_]  # (B, S), whether the clip has the sound of a shift
    target: NDArray[np.float32]  # (B, S), `losses.shift_target`
    centre: NDArray[np.float32]  # (B,), true shift, frames
    source: str  # its name


class Batches:
    """Draws batches in a background thread, a few ahead; each batch is of one source, so that its
    windows have one size.
    """

    def __init__(self, stage: Stage, seed: int, start: int) -> None:
        """start: the step that the first batch is for."""
        self._stage = stage
        self._weights = []
        for source in stage.sources:
            weight = np.sqrt([clip.seconds for clip in source.clips])
            self._weights.append(weight / weight.sum())
        self._queue: queue.Queue[Batch] = queue.Queue(maxsize=3)
        self._seed, self._step = seed, start
        self._failure: BaseException | None = None
        threading.Thread(target=self._fill, daemon=True).start()

    def _fill(self) -> None:
        try:
            while self._step < self._stage.steps:
                rng = np.random.default_rng((self._seed, self._step))
                progress = self._step / max(self._stage.steps, 1)
                self._queue.put(self._batch(rng, progress))
                self._step += 1
        except BaseException as error:  # the consumer raises it
            self._failure = error

    def _batch(self, rng: np.random.Generator, progress: float) -> Batch:
        shares = np.array([source.share for source in self._stage.sources])
        which = int(rng.choice(len(shares), p=shares / shares.sum()))
        source = self._stage.sources[which]
        low, high = self._stage.harden
        recipe = Recipe(**{**vars(source.recipe), "strength": low + (high - low) * progress})
        wanted = source.batch or self._stage.batch
        samples: list[Sample] = []
        for _ in range(200 * wanted):
            clip = source.clips[int(rng.choice(len(source.clips), p=self._weights[which]))]
            sample = draw(clip, recipe, rng, self._stage.voices)
            if sample is not None and sample.valid[recipe.margin - 3 : recipe.margin + 4].all():
                samples.append(sample)
            if len(samples) == wanted:
                pictures, mel, valid, centre = zip(*samples, strict=True)
                true = np.array(centre, np.float32)
                target = shift_target(torch.from_numpy(true), recipe.margin, recipe.sigma).numpy()
                return Batch(
                    np.stack(pictures), np.stack(mel), np.stack(valid), target, true, source.name
                )
        raise RuntimeError(
            f"stage {self._stage.name}: too few clips are long enough (or show a face) to cut "
            "samples from"
        )

    def next(self) -> Batch:
        while True:
            try:
                return self._queue.get(timeout=0.5)
            except queue.Empty:
                if self._failure is not None:
                    raise RuntimeError("drawing samples failed") from self._failure


@dataclass
class Learner:
    """net is trained; mean_net has the running mean of its weights, and is what is kept."""

    net: SyncNet
    mean_net: SyncNet

    @classmethod
    def fresh(cls, config: ModelConfig, seed: int, start: SyncNet | None = None) -> Learner:
        """A network of this configuration: new, or with the parameters of another."""
        torch.manual_seed(seed)
        net = SyncNet(config)
        if start is not None:
            net.load_state_dict(start.state_dict())
        return cls(net, copy.deepcopy(net))

    def state(self) -> dict[str, object]:
        return {name: getattr(self, name).state_dict() for name in ("net", "mean_net")}

    def load(self, state: dict[str, dict[str, Tensor]]) -> None:
        for name in ("net", "mean_net"):
            getattr(self, name).load_state_dict(state[name])

    def track(self, step: int) -> None:
        follow(self.mean_net, self.net, min(EMA_DECAY, (1 + step) / (10 + step)))


@torch.no_grad()
def follow(mean_net: nn.Module, net: nn.Module, decay: float) -> None:
    """Move the weights of `mean_net` towards those of `net`, in place: `decay` is the share of its
    own that it keeps.
    """
    for into, value in zip(mean_net.state_dict().values(), net.state_dict().values(), strict=True):
        if into.dtype.is_floating_point:
            into.lerp_(value.to(into.device), 1 - decay)
        else:
            into.copy_(value)


def run_stage(
    learner: Learner,
    stage: Stage,
    *,
    folder: Path,
    device: torch.device,
    seed: int,
    validate: Callable[[SyncNet], dict[str, float]] | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> None:
    """Train to the stage's last step.

    Args:
        learner: The network, trained in place.
        stage: What it learns from, and for how long.
        folder: Where the log is written to, and the stage's checkpoint, from which a later call
            goes on.
        device: Where to train.
        seed: Of the samples.
        validate: Figures of the mean network for the log, taken every 10 minutes and at the end.
        on_step: Called after each step with (done, total, loss).
    """
    checkpoint, log = folder / f"{stage.name}.pt", folder / "log.jsonl"
    learner.net.to(device), learner.mean_net.to(device)
    half = half_is_fast(device)
    parts = [learner.net.visual, learner.net.sound, learner.net.match]
    optimiser = _optimiser(parts, stage.rate)
    step = 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        learner.load(state["learner"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    batches = Batches(stage, seed, step)
    saved = validated = began = time.monotonic()
    losses: dict[str, list[float]] = {}
    hits: dict[str, list[float]] = {}
    while step < stage.steps:
        rate = _rate(stage, step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        batch = batches.next()
        pictures, mel, valid, target = (torch.from_numpy(array).to(device) for array in batch[:4])
        learner.net.train()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            picture, _ = learner.net.visual(pictures)
            sound = learner.net.sound(mel)
        logits = learner.net.match(picture, sound)
        margin = (logits.shape[1] - 1) // 2
        loss = shift_loss(logits, target, valid)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([p for part in parts for p in part.parameters()], 2.0)
        optimiser.step()
        step += 1
        learner.track(step)
        best = logits.detach().masked_fill(~valid, -1e4).argmax(dim=1).cpu().numpy() - margin
        losses.setdefault(batch.source, []).append(loss.item())
        hits.setdefault(batch.source, []).append(
            float((np.abs(best - batch.centre) <= 1.01).mean())
        )
        if on_step is not None:
            on_step(step, stage.steps, loss.item())
        now = time.monotonic()
        if step % 50 == 0:
            pace = {"rate": rate, "steps_per_s": 50 / (now - began)}
            for name in sorted(losses):
                entry = {"stage": stage.name, "step": step, "source": name, **pace}
                means = {"loss": np.mean(losses[name]), "within1": np.mean(hits[name])}
                write_log(log, entry | means)
            losses, hits, began = {}, {}, now
        if validate is not None and (now - validated > _VALIDATE_S or step == stage.steps):
            write_log(log, {"stage": stage.name, "step": step, **validate(learner.mean_net)})
            validated = began = time.monotonic()
        if now - saved > _SAVE_S or step == stage.steps:
            _save(
                checkpoint,
                {"learner": learner.state(), "optimiser": optimiser.state_dict(), "step": step},
            )
            saved = now


def _optimiser(parts: Sequence[nn.Module], rate: float) -> torch.optim.Optimizer:
    """AdamW without decay of biases and norms."""
    parameters = [p for part in parts for p in part.parameters()]
    return torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=rate,
    )


def _rate(stage: Stage, step: int) -> float:
    warm = min(1.0, (step + 1) / min(100, max(1, stage.steps // 5)))
    cosine = 0.5 * (1 + math.cos(math.pi * step / stage.steps))
    return warm * (stage.final_rate + (stage.rate - stage.final_rate) * cosine)


def write_log(log: Path, entry: dict[str, object]) -> None:
    """One line of the training log, JSON, numbers to five digits."""
    rounded = {
        key: round(float(value), 5) if isinstance(value, float) else value
        for key, value in entry.items()
    }
    with log.open("a", encoding="utf-8") as out:
        out.write(json.dumps(rounded) + "\n")


def _save(path: Path, state: dict[str, object]) -> None:
    with whole_file(path) as partial:
        torch.save(state, partial)
