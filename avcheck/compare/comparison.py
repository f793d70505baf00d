"""What happened to the sync of a file since its reference: sound and picture are each aligned, and
their difference is told.

No network and no speech is needed: this works for any content, and knows nothing of whether the
reference itself is in sync.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avcheck.compare.align import Edges, Match, Piece, Track, matches, pieces
from avcheck.compare.features import PICTURE_SIDE, Recording, picture_track, record, sound_track
from avcheck.compare.fine import sharpen
from avcheck.media import open_media

_SOUND_JUMP_S = 0.004  # a step of the sound's place that is no noise
_PICTURE_JUMP_S = 0.03
_FINE_WINDOWS_S = (1.0, 8.0)
_COARSE_JUMP_S = 0.03  # of the sound, before its waveform was looked at
_LEAST_STRETCH_S = 0.5
SAME_MS = 2.0  # stretches that differ by less are one


@dataclass(frozen=True)
class Change:
    """From `start_s` to `end_s` of the file, sound moved against picture by `start_ms` to `end_ms`;
    positive = sound early.
    """

    start_s: float
    end_s: float
    start_ms: float
    end_ms: float


@dataclass(frozen=True)
class Comparison:
    """How a file differs from its reference. Times are seconds of the file."""

    sound: tuple[Piece, ...]
    picture: tuple[Piece, ...]
    changes: tuple[Change, ...]
    aligned_s: float  # of the file, in which both were found
    duration_s: float  # of what the file has of both


@dataclass(frozen=True, eq=False)
class Title:
    """The features of one file; `close` it when done."""

    sound: Recording
    sound_features: Track
    picture_features: Track

    def close(self) -> None:
        """Give back the disk space of the sound."""
        self.sound.close()


def read_title(path: Path) -> Title:
    """Decode a file and keep what comparing needs. Raises MediaError and UsageError as
    `open_media`.
    """
    with open_media(path, short_side=PICTURE_SIDE) as media:
        with closing(media.pictures()) as pictures:
            picture_features = picture_track(pictures)
        with closing(media.sounds()) as sounds:
            sound = record(sounds)
    return Title(sound, sound_track(sound), picture_features)


def compare_titles(reference: Title, file: Title) -> Comparison:
    """Align sound and picture of a file with its reference, each by itself."""
    sound = _sound_pieces(reference, file)
    picture = pieces(
        *matches(reference.picture_features, file.picture_features),
        _PICTURE_JUMP_S,
        Edges(reference.picture_features, file.picture_features),
    )
    start_s = max(file.sound_features.start_s, file.picture_features.start_s)
    end_s = min(file.sound_features.end_s, file.picture_features.end_s)
    changes = _changes(_inside(sound, start_s, end_s), _inside(picture, start_s, end_s))
    aligned_s = sum(change.end_s - change.start_s for change in changes)
    return Comparison(sound, picture, changes, aligned_s, max(0.0, end_s - start_s))


def _sound_pieces(reference: Title, file: Title) -> tuple[Piece, ...]:
    """The sound's pieces: found by features, then sharpened by waveforms, in short windows until
    their pace is known.
    """
    edges = Edges(reference.sound_features, file.sound_features)
    found, pace = matches(reference.sound_features, file.sound_features)
    parts = pieces(found, pace, _COARSE_JUMP_S, edges)
    for window_s in _FINE_WINDOWS_S:
        sharp: list[Match] = []
        for part in parts:
            for match in found:
                if part.start_s <= match.file_s < part.end_s:
                    near = Match(match.file_s, part.reference_s(match.file_s), match.score)
                    better = sharpen(near, reference.sound, file.sound, part.pace, window_s)
                    sharp += [] if better is None else [better]
        sharp.sort(key=lambda match: match.file_s)
        parts = pieces(sharp, pace, _SOUND_JUMP_S, edges)
    return parts


def _inside(parts: Sequence[Piece], start_s: float, end_s: float) -> list[Piece]:
    cut = [(max(part.start_s, start_s), min(part.end_s, end_s), part) for part in parts]
    return [
        Piece(low, high, part.reference_s(low), part.pace) for low, high, part in cut if high > low
    ]


def _changes(sound: Sequence[Piece], picture: Sequence[Piece]) -> tuple[Change, ...]:
    """Where both are aligned, what the sound plays against what the picture shows."""
    out: list[Change] = []
    for heard in sound:
        for shown in picture:
            start_s, end_s = max(heard.start_s, shown.start_s), min(heard.end_s, shown.end_s)
            if end_s - start_s < _LEAST_STRETCH_S:
                continue
            # Sound that is further on in the reference than the picture shown with it is early.
            ends = [
                1000 * (heard.reference_s(at_s) - shown.reference_s(at_s))
                for at_s in (start_s, end_s)
            ]
            if abs(ends[1] - ends[0]) < SAME_MS:
                ends = [float(np.mean(ends))] * 2
            out.append(Change(start_s, end_s, ends[0], ends[1]))
    out.sort(key=lambda change: change.start_s)
    joined: list[Change] = []
    for change in out:
        if joined and (same := _joined(joined[-1], change)) is not None:
            joined[-1] = same
        else:
            joined.append(change)
    return tuple(joined)


def _joined(first: Change, second: Change) -> Change | None:
    """Two neighbours of one constant offset as one; None where they differ or something lies
    between.
    """
    levels = {first.start_ms, first.end_ms, second.start_ms, second.end_ms}
    if max(levels) - min(levels) >= SAME_MS or second.start_s - first.end_s >= _LEAST_STRETCH_S:
        return None
    share = (first.end_s - first.start_s) / (
        first.end_s - first.start_s + second.end_s - second.start_s
    )
    level_ms = share * first.start_ms + (1 - share) * second.start_ms
    return Change(first.start_s, second.end_s, level_ms, level_ms)
