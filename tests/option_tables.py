"""The tables of docs/cli.md, made from the command's own help: `python -m tests.option_tables` writes them anew."""

from __future__ import annotations

from pathlib import Path

import typer

from avcheck.cli.app import app

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]

HEAD = """# Commands and options

Made from `avcheck --help` by `python -m tests.option_tables`; `avcheck COMMAND --help` prints the same.

`avcheck PATH...` is short for `avcheck check PATH...`. Results go to stdout, progress and errors to stderr.
Paths that cannot be checked at all (missing, unreadable, a directory without media) are reported first; then come the files in
the order given, those of a directory sorted by name.
"""


def page() -> str:
    """The whole document."""
    parts = [HEAD]
    for name, command in COMMANDS.items():
        words = " ".join((command.help or "").split())
        parts.append(f"\n## avcheck {name}\n\n{words}\n\n| option | meaning |\n| --- | --- |\n{''.join(rows(command))}")
    return "".join(parts)


def rows(command: typer.core.TyperCommand) -> list[str]:
    """One row a parameter."""
    found = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            names = f"`{parameter.metavar or parameter.name}`"
        else:
            shown = [*parameter.opts, *parameter.secondary_opts]
            value = "" if getattr(parameter, "is_flag", False) else f" {parameter.metavar or _kind(command, parameter)}"
            names = ", ".join(f"`{option}{value}`" for option in shown)
        text = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")
        found.append(f"| {names.replace('|', chr(92) + '|')} | {text or 'Print the help and exit.'} |\n")
    return found


def _kind(command: typer.core.TyperCommand, parameter: typer.core.TyperOption) -> str:
    """What an option without a metavar takes."""
    return str(parameter.display_type(typer.Context(command))).strip("<>")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
