"""docs/cli.md and the man page, made from the command's own help;
`python -m tests.support.option_tables` writes them anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import typer

from avcheck import __version__
from avcheck.cli.app import app

PROJECT = Path(__file__).parents[2]
PAGE, MAN_PAGE = PROJECT / "docs" / "cli.md", PROJECT / "avcheck" / "man" / "avcheck.1"
ROOT = typer.main.get_group(app)
COMMANDS = ROOT.commands

HEAD = """# Commands and options

Made from `avcheck --help` by `python -m tests.support.option_tables`; `avcheck COMMAND --help` and
`avcheck help COMMAND` print the same, and so does `man avcheck` where the environment that avcheck
is installed in is activated.

`avcheck PATH...` is short for `avcheck check PATH...`. Results go to stdout, progress and errors to
stderr. Paths that cannot be checked at all (missing, unreadable, a directory without media) are
reported first; then come the files in the order given, those of a directory sorted by name.

`avcheck --install-completion` sets up completion of commands, options, values and files in the
shell it is called from (bash, zsh, fish, PowerShell), and `avcheck --show-completion` prints the
script for it. `_AVCHECK_COMPLETE=source_zsh avcheck` prints that of another shell (`source_bash`,
`source_fish`).
"""


def page() -> str:
    """The whole document."""
    parts = [HEAD]
    for name, command in COMMANDS.items():
        parts.append(f"\n## avcheck {name}\n\n{words(command.help)}\n")
        for panel, parameters in panels(command):
            rows = (
                f"{cell(', '.join(f'`{each}`' for each in names(command, parameter)))} "
                f"{cell(meaning(parameter))} |\n"
                for parameter in parameters
            )
            parts.append(f"\n| {panel} | |\n| --- | --- |\n{''.join(rows)}")
    return "".join(parts)


def man_page() -> str:
    """The same as a man page (roff)."""
    parts = [
        f'.TH AVCHECK 1 "" "avcheck {__version__}" "User Commands"\n.SH NAME\navcheck \\- '
        f"{roff(words(ROOT.help))}\n"
    ]
    parts.append(
        ".SH SYNOPSIS\n.B avcheck\n[\\fIOPTIONS\\fR] \\fIPATH\\fR...\n.br\n.B "
        "avcheck\n\\fICOMMAND\\fR [\\fIARGS\\fR]...\n"
    )
    assert ROOT.epilog is not None
    description, exit_codes = ROOT.epilog.split("\n\n")
    parts.append(f".SH DESCRIPTION\n{roff(words(description))}\n")
    for name, command in COMMANDS.items():
        parts.append(f".SH AVCHECK {name.upper()}\n{roff(words(command.help))}\n")
        for panel, parameters in panels(command):
            parts.append(f".SS {panel}\n")
            for parameter in parameters:
                parts.append(
                    ".TP\n.B "
                    f"{roff(', '.join(names(command, parameter)))}\n{roff(meaning(parameter))}\n"
                )
    parts.append(f".SH EXIT STATUS\n{roff(words(exit_codes))}\n")
    return "".join(parts)


def panels(command: Any) -> Iterator[tuple[str, list[Any]]]:
    """The parameters of a command by the panel of its help that they stand in, without --help and
    hidden ones.
    """
    parameters = [
        each
        for each in command.params
        if each.name != "help" and not getattr(each, "hidden", False)
    ]
    for panel, members in groupby(parameters, key=panel_of):
        yield panel, list(members)


def panel_of(parameter: Any) -> str:
    return str(
        parameter.rich_help_panel
        or ("Arguments" if parameter.param_type_name == "argument" else "Options")
    )


def names(command: Any, parameter: Any) -> list[str]:
    """Every way to write a parameter, with the value that it takes."""
    if parameter.param_type_name == "argument":
        return [parameter.metavar or parameter.name]
    value = (
        ""
        if getattr(parameter, "is_flag", False)
        else f" {parameter.metavar or kind(command, parameter)}"
    )
    return [f"{option}{value}" for option in [*parameter.opts, *parameter.secondary_opts]]


def kind(command: Any, parameter: Any) -> str:
    """The kind of value that an option without a metavar takes."""
    return str(parameter.display_type(typer.Context(command))).strip("<>")


def meaning(parameter: Any) -> str:
    return words(getattr(parameter, "help", None))


def cell(text: str) -> str:
    """The beginning of a row of a table in Markdown, with this text in it."""
    return "| " + text.replace("|", "\\|")


def words(text: str | None) -> str:
    return " ".join((text or "").split())


def roff(text: str) -> str:
    """Plain text as roff takes it."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    MAN_PAGE.write_text(man_page(), encoding="utf-8")
