"""Titles of some minutes, joined from segments of the validation clips: how many get an offset if
only a share of their segments shows who speaks.

A title is drawn at random. A share of its segments, from any clips, have their own sound, all moved
to one offset; the others have the sound of another group. What a segment says was measured once
(`measure.measure_coverage`), so a title costs no look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from avcheck.eval.protocol import SEED, STRANGER
from avcheck.eval.rows import Row
from avcheck.eval.stats import table
from avcheck.scan.shifts import SHIFTS
from avcheck.verdict.posterior import NEAR_FRAMES, Calibration, combine, estimate

TITLE_SEGMENTS = (6, 18, 60)  # of 10 s: one, three and ten minutes
SHARES = (0.0, 0.1, 0.25, 0.5)  # of a title's segments that show who speaks
_DRAWN = 200  # titles of each length and share
_MOST_FRAMES = 12  # by which the sound of a title is late or early
_CALIBRATED = Calibration()  # for the rows' `logits`, which are calibrated already


def joined_table(rows: Sequence[Row], decide: float) -> str:
    """How many titles get an offset, and how many a wrong one.

    Args:
        rows: Of segments.
        decide: The confidence that a verdict needs.
    """
    own, strange = (
        [row for row in rows if (row["case"] == STRANGER) == wanted] for wanted in (False, True)
    )
    lines = []
    for count in TITLE_SEGMENTS:
        for share in SHARES:
            speaking = round(share * count)
            if (share and not speaking) or not own or not strange:
                continue
            outcomes = np.array(list(_titles(own, strange, count, speaking, decide)))
            shares = outcomes.mean(axis=0)  # reported, wrong
            lines.append((f"{count / 6:g} min", f"{share:g}", len(outcomes), *shares))
    note = (
        f"Segments of 10 s of {len({row['clip'] for row in own})} clips. Wrong: an offset is "
        "reported that is not within 2 frames of the title's, or any of a title with strangers' "
        "sound alone, as a share of all. Clips without a trusted offset count as in sync, so "
        "some of what is wrong is theirs."
    )
    header = ("title", "share that speaks", "titles", "offset reported", "wrong")
    return table("Titles joined of segments", header, lines, note)


def _titles(
    own: Sequence[Row], strange: Sequence[Row], count: int, speaking: int, decide: float
) -> Iterator[tuple[bool, bool]]:
    """For each title of `count` segments, of which so many show who speaks: whether an offset is
    reported, and whether it is wrong.
    """
    rng = np.random.default_rng((SEED, count, speaking))
    for _ in range(_DRAWN):
        late = int(rng.integers(-_MOST_FRAMES, _MOST_FRAMES + 1))
        parts = [
            _moved(row, round(late - row["truth_frames"]))
            for row in (own[k] for k in rng.integers(len(own), size=speaking))
        ]
        parts += [
            _moved(strange[k], int(rng.integers(-_MOST_FRAMES, _MOST_FRAMES + 1)))
            for k in rng.integers(len(strange), size=count - speaking)
        ]
        estimated = estimate(combine(parts, _CALIBRATED), SHIFTS, _CALIBRATED)
        is_reported = estimated.confidence >= decide
        yield (
            is_reported,
            is_reported and (speaking == 0 or abs(estimated.frames - late) > NEAR_FRAMES),
        )


def _moved(row: Row, frames: int) -> NDArray[np.float64]:
    """The logits of a segment, (S,), if its sound were later by so many frames."""
    logits = np.array([-np.inf if each is None else each for each in row["logits"]])
    moved = np.full(len(logits), -np.inf)
    kept = slice(max(0, frames), len(logits) + min(0, frames))
    moved[kept] = logits[max(0, -frames) : len(logits) - max(0, frames)]
    return moved
