"""Files whose pictures or sound begin or end long before the other, as an upload that broke off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from avcheck.media import open_media
from tests.support.clock_media import complete

Clip = Callable[..., Path]
SMALL: dict[str, Any] = {"fps": 5, "size": (64, 48), "events_s": ()}


def notes(path: Path, **options: Any) -> tuple[str, ...]:
    with open_media(path, **options) as file:
        list(file.sounds())
        assert file.degraded.notes == ()  # not yet known
        list(file.pictures())
        return file.degraded.notes


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_sound_that_ends_early(clip: Clip, suffix: str) -> None:
    path = clip(f"film.{suffix}", seconds=10, audio_gaps_s=[(4, 10)], **SMALL)
    [note] = notes(path)
    assert note in [f"its pictures end at 10.{k} s, its sound at 4.0 s" for k in (0, 1, 2)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_pictures_that_end_early(clip: Clip, suffix: str) -> None:
    times_s = [k / 5 for k in range(20)]
    [note] = notes(clip(f"film.{suffix}", seconds=10, picture_times_s=times_s, **SMALL))
    assert note.startswith(("its pictures end at 4.0 s", "its pictures end at 3.8 s"))
    assert note.endswith((", its sound at 10.0 s", ", its sound at 10.1 s"))


def test_a_check_that_reads_no_sound_behind_the_last_picture_goes_by_the_length(clip: Clip) -> None:
    times_s = [k / 5 for k in range(20)]
    path = clip("film.mp4", seconds=10, picture_times_s=times_s, **SMALL)
    with open_media(path) as file:
        next(file.sounds())
        list(file.pictures())
        assert file.degraded.notes == ("its pictures end at 4.0 s, the file at 10.0 s",)


@pytest.mark.parametrize(("seconds", "noted"), [(30, False), (19, True)])
def test_a_tail_of_a_tenth_is_ordinary(clip: Clip, seconds: float, noted: bool) -> None:
    """A title card without sound, credits that fade."""
    path = clip("film.mp4", seconds=seconds, audio_gaps_s=[(seconds - 2.4, seconds)], **SMALL)
    assert bool(notes(path)) == noted


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"audio_gaps_s": [(0, 31)]}, "its sound begins at 31.0 s"),
        ({"picture_times_s": [31 + k / 5 for k in range(20)]}, "its pictures begin at 31.0 s"),
    ],
)
def test_what_begins_late(clip: Clip, options: dict[str, Any], note: str) -> None:
    assert notes(clip("film.mp4", seconds=35, **options, **SMALL)) == (note,)


def test_a_separate_sound_may_be_of_any_length(clip: Clip) -> None:
    film = clip("film.mp4", seconds=2, acodec=None, **SMALL)
    sound = clip("sound.wav", seconds=10, vcodec=None, acodec="pcm_s16le")
    assert notes(film, audio_path=sound) == ()


def test_sound_that_lies_behind_all_pictures_of_the_file_begins_with_them(
    clip: Clip, tmp_path: Path
) -> None:
    """A file that is badly interleaved: its first sound is not found when it is opened."""
    path = tmp_path / "behind.mkv"
    with (
        av.open(str(clip("film.mkv", seconds=32, **SMALL))) as reader,
        av.open(str(path), "w", options={"max_interleave_delta": "1"}) as writer,
    ):
        streams = {
            stream.index: writer.add_stream_from_template(stream, opaque=True)
            for stream in reader.streams
        }
        packets = [packet for packet in reader.demux() if packet.size]
        complete(packets)
        for packet in sorted(packets, key=lambda packet: packet.stream.type == "audio"):
            packet.stream = streams[packet.stream.index]
            writer.mux_one(packet)
    with open_media(path) as file:
        assert file.info.first_sound_s is None
    assert not [note for note in notes(path) if "begin" in note]
