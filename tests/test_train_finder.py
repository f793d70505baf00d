"""Training of the face finder: its boxes with a stand-in for MediaPipe, its collages and their
targets, and that it learns.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avcheck.errors import UsageError
from avcheck.scan.faces import FACE_SIDE, FaceFinder
from avcheck.train import face_boxes, finder
from avcheck.train.corpus import Clip
from avcheck.train.face_boxes import Box, boxes_in, read_boxes, write_boxes
from avcheck.train.finder import (
    COLLAGE,
    LabelledPicture,
    LabelledPictures,
    collage,
    learn,
    measured,
    targets,
)
from tests.support.clips import make_clip

torch.set_num_threads(1)

Array = np.ndarray[Any, Any]


def test_a_face_seen_by_two_detectors_counts_once_and_is_placed_by_its_middle() -> None:
    def detector(picture: Array) -> list[Box]:
        assert picture.shape == (100, 200, 3)
        return [
            (0.6, 0.11, 0.2, 0.1, 0.2),
            (0.9, 0.1, 0.2, 0.1, 0.2),
            (0.7, 0.8, 0.5, 0.05, 0.1),
        ]

    (item,) = boxes_in(np.zeros((1, 100, 200), np.uint8), [25], detector)
    assert item.picture == 25
    # In units of the short side, 100 px
    assert item.faces == pytest.approx(np.array([[0.3, 0.3, 0.2], [1.65, 0.55, 0.1]]))


def test_boxes_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    boxes = boxes_in(np.zeros((2, 64, 64), np.uint8), [3, 78], lambda _: [(1, 0.5, 0.5, 0.1, 0.1)])
    write_boxes(path, {"one": boxes})
    (back,) = read_boxes(path).values()
    assert [item.picture for item in back] == [3, 78]
    assert back[1].faces == pytest.approx(boxes[1].faces, abs=1e-3)
    path.write_text("[1]")
    with pytest.raises(UsageError, match="not a file of boxes"):
        read_boxes(path)


def test_a_corpus_is_looked_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "clips"
    corpus.mkdir()
    make_clip(corpus / "a.mp4", seconds=3.0, size=(64, 64))
    looks: list[int] = []

    def new_detector() -> face_boxes.Detector:
        def detect(picture: Array) -> list[Box]:
            looks.append(len(picture))
            return []

        return detect

    path = tmp_path / "boxes.json"
    arguments = [str(corpus), str(path)]
    assert face_boxes.main(arguments, new_detector) == 0
    assert face_boxes.main(arguments, new_detector) == 0
    assert len(looks) == 1
    assert [len(items) for items in read_boxes(path).values()] == [1]
    assert face_boxes.main([], new_detector) == 2
    assert "usage" in capsys.readouterr().err


def stills(count: int = 12) -> LabelledPictures:
    """White squares of 40 px before noise for faces, and noise alone."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        picture = rng.uniform(40, 120, (120, 160)).astype(np.float32)
        faces = np.zeros((0, 3))
        if number % 2:
            x, y = rng.uniform(30, 130), rng.uniform(30, 90)
            picture[int(y) - 20 : int(y) + 20, int(x) - 20 : int(x) + 20] = 250
            faces = np.array([[x, y, 40.0]])
        made.append(LabelledPicture(picture, faces, plain=not number % 2))
    return LabelledPictures.of(made)


def test_what_a_collage_says_of_its_faces_is_so() -> None:
    made, compared = stills(), 0
    for seed in range(40):
        picture, faces = collage(made, np.random.default_rng(seed))
        assert picture.shape == (COLLAGE, COLLAGE)
        for x, y, side in faces:
            assert 0 <= x < COLLAGE
            assert 0 <= y < COLLAGE
            if side >= 12 and 4 <= x < COLLAGE - 4 and 4 <= y < COLLAGE - 4:
                near = picture[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3]
                assert near.mean() > picture.mean()
                compared += 1
    assert compared > 20


def test_the_middle_of_a_face_is_the_target_and_what_is_around_it_does_not_count() -> None:
    centre, weight, size = targets(np.array([[80.0, 40.0, 20.0], [30.0, 120.0, 60.0]]))
    rows, columns = np.nonzero(centre)
    assert (rows * 4 + 1.5).mean() == pytest.approx(40, abs=2)
    assert (columns * 4 + 1.5).mean() == pytest.approx(80, abs=2)
    assert np.exp(size[rows, columns]) * FACE_SIDE == pytest.approx(20)
    assert (weight[rows, columns] == 1).all()
    assert weight[10 + 3, 20] == 0  # half a face below its middle
    assert weight[30, 7] == pytest.approx(0.3)  # within one that is for another scale
    assert weight[0, 0] == 1
    assert math.isclose(float(centre.sum()), len(rows))


@pytest.mark.slow
def test_it_learns_to_find(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(finder, "BATCH", 4)
    monkeypatch.setattr(finder, "_TRIALS", 60)
    made = stills()
    torch.manual_seed(1)  # now and then an untrained one finds more by chance
    before = measured(FaceFinder().eval(), made)
    net = learn(made, made, steps=120)
    after = measured(net, made)
    assert before["found"] < 0.2
    assert after["found"] > 0.6
    assert after["wrong_a_collage"] < before["wrong_a_collage"] / 2
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[-1]["step"] == 120
    assert rows[-1]["found"] == pytest.approx(after["found"], abs=1e-4)


def test_clips_of_both_splits_are_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(tmp_path / "a.mp4", seconds=3.0, size=(64, 64))
    clips = [
        Clip("one", path, "g", "speech", "train"),
        Clip("two", path, "h", "generic", "val"),
        Clip("three", path, "i", "generic", "train"),
    ]
    monkeypatch.setattr(finder, "all_clips", lambda _: clips)
    boxes = tmp_path / "boxes.json"
    own = boxes_in(np.zeros((1, 64, 64), np.uint8), [25], lambda _: [(1, 0.25, 0.25, 0.5, 0.5)])
    none = boxes_in(np.zeros((1, 64, 64), np.uint8), [37], lambda _: [])
    write_boxes(boxes, {"one": own, "two": none})
    learnt, trials = finder.read_stills(tmp_path, boxes)
    assert [still.faces.tolist() for still in learnt.every] == [[[32.0, 32.0, 32.0]]]
    assert len(learnt.with_faces) == 1
    assert not learnt.plain
    assert [still.plain for still in trials.every] == [True]


@pytest.mark.slow
def test_a_finder_that_was_written_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(finder, "read_stills", lambda *_: (stills(), stills()))
    monkeypatch.setattr(finder, "_TRIALS", 3)
    monkeypatch.setattr(finder, "BATCH", 1)
    arguments = [str(tmp_path), "boxes.json", str(tmp_path / "faces.safetensors")]
    assert finder.main([*arguments, "--steps", "2"]) == 0
    *_, last, digest = capsys.readouterr().out.split("\n")[:-1]
    assert len(digest) == 64
    assert finder.main([*arguments, "--measure"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["faces"] > 0
    assert 40_000 < figures["parameters"] < 50_000
    assert figures["found"] == pytest.approx(json.loads(last)["found"], abs=1e-4)


def test_wrong_use_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path), str(tmp_path / "no.json"), str(tmp_path / "out")]
    assert finder.main(arguments) == 2
    assert "no.json" in capsys.readouterr().err
    # A corpus of speech alone has no still without a face to put collages on
    faces = LabelledPictures.of(stills().with_faces)
    for pair, words in (
        ((stills(), faces), "the validation clips have 6 and 0"),
        ((faces, stills()), "the training clips have 6 and 0"),
    ):
        monkeypatch.setattr(finder, "read_stills", lambda *_, pair=pair: pair)
        assert finder.main(arguments) == 2
        assert words in capsys.readouterr().err
    monkeypatch.setattr(finder, "read_stills", lambda *_: (stills(), stills()))
    assert finder.main([*arguments[:2], str(tmp_path / "nowhere" / "out")]) == 2
    assert "there is no directory" in capsys.readouterr().err
