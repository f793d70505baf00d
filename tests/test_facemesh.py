"""Faces by a mesh, with stand-ins for MediaPipe: where they are put, what is kept of them, and what
is made of the file.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.clips import make_clip

pytest.importorskip("cv2")

from avcheck.errors import UsageError
from avcheck.train import facemesh
from avcheck.train.corpus import CachedClip, Clip
from avcheck.train.facemesh import Faces, find, main, read_faces, write_faces
from avcheck.train.run import with_faces
from avcheck.train.sampling import Face

Array = np.ndarray[Any, Any]


def face(left: float, right: float, top: float, bottom: float, mouth: tuple[float, float]) -> Array:
    """A mesh of as many points as MediaPipe's that reaches this far, in parts of the picture."""
    points = np.full((468, 2), [(left + right) / 2, (top + bottom) / 2])
    points[100], points[101] = (left, top), (right, bottom)
    points[[13, 14]] = mouth
    return points


def test_a_face_is_placed_and_sized_like_those_of_the_cascade() -> None:
    frames = np.zeros((45, 100, 200), np.uint8)
    frames[20:] = 9
    shapes: list[tuple[int, ...]] = []

    def mesh(picture: Array) -> Array | None:
        shapes.append(picture.shape)
        return face(0.4, 0.5, 0.2, 0.4, mouth=(0.45, 0.35)) if picture.max() else None

    faces = find(frames, mesh)
    assert shapes == [(100, 200, 3)] * 5
    assert faces.looks == 5
    assert faces.share == 3 / 5
    width = 1.27 * 0.2  # a tenth of 200 px is a fifth of the short side
    assert faces.rows == pytest.approx(
        np.array([[t, 0.9, 0.35 - 0.28 * width, width] for t in (0.8, 1.2, 1.6)]), abs=1e-6
    )
    x, y, size = faces.in_px(100)[0, 1:]
    assert (x, Face(x, y, size).mouth_y) == pytest.approx((90, 35))  # where the mouth is


def test_a_turned_face_counts_by_its_height() -> None:
    frames = np.zeros((1, 100, 100), np.uint8)
    narrow = find(frames, lambda _: face(0.48, 0.52, 0.3, 0.7, mouth=(0.48, 0.6)))
    assert narrow.rows[0, 3] == pytest.approx(1.27 * 0.75 * 0.4)


def test_no_face_anywhere_is_no_row_and_a_share_of_0() -> None:
    faces = find(np.zeros((30, 8, 8), np.uint8), lambda _: None)
    assert faces.rows.shape == (0, 4)
    assert faces.share == 0
    assert Faces(0, faces.rows).share == 0


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "faces.json"
    written = {
        "a": Faces(7, np.array([[0.4, 0.51234, 0.25, 0.3]], np.float32)),
        "b": Faces(3, np.zeros((0, 4), np.float32)),
    }
    write_faces(path, written)
    again = read_faces(path)
    assert [(name, item.looks) for name, item in again.items()] == [("a", 7), ("b", 3)]
    assert again["a"].rows == pytest.approx(written["a"].rows, abs=5e-4)
    assert again["b"].rows.shape == (0, 4)
    assert [item.name for item in tmp_path.iterdir()] == ["faces.json"]


@pytest.mark.parametrize(
    "text",
    ["not json", "[1]", '{"a": 1}', '{"a": {"looks": 1}}', '{"a": {"looks": 1, "rows": [[1, 2]]}}'],
)
def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "faces.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"faces\.json: not a file of faces"):
        read_faces(path)
    with pytest.raises(UsageError, match=r"gone\.json: not a file of faces"):
        read_faces(tmp_path / "gone.json")


def test_training_takes_the_mesh_where_it_saw_more() -> None:
    clip = Clip("a", Path("a"), "a", "speech", "train")
    few = np.ones((2, 4), np.float32)
    item = CachedClip(clip, np.zeros((50, 40, 60), np.uint8), np.zeros(0, np.int16), few)
    more = Faces(5, np.array([[t, 0.5, 0.5, 0.25] for t in range(3)], np.float32))
    assert with_faces(item, more).faces == pytest.approx(
        np.array([[t, 20, 20, 10] for t in range(3)])
    )
    assert with_faces(
        replace(item, faces=np.ones((3, 4), np.float32)), more
    ).faces == pytest.approx(1)
    assert with_faces(item, None).faces is few


def corpus_of(folder: Path) -> Path:
    lines = []
    for name, kind in (
        ("talk", "speech"),
        ("more", "speech"),
        ("broken", "speech"),
        ("drum", "generic"),
    ):
        path = folder / f"{name}.mkv"
        if name == "broken":
            path.write_text("not a film")
        else:
            make_clip(path, seconds=3.0, size=(64, 48), acodec="libopus")
        lines.append({"id": name, "split": "val", "kind": kind, "group": name, "file": path.name})
    (folder / "index.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def test_every_speech_clip_is_looked_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, out = corpus_of(tmp_path), tmp_path / "faces.json"
    write_faces(out, {"more": Faces(99, np.zeros((0, 4), np.float32))})  # of an earlier run
    made = []

    def new_mesh() -> facemesh.Mesh:
        made.append(1)
        return lambda _: face(0.4, 0.6, 0.2, 0.6, mouth=(0.5, 0.5))

    assert main([str(corpus), str(out)], new_mesh) == 0
    faces = read_faces(out)
    assert set(faces) == {"more", "talk"}
    assert faces["more"].looks == 99
    assert (faces["talk"].looks, faces["talk"].share) == (8, 1.0)
    assert len(made) == 1
    assert "broken.mkv" in capsys.readouterr().err


def test_what_is_missing_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    assert main([str(corpus_of(tmp_path)), str(tmp_path / "faces.json")]) == 2
    assert "pip install mediapipe" in capsys.readouterr().err
    assert main(["one"]) == 2
    assert capsys.readouterr().err.startswith("usage: ")
    assert main([str(tmp_path), str(tmp_path / "gone" / "faces.json")]) == 2
    assert "there is no directory" in capsys.readouterr().err
    assert main([str(tmp_path / "gone"), "faces.json"]) == 2
