"""Channels that cancel each other in the mono mix are not mixed; every other mix is as it was."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream

from avcheck.errors import LimitExceeded
from avcheck.media import open_media
from avcheck.media.base import Tally
from avcheck.media.mixing import FADE_S, WINDOW_S, Mixer, channel_instead, mix_weights
from tests.support.clips import Array, Clip, Sounds, click, click_time_s, clicks, make_clip
from tests.support.reading import whole

RATE = 48000

voice = clicks([0.7, 1.9, 3.1, 4.3])


def hum(times_s: Array) -> Array:
    return 0.05 * np.sin(2 * np.pi * 220 * times_s)


def faint(times_s: Array) -> Array:
    return 0.2 * hum(times_s)


def silent(times_s: Array) -> Array:
    return np.zeros(len(times_s))


def over(sound: Sounds, gain: float = -1.0) -> Sounds:
    return lambda times_s: gain * sound(times_s)


def film(
    path: Path,
    channels: Sequence[Sounds],
    *,
    codec: str = "pcm_s16le",
    seconds: float = 5.0,
    step: int = 1024,
) -> Path:
    """A film with one sound a channel, `step` samples a frame."""
    layout = {2: "stereo", 6: "5.1", 8: "7.1"}[len(channels)]
    make_clip(path.with_name("picture.mkv"), acodec=None, seconds=seconds, fps=5, size=(64, 48))
    with av.open(str(path.with_name("picture.mkv"))) as reader, av.open(str(path), "w") as writer:
        video = writer.add_stream_from_template(reader.streams.video[0])
        audio = writer.add_stream(codec, rate=RATE, layout=layout)
        assert isinstance(audio, AudioStream)
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                writer.mux(packet)
        # The encoder takes planes apart itself: not every PyAV can fill planar frames of 7.1.
        kind = audio.codec_context.format.name.removesuffix("p")
        for first in range(0, round(seconds * RATE), step):
            times_s = (first + np.arange(step)) / RATE
            samples = np.array([play(times_s) for play in channels])
            block: Array = (
                np.round(samples * 32767).astype(np.int16)
                if kind.startswith("s16")
                else samples.astype(np.float32)
            )
            packed = np.ascontiguousarray(block.T).reshape(1, -1)
            frame = AudioFrame.from_ndarray(packed, kind, layout)
            frame.sample_rate, frame.pts, frame.time_base = RATE, first, Fraction(1, RATE)
            writer.mux(audio.encode(frame))
        writer.mux(audio.encode(None))
    return path


def heard(path: Path, from_s: float | None = None) -> tuple[float, Array, tuple[str, ...]]:
    with open_media(path) as file:
        start_s, samples = whole(list(file.sounds(from_s)))
        return start_s, samples, file.degraded.notes


def like(samples: Array, start_s: float, sound: Sounds) -> float:
    """How much like `sound` a piece is, with its sign; its own level."""
    expected = sound(start_s + np.arange(len(samples)) / 16000)
    return float(samples @ expected / (expected @ expected))


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac", "flac"])
def test_stereo_in_opposite_phase_is_heard(tmp_path: Path, codec: str) -> None:
    start_s, samples, notes = heard(film(tmp_path / "film.mkv", [voice, over(voice)], codec=codec))
    # The left channel at its own level
    assert like(samples, start_s, voice) == pytest.approx(1.0, abs=0.05)
    assert click_time_s(start_s, samples[: round(1.5 * 16000)]) == pytest.approx(0.7, abs=1e-3)
    assert notes == (
        "its channels cancel each other when mixed: for 5 s one of them was taken alone",
    )


@pytest.mark.parametrize(
    "channels",
    [
        # FL, FR, FC, LFE, BL, BR
        [over(voice, 0.7), over(voice, 0.7), over(voice), silent, silent, silent],
        [voice, over(voice), faint, silent, faint, faint],
        [faint, faint, silent, silent, voice, over(voice)],
    ],
    ids=["centre", "front", "back"],
)
def test_surround_with_a_channel_turned_over_is_heard(
    tmp_path: Path, channels: Sequence[Sounds]
) -> None:
    start_s, samples, notes = heard(film(tmp_path / "film.mkv", channels))
    assert abs(like(samples, start_s, voice)) > 0.9
    assert any("cancel each other" in note for note in notes)


def test_eight_planar_channels_are_mixed_as_fewer_are(tmp_path: Path) -> None:
    """Decoded planar, as most surround sound is."""
    channels = [over(voice, 0.7), over(voice, 0.7), over(voice), *[silent] * 5]
    start_s, samples, notes = heard(film(tmp_path / "film.mkv", channels, codec="aac"))
    assert abs(like(samples, start_s, voice)) > 0.9
    assert any("cancel each other" in note for note in notes)


@pytest.mark.slow
def test_eight_planar_channels_are_the_same_from_the_middle(tmp_path: Path) -> None:
    # 29.1 s is far enough in to be sought, and AAC's frames begin between samples of 16 kHz
    channels = [hum, hum, voice, *[silent] * 5]
    path = film(tmp_path / "film.mkv", channels, codec="aac", seconds=31, step=4096)
    start_s, samples, _ = heard(path)
    begin_s, piece, _ = heard(path, 29.1)
    first = round((begin_s - start_s) * 16000)
    assert begin_s == pytest.approx(29.1, abs=1e-4)
    assert piece[:-1] == pytest.approx(samples[first : first + len(piece) - 1], abs=1e-5)


@pytest.mark.parametrize(
    "channels",
    [
        [voice, voice],
        [voice, silent],
        [voice, hum],
        [voice, over(voice, -0.5)],  # 6 dB down, and as clear
        [hum, hum, voice, silent, silent, silent],
        [voice, voice, voice, silent, over(voice, 0.5), over(voice, 0.5)],
        [silent, silent],
    ],
)
def test_any_other_mix_is_the_resampler_s_bit_for_bit(
    tmp_path: Path, channels: Sequence[Sounds], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "film.mkv", channels)
    start_s, samples, notes = heard(path)
    assert notes == ()
    monkeypatch.setattr("avcheck.media.mixing.channel_instead", lambda *_: None)
    assert heard(path)[0] == start_s
    assert np.array_equal(heard(path)[1], samples)


def test_a_change_in_the_middle_makes_no_click(tmp_path: Path) -> None:
    """Right from the beginning, turned over from 4 s on, right again from 8 s on."""

    def right(times_s: Array) -> Array:
        return np.where((times_s >= 4) & (times_s < 8), -1.0, 1.0) * tone(times_s)

    def tone(times_s: Array) -> Array:
        return 0.5 * np.sin(2 * np.pi * 200 * times_s)

    start_s, samples, notes = heard(
        film(tmp_path / "film.mkv", [tone, right], seconds=12, step=4096)
    )
    assert notes == (
        "its channels cancel each other when mixed: for 4 s one of them was taken alone",
    )
    times_s = start_s + np.arange(len(samples)) / 16000
    # away from the fades
    steady = np.abs((times_s + 0.5 * FADE_S + 0.01) % WINDOW_S) > FADE_S + 0.04
    inside = steady & (times_s > 0.1) & (times_s < 11.8)
    assert np.abs(samples - tone(times_s))[inside].max() <= 0.01
    slope = 0.5 * 2 * np.pi * 200 / 16000  # of the tone, the most from one sample to the next
    assert np.abs(np.diff(samples[200:-400])).max() < 1.3 * slope


@pytest.mark.slow
def test_a_decode_from_the_middle_mixes_the_same(tmp_path: Path) -> None:
    def right(times_s: Array) -> Array:
        return np.where(times_s < 41, 1.0, -1.0) * hum(times_s)

    path = film(tmp_path / "film.mkv", [hum, right], seconds=50, step=4096)
    start_s, samples, _ = heard(path)
    for from_s in (38.9, 41.5, 43.0, 44.01):
        begin_s, piece, _ = heard(path, from_s)
        first = round((begin_s - start_s) * 16000)
        assert begin_s == pytest.approx(from_s, abs=1e-4)
        assert np.array_equal(piece[:-1], samples[first : first + len(piece) - 1])


def cancelling(count: int, size: int = 1000, rate: int = 8000) -> list[AudioFrame]:
    """Stereo frames of a level, whose right channel is turned over after the first window."""
    frames = []
    for first in range(0, count * size, size):
        right = 0.5 if first < WINDOW_S * rate else -0.5
        block = np.tile(np.array([0.5, right], np.float32), size).reshape(1, -1)
        frames.append(AudioFrame.from_ndarray(block, "flt", "stereo"))
        frames[-1].sample_rate = rate
    return frames


def test_a_fade_goes_from_what_was_heard_to_what_is_heard() -> None:
    frames = cancelling(32)
    mixer = Mixer(frames[0], 0.0, named=True)
    mixed = [*(out for frame in frames for out in mixer.push(frame, Tally())), *mixer.rest(Tally())]
    right = np.concatenate([frame.to_ndarray().reshape(-1, 2)[:, 1] for frame in mixed])
    fade, first = round(FADE_S * 8000), round(WINDOW_S * 8000)
    assert right[:first] == pytest.approx(0.5)
    assert right[first : first + fade] == pytest.approx(np.arange(fade) / fade - 0.5)
    assert right[first + fade :] == pytest.approx(0.5)


def test_a_window_of_many_channels_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avcheck.media.mixing.MOST_VALUES", 3 * 2000)
    frames = cancelling(12)
    mixer = Mixer(frames[0], 0.0, named=True)
    held, given = [], 0
    for number, frame in enumerate(frames, 1):
        given += sum(out.samples for out in mixer.push(frame, Tally()))
        held.append(number * 1000 - given)
    assert max(held) == 4000  # the one that goes beyond is held too
    assert given + sum(out.samples for out in mixer.rest(Tally())) == 12_000


# -- the rule --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layout", "count"), [("stereo", 2), ("5.1", 6), ("7.1", 8), ("quad", 4)])
def test_weights_are_those_of_the_resampler(layout: str, count: int) -> None:
    weights = mix_weights(layout, count)
    assert weights.sum() == pytest.approx(1.0, abs=1e-6)
    assert (weights >= 0).all()
    if layout == "stereo":
        assert weights.tolist() == [0.5, 0.5]
    if layout in ("5.1", "7.1"):
        assert weights[3] == 0  # deep bass


def chosen(*channels: Array) -> int | None:
    samples = np.array(channels)
    return channel_instead(np.full(len(channels), 1 / len(channels)), samples @ samples.T)


def test_the_channel_that_is_taken() -> None:
    one, other = np.random.default_rng(0).normal(size=(2, 10000))
    assert chosen(one, -one) == 0
    # The first that is loud enough: not one now, the other then
    assert chosen(one, -1.2 * one) == 0
    assert chosen(0.1 * one, other, -other) == 1
    assert chosen(one, -0.8 * one) == 0
    assert chosen(one, -0.5 * one) is None
    assert chosen(one, other) is None
    assert chosen(one, one) is None
    assert chosen(0 * one, 0 * one) is None
    assert chosen(one * np.nan, one) is None
    assert chosen(2 * other, one, -one) is None  # what is loudest stands


def wav(path: Path, samples: Array) -> Path:
    """A wav of whole-number samples (n, channels)."""
    channels, wide = samples.shape[1], samples.itemsize
    sizes = (48_000 * wide * channels, wide * channels, 8 * wide)
    form = struct.pack("<HHIIHH", 1, channels, 48_000, *sizes)
    parts = (b"fmt ", form), (b"data", samples.tobytes())
    body = b"WAVE" + b"".join(kind + len(part).to_bytes(4, "little") + part for kind, part in parts)
    path.write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    return path


@pytest.mark.parametrize("channels", [64, 128])
def test_as_many_channels_as_a_master_of_atmos_has_are_averaged(
    clip: Clip, tmp_path: Path, channels: int
) -> None:
    """The resampler takes 64."""
    times_s = np.arange(28_800) / 48_000
    samples = np.zeros((len(times_s), channels), "<i2")
    samples[:, 3] = np.round(click(times_s - 0.34) * 32767)
    path = wav(tmp_path / "sound.wav", samples)
    with open_media(clip("film.mp4", seconds=0.6, acodec=None), audio_path=path) as file:
        start_s, mixed = whole(list(file.sounds()))
        assert not file.degraded
    assert click_time_s(start_s, mixed) == pytest.approx(0.34, abs=1e-4)
    assert np.abs(mixed).max() == pytest.approx(0.8 / channels, rel=0.05)


def test_more_channels_than_can_be_mixed_are_refused(clip: Clip, tmp_path: Path) -> None:
    """Samples of 8 bits are not averaged here."""
    film = clip("film.mp4", acodec=None)
    sounds = [wav(tmp_path / f"{n}.wav", np.full((48_000, n), 128, np.uint8)) for n in (64, 65)]
    with open_media(film, audio_path=sounds[0]) as file:
        assert list(file.sounds())
    with pytest.raises(LimitExceeded, match="its sound claims 65 channels; mix the sound down"):
        open_media(film, audio_path=sounds[1])
