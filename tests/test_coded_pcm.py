"""Sound that is coded data in the place of PCM samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame

from avcheck.errors import DecodeFailed
from avcheck.media import open_media
from tests.support.clips import Array, Clip, clicks
from tests.support.reading import whole

RATE = 48_000
SECONDS = 2.0
SYNC = {16: (0xF872, 0x4E1F), 20: (0x6F872, 0x54E1F), 24: (0x96F872, 0xA54E1F)}
DOLBY_E, AC3 = 28, 1


def bursts(
    bits: int, kind: int, *, apart: float = 1920, rest: int = 100, seconds: float = SECONDS
) -> Array:
    """A pair of channels (n, 2) as 32-bit samples that hold bursts of data, as wide as `bits`; each
    ends `rest` samples before the next begins.
    """
    count = round(seconds * RATE)
    words = np.random.default_rng(7).integers(1, 1 << bits, (count, 2), np.int64)
    for place in np.arange(0, count, apart).astype(int):
        words[max(0, place - rest) : place] = 0
        words[place] = SYNC[bits]
        words[place + 1 : place + 2] = kind << (bits - 16), 20_000
    words <<= 32 - bits
    return np.where(words >= 1 << 31, words - (1 << 32), words).astype(np.int32)


def sounding(at_s: float) -> Array:
    """A channel with a click, as 32-bit samples."""
    played = clicks([at_s])(np.arange(round(SECONDS * RATE)) / RATE)
    return np.round(played * (2**31 - 1)).astype(np.int32)


def write(path: Path, samples: Array, codec: str = "pcm_s24le", film: Path | None = None) -> Path:
    """A file of these 32-bit samples (n, channels), beside the pictures of a film."""
    layouts = {1: "mono", 2: "stereo", 8: "7.1"}
    kind = "s16" if "16" in codec or codec == "flac" else "s32"
    with av.open(str(path), "w") as writer:
        stream: Any = writer.add_stream(codec, rate=RATE, layout=layouts[samples.shape[1]])
        stream.codec_context.format = kind
        if film is not None:
            with av.open(str(film)) as reader:
                shown: Any = writer.add_stream_from_template(reader.streams.video[0])
                for packet in reader.demux(video=0):
                    if packet.size:
                        packet.stream = shown
                        writer.mux(packet)
        if kind == "s16":
            samples = (samples >> 16).astype(np.int16)
        size = stream.codec_context.frame_size or 1024
        for first in range(0, len(samples), size):
            block = np.ascontiguousarray(samples[first : first + size].reshape(1, -1))
            frame = AudioFrame.from_ndarray(block, kind, layouts[samples.shape[1]])
            frame.sample_rate, frame.pts = RATE, first
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "samples", "kind"),
    [
        ("sound.wav", "pcm_s24le", bursts(20, DOLBY_E), "Dolby E"),
        ("sound.wav", "pcm_s24le", bursts(24, DOLBY_E, apart=1601.6), "Dolby E"),
        ("sound.wav", "pcm_s24le", bursts(20, DOLBY_E)[:, :1], "Dolby E"),
        ("sound.wav", "pcm_s24le", bursts(20, DOLBY_E)[:, 1:], "coded data"),
        ("sound.mov", "pcm_s24be", bursts(16, AC3, apart=1536), "AC-3"),
        ("sound.mka", "flac", bursts(16, AC3, apart=1536), "AC-3"),
        ("sound.mka", "flac", bursts(16, 11, apart=512, rest=0), "DTS"),
        (
            "sound.wav",
            "pcm_s24le",
            np.concatenate([np.zeros((3 * RATE, 2), np.int32), bursts(20, DOLBY_E)]),
            "Dolby E",
        ),
    ],
    ids=["20 bits", "24 bits", "left", "right", "mov", "flac", "no rest", "after silence"],
)
def test_coded_data_is_named_not_judged(
    clip: Clip, tmp_path: Path, name: str, codec: str, samples: Array, kind: str
) -> None:
    sound = write(tmp_path / name, samples, codec)
    with pytest.raises(DecodeFailed, match=f"its sound is {kind} in the place of PCM samples"):
        open_media(clip("film.mp4", acodec=None), audio_path=sound)


def test_the_own_sound_of_a_film_too(clip: Clip, tmp_path: Path) -> None:
    picture = clip("film.mp4", acodec=None)
    film = write(tmp_path / "film.mov", bursts(20, DOLBY_E), "pcm_s24be", picture)
    with pytest.raises(DecodeFailed, match="Dolby E"):
        open_media(film)
    other = write(tmp_path / "sound.wav", np.stack([sounding(1.04)] * 2, axis=1))
    with open_media(film, audio_path=other) as file:
        assert list(file.sounds())


def test_dts_of_a_cd(clip: Clip, tmp_path: Path) -> None:
    """It has no bursts, but words of 14 bits."""
    words = np.random.default_rng(7).integers(-8192, 8192, (round(SECONDS * RATE), 2))
    words[::1024] = 0x1FFF, 0xE800 - 0x10000
    words[1::1024, 0] = 0x07F4
    sound = write(tmp_path / "sound.mka", (words << 16).astype(np.int32), "flac")
    with pytest.raises(DecodeFailed, match="its sound is DTS"):
        open_media(clip("film.mp4", acodec=None), audio_path=sound)


@pytest.mark.parametrize("codec", ["pcm_s24le", "pcm_s16le"])
def test_a_pair_of_channels_that_is_data_is_left_out_of_the_mix(
    clip: Clip, tmp_path: Path, codec: str
) -> None:
    quiet = np.zeros((round(SECONDS * RATE), 8), np.int32)
    quiet[:, :2] = sounding(1.04)[:, None]
    loud = quiet.copy()
    loud[:, 6:] = bursts(20 if "24" in codec else 16, DOLBY_E)
    heard = []
    for name, samples in (("quiet.wav", quiet), ("loud.wav", loud)):
        sound = write(tmp_path / name, samples, codec)
        with open_media(clip("film.mp4", acodec=None), audio_path=sound) as file:
            heard.append(whole(list(file.sounds())))
            notes = file.degraded.notes
    (start_s, silent_beside), (other_s, data_beside) = heard
    assert start_s == other_s
    assert np.array_equal(silent_beside, data_beside)
    assert np.abs(silent_beside).max() > 0.1
    assert notes == (
        "channels 7 and 8 of its sound are Dolby E in the place of samples: not listened to",
    )


def test_a_buzz_that_meets_a_sync_word_in_each_period_is_sound(clip: Clip, tmp_path: Path) -> None:
    period = np.random.default_rng(7).integers(-20_000, 20_000, 480)
    period[:2] = 0, 0xF872 - 0x10000
    samples = np.tile(period << 16, round(SECONDS * 100))[:, None].astype(np.int32)
    sound = write(tmp_path / "sound.wav", samples, "pcm_s16le")
    with open_media(clip("film.mp4", acodec=None), audio_path=sound) as file:
        assert list(file.sounds())
        assert not file.degraded.notes
