"""Transport streams as broadcasters and recorders leave them: several programmes, PIDs that move,
clocks that start again.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avcheck.batch import run
from avcheck.cli.app import main
from avcheck.errors import DecodeFailed, NoAudio, NoVideo
from avcheck.media import open_media
from avcheck.media.survey import survey_file
from tests.support.clips import Clip
from tests.support.decode_scan import DecodeChecker
from tests.support.transport_reading import AAC, H264, TYPES, changing, flashes_s, late_ms
from tests.support.transport_stream import (
    AUDIO_PID,
    PMT_PID,
    VIDEO_PID,
    interleaved,
    packets_of,
    pat,
    pid_of,
    pmt,
    renumbered,
    write,
)

# -- programmes ------------------------------------------------------------------------------------


@pytest.fixture
def two_programmes(clip: Clip) -> Path:
    """Programme 11 in sync, with the larger picture; 12 with its sound 200 ms late, in stereo,
    which FFmpeg prefers.
    """
    first = packets_of(clip("first.ts", size=(320, 240), seconds=3))
    second = packets_of(
        clip(
            "second.ts", size=(160, 120), seconds=3, layout="stereo", sound_late_s=0.2, start_s=5000
        )
    )
    programmes = renumbered(first, 11, 0, TYPES), renumbered(second, 12, 0x40, TYPES)
    tables = pat({11: PMT_PID, 12: PMT_PID + 0x40})
    return write(clip("first.ts").with_name("two.ts"), [*tables, *interleaved(*programmes)])


@pytest.mark.parametrize(
    ("asked", "taken", "width", "late"), [(None, 11, 320, 0), (11, 11, 320, 0), (12, 12, 160, 200)]
)
def test_the_sound_is_that_of_the_picture_s_own_programme(
    two_programmes: Path, asked: int | None, taken: int, width: int, late: float
) -> None:
    with open_media(two_programmes, program=asked) as file:
        assert (file.info.program, file.info.programs, file.info.width) == (taken, (11, 12), width)
        assert (
            file.info.audio_track,
            len(file.info.audio_tracks),
            len(file.info.video_tracks),
        ) == (0, 1, 1)
        assert late_ms(file) == [pytest.approx(late, abs=1)]
        # Each programme has a clock of its own
        assert flashes_s(file) == [pytest.approx(1.0, abs=0.03)]
        assert file.info.duration_s == pytest.approx(3.0, abs=0.1)
        assert not file.degraded


def test_a_programme_that_is_not_there_is_named_with_those_that_are(
    two_programmes: Path, clip: Clip
) -> None:
    with pytest.raises(NoVideo) as wrong:
        open_media(two_programmes, program=3)
    assert (
        str(wrong.value)
        == f"{two_programmes}: the file has no programme 3: it has 11 and 12; choose one with "
        "--program"
    )
    other = clip("clip.mkv")
    with pytest.raises(NoVideo) as wrong:
        open_media(other, program=3)
    assert str(wrong.value) == f"{other}: the file has no programmes; leave --program out"


def test_a_track_is_counted_within_its_programme(two_programmes: Path) -> None:
    with open_media(two_programmes, program=12, audio_track=0) as file:
        assert late_ms(file) == [pytest.approx(200, abs=1)]
    with pytest.raises(NoAudio, match="has no audio track 1: it has 1 audio track, number 0"):
        open_media(two_programmes, program=12, audio_track=1)


def test_a_programme_without_sound_is_not_given_another_s(clip: Clip) -> None:
    silent = renumbered(packets_of(clip("silent.ts", acodec=None)), 11, 0, {VIDEO_PID: H264})
    radio = renumbered(packets_of(clip("radio.ts")), 12, 0x40, {AUDIO_PID: AAC})
    path = write(
        clip("radio.ts").with_name("two.ts"),
        [*pat({11: PMT_PID, 12: PMT_PID + 0x40}), *interleaved(silent, radio)],
    )
    with pytest.raises(
        NoAudio, match="its programme has no audio track; use another --program, or --audio FILE"
    ):
        open_media(path)
    with pytest.raises(
        NoVideo, match="its programme has no video stream; choose another with --program"
    ):
        open_media(path, program=12)


def test_the_command_says_which_programme_was_taken_and_that_there_are_others(
    two_programmes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "load_checker", lambda settings, threads: DecodeChecker())
    assert main([str(two_programmes), "--no-config"]) == 0
    assert "[programme 11; --program chooses 12]" in capsys.readouterr().out
    assert main([str(two_programmes), "--no-config", "--program", "12", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["program"], record["programs"]) == (12, [11, 12])
    assert main([str(two_programmes), "--no-config", "--program", "3"]) == 2
    assert (
        "has no programme 3: it has 11 and 12; choose one with --program" in capsys.readouterr().err
    )


@pytest.mark.parametrize("first", [{VIDEO_PID: H264}, {AUDIO_PID: AAC}], ids=["picture", "sound"])
def test_a_programme_may_list_a_stream_only_when_it_comes(
    clip: Clip, first: dict[int, int]
) -> None:
    """As ps2ts of tstools writes it: its first table has what it has met so far."""
    whole = clip("whole.ts", seconds=3, sound_late_s=0.2)
    packets = [*pat({1: PMT_PID}), *pmt(1, PMT_PID, first), *packets_of(whole)]
    with open_media(write(whole.with_name("grows.ts"), packets)) as file:
        assert late_ms(file) == [pytest.approx(200, abs=1)]
        assert not file.degraded


def test_an_ordinary_recording_has_one_programme_and_no_seam(clip: Clip) -> None:
    with open_media(clip("clip.ts")) as file:
        assert (file.info.program, file.info.programs, file.seams_s) == (1, (1,), ())
        assert not file.degraded
    with open_media(clip("clip.mp4")) as file:
        assert (file.info.program, file.info.programs, file.seams_s) == (None, (), ())


# -- program streams -------------------------------------------------------------------------------


@pytest.mark.parametrize("g", ["12", "15"])
def test_several_pictures_in_a_packet_of_a_program_stream(clip: Clip, g: str) -> None:
    """Only one picture of a PES packet has a timestamp; none of the others is dropped or shown
    early.
    """
    events_s = [0.4 + 0.8 * k for k in range(24)]
    path = clip(
        "clip.mpg",
        seconds=20,
        size=(96, 64),
        vcodec="mpeg2video",
        acodec="mp2",
        events_s=events_s,
        video_options={"bf": "2", "g": g},
    )
    with open_media(path) as file:
        times_s = [picture.pts_s for picture in file.pictures()]
        assert len(times_s) == 500
        assert np.diff(times_s) == pytest.approx(0.04, abs=1e-4)
        # The muxer's stamps of the sound stray by 13 ms
        assert late_ms(file) == pytest.approx([0] * 24, abs=14)
        assert file.degraded.corrupt_frames == 0


def test_a_program_stream_without_b_pictures_never_falls_behind(clip: Clip) -> None:
    """FFmpeg dates the pictures of some packets by one too late, which we take from it; the next
    packet sets that right.
    """
    codecs = {"vcodec": "mpeg2video", "acodec": "mp2", "video_options": {"bf": "0", "g": "12"}}
    path = clip("clip.mpg", seconds=60, size=(96, 64), draw=changing, **codecs)
    with open_media(path) as file:
        times_s = [picture.pts_s for picture in file.pictures()]
    assert len(times_s) == 1500
    error_s = np.subtract(times_s, times_s[0] + 0.04 * np.arange(1500))
    assert np.abs(error_s).max() < 0.041
    assert (np.abs(error_s) < 0.001).mean() > 0.7


# -- scrambled packets -----------------------------------------------------------------------------


@pytest.mark.parametrize("pids", [{VIDEO_PID}, {VIDEO_PID, AUDIO_PID}, {AUDIO_PID}])
def test_scrambled_packets_are_called_encrypted(clip: Clip, pids: set[int]) -> None:
    packets = packets_of(clip("clip.ts"))
    marked = [
        packet[:3] + bytes([packet[3] | 0x80]) + packet[4:] if pid_of(packet) in pids else packet
        for packet in packets
    ]
    path = write(clip("clip.ts").with_name("scrambled.ts"), marked)
    with pytest.raises(DecodeFailed, match="is encrypted"):
        open_media(path)


# -- the survey ------------------------------------------------------------------------------------


def test_tables_that_take_several_packets(tmp_path: Path) -> None:
    types = {0x200 + k: AAC for k in range(40)}
    tables = [*pat({5: 0x300}), *pmt(5, 0x300, types, words=b"soundtrack")]
    assert len(tables) > 4
    surveyed = survey_file(write(tmp_path / "tables.ts", [*tables, *tables, *tables]))
    assert surveyed is not None
    assert [dict(tables.programmes[5].types) for tables in surveyed.tables] == [types]
