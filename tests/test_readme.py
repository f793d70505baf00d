"""The README keeps up with the command: every command, option, preset and exit code is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from avcheck import config
from avcheck.cli import app
from avcheck.gate import ExitCode, FailOn, Gate
from avcheck.report import FORMATS
from avcheck.results import PRESETS, Report

README = Path(__file__).parent.parent / "README.md"
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def readme() -> str:
    return README.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(readme: str, name: str) -> None:
    assert re.search(rf"\bavcheck {name}\b", readme)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (name, option)
        for name, each in COMMANDS.items()
        for parameter in each.params
        for option in parameter.opts
        if option.startswith("-")
    ],
)
def test_every_option_is_in_the_readme(readme: str, command: str, option: str) -> None:
    assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", readme), f"avcheck {command} {option}"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_in_the_readme(readme: str, preset: str) -> None:
    assert preset in readme


@pytest.mark.parametrize("code", [code for code in ExitCode if code is not ExitCode.BROKEN_PIPE])
def test_every_exit_code_is_in_the_readme(readme: str, code: ExitCode) -> None:
    assert re.search(rf"(?m)^[|*\s-]*`?{int(code)}`?\b", readme), f"a table row or list item that begins with {int(code)}"


@pytest.mark.parametrize("name", [*FORMATS, *FailOn, *Report("a.mp4", "in_sync").to_record()])
def test_every_format_and_field_is_in_the_readme(readme: str, name: str) -> None:
    assert f"`{name}`" in readme


@pytest.mark.parametrize("key", config.KEYS)
def test_every_setting_is_in_the_readme(readme: str, key: str) -> None:
    (row,) = [row for row in readme.splitlines() if row.startswith("|") and f"`{config.variable(key)}`" in row]
    assert f"`{key}`" in row.split("|")[1]


def test_the_readme_s_settings_are_settings(readme: str, tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(example, encoding="utf-8")
    assert set(config.read(tmp_path / "pyproject.toml")) == {"preset", "fail-on"}


def test_the_readme_s_table_of_fail_on_is_true(readme: str) -> None:
    rows = re.findall(r"^\| ([^|]*(?:--fail-on|all three)[^|]*) \| (\d) \| (\d) \| (\d) \|$", readme, re.MULTILINE)
    assert len(rows) == 7  # every choice; the default is out-of-sync with error
    for words, *codes in rows:
        if words == "without `--fail-on`":
            gate = Gate()
        elif words == "all three":
            gate = Gate(frozenset(FailOn))
        else:
            gate = Gate(frozenset(FailOn(word) for word in re.findall(r"--fail-on ([\w-]+)", words)))
        found = [gate.exit_code({"in_sync": 1, kind.verdict: 1}) for kind in FailOn]
        assert found == [int(code) for code in codes], words


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8")))))
def test_every_file_the_readme_links_is_there(link: str) -> None:
    assert (README.parent / link).is_file()


def test_the_readme_shows_its_test_command(readme: str) -> None:
    assert "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/python -m pytest" in readme
