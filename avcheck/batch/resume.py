"""Which files of a run are done already, and with what result: the policy behind `--resume`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from avcheck.batch.checkpoint import Checkpoint
from avcheck.batch.failed import error_in
from avcheck.batch.remote import Location, Stamp, is_url
from avcheck.batch.run import Unchanged, identified
from avcheck.record.report import Report
from avcheck.settings import CheckSettings


class Resumed:
    """A run that continues from a results file and adds to it. Use with `with`.

    A file is done if a record has its path, size, modification time, weights and settings. An
    internal error is always tried again, any other error with `retry_errors`. `warnings` say what
    was wrong with the file. Raises what `Checkpoint` raises.
    """

    def __init__(self, path: Path, settings: CheckSettings, *, retry_errors: bool = False) -> None:
        self._checkpoint = Checkpoint(path)
        self._settings = settings
        self._retry_errors = retry_errors
        self._starts: list[int] = []  # of the records of files that are done
        self.warnings: list[str] = []
        if self._checkpoint.mended:
            self.warnings.append(
                f"{path}: the last line was cut short by a kill and has been removed"
            )
        if self._checkpoint.strange:
            self.warnings.append(
                f"{path}: lines skipped that are not records: {self._checkpoint.strange}"
            )

    def __enter__(self) -> Resumed:
        return self

    def __exit__(self, *_: object) -> None:
        self._checkpoint.__exit__()

    def add(self, *results: Report) -> None:
        """Write the results of a file. Raises UsageError if that fails."""
        self._checkpoint.add(*results)

    def plan(
        self, files: Iterable[Location], refused: Iterable[Report]
    ) -> tuple[list[Location], list[Report]]:
        """What is left of a run; `earlier` gives the rest.

        A URL is asked for its size and time only when its turn comes, because asking thousands now
        would take long. One that did not answer last time counts as done.

        Args:
            files: All the files of the run.
            refused: The reports of paths that cannot be checked.

        Returns:
            The files to check, and the reports of `refused` that no earlier run recorded.
        """
        new = [
            signed
            for signed in (identified(each, self._settings) for each in refused)
            if not self._is_done(signed)
        ]
        to_check: list[Location] = []
        for source in files:
            wanted = self._wanted(source)
            ask_later = is_url(source) and not self._checkpoint.gave_up(wanted)
            if ask_later or not self._is_done(wanted):
                to_check.append(source)
        return to_check, new

    def earlier(self) -> Iterator[Report]:
        """The earlier results of the files that `plan` left out, one at a time."""
        return self._checkpoint.reports(self._starts)

    def stamps(self, source: Location) -> list[Stamp]:
        """The sizes and times with which a URL has been checked before."""
        if not is_url(source):
            return []
        verdicts = self._checkpoint.verdicts(self._wanted(source))
        return [
            stamp
            for stamp, verdict in verdicts.items()
            if not (verdict == "error" and self._retry_errors)
        ]

    def unchanged(self, same: Unchanged) -> list[Report]:
        """The earlier results of a file that turned out to be unchanged."""
        size, changed = same.stamp
        wanted = replace(self._wanted(same.source), file_size=size, file_mtime_ns=changed)
        return list(self._checkpoint.reports(self._checkpoint.starts(wanted)))

    def _is_done(self, wanted: Report) -> bool:
        verdict = self._checkpoint.verdict(wanted)
        if verdict is None or (verdict == "error" and self._retry_errors):
            return False
        self._starts += self._checkpoint.starts(wanted)
        return True

    def _wanted(self, source: Location) -> Report:
        """A report with the fields that identify a finished check of this file; for a URL, without
        size and time.
        """
        wanted = error_in(source, "", self._settings, code="other")
        return identified(wanted, self._settings)
