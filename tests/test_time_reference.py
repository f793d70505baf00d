"""A broadcast wave says by its time reference when it begins (EBU Tech 3285)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest

from avcheck.media import open_media
from tests.support.clips import Clip
from tests.support.reading import whole

HOUR = 3600 * 48_000  # samples


def with_time_reference(path: Path, samples: int) -> Path:
    """Puts a chunk `bext` into a wav: 338 bytes of texts, then samples since midnight."""
    data = path.read_bytes()
    body = bytes(338) + samples.to_bytes(8, "little") + bytes(256)
    chunk = b"bext" + len(body).to_bytes(4, "little") + body
    size = (int.from_bytes(data[4:8], "little") + len(chunk)).to_bytes(4, "little")
    path.write_bytes(data[:4] + size + data[8:12] + chunk + data[12:])
    return path


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (HOUR - 96_000, "begins 2.00 s before the pictures"),
        (HOUR + 24_000, "begins 0.50 s after the pictures"),
        (HOUR + 1900, ""),  # less than a picture
        (HOUR, ""),
        (15 * HOUR, ""),  # the time of day
        (0, ""),
    ],
)
def test_timecodes_that_differ_are_told(clip: Clip, reference: int, said: str) -> None:
    """The sound is laid on the film as by a player."""
    film = clip("film.mov", acodec=None, tags={"timecode": "01:00:00:00"})
    options: dict[str, Any] = {"vcodec": None, "acodec": "pcm_s16le"}
    plain = clip("plain.wav", events_s=(1.04,), **options)
    with open_media(film, audio_path=plain) as file:
        assert file.info.timecode == "01:00:00:00"
        laid = whole(list(file.sounds()))
        assert not file.degraded.notes
    sound = with_time_reference(plain, reference)
    with open_media(film, audio_path=sound) as file:
        start_s, samples = whole(list(file.sounds()))
        assert start_s == laid[0]
        assert (samples == laid[1]).all()
        notes = " ".join(file.degraded.notes)
        assert said in notes
        assert bool(notes) == bool(said)


def test_a_film_without_a_timecode_has_none_to_compare(clip: Clip) -> None:
    sound = clip("sound.wav", vcodec=None, acodec="pcm_s16le")
    film = clip("film.mp4", acodec=None)
    with open_media(film, audio_path=with_time_reference(sound, HOUR)) as file:
        assert list(file.sounds())
        assert not file.degraded.notes


@pytest.mark.parametrize("reference", ["9" * 400, "9" * 5000, "\u0663\u0664", "1e9"])
def test_a_time_reference_that_is_none_is_left_out(clip: Clip, reference: str) -> None:
    """A FLAC can have any text there, too long for a number."""
    film = clip("film.mov", acodec=None, tags={"timecode": "01:00:00:00"})
    sound = clip("sound.flac", vcodec=None, acodec="flac")
    tagged = sound.with_name("tagged.flac")
    with av.open(str(sound)) as reader, av.open(str(tagged), "w") as writer:
        writer.metadata["time_reference"] = reference
        stream: Any = writer.add_stream_from_template(reader.streams.audio[0])
        for packet in reader.demux():
            if packet.size:
                packet.stream = stream
                writer.mux(packet)
    with open_media(film, audio_path=tagged) as file:
        assert list(file.sounds())
        assert not file.degraded.notes
