"""`avcheck compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avcheck.cli import options as opt
from avcheck.cli.check import tolerance_of
from avcheck.cli.group import app
from avcheck.cli.screen import show_alone
from avcheck.errors import MediaError, UsageError


@app.command()
def compare(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="The title as it was.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The title as a pipeline made it.")],
    preset: opt.Preset = None,
    early: opt.Early = None,
    late: opt.Late = None,
    fail_on: opt.FailOns = None,
    exit_zero: opt.ExitZero = False,
    output_format: opt.OutputFormat = "text",
) -> None:
    """Say how the sync of FILE differs from that of REFERENCE, for any content: sound and picture
    are each aligned.

    It does not say whether REFERENCE itself is in sync; `avcheck check` does.
    """
    tolerance = tolerance_of(preset, early, late)
    gate = opt.gate_of(fail_on, exit_zero)
    for path in (reference, file):
        if not path.is_file():
            raise UsageError(f"{path} is not a file")
    from avcheck.compare.verdict import compare_files

    try:
        result = compare_files(reference, file, tolerance)
    except MediaError as error:
        raise UsageError(str(error)) from error
    raise typer.Exit(show_alone(result, output_format, gate))
