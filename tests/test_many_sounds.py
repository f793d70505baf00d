"""A title with several sounds, and parts of a title: on generated films."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import avcheck
from avcheck.checker import Checker
from avcheck.errors import EmptyPart, UsageError
from avcheck.record.odd_one_out import odd_one_out
from avcheck.record.report import Report, Track
from avcheck.scan.looking import look as real_look
from avcheck.settings import CheckSettings, seconds_of
from tests.support import fake_scan
from tests.support.clips import make_clip
from tests.support.fake_scan import stand_in
from tests.support.films import talking

ALL = CheckSettings(device="cpu", every_track=True)
LENGTH_S, JUMP_S = 18.0, 9.0


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three audio tracks: in sync, late by 200 ms, and late by 300 ms in the second half only."""
    return talking(
        tmp_path_factory.mktemp("sounds") / "film.mkv",
        LENGTH_S,
        lambda t: 0 * t,
        lambda t: 0 * t - 0.2,
        lambda t: -0.3 * (t > JUMP_S),
        languages=("eng", "fre", "deu"),
        acodec="pcm_s16le",
        size=(256, 192),
    )


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker(device="cpu")


@pytest.fixture(scope="module")
def reports(film: Path, checker: Checker) -> tuple[Report, ...]:
    return checker.check_tracks(film, CheckSettings(audio_tracks=(0, 1), end=JUMP_S))


def test_each_sound_has_its_own_record(film: Path, reports: tuple[Report, ...]) -> None:
    assert [(each.audio_track, each.verdict, each.records) for each in reports] == [
        (0, "in_sync", 2),
        (1, "out_of_sync", 2),
    ]
    in_sync, late = (each.offset_ms or 0.0 for each in reports)
    assert in_sync == pytest.approx(0, abs=30)
    assert late - in_sync == pytest.approx(-200, abs=10)
    assert {each.path for each in reports} == {str(film)}
    (summary,) = {each.title_summary for each in reports}
    assert summary == f"track 1 (fre) is late by {-late:.0f} ms; track 0 (eng) is in sync"


def test_a_further_sound_is_judged_as_it_is_alone(
    film: Path, checker: Checker, reports: tuple[Report, ...]
) -> None:
    alone = checker.check(film, CheckSettings(audio_tracks=(1,), end=JUMP_S))
    assert alone.verdict == reports[1].verdict
    assert reports[1].offset_ms == pytest.approx(alone.offset_ms, abs=2)
    assert (alone.records, alone.title_summary) == (1, None)


def test_the_pictures_are_decoded_and_looked_at_once(
    film: Path, checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []

    def counted(pictures: Any, *others: Any, **more: Any) -> Any:
        lengths.append(len(pictures))
        return real_look(pictures, *others, **more)

    monkeypatch.setattr("avcheck.scan.curves.look", counted)
    one = CheckSettings(audio_tracks=(0,), start=0.0, end=2.0)
    checker.check_tracks(film, one)
    once = len(lengths)
    checker.check_tracks(film, replace(one, audio_tracks=(0, 1)))
    # Fewer if the other sound is surer, so that it takes fewer sizes
    assert 0 < len(lengths) - once <= once


@pytest.mark.parametrize(
    ("start_s", "end_s", "offset_ms"), [(None, JUMP_S, 0.0), (JUMP_S + 0.48, None, -300.0)]
)
def test_a_part_tells_its_own_offset_at_the_times_of_the_title(
    film: Path, checker: Checker, start_s: float | None, end_s: float | None, offset_ms: float
) -> None:
    settings = CheckSettings(audio_tracks=(2,), start=start_s, end=end_s)
    report = checker.check(film, settings)
    assert report.verdict == ("in_sync" if offset_ms == 0 else "out_of_sync")
    assert report.offset_ms == pytest.approx(offset_ms, abs=35)
    assert report.duration_s == pytest.approx(LENGTH_S, abs=0.2)
    begin_s = start_s or 0.0
    assert report.part_s is not None
    assert report.part_s == pytest.approx((begin_s, end_s or begin_s + 8))
    times_s = [block.start_s for block in report.blocks]
    assert times_s == pytest.approx([begin_s + k for k in range(len(times_s))])
    assert report.segments[-1].end_s == pytest.approx(report.part_s[1])


def test_a_part_is_the_same_where_the_file_must_be_read_from_its_beginning(
    film: Path, checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avcheck.media import Media

    settings = CheckSettings(audio_tracks=(2,), start=10.0, end=12.0)
    sought, info, _ = checker.curves(film, settings)
    monkeypatch.setattr(Media, "seekable", False, raising=False)
    monkeypatch.setattr("avcheck.reading.title.Title.seekable", False, raising=False)
    read, *_ = checker.curves(film, settings)
    assert info.duration_s is not None
    assert len(sought) == len(read) == 1
    np.testing.assert_array_equal(sought[0].score, read[0].score)


def test_what_is_asked_for_twice_is_checked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file by two of its names made two sounds, and both counted in the summary of the title."""
    monkeypatch.chdir(tmp_path)
    sound, other, missing = Path("a.wav"), Path("b.wav"), Path("none.wav")
    sound.write_bytes(b"a")
    other.write_bytes(b"a")
    link, hard = Path("link.wav"), Path("hard.wav")
    link.symlink_to(sound)
    os.link(other, hard)
    names = (sound, other, Path("./a.wav"), sound.absolute(), link, hard, missing, missing)
    assert CheckSettings(audio=names).audio == (sound, other, missing)
    once = CheckSettings(audio=(sound,))
    twice = CheckSettings(audio=(sound, link))
    assert (twice.may_be_several, twice.sha256()) == (False, once.sha256())
    assert CheckSettings(audio_tracks=(1, 0, 1)).audio_tracks == (1, 0)


def test_a_drive_that_numbers_no_files_has_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some network drives on Windows: all files had one number, 0, and all but one were lost."""
    sounds = tmp_path / "a.wav", tmp_path / "b.wav"
    for sound in sounds:
        sound.write_bytes(b"a")
    link = tmp_path / "link.wav"
    link.symlink_to(sounds[0])
    number = os.stat_result((0o100644, 0, 7, 1, 0, 0, 1, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda _path: number)
    assert CheckSettings(audio=(*sounds, link)).audio == sounds


def test_separate_files_are_sounds_of_one_picture(
    film: Path, checker: Checker, tmp_path: Path
) -> None:
    """The second of them is the first again, so both say the same; the third is none."""
    other = tmp_path / "fra.mkv"
    shutil.copyfile(film, other)
    broken = tmp_path / "deu.wav"
    broken.write_bytes(b"RIFF" + bytes(60))
    settings = CheckSettings(audio=(film, other, broken), end=8.0)
    first, second, third = checker.check_tracks(film, settings)
    assert (first.verdict, second.verdict, third.verdict) == ("in_sync", "in_sync", "error")
    assert second.offset_ms == pytest.approx(first.offset_ms, abs=2)
    assert (first.audio_track, second.audio_path) == (None, str(other))
    assert third.audio_path == str(broken) and str(broken) in (third.reason or "")
    assert third.title_summary == f"{broken} is not judged; the other 2 are in sync"


def tiny(path: Path, languages: tuple[str, ...]) -> Path:
    silence = [lambda t: 0 * t] * len(languages)
    return make_clip(path, seconds=0.4, size=(64, 48), play=silence, languages=languages)


@pytest.mark.parametrize("wanted", ["fr", "fra", "fre", "FR"])
def test_a_language_is_known_by_all_its_codes(
    tmp_path: Path, checker: Checker, wanted: str
) -> None:
    path = tiny(tmp_path / "film.mkv", ("eng", "fre", "fr-CA", "fra"))
    checked = checker.check_tracks(path, CheckSettings(languages=(wanted,)))
    assert [each.audio_track for each in checked] == [1, 2, 3]


def test_a_language_that_no_track_has_is_told_with_those_there_are(tmp_path: Path) -> None:
    path = tiny(tmp_path / "film.mkv", ("eng", "fre"))
    report = avcheck.check(path, language="de", device="cpu")
    assert (report.verdict, report.reason_code) == ("error", "no_audio")
    assert report.reason == (
        "the file has no audio track in the language 'de': it has 2 audio tracks, numbers 0 "
        "(eng) and 1 (fre); choose one with --audio-track"
    )


def test_the_calls_of_the_package_give_one_report_or_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    monkeypatch.chdir(tmp_path)
    Path("film.mp4").write_bytes(b"x")
    assert avcheck.check("film.mp4", audio_track=1, start="1:30", end=200).verdict == "in_sync"
    asked = fake_scan.MADE[-1].calls[0]["settings"]
    assert (asked.audio_tracks, asked.start, asked.end) == ((1,), 90.0, 200.0)
    several = avcheck.check_tracks("film.mp4", audio_track="all")
    assert [each.audio_track for each in several] == [0, 1, 2]
    with pytest.raises(UsageError, match="check_tracks"):
        avcheck.check("film.mp4", audio_track="all")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "time_s"),
    [("90", 90.0), ("1:30", 90.0), ("0:01:30.5", 90.5), ("01:00:00", 3600.0), ("75:00", 4500.0)],
)
def test_times_are_read_as_people_write_them(text: str, time_s: float) -> None:
    assert seconds_of(text) == time_s


@pytest.mark.parametrize("text", ["", "-1", "1:60", "1:60:00", "nan", "1e3", "1:2:3:4", "ten"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        seconds_of(text)


@pytest.mark.parametrize(
    "settings",
    [
        {"start": 5.0, "end": 5.5},
        {"start": 9.0, "end": 3.0},
        {"audio_tracks": (1,), "languages": ("fr",)},
        {"languages": ("?",)},
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        CheckSettings(**settings)


def test_a_part_beyond_the_end_is_told(tmp_path: Path, checker: Checker) -> None:
    path = tiny(tmp_path / "film.mp4", ("eng",))
    with pytest.raises(EmptyPart, match="less than 1 s in the part from 60 s on"):
        checker.check(path, CheckSettings(start=60.0))


def test_what_bears_on_the_result_is_in_the_hash_and_defaults_are_not() -> None:
    """A run that goes on after an upgrade does not check everything again."""
    plain = CheckSettings().sha256()
    assert plain == "03c3b83ba8c3bcb5f47fa4ec6b8e1b9e752c54b417214c4dadef859d9c1d760b"
    others = [
        CheckSettings(audio_tracks=(0, 1)),
        CheckSettings(every_track=True),
        CheckSettings(languages=("fr",)),
        CheckSettings(start=1.0),
        CheckSettings(end=9.0),
        CheckSettings(audio=(Path("a.wav"), Path("b.wav"))),
    ]
    assert len({plain, *(each.sha256() for each in others)}) == 1 + len(others)


def sound(number: int, offset_ms: float | None, verdict: str = "", language: str = "") -> Report:
    tracks = tuple(Track(k, language, "", "aac", k == 0) for k in range(number + 1))
    verdict = verdict or ("in_sync" if abs(offset_ms or 0.0) <= 40 else "out_of_sync")
    return Report(
        "film",
        verdict,  # type: ignore[arg-type]
        offset_ms=offset_ms,
        audio_track=number,
        audio_tracks=tracks,
    )


@pytest.mark.parametrize(
    ("sounds", "words"),
    [
        ([sound(0, 4.0), sound(1, 9.0), sound(2, 0.0)], "all 3 sounds are in sync"),
        (
            [sound(0, 4.0), sound(1, 4.0), sound(2, -200.0, language="fra"), sound(3, 0.0)],
            "track 2 (fra) is late by 200 ms; the other 3 are in sync",
        ),
        (
            [sound(0, 0.0), sound(1, -190.0), sound(2, -210.0)],
            "track 0 is in sync; the other 2 are late by about 200 ms",
        ),
        (
            [sound(0, 0.0), sound(1, None, "undecidable")],
            "track 1 is undecidable; track 0 is in sync",
        ),
        ([sound(0, None, "error"), sound(1, None, "error")], "both sounds are not judged"),
        (
            [sound(0, -100.0), sound(1, 150.0), sound(2, 300.0)],
            "track 1 is early by 150 ms, track 2 is early by 300 ms; track 0 is late by 100 ms",
        ),
    ],
)
def test_the_odd_one_is_named(sounds: list[Report], words: str) -> None:
    assert odd_one_out(sounds) == words


@pytest.mark.parametrize(
    ("odd", "words"), [(7, "1 more differs as well"), (8, "2 more differ as well")]
)
def test_six_odd_ones_are_named_and_the_others_counted(odd: int, words: str) -> None:
    sounds = [sound(0, 0.0), sound(1, 0.0), *(sound(2 + k, 100.0 + 100 * k) for k in range(odd))]
    summary = odd_one_out(sounds)
    assert summary.count("is early by") == 6
    assert summary.endswith(f"track 7 is early by 600 ms, {words}; the other 2 are in sync")
