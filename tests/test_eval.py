"""The measurements, against networks whose answers are known: one that matches brightness with
loudness, and a constant one.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from avcheck.blocks import BLOCK_FRAMES, FRAME_RATE, blocks
from avcheck.errors import UsageError
from avcheck.eval import confidence_tables, plots, protocol, run, small, speed, stats, tables
from avcheck.eval import measure as measure_eval
from avcheck.eval.rows import RISK_FROM, RISK_S, Row, errors_frames, read_rows
from avcheck.eval.windows import Footage, as_they_are, curves, hear, observe
from avcheck.heads import JointHead
from avcheck.looking import LEVELS, look
from avcheck.match import Scored
from avcheck.media import Picture, Sound
from avcheck.mel import SAMPLE_RATE
from avcheck.model import SyncNet
from avcheck.model_config import ATTENTION_KINDS, BLOCK_TIMES
from avcheck.posterior import Calibration
from avcheck.scan import scan
from avcheck.segments import MAX_SHIFT
from avcheck.shifts import SHIFTS
from avcheck.train.corpus import Clip, find_clips, set_aside
from avcheck.weights import Loaded, save
from tests.support.clips import make_clip
from tests.support.networks import SMALL
from tests.support.real import ABSENT, CORPUS

Array = np.ndarray[Any, Any]
SIDE = 48
SAMPLES_A_FRAME = SAMPLE_RATE // FRAME_RATE
QUIET, LOUD = -6.0, -1.5  # natural log of the amplitude that goes with black and with white


# ---------------------------------------------------------------------------------------- stand-ins


class Matcher(nn.Module):
    """In sync where brightness goes with loudness: what `SyncNet` offers, with an answer that is
    known. gain 0: constant.
    """

    def __init__(self, attention: str, gain: float) -> None:
        super().__init__()
        self.config = replace(SMALL, attention=attention)  # type: ignore[arg-type]
        self.gain = gain

    def visual(self, pictures: Tensor) -> tuple[Tensor, tuple[int, int]]:
        bright = pictures.float().mean(dim=(2, 3)) / 255.0
        return bright[:, :, None, None].expand(-1, -1, 2, 1), (1, 2)

    def sound(self, mel: Tensor) -> Tensor:
        level = mel.unflatten(1, (-1, 4))[:, :, 1:3].mean(dim=(2, 3))
        return ((level - LEVEL_QUIET) / (LEVEL_LOUD - LEVEL_QUIET)).unsqueeze(-1)

    def match(self, picture: Tensor, sound: Tensor, present: Tensor) -> Tensor:
        return self.head(
            picture, sound, torch.from_numpy(SHIFTS), margin=MAX_SHIFT, present=present
        ).logits[..., 1]

    def head(
        self, picture: Tensor, sound: Tensor, shifts: Tensor, *, margin: int, present: Tensor
    ) -> Scored:
        times, places = picture.shape[1:3]
        here = picture.mean(dim=2)[..., 0]
        heard = sound[..., 0].unfold(1, times, 1)[:, margin + shifts]  # (batch, shifts, times)
        apart = ((here[:, None] - heard).abs() * present).sum(2) / present.sum(2).clamp_min(1)
        score = self.gain * (0.12 - apart)
        both = torch.stack([torch.zeros_like(score), score], dim=-1)
        cells = (times // BLOCK_FRAMES) * BLOCK_TIMES * places
        attention = torch.full(
            (1, len(shifts), times // BLOCK_FRAMES, BLOCK_TIMES, places), 1.0 / cells
        )
        return Scored(both, attention, both[:, :, None].expand(-1, -1, times // BLOCK_FRAMES, -1))


def loudness(code: Array, rng: np.random.Generator) -> Array:
    """Noise whose level in each frame follows `code` (n,), 0..1."""
    level = np.exp(QUIET + (LOUD - QUIET) * code)
    return (
        np.repeat(level, SAMPLES_A_FRAME) * rng.uniform(-1, 1, len(code) * SAMPLES_A_FRAME)
    ).astype(np.float32)


def _levels() -> tuple[float, float]:
    from avcheck.mel import context_samples, log_mel

    rng = np.random.default_rng(0)
    pad = np.zeros(context_samples(), np.float32)
    quiet, loud = (
        log_mel(np.concatenate([pad, loudness(np.full(50, x), rng), pad]))[4:-4].mean()
        for x in (0.0, 1.0)
    )
    return float(quiet), float(loud)


LEVEL_QUIET, LEVEL_LOUD = _levels()


def material(seconds: float, *, own_frames: int = 0, seed: int = 1) -> tuple[Array, Array]:
    """Pictures of random brightness and sound of the same loudness, late by `own_frames`."""
    rng = np.random.default_rng(seed)
    count = round(seconds * FRAME_RATE)
    code = rng.uniform(0, 1, count + 200)
    texture = rng.uniform(-0.1, 0.1, (SIDE, SIDE))
    bright = np.clip(0.15 + 0.7 * code[100 : 100 + count, None, None] + texture, 0, 1)
    heard = 0.15 + 0.7 * code[100 - own_frames : 100 - own_frames + count]
    return (bright * 255).round().astype(np.uint8), loudness(heard, rng)


def loaded(attention: str = "spatio-temporal", gain: float = 150.0) -> Loaded:
    net: Any = Matcher(attention, gain)
    return Loaded(net, "0" * 64, torch.device("cpu"), False, {}, {})


def bench(gain: float = 150.0) -> protocol.Bench:
    heads = {kind: loaded(kind, gain) for kind in ATTENTION_KINDS}
    return protocol.Bench(
        heads["spatio-temporal"], heads, Calibration(guard_ms=10.0, decide=0.6), levels=(SIDE,)
    )


def clip(
    name: str,
    *,
    group: str = "a",
    kind: str = "speech",
    own: float | None = None,
    trusted: bool = False,
) -> Clip:
    return Clip(
        id=name,
        path=Path(name),
        group=group,
        kind=kind,
        split="val",
        offset_frames=own,
        trusted=trusted,
    )


class OtherSound:
    def sound(self, _: Clip, count: int) -> Array:
        return material(count / SAMPLE_RATE + 1, seed=99)[1][:count]


@pytest.fixture(scope="module")
def oracle_rows() -> list[Row]:
    """Rows of three speech clips (two with an own offset that is known) and one generic clip, under
    the matching network.
    """
    return rows_under(bench())


@pytest.fixture(scope="module")
def constant_rows() -> list[Row]:
    return rows_under(bench(gain=0.0))


def rows_under(under: protocol.Bench) -> list[Row]:
    plan = [
        (clip("one", group="a", own=2.0, trusted=True), 21.0, 2),
        (clip("two", group="b", own=-1.0, trusted=True), 12.0, -1),
        (clip("three", group="c", own=8.0), 11.0, 8),
        (clip("four", group="d", kind="generic"), 10.5, 0),
        (clip("five", group="e", kind="generic"), 5.0, 0),
    ]
    rows = []
    for number, (item, seconds, own) in enumerate(plan):
        frames, samples = material(seconds, own_frames=own, seed=number)
        footage = observe(item, frames, samples, under.model, under.levels)
        rows += list(measure_eval.measure(footage, under, OtherSound()))  # type: ignore[arg-type]
    return rows


def of(rows: list[Row], measure: str, **equal: object) -> list[Row]:
    return [
        row
        for row in rows
        if row["measure"] == measure and all(row[key] == value for key, value in equal.items())
    ]


# ------------------------------------------------------------------------------------------ windows


def test_a_whole_clip_gives_the_blocks_of_a_check() -> None:
    frames, samples = material(5.4)
    footage = observe(clip("x"), frames, samples, loaded(), (SIDE,))
    shot = footage.shot(0, len(frames))
    heard = hear(samples, 0.0, shot)
    pictures = [Picture(k / FRAME_RATE, frame) for k, frame in enumerate(frames)]
    true = list(blocks(pictures, [Sound(0.0, samples)]))
    assert len(true) == len(heard) == 6
    for mine, block in zip(heard, true, strict=True):
        assert np.array_equal(mine.mel_mask, block.mel_mask)
        assert np.array_equal(mine.picture_mask, block.picture_mask)
        assert np.allclose(mine.mel, block.mel, atol=1e-4)
        assert mine.level_db == pytest.approx(block.level_db, abs=1e-3)


@pytest.mark.parametrize("seconds", [5.4, 16.0, 26.2])
def test_a_whole_clip_gives_the_curves_of_a_check(seconds: float) -> None:
    frames, samples = material(seconds, own_frames=3)
    model = loaded()
    footage = observe(clip("x"), frames, samples, model, (24, SIDE))
    shot = footage.shot(0, len(frames))
    pictures = [Picture(k / FRAME_RATE, frame) for k, frame in enumerate(frames)]
    true = list(scan(blocks(pictures, [Sound(0.0, samples)]), model, levels=(24, SIDE)))
    mine = list(curves(shot, hear(samples, 0.0, shot), model))
    assert len(mine) == len(true)
    for ours, theirs in zip(mine, true, strict=True):
        for name in (
            "score",
            "match",
            "block_start_s",
            "block_score",
            "block_match",
            "attention",
            "places",
            "motion",
            "detail",
            "level_db",
        ):
            assert np.allclose(getattr(ours, name), getattr(theirs, name), atol=1e-3), name
        assert (ours.start_s, ours.end_s, ours.grid) == (theirs.start_s, theirs.end_s, theirs.grid)
        assert ours.shifts[np.argmax(ours.score)] == 3


def test_features_of_a_window_are_those_of_a_look_of_its_own_but_at_its_edges() -> None:
    torch.manual_seed(1)
    net = SyncNet(SMALL).eval().requires_grad_(False)
    model = Loaded(net, "", torch.device("cpu"), False, {}, {})
    frames, samples = material(13.0)  # over one chunk of the visual trunk
    footage = observe(clip("x"), frames, samples, model, (32, SIDE))
    shot = footage.shot(200, 105)
    own = look(frames[200:305], np.ones(105, bool), 0.0, model, (32, SIDE)).picture
    assert torch.allclose(shot.view.picture[:, 4:101], own[:, 4:101], atol=1e-4)
    assert not torch.allclose(shot.view.picture[:, :2], own[:, :2], atol=1e-4)
    assert shot.blocks == 5
    assert shot.view.picture.shape[1] == 125
    assert shot.view.shown.sum() == 105


@pytest.mark.parametrize("late_s", [0.05, -0.05, 2.0, -3.1234])
def test_sound_is_displaced_to_the_sample_and_only_that_of_the_window_is_heard(
    late_s: float,
) -> None:
    frames, samples = material(16.0)
    footage = observe(clip("x"), frames, samples, loaded(), (SIDE,))
    shot = footage.shot(125, 105)
    moved = hear(samples, 5.0 - late_s, shot)
    first = 5 * SAMPLE_RATE - round(late_s * SAMPLE_RATE)
    alone = np.zeros_like(samples)
    alone[: 105 * SAMPLES_A_FRAME] = samples[first : first + 105 * SAMPLES_A_FRAME]
    expected = hear(alone, 0.0, shot)
    assert all(np.array_equal(a.mel, b.mel) for a, b in zip(moved, expected, strict=True))
    assert [int(block.mel_mask.sum()) for block in moved] == [100, 100, 100, 100, 20]


def test_sound_the_clip_does_not_have_is_missing_not_wrapped() -> None:
    frames, samples = material(5.0)
    footage = observe(clip("x"), frames, samples, loaded(), (SIDE,))
    shot = footage.shot(0, 125)
    late = hear(samples, -1.5, shot)
    assert [int(block.mel_mask.sum()) for block in late] == [0, 50, 100, 100, 100]
    assert late[0].level_db == -math.inf
    early = hear(samples, 1.5, shot)
    assert [int(block.mel_mask.sum()) for block in early] == [100, 100, 100, 50, 0]
    nothing = hear(samples, 9.0, shot)
    assert not any(block.mel_mask.any() for block in nothing)


def test_late_means_that_the_sound_belongs_to_earlier_pictures() -> None:
    frames, samples = material(12.0)
    footage = observe(clip("x"), frames, samples, loaded(), (SIDE,))
    shot = footage.shot(100, 150)
    for late in (-7, 0, 12):
        curve = next(curves(shot, hear(samples, (100 - late) / FRAME_RATE, shot), loaded()))
        assert curve.shifts[np.argmax(curve.score)] == late
        assert (
            as_they_are(shot, hear(samples, (100 - late) / FRAME_RATE, shot), loaded()) > 0
        ) == (late == 0)


def test_one_shift_alone_scores_as_among_all() -> None:
    torch.manual_seed(1)
    frames, samples = material(6.0)
    for kind in ATTENTION_KINDS:
        net = SyncNet(replace(SMALL, attention=kind)).eval().requires_grad_(False)
        model = Loaded(net, "", torch.device("cpu"), False, {}, {})
        footage = observe(clip("x"), frames, samples, model, (SIDE,))
        shot = footage.shot(0, 105)
        sound = hear(samples, 0.02, shot)
        curve = next(curves(shot, sound, model))
        assert as_they_are(shot, sound, model) == pytest.approx(float(curve.score[50]), abs=1e-4)


def test_black_and_frozen_pictures_do_not_move() -> None:
    frames, samples = material(6.0)
    model = loaded()
    footage = observe(clip("x"), frames, samples, model, (SIDE,))
    black, frozen, grainy = (
        footage.black(130),
        footage.frozen(130, model, (SIDE,)),
        footage.frozen(130, model, (SIDE,), 2.0),
    )
    for shot in (black, frozen, grainy):
        assert shot.view.picture.shape[1] == 150
        assert shot.view.shown.sum() == 130
    assert black.detail.max() == 0
    assert frozen.motion.max() == 0
    assert frozen.detail.min() > 5
    assert 1.5 < grainy.motion.min() <= grainy.motion.max() < 3.0


def test_displacement_is_2_to_5_8_s_within_the_clip() -> None:
    rng = np.random.default_rng(1)
    drawn = [protocol.displacement(20.0, 4.2, 60.0, rng) or 0.0 for _ in range(400)]
    assert all(2.0 <= abs(late) <= 5.8 for late in drawn)
    assert 0.4 < np.mean([late > 0 for late in drawn]) < 0.6
    assert max(drawn) > 5.5
    assert min(drawn) < -5.5
    # At the beginning of a clip sound can only be read later, so that it is early.
    edge = [protocol.displacement(0.0, 4.2, 7.2, rng) or 0.0 for _ in range(50)]
    assert all(-3.0 <= late <= -2.0 for late in edge)
    assert protocol.displacement(0.0, 4.2, 6.1, rng) is None
    assert protocol.displacement(1.9, 4.2, 8.0, rng) is None
    ends = [protocol.displacement(4.2, 4.2, 8.4, rng) or 0.0 for _ in range(50)]
    assert all(2.0 <= late <= 4.2 for late in ends)


# ----------------------------------------------------------------------------------- known networks


def test_a_network_that_knows_is_right_everywhere(oracle_rows: list[Row]) -> None:
    paper = of(oracle_rows, "paper")
    assert len(paper) == 2 * 4 * (5 + 2 + 2 + 2)
    assert {row["attention"] for row in paper} == {*ATTENTION_KINDS, protocol.AS_A_CHECK}
    known = [row for row in paper if row["trusted"] or row["kind"] == "generic"]
    assert all((row["logit"] > 0) == row["in_sync"] for row in known)
    # The clip whose own offset is not trusted is not corrected, so it is rightly seen as out of
    # sync.
    assert all(row["logit"] < 0 for row in paper if row["clip"] == "three")
    assert len(of(oracle_rows, "paper_left_out")) == 1  # the clip of 5 s
    pairs = [row for row in of(oracle_rows, "pairwise") if row["clip"] != "three"]
    assert {abs(row["late_ms"]) for row in pairs} == set(protocol.PAIR_MS)
    assert all(row["logit_true"] > row["logit"] for row in pairs)
    within = of(oracle_rows, "offset_in_film")
    assert {row["seconds"] for row in within} == {4.2, 5.0, 10.0}
    for row in [*of(oracle_rows, "offset"), *within]:
        true = {"one": 2, "two": -1, "three": 8}.get(row["clip"], 0) + row["late_frames"]
        assert row["estimate_frames"] == pytest.approx(true, abs=1.0)
        assert row["confidence"] > 0.5


def test_windows_do_not_overlap_and_are_counted(oracle_rows: list[Row]) -> None:
    for seconds, expected in ((4.2, 5), (5.0, 4), (10.0, 2), (20.0, 1)):
        starts = [row["start_s"] for row in of(oracle_rows, "offset", clip="one", seconds=seconds)]
        assert len(starts) == expected
        assert all(b - a == pytest.approx(seconds) for a, b in pairwise(starts))
        assert starts[0] == pytest.approx((21.0 - expected * seconds) / 2, abs=0.04)
    assert all(abs(row["late_frames"]) <= 25 for row in of(oracle_rows, "offset"))


def test_verdicts_of_a_network_that_knows(oracle_rows: list[Row]) -> None:
    corrected = of(oracle_rows, "verdict", case="corrected")
    assert {row["clip"] for row in corrected} == {"one", "two"}
    assert all(row["verdict"] == "in_sync" for row in corrected)
    recorded = {row["clip"]: row for row in of(oracle_rows, "verdict", case="as recorded")}
    assert len(recorded) == 5
    assert recorded["one"]["offset_ms"] == pytest.approx(-80, abs=8)
    assert recorded["one"]["verdict"] == "out_of_sync"  # late by 80 ms, 60 are allowed
    # Early by 40 ms, 40 are allowed, 10 the measuring error
    assert recorded["two"]["verdict"] == "in_sync"
    assert recorded["three"]["verdict"] == "out_of_sync"
    shifted = of(oracle_rows, "verdict", case="shifted")
    assert len(shifted) == 3 * 8
    for row in shifted:
        if row["trusted"]:
            assert row["verdict"] == "out_of_sync"
            assert row["offset_ms"] == pytest.approx(-row["late_ms"], abs=25)  # late is negative
    controls = of(oracle_rows, "control")
    assert len(controls) == 3 * 6
    assert not [row for row in controls if row["verdict"] == "in_sync"]
    assert all(
        row["verdict"] == "undecidable"
        for row in controls
        if row["case"] in ("black picture", "mute", "frozen picture")
    )


def test_a_constant_network_is_at_chance(constant_rows: list[Row]) -> None:
    paper = of(constant_rows, "paper")
    assert {row["attention"] for row in paper} == {*ATTENTION_KINDS, protocol.AS_A_CHECK}
    assert np.mean([(row["logit"] > 0) == row["in_sync"] for row in paper]) == 0.5
    assert all(row["logit_true"] == row["logit"] for row in of(constant_rows, "pairwise"))
    text = tables.pairwise_table(of(constant_rows, "pairwise"))
    assert "0.50 [0.50, 0.50]" in text
    assert all(row["verdict"] == "undecidable" for row in of(constant_rows, "verdict"))
    errors = np.abs(errors_frames(of(constant_rows, "offset"), corrected=False))
    assert np.mean(errors <= 1) < 0.25
    agreement = tables.agreement_table(of(constant_rows, "offset"))
    assert "1.00 [" not in agreement


def test_every_table_says_what_the_rows_say(oracle_rows: list[Row]) -> None:
    text = "\n".join(tables.tables(oracle_rows))
    for title in (
        "Paper protocol",
        "Pairwise",
        "Offset",
        "Offset, within a film",
        "Agreement",
        "Verdict on untouched",
        "Verdict on shifted",
        "Controls",
    ):
        assert f"### {title}" in text
    assert "Reliability of the confidence: speech (trusted, corrected)" in text
    paper = cells(tables.paper_table(of(oracle_rows, "paper"), 1))
    assert [row[:6] for row in paper[:3]] == [
        ["speech", "trusted", kind, "7", "2", "2"] for kind in ATTENTION_KINDS
    ]
    assert paper[3][:6] == ["speech", "trusted", protocol.AS_A_CHECK, "7", "2", "2"]
    assert all(row[6:] == ["1.00 [1.00, 1.00]"] * 2 for row in paper[:4])
    assert paper[4][:6] == ["speech", "all", "uniform", "9", "3", "3"]
    # Two windows of 18 decisions are of the clip that is not corrected
    assert paper[4][6].startswith("0.89 ")
    pairs = {
        (row[0], row[1], row[2]): row
        for row in cells(tables.pairwise_table(of(oracle_rows, "pairwise")))
    }
    assert pairs["speech", "trusted", "40 ms"][4:] == ["2", "2", "1.00 [1.00, 1.00]"]
    near = [row for row in of(oracle_rows, "pairwise", trusted=True) if abs(row["late_ms"]) == 40]
    assert pairs["speech", "trusted", "40 ms"][3] == str(len(near))
    offsets = {
        (row[0], row[1], row[2]): row
        for row in cells(tables.offset_table(of(oracle_rows, "offset")))
    }
    assert offsets["speech", "trusted, corrected", "10 s"][3:8] == [
        "3",
        "2",
        "2",
        "1.00 [1.00, 1.00]",
        "1.00 [1.00, 1.00]",
    ]
    assert offsets["speech", "any estimate, corrected", "10 s"][3:7] == [
        "4",
        "3",
        "3",
        "1.00 [1.00, 1.00]",
    ]
    assert offsets["speech", "all, own offset taken as 0", "10 s"][7].startswith("0.75 ")
    assert offsets["generic", "all, own offset taken as 0", "10 s"][6] == "1.00 [one group]"
    untouched = {
        (row[0], row[1]): row for row in cells(tables.untouched_table(of(oracle_rows, "verdict")))
    }
    assert untouched["speech", "as recorded, own offset trusted and inside the tolerance"][2:5] == [
        "1",
        "1",
        "0.00 [one group]",
    ]
    assert (
        untouched["speech", "as recorded, own offset trusted and outside"][4] == "1.00 [one group]"
    )
    assert untouched["speech", "as recorded, all"][4].startswith("0.67 ")
    assert untouched["both", "as recorded, all"][4].startswith("0.40 ")
    unknown = untouched["both", "as recorded, all but those known to be outside"]
    assert unknown[2] == "4"
    assert unknown[4].startswith("0.25 ")  # the clip whose own offset is large but not trusted
    shifted = {
        (row[1], row[2]): row for row in cells(tables.shifted_table(of(oracle_rows, "verdict")))
    }
    assert shifted["trusted", "200 ms both"][3:7] == ["4", "2", "2", "1.00 [1.00, 1.00]"]
    assert shifted["trusted", "200 ms early"][9] == "1.00 [1.00, 1.00]"


def test_a_stranger_s_sound_is_less_sure_than_a_window_s_own(oracle_rows: list[Row]) -> None:
    foreign = of(oracle_rows, "foreign")
    assert {row["kind"] for row in foreign} == {"speech"}
    for seconds in RISK_S:
        own = [
            row["confidence"] for row in of(oracle_rows, "offset", kind="speech", seconds=seconds)
        ]
        strangers = [row["confidence"] for row in foreign if row["seconds"] == seconds]
        assert len(strangers) == len(own)
        assert max(strangers) < min(own)


def test_the_risk_table_counts_what_is_kept(oracle_rows: list[Row]) -> None:
    rows = [dict(row) for row in of(oracle_rows, "offset", clip="one", seconds=4.2)] * 2
    rows = [
        {**row, "confidence": sure}
        for row, sure in zip(rows, np.linspace(0.1, 1.0, 10), strict=True)
    ]
    rows[0]["estimate_frames"] += 2.5  # the least sure one is wrong, and a sure one
    rows[8]["estimate_frames"] -= 9.0
    foreign = [
        {**row, "confidence": sure}
        for row, sure in zip(rows[:4], (0.1, 0.2, 0.6, 0.97), strict=True)
    ]
    trusted, known = confidence_tables.risk_tables(rows, foreign)
    assert "speech (trusted, corrected)" in trusted
    assert "speech (any estimate, corrected)" in known
    found = {row[1]: row for row in cells(trusted)}
    assert list(found) == [f"{least:g}" for least in RISK_FROM]
    assert found["0"][2:] == ["10", "1.00 [one group]", "0.20 [one group]", "1.00 [one group]"]
    assert found["0.5"][2:] == ["6", "0.60 [one group]", "0.17 [one group]", "0.50 [one group]"]
    assert found["0.95"][2:] == ["1", "0.10 [one group]", "0.00 [one group]", "0.25 [one group]"]
    assert "no order 0.200" in trusted
    without = cells(next(iter(confidence_tables.risk_tables(rows, []))))
    assert {row[5] for row in without} == {"-"}


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_agreement_takes_pairs_of_neighbours_and_undoes_each_move() -> None:
    def piece(name: str, start_s: float, late: float, found: float) -> Row:
        about = {"clip": name, "group": name, "kind": "speech", "seconds": 10.0, "start_s": start_s}
        return {"measure": "offset", **about, "late_frames": late, "estimate_frames": found}

    rows = [
        piece("a", 10, 5, 7.5),
        piece("a", 0, -20, -17),
        piece("a", 20, 0, 9),
        piece("b", 0, 3, 3),
        piece("b", 10, -3, 3),
    ]
    assert cells(tables.agreement_table(rows)) == [
        ["speech", "10 s", "2", "2", "2", "0.50 [0.00, 1.00]"]
    ]


# --------------------------------------------------------------------------------------- arithmetic


def test_share_is_the_mean_and_its_interval_comes_from_groups() -> None:
    rng = np.random.default_rng(1)
    hits = [1.0] * 30 + [0.0] * 10
    apart = stats.share(hits, [str(k) for k in range(40)])
    assert apart.value == 0.75
    assert apart.count == 40
    # Forty independent draws at 0.75: the interval of a binomial.
    assert apart.low == pytest.approx(0.61, abs=0.04)
    assert apart.high == pytest.approx(0.88, abs=0.04)
    # The same figures from four groups that agree within themselves say far less.
    together = stats.share(hits, [str(k // 10) for k in range(40)])
    assert together.value == 0.75
    assert together.high - together.low > 1.5 * (apart.high - apart.low)
    assert str(stats.share([1.0, 0.0], ["a", "a"])) == "0.50 [one group]"
    assert str(stats.share([], [])) == "-"
    # A group weighs by its size.
    assert stats.share([1.0, 0.0, 0.0, 0.0], ["a", "b", "b", "b"]).value == 0.25
    values = rng.normal(size=40)
    middle = stats.bootstrap(
        lambda chosen: float(np.median(values[chosen])), [str(k // 2) for k in range(40)]
    )
    assert middle.value == pytest.approx(np.median(values))
    assert middle.low < middle.value < middle.high


def test_thresholds() -> None:
    assert 1.0 < stats.best_threshold([0.0, 1.0, 2.0, 3.0], [False, False, True, True]) < 2.0
    assert stats.best_threshold([1.0, 1.0, 1.0], [True, True, False]) < 1.0
    # The threshold of the other group is applied: perfect within each group, wrong across them.
    scores = [0.0, 1.0, 10.0, 11.0]
    truth = [False, True, False, True]
    assert stats.leave_one_group_out(scores, truth, ["a", "a", "b", "b"]) == [1.0, 0.0, 0.0, 1.0]
    assert stats.leave_one_group_out(scores, truth, ["a"] * 4) == []
    shifted = [5.0, 6.0, 5.1, 6.1]
    assert stats.leave_one_group_out(shifted, truth, ["a", "a", "b", "b"]) == [1.0] * 4


def test_calibration_error() -> None:
    confidence = np.array([0.95] * 20 + [0.5] * 10)
    right = np.array([1.0] * 19 + [0.0] + [1.0] * 5 + [0.0] * 5)
    assert stats.calibration_error(confidence, right) == pytest.approx(0.0, abs=1e-9)
    assert stats.calibration_error(confidence, np.zeros(30)) == pytest.approx(
        (20 * 0.95 + 10 * 0.5) / 30
    )
    assert stats.confidence_bin(np.array([0.0, 0.19, 0.2, 0.95, 1.0])).tolist() == [0, 0, 1, 6, 6]


def test_risk_against_coverage() -> None:
    confidence = np.array([0.2, 0.9, 0.9, 0.5])
    wrong = np.array([1.0, 0.0, 1.0, 0.0])
    coverage, risk = stats.risk_curve(confidence, wrong)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    # The two surest come in no order, so the first of them counts as half wrong.
    assert risk.tolist() == pytest.approx([0.5, 0.5, 1 / 3, 0.5])
    assert stats.area_under_risk(confidence, wrong) == pytest.approx(
        np.mean([0.5, 0.5, 1 / 3, 0.5])
    )
    assert stats.area_under_risk(np.full(4, 0.7), wrong) == pytest.approx(0.5)
    assert stats.area_under_risk(-wrong, wrong) == pytest.approx(np.mean([0, 0, 1 / 3, 0.5]))


def test_a_table_is_aligned_markdown() -> None:
    text = stats.table("T", ("a", "long"), [(1, "x"), ("yy", 2)], "note")
    assert text == "### T\n\nnote\n\n| a  | long |\n|----|------|\n| 1  | x    |\n| yy | 2    |\n"
    assert "(nothing to measure)" in stats.table("T", ("a",), [])


# ----------------------------------------------------------------------------------------- pictures


def test_pictures_show_the_figures_of_the_tables(oracle_rows: list[Row]) -> None:
    offsets, foreign = of(oracle_rows, "offset"), of(oracle_rows, "foreign")
    figure = plots.risk_coverage(offsets, foreign)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == [
        "speech, trusted, corrected",
        "speech, any estimate, corrected",
    ]
    lines = {str(line.get_label()): line.get_xydata() for line in figure.axes[1].lines}
    drawn = next(data for name, data in lines.items() if name.startswith("10 s, wrong"))
    mine = of(offsets, "offset", kind="speech", seconds=10.0)
    wrong = (np.abs(errors_frames(mine, corrected=True)) > 2).astype(float)
    expected = stats.risk_curve(np.array([row["confidence"] for row in mine]), wrong)
    assert np.array_equal(np.asarray(drawn), np.column_stack(expected))
    figure = plots.detection(of(oracle_rows, "verdict"))
    assert figure is not None
    at = figure.axes[0]
    names = [text.get_text() for text in at.get_xticklabels()]
    assert names == ["-500", "-200", "-120", "-80", "0", "+80", "+120", "+200", "+500"]
    heights = dict(
        zip(
            plots._SHADES,
            ([bar.get_height() for bar in bars] for bars in at.containers),
            strict=True,
        )
    )
    assert heights["in_sync"] == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert heights["out_of_sync"] == [1, 1, 1, 1, 0, 1, 1, 1, 1]


def test_pictures_are_written_where_there_is_something_to_draw(
    oracle_rows: list[Row], tmp_path: Path
) -> None:
    written = plots.draw(oracle_rows, tmp_path / "new" / "folder")
    assert [path.stem for path in written] == [
        "reliability",
        "risk-coverage",
        "offset-error",
        "detection",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    generic = [row for row in oracle_rows if row["kind"] == "generic"]
    assert plots.draw(generic, tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write pictures there"):
        plots.draw(oracle_rows, tmp_path / "file")


def test_without_matplotlib_pictures_are_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots.importlib.util, "find_spec", lambda name: None)
    for texts in (
        run.evaluate(tmp_path / "gone", model=None, device="cpu", plots=tmp_path),
        run.from_rows([], plots=tmp_path),
    ):
        with pytest.raises(
            UsageError, match=r"pictures need matplotlib; install it with: pip install matplotlib"
        ):
            next(texts)


def test_a_file_of_something_else_is_no_file_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    wrong = '{"measure": "paper"}\n{"a": 1}\n'
    for text, why in (
        (wrong, "line 2 is no figure"),
        ("[1]\n", "line 1"),
        ("{", "no rows of"),
        ("", "is empty"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=why):
            read_rows(path)
    with pytest.raises(UsageError, match="no rows of"):
        read_rows(tmp_path / "gone")
    path.write_text('{"measure": "control", "case": "mute"}\n')
    with pytest.raises(
        UsageError,
        match=r"rows\.jsonl: not all figures of `avcheck eval --rows` are there \(KeyError",
    ):
        list(run.from_rows(read_rows(path), source=path))


@pytest.mark.parametrize(
    ("heading", "expected"), [({"decide": 0.5}, 0.5), ({}, Calibration.decide)]
)
def test_rows_are_told_by_the_confidence_that_the_run_asked_for(
    monkeypatch: pytest.MonkeyPatch, heading: dict[str, float], expected: float
) -> None:
    monkeypatch.setattr(
        tables, "small_table", lambda rows, foreign, decide: f"small faces, from {decide}"
    )
    rows = [
        {"measure": "heading", "text": "Weights", **heading},
        {"measure": "heading", "text": "Left out"},
    ]
    assert f"small faces, from {expected}" in list(run.from_rows([*rows, {"measure": "small"}]))


# --------------------------------------------------------------------------------------- end to end


def mini_corpus(folder: Path) -> Path:
    lines = []
    plan = (
        ("s1", "speech", "g1", 11.0),
        ("s2", "speech", "g2", 6.5),
        ("o1", "generic", "g3", 4.5),
        ("bad", "generic", "g4", 0.0),
    )
    for name, kind, group, seconds in plan:
        path = folder / "val" / kind / f"{name}.mkv"
        path.parent.mkdir(parents=True, exist_ok=True)
        if seconds:
            make_clip(
                path, seconds=seconds, size=(64, 48), acodec="libopus", events_s=(1.0, 2.2, 3.1)
            )
        else:
            path.write_text("not a film")
        line = {
            "id": name,
            "split": "val",
            "kind": kind,
            "group": group,
            "file": str(path.relative_to(folder)),
        }
        lines.append(
            line | ({"true_offset": {"frames": 0.5, "trusted": True}} if name == "s1" else {})
        )
    # of no use here
    lines.append(
        {"id": "w", "split": "val", "kind": "words", "group": "g8", "file": "val/speech/s1.mkv"}
    )
    lines.append(
        {"id": "t", "split": "train", "kind": "speech", "group": "g9", "file": "train/speech/t.mkv"}
    )
    (folder / "index.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.mark.slow
def test_evaluate_a_corpus_with_weights_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    weights = tmp_path / "w.safetensors"
    heads = {kind: JointHead(replace(SMALL, attention=kind)) for kind in ATTENTION_KINDS}
    digest = save(weights, SyncNet(SMALL), heads, calibration={"decide": 0.5}, training={})
    out = tmp_path / "raw.jsonl"
    seen: list[tuple[int, int]] = []
    texts = list(
        run.evaluate(
            mini_corpus(tmp_path / "corpus"),
            model=weights,
            device="cpu",
            out=out,
            plots=tmp_path / "plots",
            speed=False,
            on_clip=lambda done, total: seen.append((done, total)),
        )
    )
    assert digest[:16] in texts[0]
    assert "speech: 2 clips of 2 groups, 1 with a trusted offset; generic: 2 clips" in texts[0]
    assert "bad" in texts[1]
    assert seen == [(k, 4) for k in range(1, 5)]
    assert list(run.from_rows(read_rows(out), plots=tmp_path / "plots")) == texts
    assert {path.name for path in (tmp_path / "plots").iterdir()} >= {
        "reliability.png",
        "risk-coverage.png",
    }
    assert read_rows(out)[0]["decide"] == 0.5
    rows = [row for row in read_rows(out) if row["measure"] != "heading"]
    assert {row["clip"] for row in rows} == {"s1", "s2", "o1"}
    assert {row["measure"] for row in rows} == {
        "foreign",
        "paper",
        "paper_left_out",
        "pairwise",
        "offset",
        "offset_in_film",
        "verdict",
        "control",
    }
    assert all(math.isfinite(row["logit"]) for row in rows if "logit" in row)
    assert {row["case"] for row in rows if row["measure"] == "control"} > {
        "black picture",
        "mute",
        "sound of another clip",
    }
    text = "\n".join(texts)
    assert {tuple(row[:3]) for row in cells(texts[2])} == {
        ("speech", population, kind)
        for population in ("trusted", "all")
        for kind in (*ATTENTION_KINDS, protocol.AS_A_CHECK)
    }
    assert "nan" not in text


def test_coverage_alone_is_measured_of_whole_speech_clips(tmp_path: Path) -> None:
    torch.manual_seed(1)
    weights, out, faces = (
        tmp_path / "w.safetensors",
        tmp_path / "raw.jsonl",
        tmp_path / "faces.json",
    )
    save(
        weights, SyncNet(SMALL), {"spatio-temporal": JointHead(SMALL)}, calibration={}, training={}
    )
    faces.write_text('{"s1": {"looks": 2, "rows": [[0, 0.5, 0.5, 0.2]]}}')
    corpus = mini_corpus(tmp_path / "corpus")
    texts = list(
        run.evaluate(
            corpus, model=weights, device="cpu", out=out, faces=faces, coverage=True, speed=False
        )
    )
    rows = [row for row in read_rows(out) if row["measure"] != "heading"]
    assert {row["measure"] for row in rows} == {"coverage"}
    assert [(row["clip"], row["case"], row["face_share"]) for row in rows] == [
        ("s1", "as recorded", 0.5),  # of another group there is not as much sound as it is long
        ("s2", "as recorded", None),
        ("s2", protocol.STRANGER, None),
    ]
    assert len(texts) == 2  # the heading and one table
    assert [row[:4] for row in cells(texts[1])][:2] == [
        ["first", "all", "2", "2"],
        ["first", "speaker seen", "1", "1"],
    ]
    assert list(run.from_rows(read_rows(out))) == texts


def aside_corpus(folder: Path) -> tuple[Path, str, str]:
    """Two later clips beside the first ones: of a group that is set aside, and of one that is
    not.
    """
    corpus = mini_corpus(folder)
    shown, hidden = (
        next(
            name
            for name in map(str, range(99))
            if set_aside(replace(clip("x", group=name), added=2)) is wanted
        )
        for wanted in (False, True)
    )
    later = [
        {
            "id": f"later-{group}",
            "split": "val",
            "kind": "speech",
            "group": group,
            "added": 2,
            "file": "val/speech/s2.mkv",
        }
        for group in (shown, hidden)
    ]
    with (corpus / "index.jsonl").open("a") as index:
        index.writelines("\n" + json.dumps(line) for line in later)
    return corpus, f"later-{shown}", f"later-{hidden}"


def test_what_is_set_aside_is_measured_for_the_last_table_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    weights, out = tmp_path / "w.safetensors", tmp_path / "raw.jsonl"
    save(
        weights, SyncNet(SMALL), {"spatio-temporal": JointHead(SMALL)}, calibration={}, training={}
    )
    corpus, shown, hidden = aside_corpus(tmp_path / "corpus")
    partial_rows: list[int] = []

    def measured(**choice: Any) -> set[str]:
        def on_clip(*_: int) -> None:
            # They are in the file as soon as they are there
            partial_rows.append(len(read_rows(out)))

        list(
            run.evaluate(
                corpus,
                model=weights,
                device="cpu",
                out=out,
                coverage=True,
                on_clip=on_clip,
                **choice,
            )
        )
        return {row["clip"] for row in read_rows(out) if row["measure"] != "heading"}

    assert measured() == {"s1", "s2", shown}
    assert measured(last=True) == {hidden}
    assert measured(added=[1]) == {"s1", "s2"}
    assert measured(added=[2, 3]) == {shown}
    assert partial_rows[0] > 1
    with pytest.raises(UsageError, match="none of its validation clips"):
        measured(added=[1], last=True)
    assert hidden not in {item.id for item in find_clips(corpus)}
    assert [item.id for item in find_clips(corpus, last=True)] == [hidden]


def test_coverage_counts_every_clip_and_judges_those_whose_offset_is_known() -> None:
    def row(name: str, told_ms: float | None, verdict: str, **more: Any) -> Row:
        about = {
            "clip": name,
            "group": name,
            "added": 1,
            "own_frames": 2.0,
            "trusted": True,
            "clip_s": 8.0,
            "face_share": 1.0,
        }
        return {**about, "case": "as recorded", "offset_ms": told_ms, "verdict": verdict, **more}

    rows = [
        row("right", -80.0, "out_of_sync"),
        row("near a limit", -70.0, "undecidable"),
        row("wrong", 90.0, "out_of_sync"),
        row("nothing", None, "undecidable"),
        row("not known", 500.0, "out_of_sync", trusted=False, own_frames=None, face_share=0.49),
        row("short", -80.0, "out_of_sync", clip_s=5.9),
        row("short", 120.0, "out_of_sync", clip_s=5.9, case=protocol.STRANGER),
        row("new", -80.0, "out_of_sync", added=3),
    ]
    found = {(line[0], line[1]): line[2:] for line in cells(tables.coverage_table(rows))}
    assert [line[:2] for line in found.values()] == [
        ["6", "6"],
        ["5", "5"],
        ["4", "4"],
        ["5", "5"],
    ] + [["1", "1"]] * 4
    figures = {key: [cell.split()[0] for cell in line[2:]] for key, line in found.items()}
    assert figures["first", "all"] == ["0.83", "0.67", "0.25", "1.00"]
    assert figures["first", "speaker seen"] == ["0.80", "0.60", "0.25", "1.00"]
    assert figures["first", "speaker seen, 6 s or longer"] == ["0.75", "0.50", "0.33", "-"]
    assert figures["first", "trusted"] == figures["first", "speaker seen"]
    assert figures["later", "all"] == ["1.00", "1.00", "0.00", "-"]
    without = tables.coverage_table([{**item, "face_share": None} for item in rows])
    assert "speaker seen, 6" not in without.replace("Speaker", "")
    assert [line[1] for line in cells(without)] == ["all", "trusted"] * 2


def test_weights_with_one_head_are_measured_with_that(tmp_path: Path) -> None:
    config = replace(SMALL, attention="temporal")
    weights = tmp_path / "w.safetensors"
    save(weights, SyncNet(config), {"temporal": JointHead(config)}, calibration={}, training={})
    under = run._bench(weights, "cpu")
    assert list(under.heads) == ["temporal"]
    assert under.heads["temporal"] is under.model


def test_foreign_sound_is_of_other_groups_and_long_enough(tmp_path: Path) -> None:
    corpus = mini_corpus(tmp_path)
    clips = [
        replace(clip(name, group=group), path=corpus / "val" / "speech" / f"{name}.mkv")
        for name, group in (("s1", "g1"), ("s2", "g2"))
    ]
    foreign = protocol.Foreign(clips)
    sound = foreign.sound(clips[0], 4 * SAMPLE_RATE)
    assert sound is not None
    assert len(sound) == 4 * SAMPLE_RATE
    assert set(foreign._samples) == {"s2"}
    assert foreign.sound(clips[0], 60 * SAMPLE_RATE) is None


def test_speed_is_measured_stage_by_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "w.safetensors"
    save(
        weights, SyncNet(SMALL), {"spatio-temporal": JointHead(SMALL)}, calibration={}, training={}
    )
    film = tmp_path / "film.mp4"
    speed.make_film(film, 3, size=(96, 160))
    found = speed._time_stages(film, weights, "cpu")
    assert list(found["cpu_s"]) == ["whole check", "decode", "trunk", "scan"]
    assert found["film_s"] == 3
    assert 50 < found["peak_mb"] < 20_000
    assert found["closer_mb"] is None or found["closer_mb"] >= found["peak_mb"]
    stages = {"whole check": 6.0, "decode": 1.0, "trunk": 2.0, "scan": 3.0}
    text = speed.speed_table(
        {**found, "wall_s": stages, "peak_mb": 500.0, "closer_mb": 800.0, "kept_mb_per_min": 1.0}
    )
    assert "10.0 times as fast as it plays" in text
    assert "about 620 MB" in text
    assert "looked at closer: 800 MB, of two hours about 920 MB" in text
    earlier = {**found, "wall_s": stages}
    del earlier["closer_mb"]
    assert "closer" not in speed.speed_table(earlier)
    assert "trunk alone" in text


@pytest.mark.slow
def test_the_first_clip_of_the_real_corpus_is_measured(tmp_path: Path) -> None:
    from avcheck.train.corpus import decode, find_clips

    if not (CORPUS / "index.jsonl").is_file():
        pytest.skip(ABSENT)
    item = min(find_clips(CORPUS, split="val"), key=lambda each: each.path.stat().st_size)
    torch.manual_seed(1)
    model = Loaded(
        SyncNet(SMALL).eval().requires_grad_(False), "", torch.device("cpu"), False, {}, {}
    )
    frames, samples = decode(item.path, max(LEVELS))
    assert isinstance(observe(item, frames, samples, model), Footage)
    rows = list(
        measure_eval.measure(
            observe(item, frames, samples, model),
            protocol.Bench(model, {}, Calibration()),
            protocol.Foreign([]),
        )
    )
    assert of(rows, "verdict", case="as recorded")


# -------------------------------------------------------------------------------------- small faces


class Wall:
    def pictures(self, _: Clip, kind: str, count: int, short_side: int) -> Array:
        rng = np.random.default_rng(len(kind))
        return np.broadcast_to(
            rng.integers(60, 160, (1, short_side, short_side), np.uint8),
            (count, short_side, short_side),
        )


def test_small_faces_are_measured_as_a_check_looks_at_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of one place for the whole picture: what it is not sure of is looked at closer."""
    monkeypatch.setattr(small, "CLOSER_SIDE", 64)
    # One place costs so little at first that it pays for no closer look.
    monkeypatch.setattr(small, "zoom", functools.partial(small.zoom, thorough=True))
    under = bench()
    frames, samples = material(11.0, own_frames=2)
    footage = observe(
        clip("one", own=2.0, trusted=True), frames, samples, under.model, under.levels
    )
    rows = list(measure_eval.measure(footage, under, OtherSound(), Wall()))  # type: ignore[arg-type]
    mine = {row["case"]: row for row in of(rows, "small")}
    assert list(mine) == ["alone", "1/2", "1/4", "1/8", "side by side"]
    alone = mine["alone"]
    assert alone["estimate_frames"] == pytest.approx(alone["late_frames"] + 2, abs=1.0)
    assert abs(alone["late_frames"]) <= 25
    assert len({row["late_frames"] for row in mine.values()}) == 1
    for case in ("1/2", "1/4", "1/8", "side by side"):
        assert mine[case]["closer"] == (mine[case]["first_confidence"] < under.calibration.decide)
    assert any(row["closer"] for row in mine.values() if row["case"] != "alone")
    assert 0 <= mine["side by side"]["attention"] <= 1
    assert [row["case"] for row in of(rows, "small_foreign")] == ["1/4"]
    assert "Small faces" in "".join(tables.tables(rows))
    untrusted = observe(clip("two"), frames, samples, under.model, under.levels)
    assert not of(list(measure_eval.measure(untrusted, under, OtherSound(), Wall())), "small")  # type: ignore[arg-type]
    assert not of(list(measure_eval.measure(footage, under, OtherSound())), "small")  # type: ignore[arg-type]


def test_the_table_of_small_faces_counts_what_is_near_sure_and_wrong() -> None:
    def row(case: str, error: float, confidence: float, **more: object) -> Row:
        told = {
            "late_frames": 5.0,
            "estimate_frames": 5.0 + error,
            "first_frames": 30.0,
            "confidence": confidence,
        }
        about = {
            "clip": f"{case} {error}",
            "group": str(error),
            "own_frames": 0.0,
            "first_confidence": 0.1,
        }
        return {"measure": "small", "case": case, **about, **told, **more}

    rows = [
        row("1/4", 0.5, 0.95),
        row("1/4", 1.5, 0.8),
        row("1/4", 9.0, 0.97),
        row("1/4", 30.0, 0.1),
    ]
    rows += [row("side by side", 0.0, 0.99, attention=0.8)]
    text = tables.small_table(rows, [row("1/4", 0.0, 0.95), row("1/4", 1.0, 0.2)], decide=0.9)
    quarter, both = (
        [cell.strip().split(" ")[0] for cell in line.split("|")[1:-1]]
        for line in text.splitlines()[-2:]
    )
    assert quarter[:4] == ["1/4", "4", "4", "4"]
    assert quarter[4:] == ["0.00", "0.25", "0.00", "0.50", "0.25", "-", "0.50"]
    assert both[4:] == ["0.00", "1.00", "0.00", "1.00", "0.00", "1.00", "-"]
