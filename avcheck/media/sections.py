"""A file read section by section, where FFmpeg would not deliver all of it, or date it wrongly.

An MPEG transport stream is divided where its clock starts again, or where its programme moves to
other PIDs (`avcheck.media.transport`); each section is opened as a file of its own, and placed
where the one before ends. Every other file is one section.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from avcheck.errors import (
    CannotSeek,
    DecodeFailed,
    Encrypted,
    LimitExceeded,
    MediaError,
    NoVideo,
)
from avcheck.media.base import STALE_S, ExcerptStream, Picture, Sound, Source, Tally, no_pictures
from avcheck.media.container import VIDEO_FORMATS, open_container, open_source
from avcheck.media.picture import decode_pictures
from avcheck.media.sound import decode_sounds
from avcheck.media.streams import choose_audio, choose_video, of_programme, playing
from avcheck.media.survey import survey_file
from avcheck.media.transport import (
    MAX_SECTIONS,
    Era,
    Excerpt,
    Programme,
    Survey,
    Tables,
    sections_of,
)
from avcheck.rates import SAMPLE_RATE
from avcheck.record.tracks import listed

_ROUNDING = 1e-3  # of a sample

Item = TypeVar("Item")


@dataclass(frozen=True)
class StreamsWanted:
    """What the caller asks for; None takes the default. `own_sound` is False if the sound comes
    from another file.
    """

    program: int | None = None  # number of a programme of a transport stream
    video_track: int | None = None  # 0-based among the picture tracks that play
    audio_track: int | None = None  # 0-based among the audio tracks
    own_sound: bool = True
    any_sound: bool = False  # also a track of nothing but timecode or data


@dataclass(frozen=True)
class Chosen:
    """The streams to check. `pids` are those of their programme, or None if every stream of the
    file may be chosen.
    """

    video: VideoStream  # the pictures
    audio: AudioStream | None  # None: the file has none, or none that can be read
    programme: Programme | None = None
    pids: Collection[int] | None = None


@dataclass(frozen=True)
class StreamPart:
    """One stream in one section, which lies from start_s to end_s on the file's clock; no source:
    the section lacks it.
    """

    start_s: float
    end_s: float
    source: Source | None

    @property
    def zero(self) -> int | None:
        """The timestamp of a transport stream at which it starts."""
        piece = None if self.source is None else self.source.piece
        return None if piece is None else piece.zero


@dataclass(frozen=True)
class Layout:
    """The sections of the file at `path`: as many parts of the picture as of the sound."""

    path: Path
    pictures: tuple[StreamPart, ...]  # of each section, in order
    sounds: tuple[StreamPart, ...]  # as many, in the same order

    @property
    def end_s(self) -> float:
        """Where the last one ends, on the file's clock."""
        return self.pictures[-1].end_s

    @property
    def seams_s(self) -> tuple[float, ...]:
        """Where the pictures of one section end and those of the next begin."""
        return tuple(max(before.end_s, part.start_s) for before, part in pairwise(self.pictures))

    def first_whole(self) -> tuple[StreamPart, StreamPart]:
        """The first section that has both, or else a picture, or else the first."""
        both = list(zip(self.pictures, self.sounds, strict=True))
        whole = [pair for pair in both if pair[0].source and pair[1].source]
        return next(iter(whole or [pair for pair in both if pair[0].source] or both))


def survey_of(container: InputContainer, path: Path, program: int | None) -> Survey | None:
    """What the packets of a transport stream say; None for every other file. Raises NoVideo if
    `program` is not in it.
    """
    survey = survey_file(path) if container.format.name == "mpegts" else None
    if program is not None and (survey is None or program not in programmes_of(survey)):
        have = "the file has no programmes; leave --program out"
        if survey is not None:
            have = (
                f"the file has no programme {program}: it has {listed(programmes_of(survey))}; "
                "choose one with --program"
            )
        raise NoVideo(path, have)
    return survey


def programmes_of(survey: Survey) -> tuple[int, ...]:
    """The numbers of the programmes that have packets at the start of the file."""
    programmes = survey.tables[survey.opening].programmes.values()
    return tuple(
        each.number
        for each in programmes
        if any(pid in survey.stamps or pid in survey.scrambled for pid in each.types)
    )


def choose_streams(
    container: InputContainer, path: Path, survey: Survey | None, wanted: StreamsWanted
) -> Chosen:
    """The picture, and the sound of its programme. Raises NoVideo, NoAudio, DecodeFailed and
    LimitExceeded.
    """
    if survey is None:
        return _choose(container, path, wanted, None)
    programmes = survey.tables[survey.opening].programmes
    if wanted.program is not None:
        return _choose_of(container, path, wanted, programmes[wanted.program], survey.scrambled)
    clear = [
        pid for each in programmes.values() for pid in each.types if pid not in survey.scrambled
    ]
    if survey.scrambled and playing(container) and not of_programme(playing(container), clear):
        raise _encrypted(path)
    video = choose_video(container, path, wanted.video_track, clear or None)
    programme = next((each for each in programmes.values() if video.id in each.types), None)
    if programme is None:
        return _choose(container, path, wanted, None)
    return _choose_of(
        container,
        path,
        dataclasses.replace(wanted, video_track=None),
        programme,
        survey.scrambled,
        video,
    )


def _choose_of(
    container: InputContainer,
    path: Path,
    wanted: StreamsWanted,
    programme: Programme,
    scrambled: Collection[int],
    video: VideoStream | None = None,
) -> Chosen:
    pids = frozenset(programme.types)
    if pids and pids.issubset(scrambled):
        raise _encrypted(path)
    chosen = _choose(container, path, wanted, pids, video)
    if chosen.video.id in scrambled or (
        wanted.own_sound and chosen.audio is not None and chosen.audio.id in scrambled
    ):
        raise _encrypted(path)
    return dataclasses.replace(chosen, programme=programme)


def _choose(
    container: InputContainer,
    path: Path,
    wanted: StreamsWanted,
    pids: Collection[int] | None,
    video: VideoStream | None = None,
) -> Chosen:
    video = video or choose_video(container, path, wanted.video_track, pids)
    audio: AudioStream | None = None
    if wanted.own_sound:
        audio = choose_audio(container, path, wanted.audio_track, pids)
    elif any(pids is None or stream.id in pids for stream in container.streams.audio):
        with suppress(DecodeFailed, LimitExceeded):  # it is not checked
            audio = choose_audio(container, path, None, pids)
    return Chosen(video, audio, pids=pids)


def _encrypted(path: Path) -> Encrypted:
    return Encrypted(
        path,
        "the file is encrypted (its packets are scrambled); decrypt it, or record it in the clear",
    )


def layout_of(
    path: Path, survey: Survey | None, chosen: Chosen, wanted: StreamsWanted
) -> Layout | None:
    """How a transport stream is divided; None if the file can be read as one, like every other
    file.
    """
    if survey is None or chosen.programme is None:
        return None
    sections = sections_of(survey, _eras(path, survey, chosen, wanted))
    if not sections or (len(sections) == 1 and len(programmes_of(survey)) == 1):
        return None
    pictures: list[StreamPart] = []
    sounds: list[StreamPart] = []
    for number, section in enumerate(sections):
        of_picture = section.pictures, section.era.video_pid, section.first_picture
        of_sound = section.sounds, section.era.audio_pid, section.first_sound
        for parts, (excerpt, pid, first) in ((pictures, of_picture), (sounds, of_sound)):
            source = None
            if pid is not None and first is not None and number < MAX_SECTIONS:
                source = Source(
                    path, VIDEO_FORMATS, -1, 0.0, ExcerptStream(excerpt, pid, first, section.zero)
                )
            parts.append(StreamPart(section.start_s, section.end_s, source))
    return Layout(path, tuple(pictures), tuple(sounds))


def _eras(path: Path, survey: Survey, chosen: Chosen, wanted: StreamsWanted) -> list[Era]:
    """From where to where the programme has which PIDs. When they change, the streams are chosen
    again.
    """
    if chosen.programme is None:
        return []
    opening = survey.tables[survey.opening]
    audio_pid = None if chosen.audio is None else chosen.audio.id
    eras = [Era(0, survey.end, opening.packets, chosen.programme, chosen.video.id, audio_pid)]
    for tables in survey.tables[survey.opening + 1 :]:
        era = eras[-1]
        number = era.programme.number
        now = tables.programmes.get(number)
        if now is None and (number in tables.listed or wanted.program is not None):
            continue  # its streams are not announced yet, or it is gone
        pids = [pid for pid in (era.video_pid, era.audio_pid) if pid is not None]
        if now is not None and all(
            now.types.get(pid) == era.programme.types.get(pid) for pid in pids
        ):
            continue
        candidates = tables.programmes.values() if now is None else [now]
        following = _next_era(path, survey, tables, candidates, wanted)
        if following is not None:
            eras[-1] = dataclasses.replace(era, end=following.start)
            eras.append(following)
    return eras


def _next_era(
    path: Path,
    survey: Survey,
    tables: Tables,
    candidates: Iterable[Programme],
    wanted: StreamsWanted,
) -> Era | None:
    """The streams from `tables` on; None if there are none."""
    for programme in candidates:
        excerpt = Excerpt(tables.at, survey.end, tables.packets + programme.packets)
        try:
            with open_container(path, VIDEO_FORMATS, excerpt) as container:
                chosen = _choose(container, path, wanted, frozenset(programme.types))
                audio_pid = None if chosen.audio is None else chosen.audio.id
                return Era(
                    tables.at, survey.end, tables.packets, programme, chosen.video.id, audio_pid
                )
        except MediaError:
            continue
    return None


def whole_of(source: Source) -> tuple[StreamPart, ...]:
    """A stream that is read as one."""
    return (StreamPart(0.0, math.inf, source),)


@contextmanager
def open_layout(
    layout: Layout,
) -> Iterator[tuple[InputContainer, VideoStream, AudioStream | None, float]]:
    """The first section open: its container, picture and sound, and the timestamp in it, in
    seconds, that is zero of the file's clock.
    """
    pictures, sounds = layout.first_whole()
    if pictures.source is None:
        raise no_pictures(layout.path)
    container, source = open_source(pictures.source)
    with container:
        audio = None
        if sounds.source is not None:
            heard, piece = sounds.source.index, sounds.source.piece
            audio = next(
                (
                    stream
                    for stream in container.streams.audio
                    if (stream.index == heard if piece is None else stream.id == piece.pid)
                ),
                None,
            )
        video = next(stream for stream in container.streams.video if stream.index == source.index)
        yield container, video, audio, source.origin_s - pictures.start_s


def pictures_of(
    parts: Sequence[StreamPart],
    tally: Tally,
    from_s: float | None,
    *,
    short_side: int,
    threads: int,
) -> Generator[Picture, None, None]:
    """The pictures of a file, as `Media.pictures` describes them; what is lost counts in
    `tally`.
    """
    last_s = -1.0
    before: StreamPart | None = None

    def decode(source: Source, lost: Tally, at_s: float | None) -> Generator[Picture, None, None]:
        return decode_pictures(source, lost, at_s, short_side=short_side, threads=threads)

    with closing(_part_after_part(parts, decode, tally, from_s)) as shown:
        for part, picture in shown:
            time_s = picture.pts_s + part.start_s
            if (
                len(parts) > 1
                and from_s is None
                and part is not before
                and time_s - max(0.0, last_s) > STALE_S
            ):
                # No key frame where the part begins
                tally.missing_s += time_s - max(0.0, last_s) - STALE_S
            before = part
            if time_s > last_s:
                last_s = picture.pts_s = time_s
                yield picture


def sounds_of(
    parts: Sequence[StreamPart], tally: Tally, from_s: float | None
) -> Generator[Sound, None, None]:
    """The sound of a file, as `Media.sounds` describes it; what is lost counts in `tally`."""
    last_s = 0.0
    with closing(_part_after_part(parts, decode_sounds, tally, from_s)) as heard:
        for part, sound in heard:
            kept = Sound(sound.start_s + part.start_s, sound.samples)
            # Where two sections meet, the sound of the first may continue past its last picture
            if len(parts) > 1:
                kept = _within(kept, last_s, math.inf if part is parts[-1] else part.end_s)
                last_s = kept.end_s
            if len(kept.samples):
                yield kept


def _within(sound: Sound, from_s: float, until_s: float) -> Sound:
    """The part of a sound that lies between two times."""
    first = max(0, math.ceil((from_s - sound.start_s) * SAMPLE_RATE - _ROUNDING))
    end = (
        len(sound.samples)
        if sound.end_s <= until_s
        else max(first, math.floor((until_s - sound.start_s) * SAMPLE_RATE))
    )
    return Sound(sound.start_s + first / SAMPLE_RATE, sound.samples[first:end])


def _part_after_part(
    parts: Sequence[StreamPart],
    decode: Callable[[Source, Tally, float | None], Generator[Item, None, None]],
    tally: Tally,
    from_s: float | None,
) -> Generator[tuple[StreamPart, Item], None, None]:
    """The decoded frames of one stream, part after part, each with its part and on the part's own
    clock.

    A part that ends in an error counts as not looked at from there on; the error is raised only if
    nothing at all decodes.
    """
    if len(parts) == 1 and parts[0].source is not None:
        with closing(decode(parts[0].source, tally, from_s)) as items:
            for item in items:
                yield parts[0], item
        return
    failure: MediaError | None = None
    empty = True
    for part in parts:
        if from_s is not None and part.end_s <= from_s and part is not parts[-1]:
            continue
        at_s = None if from_s is None or from_s <= part.start_s else from_s - part.start_s
        lost = Tally()
        ended = False
        try:
            if part.source is not None:
                with closing(decode(part.source, lost, at_s)) as items:
                    for item in items:
                        empty = False
                        yield part, item
                ended = True
        except CannotSeek:
            raise
        except MediaError as error:
            failure = failure or error
        finally:
            tally.add(lost, part.start_s)
        if not ended and part.start_s + lost.end_s < part.end_s:
            tally.unseen.append((part.start_s + lost.end_s, part.end_s))
    tally.finished = True
    if empty and failure is not None and from_s is None:
        raise failure
