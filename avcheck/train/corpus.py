"""A corpus to learn from: an indexed folder, or any directory of media that is in sync.

Each clip is decoded once, by the same `media` and `blocks` as in a check, into a cache of plain
arrays that training maps into memory: luma at 25 fps, sound at 16 kHz, and (as a training aid only)
the frontal faces.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avcheck.batch.discovery import MEDIA_SUFFIXES
from avcheck.errors import MediaError, UsageError
from avcheck.machine.files import whole_file
from avcheck.media import open_media
from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.reading.blocks import BLOCK_SAMPLES, SoundTimeline, blocks
from avcheck.train.store import write_json

# px, short side of the cached pictures: a little larger than any look, as windows are cut from them
CACHE_SIDE = 176
FACE_EVERY = 10  # pictures: a face is looked for in every tenth
MOUTH_BELOW = 0.28  # from the middle of a face's square down to its mouth, in sides of the square
MIN_SECONDS = 2.5
KINDS = ("speech", "generic")


@dataclass(frozen=True)
class Clip:
    """One clip of a corpus."""

    id: str  # its name in the cache and in results
    path: Path  # its media file
    group: str  # of one speaker or source; never in both splits
    kind: str  # "speech" or "generic"
    split: str  # "train" or "val"
    # Its own offset at 25 fps, positive = sound late (elsewhere positive = early); None: unknown
    offset_frames: float | None = None
    trusted: bool = False  # whether `offset_frames` is known well enough to measure against
    face_rel: float | None = None  # width of the face as a share of the short side
    # The round of collecting that it came in, from 1; weights never saw later rounds than their own
    added: int = 1


def set_aside(clip: Clip) -> bool:
    """Whether a validation clip is kept for the last table: a fifth of the groups that came after
    the first round, by a hash of the group's name.

    Nothing is fitted, chosen or compared on them, so they give an unbiased figure for what was
    chosen on the others.
    """
    return clip.split == "val" and clip.added > 1 and _fifth(clip.group)


def _fifth(group: str) -> bool:
    """A fifth of all groups, chosen by a hash of the name."""
    return hashlib.sha256(group.encode("utf-8", "surrogateescape")).digest()[0] % 5 == 0


@dataclass(frozen=True)
class CachedClip:
    """A decoded clip. Pictures and sound begin at the same moment."""

    clip: Clip
    frames: NDArray[np.uint8]  # (T, H, W) at 25 fps, mapped from disk
    samples: NDArray[np.int16]  # (n,) at 16 kHz, mapped from disk
    faces: NDArray[np.float32]  # (k, 4): time_s, centre x, centre y, width, in px of `frames`

    @property
    def seconds(self) -> float:
        """How long the pictures last."""
        return len(self.frames) / FRAME_RATE


def find_clips(
    corpus: Path,
    *,
    split: str | None = None,
    last: bool = False,
    kinds: Sequence[str] = KINDS,
) -> list[Clip]:
    """The clips of a folder.

    Args:
        corpus: A folder with an `index.jsonl`, or any directory of media that is in sync. The media
            of such a directory count as speech. Each of its sub-folders is a group, and so is each
            file beside them; a fifth of the groups, chosen by a hash of the name, is kept for
            validation.
        split: "train" or "val"; None: both.
        last: Only the clips that are set aside (`set_aside`), which are left out otherwise.
        kinds: Clips of other kinds are left out.

    Raises:
        UsageError: There is no such clip, or the index cannot be read.
    """
    index = corpus / "index.jsonl"
    clips = _read_index(index) if index.is_file() else _scan_directory(corpus)
    clips = [clip for clip in clips if clip.kind in kinds and set_aside(clip) == last]
    if split is not None:
        clips = [clip for clip in clips if clip.split == split]
    if not clips:
        raise UsageError(
            f"{corpus}: no clips found; give a folder of media files or a corpus with an "
            "index.jsonl"
        )
    return clips


def require_own_ids(clips: Sequence[Clip]) -> None:
    """Raise UsageError if two clips have one id: the second would be taken for the first, which the
    cache has already.
    """
    paths: dict[str, Path] = {}
    for clip in clips:
        if clip.id in paths:
            raise UsageError(f"{paths[clip.id]} and {clip.path} have the same id: {clip.id}")
        paths[clip.id] = clip.path


def _read_index(index: Path) -> list[Clip]:
    try:
        lines = index.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{index}: cannot be read as UTF-8 text: {error}") from error
    clips = []
    for number, line in enumerate(lines, 1):
        try:
            clips.append(_clip_of(json.loads(line), index.parent))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{index}: line {number} is not a clip of a corpus ({type(error).__name__}: "
                f"{error})"
            ) from error
    require_own_ids(clips)
    return clips


def _clip_of(row: dict[str, Any], folder: Path) -> Clip:
    """The clip of a row of the index. Raises ValueError, KeyError, TypeError or AttributeError for
    anything else.
    """
    name = row["id"]
    if not name or Path(name).name != name:  # it names a folder of the cache
        raise ValueError(f"the id {name!r} is not a file name")
    truth = row.get("true_offset") or {}
    frames = truth.get("frames")
    return Clip(
        id=name,
        path=folder / row["file"],
        group=row["group"],
        kind=row["kind"],
        split=row["split"],
        offset_frames=None if frames is None else float(frames),
        trusted=bool(truth.get("trusted")),
        face_rel=row.get("face_rel"),
        added=int(row.get("added", 1)),
    )


def _scan_directory(root: Path) -> list[Clip]:
    clips = []
    for path in sorted(root.rglob("*")):
        if (
            path.suffix.lower() not in MEDIA_SUFFIXES
            or not path.is_file()
            or path.name.startswith(".")
        ):
            continue
        relative = path.relative_to(root)
        group = relative.parts[0] if len(relative.parts) > 1 else relative.stem
        # Of the whole path: two directories given together may hold files of the same name.
        whole = str(path.resolve()).encode("utf-8", "surrogateescape")
        clips.append(
            Clip(
                id=hashlib.sha256(whole).hexdigest()[:12],
                path=path,
                group=group,
                kind="speech",
                split="val" if _fifth(group) else "train",
            )
        )
    # With one or two groups, none may be left to learn from
    if all(clip.split == "val" for clip in clips):
        clips = [replace(clip, split="train") for clip in clips]
    return clips


def decode(path: Path, short_side: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Decode a short clip up to its first gap in the pictures.

    Args:
        path: The media file.
        short_side: Of the pictures, px; they are never scaled up.

    Returns:
        Pictures, uint8 (T, H, W) at 25 fps, and samples, float32 (n,) at 16 kHz, both from the
        first picture on and of the same length in time.

    Raises:
        MediaError: As `media.open_media` raises it, or no pictures decode.
    """
    pictures: list[NDArray[np.uint8]] = []
    start_s = 0.0
    with open_media(path, short_side=short_side) as media:
        for block in blocks(media.pictures(), iter(())):
            if not pictures:
                start_s = block.start_s
            if pictures and (
                block.start_s > start_s + len(pictures) + 0.5
                or block.pictures.shape != pictures[0].shape
            ):
                break  # a gap: only the run before it is used
            if not block.picture_mask.all():
                # Pictures after a missing one would move up and lose their place in time.
                pictures.append(block.pictures[: int(np.argmin(block.picture_mask))])
                break
            pictures.append(block.pictures)
    with open_media(path, short_side=short_side) as media:
        samples, _ = SoundTimeline(media.sounds()).read(start_s, len(pictures) * BLOCK_SAMPLES)
    if not pictures:
        raise MediaError(path, "no pictures decode")
    frames = np.concatenate(pictures)
    return frames, samples[: len(frames) * SAMPLE_RATE // FRAME_RATE]


def find_faces(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The frontal faces that OpenCV's Haar cascade finds. A training aid only.

    Args:
        frames: Pictures, (T, H, W) at 25 fps.

    Returns:
        (k, 4): time_s, centre x, centre y and width, in px of `frames`.

    Raises:
        UsageError: OpenCV is not installed (the extra `train`).
    """
    try:
        import cv2
        import cv2.data
    except ImportError as error:
        raise UsageError(
            "face crops need OpenCV; install it with: pip install 'opencv-python-headless<5'"
        ) from error
    cascade = cv2.CascadeClassifier(
        str(Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml")
    )
    side = min(frames.shape[1:])
    rows = []
    for index in range(0, len(frames), FACE_EVERY):
        boxes = cascade.detectMultiScale(
            frames[index], scaleFactor=1.15, minNeighbors=4, minSize=(side // 8, side // 8)
        )
        if len(boxes):
            x, y, width, height = max(boxes, key=lambda box: box[2])
            rows.append((index / FRAME_RATE, x + width / 2, y + height / 2, width))
    if not rows:
        return np.zeros((0, 4), np.float32)
    faces = np.asarray(rows, np.float32)
    # Training follows one person: detections far from their neighbours in time are other people or
    # mistakes.
    centre = np.stack(
        [np.median(faces[max(0, i - 4) : i + 5, 1:], axis=0) for i in range(len(faces))]
    )
    steady = np.hypot(*(faces[:, 1:3] - centre[:, :2]).T) < 0.35 * centre[:, 2]
    kept: NDArray[np.float32] = faces[steady]
    return kept


def cache_clip(clip: Clip, cache: Path, *, with_faces: bool = True) -> CachedClip | None:
    """Decode a clip into a cache, unless it is there already, and map it.

    Args:
        clip: What to decode.
        cache: The folder of all decoded clips.
        with_faces: Look for faces if it is speech.

    Returns:
        The decoded clip; None if it does not decode or is shorter than `MIN_SECONDS`.

    Raises:
        UsageError: Faces are asked for without OpenCV.
    """
    folder = cache / clip.id
    done, faces = folder / "done.json", folder / "faces.npy"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            frames, samples = decode(clip.path, CACHE_SIDE)
        except MediaError as error:
            write_json(done, {"error": str(error)})
            return None
        np.save(folder / "frames.npy", frames)
        np.save(folder / "samples.npy", (np.clip(samples, -1, 1) * 32767).astype(np.int16))
        write_json(done, {"clip": {**asdict(clip), "path": clip.path.name}})
    if "error" in json.loads(done.read_text()):
        return None
    frames = np.load(folder / "frames.npy", mmap_mode="r")
    if len(frames) < MIN_SECONDS * FRAME_RATE:
        return None
    # The clip may have been decoded by a run that needs no faces
    if with_faces and clip.kind == "speech" and not faces.is_file():
        with whole_file(faces) as partial, partial.open("wb") as file:
            np.save(file, find_faces(frames))
    return CachedClip(
        clip=clip,
        frames=frames,
        samples=np.load(folder / "samples.npy", mmap_mode="r"),
        faces=np.load(faces) if faces.is_file() else np.zeros((0, 4), np.float32),
    )
