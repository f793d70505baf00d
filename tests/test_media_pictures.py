"""Pictures as they are shown: turned, scaled, in full range."""

from __future__ import annotations

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from avcheck.errors import NoVideo
from avcheck.media import Luma, Picture, open_media
from avcheck.media.picture import Scaler
from tests.support.clips import BRIGHT, DARK, Array, Clip
from tests.support.reading import late_ms


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

    def counted(self: Scaler, frame: VideoFrame, field: int | None) -> Luma:
        nonlocal scaled
        scaled += 1
        return scale(self, frame, field)

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
    with pytest.raises(
        NoVideo, match=r"song\.m4a: the file has no video stream \(only cover art\)"
    ):
        open_media(clip("song.m4a", vcodec=None, cover_art=True, format="mp4"))


def test_threads_change_nothing(clip: Clip) -> None:
    path = clip(
        "clip.mp4",
        video_options={"preset": "medium"},
        draw=lambda time_s: np.full((120, 160), 40 + 80 * time_s, np.uint8),
    )
    runs = []
    for threads in (1, 3):
        with open_media(path, threads=threads) as file:
            runs.append([(picture.pts_s, picture.luma.tobytes()) for picture in file.pictures()])
    assert runs[0] == runs[1]
    assert len(runs[0]) == 50
