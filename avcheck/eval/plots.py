"""Plots of an evaluation, made from its rows alone. Only this module needs matplotlib, and loads it
only for `--plots`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from avcheck.errors import UsageError
from avcheck.eval.rows import (
    RISK_FROM,
    RISK_S,
    Row,
    errors_frames,
    groups_of,
    of_measure,
    sizes,
    truths,
)
from avcheck.eval.stats import (
    CONFIDENCE_EDGES,
    EPSILON,
    area_under_risk,
    confidence_bin,
    risk_curve,
    share,
)
from avcheck.record.report import FRAME_MS
from avcheck.verdict.posterior import NEAR_FRAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinct for the colour-blind too
_COLOURS = dict(zip(RISK_S, ("#0072b2", "#d55e00"), strict=True))
_SHADES = {"out_of_sync": "#d55e00", "undecidable": "#bbbbbb", "in_sync": "#009e73"}
_ERROR_MS = 250.0  # a larger error is drawn at the edge
_NAMED = (0.5, 0.9, 0.99)  # those of `RISK_FROM` that label their point
_DPI = 150
_SUBJECT = "speech"  # generic sound has no clip whose own offset is known


def require_matplotlib() -> None:
    """Raises UsageError if it is not installed, before anything takes a long time."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("plots need matplotlib; install it with: pip install matplotlib")


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write every plot for which there are rows, as PNG.

    Args:
        rows: Of an evaluation.
        folder: Where to write, made if it is missing.

    Returns:
        The paths.

    Raises:
        UsageError: matplotlib is not installed, or the folder cannot be written.
    """
    require_matplotlib()
    by = of_measure(rows)
    offsets, foreign, verdicts = (by.get(name, []) for name in ("offset", "foreign", "verdict"))
    kinds: dict[str, Callable[[], Figure | None]] = {
        "reliability": lambda: reliability(offsets),
        "risk-coverage": lambda: risk_coverage(offsets, foreign),
        "offset-error": lambda: offset_error(offsets),
        "detection": lambda: detection(verdicts),
    }
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, make in kinds.items():
            figure = make()
            if figure is not None:
                path = folder / f"{name}.png"
                figure.savefig(path)
                written.append(path)
    except OSError as error:
        raise UsageError(f"{folder}: cannot write plots there: {error}") from error
    return written


def reliability(offsets: Sequence[Row]) -> Figure | None:
    """Share right within `NEAR_FRAMES` against the mean confidence, in bins; the bars are 95 %
    intervals over groups.
    """
    panels = list(_panels(offsets))
    if not panels:
        return None
    figure, axes = _figure(len(panels), 4.6, 4.6)
    for at, (name, rows, corrected) in zip(axes, panels, strict=True):
        at.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
        for seconds, mine in _by_length(rows):
            colour = _COLOURS[seconds]
            confidence, wrong = _outcome(mine, corrected=corrected)
            bins, groups = confidence_bin(confidence), np.array(groups_of(mine))
            means, accuracies, counts = [], [], []
            for k in range(len(CONFIDENCE_EDGES) - 1):
                inside = bins == k
                if inside.any():
                    means.append(float(confidence[inside].mean()))
                    accuracies.append(share((1 - wrong[inside]).tolist(), groups[inside].tolist()))
                    counts.append(int(inside.sum()))
            values = [each.value for each in accuracies]
            # A single group has no interval, so its point has no bar.
            bars = np.array(
                [[each.value - each.low, each.high - each.value] for each in accuracies]
            ).T
            at.errorbar(
                means,
                values,
                np.nan_to_num(bars.clip(0)),
                color=colour,
                linewidth=1,
                capsize=2,
                fmt="none",
                alpha=0.5,
            )
            size = [12 + 3 * count for count in counts]
            at.scatter(means, values, size, color=colour, zorder=3, alpha=0.7)
            at.plot([], [], "o", color=colour, label=f"{seconds:g} s, {len(mine)} windows")
        at.set(
            xlim=(-0.03, 1.08), ylim=(-0.03, 1.08), xlabel="confidence", title=name, aspect="equal"
        )
        at.legend(loc="lower right")
    axes[0].set_ylabel(f"share right within {NEAR_FRAMES:g} frames")
    figure.suptitle(
        "Is the confidence what it says? Points grow with their windows; bars: 95 % over groups"
    )
    return figure


def risk_coverage(offsets: Sequence[Row], foreign: Sequence[Row]) -> Figure | None:
    """The share wrong of the windows kept, and the share kept of windows with a stranger's sound,
    against the share of windows kept.
    """
    panels = list(_panels(offsets))
    if not panels:
        return None
    figure, axes = _figure(len(panels), 5.2, 4.2)
    for at, (name, rows, corrected) in zip(axes, panels, strict=True):
        clips = {row["clip"] for row in rows}
        top = 0.1
        for seconds, mine in _by_length(rows):
            colour = _COLOURS[seconds]
            confidence, wrong = _outcome(mine, corrected=corrected)
            area = area_under_risk(confidence, wrong)
            coverage, risk = risk_curve(confidence, wrong)
            top = max(top, 1.3 * float(risk.max()))
            at.plot(coverage, risk, color=colour, label=f"{seconds:g} s, wrong (area {area:.3f})")
            strangers = [
                row["confidence"]
                for row in foreign
                if row["seconds"] == seconds and row["clip"] in clips
            ]
            if strangers:
                levels = np.unique(np.concatenate([confidence, strangers]))[::-1]
                kept, fooled = (
                    (np.asarray(some)[None] >= levels[:, None]).mean(axis=1)
                    for some in (confidence.tolist(), strangers)
                )
                at.plot(
                    kept,
                    fooled,
                    color=colour,
                    linestyle=":",
                    label=f"{seconds:g} s, stranger's sound kept",
                )
            for least in RISK_FROM[1:]:
                kept_there = confidence >= least
                if kept_there.any():
                    x, y = float(kept_there.mean()), float(wrong[kept_there].mean())
                    at.plot(x, y, "o", color=colour, markersize=4)
                    if least in _NAMED:
                        above = 6 if seconds == RISK_S[0] else -12
                        at.annotate(
                            f"{least:g}",
                            (x, y),
                            (0, above),
                            textcoords="offset points",
                            fontsize=8,
                            ha="center",
                            color=colour,
                        )
        # The curve of a stranger's sound may reach far above the risk, where it is of no interest.
        at.set(
            xlim=(0, 1.02),
            ylim=(-0.05 * top, top),
            xlabel="coverage: share of windows kept",
            title=name,
        )
        at.legend(loc="upper left", fontsize=8)
    axes[0].set_ylabel("risk: share of those kept")
    figure.suptitle(
        f"Risk against coverage; wrong = beyond {NEAR_FRAMES:g} frames; numbers: confidence from "
        "which windows are kept"
    )
    return figure


def offset_error(offsets: Sequence[Row]) -> Figure | None:
    """How far the estimated offset lies from the truth, ms; positive if the sound is estimated
    later than it is.
    """
    panels = list(_panels(offsets))
    if not panels:
        return None
    figure, axes = _figure(len(panels), 5.2, 3.8)
    edges = np.arange(-_ERROR_MS - FRAME_MS / 8, _ERROR_MS + FRAME_MS / 4, FRAME_MS / 4)
    for at, (name, rows, corrected) in zip(axes, panels, strict=True):
        for seconds, mine in _by_length(rows):
            colour = _COLOURS[seconds]
            error_ms = FRAME_MS * np.array(errors_frames(mine, corrected=corrected))
            far = float((np.abs(error_ms) > _ERROR_MS).mean())
            label = (
                f"{seconds:g} s, {len(mine)} windows, {far:.0%} beyond {_ERROR_MS:g} ms (at "
                "the edges)"
            )
            weights = np.full(len(mine), 1 / len(mine))
            at.hist(
                error_ms.clip(-_ERROR_MS, _ERROR_MS),
                edges.tolist(),
                weights=weights,
                color=colour,
                alpha=0.5,
                label=label,
            )
        for limit in (-FRAME_MS, FRAME_MS):
            at.axvline(limit, color="#999999", linewidth=1, linestyle="--")
        at.set(xlabel="estimated minus true, ms (dashed: one frame)", title=name)
        at.set_ylim(0, 1.25 * at.get_ylim()[1])
        at.legend(loc="upper left", fontsize=8)
    axes[0].set_ylabel("share of windows")
    figure.suptitle("Error of the offset, whatever its confidence")
    return figure


def detection(verdicts: Sequence[Row]) -> Figure | None:
    """Verdicts on clips against how far their sound was moved, for clips with a trusted offset,
    which is corrected.
    """
    some = [row for row in verdicts if row["kind"] == _SUBJECT and row["trusted"]]
    moved = [row for row in some if row["case"] == "shifted"]
    if not moved:
        return None
    long_enough = {row["clip"] for row in moved}
    some = moved + [
        row for row in some if row["case"] == "corrected" and row["clip"] in long_enough
    ]
    sizes_ms = sorted({row["late_ms"] for row in some}, reverse=True)
    figure, (at,) = _figure(1, 8.0, 3.8)
    floor = np.zeros(len(sizes_ms))
    for verdict, colour in _SHADES.items():
        shares = np.array(
            [
                np.mean([row["verdict"] == verdict for row in some if row["late_ms"] == each])
                for each in sizes_ms
            ]
        )
        at.bar(
            [f"{-each:+d}" if each else "0" for each in sizes_ms],
            shares,
            bottom=floor,
            color=colour,
            label=verdict.replace("_", " "),
        )
        floor = floor + shares
    _, clips, groups = sizes(moved)
    at.set(xlabel="sound moved by, ms (negative = late)", ylabel="share of files", ylim=(0, 1))
    figure.suptitle(
        f"Verdict on moved sound: {clips} clips of {groups} groups, own offset corrected"
    )
    figure.legend(loc="outside lower center", ncols=len(_SHADES), frameon=False)
    return figure


def _panels(offsets: Sequence[Row]) -> Iterator[tuple[str, list[Row], bool]]:
    """(title, rows, own offset corrected) of speech, by what counts as truth."""
    lengths = [row for row in offsets if row["seconds"] in RISK_S]
    for kind, name, rows, corrected in truths(lengths):
        if kind == _SUBJECT and corrected:
            yield f"{kind}, {name}", rows, corrected


def _by_length(rows: Sequence[Row]) -> Iterator[tuple[float, list[Row]]]:
    """(seconds, rows) for each length in `RISK_S` that has windows."""
    for seconds in RISK_S:
        mine = [row for row in rows if row["seconds"] == seconds]
        if mine:
            yield seconds, mine


def _outcome(
    rows: Sequence[Row], *, corrected: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Confidence of each row, and 1.0 if its offset is wrong by more than `NEAR_FRAMES`, else
    0.0.
    """
    wrong = np.abs(errors_frames(rows, corrected=corrected)) > NEAR_FRAMES + EPSILON
    return np.array([row["confidence"] for row in rows], np.float64), wrong.astype(np.float64)


def _figure(panels: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Axes side by side, each of this size in inches, without the global state of pyplot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * panels, height), dpi=_DPI, layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0].tolist()
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(alpha=0.25, linewidth=0.6)
        each.set_axisbelow(True)
    return figure, axes
