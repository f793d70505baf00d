"""`python -m bench.catalogue [--hours H]`: what a whole catalogue would cost, from what one title
costs here.

The command checks a film-like title (`bench.media.title`), whole and sampled. The cost of a whole
check grows with the title, that of a sampled one hardly does. The rest is multiplication; each line
prints its factors, so that other machines and prices can be put in.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

from avcheck.scan.listening import units
from avcheck.settings import MOST_PROBES, PROBES
from bench import HERE
from bench.media import title
from bench.rows import cost_of, processor


@dataclass(frozen=True)
class Plan:
    """A catalogue, and what it is checked with."""

    hours: float  # of media in all
    minutes: float  # of each title
    days: float  # in which all of it is to be checked
    cores: int  # of a machine
    price: float  # of a machine for an hour

    @property
    def titles(self) -> float:
        """How many titles there are."""
        return self.hours * 60 / self.minutes

    def lines(self, cpu_s: float, record_bytes: float) -> list[str]:
        """The cost, if a title takes `cpu_s` CPU seconds and its record has so many bytes."""
        core_hours = self.titles * cpu_s / 3600
        machines = core_hours / (self.cores * 24 * self.days)
        cost = core_hours / self.cores * self.price
        return [
            f"core hours: {self.titles:,.0f} titles x {cpu_s:,.1f} s / 3600 = {core_hours:,.0f}",
            f"machines:   {core_hours:,.0f} / ({self.cores} cores x 24 x {self.days:g} days) = "
            f"{machines:,.1f}",
            f"cost:       {core_hours:,.0f} / {self.cores} cores x {self.price:g} = {cost:,.0f}",
            f"records:    {self.titles:,.0f} x {record_bytes:,.0f} bytes = "
            f"{self.titles * record_bytes / 1e9:,.1f} GB",
        ]


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    plan = Plan(options.hours, options.minutes, options.days, options.cores, options.price)
    with tempfile.TemporaryDirectory(prefix="avcheck-bench-") as folder:
        path = Path(folder, "title.mp4")
        title(path, options.seconds)
        whole, sampled = (cost_of(HERE, path, each) for each in ((), ("--sample",)))
    print(f"Measured: {processor()}; a title of 1080 lines, {options.seconds:g} s")
    for name, cost in (("whole", whole), ("sampled", sampled)):
        print(
            f"{name:8} {cost.cpu_s:8.1f} s CPU {cost.wall_s:8.1f} s wall {cost.memory_mb:6.0f} MB"
            f"  {cost.verdicts[0]}"
        )
    length = 60 * plan.minutes / options.seconds
    print(f"Planned: {plan.hours:,.0f} hours of media in titles of {plan.minutes:g} minutes")
    for name, cpu_s, size in (
        ("whole", whole.cpu_s * length, whole.record_bytes * length),
        ("sampled", sampled.cpu_s, sampled.record_bytes),
    ):
        print(name, *plan.lines(cpu_s, size), sep="\n  ")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.catalogue",
        description="What a catalogue would cost, from what one title costs here.",
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="length of what is measured")
    parser.add_argument("--hours", type=float, default=1e6, help="of media in the catalogue")
    parser.add_argument("--minutes", type=float, default=45.0, help="length of its titles")
    parser.add_argument("--days", type=float, default=30.0, help="in which it is to be done")
    parser.add_argument("--cores", type=int, default=16, help="of one machine")
    parser.add_argument("--price", type=float, default=0.5, help="of one machine for an hour")
    options = parser.parse_args(arguments)
    if len(units(int(options.seconds))) <= MOST_PROBES * PROBES:
        parser.error("a title as short as that is never sampled: --seconds must be more")
    return options


if __name__ == "__main__":
    main()
