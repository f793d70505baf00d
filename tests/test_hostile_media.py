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
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from avcheck.errors import (
    AvcheckError,
    DecodeFailed,
    LimitExceeded,
    MediaError,
    NoAudio,
    NotMedia,
    NoVideo,
    Unreadable,
    UsageError,
)
from avcheck.media import container, mp4, open_media, sound, streams
from avcheck.media import packets as packets_of_media
from avcheck.media.base import Tally
from avcheck.media.packets import Decoder, dated, packets_of, seek
from avcheck.report import Degraded
from tests.support import hostile
from tests.support.clips import BRIGHT, Array, clicks

Clip = Callable[..., Path]
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


def refused(
    path: Path, kind: type[AvcheckError], *words: str, audio_path: Path | None = None
) -> None:
    """Opening `path` raises `kind` with one line that names the file and holds `words`."""
    with pytest.raises(kind) as caught:
        open_media(path, audio_path=audio_path)
    message = str(caught.value)
    assert type(caught.value) is kind
    assert message.startswith(f"{audio_path or path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def read(path: Path) -> tuple[list[float], float, Degraded]:
    """Times of all pictures, seconds of sound, and what was lost."""
    with open_media(path) as file:
        times_s = []
        for picture in file.pictures():
            assert picture.luma.ndim == 2
            times_s.append(picture.pts_s)
        sound_s = sum(len(sound.samples) for sound in file.sounds()) / 16000
        return times_s, sound_s, file.degraded


def noise(seed: int = 0, size: tuple[int, int] = (160, 120)) -> Callable[[float], Array]:
    """A pattern that moves, so that every picture has data worth damaging; one bright picture at
    1.6 s.
    """
    pattern = np.random.default_rng(seed).integers(40, 120, (size[1], size[0]), np.uint8)

    def draw(time_s: float) -> Array:
        if abs(time_s - 1.6) < 0.01:
            return np.full_like(pattern, BRIGHT)
        return np.roll(pattern, round(time_s * 50), 1)

    return draw


# -- not a media file ------------------------------------------------------------------------------


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
    refused(path, NotMedia, "is not a video file")
    refused(target, NotMedia, "is not a sound file", audio_path=path)


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


# -- streams ---------------------------------------------------------------------------------------


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
    ("rate", "channels", "words"),
    [
        (1000, 1, "1000 samples a second"),
        (1_000_000, 1, "1000000 samples a second"),
        (48000, 6, "6 channels"),
    ],
)
def test_sound_that_would_swell_is_refused(
    clip: Clip,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rate: int,
    channels: int,
    words: str,
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
        "convert the sound",
        audio_path=path,
    )


@pytest.mark.parametrize(
    ("rate", "channels"), [(2_000, 1), (8_000, 1), (48_000, 64), (192_000, 2), (768_000, 1)]
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


# -- damage ----------------------------------------------------------------------------------------


def test_truncated_mp4(clip: Clip) -> None:
    path = clip("clip.mp4")
    path.write_bytes(path.read_bytes()[:-2000])
    refused(path, NotMedia, "is cut off or damaged", "copy or export it again")


@pytest.mark.parametrize("suffix", ["mkv", "webm", "flv", "avi", "mp4", "mov"])
def test_truncated_but_playable(clip: Clip, suffix: str) -> None:
    """With the index in front, what is there plays, and the rest is missed."""
    vcodec, acodec = (
        ("libvpx", "libopus")
        if suffix == "webm"
        else ("libx264", "ac3" if suffix == "avi" else "aac")
    )
    options = {"movflags": "faststart"} if suffix in ("mp4", "mov") else {}
    path = clip(
        f"clip.{suffix}",
        seconds=4,
        vcodec=vcodec,
        acodec=acodec,
        draw=noise(),
        container_options=options,
    )
    times_s, sound_s, degraded = read(path)
    assert (len(times_s), degraded) == (100, Degraded())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    times_s, sound_s, degraded = read(path)
    assert 20 < len(times_s) < 70
    assert 0.8 < sound_s < 2.8
    assert degraded.truncated


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "flv"])
def test_flipped_bytes_are_counted_and_the_rest_keeps_its_time(clip: Clip, suffix: str) -> None:
    acodec = "pcm_s16le" if suffix == "avi" else "aac"
    path = clip(
        f"clip.{suffix}",
        acodec=acodec,
        draw=noise(),
        sample_rate=44100,
        video_options={"preset": "veryfast", "g": "10", "crf": "20"},
    )
    data = bytearray(path.read_bytes())
    rng = random.Random(1)
    for _ in range(60):
        data[rng.randrange(len(data) // 4, len(data) // 2)] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    with open_media(path) as file:
        pictures = [(picture.pts_s, picture.luma.mean()) for picture in file.pictures()]
        list(file.sounds())
        degraded = file.degraded
    assert degraded.corrupt_frames > 0
    assert len(pictures) >= 35
    shift_s = 0.024 if suffix in ("ts", "flv") else 0.002  # these start with the encoder's priming
    bright = [time_s for time_s, level in pictures if level > 200]
    assert bright and bright[0] == pytest.approx(1.6, abs=shift_s)


def test_more_than_a_day_in_a_small_file(clip: Clip) -> None:
    path = clip("clip.mkv", seconds=0.1, picture_times_s=[0.0, 108000.0], acodec="libopus")
    started = time.monotonic()
    with (
        open_media(path) as file,
        pytest.raises(LimitExceeded, match="30 hours after the first, over the limit of 24; remux"),
    ):
        list(file.pictures())
    assert time.monotonic() - started < 2


def test_one_wild_timestamp_costs_one_frame() -> None:
    times_s = [k / 25 for k in range(50)]
    times_s[20] = 5000.0
    frames = [SimpleNamespace(pts=round(at * 1000), time_base=Fraction(1, 1000)) for at in times_s]
    tally = Tally()
    kept = [time_s for time_s, _ in dated(iter(frames), 0.0, tally)]
    assert kept == [at for at in times_s if at < 5000]
    assert tally.stray == 1


def test_a_gap_of_most_of_a_day_costs_nothing(clip: Clip) -> None:
    path = clip("clip.mkv", seconds=0.1, picture_times_s=[0.0, 80000.0], acodec="libopus")
    started = time.monotonic()
    times_s, sound_s, degraded = read(path)
    assert times_s == [0, 80000]
    assert sound_s < 0.2
    assert degraded.missing_video_s == pytest.approx(79999)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "error", [MemoryError(), av.error.MemoryError(12, "Cannot allocate memory")]
)
def test_a_lack_of_memory_is_no_damage_of_the_file(
    clip: Clip, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise error

    tally = Tally()
    container = SimpleNamespace(
        format=SimpleNamespace(name="mp4"), name="file:x.mp4", demux=fail, seek=fail
    )
    packet = SimpleNamespace(decode=fail, dts=0)
    # FFmpeg's own is doubted as long as there is memory
    if isinstance(error, av.error.MemoryError):
        assert Decoder(container, SimpleNamespace(), tally).decode(packet) == []  # type: ignore[arg-type]
        assert list(packets_of(container, [], tally)) == []  # type: ignore[arg-type]
        assert tally.lost == 2
        tally.lost = 0
        monkeypatch.setattr(np, "empty", fail)
    with pytest.raises(MemoryError):
        Decoder(container, SimpleNamespace(), tally).decode(packet)  # type: ignore[arg-type]
    with pytest.raises(MemoryError):
        list(packets_of(container, [], tally))  # type: ignore[arg-type]
    with pytest.raises(MemoryError):
        seek(container, SimpleNamespace(time_base=1), 0.0)  # type: ignore[arg-type]
    assert tally == Tally()
    path = clip("film.mp4")
    monkeypatch.setattr(sound, "AudioResampler", lambda *_, **__: SimpleNamespace(resample=fail))
    with open_media(path) as opened, pytest.raises(MemoryError):
        list(opened.sounds())


def test_sound_file_of_zeros_and_tiny_files(tmp_path: Path, clip: Clip) -> None:
    film = clip("film.mp4")
    for name, data in {
        "zeros.wav": bytes(10_000),
        "riff.wav": b"RIFF",
        "head.wav": b"RIFF\x24\0\0\0WAVEfmt ",
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MediaError) as caught:
            open_media(film, audio_path=tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "flv", "mpg"])
def test_mutations_end_in_a_result_or_a_typed_error(
    clip: Clip, tmp_path: Path, suffix: str
) -> None:
    """A small fuzz: whatever bytes change, times rise, samples are finite, and only MediaError
    comes out.
    """
    vcodec, acodec = (
        ("mpeg2video", "mp2")
        if suffix == "mpg"
        else ("libx264", "ac3" if suffix == "avi" else "aac")
    )
    good = clip(
        f"clip.{suffix}", seconds=0.8, vcodec=vcodec, acodec=acodec, draw=noise()
    ).read_bytes()
    path = tmp_path / f"mutant.{suffix}"
    opened = 0
    for seed in range(25):
        rng = random.Random(seed)
        data = bytearray(good)
        for _ in range(rng.choice([1, 5, 50, 500])):
            data[rng.randrange(len(data) if seed % 2 else min(len(data), 1500))] = rng.randrange(
                256
            )
        if seed % 5 == 0:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            with open_media(path) as file:
                last_s = -1.0
                for picture in file.pictures():
                    assert picture.pts_s > last_s
                    assert picture.luma.dtype == np.uint8
                    last_s = picture.pts_s
                last_s = 0.0
                for sound in file.sounds():
                    assert sound.start_s >= last_s - 1e-6
                    assert np.isfinite(sound.samples).all()
                    last_s = sound.end_s
                opened += 1
        except MediaError as error:
            assert str(error).startswith(f"{path}: ")
    assert opened > 3
