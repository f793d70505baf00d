"""`avcheck help`."""

from __future__ import annotations

from typing import Annotated

import typer

from avcheck.cli.group import app
from avcheck.cli.usage import nearest
from avcheck.errors import UsageError


def _commands(ctx: typer.Context, incomplete: str) -> list[str]:
    return [name for name in ctx.find_root().command.commands if name.startswith(incomplete)]  # type: ignore[attr-defined]


@app.command(name="help")
def show_help(
    ctx: typer.Context,
    command: Annotated[
        str | None,
        typer.Argument(
            metavar="COMMAND",
            help="The command to explain.",
            show_default=False,
            autocompletion=_commands,
        ),
    ] = None,
) -> None:
    """Explain avcheck, or one of its commands: the same as COMMAND --help."""
    shown = root = ctx.find_root()
    if command is not None:
        commands = root.command.commands  # type: ignore[attr-defined]
        if command not in commands:
            raise UsageError(f"there is no command {command!r}{nearest(command, commands)}")
        shown = typer.Context(commands[command], info_name=command, parent=root)
    print(shown.get_help(), end="")  # Typer has already printed it, unless Rich is missing
