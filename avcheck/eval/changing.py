"""Speech clips whose offset changes, as their sound is made to jump or to drift: what a check says
of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from avcheck.eval.measure import about_clip, judged_as_a_file
from avcheck.eval.protocol import STRANGER, TOLERANCE, VERDICTS, Bench, generator
from avcheck.eval.rows import Row, share_of, sizes, verdict_shares
from avcheck.eval.stats import table
from avcheck.eval.windows import Footage, curves, hear
from avcheck.rates import SAMPLE_RATE
from avcheck.record.report import FRAME_MS

CHANGING_LEAST_S = 18.0  # a shorter clip may be one segment, within which no change is looked for
_JUMPS, _DRIFTS = 4, 3  # of each clip
_JUMP_MS = (80.0, 600.0)
_JUMP_AT = (0.15, 0.85)  # share of the clip's length
_DRIFT = (0.002, 0.03)  # share by which the sound runs faster or slower
_SHORT_S = 8.0  # a part shorter than this hardly fills a segment
_SURELY_MS = 20.0  # a file that ends this far beyond a limit should be out of sync
_DRIFT_WITHIN = 0.1  # of the true drift


def measure_changes(footage: Footage, bench: Bench) -> Iterator[Row]:
    """What a check says of a speech clip with a trusted offset whose sound jumps once, or drifts,
    by amounts drawn for each clip.
    """
    clip, seconds = footage.clip, footage.seconds
    if clip.kind != "speech" or not clip.trusted or seconds < CHANGING_LEAST_S:
        return
    rng = generator(clip, "changing")
    own_ms = -footage.own_frames * FRAME_MS

    def judged(case: str, samples: NDArray[np.float32], end_ms: float) -> Row:
        shot = footage.shot(0, len(footage.frames))
        sound = hear(samples, 0.0, shot)
        some = list(curves(shot, sound, bench.model))
        row = judged_as_a_file(some, sound, lambda: footage.larger, bench)
        about = {"measure": "changing", "case": case, **about_clip(footage)}
        return {**about, "ends_ms": [own_ms, end_ms], **row}

    for _ in range(_JUMPS):
        at_s = float(rng.uniform(*_JUMP_AT)) * seconds
        late_ms = float(rng.choice([-1, 1]) * rng.uniform(*_JUMP_MS))
        samples = with_jump(footage.samples, at_s, late_ms / 1000)
        yield {**judged("jump", samples, own_ms - late_ms), "at_s": at_s}
    for _ in range(_DRIFTS):
        faster = float(rng.choice([-1, 1]) * np.exp(rng.uniform(*np.log(_DRIFT))))
        samples = played_faster(footage.samples, faster)
        row = judged("drift", samples, own_ms + 1000 * faster * seconds)
        yield {**row, "true_ms_per_min": 60_000 * faster}


def with_jump(samples: NDArray[np.float32], at_s: float, late_s: float) -> NDArray[np.float32]:
    """The sound (n,) with silence put in at `at_s`, so that the rest is late by `late_s`; with as
    much taken out, if that is negative. (n,)
    """
    at, late = round(at_s * SAMPLE_RATE), round(late_s * SAMPLE_RATE)
    silence = np.zeros(abs(late), np.float32)
    if late >= 0:
        return np.concatenate([samples[:at], silence, samples[at:]])[: len(samples)]
    return np.concatenate([samples[:at], samples[at - late :], silence])[: len(samples)]


def played_faster(samples: NDArray[np.float32], faster: float) -> NDArray[np.float32]:
    """The sound (n,) played faster by this share, or slower; silent after its end. (n,)"""
    places = np.arange(len(samples), dtype=np.float64)
    played: NDArray[np.float64] = np.interp((1 + faster) * places, places, samples, right=0.0)
    return played.astype(np.float32)


def changes_table(rows: Sequence[Row], coverage: Sequence[Row]) -> str:
    """The verdicts on files whose offset changes, and on the same clips as they were recorded.

    Args:
        rows: Of `measure_changes`.
        coverage: Of `measure.measure_coverage`.
    """
    clips = {row["clip"] for row in rows}
    recorded = [row for row in coverage if row["case"] != STRANGER and row["clip"] in clips]
    outside = [row for row in rows if max(map(TOLERANCE.beyond_ms, row["ends_ms"])) > _SURELY_MS]
    jumps, drifts = ([row for row in outside if row["case"] == case] for case in ("jump", "drift"))
    lines = []
    for name, some in (
        (f"jumps, {_SHORT_S:g} s or more on both sides", [r for r in jumps if not _is_short(r)]),
        (f"jumps, under {_SHORT_S:g} s on one side", [r for r in jumps if _is_short(r)]),
        ("drifts", drifts),
    ):
        shares = verdict_shares(some, VERDICTS)
        lines.append((name, *sizes(some), *shares, share_of(some, _is_right)))
    changing = sum(_is_said_to_change(row) for row in recorded)
    low, high = (f"{100 * each:g} %" for each in _DRIFT)
    note = (
        f"Speech clips of {CHANGING_LEAST_S:g} s or more with a trusted offset. Their sound is "
        f"moved by {_JUMP_MS[0]:g} to {_JUMP_MS[1]:g} ms from some place on, or played {low} to "
        f"{high} faster or slower; files that are nowhere over {_SURELY_MS:g} ms beyond a limit "
        "are left out. Reported right: the jump lies in the interval given for it, or the drift is "
        f"right within {_DRIFT_WITHIN:.0%}. As they were recorded, {changing} of these "
        f"{len(recorded)} clips are said to change."
    )
    header = (
        *("offset", "files", "clips", "groups"),
        *("out of sync", "undecidable", "in sync (wrong)", "change reported right"),
    )
    return table("Files whose offset changes", header, lines, note)


def _is_short(row: Row) -> bool:
    return bool(min(row["at_s"], row["clip_s"] - row["at_s"]) < _SHORT_S)


def _is_said_to_change(row: Row) -> bool:
    return bool(row["jumps_s"]) or row["drift_ms_per_min"] is not None


def _is_right(row: Row) -> bool:
    if row["case"] == "jump":
        return any(start <= row["at_s"] <= end for start, end in row["jump_intervals_s"])
    drift, true = row["drift_ms_per_min"], row["true_ms_per_min"]
    return drift is not None and bool(abs(drift - true) <= _DRIFT_WITHIN * abs(true))
