"""`avcheck fix`: the sound lands where it belongs to a millisecond, everything else stays as it
was, or there is no file.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avcheck.fix.moves import of
from avcheck.fix.repair import FixSettings, fix_file
from avcheck.media import open_media
from avcheck.rates import SAMPLE_RATE
from avcheck.record.report import BlockResult, Stretch
from tests.support import clock_cases, clock_media, clock_table
from tests.support.clips import Array
from tests.support.films import KINDS, noise, tiles
from tests.support.fixing import IN_SYNC, checks, forced, measured, packets, place, place_ms

KEPT = {"copied", "moved"}


def late_ms(path: Path) -> float:
    """How late the sound of `noise` is against the pictures, by correlation with the noise itself
    at its middle.
    """
    with open_media(path) as media:
        first_s = media.info.first_picture_s or 0.0
        sounds = list(media.sounds())
    start_s = min(each.start_s for each in sounds)
    whole = np.zeros(round((sounds[-1].end_s - start_s) * SAMPLE_RATE) + 1)
    for sound in sounds:
        at = round((sound.start_s - start_s) * SAMPLE_RATE)
        whole[at : at + len(sound.samples)] = sound.samples[: len(whole) - at]
    return 1000 * (
        start_s
        + place(whole, noise(2.0 + np.arange(8000) / SAMPLE_RATE)) / SAMPLE_RATE
        - first_s
        - 2.0
    )


# -- where the sound goes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "offset_ms",
    [-1500, 40, *(pytest.param(each, marks=pytest.mark.slow) for each in (-40, 333.3, 1500))],
)
@pytest.mark.parametrize("name", KINDS)
def test_the_sound_moves_by_what_was_asked_for_and_nothing_else_changes(
    name: str, offset_ms: float, tmp_path: Path
) -> None:
    source = tiles(tmp_path / name)
    target = tmp_path / f"fixed{source.suffix}"
    before = late_ms(source)
    result = forced(source, target, offset_ms)
    assert result.status == "fixed", result.reason
    assert late_ms(target) - before == pytest.approx(offset_ms, abs=1.0)
    assert Counter(each.kind for each in result.streams) == {"video": 1, "audio": 1}
    old, new = packets(source), packets(target)
    assert [each.track for each in result.streams] == [0, 1]
    for each in result.streams:
        if each.action in KEPT:
            assert each.identical
            assert new[each.track] == old[each.track]
            assert each.packets == len(old[each.track])
    assert result.lost == ()
    assert result.clock is not None
    assert result.clock.pictures >= 40


def test_short_beeps_at_full_seconds_are_heard_when_the_sound_is_read_back(
    tmp_path: Path,
) -> None:
    def beeps(times_s: Array) -> Array:
        tone: Array = 0.3 * np.sin(2 * np.pi * 1000 * times_s) * (times_s % 1 < 0.08)
        return tone

    source = tiles(tmp_path / "film.mp4", 6.0, play=beeps)
    result = forced(source, tmp_path / "fixed.mp4", 100)
    assert result.status == "fixed", result.reason
    assert result.clock is not None
    assert result.clock.sound_places == 4


@pytest.mark.parametrize("offset_ms", [-120, 120])
@pytest.mark.parametrize("name", ["film.avi", "film.mxf"])
def test_pcm_that_cannot_start_later_is_written_anew_sample_by_sample(
    name: str, offset_ms: int, tmp_path: Path
) -> None:
    source = tiles(tmp_path / name)
    target = tmp_path / f"fixed{source.suffix}"
    result = forced(source, target, offset_ms)
    assert [each.action for each in result.streams] == ["copied", "rewritten"]
    old, new = (b"".join(packets(path)[1]) for path in (source, target))
    count = 2 * 48 * abs(offset_ms)
    if offset_ms > 0:
        assert new == (bytes(count) + old)[: len(old) if name == "film.mxf" else None]
    else:
        assert new == old[count:] + bytes(count)
    assert packets(target)[0] == packets(source)[0]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"container_options": {"movflags": "frag_keyframe+empty_moov"}}, "film.mp4"),
        ({"container_options": {"movflags": "cmaf+frag_keyframe"}}, "film.mp4"),
        ({"acodec": "ac3"}, "film.mp4"),
        ({"acodec": "aac", "sample_rate": 44_100}, "film.mkv"),
        ({"acodec": "libmp3lame"}, "film.mkv"),
        ({"acodec": "mp2"}, "film.ts"),
        ({"vcodec": "libx264", "acodec": "aac"}, "film.flv"),
        # The streams change places: FLV numbers them by which comes first
        (
            {"vcodec": "flv", "acodec": "libmp3lame", "sample_rate": 44_100, "start_s": 0.4}
            | {"audio_offset_s": 0.2},
            "film.flv",
        ),
        ({"vcodec": "libvpx", "acodec": "libopus"}, "film.webm"),
    ],
    ids=str,
)
@pytest.mark.parametrize("offset_ms", [-300, pytest.param(40, marks=pytest.mark.slow)])
def test_other_codecs_and_fragments(
    options: dict[str, Any], name: str, offset_ms: float, tmp_path: Path
) -> None:
    source = tiles(tmp_path / name, 4.0, **options)
    target = tmp_path / f"fixed{source.suffix}"
    before = late_ms(source)
    result = forced(source, target, offset_ms)
    assert result.status == "fixed", result.reason
    assert late_ms(target) - before == pytest.approx(offset_ms, abs=1.0)
    assert all(each.identical for each in result.streams)


@pytest.mark.parametrize("offset_ms", [-300, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("suffix", "acodec"), [("mp4", "aac"), ("mkv", "libopus"), ("ts", "aac"), ("avi", "pcm_s16le")]
)
def test_another_instrument_finds_the_same_move(
    suffix: str, acodec: str, offset_ms: float, tmp_path: Path
) -> None:
    vcodec, options = ("mpeg4", {}) if suffix == "avi" else ("libx264", clock_cases.B)
    source = clock_media.write(clock_media.Case("film", suffix, vcodec, acodec, options), tmp_path)
    target = tmp_path / f"fixed.{suffix}"
    assert forced(source, target, offset_ms).status == "fixed"
    row = clock_table.measured("film", target)
    assert row.late_ms == pytest.approx(clock_media.LATE_MS + offset_ms, abs=1.0)
    assert row.most_ms is not None
    assert row.least_ms is not None
    assert row.most_ms - row.least_ms < 1.0
    assert row.pictures == 60


@pytest.mark.parametrize("target", ["fixed.mkv", "fixed.mp4"])
def test_mp3_in_avi_is_refused_and_goes_into_another_container(target: str, tmp_path: Path) -> None:
    source = tiles(tmp_path / "film.avi", acodec="libmp3lame")
    drift = measured(Stretch(0.0, 4.0, 100.0, 200.0))
    drifting = fix_file(source, tmp_path / "fixed.avi", FixSettings(), checks(drift))
    assert drifting.status == "refused" and "unless it is PCM" in str(drifting.reason)
    refused = forced(source, tmp_path / "fixed.avi", 120)
    assert refused.status == "refused"
    assert ".mkv" in str(refused.reason)
    before = late_ms(source)
    result = forced(source, tmp_path / target, 120)
    assert result.status == "fixed", result.reason
    assert late_ms(tmp_path / target) - before == pytest.approx(120, abs=1.5)


@pytest.mark.parametrize(
    ("suffix", "start_s"), [(".mp4", 50.0), (".mkv", 50.0), (".mov", 95_440.0)]
)
def test_in_another_container_the_new_file_begins_at_zero(
    suffix: str, start_s: float, tmp_path: Path
) -> None:
    """A transport stream counts from anywhere, and from zero again after 26.5 hours: nothing was
    shown up to there, or the fix failed.
    """
    source = tiles(tmp_path / "film.ts", start_s=start_s)
    target = tmp_path / f"fixed{suffix}"
    result = forced(source, target, 120.0)
    assert (result.status, result.reason) == ("fixed", None)
    assert late_ms(target) - late_ms(source) == pytest.approx(120, abs=1)
    with av.open(str(target)) as reader:
        assert (reader.start_time or 0) / av.time_base == pytest.approx(0, abs=0.1)
        assert (reader.duration or 0) / av.time_base < 5


# -- where it drifts and jumps ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("film.mp4", "mono"),
        pytest.param("film.mkv", "7.1", marks=pytest.mark.slow),
        ("film.avi", "mono"),
    ],
)
def test_a_drift_is_resampled_away(name: str, layout: str, tmp_path: Path) -> None:
    """What belongs to the picture at p is heard at (p - 0.1) / 1.005: early by 99.5 ms at first, by
    129.4 ms after 6 s.
    """
    source = tiles(
        tmp_path / name,
        6.0,
        play=lambda times_s: noise(times_s + 0.1 + 0.005 * times_s),
        layout=layout,
    )
    target = tmp_path / f"fixed{source.suffix}"
    report = measured(Stretch(0.0, 6.0, 100 / 1.005, 130 / 1.005))
    result = fix_file(source, target, FixSettings(), checks(report, IN_SYNC))
    assert result.status == "fixed", result.reason
    assert [each.action for each in result.streams] == ["copied", "encoded"]
    assert result.notes == ()
    places_ms = [place_ms(target, at_s) for at_s in (1.0, 2.5, 4.0)]
    assert places_ms == pytest.approx([0, 0, 0], abs=1.0)


def test_channels_without_positions_stay_without(tmp_path: Path) -> None:
    source = tiles(tmp_path / "film.mkv", acodec="pcm_s16le", layout="4 channels")
    report = measured(Stretch(0.0, 4.0, 100 / 1.005, 120 / 1.005))
    result = fix_file(source, tmp_path / "fixed.mkv", FixSettings(), checks(report, IN_SYNC))
    assert result.status == "fixed", result.reason
    assert result.notes == ("the new file does not say which channel of stream 1 is which",)


def test_what_is_still_off_is_taken_out_of_the_old_file_once_more(tmp_path: Path) -> None:
    """As above; measured first as early by 40 ms and 3.7 ms more a second, and then, in a file
    whose sound was moved by that, by the rest.
    """
    source = tiles(tmp_path / "film.mkv", 6.0, play=lambda at_s: noise(at_s + 0.1 + 0.005 * at_s))
    target = tmp_path / "fixed.mkv"
    first, whole = Stretch(0.0, 6.0, 40.0, 62.2), Stretch(0.0, 6.0, 100 / 1.005, 130 / 1.005)
    (rough,), (right,) = (of(measured(each)).pieces for each in (first, whole))
    left_ms = [1000 * (at_s - rough.new_s(right.old_s(at_s))) for at_s in (0.0, 6.0)]
    after = replace(measured(Stretch(0.0, 6.0, *left_ms)), reason_code="borderline")
    result = fix_file(source, target, FixSettings(), checks(measured(first), after, IN_SYNC))
    assert result.status == "fixed", result.reason
    places_ms = [place_ms(target, at_s) for at_s in (1.0, 2.5, 4.0)]
    assert places_ms == pytest.approx([0, 0, 0], abs=1.0)
    assert [note for note in result.notes if "the first new file was not in sync" in note]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mkv", "fixed.mkv"]


def test_a_jump_that_was_left_is_cut_and_said(tmp_path: Path) -> None:
    source = tiles(
        tmp_path / "film.mkv", 6.0, play=lambda at_s: noise(at_s + 0.1 + 0.2 * (at_s > 3))
    )
    target = tmp_path / "fixed.mkv"
    first = measured(Stretch(0.0, 6.0, 100.0, 100.0))
    after = measured(Stretch(0.0, 2.8, 0.0, 0.0), Stretch(3.6, 6.0, 200.0, 200.0))
    result = fix_file(source, target, FixSettings(), checks(first, after, IN_SYNC))
    assert result.status == "fixed", result.reason
    assert result.notes[-1] == (
        "what was left jumps somewhere from 2.8 to 3.4 s of that file; the sound is cut halfway, "
        "and near it may still be off"
    )
    assert [place_ms(target, at_s) for at_s in (1.0, 4.5)] == pytest.approx([0, 0], abs=1.0)


@pytest.mark.parametrize(("name", "second_ms"), [("film.mp4", -250.0), ("film.avi", 500.0)])
def test_a_drift_after_a_jump_is_resampled_away(
    name: str, second_ms: float, tmp_path: Path
) -> None:
    """Each part is played at its own pace; all of it was played at that of the first."""

    def early_s(times_s: Array) -> Array:  # of the sound heard at these times
        return np.where(times_s < 3.0, 0.1, second_ms / 1000 + 0.01 * (times_s - 3.0))

    source = tiles(tmp_path / name, 7.0, play=lambda times_s: noise(times_s + early_s(times_s)))
    target = tmp_path / f"fixed{source.suffix}"
    ends_ms = [  # of the pictures at 4 and at 7 s
        1000 * (at_s - (at_s - second_ms / 1000 + 0.03) / 1.01) for at_s in (4.0, 7.0)
    ]
    report = measured(Stretch(0.0, 3.0, 100, 100), Stretch(4.0, 7.0, *ends_ms))
    result = fix_file(source, target, FixSettings(), checks(report, IN_SYNC))
    assert result.status == "fixed", result.reason
    places_ms = [place_ms(target, at_s) for at_s in (1.0, 2.0, 4.5, 6.0)]
    assert places_ms == pytest.approx([0, 0, 0, 0], abs=1.0)


@pytest.mark.parametrize(
    ("name", "first_ms", "second_ms"),
    [
        ("film.mp4", 0.0, 400.0),
        ("film.mp4", 200.0, -300.0),
        ("film.avi", 0.0, 400.0),
        ("film.avi", 200.0, -300.0),
        pytest.param("film.mov", 0.0, 400.0, marks=pytest.mark.slow),
        ("film.mov", 200.0, -300.0),
        ("film.ts", 0.0, 400.0),
        pytest.param("film.ts", 200.0, -300.0, marks=pytest.mark.slow),
    ],
)
def test_a_jump_is_cut_at(name: str, first_ms: float, second_ms: float, tmp_path: Path) -> None:
    source = tiles(
        tmp_path / name,
        6.0,
        play=lambda times_s: np.where(
            times_s < 3.0,
            noise(np.maximum(0, times_s + first_ms / 1000)),
            noise(np.maximum(0, times_s + second_ms / 1000)),
        ),
    )
    target = tmp_path / f"fixed{source.suffix}"
    blocks = [BlockResult(float(k), 0.1, first_ms if k < 3 else second_ms) for k in range(6)]
    report = measured(
        Stretch(0.0, 3.0, first_ms, first_ms), Stretch(3.0, 6.0, second_ms, second_ms)
    )
    report = replace(report, blocks=tuple(blocks))
    result = fix_file(source, target, FixSettings(), checks(report, IN_SYNC))
    assert result.status == "fixed", result.reason
    assert [place_ms(target, at_s) for at_s in (1.5, 4.5)] == pytest.approx([0, 0], abs=1.0)
    assert len(result.moves) == 2


@pytest.mark.parametrize("second_ms", [-322.0, -318.0])
def test_no_packet_follows_a_cut_within_what_a_reader_takes_for_jitter(
    second_ms: float, tmp_path: Path
) -> None:
    """All of the sound behind it would be 1 to 3 ms off: the next packet begins clear of it."""
    source, target = tiles(tmp_path / "film.mp4", 6.0), tmp_path / "fixed.mp4"
    report = measured(Stretch(0.0, 3.0, 0.0, 0.0), Stretch(3.0, 6.0, second_ms, second_ms))
    result = fix_file(source, target, FixSettings(), checks(report, IN_SYNC))
    assert result.status == "fixed", result.reason
    assert place_ms(target, 4.5) == pytest.approx(second_ms, abs=1.0)


def test_a_jump_is_cut_in_the_silence_where_the_sound_was_lost(tmp_path: Path) -> None:
    def lost(times_s: Array) -> Array:
        played = noise(np.where(times_s < 5.0, times_s, times_s - 0.3))
        return np.where((times_s < 5.0) | (times_s > 5.8), played, 0.0)

    source = tiles(tmp_path / "film.mp4", 9.0, play=lost)
    target = tmp_path / "fixed.mp4"
    report = measured(Stretch(0.0, 2.0, 0.0, 0.0), Stretch(6.5, 9.0, -300, -300))
    result = fix_file(source, target, FixSettings(), checks(report, IN_SYNC))
    assert result.status == "fixed", result.reason
    assert result.moves[0][1] == pytest.approx(5.4, abs=0.05)
    assert "from 2.0 to 6.8 s; the sound is cut at 5.4" in result.notes[0]
    assert "in a silence" in result.notes[0]
    places_ms = [place_ms(target, at_s) for at_s in (1.0, 4.0, 7.0)]
    assert places_ms == pytest.approx([0, 0, 0], abs=1.0)


def test_a_jump_that_lies_anywhere_in_many_seconds_is_refused(tmp_path: Path) -> None:
    source = tiles(tmp_path / "film.mp4", 4.0)
    report = measured(Stretch(0.0, 20.0, 0.0, 0.0), Stretch(60.0, 90.0, 300.0, 300.0))
    result = fix_file(source, tmp_path / "fixed.mp4", FixSettings(), checks(report))
    assert result.status == "refused"
    assert "jumps somewhere" in str(result.reason)
    assert not (tmp_path / "fixed.mp4").exists()
