"""Checks of the commands' arguments beyond their types. Each raises UsageError."""

from __future__ import annotations

import stat
from pathlib import Path

import typer

from avcheck.errors import UsageError
from avcheck.render import ONE_TITLE, Format


def require_one_title(form: str, outputs: list[str] | None, total: int) -> None:
    """Raise UsageError if a format that holds one title is asked for several."""
    forms = (form, *(each.partition("=")[0] for each in outputs or ()))
    for each in ONE_TITLE:
        if each in forms and total > 1:
            raise UsageError(
                f"the format {each} holds one title, and there are {total}; otio and fcpxml hold "
                "many"
            )


def format_of(as_json: bool, output_format: Format | None) -> Format:
    """What goes to stdout. Raises UsageError for --json beside another --format."""
    if as_json and output_format not in (None, "json"):
        raise UsageError(f"--json and --format {output_format} contradict each other")
    return "json" if as_json else output_format or "text"


def require_sample(ctx: typer.Context) -> None:
    """Raise UsageError if --probes was given without --sample."""
    source = ctx.get_parameter_source("probes")
    if source is not None and source.name == "COMMANDLINE" and not ctx.params["sample"]:
        raise UsageError("--probes goes with --sample")


def require_file(name: str, path: Path) -> None:
    """Raise UsageError about `name`, an option or a parameter of the command, if this is no regular
    file that can be read.
    """
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", name) from error
    raise UsageError(f"{path} is not a regular file", name)


def require_directory(path: Path) -> None:
    """Raise UsageError if this is no directory."""
    if not path.is_dir():
        raise UsageError(
            f"{path} is not a directory" if path.exists() else f"{path}: no such file or directory"
        )
