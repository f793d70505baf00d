"""`avcheck check`: the options of a run put together, and the run."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import typer

from avcheck.batch.base import Limits, jobs_of
from avcheck.batch.discovery import Discovery, Selection, discover, parse_shard, read_list
from avcheck.batch.remote import Location, is_url
from avcheck.batch.resume import Resumed
from avcheck.batch.run import CheckerMaker, Result, Unchanged, check_changed, identified
from avcheck.cli import options as opt
from avcheck.cli.group import app, was_set
from avcheck.cli.require import require_file, require_one_title, require_sample
from avcheck.cli.screen import Bar, Output, complain, progress_bar, show_bug
from avcheck.errors import UsageError
from avcheck.machine.loading import never_compile
from avcheck.machine.memory import keep_memory
from avcheck.record.report import DEFAULT_PRESET, PRESETS, USUAL_REACH_S, Report, Tolerance
from avcheck.render.output import Guard, parse_targets
from avcheck.settings import PROBES, CheckSettings, time_of

# Decoders can crash: in a worker that costs one file, and the run goes on
_ISOLATED = True

_EXAMPLES = """Examples:

* `avcheck film.mp4`: the offset, stretch by stretch, and the verdict
* `avcheck --json film.mp4`: the same for programs
* `avcheck film.mkv --audio-track 1`: the second audio track
* `avcheck film.mkv --audio-track all`: every audio track, with the pictures looked at once
* `avcheck film.mkv --start 0:10:00 --end 0:20:00`: ten minutes of a title
* `avcheck --sample film.mkv`: stretches of a long title instead of all of it
* `avcheck media/ --output junit=avcheck.xml`: a directory as a gate, with a report
* `avcheck archive/ --jobs 8 --timeout 900 --resume results.jsonl`: a run that goes on after a kill
"""


@app.command(epilog=_EXAMPLES)
def check(
    ctx: typer.Context,
    paths: opt.Paths = None,
    files_from: opt.FilesFrom = None,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    audio_track: opt.AudioTracks = None,
    language: opt.Languages = None,
    video_track: opt.VideoTrack = None,
    program: opt.Program = None,
    audio: opt.Audios = None,
    start: opt.Start = None,
    end: opt.End = None,
    sample: opt.Sample = False,
    probes: opt.ProbeCount = PROBES,
    thorough: opt.Thorough = False,
    reach: opt.Reach = USUAL_REACH_S,
    device: opt.Device = "auto",
    model: opt.Model = None,
    threads: opt.Threads = 0,
    preset: opt.Preset = None,
    early: opt.Early = None,
    late: opt.Late = None,
    fail_on: opt.FailOns = None,
    exit_zero: opt.ExitZero = False,
    output_format: opt.OutputFormat = None,
    as_json: opt.AsJson = False,
    outputs: opt.Outputs = None,
    force: opt.Force = False,
    detail: opt.Detailed = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    jobs: opt.Jobs = 1,
    timeout: opt.Timeout = None,
    memory_limit: opt.MemoryLimit = None,
    engine: opt.Engine = "local",
    resume: opt.Resume = None,
    retry_errors: opt.RetryErrors = False,
    shard: opt.ShardOf = None,
    config_file: opt.ConfigFile = None,
    no_config: opt.NoConfig = False,
    version: opt.Version = False,
) -> None:
    """Check files, and every media file in the directories given (the default command).

    A single file on a terminal gets a table and the verdict; otherwise each file gets one line.
    Results go to stdout, progress and errors to stderr.
    """
    _refuse_contradictions(ctx)
    if config_file is not None and verbose:
        complain(f"settings from {config_file}")
    tolerance = _tolerance(ctx, preset, early, late)
    audio_track, language = _tracks(ctx, audio, audio_track, language)
    settings = CheckSettings(
        tolerance=tolerance,
        device=device,
        model=model,
        audio_tracks=_track_numbers(audio_track),
        every_track="all" in (audio_track or ()),
        languages=tuple(language or ()),
        video_track=video_track,
        program=program,
        audio=tuple(audio or ()),
        start=None if start is None else time_of(start, "start"),
        end=None if end is None else time_of(end, "end"),
        sample=probes if sample else None,
        thorough=thorough,
        reach_s=reach,
        detail=detail,
    )
    limits = limits_of(jobs, timeout, memory_limit, threads)
    selection = Selection(
        tuple(include or ()), tuple(exclude or ()), None if shard is None else parse_shard(shard)
    )
    gate = opt.gate_of(fail_on, exit_zero)
    targets = parse_targets(outputs or (), force=force)
    given = _given(paths, files_from)
    guard = Guard(targets)
    list_file = None if files_from is None else _list_file(files_from)
    guard.refuse_all((*(audio or ()), model, resume, config_file, list_file))
    discovery = discover(given, tolerance, model, selection, guard.refuse if targets else None)
    total = discovery.total
    if audio and total != 1:
        raise UsageError(f"--audio goes with exactly one file, not {total}")
    form = "json" if as_json else output_format or "text"
    require_one_title(form, outputs, total)
    if total == 1 and "html" in (form, *(target.form for target in targets)):
        settings = replace(settings, detail=True)  # which the page draws
    output = Output(
        form,
        quiet=quiet,
        detailed=verbose or (total == 1 and sys.stdout.isatty() and not quiet),
        every_row=verbose,
        single=_is_one_file(given, files_from) and not settings.may_be_several,
        targets=targets,
        force=force,
        strict=gate.undecidable_fails,
    )
    resumption = Resumption(resume, retry_errors, shard)
    carry_out(CheckRun(discovery, settings, limits, engine, quiet, verbose), output, resumption)
    raise typer.Exit(output.code(gate))


def _refuse_contradictions(ctx: typer.Context) -> None:
    """Raise UsageError for options that exclude or need each other, and for missing files."""
    given = ctx.params
    if given["config_file"] is not None and given["no_config"]:
        raise UsageError("--config and --no-config contradict each other")
    form = given["output_format"]
    if given["as_json"] and form not in (None, "json") and not was_set(ctx, "output_format"):
        raise UsageError(f"--json and --format {form} contradict each other")
    chosen = [
        name
        for name in ("audio", "audio_track", "language")
        if given[name] and not was_set(ctx, name)
    ]
    if "audio" in chosen and len(chosen) > 1:
        raise UsageError(
            f"--audio and {_option(chosen[1])} exclude each other: a separate sound file replaces "
            "the tracks"
        )
    if len(chosen) > 1:
        raise UsageError("--audio-track and --language exclude each other")
    for path in given["audio"] or ():
        require_file("--audio", path)
    if given["model"] is not None:
        require_file("model", given["model"])
    if given["retry_errors"] and given["resume"] is None:
        raise UsageError("--retry-errors goes with --resume")
    require_sample(ctx)


def _tolerance(
    ctx: typer.Context, preset: str | None, early: float | None, late: float | None
) -> Tolerance:
    """The limits asked for: a preset on the command line overrides limits in the settings."""
    if preset is not None and not was_set(ctx, "preset"):
        early, late = (
            None if was_set(ctx, name) else value
            for name, value in (("early", early), ("late", late))
        )
    return tolerance_of(preset, early, late)


def _tracks(
    ctx: typer.Context,
    audio: list[Path] | None,
    audio_track: list[str] | None,
    language: list[str] | None,
) -> tuple[list[str] | None, list[str] | None]:
    """The tracks and languages asked for: a sound chosen on the command line overrides another
    choice in the settings.
    """
    by_number, by_language = (was_set(ctx, name) for name in ("audio_track", "language"))
    if by_number and (audio or (language and not by_language)):
        audio_track = None
    if by_language and (audio or (audio_track and not by_number)):
        language = None
    return audio_track, language


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class Resumption:
    """Where a run goes on, and which part of all files it checks."""

    results: Path | None  # the results file to go on from, and to add to; None: none
    retry_errors: bool  # check again what ended in an error
    shard: str | None  # the part of all files, in words; None: all of them


@dataclass(frozen=True)
class CheckRun:
    """What to do."""

    discovery: Discovery  # the files
    settings: CheckSettings  # how each is checked
    limits: Limits  # how many at a time, and what one may cost
    engine: str  # "local" or "ray"
    quiet: bool  # no progress bar
    verbose: bool  # show where a bug is
    make_checker: CheckerMaker | None = None  # None: what loads the network


def carry_out(run: CheckRun, output: Output, part: Resumption) -> None:
    """Check what is left to check, and show all results and a summary."""
    resumed = None
    if part.results is not None:
        resumed = Resumed(part.results, run.settings, retry_errors=part.retry_errors)
    with resumed or nullcontext(), output:
        for warning in resumed.warnings if resumed else ():
            complain(warning)
        _check_rest(run, output, resumed)
        empty = f"there are no files in shard {part.shard}"
        output.finish(run.discovery.total, empty=empty, resume=part.results)


def _check_rest(run: CheckRun, output: Output, resumed: Resumed | None) -> None:
    """Check what is left to check. Every result goes to `output`; a new one goes to the results
    file first.
    """

    def keep(*results: Report) -> None:
        if resumed is not None:
            resumed.add(*results)  # first, as stdout may be closed
        for result in results:
            output.emit(result)

    files = run.discovery.files
    refused = [identified(each, run.settings) for each in run.discovery.errors]
    if resumed is not None:
        files, refused = resumed.plan(files, run.discovery.errors)
        for known in resumed.earlier():
            output.emit(known, earlier=True)
    for each in refused:
        keep(each)
    if not files:  # even the imports would be a waste
        return
    with progress_bar(
        len(files), quiet=run.quiet, waits_for_network=run.make_checker is None
    ) as bar:
        for result in _results(run, files, resumed, bar):
            if isinstance(result, Unchanged):
                if resumed is not None:
                    for known in resumed.unchanged(result):
                        output.emit(known, earlier=True)
                bar.done(result.source)
                continue
            with bar.out_of_the_way(result[0].path):
                keep(*result)


def _results(
    run: CheckRun, files: Iterable[Location], resumed: Resumed | None, bar: Bar
) -> Iterator[Result]:
    before = None if resumed is None else resumed.stamps
    if run.engine == "ray":
        from avcheck.batch.ray_engine import check_with_ray

        return check_with_ray(files, run.settings, run.limits, before=before)
    never_compile()
    keep_memory()
    return check_changed(
        files,
        run.settings,
        run.limits,
        before=before,
        on_file=bar.on_file,
        on_progress=bar.on_progress,
        on_bug=partial(show_bug, verbose=run.verbose),
        make_checker=run.make_checker,
    )


def limits_of(
    jobs: int, timeout_s: float | None, memory_mb: int | None, threads: int = 0
) -> Limits:
    """The limits asked for, in worker processes. Raises UsageError."""
    return Limits(jobs_of(jobs), timeout_s, memory_mb, threads, isolated=_ISOLATED)


def tolerance_of(preset: str | None, early: float | None, late: float | None) -> Tolerance:
    """The preset's limits, or those given by hand in their place; a mixture does not bear the
    preset's name.
    """
    base = PRESETS.get(preset or DEFAULT_PRESET)
    if base is None:
        raise UsageError(f"there is no preset {preset!r}; there are {', '.join(PRESETS)}")
    if early is None and late is None:
        return base
    for option, value in (("--early", early), ("--late", late)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UsageError(
                f"{option} must be a number of milliseconds of at least 0, not {value:g}"
            )
    return Tolerance(
        base.early_ms if early is None else early, base.late_ms if late is None else late
    )


def _track_numbers(texts: list[str] | None) -> tuple[int, ...]:
    """The audio tracks that --audio-track names; none if it says all. Raises UsageError."""
    for text in texts or ():
        if text != "all" and not (text.isascii() and text.isdecimal() and len(text) <= 4):
            raise UsageError(f"--audio-track takes a number from 0 to 9999, or all, not {text!r}")
    if "all" in (texts or ()):
        if len(texts or ()) > 1:
            raise UsageError("--audio-track all goes alone: it takes every track there is")
        return ()
    return tuple(map(int, texts or ()))


def _given(paths: list[str] | None, files_from: str | None) -> list[str]:
    """The paths named and listed. Raises UsageError if there are none."""
    given = [*(paths or ()), *(() if files_from is None else _listed(files_from))]
    if not given:
        raise UsageError("give a PATH, or a list of paths with --files-from")
    return given


def _is_one_file(given: list[str], files_from: str | None) -> bool:
    """Whether a single file was named, and neither a directory nor a list."""
    return (
        len(given) == 1 and files_from is None and (is_url(given[0]) or not Path(given[0]).is_dir())
    )


def _list_file(name: str) -> Path:
    """The file of a list; also that of a list on stdin, if the shell redirected one."""
    return Path("/dev/stdin" if name == "-" else name)


def _listed(name: str) -> list[str]:
    try:
        listed = read_list(sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes())
    except OSError as error:
        raise UsageError(f"--files-from: cannot read {name}: {error.strerror}") from error
    if not listed:
        raise UsageError(f"--files-from: there is no path in {'stdin' if name == '-' else name}")
    return listed
