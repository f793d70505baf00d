"""The README keeps up with the command: every command, option, preset and exit code is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from avcheck.cli import ExitCode, app
from avcheck.results import PRESETS

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


def test_the_readme_shows_its_test_command(readme: str) -> None:
    assert "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/python -m pytest" in readme
