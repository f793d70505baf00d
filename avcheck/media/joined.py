"""Files joined end to end, as by `cat`.

FFmpeg reads such a file as one recording: it stops where the first file ends, or takes the next one
for a clock that goes back. Here each is opened as a file of its own, and placed where the one
before ends. Transport streams have a survey of their own (`avcheck.media.survey`).

A file begins with bytes that occur nowhere else: the header of an FLV (Video File Format
Specification 10.1, E.2), that of Matroska (RFC 8794, 11.2), the first pages of Ogg streams (RFC
3533, 4 and 6), the first block of FLAC (RFC 9639, 8.2). In an MPEG programme stream it begins where
the system clock is reset (ISO/IEC 13818-1, 2.5.3.4). An AVI begins with a list of its own (OpenDML
AVI File Format Extensions 1.02). For mp4 and mov see `avcheck.media.mp4`: players show only the
first.
"""

from __future__ import annotations

import io
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream

from avcheck.errors import CannotSeek, MediaError, NoAudio
from avcheck.media.base import Source, Tally, frame_end_s, frame_time_s
from avcheck.media.container import (
    SOUND_FORMATS,
    VIDEO_FORMATS,
    duration_s_of,
    open_container,
    origin_s_of,
    stated_s_of,
)
from avcheck.media.matroska import element_size
from avcheck.media.packets import decoded_frames, packets_of, prepare, seek
from avcheck.media.sections import Layout, StreamPart, StreamsWanted, choose_streams
from avcheck.media.streams import choose_audio
from avcheck.media.transport import Excerpt, Stamps, Ticks, is_jump

MOST_FILES = 100  # at most; each is opened once to see how long it is

_MOST_LISTS = 10_000  # of an AVI; one of 1 GB is usual

_CHUNK = 8 << 20  # bytes that are searched at a time
_LONGEST = 64  # bytes of the patterns that are searched for

# The end of a sound file from which its decoder finds out when the last sample ends
_TAIL_S = 3.0

_Part = TypeVar("_Part")

# Signature, version, which streams, length of the header, of the tag before; then a tag of sound,
# picture or script
_FLV = re.compile(rb"FLV\x01[\x00-\x05]\x00\x00\x00\x09\x00\x00\x00\x00[\x08\x09\x12]")
# An EBML header with its DocType, and what it stands before
_EBML = re.compile(rb"\x1a\x45\xdf\xa3.{1,40}?\x42\x82(?:\x88matroska|\x84webm)", re.DOTALL)
_SEGMENT = b"\x18\x53\x80\x67"
_OGG_PAGE = re.compile(rb"OggS\x00[\x00-\x07]")
_OGG_FIRST = 0x02  # among the flags of a page: of its stream
# Signature, and the header of the block that comes first, which is 34 bytes long
_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
# A pack header and its clock, of MPEG-1 or MPEG-2
_PACK = re.compile(rb"\x00\x00\x01\xba[\x21-\x2f\x44-\x7f].{4}", re.DOTALL)


def joined_layout(path: Path, container: InputContainer, wanted: StreamsWanted) -> Layout | None:
    """How joined files follow each other; None if there is only one.

    What cannot be opened counts as part of the file before it. Raises OSError.
    """
    parts = _files(path, container, lambda excerpt: _parts(path, excerpt, wanted))
    if not parts:
        return None
    pictures, sounds = [], []
    at_s = 0.0
    for picture, sound in parts:
        until_s = at_s + picture.end_s
        pictures.append(StreamPart(at_s, until_s, picture.source))
        sounds.append(StreamPart(at_s, until_s, sound.source))
        at_s = until_s
    return Layout(path, tuple(pictures), tuple(sounds))


def joined_sounds(path: Path, container: InputContainer, track: int | None) -> list[StreamPart]:
    """How joined sound files follow each other, each from where the last sample of the one before
    ends; none if there is only one. Raises OSError.
    """
    if container.format.name == "avi":  # FFmpeg and mpv count on through all of it
        return []
    parts: list[StreamPart] = []
    at_s = 0.0
    for source, length_s in _files(path, container, lambda part: _sound(path, part, track)):
        parts.append(StreamPart(at_s, at_s + length_s, source))
        at_s += length_s
    return parts


def are_too_many(path: Path, container: InputContainer) -> bool:
    """Whether so many files were joined that they are read as one. Raises OSError."""
    if container.format.name == "avi":  # FFmpeg and mpv count on through all of it
        return False
    return len(beginnings(path, container.format.name)) > MOST_FILES


def _files(
    path: Path, container: InputContainer, open_part: Callable[[Excerpt], _Part | None]
) -> Sequence[_Part]:
    """What `open_part` gives of each of the files; none if there is only one. What it gives nothing
    of counts as part of the file before.
    """
    starts = beginnings(path, container.format.name)
    parts: list[_Part] = []
    end = path.stat().st_size
    for start in reversed(starts if 1 < len(starts) <= MOST_FILES else ()):
        part = open_part(Excerpt(start, end))
        if part is not None:
            parts.append(part)
            end = start
    return parts[::-1] if len(parts) > 1 and not end else []


def _sound(path: Path, excerpt: Excerpt, track: int | None) -> tuple[Source, float] | None:
    """The sound of one file, and how long it is heard; None if it cannot be opened."""
    try:
        with open_container(path, SOUND_FORMATS, excerpt) as container:
            audio = choose_audio(container, path, track)
            origin_s = origin_s_of(container)
            tail_s = stated_s_of(container, path, excerpt) - _TAIL_S
            end_s = _last_sample_s(container, audio, origin_s, tail_s)
            source = Source(path, SOUND_FORMATS, audio.index, origin_s, excerpt=excerpt)
            return (source, end_s) if end_s > 0 else None
    except MediaError:
        return None


def _last_sample_s(
    container: InputContainer, audio: AudioStream, origin_s: float, tail_s: float
) -> float:
    """When the last sample of a sound ends: headers and packets count what the decoder drops. It
    comes after `tail_s`.
    """
    prepare(container, [audio], 1)
    if tail_s > 0:
        with suppress(CannotSeek):
            seek(container, audio, origin_s + tail_s)
    end_s = 0.0
    for frame in decoded_frames(container, audio, Tally(), packets_of(container, [audio], Tally())):
        time_s = frame_time_s(frame, origin_s)
        if time_s is not None:
            end_s = max(end_s, frame_end_s(frame, time_s))
    return end_s


def _parts(
    path: Path, excerpt: Excerpt, wanted: StreamsWanted
) -> tuple[StreamPart, StreamPart] | None:
    """Picture and sound of one file, from its own zero on; None if it cannot be opened."""
    try:
        with open_container(path, VIDEO_FORMATS, excerpt) as container:
            try:
                chosen = choose_streams(container, path, None, wanted)
            except NoAudio:
                without = StreamsWanted(wanted.program, wanted.video_track, own_sound=False)
                chosen = choose_streams(container, path, None, without)
            origin_s = origin_s_of(container)
            length_s = duration_s_of(container, path, chosen.video, excerpt)
            if container.format.name == "mpeg":  # its header has no length
                length_s = _last_s(container, [chosen.video, chosen.audio]) - origin_s
            if not length_s or length_s <= 0:
                return None
            sources = (
                None
                if stream is None
                else Source(path, VIDEO_FORMATS, stream.index, origin_s, excerpt=excerpt)
                for stream in (chosen.video, chosen.audio)
            )
            picture, sound = (StreamPart(0.0, length_s, source) for source in sources)
            return picture, sound
    except MediaError:
        return None


def _last_s(container: InputContainer, streams: list[Stream | None]) -> float:
    """Where the last of their packets ends, in seconds of their timestamps."""
    present = [stream for stream in streams if stream is not None]
    ends = [0.0]
    for packet in packets_of(container, present, Tally()):
        if packet.pts is not None and packet.time_base is not None:
            ends.append(float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return max(ends)


def beginnings(path: Path, format_name: str) -> tuple[int, ...]:
    """The bytes at which files begin, by FFmpeg's name of their format; () for a format that is not
    searched. Raises OSError.
    """
    status = path.stat()
    return _beginnings(path, format_name, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2)  # a check opens its file several times
def _beginnings(path: Path, format_name: str, _size: int, _mtime_ns: int) -> tuple[int, ...]:
    if format_name not in _SEARCHES:
        return ()
    with path.open("rb") as file:
        return tuple(islice(_SEARCHES[format_name](file), MOST_FILES + 1))


def _matches(
    file: BinaryIO, pattern: re.Pattern[bytes], start: int = 0
) -> Iterator[tuple[int, bytes]]:
    """Where a pattern occurs, in bytes of the file, and the text it matched."""
    file.seek(start)
    kept = b""
    while data := file.read(_CHUNK):
        window = kept + data
        at = start - len(kept)
        taken = 0
        for match in pattern.finditer(window):
            if match.start() >= len(window) - _LONGEST and len(data) == _CHUNK:
                break  # the next window has it whole
            yield at + match.start(), match[0]
            taken = match.end()
        start += len(data)
        kept = window[max(taken, len(window) - _LONGEST) :]


def _read_at(file: BinaryIO, at: int, count: int) -> bytes:
    """So many bytes from there on, fewer at the end of the file.

    The system refuses to go further than its longest file, as a size that a file states may.
    """
    if at >= file.seek(0, io.SEEK_END):
        return b""
    file.seek(at)
    return file.read(count)


def ignored_bytes(path: Path) -> int:
    """How many bytes of another wav follow a wav, which players do not play. Raises OSError."""
    with path.open("rb") as file:
        head = _read_at(file, 0, 12)
        size = int.from_bytes(head[4:8], "little")
        at = 8 + size + size % 2
        following = _read_at(file, at, 12) if _is_wav(head) else b""
        return file.seek(0, io.SEEK_END) - at if _is_wav(following) else 0


def _is_wav(head: bytes) -> bool:
    return head.startswith(b"RIFF") and head.endswith(b"WAVE")


def _of_avi(file: BinaryIO) -> Iterator[int]:
    """From list to list (`RIFF`): a long film continues in lists of another kind, `AVIX`."""
    at = 0
    for _ in range(_MOST_LISTS):
        head = _read_at(file, at, 12)
        if len(head) < 12 or not head.startswith(b"RIFF"):
            return
        if head.endswith(b"AVI "):
            yield at
        size = int.from_bytes(head[4:8], "little")
        at += 8 + size + size % 2


def _of_flv(file: BinaryIO) -> Iterator[int]:
    return (at for at, _ in _matches(file, _FLV))


def _of_flac(file: BinaryIO) -> Iterator[int]:
    """A tag may stand before the first."""
    return (at if number else 0 for number, (at, _) in enumerate(_matches(file, _FLAC)))


def _of_matroska(file: BinaryIO) -> Iterator[int]:
    """From element to element, because an attached file begins the same way; byte by byte where a
    live recording does not say how long it is.
    """
    at = 0
    for _ in range(2 * (MOST_FILES + 1)):  # of each file the header and the segment
        head = _read_at(file, at, _LONGEST)
        if _EBML.match(head) is not None:
            yield at
        elif not head.startswith(_SEGMENT):
            return
        size, width = element_size(head[len(_SEGMENT) :])
        if not width:
            return
        if size is None:
            yield from (place for place, _ in _matches(file, _EBML, at + 1))
            return
        at += len(_SEGMENT) + width + size


def _of_ogg(file: BinaryIO) -> Iterator[int]:
    first_before = False
    for at, page in _matches(file, _OGG_PAGE):
        is_first = bool(page[5] & _OGG_FIRST)
        if is_first and not first_before:
            yield at
        first_before = is_first


def _of_programme_stream(file: BinaryIO) -> Iterator[int]:
    places, packs = array("q"), bytearray()  # of a film on DVD there are two millions
    for place, pack in _matches(file, _PACK):
        places.append(place)
        packs += pack
    if not places:
        return
    body = np.frombuffer(packs, np.uint8).reshape(len(places), -1)[:, 4:]
    clock = _clocks(body.astype(np.int64))
    stamps = Stamps(np.array(places, np.int64), clock, clock).without_strays()
    yield 0
    yield from stamps.at[1:][is_jump(stamps.steps())].tolist()


def _clocks(body: Ticks) -> Ticks:
    """The system clocks of pack headers in ticks of 90 kHz, from the five bytes (n, 5) that hold
    each.
    """
    a, b, c, d, e = body.T
    mpeg_1 = (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
    mpeg_2 = (a >> 3 & 7) << 30 | (a & 3) << 28 | b << 20 | (c >> 3) << 15 | (c & 3) << 13
    clocks: Ticks = np.where(a & 0xC0, mpeg_2 | d << 5 | e >> 3, mpeg_1)
    return clocks


_SEARCHES: dict[str, Callable[[BinaryIO], Iterator[int]]] = {
    "avi": _of_avi,
    "flac": _of_flac,
    "flv": _of_flv,
    "live_flv": _of_flv,
    "matroska,webm": _of_matroska,
    "mpeg": _of_programme_stream,
    "ogg": _of_ogg,
}
