"""The command's settings from files and environment, resumed runs, and what `--force` spares."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from avcheck.cli.app import main
from avcheck.record.report import PRESETS, Tolerance
from tests.support import fake_scan

pytestmark = pytest.mark.usefixtures("fake")


def test_the_gate_counts_what_a_resumed_run_found_before(clips: Path) -> None:
    args = ["unsure.mkv", "good.mp4", "--resume", "r.jsonl"]
    for _ in range(2):  # the second run checks nothing
        assert main([*args, "--fail-on", "undecidable"]) == 1
        assert main(args) == 0


def test_merge_takes_the_same_formats_files_and_gate(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["late.mp4", "--resume", "1.jsonl"]) == 1
    assert main(["unsure.mkv", "--resume", "2.jsonl"]) == 0
    merge = ["merge", "1.jsonl", "2.jsonl"]
    capsys.readouterr()
    assert (
        main(
            [*merge, "--format", "github", "--output", "junit=all.xml", "--fail-on", "undecidable"]
        )
        == 1
    )
    assert capsys.readouterr().out.count("::error file=") == 2
    assert ElementTree.parse(clips / "all.xml").getroot().get("failures") == "2"
    assert main([*merge, "--fail-on", "error"]) == 0
    assert main([*merge, "--output", "jsonl=1.jsonl", "--force"]) == 2
    assert "is a file that is read" in capsys.readouterr().err


def test_a_report_cannot_take_the_place_of_the_results_to_resume(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["good.mp4", "--resume", "r.jsonl", "--output", "jsonl=r.jsonl", "--force"]) == 2
    assert "r.jsonl is a file that is read" in capsys.readouterr().err


def test_a_file_is_weaker_than_the_environment_and_that_than_an_option(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clips / "avcheck.toml").write_text("preset = 'film'\naudio-track = 3\ndevice = 'cpu'\n")
    assert main(["good.mp4"]) == 0
    monkeypatch.setenv("AVCHECK_AUDIO_TRACK", "4")
    assert (
        main(["good.mp4"])
        == main(["good.mp4", "--audio-track", "5"])
        == main(["--no-config", "good.mp4"])
        == 0
    )
    assert main(["good.mp4", "--audio", "late.mp4"]) == 0
    assert [(made.device, made.calls[0]["settings"].audio_tracks) for made in fake_scan.MADE] == [
        ("cpu", (3,)),
        ("cpu", (4,)),
        ("cpu", (5,)),
        ("auto", (4,)),
        ("cpu", ()),
    ]
    assert [made.calls[0]["settings"].tolerance for made in fake_scan.MADE[:4]] == [
        *[PRESETS["film"]] * 3,
        PRESETS["ebu-r37"],
    ]


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("include = ['a*b*c*d*']", "{}/avcheck.toml: include: 'a*b*c*d*' has more than 3 stars"),
        ("model = 'gone.st'", "{0}/avcheck.toml: model: cannot read {0}/gone.st: No such file"),
    ],
)
def test_what_is_wrong_with_a_setting_names_the_place_where_it_was_made(
    clips: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    setting: str,
    place: str,
) -> None:
    """Not the option, which nobody gave."""
    (clips / "avcheck.toml").write_text(setting)
    assert main(["."]) == 2
    assert capsys.readouterr().err.startswith(f"avcheck: {place.format(clips)}")
    monkeypatch.setenv("AVCHECK_INCLUDE", "x*b*c*d*")
    assert main(["--no-config", "."]) == 2
    assert capsys.readouterr().err.startswith("avcheck: AVCHECK_INCLUDE: 'x*b*c*d*' has more")
    assert main(["--no-config", ".", "--include", "y*b*c*d*"]) == 2
    assert capsys.readouterr().err.startswith("avcheck: --include: 'y*b*c*d*' has more")


def test_tracks_by_number_and_by_language_exclude_each_other_in_one_place_only(
    clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips / "avcheck.toml").write_text("audio-track = 3\n")
    (clips / "both.toml").write_text("audio-track = 3\nlanguage = 'fr'\n")
    assert main(["--config", "both.toml", "good.mp4"]) == 2
    assert "in one of these ways only" in capsys.readouterr().err
    monkeypatch.setenv("AVCHECK_LANGUAGE", "de")
    assert main(["good.mp4"]) == main(["good.mp4", "--audio-track", "5"]) == 0
    assert main(["--config", "both.toml", "good.mp4", "--language", "it"]) == 0
    settings = [made.calls[0]["settings"] for made in fake_scan.MADE]
    assert [(each.audio_tracks, each.languages) for each in settings] == [
        ((), ("de",)),
        ((5,), ()),
        ((), ("it",)),
    ]


def test_a_preset_on_the_command_line_drops_the_limits_of_the_file(clips: Path) -> None:
    (clips / "pyproject.toml").write_text("[tool.avcheck]\nearly = 1\nlate = 2\n")
    assert (
        main(["good.mp4"])
        == main(["good.mp4", "--preset", "film"])
        == main(["good.mp4", "--late", "9"])
        == 0
    )
    assert [made.calls[0]["settings"].tolerance for made in fake_scan.MADE] == [
        Tolerance(1, 2),
        PRESETS["film"],
        Tolerance(1, 9),
    ]


def test_format_and_fail_on_from_a_file(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clips / "other.toml").write_text("format = 'jsonl'\nfail-on = ['undecidable']\n")
    assert main(["--config", "other.toml", "late.mp4"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "out_of_sync"
    assert main(["--config", "other.toml", "unsure.mkv", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "undecidable"
    assert (
        main(["--config=other.toml", "late.mp4", "--format", "text", "--fail-on", "out-of-sync"])
        == 1
    )
    assert capsys.readouterr().out.startswith("late.mp4: out of sync")
    assert main(["-v", "--config=other.toml", "late.mp4"]) == 0
    assert capsys.readouterr().err == "avcheck: settings from other.toml\n"


@pytest.mark.parametrize(
    "args", [["--help"], ["check", "--help"], ["check", "--version"], ["--no-config", "good.mp4"]]
)
def test_wrong_settings_do_not_keep_from_help(clips: Path, args: list[str]) -> None:
    (clips / "avcheck.toml").write_text("presset = 'film'\n")
    assert main(args) == 0
    assert main(["good.mp4"]) == 2


@contextmanager
def from_stdin(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As `< path` in a shell."""
    before = os.dup(0)
    try:
        with path.open() as file:
            os.dup2(file.fileno(), 0)
            monkeypatch.setattr("sys.stdin", file)
            yield
    finally:
        os.dup2(before, 0)
        os.close(before)


@pytest.mark.parametrize("how", ["itself", "a hard link", "a link"])
@pytest.mark.parametrize(
    ("args", "read"),
    [
        (["--files-from", "list.txt"], "list.txt"),
        (["--files-from", "-"], "list.txt"),
        (["--config", "other.toml", "lib"], "other.toml"),
        (["good.mp4"], "avcheck.toml"),
        (["--model", "w.safetensors", "lib"], "w.safetensors"),
        (["--audio", "dub.wav", "good.mp4"], "dub.wav"),
        (["--resume", "r.jsonl", "lib"], "r.jsonl"),
        (["good.mp4", "late.mp4"], "late.mp4"),
        (["lib"], "lib/deep/late.webm"),
        (["lib", "--shard", "1/2"], "lib/deep/late.webm"),
        (["lib", "--shard", "2/2"], "lib/deep/late.webm"),
        (["good.mp4", "--shard", "1/2"], "good.mp4"),
        (["good.mp4", "--shard", "2/2"], "good.mp4"),
        (["lib"], "lib/.avcheckignore"),
        (["merge", "r.jsonl"], "r.jsonl"),
    ],
)
def test_force_never_writes_over_what_is_read(
    clips: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    read: str,
    how: str,
) -> None:
    if args[0] == "merge":
        assert main(["good.mp4", "--resume", "r.jsonl"]) == 0
    (clips / "list.txt").write_text("good.mp4\n")
    for name in ("avcheck.toml", "other.toml", "lib/.avcheckignore", "w.safetensors", "dub.wav"):
        (clips / name).write_text("# nothing")
    (clips / "r.jsonl").touch()
    target = {"itself": read, "a hard link": "hard.txt", "a link": "link.txt"}[how]
    if how == "a hard link":
        os.link(read, target)
    elif how == "a link":
        Path(target).symlink_to(read)
    before = (clips / read).read_bytes()
    fake_scan.MADE.clear()
    capsys.readouterr()
    line = [*args, "--output", f"json={target}", "--force"]
    if "-" in args:
        with from_stdin(Path("list.txt"), monkeypatch):
            code = main(line)
    else:
        code = main(line)
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("avcheck: --output: ") and err.endswith(" is a file that is read\n")
    assert (clips / read).read_bytes() == before
    assert fake_scan.MADE == []


def test_force_writes_over_an_old_report_of_a_new_resume_file(clips: Path) -> None:
    (clips / "old.json").write_text("[]")
    assert main(["lib", "--output", "json=old.json", "--force", "--resume", "r.jsonl"]) == 1
    assert len(json.loads((clips / "old.json").read_text())) == 2
    assert main(["lib", "--output", "json=r2.jsonl", "--resume", "./r2.jsonl"]) == 2
