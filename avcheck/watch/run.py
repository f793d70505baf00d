"""The loop of `avcheck watch`: look at the folder, check whole files, put them where they
belong.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from avcheck.batch.base import Limits
from avcheck.batch.checkpoint import Checkpoint
from avcheck.batch.discovery import Selection, discover
from avcheck.batch.failed import error_in
from avcheck.batch.run import CheckerMaker, OnBug, check_many
from avcheck.errors import UsageError, without_audio_option
from avcheck.record.report import Report, Verdict
from avcheck.render import to_json
from avcheck.settings import CheckSettings
from avcheck.watch.hook import run_hook
from avcheck.watch.place import free_name, put
from avcheck.watch.steps import Key, Steps, key_of
from avcheck.watch.whole import has_partial_name, is_being_written, is_complete, unchanged_s

LOOKS = 3  # at an unchanging file, before it is taken for whole
POLL_S = 5.0  # between two looks at a folder that reports no changes
IDLE_S = 60.0  # at one that does report them, in case it missed one
RETRY_S = 60.0  # before trying again to move a file
EVERY_MEDIA_FILE = Selection()
_TICK_S = 0.5  # the longest that a worker's answer may wait


@dataclass(frozen=True)
class WatchPlan:
    """What to watch, and what to do with the files.

    `folders` has the folder for each verdict; a file whose verdict is not in it stays where it is.
    A file is taken for whole once it has not changed for `settle_s`; if its content or name says
    that more is to come, for `patience_s`.
    """

    folder: Path
    journal: Path  # the results file
    folders: Mapping[Verdict, Path]
    link: bool = False  # instead of moving
    hook: tuple[str, ...] = ()  # a command that gets each record on stdin
    selection: Selection = EVERY_MEDIA_FILE  # which files of the folder
    settle_s: float = 5.0
    patience_s: float = 600.0
    poll: bool = False  # look for changes in place of waiting to be notified
    once: bool = False  # end once every file that is there is done


def watch(
    plan: WatchPlan,
    settings: CheckSettings,
    limits: Limits,
    *,
    on_report: Callable[[Report], None],
    on_step: Callable[[str], None],
    on_bug: OnBug | None = None,
    make_checker: CheckerMaker | None = None,
) -> int:
    """Check the files of a folder as they arrive, until interrupted.

    Args:
        plan: What to watch, and what to do with the files.
        settings: How each file is checked.
        limits: How many at a time, and what one may cost.
        on_report: Called with each new result once it is in the journal.
        on_step: Called with what becomes of a file, in words.
        on_bug: As for `batch.run.check_many`.
        make_checker: As for `batch.run.check_many`.

    Returns:
        With `plan.once`, how many files could not be moved or linked; the next run tries again.

    Raises:
        UsageError: The folder or the journal cannot be used, or watchfiles is not installed.
        ModelError: The weights cannot be used.
    """
    with (
        Checkpoint(plan.journal, "journal") as journal,
        Steps(steps_of(plan.journal)) as steps,
        _notified(plan, on_step) as woken,
    ):
        if not plan.once:
            on_step(f"watching {plan.folder}, results go to {plan.journal}")
        folder = _Folder(plan, settings, journal, steps, woken, on_step)
        folder.go_on()
        for report in check_many(
            folder.arrivals(), settings, limits, on_bug=on_bug, make_checker=make_checker
        ):
            if report.reason_code == "no_audio":
                report = replace(report, reason=without_audio_option(report.reason or ""))
            journal.add(report)
            on_report(report)
            folder.finish(report)
        return folder.unmoved


def steps_of(journal: Path) -> Path:
    """The log of steps that belongs to a journal."""
    return journal.with_name(journal.name + ".steps")


@dataclass(frozen=True)
class _Waiting:
    """A file that may still be arriving. key: its state; since_s: when it was first seen in it, by
    the monotonic clock; looks: how often it was seen in it.
    """

    key: Key
    since_s: float
    looks: int = 1


class _Folder:
    """What is known of the files in the folder."""

    def __init__(
        self,
        plan: WatchPlan,
        settings: CheckSettings,
        journal: Checkpoint,
        steps: Steps,
        woken: threading.Event,
        on_step: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._journal = journal
        self._steps = steps
        self._woken = woken
        self._on_step = on_step
        self._waiting: dict[Path, _Waiting] = {}
        self._ready: deque[Path] = deque()
        self._in_hand: set[Path] = set()
        self._again_s: dict[Path, float] = {}  # when to try again to place a file
        self._unfinished: set[Path] = set()  # files already reported as unfinished
        self._finished: set[Key] = set()  # by this run
        self._complaints: set[str] = set()  # about what cannot be checked

    def go_on(self) -> None:
        """Finish moving what an earlier run, with any settings, began to move."""
        for begun in list(self._steps.unfinished()):
            source = Path(begun.key[0])
            is_there = _key(source) == begun.key
            has_arrived = begun.to is not None and os.path.lexists(begun.to)
            if is_there and begun.to is not None and has_arrived:
                try:
                    has_arrived = put(source, begun.to, link=self._plan.link)
                except OSError:
                    has_arrived = False  # tried again, and reported, when the file comes up
            if is_there and not has_arrived:
                continue  # comes up like any file that is there
            if begun.to is not None and has_arrived:
                self._on_step(f"{source} is now {begun.to}, as an earlier run began")
                known = self._known(begun.key)
                if known is not None:
                    self._run_hook(known, begun.to)
            else:
                self._on_step(f"{source} has changed or gone since an earlier run began with it")
            self._steps.end(begun.key)

    @property
    def unmoved(self) -> int:
        """How many files could not be moved or linked so far."""
        return len(self._again_s)

    def arrivals(self) -> Iterator[Path | None]:
        """The files to check, each as soon as it is whole; None if there is none at the moment."""
        plan = self._plan
        # While files may be arriving, and otherwise
        pause_s = min(1.0, max(0.02, plan.settle_s / LOOKS))
        rest_s = POLL_S if plan.poll else IDLE_S
        last_s = -math.inf
        while True:
            is_awake = bool(self._waiting) or self._woken.is_set()
            now_s, due_s = time.monotonic(), last_s + (pause_s if is_awake else rest_s)
            if now_s >= due_s:
                self._woken.clear()
                self._look(now_s)
                last_s = now_s
            if self._ready:
                path = self._ready.popleft()
                self._in_hand.add(path)
                yield path
                continue
            # What is in hand may change during its check
            if plan.once and not (self._waiting or self._in_hand):
                return
            yield None
            left_s = min(_TICK_S, max(0.01, due_s - time.monotonic()))
            if is_awake:
                time.sleep(left_s)
            else:
                self._woken.wait(left_s)

    def finish(self, report: Report) -> None:
        """Put a file whose record is in the journal where it belongs, and run the hook."""
        source, key = Path(report.path), key_of(report)
        self._in_hand.discard(source)
        now = _key(source)
        if now != key:
            self._on_step(
                f"{source} is gone since it was checked"
                if now is None
                else f"{source} has changed since its check began, so it is checked again"
            )
            if now is not None:
                self._waiting[source] = _Waiting(now, time.monotonic())
            self._again_s.pop(source, None)
            return
        try:
            goal = self._place(source, key, self._plan.folders.get(report.verdict))
        except OSError as error:
            if source not in self._again_s:
                again = "the next run tries again" if self._plan.once else "the move is tried again"
                self._on_step(
                    f"{source} stays where it is: {error.strerror or error} "
                    f"({error.filename2 or error.filename}); {again}"
                )
            self._again_s[source] = time.monotonic() + RETRY_S
            return
        self._again_s.pop(source, None)
        if goal is not None:
            self._on_step(f"{source} {'linked' if self._plan.link else 'moved'} to {goal}")
        self._run_hook(report, goal or source)
        self._steps.end(key)
        self._finished.add(key)

    def _place(self, source: Path, key: Key, folder: Path | None) -> Path | None:
        """Move or link a file. Returns its new path, or None if it stays."""
        if folder is None:
            self._steps.begin(key, None)
            return None
        name = source.relative_to(self._plan.folder)
        goal = self._steps.goal(key)
        if goal is None or not goal.is_relative_to(folder):
            goal = free_name(folder, name)
            self._steps.begin(key, goal)
        while not put(source, goal, link=self._plan.link):
            goal = free_name(folder, name)
            self._steps.begin(key, goal)
        return goal

    def _run_hook(self, report: Report, path: Path) -> None:
        if self._plan.hook:
            record = to_json(report).encode("ascii") + b"\n"
            run_hook(self._plan.hook, record, path, self._on_step)

    def _look(self, now: float) -> None:
        """See which files are there, and which of them are whole."""
        if not self._plan.folder.is_dir():
            raise UsageError(f"{self._plan.folder} is gone")
        settings = self._settings
        discovery = discover(
            [self._plan.folder], settings.tolerance, settings.model, self._plan.selection
        )
        for refused in discovery.errors:
            line = f"{refused.path}: {refused.reason}"
            if refused.reason_code == "outside_link":  # there is no naming it here
                line = f"{refused.path}: links are passed over; put the file itself there"
            if refused.reason_code != "no_media" and line not in self._complaints:
                self._complaints.add(line)
                self._on_step(line)
        before, self._waiting = self._waiting, {}
        for source in discovery.files:
            path = Path(source)
            if path in self._in_hand or self._is_passed_over(path):
                continue
            key = _key(path)
            if key is None or self._is_settled(key):
                continue
            known = self._known(key)
            if known is not None:
                if now >= self._again_s.get(path, now):
                    self.finish(known)
                continue
            candidate = before.get(path)
            candidate = (
                _Waiting(key, now)
                if candidate is None or candidate.key != key
                else replace(candidate, looks=candidate.looks + 1)
            )
            if self._is_whole(path, candidate, now):
                self._ready.append(path)
                self._in_hand.add(path)
            else:
                self._waiting[path] = candidate

    def _is_passed_over(self, path: Path) -> bool:
        ours = self._plan.journal, steps_of(self._plan.journal)
        return path.is_symlink() or has_partial_name(path) or path in ours

    def _is_whole(self, path: Path, candidate: _Waiting, now: float) -> bool:
        still_s = now - candidate.since_s
        if candidate.looks < LOOKS or still_s < self._plan.settle_s or is_being_written(path):
            return False
        if self._plan.once:  # by a timer, to which what arrived long before is nothing new
            still_s = max(still_s, unchanged_s(path))
        if is_complete(path) or still_s >= self._plan.patience_s:
            return True
        if path not in self._unfinished:
            self._unfinished.add(path)
            self._on_step(
                f"{path} is not complete; it is checked as it is once it has not changed for "
                f"{self._plan.patience_s:g} s"
            )
        return False

    def _is_settled(self, key: Key) -> bool:
        """Whether nothing is left to do for a file that is there. A file that was moved away and
        has come back unchanged is moved again; a file that other settings may judge otherwise, or
        that met a bug in an earlier run, is checked again.
        """
        if not self._steps.is_done(key):
            return False
        verdict = self._journal.verdict(self._wanted(key))
        if verdict is None:
            return key in self._finished
        return self._plan.link or verdict not in self._plan.folders

    def _known(self, key: Key) -> Report | None:
        """The earlier result for a file in its present state, from a check like this one."""
        wanted = self._wanted(key)
        if self._journal.verdict(wanted) is None:
            return None
        (report,) = self._journal.reports(self._journal.starts(wanted))
        return report

    def _wanted(self, key: Key) -> Report:
        path, size, changed = key
        settings = self._settings
        return replace(
            error_in(path, "", settings, code="other"),
            file_size=size,
            file_mtime_ns=changed,
            settings_sha256=settings.sha256(),
        )


def _key(path: Path) -> Key | None:
    """The key of the file at a path; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return str(path), status.st_size, status.st_mtime_ns


@contextmanager
def _notified(plan: WatchPlan, on_step: Callable[[str], None]) -> Iterator[threading.Event]:
    """An event that is set whenever something changes in the folder; if the folder is polled,
    never.

    Raises UsageError if the library for that is not installed.
    """
    woken, stop = threading.Event(), threading.Event()
    if plan.poll:
        yield woken
        return
    try:
        import watchfiles
    except ImportError as error:
        raise UsageError(
            "without watchfiles use `avcheck watch --poll`, or: pip install watchfiles"
        ) from error

    def listen() -> None:
        try:
            for _ in watchfiles.watch(
                plan.folder, watch_filter=None, debounce=200, stop_event=stop, rust_timeout=500
            ):
                woken.set()
        except Exception as error:  # out of watches, or a file system without them
            on_step(
                f"the system cannot report changes in {plan.folder} ({error}); looking for new "
                f"files every {IDLE_S:.0f} s (--poll: every {POLL_S:.0f} s)"
            )

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield woken
    finally:
        stop.set()
        listener.join(2.0)
