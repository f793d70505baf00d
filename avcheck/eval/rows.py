"""Raw figures of an evaluation: one plain dict each, one JSON object a line in a file; and how
tables and plots group them.

In every row `late_*` is how much the sound was made late (negative: early), on top of the
correction for the clip's own offset if the row says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from avcheck.errors import UsageError
from avcheck.eval.stats import Figure, share
from avcheck.machine.files import whole_file
from avcheck.train.corpus import KINDS

Row = dict[str, Any]

RISK_S = (4.2, 10.0)  # lengths of the windows whose confidence is compared with the outcome
RISK_FROM = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99)  # confidence from which a window is kept


def read_rows(path: Path) -> list[Row]:
    """The rows that an evaluation wrote. Raises UsageError if a line is not a row, or the file is
    empty or cannot be read.
    """
    rows = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                row = json.loads(line)
                if not isinstance(row, dict) or "measure" not in row:
                    raise UsageError(
                        f"{path}: line {number} was not written by `avcheck eval --rows`"
                    )
                rows.append(row)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not written by `avcheck eval --rows`: {error}") from error
    if not rows:
        raise UsageError(f"{path}: not written by `avcheck eval --rows`: the file is empty")
    return rows


def kept(store: Path, measured: Iterable[Row]) -> list[Row]:
    """The rows in `store`. If that does not exist, the rows `measured`, which are then stored;
    otherwise `measured` is not even started.
    """
    if not store.is_file():
        store.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(store) as partial:
            partial.write_text("".join(json.dumps(row, default=float) + "\n" for row in measured))
    return [json.loads(line) for line in store.read_text().splitlines()]


def of_measure(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of every measure, in order."""
    by: dict[str, list[Row]] = {}
    for row in rows:
        by.setdefault(row["measure"], []).append(row)
    return by


def groups_of(rows: Iterable[Row]) -> list[str]:
    """The group of each row."""
    return [row["group"] for row in rows]


def share_of(rows: Sequence[Row], holds: Callable[[Row], float]) -> Figure:
    """The share of rows for which something holds, with its interval over their groups. `holds`
    may also say to which degree it does, 0..1.
    """
    return share([float(holds(row)) for row in rows], groups_of(rows))


def verdict_shares(rows: Sequence[Row], verdicts: Iterable[str]) -> list[Figure]:
    """The share of rows with each of these verdicts."""
    groups = groups_of(rows)
    return [share([float(row["verdict"] == each) for row in rows], groups) for each in verdicts]


def sizes(rows: Sequence[Row]) -> tuple[int, int, int]:
    """The numbers of rows, clips and groups."""
    return len(rows), len({row["clip"] for row in rows}), len(set(groups_of(rows)))


def populations(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    """(kind, population, rows) for speech and generic: the clips with a trusted offset, and all
    clips; without empty ones.
    """
    for kind in KINDS:
        some = [row for row in rows if row["kind"] == kind]
        trusted = [row for row in some if row["trusted"]]
        if trusted:
            yield kind, "trusted", trusted
        if some and len(trusted) < len(some):
            yield kind, "all", some


def errors_frames(rows: Sequence[Row], *, corrected: bool) -> list[float]:
    """Estimate minus truth in frames, positive if the sound is estimated later than it is."""
    own = [row["own_frames"] if corrected else 0.0 for row in rows]
    return [
        row["estimate_frames"] - row["late_frames"] - frames
        for row, frames in zip(rows, own, strict=True)
    ]


def truths(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[Row], bool]]:
    """(kind, what counts as truth, rows, own offset corrected) for the three ways to count an
    offset error.
    """
    for kind in KINDS:
        some = [row for row in rows if row["kind"] == kind]
        trusted = [row for row in some if row["trusted"]]
        known = [row for row in some if row["own_frames"] is not None]
        for name, mine, corrected in (
            ("trusted, corrected", trusted, True),
            ("any estimate, corrected", known, True),
            ("all, own offset taken as 0", some, False),
        ):
            if mine:
                yield kind, name, mine, corrected
