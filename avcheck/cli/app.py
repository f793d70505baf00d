"""The command `avcheck`: arguments -> settings -> run -> exit code. The only place that prints or
exits.

`avcheck PATH...` is `avcheck check PATH...`. Each command imports what is heavy (torch, av, numpy)
only after it has looked at the paths, so `--help`, `--version` and a wrong path answer at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import typer

from avcheck.batch.base import BugInWorker
from avcheck.batch.remote import without_secrets
from avcheck.cli.gate import ExitCode
from avcheck.cli.group import app
from avcheck.cli.screen import Nowhere, complain
from avcheck.cli.usage import WRONG_USAGE, explain
from avcheck.errors import AvcheckError, is_disk_full, why_not_written
from avcheck.machine.cores import wait_patiently
from avcheck.machine.memory import keep_few_kernels
from avcheck.record.report import BUG

__all__ = ["app", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on `argv` (default: the process's own arguments) and return its exit code.
    Never raises.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    wait_patiently()
    keep_few_kernels()
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a stand-in may not have it
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = _run(args)
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _drop_unwritten()
    return code


def _run(args: list[str]) -> int:
    """Run the command; every exception becomes a line on stderr and an exit code."""
    is_asked_by_shell = os.environ.get("_AVCHECK_COMPLETE", "").startswith("complete_")
    if is_asked_by_shell:
        # Typer breaks descriptions into lines of this width; fish takes each for a candidate
        os.environ["TERMINAL_WIDTH"] = "10000"
    try:
        code = _command().main(args=args or ["--help"], prog_name="avcheck", standalone_mode=False)
        sys.stdout.flush()
        if code == ExitCode.INTERRUPTED:
            complain("interrupted")
        return int(code or 0) if args else ExitCode.NOT_JUDGED
    except WRONG_USAGE as error:
        complain(explain(error))
        return ExitCode.NOT_JUDGED
    except AvcheckError as error:
        complain(str(error))
        return ExitCode.NOT_JUDGED
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted")
        return ExitCode.INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:
        # Typer turns a broken pipe into SystemExit(1), which would read as a finding. Completion
        # exits by itself too.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, OSError):
            return (
                int(error.code or 0) if is_asked_by_shell or not error.code else ExitCode.NOT_JUDGED
            )
        _drop_unwritten()
        return ExitCode.BROKEN_PIPE
    except Exception as error:
        if is_disk_full(error):
            complain(f"cannot write the output: {why_not_written(error)}")
            return ExitCode.NOT_JUDGED
        if os.environ.get("AVCHECK_DEBUG") or {"-v", "--verbose"} & set(args):
            trace = error.traceback if isinstance(error, BugInWorker) else traceback.format_exc()
            print(without_secrets(trace), file=sys.stderr)
        name = "" if isinstance(error, BugInWorker) else f"{type(error).__name__}: "
        complain(f"{BUG}{name}{error} (please report it; AVCHECK_DEBUG=1 shows where)")
        return ExitCode.BUG


@cache
def _command() -> Any:
    """The command, built once however often `main` is called: Typer takes longer to build it than
    most calls take.
    """
    return typer.main.get_command(app)


def _drop_unwritten() -> None:
    """Drop what stdout still holds; otherwise writing it fails again at exit, which Python reports
    by an exit code of its own.
    """
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_closed_streams() -> None:
    """Point streams that the caller closed (`2>&-`) at nothing; otherwise the next file opened
    would get the stream's number, and its text.
    """
    # In order of number: the lowest free one is given
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            if name == "stdout":
                sys.stdout = Nowhere()
            else:
                setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - for as long as we run
