"""Camera shake is measured and taken out; what does not shake is left as it is."""

from __future__ import annotations

import numpy as np
import pytest

from avcheck.reading.stabilise import shake, steadied
from tests.support.shaken import Pictures, filmed, followed, unsteady


@pytest.mark.parametrize("size", [(120, 200), (200, 120), (64, 64), (160, 284)])
def test_how_far_a_camera_strayed_is_measured_to_a_fraction_of_a_pixel(
    size: tuple[int, int],
) -> None:
    course = unsteady(60)
    strayed = shake(filmed(course, size))
    assert strayed.shape == (60, 2)
    # What is seen moves against the camera; both courses without their mean over four seconds.
    smooth = followed(course)
    assert np.abs(strayed + (course - smooth)).max() < 0.5
    assert np.sqrt(((strayed + (course - smooth)) ** 2).mean()) < 0.15


def test_a_still_world_stands_still_again() -> None:
    pictures = filmed(unsteady(60))
    steady = steadied(pictures, shake(pictures))
    inner = (slice(None), slice(30, -30), slice(30, -30))

    def change(frames: Pictures) -> float:
        return float(np.abs(np.diff(frames[inner].astype(float), axis=0)).mean())

    noise_alone = change(filmed(np.zeros((60, 2))))
    assert change(pictures) > 3 * noise_alone
    assert change(steady) < 1.3 * noise_alone


def test_a_camera_on_a_tripod_leaves_every_picture_as_it_is() -> None:
    pictures = filmed(np.zeros((60, 2)), noise=3.0)
    pictures[::2, 70:82, 60:80] = 250  # a mouth
    strayed = shake(pictures)
    assert np.abs(strayed).max() < 0.1
    assert steadied(pictures, strayed) is pictures


def test_a_pan_stays_a_pan() -> None:
    course = np.stack([np.linspace(-20, 20, 240), np.zeros(240)], axis=1)
    strayed = shake(filmed(course))
    assert np.abs(strayed[60:-60]).max() < 0.3


def test_a_cut_is_no_movement() -> None:
    pictures = np.concatenate(
        [filmed(np.zeros((30, 2)), seed=1), filmed(np.zeros((30, 2)), seed=9)]
    )
    assert np.abs(shake(pictures)).max() < 0.1


@pytest.mark.parametrize("nothing", [0, 16, 255])
def test_what_shows_nothing_does_not_move(nothing: int) -> None:
    pictures = np.full((30, 48, 64), nothing, np.uint8)
    assert np.array_equal(shake(pictures), np.zeros((30, 2)))


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_pictures(count: int) -> None:
    pictures = (
        filmed(unsteady(4)[:count].reshape(count, 2)) if count else np.zeros((0, 40, 60), np.uint8)
    )
    strayed = shake(pictures)
    assert strayed.shape == (count, 2)
    assert np.isfinite(strayed).all()
    assert steadied(pictures, strayed).shape == pictures.shape


def test_long_runs_are_measured_in_pieces_without_a_seam() -> None:
    course = np.tile(unsteady(60), (10, 1))[:520]
    strayed = shake(filmed(course, (48, 64)))
    smooth = followed(course)
    assert np.abs((strayed + (course - smooth))[240:270]).max() < 0.5


def test_moved_by_whole_pixels_is_exact_and_borders_are_mirrored() -> None:
    picture = np.arange(20, dtype=np.uint8).reshape(1, 4, 5)
    (moved,) = steadied(picture, np.array([[2.0, -1.0]]))
    assert moved.tolist() == [
        [7, 8, 9, 8, 7],
        [2, 3, 4, 3, 2],
        [7, 8, 9, 8, 7],
        [12, 13, 14, 13, 12],
    ]
    (far,) = steadied(picture, np.array([[8.0, 6.0]]))  # one whole period either way
    assert np.array_equal(far, picture[0])


def test_moved_by_part_of_a_pixel_lies_between_its_neighbours() -> None:
    picture = np.array([[[0, 100, 200], [0, 100, 200]]], np.uint8)
    (moved,) = steadied(picture, np.array([[0.25, 0.0]]))
    assert moved.tolist() == [[25, 125, 175]] * 2  # the last between 200 and what is mirrored, 100
