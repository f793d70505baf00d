"""Other engines than our own processes that spread a batch over machines: Ray Data. Needs the extra
`ray`.

Each actor keeps one guarded worker process below it, the same as `--jobs` uses: a crash in a
decoder must not take the actor along, which Ray would start again with the same file. Ray carries
paths out and records back, never media.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from avcheck import render
from avcheck.batch.process import Limits
from avcheck.batch.remote import Source, Stamp, is_url, shown
from avcheck.batch.run import Before, CheckerMaker, Result, Unchanged, check_changed
from avcheck.batch.workers import BugInWorker
from avcheck.errors import AvcheckError, UsageError
from avcheck.report import Report
from avcheck.settings import CheckSettings

# Results come back, and work is repeated after the loss of a machine, by this many
FILES_A_BLOCK = 8


def check_with_ray(
    files: Iterable[Source],
    settings: CheckSettings,
    limits: Limits,
    *,
    before: Before | None = None,
    make_checker: CheckerMaker | None = None,
) -> Iterator[Result]:
    """As `batch.check_changed`, by `limits.jobs` actors of the Ray cluster that RAY_ADDRESS names,
    or of one on this machine.

    An actor takes `limits.threads` CPUs (0: one), and a whole GPU with settings for device "cuda".
    Files must have the same path on every machine. Raises UsageError if Ray is not installed or
    cannot be reached, if it gives the run up, and for what would be raised without it; BugInWorker
    for a bug of avcheck's own.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError(f"the engine ray needs Ray ({error}): pip install 'ray[data]'") from error
    rows = [
        {
            "path": shown(each),
            "source": each if is_url(each) else str(Path(each).absolute()),
            "before": json.dumps(list(before(each)) if before else []),
        }
        for each in files
    ]
    if not rows:
        return
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"Ray cannot be reached: {' '.join(str(error).split())[:200]}"
            ) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # stderr is for our own progress
    gpus = int(settings.device == "cuda")
    if gpus and not ray.cluster_resources().get("GPU"):
        raise UsageError(
            "--device cuda: no machine of the Ray cluster has a GPU, so the run would wait for ever"
        )
    cpus = limits.threads or 1
    remote_settings = replace(
        settings,
        model=settings.model and settings.model.absolute(),
        audio=tuple(each.absolute() for each in settings.audio),
    )
    actors = ray.data.from_items(
        rows, override_num_blocks=math.ceil(len(rows) / FILES_A_BLOCK)
    ).map(
        _Actor,
        fn_constructor_args=(remote_settings, replace(limits, jobs=1, threads=cpus), make_checker),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=limits.jobs),
        num_cpus=cpus,
        num_gpus=gpus,
    )
    try:
        for row in actors.iter_rows():
            if row["bug"]:
                raise BugInWorker(row["failed"], row["bug"])
            if row["failed"]:
                raise UsageError(row["failed"])
            if row["same"]:
                yield Unchanged(row["path"], tuple(json.loads(row["same"])))
                continue
            # Of the paths as they are given here
            yield tuple(
                replace(Report.from_record(each), settings_sha256=settings.sha256())
                for each in json.loads(row["records"])
            )
    except ray.exceptions.RayError as error:
        raise UsageError(f"the run on Ray failed: {' '.join(str(error).split())[:300]}") from error


class _Actor:
    """Checks one file after the other in a worker process of its own."""

    def __init__(
        self, settings: CheckSettings, limits: Limits, make_checker: CheckerMaker | None
    ) -> None:
        self._source: Source = ""
        self._before: list[Stamp] = []
        self._failed = self._bug = ""
        # A deadline, if only a distant one, is what makes it a process of its own.
        limits = replace(limits, timeout_s=limits.timeout_s or 7 * 86400.0)
        self._results = check_changed(
            self._sources(),
            settings,
            limits,
            before=lambda _: self._before,
            make_checker=make_checker,
        )

    def _sources(self) -> Iterator[Source]:
        while True:  # drawn from once for each report, as there is one worker
            yield self._source

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        records: list[str] = []
        same = ""
        self._before = [(size, changed) for size, changed in json.loads(row["before"])]
        self._source = row["source"] if is_url(row["source"]) else Path(row["source"])
        # What is raised concerns every file, and the rest of the block comes here before the driver
        # has heard of it. Not raised again, as it would reach the driver wrapped in pages of Ray's.
        if not self._failed:
            try:
                result = next(self._results)
                if isinstance(result, Unchanged):
                    same = json.dumps(result.stamp)
                else:
                    records = [render.to_json(replace(each, path=row["path"])) for each in result]
            except AvcheckError as error:
                self._failed = str(error)
            except BugInWorker as error:
                self._failed, self._bug = str(error), error.traceback
        return {
            "path": row["path"],
            "records": f"[{','.join(records)}]",
            "same": same,
            "failed": self._failed,
            "bug": self._bug,
        }
