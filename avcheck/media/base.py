"""What every part of the reader shares: pictures and sounds with their times, and what was lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.frame import Frame
from av.packet import Packet

from avcheck.errors import CannotSeek, DecodeFailed, NoAudio
from avcheck.media.transport import Excerpt
from avcheck.rates import SAMPLE_RATE
from avcheck.record.report import AudioClock, PictureFacts, Track

SHORT_SIDE = 160  # pixels, of every Picture that is at least as large

# Hz; sound that claims a lower rate would swell when it is resampled
MIN_RATE, MAX_RATE = 2_000, 768_000
MOST_VALUES = 1 << 24  # samples of all channels held at a time, 64 MB; 5 s of 16 at 192 kHz
PLANAR_MOST = 7  # channels of a planar frame that is safe to read with every PyAV
MAX_PIXELS = 8192 * 4608  # 8K and a little: memory for a picture is set aside by what it claims

ROUNDING_S = 1e-6  # of times in floating point
JITTER_S = 0.003  # mkv and flv count in ms: a smaller gap or overlap is rounding

STALE_S = 1.0  # a picture older than this is missing, not repeated

Samples = np.ndarray[Any, np.dtype[np.float32]]

Luma = np.ndarray[Any, np.dtype[np.uint8]]

# Gives a packet the presentation time that its container states
Retime = Callable[["Packet[Any]"], None]


class Picture:
    """One picture: when it is shown, and its luma, which is scaled when it is first asked for.

    `pts_s` is in seconds on the file's clock. `luma` is uint8 (H, W), full range (black 0, white
    255), upright, square pixels. A picture whose luma is never asked for costs no scaling but keeps
    its decoded frame alive: ask or let go.
    """

    __slots__ = ("_luma", "pts_s")

    def __init__(self, pts_s: float, luma: Luma | Callable[[], Luma]) -> None:
        self.pts_s = pts_s
        self._luma = luma

    @property
    def luma(self) -> Luma:
        """The picture as uint8 (H, W). All pictures of a file have one size, except where
        recordings of other shapes were joined.
        """
        if callable(self._luma):
            self._luma = self._luma()
        return self._luma

    def at(self, pts_s: float) -> Picture:
        """The same picture, shown at another time."""
        return Picture(pts_s, lambda: self.luma)

    def __repr__(self) -> str:
        return f"Picture(pts_s={self.pts_s:.6f})"


@dataclass(frozen=True, eq=False)
class Sound:
    """A run of samples without a gap: float32 (n,), mono, 16 kHz, finite, in -1..1; `start_s` on
    the file's clock.
    """

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
    """What a file says about itself, and when its first picture and sound are due (seconds on the
    file's clock).
    """

    path: Path  # the film, not a separate sound file
    duration_s: float | None  # how long it plays; None: unknown
    video_codec: str  # FFmpeg's name of it
    width: int  # px, as displayed: rotated, square pixels
    height: int  # px, as displayed
    rotation: int  # degrees that were turned counterclockwise to stand upright: 0, 90, 180, 270
    frame_rate: Fraction | None  # mean, by the header; exact where that rounds a usual rate
    audio_codec: str  # the same of the sound; "" without any
    audio_track: int | None  # 0-based among the file's audio tracks; None for a separate sound file
    video_track: int  # 0-based among the picture tracks that play
    program: int | None  # the number of the programme checked, of a transport stream
    programs: tuple[int, ...]  # those at the start of the file
    audio_tracks: tuple[Track, ...]  # of the file the sound comes from
    video_tracks: tuple[Track, ...]  # those that play: no cover art, no thumbnails
    first_picture_s: float | None  # None: none within the first 30 s
    first_sound_s: float | None  # None: none within the first 30 s
    container: str = ""  # FFmpeg's words for the kind of container
    timecode: str | None = None  # of the first picture, as the file writes it
    # When the sound of a file of its own is due: by the clock of the "stream" that both were taken
    # from, or it begins with the "film"; None for the film's own sound
    audio_clock: AudioClock | None = None

    @property
    def container_offset_ms(self) -> float | None:
        """First picture minus first sound, in ms: positive = sound early. It is the container's
        offset, not the content's.
        """
        if self.first_picture_s is None or self.first_sound_s is None:
            return None
        return 1000.0 * (self.first_picture_s - self.first_sound_s)

    @property
    def picture_facts(self) -> PictureFacts:
        """What an editor needs to find a moment of the file again."""
        return PictureFacts(
            width=self.width,
            height=self.height,
            frame_rate=None if self.frame_rate is None else str(self.frame_rate),
            first_s=self.first_picture_s,
            timecode=self.timecode,
        )


@dataclass(frozen=True)
class ExcerptStream:
    """One stream in an excerpt of a transport stream. Ticks are those of the file; FFmpeg's
    timestamps may be whole turns of the counter away.
    """

    excerpt: Excerpt
    pid: int  # of the stream
    first: int  # the stream's first timestamp, in ticks
    zero: int  # the timestamp that is zero of the excerpt's clock, in ticks


# Which channels are heard: those of sound; any, if none of them are sound; or all, without a look
Channels = Literal["sound", "any", "all"]


@dataclass(frozen=True)
class Source:
    """One stream of one file: enough to open it again. With a `piece`, `open_source` finds out
    `index` and `origin_s`.
    """

    path: Path  # the file
    formats: str  # the demuxers that may open it, by FFmpeg's names
    index: int  # of the stream in its container
    origin_s: float  # the timestamp that is zero of the file's clock, in seconds
    piece: ExcerptStream | None = None  # where a section of a transport stream has it
    excerpt: Excerpt | None = None  # which part of the file to open as a file; None: all of it
    retime: Retime | None = None  # None: FFmpeg's presentation times are right
    seek_ahead_s: float = 0.0  # to add to a place, for FFmpeg to seek to it
    heard: Channels = "sound"  # what of it


@dataclass
class Tally:
    """What went wrong so far in one stream, and how far it got. `end_s` is on the clock of pictures
    and sounds.
    """

    lost: int = 0  # packets that did not decode, and reads that failed
    damaged: int = 0  # frames that the decoder patched up
    undated: int = 0  # frames without a timestamp
    backward: int = 0  # frames more than a second before what was already seen
    stray: int = 0  # frames with a timestamp far ahead of those around them
    bad_samples: int = 0  # NaN or infinite
    # From decoding to display, of pictures that carry decoding times only
    decoding_delay_s: float | None = None
    # From place to decoding, of pictures of an AVI that are reordered: the least
    decoded_later_s: float | None = None
    one_channel_s: float = 0.0  # sound of a single channel, as all of them together cancel out
    missing_s: float = 0.0  # gaps between frames, beyond what is usual
    start_s: float = math.inf  # of the first frame, where it was decoded from the beginning
    end_s: float = 0.0  # where the last frame ends
    finished: bool = False  # it was read to the end
    # (from, to) of what was left out or could not be decoded
    unseen: list[tuple[float, float]] = field(default_factory=list)

    def leave_out(self, frame: Frame, last_s: float) -> None:
        """Count a frame that is left out, as it is due before `last_s`. What it holds came after
        that, so its length counts as unseen from there on.
        """
        self.backward += 1
        length_s = frame_end_s(frame, 0.0)
        if self.unseen and self.unseen[-1][0] == last_s:
            length_s += self.unseen.pop()[1] - last_s
        self.unseen.append((last_s, last_s + length_s))

    def add(self, part: Tally, start_s: float) -> None:
        """Count what went wrong in a part of the stream that starts at `start_s`."""
        for name in (
            "lost",
            "damaged",
            "undated",
            "backward",
            "stray",
            "bad_samples",
            "one_channel_s",
            "missing_s",
        ):
            setattr(self, name, getattr(self, name) + getattr(part, name))
        self.decoding_delay_s = self.decoding_delay_s or part.decoding_delay_s
        self.decoded_later_s = self.decoded_later_s or part.decoded_later_s
        self.start_s = min(self.start_s, start_s + part.start_s)
        self.end_s = max(self.end_s, start_s + part.end_s)
        self.unseen += [(start_s + from_s, start_s + to_s) for from_s, to_s in part.unseen]


def shown_from(pictures: Iterable[Picture], from_s: float | None) -> Iterator[Picture]:
    """The picture on screen at `from_s`, and all after it; with None, all pictures."""
    on_screen: Picture | None = None
    for picture in pictures:
        if from_s is not None and picture.pts_s <= from_s:
            on_screen = picture
            continue
        if on_screen is not None:
            yield on_screen
            on_screen = None
        yield picture
    if on_screen is not None:
        yield on_screen


def frame_time_s(frame: Frame, origin_s: float) -> float | None:
    """When a frame is due, in seconds; None if the file does not say."""
    pts, base = frame.pts, frame.time_base  # PyAV makes a new fraction each time it is asked
    if pts is None or base is None:
        return None
    return pts * base.numerator / base.denominator - origin_s


def frame_end_s(frame: Frame, time_s: float) -> float:
    """When a frame that begins at `time_s` ends, in seconds."""
    if isinstance(frame, AudioFrame):
        return time_s + frame.samples / frame.sample_rate
    return time_s + lasting_s(frame)


def lasting_s(frame: Frame) -> float:
    """How long a frame lasts by what the file says, in seconds; 0 if it does not say."""
    base = frame.time_base
    return 0.0 if base is None else (frame.duration or 0) * base.numerator / base.denominator


def timed_out(path: Path) -> DecodeFailed:
    """The error of a file whose reading takes too long."""
    return DecodeFailed(path, "reading the file timed out; copy it to a local disk")


def cannot_seek(container: InputContainer) -> CannotSeek:
    """The error of a file that can only be read from its beginning."""
    return CannotSeek(
        Path(container.name.removeprefix("file:")),
        "the file cannot be read from the middle; check it whole",
    )


def no_pictures(path: Path, undated: int = 0) -> DecodeFailed:
    """The error of a picture track that gives none; `undated`: how many had no timestamp."""
    if undated:
        return DecodeFailed(path, "its pictures carry no timestamps; remux it to mp4 or mkv")
    limit = f"{MAX_PIXELS / 1e6:.0f} megapixels"
    return DecodeFailed(
        path, f"none of its pictures decodes (damaged, or over {limit}); export it again"
    )


def no_sound(path: Path) -> NoAudio:
    """The error of an audio track that gives no sound."""
    return NoAudio(
        path,
        "its audio track holds no sound that decodes; choose another with --audio-track or --audio",
    )


def reason_of(error: Exception) -> str:
    """What an error says, to follow a colon: in small letters, without its number."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
