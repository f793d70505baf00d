"""`avcheck eval`: every measurement of the weights on the validation groups of a corpus, on whole
frames and without a face detector.

Each clip is decoded and looked at once; every measurement then moves its sound. Raw figures are
rows (`eval.rows`), from which alone tables and plots are made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TextIO

import torch

from avcheck.errors import MediaError, UsageError
from avcheck.eval.changing import measure_changes
from avcheck.eval.measure import measure, measure_coverage
from avcheck.eval.plots import draw, require_matplotlib
from avcheck.eval.protocol import LONGEST_S, Bench, Foreign, Scenery
from avcheck.eval.rows import Row, of_measure
from avcheck.eval.speed import measure_speed, speed_table
from avcheck.eval.tables import tables
from avcheck.eval.windows import observe
from avcheck.machine.cores import cores
from avcheck.network.quantised import make_ready
from avcheck.network.weights import load, load_heads
from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.train.corpus import KINDS, Clip, decode, find_clips
from avcheck.train.facemesh import read_faces
from avcheck.train.store import make_folder, require_writable
from avcheck.verdict.posterior import Calibration


@dataclass(frozen=True)
class EvalSettings:
    """What `avcheck eval` is asked to measure, on the validation clips of a corpus."""

    corpus: Path
    model: Path | None = None  # weights; None: the shipped ones
    device: str = "auto"  # as in `CheckSettings`
    rows: Path | None = None  # file that gets every raw figure at once, as JSON lines
    plots: Path | None = None  # folder for plots (`eval.plots`)
    speed: bool = True  # also measure speed
    small: bool = False  # also measure small faces
    faces: Path | None = None  # file of `train.facemesh`: which clips show a speaker
    coverage: bool = False  # only how many whole speech clips get an offset
    added: tuple[int, ...] = ()  # only clips of these rounds of the corpus; (): of all
    # Only the clips set aside for the last table (`corpus.set_aside`), which are otherwise left out
    last: bool = False


def evaluate(
    settings: EvalSettings, *, on_clip: Callable[[int, int], None] | None = None
) -> Iterator[str]:
    """Measure weights; yields text as soon as it is ready.

    Args:
        settings: What is asked for.
        on_clip: Called after each clip with (done, total).

    Raises:
        UsageError: The corpus has no such clips, the rows or plots cannot be written, plots are
            asked for without matplotlib, or as `weights.load`.
        ModelError: As `weights.load`.
    """
    if settings.plots is not None:
        require_matplotlib()
    clips = _clips(settings)
    if settings.plots is not None:
        make_folder(settings.plots, "plots")
    if settings.rows is not None:
        require_writable(settings.rows, "rows")
    face_share = (
        {name: face.share for name, face in read_faces(settings.faces).items()}
        if settings.faces is not None
        else {}
    )
    bench = _bench(settings.model, settings.device)
    heading = _heading(bench, clips)
    yield heading
    with ExitStack() as stack:
        raw = (
            stack.enter_context(settings.rows.open("w", buffering=1, encoding="utf-8"))
            if settings.rows is not None
            else None
        )
        _write(raw, {"measure": "heading", "text": heading, "decide": bench.decide})
        rows: list[Row] = []
        failed: list[str] = []
        foreign = Foreign([clip for clip in clips if clip.kind == "speech"])
        scenery = Scenery(clips) if settings.small else None
        # Several clips on one thread each keep the cores busier than one clip on all of them.
        pool = ThreadPoolExecutor(_workers(), initializer=torch.set_num_threads, initargs=(1,))
        stack.callback(pool.shutdown, cancel_futures=True)
        for number, measured in enumerate(
            pool.map(
                partial(
                    _measured,
                    bench=bench,
                    foreign=foreign,
                    scenery=scenery,
                    coverage=settings.coverage,
                ),
                clips,
            ),
            1,
        ):
            if isinstance(measured, str):
                failed.append(measured)
            else:
                for row in measured:
                    rows.append({**row, "face_share": face_share.get(row["clip"])})
                    _write(raw, rows[-1])
            if on_clip is not None:
                on_clip(number, len(clips))
        if failed:
            text = f"Left out, cannot be decoded: {'; '.join(failed)}\n"
            _write(raw, {"measure": "heading", "text": text})
            yield text
        yield from tables(rows, bench.decide)
        if settings.plots is not None:
            yield _drawn(rows, settings.plots)
        if settings.speed and not settings.coverage:
            timed = measure_speed(settings.model, settings.device)
            _write(raw, {"measure": "speed", **timed})
            yield speed_table(timed)


def _clips(settings: EvalSettings) -> list[Clip]:
    """The clips to measure, in order. Raises UsageError if there is none."""
    clips = [
        clip
        for clip in find_clips(settings.corpus, split="val", last=settings.last)
        if clip.added in (settings.added or (clip.added,))
        and (clip.kind == "speech" or not settings.coverage)
    ]
    if not clips:
        raise UsageError(
            f"{settings.corpus}: none of its validation clips is of the kind or round asked for"
        )
    return sorted(clips, key=lambda clip: (clip.kind, clip.id))


def from_rows(
    rows: Sequence[Row], *, plots: Path | None = None, source: Path | None = None
) -> Iterator[str]:
    """What `evaluate` yields, from rows that it wrote earlier.

    Args:
        rows: As `rows.read_rows` reads them.
        plots: Folder for plots; None: none.
        source: The file that the rows are from, for messages.

    Raises:
        UsageError: The rows lack what the tables need; or for plots, as `evaluate`.
    """
    if plots is not None:
        require_matplotlib()
    by = of_measure(rows)
    headings = by.get("heading", [])
    try:
        for row in headings:
            yield row["text"]
        yield from tables(
            rows, next((row["decide"] for row in headings if "decide" in row), Calibration.decide)
        )
        if plots is not None:
            yield _drawn(rows, plots)
        for row in by.get("speed", []):
            yield speed_table(row)
    except (KeyError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise UsageError(
            f"{source or 'rows'}: not all figures of `avcheck eval --rows` are there ({problem})"
        ) from error


def _drawn(rows: Sequence[Row], folder: Path) -> str:
    return "Plots: " + ", ".join(str(path) for path in draw(rows, folder)) + "\n"


def _bench(model: Path | None, device: str) -> Bench:
    loaded = load(model, device=device)
    make_ready(loaded)
    heads = load_heads(loaded, model, device=device)
    return Bench(
        loaded, {str(kind): head for kind, head in heads.items()}, Calibration(**loaded.calibration)
    )


def _workers() -> int:
    """Clips measured at a time; each may take a few hundred MB."""
    return min(4, cores())


def _measured(
    clip: Clip, bench: Bench, foreign: Foreign, scenery: Scenery | None, coverage: bool
) -> list[Row] | str:
    """The rows of a clip, or the reason why it cannot be measured."""
    try:
        frames, samples = decode(clip.path, max(bench.levels))
    except MediaError as error:
        return f"{clip.id} ({error})"
    frames, samples = (
        frames[: round(LONGEST_S * FRAME_RATE)],
        samples[: round(LONGEST_S * SAMPLE_RATE)],
    )
    footage = observe(clip, frames, samples, bench.model, bench.levels)
    return list(
        chain(measure_coverage(footage, bench, foreign), measure_changes(footage, bench))
        if coverage
        else measure(footage, bench, foreign, scenery)
    )


def _heading(bench: Bench, clips: Sequence[Clip]) -> str:
    loaded = bench.model
    parts = []
    for kind in KINDS:
        some = [clip for clip in clips if clip.kind == kind]
        trusted = sum(clip.trusted for clip in some)
        parts.append(
            f"{kind}: {len(some)} clips of {len({clip.group for clip in some})} groups, {trusted} "
            "with a trusted offset"
        )
    return "\n".join(
        [
            f"Weights {loaded.sha256[:16]}, attention {loaded.net.config.attention}, on "
            f"{loaded.device}" + ("" if loaded.calibration else ", NOT calibrated (defaults)"),
            f"Validation groups: {'; '.join(parts)}",
            "Whole frames, no face detector. In brackets: 95 % interval, bootstrap over groups.",
            "",
        ]
    )


def _write(raw: TextIO | None, row: Row) -> None:
    if raw is not None:
        raw.write(json.dumps(row, default=float) + "\n")
