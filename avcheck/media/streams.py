"""Which streams of a container are checked, and what its tracks are called."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeVar

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from avcheck.errors import (
    DecodeFailed,
    LimitExceeded,
    NoAudio,
    NoVideo,
)
from avcheck.media.base import (
    MAX_PIXELS,
    MAX_RATE,
    MIN_RATE,
)
from avcheck.media.container import MAX_CHANNELS
from avcheck.media.mixing import can_mix
from avcheck.record.report import Track
from avcheck.record.tracks import available

_MAX_WORDS = 200  # characters of a track's language or title; a file can hold megabytes of them
# Names that programs give to the handler of a track of an mp4 themselves ("SoundHandler", "Core
# Media Video", "ISO Media file produced by Google Inc."); any other is the title that somebody gave
# it.
_NO_TITLE = re.compile(r"handler|media|^(sound|video|audio)$", re.IGNORECASE)
# Tracks for the impaired, comments, and those without the dialogue
_FOR_SOME = (
    Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.comment
    | Disposition.clean_effects
)
AnyStream = TypeVar("AnyStream", bound=Stream)


def tracks_of(streams: Sequence[Stream]) -> tuple[Track, ...]:
    """The streams of one kind as tracks, numbered from 0."""
    return tuple(
        Track(
            number=number,
            language=_language_of(stream),
            title=_title_of(stream),
            codec=stream.codec_context.codec.canonical_name if stream.codec_context else "",
            default=bool(stream.disposition & Disposition.default),
        )
        for number, stream in enumerate(streams)
    )


def _language_of(stream: Stream) -> str:
    language = _words_of(stream, "language")
    return "" if language == "und" else language  # mp4 has no other way to say nothing


def _title_of(stream: Stream) -> str:
    handler = _words_of(stream, "handler_name")
    title = _words_of(stream, "title") or _words_of(stream, "name")  # the latter in mp4 and mov
    return title or ("" if _NO_TITLE.search(handler) else handler)


def _words_of(stream: Stream, key: str) -> str:
    """A tag of the stream, cut; what is no UTF-8 in it is U+FFFD with every PyAV (19 would have
    lone surrogates there).
    """
    words = stream.metadata.get(key, "")[:_MAX_WORDS].strip()
    return words.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def playing(container: InputContainer) -> list[VideoStream]:
    """The picture tracks that play: never cover art or a thumbnail."""
    still = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & still]


def choose_video(
    container: InputContainer, path: Path, track: int | None, pids: Collection[int] | None = None
) -> VideoStream:
    """The picture track to check, whose size is within `MAX_PIXELS`.

    Args:
        container: The open file.
        path: The file, for errors.
        track: Its number, from 0 among those that play. None: the one that players take, which is
            the first that decodes and is marked as the default, else the first that decodes.
        pids: Only tracks with these PIDs are looked at; None: all.

    Raises:
        NoVideo: There is no such track.
        DecodeFailed, LimitExceeded: It cannot be decoded, or its pictures are too large.
    """
    streams = of_programme(playing(container), pids)
    if not streams:
        if pids is not None:
            raise NoVideo(path, "its programme has no video stream; choose another with --program")
        only = " (only cover art)" if container.streams.video else ""
        raise NoVideo(path, f"the file has no video stream{only}; name a video file")
    if track is None:
        # Not FFmpeg's choice, which is the largest picture
        stream = min(_decodable(streams), key=_how_far_from_shown)
    else:
        stream = _numbered(streams, track, path, NoVideo, "picture", "--video-track")
    if stream.codec_context is None:
        raise DecodeFailed(path, "its video codec is unknown; convert it to H.264, for example")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS / 1e6:.0f} megapixels"
        raise LimitExceeded(
            path, f"its pictures are {width} x {height}, over the limit of {limit}; scale it down"
        )
    return stream


def _numbered(
    streams: Sequence[AnyStream],
    track: int,
    path: Path,
    absent: type[NoAudio] | type[NoVideo],
    kind: str,
    option: str,
) -> AnyStream:
    """The stream of that number; raises `absent`, which says what there is, if there is none."""
    if 0 <= track < len(streams):
        return streams[track]
    have = available(tracks_of(streams), kind)
    raise absent(
        path, f"the file has no {kind} track {track}: it has {have}; choose one with {option}"
    )


def _decodable(streams: list[AnyStream]) -> list[AnyStream]:
    """Those of the streams that FFmpeg has a decoder for, as a player chooses among them; all of
    them where it has none.
    """
    return [stream for stream in streams if stream.codec_context is not None] or streams


def of_programme(streams: Sequence[AnyStream], pids: Collection[int] | None) -> list[AnyStream]:
    """Those of the streams that have one of these PIDs; all of them without."""
    return [stream for stream in streams if pids is None or stream.id in pids]


def choose_audio(
    container: InputContainer, path: Path, track: int | None, pids: Collection[int] | None = None
) -> AudioStream:
    """The audio track to check.

    Args:
        container: The open file.
        path: The file, for errors.
        track: Its number, from 0. None: the one that players take, which is the first that decodes
            and is marked as the default, else the first that decodes and is for everybody.
        pids: Only tracks with these PIDs are looked at; None: all.

    Raises:
        NoAudio: There is no such track.
        DecodeFailed, LimitExceeded: It cannot be decoded, or claims what no sound has.
    """
    streams = of_programme(container.streams.audio, pids)
    if not streams and container.streams.audio:
        raise NoAudio(
            path, "its programme has no audio track; use another --program, or --audio FILE"
        )
    if not streams:
        raise NoAudio(path, "the file has no audio track; give its sound with --audio FILE")
    if track is None:
        # Not FFmpeg's choice, which is the highest bit rate
        stream = min(_decodable(streams), key=_how_far_from_default)
    else:
        stream = _numbered(streams, track, path, NoAudio, "audio", "--audio-track")
    if stream.codec_context is None:
        raise DecodeFailed(
            path,
            "its audio codec is unknown; convert the sound to AAC or PCM, or choose another track",
        )
    rate, channels = stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels
    too_many = channels > MAX_CHANNELS or not can_mix(stream.codec_context)
    if (rate and not MIN_RATE <= rate <= MAX_RATE) or too_many:
        claims, remedy = f"{rate} samples a second", "convert the sound to 48 kHz"
        if too_many:
            claims, remedy = f"{channels} channels", "mix the sound down to stereo"
        raise LimitExceeded(path, f"its sound claims {claims}; {remedy}, or choose another track")
    return stream


def _how_far_from_shown(stream: VideoStream) -> tuple[bool, bool]:
    """Of several tracks, the first with the least of this is the default."""
    context = stream.codec_context
    is_empty = context is None or not (context.width and context.height)
    return is_empty, not stream.disposition & Disposition.default


def _how_far_from_default(stream: AudioStream) -> tuple[bool, bool, bool]:
    """Of several tracks, the first with the least of this is the default."""
    context = stream.codec_context
    is_empty = context is None or not (context.sample_rate and context.layout.nb_channels)
    return (
        is_empty,
        not stream.disposition & Disposition.default,
        bool(stream.disposition & _FOR_SOME),
    )
