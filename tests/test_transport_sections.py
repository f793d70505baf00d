"""Joined and spliced transport streams: clocks that start again, PIDs that move, parts that are
lost.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from avcheck.media import open_media
from tests.support.clips import Clip
from tests.support.transport_reading import TYPES, clicks_s, flashes_s, late_ms
from tests.support.transport_stream import (
    AUDIO_PID,
    PMT_PID,
    VIDEO_PID,
    packets_of,
    pat,
    pid_of,
    renumbered,
    starts,
    with_blank_payload,
    write,
)


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
        assert file.info.first_picture_s is not None
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
        (hole_s,) = file.degraded.unseen_s
        assert hole_s == pytest.approx((3, 6), abs=0.1)


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
