"""Tables of the measured rows that show what a confidence is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from avcheck.eval.rows import (
    RISK_FROM,
    RISK_S,
    Row,
    errors_frames,
    groups_of,
    truths,
)
from avcheck.eval.stats import (
    CONFIDENCE_EDGES,
    EPSILON,
    Figure,
    Reals,
    area_under_risk,
    bootstrap,
    calibration_error,
    confidence_bin,
    share,
    table,
)
from avcheck.verdict.posterior import NEAR_FRAMES


def reliability_tables(rows: Sequence[Row]) -> Iterator[str]:
    """How well the confidence matches the accuracy, over the windows of 10 s."""
    ten = [row for row in rows if row["seconds"] == 10.0]
    for kind, name, mine, corrected in truths(ten):
        if name.startswith("any"):
            continue
        confidence = np.array([row["confidence"] for row in mine])
        right = (np.abs(errors_frames(mine, corrected=corrected)) <= NEAR_FRAMES + EPSILON).astype(
            np.float64
        )
        groups = np.array(groups_of(mine))
        bins = confidence_bin(confidence)
        lines: list[tuple[object, ...]] = []
        for k, (low, high) in enumerate(pairwise(CONFIDENCE_EDGES)):
            inside = bins == k
            if inside.any():
                mean, accuracy = (
                    confidence[inside].mean(),
                    share(right[inside].tolist(), groups[inside].tolist()),
                )
                lines.append(
                    (
                        f"{low:g} to {high:g}",
                        int(inside.sum()),
                        len(set(groups[inside])),
                        f"{mean:.3f}",
                        accuracy,
                    )
                )
        error = bootstrap(
            lambda chosen, a=confidence, b=right: calibration_error(a[chosen], b[chosen]),  # type: ignore[misc]
            groups.tolist(),
        )
        note = (
            "Offset from 10 s; right = within 2 frames. Expected calibration error "
            f"{error.text(3)} over {len(mine)} windows."
        )
        header = ("confidence", "windows", "groups", "mean confidence", "share right")
        yield table(f"Reliability of the confidence: {kind} ({name})", header, lines, note)


def _area(confidence: Reals, wrong: Reals, groups: Sequence[str]) -> Figure:
    """The area under the curve of risk over coverage, with its interval over groups."""
    return bootstrap(lambda chosen: area_under_risk(confidence[chosen], wrong[chosen]), groups)


def risk_tables(rows: Sequence[Row], foreign: Sequence[Row]) -> Iterator[str]:
    """The share of wrong windows among those of at least some confidence."""
    for kind, name, some, corrected in truths(rows):
        if name.startswith("all"):
            continue
        clips = {row["clip"] for row in some}
        lines: list[tuple[object, ...]] = []
        areas = []
        for seconds in RISK_S:
            length = f"{seconds:g} s"
            mine = [row for row in some if row["seconds"] == seconds]
            if not mine:
                continue
            strangers = [
                row for row in foreign if row["seconds"] == seconds and row["clip"] in clips
            ]
            wrong = (
                np.abs(errors_frames(mine, corrected=corrected)) > NEAR_FRAMES + EPSILON
            ).astype(np.float64)
            confidence, names = np.array([row["confidence"] for row in mine]), groups_of(mine)
            for least in RISK_FROM:
                kept = confidence >= least
                risk = share(
                    wrong[kept].tolist(),
                    [group for group, keep in zip(names, kept, strict=True) if keep],
                )
                fooled = share(
                    [float(row["confidence"] >= least) for row in strangers], groups_of(strangers)
                )
                lines.append(
                    (
                        length,
                        f"{least:g}",
                        int(kept.sum()),
                        share(kept.astype(float).tolist(), names),
                        risk,
                        fooled,
                    )
                )
            area = _area(confidence, wrong, names)
            areas.append(
                f"{length} {area.text(3)} (no order {wrong.mean():.3f}, perfect order "
                f"{area_under_risk(-wrong, wrong):.3f}; "
                f"{len(strangers)} windows with a stranger's sound)"
            )
        note = (
            "Windows of the offset measure with at least the confidence are kept; wrong = beyond 2 "
            "frames. With a stranger's sound in its place none can be judged. Area under the "
            f"curve, lower is better: {'; '.join(areas)}."
        )
        header = (
            "from",
            "confidence",
            "windows",
            "kept",
            "wrong among the kept",
            "stranger's sound kept",
        )
        yield table(f"Risk against coverage: {kind} ({name})", header, lines, note)
