"""The rows: what is checked, and what one run of the command costs."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import torch

from avcheck.machine.cores import cores
from avcheck.network.quantised import is_supported
from avcheck.network.weights import half_is_fast
from bench import media


@dataclass(frozen=True)
class Row:
    """What is checked: a function that makes it, given a path and seconds; the name of the path;
    and options of the command.
    """

    make: Callable[[Path, float], None]
    name: str
    options: tuple[str, ...] = ()

    @property
    def has_pictures(self) -> bool:
        """Whether it is a single video."""
        return Path(self.name).suffix == ".mp4"


ROWS = {
    "clip": Row(media.clip, "clip.mp4"),
    "heads": Row(media.heads, "heads.mp4"),
    "undecidable": Row(media.texture, "texture.mp4"),
    "title": Row(media.title, "title.mp4"),
    "sampled": Row(media.title, "title.mp4", ("--sample",)),
    "slide": Row(media.slide, "slide.mp4"),
    "text": Row(media.text, "notes.txt"),
    "batch": Row(media.clips, "clips", ("--jobs", "2")),
    "many": Row(partial(media.clips, count=100), "hundred", ("--jobs", "2")),
}


@dataclass(frozen=True)
class Cost:
    """One run, or the medians of several: wall and CPU seconds, the largest process in MB, the
    verdicts in order, and the bytes of their records.
    """

    wall_s: float
    cpu_s: float
    memory_mb: float
    verdicts: tuple[str, ...]
    record_bytes: int = 0


def processor() -> str:
    """What a check computes with on this machine."""
    device = torch.device("cpu")
    if half_is_fast(device):
        trunk = "bfloat16"
    else:
        trunk = "8-bit integers" if is_supported(device) else "float32"
    held = os.environ.get("ONEDNN_MAX_CPU_ISA")
    kind = torch.backends.cpu.get_cpu_capability() + (f" (oneDNN held to {held})" if held else "")
    return f"{cores()} cores, {kind}, visual trunk in {trunk}"


def cost_of(checkout: Path, path: Path, options: Sequence[str] = ()) -> Cost:
    """Check `path` with the command of a checkout. Raises SystemExit if the command fails."""
    figures = path.with_name("cost.json")
    meter = [sys.executable, str(Path(__file__).with_name("meter.py")), str(figures)]
    always = ("--no-config", "--format", "jsonl", "-q", "--fail-on", "undecidable")
    line = [sys.executable, "-m", "avcheck", str(path), *always]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    # As pip compiles what it installs, a checkout may be compiled too: once, not by each run
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [*meter, *line, *options], cwd=checkout, env=environment, capture_output=True, check=False
    )
    records = [json.loads(each) for each in done.stdout.splitlines()]
    if not records or done.returncode not in (0, 1, 2):
        raise SystemExit(f"{checkout}: exit code {done.returncode}: {done.stderr.decode()}")
    verdicts = tuple(
        record["verdict"] for record in sorted(records, key=lambda record: record["path"])
    )
    spent = json.loads(figures.read_text(encoding="ascii"))
    return Cost(**spent, verdicts=verdicts, record_bytes=len(done.stdout))


def decoding_s(path: Path) -> float:
    """CPU seconds to decode every picture of a file, and nothing else."""
    began = time.process_time()
    with av.open(str(path)) as file:
        file.streams.video[0].thread_type = "AUTO"
        for _ in file.decode(video=0):
            pass
    return time.process_time() - began


def medians(runs: Sequence[Cost]) -> Cost:
    """The median of each figure."""
    figures = zip(*((run.wall_s, run.cpu_s, run.memory_mb) for run in runs), strict=True)
    return Cost(*map(statistics.median, figures), runs[-1].verdicts, runs[-1].record_bytes)


def measured(row: Row, path: Path, checkouts: Sequence[Path], runs: int) -> list[Cost]:
    """What a row costs with each checkout. They run in turn, `runs` times, as the machine may be
    busy at times.
    """
    by_checkout: list[list[Cost]] = [[] for _ in checkouts]
    for _ in range(runs):
        for costs, checkout in zip(by_checkout, checkouts, strict=True):
            costs.append(cost_of(checkout, path, row.options))
    return [medians(costs) for costs in by_checkout]
