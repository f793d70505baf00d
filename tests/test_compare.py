"""Comparing a file with its reference: known edits come back as known numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avcheck.cli.app import main
from avcheck.compare.align import Edges, Lines, Piece, pieces
from avcheck.compare.comparison import (
    Comparison,
    Digest,
    SyncChange,
    compare_titles,
    picture_jump_s,
    read_title,
)
from avcheck.compare.features import Recording
from avcheck.compare.find import RATE_HZ, Features, matches
from avcheck.compare.fine import delay
from avcheck.compare.pictures import keep
from avcheck.compare.verdict import to_report
from avcheck.media import Picture, Sound
from avcheck.rates import SAMPLE_RATE
from avcheck.record.report import PRESETS, Report
from tests.support.clips import make_clip
from tests.support.scenery import noise, scenery

Clip = Callable[..., Path]
SECONDS = 22.0


def track(seconds: float = 60, seed: int = 1, start_s: float = 0.0) -> Features:
    rows = np.random.default_rng(seed).normal(size=(round(seconds * RATE_HZ), 8)).astype(np.float32)
    kernel = np.hanning(9)
    smooth = np.stack([np.convolve(column, kernel, "same") for column in rows.T], axis=1)
    return Features(
        start_s,
        smooth.astype(np.float32),
    )


def align(reference: Features, file: Features) -> list[tuple[float, float, float, float]]:
    matched, pace = matches(reference, file)
    parts = pieces(matched, Lines(pace, 0.03, 0.003), Edges(reference, file))
    return [(part.start_s, part.end_s, part.reference_start_s, part.pace) for part in parts]


def test_what_is_the_same_is_one_piece() -> None:
    ((start_s, end_s, reference_s, pace),) = align(track(), track())
    assert (start_s, reference_s, pace) == pytest.approx((0, 0, 1), abs=0.005)
    assert end_s == pytest.approx(60, abs=0.3)


def test_a_track_that_starts_later_keeps_its_own_clock() -> None:
    whole = track()
    ((start_s, _, reference_s, _),) = align(whole, Features(5.0, whole.rows[1200:]))
    assert reference_s - start_s == pytest.approx(12 - 5, abs=0.005)


@pytest.mark.parametrize("rows", [800, 1100])
def test_windows_of_an_odd_number_of_rows_are_in_their_place(rows: int) -> None:
    whole = track()
    hits, _ = matches(whole, Features(0.0, whole.rows[1000 : 1000 + rows]))
    assert {round(each.reference_s - each.file_s, 4) for each in hits} == {10.0}


def test_inserted_and_removed_stretches_are_found_to_a_tenth_of_a_second() -> None:
    whole = track()
    strange = track(10, seed=2)
    rows = np.concatenate(
        [whole.rows[:2000], strange.rows, whole.rows[2000:3500], whole.rows[4000:]]
    )
    first, second, third = align(whole, Features(0.0, rows))
    assert (first[1], second[0]) == pytest.approx((20, 30), abs=0.1)
    assert second[2] - second[0] == pytest.approx(-10, abs=0.005)
    assert (second[1], third[0]) == pytest.approx((45, 45), abs=0.1)
    assert third[2] - third[0] == pytest.approx(-5, abs=0.005)


@pytest.mark.parametrize("pace", [25 / 24, 24 / 25, 1001 / 1000])
def test_a_title_that_plays_faster_or_slower_is_one_piece_of_its_pace(pace: float) -> None:
    whole = track(100)
    ((_, _, reference_s, measured),) = align(whole, whole.at_pace(1 / pace))
    assert measured == pytest.approx(pace, abs=2e-4)
    assert reference_s == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("seconds", [6, 9])
def test_a_short_stretch_between_two_edits_is_found(seconds: int) -> None:
    reference = track(120)
    ends = ((0, 2000), (4000, 4000 + 100 * seconds), (7000, 9000))
    file = Features(0.0, np.concatenate([reference.rows[low:high] for low, high in ends]))
    starts_s = [start_s for _, _, start_s, _ in align(reference, file)]
    assert starts_s == pytest.approx([0, 40, 70], abs=0.05)


def test_what_is_not_in_the_reference_is_not_found() -> None:
    assert align(track(), track(seed=2)) == []


def test_silence_is_not_found_anywhere() -> None:
    assert align(track(), Features(0.0, np.zeros((6000, 8), np.float32))) == []


@pytest.mark.parametrize("samples", [0.0, 3.0, -17.25, 140.5])
@pytest.mark.parametrize("sign", [1, -1])
def test_delay_is_exact_below_a_sample_and_at_either_polarity(samples: float, sign: int) -> None:
    rng = np.random.default_rng(3)
    sound = rng.normal(size=SAMPLE_RATE).astype(np.float32)
    spectrum = np.fft.rfft(sound)
    moved = np.fft.irfft(
        spectrum * np.exp(-2j * np.pi * np.fft.rfftfreq(len(sound)) * samples)
    ).astype(np.float32)
    assert delay(sign * moved, sound) == pytest.approx(samples, abs=0.1)


def test_delay_of_unrelated_noise_is_none() -> None:
    rng = np.random.default_rng(4)
    assert delay(*rng.normal(size=(2, SAMPLE_RATE)).astype(np.float32)) is None


def test_a_recording_keeps_times_and_gaps() -> None:
    recording = Recording()
    recording.add(Sound(1.0, np.full(1600, 0.5, np.float32)))
    recording.add(Sound(1.3, np.full(1600, 0.25, np.float32)))
    read = recording.read(0.95, 8000)
    recording.close()
    assert read[:800].max() == 0
    assert read[800:2400] == pytest.approx(0.5, abs=1e-4)
    assert read[2400:5600].max() == 0
    assert read[5600:7200] == pytest.approx(0.25, abs=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def reference(folder: Path) -> Iterator[Digest]:
    clip = make_clip(
        folder / "reference.mkv",
        seconds=SECONDS,
        draw=scenery,
        play=noise(SECONDS + 5),
        size=(160, 90),
        acodec="flac",
        sample_rate=SAMPLE_RATE,
    )
    title = read_title(clip)
    yield title
    title.close()


@pytest.fixture
def film(clip: Clip) -> Clip:
    """A clip whose sound is no finer than what is compared, and quick to encode."""
    return lambda name, **options: clip(name, sample_rate=SAMPLE_RATE, **options)


def compared(reference: Digest, path: Path) -> Comparison:
    title = read_title(path)
    try:
        return compare_titles(reference, title)
    finally:
        title.close()


def moves(comparison: Comparison) -> list[float]:
    return [ms for change in comparison.changes for ms in (change.start_ms, change.end_ms)]


@pytest.mark.parametrize("late_ms", [0, 7, -250])
def test_sound_moved_is_told_to_a_millisecond(reference: Digest, film: Clip, late_ms: int) -> None:
    sound = noise(SECONDS + 5)
    path = film(
        "film.mp4",
        seconds=11,
        draw=scenery,
        play=lambda t: 0.3 * sound(t - late_ms / 1000),
        size=(160, 90),
    )
    comparison = compared(reference, path)
    assert moves(comparison) == pytest.approx([-late_ms, -late_ms], abs=1.0)
    assert comparison.aligned_s == pytest.approx(comparison.duration_s, abs=1.0)


@pytest.mark.parametrize("fps", [24, 30, 50])
def test_another_frame_rate_and_size_is_no_change(reference: Digest, film: Clip, fps: int) -> None:
    # A frame-rate converter takes the nearest picture
    def shown(time_s: float) -> np.ndarray[Any, Any]:
        nearest = np.floor(time_s * 25 + 0.499)  # of two that are equally near the earlier
        return np.repeat(np.repeat(scenery(nearest / 25), 2, axis=0), 2, axis=1)

    path = film(
        "film.mp4", seconds=11, fps=fps, draw=shown, play=noise(SECONDS + 5), size=(320, 180)
    )
    # A quarter of a picture of the reference.
    assert moves(compared(reference, path)) == pytest.approx([0, 0], abs=10)


def test_letterbox_logo_and_level_are_no_change(reference: Digest, film: Clip) -> None:
    def boxed(time_s: float) -> np.ndarray[Any, Any]:
        picture = np.full((120, 160), 16, np.uint8)
        picture[15:105] = scenery(time_s)
        picture[20:35, 120:150] = 235
        return picture

    sound = noise(SECONDS + 5)
    path = film("film.mp4", seconds=11, draw=boxed, play=lambda t: 0.2 * sound(t), size=(160, 120))
    # Half of a quarter of a picture
    assert moves(compared(reference, path)) == pytest.approx([0, 0], abs=5)


def test_a_cut_in_the_sound_alone_is_a_jump(reference: Digest, film: Clip) -> None:
    sound = noise(SECONDS + 5)
    path = film(
        "film.mp4",
        seconds=20,
        draw=scenery,
        play=lambda t: sound(np.where(t < 10, t, t + 0.2)),
        size=(160, 90),
    )
    first, second = compared(reference, path).changes
    assert first.end_s == pytest.approx(10, abs=0.2)
    assert (first.start_ms, second.start_ms) == pytest.approx((0, 200), abs=1.0)


def test_a_sample_rate_slip_is_a_drift(reference: Digest, film: Clip) -> None:
    sound = noise(SECONDS + 5)
    path = film(
        "film.mp4", seconds=20, draw=scenery, play=lambda t: sound(1.002 * t), size=(160, 90)
    )
    (change,) = compared(reference, path).changes
    assert (change.start_ms, change.end_ms) == pytest.approx((0, 40), abs=2.5)


def test_an_untouched_file_with_another_rate_has_no_edits(reference: Digest, film: Clip) -> None:
    path = film(
        "untouched.mp4",
        seconds=SECONDS,
        draw=scenery,
        play=noise(SECONDS + 5),
        size=(160, 90),
        fps=50,
    )
    assert compared(reference, path).edits == ()


def test_a_piece_that_was_left_out_of_both_is_told_to_a_tenth_of_a_second(
    reference: Digest, film: Clip
) -> None:
    def late(time_s: float) -> float:
        return time_s + (2.0 if time_s >= 9.0 else 0.0)

    sound = noise(SECONDS + 5)
    path = film(
        "shorter.mp4",
        seconds=SECONDS - 2,
        draw=lambda time_s: scenery(late(time_s)),
        play=lambda times_s: sound(np.where(times_s >= 9.0, times_s + 2.0, times_s)),
        size=(160, 90),
    )
    (edit,) = compared(reference, path).edits
    assert (edit.kind, edit.stream) == ("removed", "both")
    assert edit.start_s == pytest.approx(9.0, abs=0.15)
    assert edit.length_s == pytest.approx(2.0, abs=0.01)


def test_black_and_silence_put_in_are_one_edit(reference: Digest, film: Clip) -> None:
    def late(times_s: Any) -> Any:
        return np.where(times_s >= 9.0, times_s - 1.0, times_s)

    def inside(times_s: Any) -> Any:
        return (times_s >= 8.0) & (times_s < 9.0)

    sound = noise(SECONDS + 5)
    path = film(
        "slug.mp4",
        seconds=SECONDS + 1,
        draw=lambda time_s: scenery(float(late(time_s))) * (not inside(time_s)),
        play=lambda times_s: np.where(inside(times_s), 0.0, sound(late(times_s))),
        size=(160, 90),
    )
    (edit,) = compared(reference, path).edits
    assert (edit.kind, edit.stream) == ("inserted", "both")
    assert edit.start_s == pytest.approx(8.0, abs=0.15)
    assert edit.length_s == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("rate", "least_s"), [(25, 0.036), (50, 0.03), (24, 0.0375), (2, 0.045), (None, 0.045)]
)
def test_the_place_of_a_picture_steps_by_whole_pictures(rate: int | None, least_s: float) -> None:
    """25 to 29.97 with little motion, which strays by 17 ms either way, was told as two parts."""
    slow = None if rate is None else Fraction(rate)
    assert picture_jump_s(Fraction(60), slow) == pytest.approx(least_s)


def test_another_title_cannot_be_aligned(reference: Digest, film: Clip) -> None:
    rng = np.random.default_rng(8)

    def other(time_s: float) -> np.ndarray[Any, Any]:
        return scenery(1000 + 1.37 * time_s)[::-1, ::-1]

    path = film(
        "film.mp4",
        seconds=12,
        draw=other,
        play=lambda t: 0.2 * rng.normal(size=len(t)),
        size=(160, 90),
    )
    comparison = compared(reference, path)
    assert comparison.sound == ()
    assert comparison.changes == ()


def test_a_still_picture_tells_nothing() -> None:
    still = keep(Picture(k / 25, np.full((48, 80), 90, np.uint8)) for k in range(250))
    assert not still.track().rows.any()
    still.close()


def judged(*changes: SyncChange, share: float = 1.0) -> Report:
    piece = Piece(0.0, 60.0, 0.0, 1.0)
    return to_report(
        "film.mp4", Comparison((piece,), (piece,), changes, 60.0 * share, 60.0), PRESETS["ebu-r37"]
    )


def test_the_worst_stretch_decides_and_every_change_is_listed() -> None:
    report = judged(SyncChange(0, 30, 0, 0), SyncChange(30.4, 60, 200, 200))
    assert (report.verdict, report.offset_ms, report.jump_intervals_s) == (
        "out_of_sync",
        200,
        ((30, 30.4),),
    )
    assert [stretch.start_offset_ms for stretch in report.stretches] == [0, 200]
    assert report.drift_ms_per_min is None


def test_a_drift_is_told_a_minute() -> None:
    report = judged(SyncChange(0, 60, 0, -90))
    assert (report.verdict, report.offset_ms, report.drift_ms_per_min) == ("out_of_sync", -90, -90)


def test_just_beyond_the_limit_is_borderline() -> None:
    report = judged(SyncChange(0, 60, -65, -65))
    assert (report.verdict, report.reason_code) == ("undecidable", "borderline")


def test_something_inserted_into_both_is_no_jump_but_is_not_passed_over() -> None:
    report = judged(SyncChange(0, 30, 0, 0), SyncChange(37, 60, -9, -9), share=0.9)
    assert (report.verdict, report.jumps_s, report.degraded.unseen_s) == (
        "in_sync",
        (),
        ((30, 37),),
    )


@pytest.mark.parametrize(
    ("sound_until_s", "verdict", "code"),
    [(60.0, "in_sync", None), (56.0, "in_sync", None), (50.0, "undecidable", "not_all_looked_at")],
)
def test_a_stretch_whose_picture_alone_is_found_is_not_called_in_sync(
    sound_until_s: float, verdict: str, code: str | None
) -> None:
    sound, picture = (Piece(0.0, end_s, 0.0, 1.0) for end_s in (sound_until_s, 60.0))
    change = SyncChange(0, sound_until_s, 0, 0)
    comparison = Comparison((sound,), (picture,), (change,), sound_until_s, 60.0)
    report = to_report("film.mp4", comparison, PRESETS["ebu-r37"])
    assert (report.verdict, report.reason_code) == (verdict, code)
    assert report.degraded.unseen_s == (((sound_until_s, 60.0),) if sound_until_s < 60 else ())


def test_too_little_found_is_undecidable() -> None:
    report = judged(SyncChange(0, 20, 0, 0), share=0.33)
    assert (report.verdict, report.offset_ms, report.reason_code) == (
        "undecidable",
        None,
        "not_aligned",
    )


def test_the_command_says_what_changed(film: Clip, capsys: pytest.CaptureFixture[str]) -> None:
    sound = noise(SECONDS + 5)
    before = film("before.mkv", seconds=11, draw=scenery, play=sound, size=(160, 90), acodec="flac")
    after = film(
        "after.mp4", seconds=11, draw=scenery, play=lambda t: sound(t - 0.15), size=(160, 90)
    )
    assert main(["compare", str(before), str(after)]) == 1
    assert "out of sync: sound late by 150 ms (3.8 frames)" in capsys.readouterr().out
    assert main(["compare", str(before), str(before)]) == 0
    assert main(["compare", str(before), "gone.mp4"]) == 2
