"""How a file is written again: the way that its container allows, and what becomes of each stream.

Where a stream can start later, packets get new times and stay as they are. AVI and MXF ignore that
silently (in every FFmpeg up to 9.0.2), so there PCM is written anew with silence in front or
samples taken away; any other sound is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from avcheck.fix.formats import (
    FAMILIES,
    MOV,
    MUXERS,
    SILENCE,
    TOGETHER,
    codec_of,
    encoder_of,
    name_instead,
    options_for,
    tags_of,
    why_not,
)
from avcheck.fix.moves import Moves, Refused
from avcheck.media import Media, MediaInfo, open_media
from avcheck.media.container import VIDEO_FORMATS, clock_of, open_container
from avcheck.media.mp4 import index_of
from avcheck.media.streams import playing
from avcheck.media.unheard import LTC, unheard_in
from avcheck.record.tracks import escaped

# How late pictures may start where all streams begin together
_LATE_MS = 1.0

Action = Literal["copied", "moved", "rewritten", "encoded", "rebuilt", "dropped"]


@dataclass(frozen=True)
class StreamPlan:
    """What becomes of one stream of the old file.

    copied: packets and times as they are. moved: packets as they are, at other times. rewritten:
    PCM, sample for sample the same except for inserted silence and cut samples. encoded: decoded,
    played at another pace, encoded again. rebuilt: the container makes it from other data
    (timecode, chapters). dropped: `why` says why it cannot be kept.
    """

    index: int  # of the stream in the old file
    kind: str  # video, audio, subtitle, data, attachment
    codec: str  # FFmpeg's name of it
    action: Action  # one of these
    language: str = ""  # as the file writes it; "": none
    title: str = ""  # as the file writes it; "": none
    why: str = ""

    @property
    def is_written(self) -> bool:
        """Whether we write it to the new file."""
        return self.action not in ("rebuilt", "dropped")


@dataclass(frozen=True)
class Plan:
    """How a file is written again.

    main_video, measured: stream numbers; video_track, audio_track: what `open_media` calls them.
    """

    source: Path  # the old file
    muxer: str  # FFmpeg's name of the new container
    options: Mapping[str, str]  # of the muxer
    streams: tuple[StreamPlan, ...]  # of the old file, in their order
    moves: Moves  # where the sound belongs
    main_video: int
    measured: int
    video_track: int
    audio_track: int
    playing: tuple[int, ...]  # picture tracks that are no cover art
    same_format: bool  # as the source's: then packets must be bit by bit the same
    hides_start: bool  # the source has pictures before its beginning, which its edit list hides
    notes: tuple[str, ...] = ()  # what to tell the user

    @property
    def new_audio_track(self) -> int:
        """The measured track's number among the audio tracks of the new file."""
        return [
            each.index for each in self.streams if each.kind == "audio" and each.is_written
        ].index(self.measured)

    @property
    def new_video_track(self) -> int:
        """The main picture's number among those that play in the new file."""
        return [
            each.index for each in self.streams if each.index in self.playing and each.is_written
        ].index(self.main_video)


def make_plan(
    source: Path,
    target: Path,
    moves: Moves,
    *,
    audio_track: int | None = None,
    video_track: int | None = None,
    every_track: bool = False,
) -> Plan:
    """The plan for `source` to become `target` with its sound moved; the suffix of `target` says
    its container.

    `every_track` moves all audio tracks, not only the chosen one. Raises MediaError for what cannot
    be read, and Refused.
    """
    with open_media(
        source, audio_track=audio_track, video_track=video_track, any_sound=True, threads=1
    ) as media:
        info = media.info
        _refuse_title(media, moves)
    if index_of(source).mapped:
        raise Refused(
            "its edit list plays pieces of it, and a copy would play all of it; export it again "
            "first"
        )
    with open_container(source, VIDEO_FORMATS) as container:
        if container.format.name == "mpeg":
            raise Refused(
                "a program stream (.mpg, .vob) dates too few of its pictures for a copy; bring it "
                "into .mkv with mkvmerge first"
            )
        muxer = MUXERS.get(target.suffix.lower())
        if muxer is None:
            raise Refused(
                f"avcheck cannot write {escaped(target.suffix) or 'a file without a suffix'}; "
                "name it .mkv, .mp4, .mov or .ts"
            )
        video = playing(container)[info.video_track]
        audio_number = info.audio_track or 0  # None is for a separate sound file
        measured = container.streams.audio[audio_number]
        moved = _moved_tracks(container, measured, every_track)
        streams = tuple(
            _stream_plan(stream, container, source, muxer, moves if stream.index in moved else None)
            for stream in container.streams
        )
        lost = next(
            (
                each
                for each in streams
                if each.index in (video.index, measured.index) and not each.is_written
            ),
            None,
        )
        if lost is not None:
            raise Refused(lost.why + name_instead(container, (video, measured), muxer))
        _refuse_late_pictures(container, (video, measured), muxer, info)
        _refuse_data(container, source, streams)
        hides_start = _begins_before_zero(container, source, video)
        if hides_start and muxer not in MOV:
            raise Refused(
                "its edit list hides its first pictures, which a copy in another container would "
                "show; name the new file .mp4 or .mov"
            )
        return Plan(
            source=source,
            muxer=muxer,
            options=options_for(source, container, muxer),
            streams=streams,
            moves=moves,
            main_video=video.index,
            measured=measured.index,
            video_track=info.video_track,
            audio_track=audio_number,
            playing=tuple(each.index for each in playing(container)),
            hides_start=hides_start,
            same_format=muxer in FAMILIES.get(container.format.name, {container.format.name}),
            notes=_notes(container, moved, muxer, moves),
        )


def _begins_before_zero(container: InputContainer, source: Path, video: VideoStream) -> bool:
    """Whether an mp4 has pictures that no player shows, as one that was cut between two key
    frames.
    """
    start, tick_s = video.start_time, video.time_base
    if "mp4" not in container.format.name or start is None or tick_s is None:
        return False
    return float(start * tick_s) - clock_of(container, source, video).origin_s < -float(tick_s)


def _refuse_data(container: InputContainer, source: Path, streams: tuple[StreamPlan, ...]) -> None:
    """Raise Refused for a sound that is to be encoded anew, and holds data: that would destroy
    it.
    """
    for each in streams:
        if each.action != "encoded":
            continue
        clock = clock_of(container, source, container.streams[each.index])
        unheard = unheard_in(clock.source(source, VIDEO_FORMATS, each.index), container)
        kinds = () if unheard is None else (kind for _, kind in unheard.kinds if kind != LTC)
        for kind in kinds:
            raise Refused(
                f"its sound holds {kind} in the place of samples, which does not survive another "
                "speed; take those channels out first"
            )


def _refuse_late_pictures(
    container: InputContainer, main: tuple[Stream, Stream], muxer: str, info: MediaInfo
) -> None:
    """Raise Refused for pictures that start later than the sound where all streams start together.
    main: those that are looked at and measured.
    """
    late_ms = 1000 * (info.first_picture_s or 0.0)
    if muxer in TOGETHER and late_ms > _LATE_MS:
        raise Refused(
            f"in {muxer.upper()} pictures cannot start later than the sound, and these start "
            f"{late_ms:.0f} ms later{name_instead(container, main, muxer)}"
        )


def _refuse_title(media: Media, moves: Moves) -> None:
    """Raise Refused for a title that a copy cannot keep together, and for a move longer than it."""
    if media.are_files:
        raise Refused(
            "it is several files joined end to end; fix each of them, then join them with "
            "mkvmerge or ffmpeg"
        )
    if media.seams_s:
        raise Refused(
            f"its clock or its PIDs change, at {media.seams_s[0]:.1f} s first; cut it there, "
            "and fix each part"
        )
    if len(media.info.programs) > 1:
        raise Refused("it has several programmes; take out one with ffmpeg, and fix that")
    way_s, duration_s = abs(moves.pieces[0].later_s), media.info.duration_s
    is_one_offset = not (moves.drifts or moves.jumps)
    if is_one_offset and duration_s is not None and way_s >= duration_s:
        raise Refused(
            f"its sound would be moved by {way_s:g} s, out of the title, which lasts "
            f"{duration_s:.1f} s"
        )


def _moved_tracks(container: InputContainer, measured: AudioStream, every_track: bool) -> set[int]:
    """Stream numbers of the sound that moves: the measured track, or all of them if each is one
    channel of a PCM sound.
    """
    tracks = container.streams.audio
    single = [
        each
        for each in tracks
        if each.codec_context is not None and each.codec_context.layout.nb_channels == 1
    ]
    if every_track or (
        measured in single and len(single) > 1 and measured.codec_context.name.startswith("pcm_")
    ):
        return {each.index for each in (tracks if every_track else single)}
    return {measured.index}


def _notes(container: InputContainer, moved: set[int], muxer: str, moves: Moves) -> tuple[str, ...]:
    notes = []
    if muxer == "mxf" and moves.pieces[-1].later_s > 0:
        notes.append(
            "MXF ends the sound where the pictures end, so what would come after that is cut off"
        )
    encoded = [each for each in container.streams.audio if moves.drifts and each.index in moved]
    for each in encoded:
        layout = each.codec_context.layout
        if layout.nb_channels > 2 and layout.name.endswith("channels"):
            notes.append(f"the new file does not say which channel of stream {each.index} is which")
    left = [
        str(number)
        for number, each in enumerate(container.streams.audio)
        if each.index not in moved
    ]
    if left:
        tracks = (
            f"audio track {left[0]} was"
            if len(left) == 1
            else f"audio tracks {', '.join(left)} were"
        )
        notes.append(f"{tracks} not measured and not moved; --every-track moves all of them alike")
    return tuple(notes)


def _stream_plan(
    stream: Stream, container: InputContainer, source: Path, muxer: str, moves: Moves | None
) -> StreamPlan:
    """What becomes of a stream of `source`; `moves`: how it is moved, None if it stays. Raises
    Refused.
    """
    plan = StreamPlan(
        index=stream.index,
        kind=stream.type,
        codec=codec_of(stream),
        action="copied",
        language=stream.metadata.get("language", ""),
        title=tags_of(stream).get("title", ""),
    )
    handlers = index_of(source).track(stream.id).handlers
    if muxer in MOV and (
        b"tmcd" in handlers
        or (b"text" in handlers and stream.type == "data" and container.chapters())
    ):
        return replace(plan, action="rebuilt")
    why = why_not(stream, container, muxer)
    if why:
        return replace(plan, action="dropped", why=why)
    return plan if moves is None else replace(plan, action=_way(plan, stream, muxer, moves))


def _way(plan: StreamPlan, stream: Stream, muxer: str, moves: Moves) -> Action:
    """How the sound of a stream is moved. Raises Refused if it cannot be."""
    is_pcm = plan.codec in SILENCE
    if muxer in TOGETHER and not is_pcm:
        raise Refused(
            f"in {muxer.upper()} sound can neither start later nor be cut or played at another "
            f"pace unless it is PCM, and this is {plan.codec}"
            + name_instead(stream.container, (stream,), muxer)
        )
    if moves.drifts:
        if encoder_of(plan.codec) is None:
            raise Refused(
                "its sound drifts and has to be encoded again, and there is no encoder for "
                f"{plan.codec}; "
                "convert the sound to AAC or PCM first"
            )
        return "encoded"
    return "rewritten" if is_pcm and (moves.jumps or muxer in TOGETHER) else "moved"
