"""Globs, ignore files, lists and shards: which files of a tree are checked."""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from avcheck.batch import globs
from avcheck.batch.discovery import Selection, Shard, discover, parse_shard, read_list
from avcheck.cli.app import main
from avcheck.errors import UsageError
from avcheck.record.report import PRESETS
from tests.support import fake_scan


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x\0")


def discovered(
    root: Path,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    shard: Shard | None = None,
) -> list[str]:
    selection = Selection(include, exclude, shard)
    files = discover([root], PRESETS["film"], selection=selection).files
    return [Path(path).relative_to(root).as_posix() for path in files]


# What gitignore(5) says of each: a folder that matches stands for all that lies in it.
@pytest.mark.parametrize(
    ("glob", "matches", "does_not"),
    [
        ("*.mp4", ["a.mp4", "x/y/a.mp4", ".mp4"], ["a.mp4.bak", "a.mov", "a.MP4"]),
        ("dailies", ["dailies", "x/dailies", "dailies/a.mp4"], ["dailies2"]),
        ("dailies/", ["dailies/a.mp4", "x/dailies/a.mp4"], ["dailies"]),
        ("/a.mp4", ["a.mp4"], ["x/a.mp4"]),
        ("x/*.mp4", ["x/a.mp4"], ["x/y/a.mp4", "z/x/a.mp4"]),
        ("x/**/a.mp4", ["x/a.mp4", "x/y/a.mp4", "x/y/z/a.mp4"], ["a.mp4", "xx/a.mp4"]),
        ("**/a.mp4", ["a.mp4", "x/y/a.mp4"], ["ba.mp4"]),
        ("x/**", ["x/a.mp4", "x/y/a.mp4"], ["x", "y/x/a.mp4"]),
        ("take?.mp4", ["take1.mp4", "x/take2.mp4"], ["take.mp4", "take12.mp4", "take/.mp4"]),
        ("take[0-3].mp4", ["take0.mp4"], ["take4.mp4", "take[0-3].mp4"]),
        ("take[!0-3].mp4", ["take4.mp4"], ["take0.mp4"]),
        ("a.b+c(1).mp4", ["a.b+c(1).mp4"], ["aXb+c(1).mp4"]),
        ("**", ["a.mp4", "x/a.mp4"], []),
        ("**/**", ["a.mp4", "x/a.mp4"], []),
        ("a/**/**/b/**/c", ["a/b/c", "a/x/b/y/z/c"], ["a/b", "b/c"]),
        ("#1.mp4", ["#1.mp4"], ["1.mp4"]),
        ("*a*b*.mp4", ["xaybz.mp4"], ["b.mp4"]),
    ],
)
def test_globs(glob: str, matches: list[str], does_not: list[str]) -> None:
    pattern = globs.of_parameter("include", [glob])
    assert [name for name in matches if not pattern.decide(name)] == []
    assert [name for name in does_not if pattern.decide(name)] == []


@pytest.mark.parametrize("glob", ["*a*b*c*.mp4", "a/**/b/**/c/**/d/**/e", "x/****"])
def test_a_glob_of_too_many_stars_is_refused(tmp_path: Path, glob: str) -> None:
    touch(tmp_path, "a.mp4")
    with pytest.raises(
        UsageError, match=r"^exclude: .* has more than 3 stars; write several simpler globs"
    ):
        discovered(tmp_path, exclude=(glob,))


@pytest.mark.parametrize("glob", ["!", "take[z-a].mp4", "a\\"])
def test_what_is_no_glob_is_refused(tmp_path: Path, glob: str) -> None:
    touch(tmp_path, "a.mp4")
    with pytest.raises(UsageError, match=r"^include: .* is not a glob that \.gitignore allows"):
        discovered(tmp_path, include=(glob,))


def test_a_later_glob_takes_back_an_earlier_one(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "keep b.mp4")
    assert discovered(tmp_path, exclude=("*b.mp4", "!keep*")) == ["a.mp4", "keep b.mp4"]


def test_a_wrong_line_of_an_ignore_file_is_named_and_the_others_hold(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "x/b.mp4", "x/c.mp4")
    (tmp_path / "x" / ".avcheckignore").write_text("take[z-a].mp4\n*a*b*c*d\nb.mp4\n")
    discovered = discover([tmp_path])
    assert [Path(each).name for each in discovered.files] == ["a.mp4", "c.mp4"]
    (error,) = discovered.errors
    assert error.path.endswith("x/.avcheckignore")
    assert error.reason == "line 1: 'take[z-a].mp4' is not a glob that .gitignore allows"


def test_include_stands_in_place_of_the_media_suffixes(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mov", "x/c.mp4", "x/d.dat", "notes.txt")
    assert discovered(tmp_path, include=("*.mp4",)) == ["a.mp4", "x/c.mp4"]
    assert discovered(tmp_path, include=("*.dat", "b*")) == ["b.mov", "x/d.dat"]
    assert discovered(tmp_path, include=("x/*",)) == ["x/c.mp4", "x/d.dat"]


def test_exclude_leaves_out_files_and_whole_directories(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "proxies/a.mp4", "x/proxies/deep/b.mp4", "x/c proxy.mp4", "x/d.mp4")
    assert discovered(tmp_path, exclude=("proxies", "*proxy*")) == ["a.mp4", "x/d.mp4"]
    assert discovered(tmp_path, exclude=("proxies/",), include=("*.mp4",)) == [
        "a.mp4",
        "x/c proxy.mp4",
        "x/d.mp4",
    ]
    assert discovered(tmp_path, exclude=("/proxies",)) == [
        "a.mp4",
        "x/c proxy.mp4",
        "x/d.mp4",
        "x/proxies/deep/b.mp4",
    ]


def test_a_named_file_is_checked_whatever_is_excluded(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    assert discover([tmp_path / "a.mp4"], selection=Selection(("*.mov",), ("*",))).files == [
        tmp_path / "a.mp4"
    ]


def test_if_nothing_is_left_it_is_said_why(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    (tmp_path / ".avcheckignore").write_text("*.mp4\n")
    (error,) = discover([tmp_path], selection=Selection(exclude=("b",))).errors
    assert (
        error.reason
        == "this directory holds no media files that --exclude and .avcheckignore let through; "
        "check the path"
    )
    assert error.reason_code == "no_media"


def test_ignore_files(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.mp4",
        "b.mp4",
        "keep b.mp4",
        "raw/c.mp4",
        "x/a.mp4",
        "x/raw/d.mp4",
        "x/y/e.mp4",
        "x/y/f.mp4",
        "#1.mp4",
        "z.mp4",
    )
    (tmp_path / ".avcheckignore").write_text(
        "# comment\n\n*b.mp4\n!keep*\r\nraw/\n/a.mp4\n\\#1.mp4\nz.mp4/\n/x/y/e.mp4   \n!\n"
    )
    (tmp_path / "x" / ".avcheckignore").write_text("!raw/\ny/f.mp4\n")
    assert discovered(tmp_path) == ["keep b.mp4", "z.mp4", "x/a.mp4", "x/raw/d.mp4"]
    # Ignore files above the root do not count
    assert discovered(tmp_path / "x") == [
        "a.mp4",
        "raw/d.mp4",
        "y/e.mp4",
    ]


def test_a_glob_is_a_line_without_a_byte_order_mark(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "c\u2028d.mp4", "d.mp4")
    ignored = "a.mp4\r\nc\u2028d.mp4\n"
    (tmp_path / ".avcheckignore").write_text(ignored, encoding="utf-8-sig")
    assert discovered(tmp_path) == ["b.mp4", "d.mp4"]


def test_comments_and_empty_lines_of_an_ignore_file_are_no_globs(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / ".avcheckignore").write_text("# *a*b*c*d\n\n!\n/\nb.mp4\n")
    discovered = discover([tmp_path])
    assert ([each.name for each in map(Path, discovered.files)], discovered.errors) == (
        ["a.mp4"],
        [],
    )


def test_an_ignore_file_that_cannot_be_read_hides_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    (tmp_path / ".avcheckignore").mkdir()
    assert discovered(tmp_path) == ["a.mp4"]
    (tmp_path / ".avcheckignore").rmdir()
    os.mkfifo(tmp_path / ".avcheckignore")
    assert discovered(tmp_path) == ["a.mp4"]


# ---- lists


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (b"a.mp4\nb c.mp4\n", ["a.mp4", "b c.mp4"]),
        (b"\xef\xbb\xbfa.mp4\r\n\r\nb.mp4", ["a.mp4", "b.mp4"]),
        (b"a\nb.mp4\0 c.mp4 \0", ["a\nb.mp4", " c.mp4 "]),
        (b"\xff.mp4\n", ["\udcff.mp4"]),
        (b"", []),
        (b"\n\n", []),
    ],
)
def test_lists(data: bytes, paths: list[str]) -> None:
    assert read_list(data) == paths


def test_files_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_scan.stand_in(monkeypatch)
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "good.mp4", "x/late.mp4", "x/unsure.mp4")
    (tmp_path / "list").write_text("good.mp4\nx\ngone.mp4\n")
    assert main(["--files-from", "list", "good.mp4"]) == 2
    out, err = capsys.readouterr()
    rows = out.partition("\n\n")[0].splitlines()
    assert [row.split(":")[0] for row in rows] == ["good.mp4", "x/late.mp4", "x/unsure.mp4"]
    assert "gone.mp4: error: there is no such file or directory" in err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x/late.mp4\0")))
    assert main(["--files-from", "-"]) == 1
    capsys.readouterr()
    (tmp_path / "empty").touch()
    for name, says in (
        ("empty", "there is no path in empty"),
        ("gone", "cannot read gone: No such file"),
    ):
        assert main(["--files-from", name]) == 2
        assert says in capsys.readouterr().err


# ---- shards


def test_shards_part_the_files_and_new_ones_move_no_other(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/{number}.mp4" for folder in "abc" for number in range(40)))
    parts = [set(discovered(tmp_path, shard=Shard(index, 4))) for index in (1, 2, 3, 4)]
    assert Counter(name for part in parts for name in part) == dict.fromkeys(
        discovered(tmp_path), 1
    )
    assert all(15 <= len(part) <= 50 for part in parts)
    touch(tmp_path, "a/new.mp4")
    assert [
        set(discovered(tmp_path, shard=Shard(index, 4))) - {"a/new.mp4"} for index in (1, 2, 3, 4)
    ] == parts


def test_a_file_given_twice_is_in_one_shard(tmp_path: Path) -> None:
    names = [f"lib/{number}.mp4" for number in range(40)]
    touch(tmp_path, *names)
    given = [tmp_path / "lib", *(tmp_path / name for name in names)]
    parts = [
        discover(given, selection=Selection(shard=Shard(index, 4))).files for index in (1, 2, 3, 4)
    ]
    assert sorted(path for part in parts for path in part) == sorted(
        tmp_path / name for name in names
    )


def test_a_shard_does_not_depend_on_where_the_tree_is_nor_on_the_version() -> None:
    names = ["a.mp4", "b.mp4", "x/c.mp4", "x/d.mp4", "ü/\udcff.mp4"]
    assert [
        next(index for index in range(1, 8) if Shard(index, 7).takes(name)) for name in names
    ] == [7, 1, 4, 1, 5]


def test_every_problem_is_told_in_one_shard(tmp_path: Path) -> None:
    touch(tmp_path, "empty/notes.txt")
    paths = [tmp_path / "empty", *(tmp_path / f"gone {number}.mp4" for number in range(9))]
    reported = [
        error.path
        for index in (1, 2, 3)
        for error in discover(paths, selection=Selection(shard=Shard(index, 3))).errors
    ]
    assert sorted(reported) == sorted(map(str, paths))


def test_a_shard_without_files_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "lib/a.mp4")
    other = 1 if Shard(2, 2).takes("a.mp4") else 2
    assert main(["lib", "--shard", f"{other}/2", "--resume", "r.jsonl", "--format", "json"]) == 0
    assert tuple(capsys.readouterr()) == ("[]\n", f"there are no files in shard {other}/2\n")
    assert (tmp_path / "r.jsonl").read_bytes() == b""


@pytest.mark.parametrize("wrong", ["", "3", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1 /3"])
def test_wrong_shards(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"^shard: a shard is "):
        parse_shard(wrong)
    assert str(parse_shard("3/10")) == "3/10"
