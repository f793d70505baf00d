"""An engine that spreads a batch over machines: Ray. Needs the extra `ray`.

Each actor keeps one guarded worker process, the same that `--jobs` uses: a crash in a decoder must
not end the actor, which Ray would start again with the same file. Ray carries paths out and records
back, never media.
"""

from __future__ import annotations

import io
import json
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from avcheck import render
from avcheck.batch.base import BugInWorker, Limits
from avcheck.batch.failed import error_in
from avcheck.batch.remote import Location, Stamp, is_url, shown
from avcheck.batch.run import (
    Before,
    CheckerMaker,
    Result,
    Unchanged,
    check_changed,
    identified,
)
from avcheck.errors import AvcheckError, UsageError
from avcheck.record.report import Report
from avcheck.settings import CheckSettings

# A file whose machine or process is lost so often is given up
MOST_LOSSES = 3
_LOOK_S = 30.0  # without a result, before asking whether any machine is left


def check_with_ray(
    files: Iterable[Location],
    settings: CheckSettings,
    limits: Limits,
    *,
    before: Before | None = None,
    make_checker: CheckerMaker | None = None,
) -> Iterator[Result]:
    """`run.check_changed` on the Ray cluster that RAY_ADDRESS names, or on one started on this
    machine.

    Args:
        files: Must have the same path on every machine. All are read at the beginning.
        settings: How each is checked; an actor takes a whole GPU if they say "cuda".
        limits: `jobs`: how many actors; `threads`: CPUs of each (0: one); the others apply to each.
        before: As for `check_changed`.
        make_checker: As for `check_changed`.

    Yields:
        As `check_changed`.

    Raises:
        UsageError: Ray is not installed, cannot be reached or gives up; or what would hit every
            other file too, weights that cannot be loaded included.
        BugInWorker: A bug of avcheck's own.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError(f"the engine ray needs Ray ({error}): pip install ray") from error
    tasks = deque(_Task(each, before(each) if before else ()) for each in files)
    if not tasks:
        return
    needs = {"CPU": float(limits.threads or 1)}
    if settings.device == "cuda":
        needs["GPU"] = 1.0
    elsewhere = replace(
        settings,
        model=settings.model and settings.model.absolute(),
        audio=tuple(each.absolute() for each in settings.audio),
    )
    limits_of_one = replace(limits, jobs=1, threads=int(needs["CPU"]))
    with _cluster():
        _refuse_what_no_machine_has(needs)
        actor = ray.remote(num_cpus=needs["CPU"], num_gpus=needs.get("GPU", 0))(_Actor)
        pool = _Pool(partial(actor.remote, elsewhere, limits_of_one, make_checker), needs)
        try:
            for task, row in pool.run(tasks, min(limits.jobs, len(tasks))):
                if row is None:
                    yield (_lost(task, settings),)
                elif row["failed"]:
                    bug = row["bug"]
                    raise BugInWorker(row["failed"], bug) if bug else UsageError(row["failed"])
                elif row["same"] is not None:
                    yield Unchanged(shown(task.source), tuple(row["same"]))
                else:
                    # By the paths as given here
                    yield tuple(
                        settings.signed(Report.from_record(json.loads(record)))
                        for record in row["records"]
                    )
        except ray.exceptions.RayError as error:
            raise UsageError(f"the run on Ray failed: {_in_a_line(error, 300)}") from error
        finally:
            pool.close()


@contextmanager
def _cluster() -> Iterator[None]:
    """A connection to the cluster, or to a new one on this machine; it is closed at the end unless
    it was open before. Ray's own messages go to stderr: stdout carries results, perhaps as JSON.
    """
    import ray

    with _own_stdout():
        is_ours = not ray.is_initialized()
        if is_ours:
            try:
                ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)
            except Exception as error:  # it raises bare ones, of a start that takes too long
                raise UsageError(f"Ray cannot be reached: {_in_a_line(error, 200)}") from error
        try:
            yield
        finally:
            if is_ours:
                # on closing it repeats its messages about lost machines
                with redirect_stdout(sys.stderr):
                    ray.shutdown()


@dataclass
class _Task:
    """A file on its way to a machine, or on one."""

    source: Location  # as given here; other machines get it with its absolute path
    before: Collection[Stamp]  # those it was checked with before
    losses: int = 0  # how often its machine or process was lost


class _Pool:
    """Actors that are given one file at a time. The file of a lost actor goes to another,
    `MOST_LOSSES` times at most: the file may be what kills machines.
    """

    def __init__(self, start: Callable[[], Any], needs: Mapping[str, float]) -> None:
        self._start, self._needs = start, needs
        self._busy: dict[Any, tuple[Any, _Task | None]] = {}  # a call -> its actor, what it checks

    def run(self, tasks: deque[_Task], count: int) -> Iterator[tuple[_Task, dict[str, Any] | None]]:
        """Every task with its actor's answer, in the order they end; None: lost too often."""
        import ray

        for _ in range(count):
            self._add()
        while tasks or any(task for _, task in self._busy.values()):
            done, _ = ray.wait(list(self._busy), num_returns=1, timeout=_LOOK_S)
            if not done:
                _refuse_what_no_machine_has(self._needs)
                continue
            actor, task = self._busy.pop(done[0])
            try:
                row = ray.get(done[0])
            except (ray.exceptions.RayActorError, ray.exceptions.ActorUnavailableError):
                ray.kill(actor)  # also if it is only out of reach
                self._add()
                if task is not None:
                    task.losses += 1
                    if task.losses < MOST_LOSSES:
                        tasks.appendleft(task)
                    else:
                        yield task, None
                continue
            if tasks:
                self._give(actor, tasks.popleft())
            if task is not None:
                yield task, row

    def close(self) -> None:
        """End all actors, and the worker processes below them."""
        import ray

        for actor, _ in self._busy.values():
            ray.kill(actor)
        self._busy.clear()

    def _add(self) -> None:
        """Start an actor; it gets a file once a machine has room for it."""
        actor = self._start()
        self._busy[actor.ready.remote()] = actor, None

    def _give(self, actor: Any, task: _Task) -> None:
        before = [list(stamp) for stamp in task.before]
        source = task.source if is_url(task.source) else str(Path(task.source).absolute())
        self._busy[actor.check.remote(source, shown(task.source), before)] = actor, task


def _refuse_what_no_machine_has(needs: Mapping[str, float]) -> None:
    """Raise UsageError if no machine of the cluster is large enough for one actor."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(each.get(name, 0) >= least for name, least in needs.items()) for each in machines):
        return
    if "GPU" in needs and not any(each.get("GPU") for each in machines):
        raise UsageError(
            "cuda: no machine of the Ray cluster has a GPU, so the run would wait for ever",
            "device",
        )
    raise UsageError(
        f"no machine of the Ray cluster has {needs['CPU']:g} CPUs, so the run would wait for ever"
    )


def _lost(task: _Task, settings: CheckSettings) -> Report:
    reason = f"the machine or process that checked it was lost {MOST_LOSSES} times"
    lost = error_in(task.source, reason, settings, code="crashed")
    return identified(lost, settings)


@contextmanager
def _own_stdout() -> Iterator[None]:
    """Keep stdout for this thread; what others print goes to stderr."""
    real, here = sys.stdout, threading.get_ident()

    class Parted(io.TextIOBase):
        def write(self, text: str) -> int:
            return (real if threading.get_ident() == here else sys.stderr).write(text)

        def flush(self) -> None:
            real.flush()

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    parted = Parted()
    sys.stdout = parted
    try:
        yield
    finally:
        if sys.stdout is parted:
            sys.stdout = real


def _in_a_line(error: Exception, most: int) -> str:
    return " ".join(str(error).split())[:most]


class _Actor:
    """Checks one file after another in a worker process of its own."""

    def __init__(
        self, settings: CheckSettings, limits: Limits, make_checker: CheckerMaker | None
    ) -> None:
        self._source: Location = ""
        self._before: list[Stamp] = []
        limits = replace(limits, isolated=True)
        self._results = check_changed(
            self._sources(),
            settings,
            limits,
            before=lambda _: self._before,
            make_checker=make_checker,
        )

    def _sources(self) -> Iterator[Location]:
        while True:  # each report takes one task: there is one worker
            yield self._source

    def ready(self) -> None:
        """Returns once the actor has been started."""

    def check(self, source: str, name: str, before: list[Stamp]) -> dict[str, Any]:
        """The records of a file; or `same`, if it is unchanged; or `failed`, what ended
        everything.
        """
        records: list[str] = []
        same: Stamp | None = None
        self._before = before
        self._source = source if is_url(source) else Path(source)
        failed = bug = ""
        # Not raised: it would reach the driver wrapped in pages of Ray's own traceback
        try:
            result = next(self._results)
            if isinstance(result, Unchanged):
                same = result.stamp
            else:
                records = [render.to_json(replace(each, path=name)) for each in result]
        except AvcheckError as error:
            failed = str(error)
        except BugInWorker as error:
            failed, bug = str(error), error.traceback
        return {"records": records, "same": same, "failed": failed, "bug": bug}
