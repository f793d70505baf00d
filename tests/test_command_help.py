"""Help, completion and the words for wrong usage, as they look on a terminal of 80 columns."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from avcheck.cli.app import app, main

COMMANDS: Mapping[str, Any] = typer.main.get_group(app).commands
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 80)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns_and_names_no_type(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert not re.search(r"<[a-z\[\]]+>", shown), "a type of Python"
    for option in (
        option
        for each in COMMANDS[name].params
        for option in each.opts
        if option.startswith("--") and not getattr(each, "hidden", False)
    ):
        assert option in shown.replace("│", " ").split(), "the name of an option is broken"


def test_the_options_of_check_stand_in_panels(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--help"]) == 0
    shown = capsys.readouterr().out
    titles = [row.strip("╭╮─ ") for row in shown.splitlines() if row.startswith("╭")]
    assert titles == [
        "Arguments",
        "Input",
        "Analysis",
        "Verdict and exit code",
        "Output",
        "Batch",
        "Resume and shards",
        "General",
    ]
    assert "Examples:" in shown and "avcheck --json film.mp4" in shown


def test_help_is_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["help"], ["--help"], ["help", "diff"], ["diff", "--help"]):
        assert main(args) == 0
    shown = capsys.readouterr().out
    assert (
        shown.count("Usage: avcheck [OPTIONS] PATH... | COMMAND")
        == shown.count("Usage: avcheck diff")
        == 2
    )
    assert main(["help", "dif"]) == 2
    assert capsys.readouterr().err == "avcheck: there is no command 'dif'; did you mean diff?\n"


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("diff", "avcheck diff [OPTIONS] OLD NEW"),
        ("merge", "avcheck merge [OPTIONS] FILE..."),
        ("show", "avcheck show [OPTIONS] RESULTS [FILE]..."),
        ("check", "avcheck check [OPTIONS] [PATH]..."),
    ],
)
def test_what_a_command_needs_stands_bare_in_its_usage(
    command: str, usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert f"Usage: {usage}" in lines


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (
            ["--verison"],
            "there is no option --verison; did you mean --version? (see avcheck check --help)",
        ),
        (
            ["a.mp4", "--jsn"],
            "there is no option --jsn; did you mean --json? (see avcheck check --help)",
        ),
        (
            ["a.mp4", "--nope"],
            "there is no option --nope (see avcheck check --help)",
        ),  # not --model
        (["a.mp4", "--zzz"], "there is no option --zzz (see avcheck check --help)"),
        (["a.mp4", "--early", "soon"], "--early must be a number (see avcheck check --help)"),
        (["a.mp4", "-j", "x"], "--jobs must be a whole number (see avcheck check --help)"),
        (["a.mp4", "--jobs", "-1"], "--jobs must be at least 0 (see avcheck check --help)"),
        (
            ["a.mp4", "--device", "tpu"],
            "--device is 'tpu', not one of 'auto', 'cpu', 'cuda', 'mps' (see avcheck check --help)",
        ),
        (
            ["a.mp4", "--early", os.fsdecode(b"\xff")],
            "--early must be plain text (UTF-8) (see avcheck check --help)",
        ),
        (["a.mp4", "--json=3"], "--json takes no value (see avcheck check --help)"),
        (["a.mp4", "--audio"], "--audio needs a value (see avcheck check --help)"),
        (["chek", "a.mp4"], "there is no file and no command 'chek'; did you mean check?"),
        (["merge"], "FILE is missing (see avcheck merge --help)"),
        (["diff", "a.jsonl"], "NEW is missing (see avcheck diff --help)"),
        (["demo", "x"], "unexpected argument: x (see avcheck demo --help)"),
        # What the library refuses names the option too
        (["a.mp4", "--timeout", "0"], "--timeout must be a number of seconds above 0, not 0"),
        (
            ["watch", ".", "--timeout", "nan"],
            "--timeout must be a number of seconds above 0, not nan",
        ),
        (["a.mp4", "--memory-limit", "0"], "--memory-limit must be a number of MB above 0, not 0"),
        (
            ["a.mp4", "--language", "zz9"],
            "--language: 'zz9' is no language: give a code, for example fr, fra or fr-CA",
        ),
        (
            ["a.mp4", "--start", "5", "--end", "3"],
            "--end: the part from 5 s to 3 s is empty or too short; it must last at least 1 s",
        ),
    ],
)
def test_wrong_usage_is_told_in_our_words(
    args: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    assert tuple(capsys.readouterr()) == ("", f"avcheck: {says}\n")


def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "closed"
    file.write_text("x")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    for args, name in ((["check", "a.mp4", "--config"], "--config"), (["merge"], "FILE")):
        assert main([*args, str(file)]) == 2
        says = f"avcheck: {name} names {str(file)!r}, which cannot be read; check its permissions"
        assert capsys.readouterr().err.replace(str(file), repr(str(file))).startswith(says)


def complete(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What bash is told for a line whose last word is being typed."""
    words = line.split(" ")
    asked = {
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_AVCHECK_COMPLETE": "complete_bash",
        **environment,
    }
    return subprocess.run(
        [sys.executable, "-m", "avcheck"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **asked},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("avcheck --js", ["--json"]),  # of the default command
        ("avcheck film.mp4 --preset", ["--preset"]),
        ("avcheck check --device ", ["auto", "cpu", "cuda", "mps"]),
        ("avcheck fix a.mp4 b.mp4 --preset itu-", ["itu-detect", "itu-accept"]),
        ("avcheck di", ["diff", "dialogue.mp4"]),
        ("avcheck film", []),  # the shell looks for files
        ("avcheck help co", ["compare"]),
    ],
)
def test_completion_knows_options_values_commands_and_files(
    tmp_path: Path, line: str, completions: list[str]
) -> None:
    for name in ("dialogue.mp4", "film.mp4", ".hidden.mp4"):
        (tmp_path / name).touch()
    done = complete(line, tmp_path)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, completions, "")


def test_a_candidate_of_fish_is_one_line(tmp_path: Path) -> None:
    asked = {
        "_AVCHECK_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": "avcheck check --",
        "COLUMNS": "80",
    }
    done = complete("", tmp_path, **asked)
    assert (done.returncode, done.stderr) == (0, "")
    options = {option for each in COMMANDS["check"].params for option in _long(each)}
    candidates = {line.split("\t")[0] for line in done.stdout.splitlines()}
    assert candidates == options | {"--help"}


def _long(parameter: Any) -> list[str]:
    """The long names of an option."""
    names = [*parameter.opts, *parameter.secondary_opts]
    return [name for name in names if name.startswith("--")]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_zsh_loses_no_apostrophe(name: str) -> None:
    """Typer's script for it drops them: "the presets" for "the preset's"."""
    command = COMMANDS[name]
    listed = [command.get_short_help_str(), *(each.help or "" for each in command.params)]
    assert not [text for text in listed if "'" in text]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script_that_it_can_read(tmp_path: Path, shell: str) -> None:
    done = complete("", tmp_path, _AVCHECK_COMPLETE=f"source_{shell}")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_AVCHECK_COMPLETE=complete_{shell}" in done.stdout
    if (program := shutil.which(shell)) is not None:
        read = subprocess.run(
            [program, "-n"],
            input=done.stdout,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (read.returncode, read.stderr) == (0, "")


def test_an_unknown_shell_is_wrong_usage(tmp_path: Path) -> None:
    done = complete("", tmp_path, _AVCHECK_COMPLETE="bash_source")
    assert (done.returncode, done.stdout) == (2, "")
