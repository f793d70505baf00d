"""Commands are loaded when they are asked for, and plain values of their options without
pydantic.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from typing import Annotated, Literal

import pytest
import typer
from typer.testing import CliRunner

import avcheck.cli
from avcheck.cli.app import app
from avcheck.cli.group import App


def took(
    text: Annotated[str | None, typer.Option()] = None,
    texts: Annotated[list[str] | None, typer.Option()] = None,
    place: Annotated[Literal["here", "there"], typer.Option()] = "here",
    count: Annotated[int, typer.Option(min=1)] = 3,
    share: Annotated[float | None, typer.Option()] = None,
    flag: Annotated[bool, typer.Option()] = False,
    names: Annotated[list[str] | None, typer.Argument()] = None,
) -> None:
    print([text, texts, place, count, share, flag, names])


def test_every_command_stands_in_the_table_with_its_module() -> None:
    for module in pkgutil.iter_modules(avcheck.cli.__path__):
        importlib.import_module(f"avcheck.cli.{module.name}")
    registered = {}
    for each in app.registered_commands:
        assert each.callback is not None
        registered[each.name or each.callback.__name__] = each.callback.__module__
    commands = typer.main.get_group(app).commands
    assert {name: each.callback.__module__ for name, each in commands.items()} == registered
    assert len(commands) == len(registered)


def test_the_help_lists_every_command_in_the_order_of_the_table() -> None:
    """Also where some have been loaded before others."""
    code = (
        "import avcheck.cli.watch, avcheck.cli.lab\n"
        "from avcheck.cli.app import main; main(['--help'])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    commands = typer.main.get_group(app).commands
    listed = [word for word in re.findall(r"^│ (\w+) ", shown, re.MULTILINE) if word in commands]
    assert listed == [
        *("check", "compare", "demo", "evidence", "fix", "help", "signal", "watch"),
        *("merge", "show", "diff", "train", "eval", "ablate"),
    ]


@pytest.mark.parametrize(
    ("args", "values"),
    [
        ([], [None, None, "here", 3, None, False, None]),
        (["--text", "ä", "a"], ["ä", None, "here", 3, None, False, ["a"]]),
        (["--texts", "a", "--texts", "", "b", "c"], [None, ["a", ""], "here", 3, None, False]),
        (["--place", "there", "--flag"], [None, None, "there", 3, None, True, None]),
        (["--count", "7", "--share", "0.5"], [None, None, "here", 7, 0.5, False, None]),
        (["--count", "3"], [None, None, "here", 3, None, False, None]),
    ],
)
def test_values_are_what_typer_makes_of_them(args: list[str], values: list[object]) -> None:
    ours, theirs = App(), typer.Typer()
    for each in (ours, theirs):
        each.command()(took)
    shown = CliRunner().invoke(ours, args)
    assert shown.stdout == CliRunner().invoke(theirs, args).stdout
    assert shown.exit_code == 0
    assert shown.stdout.startswith(str(values)[:-1])


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--count", "0"], "greater than or equal to 1"),
        (["--count", "many"], "valid integer"),
        (["--place", "elsewhere"], "is not one of 'here', 'there'"),
    ],
)
def test_values_that_are_wrong_are_refused_as_by_typer(args: list[str], said: str) -> None:
    ours = App()
    ours.command()(took)
    with pytest.raises(typer.BadParameter, match=said):
        typer.main.get_command(ours).main(args, standalone_mode=False)
