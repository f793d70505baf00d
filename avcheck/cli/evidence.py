"""`avcheck evidence`."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from avcheck.cli import options as opt
from avcheck.cli.gate import ExitCode
from avcheck.cli.group import app
from avcheck.cli.require import require_file
from avcheck.cli.screen import Output, check_alone, complain
from avcheck.errors import UsageError
from avcheck.files import why_not_new
from avcheck.render import printable
from avcheck.settings import CheckSettings, only_track
from avcheck.times import clock


@app.command()
def evidence(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The title.")],
    target: Annotated[Path, typer.Argument(metavar="OUT.mp4", help="The film to write.")],
    at: Annotated[
        float | None,
        opt.option(
            "--at",
            panel=opt.OUTPUT,
            metavar="S",
            help="Where the film begins. Default: where the evidence is strongest.",
        ),
    ] = None,
    length: Annotated[
        float,
        opt.option(
            "--length",
            panel=opt.OUTPUT,
            metavar="S",
            help="How many seconds, from 5 to 15. Default: 8.",
        ),
    ] = 8.0,
    audio_track: opt.AudioTrack = None,
    video_track: opt.VideoTrack = None,
    device: opt.Device = "auto",
    model: opt.Model = None,
    force: Annotated[
        bool, opt.option("--force", panel=opt.OUTPUT, help="Write over a film that exists.")
    ] = False,
) -> None:
    """Check a title and show why: a film of its most telling seconds as they are, then with the
    offset taken out.

    The picture shows where the attention falls; below it runs the sound, with a mark where the
    picture's own sound is heard. Exit code 0 if the film was written, whatever the verdict; else 2.
    """
    require_file("FILE", file)
    if model is not None:
        require_file("--model", model)
    if target.suffix.lower() != ".mp4":
        raise UsageError(
            "the film is an MP4, so its name must end in .mp4, not "
            f"{target.suffix or target.name!r}"
        )
    if why := why_not_new(target):
        raise UsageError(why)
    if os.path.lexists(target):
        if not target.is_file():
            raise UsageError(f"{target} is not a regular file")
        if target.samefile(file):
            raise UsageError(f"{target} is the title itself; give the film another name")
        if not force:
            raise UsageError(f"{target} exists already; --force writes over it")

    from avcheck.evidence.film import make_film, telling_span

    output = Output("text", quiet=False, detailed=False)
    settings = CheckSettings(
        device=device,
        model=model,
        audio_tracks=only_track(audio_track),
        video_track=video_track,
        detail=True,
    )
    report = check_alone(file, settings, quiet=False)
    output.emit(report)
    if report.verdict == "error":
        raise typer.Exit(ExitCode.NOT_JUDGED)
    span = telling_span(report, length, at)
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    try:
        make_film(report, span, partial)
        partial.replace(target)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    complain(
        f"{printable(str(target))} shows {clock(span.start_s)} to {clock(span.end_s)}", prefix=""
    )
