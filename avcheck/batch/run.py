"""Many files: checked one after another with the model loaded once, or several at a time in worker
processes.

Nothing here imports av or numpy before the first file is opened, or torch before one can be
checked: loading torch takes far longer than seeing that a file is no video.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from avcheck.batch.base import BugInWorker, Done, Limits, Lost
from avcheck.batch.failed import error_in
from avcheck.batch.remote import Location, Stamp, fetched, is_url, shown, url_stamp, without_secrets
from avcheck.errors import (
    AvcheckError,
    MediaError,
    NotMedia,
    UsageError,
    is_disk_full,
    is_out_of_memory,
)
from avcheck.machine.files import stamp
from avcheck.machine.loading import while_importing
from avcheck.machine.memory import give_back
from avcheck.record.report import BUG, ErrorCode, Report
from avcheck.settings import CheckSettings, OnProgress
from avcheck.text.plain_text import is_text, why_no_video

CRASH_REMEDY = "if it happens again, convert the file with another program and check the copy"
OUT_OF_MEMORY = "memory ran out; check fewer files at a time, with --jobs"
SCRATCH_IS_FULL = "the disk for temporary files is full; set TMPDIR to a larger one"


class FileChecker(Protocol):
    """Checks one file: `avcheck.checker.Checker`, or a stand-in."""

    def check_tracks(
        self,
        path: str | Path,
        settings: CheckSettings,
        on_progress: OnProgress | None = None,
    ) -> tuple[Report, ...]:
        """A report for each sound of a file that `settings` ask for. Raises MediaError for a file
        that cannot be judged.
        """


@dataclass(frozen=True)
class Unchanged:
    """In place of a report: the file has not changed since it was checked, and was not checked
    again.
    """

    source: Location  # the file
    stamp: Stamp  # its size and time of change, then as now


# The reports of a file, one for each sound asked for; or that it is unchanged
Result = tuple[Report, ...] | Unchanged
# Settings and threads (0: as many as there are cores) -> a checker. Pickled for workers.
CheckerMaker = Callable[[CheckSettings, int], FileChecker]
# Settings, a file and the stamps it was checked with before -> its result, or None if it needs a
# checker. Pickled too.
Precheck = Callable[[CheckSettings, Location, Collection[Stamp]], "Report | Unchanged | None"]
OnBug = Callable[[Path | str, Exception], None]
Before = Callable[[Location], Collection[Stamp]]  # the stamps a file has been checked with before


def load_checker(settings: CheckSettings, threads: int) -> FileChecker:
    """The checker that `settings` ask for, with its weights loaded. Raises UsageError and
    ModelError.
    """
    with while_importing():
        from avcheck.checker import Checker  # late: brings torch and av

    return Checker(model=settings.model, device=settings.device, threads=threads)


def precheck(
    settings: CheckSettings, source: Location, before: Collection[Stamp]
) -> Report | Unchanged | None:
    """The result of a file whose container already shows that it cannot be checked. None for any
    other file, for every URL, and where something else goes wrong: the check will meet that again
    and report it.
    """
    if is_url(source):  # else it would be fetched twice
        return None
    size, changed = _stamp(source)
    if (size, changed) in before:
        return Unchanged(source, (size, changed))
    try:
        if is_text(Path(source)):
            raise NotMedia(source, why_no_video(Path(source)))
        from avcheck.reading.choice import open_sound, sounds_of  # late: brings av and numpy

        sounds = sounds_of(source, settings)
        if len(sounds) == 1:  # of several sounds some may be fit for a check
            open_sound(source, settings, sounds[0]).close()
        return None
    except MediaError as error:
        return _signed(_refused(source, Path(source), error, settings), size, changed, settings)
    except Exception:
        return None


def _check_one(
    checker: FileChecker,
    source: Location,
    settings: CheckSettings,
    before: Collection[Stamp],
    on_progress: OnProgress | None,
    on_bug: OnBug | None,
) -> Result:
    size, changed = None, None
    local = Path(source)
    began_s = _seconds()
    try:
        # Before the check: a file that changes meanwhile is checked again
        size, changed = _stamp(source)
        if (size, changed) in before:
            return Unchanged(source, (size, changed))
        if is_url(source):
            with fetched(source) as local:
                reports = tuple(
                    replace(each, path=shown(source))
                    for each in checker.check_tracks(local, settings, on_progress)
                )
        else:
            reports = checker.check_tracks(local, settings, on_progress)
    except MediaError as error:
        reports = (_refused(source, local, error, settings),)
    except AvcheckError as error:
        # A file that disappeared during the run is an error of its own.
        if not isinstance(error, UsageError) or is_url(source) or os.path.exists(source):  # noqa: PTH110 - Path.exists raises where a folder is closed
            raise
        gone = "the file disappeared during the run"
        reports = (error_in(source, gone, settings, code="missing"),)
    except Exception as error:
        code: ErrorCode
        if is_out_of_memory(error):
            reason, code = OUT_OF_MEMORY, "out_of_memory"
        elif is_disk_full(error):
            reason, code = SCRATCH_IS_FULL, "other"
        else:
            code = "bug"
            if on_bug:
                on_bug(source, error)
            reason = _bug_in_words(without_secrets(f"{type(error).__name__}: {error}", source))
        reports = (error_in(source, reason, settings, code=code),)
    # Of several sounds each took an unknown share: they had one look at the pictures.
    elapsed_s, now = round((_seconds() - began_s) / len(reports), 3), _now()
    return tuple(
        _signed(replace(each, elapsed_s=elapsed_s, checked_at=now), size, changed, settings)
        for each in reports
    )


def identified(report: Report, settings: CheckSettings) -> Report:
    """The report with what a later run knows it by: the settings, and the size and time of its file
    (a URL is not asked).
    """
    # What hung a worker may hang this process
    known = (None, None) if is_url(report.path) else stamp(Path(report.path))
    return _signed(report, *known, settings)


def check_many(
    files: Iterable[Location | None],
    settings: CheckSettings,
    limits: Limits | None = None,
    *,
    on_file: Callable[[Location], None] | None = None,
    on_progress: Callable[[Location, float], None] | None = None,
    on_bug: OnBug | None = None,
    make_checker: CheckerMaker | None = None,
) -> Iterator[Report]:
    """Check files one after another in this process, or several at a time in worker processes.

    The checker is made for the first file that opens as media, once in each process. A worker that
    crashes, hangs or is killed costs only the file it had in hand, whose verdict is "error".

    Args:
        files: Read as the work goes on; None: there is none at the moment, and more may come.
        settings: How each is checked.
        limits: How many worker processes, and what one file may cost. None: no worker.
        on_file: Called with each file as it begins.
        on_progress: Called with a file and the fraction of it that is done, 0..1.
        on_bug: Called with a file and an exception that is avcheck's own fault. The file gets an
            error report, and the run goes on.
        make_checker: Makes what checks a file, in place of `load_checker`.

    Yields:
        Each report as it comes, with workers in the order in which files end. Those of the sounds
        of one file come together. None is kept.

    Raises:
        UsageError, ModelError: What would hit every other file too.
    """
    results = check_changed(
        files,
        settings,
        limits,
        on_file=on_file,
        on_progress=on_progress,
        on_bug=on_bug,
        make_checker=make_checker,
    )
    return (report for result in results if not isinstance(result, Unchanged) for report in result)


def check_changed(
    files: Iterable[Location | None],
    settings: CheckSettings,
    limits: Limits | None = None,
    *,
    before: Before | None = None,
    on_file: Callable[[Location], None] | None = None,
    on_progress: Callable[[Location, float], None] | None = None,
    on_bug: OnBug | None = None,
    make_checker: CheckerMaker | None = None,
) -> Iterator[Result]:
    """`check_many` file by file, skipping files that have not changed since they were checked.

    Args:
        files: As for `check_many`, and so are the others that are not named here.
        before: The stamps that a file has been checked with. The file is asked for its own when its
            turn comes, by its worker if there are workers: a server may never answer.

    Yields:
        The reports of a file, or `Unchanged` if it has one of these stamps.

    Raises:
        UsageError, ModelError: What would hit every other file too.
    """
    # A stand-in may accept files that are no media
    quick = precheck if make_checker is None else None
    making = _Making(settings, make_checker or load_checker, quick)
    todo = (
        None if each is None else _Task(each, tuple(before(each)) if before else ())
        for each in files
    )
    calls = _Calls(on_file, on_progress, on_bug)
    if limits is None or limits.in_process:
        yield from _check_here(todo, making, limits.threads if limits else 0, calls)
    else:
        yield from _check_in_workers(todo, making, limits, calls)


@dataclass(frozen=True)
class _Making:
    """What it takes to check files."""

    settings: CheckSettings  # how each is checked
    make_checker: CheckerMaker  # makes what checks them
    quick: Precheck | None  # what answers without a checker; None: nothing does


@dataclass(frozen=True)
class _Calls:
    """Whom to tell how the run goes; see `check_many`."""

    on_file: Callable[[Location], None] | None  # a file begins
    on_progress: Callable[[Location, float], None] | None  # so much of it is done, 0..1
    on_bug: OnBug | None  # it met a bug of avcheck's own


def _check_here(
    todo: Iterable[_Task | None], making: _Making, threads: int, calls: _Calls
) -> Iterator[Result]:
    """Check files one after another in this process."""
    settings, checker = making.settings, None
    for task in todo:
        if task is None:
            continue
        source = task.source
        if calls.on_file:
            calls.on_file(source)
        if checker is None:
            known = making.quick(settings, source, task.before) if making.quick else None
            if known is not None:
                yield _result_of(known)
                continue
            checker = making.make_checker(settings, threads)
        on_fraction = partial(calls.on_progress, source) if calls.on_progress else None
        yield _check_one(checker, source, settings, task.before, on_fraction, calls.on_bug)


def _check_in_workers(
    todo: Iterable[_Task | None], making: _Making, limits: Limits, calls: _Calls
) -> Iterator[Result]:
    """Check files in worker processes, several at a time."""
    from avcheck.batch.workers import run_workers  # late: brings multiprocessing

    settings, quick = making.settings, making.quick
    on_file, on_progress, on_bug = calls.on_file, calls.on_progress, calls.on_bug
    for task, answer in run_workers(
        todo,
        partial(_Handler, settings, making.make_checker),
        limits,
        at_once=None if quick is None else partial(_AtOnce, settings, quick),
        on_start=None if on_file is None else lambda task: on_file(task.source),
        on_progress=None
        if on_progress is None
        else lambda task, done: on_progress(task.source, done),
    ):
        if answer.bug is not None and on_bug:
            text = answer.reason if isinstance(answer, Lost) else ""
            on_bug(task.source, BugInWorker(text, answer.bug))
        yield (_lost(task.source, answer, settings),) if isinstance(answer, Lost) else answer.result


def _lost(source: Location, lost: Lost, settings: CheckSettings) -> Report:
    """The record of a file that ended its worker."""
    reason = lost.reason if lost.bug is None else _bug_in_words(lost.reason)
    if lost.code == "crashed":
        reason += f"; {CRASH_REMEDY}"
    return identified(error_in(source, reason, settings, code=lost.code), settings)


@dataclass(frozen=True)
class _Task:
    """What a worker is given."""

    source: Location  # the file to check
    before: tuple[Stamp, ...]  # those it was checked with before


@dataclass(frozen=True)
class _Answer:
    """What a worker returns for a file."""

    result: Result  # its reports, or that it is unchanged
    bug: str | None  # the traceback, if the exception is avcheck's own fault


class _AtOnce:
    """Lives in a worker: answers for files that need no checker."""

    def __init__(self, settings: CheckSettings, quick: Precheck) -> None:
        import avcheck.media  # noqa: F401 - now: a machine or a memory limit too small for it is no fault of a file

        self._settings, self._quick = settings, quick

    def __call__(self, task: _Task) -> Done[_Answer] | None:
        known = self._quick(self._settings, task.source, task.before)
        return None if known is None else Done(_Answer(_result_of(known), None))


class _Handler:
    """Lives in a worker: holds the checker, and checks one file after another."""

    def __init__(self, settings: CheckSettings, make_checker: CheckerMaker, threads: int) -> None:
        self._settings = settings
        try:
            self._checker = make_checker(settings, threads)
        except Exception as error:
            if is_out_of_memory(error):
                raise MemoryError(f"{error}".partition("\n")[0]) from error
            raise

    def __call__(self, task: _Task, on_progress: OnProgress) -> Done[_Answer]:
        source, settings = task.source, self._settings
        bugs: list[str] = []

        def keep(source: Location, error: Exception) -> None:
            bugs.append("".join(traceback.format_exception(error)))

        try:
            result = _check_one(self._checker, source, settings, task.before, on_progress, keep)
        # Only this file fails: the worker itself started well
        except AvcheckError as error:
            reason = without_secrets(str(error), source)
            result = (identified(error_in(source, reason, settings, code=error.code), settings),)
        give_back()
        worn = isinstance(result, tuple) and result[0].reason == OUT_OF_MEMORY
        return Done(_Answer(result, bugs[0] if bugs else None), worn)


def _result_of(known: Report | Unchanged) -> Result:
    return (known,) if isinstance(known, Report) else known


def _refused(source: Location, local: Path, error: MediaError, settings: CheckSettings) -> Report:
    """The record of a file that cannot be judged. It names the path itself, so its reason does only
    for another file.
    """
    reason = error.reason if error.path in (str(local), shown(source)) else str(error)
    return error_in(source, reason, settings, code=error.code)


def _stamp(source: Location) -> Stamp:
    """`files.stamp`, for URLs too."""
    return url_stamp(source) if is_url(source) else stamp(source)


def _signed(
    report: Report, size: int | None, changed: int | None, settings: CheckSettings
) -> Report:
    when = report.checked_at or _now()
    return replace(settings.signed(report), file_size=size, file_mtime_ns=changed, checked_at=when)


def _bug_in_words(text: str) -> str:
    return f"{BUG}{text} (please report it; AVCHECK_DEBUG=1 shows where)"


def _seconds() -> float:
    return time.monotonic()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
