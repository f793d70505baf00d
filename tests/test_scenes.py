"""Generated scenes: picture and sound move together, and the demo is off by just what was asked
for.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avcheck.errors import UsageError
from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.scenes.base import Scene, SceneKind, Thing
from avcheck.scenes.demo import MARGIN_S, SIZE, make_demo
from avcheck.scenes.generate import make_scene

RATE = 200  # Hz at which loudness and movement are compared
FRAME_MS = 40.0


def loudness(samples: np.ndarray, rate: int = SAMPLE_RATE) -> np.ndarray:
    """Smoothed level of the sound, RATE values a second; value i stands for the instant (i + 0.5) /
    RATE.
    """
    hop = rate // RATE
    level = np.sqrt(
        (samples[: len(samples) // hop * hop].astype(float).reshape(-1, hop) ** 2).mean(1)
    )
    return np.convolve(level, np.ones(9) / 9, "same")


def lag_ms(course: np.ndarray, level: np.ndarray, reach_s: float = 0.6) -> float:
    """How far loudness lags behind `course` (one value a frame of 25 fps): the peak of their
    cross-correlation.
    """
    instants = (np.arange(len(level)) + 0.5) / RATE
    course = np.interp(instants, np.arange(len(course)) / 25, course)
    course, level = course - course.mean(), level - level.mean()
    reach, n = round(reach_s * RATE), len(level)
    lags = range(-reach, reach + 1)
    match = [
        (course[max(0, -k) : n - max(0, k)] * level[max(0, k) : n - max(0, -k)]).sum() for k in lags
    ]
    return 1000 * lags[int(np.argmax(match))] / RATE


def mouth_contrast(frames: np.ndarray, mouths: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """From pixels alone: an open mouth is dark inside, so the box round it is richer in
    contrast.
    """
    contrast = []
    for frame, (x, y), (_, _, wide) in zip(frames, mouths, faces, strict=True):
        top, bottom, side = int(y - 0.06 * wide), int(y + 0.22 * wide), int(0.18 * wide)
        contrast.append(frame[max(0, top) : bottom, max(0, int(x) - side) : int(x) + side].std())
    return np.array(contrast)


def shifted(scene: Scene, early_ms: float) -> np.ndarray:
    """The sound over the frames' time, early by so much: cut from inside the margin."""
    begin = round((scene.start_s - scene.sound_start_s + early_ms / 1000) * SAMPLE_RATE)
    return scene.samples[begin : begin + round(len(scene.frames) / scene.frame_rate * SAMPLE_RATE)]


@pytest.mark.parametrize("kind", ["talking", "impacts"])
def test_the_same_seed_gives_the_same_scene(kind: SceneKind) -> None:
    first, again, other = (
        make_scene(kind, seed=seed, seconds=1, size=(96, 128)) for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert (first.frames != other.frames).any()
    assert (first.samples != other.samples).any()


@pytest.mark.parametrize("kind", ["talking", "impacts"])
@pytest.mark.parametrize(
    ("size", "rate"), [((160, 224), 25.0), ((224, 126), 29.97), ((64, 64), 50.0)]
)
def test_shapes_and_ranges(kind: SceneKind, size: tuple[int, int], rate: float) -> None:
    for seed in range(2):
        scene = make_scene(
            kind, seed=seed, seconds=1.3, size=size, frame_rate=rate, sound_margin_s=0.5
        )
        assert scene.frames.shape == (round(1.3 * rate), *size)
        assert scene.frames.dtype == np.uint8
        assert scene.frames.std() > 3
        assert (scene.frames[0] != scene.frames[-1]).any()
        assert scene.samples.shape == (round(2.3 * SAMPLE_RATE),)
        assert scene.samples.dtype == np.float32
        assert np.isfinite(scene.samples).all()
        assert 0.05 < np.abs(scene.samples).max() <= 1
        assert scene.sound_start_s == -0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0},
        {"frame_rate": 0},
        {"size": (8, 200)},
        {"sound_margin_s": -1},
        {"kind": "dancing"},
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"cannot draw|no scene"):
        make_scene(**{"kind": "talking", "seed": 1, "seconds": 1, **wrong})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_mouth_opens_when_its_voice_is_loud(seed: int) -> None:
    scene = make_scene("talking", seed=seed, seconds=12, sound_margin_s=0.5)
    assert scene.opening is not None
    assert scene.mouths is not None
    assert scene.faces is not None
    contrast = mouth_contrast(scene.frames, scene.mouths, scene.faces)
    together = lag_ms(scene.opening, loudness(shifted(scene, 0)))
    together_seen = lag_ms(contrast, loudness(shifted(scene, 0)))
    assert abs(together) <= FRAME_MS / 2
    assert abs(together_seen) <= FRAME_MS
    for early_ms in (-400.0, 130.0):
        assert lag_ms(scene.opening, loudness(shifted(scene, early_ms))) == pytest.approx(
            together - early_ms, abs=5
        )
        assert lag_ms(contrast, loudness(shifted(scene, early_ms))) == pytest.approx(
            together_seen - early_ms, abs=15
        )


def test_lips_close_for_closed_sounds_and_at_rest() -> None:
    scene = make_scene("talking", seed=3, seconds=20, studio=True, size=(64, 64))
    assert scene.opening is not None
    level = loudness(scene.samples)
    instants = np.arange(len(scene.opening)) / scene.frame_rate
    heard = np.interp(instants, (np.arange(len(level)) + 0.5) / RATE, level)
    assert np.median(heard[scene.opening < 0.02]) < 0.15 * np.median(heard[scene.opening > 0.5])
    assert 0.1 < (scene.opening < 0.05).mean() < 0.7


@pytest.mark.parametrize("thing", ["ball", "hammer", "pendulum", "clapper"])
def test_every_contact_is_heard_at_its_instant(thing: Thing) -> None:
    scene = make_scene("impacts", seed=5, seconds=8, studio=True, things=[thing], size=(96, 128))
    assert scene.contacts_s is not None
    assert len(scene.contacts_s) >= 6
    for contact_s in scene.contacts_s:
        at = round(contact_s * SAMPLE_RATE)
        before, after = scene.samples[max(0, at - 64) : at], scene.samples[at : at + 64]
        if len(before) == len(after) == 64:
            assert (after**2).mean() > 10 * (before**2).mean()
    gaps = np.diff(scene.contacts_s)
    assert gaps.std() > 0.15 * gaps.mean()  # a periodic scene would have many right offsets


@pytest.mark.parametrize("seed", range(3))
def test_a_ball_is_lowest_when_it_is_heard(seed: int) -> None:
    scene = make_scene("impacts", seed=seed, seconds=8, studio=True, things=["ball"])
    assert scene.contacts_s is not None
    still = np.median(scene.frames[::3], axis=0)
    rows = (np.abs(scene.frames - still) > 25).sum(2) > 1
    lowest = np.array([np.flatnonzero(row).max(initial=0) for row in rows])
    checked = 0
    for contact_s in scene.contacts_s:
        near = np.arange(
            max(0, round(contact_s * 25) - 3), min(len(lowest), round(contact_s * 25) + 4)
        )
        if len(near) < 7:
            continue
        down = near[lowest[near] == lowest[near].max()]
        assert np.abs(down / 25 - contact_s).min() <= 1 / 25
        assert abs(down.mean() / 25 - contact_s) <= 1 / 25
        checked += 1
    assert checked >= 6


@pytest.mark.parametrize("thing", ["hammer", "clapper", "pendulum"])
def test_things_are_seen_to_strike_when_they_are_heard(thing: Thing) -> None:
    """At 100 pictures a second the one nearest to a contact shows the striking pose better than
    those 20 ms and more away.
    """
    scene = make_scene(
        "impacts",
        seed=11,
        seconds=10,
        studio=True,
        things=[thing],
        frame_rate=100.0,
        size=(96, 128),
    )
    assert scene.contacts_s is not None
    places = [round(contact_s * 100) for contact_s in scene.contacts_s if 0.1 < contact_s < 9.85]
    assert len(places) >= 8
    for side in (0, 1):  # a clapper strikes left and right in turn
        pose = np.mean([scene.frames[k].astype(float) for k in places[side::2]], axis=0)
        for k in places[side::2]:
            unlike = [np.abs(scene.frames[k + j] - pose).mean() for j in range(-8, 9)]
            assert abs(int(np.argmin(unlike)) - 8) <= 1


def decoded(path: Path) -> tuple[list[float], np.ndarray, list[float], np.ndarray]:
    with av.open(str(path)) as file:
        pictures = [(frame.time, frame.to_ndarray(format="gray")) for frame in file.decode(video=0)]
    with av.open(str(path)) as file:
        sounds = [(frame.time, frame.to_ndarray()[0]) for frame in file.decode(audio=0)]
    picture_s, luma = zip(*pictures, strict=True)
    sound_s, samples = zip(*sounds, strict=True)
    return list(picture_s), np.stack(luma), list(sound_s), np.concatenate(samples)


def moved_ms(reference: np.ndarray, sound: np.ndarray, rate: int = 48000) -> float:
    """How much earlier `sound` is than `reference`, by their cross-correlation."""
    n = 1 << (2 * len(reference)).bit_length()
    match = np.fft.irfft(np.fft.rfft(reference, n) * np.conj(np.fft.rfft(sound, n)), n)
    at = int(np.argmax(match))
    return 1000 * (at if at < n // 2 else at - n) / rate


@pytest.mark.slow
def test_a_demo_is_off_by_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = cache(make_scene)  # one scene for all offsets
    monkeypatch.setattr("avcheck.scenes.demo.make_scene", drawn)
    files = {}
    for offset_ms in (0.0, 133.3, -250.0):
        path = tmp_path / f"{offset_ms}.mp4"
        make_demo(path, offset_ms=offset_ms, seconds=2.0)
        files[offset_ms] = decoded(path)
    picture_s, luma, sound_s, reference = files[0.0]
    assert picture_s == pytest.approx(np.arange(50) / FRAME_RATE, abs=1e-6)
    for offset_ms, (times_s, pictures, sounds_s, samples) in files.items():
        assert times_s == picture_s
        assert times_s[0] == sounds_s[0] == sound_s[0] == 0
        # The same scene; x264 does not always code it to the same bits, even with one thread.
        assert np.abs(pictures.astype(int) - luma).mean() < 1.5
        assert len(samples) - 2 * 48000 in range(1024)
        assert moved_ms(reference, samples) == pytest.approx(offset_ms, abs=1)

    # The clip with offset 0 is truly together: the mouth in its pictures against its sound.
    scene = drawn(
        "talking",
        seed=1,
        seconds=2.0,
        size=SIZE,
        frame_rate=FRAME_RATE,
        sound_margin_s=MARGIN_S,
        head_share=0.5,
        studio=True,
    )
    assert drawn.cache_info().misses == 1
    assert scene.mouths is not None
    assert scene.faces is not None
    assert np.abs(luma.astype(float) - scene.frames).mean() < 4
    contrast = mouth_contrast(luma, scene.mouths, scene.faces)
    assert abs(lag_ms(contrast, loudness(reference[: 2 * 48000], 48000))) <= FRAME_MS


@pytest.mark.parametrize(
    "wrong", [{"offset_ms": float("nan")}, {"offset_ms": 1e6}, {"offset_ms": 0, "seconds": 0}]
)
def test_a_demo_that_cannot_be_made_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        make_demo(tmp_path / "demo.mp4", **wrong)
    assert not list(tmp_path.iterdir())
