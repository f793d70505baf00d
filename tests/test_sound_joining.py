"""Sound is joined through timestamps that are rounded or jitter; gaps stay gaps, and a clock that
drifts is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.packet import Packet

from avcheck.errors import CannotSeek
from avcheck.media import open_media
from avcheck.media.joining import Placed, placed, without_counted
from tests.support.clips import Array, click_time_s, clicks
from tests.support.reading import whole

Clip = Callable[..., Path]
RATE = 48000
FRAME_S = 960 / RATE  # of Opus


def frames(
    residuals_s: Iterable[float | None], sizes: Iterable[int] | None = None
) -> Iterator[tuple[float | None, AudioFrame]]:
    """Frames whose timestamps are so much later than what was counted."""
    residuals = list(residuals_s)
    start = 0
    for residual_s, size in zip(residuals, sizes or [960] * len(residuals), strict=True):
        frame = AudioFrame("flt", "mono", size)
        frame.sample_rate = RATE
        yield None if residual_s is None else start / RATE + residual_s, frame
        start += size


def places(residuals_s: Iterable[float | None], **options: Any) -> tuple[Array, list[int]]:
    """When the frames are placed against what was counted, in seconds, and which begin a run."""
    got: list[Placed] = list(placed(frames(residuals_s, **options), 0.001))
    counted_s = np.cumsum([0, *(item.frame.samples / RATE for item in got)])[:-1]
    return np.array([item.time_s for item in got]) - counted_s, [
        k for k, item in enumerate(got) if not item.joined
    ]


def jitter(count: int, much_s: float = 0.015, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-much_s, much_s, count)


# -- where frames are placed -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_jitter_is_averaged_and_nothing_is_cut(seed: int) -> None:
    late_s, runs = places(1.0 + jitter(1500, seed=seed))
    assert runs == [0]
    assert late_s == pytest.approx(1.0, abs=0.002)


@pytest.mark.parametrize("seed", range(8))
def test_frames_so_long_that_few_lie_ahead_jitter_too(seed: int) -> None:
    late_s, runs = places(1.0 + jitter(100, seed=seed), sizes=[RATE // 10] * 100)
    assert runs == [0]
    assert late_s == pytest.approx(1.0, abs=0.004)


def test_a_long_frame_counts_for_as_long_as_it_lasts() -> None:
    """HandBrake's Vorbis: each frame has the time at which it ends, 3 ms late or 21."""
    sizes = [1024, 128] * 400
    late_s, runs = places((size / RATE for size in sizes), sizes=sizes)
    assert runs == [0]
    assert late_s == pytest.approx(np.average(sizes, weights=sizes) / RATE, abs=0.001)


def test_jitter_from_one_timestamp_to_the_next() -> None:
    late_s, runs = places(np.tile([0.015, -0.015], 500))
    assert runs == [0]
    assert late_s == pytest.approx(0.0, abs=0.001)


@pytest.mark.parametrize("much_s", [0.0, 0.0005, 0.015])
@pytest.mark.parametrize("gap_s", [0.06, 0.5, 3.0])
def test_a_gap_is_a_gap_with_and_without_jitter(gap_s: float, much_s: float) -> None:
    residuals_s = jitter(1000, much_s, seed=1)
    residuals_s[600:] += gap_s
    late_s, runs = places(residuals_s)
    assert runs == [0, 600]
    assert late_s[:600] == pytest.approx(0.0, abs=0.002)
    assert late_s[600:] == pytest.approx(gap_s, abs=0.002)


def test_a_lost_packet_is_a_gap() -> None:
    late_s, runs = places([0.0] * 300 + [FRAME_S] * 300)
    assert runs == [0, 300]
    assert late_s[[299, 300]] == pytest.approx([0.0, FRAME_S])


@pytest.mark.parametrize("much_s", [0.0, 0.015])
@pytest.mark.parametrize("rate", [0.001, -0.001])
def test_a_clock_that_is_fast_or_slow_is_followed(rate: float, much_s: float) -> None:
    """0.1 %, over two minutes: 120 ms."""
    true_s = rate * np.arange(6000) * FRAME_S
    late_s, _ = places(true_s + jitter(6000, much_s, seed=2))
    assert np.abs(late_s - true_s).max() < (0.0031 if much_s == 0 else 0.006)
    assert np.median(np.abs(late_s - true_s)) < 0.003


@pytest.mark.parametrize("at_once", [1, 8])  # packets that share a timestamp
@pytest.mark.parametrize("share", [0.0427, -0.041])
def test_stretched_timestamps_are_followed(share: float, at_once: int) -> None:
    """PAL made to fit film and back, as by `mkvmerge --sync 0:0,25025/24000`."""
    residuals_s = share * FRAME_S * (np.arange(1500) // at_once * at_once)
    late_s, _ = places(residuals_s)
    assert late_s == pytest.approx(residuals_s, abs=0.005)


def test_one_wild_timestamp_moves_nothing() -> None:
    for wild_s in (0.009, -0.02, 0.3, -2.0):
        residuals_s = np.zeros(500)
        residuals_s[250] = wild_s
        late_s, runs = places(residuals_s)
        assert runs == [0]
        assert not late_s.any()


def test_the_first_frame_of_a_fragmented_mp4_has_a_gap_behind_it() -> None:
    late_s, runs = places([0.0] + [0.0587] * 200)
    assert runs == [0, 1]
    assert late_s[:3] == pytest.approx([0.0, 0.0587, 0.0587])


def test_frames_without_a_timestamp_follow() -> None:
    late_s, runs = places([0.5, None, None, 0.5, None])
    assert runs == [0]
    assert late_s == pytest.approx([0.5] * 5)
    assert [item.time_s for item in placed(frames([None, None, 0.5]), 0.001)] == pytest.approx(
        [0.5 + 2 * FRAME_S]
    )


def test_a_coarse_clock_rounds_and_does_not_jitter() -> None:
    """GXF counts fields: its timestamps are late by up to 20 ms, and its first is exact."""
    counted_s = np.arange(500) * FRAME_S
    residuals_s = np.ceil(counted_s * 50 - 1e-9) / 50 - counted_s
    got = list(placed(frames(residuals_s * 1.0), 0.02))
    assert [item.time_s for item in got] == pytest.approx(counted_s)


def test_a_sound_that_is_shorter_than_the_jitter_is_still_given() -> None:
    assert len(places([0.0])[0]) == 1
    assert len(places(jitter(3))[0]) == 3
    assert list(placed([], 0.001)) == []


def test_times_counted_with_the_wrong_rate_are_not_told() -> None:
    """FFmpeg counts the frames of an MPEG-TS on at the first rate until the next timestamp, 8.8 %
    too slowly here.
    """
    stated_s = 1024 / 44100

    def stream() -> Iterator[tuple[float | None, AudioFrame]]:
        for packet in range(4):
            for number in range(10):
                frame = AudioFrame("flt", "mono", 1024)
                frame.sample_rate = RATE
                frame.time_base = Fraction(1, 90000)
                frame.duration = round(stated_s * 90000)
                yield packet * 10 * 1024 / RATE + number * stated_s, frame

    times_s = [time_s for time_s, _ in without_counted(stream(), 1 / 90000)]
    assert [k for k, time_s in enumerate(times_s) if time_s is not None] == [0, 10, 20, 30]


# -- whole files -----------------------------------------------------------------------------------


def retimed(source: Path, path: Path, late_s: Callable[[int, float], float]) -> Path:
    """A copy whose sound packets are late by `late_s(number, time_s)`."""
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        outputs = {
            stream.index: writer.add_stream_from_template(stream) for stream in reader.streams
        }
        number = 0
        for packet in reader.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio":
                assert packet.pts is not None
                packet.pts += round(
                    late_s(number, float(packet.pts * packet.time_base)) / packet.time_base
                )
                packet.dts = packet.pts
                number += 1
            packet.stream = outputs[packet.stream.index]
            writer.mux(packet)
    return path


EVENTS_S = tuple(np.arange(0.5, 12, 0.5))


def click_errors_s(path: Path) -> tuple[Array, float]:
    """How late each click is, and the seconds of sound that count as missing."""
    with open_media(path) as file:
        start_s, samples = whole(list(file.sounds()))
        missing_s = file.degraded.missing_audio_s
    errors = []
    for event_s in EVENTS_S:
        first = round((event_s - 0.2 - start_s) * 16000)
        errors.append(
            click_time_s(start_s + first / 16000, samples[first : first + 6400]) - event_s
        )
    return np.array(errors), missing_s


def film(clip: Clip, **options: Any) -> Path:
    options = {
        "acodec": "ac3",
        "seconds": 12,
        "fps": 5,
        "size": (64, 48),
        "play": clicks(EVENTS_S),
    } | options
    return clip("film.mkv", **options)


def test_a_recording_of_a_browser(clip: Clip) -> None:
    late_s = 0.015 + jitter(700)
    path = film(clip)
    plain_s, _ = click_errors_s(path)
    errors_s, missing_s = click_errors_s(
        retimed(path, path.with_name("copy.mkv"), lambda number, _: late_s[number])
    )
    assert missing_s == 0
    assert errors_s - plain_s == pytest.approx(0.015, abs=0.002)
    assert np.ptp(errors_s - plain_s) < 1e-4  # one piece: nothing was cut or filled


def test_a_gap_in_a_recording_of_a_browser(clip: Clip) -> None:
    late_s = 0.015 + jitter(700)
    path = film(clip)
    plain_s, _ = click_errors_s(path)
    copy = retimed(
        path,
        path.with_name("copy.mkv"),
        lambda number, time_s: late_s[number] + 0.06 * (time_s >= 6.25),
    )
    errors_s, missing_s = click_errors_s(copy)
    before = np.array(EVENTS_S) < 6.25
    assert errors_s[before] - plain_s[before] == pytest.approx(0.015, abs=0.002)
    assert errors_s[~before] - plain_s[~before] == pytest.approx(0.075, abs=0.002)
    assert missing_s == pytest.approx(0.06, abs=0.004)


@pytest.mark.slow
def test_a_sound_that_jitters_is_not_read_from_the_middle(clip: Clip) -> None:
    """Where it lies is known from many timestamps, which a decode from the middle does not see."""
    path = film(clip, seconds=50)
    with open_media(path) as file:
        assert next(file.sounds(40.0)).start_s == pytest.approx(40.0, abs=1e-3)
    late_s = 0.015 + jitter(2000)
    copy = retimed(path, path.with_name("copy.mkv"), lambda number, _: late_s[number])
    with open_media(copy) as file, pytest.raises(CannotSeek, match="check it whole"):
        next(file.sounds(40.0))


def test_a_recorder_whose_clock_is_fast(clip: Clip) -> None:
    path = film(clip, acodec="pcm_s16le")
    copy = retimed(path, path.with_name("copy.mkv"), lambda _, time_s: 0.001 * time_s)
    errors_s, missing_s = click_errors_s(copy)
    assert errors_s == pytest.approx(0.001 * np.array(EVENTS_S), abs=0.0035)
    assert missing_s == 0


def noise(times_s: Array) -> Array:
    """The same noise at the same time, whatever the rate."""
    tones = np.random.default_rng(4).uniform(80, 3500, 60)
    return 0.02 * np.sin(2 * np.pi * np.outer(times_s, tones) + np.arange(60)).sum(axis=1)


def correlation(path: Path, source: Callable[[Array], Array]) -> tuple[float, float]:
    """Of a file's sound with its source, in place; and the seconds that count as missing."""
    with open_media(path) as file:
        start_s, samples = whole(list(file.sounds()))
        missing_s = file.degraded.missing_audio_s
    inside = slice(1600, len(samples) - 1600)
    times_s = start_s + np.arange(len(samples)) / 16000
    return float(np.corrcoef(samples[inside], source(times_s)[inside])[0, 1]), missing_s


def test_short_and_long_blocks_of_vorbis(clip: Clip) -> None:
    """FFmpeg gives a frame at the edge of short blocks the time of the next one, 9 ms late; the
    sound has no holes there.
    """
    path = clip("film.mkv", acodec="pcm_s16le", seconds=4, fps=5, size=(64, 48), play=noise)
    copy = retimed(
        path, path.with_name("copy.mkv"), lambda number, _: 0.00933 * (number % 9 in (1, 6))
    )
    like, missing_s = correlation(copy, noise)
    assert like > 0.99
    assert missing_s == 0


def test_ogg(clip: Clip) -> None:
    like, missing_s = correlation(
        clip("film.ogv", vcodec="libvpx", acodec="libopus", seconds=3, play=noise), noise
    )
    assert like > 0.99
    assert missing_s == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"sample_rate": 44100}, {"sample_rate": 48000}),
        ({"sample_rate": 48000}, {"sample_rate": 32000}),
        ({"layout": "stereo"}, {"layout": "mono"}),
    ],
)
def test_sound_that_changes_in_mid_stream(
    clip: Clip, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """A rate or a number of channels that changes, as in a transport stream of several sources:
    joined without a hole.
    """
    first = clip("one.aac", vcodec=None, format="adts", play=noise, **before)
    second = clip("two.aac", vcodec=None, format="adts", play=noise, **after)
    path = first.with_name("both.ts")
    picture = clip("picture.ts", acodec=None, seconds=4, fps=5, size=(64, 48))
    with (
        av.open(str(first)) as one,
        av.open(str(second)) as two,
        av.open(str(picture)) as film,
        av.open(str(path), "w") as writer,
    ):
        video = writer.add_stream_from_template(film.streams.video[0])
        audio = writer.add_stream_from_template(one.streams.audio[0])
        packets: list[tuple[float, Packet[Any]]] = []
        for each in film.demux(video=0):
            if each.dts is not None:
                each.stream = video
                packets.append((float(each.dts * each.time_base), each))
        time_s = packets[0][0]
        joint_s = 0.0
        for part, options in ((one, before), (two, after)):
            joint_s = time_s
            for packet in part.demux(audio=0):
                if packet.size == 0:
                    continue
                packet.time_base = Fraction(1, 90000)
                packet.pts = packet.dts = round(time_s * 90000)
                packet.duration = None
                packet.stream = audio
                packets.append((time_s, packet))
                time_s += 1024 / options.get("sample_rate", 48000)
        for _, packet in sorted(packets, key=lambda item: item[0]):
            writer.mux(packet)
    with open_media(path) as file:
        sounds = list(file.sounds())
        assert file.degraded.missing_audio_s == 0
    assert all(later.start_s - sooner.end_s < 1e-3 for sooner, later in pairwise(sounds))
    second_s = joint_s - packets[0][0]
    own = [sound for sound in sounds if sound.start_s > second_s - 1e-4]
    assert len(own) > 2
    times_s = own[0].start_s + np.arange(sum(len(sound.samples) for sound in own)) / 16000
    # Of the encoder, which a bare stream cannot mark
    delay_s = 1024 / after.get("sample_rate", 48000)
    expected = noise(times_s - second_s - delay_s)
    samples = np.concatenate([sound.samples for sound in own])
    assert np.corrcoef(samples[1600:-3200], expected[1600:-3200])[0, 1] > 0.99
