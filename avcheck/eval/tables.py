"""Tables of the measured rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from avcheck.eval.changing import changes_table
from avcheck.eval.confidence_tables import reliability_tables, risk_tables
from avcheck.eval.joined import joined_table
from avcheck.eval.protocol import (
    AS_A_CHECK,
    CONTROL_S,
    COVERAGE_S,
    OFFSET_FRAMES,
    PAIR_MS,
    SEEN_SHARE,
    SHIFTED_LEAST_S,
    SHIFTED_MS,
    STRANGER,
    TOLERANCE,
    VERDICTS,
)
from avcheck.eval.rows import (
    Row,
    errors_frames,
    groups_of,
    of_measure,
    populations,
    share_of,
    sizes,
    truths,
    verdict_shares,
)
from avcheck.eval.stats import (
    EPSILON,
    bootstrap_median,
    leave_one_group_out,
    share,
    table,
    win_score,
)
from avcheck.network.model_config import ATTENTION_KINDS
from avcheck.rates import FRAME_RATE
from avcheck.record.report import FRAME_MS
from avcheck.train.corpus import KINDS
from avcheck.verdict.posterior import NEAR_FRAMES, Calibration


def tables(rows: Sequence[Row], decide: float = Calibration.decide) -> Iterator[str]:
    """Every table that the rows can fill, as text. decide: the confidence that a verdict needs."""
    by = of_measure(rows)
    if by.get("coverage"):
        yield coverage_table(by["coverage"])
        if by.get("segment"):
            yield joined_table(by["segment"], decide)
        if by.get("changing"):
            yield changes_table(by["changing"], by["coverage"])
        if by.keys() <= {"heading", "coverage", "segment", "changing"}:  # nothing else was measured
            return
    yield paper_table(by.get("paper", []), len(by.get("paper_left_out", [])))
    yield pairwise_table(by.get("pairwise", []))
    yield offset_table(by.get("offset", []))
    yield offset_table(by.get("offset_in_film", []), in_film=True)
    yield agreement_table(by.get("offset", []))
    yield untouched_table(by.get("verdict", []))
    yield shifted_table(by.get("verdict", []))
    yield control_table(by.get("control", []))
    if by.get("small"):
        yield small_table(by["small"], by.get("small_foreign", []), decide)
    yield from reliability_tables(by.get("offset", []))
    yield from risk_tables(by.get("offset", []), by.get("foreign", []))


def paper_table(rows: Sequence[Row], left_out: int) -> str:
    """Binary accuracy: half of the decisions on windows as they are, half on displaced ones."""
    lines = []
    for kind, population, some in populations(rows):
        for attention in (*ATTENTION_KINDS, AS_A_CHECK):
            mine = [row for row in some if row["attention"] == attention]
            if not mine:
                continue
            truth, logits, groups = (
                [row["in_sync"] for row in mine],
                [row["logit"] for row in mine],
                groups_of(mine),
            )
            right = [
                float((logit > 0) == wanted) for logit, wanted in zip(logits, truth, strict=True)
            ]
            best = leave_one_group_out(logits, truth, groups)
            count, clips, names = sizes(mine)
            figures = share(right, groups), share(best, groups if best else [])
            lines.append((kind, population, attention, count // 2, clips, names, *figures))
    note = (
        "Windows of 4.2 s, as they are (corrected for a trusted own offset) and displaced by 2 to "
        "5.8 s within the clip; "
        f"{left_out} windows left out, as their clip has no sound 2 s away. Chance is 0.5. "
        f'"{AS_A_CHECK}": the default '
        "attention at every shift of the window's own 4.2 s, weighed with the trunks' match; the "
        "sign is that of the "
        "calibrated odds of a match at shift 0 against none, even beforehand as the protocol has "
        "them."
    )
    header = (
        "kind",
        "own offset",
        "attention",
        "windows",
        "clips",
        "groups",
        "accuracy, sign",
        "accuracy, best threshold",
    )
    return table("Paper protocol", header, lines, note)


def pairwise_table(rows: Sequence[Row]) -> str:
    """How often the true window scores above its displaced copy; a tie counts half."""
    lines = []
    for kind, population, some in populations(rows):
        for size in PAIR_MS:
            mine = [row for row in some if abs(row["late_ms"]) == size]
            if mine:
                won = share_of(mine, lambda row: win_score(row["logit_true"], row["logit"]))
                lines.append((kind, population, f"{size} ms", *sizes(mine), won))
    header = (
        "kind",
        "own offset",
        "displaced by",
        "pairs",
        "clips",
        "groups",
        "true above displaced",
    )
    note = (
        "True window of 4.2 s above its copy displaced by so much, early and late. Chance is 0.5."
    )
    return table("Pairwise", header, lines, note)


def offset_table(rows: Sequence[Row], *, in_film: bool = False) -> str:
    """|error| of the estimated offset, for windows on their own or, with `in_film`, with the sound
    around them.
    """
    lines = []
    for kind, name, some, corrected in truths(rows):
        for count in OFFSET_FRAMES:
            mine = [row for row in some if row["seconds"] == count / FRAME_RATE]
            if not mine:
                continue
            errors, groups = np.abs(errors_frames(mine, corrected=corrected)), groups_of(mine)
            near = [share((errors <= frames + EPSILON).tolist(), groups) for frames in (1, 3)]
            middle = bootstrap_median(FRAME_MS * errors, groups)
            lines.append(
                (kind, name, f"{count / FRAME_RATE:g} s", *sizes(mine), *near, middle.text(0))
            )
    header = (
        "kind",
        "own offsets",
        "from",
        "windows",
        "clips",
        "groups",
        "within 1 frame",
        "within 3 frames",
        "median, ms",
    )
    note = (
        "Sound moved by up to 1 s either way, evenly, to a sample. Each window is treated like a "
        "file cut there after the "
        "move: it has sound for its own time only, and what the clip does not have is missing."
    )
    if in_film:
        note = (
            "The same windows as one segment in the middle of a film: the clip's sound 2 s "
            "around them is there too."
        )
    return table("Offset, within a film" if in_film else "Offset", header, lines, note)


def agreement_table(rows: Sequence[Row]) -> str:
    """How often two neighbouring windows of one clip, each moved by an amount of its own, agree on
    the clip's own offset.
    """
    lines = []
    for kind in KINDS:
        for seconds in (5.0, 10.0):
            apart, pairs = [], []
            by: dict[str, list[Row]] = {}
            for row in rows:
                if row["kind"] == kind and row["seconds"] == seconds:
                    by.setdefault(row["clip"], []).append(row)
            for mine in by.values():
                own = [
                    row["estimate_frames"] - row["late_frames"]
                    for row in sorted(mine, key=lambda row: float(row["start_s"]))
                ]
                apart += [abs(b - a) for a, b in zip(own[::2], own[1::2], strict=False)]
                pairs += mine[: len(own) // 2]
            if apart:
                near = share(
                    [float(distance <= 1 + EPSILON) for distance in apart], groups_of(pairs)
                )
                lines.append((kind, f"{seconds:g} s", *sizes(pairs), near))
    note = (
        "Two disjoint neighbouring pieces of one clip, each with its sound moved by an amount "
        "of its own, estimated apart."
    )
    return table(
        "Agreement", ("kind", "pieces", "pairs", "clips", "groups", "within 1 frame"), lines, note
    )


def _inside(row: Row) -> bool:
    """Whether the clip's own offset is inside the tolerance."""
    early_ms = -float(row["own_frames"]) * FRAME_MS
    return -TOLERANCE.late_ms <= early_ms <= TOLERANCE.early_ms


def coverage_table(rows: Sequence[Row]) -> str:
    """How many clips get an offset at all, whether or not their own is known."""
    lines: list[tuple[object, ...]] = []
    known = any(row["face_share"] is not None for row in rows)
    for name, rounds in (
        ("first", [row for row in rows if row["added"] == 1]),
        ("later", [row for row in rows if row["added"] > 1]),
    ):
        with_speaker = [row for row in rounds if (row["face_share"] or 0.0) >= SEEN_SHARE]
        long = [row for row in with_speaker if row["clip_s"] >= COVERAGE_S]
        some = [("all", rounds), ("trusted", [row for row in rounds if row["trusted"]])]
        some[1:1] = (
            [("speaker seen", with_speaker), (f"speaker seen, {COVERAGE_S:g} s or longer", long)]
            if known
            else []
        )
        for population, mine in some:
            own = [row for row in mine if row["case"] == "as recorded"]
            strange = [row for row in mine if row["case"] == STRANGER]
            if not own:
                continue
            judged = [row for row in own if row["trusted"] and row["offset_ms"] is not None]
            lines.append(
                (
                    name,
                    population,
                    *sizes(own)[1:],
                    share_of(own, _has_offset),
                    share_of(own, lambda row: row["verdict"] != "undecidable"),
                    share_of(judged, lambda row: not _is_near(row, -row["own_frames"] * FRAME_MS)),
                    share_of(strange, _has_offset),
                )
            )
    header = (
        "round",
        "speech clips",
        "clips",
        "groups",
        "offset reported",
        "verdict",
        "wrong, of those known",
        "reported for a stranger's sound",
    )
    note = (
        "Whole clips as recorded. Speaker seen: a face mesh found a face in half of the pictures "
        "looked at. Verdict: in or out of sync; an offset reported without one is too close to a "
        f"limit. Wrong: beyond {NEAR_FRAMES:g} frames of a trusted own offset, which is an "
        "estimate by another network, or for later rounds by earlier weights."
    )
    return table("Coverage of whole clips", header, lines, note)


def _has_offset(row: Row) -> bool:
    return row["offset_ms"] is not None


def _is_near(row: Row, early_ms: float) -> bool:
    """Whether the offset reported is the true one, or so near that nobody would see it."""
    return bool(abs(row["offset_ms"] - early_ms) <= NEAR_FRAMES * FRAME_MS)


def untouched_table(rows: Sequence[Row]) -> str:
    """The verdicts on clips whose sound was not moved: how many are false alarms."""
    lines = []
    for kind in KINDS:
        some = [row for row in rows if row["kind"] == kind]
        recorded = [row for row in some if row["case"] == "as recorded"]
        for name, mine in (
            (
                "as recorded, own offset trusted and inside the tolerance",
                [r for r in recorded if r["trusted"] and _inside(r)],
            ),
            (
                "as recorded, own offset trusted and outside",
                [r for r in recorded if r["trusted"] and not _inside(r)],
            ),
            ("as recorded, all", recorded),
            ("own offset corrected, trusted", [row for row in some if row["case"] == "corrected"]),
        ):
            if mine:
                lines.append(
                    (kind, name, len(mine), sizes(mine)[2], *verdict_shares(mine, VERDICTS))
                )
    recorded = [row for row in rows if row["case"] == "as recorded"]
    for name, mine in (
        (
            "as recorded, all but those known to be outside",
            [r for r in recorded if not r["trusted"] or _inside(r)],
        ),
        ("as recorded, all", recorded),
    ):
        if mine:
            lines.append(("both", name, len(mine), sizes(mine)[2], *verdict_shares(mine, VERDICTS)))
    note = (
        f"Whole files, tolerance {TOLERANCE.preset} ({TOLERANCE.early_ms:g} ms early, "
        f"{TOLERANCE.late_ms:g} ms late). A file "
        'whose own trusted offset is outside is rightly called "out of sync", so it is no false '
        "alarm."
    )
    header = ("kind", "files", "n", "groups", "out of sync", "undecidable", "in sync")
    return table("Verdict on untouched files", header, lines, note)


def shifted_table(rows: Sequence[Row]) -> str:
    """The verdicts on clips whose sound was moved: how many are detected."""
    shifted = [row for row in rows if row["case"] == "shifted"]
    lines = []
    for kind, population, some in populations(shifted):
        for size in SHIFTED_MS:
            for name, sides in (("early", (-size,)), ("late", (size,)), ("both", (-size, size))):
                mine = [row for row in some if row["late_ms"] in sides]
                if not mine:
                    continue
                found_near = share_of(
                    mine,
                    lambda row: row["verdict"] == "out_of_sync" and _is_near(row, -row["late_ms"]),
                )
                label, shares = f"{size} ms {name}", verdict_shares(mine, VERDICTS)
                lines.append((kind, population, label, *sizes(mine), *shares, found_near))
    header = (
        "kind",
        "own offset",
        "sound",
        "files",
        "clips",
        "groups",
        "out of sync",
        "undecidable",
        "in sync (wrong)",
        "found within 80 ms",
    )
    note = (
        f"Clips of at least {SHIFTED_LEAST_S:g} s, sound moved on top of the correction for a "
        "trusted own offset."
    )
    return table("Verdict on shifted files", header, lines, note)


def control_table(rows: Sequence[Row]) -> str:
    """The verdicts on clips whose picture and sound do not match; none may be "in sync"."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == case]
        lines.append((case, len(mine), sizes(mine)[2], *verdict_shares(mine, VERDICTS)))
    header = ("control", "files", "groups", "out of sync", "undecidable", "in sync (wrong)")
    return table("Controls", header, lines, f"Speech clips, their first {CONTROL_S:g} s.")


def _sizes_of(rows: Sequence[Row]) -> list[float]:
    return [abs(error) for error in errors_frames(rows, corrected=True)]


def small_table(rows: Sequence[Row], foreign: Sequence[Row], decide: float) -> str:
    """Small faces, and which of two people speaks."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == case]
        groups = groups_of(mine)
        first = _sizes_of([{**row, "estimate_frames": row["first_frames"]} for row in mine])
        errors = _sizes_of(mine)
        sure = [row["confidence"] >= decide for row in mine]
        wrong = [
            is_sure and error > NEAR_FRAMES + EPSILON
            for is_sure, error in zip(sure, errors, strict=True)
        ]
        with_attention = [row for row in mine if "attention" in row]
        strange = [row for row in foreign if row["case"] == case]
        lines.append(
            (
                case,
                *sizes(mine),
                share([float(error <= 1 + EPSILON) for error in first], groups),
                share([float(error <= 1 + EPSILON) for error in errors], groups),
                share_of(mine, lambda row: row["first_confidence"] >= decide),
                share(list(map(float, sure)), groups),
                share(list(map(float, wrong)), groups),
                share_of(with_attention, lambda row: row["attention"] > 0.5)
                if with_attention
                else "-",
                share_of(strange, lambda row: row["confidence"] >= decide) if strange else "-",
            )
        )
    header = (
        "speaker",
        "windows",
        "clips",
        "groups",
        "within 1 frame, first look",
        "within 1 frame",
        "sure, first look",
        "sure",
        "sure and wrong",
        "attention on the speaker",
        "sure of a stranger's sound",
    )
    note = (
        "The middle 10 s of every speech clip with a trusted offset, its sound moved as in the "
        "offset table: alone, at a part of that size at a random place before moving pictures of "
        "another group, and beside a silent talker of another group. What shows nothing at first "
        "is looked at closer, as in a check. Sure: confident enough for a verdict; wrong: off by "
        "over 2 frames."
    )
    return table("Small faces and side by side", header, lines, note)
