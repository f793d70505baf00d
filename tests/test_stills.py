"""Stills: which moments are chosen, and that picture and sound are those of the moment, read back
from generated files.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avcheck.evidence.stills import MOST, PARTS, illustrate, moments
from avcheck.record.report import BlockResult, PictureFacts, Report, Segment, Stretch

Clip = Callable[..., Path]
SECONDS = 20
EVENT_S = 12.6


def report(
    path: Path | str = "a.mp4", telling: dict[int, float] | None = None, **changes: Any
) -> Report:
    """A file of 20 s with one stretch; `telling`: the attention of seconds that have more than the
    others, and an offset.
    """
    telling = telling or {12: 0.5}
    blocks = tuple(
        BlockResult(float(k), telling.get(k, 0.001), -40.0 if k in telling else None)
        for k in range(SECONDS)
    )
    made = Report(
        str(path),
        "out_of_sync",
        offset_ms=-40.0,
        confidence=1.0,
        stretches=(Stretch(0.0, float(SECONDS), -40.0, -40.0),),
        duration_s=float(SECONDS),
        audio_track=0,
        video_track=0,
        blocks=blocks,
    )
    return dataclasses.replace(made, **changes)


def grey(time_s: float) -> np.ndarray:
    """A picture that tells its time by its brightness: 40 at 0 s, 8 more each second."""
    return np.full((120, 160), round(40 + 8 * time_s), np.uint8)


# ---- the moments


def test_the_most_attended_seconds_are_chosen_apart_from_each_other() -> None:
    telling = {2: 0.3, 3: 0.29, 4: 0.28, 9: 0.2, 15: 0.4}
    assert moments(report(telling=telling), most=3) == (2.5, 9.5, 15.5)


def test_both_sides_of_a_jump_are_seen() -> None:
    telling = {0: 0.5, 4: 0.49, 8: 0.48, 14: 0.1, 18: 0.09}
    parts = (Stretch(0.0, 10.0, 0.0, 0.0), Stretch(12.0, 20.0, -200.0, -200.0))
    assert moments(report(telling=telling, stretches=parts), most=4) == (0.5, 4.5, 14.5, 18.5)


def test_a_file_without_any_attention_has_no_moment() -> None:
    assert moments(report(blocks=())) == ()
    assert moments(report(blocks=(BlockResult(0.0, 0.0, None),))) == ()


def test_of_a_test_signal_its_events_are_shown() -> None:
    events = tuple(Segment(1.5 + 2 * k, 1.5 + 2 * k, -100.0, 1.0) for k in range(9))
    facts = PictureFacts(160, 120, "50", 0.0)
    signal = report(measured_by="test_signal", segments=events, picture=facts)
    assert moments(signal, most=3) == pytest.approx((1.51, 9.51, 17.51))
    assert moments(dataclasses.replace(signal, segments=events[:2])) == pytest.approx((1.51, 3.51))


def test_there_are_never_more_than_six() -> None:
    assert len(moments(report(telling={k: 0.5 for k in range(SECONDS)}))) == MOST


# ---- picture and sound


@pytest.mark.parametrize(
    ("name", "options"), [("a.mp4", {}), ("a.mkv", {}), ("a.ts", {"start_s": 30.0})]
)
def test_picture_and_sound_are_those_of_the_moment(
    clip: Clip, name: str, options: dict[str, float]
) -> None:
    path = clip(name, seconds=SECONDS, draw=grey, events_s=(EVENT_S,), full_range=True, **options)
    illustration = illustrate(report(path, {12: 0.5, 5: 0.2}))
    assert illustration.reason == ""
    at = next(still for still in illustration.stills if abs(still.time_s - 12.5) < 0.05)
    assert (at.width, at.height) == (160, 120)
    with av.open(io.BytesIO(at.jpeg), "r", format="mjpeg") as file:
        picture = next(file.decode(video=0)).to_ndarray(format="gray")
    assert picture.shape == (120, 160)
    assert abs(float(picture.mean()) - (40 + 8 * 12.5)) < 5
    # The click at 12.6 s lies 1.1 s after the sound drawn begins, which is 1 s before the moment.
    part_s = (at.sound_end_s - at.sound_start_s) / PARTS
    loud = [k for k, peak in enumerate(at.peaks) if peak is not None and peak[1] > 0.3]
    assert abs(at.sound_start_s + loud[0] * part_s - EVENT_S) < 2.5 * part_s
    assert abs(at.sound_start_s - 11.5) < 0.01


# ---- what stands in the way


def test_a_file_that_is_gone_or_has_changed_has_no_stills(clip: Clip, tmp_path: Path) -> None:
    path = clip(seconds=SECONDS)
    status = path.stat()
    same = report(path, file_size=status.st_size, file_mtime_ns=status.st_mtime_ns)
    assert illustrate(same).stills
    assert (
        illustrate(dataclasses.replace(same, file_size=1)).reason
        == "The file has changed since it was checked."
    )
    assert illustrate(report(tmp_path / "gone.mp4")).reason == "The file is not there any more."
    path.write_bytes(b"no film")
    assert illustrate(report(path)).reason == "The file could not be opened again."


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"verdict": "error"}, "The file could not be judged."),
        ({"path": "https://example.com/a.mp4"}, "Stills are taken from local files only."),
    ],
)
def test_some_reports_have_none(changes: dict[str, Any], reason: str) -> None:
    assert illustrate(report(**changes)).reason == reason


def test_a_separate_sound_file_is_heard(clip: Clip) -> None:
    path = clip("a.mp4", seconds=SECONDS, draw=grey, acodec=None)
    sound = clip("a.wav", seconds=SECONDS, vcodec=None, acodec="pcm_s16le", events_s=(EVENT_S,))
    assert illustrate(report(path, audio_track=None)).reason == (
        "Its sound came from another file."
    )
    illustration = illustrate(report(path, audio_track=None), sound)
    assert any(
        peak is not None and peak[1] > 0.3 for still in illustration.stills for peak in still.peaks
    )
