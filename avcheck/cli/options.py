"""Options that several commands share, and what checks their values."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, Literal

import typer

from avcheck import __version__
from avcheck.cli import config
from avcheck.cli.gate import FailOn, Gate
from avcheck.errors import UsageError


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"avcheck {__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where the network runs; auto takes a GPU if there is one.")
]
Model = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Weights to use (safetensors) in place of those that came with avcheck.")
]


def _configure(ctx: typer.Context, file: Path | None) -> Path | None:
    """Put what the settings file and the environment say in place of the options' defaults; which file that was."""
    if file is not None:
        require_file("--config", file)
    elif not ctx.params.get("no_config"):
        file = config.find(Path())
    names = {option: parameter.name for parameter in ctx.command.params for option in parameter.opts}
    settings = config.load(os.environ, file)
    ctx.default_map = {names[f"--{key}"]: value for key, value in settings.items()}
    return file


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings to use in place of the nearest avcheck.toml or pyproject.toml.",
        callback=_configure,
        is_eager=True,
    ),
]
# Eager, as it must be known when --config is looked at.
NoConfig = Annotated[
    bool, typer.Option("--no-config", help="Read no configuration file; AVCHECK_* variables still count.", is_eager=True)
]

Format = Literal["text", "json", "jsonl", "junit", "github", "csv"]
Outputs = Annotated[
    list[str] | None,
    typer.Option("--output", metavar="FORMAT=FILE", help="Also write a file, as in junit=report.xml. May be repeated."),
]
Force = Annotated[bool, typer.Option("--force", help="Let --output write over files that exist.")]
FailOns = Annotated[
    list[FailOn] | None,
    typer.Option("--fail-on", help="What makes the exit code other than 0. May be repeated. Default: out-of-sync and error."),
]
ExitZero = Annotated[bool, typer.Option("--exit-zero", help="Exit 0 in place of 1; errors keep their code.")]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Only what is out of sync, and errors; undecidable only with --fail-on undecidable."),
]


def gate_of(fail_on: list[FailOn] | None, exit_zero: bool) -> Gate:
    return Gate(frozenset(fail_on), exit_zero) if fail_on else Gate(exit_zero=exit_zero)


def require_file(option: str, path: Path) -> None:
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return
    except OSError as error:
        raise UsageError(f"{option}: cannot read {path}: {error.strerror}") from error
    raise UsageError(f"{option}: {path} is not a regular file")


def require_directory(path: Path) -> None:
    if not path.is_dir():
        raise UsageError(f"{path} is not a directory" if path.exists() else f"{path}: no such file or directory")
