"""The options of the commands, by their panel in `--help`, and the checks of their values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from avcheck._version import __version__
from avcheck.cli import config
from avcheck.cli.gate import FailOn, Gate
from avcheck.cli.require import require_file
from avcheck.record.report import DEFAULT_PRESET, PRESETS, USUAL_REACH_S
from avcheck.render import FORMATS, Format
from avcheck.settings import (
    DEVICES,
    LEAST_PROBES,
    MOST_PROBES,
    MOST_REACH_S,
    PROBES,
    DeviceName,
)

INPUT, ANALYSIS, VERDICT, OUTPUT = "Input", "Analysis", "Verdict and exit code", "Output"
BATCH, RESUME, GENERAL = "Batch", "Resume and shards", "General"


def option(*names: str, panel: str = GENERAL, **settings: Any) -> Any:
    """An option of a panel. Its help text states the default if that is worth stating."""
    return typer.Option(*names, rich_help_panel=panel, show_default=False, **settings)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"avcheck {__version__}")
        raise typer.Exit


def _configure(ctx: typer.Context, file: Path | None) -> Path | None:
    """Replace the options' defaults by the settings of the file and the environment; return that
    file.
    """
    if ctx.resilient_parsing:  # a shell asks for completions
        return None
    if file is not None:
        require_file("--config", file)
    elif not ctx.params.get("no_config"):
        file = config.find(Path())
    names = {
        option: parameter.name for parameter in ctx.command.params for option in parameter.opts
    }
    settings = config.load(os.environ, file)
    ctx.default_map = {names[f"--{key}"]: value for key, value in settings.items()}
    return file


def _presets(incomplete: str) -> list[str]:
    return [name for name in PRESETS if name.startswith(incomplete)]


def _words(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


# ---- what to check
Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH",
        help="Media files, URLs, and directories to search for files.",
        show_default=False,
    ),
]
FilesFrom = Annotated[
    str | None,
    option(
        "--files-from",
        panel=INPUT,
        metavar="FILE",
        help="Also check the paths in this list, one a line; - is stdin.",
    ),
]
Include = Annotated[
    list[str] | None,
    option(
        "--include",
        panel=INPUT,
        metavar="GLOB",
        help="In directories, take files that match, whatever their suffix.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    option(
        "--exclude",
        panel=INPUT,
        metavar="GLOB",
        help="In directories, leave out files and directories that match.",
    ),
]
AudioTrack = Annotated[
    int | None,
    option(
        "--audio-track",
        panel=INPUT,
        min=0,
        metavar="N",
        help="The audio track to check, from 0. Default: the main one.",
    ),
]
AudioTracks = Annotated[
    list[str] | None,
    option(
        "--audio-track",
        panel=INPUT,
        metavar="N",
        help="The audio track to check, from 0, or all. May be repeated. Default: the main one.",
    ),
]
Languages = Annotated[
    list[str] | None,
    option(
        "--language",
        panel=INPUT,
        metavar="CODE",
        help="Check the audio tracks in this language, as in fr, fra or fr-CA. May be repeated.",
    ),
]
VideoTrack = Annotated[
    int | None,
    option(
        "--video-track",
        panel=INPUT,
        min=0,
        metavar="N",
        help="The picture track to check, from 0, cover art not counted. Default: the main one.",
    ),
]
Program = Annotated[
    int | None,
    option(
        "--program",
        panel=INPUT,
        min=1,
        metavar="N",
        help="The programme of an MPEG-TS to check. Default: the main one.",
    ),
]
Audio = Annotated[
    Path | None,
    option(
        "--audio",
        panel=INPUT,
        metavar="FILE",
        help="Check this sound file in place of the sound of the file.",
    ),
]
Audios = Annotated[
    list[Path] | None,
    option(
        "--audio",
        panel=INPUT,
        metavar="FILE",
        help="Check this sound file in place of the sound of the file. May be repeated.",
    ),
]
Start = Annotated[
    str | None,
    option(
        "--start",
        panel=INPUT,
        metavar="TIME",
        help="Look only at what comes after this: seconds, [HH:]MM:SS[.mmm], or timecode of the "
        "title, HH:MM:SS:FF.",
    ),
]
End = Annotated[
    str | None,
    option("--end", panel=INPUT, metavar="TIME", help="Look only at what comes before this."),
]

# ---- how to look at it

Sample = Annotated[
    bool,
    option(
        "--sample/--no-sample",
        panel=ANALYSIS,
        help="Look at stretches of 10 s spread over a long title, instead of as much as it takes.",
    ),
]
Thorough = Annotated[
    bool,
    option(
        "--thorough/--no-thorough",
        panel=ANALYSIS,
        help="Look at all of a long title; where nothing shows, look closer whatever it costs.",
    ),
]
Reach = Annotated[
    float,
    option(
        "--reach",
        panel=ANALYSIS,
        min=USUAL_REACH_S,
        max=MOST_REACH_S,
        metavar="S",
        help=f"Search for offsets of up to so many seconds. Default: {USUAL_REACH_S:g}.",
    ),
]
ProbeCount = Annotated[
    int,
    option(
        "--probes",
        panel=ANALYSIS,
        min=LEAST_PROBES,
        metavar="N",
        help="How many stretches --sample begins with; it ends with at most "
        f"{MOST_PROBES} N. Default: {PROBES}.",
    ),
]
Device = Annotated[
    DeviceName,
    option(
        "--device",
        panel=ANALYSIS,
        metavar="NAME",
        help=f"Where the network runs: {_words(DEVICES)}. Default: auto, a GPU if there is one.",
    ),
]
Model = Annotated[
    Path | None,
    option(
        "--model",
        panel=ANALYSIS,
        metavar="FILE",
        help="Weights (safetensors) to use instead of those of avcheck.",
    ),
]
Threads = Annotated[
    int,
    option(
        "--threads",
        panel=ANALYSIS,
        min=0,
        metavar="N",
        help="Threads for each file. Default: all cores, shared by --jobs.",
    ),
]

# ---- what passes

Preset = Annotated[
    str | None,
    option(
        "--preset",
        panel=VERDICT,
        metavar="NAME",
        autocompletion=_presets,
        help="How early / late (ms) sound may be: "
        + ", ".join(
            f"{name} {limit.early_ms:g}/{limit.late_ms:g}" for name, limit in PRESETS.items()
        )
        + f". Default: {DEFAULT_PRESET}.",
    ),
]
Early = Annotated[
    float | None,
    option(
        "--early",
        panel=VERDICT,
        metavar="MS",
        help="How early sound may be, in place of the limit of the preset.",
    ),
]
Late = Annotated[
    float | None,
    option(
        "--late",
        panel=VERDICT,
        metavar="MS",
        help="How late sound may be, in place of the limit of the preset.",
    ),
]
FailOns = Annotated[
    list[FailOn] | None,
    option(
        "--fail-on",
        panel=VERDICT,
        metavar="KIND",
        help=f"What fails the run: {_words(tuple(FailOn))}. May be repeated. Default: out-of-sync "
        "and error.",
    ),
]
ExitZero = Annotated[
    bool,
    option(
        "--exit-zero", panel=VERDICT, help="Exit with 0 instead of 1; errors keep their exit code."
    ),
]

# ---- what is written

_FORMAT_HELP = f"What goes to stdout: {_words(FORMATS)}. Default: text."
OutputFormat = Annotated[
    Format | None, option("--format", panel=OUTPUT, metavar="FORMAT", help=_FORMAT_HELP)
]
AsJson = Annotated[
    bool,
    option(
        "--json",
        panel=OUTPUT,
        help="Same as --format json: one object for one file, else a list of them.",
    ),
]
Detailed = Annotated[
    bool,
    option(
        "--detail",
        panel=OUTPUT,
        help="Put into each record what its verdict rests on: the score curves, the attention.",
    ),
]
Outputs = Annotated[
    list[str] | None,
    option(
        "--output",
        panel=OUTPUT,
        metavar="FORMAT=FILE",
        help="Also write a file, as in junit=report.xml. May be repeated.",
    ),
]
Force = Annotated[
    bool, option("--force", panel=OUTPUT, help="Let --output write over files that exist.")
]
Quiet = Annotated[
    bool,
    option(
        "--quiet",
        "-q",
        panel=OUTPUT,
        help="Show only what fails: out of sync, errors, and what --fail-on adds.",
    ),
]
Verbose = Annotated[
    bool,
    option(
        "--verbose",
        "-v",
        panel=OUTPUT,
        help="Show every second of every file, the settings file, and where a bug is.",
    ),
]

# ---- many files

Jobs = Annotated[
    int,
    option(
        "--jobs",
        "-j",
        panel=BATCH,
        min=0,
        metavar="N",
        help="Files to check at a time; 0: one a core. Default: 1.",
    ),
]
Timeout = Annotated[
    float | None,
    option(
        "--timeout",
        panel=BATCH,
        metavar="S",
        help="Give up on a file after this many seconds; it is then an error.",
    ),
]
MemoryLimit = Annotated[
    int | None,
    option(
        "--memory-limit",
        panel=BATCH,
        metavar="MB",
        help="Give up on a file that needs more memory than this (Linux).",
    ),
]
Engine = Annotated[
    Literal["local", "ray"],
    option(
        "--engine",
        panel=BATCH,
        metavar="NAME",
        help="Where --jobs run: local, or ray (a cluster; needs the extra ray).",
    ),
]
Resume = Annotated[
    Path | None,
    option(
        "--resume",
        panel=RESUME,
        metavar="FILE",
        help="Add results to this file (JSON lines); skip what is done in it.",
    ),
]
RetryErrors = Annotated[
    bool,
    option(
        "--retry-errors", panel=RESUME, help="With --resume, check again what ended in an error."
    ),
]
ShardOf = Annotated[
    str | None,
    option(
        "--shard",
        panel=RESUME,
        metavar="I/N",
        help="Check only the I-th of N parts, I from 1 to N.",
    ),
]

# ---- every command

ConfigFile = Annotated[
    Path | None,
    option(
        "--config",
        metavar="FILE",
        help="Settings to use instead of the nearest avcheck.toml or pyproject.toml.",
        callback=_configure,
        is_eager=True,
    ),
]
# Eager: --config needs it.
NoConfig = Annotated[
    bool,
    option(
        "--no-config", help="Read no settings file; AVCHECK_* variables still count.", is_eager=True
    ),
]
Version = Annotated[
    bool,
    option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
]


def gate_of(fail_on: list[FailOn] | None, exit_zero: bool) -> Gate:
    """The gate of these options."""
    return Gate(frozenset(fail_on), exit_zero) if fail_on else Gate(exit_zero=exit_zero)
