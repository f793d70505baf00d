"""What training draws from a clip: windows, their sound, and how both are treated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.shaken import filmed, unsteady

pytest.importorskip("cv2")
from avcheck.reading.mel import MEL_MARGIN, log_mel
from avcheck.scenes.generate import make_scene
from avcheck.train import augment, measure, sampling
from avcheck.train.sampling import EDGE_FRAMES, Recipe, read_sound
from tests.support.stairs import A_FRAME, PLAIN, Array, cached, stairs

torch.set_num_threads(1)


@pytest.mark.parametrize("start", [20.0, 20.37, 7.5, 3.0])
def test_sound_is_read_where_it_is_asked_for(start: float) -> None:
    rng = np.random.default_rng(0)
    clip = cached(
        np.zeros((60, 8, 8), np.uint8), rng.integers(-20000, 20000, 60 * A_FRAME).astype(np.int16)
    )
    samples, valid = read_sound(clip, start, 10)
    assert len(samples) == 10 * A_FRAME + 2 * MEL_MARGIN
    first = round(start * A_FRAME) - MEL_MARGIN
    assert np.array_equal(
        samples, clip.samples[first : first + len(samples)].astype(np.float32) / 32768
    )
    assert valid.all()
    assert log_mel(samples).shape == (40, 64)


@pytest.mark.parametrize("pace", [0.9, 1.1])
def test_sound_at_another_pace_is_read_where_the_pictures_are(pace: float) -> None:
    ramp = np.arange(100 * A_FRAME) / 8.0
    clip = cached(np.zeros((100, 8, 8), np.uint8), ramp.astype(np.int16))
    samples, valid = read_sound(clip, 30.0, 20, pace)
    positions = 30.0 * A_FRAME + (np.arange(len(samples)) - MEL_MARGIN) * pace
    assert np.abs(samples * 32768 - positions / 8.0).max() < 1.0
    assert valid.all()
    _, late = read_sound(clip, 80.0, 20, pace)
    assert int(late.sum()) == np.count_nonzero(80.0 + np.arange(20) * pace <= 96.0)


def test_a_sample_at_another_pace_still_matches_at_its_centre() -> None:
    """Each picture shows its number and sounds like it: at the true shift both agree, whatever the
    pace.
    """
    clip = stairs(200, late=2.0)
    recipe = replace(PLAIN, frames=40, speed=0.15, strength=0.0)
    paces = set()
    for seed in range(12):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sampling, "treat_pictures", lambda pictures, *_: pictures)
            patch.setattr(sampling, "treat_sound", lambda samples, *_: samples)
            patch.setattr(sampling, "treat_mel", lambda mel, *_: mel)
            patch.setattr(sampling, "log_mel", lambda samples: samples)
            sample = sampling.draw(clip, recipe, np.random.default_rng(seed), [])
        assert sample is not None
        shown = sample.pictures[:, 24, 24].astype(float)
        middle = MEL_MARGIN + (np.arange(40) + recipe.margin + sample.centre + 0.5) * A_FRAME
        heard = sample.mel[middle.round().astype(int)] * 32768 / 100
        paces.add(round((shown[-1] - shown[0]) / 39, 1))
        assert np.abs(heard - shown).max() <= 1.2
        assert abs(float((heard - shown).mean())) < 0.7
    assert len(paces) > 1


@pytest.mark.parametrize("start", [-8.0, -2.4, 52.0, 58.3, -100.0, 200.0])
def test_sound_beyond_the_clip_is_silent_and_not_valid(start: float) -> None:
    clip = cached(np.zeros((60, 8, 8), np.uint8), np.full(60 * A_FRAME, 16384, np.int16))
    samples, valid = read_sound(clip, start, 10)
    index = round(start * A_FRAME) - MEL_MARGIN + np.arange(len(samples))
    assert np.array_equal(samples != 0, (index >= 0) & (index < 60 * A_FRAME))
    moment = start + np.arange(10)
    # Neither end of a clip is used, and every valid picture's whole sound is inside.
    assert np.array_equal(valid, (moment >= EDGE_FRAMES) & (moment + 1 <= 60 - EDGE_FRAMES))


@pytest.mark.parametrize("late", [-5.0, 0.0, 3.0, 4.6])
def test_a_sample_matches_when_its_sound_is_read_centre_pictures_later(
    late: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound that is late by `late` pictures, and is known to be: at shift `centre` the picture's
    own sound is read.
    """
    clip = stairs(120, late)
    monkeypatch.setattr(sampling, "log_mel", lambda samples: samples)
    recipe = replace(PLAIN, size=(16, 16))
    monkeypatch.setattr(sampling, "treat_pictures", lambda pictures, *_: pictures)
    monkeypatch.setattr(sampling, "treat_sound", lambda samples, *_: samples)
    monkeypatch.setattr(sampling, "treat_mel", lambda mel, *_: mel)
    for seed in range(20):
        sample = sampling.draw(clip, recipe, np.random.default_rng(seed), ())
        assert sample is not None
        assert -0.5 <= sample.centre <= 0.5
        assert sample.pictures.shape == (20, 16, 16)
        assert sample.valid.shape == (11,)
        first = int(sample.pictures[0, 8, 8])
        assert sample.pictures[:, 8, 8].tolist() == list(range(first, first + 20))
        samples = np.asarray(sample.mel)[MEL_MARGIN:]  # log_mel is not applied here
        # Index 0 of the sound belongs to shift -margin; half a picture further on is the middle of
        # a stair.
        for k in (0, 7, 19):
            at = round((recipe.margin + sample.centre + k + 0.5) * A_FRAME)
            assert round(float(samples[at]) * 32768 / 100) == first + k


@pytest.mark.parametrize("offset", [0.0, -5.7, 6.0])
def test_windows_leave_room_for_the_clips_own_offset(offset: float) -> None:
    clip = stairs(60, offset)
    span = sampling.room(clip, 20)
    assert span is not None
    low, high = span
    assert low - abs(offset) >= EDGE_FRAMES
    assert high + 20 + abs(offset) <= 60 - EDGE_FRAMES
    assert sampling.room(clip, 60) is None


def test_valid_shifts_are_those_whose_sound_is_in_the_clip() -> None:
    clip = stairs(40)
    for seed in range(20):
        sample = sampling.draw(clip, replace(PLAIN, margin=15), np.random.default_rng(seed), ())
        assert sample is not None
        assert sample.valid[15]
        runs = np.flatnonzero(np.diff(sample.valid.astype(int)))
        assert len(runs) == 2  # one run of valid shifts, invalid ones on either side


def test_draws_are_repeatable_and_treated_harder_with_strength() -> None:
    scene = make_scene("talking", seed=3, seconds=3.0, size=(96, 96))
    clip = cached(scene.frames, (scene.samples * 32767).astype(np.int16))
    for strength in (0.0, 0.5, 1.0):
        recipe = replace(PLAIN, strength=strength)
        for seed in range(12):
            a, b = (
                sampling.draw(clip, recipe, np.random.default_rng(seed), [clip]) for _ in range(2)
            )
            assert a is not None
            assert b is not None
            for name in a._fields:
                assert np.array_equal(getattr(a, name), getattr(b, name)), name
            assert a.pictures.dtype == np.uint8
            assert a.mel.shape == (4 * 30, 64)
            assert np.isfinite(a.mel).all()


def test_recompressing_a_moving_picture_gives_the_same_each_time() -> None:
    scene = make_scene("talking", seed=3, seconds=3.0, size=(96, 96))
    pictures = np.stack([np.roll(scene.frames[k], (k, 2 * k), (0, 1)) for k in range(60)])
    first = augment._recompress(pictures, quality=30)
    assert not np.array_equal(first, pictures)
    rng = np.random.default_rng(0)
    # Memory of many sizes taken and left in between, so that the coder meets others' leavings
    for _ in range(10):
        [rng.integers(0, 255, int(rng.integers(1, 300_000)), np.uint8) for _ in range(10)]
        assert np.array_equal(augment._recompress(pictures, quality=30), first)


def test_crops_are_cut_around_the_mouth() -> None:
    frames = np.zeros((40, 120, 160), np.uint8)
    frames[:, 78:90, 90:110] = 255  # the mouth of a face at (100, 70) of width 50
    faces = np.array([[t, 100.0, 70.0, 50.0] for t in np.arange(0, 1.6, 0.4)], np.float32)
    clip = cached(frames, np.zeros(40 * A_FRAME, np.int16), faces=faces)
    for seed in range(8):
        sample = sampling.draw(clip, replace(PLAIN, view="crop"), np.random.default_rng(seed), ())
        assert sample is not None
        rows, columns = np.nonzero(sample.pictures[0] > 128)
        assert abs(rows.mean() - 23.5) < 10
        assert abs(columns.mean() - 23.5) < 10
    assert (
        sampling.draw(
            replace(clip, faces=faces[:0]),
            replace(PLAIN, view="crop"),
            np.random.default_rng(0),
            (),
        )
        is None
    )


def test_a_window_is_cut_where_its_box_says() -> None:
    frame = np.arange(100 * 140, dtype=np.int64).reshape(1, 100, 140) % 251
    box = sampling.window_map(70.0, 50.0, 1.0, (20, 30), False)
    assert np.array_equal(
        sampling.cut(frame.astype(np.uint8), box, (20, 30))[0], frame[0, 40:60, 55:85]
    )


def test_recompressed_pictures_keep_their_order_and_size() -> None:
    frames = np.stack([np.full((51, 64), 20 + 6 * k, np.uint8) for k in range(30)])
    frames[:, 10:30, 10:30] += 40
    back = augment._recompress(frames, quality=30)
    assert back.shape == frames.shape
    assert np.abs(back.astype(int) - frames).mean() < 4
    assert not np.array_equal(back, frames)


def test_a_held_camera_drifts_about_the_window_and_stays_near_it() -> None:
    box = sampling.window_map(70.0, 50.0, 1.5, (40, 60), True)
    recipe = replace(PLAIN, size=(40, 60), strength=1.0)
    maps = [sampling._held(box, recipe, np.random.default_rng(seed)) for seed in range(40)]
    moving = [item for item in maps if item.ndim == 3]
    assert 10 < len(moving) < 40
    assert all(item.shape == (recipe.frames, 2, 3) for item in moving)
    assert all(np.ptp(item[:, 0, 2]) > 0 for item in moving)
    middle = np.array([30.0, 20.0, 1.0])
    centres = np.array([(item if item.ndim == 2 else item.mean(axis=0)) @ middle for item in maps])
    assert np.abs(centres - [70.0, 50.0]).max() < 1e-3  # turned and stretched about its middle
    assert np.array_equal(
        sampling._held(box, replace(recipe, strength=0.0), np.random.default_rng(0)), box
    )


def test_windows_of_whole_pictures_are_held_steady_as_in_a_check() -> None:
    item = cached(filmed(unsteady(120), (96, 128)), np.zeros(120 * A_FRAME, np.int16))

    def change(pictures: Array) -> float:
        return float(np.abs(np.diff(pictures[:, 16:-16, 16:-16].astype(float), axis=0)).mean())

    recipe = Recipe("frame", (96, 128), frames=60, margin=5, strength=0.0)
    drawn, viewed = [], []
    for steady in (False, True):
        sample = sampling.draw(item, replace(recipe, steady=steady), np.random.default_rng(1), [])
        assert sample is not None
        drawn.append(change(sample.pictures))
        window = measure.view_of(item, 20, 60, replace(recipe, steady=steady))
        assert window is not None
        viewed.append(change(window))
    assert drawn[1] < 0.6 * drawn[0]
    assert viewed[1] < 0.6 * viewed[0]


@pytest.mark.parametrize("flip", [False, True])
def test_somebody_else_is_put_beside_the_face_and_never_over_it(flip: bool) -> None:
    other = cached(np.full((60, 90, 120), 200, np.uint8), np.zeros(60 * A_FRAME, np.int16))
    recipe = replace(PLAIN, size=(48, 96))
    box = sampling.window_map(60.0, 45.0, 1.0, (48, 96), flip)
    for x in (30.0, 60.0, 90.0):
        face = sampling.Face(x, 45.0, 20.0)
        at = round((x - box[0, 2]) / box[0, 0])
        pictures = np.zeros((recipe.frames, 48, 96), np.uint8)
        sampling._stand_beside(pictures, face, box, recipe, np.random.default_rng(0), [other])
        assert (pictures == 200).any()
        assert not pictures[:, :, max(0, at - 10) : at + 10].any()
    untouched = np.zeros((recipe.frames, 48, 96), np.uint8)
    sampling._stand_beside(untouched, None, box, recipe, np.random.default_rng(0), [other])
    assert not untouched.any()


def test_a_room_rings_on_and_leaves_the_direct_sound_in_place() -> None:
    click = np.zeros(16_000, np.float32)
    click[5_000] = 1.0
    wet = augment._in_a_room(click, np.random.default_rng(0))
    assert int(np.abs(wet).argmax()) == 5_000
    assert not np.abs(wet[:4_999]).max() > 1e-4
    assert np.abs(wet[5_050:7_000]).sum() > 0.5


def test_another_vocal_tract_moves_bands_and_no_columns() -> None:
    mel = np.full((40, 64), -10.0, np.float32)
    mel[17, 30] = 0.0
    peaks = set()
    for seed in range(30):
        out = augment.treat_mel(mel, 1.0, np.random.default_rng(seed))
        assert out.shape == mel.shape
        if out.max() > -8:  # not in a band that was lost
            time, band = np.unravel_index(int(out.argmax()), out.shape)
            assert time == 17
            peaks.add(int(band))
    assert len(peaks) > 4
    assert np.array_equal(augment.treat_mel(mel, 0.0, np.random.default_rng(0)), mel)
