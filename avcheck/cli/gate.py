"""The exit code of a run: the verdicts of its files against what the run is to fail on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """What the exit code means; when several apply, the higher number wins."""

    OK = 0  # nothing out of sync (undecidable files included)
    OUT_OF_SYNC = 1  # or undecidable, if the run is to fail on that
    NOT_JUDGED = 2  # wrong usage, or a file that could not be judged
    BUG = 3
    INTERRUPTED = 130
    # The reader of our output is gone, so not every file was checked; the number that shells use
    BROKEN_PIPE = 141


class FailOn(StrEnum):
    """What a run can fail on."""

    OUT_OF_SYNC = "out-of-sync"
    UNDECIDABLE = "undecidable"
    ERROR = "error"

    @property
    def verdict(self) -> str:
        """The verdict that this stands for."""
        return self.value.replace("-", "_")


@dataclass(frozen=True)
class Gate:
    """What fails a run. With `exit_zero` no finding does, whatever `fail_on` says; errors and bugs
    keep their code.
    """

    fail_on: frozenset[FailOn] = frozenset({FailOn.OUT_OF_SYNC, FailOn.ERROR})
    exit_zero: bool = False

    @property
    def undecidable_fails(self) -> bool:
        """Whether reports should count undecidable as a failure."""
        return FailOn.UNDECIDABLE in self.fail_on

    def exit_code(self, verdicts: Mapping[str, int]) -> ExitCode:
        """The exit code for so many files of each verdict.

        A run that judged no file is NOT_JUDGED even if errors are not in `fail_on`: a run that has
        looked at nothing must never pass.
        """
        verdicts_met = {verdict for verdict, count in verdicts.items() if count}
        failing = {kind for kind in self.fail_on if kind.verdict in verdicts_met}
        if FailOn.ERROR in failing or verdicts_met == {FailOn.ERROR.verdict}:
            return ExitCode.NOT_JUDGED
        return ExitCode.OUT_OF_SYNC if failing and not self.exit_zero else ExitCode.OK
