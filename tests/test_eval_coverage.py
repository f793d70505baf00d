"""How much of a corpus is decided, and which of its clips are set aside for the last table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from avcheck.errors import UsageError
from avcheck.eval import protocol, run, tables
from avcheck.eval.rows import Row, read_rows
from avcheck.network.heads import JointHead
from avcheck.network.model import SyncNet
from avcheck.network.weights import save
from avcheck.train.corpus import find_clips, set_aside
from tests.support.matcher import cells, clip, mini_corpus
from tests.support.networks import SMALL


@pytest.mark.slow
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
            run.EvalSettings(
                corpus, model=weights, device="cpu", rows=out, faces=faces, coverage=True
            )
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


@pytest.mark.slow
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
                run.EvalSettings(
                    corpus, model=weights, device="cpu", rows=out, coverage=True, **choice
                ),
                on_clip=on_clip,
            )
        )
        return {row["clip"] for row in read_rows(out) if row["measure"] != "heading"}

    assert measured() == {"s1", "s2", shown}
    assert measured(last=True) == {hidden}
    assert measured(added=(1,)) == {"s1", "s2"}
    assert measured(added=(2, 3)) == {shown}
    assert partial_rows[0] > 1
    with pytest.raises(UsageError, match="none of its validation clips"):
        measured(added=[1], last=True)
    assert hidden not in {item.id for item in find_clips(corpus)}
    assert [item.id for item in find_clips(corpus, last=True)] == [hidden]


def test_coverage_counts_every_clip_and_judges_those_whose_offset_is_known() -> None:
    def row(name: str, offset_ms: float | None, verdict: str, **more: Any) -> Row:
        about = {
            "clip": name,
            "group": name,
            "added": 1,
            "own_frames": 2.0,
            "trusted": True,
            "clip_s": 8.0,
            "face_share": 1.0,
        }
        return {**about, "case": "as recorded", "offset_ms": offset_ms, "verdict": verdict, **more}

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
    table = {(line[0], line[1]): line[2:] for line in cells(tables.coverage_table(rows))}
    assert [line[:2] for line in table.values()] == [
        ["6", "6"],
        ["5", "5"],
        ["4", "4"],
        ["5", "5"],
    ] + [["1", "1"]] * 4
    figures = {key: [cell.split()[0] for cell in line[2:]] for key, line in table.items()}
    assert figures["first", "all"] == ["0.83", "0.67", "0.25", "1.00"]
    assert figures["first", "speaker seen"] == ["0.80", "0.60", "0.25", "1.00"]
    assert figures["first", "speaker seen, 6 s or longer"] == ["0.75", "0.50", "0.33", "-"]
    assert figures["first", "trusted"] == figures["first", "speaker seen"]
    assert figures["later", "all"] == ["1.00", "1.00", "0.00", "-"]
    without = tables.coverage_table([{**item, "face_share": None} for item in rows])
    assert "speaker seen, 6" not in without.replace("Speaker", "")
    assert [line[1] for line in cells(without)] == ["all", "trusted"] * 2
