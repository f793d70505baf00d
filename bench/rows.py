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
from pathlib import Path

from bench import media


@dataclass(frozen=True)
class Row:
    """What is checked: how it is made, given a path and seconds; the path's name; and options of the command."""

    make: Callable[[Path, float], None]
    name: str
    options: tuple[str, ...] = ()


ROWS = {
    "clip": Row(media.clip, "clip.mp4"),
    "heads": Row(media.heads, "heads.mp4"),
    "undecidable": Row(media.texture, "texture.mp4"),
    "slide": Row(media.slide, "slide.mp4"),
    "text": Row(media.text, "notes.txt"),
    "batch": Row(media.clips, "clips", ("--jobs", "2")),
}


@dataclass(frozen=True)
class Cost:
    """One run, or the medians of several: wall and CPU seconds, the largest process in MB, and the verdicts in order."""

    wall_s: float
    cpu_s: float
    memory_mb: float
    verdicts: tuple[str, ...]


def cost_of(checkout: Path, path: Path, options: Sequence[str] = ()) -> Cost:
    """Check `path` by the command of a checkout. Raises SystemExit where that breaks down."""
    line = [sys.executable, "-m", "avcheck", str(path), "--no-config", "--format", "jsonl", "-q", *options]
    began = time.monotonic()
    with subprocess.Popen(
        [*line, "--fail-on", "undecidable"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        out, complaint = process.stdout, process.stderr
        if out is None or complaint is None:
            raise SystemExit("the command has no output")
        records = [json.loads(each) for each in out]
        said = complaint.read().decode()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if not records or process.returncode not in (0, 1, 2):
        raise SystemExit(f"{checkout}: exit code {process.returncode}: {said}")
    verdicts = tuple(record["verdict"] for record in sorted(records, key=lambda record: record["path"]))
    return Cost(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, verdicts)


def medians(runs: Sequence[Cost]) -> Cost:
    """The median of each figure."""
    figures = zip(*((run.wall_s, run.cpu_s, run.memory_mb) for run in runs), strict=True)
    return Cost(*map(statistics.median, figures), runs[-1].verdicts)


def measured(row: Row, path: Path, checkouts: Sequence[Path], runs: int) -> list[Cost]:
    """What a row costs with each checkout: all of them in turn, `runs` times, as the machine may be busy at times."""
    found: list[list[Cost]] = [[] for _ in checkouts]
    for _ in range(runs):
        for costs, checkout in zip(found, checkouts, strict=True):
            costs.append(cost_of(checkout, path, row.options))
    return [medians(costs) for costs in found]
