"""Files that are whole or not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from avcheck.machine.files import unfinished, unfinished_media, whole_file


@pytest.mark.parametrize("beside", [unfinished, unfinished_media])
@pytest.mark.parametrize("stem", ["film", "f" * 251, "\u6620" * 83])
def test_an_unfinished_file_has_a_name_that_file_systems_take(
    tmp_path: Path, beside: Callable[[Path], Path], stem: str
) -> None:
    path = tmp_path / f"{stem}.mp4"
    path.touch()
    partial = beside(path)
    partial.touch(exist_ok=False)
    assert partial.parent == path.parent
    assert partial.name.lstrip(".").startswith(stem[:30])


def test_unfinished_media_keeps_its_suffix_and_is_hidden(tmp_path: Path) -> None:
    partial = unfinished_media(tmp_path / "film.mkv")
    assert partial.suffix == ".mkv"
    assert partial.name.startswith(".film.partial-")


def test_a_whole_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("old")
    with whole_file(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_old_file_is_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("old")
    with pytest.raises(OSError, match="disk"), whole_file(path) as partial:
        partial.write_text("ne")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
