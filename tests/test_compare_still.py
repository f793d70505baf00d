"""Pictures in which little moves, as of somebody who sits and talks: what a transcode does to them
is no edit, and what shows something else is one.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from avcheck.compare.comparison import Comparison, Digest, compare_titles
from avcheck.compare.features import Recording, sound_track
from avcheck.compare.pictures import keep
from avcheck.media import MediaInfo, Picture, Sound
from avcheck.rates import SAMPLE_RATE
from avcheck.record.report import Degraded
from tests.support.scenery import noise, scenery

Array = np.ndarray[Any, Any]
Look = Callable[[Array, float], Array]
SECONDS, HEIGHT, WIDTH = 24.0, 48, 84
_Y, _X = np.mgrid[:HEIGHT, :WIDTH].astype(float)
_ROOM = np.kron(np.random.default_rng(3).integers(60, 180, (6, 7)).astype(float), np.ones((8, 12)))
_NODS = np.random.default_rng(4).uniform(0.2, 1.5, 6)


@cache
def talker(time_s: float) -> Array:
    """A room that stands still, and a head that nods by a pixel or two, with a mouth."""
    sway = np.sin(2 * np.pi * _NODS * time_s + 3 * _NODS)
    x, y = 42 + 1.5 * sway[0] + 0.8 * sway[1], 26 + 0.8 * sway[2]
    head = np.clip(12 * (1 - np.hypot((_X - x) / 11, (_Y - y) / 15)), 0, 1)
    mouth = np.clip(
        4 * (1 - np.hypot((_X - x) / 4, (_Y - y - 8) / (1.5 + sway[3] + 0.4 * sway[4]))), 0, 1
    )
    picture = _ROOM + head * (190 - _ROOM)
    picture += mouth * (40 - picture)
    grain = np.random.default_rng(round(1000 * time_s)).normal(0, 1.0, picture.shape)
    return np.clip(picture + grain, 16, 235).astype(np.uint8)


def whole(luma: Array, _: float) -> Array:
    return luma


def title(look: Look = whole, fps: float = 25, late_s: float = 0.0) -> Digest:
    times = (np.arange(round(SECONDS * fps)) / fps).tolist()
    pictures = keep(Picture(at, look(talker(int(at * 25 + 0.499) / 25), at)) for at in times)
    sound = Recording()
    heard = np.arange(round(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    sound.add(Sound(0.0, noise(SECONDS + 5)(heard - late_s).astype(np.float32)))
    info = cast(MediaInfo, SimpleNamespace(frame_rate=Fraction(fps)))
    return Digest(sound, sound_track(sound), pictures, info, Degraded())


def compared(file: Digest) -> Comparison:
    try:
        return compare_titles(_reference(), file)
    finally:
        file.close()


@cache
def _reference() -> Digest:
    return title()


def boxed(luma: Array, _: float) -> Array:
    return np.pad(luma, ((8, 8), (0, 0)), constant_values=16)


def pillared(luma: Array, _: float) -> Array:
    return np.pad(luma, ((0, 0), (12, 12)), constant_values=16)


def with_logo(luma: Array, _: float) -> Array:
    out = luma.copy()
    out[3:9, 68:80] = 235
    return out


def captioned(luma: Array, time_s: float) -> Array:
    """A line of text for two seconds of every three."""
    out = luma.copy()
    if time_s % 3 < 2:
        out[38:46, 8:76] //= 3
        out[40:44, 14 + int(time_s) % 5 : 60] = 230
    return out


def one_caption(luma: Array, time_s: float) -> Array:
    return captioned(luma, 0.5) if 10 <= time_s < 12 else luma


def brighter(luma: Array, _: float) -> Array:
    return np.clip(40 + 0.7 * luma, 0, 255).astype(np.uint8)


def coarser(luma: Array, _: float) -> Array:
    """As an encoder of few bits leaves it: in blocks, and in steps of eight levels."""
    return (luma[::4, ::4] // 8 * 8).repeat(4, axis=0).repeat(4, axis=1)


@pytest.mark.parametrize(
    "look", [boxed, pillared, with_logo, captioned, one_caption, brighter, coarser]
)
def test_what_a_transcode_does_where_little_moves_is_no_edit(look: Look) -> None:
    """Lines that stand still were taken for a letterbox, in one version and not in the other."""
    result = compared(title(look, late_s=0.08))
    assert result.edits == ()
    assert result.aligned_s == pytest.approx(result.duration_s, abs=1.0)
    # A quarter of a picture
    assert [change.start_ms for change in result.changes] == pytest.approx([-80], abs=10)


def test_another_rate_and_a_letterbox_where_little_moves_are_no_edit() -> None:
    result = compared(title(boxed, fps=30))
    assert result.edits == ()
    assert [change.start_ms for change in result.changes] == pytest.approx([0], abs=10)


def other(_: Array, time_s: float) -> Array:
    return scenery(500 + 1.3 * time_s, HEIGHT, 80)[:, np.arange(WIDTH) % 80]


def black(luma: Array, _: float) -> Array:
    return np.full_like(luma, 16)


def between(start_s: float, end_s: float, look: Look) -> Look:
    return lambda luma, time_s: look(luma, time_s) if start_s <= time_s < end_s else luma


@pytest.mark.parametrize(
    ("look", "length_s", "over"),
    [
        (other, 1.0, whole),
        (black, 3.0, captioned),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in ((black, 1.0, boxed), (other, 1.6, boxed), (other, 3.0, captioned))
        ),
    ],
)
def test_a_second_of_something_else_is_an_edit(look: Look, length_s: float, over: Look) -> None:
    put_in = between(9.0, 9.0 + length_s, look)
    result = compared(title(lambda luma, at: over(put_in(luma, at), at)))
    (edit,) = result.edits
    assert (edit.kind, edit.stream) == ("replaced", "picture")
    assert (edit.start_s, edit.end_s) == pytest.approx((9.0, 9.0 + length_s), abs=0.2)


def still(_: Array, __: float) -> Array:
    return talker(9.0)


@pytest.mark.parametrize("over", [whole, boxed, brighter, coarser])
def test_a_picture_that_stands_still_for_two_seconds_is_an_edit(over: Look) -> None:
    put_in = between(9.0, 11.0, still)
    result = compared(title(lambda luma, at: over(put_in(luma, at), at)))
    (edit,) = result.edits
    assert (edit.kind, edit.stream) == ("replaced", "picture")
    assert (edit.start_s, edit.end_s) == pytest.approx((9.0, 11.0), abs=0.45)


def lighter(luma: Array, _: float) -> Array:
    return np.clip(luma + 25.0, 0, 255).astype(np.uint8)


def test_a_picture_that_moves_as_it_did_is_the_same_in_another_light() -> None:
    assert compared(title(between(9.0, 12.0, lighter))).edits == ()


def test_something_else_in_a_lively_picture_is_an_edit() -> None:
    reference, file = (lively(put_in) for put_in in (False, True))
    result = compare_titles(reference, file)
    assert [(each.kind, each.stream) for each in result.edits] == [("replaced", "picture")]
    assert (result.edits[0].start_s, result.edits[0].end_s) == pytest.approx((12.0, 13.2), abs=0.2)
    reference.close()
    file.close()


def lively(put_in: bool) -> Digest:
    return title(lambda _, at: scenery(at + 300 * (put_in and 12.0 <= at < 13.2), HEIGHT, 80))
