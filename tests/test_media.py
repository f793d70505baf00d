"""The one clock: flash and click of generated media coincide in every container, and how a file is
read.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from avcheck.media import open_media
from tests.support.clips import Clip, click_time_s, make_clip
from tests.support.reading import flash_s, late_ms, whole

B_FRAMES = {"preset": "veryfast", "bf": "2"}


# -- the clock -------------------------------------------------------------------------------------

EXACT = [
    ("mp4", "libx264", "aac", 48000),
    ("mp4", "libx264", "aac", 44100),
    ("mp4", "libx265", "libopus", 48000),
    ("mp4", "libx264", "libmp3lame", 44100),
    ("mp4", "mpeg4", "aac", 48000),
    ("mp4", "libsvtav1", "aac", 48000),
    ("m4v", "libx264", "ac3", 48000),
    ("3gp", "libx264", "aac", 48000),
    ("mov", "libx264", "pcm_s16le", 48000),
    ("mov", "libx265", "pcm_f32le", 44100),
    ("mkv", "libx264", "aac", 48000),
    ("mkv", "libx265", "libopus", 48000),
    ("mkv", "libx264", "libmp3lame", 44100),
    ("mkv", "mpeg4", "pcm_s16le", 44100),
    ("mkv", "mpeg2video", "ac3", 48000),
    ("mkv", "libx264", "flac", 48000),
    ("webm", "libvpx-vp9", "libopus", 48000),
    ("webm", "libvpx", "libopus", 48000),
    ("ts", "libx264", "aac", 48000),
    ("ts", "libx265", "ac3", 48000),
    ("ts", "mpeg2video", "mp2", 48000),
    ("m2ts", "libx264", "ac3", 48000),
    ("mpg", "mpeg2video", "mp2", 48000),
    ("avi", "mpeg4", "pcm_s16le", 48000),
    ("avi", "libx264", "pcm_s16le", 44100),
    ("flv", "libx264", "aac", 44100),
    ("flv", "flv", "libmp3lame", 44100),
    ("ogv", "libvpx", "libopus", 48000),
    ("wmv", "wmv2", "wmav2", 44100),
    ("mxf", "mpeg2video", "pcm_s16le", 48000),
]


@pytest.mark.parametrize(("suffix", "vcodec", "acodec", "rate"), EXACT)
def test_flash_and_click_coincide(
    clip: Clip, suffix: str, vcodec: str, acodec: str, rate: int
) -> None:
    size = (720, 576) if suffix == "mxf" else (160, 120)
    options = (
        B_FRAMES
        if vcodec in ("libx264", "libx265")
        else {"bf": "2"}
        if vcodec in ("mpeg4", "mpeg2video")
        else {}
    )
    path = clip(
        f"clip.{suffix}",
        vcodec=vcodec,
        acodec=acodec,
        sample_rate=rate,
        size=size,
        video_options=options,
    )
    assert late_ms(path) == pytest.approx(0, abs=1)


@pytest.mark.parametrize(
    ("acodec", "rate", "bound_ms"),
    [("libmp3lame", 44100, 24), ("aac", 48000, 24), ("ac3", 48000, 6)],
)
def test_avi_does_not_carry_the_delay_of_its_sound_encoder(
    clip: Clip, acodec: str, rate: int, bound_ms: float
) -> None:
    """Nothing in an AVI says how many samples the encoder put in front: the known exception, and
    its bound.
    """
    path = clip("clip.avi", vcodec="mpeg4", acodec=acodec, sample_rate=rate)
    assert abs(late_ms(path)) < bound_ms


@pytest.mark.parametrize("vcodec", ["libx264", "mpeg4"])
def test_avi_shows_every_picture_in_order_with_b_frames(clip: Clip, vcodec: str) -> None:
    path = clip(
        "clip.avi",
        vcodec=vcodec,
        acodec="pcm_s16le",
        video_options={"bf": "2"} | ({"preset": "medium"} if vcodec != "mpeg4" else {}),
    )
    with open_media(path) as file:
        assert [picture.pts_s for picture in file.pictures()] == pytest.approx(
            [k / 25 for k in range(50)]
        )


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts", "flv"])
@pytest.mark.parametrize("offset_s", [0.2, -0.2])
def test_delayed_stream_shows_as_delay(clip: Clip, suffix: str, offset_s: float) -> None:
    path = clip(f"clip.{suffix}", audio_offset_s=offset_s, start_s=0.4, video_options=B_FRAMES)
    # mp4 and flv keep offsets in whole ms
    assert late_ms(path) == pytest.approx(1000 * offset_s, abs=2)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_late_content_is_late_and_not_the_container_s_doing(clip: Clip, suffix: str) -> None:
    path = clip(f"clip.{suffix}", sound_late_s=0.12)
    assert late_ms(path) == pytest.approx(120, abs=1)
    with open_media(path) as file:
        # The priming of one AAC frame, which mpegts cannot mark
        assert abs(file.info.container_offset_ms or 0) < 22


def test_container_offset_is_positive_when_sound_starts_early(clip: Clip) -> None:
    with open_media(clip("clip.mkv", acodec="pcm_s16le", audio_offset_s=-0.2, start_s=0.4)) as file:
        assert file.info.container_offset_ms == pytest.approx(200, abs=1)


@pytest.mark.parametrize(
    "movflags", ["frag_keyframe+empty_moov", "frag_keyframe+empty_moov+delay_moov", "faststart"]
)
def test_mp4_without_edit_list_and_fragmented(clip: Clip, movflags: str) -> None:
    """Counted by samples, the first of these is 59 ms off: its sound has a gap behind the first AAC
    frame.
    """
    options = {"movflags": movflags, **({"use_editlist": "0"} if movflags == "faststart" else {})}
    path = clip("clip.mp4", video_options={"preset": "medium"}, container_options=options)
    with open_media(path) as file:
        assert click_time_s(*whole(list(file.sounds()))) - flash_s(file) == pytest.approx(
            0, abs=0.001
        )


@pytest.mark.parametrize(("group", "key_s", "cut_s"), [(25, 1.0, 1.313), (250, 0.0, 3.313)])
def test_mp4_cut_by_stream_copy_drops_what_lies_before_zero(
    clip: Clip, group: int, key_s: float, cut_s: float
) -> None:
    """A cut in the middle of a group of pictures starts with pre-roll; by default FFmpeg moves the
    picture by up to a frame. No player shows the pre-roll, so nothing of it is lost.
    """
    source = clip(
        "source.mp4",
        seconds=5,
        fps=25,
        events_s=(4.0,),
        video_options={"preset": "medium", "g": str(group)},
    )
    path = source.with_name("cut.mp4")
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        outputs = {
            stream.index: writer.add_stream_from_template(stream) for stream in reader.streams
        }
        for packet in reader.demux():
            # The picture is copied from its key frame on
            first_s = key_s if packet.stream.type == "video" else cut_s
            if (
                packet.dts is None
                or packet.pts is None
                or packet.pts * packet.time_base < first_s - 1e-6
            ):
                continue
            shift = round(cut_s / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = outputs[packet.stream.index]
            writer.mux(packet)
    with open_media(path) as file:
        pictures = [picture.pts_s for picture in file.pictures()]
        late_s = click_time_s(*whole(list(file.sounds()))) - flash_s(file)
        lost = file.degraded
    assert min(pictures) >= 0
    assert late_s == pytest.approx(0, abs=0.002)
    assert (lost.notes, lost.unseen_s) == ((), ())


@pytest.mark.parametrize(
    "fps",
    [
        15,
        Fraction(24000, 1001),
        24,
        25,
        Fraction(30000, 1001),
        30,
        50,
        60,
        Fraction(60000, 1001),
        12.5,
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_odd_rates(clip: Clip, fps: float | Fraction, suffix: str) -> None:
    rate = float(fps)
    event_s = round(rate) / rate
    path = clip(f"clip.{suffix}", fps=fps, events_s=(event_s,))
    assert late_ms(path) == pytest.approx(0, abs=1)
    with open_media(path) as file:
        times_s = [picture.pts_s for picture in file.pictures()]
        assert file.info.frame_rate == pytest.approx(rate, rel=1e-3)
    assert times_s == pytest.approx([k / rate for k in range(math.ceil(2 * rate))], abs=6e-4)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_variable_frame_rate(clip: Clip, suffix: str) -> None:
    steps = np.random.default_rng(3).choice([1 / 60, 1 / 30, 0.05, 0.2], 60)
    times_s = [round(time_s, 3) for time_s in np.cumsum(steps)]
    event_s = times_s[40]
    path = clip(
        f"clip.{suffix}",
        seconds=times_s[-1] + 0.1,
        fps=60,
        picture_times_s=times_s,
        events_s=(event_s,),
    )
    assert late_ms(path) == pytest.approx(0, abs=1)
    with open_media(path) as file:
        shown_s = [picture.pts_s for picture in file.pictures()]
    assert np.diff(shown_s) == pytest.approx(np.diff(times_s), abs=1.1e-3)


@pytest.mark.parametrize("start_s", [3600.0, 95000.0])
@pytest.mark.parametrize("suffix", ["ts", "mkv"])
def test_clock_starts_at_the_start_of_the_file(clip: Clip, suffix: str, start_s: float) -> None:
    path = clip(f"clip.{suffix}", start_s=start_s)
    assert late_ms(path) == pytest.approx(0, abs=1)
    with open_media(path) as file:
        assert file.info.first_sound_s == 0
        assert flash_s(file) == pytest.approx(1.0, abs=0.025)
        assert file.info.duration_s == pytest.approx(2.0, abs=0.05)


# -- how it is used --------------------------------------------------------------------------------


def test_info(clip: Clip) -> None:
    path = clip("clip.mp4")
    with open_media(str(path)) as file:
        info = file.info
    assert info.path == path
    assert (info.video_codec, info.audio_codec, info.width, info.height) == (
        "h264",
        "aac",
        160,
        120,
    )
    assert info.duration_s == pytest.approx(2.0, abs=0.03)
    assert (
        info.frame_rate,
        info.first_picture_s,
        info.first_sound_s,
        info.container_offset_ms,
    ) == (Fraction(25), 0, 0, 0)


def test_either_stream_can_run_ahead_and_start_again(clip: Clip) -> None:
    with open_media(clip("clip.mkv")) as file:
        pictures = file.pictures()
        assert next(pictures).pts_s == 0
        sounds = list(file.sounds())
        assert sum(1 for _ in pictures) == 49
        assert sum(1 for _ in file.pictures()) == 50
        assert [sound.start_s for sound in file.sounds()] == [sound.start_s for sound in sounds]


def test_close_ends_the_iterators(clip: Clip) -> None:
    with open_media(clip("clip.mkv")) as file:
        pictures = file.pictures()
        picture = next(pictures)
    assert list(pictures) == []
    assert picture.luma.shape == (120, 160)


def test_cut_ts_starts_in_mid_stream(clip: Clip) -> None:
    """A capture begins anywhere: the pictures up to the first key frame do not decode, and the
    clock holds.
    """
    path = clip(
        "clip.ts", seconds=3, events_s=(2.0,), video_options={"preset": "medium", "g": "25"}
    )
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 188 // 5 * 188 :])
    with open_media(path) as file:
        late_s = click_time_s(*whole(list(file.sounds()))) - flash_s(file)
    assert late_s == pytest.approx(0, abs=0.001)


def test_joined_flv_says_that_time_jumps_back_and_how_much_was_left_out(clip: Clip) -> None:
    path = clip("clip.flv", seconds=3, acodec="aac", sample_rate=44100)
    data = path.read_bytes()
    path.write_bytes(data + data[13:])  # without its header
    with open_media(path) as file:
        times_s = [picture.pts_s for picture in file.pictures()]
        sounds = list(file.sounds())
        notes, unseen_s = file.degraded.notes, file.degraded.unseen_s
    assert times_s == sorted(set(times_s))
    assert all(before.end_s <= after.start_s + 1e-6 for before, after in pairwise(sounds))
    assert any("timestamps jump back" in note for note in notes)
    # The last second of the second half is no more than a second back
    (hole_s,) = unseen_s
    assert hole_s == pytest.approx((3, 5), abs=0.15)


def test_a_long_film_takes_no_more_memory(tmp_path: Path) -> None:
    """Sounds and pictures are handed out as they are decoded, whatever the interleaving."""
    path = make_clip(tmp_path / "clip.mkv", seconds=60, fps=5, size=(64, 48))
    with open_media(path) as file:
        assert max(len(sound.samples) for sound in file.sounds()) < 16000
        assert file.info.container_offset_ms == 0


@pytest.mark.parametrize("suffix", ["ts", "nut"])
@pytest.mark.parametrize("number", [1, 2])
def test_the_first_picture_is_shown_wherever_the_clock_starts(
    clip: Clip, suffix: str, number: int
) -> None:
    """FFmpeg rounds the start of a file to microseconds: 66,667 for 2 of 30 pictures a second,
    which is after the first of them.
    """
    path = clip(
        f"clip.{suffix}",
        fps=30,
        seconds=0.4,
        start_s=number / 30,
        audio_offset_s=0.1,
        video_options={"bf": "0"},
    )
    with open_media(path) as media:
        times_s = [picture.pts_s for picture in media.pictures()]
        assert media.info.first_picture_s == 0.0
    assert times_s == pytest.approx([each / 30 for each in range(12)], abs=1e-6)
