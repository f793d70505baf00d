"""`avcheck merge`: the newest record of each file, and nothing damaged passes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from avcheck import render
from avcheck.batch.checkpoint import Merged
from avcheck.cli.app import main
from avcheck.errors import UsageError
from tests.support.saved import records, sample


def test_the_newest_record_of_each_path_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, three = (tmp_path / f"{name}.jsonl" for name in ("one", "two", "three"))
    rows = {
        one: [
            sample("a.mp4", "2026-03-01T12:00:00.000Z"),
            sample("b.mp4", "2026-03-02T12:00:00.000Z", "out_of_sync"),
        ],
        two: [
            sample("b.mp4", "2026-03-01T12:00:00.000Z"),
            sample("c.mp4", verdict="error"),
            sample("c.mp4"),
        ],
        three: [],
    }
    for path, reports in rows.items():
        path.write_text("".join(render.to_json(each) + "\n" for each in reports))
    expected = [rows[one][0], rows[one][1], rows[two][2]]
    assert list(Merged([one, two, three])) == expected
    assert sorted(each.path for each in Merged([two, one])) == ["a.mp4", "b.mp4", "c.mp4"]
    assert main(["merge", str(one), str(two), str(three), "--format", "jsonl"]) == 1
    out, err = capsys.readouterr()
    assert out == "".join(render.to_json(each) + "\n" for each in expected)
    assert err == "3 files: 2 in sync, 1 out of sync\n"
    assert main(["merge", str(one), str(two), "-q"]) == 1
    assert tuple(capsys.readouterr()) == (
        "b.mp4: out of sync: sound early by 4 ms (0.1 frames) at worst, confidence 0.00, offset "
        "jumps at 0:01\n",
        "",
    )
    assert main(["merge", str(one), "--exit-zero"]) == 0


def test_records_of_two_files_make_no_whole_title(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has one of two sounds: the first was killed, and they are not of one check."""
    paths = []
    for number in (0, 1):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(
            render.to_json(replace(sample(), audio_track=number, records=2)) + "\n",
        )
        paths.append(path)
    merged = Merged(paths)
    assert merged.incomplete
    assert [each.audio_track for each in merged] == [1]
    assert main(["merge", *map(str, paths)]) == 2


def test_a_merge_is_never_better_than_what_it_merges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, empty = tmp_path / "r.jsonl", tmp_path / "empty.jsonl"
    empty.touch()
    path.write_text(render.to_json(sample()) + "\n" + render.to_json(sample("b.mp4"))[:60])
    assert main(["merge", str(path)]) == 2
    assert "line 2 is cut short (that run was killed)" in capsys.readouterr().err
    path.write_text(
        render.to_json(replace(sample(verdict="error"), reason="internal error: ValueError: x"))
        + "\n"
    )
    assert main(["merge", str(path)]) == 3
    capsys.readouterr()
    assert main(["merge", str(empty)]) == 2
    assert "there is no record in" in capsys.readouterr().err
    assert main(["merge", str(tmp_path / "gone.jsonl")]) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        {"checked_at": 5},
        {"path": 7},
        {"confidence": "high"},
        {"offset_ms": "late"},
        {"reason": 3},
        {"blocks": [{"start_s": 0}]},
    ],
)
def test_a_damaged_record_is_named_and_never_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, Any]
) -> None:
    good, bad = (
        json.loads(render.to_json(sample(name, "2026-03-01T12:00:00.000Z")))
        for name in ("a.mp4", "b.mp4")
    )
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps(bad | wrong) + "\n")
    for form in ("text", "github", "csv", "junit"):
        assert main(["merge", str(path), "--format", form]) == 2
        warning, summary = capsys.readouterr().err.splitlines()
        assert warning.startswith(
            f"avcheck: {path}: line 2 is a damaged record and is skipped (not a record of avcheck ("
        )
        assert warning.endswith("; check that file again")
        assert summary == "1 file: 1 in sync"
    path.write_text(json.dumps(bad | wrong) + "\n" + json.dumps(good) + "\n")
    assert main(["merge", str(path)]) == 2
    assert capsys.readouterr().err.startswith(
        f"avcheck: {path} is not a results file of avcheck (line 1: not a record of"
    )


@pytest.mark.parametrize(
    ("without", "said"),
    [(["verdict"], "verdict is missing"), (["path", "verdict"], "path, verdict are missing")],
)
def test_a_record_that_lacks_a_field_says_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], without: list[str], said: str
) -> None:
    path = tmp_path / "r.jsonl"
    record = json.loads(render.to_json(sample()))
    path.write_text(json.dumps({key: record[key] for key in record if key not in without}) + "\n")
    assert main(["merge", str(path)]) == 2
    assert f"(line 1: not a record of avcheck ({said}))" in capsys.readouterr().err


def test_a_file_that_changes_during_a_merge(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(render.to_json(sample()) + "\n")
    merged = Merged([path])
    path.write_text("something else\n")
    with pytest.raises(UsageError, match="has changed while it was read"):
        list(merged)


def test_shards_merge_to_the_whole(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        (library / "lib" / f"more {number}.mp4").write_bytes(b"x")
    whole = main(["lib"])
    summary = capsys.readouterr().err.splitlines()[-1]
    codes = [
        main(["lib", "--shard", f"{number}/3", "--resume", f"part-{number}.jsonl"])
        for number in (1, 2, 3)
    ]
    assert max(codes) == whole == 2
    capsys.readouterr()
    assert main(["merge", *(f"part-{number}.jsonl" for number in (1, 2, 3))]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == summary
    assert (
        len([path for number in (1, 2, 3) for path in records(library / f"part-{number}.jsonl")])
        == 24
    )
