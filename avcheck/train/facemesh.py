"""Faces located by a face mesh, which sees turned, small and partly hidden faces that
`corpus.find_faces` misses. An aid for training and measuring.

MediaPipe needs Python 3.11 and NumPy 1, so this runs in an environment of its own and writes a file
that `avcheck train --faces` and `avcheck eval --faces` read:

    python3.11 -m venv mesh && mesh/bin/pip install mediapipe==0.10.21 'numpy<2' av
    PYTHONPATH=. mesh/bin/python -m avcheck.train.facemesh CORPUS faces.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from avcheck.errors import MediaError, UsageError
from avcheck.rates import FRAME_RATE
from avcheck.train.corpus import CACHE_SIDE, FACE_EVERY, MOUTH_BELOW, Clip, decode, find_clips
from avcheck.train.store import require_writable, write_json

# The landmarks of the mesh are numbered; the inner edges of the lips are these.
_UPPER_LIP, _LOWER_LIP = 13, 14
# A mesh ends at the cheeks, the cascade's square beyond them: median over 743 pictures in which
# both saw the same face.
_CASCADE_WIDTH = 1.27
_HEIGHT_TO_WIDTH = 0.75  # a turned face is narrower, but as high as before

T = TypeVar("T")

# An RGB picture (H, W, 3) -> the landmarks of its most prominent face, (k, 2), as shares of its
# width and height; None if it shows none
Mesh = Callable[[NDArray[np.uint8]], NDArray[np.float64] | None]


@dataclass(frozen=True)
class Faces:
    """What a mesh found in one clip."""

    looks: int  # how many pictures it looked at
    # (k, 4), a row for each picture with a face: time_s, centre x, centre y and width, in units of
    # the picture's short side, sized and placed like those of `corpus.find_faces`
    rows: NDArray[np.float32]

    @property
    def share(self) -> float:
        """The share of the pictures looked at that show a face."""
        return len(self.rows) / max(self.looks, 1)

    def in_px(self, short_side: int) -> NDArray[np.float32]:
        """The rows in px of pictures with this short side, as `corpus.CachedClip` has them."""
        scale = np.array([1, short_side, short_side, short_side], np.float32)
        return np.asarray(self.rows * scale, np.float32)


def find(frames: NDArray[np.uint8], mesh: Mesh) -> Faces:
    """The face in every `FACE_EVERY`th picture.

    Args:
        frames: Pictures, (T, H, W) at 25 fps.
        mesh: Locates the most prominent face of a picture.
    """
    height, width = frames.shape[1:]
    rows = []
    looks = range(0, len(frames), FACE_EVERY)
    for at in looks:
        points = mesh(np.repeat(frames[at][..., None], 3, axis=2))
        if points is None:
            continue
        points = points * np.array([width, height]) / min(width, height)
        extent = np.ptp(points, axis=0)
        size = _CASCADE_WIDTH * max(extent[0], _HEIGHT_TO_WIDTH * extent[1])
        mouth = points[[_UPPER_LIP, _LOWER_LIP]].mean(axis=0)
        rows.append((at / FRAME_RATE, mouth[0], mouth[1] - MOUTH_BELOW * size, size))
    return Faces(len(looks), np.array(rows, np.float32).reshape(-1, 4))


def write_faces(path: Path, faces: dict[str, Faces]) -> None:
    """One JSON object: clip id -> looks and rows, to a thousandth."""
    rows = {
        name: {"looks": item.looks, "rows": np.round(item.rows, 3).tolist()}
        for name, item in faces.items()
    }
    write_json(path, rows)


def read_faces(path: Path) -> dict[str, Faces]:
    """Read what `write_faces` wrote. Raises UsageError for any other file."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: Faces(int(item["looks"]), np.array(item["rows"], np.float32).reshape(-1, 4))
            for name, item in rows.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: not a file of faces from avcheck.train.facemesh ({type(error).__name__}: "
            f"{error})"
        ) from error


def _mediapipe() -> Mesh:
    """MediaPipe's face mesh, which follows a face from picture to picture. Raises UsageError if it
    is not installed.
    """
    try:
        import mediapipe
    except ImportError as error:
        raise UsageError(
            "a face mesh needs MediaPipe: pip install mediapipe==0.10.21 'numpy<2' (Python 3.11)"
        ) from error
    mesh = mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=1)

    def landmarks(picture: NDArray[np.uint8]) -> NDArray[np.float64] | None:
        faces = mesh.process(picture).multi_face_landmarks
        return np.array([(point.x, point.y) for point in faces[0].landmark]) if faces else None

    return landmarks


def look_through(
    arguments: Sequence[str],
    program: str,
    *,
    read: Callable[[Path], dict[str, T]],
    write: Callable[[Path, dict[str, T]], None],
    clips_of: Callable[[Path], list[Clip]],
    look: Callable[[Clip], T],
    write_every: int,
) -> int:
    """Run a program that looks at the clips of a corpus and keeps what it sees in a file.

    Args:
        arguments: CORPUS and FILE. Clips that are in FILE already are not looked at again.
        program: Its name, for the usage.
        read: Reads FILE: what was seen, by clip id.
        write: Writes FILE.
        clips_of: The clips of a corpus.
        look: What is seen in a clip.
        write_every: FILE is written after so many clips, and at the end.

    Returns:
        The exit code.
    """
    if len(arguments) != 2:
        print(f"usage: python -m {program} CORPUS FILE", file=sys.stderr)
        return 2
    corpus, path = map(Path, arguments)
    try:
        require_writable(path)
        results = read(path) if path.is_file() else {}
        clips = [clip for clip in clips_of(corpus) if clip.id not in results]
        for number, clip in enumerate(clips, 1):
            try:
                results[clip.id] = look(clip)
            except MediaError as error:
                print(error, file=sys.stderr)
            if number % write_every == 0 or number == len(clips):
                write(path, results)
                print(f"{number} of {len(clips)} clips", file=sys.stderr)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def main(arguments: Sequence[str], new_mesh: Callable[[], Mesh] = _mediapipe) -> int:
    """`CORPUS FILE`: look at the speech clips of a corpus that are not in FILE yet."""

    def look(clip: Clip) -> Faces:
        frames, _ = decode(clip.path, CACHE_SIDE)
        # A new mesh for each clip, as it starts looking at the last face's place.
        return find(frames, new_mesh())

    return look_through(
        arguments,
        "avcheck.train.facemesh",
        read=read_faces,
        write=write_faces,
        clips_of=lambda corpus: [clip for clip in find_clips(corpus) if clip.kind == "speech"],
        look=look,
        write_every=20,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
