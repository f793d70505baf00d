"""Open a container safely, and read the clocks of its streams."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import av.error
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from avcheck.errors import (
    DecodeFailed,
    Encrypted,
    LimitExceeded,
    NotMedia,
    Unreadable,
    UsageError,
)
from avcheck.media.asf import preroll_left_out_s
from avcheck.media.base import (
    MAX_PIXELS,
    ROUNDING_S,
    Retime,
    Source,
    Tally,
    frame_end_s,
    frame_time_s,
    reason_of,
    timed_out,
)
from avcheck.media.flv import last_time_s
from avcheck.media.matroska import length_of_matroska_s
from avcheck.media.mp4 import Index, index_of
from avcheck.media.packets import Decoder, packets_of, prepare
from avcheck.media.timeline import Timeline
from avcheck.media.transport import TICKS_S, WRAP, Excerpt, apart
from avcheck.record.tracks import escaped
from avcheck.text.plain_text import NO_VIDEO, NOT_REGULAR, stand_in

MAX_STREAMS = 64  # broadcast MXF carries up to 24 mono sound tracks

MAX_ATTACHMENTS = 1000  # the fonts of its subtitles, of a Matroska; nothing of them is decoded

MAX_CHANNELS = 128  # of a sound track, as a master of Dolby Atmos has

# Pictures and packets that an mp4 may count without listing them: memory is set aside for each
MAX_SAMPLES = 1 << 24

_SAME_END_S = 1e-3  # ends that are nearer to each other are the same

PROBE_S = 30.0  # how far into a file its first picture and sound are looked for when it is opened

# Demuxers by FFmpeg's names, which go by a file's content and not by its name. Only those that hold
# their media themselves: none follows a reference to another file; what WTV calls files lies inside
# it.
# FFmpeg takes an FLV that names NGINX as its server for a kind of its own.
VIDEO_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,avi,flv,live_flv,mxf,mpeg,ogg,asf,dv,gxf,rm,wtv,"
    "nut"
)

SOUND_FORMATS = (
    f"{VIDEO_FORMATS},wav,w64,aiff,au,caf,flac,wv,tta,ape,tak,mp3,aac,loas,ac3,eac3,dts,dtshd,truehd,"
    "mlp,amr"
)


_TOO_MANY = f"the file has at least {MAX_STREAMS} streams; keep only one video and its audio tracks"

_BEFORE_19 = int(av.__version__.partition(".")[0]) < 19

# PyAV 18 raises on a tag that is not UTF-8 unless asked not to; PyAV 19 has no such option and
# keeps the bytes.
_OPEN_MORE: dict[str, Any] = {"metadata_errors": "replace"} if _BEFORE_19 else {}


def open_container(path: Path, formats: str, excerpt: Excerpt | None = None) -> InputContainer:
    """Open a file for reading, if it is a local, regular file of a known kind.

    Args:
        path: The file.
        formats: The demuxers that may open it, by FFmpeg's names, such as `VIDEO_FORMATS`.
        excerpt: Which part of it to open as a file; None: all of it, but for another film that was
            joined to an mp4 or mov.

    Raises:
        UsageError: There is no such file.
        NotMedia, Unreadable, LimitExceeded, DecodeFailed: It cannot be opened.
    """
    _require_regular(path)
    index = index_of(path)
    if index.samples > MAX_SAMPLES:
        raise LimitExceeded(
            path,
            f"its index claims {index.samples:,} pictures or packets; remux it, or export it again",
        )
    if index.joined_at is not None and excerpt is None:
        # FFmpeg would take fragments of the other film for those of this one.
        excerpt = Excerpt(0, index.joined_at)
    container = _open(path, formats, excerpt, MAX_STREAMS)
    tracks = [stream for stream in container.streams if stream.type != "attachment"]
    if len(tracks) < MAX_STREAMS <= len(container.streams):
        # All tracks come before the first attachment, so there are no more of them.
        container.close()
        container = _open(path, formats, excerpt, MAX_STREAMS + MAX_ATTACHMENTS)
    # Matroska goes on without the rest, and then reads nothing
    if len(tracks) >= MAX_STREAMS:
        container.close()
        raise LimitExceeded(path, _TOO_MANY)
    if _BEFORE_19:
        for stream in container.streams.audio:
            without_order(stream.codec_context)
    return container


def _require_regular(path: Path) -> None:
    """Raise the error of a path at which there is no regular file, or an empty one."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{escaped(str(path))}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise Unreadable(
            path, f"the file cannot be read ({reason_of(error)}); check its name and permissions"
        ) from None
    if stat.S_ISDIR(status.st_mode):
        raise NotMedia(path, "this is a directory; name a file in it")
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO waits for ever, and no timeout covers it
        raise NotMedia(path, NOT_REGULAR)
    if status.st_size == 0:
        raise NotMedia(path, "the file is empty (0 bytes); copy or export it again")


def _open(path: Path, formats: str, excerpt: Excerpt | None, streams: int) -> InputContainer:
    """Open a file, with so many of its streams at most."""
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": formats,
        "max_streams": str(streams),
        # For the decoders that only look into the file; `prepare` sets it for the others
        "max_pixels": str(MAX_PIXELS),
        # PyAV has presentation times made up where a file has none: H.264 in ASF comes a picture
        # late
        "fflags": "-genpts",
        # FFmpeg's edit lists move the picture up to a frame: mediabunny #315, FFMS2 #390
        "advanced_editlist": "0",
    }
    try:
        # A bare "a:b.mp4" would be read as protocol "a".
        file = f"file:{path.absolute()}" if excerpt is None else excerpt.open(path)
        container: InputContainer = av.open(
            file, "r", options=options, timeout=(10, 30), **_OPEN_MORE
        )
        return container
    except MemoryError:
        raise LimitExceeded(path, f"{_TOO_MANY}, or export it again if that is not so") from None
    except av.error.PermissionError:
        raise Unreadable(
            path, "the file cannot be read (permission denied); check its permissions"
        ) from None
    except av.error.ExitError:
        raise timed_out(path) from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise NotMedia(path, _not_media(path, formats, error)) from None


def without_order(context: AudioCodecContext | None) -> None:
    """Forget in which order of its own a sound has its channels: they then count as channels
    without positions.

    Before version 19, PyAV may free the memory of that order more than once. What is read here
    before it is replaced is its only owner.
    """
    if context is not None and " (" in (layout := context.layout).name:
        context.layout = f"{layout.nb_channels} channels"


def open_source(source: Source) -> tuple[InputContainer, Source]:
    """The container of a stream, and the stream with its number and its zero in that container.
    Raises as `open_container`.
    """
    piece = source.piece
    if piece is None:
        return open_container(source.path, source.formats, source.excerpt), source
    container = open_container(source.path, source.formats, piece.excerpt)
    streams = [*container.streams.video, *container.streams.audio]
    stream = next(
        (
            stream
            for stream in streams
            if stream.id == piece.pid and stream.codec_context is not None
        ),
        None,
    )
    if stream is None:
        container.close()
        raise DecodeFailed(
            source.path, "part of it cannot be decoded; remux it, or cut it into parts"
        )
    first_s, wrap_s = piece.first / TICKS_S, WRAP / TICKS_S
    start_s = (
        first_s if stream.start_time is None else float(stream.start_time * (stream.time_base or 0))
    )
    turns = round((start_s - first_s) / wrap_s)
    origin_s = first_s + turns * wrap_s - int(apart(piece.first, piece.zero)) / TICKS_S
    return container, replace(source, index=stream.index, origin_s=origin_s)


def _not_media(path: Path, formats: str, error: Exception) -> str:
    """Why a file did not open, and what to do, from its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(128)
    except OSError as unreadable:
        return f"the file cannot be read ({reason_of(unreadable)}); check the disk"
    if (known := stand_in(head)) is not None:
        return known
    if head[4:8] in (b"styp", b"moof", b"sidx", b"emsg", b"prft"):
        return "this is a segment of a stream; join it to the end of its init segment first"
    if head[4:8] in (b"ftyp", b"mdat", b"wide", b"free", b"skip", b"moov"):
        return (
            "the file is cut off or damaged (the index of an mp4 or mov is missing); copy or "
            "export it again"
        )
    if (
        head[:4] == b"\x1a\x45\xdf\xa3"
        or head[8:12] == b"AVI "
        or head[:4] == b"OggS"
        or head[:3] == b"FLV"
    ):
        return f"the file is damaged ({reason_of(error)}); copy or export it again"
    if formats == VIDEO_FORMATS:
        return NO_VIDEO
    return (
        "this is not a sound file that avcheck reads; use wav, flac, mp3, m4a, ogg or a video file"
    )


def first_frames(
    container: InputContainer,
    video: VideoStream | None,
    audio: AudioStream | None,
    clocks: Mapping[int, Clock],
) -> tuple[VideoFrame | None, AudioFrame | None, bool]:
    """The first picture and the first sound not before zero, and whether the file ended before both
    were found.

    `clocks` are those of the streams, by their index. Of a stream with a timeline, zero is that of
    its media.
    """
    streams = [stream for stream in (video, audio) if stream is not None]
    prepare(container, streams, 1)
    by_stream: dict[int, Any] = {}
    decoders = {stream.index: Decoder(container, stream, Tally()) for stream in streams}
    start_s: float | None = None

    def take(stream: Stream, frames: list[Any]) -> None:
        for frame in frames:
            due_s = frame_time_s(frame, clocks[stream.index].origin_s)
            if due_s is not None and (
                due_s >= 0 or (stream is audio and frame_end_s(frame, due_s) > 0)
            ):
                by_stream[stream.index] = frame
                return

    at_end = True
    retime = next((clock.retime for clock in clocks.values()), None)
    for packet in packets_of(container, streams, Tally(), retime):
        stream = packet.stream
        if packet.dts is not None and packet.time_base is not None:
            time_s = float(packet.dts * packet.time_base)
            start_s = time_s if start_s is None else start_s
            if time_s > start_s + PROBE_S:
                at_end = False
                break
        if stream.index not in by_stream:
            take(stream, decoders[stream.index].decode(packet))
        if len(by_stream) == len(streams):
            break
    for stream in streams:
        if stream.index not in by_stream:
            take(stream, decoders[stream.index].rest())
    return (
        by_stream.get(video.index) if video else None,
        by_stream.get(audio.index) if audio else None,
        at_end,
    )


def first_sound_s_of(sound: AudioFrame | None, origin_s: float) -> float | None:
    """When the first frame of a sound begins, in seconds from `origin_s`; None if unknown."""
    time_s = None if sound is None else frame_time_s(sound, origin_s)
    return None if time_s is None else max(0.0, time_s)


@dataclass(frozen=True)
class Clock:
    """How the timestamps of a stream become times on the file's clock."""

    origin_s: float  # the timestamp that is zero; with a timeline, zero of the stream's media
    timeline: Timeline | None = None  # lays the media on the file's clock; None: that is the same
    retime: Retime | None = None  # corrects the packets of every stream of the file
    seek_ahead_s: float = 0.0  # see `Source`

    def source(self, path: Path, formats: str, index: int) -> Source:
        """The stream of this clock that has this number in a file."""
        return Source(
            path, formats, index, self.origin_s, retime=self.retime, seek_ahead_s=self.seek_ahead_s
        )


def clock_of(container: InputContainer, path: Path, stream: Stream) -> Clock:
    """The clock of a stream of an open file.

    Raises:
        Encrypted: The stream is encrypted.
        DecodeFailed: Its edit list cannot be followed.
        LimitExceeded: The index of the file is too long to know all of it.
    """
    if not _is_mp4(container):
        return Clock(origin_s_of(container))
    index = index_of(path)
    track = index.track(stream.id)
    kind = "pictures are" if isinstance(stream, VideoStream) else "sound is"
    if track.encrypted:
        raise Encrypted(
            path, f"its {kind} encrypted ({track.encrypted}); decrypt it first, with its key"
        )
    if track.problem is not None:
        raise DecodeFailed(
            path, f"when its {kind} due is unknown: {track.problem}; export it again"
        )
    retime = index.retime if index.retimes else None
    if index.retimes and not index.complete:
        raise LimitExceeded(
            path, f"the file is in too many fragments to tell when its {kind} due; remux it"
        )
    if track.timeline is None:
        return Clock(index.begin_s, retime=retime)
    return Clock(track.origin_s, track.timeline, retime, track.seek_ahead_s)


def _is_mp4(container: InputContainer) -> bool:
    return "mp4" in container.format.name.split(",")


def origin_s_of(container: InputContainer) -> float:
    """The timestamp that is zero of our clock, the same for all streams of a file; of an mp4 in
    fragments see `Index.begin_s`.
    """
    if _is_mp4(container):
        return 0.0
    start_s = (container.start_time or 0) / av.time_base
    # FFmpeg rounds it to microseconds, which may put it behind the first picture.
    starts_s = [
        float(stream.start_time * stream.time_base)
        for stream in container.streams
        if stream.start_time is not None and stream.time_base
    ]
    return min((each for each in starts_s if abs(each - start_s) < ROUNDING_S), default=start_s)


def _end_of_fragments_s(container: InputContainer, index: Index) -> float | None:
    """When the last fragments of an mp4 end, in seconds; None if FFmpeg did not go by them, because
    a header says how long the film is.

    FFmpeg takes the end of a track's last fragment for the track's length. So it leaves the edit
    list out, and counts the time before a late track twice.
    """
    ends_s = index.fragment_ends_s
    lengths_s = {
        stream.id: float(stream.duration * stream.time_base)
        for stream in container.streams
        if stream.id in ends_s and stream.duration is not None and stream.time_base
    }
    is_by_fragments = ends_s.keys() == lengths_s.keys() and all(
        abs(length_s - ends_s[number][0]) < _SAME_END_S for number, length_s in lengths_s.items()
    )
    return max((end_s for _, end_s in ends_s.values()), default=None) if is_by_fragments else None


def stated_s_of(container: InputContainer, path: Path, excerpt: Excerpt | None = None) -> float:
    """How long the file plays as FFmpeg has it from its header, in seconds, or 0. Where the header
    of an FLV does not say, FFmpeg has the time of the last tag, and counts from zero: of a live
    stream that is how long it had run.
    """
    duration_s = (container.duration or 0) / av.time_base
    if "flv" in container.format.name and duration_s > (origin_s := origin_s_of(container)) > 0:
        last_s = last_time_s(path, excerpt)
        if last_s is not None and abs(duration_s - last_s) < _SAME_END_S:
            duration_s -= origin_s
    return duration_s


def duration_s_of(
    container: InputContainer, path: Path, video: VideoStream, excerpt: Excerpt | None = None
) -> float | None:
    """How long the file plays by its header, in seconds; None if that does not say. `excerpt` is
    the part of the file that was opened.
    """
    duration_s = stated_s_of(container, path, excerpt)
    if _is_mp4(container) and duration_s:
        # FFmpeg counts from the first timestamp, which can be one that an edit list does not show.
        index, media_end_s = index_of(path), duration_s + (container.start_time or 0) / av.time_base
        if index.end_s is None:
            duration_s = min(duration_s, media_end_s)
            end_s = _end_of_fragments_s(container, index)
            duration_s = duration_s if end_s is None else end_s
        else:
            duration_s = (
                index.end_s if index.mapped else min(index.end_s, max(duration_s, media_end_s))
            )
        if duration_s > index.begin_s:
            duration_s -= index.begin_s
    if "matroska" in container.format.name:
        duration_s = length_of_matroska_s(
            path, excerpt, duration_s, origin_s_of(container), float(video.time_base or 0)
        )
    if container.format.name == "asf" and duration_s:
        duration_s += preroll_left_out_s(path)
    if container.format.name == "avi" and video.average_rate:
        # FFmpeg fits the length to the file's size
        duration_s = max(duration_s, video.frames / float(video.average_rate))
    return duration_s if duration_s > 0 else None
