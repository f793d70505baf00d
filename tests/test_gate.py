"""The exit code of every mixture of verdicts under every choice of --fail-on."""

from __future__ import annotations

from itertools import chain, combinations

import pytest

from avcheck.cli.gate import ExitCode, FailOn, Gate

ALL = frozenset(FailOn)
CHOICES = [
    frozenset(chosen)
    for chosen in chain.from_iterable(combinations(FailOn, size) for size in (1, 2, 3))
]


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ({}, 0),
        ({"in_sync": 3}, 0),
        ({"in_sync": 3, "undecidable": 1}, 0),
        ({"undecidable": 1}, 0),
        ({"in_sync": 3, "out_of_sync": 1}, 1),
        ({"in_sync": 3, "error": 1}, 2),
        ({"out_of_sync": 3, "error": 1}, 2),
        ({"out_of_sync": 0, "error": 0, "in_sync": 1}, 0),
    ],
)
def test_without_fail_on(verdicts: dict[str, int], code: int) -> None:
    assert Gate().exit_code(verdicts) == code


@pytest.mark.parametrize("fail_on", CHOICES)
@pytest.mark.parametrize("exit_zero", [False, True])
def test_a_kind_fails_exactly_when_it_is_named(fail_on: frozenset[FailOn], exit_zero: bool) -> None:
    gate = Gate(fail_on, exit_zero)
    code = ExitCode.OK if exit_zero else ExitCode.OUT_OF_SYNC
    assert gate.exit_code({"in_sync": 1, "out_of_sync": 1}) == (
        code if FailOn.OUT_OF_SYNC in fail_on else 0
    )
    assert gate.exit_code({"in_sync": 1, "undecidable": 1}) == (
        code if FailOn.UNDECIDABLE in fail_on else 0
    )
    assert gate.exit_code({"in_sync": 1, "error": 1}) == (
        ExitCode.NOT_JUDGED if FailOn.ERROR in fail_on else 0
    )
    assert gate.exit_code({"in_sync": 5}) == 0


@pytest.mark.parametrize("fail_on", CHOICES)
def test_a_run_that_judged_nothing_never_passes(fail_on: frozenset[FailOn]) -> None:
    assert Gate(fail_on, exit_zero=True).exit_code({"error": 2}) == ExitCode.NOT_JUDGED
    assert Gate(fail_on).exit_code({"error": 2, "in_sync": 0}) == ExitCode.NOT_JUDGED


def test_the_higher_code_wins() -> None:
    assert (
        Gate(ALL).exit_code({"in_sync": 1, "undecidable": 1, "out_of_sync": 1, "error": 1})
        == ExitCode.NOT_JUDGED
    )
    assert Gate(ALL).undecidable_fails
    assert not Gate().undecidable_fails
