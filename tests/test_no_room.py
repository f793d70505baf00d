"""Every command that writes says alike that there is no room, leaves nothing behind, and loses no
result by it.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from avcheck.batch.run import SCRATCH_IS_FULL
from avcheck.cli.app import main
from avcheck.errors import UsageError, is_disk_full, why_not_written
from avcheck.fix.repair import FixSettings, fix_file
from avcheck.record.report import Report, Stretch
from avcheck.render import renderer
from avcheck.render.output import to_file
from tests.support.films import tiles
from tests.support.fixing import checks, measured


@contextmanager
def no_room(least_bytes: int = 20_000) -> Iterator[None]:
    """No file of this process may become larger than this: a disk that is as good as full."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such limit")
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (least_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EROFS, errno.ENOENT])
def test_the_reason_has_a_remedy(number: int) -> None:
    said, _, remedy = why_not_written(OSError(number, os.strerror(number))).partition("; ")
    assert said == os.strerror(number)
    assert remedy


def test_a_limit_on_files_is_no_room_and_a_closed_folder_is_another_thing() -> None:
    assert is_disk_full(OSError(errno.EFBIG, "")) and is_disk_full(OSError(errno.ENOSPC, ""))
    assert not is_disk_full(OSError(errno.EACCES, ""))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_fix_says_that_there_is_no_room_and_keeps_what_was_found(
    tmp_path: Path, suffix: str
) -> None:
    source, target = tiles(tmp_path / "film.mp4", 2.0), tmp_path / f"fixed{suffix}"
    late = measured(Stretch(0.0, 2.0, -200.0, -200.0))
    with no_room():
        result = fix_file(source, target, FixSettings(), checks(late))
    assert (result.status, result.before) == ("error", late)
    assert (result.reason or "").startswith(f"{target} cannot be written: File too large; ")
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_folder_that_vanished_during_the_check_is_named(tmp_path: Path) -> None:
    source, folder = tiles(tmp_path / "film.mp4", 2.0), tmp_path / "out"
    folder.mkdir()

    def check(*_: object) -> Report:
        folder.rmdir()
        return measured(Stretch(0.0, 2.0, -200.0, -200.0))

    result = fix_file(source, folder / "fixed.mp4", FixSettings(), check)
    assert result.status == "error"
    assert "No such file or directory; its folder is gone" in (result.reason or "")


def test_fix_exits_with_2_where_there_is_no_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tiles(tmp_path / "film.mp4", 2.0)
    for options in ([], ["--json"]):
        with no_room():
            code = main(
                ["fix", str(source), str(tmp_path / "a.mp4"), "--force-offset", "-200", *options]
            )
        out, err = capsys.readouterr()
        assert code == 2
        said = json.loads(out)["reason"] if options else err
        assert "a.mp4 cannot be written: File too large; " in said


def test_a_demo_that_finds_no_room_leaves_no_part_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_from: Path, to: Path) -> None:
        to.write_bytes(b"a part")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("avcheck.scenes.demo.make_demo", lambda path, **_: path.write_bytes(b"x"))
    monkeypatch.setattr("shutil.copyfile", full)
    assert main(["demo", "--keep", str(tmp_path / "a.mp4")]) == 2
    assert "a.mp4: No space left on device; make room there" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["json", "csv", "junit"])
def test_a_report_that_finds_no_room_at_all_leaves_no_empty_file(tmp_path: Path, form: str) -> None:
    left: list[Path] = []
    with (
        pytest.raises(UsageError, match="cannot write"),
        no_room(0),
        to_file(renderer(form), tmp_path / "a", on_partial=left.append) as add,
    ):
        add(Report("a.mp4", "in_sync", offset_ms=1.0))
    assert (left, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.usefixtures("fake")
def test_the_result_is_shown_where_its_file_cannot_be_written(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with no_room(0):
        assert main(["late.mp4", "--output", "text=a.txt"]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("late.mp4: out of sync")
    assert "cannot write a.txt: File too large; " in err
    assert "a.txt" not in [path.name for path in clips.iterdir()]


def test_a_demo_without_room_for_its_clip_names_the_disk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_path: Path, **_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("avcheck.scenes.demo.make_demo", full)
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == f"avcheck: {SCRATCH_IS_FULL}\n"
