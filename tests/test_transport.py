"""Transport streams as broadcasters and recorders leave them: several programmes, PIDs that move,
clocks that start again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from avcheck.batch import run
from avcheck.cli.app import main
from avcheck.errors import DecodeFailed, NoAudio, NoVideo
from avcheck.media import Media, Sound, open_media
from avcheck.media.survey import survey
from tests.support.clips import Array, click_time_s
from tests.support.decode_scan import DecodeChecker
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
    starts,
    with_blank_payload,
    write,
)

Clip = Callable[..., Path]
H264, AAC = 0x1B, 0x0F
TYPES = {VIDEO_PID: H264, AUDIO_PID: AAC}


def flashes_s(file: Media) -> list[float]:
    """When the bright pictures are shown; pictures must rise."""
    pictures = [(picture.pts_s, picture.luma.mean() > 128) for picture in file.pictures()]
    assert all(before[0] < after[0] for before, after in pairwise(pictures))
    return [time_s for time_s, bright in pictures if bright]


def clicks_s(sounds: Sequence[Sound], near_s: Sequence[float]) -> list[float]:
    """When the clicks are heard, one within half a second of each of `near_s`; sounds must not
    overlap.
    """
    assert all(before.end_s <= after.start_s + 1e-6 for before, after in pairwise(sounds))
    found = []
    for time_s in near_s:
        samples: Array = np.zeros(16000, np.float32)
        for sound in sounds:
            first = round((sound.start_s - time_s + 0.5) * 16000)
            low, high = max(0, first), min(16000, first + len(sound.samples))
            if low < high:
                samples[low:high] = sound.samples[low - first : high - first]
        assert np.abs(samples).max() > 0.3
        found.append(click_time_s(time_s - 0.5, samples))
    return found


def late_ms(file: Media) -> list[float]:
    """How late each click is against its flash."""
    shown_s = flashes_s(file)
    heard_s = clicks_s(list(file.sounds()), shown_s)
    return [1000 * (heard - shown) for heard, shown in zip(heard_s, shown_s, strict=True)]


def changing(time_s: float) -> Array:
    """A picture unlike those around it, and small when encoded: 30 of them share a PES packet."""
    return np.full((64, 96), 16 + round(25 * time_s) * 7 % 200, np.uint8)


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
        == f"{two_programmes}: has no programme 3: it has 11 and 12; choose one with --program"
    )
    other = clip("clip.mkv")
    with pytest.raises(NoVideo) as wrong:
        open_media(other, program=3)
    assert str(wrong.value) == f"{other}: has no programmes; leave --program out"


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


def test_an_ordinary_recording_has_one_programme_and_no_seam(clip: Clip) -> None:
    with open_media(clip("clip.ts")) as file:
        assert (file.info.program, file.info.programs, file.seams_s) == (1, (1,), ())
        assert not file.degraded
    with open_media(clip("clip.mp4")) as file:
        assert (file.info.program, file.info.programs, file.seams_s) == (None, (), ())


# -- sections --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [188, 192, 204])
@pytest.mark.parametrize("starts_s", [(1000.0, 0.0, 30.0), (0.0, 50000.0, 2.0), (7.0, 7.0, 7.0)])
def test_joined_recordings_are_all_looked_at(
    clip: Clip, size: int, starts_s: tuple[float, ...]
) -> None:
    """The clock goes back or ahead where one recording ends and the next begins; each keeps its own
    offset.
    """
    late_s = 0.0, 0.2, -0.1
    parts = [
        packets_of(
            clip(
                "part.ts", seconds=2, start_s=start_s, sound_late_s=by_s, video_options={"bf": "2"}
            )
        )
        for start_s, by_s in zip(starts_s, late_s, strict=True)
    ]
    path = write(
        clip("part.ts").with_name("joined.ts"), [packet for part in parts for packet in part], size
    )
    with open_media(path) as file:
        assert late_ms(file) == pytest.approx([0, 200, -100], abs=1)
        # The pictures of a part follow those before it. Its sound begins 21 ms earlier, by the
        # encoder's delay.
        begin_s = [file.info.first_picture_s, *file.seams_s]
        assert begin_s == pytest.approx([0.0213, 2.0213, 4.0213], abs=0.001)
        assert np.subtract(flashes_s(file), begin_s) == pytest.approx([1, 1, 1], abs=0.001)
        assert len(list(file.pictures())) == 150
        assert file.info.duration_s == pytest.approx(6, abs=0.1)
        assert file.degraded.missing_audio_s < 0.1
        assert file.degraded.corrupt_frames == 0
        places = " and ".join(f"{time_s:.1f} s" for time_s in file.seams_s)
        assert file.degraded.notes == (
            f"its clock or its PIDs change at {places}; each part was checked by its own "
            "timestamps",
        )


@pytest.mark.parametrize(
    ("second_s", "keeps"), [(12.0, True), (12.52, True), (10.0, False), (400.0, False)]
)
def test_pids_that_move_in_mid_stream(clip: Clip, second_s: float, keeps: bool) -> None:
    """The table names other PIDs from there on. A clock that goes on keeps its place, one set anew
    does not.
    """
    first = packets_of(clip("part.ts", seconds=2, start_s=10))
    second = renumbered(
        packets_of(clip("part.ts", seconds=2, start_s=second_s, sound_late_s=0.2)), 1, 0x30, TYPES
    )
    path = write(
        clip("part.ts").with_name("moved.ts"), [*first, *pat({1: PMT_PID + 0x30}), *second]
    )
    with open_media(path) as file:
        assert late_ms(file) == pytest.approx([0, 200], abs=1)
        assert np.diff(flashes_s(file)) == pytest.approx(second_s - 10 if keeps else 2, abs=0.001)
        assert len(file.seams_s) == 1
        assert len(list(file.pictures())) == 100


def test_a_programme_that_takes_over_from_another(clip: Clip) -> None:
    first = packets_of(clip("part.ts", seconds=2))
    second = renumbered(packets_of(clip("part.ts", seconds=2, sound_late_s=0.2)), 9, 0x30, TYPES)
    path = write(
        clip("part.ts").with_name("moved.ts"), [*first, *pat({9: PMT_PID + 0x30}), *second]
    )
    with open_media(path) as file:
        assert (file.info.program, file.info.programs) == (1, (1,))
        assert late_ms(file) == pytest.approx([0, 200], abs=1)


def test_a_splice_that_the_sound_follows_later(clip: Clip) -> None:
    """In a multiplex the sound of the old clock goes on after the first pictures of the new one:
    nothing of it is lost.
    """
    first = packets_of(clip("part.ts", seconds=2, start_s=1000))
    second = packets_of(clip("part.ts", seconds=2, sound_late_s=0.2))
    pes = [k for k, packet in enumerate(first) if pid_of(packet) == AUDIO_PID and starts(packet)]
    tail = [packet for packet in first[pes[-2] :] if pid_of(packet) == AUDIO_PID]
    head = [packet for k, packet in enumerate(first) if k < pes[-2] or pid_of(packet) != AUDIO_PID]
    sound = next(k for k, packet in enumerate(second) if pid_of(packet) == AUDIO_PID)
    path = write(
        clip("part.ts").with_name("spliced.ts"), [*head, *second[:sound], *tail, *second[sound:]]
    )
    with open_media(path) as file:
        assert late_ms(file) == pytest.approx([0, 200], abs=1)
        assert len(file.seams_s) == 1
        sounds = list(file.sounds())
        assert sum(len(each.samples) for each in sounds) / 16000 == pytest.approx(4, abs=0.1)
        assert len(list(file.pictures())) == 100


@pytest.mark.parametrize("start_s", [95441.2, 95373.6, 95443.68])
def test_a_wrap_of_the_clock_is_no_seam(clip: Clip, start_s: float) -> None:
    with open_media(clip("clip.ts", seconds=3, start_s=start_s, events_s=(0.4, 2.0))) as file:
        assert file.seams_s == ()
        assert late_ms(file) == pytest.approx([0, 0], abs=1)


def test_a_wrap_in_a_joined_part_is_no_seam_either(clip: Clip) -> None:
    parts = [
        packets_of(clip("part.ts", seconds=3, start_s=start_s, events_s=(0.4, 2.0)))
        for start_s in (20.0, 95441.2, 20.0)
    ]
    path = write(
        clip("part.ts").with_name("joined.ts"), [packet for part in parts for packet in part]
    )
    with open_media(path) as file:
        assert len(file.seams_s) == 2
        assert late_ms(file) == pytest.approx([0] * 6, abs=1)
        assert np.diff(flashes_s(file))[::2] == pytest.approx([1.6] * 3, abs=0.001)


def test_a_stream_that_pauses_is_no_seam(clip: Clip) -> None:
    path = clip(
        "clip.ts",
        seconds=20,
        fps=5,
        size=(64, 48),
        events_s=(1.0, 18.0),
        audio_gaps_s=[(2.0, 15.0)],
    )
    with open_media(path) as file:
        assert file.seams_s == ()
        assert late_ms(file) == pytest.approx([0, 0], abs=1)
        assert file.degraded.missing_audio_s == pytest.approx(13, abs=0.1)


def test_a_single_damaged_timestamp_is_no_seam(clip: Clip) -> None:
    packets = packets_of(clip("clip.ts", seconds=3, events_s=(2.0,)))
    at = [k for k, packet in enumerate(packets) if pid_of(packet) == VIDEO_PID and starts(packet)][
        20
    ]
    packet = bytearray(packets[at])
    stamp = packet.index(b"\0\0\1\xe0") + 9
    packet[stamp] ^= 0x08  # half of the counter's range
    packets[at] = bytes(packet)
    with open_media(write(clip("clip.ts").with_name("damaged.ts"), packets)) as file:
        assert file.seams_s == ()
        assert late_ms(file) == pytest.approx([0], abs=1)


def test_packets_are_found_again_after_a_loss_of_sync(clip: Clip) -> None:
    parts = [packets_of(clip("part.ts", seconds=2, start_s=start_s)) for start_s in (100.0, 0.0)]
    path = write(clip("part.ts").with_name("joined.ts"), parts[0])
    path.write_bytes(path.read_bytes() + b"\x55" * 77 + b"".join(parts[1]))
    with open_media(path) as file:
        assert len(file.seams_s) == 1
        assert late_ms(file) == pytest.approx([0, 0], abs=1)


@pytest.mark.parametrize("reset", [False, True])
def test_segments_of_a_stream_joined_again(clip: Clip, tmp_path: Path, reset: bool) -> None:
    """As a player saves HLS: the pieces one after the other, their clock going on, or starting
    again in each.
    """
    source = clip(
        "source.mp4", seconds=6, events_s=(0.48, 2.48, 4.48), video_options={"g": "50", "bf": "2"}
    )
    pieces = tmp_path / "piece%d.ts"
    options = {"segment_time": "2", "segment_format": "mpegts", "reset_timestamps": str(int(reset))}
    with (
        av.open(str(source)) as reader,
        av.open(str(pieces), "w", format="segment", options=options) as writer,
    ):
        outputs = {
            stream.index: writer.add_stream_from_template(stream) for stream in reader.streams
        }
        for packet in reader.demux():
            if packet.dts is not None:
                packet.stream = outputs[packet.stream.index]
                writer.mux(packet)
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join((tmp_path / f"piece{k}.ts").read_bytes() for k in range(3)))
    with open_media(path) as file:
        assert len(file.seams_s) == (2 if reset else 0)
        assert late_ms(file) == pytest.approx([0, 0, 0], abs=1)
        assert np.diff(flashes_s(file)) == pytest.approx([2, 2], abs=0.01 if reset else 0.001)
        assert len(list(file.pictures())) == 150


@pytest.mark.slow
def test_a_joined_recording_is_read_from_the_middle(clip: Clip) -> None:
    """What is decoded from a place on is what a decode from the beginning gives there."""
    events_s = [0.6 + 2 * k for k in range(15)]
    parts = [
        packets_of(
            clip(
                "part.ts",
                seconds=31,
                fps=5,
                size=(64, 48),
                start_s=start_s,
                events_s=events_s,
                video_options={"g": "25"},
            )
        )
        for start_s in (100.0, 0.0)
    ]
    path = write(
        clip("part.ts").with_name("joined.ts"), [packet for part in parts for packet in part]
    )
    with open_media(path) as file:
        assert file.seekable
        pictures = {
            round(picture.pts_s, 4): float(picture.luma.mean()) for picture in file.pictures()
        }
        sounds = list(file.sounds())
        for from_s in (2.0, 28.0, 30.9, 40.0, 59.5):
            part = {
                round(picture.pts_s, 4): float(picture.luma.mean())
                for picture in file.pictures(from_s)
            }
            assert part == {
                time_s: mean for time_s, mean in pictures.items() if time_s >= min(part)
            }
            assert from_s - 0.21 < min(part) <= from_s
            heard = list(file.sounds(from_s))
            near_s = [time_s for time_s in flashes_s(file) if time_s > from_s + 0.5]
            assert clicks_s(heard, near_s) == pytest.approx(clicks_s(sounds, near_s), abs=1e-4)
            assert heard[0].start_s == pytest.approx(from_s, abs=1e-3)


def test_another_sound_goes_with_a_joined_recording(clip: Clip) -> None:
    parts = [packets_of(clip("part.ts", seconds=2, start_s=start_s)) for start_s in (100.0, 0.0)]
    path = write(
        clip("part.ts").with_name("joined.ts"), [packet for part in parts for packet in part]
    )
    sound = clip("sound.wav", vcodec=None, acodec="pcm_s16le", seconds=4, events_s=(1.0, 3.0))
    with open_media(path, audio_path=sound) as file:
        # The parts end with a picture, the sound a little later
        assert late_ms(file) == pytest.approx([0, 0], abs=70)


def test_a_part_that_does_not_decode_is_not_looked_at(clip: Clip) -> None:
    parts = [
        packets_of(clip("part.ts", seconds=3, start_s=start_s)) for start_s in (100.0, 0.0, 50.0)
    ]
    blank = [
        with_blank_payload(packet) if pid_of(packet) == VIDEO_PID else packet for packet in parts[1]
    ]
    path = write(clip("part.ts").with_name("joined.ts"), [*parts[0], *blank, *parts[2]])
    with open_media(path) as file:
        assert late_ms(file) == pytest.approx([0, 0], abs=1)
        assert flashes_s(file) == pytest.approx([1.02, 7.02], abs=0.1)
        assert file.degraded.unseen_s == (pytest.approx((3, 6), abs=0.1),)


def test_a_part_without_a_key_frame_at_its_start_counts_what_is_lost(clip: Clip) -> None:
    options = {"g": "50", "sc_threshold": "0"}
    whole = packets_of(clip("part.ts", seconds=6, events_s=(5.0,), video_options=options))
    second = packets_of(
        clip("part.ts", seconds=6, start_s=500, events_s=(5.0,), video_options=options)
    )
    cut = [k for k, packet in enumerate(second) if pid_of(packet) == VIDEO_PID and starts(packet)][
        60
    ]
    path = write(clip("part.ts").with_name("joined.ts"), [*whole, *second[cut:]])
    with open_media(path) as file:
        assert late_ms(file) == pytest.approx([0, 0], abs=1)
        # 40 pictures, of which the last may stand for 1 s
        assert file.degraded.missing_video_s == pytest.approx(1.6 - 1, abs=0.1)


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
    found = survey(write(tmp_path / "tables.ts", [*tables, *tables, *tables]))
    assert found is not None
    assert [dict(tables.programmes[5].types) for tables in found.tables] == [types]
