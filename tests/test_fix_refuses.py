"""`avcheck fix` writes nothing that is not wanted and sure, and the command says what it did."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av.error
import pytest

from avcheck.cli.app import main
from avcheck.errors import UsageError
from avcheck.fix import formats, remux
from avcheck.fix.pcm import PcmLayout
from avcheck.fix.repair import FixSettings, Outcome, fix_file
from avcheck.fix.text import fixed_text
from avcheck.record.report import Report, Segment, Stretch
from tests.support.clock_media import copied
from tests.support.films import tiles
from tests.support.fixing import IN_SYNC, checks, forced, measured

# -- nothing but the whole of it -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("report", "status"),
    [
        (IN_SYNC, "in_sync"),
        (Report("film", "undecidable", "the sound is silent", reason_code="silent"), "undecidable"),
        (Report("film", "error", "the file has no audio track", reason_code="no_audio"), "error"),
    ],
    ids=lambda value: getattr(value, "verdict", value),
)
def test_without_a_sure_offset_beyond_tolerance_nothing_is_written(
    report: Report, status: str, tmp_path: Path
) -> None:
    source = tiles(tmp_path / "film.mp4", 2.0)
    result = fix_file(source, tmp_path / "fixed.mp4", FixSettings(), checks(report))
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


def test_a_drift_in_a_codec_without_an_encoder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(formats._ENCODERS, "aac", "libvorbis_of_a_wheel")
    source = tiles(tmp_path / "film.mp4", 2.0)
    drift = measured(Stretch(0.0, 2.0, 100.0, 200.0))
    result = fix_file(source, tmp_path / "fixed.mp4", FixSettings(), checks(drift))
    assert result.status == "refused"
    assert "there is no encoder for aac" in str(result.reason)


@pytest.mark.parametrize("offset_ms", [-2000, 30_000])
def test_sound_is_not_moved_out_of_the_title(offset_ms: int, tmp_path: Path) -> None:
    source = tiles(tmp_path / "film.mp4", 2.0)
    result = forced(source, tmp_path / "fixed.mp4", offset_ms)
    assert (result.status, result.reason) == (
        "refused",
        f"its sound would be moved by {abs(offset_ms) / 1000:g} s, out of the title, which lasts "
        "2.0 s",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4"]


def test_a_name_that_is_taken_while_the_file_is_written_stays_taken(tmp_path: Path) -> None:
    source, target = tiles(tmp_path / "film.mp4", 2.0), tmp_path / "fixed.mp4"

    def check(path: Path, _audio: int | None, _video: int | None) -> Report:
        if path != source:
            target.write_bytes(b"somebody else's")
            return IN_SYNC
        return measured(Stretch(0.0, 2.0, 100.0, 100.0))

    with pytest.raises(UsageError, match="has appeared in the meantime"):
        fix_file(source, target, FixSettings(), check)
    assert target.read_bytes() == b"somebody else's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "fixed.mp4"]


@pytest.mark.parametrize(
    "again",
    [
        (measured(Stretch(0, 2, -90, -90)), measured(Stretch(0, 2, 70, 70))),  # one more attempt
        (Report("film", "undecidable", "several offsets fit", reason_code="ambiguous"),),
        (Report("film", "error", "internal error: no"),),
    ],
    ids=["out of sync", "undecidable", "error"],
)
def test_a_file_that_is_not_in_sync_when_checked_again_is_not_kept(
    again: tuple[Report, ...], tmp_path: Path
) -> None:
    source = tiles(tmp_path / "film.mp4", 2.0)
    result = fix_file(
        source,
        tmp_path / "fixed.mp4",
        FixSettings(),
        checks(measured(Stretch(0, 2, 100, 100)), *again),
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
    monkeypatch.setattr(PcmLayout, "_lay", lambda layout, _piece, _new_s, data: iter([(0, data)]))
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
    assert "the sound 80.0 ms later" in said and " und:" not in said
    assert f"{target}: fixed" in said
    assert "not checked, as the offset was given" in said
    assert main(["fix", "--force-offset", "80", str(source), str(target)]) == 2
    assert "is not overwritten" in capsys.readouterr().err


def test_a_drift_too_small_to_be_one_shows_in_the_range_of_the_segments() -> None:
    after = replace(
        measured(Stretch(0, 40, 0.2, 0.2)),
        verdict="in_sync",
        offset_ms=0.2,
        drift_ms_per_min=None,
        confidence=1.0,
        segments=tuple(
            Segment(10 * k, 10 * k + 10, offset_ms, confidence)
            for k, (offset_ms, confidence) in enumerate(
                [(-25.0, 0.99), (4.0, 0.95), (700.0, 0.7), (28.2, 0.99)]  # the third is a guess
            )
        ),
    )
    said = fixed_text(Outcome("in.mp4", "out.mp4", "fixed", after=after))
    assert "(0 ms), confidence 1.00, its segments 25 ms late to 28 ms early\n" in said
    changing = replace(after, stretches=(*after.stretches, Stretch(50, 60, 200, 200)))
    assert "segments" not in fixed_text(Outcome("in.mp4", "out.mp4", "fixed", after=changing))


def test_a_borderline_file_says_how_it_can_be_fixed() -> None:
    segments = (Segment(0.0, 10.0, 20.0, 1.0), Segment(10.0, 20.0, 80.0, 1.0))
    why = "sound early by 50 ms (1.2 frames), limit 40 ms, measuring error 10 ms"
    before = Report(
        "film.mp4",
        "undecidable",
        why,
        reason_code="borderline",
        offset_ms=50.0,
        segments=segments,
        stretches=(Stretch(0.0, 20.0, 50.0, 50.0),),
    )
    result = Outcome("film.mp4", "out.mp4", "undecidable", reason=why, before=before)
    assert fixed_text(result) == (
        f"film.mp4: not fixed, as it is borderline: {why}, "
        "its segments 20 ms early to 80 ms early; "
        "narrower limits (--early, --late) decide it\n"
    )


def test_a_sound_in_a_file_of_its_own_is_joined_to_its_picture_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film, sound = tmp_path / "a film.mp4", tmp_path / "dub.wav"
    assert main(["fix", str(film), str(tmp_path / "fixed.mkv"), "--audio", str(sound)]) == 2
    said = capsys.readouterr().err
    assert "it takes no --audio; put yours beside the picture first, and fix that: " in said
    assert said.endswith(
        f"ffmpeg -n -i 'file:{film}' -i file:{sound} -map 0:V -map 1:a -c copy "
        f"'file:{tmp_path}/a film-joined.mkv'\n"
    )


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


@pytest.mark.parametrize(
    ("error", "remedy"),
    [(av.error.PatchWelcomeError, "; name the new file .mov"), (av.error.OSError, "")],
    ids=["container", "disk"],
)
def test_a_container_that_does_not_take_it_names_another(
    error: Any, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since FFmpeg 8, MXF takes no H.264 with more than 128 pictures from key to key."""

    def run(self: object, chapters_later_s: float) -> None:
        raise error(1, "no")

    monkeypatch.setattr(remux._Copy, "run", run)
    source = tiles(tmp_path / "film.mxf", 2.0, vcodec="mpeg2video", acodec="pcm_s16le")
    result = forced(source, tmp_path / "fixed.mxf", 100)
    assert result.status == "refused"
    assert (result.reason or "").endswith(f"cannot be written as mxf: no{remedy}")


def test_a_program_stream_names_the_remedy_that_works(tmp_path: Path) -> None:
    """Asked for .mpg again, it named .mkv, which was refused in turn."""
    source = tiles(tmp_path / "film.mpg", 2.0, vcodec="mpeg2video", acodec="mp2")
    result = forced(source, tmp_path / "fixed.mpg", 100)
    assert (result.reason or "").endswith("bring it into .mkv with mkvmerge first")


@pytest.mark.parametrize("only_command", [False, True])
@pytest.mark.parametrize(
    ("name", "vcodec", "remedy"),
    [("made.avi", "mpeg4", ".mkv"), ("made.mxf", "mpeg2video", ".mov")],
)
@pytest.mark.parametrize("late_s", [0.3, 0.015])  # the second is less than half a picture
def test_pictures_that_start_late_go_into_no_container_where_all_start_together(
    late_s: float, name: str, vcodec: str, remedy: str, only_command: bool, tmp_path: Path
) -> None:
    """The printed command left out 300 ms before the pictures, but not before the sound."""
    film = tiles(tmp_path / "film.mkv", 2.0, vcodec=vcodec, acodec="pcm_s16le")
    source = tmp_path / "late.mkv"
    copied(film, source, later_s=(late_s, 0.0))
    result = forced(source, tmp_path / name, 100, only_command=only_command)
    assert result.status == "refused"
    assert result.command is None
    reason = (
        "pictures cannot start later than the sound, and these start "
        f"{1000 * late_s:.0f} ms later; name the new file {remedy}"
    )
    assert reason in str(result.reason)
    other = forced(source, tmp_path / f"made{remedy}", 100, only_command=only_command)
    assert other.status == ("planned" if only_command else "fixed"), other.reason
