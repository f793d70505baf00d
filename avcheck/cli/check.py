"""`avcheck check` and `avcheck merge`."""

from __future__ import annotations

import math
import os
import sys
import traceback
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from avcheck import render
from avcheck.batch.checkpoint import Checkpoint, Merged
from avcheck.batch.discovery import Selection, discover, error_report, parse_shard, read_list
from avcheck.batch.process import Limits
from avcheck.batch.remote import Source, Stamp, is_url, without_secrets
from avcheck.batch.run import CheckSettings, Unchanged, check_changed, identified
from avcheck.batch.workers import BugInWorker
from avcheck.cli.gate import ExitCode
from avcheck.cli.group import CONTEXT, app
from avcheck.cli.options import (
    ConfigFile,
    Device,
    ExitZero,
    FailOns,
    Force,
    Format,
    Model,
    NoConfig,
    Outputs,
    Quiet,
    Version,
    gate_of,
    require_file,
)
from avcheck.cli.screen import Output, complain, progress_bar
from avcheck.cores import cores
from avcheck.errors import UsageError
from avcheck.memory import keep_memory
from avcheck.render.output import Guard, parse_targets
from avcheck.report import DEFAULT_PRESET, PRESETS, Report, Tolerance
from avcheck.sampling import LEAST_PROBES, MOST, PROBE_BLOCKS, PROBES


@app.command(context_settings=CONTEXT)
def check(
    ctx: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH", help="Media files, URLs, and directories to search for files.", show_default=False),
    ] = None,
    audio_track: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Which audio track to check, counted from 0. Default: the main one.")
    ] = None,
    video_track: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Which picture track to check, counted from 0 without cover art. Default: the main one."
        ),
    ] = None,
    program: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Which programme of an MPEG-TS to check, by its number. Default: the main one."),
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check this sound file in place of the sound of the one file given.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How early / late (ms) sound may be: "
            + ", ".join(f"{name} {limit.early_ms:g}/{limit.late_ms:g}" for name, limit in PRESETS.items())
            + f". Default: {DEFAULT_PRESET}.",
        ),
    ] = None,
    early: Annotated[float | None, typer.Option(metavar="MS", help="How early sound may be, in place of the preset's.")] = None,
    late: Annotated[float | None, typer.Option(metavar="MS", help="How late sound may be, in place of the preset's.")] = None,
    sample: Annotated[
        bool,
        typer.Option(
            "--sample/--no-sample",
            help=f"Look at stretches of {PROBE_BLOCKS} s spread over a long title, in place of all of it.",
        ),
    ] = False,
    probes: Annotated[
        int,
        typer.Option(
            min=LEAST_PROBES, metavar="N", help=f"How many stretches --sample begins with; it ends with at most {MOST} N."
        ),
    ] = PROBES,
    device: Device = "auto",
    model: Model = None,
    output_format: Annotated[
        Format | None,
        typer.Option("--format", help="What goes to stdout. json: a list of records; jsonl: one a line. Default: text."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    outputs: Outputs = None,
    force: Force = False,
    fail_on: FailOns = None,
    exit_zero: ExitZero = False,
    config_file: ConfigFile = None,
    no_config: NoConfig = False,
    quiet: Quiet = False,
    files_from: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Also check the paths in this list, one a line or NUL between them; - is stdin."),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="In directories, take files like this, in place of the known media suffixes."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="In directories, leave out files and directories like this.")
    ] = None,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=0, metavar="N", help="Files to check at a time, each in a process; 0: one a core."),
    ] = 1,
    threads: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Threads for each file; 0: as many as there are cores, shared among --jobs."),
    ] = 0,
    timeout: Annotated[
        float | None, typer.Option(metavar="S", help="Give a file up after this many seconds; it is then an error.")
    ] = None,
    memory_limit: Annotated[
        int | None, typer.Option(metavar="MB", help="Give a file up that needs more memory, weights included (Linux).")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Where --jobs run: processes of this machine, or actors of a Ray cluster (the extra ray)."),
    ] = "local",
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Add each record to this file (JSON lines), and skip files that are done in it."),
    ] = None,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="With --resume, check again what ended in an error.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Check only the I-th of N parts of the files, I from 1 to N.")
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="The table of blocks for every file, the settings file, and a traceback for a bug."
        ),
    ] = False,
    version: Version = False,
) -> None:
    """Check files, and every media file in the directories given (the default command).

    A single file on a terminal gets a table with one row a block (1 s) and the verdict; otherwise each file gets one line.
    Results go to stdout, progress and errors to stderr.
    """

    def configured(name: str) -> bool:
        return str(getattr(ctx.get_parameter_source(name), "name", "")) == "DEFAULT_MAP"

    if config_file is not None and no_config:
        raise UsageError("--config and --no-config contradict each other")
    if config_file is not None and verbose:
        complain(f"settings from {config_file}")
    # What is said on the command line also overrides what would contradict it in a weaker place.
    if preset is not None and not configured("preset"):
        early, late = (None if configured(name) else value for name, value in (("early", early), ("late", late)))
    if audio is not None and configured("audio_track"):
        audio_track = None
    if as_json and output_format not in (None, "json") and not configured("output_format"):
        raise UsageError(f"--json and --format {output_format} contradict each other")
    if audio is not None and audio_track is not None:
        raise UsageError("--audio and --audio-track exclude each other: a separate sound file replaces the tracks")
    for option, path in (("--audio", audio), ("--model", model)):
        if path is not None:
            require_file(option, path)
    if retry_errors and resume is None:
        raise UsageError("--retry-errors goes with --resume")
    if not sample and str(getattr(ctx.get_parameter_source("probes"), "name", "")) == "COMMANDLINE":
        raise UsageError("--probes goes with --sample")
    tolerance = tolerance_of(preset, early, late)
    limits = Limits(jobs or cores(), timeout, memory_limit, threads)
    selection = Selection(tuple(include or ()), tuple(exclude or ()), parse_shard(shard) if shard is not None else None)
    settings = CheckSettings(
        tolerance=tolerance,
        device=device,
        model=model,
        audio_track=audio_track,
        video_track=video_track,
        program=program,
        audio=audio,
        sample=probes if sample else None,
    )
    gate = gate_of(fail_on, exit_zero)
    targets = parse_targets(outputs or (), force=force)
    given = [*(paths or ()), *(_listed(files_from) if files_from is not None else ())]
    if not given:
        raise UsageError("give a PATH, or a list of paths with --files-from")
    guard = Guard(targets)
    # A list on stdin is a file too, where the shell put one there.
    listed = None if files_from is None else Path("/dev/stdin" if files_from == "-" else files_from)
    for path in (audio, model, resume, config_file, listed):
        if path is not None:
            guard.refuse(path)
    found = discover(given, tolerance, model, selection, guard.refuse if targets else None)
    total = len(found.files) + len(found.errors)
    if audio is not None and total != 1:
        raise UsageError(f"--audio goes with exactly one file, not {total}")

    single = total == 1 and sys.stdout.isatty() and not quiet
    output = Output(
        "json" if as_json else output_format or "text",
        quiet=quiet,
        detailed=single or verbose,
        targets=targets,
        force=force,
        strict=gate.undecidable_fails,
    )
    earlier: Counter[str] = Counter()  # verdicts of files that were done before

    debug = verbose or bool(os.environ.get("AVCHECK_DEBUG"))

    def on_bug(path: Source, error: Exception) -> None:
        if isinstance(error, BugInWorker) and debug:
            print(without_secrets(error.traceback, path), file=sys.stderr)
        elif debug:
            print(without_secrets("".join(traceback.format_exception(error)), path), file=sys.stderr)

    with Checkpoint(resume) if resume is not None else nullcontext() as checkpoint, output:
        if checkpoint is not None and checkpoint.mended:
            complain(f"{resume}: the last line was cut short by a kill, and is taken away")
        if checkpoint is not None and checkpoint.strange:
            complain(f"{resume}: lines passed over that are no records: {checkpoint.strange}")

        def is_new(result: Report) -> bool:
            verdict = checkpoint.verdict(result) if checkpoint is not None else None
            if verdict is None or (verdict == "error" and retry_errors):
                return True
            earlier[verdict] += 1
            return False

        def before(source: Source) -> list[Stamp]:
            if checkpoint is None or not is_url(source):
                return []
            found = checkpoint.verdicts(_wanted(source, settings))
            return [stamp for stamp, verdict in found.items() if not (verdict == "error" and retry_errors)]

        def keep(result: Report) -> None:
            if checkpoint is not None:
                checkpoint.add(result)  # first, as stdout may be closed
            output.emit(result)

        for failed in found.errors:
            wrong = identified(failed, settings)
            if is_new(wrong):
                keep(wrong)
        files = found.files
        if checkpoint is not None:
            # A URL is asked when it comes up: thousands of answers from afar would be waited for here.
            files = [
                each
                for each in files
                if (is_url(each) and not checkpoint.gave_up(_wanted(each, settings))) or is_new(_wanted(each, settings))
            ]
        if files:  # else not even the imports are worth the wait
            with progress_bar(len(files), quiet=quiet) as bar:
                if engine == "ray":
                    from avcheck.batch.ray_engine import check_with_ray

                    results = check_with_ray(files, settings, limits, before=before)
                else:
                    keep_memory()
                    results = check_changed(
                        files,
                        settings,
                        limits,
                        before=before,
                        on_file=bar.on_file,
                        on_progress=bar.on_progress,
                        on_bug=on_bug,
                    )
                for result in results:
                    if isinstance(result, Unchanged):
                        same = replace(
                            _wanted(result.source, settings), file_size=result.stamp[0], file_mtime_ns=result.stamp[1]
                        )
                        is_new(same)
                        bar.done(result.source)
                        continue
                    with bar.out_of_the_way(result.path):
                        keep(result)
    if not quiet:
        if total == 0:
            complain(f"no files in shard {selection.shard}", prefix="")
        elif total > 1 or earlier:
            done = f" ({earlier.total()} of them done before, in {resume})" if earlier else ""
            complain(render.summary(output.verdicts + earlier) + done, prefix="")
    raise typer.Exit(output.code(gate, earlier))


@app.command(context_settings=CONTEXT)
def merge(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Results in JSON lines, as of --resume or --format jsonl.")
    ],
    output_format: Annotated[
        Format, typer.Option("--format", help="What goes to stdout. json: a list of records; jsonl: one a line.")
    ] = "text",
    outputs: Outputs = None,
    force: Force = False,
    fail_on: FailOns = None,
    exit_zero: ExitZero = False,
    quiet: Quiet = False,
) -> None:
    """Put the results of several runs (shards, or a run and its repetition) together: the newest record for each path.

    Output and exit code are those of one run over all the files; 2 also if the last line of a file is cut short or a
    record in it is damaged.
    """
    gate = gate_of(fail_on, exit_zero)
    targets = parse_targets(outputs or (), force=force)
    guard = Guard(targets)
    for path in files:
        guard.refuse(path)
    merged = Merged(files)
    for warning in merged.warnings:
        complain(warning)
    if not len(merged):
        raise UsageError(f"there is no record in {', '.join(map(str, files))}")
    strict = gate.undecidable_fails
    with Output(output_format, quiet=quiet, detailed=False, targets=targets, force=force, strict=strict) as output:
        for result in merged:
            output.emit(result)
    if not quiet:
        complain(render.summary(output.verdicts), prefix="")
    code = output.code(gate)
    raise typer.Exit(max(code, ExitCode.NOT_JUDGED) if merged.incomplete else code)


def tolerance_of(preset: str | None, early: float | None, late: float | None) -> Tolerance:
    """The preset's limits, with those given by hand in place of its own; a mixture no longer bears its name."""
    base = PRESETS.get(preset or DEFAULT_PRESET)
    if base is None:
        raise UsageError(f"there is no preset {preset!r}; there are {', '.join(PRESETS)}")
    if early is None and late is None:
        return base
    for option, value in (("--early", early), ("--late", late)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UsageError(f"{option} must be a number of milliseconds of at least 0, not {value:g}")
    return Tolerance(base.early_ms if early is None else early, base.late_ms if late is None else late)


def _listed(name: str) -> list[str]:
    try:
        listed = read_list(sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes())
    except OSError as error:
        raise UsageError(f"--files-from: cannot read {name}: {error.strerror}") from error
    if not listed:
        raise UsageError(f"--files-from: there is no path in {'stdin' if name == '-' else name}")
    return listed


def _wanted(source: Source, settings: CheckSettings) -> Report:
    """A report with all that a finished check of this file would be known by; of a URL, less its size and time."""
    return identified(error_report(source, "", settings.tolerance, settings.model, code="other"), settings)
