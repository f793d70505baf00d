"""What the user sees: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import io
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from avcheck import render
from avcheck.batch.base import BugInWorker
from avcheck.batch.remote import Location, shown, without_secrets
from avcheck.batch.run import check_many
from avcheck.cli.gate import ExitCode, Gate
from avcheck.errors import UsageError, why_not_written
from avcheck.machine.loading import never_compile
from avcheck.machine.memory import keep_memory
from avcheck.record.report import Report
from avcheck.render.output import Target, to_file, to_stream
from avcheck.settings import CheckSettings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from avcheck.evidence.stills import Illustration
    from avcheck.render.page import Illustrate


class Nowhere(io.TextIOWrapper):
    """Stands for a stdout that the caller closed: what is written is lost."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull).open("wb"), encoding="utf-8")  # noqa: SIM115 - for as long as we run


def complain(text: str, prefix: str = "avcheck: ") -> None:
    """Write one line to stderr. A closed stderr is no reason to fail."""
    with suppress(OSError, ValueError):
        print(f"{prefix}{render.printable(without_secrets(text))}", file=sys.stderr, flush=True)


def write_results(text: str, *, kept: bool = False) -> None:
    """Write text to stdout at once. `kept`: files hold the results too, so that a closed stdout
    loses nothing. Raises UsageError and BrokenPipeError.
    """
    if isinstance(sys.stdout, Nowhere) and text and not kept:
        raise UsageError("cannot write the results: stdout is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"cannot write the results: {why_not_written(error)}") from error


def _report_partial(path: Path) -> None:
    complain(f"the results so far are in {path}")


def _appender(path: Path) -> Callable[[str], None]:
    """A `write` that appends to a file. It never raises: a summary nobody can read must not fail
    the gate.
    """

    def write(text: str) -> None:
        if text:
            try:
                with path.open("a", encoding="utf-8", newline="") as file:
                    file.write(text)
            except OSError as error:
                complain(f"cannot write the step summary {path}: {why_not_written(error)}")

    return write


def take_stills(report: Report, audio: Path | None = None) -> Illustration:
    """`stills.illustrate`; its module is loaded only when a page is made."""
    from avcheck.evidence.stills import illustrate

    return illustrate(report, audio)


class Output:
    """Sends each report, as it comes, to stdout in one format and to files in others, and counts
    the verdicts.
    """

    def __init__(
        self,
        form: str,
        *,
        quiet: bool,
        detailed: bool,
        every_row: bool = False,
        single: bool = False,
        targets: Sequence[Target] = (),
        force: bool = False,
        strict: bool = False,
        illustrate: Illustrate = take_stills,
    ) -> None:
        """`detailed`: text includes each file's table, with `every_row` at any length; `single`:
        JSON is one object, not a list.
        """
        self.verdicts: Counter[str] = Counter()
        self._titles = render.Titles()
        self._earlier = 0  # results that an earlier run found
        self.has_bug = False  # a fault of avcheck's own kept a file from being judged
        self._every_row = every_row
        self._single = single
        self._worst: render.Worst[Report] = render.Worst(render.FAILURES)
        self._form = form
        self._quiet = quiet
        self._detailed = detailed
        self._targets = targets
        self._force = force
        self._strict = strict
        self._illustrate = illustrate
        self._findings = {"out_of_sync", "undecidable"} if strict else {"out_of_sync"}
        self._documents: list[Callable[[Report], None]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Output:
        with ExitStack() as stack:
            for target in self._targets:
                document = self._document(target.form)
                stream = to_file(
                    document, target.path, force=self._force, on_partial=_report_partial
                )
                self._documents.append(stack.enter_context(stream))
            step_summary = os.environ.get("GITHUB_STEP_SUMMARY")
            if step_summary and "github" in (
                self._form,
                *(target.form for target in self._targets),
            ):
                document = self._document(render.STEP_SUMMARY)
                self._documents.append(
                    stack.enter_context(to_stream(document, _appender(Path(step_summary))))
                )
            if self._form != "text":
                with suppress(AttributeError):  # a stand-in may not have it
                    sys.stdout.reconfigure(newline="")  # type: ignore[union-attr]
                document = self._document(self._form)
                self._documents.append(stack.enter_context(to_stream(document, self.write)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def _document(self, form: str) -> render.Renderer:
        return render.renderer(
            form, strict=self._strict, single=self._single, illustrate=self._illustrate
        )

    def write(self, text: str) -> None:
        """Write text to stdout at once, so that a reader, or a crash, finds all that is done so
        far.
        """
        write_results(text, kept=bool(self._targets))

    def emit(self, result: Report, *, earlier: bool = False) -> None:
        """Send one report to stdout and the files; an error goes to stderr too, and in text only
        there.

        A result of an `earlier` run goes into every document and counts; as text it was shown then.
        """
        try:
            for add in self._documents:
                add(result)
        finally:  # where a file cannot be written, the result is shown all the same
            self._show(result, earlier=earlier)

    def _show(self, result: Report, *, earlier: bool) -> None:
        """Count a report, and show what stdout and stderr say of it."""
        self.verdicts[result.verdict] += 1
        if result.verdict in {"error", *self._findings}:
            self._worst.add(result, replace(result, segments=(), blocks=(), detail=None))
        self.has_bug |= result.is_bug
        title = self._titles.summary_after(result)
        if earlier:
            self._earlier += 1
        elif result.verdict == "error":
            complain(render.line(result), prefix="")
        elif self._form == "text" and (not self._quiet or result.verdict in self._findings):
            self._text(result)
        if title and self._form == "text" and not earlier and not self._quiet:
            self.write(f"{title}\n")

    def finish(self, total: int, *, empty: str = "", resume: Path | None = None) -> None:
        """End a run over `total` files: what failed and why, and the summary, or `empty` if there
        were no files.

        A single file that was just checked needs none of these.
        """
        if self._quiet:
            return
        if total == 0:
            complain(empty, prefix="")
        elif total > 1 or self._earlier:
            self._failures()
            complain(
                render.summary(self.verdicts, self._titles.count) + self._done_before(resume),
                prefix="",
            )

    def _done_before(self, resume: Path | None) -> str:
        if not self._earlier:
            return ""
        if self._earlier == self.verdicts.total():
            return f" (all done before, in {resume}: nothing was left to check)"
        return f" ({self._earlier} of them done before, in {resume})"

    def _failures(self) -> None:
        """What failed and why, worst first: on stdout with text; for other formats on stderr, if
        that is a terminal.
        """
        failed = sum(
            count
            for verdict, count in self.verdicts.items()
            if verdict in {"error", *self._findings}
        )
        if not failed:
            return
        worst = self._worst.items()
        rows = list(render.failures(worst, failed, self.verdicts.total(), self._titles.count))
        if self._form == "text":
            self.write("".join(f"{row}\n" for row in ["", *rows]))
        if sys.stderr.isatty() and not (self._form == "text" and sys.stdout.isatty()):
            for row in rows:
                complain(row, prefix="")

    def code(self, gate: Gate) -> ExitCode:
        """The exit code for the reports so far."""
        code = gate.exit_code(self.verdicts)
        return max(ExitCode.BUG, code) if self.has_bug else code

    def _text(self, result: Report) -> None:
        if not self._detailed and not sys.stdout.isatty():
            self.write(render.line(result) + "\n")
            return
        console = _console()
        with console.capture() as captured:
            folded = render.is_folded(result, every_row=self._every_row)
            if self._detailed and result.blocks:
                table = render.table(
                    result,
                    width=console.width,
                    ascii_only=console.options.ascii_only,
                    every_row=self._every_row,
                )
                console.print(table)
            if self._detailed and result.by_signal and result.segments:
                console.print(render.event_table(result))
            console.print(render.styled_line(result, course=not self._detailed), soft_wrap=True)
            details = render.details(result, stretches=not folded) if self._detailed else ()
            for name, text in details:
                console.print(f"  {name:<11}{text}", soft_wrap=True, markup=False, emoji=False)
        self.write(captured.get())


def show_alone(report: Report, form: str, gate: Gate) -> ExitCode:
    """Write a command's only result to stdout, with its details if it is text. Returns the gate's
    exit code.
    """
    with Output(
        form, quiet=False, detailed=form == "text", single=True, strict=gate.undecidable_fails
    ) as output:
        output.emit(report)
    return output.code(gate)


def check_alone(path: Path, settings: CheckSettings, *, quiet: bool) -> Report:
    """Check one file in this process, with a progress bar. Raises UsageError and ModelError."""
    with progress_bar(1, quiet=quiet) as bar:
        never_compile()
        keep_memory()
        return next(
            check_many(
                [path],
                settings,
                on_file=bar.on_file,
                on_progress=bar.on_progress,
                on_bug=partial(show_bug, verbose=False),
            )
        )


def show_bug(path: Location, error: Exception, *, verbose: bool) -> None:
    """Write to stderr where a bug of our own lies, if asked to."""
    if verbose or os.environ.get("AVCHECK_DEBUG"):
        text = (
            error.traceback
            if isinstance(error, BugInWorker)
            else "".join(traceback.format_exception(error))
        )
        print(without_secrets(text, path), file=sys.stderr)


def _console() -> Console:
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False)


class Bar:
    """How far a run has come: files done, and fractions of those in hand. Without a `Progress` it
    shows nothing.
    """

    def __init__(
        self, total: int, progress: Progress | None = None, *, waits_for_network: bool = True
    ) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._in_hand: dict[str, float] = {}
        self._began = time.monotonic()
        self._loaded = not waits_for_network  # the first file that is checked loads it
        self._task = progress.add_task("starting", total=None) if progress else None

    def on_file(self, path: Location) -> None:
        """A file begins."""
        self._in_hand[shown(path)] = 0.0
        self._update()

    def on_progress(self, path: Location, fraction: float) -> None:
        """So much of the file is done, 0..1."""
        self._loaded = True
        self._in_hand[shown(path)] = min(max(fraction, 0.0), 1.0)
        self._update()

    def done(self, path: Location) -> None:
        """A file is done and there is nothing to write."""
        self._done += 1
        self._in_hand.pop(shown(path), None)
        self._update()

    def _update(self) -> None:
        if self._progress is None or self._task is None:
            return
        names = [render.printable(PurePath(path).name) for path in self._in_hand]
        text = (
            names[-1] + (f" and {len(names) - 1} more" if len(names) > 1 else "") if names else ""
        )
        if self._total > 1:
            rate = 60 * self._done / max(time.monotonic() - self._began, 1e-3)
            speed = f", {rate:.{0 if rate > 99 else 1}f} a minute" if self._done else ""
            text = f"{self._done}/{self._total} done{speed}" + (f": {text}" if text else "")
        if names and not self._loaded:
            text += " (loading the network)"
        done = self._done + sum(self._in_hand.values())
        self._progress.update(self._task, completed=done, total=self._total, description=text)

    @contextmanager
    def out_of_the_way(self, finished: str | None = None) -> Iterator[None]:
        """Take the bar off the screen while a result, that of the file `finished`, is written to
        the same terminal.
        """
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
def progress_bar(total: int, *, quiet: bool, waits_for_network: bool = True) -> Iterator[Bar]:
    """A bar with the time left on stderr, if that is a terminal."""
    if quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield Bar(total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    console = Console(file=sys.stderr)
    # Redirecting stdout would send results to stderr if stdout is a pipe.
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=False, refresh_per_second=4
    ) as progress:
        yield Bar(total, progress, waits_for_network=waits_for_network)
