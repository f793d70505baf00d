"""Which sounds of a title are checked: its main audio track, or those asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avcheck.errors import NoAudio
from avcheck.media import Media, audio_tracks, open_media
from avcheck.media.base import SHORT_SIDE
from avcheck.record.report import Track
from avcheck.record.tracks import available
from avcheck.settings import CheckSettings
from avcheck.text.languages import matches


@dataclass(frozen=True)
class Choice:
    """One sound: an audio track by its number (None: the main one), or a separate file.

    later_frames: by how many pictures of 25 fps it is laid later than the file says, to find an
    offset beyond those that are searched.
    """

    track: int | None = None
    audio: Path | None = None
    later_frames: int = 0

    @property
    def as_it_is(self) -> Choice:
        """The same sound where the file has it."""
        return replace(self, later_frames=0)


def sounds_of(path: str | Path, settings: CheckSettings) -> tuple[Choice, ...]:
    """The sounds of a file to check, one or more. Raises NoAudio if it has none of those asked for,
    and what `open_media` raises.
    """
    if settings.audio:
        return tuple(Choice(audio=audio) for audio in settings.audio)
    if settings.audio_tracks:
        return tuple(map(Choice, settings.audio_tracks))
    if not settings.every_track and not settings.languages:
        return (Choice(),)
    tracks = audio_tracks(path, video_track=settings.video_track, program=settings.program)
    if not tracks:
        return (Choice(),)  # opening it gives the best error
    if settings.every_track:
        return tuple(Choice(track.number) for track in tracks)
    chosen = [
        track.number
        for track in tracks
        if any(matches(track.language, wanted) for wanted in settings.languages)
    ]
    if not chosen:
        raise NoAudio(Path(path), _no_such_language(tracks, settings.languages))
    return tuple(map(Choice, chosen))


def open_sound(
    path: str | Path,
    settings: CheckSettings,
    choice: Choice,
    *,
    short_side: int = SHORT_SIDE,
    threads: int = 0,
) -> Media:
    """Open the file on the tracks to check, with this one of its sounds. The arguments, and what is
    raised, are those of `open_media`.
    """
    return open_media(
        path,
        audio_track=choice.track,
        video_track=settings.video_track,
        program=settings.program,
        audio_path=choice.audio,
        short_side=short_side,
        threads=threads,
    )


def _no_such_language(tracks: Sequence[Track], languages: Sequence[str]) -> str:
    have = available(tracks, "audio")
    wanted = " or ".join(f"'{language}'" for language in languages)
    if not any(track.language for track in tracks):
        return (
            "the file does not say the languages of its audio tracks: it has "
            f"{have}; choose one with --audio-track"
        )
    return (
        f"the file has no audio track in the language {wanted}: it has {have}; choose one with "
        "--audio-track"
    )
