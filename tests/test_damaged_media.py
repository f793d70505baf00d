"""Media that are damaged, cut short or wildly timed: what is left keeps its time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from avcheck.errors import LimitExceeded, MediaError, NotMedia
from avcheck.media import open_media, sound
from avcheck.media.base import Tally
from avcheck.media.packets import Decoder, dated, packets_of, seek
from avcheck.record.report import Degraded
from tests.support.clips import BRIGHT, Array
from tests.support.refusals import read, refused

Clip = Callable[..., Path]


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


def test_truncated_mp4(clip: Clip) -> None:
    path = clip("clip.mp4")
    path.write_bytes(path.read_bytes()[:-2000])
    refused(path, NotMedia, "is cut off or damaged", "copy or export it again")


def test_a_last_packet_of_less_than_a_sample_is_no_damage(clip: Clip, tmp_path: Path) -> None:
    """As ogmmerge ends PCM: with a byte."""
    path = tmp_path / "b.mkv"
    with (
        av.open(str(clip("a.mkv", acodec="pcm_s16le"))) as reader,
        av.open(str(path), "w") as writer,
    ):
        streams: list[Any] = [writer.add_stream_from_template(each) for each in reader.streams]
        packets: list[Any] = [packet for packet in reader.demux() if packet.size]
        last = max(
            (each for each in packets if each.stream.type == "audio"), key=lambda each: each.pts
        )
        end: Any = av.Packet(b"\1")
        end.stream, end.time_base = last.stream, last.time_base
        end.pts = end.dts = last.pts + last.duration
        for packet in [*packets, end]:
            packet.stream = streams[packet.stream.index]
            writer.mux(packet)
    assert read(path) == read(clip("a.mkv", acodec="pcm_s16le"))
    assert read(path)[2] == Degraded()


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
    rng = random.Random(4)
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
    container: Any = SimpleNamespace(
        format=SimpleNamespace(name="mp4"), name="file:x.mp4", demux=fail, seek=fail
    )
    stream: Any = SimpleNamespace(time_base=1)
    packet: Any = SimpleNamespace(decode=fail, size=1, dts=0)
    # FFmpeg's own is doubted as long as there is memory
    if isinstance(error, av.error.MemoryError):
        assert Decoder(container, stream, tally).decode(packet) == []
        assert list(packets_of(container, [], tally)) == []
        assert tally.lost == 2
        tally.lost = 0
        monkeypatch.setattr(np, "empty", fail)
    with pytest.raises(MemoryError):
        Decoder(container, stream, tally).decode(packet)
    with pytest.raises(MemoryError):
        list(packets_of(container, [], tally))
    with pytest.raises(MemoryError):
        seek(container, stream, 0.0)
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
