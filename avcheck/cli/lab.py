"""`avcheck train`, `avcheck eval` and `avcheck ablate`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from avcheck.cli.group import TRAINING, app
from avcheck.cli.options import Device, Model
from avcheck.cli.require import require_directory, require_file
from avcheck.cli.screen import progress_bar
from avcheck.errors import UsageError
from avcheck.train.settings import HeadSettings, TrainSettings


@contextmanager
def _may_lack_opencv() -> Iterator[None]:
    """Around imports that need OpenCV. Raises UsageError if it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "cv2":
            raise
        raise UsageError("training needs OpenCV: pip install 'opencv-python-headless<5'") from error


@app.command(rich_help_panel=TRAINING)
def train(
    data: Annotated[
        list[Path],
        typer.Argument(metavar="DATA", help="A corpus folder, or directories of in-sync media."),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where checkpoints, log and weights go.")
    ] = Path("runs/train"),
    device: Device = "auto",
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of the random numbers.")
    ] = TrainSettings.seed,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Weights to start from; adapted to DATA if it has no index.",
        ),
    ] = None,
    scale: Annotated[
        float,
        typer.Option(
            min=0.001, metavar="X", help="How long to train: the steps of every stage times this."
        ),
    ] = 1.0,
    faces: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Faces found by `python -m avcheck.train.facemesh`, beside those found while "
            "decoding.",
        ),
    ] = None,
) -> None:
    """Train the network on video that is in sync, by shifting its sound. Needs the extra train."""
    for path in data:
        require_directory(path)
    if math.isinf(scale):
        raise UsageError("--scale must be a number of at least 0.001, not inf")
    with _may_lack_opencv():
        from avcheck.train.run import train as run_training
    if start is not None:
        require_file("--from", start)
    if faces is not None:
        require_file("--faces", faces)
    settings = TrainSettings(
        data=tuple(data), out=out, device=device, seed=seed, resume=resume, start=start, faces=faces
    )
    path = run_training(settings.scaled(scale))
    print(path)


@app.command(name="eval", rich_help_panel=TRAINING)
def evaluate(
    corpus: Annotated[
        Path | None, typer.Argument(metavar="CORPUS", help="A corpus folder with its index.jsonl.")
    ] = None,
    device: Device = "auto",
    model: Model = None,
    rows: Annotated[
        Path | None,
        typer.Option(
            "--rows", metavar="FILE", help="Also write every single figure, one JSON object a line."
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Tables and plots of figures that --rows wrote earlier.",
        ),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option("--plots", metavar="FOLDER", help="Also draw plots there. Needs matplotlib."),
    ] = None,
    speed: Annotated[
        bool, typer.Option("--speed/--no-speed", help="Also measure speed and memory.")
    ] = True,
    small: Annotated[
        bool,
        typer.Option(
            "--small/--no-small",
            help="Also measure small faces and two talkers side by side (10 minutes of CPU).",
        ),
    ] = False,
    faces: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Which clips show a speaker, as found by `python -m avcheck.train.facemesh`.",
        ),
    ] = None,
    coverage: Annotated[
        bool,
        typer.Option(
            "--coverage",
            help="Measure whole speech clips alone: how many get an offset, also where it changes.",
        ),
    ] = False,
    added: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            help="Only clips added in this round of the corpus. May be repeated.",
        ),
    ] = None,
    last: Annotated[
        bool,
        typer.Option(
            "--last", help="Only clips set aside for the last table, which are left out otherwise."
        ),
    ] = False,
) -> None:
    """Measure the weights on the validation groups of a corpus and print the tables."""
    if plots is not None and plots.exists():
        require_directory(plots)
    if source is not None:
        if (
            corpus is not None
            or model is not None
            or rows is not None
            or faces is not None
            or coverage
            or added
            or last
        ):
            raise UsageError("--from measures nothing, so only --plots goes with it")
        require_file("--from", source)
        from avcheck.eval.rows import read_rows

        earlier = read_rows(source)
        from avcheck.eval.run import from_rows

        for text in from_rows(earlier, plots=plots, source=source):
            print(text, flush=True)
        return
    if corpus is None:
        raise UsageError("give a CORPUS to measure, or --from FILE with figures measured earlier")
    require_directory(corpus)
    if model is not None:
        require_file("--model", model)
    if faces is not None:
        require_file("--faces", faces)
    from avcheck.eval.run import EvalSettings
    from avcheck.eval.run import evaluate as run_evaluation

    settings = EvalSettings(
        corpus,
        model=model,
        device=device,
        rows=rows,
        plots=plots,
        speed=speed,
        small=small,
        faces=faces,
        coverage=coverage,
        added=tuple(added or ()),
        last=last,
    )
    with progress_bar(1, quiet=False) as bar:
        bar.on_file(corpus)
        for text in run_evaluation(
            settings, on_clip=lambda done, total: bar.on_progress(corpus, done / total)
        ):
            with bar.out_of_the_way():
                print(text, flush=True)


@app.command(rich_help_panel=TRAINING)
def ablate(
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS", help="A corpus folder with its index.jsonl.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where features, heads and rows go.")
    ] = Path("runs/ablation"),
    device: Device = "auto",
    model: Model = None,
    steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Optimiser steps a head.")
    ] = HeadSettings.steps,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Seed of the training. Repeated: one run of each head for each seed.",
        ),
    ] = None,
    go_on: Annotated[
        bool, typer.Option("--go-on", help="Heads begin as those of the weights, not from scratch.")
    ] = False,
    trunk_steps: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Also compare trunks with and without alignment, after so many steps (0: do not).",
        ),
    ] = 0,
    first_steps: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Also compare so many steps from scratch with and without generated scenes (0: "
            "do not).",
        ),
    ] = 0,
) -> None:
    """Train a head of every kind on the trunks of the weights and compare them. Resumes where it
    was stopped.
    """
    require_directory(corpus)
    if model is not None:
        require_file("--model", model)
    with _may_lack_opencv():
        from avcheck.eval.ablation import AblationSettings
        from avcheck.eval.ablation import ablate as run_ablation
        from avcheck.train.progress import progress
    settings = AblationSettings(
        corpus, out, model, device, steps, tuple(seed or (1,)), go_on, trunk_steps, first_steps
    )
    with progress() as bar_of:
        stages: dict[str, Callable[..., None]] = {}

        def on_step(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bar_of(stage)
            stages[stage](done, total)

        for text in run_ablation(settings, on_step=on_step):
            print(text, flush=True)
