"""Sound as it is heard: resampled, mixed, of a chosen track or a file of its own."""

from __future__ import annotations

import io
import re
import struct
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from avcheck.errors import NoAudio
from avcheck.media import open_media
from avcheck.media.packets import prepare, seek
from tests.support.clips import Array, Clip, click, click_time_s, clicks
from tests.support.mp4_boxes import box, boxes
from tests.support.reading import flash_s, late_ms, whole

# -- sound -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000])
def test_resampling_moves_nothing(clip: Clip, rate: int) -> None:
    with open_media(
        clip("clip.mov", acodec="pcm_s16le", sample_rate=rate, events_s=(0.7654,))
    ) as file:
        sounds = list(file.sounds())
    assert click_time_s(*whole(sounds)) == pytest.approx(0.7654, abs=1e-4)
    assert sounds[-1].end_s == pytest.approx(2.0, abs=1e-4)
    assert all(
        sound.samples.dtype == np.float32 and abs(sound.samples).max() <= 1 for sound in sounds
    )
    assert all(
        before.end_s == pytest.approx(after.start_s, abs=1e-6) for before, after in pairwise(sounds)
    )


@pytest.mark.parametrize(
    ("suffix", "acodec", "layout"),
    [
        ("mov", "pcm_f32le", "stereo"),
        ("mov", "pcm_s16le", "4 channels"),
        ("mov", "pcm_s24le", "8 channels"),
        ("mov", "pcm_u8", "stereo"),
        ("avi", "pcm_s64le", "stereo"),
        ("mov", "aac", "7.1"),
    ],
)
def test_channels_are_mixed_at_their_own_level(
    clip: Clip, suffix: str, acodec: str, layout: str
) -> None:
    with open_media(clip(f"clip.{suffix}", acodec=acodec, layout=layout)) as file:
        start_s, samples = whole(list(file.sounds()))
    assert click_time_s(start_s, samples) == pytest.approx(1.0, abs=1e-4)
    assert np.abs(samples).max() == pytest.approx(0.8, abs=0.15)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_gap_in_the_sound_stays_a_gap(clip: Clip, suffix: str) -> None:
    with open_media(clip(f"clip.{suffix}", acodec="ac3", audio_gaps_s=[(0.3, 0.8)])) as file:
        sounds = list(file.sounds())
        late_s = click_time_s(*whole(sounds)) - flash_s(file)
        degraded = file.degraded
    assert late_s == pytest.approx(0, abs=0.002)
    gap_s = max(after.start_s - before.end_s for before, after in pairwise(sounds))
    assert gap_s == pytest.approx(0.5, abs=0.04)
    assert degraded.missing_audio_s == pytest.approx(gap_s, abs=0.01)


def test_not_a_number_is_silence(clip: Clip) -> None:
    def broken(times_s: Array) -> Array:
        samples = click(times_s - 1.0)
        samples[(times_s > 0.5) & (times_s < 0.51)] = np.nan
        samples[(times_s > 0.6) & (times_s < 0.61)] = np.inf
        samples[(times_s > 1.5) & (times_s < 1.51)] = 1e30
        return samples

    with open_media(clip("clip.mov", acodec="pcm_f32le", play=broken)) as file:
        start_s, samples = whole(list(file.sounds()))
        (note,) = file.degraded.notes
    words = re.fullmatch(r"not a number, taken as silence: (\d+) audio samples", note)
    assert words and 320 <= int(words[1]) < 400  # 20 ms at 16 kHz, and a millisecond around
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1
    before = samples[: round(1.4 * 16000)]
    assert click_time_s(start_s, before) == pytest.approx(1.0, abs=1e-4)
    assert np.abs(samples[: round(0.9 * 16000)]).max() < 0.01


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_audio_track_is_chosen(clip: Clip, suffix: str) -> None:
    path = clip(f"clip.{suffix}", acodec="ac3", play=[clicks([0.5]), clicks([1.0]), clicks([1.5])])
    for track, event_s in enumerate([0.5, 1.0, 1.5]):
        with open_media(path, audio_track=track) as file:
            start_s, samples = whole(list(file.sounds()))
            assert (file.info.audio_track, len(file.info.audio_tracks)) == (track, 3)
            zero_s = flash_s(file) - 1.0
        assert click_time_s(start_s, samples) - zero_s == pytest.approx(event_s, abs=0.003)
    with pytest.raises(
        NoAudio,
        match=r"has no audio track 3: it has 3 audio tracks, numbers 0.*, 1.* and 2.*; "
        r"choose one with --audio-track",
    ):
        open_media(path, audio_track=3)
    with pytest.raises(NoAudio, match=r"no audio track -1"):
        open_media(path, audio_track=-1)


def test_default_audio_track_is_the_flagged_one(clip: Clip) -> None:
    path = clip("clip.mkv", acodec="aac", play=[clicks([0.5]), clicks([1.0])], default_track=1)
    with open_media(path) as file:
        assert file.info.audio_track == 1
    assert late_ms(path) == pytest.approx(0, abs=1)


# -- a separate sound file -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "acodec", "rate"),
    [
        ("sound.wav", "pcm_s16le", 48000),
        ("sound.wav", "pcm_f32le", 44100),
        ("sound.aiff", "pcm_s16be", 44100),
        ("sound.flac", "flac", 48000),
        ("sound.mp3", "libmp3lame", 44100),
        ("sound.m4a", "aac", 48000),
        ("sound.ogg", "libopus", 48000),
        ("sound.mka", "ac3", 48000),
    ],
)
@pytest.mark.parametrize("video", ["mp4", "ts"])
def test_separate_sound_file(clip: Clip, video: str, name: str, acodec: str, rate: int) -> None:
    picture_file = clip(
        f"clip.{video}",
        events_s=(1.0,),
        play=clicks([0.3]),
        acodec="ac3",
        start_s=3600.0 if video == "ts" else 0.0,
    )
    sound_file = clip(
        name,
        vcodec=None,
        acodec=acodec,
        sample_rate=rate,
        events_s=(1.12,),
        **({"format": "mp4"} if name == "sound.m4a" else {}),
    )
    # An ac3 stream in mpegts starts 5 ms before its picture, and that start is what the sound file
    # is laid on.
    assert late_ms(picture_file, audio_path=sound_file) == pytest.approx(
        120, abs=6 if video == "ts" else 3
    )
    with open_media(picture_file, audio_path=str(sound_file)) as file:
        assert (file.info.audio_track, len(file.info.audio_tracks)) == (None, 1)
        assert file.info.first_sound_s == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "acodec", "bound_ms"), [("sound.aac", "aac", 24), ("sound.ac3", "ac3", 6)]
)
def test_bare_streams_do_not_carry_the_delay_of_their_encoder(
    clip: Clip, name: str, acodec: str, bound_ms: float
) -> None:
    sound_file = clip(name, vcodec=None, acodec=acodec, format="adts" if acodec == "aac" else "ac3")
    assert 0 < late_ms(clip("clip.mp4"), audio_path=sound_file) < bound_ms


SMPB = " 00000000 {:08X} 00000000 {:016X} 00000000 00000000 00000000 00000000 00000000"


def with_tag(path: Path, text: str, *, edits: bool) -> Path:
    """An m4a with the tag iTunSMPB, as iTunes writes it, and with its edit list or without it."""
    data = path.read_bytes()
    named = (box(b"mean", bytes(4) + b"com.apple.iTunes"), box(b"name", bytes(4) + b"iTunSMPB"))
    tag = box(b"----", b"".join(named) + box(b"data", struct.pack(">II", 1, 0) + text.encode()))
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    added = box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", tag)))
    assert data.count(b"edts") == 1
    data = data if edits else data.replace(b"edts", b"free")
    path.write_bytes(
        b"".join(box(kind, body + added if kind == b"moov" else body) for kind, body in boxes(data))
    )
    return path


@pytest.mark.parametrize("rate", [48000, 44100])
@pytest.mark.parametrize("edits", [False, True])
def test_an_m4a_begins_where_its_tag_says(clip: Clip, rate: int, edits: bool) -> None:
    """FFmpeg drops what the tag tells, and its times go on as if it had not."""
    sound = clip("sound.mp4", vcodec=None, sample_rate=rate, events_s=(1.12,))
    with_tag(sound, SMPB.format(1024, 2 * rate), edits=edits)
    with av.open(str(sound)) as container:
        assert container.metadata["iTunSMPB"].split()[1] == "00000400"
    assert late_ms(clip("clip.mp4"), audio_path=sound) == pytest.approx(120, abs=1)
    with open_media(clip("clip.mp4"), audio_path=sound) as file:
        assert file.info.first_sound_s == pytest.approx(0, abs=1e-3)
        (first, *_) = file.sounds(0.8)
        assert first.start_s == pytest.approx(0.8, abs=1e-3)


def as_he_aac(path: Path) -> Path:
    """AAC of 24 kHz in an mp4, marked as HE-AAC of 48 kHz, whose high band is empty."""
    plain, marked = bytes.fromhex("130856e500"), bytes.fromhex("130856e598")
    data = path.read_bytes()
    assert data.count(plain) == 1
    path.write_bytes(data.replace(plain, marked))
    return path


@pytest.mark.parametrize("edits", [False, True])
def test_the_tag_of_he_aac_counts_what_is_coded(clip: Clip, edits: bool) -> None:
    """fdkaac writes it so, as iTunes does: a frame has 1,024 samples by the tag, 2,048 decoded."""
    sound = as_he_aac(clip("sound.mp4", vcodec=None, sample_rate=24000, events_s=(1.12,)))
    with_tag(sound, SMPB.format(1024, 48000), edits=edits)
    with open_media(clip("clip.mp4"), audio_path=sound) as file:
        assert file.info.first_sound_s == pytest.approx(0, abs=1e-3)
    # The decoder's own delay, 962 samples, is in neither
    assert late_ms(clip("clip.mp4"), audio_path=sound) == pytest.approx(120 + 20, abs=1)


@pytest.mark.parametrize("text", ["", " 00000000 0000zz00 0 0", " 0 FFFFFFFF 0 0", "400 400"])
def test_a_tag_that_tells_nothing_moves_nothing(clip: Clip, text: str) -> None:
    sound = clip("sound.mp4", vcodec=None, events_s=(1.12,))
    with_tag(sound, text, edits=False)
    # Its encoder's delay is heard
    assert late_ms(clip("clip.mp4"), audio_path=sound) == pytest.approx(120 + 21.3, abs=1)


def test_a_separate_file_without_sound_says_what_to_do(clip: Clip) -> None:
    film, silent = clip("film.mp4"), clip("silent.mp4", acodec=None)
    with pytest.raises(NoAudio, match="it has no audio track, so it gives no sound; use another"):
        open_media(film, audio_path=silent)


def test_separate_sound_file_for_a_silent_film(clip: Clip) -> None:
    """A fragmented mp4 can start at 80 ms: a sound file made for it starts with its first
    picture.
    """
    film = clip(
        "film.mp4",
        acodec=None,
        video_options={"preset": "medium"},
        container_options={"movflags": "frag_keyframe+empty_moov"},
    )
    assert late_ms(
        film, audio_path=clip("sound.wav", vcodec=None, acodec="pcm_s16le")
    ) == pytest.approx(0, abs=1)


def test_sound_of_another_film(clip: Clip) -> None:
    dub = clip("dub.mkv", play=[clicks([0.4]), clicks([1.0])])
    assert late_ms(clip("film.mp4"), audio_path=dub, audio_track=1) == pytest.approx(0, abs=1)


def test_a_place_in_the_sound_of_matroska_is_found_without_reading_what_lies_before(
    clip: Clip,
) -> None:
    path = clip("clip.mkv", seconds=40, acodec="pcm_s16le", video_options={"g": "50"})
    read: list[int] = []

    class Counted(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size) or b""
            read.append(len(data))
            return data

    with Counted(str(path)) as source, av.open(source, "r") as container:
        sound = container.streams.audio[0]
        prepare(container, [sound], 1)
        read.clear()
        seek(container, sound, 30.0)
        packet = next(container.demux(sound))
        assert packet.pts is not None
        assert 27 < float(packet.pts * packet.time_base) <= 30.1
    assert 0 < sum(read) < path.stat().st_size / 4
