"""`avcheck signal`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avcheck.cli.check import tolerance_of
from avcheck.cli.group import CONTEXT, app
from avcheck.cli.options import ExitZero, FailOns, Format, gate_of
from avcheck.cli.screen import Output
from avcheck.errors import MediaError, UsageError


@app.command(context_settings=CONTEXT)
def signal(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording of a test signal.")],
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="As of check.")] = None,
    early: Annotated[float | None, typer.Option(metavar="MS", help="How early sound may be.")] = None,
    late: Annotated[float | None, typer.Option(metavar="MS", help="How late sound may be.")] = None,
    audio_track: Annotated[int | None, typer.Option(metavar="N", min=0, help="Audio track, counted from 0.")] = None,
    video_track: Annotated[int | None, typer.Option(metavar="N", min=0, help="Picture track, counted from 0.")] = None,
    audio: Annotated[Path | None, typer.Option(metavar="FILE", help="Take the sound from this file.")] = None,
    output_format: Annotated[Format, typer.Option("--format", help="What goes to stdout.")] = "text",
    fail_on: FailOns = None,
    exit_zero: ExitZero = False,
) -> None:
    """Measure a test signal: every flash of the picture with the beep of the sound that belongs to it, one row each.

    A single pair is enough here. `avcheck check` takes a file for a test signal if it has three pairs and hardly anything else.
    """
    tolerance = tolerance_of(preset, early, late)
    gate = gate_of(fail_on, exit_zero)
    if not file.is_file():
        raise UsageError(f"{file} is not a file")
    from avcheck.signals.verdict import check_signal

    try:
        report = check_signal(file, tolerance, audio_track=audio_track, video_track=video_track, audio_path=audio)
    except MediaError as error:
        raise UsageError(str(error)) from error
    with Output(output_format, quiet=False, detailed=output_format == "text", strict=gate.undecidable_fails) as output:
        output.emit(report)
    raise typer.Exit(output.code(gate))
