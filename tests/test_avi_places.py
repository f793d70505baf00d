"""Packets of an AVI that are no picture of their own still take their place."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from avcheck.media import open_media
from tests.support.avi_packets import as_avi_in_matroska, rewritten, stays
from tests.support.reading import IN_PLACES, late_ms

Clip = Callable[..., Path]


def test_a_picture_that_is_not_coded_moves_no_other(clip: Clip, tmp_path: Path) -> None:
    """Encoders of the DivX family write one where nothing moves."""
    without = set(range(3, 40, 4))
    times_s = [number / 25 for number in range(50) if number not in without]
    source = clip("a.avi", vcodec="mpeg4", acodec="pcm_s16le", picture_times_s=times_s)
    path = rewritten(source, tmp_path / "b.avi", more={n: stays(n) for n in without})
    with av.open(str(path)) as reader:
        assert sum(bool(packet.size) for packet in reader.demux(video=0)) == 50
    assert late_ms(path) == pytest.approx(0, abs=0.1)
    with open_media(path) as file:
        assert [picture.pts_s for picture in file.pictures()] == pytest.approx(times_s)
        assert file.info.frame_rate == 25


@pytest.mark.parametrize("b_pictures", [0, 2])
def test_pictures_before_the_first_key_take_their_place(
    clip: Clip, tmp_path: Path, b_pictures: int
) -> None:
    """A decoder leaves out, without a word, what was cut off its key picture."""
    options = {"bf": str(b_pictures), "g": "25", "sc_threshold": "0", "b-adapt": "0"}
    source = clip(
        "a.avi",
        seconds=3.0,
        acodec="pcm_s16le",
        events_s=(2.0,),
        sound_late_s=0.12,
        video_options=options,
    )
    # 0.32 s are 15 frames of sound, to the sample.
    path = rewritten(source, tmp_path / "b.avi", from_s=Fraction(8, 25))
    assert late_ms(path) == pytest.approx(120, abs=0.1)
    with open_media(path) as file:
        assert file.info.first_picture_s == pytest.approx(0.68)


@pytest.mark.parametrize("b_pictures", [0, 1, 2])
def test_matroska_that_holds_the_packets_of_an_avi(
    clip: Clip, tmp_path: Path, b_pictures: int
) -> None:
    options = {"bf": str(b_pictures), "g": "25"}
    source = clip("a.avi", vcodec="mpeg4", acodec="pcm_s16le", video_options=options, seconds=4)
    path = as_avi_in_matroska(source, tmp_path / "b.mkv")
    with av.open(str(path)) as reader:
        assert reader.streams.video[0].codec_context.codec_tag == "XVID"
    assert late_ms(path) == pytest.approx(0, abs=1)  # Matroska counts in ms
    with open_media(path) as file:
        times_s = [picture.pts_s for picture in file.pictures()]
        assert times_s == pytest.approx([number / 25 for number in range(100)], abs=1e-3)
        assert file.info.first_picture_s == 0
        later = [picture.pts_s for picture in file.pictures(from_s=3.0)]
        assert later == pytest.approx([number / 25 for number in range(75, 100)], abs=1e-3)


@pytest.mark.parametrize(
    ("codec", "b_pictures", "later_ms"),
    [("mpeg4", 0, 0), ("mpeg4", 2, 40), ("libx264", 0, 0), ("libx264", 1, 40), ("libx264", 3, 80)],
)
def test_how_much_later_ffmpeg_shows_the_pictures_of_an_avi_is_said(
    clip: Clip, codec: str, b_pictures: int, later_ms: int
) -> None:
    """Players differ by that much, so it bears on the offset."""
    options = {"bf": str(b_pictures), "sc_threshold": "0"}
    path = clip("a.avi", vcodec=codec, acodec="pcm_s16le", sound_late_s=0.12, video_options=options)
    with open_media(path) as file:
        flash_s = next(picture.pts_s for picture in file.pictures() if picture.luma.mean() > 128)
        notes = file.degraded.notes
    with av.open(str(path), container_options={"fflags": "-genpts"}) as reader:
        shown = reader.decode(video=0)
        dts = next(frame.dts for frame in shown if frame.to_ndarray(format="gray").mean() > 128)
        assert dts is not None
        assert reader.streams.video[0].time_base is not None
        theirs_s = float(dts * reader.streams.video[0].time_base)
    assert 1000 * (theirs_s - flash_s) == pytest.approx(later_ms)
    if later_ms:
        (note,) = notes
        assert note.startswith(IN_PLACES)
        assert f"are {later_ms} ms later" in note
    else:
        assert notes == ()


def test_a_free_place_is_not_taken_for_a_late_picture(clip: Clip) -> None:
    times_s = [number / 25 for number in range(50) if number not in (1, 2, 30)]
    options = {"bf": "2", "sc_threshold": "0"}
    path = clip(
        "a.avi",
        vcodec="mpeg4",
        acodec="pcm_s16le",
        picture_times_s=times_s,
        video_options=options,
    )
    with open_media(path) as file:
        list(file.pictures())
        (note,) = file.degraded.notes
    assert "are 40 ms later" in note
