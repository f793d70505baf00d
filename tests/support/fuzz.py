"""`python -m tests.support.fuzz --minutes N [--seed S]`: damages small generated files at random
and has avcheck check them.

Every case is checked in a guarded worker of avcheck's own (`avcheck.batch.workers`) that has a
deadline and a memory limit, and that the kernel kills for opening a socket. Most cases are decoded
and cut into blocks, a share goes through a whole (untrained) network, and now and then the last
cases go through the command itself. It has to hold that no case hangs, crashes its worker, ends as
a bug of avcheck or opens another file of its folder; that each has exactly one record; and that the
command ends with a documented exit code. No case is kept: `--seed S --case K` makes it again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avcheck import render
from avcheck.batch.base import Limits
from avcheck.batch.remote import Location
from avcheck.batch.run import CheckerMaker, check_many
from avcheck.record.report import BUG, Report
from avcheck.settings import CheckSettings
from tests.support import guard, hostile
from tests.support.clips import make_clip
from tests.support.guarded import FILM, guarded_checker, guarded_decoder
from tests.support.mutations import make_seeds, mutant

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0  # for a case that takes some 20 ms on an idle machine
ROUND = 400  # cases between two looks at the clock by the workers
FULL = 40  # of them through the network
COMMAND = 25  # of them through the command
COMMAND_LINE = "from tests.support import decode_scan; decode_scan.command()"
EXIT_CODES = {0, 1, 2}  # 3 would be a bug


# -- running ---------------------------------------------------------------------------------------


@dataclass
class Fuzz:
    """One run: where its files lie, and what it has found."""

    seed: int  # of the damage
    root: Path  # an empty folder
    deadline_s: float = DEADLINE_S  # for each case
    seeds: Sequence[tuple[str, bytes]] = ()  # good files, by suffix; (): `make_seeds`
    cases: int = 0  # checked so far
    full: int = 0  # of these, through the network
    commands: int = 0  # runs of the command
    verdicts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.root / "cases"
        made = self.root / "seeds"
        for each in (self.folder, made):
            each.mkdir()
        self.seeds = self.seeds or make_seeds(made)
        make_clip(self.folder / FILM, format="mpegts")
        shutil.copyfile(self.folder / FILM, self.folder / hostile.TARGET)
        self.model = self.root / "untrained.safetensors"

    def path(self, number: int) -> Path:
        suffix, content = mutant(self.seeds, self.seed, number)
        path = self.folder / f"{number}.{suffix}"
        path.write_bytes(content)
        return path

    def check(
        self, numbers: Sequence[int], *, full: bool = False, make: CheckerMaker | None = None
    ) -> None:
        """Check these cases in a guarded worker, with the network or with what `make` makes."""
        settings = CheckSettings(model=self._model() if full else None, device="cpu")
        limits = Limits(1, self.deadline_s, 3000 if full else 1000)
        records: Counter[str] = Counter()
        paths: list[Path] = []

        def cases() -> Iterator[Location]:
            for number in numbers:
                paths.append(self.path(number))
                yield paths[-1]

        with guard.Opened(self.folder) as opened:
            make = make or (guarded_checker if full else guarded_decoder)
            for report in check_many(cases(), settings, limits, make_checker=make):
                records[report.path] += 1
                self.verdicts[report.verdict] += 1
                problem = fault_of(report)
                if hostile.TARGET.encode() in opened.names():
                    problem = f"opened {hostile.TARGET}"
                if problem:
                    self._fault(Path(report.path), problem)
        for path in paths:
            if records[str(path)] != 1:
                self._fault(path, f"{records[str(path)]} records")
            path.unlink()
        self.cases += len(paths)
        self.full += len(paths) if full else 0

    def command(self, numbers: Sequence[int]) -> None:
        """Check these cases with one run of the command, two workers."""
        paths = [self.path(number) for number in numbers]
        line = [
            sys.executable,
            "-c",
            COMMAND_LINE,
            "check",
            "--jobs",
            "2",
            "--timeout",
            f"{self.deadline_s:g}",
        ]
        environment = {
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.root),
            "OMP_NUM_THREADS": "1",
        }
        line += ["--format", "jsonl", "--no-config", "--", *map(str, paths)]
        done = subprocess.run(line, env=environment, capture_output=True, timeout=600, check=False)
        records = Counter(json.loads(row)["path"] for row in done.stdout.splitlines())
        if done.returncode not in EXIT_CODES:
            self._fault(
                paths[0],
                f"the command ended with {done.returncode}: "
                f"{done.stderr.decode(errors='replace')[-500:]}",
            )
        for path in paths:
            if records[str(path)] != 1:
                self._fault(path, f"{records[str(path)]} records of the command")
            path.unlink()
        self.cases += len(paths)
        self.commands += 1

    def _model(self) -> Path:
        if not self.model.exists():
            from tests.support.networks import written  # loads torch

            written(self.model)
        return self.model

    def _fault(self, path: Path, problem: str) -> None:
        self.faults.append(f"{problem}  seed {self.seed} case {path.stem}")
        print(f"FAULT {self.faults[-1]}", flush=True)


def fault_of(report: Report) -> str | None:
    """What is wrong with the report of a case."""
    reason = report.reason or ""
    if reason.startswith(BUG):
        return reason
    if any(words in reason for words in ("the worker", "no result within", "memory ran out")):
        return reason
    if len(reason.splitlines()) > 1 or (report.verdict == "error") != bool(
        reason and report.verdict == "error"
    ):
        return f"not one clear line: {reason!r}"
    json.loads(render.to_json(report))
    return None


def run(
    fuzz: Fuzz, seconds: float, *, full: int = FULL, command: int = COMMAND, size: int = ROUND
) -> None:
    """Check cases until the time is up, at least one round."""
    until = time.monotonic() + seconds
    numbers = itertools.count()
    while fuzz.cases == 0 or time.monotonic() < until:
        fuzz.check(list(itertools.islice(numbers, size - full - command)))
        if full:
            fuzz.check(list(itertools.islice(numbers, full)), full=True)
        if command:
            fuzz.command(list(itertools.islice(numbers, command)))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.fuzz", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="only this case")
    options = parser.parse_args(argv)
    root = Path(tempfile.mkdtemp(prefix="avcheck-fuzz-"))
    fuzz = Fuzz(options.seed, root)
    began = time.monotonic()
    if options.case is None:
        run(fuzz, 60 * options.minutes)
    else:
        fuzz.check([options.case])
    took_s = time.monotonic() - began
    print(
        f"seed {fuzz.seed}: {fuzz.cases} cases in {took_s:.0f} s, {fuzz.cases / took_s:.1f} a "
        f"second; {fuzz.full} of them with "
        f"the network, {fuzz.commands} runs of the command; "
        f"{dict(sorted(fuzz.verdicts.items()))}; {len(fuzz.faults)} faults"
    )
    shutil.rmtree(root)
    return 1 if fuzz.faults else 0


if __name__ == "__main__":
    sys.exit(main())
