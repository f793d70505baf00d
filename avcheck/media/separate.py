"""Sound from a file of its own, laid on the film's clock."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from av.audio.stream import AudioStream
from av.container import InputContainer

from avcheck.media.base import no_sound
from avcheck.media.container import (
    SOUND_FORMATS,
    clock_of,
    first_frames,
    first_sound_s_of,
    open_container,
)
from avcheck.media.mp4 import index_of
from avcheck.media.opening import Opened, first_timeline_sound_s, joined_bytes
from avcheck.media.packets import is_seekable
from avcheck.media.sections import whole_of
from avcheck.media.stream_clock import stream_clock_of
from avcheck.media.streams import choose_audio, tracks_of

# iTunes's tag for gapless playback: hexadecimal numbers, the second of them how many samples an
# encoder put in front
_GAPLESS = "iTunSMPB"
_MOST_DELAY = 1 << 14  # samples; more FFmpeg takes for damage, too


def with_sound_of(film: Opened, path: Path, track: int | None) -> Opened:
    """The film with the sound of another file.

    Where both are of one stream, its clock says when the sound is due; else the file's zero is laid
    on the film's first picture or sound, whichever is earlier. Raises as `open_media`.
    """
    firsts = (film.info.first_picture_s, film.info.first_sound_s)
    start_s = min((time_s for time_s in firsts if time_s is not None), default=0.0)
    with open_container(path, SOUND_FORMATS) as container:
        ahead_s = stream_clock_of(container, path).ahead_of(film.stream_clock)
        start_s = start_s if ahead_s is None else ahead_s
        audio = choose_audio(container, path, track)
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
        info = dataclasses.replace(
            film.info,
            audio_codec=audio.codec_context.name,
            audio_track=None,
            audio_tracks=tracks_of(list(container.streams.audio)),
            first_sound_s=first_sound_s,
            audio_clock="film" if ahead_s is None else "stream",
        )
        return dataclasses.replace(
            film,
            info=info,
            sounds=whole_of(source),
            seekable=film.seekable and is_seekable(container),
            sound_timeline=timeline,
            sound_joined_bytes=joined_bytes(path),
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
    return delay / audio.rate if audio.rate and 0 < delay < _MOST_DELAY else 0.0
