"""Faces in stills of a corpus, located by a face detector: the labels that the face finder
(`avcheck.scan.faces`) learns from.

Like `facemesh` it needs MediaPipe, in an environment of its own:

    python3.11 -m venv mesh && mesh/bin/pip install mediapipe==0.10.21 'numpy<2' av
    PYTHONPATH=. mesh/bin/python -m avcheck.train.face_boxes CORPUS boxes.json
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avcheck.errors import UsageError
from avcheck.train.corpus import KINDS, Clip, decode, find_clips
from avcheck.train.facemesh import look_through
from avcheck.train.store import write_json

STILL_SIDE = 224  # px, short side
WORDS = "words"  # short cuts of many speakers, one after another in a clip
# For each kind of clip: a still is taken every so many pictures, and at most so many stills
_EVERY = {"speech": 50, "generic": 75, WORDS: 30}
_MOST = {"speech": 6, "generic": 4, WORDS: 60}
_SAME = 0.3  # intersection over union from which two boxes are of one face

# A box: how sure, left, top, width, height, in parts of the picture's width and height
Box = tuple[float, float, float, float, float]
Detector = Callable[[NDArray[np.uint8]], list[Box]]


@dataclass(frozen=True)
class Boxes:
    """Faces in one still."""

    picture: int  # its number at 25 fps
    # (k, 3): x and y of the centre, and the side of a square with the area of the box, in units of
    # the still's short side
    faces: NDArray[np.float64]


def stills_of(clip: Clip) -> tuple[NDArray[np.uint8], list[int]]:
    """The stills of a clip, (K, H, W), and the numbers of their pictures. Raises MediaError."""
    frames, _ = decode(clip.path, STILL_SIDE)
    every = _EVERY[clip.kind]
    numbers = list(range(every // 2, len(frames), every))[: _MOST[clip.kind]]
    return frames[numbers], numbers


def all_clips(corpus: Path) -> list[Clip]:
    """The clips of every kind that stills are taken from. Raises UsageError as `find_clips`
    does.
    """
    return find_clips(corpus, kinds=(*KINDS, WORDS))


def boxes_in(stills: NDArray[np.uint8], numbers: Sequence[int], detector: Detector) -> list[Boxes]:
    """The faces in stills (K, H, W), each face once."""
    out = []
    for still, number in zip(stills, numbers, strict=True):
        height, width = still.shape
        kept: list[Box] = []
        for box in sorted(detector(np.repeat(still[..., None], 3, axis=2)), reverse=True):
            if all(_shared(box, other) < _SAME for other in kept):
                kept.append(box)
        rows = [
            (
                (left + wide / 2) * width,
                (top + tall / 2) * height,
                math.sqrt(wide * width * tall * height),
            )
            for _, left, top, wide, tall in kept
        ]
        out.append(Boxes(number, np.array(rows).reshape(-1, 3) / min(height, width)))
    return out


def _shared(one: Box, other: Box) -> float:
    """Intersection over union."""
    _, left, top, wide, tall = one
    _, left2, top2, wide2, tall2 = other
    across = max(0.0, min(left + wide, left2 + wide2) - max(left, left2))
    down = max(0.0, min(top + tall, top2 + tall2) - max(top, top2))
    both = across * down
    return both / (wide * tall + wide2 * tall2 - both + 1e-9)


def write_boxes(path: Path, boxes: dict[str, list[Boxes]]) -> None:
    """One JSON object: clip id -> the stills' numbers and faces, to a thousandth."""
    rows = {
        name: [[item.picture, np.round(item.faces, 3).tolist()] for item in items]
        for name, items in boxes.items()
    }
    write_json(path, rows)


def read_boxes(path: Path) -> dict[str, list[Boxes]]:
    """Read what `write_boxes` wrote. Raises UsageError for any other file."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: [
                Boxes(int(number), np.array(faces, np.float64).reshape(-1, 3))
                for number, faces in items
            ]
            for name, items in rows.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: not a file of boxes from avcheck.train.face_boxes ({type(error).__name__}: "
            f"{error})"
        ) from error


def _mediapipe() -> Detector:
    """MediaPipe's face detectors, for faces near by and far away. Raises UsageError if it is not
    installed.
    """
    try:
        import mediapipe
    except ImportError as error:
        raise UsageError(
            "face boxes need MediaPipe: pip install mediapipe==0.10.21 'numpy<2' (Python 3.11)"
        ) from error
    models = [
        mediapipe.solutions.face_detection.FaceDetection(model_selection=near_or_far)
        for near_or_far in (0, 1)
    ]

    def detect(picture: NDArray[np.uint8]) -> list[Box]:
        faces = [each for model in models for each in model.process(picture).detections or []]
        boxes = [(each.score[0], each.location_data.relative_bounding_box) for each in faces]
        return [(score, box.xmin, box.ymin, box.width, box.height) for score, box in boxes]

    return detect


def main(arguments: Sequence[str], new_detector: Callable[[], Detector] = _mediapipe) -> int:
    """`CORPUS FILE`: look at the clips of a corpus that are not in FILE yet."""
    detector = cache(new_detector)
    return look_through(
        arguments,
        "avcheck.train.face_boxes",
        read=read_boxes,
        write=write_boxes,
        clips_of=all_clips,
        look=lambda clip: boxes_in(*stills_of(clip), detector()),
        write_every=100,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
