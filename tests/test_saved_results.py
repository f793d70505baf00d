"""What becomes of saved results: a resumed run's report, `avcheck show`, `avcheck diff`."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from avcheck import render
from avcheck.batch.resume import Resumed
from avcheck.cli.app import main
from avcheck.record.changes import changes_between
from avcheck.record.report import BlockResult, Report, Segment, Stretch, Tolerance, Verdict
from avcheck.settings import CheckSettings
from tests.support import fake_scan

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file of each kind in it."""
    (tmp_path / "lib").mkdir()
    for name in ("a.mp4", "b late.mp4", "broken.mov", "unsure.mkv"):
        (tmp_path / "lib" / name).write_bytes(b"x")
    (tmp_path / ".git").mkdir()  # ends the search for settings here
    monkeypatch.chdir(tmp_path)
    fake_scan.stand_in(monkeypatch)
    fake_scan.MADE.clear()
    return tmp_path


def report(
    path: str = "a.mp4", verdict: Verdict = "in_sync", offset_ms: float | None = 4.0, **fields: Any
) -> Report:
    return Report(path, verdict, offset_ms=offset_ms, confidence=0.97, **fields)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    """`saved("old.jsonl", report, ...)` writes a results file and gives its name."""

    def write(name: str, *reports: Report) -> str:
        path = tmp_path / name
        path.write_text("".join(render.to_json(each) + "\n" for each in reports))
        return str(path)

    return write


# ---- a resumed run


def test_the_report_of_a_resumed_run_holds_what_earlier_runs_found(
    clips: Path, capsys: Capture
) -> None:
    assert main(["lib/b late.mp4", "lib/broken.mov", "gone.mp4", "--resume", "r.jsonl"]) == 2
    capsys.readouterr()
    outputs = ["--output", "junit=all.xml", "--output", "json=all.json"]
    assert main(["lib", "gone.mp4", "--resume", "r.jsonl", "--format", "jsonl", *outputs]) == 2
    out, err = capsys.readouterr()
    expected = {"gone.mp4", "lib/a.mp4", "lib/b late.mp4", "lib/broken.mov", "lib/unsure.mkv"}
    assert {json.loads(row)["path"] for row in out.splitlines()} == expected
    whole = {record["path"]: record for record in json.loads((clips / "all.json").read_text())}
    assert set(whole) == expected and len(whole["lib/b late.mp4"]["blocks"]) == 2
    cases = ElementTree.parse(clips / "all.xml").getroot()
    assert (cases.get("tests"), cases.get("failures"), cases.get("errors")) == ("5", "1", "2")
    assert err.splitlines()[-1].endswith("(3 of them done before, in r.jsonl)")


def test_a_finished_run_says_so_and_exits_as_before(clips: Path, capsys: Capture) -> None:
    for names, code in ((["lib"], 2), (["lib/b late.mp4"], 1), (["lib/a.mp4"], 0)):
        assert main([*names, "--resume", "r.jsonl"]) == code
        fake_scan.MADE.clear()
        capsys.readouterr()
        assert main([*names, "--resume", "r.jsonl"]) == code
        out, err = capsys.readouterr()
        assert fake_scan.MADE == []
        assert err.endswith("(all done before, in r.jsonl: nothing was left to check)\n")
        # What failed is told again
        assert ("b late.mp4: sound late by 120 ms" in out) == (code > 0)


def test_a_finished_run_writes_over_its_report_if_asked_to(clips: Path, capsys: Capture) -> None:
    line = ["lib", "--resume", "r.jsonl", "--output", "junit=all.xml"]
    assert main(line) == 2  # one cannot be judged
    report = (clips / "all.xml").read_bytes()
    fake_scan.MADE.clear()
    capsys.readouterr()
    assert main(line) == 2
    assert capsys.readouterr().err.endswith("all.xml exists already; --force writes over it\n")
    assert main([*line, "--force"]) == 2
    assert (clips / "all.xml").read_bytes() == report and fake_scan.MADE == []


def test_a_whole_report_takes_the_place_of_what_was_left_of_it(
    clips: Path, capsys: Capture
) -> None:
    (clips / "lib" / "ctrlc.mp4").write_bytes(b"x")
    args = ["lib", "--resume", "r.jsonl", "--output", "json=all.json"]
    assert main(args) == 130
    (left,) = clips.glob("all.json.*.partial")
    others = [
        clips / "all.json.mine.partial",
        clips / "all.json.0123456z.partial",
        clips / "other.json.01234567.partial",
    ]
    for other in others:
        other.write_text("somebody's own")
    (clips / "lib" / "ctrlc.mp4").unlink()
    assert main(args) == 2
    assert not left.exists() and all(other.exists() for other in others)
    assert len(json.loads((clips / "all.json").read_text())) == 4


def test_what_another_run_is_writing_is_not_stale(clips: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with (clips / "all.json.01234567.partial").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(["lib/a.mp4", "--output", "json=all.json"]) == 0
        assert (clips / "all.json.01234567.partial").exists()
    assert main(["lib/a.mp4", "--output", "json=all.json", "--force"]) == 0
    assert not list(clips.glob("*.partial"))


def test_the_plan_of_a_run_keeps_no_report(clips: Path) -> None:
    main(["lib", "--resume", "r.jsonl"])
    files = sorted((clips / "lib").iterdir())
    paths = [Path("lib", file.name) for file in files]
    with Resumed(Path("r.jsonl"), CheckSettings(), retry_errors=True) as resumed:
        to_check, refused = resumed.plan(paths, [])
        assert (to_check, refused) == ([Path("lib/broken.mov")], [])
        assert [each.path for each in resumed.earlier()] == [
            "lib/a.mp4",
            "lib/b late.mp4",
            "lib/unsure.mkv",
        ]


# ---- show


def test_show_tells_saved_results_as_the_check_did(clips: Path, capsys: Capture) -> None:
    assert main(["lib", "--resume", "r.jsonl"]) == 2
    live = capsys.readouterr()
    assert main(["show", "r.jsonl"]) == 2
    again = capsys.readouterr()
    assert sorted(again.out.splitlines()) == sorted(live.out.splitlines())
    assert again.err == live.err
    assert main(["-v", "lib/b late.mp4"]) == 1
    table = capsys.readouterr().out
    assert main(["show", "r.jsonl", "b late.mp4"]) == 1
    assert capsys.readouterr().out == table and "Local offset" in table
    assert main(["show", "r.jsonl", "lib/a.mp4", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == "lib/a.mp4"
    for command in ("show", "merge"):
        assert main([command, "r.jsonl", "--json"]) == 2
        assert len(json.loads(capsys.readouterr().out)) == 4
        assert main([command, "r.jsonl", "--json", "--format", "csv"]) == 2
        assert "--json and --format csv contradict each other" in capsys.readouterr().err
    assert main(["show", "r.jsonl", "zzz.mp4"]) == 2
    assert capsys.readouterr().err == "avcheck: there is no zzz.mp4 in r.jsonl\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x00\x00\x00\x18ftypmp42", "not UTF-8 text"),
        (b"\xff\xfe\n", "not UTF-8 text"),
        (b"notes", "not JSON"),
        (b"{\n", "a JSON document, not a record a line; save records as jsonl"),
        (b"[\n", "a JSON document, not a record a line; save records as jsonl"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_our_words(
    tmp_path: Path, capsys: Capture, content: bytes, says: str
) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    assert main(["show", str(path)]) == 2
    assert (
        capsys.readouterr().err
        == f"avcheck: {path} is not a results file of avcheck (line 1: {says})\n"
    )


@pytest.mark.parametrize("args", [["merge", "."], ["show", "."], ["diff", ".", "."]])
def test_results_have_to_be_a_file(args: list[str], clips: Path, capsys: Capture) -> None:
    assert main(args) == 2
    assert capsys.readouterr().err == (
        "avcheck: . is not a regular file, and results are read twice; save them in one\n"
    )


def test_a_long_film_is_shown_by_its_stretches_and_on_request_by_the_second(
    saved: Callable[..., str], capsys: Capture
) -> None:
    blocks = tuple(BlockResult(float(k), 0.01, 4.0) for k in range(100))
    stretches = (Stretch(0.0, 40.0, 4.0, 4.0), Stretch(40.0, 100.0, -200.0, -190.0))
    path = saved(
        "r.jsonl",
        report(
            "film.mp4", "out_of_sync", -200.0, blocks=blocks, stretches=stretches, jumps_s=(40.0,)
        ),
    )
    assert main(["show", path]) == 1
    short = capsys.readouterr().out
    rows = [" ".join(row.split()) for row in short.splitlines()]
    assert "0:00 0:40 4 ms early" in rows and "0:40 1:40 200 ms late to 190 ms late" in rows
    assert "-v shows 100 rows of 1 s" in short and "Attention" not in short
    assert "stretch" not in short  # said once
    assert main(["show", path, "-v"]) == 1
    every_second = capsys.readouterr().out
    assert every_second.count("1.0 %") == 100
    assert "  stretch    0:00 to 0:40: sound early by 4 ms (0.1 frames)\n" in every_second
    assert main(["show", path, "-q"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(
        "offset jumps at 0:40 (0:00 to 0:40: 4 ms early; 0:40 to 1:40: 200 ms late to 190 ms late)"
    )


def test_a_long_undecidable_film_is_shown_by_what_its_segments_tell(
    saved: Callable[..., str], capsys: Capture
) -> None:
    segments = (
        Segment(0, 10, None, 0.1),
        Segment(10, 20, None, 0.1),
        Segment(20, 30, 4.0, 0.9),
        Segment(30, 40, 40.0, 0.9),
    )
    blocks = tuple(BlockResult(float(k), 0.025, None) for k in range(40))
    path = saved(
        "r.jsonl",
        report(verdict="undecidable", offset_ms=None, reason="x", segments=segments, blocks=blocks),
    )
    assert main(["show", path]) == 0
    rows = [" ".join(row.split()) for row in capsys.readouterr().out.splitlines()]
    assert "0:00 0:20 -" in rows and "0:20 0:40 4 ms early to 40 ms early" in rows


# ---- diff

LATE: dict[str, Any] = {"verdict": "out_of_sync", "offset_ms": -120.0}
ERROR: dict[str, Any] = {
    "verdict": "error",
    "offset_ms": None,
    "reason": "no audio stream",
    "reason_code": "no_audio",
}
UNSURE: dict[str, Any] = {
    "verdict": "undecidable",
    "offset_ms": None,
    "reason": "silent",
    "reason_code": "silent",
}
WELL: dict[str, Any] = {"verdict": "in_sync", "offset_ms": 4.0}


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (WELL, WELL, None),
        (WELL, {**WELL, "offset_ms": 44.0}, None),  # by a frame, no more
        (WELL, {**WELL, "offset_ms": 50.0}, "changed"),
        (WELL, LATE, "worse"),
        (WELL, ERROR, "worse"),
        (WELL, UNSURE, "changed"),
        (UNSURE, LATE, "worse"),
        (UNSURE, WELL, "better"),
        (ERROR, LATE, "worse"),
        (LATE, ERROR, "worse"),
        (LATE, LATE, None),
        (LATE, {**LATE, "offset_ms": -200.0}, "worse"),
        (LATE, {**LATE, "offset_ms": -70.0}, "changed"),
        (LATE, {**LATE, "offset_ms": 120.0}, "changed"),
        # 35 and 90 ms beyond their limits
        ({**LATE, "offset_ms": -95.0}, {**LATE, "offset_ms": 130.0}, "worse"),
        (LATE, WELL, "better"),
        (ERROR, {**ERROR, "reason_code": "no_video"}, "changed"),
        (None, WELL, "new"),
        (None, LATE, "worse"),
        (LATE, None, "gone"),
    ],
)
def test_what_became_of_a_file(
    old: dict[str, Any] | None, new: dict[str, Any] | None, kind: str | None
) -> None:
    before, after = ([] if each is None else [replace(report(), **each)] for each in (old, new))
    changes = changes_between(before, after, {"out_of_sync", "error"})
    assert [change.kind for change in changes] == ([] if kind is None else [kind])


def test_diff_counts_sounds_as_sounds(saved: Callable[..., str], capsys: Capture) -> None:
    sounds = [report("a.mp4", audio_track=number, records=2) for number in range(2)]
    old, new = saved("old.jsonl", report("a.mp4")), saved("new.jsonl", *sounds)
    assert main(["diff", new, new]) == 0
    assert capsys.readouterr().err == "2 sounds of 1 file, 2 before: 2 the same\n"
    assert main(["diff", old, old]) == 0
    assert capsys.readouterr().err == "1 file, 1 before: 1 the same\n"


def test_diff_shows_changes_and_fails_on_what_became_worse(
    saved: Callable[..., str], capsys: Capture
) -> None:
    good, late = report("a.mp4", file_size=1), report("late.mp4", **LATE)
    old = saved("old.jsonl", good, late, report("gone.mp4"))
    new = saved("new.jsonl", replace(good, **LATE, file_size=2), late, report("new.mp4"))
    assert main(["diff", old, new]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "worse    a.mp4: in sync -> out of sync: sound late by 120 ms (3.0 frames), confidence "
        "0.97 [the file changed]",
        "new      new.mp4: new: in sync: sound early by 4 ms (0.1 frames), confidence 0.97",
        "gone     gone.mp4: was in sync: sound early by 4 ms (0.1 frames), confidence 0.97",
    ]
    assert err == "3 files, 3 before: 1 worse, 1 new, 1 gone, 1 the same\n"
    assert (
        main(["diff", old, old])
        == main(["diff", new, old])
        == main(["diff", old, new, "--exit-zero"])
        == 0
    )
    capsys.readouterr()
    assert main(["diff", old, new, "--json", "-q"]) == 1
    (change,) = json.loads(capsys.readouterr().out)
    assert (change["path"], change["change"], change["causes"]) == ("a.mp4", "worse", ["the file"])
    assert (change["before"]["verdict"], change["after"]["offset_ms"]) == ("in_sync", -120.0)


def test_the_exit_code_of_diff(saved: Callable[..., str]) -> None:
    def code(before: dict[str, Any], after: dict[str, Any], *options: str) -> int:
        files = [
            saved(f"{n}.jsonl", report("well.mp4"), replace(report(), **each))
            for n, each in enumerate((before, after))
        ]
        return main(["diff", *files, *options])

    assert code(WELL, ERROR) == 2
    assert code(WELL, UNSURE) == 0
    assert code(WELL, UNSURE, "--fail-on", "undecidable") == 1
    assert code(WELL, LATE, "--fail-on", "undecidable") == 0
    assert code(ERROR, ERROR) == 0
    assert code(WELL, {**ERROR, "reason": "internal error: KeyError: x"}) == 3
    errors = saved("errors.jsonl", replace(report(), **ERROR))
    assert main(["diff", errors, errors]) == 2  # no file was judged
    assert main(["diff", errors, "gone.jsonl"]) == 2


def test_what_else_differs_is_told(saved: Callable[..., str], capsys: Capture) -> None:
    strict = report(
        verdict="out_of_sync", tolerance=Tolerance(1, 1), model_sha256="f00", avcheck_version="2"
    )
    assert main(["diff", saved("1.jsonl", report()), saved("2.jsonl", strict)]) == 1
    assert capsys.readouterr().out.endswith("[the tolerance, the weights, avcheck changed]\n")
