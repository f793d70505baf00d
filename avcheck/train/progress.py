"""A progress line for each stage of a run, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Adds a line for the stage of this name, and gives what moves it: called with (done, total) or
# (done, total, loss)
AddLine = Callable[[str], Callable[..., None]]


@contextmanager
def progress() -> Iterator[AddLine]:
    """Show the lines that are added, until the end."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def add_line(name: str) -> Callable[..., None]:
            task = bar.add_task(name, total=None, loss="")

            def step(done: int, total: int, loss: float | None = None) -> None:
                bar.update(
                    task,
                    completed=done,
                    total=total,
                    loss="" if loss is None else f"loss {loss:.3f}",
                )

            return step

        yield add_line
