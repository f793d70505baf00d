"""`avcheck signal`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avcheck.cli import options as opt
from avcheck.cli.check import tolerance_of
from avcheck.cli.group import app
from avcheck.cli.require import format_of, require_file
from avcheck.cli.screen import show_alone
from avcheck.errors import MediaError, UsageError


@app.command()
def signal(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording of a test signal.")],
    audio_track: opt.AudioTrack = None,
    video_track: opt.VideoTrack = None,
    program: opt.Program = None,
    audio: opt.Audio = None,
    preset: opt.Preset = None,
    early: opt.Early = None,
    late: opt.Late = None,
    fail_on: opt.FailOns = None,
    exit_zero: opt.ExitZero = False,
    output_format: opt.OutputFormat = None,
    as_json: opt.AsJson = False,
) -> None:
    """Measure a test signal, one row for each event: flash and beep, countdown and tick, 2-pop, the
    clap of a clapperboard, or the stamps of av-drift-detector.

    A single pair is enough here. `avcheck check` takes a file for a test signal if it has three
    pairs and hardly anything else.
    """
    form = format_of(as_json, output_format)
    tolerance = tolerance_of(preset, early, late)
    gate = opt.gate_of(fail_on, exit_zero)
    require_file("FILE", file)
    if audio is not None:
        require_file("--audio", audio)
    from avcheck.signals.verdict import check_signal

    try:
        report = check_signal(
            file,
            tolerance,
            audio_track=audio_track,
            video_track=video_track,
            program=program,
            audio_path=audio,
        )
    except MediaError as error:
        raise UsageError(str(error)) from error
    raise typer.Exit(show_alone(report, form, gate))
