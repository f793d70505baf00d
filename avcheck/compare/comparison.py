"""What happened to the sync of a file since its reference: the difference between the alignments of
its sound and of its picture.

It needs neither a network nor speech, so it works for any content. It does not know whether the
reference itself is in sync.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np

from avcheck.compare.align import Edges, Lines, Piece, longest, pieces
from avcheck.compare.bed import common_bed
from avcheck.compare.conform import TimeSpan, edits
from avcheck.compare.features import Recording, record, sound_track
from avcheck.compare.find import (
    HOP_S,
    LEAST_WINDOW_S,
    Features,
    WindowMatch,
    likeness,
    matches,
)
from avcheck.compare.fine import sharpen
from avcheck.compare.loops import without_loops
from avcheck.compare.pictures import (
    PICTURE_SIDE,
    WHOLE,
    StoredPictures,
    View,
    in_common,
    keep,
    views,
)
from avcheck.compare.replaced import without_replaced
from avcheck.media import MediaInfo, open_media
from avcheck.record.edits import Edit
from avcheck.record.report import Degraded
from avcheck.settings import OnProgress

_SOUND_JUMP_S = 0.004  # a step of the sound's place that is no noise
# A step of the picture's place that is no noise: what is inserted or removed is whole pictures, of
# as many a second at least
_PICTURE_JUMP_S, _PICTURE_JUMP, _FEWEST = 0.03, 0.9, 20
_NOISE = 0.1  # of a step: how far places lie off their line
# Rates that differ by less have hardly a picture repeated or dropped. Where they differ by more,
# places stray by half a picture either way, of which the median is a quarter
_SAME_RATE, _STRAY = 0.01, 0.25
# Windows do not tell paces apart that differ by less: a known one for pictures that is not 1, and
# that of the sound, which is exact
_SAME_PACE = 0.002
_FINE_WINDOWS_S = (1.0, 8.0)
_COARSE_JUMP_S = 0.03  # of the sound, before its waveform was looked at
_LEAST_STRETCH_S = 0.5
_LEAST_SHARE = 0.8  # of a short title, that a piece of it takes up
_MOST = 0.9  # of a file's sound; where less is found, the voices may be others
_ALIKE = 0.9  # of the likeness of pictures that show the same part of the scene
_MOSTLY = 0.5  # of it, with 0 for what is not found
_LEAST_GAIN, _LARGE_GAIN = 0.03, 0.2  # of that of another part of them
_PICTURES = 0.8  # share of the time of reading a file that its pictures take
_SAME_MS = 2.0  # stretches that differ by less are one

Each = TypeVar("Each")


@dataclass(frozen=True)
class SyncChange:
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

    sound: tuple[Piece, ...]  # where the sound plays what the reference does
    picture: tuple[Piece, ...]  # the same for the pictures
    changes: tuple[SyncChange, ...]  # by how much sync differs, stretch by stretch
    aligned_s: float  # of the file, in which both were found
    duration_s: float  # of what the file has of both
    # The parts of the reference's and of the file's picture that show the same; None if not found
    views: tuple[View, View] | None = None
    bed: bool = False  # whether only the sound under the voices is the same
    start_s: float = 0.0  # of the file, from where it has both
    edits: tuple[Edit, ...] = ()  # what was done to the title

    @property
    def share(self) -> float:
        """How much of what the file has was aligned, 0..1, rounding apart."""
        return self.aligned_s / self.duration_s if self.duration_s else 0.0

    @property
    def end_s(self) -> float:
        """Of the file, up to where it has both."""
        return self.start_s + self.duration_s


@dataclass(frozen=True, eq=False)
class Digest:
    """The features of one file, and what is known of it; `close` it when done."""

    sound: Recording  # 16 kHz, on disk
    sound_features: Features  # of all of it
    pictures: StoredPictures  # small, on disk
    info: MediaInfo  # what the file says of itself
    degraded: Degraded  # what was lost in reading

    def close(self) -> None:
        """Give back the disk space."""
        self.sound.close()
        self.pictures.close()


def read_title(
    path: str | Path,
    *,
    audio_track: int | None = None,
    video_track: int | None = None,
    program: int | None = None,
    on_progress: OnProgress | None = None,
) -> Digest:
    """Decode a file and keep what comparing needs.

    Args:
        path: A local file.
        audio_track: Which audio track, from 0. None: the main one.
        video_track: Which picture track, from 0 among those that play. None: the main one.
        program: Number of the programme of an MPEG-TS. None: the main one.
        on_progress: Called with the fraction that is done, 0..1.

    Returns:
        Features of sound and pictures, on disk; `close` it when done.

    Raises:
        MediaError, UsageError: As `open_media`.
    """
    with open_media(
        path,
        audio_track=audio_track,
        video_track=video_track,
        program=program,
        any_sound=True,
        short_side=PICTURE_SIDE,
    ) as media:
        duration_s = media.info.duration_s or 0.0

        def reported(
            items: Iterable[Each], time_s: Callable[[Each], float], start: float, end: float
        ) -> Iterator[Each]:
            """The items, with their progress, which goes from `start` to `end`."""
            for each in items:
                if on_progress is not None and duration_s > 0:
                    on_progress(start + (end - start) * min(time_s(each) / duration_s, 1.0))
                yield each

        with closing(media.pictures()) as pictures:
            kept = keep(reported(pictures, lambda each: each.pts_s, 0.0, _PICTURES))
        with closing(media.sounds()) as sounds:
            sound = record(reported(sounds, lambda each: each.start_s, _PICTURES, 1.0))
        return Digest(sound, sound_track(sound), kept, media.info, media.degraded)


def compare_titles(reference: Digest, file: Digest) -> Comparison:
    """Align sound and picture of a file with its reference, each by itself."""
    sound = _sound_pieces(reference, file)
    in_view = sight(reference.pictures, file.pictures, sound[0].pace if sound else 1.0)
    shown, pace = matches(in_view.reference, in_view.file)
    picture = pieces(
        shown,
        picture_lines(pace, sound, reference.info.frame_rate, file.info.frame_rate),
        Edges(in_view.reference, in_view.file),
        _least_piece_s(in_view.file),
    )
    picture = without_replaced(
        picture,
        reference.pictures.levels(in_view.views[0]),
        file.pictures.levels(in_view.views[1]),
    )
    start_s = max(file.sound_features.start_s, in_view.file.start_s)
    end_s = min(file.sound_features.end_s, in_view.file.end_s)
    sound = without_loops(sound, picture, reference.sound, file.sound)
    bed = False
    if _length_s(sound) < _MOST * (end_s - start_s):
        common = common_bed(reference.sound, file.sound, picture)
        common = without_loops(common, picture, reference.sound, file.sound)
        bed = _length_s(common) > _length_s(sound) + (1 - _MOST) * (end_s - start_s)
        sound = common if bed else sound
    theirs = TimeSpan(
        max(reference.sound_features.start_s, in_view.reference.start_s),
        min(reference.sound_features.end_s, in_view.reference.end_s),
    )
    # Other voices have pauses of their own, which are no edits
    heard = () if bed else sound
    done = edits(
        heard, _as_due(picture, in_view, reference, file), TimeSpan(start_s, end_s), theirs
    )
    changes = _changes(_inside(sound, start_s, end_s), _inside(picture, start_s, end_s))
    aligned_s = sum(change.end_s - change.start_s for change in changes)
    return Comparison(
        sound,
        picture,
        changes,
        aligned_s,
        max(0.0, end_s - start_s),
        in_view.views if picture else None,
        bed,
        start_s,
        done,
    )


def picture_jump_s(*rates: Fraction | None) -> float:
    """The step of the picture's place from which another piece begins, by the slower of two rates
    of pictures. Half a picture is what repeated pictures stray by where little moves.
    """
    slower = min(rate or _FEWEST for rate in rates)
    return max(_PICTURE_JUMP_S, _PICTURE_JUMP / float(max(slower, _FEWEST)))


def picture_lines(
    pace: float, sound: Sequence[Piece], reference: Fraction | None, file: Fraction | None
) -> Lines:
    """What is known of the lines of pictures of these rates: most often a title plays faster or
    slower as a whole, so they may have the pace of the sound.
    """
    jump_s = picture_jump_s(reference, file)
    rates = [float(max(rate or _FEWEST, _FEWEST)) for rate in (reference, file)]
    noise_s = _NOISE * jump_s
    if max(rates) > (1 + _SAME_RATE) * min(rates):
        noise_s = _STRAY / min(rates)
    sound_pace = longest(sound).pace if sound else None
    if sound_pace is not None and pace != 1 and abs(sound_pace / pace - 1) < _SAME_PACE:
        pace = sound_pace
    return Lines(pace, jump_s, noise_s, sound_pace, HOP_S)


def _as_due(
    picture: Sequence[Piece], in_view: Sight, reference: Digest, file: Digest
) -> list[Piece]:
    """The pieces by the times at which pictures are due; a track counts each picture for the time
    around that moment.
    """
    if not picture:
        return []
    ours_s, theirs_s = (
        title.pictures.times_s[0] - track.start_s
        for title, track in ((file, in_view.file), (reference, in_view.reference))
    )
    return [
        Piece(
            each.start_s + ours_s,
            each.end_s + ours_s,
            each.reference_start_s + theirs_s,
            each.pace,
        )
        for each in picture
    ]


@dataclass(frozen=True, eq=False)
class Sight:
    """The features of the pictures of two titles, each of the view that shows what both do."""

    reference: Features  # of its pictures
    file: Features  # of its pictures
    views: tuple[View, View] = (WHOLE, WHOLE)  # of the reference, and of the file


def sight(reference: StoredPictures, file: StoredPictures, pace: float) -> Sight:
    """The features of whole pictures, unless those are hardly alike and parts of them are, or one
    is turned from left to right.
    """
    uncut = reference.track(), file.track()
    whole = Sight(*in_common(*uncut))
    score, where_found = likeness(whole.reference, whole.file, pace)
    alike = where_found >= _ALIKE
    if (alike and score >= _MOSTLY) or not len(whole.reference.rows) or not len(whole.file.rows):
        return whole
    # If little of a file is found, but that well, the rest may have been inserted
    best, least = whole, score + (_LARGE_GAIN if alike else _LEAST_GAIN)
    for moving in (False, True):
        uncut_view = replace(WHOLE, moving=moving)
        if moving:
            uncut = reference.track(uncut_view), file.track(uncut_view)
        for ours, theirs in views(reference.aspect(moving=moving), file.aspect(moving=moving)):
            ours, theirs = replace(ours, moving=moving), replace(theirs, moving=moving)
            if not (reference.holds(ours) and file.holds(theirs)):
                continue
            tracks = (
                uncut[0] if ours == uncut_view else reference.track(ours),
                uncut[1] if theirs == uncut_view else file.track(theirs),
            )
            parts = Sight(*in_common(*tracks), (ours, theirs))
            score, _ = likeness(parts.reference, parts.file, pace, least)
            if score > least:
                best, least = parts, score
        if best is not whole:
            break
    return best


def _sound_pieces(reference: Digest, file: Digest) -> tuple[Piece, ...]:
    """The sound's pieces: found by features, then sharpened by waveforms, in short windows until
    their pace is known.
    """
    edges = Edges(reference.sound_features, file.sound_features)
    coarse, pace = matches(reference.sound_features, file.sound_features)
    least_s = _least_piece_s(file.sound_features)
    parts = pieces(coarse, _sound_lines(pace, _COARSE_JUMP_S), edges, least_s)
    for window_s in _FINE_WINDOWS_S:
        sharp: list[WindowMatch] = []
        for part in parts:
            for match in coarse:
                if part.start_s <= match.file_s < part.end_s:
                    near = WindowMatch(match.file_s, part.reference_s(match.file_s), match.score)
                    better = sharpen(near, reference.sound, file.sound, part.pace, window_s)
                    sharp += [] if better is None else [better]
        sharp.sort(key=lambda match: match.file_s)
        if parts:  # a slip of the sample rate is a pace of its own
            pace = longest(parts).pace
        parts = pieces(sharp, _sound_lines(pace, _SOUND_JUMP_S), edges, least_s)
    return parts


def _least_piece_s(file: Features) -> float:
    """How long a piece must be. That of a short title is hardly longer than a window, less where
    little moves or sounds at its ends.
    """
    return min(LEAST_WINDOW_S, _LEAST_SHARE * (file.end_s - file.start_s))


def _sound_lines(pace: float, jump_s: float) -> Lines:
    return Lines(pace, jump_s, _NOISE * jump_s)


def _length_s(parts: Sequence[Piece]) -> float:
    return sum(part.end_s - part.start_s for part in parts)


def _inside(parts: Sequence[Piece], start_s: float, end_s: float) -> list[Piece]:
    cut = [(max(part.start_s, start_s), min(part.end_s, end_s), part) for part in parts]
    return [
        Piece(low, high, part.reference_s(low), part.pace) for low, high, part in cut if high > low
    ]


def _changes(sound: Sequence[Piece], picture: Sequence[Piece]) -> tuple[SyncChange, ...]:
    """Where both are aligned, what the sound plays against what the picture shows."""
    out: list[SyncChange] = []
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
            if abs(ends[1] - ends[0]) < _SAME_MS:
                ends = [float(np.mean(ends))] * 2
            out.append(SyncChange(start_s, end_s, ends[0], ends[1]))
    out.sort(key=lambda change: change.start_s)
    joined: list[SyncChange] = []
    for change in out:
        if joined and (same := _joined(joined[-1], change)) is not None:
            joined[-1] = same
        else:
            joined.append(change)
    return tuple(joined)


def _joined(first: SyncChange, second: SyncChange) -> SyncChange | None:
    """Two neighbours with one constant offset as one; None if they differ or something lies
    between.
    """
    levels = {first.start_ms, first.end_ms, second.start_ms, second.end_ms}
    if max(levels) - min(levels) >= _SAME_MS or second.start_s - first.end_s >= _LEAST_STRETCH_S:
        return None
    share = (first.end_s - first.start_s) / (
        first.end_s - first.start_s + second.end_s - second.start_s
    )
    level_ms = share * first.start_ms + (1 - share) * second.start_ms
    return SyncChange(first.start_s, second.end_s, level_ms, level_ms)
