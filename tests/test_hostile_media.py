"""Files that are damaged, oversized or not what their name says: each ends in one clear line, or in
an honest count.

No file here is of harm to other software: limits are lowered by the test, and what is claimed is
claimed by a little.
"""

from __future__ import annotations

import os
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from av.video.frame import VideoFrame

from avcheck.errors import (
    DecodeFailed,
    LimitExceeded,
    NoAudio,
    NotMedia,
    NoVideo,
    Unreadable,
    UsageError,
)
from avcheck.media import container, mp4, open_media, streams
from avcheck.media import packets as packets_of_media
from tests.support import hostile
from tests.support.clips import clicks
from tests.support.refusals import read, refused

Clip = Callable[..., Path]


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "none.mp4", UsageError, "no such file")
    refused(tmp_path / "none" / "none.mp4", UsageError, "no such file")


def test_directory_and_empty(tmp_path: Path) -> None:
    refused(tmp_path, NotMedia, "is a directory")
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path / "empty.mp4", NotMedia, "is empty")


def test_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    started = time.monotonic()
    refused(tmp_path / "pipe.mp4", NotMedia, "not a regular file")
    assert time.monotonic() - started < 1


def test_device_and_unreadable(tmp_path: Path) -> None:
    refused(Path("/dev/zero"), NotMedia, "not a regular file")
    refused(tmp_path / ("n" * 300 + ".mp4"), Unreadable, "file name too long")
    with pytest.raises(Unreadable, match="cannot be read"):
        open_media("nul\0.mp4")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_no_permission(clip: Clip) -> None:
    path = clip("clip.mp4")
    path.chmod(0)
    refused(path, NotMedia, "permission")


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "noise.mp4"
    path.write_bytes(random.Random(seed).randbytes(50_000))
    refused(path, NotMedia, "is not a video file that avcheck reads")


def test_text_image_and_sound_are_not_videos(clip: Clip, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("Dear all,\nplease find the film attached.\n" * 50)
    refused(text, NotMedia, "is not a video file")
    refused(clip("sound.wav", vcodec=None, acodec="pcm_s16le"), NotMedia, "is not a video file")
    refused(
        clip("sound.mp3", vcodec=None, acodec="libmp3lame", sample_rate=44100),
        NotMedia,
        "is not a video file",
    )
    image = tmp_path / "image.jpg"
    with av.open(str(image), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        container.mux(stream.encode(VideoFrame(64, 48, "yuvj420p")))
        container.mux(stream.encode(None))
    refused(image, NotMedia, "is not a video file")


@pytest.mark.parametrize("name", hostile.PLAYLISTS)
def test_playlists_are_not_followed(clip: Clip, name: str) -> None:
    """FFmpeg alone would open the file that they list."""
    target = clip(hostile.TARGET, format="mpegts")
    path = target.with_name(name)
    path.write_text(hostile.PLAYLISTS[name])
    refused(path, NotMedia, "is a playlist")
    refused(target, NotMedia, "is a playlist", audio_path=path)


def test_only_formats_that_hold_their_media_themselves_are_opened(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard is for files whose content, whatever their name, is that of a format which opens
    other files.
    """
    refer = {
        "hls",
        "applehttp",
        "concat",
        "dash",
        "sdp",
        "rtsp",
        "rtp",
        "imf",
        "image2",
        "lavfi",
        "vapoursynth",
        "avisynth",
    }
    asked: list[dict[str, str]] = []
    opened = av.open

    def listening(*arguments: Any, **options: Any) -> Any:
        asked.append(options["options"])
        return opened(*arguments, **options)

    film = clip("film.mp4")
    monkeypatch.setattr(av, "open", listening)
    with open_media(film, audio_path=film) as file:
        next(iter(file.pictures()))
        next(iter(file.sounds()))
    assert len(asked) >= 4
    for options in asked:
        assert options["protocol_whitelist"] == "file"
        assert "mov" in options["format_whitelist"].split(",")
        assert not refer & set(options["format_whitelist"].split(","))


@pytest.mark.parametrize(
    "name", ["a:b.mp4", "http:x.mp4", "-x.mp4", "%03d.mp4", "a\nb.mp4", "ä 🎬 '\".mp4", "a?b#c.mp4"]
)
def test_odd_names(clip: Clip, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip("clip.mp4")
    path.rename(path.with_name(name))
    monkeypatch.chdir(path.parent)
    with open_media(name) as file:
        assert sum(1 for _ in file.pictures()) == 50
    Path(name).write_bytes(b"x")
    with pytest.raises(NotMedia) as caught:
        open_media(name)
    assert "\n" not in str(caught.value)


def test_names_that_are_not_text(clip: Clip) -> None:
    path = clip("clip.mp4")
    odd = Path(os.fsdecode(os.fsencode(path.parent) + b"/\xff\xfe.mp4"))
    path.rename(odd)
    with open_media(odd) as file:
        assert next(iter(file.pictures())).pts_s == 0
    odd.write_bytes(b"x")
    with pytest.raises(NotMedia) as caught:
        open_media(odd)
    str(caught.value).encode()


def test_no_video_no_audio(clip: Clip) -> None:
    refused(clip("song.m4a", vcodec=None, format="mp4"), NoVideo, "has no video stream")
    refused(clip("mute.mp4", acodec=None), NoAudio, "has no audio track", "--audio FILE")
    refused(
        clip("film.mp4"), NoAudio, "has no audio track", audio_path=clip("mute.mkv", acodec=None)
    )


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_audio_track_without_a_packet(clip: Clip, suffix: str) -> None:
    acodec = "ac3" if suffix in ("ts", "avi") else "aac"
    path = clip(f"clip.{suffix}", acodec=acodec, audio_gaps_s=[(0, 9)])
    with pytest.raises(NoAudio) as caught:
        open_media(path)
    assert "audio track" in str(caught.value)


def test_video_stream_without_a_picture(clip: Clip) -> None:
    path = clip("clip.mkv")
    with av.open(str(path)) as source, av.open(str(path.with_name("none.mkv")), "w") as writer:
        outputs: dict[int, Any] = {
            stream.index: writer.add_stream_from_template(stream) for stream in source.streams
        }
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = outputs[packet.stream.index]
                writer.mux(packet)
    refused(path.with_name("none.mkv"), DecodeFailed, "none of its pictures decodes")


def test_too_many_streams(clip: Clip) -> None:
    refused(
        clip("clip.mkv", seconds=0.1, play=[clicks([])] * 70), LimitExceeded, "at least 64 streams"
    )


def test_attachments_are_no_tracks(clip: Clip) -> None:
    """A film in Matroska may bring a hundred fonts for its subtitles."""
    path = clip("clip.mkv", seconds=1)
    with (
        av.open(str(path)) as reader,
        av.open(str(path.with_name("fonts.mkv")), "w") as writer,
    ):
        outputs = [writer.add_stream_from_template(stream) for stream in reader.streams]
        for number in range(100):
            writer.add_attachment(f"{number}.ttf", "font/ttf", b"font")
        for packet in reader.demux():
            if packet.dts is not None:
                packet.stream = outputs[packet.stream.index]
                writer.mux(packet)
    fonts = path.with_name("fonts.mkv")
    assert read(fonts) == read(path)
    with container.open_container(fonts, container.VIDEO_FORMATS) as file:
        assert len(file.streams) == 102


def test_pictures_that_outgrow_their_header_are_refused(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard is for pictures that take much memory once decoded, of which the header says
    nothing.
    """
    options = {"vcodec": "mjpeg", "pix_fmt": "yuvj420p", "full_range": True, "seconds": 0.4}
    small, large = (
        clip("small.mkv", size=(64, 48), **options),
        clip("large.mkv", size=(160, 120), **options),
    )
    path = tmp_path / "grows.mkv"
    with (
        av.open(str(small)) as one,
        av.open(str(large)) as other,
        av.open(str(path), "w") as writer,
    ):
        outputs: list[Any] = [writer.add_stream_from_template(stream) for stream in one.streams]
        for packets, output in (
            (other.demux(video=0), outputs[0]),
            (one.demux(audio=0), outputs[1]),
        ):
            for packet in packets:
                if packet.dts is not None:
                    packet.stream = output
                    writer.mux(packet)
    assert len(read(path)[0]) == 10
    for module in (container, streams, packets_of_media):
        monkeypatch.setattr(module, "MAX_PIXELS", 100 * 100)
    with pytest.raises((LimitExceeded, DecodeFailed)) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_header_with_huge_pictures_is_refused(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_PIXELS", 160 * 120 - 1)
    refused(clip("clip.mp4"), LimitExceeded, "its pictures are 160 x 120", "scale it down")


def wav(rate: int, channels: int, size: int) -> bytes:
    header = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    body = (
        b"WAVEfmt "
        + struct.pack("<I", 16)
        + header
        + b"data"
        + struct.pack("<I", size)
        + bytes(size)
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("rate", "channels", "words", "remedy"),
    [
        (1000, 1, "1000 samples a second", "convert the sound to 48 kHz"),
        (1_000_000, 1, "1000000 samples a second", "convert the sound to 48 kHz"),
        (48000, 6, "6 channels", "mix the sound down to stereo"),
    ],
)
def test_sound_that_would_swell_is_refused(
    clip: Clip,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rate: int,
    channels: int,
    words: str,
    remedy: str,
) -> None:
    """The guard is for little sound that is much once it is at our rate, or more channels than can
    be mixed.
    """
    path = tmp_path / "swell.wav"
    path.write_bytes(wav(rate, channels, size=12_000))
    monkeypatch.setattr(streams, "MAX_CHANNELS", 5)
    refused(
        clip("film.mp4"),
        LimitExceeded,
        f"its sound claims {words}",
        remedy,
        audio_path=path,
    )


@pytest.mark.parametrize(
    ("rate", "channels"),
    [(2_000, 1), (8_000, 1), (48_000, 64), (48_000, 128), (192_000, 2), (768_000, 1)],
)
def test_odd_but_honest_sound_is_read(clip: Clip, tmp_path: Path, rate: int, channels: int) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(wav(rate, channels, size=rate * channels * 2))
    with open_media(clip("film.mp4"), audio_path=path) as file:
        assert sum(len(sound.samples) for sound in file.sounds()) == pytest.approx(16000, abs=20)


@pytest.mark.parametrize(
    ("options", "packed"),
    [
        ({"acodec": "pcm_s16le"}, False),
        ({"acodec": "pcm_s16le"}, True),
        ({"vcodec": "rawvideo", "pix_fmt": "uyvy422"}, False),
        ({"container_options": FRAGMENTED}, False),
    ],
    ids=["sound", "packed", "pictures", "fragments"],
)
def test_an_index_that_only_counts_is_not_believed_beyond_a_limit(
    clip: Clip, options: dict[str, Any], packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard is for an index that counts what it does not list, and so asks for memory that
    nothing in the file backs.
    """
    path = clip("film.mov", seconds=0.6, **options)
    if packed:
        path.write_bytes(hostile.with_packed_index(path.read_bytes()))
    assert len(read(path)[0]) == 15
    monkeypatch.setattr(container, "MAX_SAMPLES", 10)
    refused(path, LimitExceeded, "its index claims", "pictures or packets", "remux it")


@pytest.mark.parametrize(
    "options", [{"acodec": "pcm_s16le", "layout": "stereo"}, {"container_options": FRAGMENTED}]
)
def test_an_honest_index_is_believed(
    clip: Clip, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clip("film.mov", seconds=4, **options)
    monkeypatch.setattr(container, "MAX_SAMPLES", 400)  # 100 pictures, 189 packets of sound
    assert read(path)[0][-1] == pytest.approx(3.97, abs=0.02)


def test_so_many_boxes_of_an_index_are_looked_at_and_no_more(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard is for an index that takes long to look through. FFmpeg then says what is wrong
    with the file, if anything.
    """
    path = clip("film.mov", acodec="pcm_s16le")
    assert mp4.Index(path).samples > 0
    monkeypatch.setattr(mp4, "MAX_BOXES", 5)
    assert mp4.Index(path).samples == 0
    assert len(read(path)[0]) == 50
