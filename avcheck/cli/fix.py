"""`avcheck fix`."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avcheck.cli import options as opt
from avcheck.cli.check import tolerance_of
from avcheck.cli.gate import ExitCode
from avcheck.cli.group import app
from avcheck.cli.require import require_file
from avcheck.cli.screen import Output, check_alone, complain
from avcheck.errors import UsageError
from avcheck.record.report import USUAL_REACH_S
from avcheck.settings import PROBES, CheckSettings, only_track

if TYPE_CHECKING:
    from avcheck.fix.repair import Check
    from avcheck.record.report import Report

# A file that is out of sync and was not fixed exits with 1, as it does in `avcheck check`.
_CODES = {
    "fixed": ExitCode.OK,
    "in_sync": ExitCode.OK,
    "planned": ExitCode.OK,
    "refused": ExitCode.OUT_OF_SYNC,
    "failed": ExitCode.OUT_OF_SYNC,
    "undecidable": ExitCode.NOT_JUDGED,
    "error": ExitCode.NOT_JUDGED,
}


@app.command()
def fix(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The file to fix; it is only read.")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="The new file; its suffix says its container.")
    ],
    force_offset: Annotated[
        float | None,
        opt.option(
            "--force-offset",
            panel=opt.ANALYSIS,
            metavar="MS",
            help="Take this offset for true, positive = sound early; only the clock is checked, "
            "not the content.",
        ),
    ] = None,
    every_track: Annotated[
        bool,
        opt.option(
            "--every-track",
            panel=opt.INPUT,
            help="Move all audio tracks alike, not the checked one alone.",
        ),
    ] = False,
    audio_track: opt.AudioTrack = None,
    audio: Annotated[Path | None, opt.option("--audio", hidden=True)] = None,
    video_track: opt.VideoTrack = None,
    sample: opt.Sample = False,
    reach: opt.Reach = USUAL_REACH_S,
    thorough: opt.Thorough = False,
    device: opt.Device = "auto",
    model: opt.Model = None,
    preset: opt.Preset = None,
    early: opt.Early = None,
    late: opt.Late = None,
    print_command: Annotated[
        bool,
        opt.option(
            "--print-command",
            panel=opt.OUTPUT,
            help="Write no file: print the ffmpeg command that moves the sound.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        opt.option("--json", panel=opt.OUTPUT, help="Print the record of what was found and done."),
    ] = False,
    quiet: Annotated[
        bool,
        opt.option("--quiet", "-q", panel=opt.OUTPUT, help="Say nothing if OUT or IN is in sync."),
    ] = False,
) -> None:
    """Write OUT, a copy of IN with the sound where it belongs.

    IN is checked first; if it is in sync or undecidable, nothing is written. Packets are copied and
    the sound gets new times; it is encoded again only where it drifts. OUT gets its name only after
    its times have been read back and it has been checked.

    Exit codes: 0 OUT is in sync, or IN was and nothing was written; 1 IN is out of sync and was not
    fixed; 2 IN cannot be judged; 3 a bug.
    """
    if force_offset is not None and not (math.isfinite(force_offset) and force_offset):
        raise UsageError(
            f"--force-offset must be a number of milliseconds other than 0, not {force_offset:g}"
        )
    if as_json and print_command:
        raise UsageError(
            "--json and --print-command contradict each other: the record of a fix holds what was "
            "done"
        )
    if audio is not None:
        from avcheck.fix.command import joining_line

        raise UsageError(
            "fix moves a sound that is in IN, so it takes no --audio; put yours beside the picture "
            f"first, and fix that: {joining_line(source, audio)}"
        )
    require_file("IN", source)
    if model is not None:
        require_file("--model", model)
    settings = CheckSettings(
        tolerance=tolerance_of(preset, early, late),
        device=device,
        model=model,
        sample=PROBES if sample else None,
        reach_s=reach,
        thorough=thorough,
    )

    from avcheck.fix.repair import FixSettings, fix_file
    from avcheck.fix.text import fixed_text

    wanted = FixSettings(audio_track, video_track, every_track, force_offset, print_command)
    result = fix_file(source, target, wanted, _checker(settings, quiet=quiet))
    code = _CODES[result.status]
    if any(report.is_bug for report in (result.before, result.after) if report is not None):
        code = ExitCode.BUG
    output = Output("text", quiet=quiet, detailed=False)
    if result.command is not None:
        output.write(result.command + "\n")
        for note in () if quiet else result.notes:
            complain(note, prefix="note: ")
    elif as_json:
        output.write(json.dumps(result.to_record(), indent=2) + "\n")
    elif code is ExitCode.OK and not quiet:
        output.write(fixed_text(result))
    if code is not ExitCode.OK and not as_json:
        complain(fixed_text(result).splitlines()[-1], prefix="")
    raise typer.Exit(code)


def _checker(settings: CheckSettings, *, quiet: bool) -> Check:
    """A function that checks a file as `avcheck check` does, with its progress bar."""

    def check(path: Path, audio_track: int | None, video_track: int | None) -> Report:
        tracks = only_track(audio_track)
        return check_alone(
            path, replace(settings, audio_tracks=tracks, video_track=video_track), quiet=quiet
        )

    return check
