"""Containers of archives and broadcasters, and raw sound beside a film: each on the clock that its
demuxer gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.codec import Codec

from avcheck.batch.discovery import MEDIA_SUFFIXES
from avcheck.errors import NoAudio, NotMedia, NoVideo
from avcheck.media import open_media
from avcheck.media.container import SOUND_FORMATS, VIDEO_FORMATS, without_order
from avcheck.text.plain_text import SUPPORTED
from tests.support.clips import click_time_s
from tests.support.reading import flash_s, late_ms, whole

Clip = Callable[..., Path]
B_FRAMES = {"preset": "medium", "bf": "2"}
AC3_MS = 256 / 48  # what its encoder delays, where the container cannot tell


@pytest.mark.parametrize(
    ("suffix", "options", "expected_ms"),
    [
        (
            "dv",
            {"vcodec": "dvvideo", "acodec": "pcm_s16le", "layout": "stereo", "size": (720, 576)},
            0.0,
        ),
        (
            "dif",
            {
                "vcodec": "dvvideo",
                "acodec": "pcm_s16le",
                "layout": "stereo",
                "size": (720, 576),
                "format": "dv",
            },
            0.0,
        ),
        ("rm", {"vcodec": "rv20", "acodec": "ac3", "size": (352, 288)}, AC3_MS),
        ("wtv", {"vcodec": "mpeg2video", "acodec": "mp2", "video_options": {"bf": "2"}}, 0.0),
        ("wtv", {"vcodec": "libx264", "acodec": "ac3", "video_options": B_FRAMES}, 0.0),
        ("nut", {"vcodec": "libx264", "acodec": "libopus", "video_options": B_FRAMES}, 0.0),
        # GXF keeps no delay of the sound: FFmpeg's encoder delays the picture by one, and its
        # demuxer shows it one later.
        ("gxf", {"vcodec": "mpeg2video", "acodec": "pcm_s16le", "size": (720, 576)}, -40.0),
    ],
)
def test_flash_and_click(
    clip: Clip, suffix: str, options: dict[str, Any], expected_ms: float
) -> None:
    path = clip(f"clip.{suffix}", **options)
    with open_media(path) as file:
        times_s = [picture.pts_s for picture in file.pictures()]
        assert file.info.frame_rate == 25
        late_s = click_time_s(*whole(list(file.sounds()))) - flash_s(file)
        degraded = file.degraded
    assert len(times_s) == 50
    assert np.diff(times_s) == pytest.approx(0.04, abs=1e-6)
    assert 1000 * late_s == pytest.approx(expected_ms, abs=1)
    assert not degraded or suffix == "gxf"  # its last packet of sound is cut off as PyAV writes it


@pytest.mark.parametrize(
    ("name", "acodec", "rate", "options", "delay_ms"),
    [
        ("sound.au", "pcm_s16be", 48000, {}, 0.0),
        ("sound.w64", "pcm_s24le", 48000, {}, 0.0),
        ("sound.tta", "tta", 44100, {}, 0.0),
        ("sound.wv", "wavpack", 48000, {}, 0.0),
        ("sound.caf", "alac", 48000, {}, 0.0),
        ("sound.nut", "pcm_s16le", 48000, {}, 0.0),
        ("sound.eac3", "eac3", 48000, {"format": "eac3"}, AC3_MS),
        ("sound.mp2", "mp2", 48000, {"format": "mp2"}, 481 / 48),
        ("sound.wma", "wmav2", 48000, {"format": "asf"}, 2048 / 48),
        ("sound.ra", "ac3", 48000, {"format": "rm"}, AC3_MS),
    ],
)
def test_separate_sound(
    clip: Clip, name: str, acodec: str, rate: int, options: dict[str, Any], delay_ms: float
) -> None:
    path = clip(name, vcodec=None, acodec=acodec, sample_rate=rate, events_s=(1.12,), **options)
    assert late_ms(clip("film.mp4"), audio_path=path) == pytest.approx(120 + delay_ms, abs=1)


@pytest.mark.parametrize(
    ("vcodec", "options"),
    [
        (
            "dnxhd",
            {"size": (320, 192), "pix_fmt": "yuv422p", "video_options": {"profile": "dnxhr_lb"}},
        ),
        ("mpeg2video", {"video_options": {"bf": "2"}}),
    ],
)
def test_op_atom(clip: Clip, vcodec: str, options: dict[str, Any]) -> None:
    """An editing system's files: the picture in one, each track of the sound in another."""
    picture = clip("v.mxf", vcodec=vcodec, acodec=None, format="mxf_opatom", **options)
    each = {"vcodec": None, "acodec": "pcm_s16le", "format": "mxf_opatom", "events_s": (1.04,)}
    sound = clip("a.mxf", container_options={"mxf_audio_edit_rate": "25"}, **each)
    assert late_ms(picture, audio_path=sound) == pytest.approx(40, abs=0.1)
    with pytest.raises(NoAudio, match="--audio FILE"):
        open_media(picture)
    with pytest.raises(NoVideo):
        open_media(sound)


@pytest.mark.parametrize(
    ("name", "acodec"), [("sound.dts", "dca"), ("sound.thd", "truehd"), ("sound.mlp", "mlp")]
)
def test_separate_sound_of_a_disc(clip: Clip, name: str, acodec: str) -> None:
    """PyAV's own build decodes these and does not encode them; one with the encoders checks them
    here.
    """
    if acodec not in av.codecs_available or not _encodes(acodec):
        assert {"dts", "truehd", "mlp"} <= set(SOUND_FORMATS.split(","))
        pytest.skip(f"this PyAV does not encode {acodec}")
    path = clip(name, vcodec=None, acodec=acodec, events_s=(1.12,))
    assert late_ms(clip("film.mp4"), audio_path=path) == pytest.approx(120, abs=12)


def _encodes(codec: str) -> bool:
    try:
        Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def test_every_format_is_one_that_this_ffmpeg_knows() -> None:
    for name in SOUND_FORMATS.split(","):
        # names of one demuxer
        known = {
            "m4a",
            "3gp",
            "3g2",
            "mj2",
            "mov",
            "mp4",
            "webm",
            "matroska",
        }
        assert name in known or av.format.ContainerFormat(name, "r").is_input, name


@pytest.mark.parametrize("word", re.findall(r"\w+", SUPPORTED.replace(" or ", " ")))
def test_the_message_names_what_a_directory_is_searched_for(word: str) -> None:
    assert f".{word}" in MEDIA_SUFFIXES


def test_the_message_of_a_file_that_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "notes.dv"
    path.write_text("Dear all,\nplease find the film attached.\n" * 50)
    with pytest.raises(NotMedia, match=re.escape(f"use {SUPPORTED}")):
        open_media(path)


def test_no_demuxer_is_allowed_that_opens_other_files() -> None:
    """Playlists, descriptions and numbered pictures name other files, which a whitelist of
    protocols lets through.
    """
    following = {
        "hls",
        "dash",
        "concat",
        "image2",
        "sdp",
        "rtsp",
        "imf",
        "vobsub",
        "avisynth",
        "tee",
        "webm_dash_manifest",
    }
    assert not following & set(SOUND_FORMATS.split(","))
    assert set(VIDEO_FORMATS.split(",")) <= set(SOUND_FORMATS.split(","))


class Decoder:
    """As much of a sound's decoder as is looked at, with what was done to its layout."""

    def __init__(self, name: str, channels: int) -> None:
        self.done: list[str] = []
        self._layout = SimpleNamespace(name=name, nb_channels=channels)

    @property
    def layout(self) -> Any:
        self.done.append("read")
        return self._layout

    @layout.setter
    def layout(self, value: str) -> None:
        self.done.append(value)


@pytest.mark.parametrize(
    ("name", "channels", "done"),
    [
        ("stereo", 2, ["read"]),
        ("5.1(side)", 6, ["read"]),
        ("8 channels", 8, ["read"]),
        ("2 channels (A+B)", 2, ["read", "2 channels"]),
    ],
)
def test_a_layout_that_holds_memory_is_read_once_and_replaced(
    name: str, channels: int, done: list[str]
) -> None:
    decoder = Decoder(name, channels)
    without_order(decoder)  # type: ignore[arg-type]
    assert decoder.done == done
