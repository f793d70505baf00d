"""`avcheck compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avcheck.batch.discovery import Selection, parse_shard
from avcheck.cli import options as opt
from avcheck.cli.check import CheckRun, Resumption, carry_out, limits_of, tolerance_of
from avcheck.cli.group import app
from avcheck.cli.require import format_of, require_one_title
from avcheck.cli.screen import Output
from avcheck.errors import UsageError
from avcheck.render.output import Guard, parse_targets
from avcheck.settings import only_track

_EXAMPLES = """Examples:

* `avcheck compare master.mov film.mp4`: what a pipeline did to the sync
* `avcheck compare master.mov renditions/`: every file of a directory, with one reference
* `avcheck compare masters/ out/ --jobs 4 --output junit=sync.xml`: file by file, by name
"""

_ReferenceAudioTrack = Annotated[
    int | None,
    opt.option(
        "--reference-audio-track",
        panel=opt.INPUT,
        min=0,
        metavar="N",
        help="The audio track of REFERENCE, from 0. Default: the main one.",
    ),
]
_ReferenceVideoTrack = Annotated[
    int | None,
    opt.option(
        "--reference-video-track",
        panel=opt.INPUT,
        min=0,
        metavar="N",
        help="The picture track of REFERENCE, from 0. Default: the main one.",
    ),
]
_ReferenceProgram = Annotated[
    int | None,
    opt.option(
        "--reference-program",
        panel=opt.INPUT,
        min=1,
        metavar="N",
        help="The programme of REFERENCE, an MPEG-TS. Default: the main one.",
    ),
]


@app.command(epilog=_EXAMPLES)
def compare(
    reference: Annotated[
        str,
        typer.Argument(metavar="REFERENCE", help="The title as it was, or a directory of titles."),
    ],
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="The title as a pipeline made it, or a directory of them."
        ),
    ],
    exclude: opt.Exclude = None,
    audio_track: opt.AudioTrack = None,
    video_track: opt.VideoTrack = None,
    program: opt.Program = None,
    reference_audio_track: _ReferenceAudioTrack = None,
    reference_video_track: _ReferenceVideoTrack = None,
    reference_program: _ReferenceProgram = None,
    preset: opt.Preset = None,
    early: opt.Early = None,
    late: opt.Late = None,
    fail_on: opt.FailOns = None,
    exit_zero: opt.ExitZero = False,
    output_format: opt.OutputFormat = None,
    as_json: opt.AsJson = False,
    outputs: opt.Outputs = None,
    force: opt.Force = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    jobs: opt.Jobs = 1,
    timeout: opt.Timeout = None,
    memory_limit: opt.MemoryLimit = None,
    resume: opt.Resume = None,
    retry_errors: opt.RetryErrors = False,
    shard: opt.ShardOf = None,
) -> None:
    """Say how the sync of FILE differs from that of REFERENCE, for any content: sound and picture
    are each aligned.

    Of two directories, files of the same name are compared, whatever their suffix; what has no
    partner is an error. It does not say whether REFERENCE itself is in sync; `avcheck check` does.
    """
    from avcheck.compare.many import CompareSettings, load_comparer
    from avcheck.compare.pairs import pair

    form = format_of(as_json, output_format)
    if retry_errors and resume is None:
        raise UsageError("--retry-errors goes with --resume")
    tolerance = tolerance_of(preset, early, late)
    limits = limits_of(jobs, timeout, memory_limit)
    gate = opt.gate_of(fail_on, exit_zero)
    targets = parse_targets(outputs or (), force=force)
    guard = Guard(targets)
    guard.refuse_all((resume,))
    selection = Selection((), tuple(exclude or ()), None if shard is None else parse_shard(shard))
    pairs = pair(reference, file, tolerance, selection, guard.refuse if targets else None)
    settings = CompareSettings.of(
        pairs.references,
        tolerance=tolerance,
        audio_tracks=only_track(audio_track),
        video_track=video_track,
        program=program,
        reference_audio_track=reference_audio_track,
        reference_video_track=reference_video_track,
        reference_program=reference_program,
    )
    require_one_title(form, outputs, pairs.total)
    single = not Path(file).is_dir()
    output = Output(
        form,
        quiet=quiet,
        detailed=verbose or (single and not quiet),
        every_row=verbose,
        single=single,
        targets=targets,
        force=force,
        strict=gate.undecidable_fails,
    )
    run = CheckRun(pairs, settings, limits, "local", quiet, verbose, load_comparer)
    carry_out(run, output, Resumption(resume, retry_errors, shard))
    raise typer.Exit(output.code(gate))
