"""Files of other kinds than MPEG-TS that were joined end to end, as by `cat`."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from avcheck.media import Picture, Sound, joined, open_media
from avcheck.media.joined import beginnings
from tests.support.clips import click_time_s
from tests.support.reading import whole

Clip = Callable[..., Path]
LATE_S = (0.0, 0.2, -0.1)
KINDS = (
    ("flv", "flv", {"vcodec": "libx264", "acodec": "aac", "sample_rate": 44100}),
    ("mkv", "matroska,webm", {"vcodec": "libx264", "acodec": "aac"}),
    ("webm", "matroska,webm", {"vcodec": "libvpx", "acodec": "libopus"}),
    ("mpg", "mpeg", {"vcodec": "mpeg1video", "acodec": "mp2"}),
    ("vob", "mpeg", {"vcodec": "mpeg2video", "acodec": "ac3", "format": "vob"}),
    ("ogv", "ogg", {"vcodec": "libvpx", "acodec": "libopus", "format": "ogg"}),
)


def parts_of(clip: Clip, suffix: str, options: dict[str, object]) -> list[bytes]:
    return [
        clip(f"part.{suffix}", seconds=3, sound_late_s=late_s, **options).read_bytes()
        for late_s in LATE_S
    ]


def lateness_ms(path: Path) -> list[float]:
    """How late the click of each file is against its flash."""
    with open_media(path) as file:
        return lateness_of(list(file.pictures()), list(file.sounds()))


def lateness_of(pictures: list[Picture], sounds: list[Sound]) -> list[float]:
    start_s, samples = whole(sounds)
    late_ms = []
    for time_s in (picture.pts_s for picture in pictures if picture.luma.mean() > 128):
        first = round((time_s - 0.8 - start_s) * 16000)
        near = samples[first : first + round(1.6 * 16000)]
        late_ms.append(1000 * (click_time_s(start_s + first / 16000, near) - time_s))
    return late_ms


@pytest.mark.parametrize(("suffix", "form", "options"), KINDS, ids=[kind[0] for kind in KINDS])
def test_each_file_is_checked_by_its_own_timestamps(
    clip: Clip, tmp_path: Path, suffix: str, form: str, options: dict[str, object]
) -> None:
    parts = parts_of(clip, suffix, options)
    path = tmp_path / f"joined.{suffix}"
    path.write_bytes(b"".join(parts))
    starts = np.cumsum([0, *(len(part) for part in parts)])[:-1]
    assert beginnings(path, form) == tuple(starts.tolist())
    first = tmp_path / f"first.{suffix}"
    first.write_bytes(parts[0])  # an encoder's delay that is not told is heard in every part
    [delay] = lateness_ms(first)
    with open_media(path) as file:
        pictures, sounds = list(file.pictures()), list(file.sounds())
        late = lateness_of(pictures, sounds)
        assert np.subtract(late, delay) == pytest.approx([0, 200, -100], abs=1.5)
        assert len(pictures) == 225
        assert all(before.pts_s < after.pts_s for before, after in pairwise(pictures))
        assert file.seams_s == pytest.approx((3, 6), abs=0.1)
        assert file.info.duration_s == pytest.approx(9, abs=0.3)
        places = " and ".join(f"{time_s:.1f} s" for time_s in file.seams_s)
        assert file.degraded.notes == (
            f"files were joined in it at {places}; each was checked by its own timestamps",
        )
        assert not file.degraded.unseen_s


@pytest.mark.parametrize(("suffix", "form", "options"), KINDS, ids=[kind[0] for kind in KINDS])
def test_a_file_alone_is_one(
    clip: Clip, suffix: str, form: str, options: dict[str, object]
) -> None:
    path = clip(f"part.{suffix}", seconds=3, **options)
    assert beginnings(path, form) == (0,)
    with open_media(path) as file:
        assert file.seams_s == ()


def test_a_joined_matroska_is_read_from_the_middle(clip: Clip, tmp_path: Path) -> None:
    options = {"fps": 10, "size": (64, 48), "video_options": {"g": "10"}}
    part = clip("part.mkv", seconds=30, events_s=(1.0, 28.0), **options).read_bytes()
    path = tmp_path / "joined.mkv"
    path.write_bytes(part * 2)
    with open_media(path) as file:
        shown = [picture.pts_s for picture in file.pictures() if picture.luma.mean() > 128]
        late = [each.pts_s for each in file.pictures(57.0) if each.luma.mean() > 128]
        assert file.seekable
    assert len(shown) == 4
    assert late == [shown[-1]]


def test_a_file_without_sound_in_between(clip: Clip, tmp_path: Path) -> None:
    """Its pictures are looked at; it is not taken for damage of the first."""
    parts = [
        clip(f"{name}.flv", seconds=2, acodec=acodec, sample_rate=44100).read_bytes()
        for name, acodec in (("a", "aac"), ("b", None), ("a", "aac"))
    ]
    path = tmp_path / "joined.flv"
    path.write_bytes(b"".join(parts))
    with open_media(path) as file:
        assert len(list(file.pictures())) == 150
        assert len(file.seams_s) == 2
        assert list(file.sounds())[-1].end_s == pytest.approx(6, abs=0.2)


def test_what_cannot_be_opened_belongs_to_the_file_before(clip: Clip, tmp_path: Path) -> None:
    whole_part = clip("part.flv", seconds=2, sample_rate=44100).read_bytes()
    path = tmp_path / "joined.flv"
    path.write_bytes(whole_part + whole_part[:20] + bytes(100))
    assert len(beginnings(path, "flv")) == 2
    with open_media(path) as file:
        assert file.seams_s == ()
        assert len(list(file.pictures())) == 50


def test_more_files_than_are_told_apart(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joined, "MOST_FILES", 2)
    part = clip("part.flv", seconds=2, sample_rate=44100).read_bytes()
    path = tmp_path / "joined.flv"
    path.write_bytes(part * 3)
    with open_media(path) as file:
        assert file.seams_s == ()
        assert "files were joined in it and were read as one" in file.degraded.notes[0]
    path.write_bytes(part * 2)
    with open_media(path) as file:
        assert len(file.seams_s) == 1
        assert "read as one" not in file.degraded.notes[0]


def test_a_live_matroska_does_not_say_how_long_it_is() -> None:
    """The size of its segment is unknown, so the next header is looked for in what follows."""
    header = bytes.fromhex("1a45dfa3 8b 4282 88") + b"matroska"
    segment = bytes.fromhex("18538067 01ffffffffffffff") + bytes(5000)
    file = io.BytesIO((header + segment) * 3)
    length = len(header + segment)
    assert list(joined._of_matroska(file)) == [0, length, 2 * length]


def test_a_walk_over_empty_elements_ends() -> None:
    header = bytes.fromhex("1a45dfa3 8b 4282 88") + b"matroska"
    file = io.BytesIO(header + bytes.fromhex("18538067 80") * 1000 + header)
    assert list(joined._of_matroska(file)) == [0]


class OnDisk(io.BytesIO):
    """A file of a system whose longest is 16 TB."""

    def seek(self, at: int, whence: int = io.SEEK_SET, /) -> int:
        if at >= 16 << 40:
            raise OSError(errno.EINVAL, "Invalid argument")
        return super().seek(at, whence)


def test_a_size_beyond_all_files_ends_the_walk() -> None:
    header = bytes.fromhex("1a45dfa3 8b 4282 88") + b"matroska"
    file = OnDisk(header + bytes.fromhex("18538067 01 7ffffffffffffe") + bytes(50))
    assert list(joined._of_matroska(file)) == [0]


@pytest.mark.parametrize("split", [0, 1, 7, 13])
def test_a_header_across_two_reads(monkeypatch: pytest.MonkeyPatch, split: int) -> None:
    header = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00\x12"
    monkeypatch.setattr(joined, "_CHUNK", 1000)
    data = header + bytes(1000 - split - len(header)) + header + bytes(1500) + header
    places = [at for at, _ in joined._matches(io.BytesIO(data), joined._FLV)]
    assert places == [0, 1000 - split, len(data) - len(header)]


@pytest.mark.parametrize(
    ("bits", "clock"),
    [
        ("0010 101 1 000000000000001 1 000000000000010 1", (5 << 30) + (1 << 15) + 2),
        ("01 101 1 000000000000001 1 000000000000010 1 00", (5 << 30) + (1 << 15) + 2),
        ("0010 111 1 111111111111111 1 111111111111111 1", (1 << 33) - 1),
        ("01 111 1 111111111111111 1 111111111111111 1 11", (1 << 33) - 1),
    ],
)
def test_the_clock_of_a_pack(bits: str, clock: int) -> None:
    """The layouts of ISO/IEC 11172-1, 2.4.3.2 and 13818-1, 2.5.3.3."""
    text = bits.replace(" ", "")
    body = np.array([[int(text[k : k + 8], 2) for k in range(0, 40, 8)]], np.int64)
    assert joined._clocks(body).tolist() == [clock]
