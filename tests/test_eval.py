"""`avcheck eval` end to end: a corpus with weights from a file, rows read again, speed."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avcheck.errors import UsageError
from avcheck.eval import measure as measure_eval
from avcheck.eval import protocol, run, speed, tables
from avcheck.eval.rows import Row, read_rows
from avcheck.eval.windows import Footage, observe
from avcheck.network.heads import JointHead
from avcheck.network.model import SyncNet
from avcheck.network.model_config import ATTENTION_KINDS
from avcheck.network.weights import Loaded, save
from avcheck.rates import SAMPLE_RATE
from avcheck.scan.looking import LEVELS
from avcheck.verdict.posterior import Calibration
from tests.support.matcher import cells, clip, mini_corpus, of
from tests.support.networks import SMALL
from tests.support.real import ABSENT, CORPUS


def test_without_matplotlib_pictures_are_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for texts in (
        run.evaluate(run.EvalSettings(tmp_path / "gone", device="cpu", plots=tmp_path)),
        run.from_rows([], plots=tmp_path),
    ):
        with pytest.raises(
            UsageError, match=r"plots need matplotlib; install it with: pip install matplotlib"
        ):
            next(texts)


def test_figures_that_cannot_be_written_are_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_clips", lambda _: [])
    monkeypatch.setattr(run, "require_matplotlib", lambda: None)
    (tmp_path / "file").touch()
    for options, words in (
        ({"rows": tmp_path / "gone" / "rows.jsonl"}, "rows: there is no directory"),
        ({"rows": tmp_path}, "rows: .* is a directory"),
        ({"plots": tmp_path / "file" / "plots"}, "plots: cannot make"),
    ):
        with pytest.raises(UsageError, match=words):
            next(run.evaluate(run.EvalSettings(tmp_path, device="cpu", **options)))  # type: ignore[arg-type]


def test_a_file_of_something_else_is_no_file_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    wrong = '{"measure": "paper"}\n{"a": 1}\n'
    for text, why in (
        (wrong, "line 2 was not written by"),
        ("[1]\n", "line 1"),
        ("{", "not written by"),
        ("", "is empty"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=why):
            read_rows(path)
    with pytest.raises(UsageError, match="not written by"):
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
def test_rows_are_judged_by_the_confidence_that_the_run_asked_for(
    monkeypatch: pytest.MonkeyPatch, heading: dict[str, float], expected: float
) -> None:
    monkeypatch.setattr(
        tables, "small_table", lambda rows, foreign, decide: f"small faces, from {decide}"
    )
    rows: list[Row] = [
        {"measure": "heading", "text": "Weights", **heading},
        {"measure": "heading", "text": "Left out"},
    ]
    assert f"small faces, from {expected}" in list(run.from_rows([*rows, {"measure": "small"}]))


@pytest.mark.slow
def test_evaluate_a_corpus_with_weights_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    weights = tmp_path / "w.safetensors"
    heads = {kind: JointHead(replace(SMALL, attention=kind)) for kind in ATTENTION_KINDS}
    digest = save(weights, SyncNet(SMALL), heads, calibration={"decide": 0.5}, training={})
    out = tmp_path / "raw.jsonl"
    steps: list[tuple[int, int]] = []
    texts = list(
        run.evaluate(
            run.EvalSettings(
                mini_corpus(tmp_path / "corpus"),
                model=weights,
                device="cpu",
                rows=out,
                plots=tmp_path / "plots",
                speed=False,
            ),
            on_clip=lambda done, total: steps.append((done, total)),
        )
    )
    assert digest[:16] in texts[0]
    assert "speech: 2 clips of 2 groups, 1 with a trusted offset; generic: 2 clips" in texts[0]
    assert "bad" in texts[1]
    assert steps == [(k, 4) for k in range(1, 5)]
    assert list(run.from_rows(read_rows(out), plots=tmp_path / "plots")) == texts
    assert {path.name for path in (tmp_path / "plots").iterdir()} >= {
        "reliability.png",
        "risk-coverage.png",
    }
    assert read_rows(out)[0]["decide"] == 0.75  # half the chance of error of a segment
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


@pytest.mark.slow
def test_speed_is_measured_stage_by_stage(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    save(
        weights, SyncNet(SMALL), {"spatio-temporal": JointHead(SMALL)}, calibration={}, training={}
    )
    film = tmp_path / "film.mp4"
    speed.make_film(film, 3, size=(96, 160))
    figures = speed._time_stages(film, weights, "cpu")
    assert list(figures["cpu_s"]) == ["whole check", "decode", "trunk", "scan"]
    assert figures["film_s"] == 3
    assert 50 < figures["peak_mb"] < 20_000
    assert figures["closer_mb"] is None or figures["closer_mb"] >= figures["peak_mb"]
    stages = {"whole check": 6.0, "decode": 1.0, "trunk": 2.0, "scan": 3.0}
    text = speed.speed_table(
        {**figures, "wall_s": stages, "peak_mb": 500.0, "closer_mb": 800.0, "kept_mb_per_min": 1.0}
    )
    assert "10.0 times as fast as it plays" in text
    assert "about 620 MB" in text
    assert "looked at closer: 800 MB, of two hours about 920 MB" in text
    earlier = {**figures, "wall_s": stages}
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
