"""A closer look at one segment: faces first, in the middle of their windows, within a budget."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from avcheck.network.model import SyncNet
from avcheck.network.trunks import PLACE_PX
from avcheck.network.weights import Loaded
from avcheck.reading.blocks import BLOCK_FRAMES, Block
from avcheck.reading.segments import Window
from avcheck.scan import searching
from avcheck.scan.faces import Face
from avcheck.scan.looking import Look, places_in
from avcheck.scan.searching import (
    FACE_SIDE,
    FACE_WINDOW,
    LEAST_SIDE,
    SEARCH_SIDE,
    look_closer,
)
from avcheck.verdict.posterior import Curve
from tests.support.curves import curve
from tests.support.networks import TINY

torch.set_num_threads(1)

Array = np.ndarray[Any, Any]
HEIGHT, WIDTH, SECONDS = LEAST_SIDE, 400, 4
COUNT = SECONDS * BLOCK_FRAMES
WINDOW_PX = FACE_WINDOW * PLACE_PX


def walking(right_px: float) -> Array:
    """A white square of 16 px before grey, that moves by so much to the right in all, (T, H, W)."""
    pictures = np.full((COUNT, HEIGHT, WIDTH), 90, np.uint8)
    for number in range(COUNT):
        left = 100 + round(right_px * number / COUNT)
        pictures[number, 152:168, left : left + 16] = 255
    return pictures


def window_of(pictures: Array) -> Window:
    """A segment with these pictures, and a hum."""
    rng = np.random.default_rng(0)
    inside = [
        Block(
            index=k,
            start_s=float(k),
            pictures=pictures[k * BLOCK_FRAMES : (k + 1) * BLOCK_FRAMES],
            picture_mask=np.ones(BLOCK_FRAMES, np.bool_),
            mel=rng.normal(size=(100, 64)).astype(np.float32),
            mel_mask=np.ones(100, np.bool_),
            level_db=-20.0,
        )
        for k in range(SECONDS)
    ]
    return Window(inside)


def face_of(right_px: float, side: float = 16.0) -> Face:
    """What the finder says of it, in the middle of every other second."""
    numbers = np.arange(25, COUNT, 50)
    centres = np.stack([np.full(len(numbers), 160.0), 108 + right_px * numbers / COUNT], axis=1)
    return Face(0.9, side, numbers, centres)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[Array]:
    """The pictures that were looked at, in place of looking."""
    looked: list[Array] = []

    def look(pictures: Array, shown: Array, start_s: float, model: Any, levels: Any) -> Look:
        looked.append(pictures)
        rows, columns = (math.ceil(side / PLACE_PX) for side in pictures.shape[1:])
        grid = tuple(places_in(levels[0], (rows, columns), pictures.shape[1:]))
        features = torch.nn.functional.normalize(
            torch.ones(1, len(pictures), len(grid), TINY.embedding), dim=-1
        )
        return Look(start_s, features, grid, shown)

    monkeypatch.setattr(searching, "look_as_it_is", look)
    return looked


@pytest.fixture
def model() -> Loaded:
    torch.manual_seed(0)
    return Loaded(SyncNet(TINY).eval(), "", torch.device("cpu"), False, {}, {})


def faces_are(monkeypatch: pytest.MonkeyPatch, *faces: Face) -> None:
    monkeypatch.setattr(searching, "faces_in", lambda *_: list(faces))


def blank_curve() -> Curve:
    return curve(None, blocks=SECONDS)


@pytest.mark.parametrize("right_px", [0.0, 60.0])
def test_a_face_is_brought_to_its_size_and_stays_in_the_middle(
    monkeypatch: pytest.MonkeyPatch, windows: list[Array], model: Loaded, right_px: float
) -> None:
    faces_are(monkeypatch, face_of(right_px))
    look_closer(blank_curve(), window_of(walking(right_px)), model, 2e5)
    pictures = windows[0]
    assert pictures.shape == (COUNT, WINDOW_PX, WINDOW_PX)
    for picture in pictures[30:80:10]:
        rows, columns = np.nonzero(picture > 170)
        assert len(rows) == pytest.approx(FACE_SIDE**2, rel=0.15)
        assert columns.mean() == pytest.approx(WINDOW_PX / 2, abs=7)
        # The mouth lies below the middle of a face
        assert rows.mean() == pytest.approx(WINDOW_PX / 2 - 0.1 * FACE_SIDE, abs=5)


@pytest.mark.parametrize("with_the_face", [False, True])
def test_a_face_is_held_steady_by_itself_whatever_shakes_behind_it(
    monkeypatch: pytest.MonkeyPatch, windows: list[Array], model: Loaded, with_the_face: bool
) -> None:
    rng = np.random.default_rng(3)
    strayed = rng.integers(-9, 10, (COUNT, 2))
    ground = rng.integers(0, 90, (HEIGHT // 8 + 6, WIDTH // 8 + 6)).astype(np.uint8)
    ground = ground.repeat(8, axis=0).repeat(8, axis=1)
    pictures = np.zeros((COUNT, HEIGHT, WIDTH), np.uint8)
    for picture, (down, right) in zip(pictures, strayed, strict=True):
        top, left = 12 - down, 12 - right  # what moves down is cut from further up
        picture[:] = ground[top : top + HEIGHT, left : left + WIDTH]
        row, column = (152 + down, 100 + right) if with_the_face else (152, 100)
        picture[row : row + 16, column : column + 16] = 255
    face = face_of(0.0)
    if with_the_face:
        face = replace(face, centres=face.centres + strayed[face.pictures])
    faces_are(monkeypatch, face)
    look_closer(blank_curve(), window_of(pictures), model, 2e5)
    middles = [np.argwhere(picture > 170).mean(axis=0) for picture in windows[0]]
    scale = FACE_SIDE / face.side
    assert np.abs(middles - np.median(middles, axis=0)).mean() < 0.5 * scale


def test_the_places_are_told_as_those_of_the_whole_picture(
    monkeypatch: pytest.MonkeyPatch, windows: list[Array], model: Loaded
) -> None:
    faces_are(monkeypatch, face_of(0.0))
    closer = look_closer(blank_curve(), window_of(walking(0.0)), model, 2e5)
    for place in closer.curve.grid:
        assert place.y == pytest.approx(160 / HEIGHT, abs=0.06)
        assert place.x == pytest.approx(108 / WIDTH, abs=0.06)


def test_a_large_face_at_the_edge_has_a_window_within_the_picture(
    monkeypatch: pytest.MonkeyPatch, windows: list[Array], model: Loaded
) -> None:
    large = Face(0.9, 400.0, np.array([25]), np.array([[10.0, 390.0]]))
    faces_are(monkeypatch, large)
    closer = look_closer(blank_curve(), window_of(walking(0.0)), model, 2e5)
    assert windows[0].shape[1:] == (WINDOW_PX, WINDOW_PX)
    assert all(0 < place.y < 1 and 0 < place.x < 1 for place in closer.curve.grid)


COST_OF_A_WINDOW = FACE_WINDOW**2 * COUNT


@pytest.mark.parametrize(("windows_paid", "looked"), [(0.5, 0), (1.5, 1), (2.5, 2), (9.5, 3)])
def test_as_many_faces_are_looked_at_as_the_budget_allows(
    monkeypatch: pytest.MonkeyPatch,
    windows: list[Array],
    model: Loaded,
    windows_paid: float,
    looked: int,
) -> None:
    faces_are(monkeypatch, *[face_of(0.0)] * 5)
    monkeypatch.setattr(searching, "_look_where_it_sounds", lambda *_: ([], 0.0))
    places = math.ceil(HEIGHT / PLACE_PX) * math.ceil(WIDTH / PLACE_PX)
    finding = 2 * places * (1 + 1 / 4 + 1 / 16 + 1 / 64)
    closer = look_closer(
        blank_curve(),
        window_of(walking(0.0)),
        model,
        finding + windows_paid * COST_OF_A_WINDOW,
    )
    assert len(windows) == looked
    assert closer.spent == pytest.approx(finding + looked * COST_OF_A_WINDOW if looked else 0.0)


@pytest.mark.parametrize(("sureness", "looked", "searched"), [(1.0, 1, False), (0.5, 3, True)])
def test_the_first_face_that_makes_it_sure_ends_the_look(
    monkeypatch: pytest.MonkeyPatch,
    windows: list[Array],
    model: Loaded,
    sureness: float,
    looked: int,
    searched: bool,
) -> None:
    faces_are(monkeypatch, *[face_of(0.0)] * 3)
    asked = []
    monkeypatch.setattr(searching, "sureness", lambda *_: sureness)

    def asking(*_: Any) -> tuple[list[Look], float]:
        asked.append(1)
        return [], 0.0

    monkeypatch.setattr(searching, "_look_where_it_sounds", asking)
    closer = look_closer(blank_curve(), window_of(walking(0.0)), model, 2e5)
    assert len(windows) == closer.curve.chosen_from == looked
    assert bool(asked) == searched
    assert closer.cut == searched


def test_nothing_is_searched_where_faces_alone_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, windows: list[Array], model: Loaded
) -> None:
    faces_are(monkeypatch, face_of(0.0))
    monkeypatch.setattr(searching, "_look_where_it_sounds", lambda *_: pytest.fail("searched"))
    closer = look_closer(blank_curve(), window_of(walking(0.0)), model, 2e6, faces_alone=True)
    assert len(windows) == 1
    assert closer.cut


def test_a_picture_that_was_seen_whole_at_first_is_searched_for_faces_alone(
    monkeypatch: pytest.MonkeyPatch, windows: list[Array], model: Loaded
) -> None:
    assert SEARCH_SIDE >= LEAST_SIDE
    faces_are(monkeypatch)
    own = blank_curve()
    small = walking(0.0)[:, : LEAST_SIDE - 8]
    closer = look_closer(own, window_of(small), model, 2e6)
    assert closer.curve is own
    assert not windows
    assert not closer.cut
    assert closer.spent > 0
