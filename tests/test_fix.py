"""`avcheck fix`: the sound lands where it belongs to a millisecond, everything else stays as it
was, or there is no file.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avcheck.cli.app import main
from avcheck.errors import UsageError
from avcheck.fix import remux, repair
from avcheck.fix.repair import Wanted, fix_file
from avcheck.media import SAMPLE_RATE, open_media
from avcheck.report import BlockResult, Report, Stretch
from tests.support import clock_table
from tests.support.clips import Array
from tests.support.films import KINDS, noise, tiles
from tests.support.fixing import forced, packets

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


def place(samples: Array, known: Array) -> int:
    """Where in the samples the known ones begin."""
    size = len(samples) + len(known)
    match = np.fft.irfft(np.fft.rfft(samples, size) * np.conj(np.fft.rfft(known, size)), size)
    return int(np.abs(match[: len(samples)]).argmax())


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


@pytest.mark.parametrize("offset_ms", [-120, 120])
@pytest.mark.parametrize("name", ["film.avi", "film.mxf"])
def test_pcm_that_cannot_start_later_is_written_anew_sample_by_sample(
    name: str, offset_ms: float, tmp_path: Path
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
    vcodec, options = ("mpeg4", {}) if suffix == "avi" else ("libx264", clock_table.B)
    source = clock_table.write(clock_table.Case("film", suffix, vcodec, acodec, options), tmp_path)
    target = tmp_path / f"fixed.{suffix}"
    assert forced(source, target, offset_ms).status == "fixed"
    row = clock_table.measured("film", target)
    assert row.late_ms == pytest.approx(clock_table.LATE_MS + offset_ms, abs=1.0)
    assert row.most_ms - row.least_ms < 1.0
    assert row.pictures == 60


@pytest.mark.parametrize("target", ["fixed.mkv", "fixed.mp4"])
def test_mp3_in_avi_is_refused_and_goes_into_another_container(target: str, tmp_path: Path) -> None:
    source = tiles(tmp_path / "film.avi", acodec="libmp3lame")
    refused = forced(source, tmp_path / "fixed.avi", 120)
    assert refused.status == "refused"
    assert ".mkv" in str(refused.reason)
    before = late_ms(source)
    result = forced(source, tmp_path / target, 120)
    assert result.status == "fixed", result.reason
    assert late_ms(tmp_path / target) - before == pytest.approx(120, abs=1.5)


# -- where it drifts and jumps ---------------------------------------------------------------------


def measured(*stretches: Stretch) -> Report:
    worst_ms = max((each.end_offset_ms for each in stretches), key=abs)
    drift = 1.0 if stretches[0].start_offset_ms != stretches[0].end_offset_ms else None
    return Report(
        "film",
        "out_of_sync",
        offset_ms=worst_ms,
        drift_ms_per_min=drift,
        audio_track=0,
        video_track=0,
        stretches=stretches,
    )


def checks(*reports: Report) -> repair.Check:
    """Measures what it is told, one after the other."""
    coming = iter(reports)
    return lambda _path, _audio, _video: next(coming)


IN_SYNC = Report("film", "in_sync", offset_ms=0.0, audio_track=0, video_track=0)


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.avi"])
def test_a_drift_is_resampled_away(name: str, tmp_path: Path) -> None:
    """What belongs to the picture at p is heard at (p - 0.1) / 1.005: early by 99.5 ms at first, by
    159.2 ms after 12 s.
    """
    source = tiles(
        tmp_path / name, 12.0, play=lambda times_s: noise(times_s + 0.1 + 0.005 * times_s)
    )
    target = tmp_path / f"fixed{source.suffix}"
    report = measured(Stretch(0.0, 12.0, 100 / 1.005, 160 / 1.005))
    result = fix_file(source, target, Wanted(), checks(report, IN_SYNC))
    assert result.status == "fixed", result.reason
    assert [each.action for each in result.streams] == ["copied", "encoded"]
    found = [place_ms(target, at_s) for at_s in (1.0, 5.0, 9.0)]
    assert found == pytest.approx([0, 0, 0], abs=1.0)


def place_ms(path: Path, at_s: float) -> float:
    """How late the noise of `at_s` is heard against the pictures."""
    with open_media(path) as media:
        first_s = media.info.first_picture_s or 0.0
        sounds = [
            sound
            for sound in media.sounds()
            if sound.end_s > first_s + at_s - 1 and sound.start_s < first_s + at_s + 2
        ]
    start_s = sounds[0].start_s
    heard = np.concatenate([sound.samples for sound in sounds])
    at = place(heard, noise(at_s + np.arange(4000) / SAMPLE_RATE))
    return 1000 * (start_s + at / SAMPLE_RATE - first_s - at_s)


@pytest.mark.parametrize("name", ["film.mp4", "film.mov", "film.ts", "film.avi"])
@pytest.mark.parametrize(("first_ms", "second_ms"), [(0.0, 400.0), (200.0, -300.0)])
def test_a_jump_is_cut_at(name: str, first_ms: float, second_ms: float, tmp_path: Path) -> None:
    source = tiles(
        tmp_path / name,
        10.0,
        play=lambda times_s: np.where(
            times_s < 5.0,
            noise(np.maximum(0, times_s + first_ms / 1000)),
            noise(np.maximum(0, times_s + second_ms / 1000)),
        ),
    )
    target = tmp_path / f"fixed{source.suffix}"
    blocks = [BlockResult(float(k), 0.1, first_ms if k < 5 else second_ms) for k in range(10)]
    report = measured(
        Stretch(0.0, 5.0, first_ms, first_ms), Stretch(5.0, 10.0, second_ms, second_ms)
    )
    report = replace(report, blocks=tuple(blocks))
    result = fix_file(source, target, Wanted(), checks(report, IN_SYNC))
    assert result.status == "fixed", result.reason
    assert [place_ms(target, at_s) for at_s in (2.0, 7.0)] == pytest.approx([0, 0], abs=1.0)
    assert len(result.moves) == 2


def test_a_jump_that_lies_anywhere_in_many_seconds_is_refused(tmp_path: Path) -> None:
    source = tiles(tmp_path / "film.mp4", 4.0)
    report = measured(Stretch(0.0, 20.0, 0.0, 0.0), Stretch(60.0, 90.0, 300.0, 300.0))
    result = fix_file(source, tmp_path / "fixed.mp4", Wanted(), checks(report))
    assert result.status == "refused"
    assert "jumps somewhere" in str(result.reason)
    assert not (tmp_path / "fixed.mp4").exists()


# -- nothing but the whole of it -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("report", "status"),
    [
        (IN_SYNC, "in_sync"),
        (Report("film", "undecidable", "the sound is silent", reason_code="silent"), "undecidable"),
        (Report("film", "error", "has no audio track", reason_code="no_audio"), "error"),
    ],
    ids=lambda value: getattr(value, "verdict", value),
)
def test_without_a_sure_offset_beyond_tolerance_nothing_is_written(
    report: Report, status: str, tmp_path: Path
) -> None:
    source = tiles(tmp_path / "film.mp4", 2.0)
    result = fix_file(source, tmp_path / "fixed.mp4", Wanted(), checks(report))
    assert result.status == status
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4"]


def test_nothing_is_written_over_and_the_source_stays(tmp_path: Path) -> None:
    source = tiles(tmp_path / "film.mp4", 2.0)
    was = hashlib.sha256(source.read_bytes()).digest()
    taken = tmp_path / "taken.mp4"
    taken.write_bytes(b"mine")
    for target in (taken, source):
        with pytest.raises(UsageError, match="exists already"):
            forced(source, target, 100)
    assert taken.read_bytes() == b"mine"
    assert forced(source, tmp_path / "fixed.mp4", 100).status == "fixed"
    assert hashlib.sha256(source.read_bytes()).digest() == was


def test_a_name_that_is_taken_while_the_file_is_written_stays_taken(tmp_path: Path) -> None:
    source, target = tiles(tmp_path / "film.mp4", 2.0), tmp_path / "fixed.mp4"

    def check(path: Path, _audio: int | None, _video: int | None) -> Report:
        if path != source:
            target.write_bytes(b"somebody else's")
            return IN_SYNC
        return measured(Stretch(0.0, 2.0, 100.0, 100.0))

    with pytest.raises(UsageError, match="has come to be"):
        fix_file(source, target, Wanted(), check)
    assert target.read_bytes() == b"somebody else's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "fixed.mp4"]


@pytest.mark.parametrize("after", ["out_of_sync", "undecidable"])
def test_a_file_that_is_not_in_sync_when_checked_again_is_not_kept(
    after: Any, tmp_path: Path
) -> None:
    source = tiles(tmp_path / "film.mp4", 2.0)
    found = Report(
        "film", after, "several offsets fit" if after == "undecidable" else None, offset_ms=-90.0
    )
    result = fix_file(
        source, tmp_path / "fixed.mp4", Wanted(), checks(measured(Stretch(0, 2, 100, 100)), found)
    )
    assert result.status == "failed"
    assert "checked again" in str(result.reason)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4"]


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
def test_a_write_that_moves_the_sound_elsewhere_is_found_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiles(tmp_path / name, 4.0)
    later = remux._Copy._later

    def swallow(copy: Any, packet: Any, due_s: float) -> int | None:
        by = later(copy, packet, due_s)
        packet.dts -= by
        packet.pts -= by
        return by

    monkeypatch.setattr(remux._Copy, "_later", swallow)
    result = forced(source, tmp_path / f"fixed{source.suffix}", 100)
    assert result.status == "failed"
    assert "off its place" in str(result.reason)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_a_write_that_rounds_the_pcm_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiles(tmp_path / "film.avi", 4.0)
    monkeypatch.setattr(
        remux.Layout, "_lay", lambda layout, _piece, _new_s, data: iter([(0, data)])
    )
    result = forced(source, tmp_path / "fixed.avi", 20)
    assert result.status == "failed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.avi"]


# -- the command -----------------------------------------------------------------------------------


def test_the_command_fixes_and_says_what_it_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tiles(tmp_path / "film.mp4", 4.0), tmp_path / "fixed.mp4"
    assert main(["fix", "--force-offset", "80", str(source), str(target)]) == 0
    said = capsys.readouterr().out
    assert "the sound 80.0 ms later" in said
    assert f"{target}: fixed" in said
    assert "not checked, as the offset was given" in said
    assert main(["fix", "--force-offset", "80", str(source), str(target)]) == 2
    assert "nothing is written over" in capsys.readouterr().err


def test_the_record_accounts_for_every_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tiles(tmp_path / "film.mkv", 4.0), tmp_path / "fixed.mkv"
    assert main(["fix", "--json", "--force-offset", "-80", str(source), str(target)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["status"] == "fixed"
    assert record["moves"] == [{"from_s": None, "until_s": None, "later_ms": -80.0, "pace": 1.0}]
    assert [(each["track"], each["action"], each["identical"]) for each in record["streams"]] == [
        (0, "copied", True),
        (1, "moved", True),
    ]
    assert record["clock"]["sound_ms"] < 1.0
    assert record["before"] is None
    assert record["after"] is None


def test_what_cannot_be_fixed_is_a_one_and_what_cannot_be_read_a_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tiles(tmp_path / "film.avi", 2.0, acodec="libmp3lame")
    assert main(["fix", "--force-offset", "80", str(source), str(tmp_path / "fixed.avi")]) == 1
    assert "not fixed: in AVI" in capsys.readouterr().err
    text = tmp_path / "notes.mp4"
    text.write_text("not a film")
    assert main(["fix", "--force-offset", "80", str(text), str(tmp_path / "fixed.mp4")]) == 2
    for offset in ("nan", "inf", "0"):
        assert (
            main(["fix", "--force-offset", offset, str(source), str(tmp_path / "fixed.mkv")]) == 2
        )
    assert (
        main(
            ["fix", "--force-offset", "80", str(tmp_path / "none.mp4"), str(tmp_path / "fixed.mp4")]
        )
        == 2
    )
    assert (
        main(["fix", "--force-offset", "80", str(source), str(tmp_path / "no" / "fixed.mkv")]) == 2
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.avi", "notes.mp4"]


def test_the_ffmpeg_command_is_printed_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tiles(tmp_path / "film.mp4", 2.0)
    assert (
        main(
            [
                "fix",
                "--print-command",
                "--force-offset",
                "80",
                str(source),
                str(tmp_path / "a b.mp4"),
            ]
        )
        == 0
    )
    line = capsys.readouterr().out
    assert line.startswith(
        f"ffmpeg -n -i file:{source} -map 0:0 -map 0:1 -c copy -bsf:1 setts=ts=TS+0.080000/TB "
    )
    assert line.endswith(f"'file:{tmp_path}/a b.mp4'\n")
    avi = tiles(tmp_path / "film.avi", 2.0)
    assert (
        main(
            [
                "fix",
                "--print-command",
                "--force-offset",
                "-80",
                str(avi),
                str(tmp_path / "fixed.avi"),
            ]
        )
        == 0
    )
    assert (
        "-filter:1 atrim=start=0.080000,asetpts=PTS-STARTPTS,apad=pad_len=3840 -c:1 pcm_s16le"
        in capsys.readouterr().out
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.avi", "film.mp4"]
