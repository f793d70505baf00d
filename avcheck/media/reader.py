"""An open file: its pictures and its sound, on one clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any

from avcheck.cores import cores
from avcheck.errors import DecodeFailed
from avcheck.media.base import SHORT_SIDE, MediaInfo, Picture, Sound, Source, Tally, frame_time_s, no_pictures, no_sound
from avcheck.media.container import (
    SOUND_FORMATS,
    VIDEO_FORMATS,
    Clock,
    choose_audio,
    clock_of,
    duration_s_of,
    first_frames,
    first_sound_s_of,
    of_programme,
    open_container,
    playing,
    tracks_of,
)
from avcheck.media.packets import is_seekable
from avcheck.media.picture import decode_pictures, display_size, pixel_aspect, rotation_of
from avcheck.media.sections import (
    Part,
    Wanted,
    choose_streams,
    layout_of,
    opened,
    pictures_of,
    programmes_of,
    sounds_of,
    survey_of,
    whole_of,
)
from avcheck.media.sound import decode_sounds
from avcheck.media.timeline import Timeline, play_pictures, play_sounds
from avcheck.report import Degraded

_LEAST_UNSEEN_S = 0.5

_MOST_PLACES = 3  # named one by one

MAX_THREADS = 4  # a decoder gains little beyond, and every frame thread holds pictures


class Media:
    """An open file; made by `open_media`, closed by `with` or `close()`.

    `pictures()` and `sounds()` start at the beginning with every call, or near `from_s`; `degraded` counts what they lost.
    """

    def __init__(
        self,
        info: MediaInfo,
        pictures: Sequence[Part],
        sounds: Sequence[Part],
        *,
        short_side: int = SHORT_SIDE,
        threads: int = 1,
        seekable: bool = False,
        seams_s: Sequence[float] = (),
        notes: Sequence[str] = (),
        picture_timeline: Timeline | None = None,
        sound_timeline: Timeline | None = None,
    ) -> None:
        self.info = info
        self.seekable = seekable  # whether `pictures` and `sounds` take a `from_s`
        self.seams_s = tuple(seams_s)  # where one recording was joined to another, as far as is known
        self._notes = tuple(notes)
        self._picture_parts = pictures
        self._sound_parts = sounds
        self._picture_timeline = picture_timeline
        self._sound_timeline = sound_timeline
        self._short_side = short_side
        self._threads = threads
        self._picture_tally = Tally()
        self._sound_tally = Tally()
        self._running: list[Generator[Any, None, None]] = []

    def __enter__(self) -> Media:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the containers of all iterators; they end there. Pictures already given out stay good."""
        while self._running:
            self._running.pop().close()

    def pictures(self, from_s: float | None = None) -> Generator[Picture, None, None]:
        """The pictures in the order they are shown, `pts_s` strictly rising and at least 0. Close it to stop early.

        With `from_s` (seconds) the first is the one shown at that moment, if there is one; what comes before it is sought, not
        decoded, as far back as the last key frame. Such a call adds to `degraded` what it lost; one without starts anew.

        Raises DecodeFailed at the end of a file in which no picture decoded or none had a timestamp, and CannotSeek where a
        decode from `from_s` cannot be the same as one from the beginning, or would be no shorter.
        """
        if from_s is None:
            self._picture_tally = Tally()
        parts, short_side, threads = self._picture_parts, self._short_side, self._threads

        def decode(tally: Tally, from_s: float | None) -> Generator[Picture, None, None]:
            return pictures_of(parts, tally, from_s, short_side=short_side, threads=threads)

        if self._picture_timeline is None:
            return self._start(decode(self._picture_tally, from_s))
        return self._start(play_pictures(self._picture_timeline, decode, self._picture_tally, from_s, self.info.path))

    def sounds(self, from_s: float | None = None) -> Generator[Sound, None, None]:
        """The sound in runs of half a second or more, rising and never overlapping; a gap shows in the next `start_s`.

        With `from_s` (seconds) it begins there, with the very samples that a decode from the beginning gives there; for
        `degraded` as in `pictures`.

        Raises NoAudio at the end of a file whose audio track held no sound, and CannotSeek as `pictures` does.
        """
        if from_s is None:
            self._sound_tally = Tally()
        parts = self._sound_parts

        def decode(tally: Tally, from_s: float | None) -> Generator[Sound, None, None]:
            return sounds_of(parts, tally, from_s)

        if self._sound_timeline is None:
            return self._start(decode(self._sound_tally, from_s))
        return self._start(play_sounds(self._sound_timeline, decode, self._sound_tally, from_s, self.info.path))

    @property
    def degraded(self) -> Degraded:
        """What was lost so far by the latest `pictures()` and `sounds()`, or by all that had a `from_s`."""
        picture, sound = self._picture_tally, self._sound_tally
        notes = list(self._notes)
        if sound.lost:
            notes.append(f"{sound.lost} damaged audio packets")
        if picture.decoding_delay_s is not None:
            delay_ms = 1000 * picture.decoding_delay_s
            notes.append(
                "its pictures carry decoding times only: each is shown when it is decoded; "
                f"a player that takes them for the times of presentation shows it {delay_ms:.0f} ms earlier"
            )
        if sound.one_channel_s:
            notes.append(
                f"its channels cancel each other when mixed: for {sound.one_channel_s:.0f} s one of them was taken alone"
            )
        if sound.bad_samples:
            notes.append(f"{sound.bad_samples} audio samples were not a number and count as silence")
        for kind, tally in (("pictures", picture), ("audio frames", sound)):
            if tally.undated:
                notes.append(f"{tally.undated} {kind} without a timestamp were left out")
            if tally.stray:
                notes.append(f"{tally.stray} {kind} with a damaged timestamp were left out")
            if tally.backward:
                notes.append(f"timestamps jump back: {tally.backward} {kind} were left out")
        return Degraded(
            corrupt_frames=picture.lost + picture.damaged,
            missing_audio_s=round(sound.missing_s, 3),
            missing_video_s=round(picture.missing_s, 3),
            truncated=self._truncated(),
            notes=tuple(notes),
            unseen_s=_merged([*picture.unseen, *sound.unseen]),
        )

    def _truncated(self) -> bool:
        """Whether the file ended well before its header says. Known only once both streams were read to their end."""
        duration_s = self.info.duration_s
        if duration_s is None or not (self._picture_tally.finished and self._sound_tally.finished):
            return False
        end_s = self._picture_tally.end_s
        if self.info.audio_track is not None:
            end_s = max(end_s, self._sound_tally.end_s)
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
    short_side: int = SHORT_SIDE,
    threads: int = 0,
) -> Media:
    """Open a video file for checking, and find its first picture and its first sound.

    `audio_track` counts from 0 among the audio tracks, `video_track` among the picture tracks that play (cover art does not);
    None takes the default one. `program` is the number of a programme of an MPEG transport stream, whose tracks these then are;
    None takes the one with the main picture. `audio_path` takes the sound from another file instead, whose time zero is laid on
    the first picture or sound of the video file, whichever is earlier.
    `short_side` is the size of the pictures in pixels; a smaller source is never scaled up, and one wider than 2.4 to 1
    gets a long side of 2.4 x `short_side`. `threads` are for decoding pictures; 0 = as many as there are cores, up to 4.

    Raises UsageError (no such file), NotMedia, NoVideo, NoAudio, DecodeFailed, LimitExceeded.
    """
    path = Path(path)
    wanted = Wanted(program, video_track, audio_track, own_sound=audio_path is None)
    with ExitStack() as stack:
        container = stack.enter_context(open_container(path, VIDEO_FORMATS))
        packets = survey_of(container, path, program)
        chosen = choose_streams(container, path, packets, wanted)
        video, audio = chosen.video, chosen.audio
        sounding, shown = of_programme(container.streams.audio, chosen.pids), of_programme(playing(container), chosen.pids)
        audio_number, video_number = sounding.index(audio) if audio else None, shown.index(video)
        audio_tracks, video_tracks = tracks_of(sounding), tracks_of(shown)
        duration_s = duration_s_of(container, path, video)
        layout = layout_of(path, VIDEO_FORMATS, packets, chosen, wanted)
        if layout is not None:
            duration_s = layout.end_s
            container, video, audio, origin_s = stack.enter_context(opened(layout))
            clock = heard = Clock(origin_s)
        else:
            clock = heard = clock_of(container, path, video)
            try:
                heard = clock if audio is None else clock_of(container, path, audio)
            except DecodeFailed:
                if audio_path is None:
                    raise
                audio = None  # it is not what is checked
        clocks = {stream.index: its for stream, its in ((video, clock), (audio, heard)) if stream is not None}
        picture, sound, at_end = first_frames(container, video, audio, clocks)
        if picture is None and at_end:
            raise no_pictures(path)
        if sound is None and at_end and audio_path is None:
            raise no_sound(path)
        picture_source = clock.source(path, VIDEO_FORMATS, video.index)
        sound_source = heard.source(path, VIDEO_FORMATS, audio.index if audio else -1)
        picture_timeline, sound_timeline = clock.timeline, heard.timeline
        first_picture_s = None if picture is None else frame_time_s(picture, clock.origin_s)
        first_sound_s = first_sound_s_of(sound, heard.origin_s)
        if picture_timeline is not None:
            first_picture_s = _first_picture_s(picture_source, picture_timeline)
        if sound_timeline is not None and sound is not None:
            first_sound_s = _first_sound_s(sound_source, sound_timeline)
        rate = video.average_rate or video.guessed_rate
        rotation = 0 if picture is None else rotation_of(picture)
        width, height = display_size(picture or video.codec_context, pixel_aspect(video))
        seekable = is_seekable(container)
        info = MediaInfo(
            path=path,
            duration_s=duration_s,
            video_codec=video.codec_context.name,
            width=width if rotation in (0, 180) else height,
            height=height if rotation in (0, 180) else width,
            rotation=rotation,
            frame_rate=float(rate) if rate else None,
            audio_codec=audio.codec_context.name if audio else "",
            audio_track=audio_number,
            video_track=video_number,
            program=chosen.programme.number if chosen.programme else None,
            programs=programmes_of(packets) if packets else (),
            audio_tracks=audio_tracks,
            video_tracks=video_tracks,
            first_picture_s=first_picture_s,
            first_sound_s=first_sound_s,
        )
        pictures, sounds = whole_of(picture_source), whole_of(sound_source)
        if layout is not None:
            pictures, sounds = layout.pictures, layout.sounds

    if audio_path is not None:
        audio_path = Path(audio_path)
        start_s = min((time_s for time_s in (first_picture_s, first_sound_s) if time_s is not None), default=0.0)
        with open_container(audio_path, SOUND_FORMATS) as container:
            audio = choose_audio(container, audio_path, audio_track)
            heard = clock_of(container, audio_path, audio)
            sound_timeline = None if heard.timeline is None else heard.timeline.later(start_s)
            if sound_timeline is None:
                heard = dataclasses.replace(heard, origin_s=heard.origin_s - start_s)
            _, sound, at_end = first_frames(container, None, audio, {audio.index: heard})
            if sound is None and at_end:
                raise no_sound(audio_path)
            sound_source = heard.source(audio_path, SOUND_FORMATS, audio.index)
            first_sound_s = first_sound_s_of(sound, heard.origin_s)
            if sound_timeline is not None and sound is not None:
                first_sound_s = _first_sound_s(sound_source, sound_timeline)
            info = dataclasses.replace(
                info,
                audio_codec=audio.codec_context.name,
                audio_track=None,
                audio_tracks=tracks_of(list(container.streams.audio)),
                first_sound_s=first_sound_s,
            )
            sounds = whole_of(sound_source)
            seekable = seekable and is_seekable(container)
    if threads <= 0:
        threads = min(MAX_THREADS, cores())
    notes: list[str] = []
    seams_s = () if layout is None else layout.seams_s
    if seams_s:
        notes.append(f"its clock or its PIDs change {_places(seams_s)}; each part was checked by its own timestamps")
    return Media(
        info,
        pictures,
        sounds,
        short_side=short_side,
        threads=threads,
        seekable=seekable,
        seams_s=seams_s,
        notes=notes,
        picture_timeline=picture_timeline,
        sound_timeline=sound_timeline,
    )


def _first_picture_s(source: Source, timeline: Timeline) -> float | None:
    """When the first picture of a timeline is shown."""

    def decode(tally: Tally, from_s: float | None) -> Generator[Picture, None, None]:
        return decode_pictures(source, tally, from_s, short_side=SHORT_SIDE, threads=1)

    with closing(play_pictures(timeline, decode, Tally(), None, source.path)) as pictures:
        return next((picture.pts_s for picture in pictures), None)


def _first_sound_s(source: Source, timeline: Timeline) -> float | None:
    """When the first sound of a timeline is heard."""

    def decode(tally: Tally, from_s: float | None) -> Generator[Sound, None, None]:
        return decode_sounds(source, tally, from_s)

    with closing(play_sounds(timeline, decode, Tally(), None, source.path)) as sounds:
        return next((sound.start_s for sound in sounds), None)


def _merged(stretches: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Stretches of time in order, those that overlap as one; what is shorter than `_LEAST_UNSEEN_S` is left out."""
    merged: list[tuple[float, float]] = []
    for start_s, end_s in sorted(stretches):
        if merged and start_s <= merged[-1][1]:
            start_s, end_s = merged[-1][0], max(end_s, merged.pop()[1])
        merged.append((start_s, end_s))
    return tuple((round(start_s, 3), round(end_s, 3)) for start_s, end_s in merged if end_s - start_s >= _LEAST_UNSEEN_S)


def _places(times_s: Sequence[float]) -> str:
    """Where something happens, as in "at 12.3 s and 40.0 s"."""
    if len(times_s) > _MOST_PLACES:
        return f"at {len(times_s)} places, first at {times_s[0]:.1f} s"
    return "at " + " and ".join(f"{time_s:.1f} s" for time_s in times_s)
