"""The network over whole files: reports, reasons and errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avcheck.checker import Checker
from avcheck.errors import MediaError, ModelError
from avcheck.network import weights
from avcheck.network.heads import JointHead
from avcheck.network.model import SyncNet
from avcheck.network.model_config import ATTENTION_KINDS, AttentionKind
from avcheck.record.report import Report
from tests.support.clips import click
from tests.support.networks import TINY

torch.set_num_threads(1)


Array = np.ndarray[Any, Any]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    torch.manual_seed(0)
    net = SyncNet(TINY)
    heads = {kind: JointHead(replace(TINY, attention=kind)) for kind in ATTENTION_KINDS}
    weights.save(path, net, heads, calibration={"none": 3.0}, training={})
    return path


def scene(time_s: float) -> Array:
    rows, columns = np.mgrid[:96, :128]
    return (120 + 90 * np.sin(rows / 7 + 3 * time_s) * np.cos(columns / 9 - 5 * time_s)).astype(
        np.uint8
    )


def babble(times_s: Array) -> Array:
    return 0.3 * np.sin(2 * np.pi * 220 * times_s) * (
        1 + np.sin(2 * np.pi * 3 * times_s)
    ) / 2 + 0.2 * click(times_s % 0.5)


def test_a_file_gives_a_whole_report(clip: Callable[..., Path], model: Path) -> None:
    path = clip("film.mp4", seconds=4.2, size=(128, 96), draw=scene, play=babble)
    progress: list[float] = []
    checker = Checker(model, "cpu")
    report = checker.check(path, on_progress=progress.append)
    assert isinstance(report, Report)
    assert report.model_sha256 == checker.loaded.sha256
    assert len(report.model_sha256) == 64
    assert report.path == str(path)
    assert report.verdict in ("in_sync", "out_of_sync", "undecidable")
    assert (report.reason is None) == (report.verdict != "undecidable")
    assert report.tolerance.preset == "ebu-r37"
    assert report.audio_track == 0
    assert report.duration_s == pytest.approx(4.2, abs=0.1)
    assert report.container_offset_ms is not None
    assert len(report.blocks) == 5
    assert sum(item.attention for item in report.blocks) == pytest.approx(1.0, abs=1e-4)
    assert [item.start_s for item in report.blocks] == pytest.approx([0, 1, 2, 3, 4], abs=0.001)
    assert len(report.segments) == 1
    assert not report.degraded
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0.0, 1.0)
    # The same file gives the same report, whatever was checked in between.
    assert checker.check(path) == report


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_every_kind_of_attention_checks_a_file_of_a_second(
    clip: Callable[..., Path], model: Path, kind: AttentionKind
) -> None:
    report = Checker(model, "cpu", kind).check(
        clip(seconds=1.0, size=(96, 96), draw=lambda t: scene(t)[:, :96], play=babble)
    )
    assert report.verdict == "undecidable"
    assert report.reason is not None
    assert "it takes 2 s" in report.reason
    assert len(report.blocks) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"play": lambda times_s: 0 * times_s, "draw": scene, "size": (128, 96)},
            "the sound is silent",
        ),
        ({"play": babble, "events_s": ()}, "the picture is black or blank"),
        (
            {"play": babble, "draw": lambda _: scene(0.0), "size": (128, 96)},
            "the picture does not move",
        ),
    ],
)
def test_controls_are_undecidable_with_their_reason(
    clip: Callable[..., Path], model: Path, options: dict[str, Any], reason: str
) -> None:
    report = Checker(model, "cpu").check(clip(seconds=3.0, **options))
    assert (report.verdict, report.reason) == ("undecidable", reason)
    assert report.offset_ms is None


@pytest.mark.parametrize("rotation", [0, 90])
def test_a_phone_video_is_seen_upright(
    clip: Callable[..., Path], model: Path, rotation: int
) -> None:
    path = clip(seconds=2.0, size=(128, 96), draw=scene, play=babble, rotation=rotation)
    curves, info, _ = Checker(model, "cpu").curves(path)
    assert (info.width, info.height) == ((128, 96) if rotation == 0 else (96, 128))
    place = curves[0].grid[0]
    assert (place.height < place.width) == (rotation == 90)


def test_errors_of_file_and_model_are_typed(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ModelError):
        Checker(tmp_path / "none.safetensors", "cpu")
    (tmp_path / "text.mp4").write_text("not a film")
    with pytest.raises(MediaError):
        Checker(model, "cpu").check(tmp_path / "text.mp4")
