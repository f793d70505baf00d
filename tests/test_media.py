"""One clock for picture and sound: what was encoded at one instant comes out at one instant,
whatever carries it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from avcheck.errors import NoAudio, NoVideo
from avcheck.media import Luma, Picture, open_media
from avcheck.media.picture import Scaler
from tests.support.clips import BRIGHT, DARK, Array, click, click_time_s, clicks, make_clip
from tests.support.reading import flash_s, late_ms, whole

Clip = Callable[..., Path]
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


def test_mp4_cut_by_stream_copy_drops_what_lies_before_zero(clip: Clip) -> None:
    """A cut in the middle of a group of pictures starts with pre-roll; by default FFmpeg moves the
    picture by up to a frame.
    """
    source = clip(
        "source.mp4",
        seconds=3,
        fps=25,
        events_s=(2.0,),
        video_options={"preset": "medium", "g": "25"},
    )
    path = source.with_name("cut.mp4")
    cut_s = 1.313
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        outputs = {
            stream.index: writer.add_stream_from_template(stream) for stream in reader.streams
        }
        for packet in reader.demux():
            # The picture is copied from its key frame on
            first_s = 1.0 if packet.stream.type == "video" else cut_s
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
    assert min(pictures) >= 0
    assert late_s == pytest.approx(0, abs=0.002)


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


# -- pictures --------------------------------------------------------------------------------------


def corner(_time_s: float) -> Array:
    """Bright top left corner of a dark 160 x 120 picture."""
    picture = np.full((120, 160), DARK, np.uint8)
    picture[:60, :80] = BRIGHT
    return picture


# The corner that is lit after turning by so many degrees counterclockwise, as (row, column) of the
# four.
@pytest.mark.parametrize(
    ("rotation", "lit"), [(0, (0, 0)), (90, (1, 0)), (180, (1, 1)), (-90, (0, 1))]
)
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_rotation_is_applied(clip: Clip, suffix: str, rotation: int, lit: tuple[int, int]) -> None:
    with open_media(clip(f"clip.{suffix}", draw=corner, rotation=rotation), short_side=60) as file:
        luma = next(iter(file.pictures())).luma
        assert file.info.rotation == rotation % 360
        size = (160, 120) if rotation in (0, 180) else (120, 160)
        assert (file.info.width, file.info.height) == size
    assert luma.shape == (size[1] * 60 // 120, size[0] * 60 // 120)
    height, width = luma.shape
    quarters = luma.reshape(2, height // 2, 2, width // 2).mean((1, 3))
    assert np.argwhere(quarters > 200).tolist() == [list(lit)]


def test_rotation_of_a_phone_held_upright(clip: Clip) -> None:
    """The matrix that phones write for portrait maps (x, y) to (height - y, x): the top left corner
    ends up top right.
    """
    path = clip("clip.mov", draw=corner, rotation=-90)
    data = path.read_bytes()
    matrix = struct.unpack(">9i", data[(at := data.index(b"tkhd") + 44) : at + 36])
    assert matrix[:2] + matrix[3:5] == (0, 0x10000, -0x10000, 0)
    with open_media(path) as file:
        luma = next(iter(file.pictures())).luma
    assert luma[10, -10] > 200 > luma[10, 10]


@pytest.mark.parametrize("full_range", [False, True])
def test_luma_is_full_range(clip: Clip, full_range: bool) -> None:
    black, white = (0, 255) if full_range else (16, 235)
    split = np.full((120, 160), black, np.uint8)
    split[:, 80:] = white
    with open_media(clip("clip.mp4", draw=lambda _: split, full_range=full_range)) as file:
        luma = next(iter(file.pictures())).luma
    assert luma.dtype == np.uint8
    assert luma[60, 20] == pytest.approx(0, abs=3)
    assert luma[60, 140] == pytest.approx(255, abs=3)


@pytest.mark.parametrize(
    ("size", "aspect", "shape"),
    [
        ((160, 120), None, (80, 107)),
        ((120, 160), None, (107, 80)),
        ((100, 60), None, (60, 100)),  # never scaled up
        ((720, 576), Fraction(64, 45), (80, 142)),  # anamorphic 16:9
        ((640, 160), None, (48, 192)),  # wider than 2.4 : 1
    ],
)
def test_picture_size(
    clip: Clip, size: tuple[int, int], aspect: Fraction | None, shape: tuple[int, int]
) -> None:
    with open_media(clip("clip.mkv", size=size, aspect=aspect, seconds=0.2), short_side=80) as file:
        assert next(iter(file.pictures())).luma.shape == shape


def test_downscaling_averages(clip: Clip) -> None:
    """Fine stripes come out grey: they must not flicker when they move by a pixel."""
    stripes = np.tile(np.array([DARK, BRIGHT], np.uint8), (480, 320))
    with open_media(
        clip(
            "clip.mkv",
            size=(640, 480),
            draw=lambda _: stripes,
            seconds=0.2,
            vcodec="ffv1",
            pix_fmt="gray",
        ),
        short_side=96,
    ) as file:
        luma = next(iter(file.pictures())).luma.astype(int)
    assert np.ptp(luma[5:-5, 5:-5]) < 60  # of 239; five source pixels make one


def test_pictures_that_nobody_looks_at_are_not_scaled(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled = 0
    scale = Scaler.scale

    def counted(self: Scaler, frame: VideoFrame) -> Luma:
        nonlocal scaled
        scaled += 1
        return scale(self, frame)

    monkeypatch.setattr(Scaler, "scale", counted)
    with open_media(clip("clip.mp4", fps=60)) as file:
        for number, picture in enumerate(file.pictures()):
            if number % 2:
                assert picture.luma is picture.luma
    assert scaled == 60


def test_a_picture_can_be_made_from_an_array() -> None:
    luma = np.zeros((4, 6), np.uint8)
    assert Picture(1.5, luma).luma is luma
    assert Picture(pts_s=1.5, luma=luma).pts_s == 1.5


def test_cover_art_is_not_the_film(clip: Clip) -> None:
    path = clip("clip.mp4", cover_art=True)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
    assert late_ms(path) == pytest.approx(0, abs=1)
    with pytest.raises(NoVideo, match=r"song\.m4a: has no video stream \(only cover art\)"):
        open_media(clip("song.m4a", vcodec=None, cover_art=True, format="mp4"))


def test_threads_change_nothing(clip: Clip) -> None:
    path = clip(
        "clip.mp4",
        video_options={"preset": "medium"},
        draw=lambda time_s: np.full((120, 160), 40 + 80 * time_s, np.uint8),
    )
    seen = []
    for threads in (1, 3):
        with open_media(path, threads=threads) as file:
            seen.append([(picture.pts_s, picture.luma.tobytes()) for picture in file.pictures()])
    assert seen[0] == seen[1]
    assert len(seen[0]) == 50


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
    ("acodec", "layout"),
    [
        ("pcm_f32le", "stereo"),
        ("pcm_s16le", "4 channels"),
        ("pcm_s24le", "8 channels"),
        ("pcm_u8", "stereo"),
        ("aac", "7.1"),
    ],
)
def test_channels_are_mixed_at_their_own_level(clip: Clip, acodec: str, layout: str) -> None:
    with open_media(clip("clip.mov", acodec=acodec, layout=layout)) as file:
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
    assert 320 <= int(note.split()[0]) < 400  # 20 ms at 16 kHz, and a millisecond around
    assert note.endswith("audio samples were not a number and count as silence")
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
    ) == (25, 0, 0, 0)


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
    assert unseen_s == (pytest.approx((3, 5), abs=0.15),)


def test_a_long_film_takes_no_more_memory(tmp_path: Path) -> None:
    """Sounds and pictures are handed out as they are decoded, whatever the interleaving."""
    path = make_clip(tmp_path / "clip.mkv", seconds=60, fps=5, size=(64, 48))
    with open_media(path) as file:
        assert max(len(sound.samples) for sound in file.sounds()) < 16000
        assert file.info.container_offset_ms == 0
