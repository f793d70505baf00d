"""The stages that train the trunks: an optimiser's loop over samples, with checkpoints, and a log
that can be plotted.
"""

from __future__ import annotations

import copy
import json
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avcheck.errors import UsageError
from avcheck.machine.files import whole_file
from avcheck.network.model import SyncNet
from avcheck.network.model_config import ModelConfig
from avcheck.network.weights import half_is_fast
from avcheck.rates import FRAME_RATE
from avcheck.train.corpus import CachedClip
from avcheck.train.distil import Lessons, Teacher
from avcheck.train.losses import shift_loss, shift_target
from avcheck.train.sampling import Lesson, Recipe, Sample, draw, draw_lesson

EMA_DECAY = 0.998  # of the running mean of the weights, for each step
_VALIDATE_S, _SAVE_S = 600.0, 120.0  # between two validations, and two checkpoints
_LOG_STEPS = 50  # between two entries of the log


@dataclass(frozen=True)
class ClipSource:
    """The clips of one kind and how often they are drawn. A clip's chance grows with the square
    root of its length.
    """

    clips: Sequence[CachedClip]
    share: float  # of the batches
    recipe: Recipe  # how windows are cut and augmented
    name: str = "speech"  # labels the loss in the log
    taught: bool = False  # by the stage's teacher: windows without a mouth are left out
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
    teacher: Teacher | None = None  # what features are held to; None: shifts alone are learnt


class Batch(NamedTuple):
    """B samples of one source, each with S = 2M + 1 candidate shifts."""

    pictures: NDArray[np.uint8]  # (B, T, H, W)
    mel: NDArray[np.float32]  # (B, 4(T + 2M), 64)
    valid: NDArray[np.bool_]  # (B, S), whether the clip has the sound of a shift
    target: NDArray[np.float32]  # (B, S), `losses.shift_target`
    centre: NDArray[np.float32]  # (B,), true shift, frames
    source: str  # its name
    lessons: Lessons | None = None  # for the stage's teacher, where the source has any


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
        lessons: list[Lesson] = []
        for _ in range(200 * wanted):
            clip = source.clips[int(rng.choice(len(source.clips), p=self._weights[which]))]
            drawn = (draw_lesson if source.taught else draw)(clip, recipe, rng, self._stage.voices)
            lesson, sample = (drawn, drawn.sample) if isinstance(drawn, Lesson) else (None, drawn)
            if sample is not None and sample.valid[recipe.margin - 3 : recipe.margin + 4].all():
                samples.append(sample)
                if lesson is not None:
                    lessons.append(lesson)
            if len(samples) == wanted:
                pictures, mel, valid, centre = zip(*samples, strict=True)
                true = np.array(centre, np.float32)
                target = shift_target(torch.from_numpy(true), recipe.margin, recipe.sigma).numpy()
                stacked = np.stack(pictures), np.stack(mel), np.stack(valid)
                taught = Lessons.of(lessons) if lessons else None
                return Batch(*stacked, target, true, source.name, taught)
        raise UsageError(
            f"stage {self._stage.name}: too few clips of {source.name} are long enough, or show a "
            f"face long enough, to cut {recipe.frames / FRAME_RATE:g} s from"
        )

    def next(self) -> Batch:
        """The next batch. Raises what drawing it raised: UsageError if the clips are too short."""
        while self._failure is None or not self._queue.empty():
            with suppress(queue.Empty):
                return self._queue.get(timeout=0.5)
        raise self._failure


@dataclass
class Learner:
    """The network in training, `net`, and one with the running mean of its weights, `mean_net`,
    which is kept in the end.
    """

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
        """What a checkpoint holds of both."""
        return {name: getattr(self, name).state_dict() for name in ("net", "mean_net")}

    def load(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Take over what `state` gave."""
        for name in ("net", "mean_net"):
            getattr(self, name).load_state_dict(state[name])

    def track(self, step: int) -> None:
        """Move `mean_net` towards `net` after a step; faster in the first steps."""
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
    checkpoint = folder / f"{stage.name}.pt"
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
    log = _StepLog(folder / "log.jsonl", stage.name)
    saved = validated = time.monotonic()
    while step < stage.steps:
        rate = _rate(stage, step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        batch = batches.next()
        pictures, mel, valid, target = (torch.from_numpy(array).to(device) for array in batch[:4])
        learner.net.train()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            picture, grid = learner.net.visual(pictures)
            sound = learner.net.sound(mel)
        logits = learner.net.match(picture, sound)
        margin = (logits.shape[1] - 1) // 2
        loss = shift_loss(logits, target, valid)
        if stage.teacher is not None and batch.lessons is not None:
            centre = torch.from_numpy(batch.centre).to(device)
            loss = loss + stage.teacher.loss(batch.lessons, picture, grid, sound, valid, centre)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([p for part in parts for p in part.parameters()], 2.0)
        optimiser.step()
        step += 1
        learner.track(step)
        best = logits.detach().masked_fill(~valid, -1e4).argmax(dim=1).cpu().numpy() - margin
        within1 = float((np.abs(best - batch.centre) <= 1.01).mean())
        log.add(batch.source, loss.item(), within1)
        if on_step is not None:
            on_step(step, stage.steps, loss.item())
        now = time.monotonic()
        if step % _LOG_STEPS == 0:
            log.write(step, rate)
        if validate is not None and (now - validated > _VALIDATE_S or step == stage.steps):
            figures = validate(learner.mean_net)
            write_log(log.path, {"stage": stage.name, "step": step, **figures})
            validated = time.monotonic()
            log.leave_out(validated - now)
        if now - saved > _SAVE_S or step == stage.steps:
            save_state(
                checkpoint,
                {"learner": learner.state(), "optimiser": optimiser.state_dict(), "step": step},
            )
            saved = now


class _StepLog:
    """Collects the figures of steps, and writes their means to the log."""

    def __init__(self, path: Path, stage: str) -> None:
        self.path = path
        self._stage = stage
        self._restart()

    def _restart(self) -> None:
        self._steps: dict[str, list[tuple[float, float]]] = {}  # loss, within1, by source
        self._began = time.monotonic()

    def add(self, source: str, loss: float, within1: float) -> None:
        """The loss of a step, and the share of its windows within a picture of the true shift."""
        self._steps.setdefault(source, []).append((loss, within1))

    def leave_out(self, seconds: float) -> None:
        """Do not count so much time as training."""
        self._began += seconds

    def write(self, step: int, rate: float) -> None:
        """One line for each source, over the steps since the last call."""
        per_s = sum(map(len, self._steps.values())) / (time.monotonic() - self._began)
        about = {"stage": self._stage, "step": step}
        for source, figures in sorted(self._steps.items()):
            loss, within1 = np.mean(figures, axis=0)
            speed = {"source": source, "rate": rate, "steps_per_s": per_s}
            write_log(self.path, {**about, **speed, "loss": loss, "within1": within1})
        self._restart()


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


def save_state(path: Path, state: object) -> None:
    """Write tensors, in whatever containers, to a file: whole, or not at all."""
    with whole_file(path) as partial:
        torch.save(state, partial)
