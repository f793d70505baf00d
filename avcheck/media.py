"""Open a file safely and decode it: every picture and every run of samples stamped on ONE clock, in seconds.

Time is `pts * time_base`, never a count of frames or samples, and never minus a stream's own start: a stream's start is
part of its sync. Both streams of a file share one zero. In mp4 and mov it is the zero of the edit list; in every other
format it is the earliest timestamp of the file (an MPEG-TS clock starts anywhere). What lies before zero is pre-roll that no
player shows, and is dropped.

Pictures and sounds come from two containers opened on the same file, so that either can run ahead of the other whatever
the interleaving, and memory stays bounded. Only local, regular files of known formats are opened, and nothing that a file
points to is followed. A damaged packet costs that packet: it is counted in `Media.degraded`, and decoding goes on.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import os
import stat
import struct
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.frame import Frame
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from avcheck.errors import CannotSeek, DecodeFailed, LimitExceeded, NoAudio, NotMedia, NoVideo, UsageError
from avcheck.results import Degraded

SAMPLE_RATE = 16_000  # Hz, of every Sound
SHORT_SIDE = 160  # pixels, of every Picture that is at least as large
MAX_ASPECT = 2.4  # a picture wider (or taller) than this is scaled by its long side instead
MAX_PIXELS = 8192 * 4608  # 8K and a little; decoding a 16k x 12k picture takes over a gigabyte
MAX_STREAMS = 64  # broadcast MXF carries up to 24 mono sound tracks
MAX_CHANNELS = 64  # of a sound track; the resampler takes no more
MIN_RATE, MAX_RATE = 2_000, 768_000  # Hz; a megabyte of sound that claims 1 Hz would be 32 GB at 16 kHz
MAX_DURATION_S = 24 * 3600.0  # between the first picture and the last; a file can claim centuries in a kilobyte
MAX_SAMPLES = 1 << 24  # pictures and packets that an mp4 may count without listing them: half a gigabyte of FFmpeg's
_SMOOTH_FROM = 4  # a picture to be made this many times smaller need not be deblocked
MAX_THREADS = 4  # a decoder gains little beyond, and every frame thread holds pictures
JITTER_S = 0.003  # mkv and flv count in ms: a smaller gap or overlap is rounding
STALE_S = 1.0  # a picture older than this is missing, not repeated
FAR_S = 10.0  # a frame this far ahead of the one before is only believed if the next one does not go back
CHUNK_SAMPLES = SAMPLE_RATE // 2  # a Sound is this long at least, but for the last one before a gap
PROBE_S = 30.0  # how far into a file its first picture and sound are looked for when it is opened
MAX_INDEX = 64 << 20  # bytes of an mp4's index that are looked at; ten hours of film take 20 MB
MAX_BOXES = 1 << 17  # boxes of an mp4 that are looked at: a day in fragments of 2 s has 86,400
READ_FAILURES = 64  # reads that fail in a row before what follows counts as lost
RUN_UP_S = 30.0  # a key frame further before the place asked for makes seeking no cheaper than going on
# How far before the place asked for to seek to, one after the other until a key frame lies before it: some formats go by
# decoding time, which is a few pictures ahead, and an MPEG-TS has no index of its key frames.
_BACK_S = (0.2, 2.0, 6.0, 12.0, 24.0)
# A sound decoder that starts in the middle is wrong at first (AAC for a frame, Opus for 80 ms), and some leave out what
# they do at the beginning of a file. What comes in the second half of the run-up is right; the resampler settles in it.
_SOUND_RUN_UP_S = 0.4
_ANCHOR_FRAMES = 4  # of the sound's start, which tell where its samples lie: the first may be shorter, or have a gap after it
# Formats whose timestamps after a seek are those of a decode from the start; in the others they are guessed from bit rates.
_SEEKABLE = frozenset({"mp4", "matroska", "mpegts", "wav"})

# Demuxers by FFmpeg's names. Without this list a text file named clip.mp4 is a playlist that opens other files: a protocol
# whitelist alone does not stop it. None of these follows a reference to another file.
VIDEO_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,avi,flv,mxf,mpeg,ogg,asf"
SOUND_FORMATS = f"{VIDEO_FORMATS},wav,w64,aiff,caf,flac,mp3,aac,ac3,eac3"
SUPPORTED = "mp4, mov, mkv, webm, ts, avi, flv, mxf, mpg, ogv or wmv"

Samples = np.ndarray[Any, np.dtype[np.float32]]
Luma = np.ndarray[Any, np.dtype[np.uint8]]


class Picture:
    """One picture: when it is shown, and its luma, scaled when first asked for.

    `pts_s` is in seconds on the file's clock. `luma` is uint8 (H, W), full range (black 0, white 255), upright, square
    pixels. A picture whose luma was never asked for costs no scaling but keeps its decoded frame alive: ask or let go.
    """

    __slots__ = ("_luma", "pts_s")

    def __init__(self, pts_s: float, luma: Luma | Callable[[], Luma]) -> None:
        self.pts_s = pts_s
        self._luma = luma

    @property
    def luma(self) -> Luma:
        """The picture as uint8 (H, W); the same size for all pictures of a file."""
        if callable(self._luma):
            self._luma = self._luma()
        return self._luma

    def __repr__(self) -> str:
        return f"Picture(pts_s={self.pts_s:.6f})"


@dataclass(frozen=True, eq=False)
class Sound:
    """A run of samples without a gap: float32 (n,), mono, 16 kHz, finite, in -1..1; `start_s` on the file's clock."""

    start_s: float
    samples: Samples

    @property
    def end_s(self) -> float:
        """Time of the sample after the last, in seconds."""
        return self.start_s + len(self.samples) / SAMPLE_RATE

    def __repr__(self) -> str:
        return f"Sound(start_s={self.start_s:.6f}, end_s={self.end_s:.6f})"


@dataclass(frozen=True)
class MediaInfo:
    """What a file says about itself, and when its first picture and sound are really due (seconds on the file's clock)."""

    path: Path
    duration_s: float | None
    video_codec: str
    width: int  # as displayed: rotated, square pixels
    height: int
    rotation: int  # degrees that were turned counterclockwise to stand upright: 0, 90, 180, 270
    frame_rate: float | None  # mean, by the header
    audio_codec: str
    audio_track: int | None  # 0-based among the file's audio tracks; None for a separate sound file
    audio_tracks: int  # in the file the sound comes from
    first_picture_s: float | None  # None: none within the first 30 s
    first_sound_s: float | None

    @property
    def container_offset_ms(self) -> float | None:
        """First picture minus first sound, in ms: positive = sound early. It is the container's offset, not the content's."""
        if self.first_picture_s is None or self.first_sound_s is None:
            return None
        return 1000.0 * (self.first_picture_s - self.first_sound_s)


@dataclass(frozen=True)
class _Source:
    """One stream of one file: enough to open it again. `origin_s` is what its timestamps call zero of our clock."""

    path: Path
    formats: str
    index: int
    origin_s: float


@dataclass
class _Tally:
    """What went wrong so far in one stream, and how far it got. `end_s` is on the clock of pictures and sounds."""

    lost: int = 0  # packets that did not decode, and reads that failed
    damaged: int = 0  # frames that the decoder patched up
    undated: int = 0  # frames without a timestamp
    backward: int = 0  # frames more than a second before what was already seen
    stray: int = 0  # frames with a timestamp far ahead of those around them
    bad_samples: int = 0  # NaN or infinite
    missing_s: float = 0.0
    end_s: float = 0.0  # where the last frame ends
    finished: bool = False


class Media:
    """An open file; made by `open_media`, closed by `with` or `close()`.

    `pictures()` and `sounds()` start at the beginning with every call, or near `from_s`; `degraded` counts what they lost.
    """

    def __init__(
        self,
        info: MediaInfo,
        pictures: _Source,
        sounds: _Source,
        *,
        short_side: int = SHORT_SIDE,
        threads: int = 1,
        seekable: bool = False,
        notes: Sequence[str] = (),
    ) -> None:
        self.info = info
        self.seekable = seekable  # whether `pictures` and `sounds` take a `from_s`
        self._notes = tuple(notes)
        self._picture_source = pictures
        self._sound_source = sounds
        self._short_side = short_side
        self._threads = threads
        self._picture_tally = _Tally()
        self._sound_tally = _Tally()
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
            self._picture_tally = _Tally()
        return self._start(self._decode_pictures(self._picture_tally, from_s))

    def sounds(self, from_s: float | None = None) -> Generator[Sound, None, None]:
        """The sound in runs of half a second or more, rising and never overlapping; a gap shows in the next `start_s`.

        With `from_s` (seconds) it begins there, with the very samples that a decode from the beginning gives there; for
        `degraded` as in `pictures`.

        Raises NoAudio at the end of a file whose audio track held no sound, and CannotSeek as `pictures` does.
        """
        if from_s is None:
            self._sound_tally = _Tally()
        return self._start(self._decode_sounds(self._sound_tally, from_s))

    @property
    def degraded(self) -> Degraded:
        """What was lost so far by the latest `pictures()` and `sounds()`, or by all that had a `from_s`."""
        picture, sound = self._picture_tally, self._sound_tally
        notes = list(self._notes)
        if sound.lost:
            notes.append(f"{sound.lost} damaged audio packets")
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
        )

    def _truncated(self) -> bool:
        """Whether the file ended well before its header says. Known only once both streams were read to their end."""
        duration_s = self.info.duration_s
        if duration_s is None or not (self._picture_tally.finished and self._sound_tally.finished):
            return False
        end_s = self._picture_tally.end_s
        if self._sound_source.path == self._picture_source.path:
            end_s = max(end_s, self._sound_tally.end_s)
        return end_s < duration_s - max(1.0, 0.01 * duration_s)

    def _start(self, iterator: Generator[Any, None, None]) -> Generator[Any, None, None]:
        self._running.append(iterator)
        return iterator

    def _decode_pictures(self, tally: _Tally, from_s: float | None) -> Generator[Picture, None, None]:
        source = self._picture_source
        with _open_container(source.path, source.formats) as container:
            stream = next(stream for stream in container.streams.video if stream.index == source.index)
            _prepare(container, [stream], self._threads)
            if min(stream.codec_context.width, stream.codec_context.height) >= _SMOOTH_FROM * self._short_side:
                # The deblocking filter smooths what scaling down averages away: a fifth of an H.264 decoder's time.
                stream.codec_context.options |= {"skip_loop_filter": "all"}
            scaler = _Scaler(stream, self._short_side)
            first_s = last_s = -1.0
            shown: Picture | None = None  # at `from_s`, as far as is known
            packets = _packets_from(container, stream, tally, from_s, source.origin_s)
            for time_s, frame in _dated(_frames(container, stream, tally, packets), source.origin_s, tally):
                if time_s is None:
                    tally.undated += 1
                elif first_s >= 0 and time_s > first_s + MAX_DURATION_S:
                    raise LimitExceeded(
                        f"{_shown(source.path)}: a picture is due {(time_s - first_s) / 3600:.0f} hours after the first, over "
                        f"the limit of {MAX_DURATION_S / 3600:.0f}; remux it to mend its timestamps, or cut it into parts"
                    )
                elif last_s < time_s and time_s >= 0:
                    if last_s >= 0:
                        tally.missing_s += max(0.0, time_s - last_s - STALE_S)
                    tally.damaged += frame.is_corrupt
                    first_s = time_s if first_s < 0 else first_s
                    last_s = time_s
                    tally.end_s = max(tally.end_s, _end_s(frame, time_s))
                    picture = Picture(time_s, scaler.later(frame))
                    if from_s is not None and time_s <= from_s:
                        shown = picture
                        continue
                    if shown is not None:
                        yield shown
                        shown = None
                    yield picture
                elif time_s < last_s - STALE_S:
                    tally.backward += 1
            if shown is not None:
                yield shown
            tally.finished = True
            if last_s < 0 and from_s is None:
                raise _no_pictures(source.path, undated=tally.undated)

    def _decode_sounds(self, tally: _Tally, from_s: float | None) -> Generator[Sound, None, None]:
        source = self._sound_source
        with _open_container(source.path, source.formats) as container:
            stream = container.streams[source.index]
            _prepare(container, [stream], 1)
            run: _Run | None = None
            begin_s = from_s or 0.0
            end_s = 0.0  # of the sound so far; what lies before it is pre-roll or an overlap
            until_s = None if from_s is None else from_s - _SOUND_RUN_UP_S
            sought = _has_to_seek(until_s)
            anchor = _anchor(source) if sought else None
            settled_s: float | None = None
            packets = _packets_from(container, stream, tally, until_s, source.origin_s)
            for time_s, frame in _dated(_frames(container, stream, tally, packets), source.origin_s, tally):
                if not MIN_RATE <= frame.sample_rate <= MAX_RATE:  # it can change in mid-stream
                    tally.lost += 1
                    continue
                if time_s is None and run is None:
                    tally.undated += from_s is None
                    continue
                if run is None and time_s is not None and sought:
                    settled_s = time_s + _SOUND_RUN_UP_S / 2 if settled_s is None else settled_s
                    if time_s < settled_s:
                        continue
                if time_s is None or (run is not None and abs(time_s - run.end_s) < JITTER_S):
                    time_s = end_s if run is None else run.end_s
                if run is not None and _end_s(frame, time_s) <= end_s and time_s != run.end_s:
                    tally.backward += time_s < end_s - STALE_S
                    continue
                if run is not None and (time_s != run.end_s or not run.takes(frame)):
                    tally.missing_s += max(0.0, time_s - max(begin_s, end_s))
                    yield from run.flush(tally)
                    run = None
                if run is None:
                    lead = 0
                    if anchor is not None:
                        time_s, lead = anchor.place(frame, time_s)
                        anchor = None
                    run = _Run(frame, time_s, max(begin_s, end_s), lead)
                yield from run.push(frame, tally)
                end_s = max(end_s, run.end_s)
                tally.end_s = max(tally.end_s, end_s)
            if run is not None:
                yield from run.flush(tally)
            tally.finished = True
            if run is None and from_s is None:
                raise _no_sound(source.path)


def open_media(
    path: str | Path,
    *,
    audio_track: int | None = None,
    audio_path: str | Path | None = None,
    short_side: int = SHORT_SIDE,
    threads: int = 0,
) -> Media:
    """Open a video file for checking, and find its first picture and its first sound.

    `audio_track` counts from 0 among the audio tracks; None takes the default one. `audio_path` takes the sound from another
    file instead, whose time zero is laid on the first picture or sound of the video file, whichever is earlier.
    `short_side` is the size of the pictures in pixels; a smaller source is never scaled up, and one wider than 2.4 to 1
    gets a long side of 2.4 x `short_side`. `threads` are for decoding pictures; 0 = as many as there are cores, up to 4.

    Raises UsageError (no such file), NotMedia, NoVideo, NoAudio, DecodeFailed, LimitExceeded.
    """
    path = Path(path)
    with _open_container(path, VIDEO_FORMATS) as container:
        video = _choose_video(container, path)
        origin_s = _origin_s(container)
        audio: AudioStream | None = None
        if audio_path is None:
            audio = _choose_audio(container, path, audio_track)
        elif container.streams.audio:
            audio = _choose_audio(container, path, None)
        picture, sound, at_end = _first_frames(container, video, audio, origin_s)
        if picture is None and at_end:
            raise _no_pictures(path)
        if sound is None and at_end and audio_path is None:
            raise _no_sound(path)
        first_picture_s = None if picture is None else _time_s(picture, origin_s)
        first_sound_s = _first_sound_s(sound, origin_s)
        rate = video.average_rate or video.guessed_rate
        rotation = 0 if picture is None else _rotation(picture)
        width, height = _display_size(video, picture)
        tracks = list(container.streams.audio)
        edits = _Index(path).edits if "mp4" in container.format.name.split(",") else 0
        seekable = _is_seekable(container)
        info = MediaInfo(
            path=path,
            duration_s=_duration_s(container, video),
            video_codec=video.codec_context.name,
            width=width if rotation in (0, 180) else height,
            height=height if rotation in (0, 180) else width,
            rotation=rotation,
            frame_rate=float(rate) if rate else None,
            audio_codec=audio.codec_context.name if audio else "",
            audio_track=tracks.index(audio) if audio else None,
            audio_tracks=len(tracks),
            first_picture_s=first_picture_s,
            first_sound_s=first_sound_s,
        )
        pictures = _Source(path, VIDEO_FORMATS, video.index, origin_s)
        sounds = _Source(path, VIDEO_FORMATS, audio.index if audio else -1, origin_s)

    if audio_path is not None:
        audio_path = Path(audio_path)
        start_s = min((time_s for time_s in (first_picture_s, first_sound_s) if time_s is not None), default=0.0)
        with _open_container(audio_path, SOUND_FORMATS) as container:
            audio = _choose_audio(container, audio_path, audio_track)
            origin_s = _origin_s(container) - start_s
            _, sound, at_end = _first_frames(container, None, audio, origin_s)
            if sound is None and at_end:
                raise _no_sound(audio_path)
            info = dataclasses.replace(
                info,
                audio_codec=audio.codec_context.name,
                audio_track=None,
                audio_tracks=len(container.streams.audio),
                first_sound_s=_first_sound_s(sound, origin_s),
            )
            sounds = _Source(audio_path, SOUND_FORMATS, audio.index, origin_s)
            seekable = seekable and _is_seekable(container)
    if threads <= 0:
        threads = min(MAX_THREADS, _cores())
    notes = [f"its edit list has {edits} pieces; the file was checked unedited"] if edits > 1 else []
    return Media(info, pictures, sounds, short_side=short_side, threads=threads, seekable=seekable, notes=notes)


def _open_container(path: Path, formats: str) -> InputContainer:
    """Open `path` with one of the demuxers of `formats`, and nothing else. Raises the typed errors of `open_media`."""
    name = _shown(path)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{name}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise NotMedia(f"{name}: cannot be read ({_reason(error)}); check its name and permissions") from None
    if stat.S_ISDIR(status.st_mode):
        raise NotMedia(f"{name}: is a directory; name a file in it")
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO waits for ever, and no timeout covers it
        raise NotMedia(f"{name}: is not a regular file; save the video to a file first")
    if status.st_size == 0:
        raise NotMedia(f"{name}: is empty (0 bytes); copy or export it again")
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": formats,
        "max_streams": str(MAX_STREAMS),
        "max_pixels": str(MAX_PIXELS),  # for the decoders that only look into the file; `_prepare` tells the others
        "advanced_editlist": "0",  # FFmpeg's edit lists move the picture up to a frame: mediabunny #315, FFMS2 #390
    }
    too_many = f"{name}: has at least {MAX_STREAMS} streams; keep only one video and its audio tracks"
    samples = _Index(path).samples
    if samples > MAX_SAMPLES:
        raise LimitExceeded(f"{name}: its index claims {samples:,} pictures or packets; remux it, or export it again")
    try:
        # A bare "a:b.mp4" would be read as protocol "a".
        container = av.open(f"file:{path.absolute()}", "r", options=options, metadata_errors="replace", timeout=(10, 30))
    except MemoryError:
        raise LimitExceeded(f"{too_many}, or export it again if that is not so") from None
    except av.error.PermissionError:
        raise NotMedia(f"{name}: cannot be read (permission denied); check its permissions") from None
    except av.error.ExitError:
        raise _timed_out(path) from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise NotMedia(f"{name}: {_not_media(path, formats, error)}") from None
    if len(container.streams) >= MAX_STREAMS:  # matroska goes on without the rest, and then reads nothing
        container.close()
        raise LimitExceeded(too_many)
    return container


def _not_media(path: Path, formats: str, error: Exception) -> str:
    """Why a file did not open, and what to do, from its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as unreadable:
        return f"cannot be read ({_reason(unreadable)}); check the disk"
    if head[4:8] in (b"ftyp", b"mdat", b"wide", b"free", b"skip", b"moov"):
        return "is cut off or damaged (the index of an mp4 or mov is missing); copy or export it again"
    if head[:4] == b"\x1a\x45\xdf\xa3" or head[8:12] == b"AVI " or head[:4] == b"OggS" or head[:3] == b"FLV":
        return f"is damaged ({_reason(error)}); copy or export it again"
    if formats == VIDEO_FORMATS:
        return f"is not a video file that avcheck reads; use {SUPPORTED}"
    return "is not a sound file that avcheck reads; use wav, flac, mp3, m4a, ogg or a video file"


def _choose_video(container: InputContainer, path: Path) -> VideoStream:
    """The video stream that plays: never cover art or a thumbnail. Its size is within `MAX_PIXELS`."""
    still = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & still]
    if not streams:
        found = " (only cover art)" if container.streams.video else ""
        raise NoVideo(f"{_shown(path)}: has no video stream{found}; name a video file")
    best = container.streams.best("video")
    stream = next((stream for stream in streams if stream is best), streams[0])
    stream = next((stream for stream in streams if stream.disposition & Disposition.default), stream)
    if stream.codec_context is None:
        raise DecodeFailed(f"{_shown(path)}: its video codec is unknown; convert it to H.264, for example")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS / 1e6:.0f} megapixels"
        raise LimitExceeded(f"{_shown(path)}: its pictures are {width} x {height}, over the limit of {limit}; scale it down")
    return stream


def _choose_audio(container: InputContainer, path: Path, track: int | None) -> AudioStream:
    """Audio track `track`, or the default one: by its flag, then by FFmpeg's choice, which favours more channels."""
    streams = list(container.streams.audio)
    count = len(streams)
    if not streams:
        raise NoAudio(f"{_shown(path)}: has no audio track; name the sound with --audio FILE")
    if track is None:
        best = container.streams.best("audio")
        stream = next((stream for stream in streams if stream is best), streams[0])
        if not stream.disposition & Disposition.default:
            stream = next((stream for stream in streams if stream.disposition & Disposition.default), stream)
    elif 0 <= track < count:
        stream = streams[track]
    else:
        have = "1 audio track, number 0" if count == 1 else f"{count} audio tracks, numbers 0 to {count - 1}"
        raise NoAudio(f"{_shown(path)}: has no audio track {track}: it has {have}; choose one with --audio-track")
    if stream.codec_context is None:
        raise DecodeFailed(
            f"{_shown(path)}: its audio codec is unknown; convert the sound to AAC or PCM, or choose another track"
        )
    rate, channels = stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels
    if (rate and not MIN_RATE <= rate <= MAX_RATE) or channels > MAX_CHANNELS:
        claims = f"{channels} channels" if channels > MAX_CHANNELS else f"{rate} samples a second"
        raise LimitExceeded(f"{_shown(path)}: its sound claims {claims}; convert the sound to 48 kHz, or choose another track")
    return stream


def _prepare(container: InputContainer, streams: Sequence[Stream], threads: int) -> None:
    """Set the decoders up before their first packet, and have the demuxer skip every other stream."""
    for stream in container.streams:
        if stream not in streams:
            stream.discard = Discard.all
    for stream in streams:
        context = stream.codec_context
        context.thread_type = "NONE" if threads == 1 else "AUTO"
        context.thread_count = threads
        if isinstance(stream, VideoStream):
            # Given to av.open it has no effect; here it also covers a size that changes in mid-stream.
            context.options = {"max_pixels": str(MAX_PIXELS)}


def _first_frames(
    container: InputContainer, video: VideoStream | None, audio: AudioStream | None, origin_s: float
) -> tuple[VideoFrame | None, AudioFrame | None, bool]:
    """The first picture and the first sound not before zero, and whether the file ended before both were found."""
    streams = [stream for stream in (video, audio) if stream is not None]
    _prepare(container, streams, 1)
    found: dict[int, Any] = {}
    decoders = {stream.index: _Decoder(container, stream, _Tally()) for stream in streams}
    start_s: float | None = None
    for packet in _packets(container, streams, _Tally()):
        stream = packet.stream
        if packet.dts is not None and packet.time_base is not None:
            time_s = float(packet.dts * packet.time_base)
            start_s = time_s if start_s is None else start_s
            if time_s > start_s + PROBE_S:
                return found.get(video.index) if video else None, found.get(audio.index) if audio else None, False
        if stream.index in found:
            continue
        for frame in decoders[stream.index].decode(packet):
            due_s = _time_s(frame, origin_s)
            if due_s is not None and (due_s >= 0 or (stream is audio and _end_s(frame, due_s) > 0)):
                found[stream.index] = frame
                break
        if len(found) == len(streams):
            break
    return found.get(video.index) if video else None, found.get(audio.index) if audio else None, True


def _let_out_lack_of_memory(error: Exception) -> None:
    """Raise an error again that says nothing about the file: memory is short.

    FFmpeg says so too of damage that claims 2 GB or more, which it never allocates, and of a stream too many. It is believed
    where there is no room for the largest picture that is decoded.
    """
    if isinstance(error, av.error.MemoryError):
        with suppress(MemoryError):
            np.empty(8 * MAX_PIXELS, np.uint8)  # four planes of 16 bits, and untouched, so it costs nothing
            return
    if isinstance(error, MemoryError):
        raise error


class _Decoder:
    """Decodes the packets of one stream. One that does not decode is counted and skipped; PyAV's own loop would stop."""

    def __init__(self, container: InputContainer, stream: Stream, tally: _Tally) -> None:
        self._tally = tally
        # AVI stores no presentation times, and those FFmpeg makes up for H.264 are a frame late, or twice the same with
        # B-frames. What a chunk does say is its place: the n-th picture shown takes the n-th of these times.
        self._due: list[int] | None = [] if container.format.name == "avi" and isinstance(stream, VideoStream) else None

    def decode(self, packet: Packet[Any]) -> list[Any]:
        """The frames that this packet completes."""
        if self._due is not None and packet.dts is not None:
            heapq.heappush(self._due, packet.dts)
        try:
            frames: list[Any] = packet.decode()
        except (EOFError, BlockingIOError):
            return []
        except (av.error.FFmpegError, MemoryError, ValueError) as error:
            _let_out_lack_of_memory(error)
            self._tally.lost += 1
            if self._due is not None and packet.dts in self._due:
                self._due.remove(packet.dts)
                heapq.heapify(self._due)
            return []
        if self._due is not None:
            for frame in frames:
                frame.pts = heapq.heappop(self._due) if self._due else None
        return frames


def _frames(container: InputContainer, stream: Stream, tally: _Tally, packets: Iterator[Packet[Any]]) -> Iterator[Any]:
    """The decoded frames of one stream's packets."""
    decoder = _Decoder(container, stream, tally)
    for packet in packets:
        yield from decoder.decode(packet)


def _is_seekable(container: InputContainer) -> bool:
    return not _SEEKABLE.isdisjoint(container.format.name.split(","))


def _has_to_seek(from_s: float | None) -> bool:
    """Whether there is a way back to a key frame; nearer to the beginning a decode starts there."""
    return from_s is not None and from_s > _BACK_S[-1]


def _packets_from(
    container: InputContainer, stream: Stream, tally: _Tally, from_s: float | None, origin_s: float
) -> Iterator[Packet[Any]]:
    """The packets of one stream from a key frame on that is due at or before `from_s`, or all of them. Raises CannotSeek."""
    if from_s is None or not _has_to_seek(from_s):
        yield from _packets(container, [stream], tally)
        return
    for back_s in _BACK_S:
        _seek(container, stream, from_s - back_s + origin_s)
        packets = _packets(container, [stream], tally)
        for packet in packets:
            if not packet.is_keyframe or packet.pts is None:
                continue
            due_s = float(packet.pts * (packet.time_base or 0)) - origin_s
            if due_s > from_s:
                break
            if due_s < from_s - RUN_UP_S:
                raise _cannot_seek(container)
            yield packet
            yield from packets
            return
    raise _cannot_seek(container)


def _seek(container: InputContainer, stream: Stream, time_s: float) -> None:
    """Go to a key frame at or before `time_s` on the stream's own clock."""
    try:
        container.seek(round(time_s / float(stream.time_base or 1)), stream=stream, backward=True)
    except (av.error.FFmpegError, OverflowError) as error:
        _let_out_lack_of_memory(error)
        raise _cannot_seek(container) from None


@dataclass(frozen=True)
class _Anchor:
    """Where the samples of a sound lie that is decoded from its beginning, so that a decode from the middle gives the same.

    A run is placed by its first timestamp, and by counting from there; a timestamp in its middle is rounded to a tick, and
    the resampler's 16 kHz samples fall between those of other rates as the run began. The run of the file's first frames
    starts at `start_s`; `offset` samples on, frames of `size` samples follow each other.
    """

    start_s: float
    offset: int
    size: int
    rate: int
    tick_s: float

    def place(self, frame: AudioFrame, time_s: float) -> tuple[float, int]:
        """The exact time of a frame due about `time_s`, and how many samples before it the resampler has to begin."""
        if frame.sample_rate != self.rate:
            return time_s, 0
        frames = round(((time_s - self.start_s) * self.rate - self.offset) / self.size)
        taken = self.offset + frames * self.size
        exact_s = self.start_s + taken / self.rate
        if abs(exact_s - time_s) > 1.5 * self.tick_s + 1e-4:  # after a gap: the timestamp is all there is
            return time_s, 0
        return exact_s, taken % (self.rate // math.gcd(self.rate, SAMPLE_RATE))


def _anchor(source: _Source) -> _Anchor | None:
    """The anchor that the first frames of a sound make, as `Media.sounds` joins them; None where they have no timestamps."""
    start_s: float | None = None
    taken = 0
    anchor = None
    with _open_container(source.path, source.formats) as container:
        stream = container.streams[source.index]
        _prepare(container, [stream], 1)
        packets = _packets(container, [stream], _Tally())
        for frame in islice(_frames(container, stream, _Tally(), packets), _ANCHOR_FRAMES):
            time_s = _time_s(frame, source.origin_s)
            if time_s is not None and (start_s is None or abs(time_s - start_s - taken / frame.sample_rate) >= JITTER_S):
                start_s, taken = time_s, 0
            if start_s is not None and frame.samples:
                anchor = _Anchor(start_s, taken, frame.samples, frame.sample_rate, float(stream.time_base or 0))
                taken += frame.samples
    return anchor


def _dated(frames: Iterator[Any], origin_s: float, tally: _Tally) -> Iterator[tuple[float | None, Any]]:
    """The frames with their times, without those whose timestamp is damaged: one such frame would make all others late."""
    last_s = math.inf
    held: tuple[float, Any] | None = None
    for frame in frames:
        time_s = _time_s(frame, origin_s)
        if held is not None:
            if time_s is not None and time_s < held[0]:
                tally.stray += 1
            else:
                yield held
                last_s = held[0]
            held = None
        if time_s is not None and time_s > last_s + FAR_S:
            held = time_s, frame
            continue
        yield time_s, frame
        last_s = last_s if time_s is None else time_s
    if held is not None:
        yield held


def _packets(container: InputContainer, streams: Sequence[Stream], tally: _Tally) -> Iterator[Packet[Any]]:
    """The packets of `streams`. A failed read is counted and tried again: it ends PyAV's generator, but not the file."""
    failures = 0
    while failures < READ_FAILURES:
        try:
            for packet in container.demux(list(streams)):
                failures = 0
                yield packet
            return
        except av.error.ExitError:
            raise _timed_out(Path(container.name.removeprefix("file:"))) from None
        except (av.error.FFmpegError, MemoryError, IndexError) as error:  # IndexError: PyAV, when a damaged flv grows a stream
            _let_out_lack_of_memory(error)
            failures += 1
            tally.lost += failures == 1


def _time_s(frame: Frame, origin_s: float) -> float | None:
    """When a frame is due, in seconds; None if the file does not say."""
    if frame.pts is None or frame.time_base is None:
        return None
    return frame.pts * frame.time_base.numerator / frame.time_base.denominator - origin_s


def _end_s(frame: Frame, time_s: float) -> float:
    if isinstance(frame, AudioFrame):
        return time_s + frame.samples / frame.sample_rate
    return time_s + float((frame.duration or 0) * (frame.time_base or 0))


def _first_sound_s(sound: AudioFrame | None, origin_s: float) -> float | None:
    time_s = None if sound is None else _time_s(sound, origin_s)
    return None if time_s is None else max(0.0, time_s)


def _origin_s(container: InputContainer) -> float:
    """The timestamp that is zero of our clock, the same for all streams of a file."""
    if "mp4" in container.format.name.split(","):
        return 0.0
    return (container.start_time or 0) / av.time_base


def _duration_s(container: InputContainer, video: VideoStream) -> float | None:
    """How long the file plays, by its header."""
    duration_s = (container.duration or 0) / av.time_base
    if "matroska" in container.format.name and duration_s > _origin_s(container):
        duration_s -= _origin_s(container)  # matroska's writers give the last timestamp for the length
    if container.format.name == "avi" and video.average_rate:
        duration_s = max(duration_s, video.frames / float(video.average_rate))  # FFmpeg fits the length to the file's size
    return duration_s if duration_s > 0 else None


@dataclass
class _Track:
    """What decides how many entries FFmpeg makes for a track of an mp4: it believes some counts that nothing backs."""

    handlers: set[bytes] = field(default_factory=set)
    samples: int = 0  # all of one size, so that only their number is stored
    whole_chunks: bool = True  # its times allow FFmpeg to take sound a chunk at a time
    runs: list[tuple[int, int]] = field(default_factory=list)  # first chunk, samples in each from there on
    chunks: int = 0
    in_fragments: int = 0

    def entries(self) -> int:
        if not self.whole_chunks or b"soun" not in self.handlers or self.handlers & {b"vide", b"subp", b"clcp"}:
            return self.samples + self.in_fragments
        after = self.chunks + 1
        ends = [*(min(first, after) for first, _ in self.runs[1:]), after]
        pieces = (max(0, end - first) * -(-count // 1024) for (first, count), end in zip(self.runs, ends, strict=False))
        return sum(pieces) + self.in_fragments


class _Index:
    """What the boxes of an mp4 or mov say, read before FFmpeg believes them; empty for other files.

    edits: pieces of media that the edit lists show, at most over the tracks. With one, the demuxer only shifts the track,
    which is right. More are not played: the piece after a cut would have its sound up to an AAC frame early.
    samples: entries that FFmpeg would hold in memory for what is only counted, not listed.
    """

    def __init__(self, path: Path) -> None:
        self.edits = 0
        self._boxes = 0
        self._tracks = [_Track()]
        # Opening the file will say what is wrong with it; what is damaged here is damaged there.
        with suppress(OSError, struct.error, zlib.error), path.open("rb") as file:
            self._read_file(file)
        self.samples = sum(track.entries() for track in self._tracks)

    def _read_file(self, file: BinaryIO) -> None:
        total, at = os.fstat(file.fileno()).st_size, 0
        while at + 8 <= total and self._boxes < MAX_BOXES:
            file.seek(at)
            head = file.read(16)
            size, kind = struct.unpack(">I4s", head[:8])
            skip = 8
            if size == 1 and len(head) == 16:
                size, skip = struct.unpack(">Q", head[8:])[0], 16
            size = size or total - at
            if size < skip or not kind.isascii():
                return
            self._boxes += 1
            if kind in _BOXES_OF_BOXES:
                file.seek(at + skip)
                self._enter(kind, memoryview(file.read(min(size - skip, MAX_INDEX))), 1)
            at += size

    def _enter(self, kind: bytes, body: memoryview, depth: int) -> None:
        if kind == b"trak":
            self._tracks.append(_Track())
        at = 0
        while at + 8 <= len(body) and self._boxes < MAX_BOXES and depth < _MAX_DEPTH:
            size, inner = struct.unpack_from(">I4s", body, at)
            size = size or len(body) - at
            if size < 8:
                return
            self._boxes += 1
            part = body[at + 8 : at + size]
            if inner in _BOXES_OF_BOXES:
                self._enter(inner, part, depth + 1)
            elif inner == b"cmov":  # the whole index, compressed
                packed = bytes(part)
                packed = packed[packed.find(b"cmvd") + 8 :]
                self._enter(b"moov", memoryview(zlib.decompressobj().decompress(packed, MAX_INDEX)), depth + 1)
            elif len(part) >= 8:
                self._take(inner, part)
            at += size

    def _take(self, kind: bytes, body: memoryview) -> None:
        track = self._tracks[-1]
        count = int.from_bytes(body[4:8], "big")
        if kind == b"elst":
            rows = _rows(">Qq4x" if body[0] == 1 else ">Ii4x", body[8:], count)
            self.edits = max(self.edits, sum(media_time >= 0 for _, media_time in rows))
        elif kind == b"hdlr":
            track.handlers.add(bytes(body[8:12]))
        elif kind == b"stsz" and count:
            track.samples = max(track.samples, int.from_bytes(body[8:12], "big"))
        elif kind == b"stts":
            track.whole_chunks &= count == 1 and int.from_bytes(body[12:16], "big") == 1
        elif kind == b"stsc":
            track.runs += _rows(">II4x", body[8:], count)
        elif kind in (b"stco", b"co64"):
            track.chunks = max(track.chunks, min(count, len(body) // 4))
        elif kind == b"trun":
            track.in_fragments += count


_BOXES_OF_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf"}
_MAX_DEPTH = 10  # as FFmpeg


def _rows(form: str, data: memoryview, count: int) -> Iterator[tuple[int, int]]:
    """The `count` pairs of a table, or as many as there are."""
    row = struct.Struct(form)
    return row.iter_unpack(data[: min(count, len(data) // row.size) * row.size])


def _rotation(frame: VideoFrame) -> int:
    """How far to turn a frame counterclockwise to stand upright: 0, 90, 180 or 270 degrees."""
    return round(frame.rotation / 90) * 90 % 360


def _display_size(stream: VideoStream, frame: VideoFrame | None) -> tuple[int, int]:
    """Width and height in square pixels, before rotation: of the frame, which knows better than the header."""
    aspect = float(stream.sample_aspect_ratio or 1)
    if not 1 / 8 <= aspect <= 8:  # nonsense, and a way to ask for a huge picture
        aspect = 1.0
    size = frame or stream.codec_context
    return max(1, round(size.width * aspect)), max(1, size.height)


def _scaled_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Width and height scaled down, not up, to `short_side`, or to a long side of `MAX_ASPECT` times that."""
    scale = min(1.0, short_side / min(width, height), MAX_ASPECT * short_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


class _Scaler:
    """Turns decoded frames into luma of one size, whatever size the stream changes to. One swscale context for all."""

    def __init__(self, stream: VideoStream, short_side: int) -> None:
        self._stream = stream
        self._short_side = short_side
        self._size: tuple[int, int] | None = None
        self._reformatter = VideoReformatter()

    def later(self, frame: VideoFrame) -> Callable[[], Luma]:
        """The luma of `frame`, as a call: most frames of a 60 fps film are never looked at."""
        return lambda: self.scale(frame)

    def scale(self, frame: VideoFrame) -> Luma:
        if self._size is None:
            self._size = _scaled_size(*_display_size(self._stream, frame), self._short_side)
        full = frame.color_range == ColorRange.JPEG or not frame.format.name.startswith(("yuv", "nv", "p0", "gray"))
        gray = self._reformatter.reformat(
            frame,
            *self._size,
            format="gray",
            interpolation=Interpolation.AREA,
            src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        return np.ascontiguousarray(np.rot90(gray.to_ndarray(), _rotation(frame) // 90))


class _Run:
    """Sound without a gap on its way to 16 kHz mono. Time is kept here: the resampler only ever sees samples."""

    def __init__(self, frame: AudioFrame, start_s: float, from_s: float, lead: int = 0) -> None:
        """A run that starts with `frame` at `start_s`; what it has before `from_s` is not given out.

        The resampler begins `lead` samples earlier, with silence.
        """
        self._start_s = start_s - lead / frame.sample_rate
        self._rate = frame.sample_rate
        self._key = _sound_format(frame)
        self._taken = 0  # samples at the source's rate
        self._given = 0  # samples at SAMPLE_RATE
        self._skip = max(0, math.ceil((from_s - self._start_s) * SAMPLE_RATE - 1e-3))
        self._pending: list[Samples] = []
        self._waiting = 0  # samples in them
        # Channels that nobody says the place of are averaged: the resampler refuses to mix them. They are packed first, as
        # PyAV 18 reads past the end of a planar frame of 8 channels or more.
        self._packer = AudioResampler("flt") if "channels" in frame.layout.name or "ambi" in frame.layout.name else None
        # Without rematrix_maxval a stereo mix in floats can exceed 1.
        self._resampler = AudioResampler("flt", "mono", SAMPLE_RATE, options={"rematrix_maxval": "1.0"})
        if lead:
            silence = AudioFrame(frame.format.name, frame.layout.name, lead)
            silence.sample_rate = frame.sample_rate
            for plane in silence.planes:
                plane.update(bytes(plane.buffer_size))
            self._taken += lead
            self._resample(silence, _Tally())

    @property
    def end_s(self) -> float:
        """Where the sound taken so far ends."""
        return self._start_s + self._taken / self._rate

    def takes(self, frame: AudioFrame) -> bool:
        """Whether the frame has the format of this run."""
        return _sound_format(frame) == self._key

    def push(self, frame: AudioFrame, tally: _Tally) -> Iterator[Sound]:
        self._taken += frame.samples
        frame.pts = None
        self._resample(frame, tally)
        if self._waiting >= CHUNK_SAMPLES:
            yield from self._give(tally)

    def flush(self, tally: _Tally) -> Iterator[Sound]:
        """The rest, with what the resampler's filter still held."""
        self._resample(None, tally)
        rest = self._taken * SAMPLE_RATE // self._rate - self._given  # the filter's tail runs past the sound
        yield from self._give(tally, max(0, rest))

    def _resample(self, frame: AudioFrame | None, tally: _Tally) -> None:
        try:
            frames = (
                [frame] if self._packer is None or frame is None else [_mean(part) for part in self._packer.resample(frame)]
            )
            for part in frames:
                for out in self._resampler.resample(part):
                    self._pending.append(out.to_ndarray().reshape(-1).astype(np.float32, copy=False))
                    self._waiting += len(self._pending[-1])
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            _let_out_lack_of_memory(error)
            tally.lost += 1

    def _give(self, tally: _Tally, limit: int | None = None) -> Iterator[Sound]:
        samples = np.concatenate(self._pending)[:limit] if self._pending else np.zeros(0, np.float32)
        self._pending, self._waiting = [], 0
        first = min(len(samples), max(0, self._skip - self._given))
        start_s = self._start_s + (self._given + first) / SAMPLE_RATE
        self._given += len(samples)
        samples = samples[first:]
        if len(samples):
            good = np.isfinite(samples)  # the filter is short: what is not a number spreads by a millisecond
            tally.bad_samples += len(samples) - int(np.count_nonzero(good))
            yield Sound(start_s, np.clip(np.where(good, samples, np.float32(0)), -1.0, 1.0))


def _sound_format(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _mean(frame: AudioFrame) -> AudioFrame:
    """The mean of all channels of a frame of packed floats."""
    with np.errstate(invalid="ignore", over="ignore"):  # what is not a number is counted further on
        samples = frame.to_ndarray().reshape(frame.samples, -1).mean(1, dtype=np.float32)
    mono = AudioFrame.from_ndarray(samples[None], "flt", "mono")
    mono.sample_rate = frame.sample_rate
    return mono


def _timed_out(path: Path) -> DecodeFailed:
    return DecodeFailed(f"{_shown(path)}: reading timed out; copy it to a local disk")


def _cannot_seek(container: InputContainer) -> CannotSeek:
    return CannotSeek(f"{_shown(Path(container.name.removeprefix('file:')))}: cannot be read from the middle; check it whole")


def _no_pictures(path: Path, undated: int = 0) -> DecodeFailed:
    if undated:
        return DecodeFailed(f"{_shown(path)}: its pictures carry no timestamps; remux it to mp4 or mkv")
    limit = f"{MAX_PIXELS / 1e6:.0f} megapixels"
    return DecodeFailed(f"{_shown(path)}: none of its pictures decodes (damaged, or over {limit}); export it again")


def _no_sound(path: Path) -> NoAudio:
    return NoAudio(f"{_shown(path)}: its audio track holds no sound that decodes; choose another with --audio-track or --audio")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def _shown(path: Path) -> str:
    """A path as one printable line: names can hold anything."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in str(path))
