"""The command's group: `avcheck PATH...` is `avcheck check PATH...`."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from avcheck.cli.options import Version

CONTEXT = {"help_option_names": ["-h", "--help"]}


class DefaultGroup(TyperGroup):
    """A group whose first word may be left out: `avcheck film.mp4` means `avcheck check film.mp4`."""

    default = "check"
    own_options = frozenset({"-h", "--help", "--version"})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command in front when the first word is neither a command nor an option of the group."""
        if args and args[0] not in self.commands and args[0] not in self.own_options:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=DefaultGroup,
    add_completion=False,
    context_settings=CONTEXT,
    subcommand_metavar="PATH... | COMMAND [ARGS]...",
    epilog=(
        "`avcheck film.mp4` is short for `avcheck check film.mp4`; `avcheck check --help` lists its options. "
        "A file or directory named like a command needs a `./` in front.\n\n"
        "Exit codes: 0 nothing out of sync, 1 something out of sync, 2 wrong usage or a file that could not be judged, "
        "3 a bug in avcheck, 130 interrupted; the highest wins. `--fail-on` changes what is a 1 or 2."
    ),
    rich_markup_mode="markdown",
)


@app.callback()
def group(version: Version = False) -> None:
    """Check whether the sound of a video is in sync with its picture, and by how much it is off."""
