"""The command `avcheck`: arguments -> settings -> run -> exit code. The only place that prints or exits.

`avcheck PATH...` is `avcheck check PATH...`. Everything heavy (torch, av, numpy) is imported by the command that needs
it, after the paths have been looked at, so `--help`, `--version` and a wrong path answer at once.
"""

from __future__ import annotations

import math
import os
import stat
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from avcheck import __version__, config, report
from avcheck.batch import CheckSettings, Unchanged, check_changed, check_many, identified
from avcheck.checkpoint import Checkpoint, Merged
from avcheck.cores import cores, wait_patiently
from avcheck.discovery import Selection, discover, error_report, parse_shard, read_list
from avcheck.errors import AvcheckError, MediaError, UsageError
from avcheck.gate import ExitCode, FailOn, Gate
from avcheck.memory import keep_memory
from avcheck.output import Guard, Target, parse_targets, to_file, to_stream
from avcheck.probes import LEAST_PROBES, MOST, PROBE_BLOCKS, PROBES
from avcheck.remote import Source, Stamp, is_url, shown, without_secrets
from avcheck.results import BUG, DEFAULT_PRESET, FRAME_MS, PRESETS, Report, Tolerance, describe_offset
from avcheck.workers import BugInWorker, Limits

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

# Typer 0.29 exports only this leaf; its base is every wrong use of the command line.
_WRONG_USAGE: type[Exception] = typer.BadParameter.__bases__[0]

_CONTEXT = {"help_option_names": ["-h", "--help"]}


class DefaultGroup(TyperGroup):
    """A group whose first word may be left out: `avcheck film.mp4` means `avcheck check film.mp4`."""

    default = "check"
    own_options = frozenset({"-h", "--help", "--version"})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command in front when the first word is neither a command nor an option of the group."""
        if args and args[0] not in self.commands and args[0] not in self.own_options:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=DefaultGroup,
    add_completion=False,
    context_settings=_CONTEXT,
    subcommand_metavar="PATH... | COMMAND [ARGS]...",
    epilog=(
        "`avcheck film.mp4` is short for `avcheck check film.mp4`; `avcheck check --help` lists its options. "
        "A file or directory named like a command needs a `./` in front.\n\n"
        "Exit codes: 0 nothing out of sync, 1 something out of sync, 2 wrong usage or a file that could not be judged, "
        "3 a bug in avcheck, 130 interrupted; the highest wins. `--fail-on` changes what is a 1 or 2."
    ),
    rich_markup_mode="markdown",
)


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
        _require_file("--config", file)
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


@app.callback()
def group(version: Version = False) -> None:
    """Check whether the sound of a video is in sync with its picture, and by how much it is off."""


@app.command(context_settings=_CONTEXT)
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
        _complain(f"settings from {config_file}")
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
            _require_file(option, path)
    if retry_errors and resume is None:
        raise UsageError("--retry-errors goes with --resume")
    if not sample and str(getattr(ctx.get_parameter_source("probes"), "name", "")) == "COMMANDLINE":
        raise UsageError("--probes goes with --sample")
    tolerance = _tolerance(preset, early, late)
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
    gate = _gate(fail_on, exit_zero)
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
    output = _Output(
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
            _complain(f"{resume}: the last line was cut short by a kill, and is taken away")
        if checkpoint is not None and checkpoint.strange:
            _complain(f"{resume}: lines passed over that are no records: {checkpoint.strange}")

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
            with _progress(len(files), quiet=quiet) as bar:
                if engine == "ray":
                    from avcheck.engines import check_with_ray

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
            _complain(f"no files in shard {selection.shard}", prefix="")
        elif total > 1 or earlier:
            done = f" ({earlier.total()} of them done before, in {resume})" if earlier else ""
            _complain(report.summary(output.verdicts + earlier) + done, prefix="")
    raise typer.Exit(output.code(gate, earlier))


@app.command(context_settings=_CONTEXT)
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
    gate = _gate(fail_on, exit_zero)
    targets = parse_targets(outputs or (), force=force)
    guard = Guard(targets)
    for path in files:
        guard.refuse(path)
    merged = Merged(files)
    for warning in merged.warnings:
        _complain(warning)
    if not len(merged):
        raise UsageError(f"there is no record in {', '.join(map(str, files))}")
    strict = gate.undecidable_fails
    with _Output(output_format, quiet=quiet, detailed=False, targets=targets, force=force, strict=strict) as output:
        for result in merged:
            output.emit(result)
    if not quiet:
        _complain(report.summary(output.verdicts), prefix="")
    code = output.code(gate)
    raise typer.Exit(max(code, ExitCode.NOT_JUDGED) if merged.incomplete else code)


@app.command(context_settings=_CONTEXT)
def compare(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="The title as it was.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The title as a pipeline made it.")],
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="As of check.")] = None,
    early: Annotated[float | None, typer.Option(metavar="MS", help="How early sound may have become.")] = None,
    late: Annotated[float | None, typer.Option(metavar="MS", help="How late sound may have become.")] = None,
    output_format: Annotated[Format, typer.Option("--format", help="What goes to stdout.")] = "text",
    fail_on: FailOns = None,
    exit_zero: ExitZero = False,
) -> None:
    """Say how the sync of FILE differs from that of REFERENCE, for any content: sound and picture are each aligned.

    It does not say whether REFERENCE itself is in sync; `avcheck check` does.
    """
    tolerance = _tolerance(preset, early, late)
    gate = _gate(fail_on, exit_zero)
    for path in (reference, file):
        if not path.is_file():
            raise UsageError(f"{path} is not a file")
    from avcheck.compare.verdict import compare_files

    try:
        result = compare_files(reference, file, tolerance)
    except MediaError as error:
        raise UsageError(str(error)) from error
    with _Output(output_format, quiet=False, detailed=output_format == "text", strict=gate.undecidable_fails) as output:
        output.emit(result)
    raise typer.Exit(output.code(gate))


@app.command(context_settings=_CONTEXT)
def demo(
    offset: Annotated[
        float, typer.Option(metavar="MS", help="Offset to put in, from -1500 to 1500: positive = sound early, negative = late.")
    ] = -120.0,
    keep: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep the clip (MP4) under this new name.")] = None,
    device: Device = "auto",
    model: Model = None,
) -> None:
    """Make a short clip with a known offset, check it, and show both.

    Exit code 0 if what was found is what was put in, to within one frame (40 ms); 2 if not.
    """
    import shutil
    import tempfile

    if not abs(offset) <= 1500:  # written so that NaN is refused as well
        raise UsageError(f"--offset must lie between -1500 and 1500 ms, not {offset:g}")
    if model is not None:
        _require_file("--model", model)
    if keep is not None:
        if keep.suffix.lower() != ".mp4":
            raise UsageError(f"--keep: the clip is an MP4, so its name must end in .mp4, not {keep.suffix or keep.name!r}")
        if os.path.lexists(keep):
            raise UsageError(f"--keep: {keep} exists already, and nothing is written over")
        if not keep.absolute().parent.is_dir():
            raise UsageError(f"--keep: there is no directory {keep.absolute().parent}")

    from avcheck.demo import make_demo

    with tempfile.TemporaryDirectory(prefix="avcheck-") as folder:
        clip = Path(folder, "demo.mp4")
        make_demo(clip, offset_ms=offset)
        if keep is not None:
            with clip.open("rb") as source, keep.open("xb") as target:
                shutil.copyfileobj(source, target)
        output = _Output("text", quiet=False, detailed=True)
        output.write(f"made:  {describe_offset(offset)}" + (f", kept as {report.printable(str(keep))}" if keep else "") + "\n")
        with _progress(1, quiet=False) as bar:
            settings = CheckSettings(device=device, model=model)
            keep_memory()
            result = next(check_many([clip], settings, on_file=bar.on_file, on_progress=bar.on_progress))
        output.emit(replace(result, path=str(keep or clip.name)))
    if result.offset_ms is None or result.verdict not in ("in_sync", "out_of_sync"):
        output.write("found: no offset avcheck would stand by\n")
        raise typer.Exit(ExitCode.NOT_JUDGED)
    error_ms = result.offset_ms - offset
    agrees = abs(error_ms) <= FRAME_MS
    output.write(
        f"found: {result.offset_text}, {abs(error_ms):.0f} ms from what was put in: "
        + ("right to within one frame\n" if agrees else "wrong by more than one frame\n")
    )
    raise typer.Exit(ExitCode.OK if agrees else ExitCode.NOT_JUDGED)


@app.command(context_settings=_CONTEXT)
def train(
    data: Annotated[list[Path], typer.Argument(metavar="DATA", help="A corpus folder, or directories of in-sync media.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where checkpoints, log and weights go.")] = Path("runs/train"),
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Seed of everything drawn by chance.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    start: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Weights to go on from; adapted, where DATA has no index.")
    ] = None,
    scale: Annotated[
        float, typer.Option(min=0.001, metavar="X", help="How long to train: every stage's steps times this.")
    ] = 1.0,
    faces: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Faces found by `python -m avcheck.train.facemesh`, beside those found while decoding."
        ),
    ] = None,
) -> None:
    """Train the network on video that is in sync, by shifting its sound. Needs the extra train."""
    for path in data:
        _require_directory(path)
    try:
        from avcheck.train.run import TrainSettings
        from avcheck.train.run import train as run_training
    except ModuleNotFoundError as error:
        if error.name != "cv2":
            raise
        raise UsageError("training needs OpenCV: pip install 'opencv-python-headless<5'") from error
    if start is not None:
        _require_file("--from", start)
    if faces is not None:
        _require_file("--faces", faces)
    settings = TrainSettings(data=tuple(data), out=out, device=device, seed=seed, resume=resume, start=start, faces=faces)
    path = run_training(settings.scaled(scale))
    print(path)


@app.command(name="eval", context_settings=_CONTEXT)
def evaluate(
    corpus: Annotated[Path | None, typer.Argument(metavar="CORPUS", help="A corpus folder with its index.jsonl.")] = None,
    device: Device = "auto",
    model: Model = None,
    rows: Annotated[
        Path | None, typer.Option("--rows", metavar="FILE", help="Also write every single figure, one JSON object a line.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Tables and pictures of figures that --rows wrote earlier.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", metavar="FOLDER", help="Also draw pictures there. Needs matplotlib.")
    ] = None,
    speed: Annotated[bool, typer.Option("--speed/--no-speed", help="Also measure speed and memory.")] = True,
    small: Annotated[
        bool,
        typer.Option("--small/--no-small", help="Also measure small faces and two talkers side by side (10 minutes of CPU)."),
    ] = False,
    faces: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where speakers are seen, as `python -m avcheck.train.facemesh` tells it."),
    ] = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Measure only of how many whole speech clips an offset is told.")
    ] = False,
    added: Annotated[
        list[int] | None, typer.Option(help="Only clips that came in this round of the corpus; give several for several.")
    ] = None,
    last: Annotated[
        bool, typer.Option("--last", help="Only clips set aside for the last table, which are left out otherwise.")
    ] = False,
) -> None:
    """Measure the weights on the validation groups of a corpus and print the tables."""
    if plots is not None and plots.exists():
        _require_directory(plots)
    if source is not None:
        if corpus is not None or model is not None or rows is not None or faces is not None or coverage or added or last:
            raise UsageError("--from measures nothing, so only --plots goes with it")
        _require_file("--from", source)
        from avcheck.eval.rows import read_rows

        earlier = read_rows(source)
        from avcheck.eval.run import from_rows

        for text in from_rows(earlier, plots=plots, source=source):
            print(text, flush=True)
        return
    if corpus is None:
        raise UsageError("give a CORPUS to measure, or --from FILE with figures measured earlier")
    _require_directory(corpus)
    if model is not None:
        _require_file("--model", model)
    if faces is not None:
        _require_file("--faces", faces)
    from avcheck.eval.run import evaluate as run_evaluation

    with _progress(1, quiet=False) as bar:
        bar.on_file(corpus)
        for text in run_evaluation(
            corpus,
            model=model,
            device=device,
            out=rows,
            plots=plots,
            speed=speed,
            small=small,
            faces=faces,
            coverage=coverage,
            added=added or (),
            last=last,
            on_clip=lambda done, total: bar.on_progress(corpus, done / total),
        ):
            with bar.out_of_the_way():
                print(text, flush=True)


@app.command(context_settings=_CONTEXT)
def ablate(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus folder with its index.jsonl.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where features, heads and rows go.")] = Path("runs/ablation"),
    device: Device = "auto",
    model: Model = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps a head.")] = 1500,
    seed: Annotated[list[int] | None, typer.Option(help="Seed of the training; give several for several runs a head.")] = None,
    go_on: Annotated[bool, typer.Option("--go-on", help="Heads begin as those of the weights, not from scratch.")] = False,
    trunk_steps: Annotated[
        int, typer.Option(min=0, help="Also compare trunks with and without alignment, after so many steps (0: do not).")
    ] = 0,
    first_steps: Annotated[
        int,
        typer.Option(min=0, help="Also compare so many steps from scratch with and without generated scenes (0: do not)."),
    ] = 0,
) -> None:
    """Train a head of every kind on the weights' trunks and compare them. Goes on where it was stopped."""
    _require_directory(corpus)
    if model is not None:
        _require_file("--model", model)
    try:
        from avcheck.eval.ablation import AblationSettings
        from avcheck.eval.ablation import ablate as run_ablation
        from avcheck.train.run import progress
    except ModuleNotFoundError as error:
        if error.name != "cv2":
            raise
        raise UsageError("training needs OpenCV: pip install 'opencv-python-headless<5'") from error
    settings = AblationSettings(corpus, out, model, device, steps, tuple(seed or (1,)), go_on, trunk_steps, first_steps)
    with progress() as tell:
        stages: dict[str, Callable[..., None]] = {}

        def on_step(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = tell(stage)
            stages[stage](done, total)

        for text in run_ablation(settings, on_step=on_step):
            print(text, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on `argv` (default: the process's own arguments) and return its exit code; never raises."""
    args = list(sys.argv[1:] if argv is None else argv)
    wait_patiently()
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a replaced stream may not know it
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = typer.main.get_command(app).main(args=args or ["--help"], prog_name="avcheck", standalone_mode=False)
        sys.stdout.flush()
        if code == ExitCode.INTERRUPTED:
            _complain("interrupted")
        return int(code or 0) if args else ExitCode.NOT_JUDGED
    except _WRONG_USAGE as error:
        command = getattr(getattr(error, "ctx", None), "command_path", "avcheck")
        _complain(f"{error.format_message()} (see {command} --help)")  # type: ignore[attr-defined]
        return ExitCode.NOT_JUDGED
    except AvcheckError as error:
        _complain(str(error))
        return ExitCode.NOT_JUDGED
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted")
        return ExitCode.INTERRUPTED
    except (BrokenPipeError, SystemExit):  # Typer turns a broken pipe into SystemExit(1), which would read as a finding
        with suppress(OSError, ValueError):  # what is still buffered goes nowhere, rather than into a second error at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    except Exception as error:
        if os.environ.get("AVCHECK_DEBUG") or {"-v", "--verbose"} & set(args):
            where = error.traceback if isinstance(error, BugInWorker) else traceback.format_exc()
            print(without_secrets(where), file=sys.stderr)
        name = "" if isinstance(error, BugInWorker) else f"{type(error).__name__}: "
        _complain(f"{BUG}{name}{error} (please report it; AVCHECK_DEBUG=1 shows where)")
        return ExitCode.BUG


def _open_closed_streams() -> None:
    """What somebody has closed (`2>&-`) goes nowhere; left so, the next file opened would get its number, and its text."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # by number, as the lowest free one is given
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - for as long as we run


def _tolerance(preset: str | None, early: float | None, late: float | None) -> Tolerance:
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


def _gate(fail_on: list[FailOn] | None, exit_zero: bool) -> Gate:
    return Gate(frozenset(fail_on), exit_zero) if fail_on else Gate(exit_zero=exit_zero)


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


def _require_file(option: str, path: Path) -> None:
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return
    except OSError as error:
        raise UsageError(f"{option}: cannot read {path}: {error.strerror}") from error
    raise UsageError(f"{option}: {path} is not a regular file")


def _require_directory(path: Path) -> None:
    if not path.is_dir():
        raise UsageError(f"{path} is not a directory" if path.exists() else f"{path}: no such file or directory")


def _complain(text: str, prefix: str = "avcheck: ") -> None:
    """One line on stderr; a closed stderr is no reason to fail."""
    with suppress(OSError, ValueError):
        print(f"{prefix}{report.printable(without_secrets(text))}", file=sys.stderr, flush=True)


def _tell_partial(path: Path) -> None:
    _complain(f"the results so far are in {path}")


def _appender(path: Path) -> Callable[[str], None]:
    """A `write` that adds to a file; the gate does not fail for a summary nobody can read."""

    def write(text: str) -> None:
        if text:
            try:
                with path.open("a", encoding="utf-8", newline="") as file:
                    file.write(text)
            except OSError as error:
                _complain(f"cannot write the step summary {path}: {error.strerror}")

    return write


class _Output:
    """Sends each report as it comes to stdout in one format, and to files in others, and counts the verdicts."""

    def __init__(
        self,
        form: str,
        *,
        quiet: bool,
        detailed: bool,
        targets: Sequence[Target] = (),
        force: bool = False,
        strict: bool = False,
    ) -> None:
        self.verdicts: Counter[str] = Counter()
        self._bug = False
        self._form = form
        self._quiet = quiet
        self._detailed = detailed
        self._targets = targets
        self._force = force
        self._strict = strict
        self._findings = {"out_of_sync", "undecidable"} if strict else {"out_of_sync"}
        self._documents: list[Callable[[Report], None]] = []
        self._stack = ExitStack()

    def __enter__(self) -> _Output:
        with ExitStack() as stack:
            for target in self._targets:
                document = report.renderer(target.form, strict=self._strict)
                told = to_file(document, target.path, force=self._force, on_partial=_tell_partial)
                self._documents.append(stack.enter_context(told))
            step_summary = os.environ.get("GITHUB_STEP_SUMMARY")
            if step_summary and "github" in (self._form, *(target.form for target in self._targets)):
                document = report.renderer(report.STEP_SUMMARY, strict=self._strict)
                self._documents.append(stack.enter_context(to_stream(document, _appender(Path(step_summary)))))
            if self._form != "text":
                with suppress(AttributeError):  # a replaced stream may not know it
                    sys.stdout.reconfigure(newline="")  # type: ignore[union-attr]
                document = report.renderer(self._form, strict=self._strict)
                self._documents.append(stack.enter_context(to_stream(document, self.write)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def write(self, text: str) -> None:
        """Text to stdout at once, so that a reader or a crash finds what is done so far."""
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise UsageError(f"cannot write the results: {error.strerror}") from error

    def emit(self, result: Report) -> None:
        """One report to stdout and the files; an error goes to stderr as well, in text alone there."""
        for add in self._documents:
            add(result)
        self.verdicts[result.verdict] += 1
        self._bug |= result.verdict == "error" and (result.reason or "").startswith(BUG)
        if result.verdict == "error":
            _complain(report.line(result), prefix="")
        elif self._form == "text" and (not self._quiet or result.verdict in self._findings):
            self._text(result)

    def code(self, gate: Gate, earlier: Counter[str] | None = None) -> ExitCode:
        """The exit code for what was emitted, and for verdicts of an earlier run."""
        found = gate.exit_code(self.verdicts + (earlier or Counter()))
        return max(ExitCode.BUG, found) if self._bug else found

    def _text(self, result: Report) -> None:
        if not self._detailed and not sys.stdout.isatty():
            self.write(report.line(result) + "\n")
            return
        console = _console()
        with console.capture() as captured:
            if self._detailed and result.blocks:
                console.print(report.table(result, width=console.width, ascii_only=console.options.ascii_only))
            console.print(report.styled_line(result), soft_wrap=True)
            for name, text in report.details(result) if self._detailed else ():
                console.print(f"  {name:<11}{text}", soft_wrap=True, markup=False, emoji=False)
        self.write(captured.get())


def _console() -> Console:
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False)


class _Bar:
    """How far a run has come: whole files done, and the fractions of those in hand. Without a `Progress` it is silent."""

    def __init__(self, total: int, progress: Progress | None = None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._in_hand: dict[str, float] = {}
        self._began = time.monotonic()
        self._task = progress.add_task("loading", total=None) if progress else None

    def on_file(self, path: Source) -> None:
        """A file begins."""
        self._in_hand[shown(path)] = 0.0
        self._update()

    def on_progress(self, path: Source, fraction: float) -> None:
        """So much of the file is done, 0..1."""
        self._in_hand[shown(path)] = min(max(fraction, 0.0), 1.0)
        self._update()

    def done(self, path: Source) -> None:
        """A file is done, and there is nothing to write."""
        self._done += 1
        self._in_hand.pop(shown(path), None)
        self._update()

    def _update(self) -> None:
        if self._progress is None or self._task is None:
            return
        names = [report.printable(PurePath(path).name) for path in self._in_hand]
        text = names[-1] + (f" and {len(names) - 1} more" if len(names) > 1 else "") if names else ""
        if self._total > 1:
            rate = 60 * self._done / max(time.monotonic() - self._began, 1e-3)
            text = f"{self._done}/{self._total} done" + (f", {rate:.3g} a minute" if self._done else "") + f": {text}"
        done = self._done + sum(self._in_hand.values())
        self._progress.update(self._task, completed=done, total=self._total, description=text)

    @contextmanager
    def out_of_the_way(self, finished: str | None = None) -> Iterator[None]:
        """The bar is off the screen while a result, that of the file `finished`, is written to the same terminal."""
        if finished is not None:
            self._done += 1
            self._in_hand.pop(finished, None)
        if self._progress is None:
            yield
            return
        self._update()
        self._progress.stop()
        yield
        self._progress.start()


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[_Bar]:
    """A bar with the time left on stderr, if that is a terminal somebody looks at."""
    if quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield _Bar(total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    console = Console(file=sys.stderr)
    # Redirecting stdout would send results to stderr when stdout is a pipe.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, refresh_per_second=4) as progress:
        yield _Bar(total, progress)
