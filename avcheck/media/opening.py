"""A file is opened: its streams are chosen, their clocks set, the first picture and the first sound
found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import Literal

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from avcheck.errors import DecodeFailed
from avcheck.media.base import (
    SHORT_SIDE,
    Channels,
    MediaInfo,
    Picture,
    Sound,
    Source,
    Tally,
    frame_time_s,
    no_pictures,
    no_sound,
)
from avcheck.media.container import (
    VIDEO_FORMATS,
    Clock,
    clock_of,
    duration_s_of,
    first_frames,
    first_sound_s_of,
    open_container,
)
from avcheck.media.joined import are_too_many, joined_layout
from avcheck.media.mp4 import index_of
from avcheck.media.packets import is_seekable
from avcheck.media.picture import decode_pictures, display_size, pixel_aspect, rotation_of
from avcheck.media.sections import (
    Chosen,
    Layout,
    StreamPart,
    StreamsWanted,
    choose_streams,
    layout_of,
    open_layout,
    programmes_of,
    survey_of,
    whole_of,
)
from avcheck.media.sound import decode_sounds
from avcheck.media.stream_clock import StreamClock, clock_at, stream_clock_of
from avcheck.media.streams import of_programme, playing, tracks_of
from avcheck.media.timeline import Timeline, play_pictures, play_sounds
from avcheck.media.unheard import LTC, Unheard, unheard_in
from avcheck.record.report import Track
from avcheck.text.timecode import exact_rate

# What lies at the seams of a file: a new clock or other PIDs; or files that were joined, each of
# which is checked by its own timestamps, or all as one
SeamKind = Literal["clock", "files", "one"]

# Formats whose mean rate is that of their ticks, not all of which show another picture
_TICKING = frozenset({"avi", "dv", "gxf"})

_STATING = frozenset({"mpeg1video", "mpeg2video"})  # codecs that always state how many are shown

_TICKS_APART = 4  # pictures that are further apart do not follow each other tick by tick

_FIRST_PICTURES = 8
_OF_A_PICTURE = 0.75  # of its time: fields are half of it apart

_LONGEST_TIMECODE = 40  # characters that are kept of what a tag says


@dataclass(frozen=True)
class Opened:
    """What is known of a file once it was opened, and how to decode it on one clock."""

    info: MediaInfo  # what it says about itself
    pictures: Sequence[StreamPart]  # of each section, in order
    sounds: Sequence[StreamPart]  # as many, in the same order
    seekable: bool  # whether both can be read from the middle
    stream_clock: StreamClock  # by which a separate sound file is placed
    picture_timeline: Timeline | None = None  # an edit list to play, of an mp4 or mov
    sound_timeline: Timeline | None = None  # the same for the sound
    seams_s: tuple[float, ...] = ()  # where one recording was joined to another, as far as is known
    seams_are: SeamKind = "clock"  # what meets at the seams
    joined_bytes: int = 0  # of another film behind an mp4 or mov, which players do not show
    sound_joined_bytes: int = 0  # the same of a separate sound file
    sound_seams_s: tuple[float, ...] = ()  # where the clock of such a file starts again
    sound_seams_are: SeamKind = "clock"  # what meets there
    # How long after the pictures such a file begins by their timecodes; it begins with them
    timecode_ahead_s: float | None = None
    too_many_files: bool = False  # whether more were joined in it than are told apart
    too_many_sounds: bool = False  # the same of a separate sound file
    unheard: Unheard | None = None  # channels that hold timecode or data in place of sound


def audio_tracks_of(path: Path, wanted: StreamsWanted) -> tuple[Track, ...]:
    """The audio tracks to choose from beside the picture that is wanted. Raises as `open_media`."""
    with open_container(path, VIDEO_FORMATS) as container:
        survey = survey_of(container, path, wanted.program)
        without = dataclasses.replace(wanted, own_sound=False)
        chosen = choose_streams(container, path, survey, without)
        return tracks_of(of_programme(container.streams.audio, chosen.pids))


@dataclass(frozen=True)
class _Streams:
    """The streams that are decoded to open a file, those of its first section if it has several."""

    container: InputContainer  # that holds them, open
    video: VideoStream  # the picture
    audio: AudioStream | None  # the sound; None: there is none, or it is not what is checked
    clock: Clock  # of the picture
    heard: Clock  # of the sound; that of the picture without any

    @property
    def clocks(self) -> dict[int, Clock]:
        """The clock of each, by its index."""
        own = {} if self.audio is None else {self.audio.index: self.heard}
        return {self.video.index: self.clock, **own}


def open_film(path: Path, wanted: StreamsWanted) -> Opened:
    """Open a video file, and find its first picture and its first sound. Raises as `open_media`."""
    with ExitStack() as stack:
        container = stack.enter_context(open_container(path, VIDEO_FORMATS))
        survey = survey_of(container, path, wanted.program)
        chosen = choose_streams(container, path, survey, wanted)
        sounding = of_programme(container.streams.audio, chosen.pids)
        shown = of_programme(playing(container), chosen.pids)
        duration_s = duration_s_of(container, path, chosen.video)
        joined = None if survey else joined_layout(path, container, wanted)
        seams = layout_of(path, survey, chosen, wanted) or joined
        if seams is not None:
            duration_s = seams.end_s
        # FFmpeg and mpv count on through all of an AVI that was joined
        layout = None if container.format.name == "avi" else seams
        if layout is None:
            streams = _streams_of(container, path, chosen, own_sound=wanted.own_sound)
        else:
            inside, video, audio, origin_s = stack.enter_context(open_layout(layout))
            streams = _Streams(inside, video, audio, Clock(origin_s), Clock(origin_s))
        picture, sound, at_end = first_frames(
            streams.container, streams.video, streams.audio, streams.clocks
        )
        if picture is None and at_end:
            raise no_pictures(path)
        if sound is None and at_end and wanted.own_sound:
            raise no_sound(path)
        picture_source = streams.clock.source(path, VIDEO_FORMATS, streams.video.index)
        number = -1 if streams.audio is None else streams.audio.index
        sound_source = dataclasses.replace(
            streams.heard.source(path, VIDEO_FORMATS, number), heard=_channels_heard(wanted, sound)
        )
        width, height, rotation = _upright(streams.video, picture)
        info = MediaInfo(
            path=path,
            duration_s=duration_s,
            video_codec=streams.video.codec_context.name,
            width=width,
            height=height,
            rotation=rotation,
            frame_rate=_rate_of(streams.container, streams.video, picture, picture_source),
            audio_codec=streams.audio.codec_context.name if streams.audio else "",
            audio_track=sounding.index(chosen.audio) if chosen.audio else None,
            video_track=shown.index(chosen.video),
            program=chosen.programme.number if chosen.programme else None,
            programs=programmes_of(survey) if survey else (),
            audio_tracks=tracks_of(sounding),
            video_tracks=tracks_of(shown),
            first_picture_s=_first_picture_s(picture, picture_source, streams.clock),
            first_sound_s=_first_sound_s(sound, sound_source, streams.heard),
            container=streams.container.format.long_name,
            timecode=_timecode_of(streams.container, streams.video),
        )
        return Opened(
            info=info,
            pictures=whole_of(picture_source) if layout is None else layout.pictures,
            sounds=whole_of(sound_source) if layout is None else layout.sounds,
            seekable=is_seekable(streams.container),
            stream_clock=_stream_clock(streams.container, path, layout),
            picture_timeline=streams.clock.timeline,
            sound_timeline=streams.heard.timeline,
            seams_s=() if seams is None else seams.seams_s,
            seams_are="clock" if joined is None else "files" if layout else "one",
            joined_bytes=joined_bytes(path),
            too_many_files=survey is None and are_too_many(path, container),
            unheard=unheard_channels(sound_source, streams.container),
        )


def _streams_of(
    container: InputContainer, path: Path, chosen: Chosen, *, own_sound: bool
) -> _Streams:
    """The streams as chosen, each by its own clock. Raises DecodeFailed for one whose clock cannot
    be followed, if it is checked.
    """
    video, audio = chosen.video, chosen.audio
    clock = heard = clock_of(container, path, video)
    try:
        heard = clock if audio is None else clock_of(container, path, audio)
    except DecodeFailed:
        if own_sound:
            raise
        audio = None
    return _Streams(container, video, audio, clock, heard)


def _channels_heard(wanted: StreamsWanted, sound: AudioFrame | None) -> Channels:
    """Which channels of a sound are heard, by its first frame: all of one that begins far away, as
    a look at it would read everything before it.
    """
    if sound is None or not wanted.own_sound:
        return "all"
    return "any" if wanted.any_sound else "sound"


def unheard_channels(source: Source, container: InputContainer) -> Unheard | None:
    """Which channels hold no sound. Raises DecodeFailed if none holds any."""
    unheard = None if source.index < 0 else unheard_in(source, container)
    if unheard is None or not unheard.whole:
        return unheard
    what, remedy = unheard.kind, "choose another track with --audio-track"
    if what != LTC:
        what += " in the place of samples, which players without a decoder for it play as noise"
        remedy = f"decode it first, or {remedy}"
    raise DecodeFailed(source.path, f"its sound is {what}; {remedy}")


def _upright(video: VideoStream, picture: VideoFrame | None) -> tuple[int, int, int]:
    """Width and height in pixels as displayed, and the degrees that the pictures are turned."""
    rotation = 0 if picture is None else rotation_of(picture)
    width, height = display_size(picture or video.codec_context, pixel_aspect(video))
    return (width, height, rotation) if rotation in (0, 180) else (height, width, rotation)


def _first_picture_s(picture: VideoFrame | None, source: Source, clock: Clock) -> float | None:
    """When the first picture is shown: the first that decodes, or that of an edit list."""
    timeline = clock.timeline
    if timeline is None:
        return None if picture is None else frame_time_s(picture, clock.origin_s)

    def decode(tally: Tally, from_s: float | None) -> Generator[Picture, None, None]:
        return decode_pictures(source, tally, from_s, short_side=SHORT_SIDE, threads=1)

    with closing(play_pictures(timeline, decode, Tally(), None, source.path)) as pictures:
        return next((each.pts_s for each in pictures), None)


def _first_sound_s(sound: AudioFrame | None, source: Source, clock: Clock) -> float | None:
    """When the first sound is heard."""
    if clock.timeline is None or sound is None:
        return first_sound_s_of(sound, clock.origin_s)
    return first_timeline_sound_s(source, clock.timeline)


def first_timeline_sound_s(source: Source, timeline: Timeline) -> float | None:
    """When the first sound of a timeline is heard."""

    def decode(tally: Tally, from_s: float | None) -> Generator[Sound, None, None]:
        return decode_sounds(source, tally, from_s)

    with closing(play_sounds(timeline, decode, Tally(), None, source.path)) as sounds:
        return next((sound.start_s for sound in sounds), None)


def _rate_of(
    container: InputContainer, video: VideoStream, picture: VideoFrame | None, source: Source
) -> Fraction | None:
    """Pictures a second, the mean by the header; None if that does not say."""
    rate, guessed = video.average_rate or video.guessed_rate, video.guessed_rate
    if rate and guessed and container.format.name in _TICKING:
        rate = min(rate, guessed)
    if rate is None or rate <= 0:
        return None
    if not video.average_rate:
        # A recording that a browser writes as it goes states no rate: the guess is then of ticks.
        apart_s = _apart_s(source)
        if apart_s is not None and apart_s * rate > _TICKS_APART:
            return None
    own = video.codec_context.framerate
    if own and picture is not None and picture.interlaced_frame and own < rate < 2.1 * own:
        # Packets were counted, and there may be a field in each, or in some. Some encoders write
        # half the rate.
        apart_s = _apart_s(source)
        if apart_s is not None and apart_s * own > _OF_A_PICTURE:
            rate = own
    if own and video.codec_context.name in _STATING and container.format.name == "mpeg":
        rate = own  # FFmpeg goes by a few times: 31.57 of a film with pulldown
    # PyAV 19 has a type of its own, which is no Fraction.
    return exact_rate(Fraction(rate.numerator, rate.denominator))


def _apart_s(source: Source) -> float | None:
    """How long the first pictures are apart; None of fewer than two."""
    pictures = decode_pictures(source, Tally(), None, short_side=SHORT_SIDE, threads=1, whole=True)
    with closing(pictures):
        times_s = [picture.pts_s for picture in islice(pictures, _FIRST_PICTURES)]
    apart_s = [later - earlier for earlier, later in pairwise(times_s)]
    return median(apart_s) if apart_s else None


def joined_bytes(path: Path) -> int:
    """How many bytes of another film follow in an mp4 or mov."""
    at = index_of(path).joined_at
    return 0 if at is None else path.stat().st_size - at


def _stream_clock(container: InputContainer, path: Path, layout: Layout | None) -> StreamClock:
    """The clock of the file, or of the first section of a transport stream; zero for other files
    that were joined.
    """
    if layout is None:
        return stream_clock_of(container, path)
    sources = (part.source for part in (layout.pictures[0], layout.sounds[0]))
    pieces = [source.piece for source in sources if source is not None and source.piece]
    return clock_at(pieces[0].zero) if pieces else StreamClock(0.0)


def _timecode_of(container: InputContainer, video: VideoStream) -> str | None:
    """The timecode of the first picture, from a track or a tag; None if the file has none.

    FFmpeg copies that of a QuickTime timecode track to the picture track that refers to it.
    """
    others = (stream.metadata for stream in container.streams if stream.type == "data")
    for metadata in (video.metadata, container.metadata, *others):
        for key, value in metadata.items():
            if key.lower() == "timecode" and value.strip():
                return str(value).strip()[:_LONGEST_TIMECODE]
    return None
