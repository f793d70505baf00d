"""When pictures are shown whose container keeps decoding times, or gives one time twice; and the
range of their luma.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.video.format import VideoFormat

from avcheck.errors import DecodeFailed
from avcheck.media import open_media
from avcheck.media.base import Tally
from avcheck.media.order import ShowOrder
from avcheck.media.picture import is_full_range, placed_between
from tests.support.clips import Array, click_time_s
from tests.support.reading import flash_s, late_ms, whole

Clip = Callable[..., Path]
PATTERN = np.random.default_rng(0).integers(40, 120, (120, 160), np.uint8)


def moving(time_s: float) -> Array:
    """A pattern that moves to the right, so that B-pictures pay; bright at 1 s."""
    return (
        np.full((120, 160), 235, np.uint8)
        if abs(time_s - 1.0) < 0.01
        else np.roll(PATTERN, round(time_s * 100), 1)
    )


def x264(b_pictures: int) -> dict[str, Any]:
    options = {"preset": "medium", "bf": str(b_pictures), "b-adapt": "0", "g": "50"}
    return {"vcodec": "libx264", "video_options": options, "draw": moving}


def reorders(path: Path) -> bool:
    """Whether the pictures of a file are decoded in another order than they are shown."""
    with av.open(str(path)) as container:
        return any(frame.pict_type == 3 for frame in container.decode(video=0))  # B


def with_decoding_times(source: Path, path: Path, audio_late_s: float = 0.0) -> float:
    """Copies a file so that its pictures carry decoding times for times of presentation, from 0 on.
    Gives their delay in s.
    """
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        outputs = {
            stream.index: writer.add_stream_from_template(stream) for stream in reader.streams
        }
        packets = [packet for packet in reader.demux() if packet.dts is not None]
        delay_s = -min(
            float(packet.dts * packet.time_base)
            for packet in packets
            if packet.stream.type == "video" and packet.dts is not None
        )
        for packet in packets:
            shift = round(
                (delay_s + audio_late_s * (packet.stream.type == "audio")) / packet.time_base
            )
            assert packet.dts is not None
            assert packet.pts is not None
            packet.dts += shift
            packet.pts = packet.dts if packet.stream.type == "video" else packet.pts + shift
            packet.stream = outputs[packet.stream.index]
            writer.mux(packet)
    return delay_s


def times_of(path: Path, threads: int = 1) -> list[float]:
    with open_media(path, threads=threads) as file:
        times_s = [picture.pts_s for picture in file.pictures()]
        assert file.info.first_picture_s == pytest.approx(times_s[0], abs=1e-6)
    assert times_s == sorted(set(times_s))
    return times_s


@pytest.mark.parametrize("b_pictures", [0, 1, 2, 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_h264_in_asf_is_as_its_source(clip: Clip, b_pictures: int, threads: int) -> None:
    """ASF has one time a picture. PyAV lets FFmpeg make up another, a picture late, and not in
    order with B-pictures.
    """
    path = clip("clip.wmv", **x264(b_pictures))
    assert reorders(path) == (b_pictures > 0)
    assert late_ms(path) == pytest.approx(0, abs=1)  # ASF counts in ms
    times_s = times_of(path, threads)
    assert len(times_s) == 50
    assert np.diff(times_s) == pytest.approx(0.04, abs=1e-6)


@pytest.mark.parametrize("b_pictures", [1, 2, 3])
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_mp4_without_composition_offsets(clip: Clip, suffix: str, b_pictures: int) -> None:
    path = clip(f"clip.{suffix}", **x264(b_pictures))
    assert reorders(path)
    copy = path.with_name(f"copy.{suffix}")
    delay_s = with_decoding_times(path, copy)
    assert delay_s == pytest.approx(0.04 if b_pictures == 1 else 0.08)
    assert (
        times_of(copy)
        == times_of(copy, threads=3)
        == pytest.approx([delay_s + k / 25 for k in range(50)], abs=1e-3)
    )
    with open_media(copy) as file:
        assert flash_s(file) == pytest.approx(1.0 + delay_s, abs=1e-3)
        (note,) = file.degraded.notes
    assert note.startswith("its pictures carry decoding times only")
    assert f"shows it {1000 * delay_s:.0f} ms earlier" in note


def test_such_a_file_keeps_picture_and_sound_together(clip: Clip) -> None:
    path = clip("clip.mp4", **x264(2))
    copy = path.with_name("copy.mp4")
    with_decoding_times(path, copy, audio_late_s=0.12)
    with open_media(copy) as file:
        late_s = click_time_s(*whole(list(file.sounds()))) - flash_s(file)
    assert late_s == pytest.approx(0.12, abs=1e-3)


def test_variable_rates_stay_as_they_are(clip: Clip) -> None:
    """Sorted decoding times are those of presentation so many pictures on; they are not evened
    out.
    """
    steps_s = np.random.default_rng(3).choice([1 / 60, 1 / 30, 0.05, 0.2], 60)
    shown_s = [round(time_s, 3) for time_s in np.cumsum(steps_s)]
    path = clip("clip.mp4", seconds=shown_s[-1] + 0.1, fps=60, picture_times_s=shown_s, **x264(2))
    assert reorders(path)
    assert np.diff(times_of(path)) == pytest.approx(np.diff(shown_s), abs=1e-3)
    copy = path.with_name("copy.mp4")
    with_decoding_times(path, copy)
    times_s = times_of(copy)
    assert len(times_s) == 60
    # The last come when no packets do
    assert np.diff(times_s)[:-3] == pytest.approx(np.diff(shown_s)[:-3], abs=1e-3)


def test_mxf_with_b_pictures_loses_none(clip: Clip) -> None:
    """FFmpeg writes no temporal offsets for H.264 into an MXF, so its players show each picture
    when it is decoded.
    """
    path = clip("clip.mxf", acodec="pcm_s16le", **x264(2))
    assert reorders(path)
    times_s = times_of(path)
    assert times_s == pytest.approx([0.08 + k / 25 for k in range(50)], abs=1e-6)
    with open_media(path) as file:
        assert flash_s(file) == pytest.approx(1.08, abs=1e-6)
        list(file.sounds())
        assert "its pictures carry decoding times only" in file.degraded.notes[0]


@pytest.mark.parametrize("suffix", ["mkv", "ts", "flv"])
def test_real_times_of_presentation_are_kept(clip: Clip, suffix: str) -> None:
    path = clip(f"clip.{suffix}", **x264(3))
    assert reorders(path)
    times_s = times_of(path)
    assert len(times_s) == 50
    assert np.diff(times_s) == pytest.approx(0.04, abs=1.1e-3)
    assert late_ms(path) == pytest.approx(0, abs=1)  # and no note


def test_a_time_given_twice_costs_no_picture(clip: Clip) -> None:
    path = clip("clip.mkv", **x264(0))
    copy = path.with_name("copy.mkv")
    with av.open(str(path)) as reader, av.open(str(copy), "w") as writer:
        outputs = {
            stream.index: writer.add_stream_from_template(stream) for stream in reader.streams
        }
        for packet in reader.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video" and packet.pts in (400, 800):
                packet.pts = packet.dts = packet.pts - 40
            packet.stream = outputs[packet.stream.index]
            writer.mux(packet)
    assert times_of(copy) == pytest.approx([k / 25 for k in range(50)], abs=1.1e-3)


def between(*times_s: float | None) -> tuple[list[float], int]:
    tally = Tally()
    frames: Any = (
        (time_s, SimpleNamespace(duration=1, time_base=Fraction(1, 25))) for time_s in times_s
    )
    return [time_s for time_s, _ in placed_between(frames, tally)], tally.undated


def with_b_pictures() -> tuple[Any, Any]:
    """A file and its picture, 25 a second, as far as `ShowOrder` asks."""
    codec = SimpleNamespace(has_b_frames=1)
    stream = SimpleNamespace(time_base=Fraction(1, 25), codec_context=codec)
    return SimpleNamespace(format=SimpleNamespace(name="nut")), stream


def pictures(*times: tuple[int | None, int | None]) -> list[Any]:
    """Decoded pictures with these presentation and decoding times."""
    return [
        SimpleNamespace(pts=pts, dts=dts, duration=1, width=160, height=120) for pts, dts in times
    ]


def test_times_that_go_back_by_one_tick_are_decoding_times() -> None:
    """So where the clock of a file ticks once a picture, and one B-picture is put in."""
    tally = Tally()
    order = ShowOrder(*with_b_pictures(), tally)
    times = ((0, 1), (2, 2), (1, 3), (4, 4), (3, 5))
    shown = [each.pts for time in times for each in order.shown(pictures(time))]
    assert shown == [1, 2, 3, 4, 5]
    assert tally.decoding_delay_s == pytest.approx(0.04)


def test_a_first_picture_without_a_time_tells_nothing_of_the_others() -> None:
    """All came out of the decoder at once, at the end of a short file."""
    tally = Tally()
    order = ShowOrder(*with_b_pictures(), tally)
    shown = order.shown(pictures((None, None), (0, 1), (2, 2), (1, 3), (4, 4), (3, 5)))
    assert [each.pts for each in shown] == [None, 1, 2, 3, 4, 5]
    assert tally.decoding_delay_s == pytest.approx(0.04)


def test_pictures_without_a_time_lie_between_their_neighbours() -> None:
    for given, expected in (
        ((0.0, None, None, 0.3, 0.5), [0.0, 0.1, 0.2, 0.3, 0.5]),
        ((0.0, 0.1, None, None), [0.0, 0.1, 0.2, 0.3]),
    ):
        times_s, undated = between(*given)
        assert times_s == pytest.approx(expected)
        assert undated == 0


@pytest.mark.parametrize("count", [10, 30, 100])
def test_one_time_for_many_pictures(count: int) -> None:
    """So H.264 lies in an MPEG program stream; a second in which no picture has a time holds no
    more memory than others.
    """
    times_s, undated = between(1.0, *[None] * (count - 1), 1.0 + count / 25, None)
    assert times_s == pytest.approx([1.0 + k / 25 for k in range(count + 2)])
    assert undated == 0


def test_h264_in_a_program_stream(clip: Clip) -> None:
    path = clip("clip.mpg", acodec="mp2", **x264(2))
    with av.open(str(path)) as container:
        assert sum(frame.pts is None for frame in container.decode(video=0)) > 10
    times_s = times_of(path)
    assert len(times_s) == 50
    assert np.diff(times_s) == pytest.approx(0.04, abs=1e-3)
    assert late_ms(path) == pytest.approx(0, abs=1)


def test_pictures_without_a_time_and_without_neighbours_are_counted() -> None:
    assert between(None, None, 1.0, 1.1) == ([1.0, 1.1], 2)
    assert between(0.0, None, 60.0) == ([0.0, 60.0], 1)  # a minute is no place for one picture
    assert between(None) == ([], 1)
    assert between(5.0, None, 0.0) == ([5.0, 0.0], 1)


# -- luma ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "vcodec", "pix_fmt"),
    [
        ("nut", "rawvideo", "uyvy422"),
        ("mov", "rawvideo", "yuyv422"),
        ("avi", "rawvideo", "uyvy422"),
        ("mov", "v210", "yuv422p10le"),
        ("nut", "rawvideo", "y210le"),
        ("mkv", "ffv1", "yuv444p"),
    ],
)
def test_luma_is_stretched_however_it_is_packed(
    clip: Clip, suffix: str, vcodec: str, pix_fmt: str
) -> None:
    split = np.full((120, 192), 16, np.uint8)
    split[:, 96:] = 235
    path = clip(
        f"clip.{suffix}",
        vcodec=vcodec,
        acodec="pcm_s16le",
        pix_fmt=pix_fmt,
        size=(192, 120),
        draw=lambda _: split,
        seconds=0.2,
    )
    with open_media(path) as file:
        luma = next(file.pictures()).luma
    assert luma[60, 30] == pytest.approx(0, abs=2)
    assert luma[60, 160] == pytest.approx(255, abs=2)


def test_a_format_that_cannot_be_scaled_is_named_with_a_remedy(clip: Clip) -> None:
    with open_media(
        clip("clip.nut", vcodec="rawvideo", acodec="pcm_s16le", pix_fmt="bgr4", seconds=0.2)
    ) as file:
        picture = next(file.pictures())
        with pytest.raises(DecodeFailed, match="come as bgr4, which cannot be scaled; convert"):
            _ = picture.luma


@pytest.mark.parametrize(
    "name",
    ["yuv420p", "uyvy422", "yvyu422", "nv24", "p210le", "p416le", "xv36le", "ayuv64le", "gray10le"],
)
def test_luma_has_head_room(name: str) -> None:
    assert not is_full_range(VideoFormat(name, 16, 16))


@pytest.mark.parametrize(
    "name", ["rgb24", "gbrp10le", "bgr0", "pal8", "monow", "yuvj422p", "xyz12le", "rgb565le"]
)
def test_what_is_not_luma_has_none(name: str) -> None:
    assert is_full_range(VideoFormat(name, 16, 16))
