"""A network that matches brightness with loudness, what it is shown, and the rows under it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from avcheck.eval import measure as measure_eval
from avcheck.eval import protocol
from avcheck.eval.rows import Row
from avcheck.eval.windows import observe
from avcheck.network.match import Scored
from avcheck.network.model_config import ATTENTION_KINDS, BLOCK_TIMES
from avcheck.network.weights import Loaded
from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.reading.blocks import BLOCK_FRAMES
from avcheck.reading.segments import MAX_SHIFT
from avcheck.scan.shifts import SHIFTS
from avcheck.train.corpus import Clip
from avcheck.verdict.posterior import Calibration
from tests.support.clips import make_clip
from tests.support.networks import SMALL

Array = np.ndarray[Any, Any]
SIDE = 48
SAMPLES_A_FRAME = SAMPLE_RATE // FRAME_RATE
QUIET, LOUD = -6.0, -1.5  # natural log of the amplitude that goes with black and with white


class Matcher(nn.Module):
    """In place of a `SyncNet`, a network whose answer is known: in sync where brightness goes with
    loudness. gain: of its score; 0: the same for everything.
    """

    def __init__(self, attention: str, gain: float) -> None:
        super().__init__()
        self.config = replace(SMALL, attention=attention)  # type: ignore[arg-type]
        self.gain = gain
        self.match = _Match(self)

    def visual(self, pictures: Tensor) -> tuple[Tensor, tuple[int, int]]:
        bright = pictures.float().mean(dim=(2, 3)) / 255.0
        return bright[:, :, None, None].expand(-1, -1, 2, 1), (1, 2)

    def sound(self, mel: Tensor) -> Tensor:
        level = mel.unflatten(1, (-1, 4))[:, :, 1:3].mean(dim=(2, 3))
        return ((level - LEVEL_QUIET) / (LEVEL_LOUD - LEVEL_QUIET)).unsqueeze(-1)

    def head(
        self, picture: Tensor, sound: Tensor, shifts: Tensor, *, margin: int, present: Tensor
    ) -> Scored:
        times, places = picture.shape[1:3]
        here = picture.mean(dim=2)[..., 0]
        heard = sound[..., 0].unfold(1, times, 1)[:, margin + shifts]  # (batch, shifts, times)
        apart = ((here[:, None] - heard).abs() * present).sum(2) / present.sum(2).clamp_min(1)
        score = self.gain * (0.12 - apart)
        both = torch.stack([torch.zeros_like(score), score], dim=-1)
        cells = (times // BLOCK_FRAMES) * BLOCK_TIMES * places
        attention = torch.full(
            (1, len(shifts), times // BLOCK_FRAMES, BLOCK_TIMES, places), 1.0 / cells
        )
        return Scored(both, attention, both[:, :, None].expand(-1, -1, times // BLOCK_FRAMES, -1))


def loudness(code: Array, rng: np.random.Generator) -> Array:
    """Noise whose level in each frame follows `code` (n,), 0..1."""
    level = np.exp(QUIET + (LOUD - QUIET) * code)
    return (
        np.repeat(level, SAMPLES_A_FRAME) * rng.uniform(-1, 1, len(code) * SAMPLES_A_FRAME)
    ).astype(np.float32)


def _levels() -> tuple[float, float]:
    from avcheck.reading.mel import MEL_MARGIN, log_mel

    rng = np.random.default_rng(0)
    pad = np.zeros(MEL_MARGIN, np.float32)
    quiet, loud = (
        log_mel(np.concatenate([pad, loudness(np.full(50, x), rng), pad]))[4:-4].mean()
        for x in (0.0, 1.0)
    )
    return float(quiet), float(loud)


LEVEL_QUIET, LEVEL_LOUD = _levels()


def material(seconds: float, *, own_frames: int = 0, seed: int = 1) -> tuple[Array, Array]:
    """Pictures of random brightness and sound of the same loudness, late by `own_frames`."""
    rng = np.random.default_rng(seed)
    count = round(seconds * FRAME_RATE)
    code = rng.uniform(0, 1, count + 200)
    texture = rng.uniform(-0.1, 0.1, (SIDE, SIDE))
    bright = np.clip(0.15 + 0.7 * code[100 : 100 + count, None, None] + texture, 0, 1)
    heard = 0.15 + 0.7 * code[100 - own_frames : 100 - own_frames + count]
    return (bright * 255).round().astype(np.uint8), loudness(heard, rng)


def loaded(attention: str = "spatio-temporal", gain: float = 150.0) -> Loaded:
    net: Any = Matcher(attention, gain)
    return Loaded(net, "0" * 64, torch.device("cpu"), False, {}, {})


def bench(gain: float = 150.0) -> protocol.Bench:
    heads: dict[str, Loaded] = {kind: loaded(kind, gain) for kind in ATTENTION_KINDS}
    return protocol.Bench(
        heads["spatio-temporal"], heads, Calibration(guard_ms=10.0, decide=0.6), levels=(SIDE,)
    )


def clip(
    name: str,
    *,
    group: str = "a",
    kind: str = "speech",
    own: float | None = None,
    trusted: bool = False,
) -> Clip:
    return Clip(
        id=name,
        path=Path(name),
        group=group,
        kind=kind,
        split="val",
        offset_frames=own,
        trusted=trusted,
    )


class OtherSound(protocol.Foreign):
    """In place of sound of other groups, the same noise for all."""

    def __init__(self) -> None:
        super().__init__([])

    def sound(self, clip: Clip, count: int) -> Array:
        return material(count / SAMPLE_RATE + 1, seed=99)[1][:count]


def rows_under(under: protocol.Bench, names: Sequence[str] = ()) -> list[Row]:
    """The rows of five clips, or of those with these names."""
    plan = [
        (clip("one", group="a", own=2.0, trusted=True), 21.0, 2),
        (clip("two", group="b", own=-1.0, trusted=True), 12.0, -1),
        (clip("three", group="c", own=8.0), 11.0, 8),
        (clip("four", group="d", kind="generic"), 10.5, 0),
        (clip("five", group="e", kind="generic"), 5.0, 0),
    ]
    rows = []
    for number, (item, seconds, own) in enumerate(plan):
        if names and item.id not in names:
            continue
        frames, samples = material(seconds, own_frames=own, seed=number)
        footage = observe(item, frames, samples, under.model, under.levels)
        vars(footage)["larger"] = frames  # there is no file to decode them from
        rows += list(measure_eval.measure(footage, under, OtherSound()))
    return rows


def of(rows: list[Row], measure: str, **equal: object) -> list[Row]:
    return [
        row
        for row in rows
        if row["measure"] == measure and all(row[key] == value for key, value in equal.items())
    ]


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def mini_corpus(folder: Path) -> Path:
    lines = []
    plan = (
        ("s1", "speech", "g1", 11.0),
        ("s2", "speech", "g2", 6.5),
        ("o1", "generic", "g3", 4.5),
        ("bad", "generic", "g4", 0.0),
    )
    for name, kind, group, seconds in plan:
        path = folder / "val" / kind / f"{name}.mkv"
        path.parent.mkdir(parents=True, exist_ok=True)
        if seconds:
            make_clip(
                path, seconds=seconds, size=(64, 48), acodec="libopus", events_s=(1.0, 2.2, 3.1)
            )
        else:
            path.write_text("not a film")
        line = {
            "id": name,
            "split": "val",
            "kind": kind,
            "group": group,
            "file": str(path.relative_to(folder)),
        }
        lines.append(
            line | ({"true_offset": {"frames": 0.5, "trusted": True}} if name == "s1" else {})
        )
    # of no use here
    lines.append(
        {"id": "w", "split": "val", "kind": "words", "group": "g8", "file": "val/speech/s1.mkv"}
    )
    lines.append(
        {"id": "t", "split": "train", "kind": "speech", "group": "g9", "file": "train/speech/t.mkv"}
    )
    (folder / "index.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


class _Match:
    """The match of a `Matcher`: what its head says, and every place as like as any other."""

    def __init__(self, net: Matcher) -> None:
        self._net = net

    def __call__(self, picture: Tensor, sound: Tensor, present: Tensor) -> Tensor:
        scored = self._net.head(
            picture, sound, torch.from_numpy(SHIFTS), margin=MAX_SHIFT, present=present
        )
        return scored.logits[..., 1]

    def beside_likeness(
        self, picture: Tensor, sound: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self(picture, sound, present), torch.zeros(1, picture.shape[2], len(SHIFTS))
