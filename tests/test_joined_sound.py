"""A separate sound file that is itself joined: transport streams whose clock starts again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avcheck.media import open_media
from tests.support.clips import Clip, clicks
from tests.support.transport_reading import clicks_s, flashes_s, late_ms
from tests.support.transport_stream import (
    PMT_PID,
    VIDEO_PID,
    packets_of,
    pat,
    renumbered,
    write,
)

MP2_MS = 1000 * 481 / 48000  # its encoder's delay, which a file of sound alone does not state


def _joined(clip: Clip, name: str, parts: Sequence[dict[str, Any]], **options: Any) -> Path:
    """Transport streams one after the other in one file."""
    packets = [
        packet for part in parts for packet in packets_of(clip("part.ts", **part, **options))
    ]
    return write(clip("part.ts").with_name(name), packets)


def _sound(clip: Clip, starts_s: Sequence[float], clicks_at_s: Sequence[float]) -> Path:
    """Parts of 3 s whose clocks start at these times, each with one click."""
    parts = [
        {"start_s": start_s, "events_s": (at_s,)}
        for start_s, at_s in zip(starts_s, clicks_at_s, strict=True)
    ]
    return _joined(clip, "sound.ts", parts, seconds=3, vcodec=None, acodec="mp2")


@pytest.mark.parametrize("starts_s", [(0, 50_000, 100), (7, 7, 7), (900, 30, 0), (95_442, 50, 9)])
def test_the_parts_are_heard_one_after_the_other(clip: Clip, starts_s: tuple[float, ...]) -> None:
    sound = _sound(clip, starts_s, (1.0, 1.2, 0.9))
    film = clip("film.mp4", seconds=9, events_s=(1.0, 4.0, 7.0), acodec=None)
    with open_media(film, audio_path=sound) as file:
        # A part is 125 frames long, and its encoder's delay is heard
        assert late_ms(file) == pytest.approx(np.array([0, 200, -100]) + MP2_MS, abs=1)
        degraded = file.degraded
        assert file.info.first_sound_s == pytest.approx(0, abs=1e-3)
        assert file.info.audio_clock == "film"
        near_s = [4.2]
        assert clicks_s(list(file.sounds(3.5)), near_s) == pytest.approx(
            clicks_s(list(file.sounds()), near_s), abs=1e-4
        )
    assert degraded.missing_audio_s < 0.1
    assert "its sound file change at 3.0 s and 6.0 s" in degraded.notes[0]


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("starts_s", [(100, 103), (100, 7)])
def test_a_sound_whose_pids_change_is_heard_to_its_end(
    clip: Clip, starts_s: tuple[float, ...], number: int
) -> None:
    """The clock goes on, or starts again; the programme is the same, or another takes its place."""
    packets = []
    for shift, (start_s, at_s) in enumerate(zip(starts_s, (1.0, 1.2), strict=True)):
        options: dict[str, Any] = {"seconds": 3, "vcodec": None, "acodec": "mp2"}
        part = packets_of(clip("part.ts", start_s=start_s, events_s=(at_s,), **options))
        if shift:
            moved = renumbered(part, number, shift, {VIDEO_PID: 3})
            part = [*pat({number: PMT_PID + shift}), *moved]
        packets += part
    sound = write(clip("part.ts").with_name("sound.ts"), packets)
    film = clip("film.mp4", seconds=6, events_s=(1.0, 4.0), acodec=None)
    with open_media(film, audio_path=sound) as file:
        assert late_ms(file) == pytest.approx(np.array([0, 200]) + MP2_MS, abs=1)
        assert "its sound file change at 3.0 s" in file.degraded.notes[0]


def test_a_sound_that_pauses_keeps_its_clock(clip: Clip) -> None:
    """For longer than a recording pauses: the film goes on meanwhile."""
    sound = _sound(clip, (0, 15), (1.0, 1.1))
    film = clip("film.mp4", seconds=18, events_s=(1.0, 16.0), acodec=None)
    with open_media(film, audio_path=sound) as file:
        # The first part cannot begin before zero, so it is moved by its encoder's delay
        assert late_ms(file) == pytest.approx([MP2_MS, 100], abs=1)


@pytest.mark.parametrize("starts_s", [(7200, 100, 3600), (0, 50_000, 0)])
def test_each_part_goes_with_that_of_the_film(clip: Clip, starts_s: tuple[float, ...]) -> None:
    """As HLS with a new clock behind every break: pictures and sound are not cut at the same
    places.
    """
    shares = [start_s > 5 for start_s in starts_s]
    lengths_s, ahead_s, late_s = (3, 4, 3), (0.0, 0.3, -0.2), (0.04, 0.24, 0.14)
    film = _joined(
        clip,
        "film.ts",
        [
            {"start_s": start_s, "seconds": length_s}
            for start_s, length_s in zip(starts_s, lengths_s, strict=True)
        ],
        acodec=None,
    )
    parts = []
    for start_s, by_s, click_s, shared in zip(starts_s, ahead_s, late_s, shares, strict=True):
        by_s = by_s if shared else 0.0
        play = clicks([1.0 + click_s - by_s])
        parts.append({"start_s": start_s + by_s, "play": play})
    sound = _joined(clip, "sound.ts", parts, seconds=2.5, vcodec=None, acodec="mp2")
    with open_media(film, audio_path=sound) as file:
        assert len(flashes_s(file)) == 3
        assert late_ms(file) == pytest.approx([40, 240, 140], abs=13)
        assert file.info.audio_clock == ("stream" if all(shares) else "film")


@pytest.mark.parametrize(
    ("suffix", "acodec", "rate", "exact_ms"),
    [
        ("opus", "libopus", 48000, 0.1),
        ("ogg", "vorbis", 44100, 1.0),  # FFmpeg's encoder adds the rest of a block to each
        ("oga", "flac", 48000, 0.1),
        ("flac", "flac", 48000, 0.1),
        ("mka", "libopus", 48000, 1.0),  # times are whole ms
    ],
)
def test_joined_sound_files_are_heard_one_after_the_other(
    clip: Clip, suffix: str, acodec: str, rate: int, exact_ms: float
) -> None:
    """As a recording of net radio begins a link for each title; a link can have another rate."""
    options: dict[str, Any] = {"vcodec": None, "acodec": acodec}
    if acodec == "vorbis":
        options |= {"layout": "stereo", "audio_options": {"strict": "-2"}}
    parts = [
        clip(f"{number}.{suffix}", seconds=3.31, events_s=(at_s,), sample_rate=part_rate, **options)
        for number, (at_s, part_rate) in enumerate(((1.0, 48000), (1.2, rate), (0.9, 48000)))
    ]
    sound = parts[0].with_name(f"joined.{suffix}")
    sound.write_bytes(b"".join(part.read_bytes() for part in parts))
    film = clip("film.mp4", seconds=10, events_s=(1.0, 4.4, 7.4), acodec=None)
    with open_media(film, audio_path=sound) as file:
        heard_ms = np.array([0, 110, 120])  # 3.31 + 1.2 - 4.4 s, 6.62 + .9 - 7.4 s
        assert late_ms(file) == pytest.approx(heard_ms, abs=exact_ms)
        degraded = file.degraded
        ends_s = list(file.sounds())[-1].end_s
    assert ends_s == pytest.approx(9.93, abs=0.002)
    assert degraded.notes == (
        "files were joined in its sound file at 3.3 s and 6.6 s; each was heard after the one "
        "before",
    )
    assert not degraded.unseen_s
    assert degraded.missing_audio_s == 0


def test_a_flac_behind_a_tag_is_one_file(clip: Clip) -> None:
    sound = clip("sound.flac", seconds=2, events_s=(1.04,), vcodec=None, acodec="flac")
    tag = b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10)
    sound.write_bytes(tag + sound.read_bytes())
    film = clip("film.mp4", acodec=None)
    with open_media(film, audio_path=sound) as file:
        assert late_ms(file) == pytest.approx([40], abs=0.1)
        assert not file.degraded


@pytest.mark.parametrize("seconds", [2, 2.0001])  # an odd number of bytes has one more
def test_what_was_joined_to_a_wav_is_named(clip: Clip, seconds: float) -> None:
    """Players play the first alone."""
    options: dict[str, Any] = {"vcodec": None, "acodec": "pcm_u8", "seconds": seconds}
    first = clip("first.wav", events_s=(1.04,), **options)
    other = clip("other.wav", **options).read_bytes()
    film = clip("film.mp4", acodec=None)
    with open_media(film, audio_path=first) as file:
        assert list(file.sounds())
        assert not file.degraded
    first.write_bytes(first.read_bytes() + other)
    with open_media(film, audio_path=first) as file:
        assert late_ms(file) == pytest.approx([40], abs=0.1)
        assert file.degraded.unseen_bytes == len(other)
        assert "joined to the end of its sound file" in file.degraded.notes[0]


def test_more_sound_files_than_are_told_apart_are_named(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avcheck.media.joined.MOST_FILES", 2)
    part = clip("part.flac", seconds=2, vcodec=None, acodec="flac").read_bytes()
    film = clip("film.mp4", seconds=6, acodec=None)
    sound = tmp_path / "joined.flac"
    for count, is_named in ((2, False), (3, True)):
        sound.write_bytes(part * count)
        with open_media(film, audio_path=sound) as file:
            notes = " ".join(file.degraded.notes)
        assert ("files were joined in its sound file and were read as one" in notes) == is_named
