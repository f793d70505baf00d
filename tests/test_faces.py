"""The face finder: where it says that faces are, and how they are followed from still to still."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from avcheck.errors import ModelError
from avcheck.network.shipped import FACES_NAME, shipped_path
from avcheck.network.weights import write_tensors
from avcheck.scan import faces
from avcheck.scan.faces import (
    FACE_SIDE,
    FaceFinder,
    Spot,
    face_finder,
    faces_in,
    local_contrast,
    spots,
)

torch.set_num_threads(1)

Array = np.ndarray[Any, Any]
SIDE = int(FACE_SIDE)


class BrightSquares(FaceFinder):
    """In place of the finder: a face is a square of `FACE_SIDE` px, white before black."""

    def __init__(self) -> None:
        super().__init__()
        edge = torch.full((1, 1, 2 * SIDE, 2 * SIDE), -1.0)
        edge[:, :, SIDE // 2 : -SIDE // 2, SIDE // 2 : -SIDE // 2] = 1.0
        self.edge = edge / SIDE**2 / 255

    def forward(self, luma: torch.Tensor) -> torch.Tensor:
        inside = F.conv2d(F.pad(luma, (SIDE,) * 4), self.edge)[:, :, 2:-1:4, 2:-1:4]
        return torch.cat([20 * (inside - 0.5), torch.zeros_like(inside)], dim=1)


def still(*squares: tuple[int, int, int]) -> Array:
    """Black, with white squares: x and y of the middle, side."""
    picture = np.zeros((240, 320), np.uint8)
    for x, y, side in squares:
        picture[y - side // 2 : y + side // 2, x - side // 2 : x + side // 2] = 255
    return picture


@pytest.mark.parametrize(("height", "width"), [(40, 64), (41, 67), (16, 90)])
def test_every_fourth_pixel_is_judged(height: int, width: int) -> None:
    output = FaceFinder().eval()(torch.rand(2, 1, height, width) * 255)
    assert output.shape == (2, 2, -(-height // 4), -(-width // 4))


def test_a_darker_picture_of_less_contrast_shows_the_same() -> None:
    luma = torch.from_numpy(np.random.default_rng(0).uniform(60, 250, (1, 1, 64, 80))).float()
    usual, darker = local_contrast(luma), local_contrast(0.6 * luma - 20)
    assert float((usual - darker).abs().max()) < 0.12 * float(usual.abs().max())
    assert float(local_contrast(torch.full((1, 1, 64, 80), 90.0)).abs().max()) < 1e-3


@pytest.mark.parametrize("side", [16, 32, 64, 128])
def test_a_face_of_any_size_is_found_where_it_is(side: int) -> None:
    (spot, *_) = spots(still((150, 120, side)), BrightSquares())
    assert (spot.x, spot.y) == pytest.approx((150, 120), abs=side / 4)
    assert spot.side == pytest.approx(side, rel=0.05)
    assert spot.chance > 0.8


def test_no_spot_lies_in_another_and_the_likeliest_comes_first() -> None:
    picture = still((60, 60, 16), (200, 150, 32))
    picture[40:80, 40:80] //= 2
    likely = spots(picture, BrightSquares())
    assert [round(spot.x / 10) for spot in likely] == [20]
    assert len(spots(still(), BrightSquares())) == 0


def test_of_thousands_of_peaks_only_the_likeliest_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A texture has as many, and each beside each are millions of comparisons."""
    peaks = [Spot(1 - k / 5000, 20.0 * (k // 50), 20.0 * (k % 50), 16.0) for k in range(2500)]
    apart, compared = faces._apart, []

    def counted(one: Spot, other: Spot) -> bool:
        compared.append(one)
        return apart(one, other)

    monkeypatch.setattr(faces, "_peaks", lambda *_: list(reversed(peaks)))
    monkeypatch.setattr(faces, "_apart", counted)
    assert spots(still(), BrightSquares(), [1.0]) == peaks[:8]
    assert len(compared) < 50


def following(monkeypatch: pytest.MonkeyPatch, *by_still: list[Spot]) -> list[faces.Face]:
    """What is made of spots in stills of pictures 25, 75, ..."""
    coming = iter(by_still)
    monkeypatch.setattr(faces, "spots", lambda *_: next(coming))
    numbers = [25 + 50 * k for k in range(len(by_still))]
    blank = np.zeros((8, 8), np.uint8)
    return faces_in([blank] * len(by_still), numbers, FaceFinder())


def test_a_face_is_followed_from_still_to_still(monkeypatch: pytest.MonkeyPatch) -> None:
    walker = [Spot(0.8, 50.0, 20.0 + 15 * k, 20.0) for k in range(4)]
    sitter = [Spot(0.6, 120.0, 60.0, 20.0) for _ in range(4)]
    first, second, third = following(
        monkeypatch, *([walker[k], sitter[k]] if k != 2 else [sitter[k]] for k in range(4))
    )
    assert first.pictures.tolist() == [25, 75, 125, 175]
    assert first.centres.tolist() == [[120.0, 60.0]] * 4
    assert tuple(np.median(first.centres, axis=0)) == (120.0, 60.0)
    assert (first.chance, first.side) == pytest.approx((0.6, 20.0))
    assert second.pictures.tolist() == [25, 75]
    assert second.centres[:, 1].tolist() == [20.0, 35.0]
    # Turned away in one still, and then further than a face moves from one to the next
    assert third.pictures.tolist() == [175]


def test_a_face_missed_in_a_still_is_the_same_face_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    face = Spot(0.9, 50.0, 50.0, 20.0)
    (only,) = following(monkeypatch, [face], [], [face])
    assert only.pictures.tolist() == [25, 125]
    assert only.chance == pytest.approx(0.6)  # of three stills


def test_a_face_of_another_size_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = Spot(0.9, 50.0, 50.0, 20.0), Spot(0.9, 52.0, 50.0, 40.0)
    assert len(following(monkeypatch, [small], [large])) == 2


def test_the_shipped_finder_is_small_and_sees_no_face_in_noise() -> None:
    assert shipped_path(FACES_NAME).stat().st_size < 500_000
    net = face_finder(torch.device("cpu"))
    assert not net.training
    noise = np.random.default_rng(0).integers(0, 255, (200, 300), np.uint8)
    assert all(spot.chance < 0.5 for spot in spots(noise, net))


def test_other_weights_are_no_finder(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write_tensors(path, {"out.bias": torch.zeros(3)}, {"format": faces.FORMAT})
    with pytest.raises(ModelError, match="face finder"):
        faces.read_finder(path)


def test_a_finder_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "FACES_SHA256", "0" * 64)
    face_finder.cache_clear()
    with pytest.raises(ModelError, match="install avcheck again"):
        face_finder(torch.device("cpu"))
    face_finder.cache_clear()
