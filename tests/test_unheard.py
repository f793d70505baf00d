"""Channels of a sound that are not to be heard: data in the place of samples, and timecode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame

from avcheck.cli.app import main
from avcheck.errors import DecodeFailed
from avcheck.fix.repair import FixSettings, fix_file
from avcheck.media import open_media
from avcheck.media.ltc import is_ltc
from avcheck.record.report import Stretch
from tests.support.clips import Array, Clip, click_time_s, clicks
from tests.support.films import tiles
from tests.support.fixing import checks, forced, measured
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


def timecode(seconds: float, fps: int, rate: int) -> Array:
    """Linear timecode from ten o'clock on, its corners as round as a line's."""
    halves: list[int] = []
    level = 1
    for number in range(int(seconds * fps) + 1):
        at = 36_000 * fps + number
        fields = (at % fps, at // fps % 60, at // fps // 60 % 60, at // fps // 3600)
        bits = [0] * 64
        for field, value in enumerate(fields):
            for digit, place in ((value % 10, 16 * field), (value // 10, 16 * field + 8)):
                bits[place : place + 4] = [digit >> bit & 1 for bit in range(4)]
        for bit in [*bits, 0, 0, *[1] * 12, 0, 1]:
            level = -level
            halves.append(level)
            level = -level if bit else level
            halves.append(level)
    places = (np.arange(round(seconds * rate)) * (160 * fps) // rate).astype(int)
    return 0.5 * np.convolve(np.array(halves)[places], [0.25, 0.5, 0.25], "same")


def write(path: Path, samples: Array, codec: str = "pcm_s24le", film: Path | None = None) -> Path:
    """A file of these 32-bit samples (n, channels), beside the pictures of a film."""
    layouts = {1: "mono", 2: "stereo", 4: "4.0", 8: "7.1"}
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
    with pytest.raises(DecodeFailed, match=f"its sound is {kind} in the place of samples"):
        open_media(clip("film.mp4", acodec=None), audio_path=sound)


def test_the_own_sound_of_a_film_too(clip: Clip, tmp_path: Path) -> None:
    picture = clip("film.mp4", acodec=None)
    film = write(tmp_path / "film.mov", bursts(20, DOLBY_E), "pcm_s24be", picture)
    with pytest.raises(DecodeFailed, match="Dolby E"):
        open_media(film)
    other = write(tmp_path / "sound.wav", np.stack([sounding(1.04)] * 2, axis=1))
    with open_media(film, audio_path=other) as file:
        assert list(file.sounds())


@pytest.mark.parametrize("data", ["Dolby E", "timecode"])
def test_data_is_moved_by_an_offset_that_is_given(clip: Clip, tmp_path: Path, data: str) -> None:
    """It need not be heard for that."""
    code = np.round(timecode(6, 25, RATE) * (2**31 - 1)).astype(np.int32)[:, None]
    samples = code if data == "timecode" else bursts(20, DOLBY_E, seconds=6)
    picture = clip("film.mp4", seconds=6, acodec=None)
    film = write(tmp_path / "film.mov", samples, "pcm_s24be", picture)
    outcome = forced(film, tmp_path / "fixed.mov", -120)
    assert outcome.status == "fixed", outcome.reason
    assert outcome.clock is not None
    assert outcome.clock.sound_ms == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("data", ["Dolby E", "timecode"])
def test_a_copy_is_compared_by_data_if_it_has_no_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: str
) -> None:
    """A pipeline passes it on as it passes sound on."""
    code = np.round(timecode(12, 25, RATE) * (2**31 - 1)).astype(np.int32)[:, None]
    samples = code if data == "timecode" else bursts(20, DOLBY_E, seconds=12)
    late = np.concatenate([0 * samples[: RATE // 5], samples[: -RATE // 5]])
    pictures = tiles(tmp_path / "film.mp4", 12.0, acodec=None)
    files = [
        str(write(tmp_path / name, each, "pcm_s24be", pictures))
        for name, each in (("master.mov", samples), ("copy.mov", late))
    ]
    assert main(["compare", "--json", *files]) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["offset_ms"] == pytest.approx(-200, abs=10)


def test_a_drift_is_not_taken_out_of_data(clip: Clip, tmp_path: Path) -> None:
    """Another speed changes every sample."""
    voice = sounding(1.04)[:, None]
    samples = np.concatenate([voice, voice, bursts(20, DOLBY_E)], axis=1)
    film = write(tmp_path / "film.mov", samples, "pcm_s24be", clip("film.mp4", acodec=None))
    report = measured(Stretch(0.0, SECONDS, 0.0, -100.0))
    outcome = fix_file(film, tmp_path / "fixed.mov", FixSettings(), checks(report))
    assert outcome.status == "refused", outcome
    assert outcome.reason is not None
    assert outcome.reason.startswith("its sound holds Dolby E in the place of samples")


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
    assert notes == ("channels 7 and 8 of its sound are Dolby E, and not listened to",)


def test_a_buzz_that_meets_a_sync_word_in_each_period_is_sound(clip: Clip, tmp_path: Path) -> None:
    period = np.random.default_rng(7).integers(-20_000, 20_000, 480)
    period[:2] = 0, 0xF872 - 0x10000
    samples = np.tile(period << 16, round(SECONDS * 100))[:, None].astype(np.int32)
    sound = write(tmp_path / "sound.wav", samples, "pcm_s16le")
    with open_media(clip("film.mp4", acodec=None), audio_path=sound) as file:
        assert list(file.sounds())
        assert not file.degraded.notes


@pytest.mark.parametrize("fps", [24, 25, 30])
@pytest.mark.parametrize("rate", [48_000, 44_100])
@pytest.mark.parametrize(("codec", "suffix"), [("aac", "mp4"), ("pcm_s16le", "mov")])
def test_timecode_beside_a_voice_is_not_listened_to(
    clip: Clip, tmp_path: Path, codec: str, suffix: str, rate: int, fps: int
) -> None:
    """As a timecode box records it on the right channel of a camera."""
    path = tmp_path / f"film.{suffix}"
    times = np.arange(2 * rate) / rate
    left, right = clicks([1.04])(times), timecode(2.0, fps, rate)
    with (
        av.open(str(clip("film.mp4", acodec=None))) as reader,
        av.open(str(path), "w") as writer,
    ):
        shown: Any = writer.add_stream_from_template(reader.streams.video[0])
        stream: Any = writer.add_stream(codec, rate=rate, layout="stereo")
        for packet in reader.demux(video=0):
            if packet.size:
                packet.stream = shown
                writer.mux(packet)
        form = stream.codec_context.format.name
        for first in range(0, 2 * rate, 1024):
            block: Any = np.stack([left, right])[:, first : first + 1024]
            if form == "s16":
                block = np.round(block.T.reshape(1, -1) * 32767).astype(np.int16)
            block = np.ascontiguousarray(block, np.int16 if form == "s16" else np.float32)
            frame = AudioFrame.from_ndarray(block, form, "stereo")
            frame.sample_rate, frame.pts = rate, first
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    with open_media(path) as file:
        _, samples = whole(list(file.sounds()))
        assert file.degraded.notes == (
            "channel 2 of its sound is timecode (LTC), and not listened to",
        )
        assert np.abs(samples).max() > 0.2
        loud = np.flatnonzero(np.abs(samples) > 0.05)
        assert loud.min() / 16_000 == pytest.approx(1.04, abs=0.01)
        assert loud.max() / 16_000 == pytest.approx(1.06, abs=0.01)


def test_timecode_in_joined_files_is_named(clip: Clip, tmp_path: Path) -> None:
    code = np.round(timecode(SECONDS, 25, RATE) * (2**31 - 1)).astype(np.int32)
    both = np.stack([sounding(1.04), code], axis=1)
    sound = write(tmp_path / "sound.flac", both, "flac")
    sound.write_bytes(2 * sound.read_bytes())
    film = clip("film.mp4", seconds=4, acodec=None)
    with open_media(film, audio_path=sound) as file:
        assert list(file.sounds())
        assert file.degraded.notes[1:] == (
            "channel 2 of its sound is timecode (LTC), and not listened to",
        )


def test_sound_that_begins_late_is_not_looked_for(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a film may lie before it."""
    film = clip("film.mkv", seconds=42, fps=5, events_s=(41.0,), audio_offset_s=40.0)
    monkeypatch.setattr("avcheck.media.unheard._unheard", None)
    with open_media(film) as file:
        start_s, samples = whole(list(file.sounds()))
    assert click_time_s(start_s, samples) == pytest.approx(81.0, abs=0.03)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("at", [0, RATE // 4])
def test_samples_that_are_no_numbers_do_not_matter(clip: Clip, tmp_path: Path, at: int) -> None:
    """Damage leaves such values, at which numpy warns whatever is done with them."""
    code = (0.5 * timecode(SECONDS, 25, RATE)).astype(np.float32)
    code[at : at + 3] = np.array([0x7FA0_0000, 0x7F80_0000, 0xFF80_0000], np.uint32).view("f4")
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as writer:
        stream: Any = writer.add_stream("pcm_f32le", rate=RATE, layout="mono")
        frame = AudioFrame.from_ndarray(code[None], "flt", "mono")
        frame.sample_rate = RATE
        writer.mux(stream.encode(frame))
    with pytest.raises(DecodeFailed, match=r"its sound is timecode \(LTC\)"):
        open_media(clip("film.mp4", acodec=None), audio_path=sound)


def test_a_track_of_timecode_is_named(clip: Clip, tmp_path: Path) -> None:
    samples = np.round(timecode(SECONDS, 25, RATE) * (2**31 - 1)).astype(np.int32)[:, None]
    sound = write(tmp_path / "sound.wav", samples)
    with pytest.raises(DecodeFailed, match=r"its sound is timecode \(LTC\); choose another track"):
        open_media(clip("film.mp4", acodec=None), audio_path=sound)


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize(
    ("loud", "until_s"),
    [(0.005, 9.0), (1.0, 1.2)],
    ids=["leaks from a cable beside it", "is a leader"],
)
def test_a_channel_that_is_timecode_at_first_is_heard(
    clip: Clip, tmp_path: Path, loud: float, until_s: float, layout: str
) -> None:
    """Before a voice begins there may be nothing else in a channel."""
    times = np.arange(round(6 * RATE)) / RATE
    code = timecode(6.0, 25, RATE)
    voice = 0.2 * np.sin(2 * np.pi * 440 * times) * ((times > 1.5) & (times % 1 > 0.4))
    both = [voice + loud * code * (times < until_s), code]
    samples = np.stack(both[: 1 + (layout == "stereo")], axis=1)
    sound = write(tmp_path / "sound.wav", np.round(samples * (2**31 - 1) / 2).astype(np.int32))
    with open_media(clip("film.mp4", seconds=6, acodec=None), audio_path=sound) as file:
        _, heard = whole(list(file.sounds()))
        notes = file.degraded.notes
    assert 0.05 < np.abs(heard[2 * 16_000 :]).max() < 0.11
    assert notes == (
        ("channel 2 of its sound is timecode (LTC), and not listened to",)
        if layout == "stereo"
        else ()
    )


@pytest.mark.parametrize("hiss", [0.0, 0.001], ids=["silence", "hiss"])
def test_timecode_that_begins_while_somebody_speaks_is_not_listened_to(
    clip: Clip, tmp_path: Path, hiss: float
) -> None:
    """Somebody plugs the timecode box in a few seconds after the camera runs."""
    times = np.arange(round(10 * RATE)) / RATE
    voice = 0.2 * np.sin(2 * np.pi * 440 * times) * (times % 1 > 0.4)
    before = hiss * np.random.default_rng(7).standard_normal(len(times))
    code = np.where(times < 4.0, before, timecode(10.0, 25, RATE))
    samples = np.round(np.stack([voice, code], axis=1) * (2**31 - 1)).astype(np.int32)
    sound = write(tmp_path / "sound.wav", samples)
    with open_media(clip("film.mp4", seconds=10, acodec=None), audio_path=sound) as file:
        _, heard = whole(list(file.sounds()))
        notes = file.degraded.notes
    assert notes == ("channel 2 of its sound is timecode (LTC), and not listened to",)
    assert np.abs(heard).max() < 0.21


@pytest.mark.parametrize("hertz", [1000, 2000, 2400])
def test_a_tone_is_no_timecode(hertz: int) -> None:
    square = np.sign(np.sin(2 * np.pi * hertz * (np.arange(RATE) + 0.5) / RATE))
    assert not is_ltc(square, RATE)


def test_bits_without_pictures_are_no_timecode() -> None:
    bits = np.random.default_rng(7).integers(0, 2, 2000)
    levels = np.cumprod(np.stack([np.full(2000, -1), 1 - 2 * bits], axis=1).reshape(-1))
    assert not is_ltc(levels[np.arange(RATE) // 12], RATE)
