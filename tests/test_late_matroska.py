"""Matroska that begins late, as the parts of a split recording do: FFmpeg's header states when it
ends, that of mkvmerge and GStreamer how long it is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from avcheck.media import open_media
from avcheck.media.matroska import last_block_ticks, length_of_matroska_s

Clip = Callable[..., Path]
BEGINS_S, LONG_S = 4.0, 5.0
DURATION = b"\x44\x89\x88"  # its ID, and its size of eight bytes


@pytest.fixture(params=["as FFmpeg", "as mkvmerge"])
def part(request: pytest.FixtureRequest, clip: Clip) -> Path:
    path = clip("part.mkv", seconds=LONG_S, start_s=BEGINS_S, sound_late_s=0.1)
    data = bytearray(path.read_bytes())
    at = data.index(DURATION) + len(DURATION)
    (ends_ms,) = struct.unpack(">d", data[at : at + 8])
    assert ends_ms == pytest.approx(1000 * (BEGINS_S + LONG_S), abs=50)
    if request.param == "as mkvmerge":
        data[at : at + 8] = struct.pack(">d", ends_ms - 1000 * BEGINS_S)
        path.write_bytes(data)
    return path


def test_it_is_as_long_as_it_plays(part: Path) -> None:
    with open_media(part) as file:
        assert file.info.duration_s == pytest.approx(LONG_S, abs=0.05)
        assert len(list(file.pictures())) == 25 * LONG_S
        list(file.sounds())
        assert not file.degraded.truncated
    ticks = last_block_ticks(part, None)
    assert ticks == pytest.approx(1000 * (BEGINS_S + LONG_S), abs=50)


def test_a_file_cut_off_lacks_what_its_header_states(part: Path, tmp_path: Path) -> None:
    data = part.read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: 2 * len(data) // 3])
    with open_media(path) as file:
        list(file.pictures())
        list(file.sounds())
        assert file.degraded.truncated


CLUSTER = b"\x1f\x43\xb6\x75"
TIME_3000 = b"\xe7\x82\x0b\xb8"


@pytest.mark.parametrize(
    ("data", "ticks"),
    [
        (CLUSTER + b"\x8c" + TIME_3000 + b"\xa3\x86\x81\x00\x28\x80ab", 3040),
        (CLUSTER + b"\xff" + TIME_3000 + b"\xa3\x85\x81\xff\xd8\x80a", 2960),  # of unknown size
        (CLUSTER + b"\xff" + TIME_3000 + b"\xa0\x88\xa1\x86\x40\x81\x00\x28\x80a", 3040),
        (CLUSTER + b"\xff" + TIME_3000 + b"\xa3\x90\x81\x00\x28\x80a", 3040),  # cut off
        (CLUSTER + b"\xff" + TIME_3000, None),
        (CLUSTER + b"\x00" + TIME_3000, None),
        (b"no cluster", None),
        (b"", None),
    ],
)
def test_the_last_block(data: bytes, ticks: int | None, tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    path.write_bytes(data)
    assert last_block_ticks(path, None) == ticks


def test_the_four_bytes_of_a_cluster_inside_a_picture_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    block = b"\x81\x00\x28\x80" + CLUSTER + b"\x82ab"
    path.write_bytes(CLUSTER + b"\xff" + TIME_3000 + b"\xa3" + bytes([0x80 + len(block)]) + block)
    assert last_block_ticks(path, None) == 3040


def test_a_last_cluster_larger_than_what_is_read_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    block = b"\x81\x00\x28\x80" + bytes(5_000_000)
    size = (len(block) | 1 << 28).to_bytes(4, "big")
    path.write_bytes(b"\x00" * 100 + CLUSTER + b"\xff" + TIME_3000 + b"\xa3" + size + block)
    assert last_block_ticks(path, None) == 3040


def test_without_a_cluster_the_length_is_taken_for_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    assert length_of_matroska_s(path, None, 7.0, 2.0, 1e-3) == 5.0
    assert length_of_matroska_s(path, None, 1.5, 2.0, 1e-3) == 1.5
    assert length_of_matroska_s(path, None, 0.0, 2.0, 1e-3) == 0.0
