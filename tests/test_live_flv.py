"""FLV as it is saved from a live stream that somebody joined late: its times count from when the
stream began, and its header was written before anybody knew how long it would be.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from avcheck.cli.app import main
from avcheck.media import open_media
from avcheck.media.flv import last_time_s
from tests.support.reading import late_ms

Clip = Callable[..., Path]
JOINED_LATE_S = 36_000.0
HEADER = 13  # bytes of an FLV, and of the size before its first tag
# What nginx's module for RTMP sends first, by which FFmpeg knows such a stream
FROM_NGINX = b"\x02\x00\x0aonMetaData\x03\x00\x06Server\x02\x00\x0aNGINX RTMP\x00\x00\x09"


def live(clip: Clip, name: str = "live.flv", **options: object) -> Path:
    return clip(
        name,
        seconds=3,
        sample_rate=44100,
        sound_late_s=0.2,
        start_s=JOINED_LATE_S,
        container_options={"flvflags": "no_duration_filesize"},
        **options,
    )


def from_nginx(flv: bytes) -> bytes:
    """The same stream as nginx sends it."""
    first = int.from_bytes(flv[HEADER + 1 : HEADER + 4], "big") + 15
    assert flv[HEADER] == 0x12  # of the writer's own metadata
    size = len(FROM_NGINX)
    tag = b"\x12" + size.to_bytes(3, "big") + bytes(7) + FROM_NGINX + (size + 11).to_bytes(4, "big")
    return flv[:HEADER] + tag + flv[HEADER + first :]


@pytest.fixture(params=["as it is", "from nginx"])
def saved(request: pytest.FixtureRequest, clip: Clip, tmp_path: Path) -> Path:
    data = live(clip).read_bytes()
    path = tmp_path / "saved.flv"
    path.write_bytes(data if request.param == "as it is" else from_nginx(data))
    return path


def test_it_is_as_long_as_what_was_saved(saved: Path) -> None:
    with open_media(saved) as file:
        assert file.info.duration_s == pytest.approx(3.0, abs=0.1)
        assert len(list(file.pictures())) == 75
        list(file.sounds())
        assert not file.degraded.truncated
    assert late_ms(saved) == pytest.approx(200, abs=1.5)
    last_s = last_time_s(saved, None)
    assert last_s == pytest.approx(JOINED_LATE_S + 3, abs=0.1)


def test_two_that_were_joined_follow_each_other(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "joined.flv"
    path.write_bytes(saved.read_bytes() * 2)
    with open_media(path) as file:
        assert file.seams_s == pytest.approx([3.0], abs=0.1)
        assert file.info.duration_s == pytest.approx(6.0, abs=0.2)
        shown_s = [each.pts_s for each in file.pictures() if each.luma.mean() > 128]
        assert shown_s == pytest.approx([1.0, 4.0], abs=0.1)


def test_their_sounds_follow_each_other_too(saved: Path, clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "sound.flv"
    path.write_bytes(saved.read_bytes() * 2)
    with open_media(clip("film.mp4", seconds=6), audio_path=path) as file:
        assert list(file.sounds())[-1].end_s == pytest.approx(6.0, abs=0.1)


def test_one_that_ends_within_a_tag_is_read_to_its_end(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken-off.flv"
    path.write_bytes(saved.read_bytes()[:-40])
    assert last_time_s(path, None) is None
    assert late_ms(path) == pytest.approx(200, abs=1.5)


def test_a_length_that_the_header_states_is_kept(clip: Clip) -> None:
    """This one is longer than the stream had run before."""
    path = clip("film.flv", seconds=3, sample_rate=44100, start_s=1.0)
    with open_media(path) as file:
        assert file.info.duration_s == pytest.approx(3.0, abs=0.1)


def test_a_tag_without_a_time_may_come_last(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "ended.flv"
    path.write_bytes(
        saved.read_bytes() + bytes.fromhex("09000005 00000000 000000 1702000000 00000010")
    )
    with open_media(path) as file:
        assert file.info.duration_s == pytest.approx(3.0, abs=0.1)


def test_it_is_not_called_cut_short(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["signal", str(saved), "--early", "300", "--late", "300"]) == 0
    assert "cut short" not in capsys.readouterr().out
