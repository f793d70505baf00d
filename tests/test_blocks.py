"""Where rates change: any frame rate onto 25 fps, any sound onto log-mel columns, everything in its
own place in time.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.reading.blocks import BLOCK_FRAMES, BLOCK_MELS, Block, SoundTimeline, blocks
from avcheck.reading.mel import MEL_BINS, MEL_MARGIN, MEL_RATE, log_mel

Array = np.ndarray[Any, Any]
LOG_FLOOR = math.log(1e-5)


@dataclass(frozen=True)
class Shot:
    pts_s: float
    luma: Array


@dataclass(frozen=True)
class Run:
    start_s: float
    samples: Array


def number(k: int) -> Array:
    """A picture that tells which one it is."""
    return np.array([[k % 251, k // 251]], np.uint8)


def numbers(block: Block) -> list[int | None]:
    picture_numbers = [int(a) + 251 * int(b) for a, b in block.pictures[:, 0]]
    return [
        k if present else None
        for k, present in zip(picture_numbers, block.picture_mask, strict=True)
    ]


def shots(times_s: Iterable[float]) -> list[Shot]:
    return [Shot(time_s, number(k)) for k, time_s in enumerate(times_s)]


def shown(times_s: list[float]) -> list[tuple[float, int | None]]:
    """(time on the grid, the picture shown then) for every place of every block."""
    return [
        (block.start_s + k / FRAME_RATE, which)
        for block in blocks(shots(times_s), [])
        for k, which in enumerate(numbers(block))
    ]


def noise(seconds: float, seed: int = 0) -> Array:
    return (
        np.random.default_rng(seed).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)
    )


@pytest.mark.parametrize("start_s", [0.0, 1.48, -0.02])
@pytest.mark.parametrize("fps", [15, 24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60])
def test_every_place_shows_the_nearest_picture(fps: float, start_s: float) -> None:
    times_s = [start_s + k / fps for k in range(round(4.6 * fps))]
    places = shown(times_s)
    assert len(places) == 125
    first_s, first = places[0]
    assert first_s == pytest.approx(start_s)
    assert first == 0
    for time_s, which in places:
        if time_s > times_s[-1] + 0.5 / FRAME_RATE:
            assert which is None
        elif which is not None:  # the last picture lasts a frame of the grid
            allowed_s = 0.5 / fps if time_s <= times_s[-1] else 0.5 / FRAME_RATE
            assert abs(times_s[which] - time_s) <= allowed_s + 1e-6
    # Only what lies after the last picture, less than a frame of either rate, may be missing.
    last_s = max(time_s for time_s, which in places if which is not None)
    assert last_s >= times_s[-1] - max(1 / fps, 1 / FRAME_RATE)
    present = [which is not None for _, which in places]
    assert present == sorted(present, reverse=True)


@pytest.mark.parametrize("start_s", [0.0, 1.48, 0.021333])
@pytest.mark.parametrize("fps", [12, 24, 25, 30, 50, 60, 100, 120])
def test_no_block_begins_where_the_pictures_end(fps: int, start_s: float) -> None:
    times_s = [start_s + k / fps for k in range(3 * fps)]
    starts_s = [block.start_s for block in blocks(shots(times_s), [])]
    assert starts_s == pytest.approx([start_s, start_s + 1, start_s + 2])


def test_at_25_fps_every_picture_is_shown_once() -> None:
    order = [which for _, which in shown([1.48 + k / 25 for k in range(75)])]
    assert order == list(range(75))


@pytest.mark.parametrize("seed", range(5))
def test_variable_frame_rates_show_the_nearest_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gaps_s = rng.choice([1 / 60, 1 / 30, 1 / 24, 1 / 15, 1 / 12], 150) * rng.uniform(0.9, 1.1, 150)
    times_s = (7.0 + np.concatenate([[0], np.cumsum(gaps_s)])).tolist()
    order = [which for time_s, which in shown(times_s) if which is not None]
    assert order == sorted(order)
    for time_s, which in shown(times_s):
        if which is not None:
            nearest = min(abs(other - time_s) for other in times_s)
            assert abs(times_s[which] - time_s) <= nearest + 1e-6


def test_a_slow_picture_stays_until_the_next() -> None:
    """Below 10 fps a picture is held, as a player holds it, and never shown before its time."""
    places = shown([0.0, 0.5, 1.0, 1.5])
    for time_s, which in places:
        if time_s <= 1.5 + 1e-9:
            assert which == int((time_s + 1e-9) // 0.5)


def test_a_picture_older_than_a_second_is_missing() -> None:
    shown_at = {round(time_s, 2): which for time_s, which in shown([0.0, 0.04, 2.48, 2.52])}
    assert shown_at[0.04] == 1
    assert shown_at[1.0] == 1  # held for a second
    assert all(shown_at[round(k / 25, 2)] is None for k in range(27, 62))
    assert shown_at[2.48] == 2
    assert shown_at[2.52] == 3


def test_a_gap_of_thirty_hours_yields_nothing_in_between_and_ends_fast() -> None:
    far_s = 30 * 3600.0
    began = time.monotonic()
    all_blocks = list(
        blocks(
            shots([0.0, 0.04, 0.08, far_s, far_s + 0.04]),
            [Run(0.0, noise(1.0)), Run(far_s, noise(1.0))],
        )
    )
    assert time.monotonic() - began < 2.0
    assert [block.start_s for block in all_blocks] == pytest.approx([0.0, 1.0, far_s])
    assert [block.index for block in all_blocks] == [0, 1, round(far_s)]
    assert numbers(all_blocks[-1])[:3] == [3, 4, None]
    assert all_blocks[-1].mel_mask.all()


def test_blocks_keep_to_one_grid_across_a_gap() -> None:
    times_s = [3.0 + k / 25 for k in range(50)] + [8.37 + k / 25 for k in range(50)]
    all_blocks = list(blocks(shots(times_s), []))
    assert [block.start_s - 3.0 for block in all_blocks] == [block.index for block in all_blocks]
    assert [block.index for block in all_blocks] == [0, 1, 2, 5, 6, 7]
    for block in all_blocks:
        for k, which in enumerate(numbers(block)):
            if which is not None and which >= 50:
                assert abs(times_s[which] - (block.start_s + k / 25)) <= 0.02 + 1e-6


def test_what_is_after_the_last_picture_is_masked() -> None:
    all_blocks = list(blocks(shots(k / 25 for k in range(30)), [Run(0.0, noise(5.0))]))
    assert len(all_blocks) == 2
    assert all_blocks[1].picture_mask.tolist() == [True] * 5 + [False] * 20
    assert not all_blocks[1].pictures[5:].any()
    assert all_blocks[1].mel_mask.all()


def test_no_pictures_no_blocks_and_one_picture_one_block() -> None:
    assert list(blocks([], [Run(0.0, noise(1.0))])) == []
    (one,) = blocks(shots([2.0]), [Run(0.0, noise(5.0))])
    assert one.picture_mask.sum() == 1
    assert one.start_s == 2.0
    assert one.mel.shape == (BLOCK_MELS, MEL_BINS)
    assert one.pictures.shape[0] == BLOCK_FRAMES


def test_a_picture_of_another_shape_within_a_block_is_missing() -> None:
    pictures = [Shot(k / 25, np.zeros((4, 6) if k < 10 else (6, 4), np.uint8)) for k in range(50)]
    first, second = blocks(pictures, [])
    assert first.pictures.shape == (25, 4, 6)
    assert first.picture_mask.tolist() == [True] * 10 + [False] * 15
    assert second.pictures.shape == (25, 6, 4)
    assert second.picture_mask.all()


def click_column(mel: Array) -> int:
    return int(np.argmax(mel.sum(axis=1)))


@pytest.mark.parametrize("at_s", [0.005, 0.123, 0.4951, 0.75, 0.996])
@pytest.mark.parametrize("start_s", [0.0, 1.48])
def test_a_click_lands_in_the_column_of_its_time(at_s: float, start_s: float) -> None:
    samples = np.zeros(3 * SAMPLE_RATE, np.float32)
    samples[round((1.0 + at_s) * SAMPLE_RATE)] = 1.0
    pictures = shots(start_s + 1.0 + k / 25 for k in range(25))
    (block,) = blocks(pictures, [Run(start_s, samples)])
    assert block.start_s == pytest.approx(start_s + 1.0)
    centre_s = (click_column(block.mel) + 0.5) / MEL_RATE
    assert abs(centre_s - at_s) <= 0.5 / MEL_RATE + 1e-4


def test_a_click_outside_a_block_shows_only_at_its_very_edge() -> None:
    samples = np.zeros(3 * SAMPLE_RATE, np.float32)
    samples[round(1.05 * SAMPLE_RATE)] = 1.0
    (block,) = blocks(shots(2.0 + k / 25 for k in range(25)), [Run(0.0, samples)])
    assert block.mel == pytest.approx(LOG_FLOOR)
    assert block.level_db == -math.inf


def test_log_mel_has_a_column_each_10_ms_and_reads_its_context() -> None:
    for columns in (1, 7, 100):
        mel = log_mel(noise((columns * 160 + 2 * MEL_MARGIN) / SAMPLE_RATE))
        assert mel.shape == (columns, MEL_BINS)
        assert mel.dtype == np.float32
        assert np.isfinite(mel).all()
    # A column sees nothing but its own window, wherever in a run it lies.
    long = noise(1.0)
    whole = log_mel(long[: 90 * 160 + 2 * MEL_MARGIN])
    part = log_mel(long[30 * 160 : 30 * 160 + 160 * 20 + 2 * MEL_MARGIN])
    assert part == pytest.approx(whole[30:50], abs=1e-4)


@pytest.mark.parametrize("hz", [200.0, 1000.0, 4000.0])
def test_a_tone_lights_up_the_band_of_its_pitch(hz: float) -> None:
    times_s = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    mel = log_mel((0.5 * np.sin(2 * np.pi * hz * times_s)).astype(np.float32)).mean(axis=0)

    def to_mel(value: float) -> float:
        return 2595 * math.log10(1 + value / 700)

    expected = (to_mel(hz) - to_mel(60)) / (to_mel(7600) - to_mel(60)) * (MEL_BINS + 1) - 1
    assert abs(int(np.argmax(mel)) - expected) <= 1
    assert mel.max() > mel.min() + 5


def test_every_band_hears_something() -> None:
    assert (log_mel(noise(3.0)).std(axis=0) > 0).all()


def test_sound_is_laid_out_by_time_not_by_count() -> None:
    # Late by half a second, and a hole of 0.75 s
    pieces = [
        Run(0.5, noise(0.5)),
        Run(1.75, noise(1.0, 1)),
    ]
    first, second, third = blocks(shots(k / 25 for k in range(75)), pieces)
    assert first.mel_mask.tolist() == [False] * 50 + [True] * 50
    assert second.mel_mask.tolist() == [False] * 75 + [True] * 25
    assert third.mel_mask.tolist() == [True] * 75 + [False] * 25
    # Columns near the edge see a little of what follows
    assert first.mel[:45] == pytest.approx(LOG_FLOOR)
    assert first.mel[55:].mean() > LOG_FLOOR + 3


def test_sound_before_the_first_picture_is_not_used() -> None:
    """As in MPEG-TS: pictures from 1.48 s on, sound from 1.4 s."""
    samples = noise(3.0)
    (block,) = blocks(shots(1.48 + k / 25 for k in range(25)), [Run(1.4, samples)])
    assert block.mel_mask.all()
    inside = samples[round(0.08 * SAMPLE_RATE) : round(1.08 * SAMPLE_RATE)]
    assert block.level_db == pytest.approx(20 * np.log10(np.sqrt(np.mean(inside**2))), abs=0.01)


@pytest.mark.parametrize("amplitude", [1.0, 0.1, 0.001])
def test_level_is_decibels_of_full_scale(amplitude: float) -> None:
    sine = amplitude * np.sin(2 * np.pi * 440 * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE)
    (block,) = blocks(shots(k / 25 for k in range(25)), [Run(0.0, sine.astype(np.float32))])
    assert block.level_db == pytest.approx(20 * math.log10(amplitude / math.sqrt(2)), abs=0.05)


def test_no_sound_at_all_is_silent_and_masked() -> None:
    (block,) = blocks(shots(k / 25 for k in range(25)), [])
    assert block.level_db == -math.inf
    assert not block.mel_mask.any()
    assert np.isfinite(block.mel).all()


@pytest.mark.parametrize("chunk", [160, 1024, 16000, 48000])
def test_how_sound_is_chunked_does_not_matter(chunk: int) -> None:
    samples = noise(5.0)
    whole = list(blocks(shots(0.3 + k / 25 for k in range(100)), [Run(0.0, samples)]))
    pieces = [
        Run(at / SAMPLE_RATE, samples[at : at + chunk]) for at in range(0, len(samples), chunk)
    ]
    for a, b in zip(whole, blocks(shots(0.3 + k / 25 for k in range(100)), pieces), strict=True):
        assert np.array_equal(a.mel, b.mel)
        assert np.array_equal(a.mel_mask, b.mel_mask)


def test_timeline_reads_any_stretch() -> None:
    samples = noise(4.0)
    pieces = [Run(at / SAMPLE_RATE, samples[at : at + 1000]) for at in range(0, len(samples), 1000)]
    timeline = SoundTimeline(pieces)
    for start_s in (-0.5, 0.25, 1.0, 0.5, 2.75, 3.9):
        stretch, mask = timeline.read(start_s, 8000)
        index = round(start_s * SAMPLE_RATE) + np.arange(8000)
        real = (index >= 0) & (index < len(samples))
        assert np.array_equal(mask, real)
        assert np.array_equal(stretch[real], samples[index[real]])
        assert not stretch[~real].any()


def test_timeline_skips_empty_pieces_and_a_far_one_does_not_stop_it() -> None:
    timeline = SoundTimeline([Run(0.0, noise(0.5)), Run(0.5, noise(0.0)), Run(9.0, noise(1.0))])
    assert timeline.read(0.0, 16000)[1].sum() == 8000
    assert timeline.read(5.0, 16000)[1].sum() == 0
    assert timeline.read(9.0, 16000)[1].all()
    assert timeline.read(20.0, 100)[1].sum() == 0


def test_timeline_memory_is_bounded() -> None:
    """An hour of sound, read second by second, keeps a few seconds."""

    def hour() -> Iterator[Run]:
        quarter = np.zeros(SAMPLE_RATE // 4, np.float32)
        return (Run(k / 4, quarter) for k in range(4 * 3600))

    timeline = SoundTimeline(hour())
    most = 0
    for second in range(3600):
        timeline.read(float(second), SAMPLE_RATE)
        most = max(most, sum(len(values) for _, values in timeline._pieces))
    assert most <= 4 * SAMPLE_RATE
    # Also where the pictures begin long after the sound, and everything before them has to go by.
    late = SoundTimeline(hour())
    late.read(3000.0, SAMPLE_RATE)
    assert sum(len(values) for _, values in late._pieces) <= 4 * SAMPLE_RATE


def test_blocks_are_lazy() -> None:
    """A block comes out as soon as the picture after it is in, and no picture is asked for before
    it is needed.
    """
    taken = 0

    def endless() -> Iterator[Shot]:
        nonlocal taken
        for k in itertools.count():
            taken += 1
            yield Shot(k / 25, number(k))

    stream = blocks(endless(), (Run(k / 10, noise(0.1)) for k in itertools.count()))
    for expected in range(3):
        assert next(stream).index == expected
        assert taken <= (expected + 1) * 25 + 2
