"""What `avcheck watch` takes for a whole file, and the steps by which one is put away."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from avcheck.watch import place
from avcheck.watch.place import free_name, put
from avcheck.watch.steps import Steps
from avcheck.watch.whole import has_partial_name, is_being_written, is_complete
from tests.support.watching import files

# ---- what is whole


def test_an_mp4_is_complete_with_its_index_and_its_last_box(
    clip: Callable[..., Path], tmp_path: Path
) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    for name, settings in (("a.mp4", {}), ("b.mov", {}), ("c.mp4", {"container_options": options})):
        path = clip(name, **settings)
        data = path.read_bytes()
        assert is_complete(path)
        for part in (8, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:part])
            assert not is_complete(path), part


@pytest.mark.parametrize(
    ("name", "data", "complete"),
    [
        ("empty.mkv", b"", False),
        ("any.mkv", b"any", True),
        ("room.mkv", bytes(10_000), False),  # made before the data comes
        ("room.mp4", bytes(10_000), False),
        ("start_code.mpg", b"\0\0\1\xba" + bytes(10_000), True),
        ("text.mp4", b"no mp4 at all", True),  # more of it will not make it one
        ("short.mp4", b"\0\0\0", False),
        ("to_the_end.mp4", b"\0\0\0\x08moov\0\0\0\0mdat1234", True),
        ("large.mp4", b"\0\0\0\x08moov\0\0\0\x01mdat\0\0\0\0\0\0\0\x14data", True),
        ("large_cut.mp4", b"\0\0\0\x08moov\0\0\0\x01mdat\0\0\0\0\0\0\0\x15data", False),
        ("no_index.mp4", b"\0\0\0\x08ftyp\0\0\0\x08mdat", False),
    ],
)
def test_what_says_that_more_is_to_come(
    tmp_path: Path, name: str, data: bytes, complete: bool
) -> None:
    (tmp_path / name).write_bytes(data)
    assert is_complete(tmp_path / name) is complete


def test_a_file_that_is_gone_is_not_whole(tmp_path: Path) -> None:
    assert not is_complete(tmp_path / "gone.mp4")
    assert not is_being_written(tmp_path / "gone.mp4")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_writer_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with path.open("wb") as file:
        file.write(b"data")
        file.flush()
        assert is_being_written(path)
    assert not is_being_written(path)
    with path.open("rb"):
        assert not is_being_written(path)


def test_partial_names() -> None:
    partial = ("a.mp4.part", "a.partial", "a.TMP", "a.mp4.crdownload", "b.download")
    assert all(has_partial_name(Path(name)) for name in partial)
    assert not any(has_partial_name(Path(name)) for name in ("part.mp4", "a.tmp.mov"))


# ---- where it goes


def test_a_move_takes_a_free_name_and_can_be_taken_again(tmp_path: Path) -> None:
    source, folder = tmp_path / "a.mp4", tmp_path / "to"
    source.write_bytes(b"new")
    (folder / "sub").mkdir(parents=True)
    taken = folder / "sub" / "a.mp4"
    taken.write_bytes(b"old")
    goal = free_name(folder, Path("sub/a.mp4"))
    assert goal == folder / "sub" / "a-2.mp4"
    assert not put(source, taken, link=False)
    assert put(source, goal, link=True) and put(source, goal, link=True)
    assert source.samefile(goal)
    assert put(source, goal, link=False)  # as after a kill between the link and the removal
    assert not source.exists()
    assert (goal.read_bytes(), taken.read_bytes()) == (b"new", b"old")


def test_the_longest_name_is_moved_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added to a name on its way, or where it is taken, made it longer than a name may
    be.
    """
    name = f"{'ü' * 125}x.mp4"  # 255 bytes
    source, folder = tmp_path / name, tmp_path / "to"
    folder.mkdir()
    (folder / name).write_bytes(b"old")
    source.write_bytes(b"new")
    link = os.link

    def across(one: Path, other: Path) -> None:
        if one.parent != other.parent:
            raise OSError(errno.EXDEV, "cross-device link")
        link(one, other)

    monkeypatch.setattr(os, "link", across)
    goal = free_name(folder, Path(name))
    assert goal.name == f"{'ü' * 124}-2.mp4"
    assert put(source, goal, link=False)
    assert files(tmp_path) == {f"to/{name}": b"old", f"to/{goal.name}": b"new"}


@pytest.mark.parametrize("has_links", [True, False])
def test_a_move_to_another_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    source, goal = tmp_path / "a.mp4", tmp_path / "to" / "a.mp4"
    source.write_bytes(b"film")
    os.utime(source, ns=(1, 1_700_000_000_123_456_789))
    link = os.link

    def across(one: Path, other: Path) -> None:
        if one.parent != other.parent:
            raise OSError(errno.EXDEV, "cross-device link")
        if not has_links:
            raise OSError(errno.EPERM, "no links")
        link(one, other)

    monkeypatch.setattr(os, "link", across)
    goal.parent.mkdir()
    (goal.parent / ".a.mp4.avcheck-partial").write_bytes(b"half a co")  # of a kill
    assert place._copied(source, goal)  # and then a kill
    assert put(source, goal, link=False)
    assert files(tmp_path) == {"to/a.mp4": b"film"}
    assert goal.stat().st_mtime_ns == 1_700_000_000_123_456_789
    source.write_bytes(b"more")
    assert not put(source, goal, link=False)  # another film of that name
    assert files(tmp_path) == {"a.mp4": b"more", "to/a.mp4": b"film"}


def test_a_copy_that_fails_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, goal = tmp_path / "a.mp4", tmp_path / "to" / "a.mp4"
    source.write_bytes(b"film")

    def link(*_: Path) -> None:
        raise OSError(errno.EXDEV, "cross-device link")

    def copy(_: Path, partial: Path) -> None:
        partial.write_bytes(b"fi")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(shutil, "copy2", copy)
    with pytest.raises(OSError, match="No space left"):
        put(source, goal, link=False)
    assert files(tmp_path) == {"a.mp4": b"film"}


def test_the_log_of_steps_is_mended(tmp_path: Path) -> None:
    log, one, two = tmp_path / "steps", ("a", 1, 2), ("\udcff", 3, 4)
    with Steps(log) as steps:
        steps.begin(one, Path("to/a"))
        steps.begin(two, None)
        steps.end(two)
    with log.open("ab") as file:
        file.write(b'{"step": "end", "path": "a", "fi')
    for _ in range(2):
        with Steps(log) as steps:
            assert steps.goal(one) == Path("to/a")
            assert [each.key for each in steps.unfinished()] == [one]
            assert (steps.is_done(one), steps.is_done(two)) == (False, True)
