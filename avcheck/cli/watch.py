"""`avcheck watch`."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from avcheck import render
from avcheck.batch.discovery import Selection
from avcheck.cli import options as opt
from avcheck.cli.check import limits_of, tolerance_of
from avcheck.cli.gate import ExitCode
from avcheck.cli.group import app
from avcheck.cli.require import require_directory, require_file, require_sample
from avcheck.cli.screen import Output, complain, show_bug
from avcheck.errors import UsageError, why_not_written
from avcheck.machine.loading import never_compile
from avcheck.machine.memory import keep_memory
from avcheck.record.report import USUAL_REACH_S
from avcheck.settings import PROBES, CheckSettings, only_track

if TYPE_CHECKING:
    from avcheck.record.report import Verdict

WATCH = "Watching"
JOURNAL = ".avcheck-watch.jsonl"  # in the folder; hidden, so it is not checked
_LEAST_SETTLE_S = 0.1


def _folder(name: str, what: str) -> object:
    """The option for where files with this verdict go."""
    return opt.option(name, panel=WATCH, metavar="DIR", help=f"Where files go that {what}.")


@app.command()
def watch(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where files arrive, in its folders as well.")
    ],
    passed: Annotated[Path | None, _folder("--pass", "are in sync")] = None,
    failed: Annotated[Path | None, _folder("--fail", "are out of sync")] = None,
    undecidable: Annotated[Path | None, _folder("--undecidable", "are undecidable")] = None,
    error: Annotated[Path | None, _folder("--error", "could not be judged")] = None,
    link: Annotated[
        bool,
        opt.option("--link", panel=WATCH, help="Put a hard link there and leave the file."),
    ] = False,
    hook: Annotated[
        str | None,
        opt.option(
            "--hook",
            panel=WATCH,
            metavar="COMMAND",
            help="Run this for each file, its record on stdin; no shell.",
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        opt.option(
            "--journal",
            panel=WATCH,
            metavar="FILE",
            help=f"Add results to this file (JSON lines). Default: {JOURNAL} in FOLDER.",
        ),
    ] = None,
    settle: Annotated[
        float,
        opt.option(
            "--settle",
            panel=WATCH,
            min=_LEAST_SETTLE_S,
            metavar="S",
            help="A file is whole when it has not changed for this many seconds. Default: 5.",
        ),
    ] = 5.0,
    patience: Annotated[
        float,
        opt.option(
            "--patience",
            panel=WATCH,
            min=0,
            metavar="S",
            help="After this many seconds, check a file even without its index. Default: 600.",
        ),
    ] = 600.0,
    poll: Annotated[
        bool,
        opt.option(
            "--poll", panel=WATCH, help="Look every 5 s: for drives that report no changes."
        ),
    ] = False,
    once: Annotated[
        bool, opt.option("--once", panel=WATCH, help="End when all files that are there are done.")
    ] = False,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    audio_track: opt.AudioTrack = None,
    video_track: opt.VideoTrack = None,
    program: opt.Program = None,
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
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    jobs: opt.Jobs = 1,
    timeout: opt.Timeout = None,
    memory_limit: opt.MemoryLimit = None,
) -> None:
    """Check files as they arrive in a folder, and move each by its verdict. Needs the extra watch.

    A file is checked once it is whole; hidden files and those named as partial are skipped. Files
    that are there at the start are checked too. It may be killed at any moment, and resumes where
    it was.

    Exit codes: 130 after Ctrl-C; 0 after SIGTERM, or with --once; 2 wrong usage, or with --once a
    file that could not be moved; 3 a bug.
    """
    require_sample(ctx)
    require_directory(folder)
    if model is not None:
        require_file("--model", model)
    folder = folder.absolute()
    folders = _folders(
        folder,
        {
            "--pass": ("in_sync", passed),
            "--fail": ("out_of_sync", failed),
            "--undecidable": ("undecidable", undecidable),
            "--error": ("error", error),
        },
        link=link,
    )
    settings = CheckSettings(
        tolerance=tolerance_of(preset, early, late),
        device=device,
        model=model,
        audio_tracks=only_track(audio_track),
        video_track=video_track,
        program=program,
        sample=probes if sample else None,
        thorough=thorough,
        reach_s=reach,
    )
    from avcheck.watch import run

    plan = run.WatchPlan(
        folder=folder,
        journal=(journal or folder / JOURNAL).absolute(),
        folders=folders,
        link=link,
        hook=_command(hook),
        selection=Selection(tuple(include or ()), tuple(exclude or ())),
        settle_s=settle,
        patience_s=patience,
        poll=poll,
        once=once,
    )
    limits = limits_of(jobs, timeout, memory_limit, threads)

    def on_step(text: str) -> None:
        if not quiet:
            complain(text)

    never_compile()
    keep_memory()
    unmoved = 0
    with Output("text", quiet=quiet, detailed=False) as output, _leases():
        try:
            with _terminated():
                unmoved = run.watch(
                    plan,
                    settings,
                    limits,
                    on_report=output.emit,
                    on_step=on_step,
                    on_bug=partial(show_bug, verbose=verbose),
                )
        except _Terminated:
            pass
        except UsageError:
            quiet = quiet or not output.verdicts.total()  # the error says it all
            raise
        finally:
            if not quiet:
                complain(render.summary(output.verdicts), prefix="")
    if output.has_bug:
        raise typer.Exit(ExitCode.BUG)
    raise typer.Exit(ExitCode.NOT_JUDGED if unmoved else ExitCode.OK)


def _folders(
    folder: Path, given: Mapping[str, tuple[Verdict, Path | None]], *, link: bool
) -> dict[Verdict, Path]:
    """The folders that files go to, by verdict; missing ones are made.

    Args:
        folder: That files arrive in.
        given: By option: the verdict of the files, and where they go.
        link: Whether files stay where they are, and are linked there.

    Raises:
        UsageError: One of them cannot be used.
    """
    folders: dict[Verdict, Path] = {}
    for name, (verdict, path) in given.items():
        if path is None:
            continue
        if path.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{name}: {path} is in the folder that is watched")
        try:
            path.mkdir(exist_ok=True)
            other_drive = path.stat().st_dev != folder.stat().st_dev
        except OSError as problem:
            raise UsageError(f"{name}: cannot use {path}: {why_not_written(problem)}") from problem
        if link and other_drive:
            raise UsageError(f"{name}: {path} is on another file system, so --link cannot link")
        folders[verdict] = path.absolute()
    if link and not folders:
        raise UsageError("--link goes with --pass, --fail, --undecidable or --error")
    return folders


def _command(text: str | None) -> tuple[str, ...]:
    """The words of a hook command. Raises UsageError for one that cannot be run."""
    if text is None:
        return ()
    reader = shlex.shlex(text, posix=True)
    reader.whitespace_split, reader.commenters = True, ""
    if sys.platform == "win32":
        reader.escape = ""  # there it separates the folders of a path
    try:
        words = tuple(reader)
    except ValueError as error:
        raise UsageError(f"--hook: {error}: {text}") from error
    from avcheck.watch.hook import why_not_a_command

    problem = why_not_a_command(words[0]) if words else "the command is empty"
    if problem is not None:
        raise UsageError(f"--hook: {problem}")
    return words


class _Terminated(BaseException):
    """Somebody asked the process to end."""


@contextmanager
def _terminated() -> Iterator[None]:
    """Make SIGTERM raise _Terminated, once; the next run finishes what this one began."""

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _leases() -> Iterator[None]:
    """Keep SIGIO, sent when somebody wants a leased file, from ending the process."""
    if sys.platform != "linux":
        yield
        return
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGIO, before)
