"""Masters of an edit (ProRes, DNxHR, PCM in mov and MXF): the timecode and the reel are kept, and a
refusal names a container that works.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from avcheck.fix.repair import FixSettings, fix_file
from avcheck.record.report import Stretch
from tests.support.films import tiles
from tests.support.fixing import IN_SYNC, checks, forced, measured, never, packets

PRORES: dict[str, Any] = {"vcodec": "prores_ks", "acodec": "pcm_s24le", "pix_fmt": "yuv422p10le"}
DNXHR: dict[str, Any] = {
    "vcodec": "dnxhd",
    "acodec": "pcm_s24le",
    "pix_fmt": "yuv422p",
    "size": (256, 128),
    "draw": None,
    "video_options": {"profile": "dnxhr_lb"},
}


def tags(path: Path) -> list[dict[str, str]]:
    """Those of the file and of its streams."""
    with av.open(str(path)) as container:
        return [each.metadata for each in (container, *container.streams)]


@pytest.mark.parametrize("offset_ms", [-200, 200])
@pytest.mark.parametrize(
    ("rate", "timecode"),
    [
        (Fraction(24000, 1001), "01:02:03:04"),
        (Fraction(25), "10:00:00:00"),
        (Fraction(30000, 1001), "01:02:03;04"),
    ],
    ids=str,
)
def test_a_timecode_track_of_prores_is_written_again(
    rate: Fraction, timecode: str, offset_ms: float, tmp_path: Path
) -> None:
    """The muxer makes it anew, for which it has to know the rate of the pictures."""
    named = {"timecode": timecode, "reel_name": "A001C002"}
    source = tiles(tmp_path / "film.mov", fps=rate, tags=named, **PRORES)
    target = tmp_path / "fixed.mov"
    result = forced(source, target, offset_ms)
    assert (result.status, result.lost) == ("fixed", ())
    assert [each.action for each in result.streams] == ["copied", "moved", "rebuilt"]
    _, picture, _, track = tags(target)
    assert picture["timecode"] == track["timecode"] == timecode
    assert track["reel_name"] == "A001C002"


@pytest.mark.parametrize("suffix", [".mxf", ".mov"])
def test_the_timecode_of_an_mxf_is_kept(suffix: str, tmp_path: Path) -> None:
    """MXF has it in the file, mov in a track: neither is a loss. Without a rate MXF was not
    written at all.
    """
    source = tiles(tmp_path / "film.mxf", tags={"timecode": "10:00:00:00"}, **DNXHR)
    target = tmp_path / f"fixed{suffix}"
    result = forced(source, target, 200)
    assert (result.status, result.lost) == ("fixed", ())
    assert {each["timecode"] for each in tags(target) if "timecode" in each} == {"10:00:00:00"}


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_codec_that_a_container_does_not_hold_goes_into_one_that_does(
    suffix: str, tmp_path: Path
) -> None:
    """Matroska was named whatever the codec."""
    source = tiles(tmp_path / "film.mxf", **DNXHR)
    result = forced(source, tmp_path / f"fixed{suffix}", 200)
    assert result.status == "refused"
    assert (result.reason or "").endswith("does not hold dnxhd; name the new file .mov")
    assert forced(source, tmp_path / "fixed.mov", 200).status == "fixed"


def test_pcm_is_the_same_however_a_reader_divides_it(tmp_path: Path) -> None:
    """mov has no packets of PCM: a reader divides what lies between two pictures as it likes."""
    source = tiles(
        tmp_path / "film.mxf",
        vcodec="mpeg2video",
        acodec="pcm_s24le",
        video_options={"bf": "2"},
    )
    first, second = tmp_path / "first.mov", tmp_path / "second.mov"
    assert forced(source, first, -200).status == "fixed"
    result = forced(first, second, 200)
    assert (result.status, result.reason) == ("fixed", None)
    assert [each.identical for each in result.streams] == [True, True, None]  # the timecode
    assert b"".join(packets(second)[1]) == b"".join(packets(source)[1])


def test_an_mxf_whose_sound_becomes_shorter_keeps_all_its_pictures(tmp_path: Path) -> None:
    """MXF ends the pictures where the sound ends: the last ones were lost, and so was the fix."""
    source = tiles(tmp_path / "film.mxf")
    target = tmp_path / "fixed.mxf"
    report = measured(Stretch(0.0, 4.0, -140.0, -100.0))
    result = fix_file(source, target, FixSettings(), checks(report, IN_SYNC))
    assert (result.status, result.reason) == ("fixed", None)
    assert [each.action for each in result.streams] == ["copied", "encoded"]
    assert packets(target)[0] == packets(source)[0]


def test_sound_that_a_transport_stream_has_no_kind_for_is_refused_at_once(tmp_path: Path) -> None:
    """FFmpeg writes it and does not find it again: the ffmpeg command made a film without sound."""
    source = tiles(tmp_path / "film.mov")
    settings = FixSettings(force_offset_ms=120.0, only_command=True)
    result = fix_file(source, tmp_path / "fixed.ts", settings, never)
    assert result.status == "refused"
    assert result.reason == "mpegts does not hold pcm_s16le; name the new file .mkv"
