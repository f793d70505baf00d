"""A closer look at files: a small face is found, and what is gone keeps its verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avcheck import checker as checker_module
from avcheck.checker import Checker
from avcheck.errors import DecodeFailed
from avcheck.media import open_media
from avcheck.reading import choice as choice_module
from avcheck.record.report import DEFAULT_PRESET, PRESETS
from avcheck.scan import searching
from avcheck.scan.looking import LEVELS
from avcheck.scan.searching import CLOSER_SIDE, LEAST_SIDE, CloserLook, look_closer_for_all
from avcheck.scenes.generate import make_scene
from avcheck.verdict.judge import judge
from avcheck.verdict.posterior import Curve
from tests.support.clips import make_clip

torch.set_num_threads(1)


EBU = PRESETS[DEFAULT_PRESET]
Array = np.ndarray[Any, Any]


def wide_shot(path: Path, *, late_s: float, foreign: bool = False, seconds: float = 8.0) -> Path:
    """A drawn talker of 80 px, a head of 40 in it, before a moving ground of 528 x 528."""
    side, head = 528, 80
    scene = make_scene(
        "talking",
        seed=1,
        seconds=seconds,
        size=(head, head),
        sound_margin_s=1.0,
        head_share=0.5,
        studio=True,
    )
    other = make_scene("talking", seed=51, seconds=seconds, size=(16, 16), sound_margin_s=1.0)
    heard = other.samples if foreign else scene.samples
    cells = np.random.default_rng(3).integers(60, 180, (1, 1, side // 16 + 2, side // 16 + 2))
    ground = torch.nn.functional.interpolate(
        torch.from_numpy(cells).float(), size=(side + 40, side + 40), mode="bilinear"
    )

    def draw(time_s: float) -> Array:
        down = int(20 + 18 * np.sin(2 * time_s))
        picture = ground[0, 0, down : down + side, 5 : 5 + side].numpy().copy()
        picture[300 : 300 + head, 60 : 60 + head] = scene.frames[
            min(len(scene.frames) - 1, round(time_s * 25))
        ]
        return (picture * 219 / 255 + 16).astype(np.uint8)

    def play(times_s: Array) -> Array:
        return np.interp(times_s - late_s, np.arange(len(heard)) / scene.sample_rate - 1.0, heard)

    return make_clip(
        path, seconds=seconds, size=(side, side), draw=draw, play=play, sample_rate=16000
    )


@pytest.mark.slow
def test_a_small_face_is_undecidable_at_first_and_found_by_a_closer_look(tmp_path: Path) -> None:
    path = wide_shot(tmp_path / "wide.mp4", late_s=0.2)
    checker = Checker(device="cpu")
    curves, *_ = checker.curves(path)
    assert judge(curves, EBU, checker.calibration).verdict == "undecidable"
    report = checker.check(path)
    assert report.verdict == "out_of_sync"
    assert report.offset_ms == pytest.approx(-200, abs=40)


@pytest.mark.slow
def test_a_strangers_sound_stays_undecidable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []

    def counted(curves: list[Curve], *others: Any) -> list[CloserLook]:
        looked.append(curves[0].start_s)
        return look_closer_for_all(curves, *others)

    monkeypatch.setattr(checker_module, "look_closer_for_all", counted)
    report = Checker(device="cpu").check(
        wide_shot(tmp_path / "foreign.mp4", late_s=0.0, foreign=True)
    )
    assert report.verdict == "undecidable"
    assert report.offset_ms is None
    assert looked == [0.0]
    assert report.closer_look_cut
    assert "--thorough" in (report.reason or "")


def test_a_small_picture_is_searched_for_faces_alone(
    clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a picture that the first look saw whole, a search would show nothing new."""
    opened = []
    monkeypatch.setattr(searching, "_searched", lambda *_: pytest.fail("it was searched"))

    def counted(*args: Any, **options: Any) -> Any:
        opened.append(options["short_side"])
        return open_media(*args, **options)

    monkeypatch.setattr(choice_module, "open_media", counted)
    noise = np.random.default_rng(0).integers(30, 220, (8, 120, 160), np.uint8)
    path = clip(
        seconds=4.0,
        size=(160, 120),
        draw=lambda time_s: noise[round(time_s * 25) % 8],
        play=lambda times_s: 0.3 * np.sin(2000 * times_s) * (1 + np.sin(9 * times_s)),
    )
    assert min(noise.shape[1:]) < LEAST_SIDE
    report = Checker(device="cpu").check(path)
    assert report.verdict == "undecidable"
    assert not report.closer_look_cut
    assert opened[:2] == [max(LEVELS), CLOSER_SIDE]


NOISE = np.random.default_rng(0).integers(30, 220, (8, LEAST_SIDE, LEAST_SIDE), np.uint8)


def snow(time_s: float) -> np.ndarray[Any, Any]:
    return NOISE[round(time_s * 25) % 8]


def hum(times_s: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    sound: np.ndarray[Any, Any] = 0.3 * np.sin(2000 * times_s) * (1 + np.sin(9 * times_s))
    return sound


def noisy(clip: Callable[..., Path]) -> Path:
    """2 s that move and sound and show nothing, just large enough to be looked at closer."""
    return clip(seconds=2.0, size=(LEAST_SIDE, LEAST_SIDE), draw=snow, play=hum)


def test_a_file_that_is_gone_for_the_closer_look_keeps_its_first_verdict(
    clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def once(*args: Any, **options: Any) -> Any:
        opened.append(options["short_side"])
        if len(opened) > 1:
            raise DecodeFailed("clip.mp4", "the file went away")
        return open_media(*args, **options)

    monkeypatch.setattr(choice_module, "open_media", once)
    path = noisy(clip)
    assert Checker(device="cpu").check(path).verdict == "undecidable"
    assert opened[:2] == [max(LEVELS), CLOSER_SIDE]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        DecodeFailed("clip.mp4", "damage"),
    ],
)
def test_a_segment_that_cannot_be_looked_at_closer_stays_as_it_was(
    clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    looked = []

    def fails(*_: Any) -> Any:
        looked.append(1)
        raise error

    monkeypatch.setattr(checker_module, "look_closer_for_all", fails)
    path = noisy(clip)
    assert Checker(device="cpu").check(path).verdict == "undecidable"
    assert looked


def test_a_bug_in_a_closer_look_is_no_lack_of_memory(
    clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(checker_module, "look_closer_for_all", fails)
    path = noisy(clip)
    with pytest.raises(RuntimeError, match="shapes"):
        Checker(device="cpu").check(path)
