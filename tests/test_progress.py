"""The progress of a check follows the work of the visual trunk, and the bar says what it waits
for.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.progress import Progress, TextColumn
from torch import Tensor

from avcheck.cli.screen import Bar
from avcheck.network.model_config import ModelConfig
from avcheck.network.trunks import VisualTrunk
from avcheck.scan import progress
from avcheck.scan.curves import LEARN_LEVEL_EVERY
from avcheck.scan.looking import LEVELS


class Trunk(VisualTrunk):
    """Sees a second of pictures at a time, and nothing in them."""

    def __init__(self) -> None:
        super().__init__(ModelConfig())

    def forward(self, pictures: Tensor) -> tuple[Tensor, tuple[int, int]]:
        for _ in range(0, pictures.shape[1], 25):
            if self.on_seen is not None:
                self.on_seen(25, min(pictures.shape[2:]))
        return pictures, (1, 1)


def look(
    trunk: VisualTrunk,
    seconds: int,
    end_segment: Callable[[], None] = lambda: None,
    *,
    learnt: tuple[int, ...] = LEVELS,
    favourite: int = LEVELS[1],
) -> None:
    """What a scan shows the trunk: every sixth segment of 10 s at the levels `learnt`, the others
    at their `favourite`.
    """
    for segment in range(seconds // 10):
        for level in learnt if segment % LEARN_LEVEL_EVERY == 0 else (favourite,):
            trunk(torch.empty(1, 250, level, level * 2))
        end_segment()


@pytest.mark.parametrize("seconds", [10, 120, 600])
def test_progress_rises_with_the_work(seconds: int) -> None:
    heard: list[float] = []
    trunk = Trunk()
    with progress.first_look(trunk, seconds, heard.append) as end_segment:
        look(trunk, seconds, end_segment)
    below = [each for each in heard if each < heard[-1]]
    assert heard == sorted(heard) and len(set(below)) == len(below) > 0.95 * len(heard)
    assert heard[0] < 0.02 and heard[-1] == pytest.approx(0.99 * progress.FIRST_LOOK)
    with progress.closer_look(trunk, heard.append):
        look(trunk, 30)
    assert heard == sorted(heard) and heard[-2] < heard[-1] == 1.0
    heard.clear()
    look(trunk, 10)
    assert heard == []  # nobody listens any more


def test_of_a_title_that_is_sure_at_small_sizes_less_is_expected() -> None:
    heard: list[float] = []
    trunk = Trunk()
    with progress.first_look(trunk, 240, heard.append) as end_segment:
        look(trunk, 240, end_segment, learnt=LEVELS[:2], favourite=LEVELS[0])
    # 24 segments, of which four cost three times as much as the others
    assert heard[len(heard) // 2] == pytest.approx(0.5 * progress.FIRST_LOOK, abs=0.05)
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(0.99 * progress.FIRST_LOOK)


def test_nobody_has_to_listen() -> None:
    trunk = Trunk()
    with progress.first_look(trunk, 10, None) as end_segment, progress.closer_look(trunk, None):
        look(trunk, 10, end_segment)


def test_the_bar_says_that_the_network_is_loaded_and_then_how_far_it_is() -> None:
    rich = Progress(TextColumn("{task.description}"), console=Console(file=io.StringIO()))
    bar = Bar(2, rich)
    assert rich.tasks[0].description == "starting"
    bar.on_file(Path("lib/a.mp4"))
    assert rich.tasks[0].description == "0/2 done: a.mp4 (loading the network)"
    bar.on_progress(Path("lib/a.mp4"), 0.5)
    assert (rich.tasks[0].description, rich.tasks[0].completed) == ("0/2 done: a.mp4", 0.5)
    with bar.out_of_the_way("lib/a.mp4"):
        assert rich.tasks[0].description.endswith(" a minute")
    bar.on_file(Path("lib/b.mp4"))
    assert rich.tasks[0].description.endswith(": b.mp4")  # it is loaded once
    assert rich.tasks[0].completed == 1


@pytest.mark.parametrize(
    ("done", "seconds", "speed"), [(1, 24, "2.5"), (9, 60, "9.0"), (78, 1, "4680"), (1, 0, "60000")]
)
def test_the_bar_says_how_many_files_a_minute_in_plain_figures(
    done: int, seconds: float, speed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [10.0]
    monkeypatch.setattr("avcheck.cli.screen.time.monotonic", lambda: clock[0])
    rich = Progress(TextColumn("{task.description}"), console=Console(file=io.StringIO()))
    bar = Bar(100, rich)
    clock[0] += seconds
    for n in range(done):
        bar.done(Path(f"{n}.mp4"))
    assert rich.tasks[0].description == f"{done}/100 done, {speed} a minute"
