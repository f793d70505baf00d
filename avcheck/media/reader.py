"""An open file: its pictures and its sound, on one clock."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from avcheck.machine.cores import cores
from avcheck.media.base import SHORT_SIDE, Picture, Sound, Tally
from avcheck.media.container import PROBE_S
from avcheck.media.joined import MOST_FILES
from avcheck.media.opening import Opened, audio_tracks_of, open_film
from avcheck.media.sections import StreamsWanted, pictures_of, sounds_of
from avcheck.media.separate import with_sound_of
from avcheck.media.timeline import Timeline, play_pictures, play_sounds
from avcheck.media.unheard import Unheard
from avcheck.record.report import Degraded, Track
from avcheck.record.tracks import listed
from avcheck.text.counted import counted

_LEAST_UNSEEN_S = 0.5

_LITTLE = 0.25  # the share of a track that an edit list shows, below which it is mentioned

# Pictures or sound that go on alone for longer than this are mentioned
_LEAST_ALONE_S, _LEAST_ALONE_SHARE = 2.0, 0.1

_MOST_PLACES = 3  # named one by one; more are counted

MAX_THREADS = 4  # a decoder gains little beyond, and every frame thread holds pictures


_SEAMS = {
    "clock": "its clock or its PIDs change {}; each part was checked by its own timestamps",
    "files": "files were joined in it {}; each was checked by its own timestamps",
    "one": (
        "files were joined in it {}; they were checked as one, as FFmpeg and mpv play them, but "
        "other players show the first alone"
    ),
}

_SOUND_SEAMS = {
    "clock": (
        "the clock or the PIDs of its sound file change {}; each part was checked by its own "
        "timestamps"
    ),
    "files": "files were joined in its sound file {}; each was heard after the one before",
}

_TOO_MANY = (
    "more than {} files were joined in {} and were read as one: what follows the first may be "
    "missing or lie elsewhere; join them anew by a program that writes one clock"
)


class Media:
    """An open file; made by `open_media`, closed by `with` or `close()`.

    `pictures()` and `sounds()` start at the beginning with every call, or near `from_s`; `degraded`
    counts what they lost.
    """

    def __init__(self, film: Opened, *, short_side: int = SHORT_SIDE, threads: int = 1) -> None:
        self.info = film.info
        self.seekable = film.seekable  # whether `pictures` and `sounds` take a `from_s`
        self.seams_s = film.seams_s  # where recordings were joined, on the file's clock
        # Whether it is several files that were joined end to end
        self.are_files = film.joined_bytes > 0 or film.seams_are != "clock"
        self._film = film
        self._short_side = short_side
        self._threads = threads
        self._picture_tally = Tally()
        self._sound_tally = Tally()
        self._running: list[Generator[Any, None, None]] = []

    def __enter__(self) -> Media:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the containers of all iterators, which end there. Pictures already given out stay
        good.
        """
        while self._running:
            self._running.pop().close()

    def pictures(self, from_s: float | None = None) -> Generator[Picture, None, None]:
        """The pictures in the order they are shown, `pts_s` strictly rising and at least 0. Close
        it to stop early.

        Args:
            from_s: On the file's clock. The first picture is the one shown then, if there is one;
                a decode starts at the key frame before it. Such a call adds to `degraded` what it
                lost. None: from the beginning, and `degraded` starts anew.

        Raises:
            DecodeFailed: At the end of a file in which no picture decoded or had a timestamp.
            CannotSeek: A decode from `from_s` cannot be the same as one from the beginning, or
                would be no shorter.
        """
        if from_s is None:
            self._picture_tally = Tally()
        parts, short_side, threads = self._film.pictures, self._short_side, self._threads

        def decode(tally: Tally, from_s: float | None) -> Generator[Picture, None, None]:
            return pictures_of(parts, tally, from_s, short_side=short_side, threads=threads)

        if self._film.picture_timeline is None:
            return self._start(decode(self._picture_tally, from_s))
        return self._start(
            play_pictures(
                self._film.picture_timeline, decode, self._picture_tally, from_s, self.info.path
            )
        )

    def sounds(self, from_s: float | None = None) -> Generator[Sound, None, None]:
        """The sound in runs of half a second or more, rising and never overlapping; a gap shows in
        the next `start_s`.

        Args:
            from_s: On the file's clock. The sound begins there, with the very samples that a decode
                from the beginning gives there. None: from the beginning. For `degraded` it counts
                as in `pictures`.

        Raises:
            NoAudio: At the end of a file whose audio track held no sound.
            CannotSeek: As `pictures`.
        """
        if from_s is None:
            self._sound_tally = Tally()
        parts = self._film.sounds

        def decode(tally: Tally, from_s: float | None) -> Generator[Sound, None, None]:
            return sounds_of(parts, tally, from_s)

        if self._film.sound_timeline is None:
            return self._start(decode(self._sound_tally, from_s))
        return self._start(
            play_sounds(
                self._film.sound_timeline, decode, self._sound_tally, from_s, self.info.path
            )
        )

    def all_sounds(self, from_s: float | None = None) -> list[Generator[Sound, None, None]]:
        """A list with `sounds` alone; a `Title` has several."""
        return [self.sounds(from_s)]

    @property
    def degraded(self) -> Degraded:
        """What the latest `pictures()` and `sounds()` lost so far, or all calls that had a
        `from_s`.
        """
        return self.degraded_with(self)

    def degraded_with(self, shown: Media) -> Degraded:
        """The same, but for the pictures: what those of `shown` lost, which is the same file opened
        for another of its sounds.
        """
        picture, sound = shown._picture_tally, self._sound_tally
        timelines = shown._film.picture_timeline, self._film.sound_timeline
        notes = (
            *_of_the_film(self._film),
            *_of_edit_lists(*timelines),
            *self._alone(picture, sound),
            *_of_decoding(picture, sound),
        )
        return Degraded(
            corrupt_frames=picture.lost + picture.damaged,
            missing_audio_s=round(sound.missing_s, 3),
            missing_video_s=round(picture.missing_s, 3),
            truncated=self._truncated(picture, sound),
            notes=notes,
            unseen_s=_merged([*picture.unseen, *sound.unseen]),
            unseen_bytes=self._film.joined_bytes + self._film.sound_joined_bytes,
        )

    def _alone(self, picture: Tally, sound: Tally) -> Iterator[str]:
        """Where pictures or sound begin or end long before the other. Known only once the pictures
        were read to their end; the length of the file stands in for sound that goes on after them.
        """
        if self.info.audio_track is None or not picture.finished:
            return
        # What begins within the first half minute is reported as the container's offset.
        for late, what, other in (
            (picture, "pictures begin", sound),
            (sound, "sound begins", picture),
        ):
            if math.inf > late.start_s > max(PROBE_S, other.start_s + _LEAST_ALONE_S):
                yield f"its {what} at {late.start_s:.1f} s"
        sound_end_s = sound.end_s
        if not sound.finished:
            sound_end_s = max(sound_end_s, self.info.duration_s or 0.0)
        least_s = max(_LEAST_ALONE_S, _LEAST_ALONE_SHARE * max(picture.end_s, sound_end_s))
        if abs(picture.end_s - sound_end_s) > least_s:
            last = "its sound" if sound.finished else "the file"
            yield f"its pictures end at {picture.end_s:.1f} s, {last} at {sound_end_s:.1f} s"

    def _truncated(self, picture: Tally, sound: Tally) -> bool:
        """Whether the file ends well before its header says. Known only once both streams were read
        to their end.
        """
        duration_s = self.info.duration_s
        if duration_s is None or not (picture.finished and sound.finished):
            return False
        end_s = picture.end_s
        if self.info.audio_track is not None:
            end_s = max(end_s, sound.end_s)
        return end_s < duration_s - max(1.0, 0.01 * duration_s)

    def _start(self, iterator: Generator[Any, None, None]) -> Generator[Any, None, None]:
        self._running.append(iterator)
        return iterator


def open_media(
    path: str | Path,
    *,
    audio_track: int | None = None,
    video_track: int | None = None,
    program: int | None = None,
    audio_path: str | Path | None = None,
    any_sound: bool = False,
    short_side: int = SHORT_SIDE,
    threads: int = 0,
) -> Media:
    """Open a video file for checking, and find its first picture and its first sound.

    Args:
        path: The file.
        audio_track: Counted from 0 among the audio tracks; None: the one that players take.
        video_track: Counted from 0 among the picture tracks that play (cover art does not); None:
            the one that players take.
        program: Number of a programme of an MPEG transport stream, among whose tracks the two then
            count; None: the programme with the main picture.
        audio_path: Another file, from which to take the sound. If both files are of one stream, its
            clock says when the sound is due; else time zero of that file is laid on the first
            picture or sound of the video file, whichever is earlier.
        any_sound: Take a track of the file's own sound that is nothing but timecode or data, too.
        short_side: Size of the pictures, px. A smaller source is never scaled up, and one wider
            than 2.4 to 1 gets a long side of 2.4 x `short_side`.
        threads: For decoding pictures; 0: as many as there are cores, up to `MAX_THREADS`.

    Raises:
        UsageError: There is no such file.
        NotMedia, Unreadable: The file cannot be opened.
        NoVideo, NoAudio: It has no such track or programme.
        DecodeFailed, Encrypted: Nothing of a track can be decoded.
        LimitExceeded: It asks for more than a limit allows.
    """
    wanted = StreamsWanted(
        program,
        video_track,
        audio_track,
        own_sound=audio_path is None,
        any_sound=any_sound,
    )
    film = open_film(Path(path), wanted)
    if audio_path is not None:
        film = with_sound_of(film, Path(audio_path), audio_track)
    return Media(
        film, short_side=short_side, threads=threads if threads > 0 else min(MAX_THREADS, cores())
    )


def audio_tracks(
    path: str | Path, *, video_track: int | None = None, program: int | None = None
) -> tuple[Track, ...]:
    """The audio tracks that `open_media` would choose from; () if there are none. The arguments,
    and what is raised, are those of `open_media`.
    """
    return audio_tracks_of(Path(path), StreamsWanted(program, video_track))


def _merged(stretches: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Stretches of time in order, overlapping ones merged; those shorter than `_LEAST_UNSEEN_S` are
    left out.
    """
    merged: list[tuple[float, float]] = []
    for start_s, end_s in sorted(stretches):
        if merged and start_s <= merged[-1][1]:
            start_s, end_s = merged[-1][0], max(end_s, merged.pop()[1])
        merged.append((start_s, end_s))
    return tuple(
        (round(start_s, 3), round(end_s, 3))
        for start_s, end_s in merged
        if end_s - start_s >= _LEAST_UNSEEN_S
    )


def _of_the_film(film: Opened) -> Iterator[str]:
    """What was noticed when the file was opened."""
    if film.seams_s:
        yield _SEAMS[film.seams_are].format(_places(film.seams_s))
    if film.sound_seams_s:
        yield _SOUND_SEAMS[film.sound_seams_are].format(_places(film.sound_seams_s))
    for what, are_too_many in (
        ("it", film.too_many_files),
        ("its sound file", film.too_many_sounds),
    ):
        if are_too_many:
            yield _TOO_MANY.format(MOST_FILES, what)
    if film.joined_bytes:
        yield (
            "another file was joined to its end: players show the first alone, and the last "
            f"{film.joined_bytes:,} bytes were not looked at"
        )
    if film.sound_joined_bytes:
        yield (
            "another file was joined to the end of its sound file: players play the first "
            f"alone, and the last {film.sound_joined_bytes:,} bytes were not listened to"
        )
    ahead_s = film.timecode_ahead_s
    if ahead_s is not None:
        yield (
            f"by their timecodes its sound file begins {abs(ahead_s):.2f} s "
            f"{'after' if ahead_s > 0 else 'before'} the pictures; it was laid on the "
            "beginning of the film, as by players"
        )
    if film.unheard is not None:
        yield from _in_words(film.unheard)


def _of_edit_lists(pictures: Timeline | None, sound: Timeline | None) -> Iterator[str]:
    """That an edit list changes the speed, or shows little of what the file holds. Some players
    show more.
    """
    if any(each is not None and each.other_speed for each in (pictures, sound)):
        yield "its edit list plays some of it at another speed, which is not looked at"
    for timeline, what in ((pictures, "pictures"), (sound, "sound")):
        if timeline is not None and timeline.shown_s < _LITTLE * timeline.held_s:
            yield (
                f"its edit list shows {timeline.shown_s:.1f} s of the {timeline.held_s:.1f} s of "
                f"{what} that it holds"
            )
            return


def _of_decoding(picture: Tally, sound: Tally) -> Iterator[str]:
    """What was met while the file was decoded."""
    if sound.lost:
        yield counted(sound.lost, "damaged audio packet")
    if picture.decoding_delay_s is not None:
        yield (
            "its pictures carry decoding times only: each is shown when it is decoded; a player "
            "that takes them for the times of presentation shows it "
            f"{1000 * picture.decoding_delay_s:.0f} ms earlier"
        )
    if picture.decoded_later_s:
        yield (
            "its pictures carry no times of presentation: each is shown in its place; players "
            "that show it when it is decoded, as FFmpeg does, are "
            f"{1000 * picture.decoded_later_s:.0f} ms later"
        )
    if sound.one_channel_s:
        yield (
            f"its channels cancel each other when mixed: for {sound.one_channel_s:.0f} s one "
            "of them was taken alone"
        )
    if sound.bad_samples:
        yield f"not a number, taken as silence: {counted(sound.bad_samples, 'audio sample')}"
    for kind, tally in (("picture", picture), ("audio frame", sound)):
        if tally.undated:
            yield f"left out: {counted(tally.undated, kind)} without a timestamp"
        if tally.stray:
            yield f"left out: {counted(tally.stray, kind)} with a damaged timestamp"
        if tally.backward:
            yield f"timestamps jump back; left out: {counted(tally.backward, kind)}"


def _in_words(unheard: Unheard) -> Iterator[str]:
    """Which channels are no sound, a sentence for each kind."""
    kinds = sorted({kind for _, kind in unheard.kinds})
    for kind in kinds:
        numbers = [channel + 1 for channel, each in unheard.kinds if each == kind]
        are = "channel {} of its sound is" if len(numbers) == 1 else "channels {} of its sound are"
        yield f"{are.format(listed(numbers))} {kind}, and not listened to"


def _places(times_s: Sequence[float]) -> str:
    """Where something happens, as in "at 12.3 s and 40.0 s"."""
    if len(times_s) > _MOST_PLACES:
        return f"at {len(times_s)} places, first at {times_s[0]:.1f} s"
    return "at " + " and ".join(f"{time_s:.1f} s" for time_s in times_s)
