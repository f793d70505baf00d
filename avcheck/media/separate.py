"""Sound from a file of its own, laid on the film's clock."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from av.audio.stream import AudioStream
from av.container import InputContainer

from avcheck.errors import MediaError, NoAudio
from avcheck.media.base import ExcerptStream, MediaInfo, Source, no_sound
from avcheck.media.container import (
    SOUND_FORMATS,
    Clock,
    clock_of,
    first_frames,
    first_sound_s_of,
    open_container,
    open_source,
)
from avcheck.media.joined import are_too_many, ignored_bytes, joined_sounds
from avcheck.media.mp4 import index_of
from avcheck.media.opening import (
    Opened,
    first_timeline_sound_s,
    joined_bytes,
    unheard_channels,
)
from avcheck.media.packets import is_seekable
from avcheck.media.sections import StreamPart, survey_of, whole_of
from avcheck.media.stream_clock import clock_at, stream_clock_of
from avcheck.media.streams import choose_audio, tracks_of
from avcheck.media.transport import (
    MAX_SECTIONS,
    TICKS_S,
    Era,
    Excerpt,
    Survey,
    Tables,
    apart,
    sections_of,
)
from avcheck.media.unheard import unheard_in
from avcheck.text.timecode import Timecode, is_timecode

# Timecodes further apart are of two clocks, one of which may be the time of day
_TIMECODES_APART_S = 600.0

_REFERENCE = re.compile("[0-9]{1,20}")  # 64 bits; other formats than wav can hold any text there

# iTunes's tag for gapless playback: hexadecimal numbers, the second of them how many samples an
# encoder put in front
_GAPLESS = "iTunSMPB"
_MOST_DELAY = 1 << 14  # samples; more FFmpeg takes for damage, too
_DOUBLED_FRAMES = (1920, 2048)  # samples in a frame of HE-AAC; other AAC has half as many


def with_sound_of(film: Opened, path: Path, track: int | None) -> Opened:
    """The film with the sound of another file.

    Where both are of one stream, its clock says when the sound is due; else the file's zero is laid
    on the film's first picture or sound, whichever is earlier. Raises as `open_media`.
    """
    firsts = (film.info.first_picture_s, film.info.first_sound_s)
    start_s = min((time_s for time_s in firsts if time_s is not None), default=0.0)
    with open_container(path, SOUND_FORMATS) as container:
        if not container.streams.audio:
            raise NoAudio(path, "it has no audio track, so it gives no sound; use another file")
        audio = choose_audio(container, path, track)
        parts = _parts_of(path, survey_of(container, path, None), audio, track)
        if parts:
            return _with_parts(film, container, audio, _laid(film, parts, start_s))
        files = [_later(part, start_s) for part in joined_sounds(path, container, track)]
        if files:
            joined = _with_parts(film, container, audio, (files, False))
            return dataclasses.replace(joined, sound_seams_are="files")
        ahead_s = stream_clock_of(container, path).ahead_of(film.stream_clock)
        start_s = start_s if ahead_s is None else ahead_s
        heard = clock_of(container, path, audio)
        timeline = None if heard.timeline is None else heard.timeline.later(start_s)
        if timeline is None:
            delay_s = _encoder_delay_s(container, path, audio)
            heard = dataclasses.replace(heard, origin_s=heard.origin_s + delay_s - start_s)
        _, sound, at_end = first_frames(container, None, audio, {audio.index: heard})
        if sound is None and at_end:
            raise no_sound(path)
        source = heard.source(path, SOUND_FORMATS, audio.index)
        first_sound_s = first_sound_s_of(sound, heard.origin_s)
        if timeline is not None and sound is not None:
            first_sound_s = first_timeline_sound_s(source, timeline)
        return dataclasses.replace(
            film,
            info=_info(film, container, audio, first_sound_s, ahead_s is not None),
            sounds=whole_of(source),
            seekable=film.seekable and is_seekable(container),
            sound_timeline=timeline,
            sound_joined_bytes=joined_bytes(path) or ignored_bytes(path),
            too_many_sounds=are_too_many(path, container),
            unheard=unheard_channels(source, container),
            timecode_ahead_s=(
                _timecode_ahead_s(container, audio, film.info) if ahead_s is None else None
            ),
        )


def _timecode_ahead_s(
    container: InputContainer, audio: AudioStream, film: MediaInfo
) -> float | None:
    """How long after the first picture a broadcast wave begins, by the timecodes of both; None if
    they begin together, or share no clock.
    """
    reference = str(container.metadata.get("time_reference", ""))
    if not (_REFERENCE.fullmatch(reference) and int(reference) and audio.rate):
        return None
    if film.frame_rate is None or not is_timecode(film.timecode or ""):
        return None
    shown = Timecode.of(film.frame_rate, film.timecode)
    ahead_s = int(reference) / audio.rate - float(shown.start / shown.rate)
    return ahead_s if 1 / shown.rate <= abs(ahead_s) < _TIMECODES_APART_S else None


def _info(
    film: Opened,
    container: InputContainer,
    audio: AudioStream,
    first_sound_s: float | None,
    by_stream: bool,
) -> MediaInfo:
    return dataclasses.replace(
        film.info,
        audio_codec=audio.codec_context.name,
        audio_track=None,
        audio_tracks=tracks_of(list(container.streams.audio)),
        first_sound_s=first_sound_s,
        audio_clock="stream" if by_stream else "film",
    )


def _parts_of(
    path: Path, survey: Survey | None, audio: AudioStream, track: int | None
) -> list[StreamPart]:
    """The parts of a transport stream whose clock starts again, or whose PIDs change; none of any
    other file.
    """
    opening = None if survey is None else survey.tables[survey.opening]
    programmes = () if opening is None else opening.programmes.values()
    programme = next((each for each in programmes if audio.id in each.types), None)
    if survey is None or opening is None or programme is None:
        return []
    eras = [Era(0, survey.end, opening.packets, programme, None, audio.id)]
    for tables in survey.tables[survey.opening + 1 :]:
        era = eras[-1]
        following = _next_era(path, survey, tables, era, track)
        if following is not None:
            eras[-1:] = [dataclasses.replace(era, end=following.start), following]
    parts = []
    for section in sections_of(survey, eras)[:MAX_SECTIONS]:
        pid = section.era.audio_pid
        if pid is not None and section.first_sound is not None:
            piece = ExcerptStream(section.sounds, pid, section.first_sound, section.zero)
            source = Source(path, SOUND_FORMATS, -1, 0.0, piece)
            parts.append(StreamPart(section.start_s, section.end_s, source))
    return parts if len(parts) > 1 else []


def _next_era(
    path: Path, survey: Survey, tables: Tables, era: Era, track: int | None
) -> Era | None:
    """The sound from these tables on; None if it stays where it was, or is gone."""
    number, pid = era.programme.number, era.audio_pid
    programme = tables.programmes.get(number)
    if programme is None and number not in tables.listed:
        programme = next(iter(tables.programmes.values()), None)
    if programme is None or pid is None:
        return None
    if programme.types.get(pid) == era.programme.types.get(pid):
        return None
    excerpt = Excerpt(tables.at, survey.end, tables.packets + programme.packets)
    try:
        with open_container(path, SOUND_FORMATS, excerpt) as container:
            audio = choose_audio(container, path, track, frozenset(programme.types))
            return Era(tables.at, survey.end, tables.packets, programme, None, audio.id)
    except MediaError:
        return None


def _later(part: StreamPart, by_s: float) -> StreamPart:
    return StreamPart(part.start_s + by_s, part.end_s + by_s, part.source)


def _laid(
    film: Opened, parts: Sequence[StreamPart], start_s: float
) -> tuple[list[StreamPart], bool]:
    """The parts of a sound on the film's clock, and whether the clock of a stream put them there.

    If the film has as many, each goes with its own. Else each follows the one before, unless its
    clock says that it is heard later in the film: then the sound only paused.
    """
    zeros = [part.zero or 0 for part in parts]
    shown = [part for part in film.pictures if part.zero is not None]
    paired = len(shown) == len(parts)
    clocks = [clock_at(part.zero or 0) for part in shown] if paired else [film.stream_clock]
    aheads_s = [clock_at(zero).ahead_of(clock) for zero, clock in zip(zeros, clocks, strict=False)]
    starts_s = [start_s if aheads_s[0] is None else aheads_s[0]]
    for number in range(1, len(parts)):
        if paired:
            starts_s.append(shown[number].start_s + (aheads_s[number] or 0.0))
            continue
        end_s = starts_s[-1] + parts[number - 1].end_s - parts[number - 1].start_s
        by_clock_s = starts_s[-1] + int(apart(zeros[number], zeros[number - 1])) / TICKS_S
        pauses = end_s < by_clock_s < (film.info.duration_s or 0.0)
        starts_s.append(by_clock_s if pauses else end_s)
    ends_s = [at_s + part.end_s - part.start_s for at_s, part in zip(starts_s, parts, strict=True)]
    ends_s[:-1] = map(min, ends_s, starts_s[1:])
    sources = [part.source for part in parts]
    return list(map(StreamPart, starts_s, ends_s, sources)), None not in aheads_s


def _with_parts(
    film: Opened, container: InputContainer, audio: AudioStream, laid: tuple[list[StreamPart], bool]
) -> Opened:
    """The film with the parts of a sound that was joined."""
    parts, by_stream = laid
    first_sound_s = unheard = None
    if parts[0].source is not None:
        section, source = open_source(parts[0].source)
        with section:
            stream = next(each for each in section.streams.audio if each.index == source.index)
            origin_s = source.origin_s - parts[0].start_s
            _, sound, _ = first_frames(section, None, stream, {stream.index: Clock(origin_s)})
        first_sound_s = first_sound_s_of(sound, origin_s)
        unheard = unheard_in(parts[0].source, section)
    return dataclasses.replace(
        film,
        info=_info(film, container, audio, first_sound_s, by_stream),
        sounds=parts,
        seekable=film.seekable and is_seekable(container),
        sound_timeline=None,
        sound_seams_s=tuple(part.start_s for part in parts[1:]),
        unheard=unheard,
    )


def _encoder_delay_s(container: InputContainer, path: Path, audio: AudioStream) -> float:
    """How long an m4a sounds before what was encoded begins, by a tag that music players go by.

    An edit list has said so already. Of a film the tag is not asked: video players do not.
    """
    fields = str(container.metadata.get(_GAPLESS, "")).split()
    if len(fields) < 4 or index_of(path).track(audio.id).edits:
        return 0.0
    try:
        delay = int(fields[1], 16)
    except ValueError:
        return 0.0
    if not audio.rate or not 0 < delay < _MOST_DELAY:
        return 0.0
    # HE-AAC codes every second sample, and the tag counts those
    doubled = audio.codec_context.frame_size in _DOUBLED_FRAMES
    return (1 + doubled) * delay / audio.rate
