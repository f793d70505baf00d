"""AVI does not say when its pictures are shown, MXF and ASF not always: a new file in another
container does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avcheck.cli.app import main
from avcheck.media import open_media
from tests.support.avi_packets import as_avi_in_matroska, rewritten, stays
from tests.support.clips import click_time_s
from tests.support.fixing import forced, packets
from tests.support.reading import flash_s, late_ms, whole

Clip = Callable[..., Path]


def avi(clip: Clip, **how: Any) -> Path:
    options = {"bf": "2", "g": "25"}
    how = {"vcodec": "mpeg4", "video_options": options, "seconds": 4.0} | how
    return clip("a.avi", acodec="pcm_s16le", **how)


@pytest.mark.parametrize("taken_over", [False, True], ids=["avi", "mkv of an avi"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_pictures_are_shown_where_the_avi_had_them(
    clip: Clip, tmp_path: Path, taken_over: bool, suffix: str
) -> None:
    source = avi(clip)
    if taken_over:
        source = as_avi_in_matroska(source, tmp_path / "b.mkv")
    target = tmp_path / f"fixed{suffix}"
    outcome = forced(source, target, 120)
    assert (outcome.status, outcome.reason) == ("fixed", None)
    assert late_ms(target) == pytest.approx(120, abs=1)
    assert packets(target)[0] == packets(source)[0]
    with av.open(str(target)) as reader:  # as FFmpeg shows them
        times_s = [frame.time for frame in reader.decode(video=0)]
    assert times_s == pytest.approx([number / 25 for number in range(100)], abs=1e-3)
    with open_media(target) as file:
        assert [each.pts_s for each in file.pictures()] == pytest.approx(times_s)


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".mp4"])
@pytest.mark.parametrize(("name", "acodec"), [("a.mxf", "pcm_s16le"), ("a.asf", "aac")])
def test_pictures_with_decoding_times_only_are_shown_where_they_were(
    clip: Clip, tmp_path: Path, name: str, acodec: str, suffix: str
) -> None:
    """H.264 in MXF and ASF: in Matroska its pictures were early, in mov out of order."""
    options = {"bf": "2", "g": "25", "preset": "ultrafast"}
    source = clip(name, acodec=acodec, video_options=options, seconds=4.0)
    target = tmp_path / f"fixed{suffix}"
    with open_media(source) as file:
        before_s = [each.pts_s for each in file.pictures()]
        was_ms = 1000 * (click_time_s(*whole(list(file.sounds()))) - flash_s(file))
    outcome = forced(source, target, 120)
    assert (outcome.status, outcome.reason) == ("fixed", None)
    assert late_ms(target) == pytest.approx(was_ms + 120, abs=1)
    with open_media(target) as file:
        after_s = [each.pts_s for each in file.pictures()]
    assert np.diff(after_s) == pytest.approx(np.diff(before_s), abs=2e-3)
    with av.open(str(target)) as reader:  # as FFmpeg shows them
        times_s = [frame.time for frame in reader.decode(video=0)]
    assert times_s == sorted(times_s)


def test_an_avi_stays_as_it_was(clip: Clip, tmp_path: Path) -> None:
    target = tmp_path / "fixed.avi"
    assert forced(avi(clip), target, 120).status == "fixed"
    assert late_ms(target) == pytest.approx(120, abs=1)


def test_no_ffmpeg_command_is_printed_that_shows_pictures_late(
    clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "fixed.mkv"
    wanted = ["fix", "--print-command", "--force-offset", "120", str(avi(clip)), str(target)]
    assert main(wanted) == 1
    assert "leave --print-command out" in capsys.readouterr().err


def test_a_picture_that_is_not_coded_keeps_its_place(clip: Clip, tmp_path: Path) -> None:
    more = {number: stays(number) for number in (100, 101)}
    source = rewritten(avi(clip), tmp_path / "b.avi", more=more)
    with open_media(source) as file:
        shown_s = [each.pts_s for each in file.pictures()]
    target = tmp_path / "fixed.mkv"
    outcome = forced(source, target, 120)
    assert (outcome.status, outcome.reason) == ("fixed", None)
    with open_media(target) as file:
        assert [each.pts_s for each in file.pictures()] == pytest.approx(shown_s, abs=1e-3)
