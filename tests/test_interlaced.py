"""Interlaced pictures: each field is shown at its own time, and in its own place."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.filter import Graph
from av.video.frame import VideoFrame

from avcheck.media import open_media
from avcheck.media.fields import FieldSplitter, in_fields, is_combed
from avcheck.media.picture import moved_down
from tests.support.clips import Array
from tests.support.scenery import scenery

SIZE = (160, 120)
FIELD_S = 0.02
DARK, BRIGHT = (np.full(SIZE[::-1], level, np.uint8) for level in (30, 220))


def woven(first: Array, second: Array, top_first: bool) -> Array:
    """Two pictures as the fields of one."""
    whole = first.copy()
    at = 1 if top_first else 0
    whole[at::2] = second[at::2]
    return whole


def flagged(frame: VideoFrame, mode: str) -> VideoFrame:
    """The frame with the flag of `setfield`: tff, bff or prog."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
    )
    flag, sink = graph.add("setfield", mode), graph.add("buffersink")
    source.link_to(flag)
    flag.link_to(sink)
    graph.configure()
    graph.vpush(frame)
    return graph.vpull()


def filmed(path: Path, draw: Callable[[float], Array], top_first: bool = True) -> Path:
    """Two seconds with silence. libx264 goes by the flag of each frame."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream(
            "libx264", rate=25, options={"crf": "10", "flags": "+ilme+ildct"}
        )
        video.width, video.height = SIZE
        audio: Any = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        silence = AudioFrame.from_ndarray(np.zeros((1, 32000), np.int16), layout="mono")
        silence.sample_rate = 16000
        container.mux(audio.encode(silence))
        for number in range(50):
            time_s = number / 25
            luma = woven(draw(time_s), draw(time_s + FIELD_S), top_first)
            yuv = np.vstack([luma, np.full((SIZE[1] // 2, SIZE[0]), 128, np.uint8)])
            frame = VideoFrame.from_ndarray(yuv, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(flagged(frame, "tff" if top_first else "bff")))
        container.mux(video.encode(None))
    return path


def drawn(time_s: float) -> Array:
    return scenery(time_s, SIZE[1], SIZE[0])


@pytest.mark.parametrize("top_first", [True, False])
def test_each_field_shows_its_own_moment(tmp_path: Path, top_first: bool) -> None:
    path = filmed(tmp_path / "film.mkv", drawn, top_first)
    with open_media(path) as file:
        pictures = [(each.pts_s, each.luma.astype(float)) for each in file.pictures()]
        assert not file.degraded.truncated
    assert [time_s for time_s, _ in pictures] == pytest.approx(
        [FIELD_S * k for k in range(100)], abs=1.1e-3
    )
    tries_s = np.arange(-0.03, 0.031, 0.005)
    nearest_s = []
    for time_s, luma in pictures[10:90]:
        # Full range, as `luma` is
        unlike = [
            np.abs(luma - (drawn(time_s + each).astype(float) - 16) * 255 / 219).mean()
            for each in tries_s
        ]
        nearest_s.append(tries_s[int(np.argmin(unlike))])
    assert np.median(nearest_s[::2]) == pytest.approx(0, abs=0.0026)
    assert np.median(nearest_s[1::2]) == pytest.approx(0, abs=0.0026)


@pytest.mark.parametrize("top_first", [True, False])
def test_what_does_not_move_stays_where_it_is_from_field_to_field(
    tmp_path: Path, top_first: bool
) -> None:
    lines = np.arange(SIZE[1])[:, None]
    still = np.asarray(125 + 80 * np.sin(2 * np.pi * lines / 24), np.uint8).repeat(SIZE[0], axis=1)
    path = filmed(tmp_path / "still.mkv", lambda _: still, top_first)
    with open_media(path) as file:
        lumas = [each.luma.astype(float)[4:-4] for each in file.pictures()]
    # A line further down it differs by up to 24
    assert max(np.abs(each - lumas[0]).max() for each in lumas) < 6


def test_a_flash_between_the_fields_is_seen_when_it_comes(tmp_path: Path) -> None:
    path = filmed(tmp_path / "flash.mkv", lambda time_s: BRIGHT if time_s > 1.01 else DARK)
    with open_media(path) as file:
        lit = [each.pts_s for each in file.pictures() if each.luma.mean() > 128]
    assert lit[0] == pytest.approx(1.02, abs=1.1e-3)


def frame_of(kind: str, size: tuple[int, int], mode: str) -> VideoFrame:
    """A frame of lines that differ: line k is k times 8 (and 16 more)."""
    lines = (16 + 6 * np.arange(size[1], dtype=np.uint8))[:, None].repeat(size[0], axis=1)
    return flagged(VideoFrame.from_ndarray(lines, format="gray").reformat(format=kind), mode)


@pytest.mark.parametrize("kind", ["gray", "yuv420p", "yuv422p10le", "uyvy422", "rgb24", "nv12"])
@pytest.mark.parametrize("mode", ["tff", "bff"])
def test_frames_of_any_format_are_taken_apart(kind: str, mode: str) -> None:
    splitter = FieldSplitter()
    upper_first = mode == "tff"
    for size in ((32, 16), (64, 32)):
        frame = frame_of(kind, size, mode)
        fields = [splitter.field_of(frame, number) for number in (0, 1, 0)]
        assert {(each.frame.width, each.frame.height) for each in fields} == {
            (size[0], size[1] // 2)
        }
        assert [each.below < 0 for each in fields] == [upper_first, not upper_first, upper_first]
        first, second, again = (
            each.frame.reformat(format="gray").to_ndarray().astype(int) for each in fields
        )
        assert (first == again).all()
        # The lower field lies a line further down
        step = (second - first) if upper_first else (first - second)
        assert step.mean() == pytest.approx(6, abs=1.5)


def test_half_a_line_is_half_of_the_neighbour() -> None:
    luma = np.array([[10], [20], [40]], np.uint8)
    assert moved_down(luma, 0.5).tolist() == [[10], [15], [30]]
    assert moved_down(luma, -0.25).tolist() == [[12], [25], [40]]
    assert moved_down(luma, 0.0) is luma


def test_a_second_field_lies_half_way_to_what_follows() -> None:
    combed, whole = (
        flagged(VideoFrame.from_ndarray(lines, format="gray"), "tff")
        for lines in (woven(DARK, BRIGHT, top_first=True), BRIGHT)
    )
    woven_so = flagged(VideoFrame.from_ndarray(woven(DARK, BRIGHT, True), format="gray"), "prog")

    def shown(*frames: tuple[float, VideoFrame]) -> list[tuple[float, int | None]]:
        return [(round(each.time_s, 6), each.field) for each in in_fields(frames)]

    first_two = [(0.0, 0), (0.02, 1), (0.04, 0), (0.06, 1)]
    # What shows no comb counts as fields after the first that does
    after = [(0.08, 0), (0.1, 1)]
    assert shown((0.0, combed), (0.04, combed), (0.08, whole)) == [*first_two, *after]
    assert shown((0.0, whole), (0.04, combed), (0.08, woven_so)) == [
        (0.0, None),
        (0.04, 0),
        (0.06, 1),
        (0.08, None),
    ]
    # Before a gap, and at the end, as long as that before
    assert shown((0.0, combed), (0.04, combed), (5.0, combed)) == [*first_two, (5.0, 0), (5.02, 1)]
    # One alone does not say how long it lasts
    assert shown((0.0, combed)) == [(0.0, 0)]
    assert shown((0.0, woven_so), (0.04, whole)) == [(0.0, None), (0.04, None)]


@pytest.mark.parametrize("kind", ["gray", "yuv422p10le", "uyvy422", "rgb24"])
def test_what_is_of_one_moment_is_no_comb(kind: str) -> None:
    def combed(lines: Array) -> bool:
        return is_combed(VideoFrame.from_ndarray(lines, format="gray").reformat(format=kind))

    rng = np.random.default_rng(4)
    now, later = (drawn(time_s) for time_s in (3.0, 3.1))
    assert not combed(now)
    assert combed(woven(now, later, top_first=True))
    noisy = np.clip(now + rng.normal(0, 3, now.shape), 0, 255).astype(np.uint8)
    assert not combed(noisy)
    thin = now.copy()
    thin[60] = 255
    assert not combed(thin)
    # Something small that moves, in front of much that does not
    small = now.copy()
    small[40:72, 60:92] = woven(now, later, True)[40:72, 60:92]
    assert combed(small) == bool(np.abs(now.astype(int) - later)[40:72, 60:92].max() > 8)
    assert not combed(now[:6])
