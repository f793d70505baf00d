"""Tables of an ablation's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from avcheck.eval.rates import RATE_S
from avcheck.eval.rows import Row, groups_of, share_of
from avcheck.eval.stats import EPSILON, bootstrap_median, leave_one_group_out, share, table
from avcheck.eval.trials import HEAD_FRAMES, HEAD_PAIR_MS
from avcheck.rates import FRAME_RATE
from avcheck.record.report import FRAME_MS


def head_table(rows: Sequence[Row], seconds_s: Mapping[str, float]) -> str:
    """One line for each variant."""
    plain = seconds_s.get("spatio-temporal")
    lines = []
    for name in dict.fromkeys(row["variant"] for row in rows):
        mine = [row for row in rows if row["variant"] == name]
        paper = [row for row in mine if row["measure"] == "paper"]
        speech = [row for row in paper if row["kind"] == "speech"]
        trusted = [row for row in speech if row["trusted"]]
        cells: list[object] = [
            _accuracy(some)
            for some in (trusted, speech, [r for r in paper if r["kind"] == "generic"])
        ]
        cells.insert(1, _best_accuracy(trusted))
        pairs = [row for row in mine if row["measure"] == "pairwise"]
        for size in HEAD_PAIR_MS:
            some = [row for row in pairs if abs(row["late_ms"]) == size]
            cells.append(share_of(some, lambda row: row["won"]))
        for count in HEAD_FRAMES:
            some = [
                row
                for row in mine
                if row["measure"] == "offset" and row["seconds"] == count / FRAME_RATE
            ]
            cells.append(share_of(some, lambda row: abs(row["error_frames"]) <= 1 + EPSILON))
        cost = seconds_s.get(name)
        cells.append(
            "-"
            if cost is None
            else f"{cost:.2f}" + ("" if not plain else f" ({cost / plain:.2f}x)")
        )
        lines.append((name, len({row["seed"] for row in mine}), *cells))
    header = (
        "head",
        "seeds",
        "speech, trusted",
        "the same, best threshold",
        "speech, all",
        "generic",
        *(f"pair {size} ms" for size in HEAD_PAIR_MS),
        *(f"offset {count / FRAME_RATE:g} s" for count in HEAD_FRAMES),
        "head, CPU s a minute",
    )
    note = (
        "Paper protocol: accuracy on windows of 4.2 s, as they are and displaced by 2 to 5.8 s, "
        "decided by the logit's sign. Pairs (true above displaced copy) and offset (within 1 "
        "frame, by the head's score alone): speech with a trusted own offset. Heads that look at "
        "the whole picture are not run at every shift."
    )
    return table("Heads", header, lines, note)


def _accuracy(rows: Sequence[Row]) -> object:
    """Share of right decisions by sign, without the windows that could not be displaced."""
    return share_of(_paired(rows), lambda row: (row["logit"] > 0) == row["in_sync"])


def _best_accuracy(rows: Sequence[Row]) -> object:
    hits: list[float] = []
    groups: list[str] = []
    for seed in dict.fromkeys(row["seed"] for row in rows):
        both = [row for row in _paired(rows) if row["seed"] == seed]
        accuracy = leave_one_group_out(
            [row["logit"] for row in both], [row["in_sync"] for row in both], groups_of(both)
        )
        hits += accuracy
        groups += groups_of(both) if accuracy else []
    return share(hits, groups)


def _paired(rows: Sequence[Row]) -> list[Row]:
    moved = {
        (row["variant"], row["seed"], row["clip"], row["first"])
        for row in rows
        if not row["in_sync"]
    }
    return [
        row for row in rows if (row["variant"], row["seed"], row["clip"], row["first"]) in moved
    ]


def rate_table(rows: Sequence[Row]) -> str:
    """Pictures at their own rate against pictures converted to 25 fps."""
    lines = []
    keys = dict.fromkeys((row["source"], row["rate"], row["variant"], row["fed"]) for row in rows)
    for source, rate, name, fed in sorted(keys, key=lambda key: key[:2]):
        mine = [
            row
            for row in rows
            if (row["source"], row["rate"], row["variant"], row["fed"]) == (source, rate, name, fed)
        ]
        errors, groups = np.array([abs(row["error_frames"]) for row in mine]), groups_of(mine)
        near = [share((errors <= frames + EPSILON).tolist(), groups) for frames in (0.5, 1)]
        middle = bootstrap_median(FRAME_MS * errors, groups)
        won = share([row["won_80_ms"] for row in mine], groups)
        lines.append(
            (
                source,
                f"{rate:g}",
                name,
                fed,
                len(mine),
                len(set(groups)),
                *near,
                middle.text(0),
                won,
            )
        )
    header = (
        "of",
        "fps",
        "head",
        "fed",
        "n",
        "groups",
        "within 20 ms",
        "within 40 ms",
        "median, ms",
        "pair 80 ms",
    )
    note = (
        f"{RATE_S:g} s each, sound moved by up to 1 s. Clips: trusted speech of 25 fps played at "
        "the rate, sound and all. Scenes: generated talking faces. Native: every picture as it is "
        "(every second one of 50 and 60), at its own time."
    )
    return table("Frame rates", header, lines, note)
