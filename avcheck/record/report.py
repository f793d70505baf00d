"""The result of a check: frozen dataclasses that are also the JSON record. No torch, no rendering.

Sign of every offset: positive = sound early (ITU-R BT.1359), and `describe_offset` says it in
words.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from avcheck.rates import FRAME_RATE
from avcheck.record.detail import Detail
from avcheck.record.edits import Edit
from avcheck.record.typed_json import read

SCHEMA_VERSION = 1
FRAME_MS = 1000 / FRAME_RATE  # offsets in words are also given in such frames
USUAL_REACH_S = 2.0  # how large an offset is searched for, unless more is asked for

# When the sound of a separate file is due: by the clock of the stream that both were taken from, or
# it begins with the film
AudioClock = Literal["stream", "film"]
MeasuredBy = Literal["network", "test_signal", "reference"]  # the last: `avcheck compare`

Verdict = Literal["in_sync", "out_of_sync", "undecidable", "error"]
VERDICT_TEXT = {
    "in_sync": "in sync",
    "out_of_sync": "out of sync",
    "undecidable": "undecidable",
    "error": "error",
}
# Why a file was not judged, for programs; `Report.reason` says it to people. `record-1.schema.json`
# describes each.
UndecidableCode = Literal[
    "borderline",
    "not_all_looked_at",
    "silent",
    "blank",
    "still",
    "too_short",
    "no_pictures",
    "no_match",
    "ambiguous",
    "not_aligned",
]
ErrorCode = Literal[
    "missing",
    "unreadable",
    "not_media",
    "no_media",
    "unpaired",
    "outside_link",
    "bad_url",
    "fetch_failed",
    "no_video",
    "no_audio",
    "encrypted",
    "decode_failed",
    "limit",
    "empty_part",
    "timeout",
    "crashed",
    "out_of_memory",
    "model",
    "bug",
    "other",
]
ReasonCode = UndecidableCode | ErrorCode
_IN_EVERY_RECORD = ("schema_version", "tolerance", "segments", "blocks", "jumps_s", "degraded")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?Z")
_RATE = re.compile(r"[1-9][0-9]{0,9}(/[1-9][0-9]{0,9})?")
# The reason of an error that is avcheck's own fault begins with this.
BUG = "internal error: "


@dataclass(frozen=True)
class Tolerance:
    """How early and how late sound may be, in ms, both positive numbers; `preset` names the source
    or is None.
    """

    early_ms: float  # by how much sound may be early
    late_ms: float  # by how much late
    preset: str | None = None  # one of `PRESETS`

    def __post_init__(self) -> None:
        for name in ("early_ms", "late_ms"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a finite number of at least 0, not {value}")

    def limit_ms(self, offset_ms: float) -> float:
        """The limit on the side of an offset."""
        return self.early_ms if offset_ms > 0 else self.late_ms

    def beyond_ms(self, offset_ms: float) -> float:
        """How far beyond its limit an offset lies, in ms; 0 or less if within."""
        return abs(offset_ms) - self.limit_ms(offset_ms)


PRESETS: dict[str, Tolerance] = {
    "ebu-r37": Tolerance(40, 60, "ebu-r37"),
    "itu-detect": Tolerance(45, 125, "itu-detect"),
    "itu-accept": Tolerance(90, 185, "itu-accept"),
    "atsc": Tolerance(15, 45, "atsc"),
    "film": Tolerance(22, 22, "film"),
}
DEFAULT_PRESET = "ebu-r37"


@dataclass(frozen=True)
class BlockResult:
    """One block of 25 pictures (1 s): its share of the attention (those of a file sum to 1), and
    its own offset.

    `offset_ms` is None if the block shows none by itself.
    """

    start_s: float  # on the file's clock
    attention: float  # 0..1
    offset_ms: float | None


@dataclass(frozen=True)
class Segment:
    """A run of blocks judged together. `offset_ms` is None if it shows none; `confidence` is
    0..1.
    """

    start_s: float  # on the file's clock
    end_s: float  # where its last block ends
    offset_ms: float | None
    confidence: float


@dataclass(frozen=True)
class Stretch:
    """A part of the file whose offset (ms) stays the same, or changes evenly from end to end."""

    start_s: float  # on the file's clock
    end_s: float  # on the file's clock
    start_offset_ms: float  # positive = sound early
    end_offset_ms: float  # the same, unless it drifts

    @property
    def slope_ms_per_s(self) -> float:
        """By how much the offset changes (ms) in a second."""
        return (self.end_offset_ms - self.start_offset_ms) / max(self.end_s - self.start_s, 1e-9)

    @property
    def drifts(self) -> bool:
        """Whether the offset changes by a millisecond or more."""
        return abs(self.end_offset_ms - self.start_offset_ms) >= 1

    def offset_at(self, time_s: float) -> float:
        """The offset (ms) at a moment (s); outside the stretch, that of the nearer end."""
        since_s = min(max(time_s, self.start_s), self.end_s) - self.start_s
        return self.start_offset_ms + self.slope_ms_per_s * since_s


def nearest_stretch(stretches: Sequence[Stretch], time_s: float) -> Stretch:
    """The stretch that a moment (s) lies in, or the nearest one; there must be one or more."""
    return min(stretches, key=lambda each: max(each.start_s - time_s, time_s - each.end_s, 0.0))


@dataclass(frozen=True)
class Degraded:
    """What was lost on the way and so could not be looked at.

    `unseen_s`: the parts that were not looked at, or in a comparison those whose sound or picture
    the reference does not have, (start, end) on the file's clock; `unseen_bytes`:
    how much at the end of the file, and of a separate sound file, players do not play either;
    `notes` say why.
    """

    corrupt_frames: int = 0  # of the picture: lost, or patched up
    missing_audio_s: float = 0.0  # within the sound
    missing_video_s: float = 0.0  # within the pictures
    truncated: bool = False  # the file ends before its header says
    notes: tuple[str, ...] = ()
    unseen_s: tuple[tuple[float, float], ...] = ()
    unseen_bytes: int = 0

    def __post_init__(self) -> None:
        for start_s, end_s in self.unseen_s:
            if not (math.isfinite(start_s) and math.isfinite(end_s) and start_s <= end_s):
                raise ValueError(f"no stretch of time: {start_s} s to {end_s} s")

    def __bool__(self) -> bool:
        lost = self.corrupt_frames or self.truncated or self.notes or self.unseen_s
        return bool(lost or self.missing_audio_s > 0.5 or self.missing_video_s > 0.5)


@dataclass(frozen=True)
class Track:
    """An audio or picture track as the file lists it; `number` counts from 0 among those of its
    kind.

    `language` and `title` are the file's own words, "" if it has none: other people's text, to be
    escaped where it is shown.
    """

    number: int
    language: str
    title: str
    codec: str  # FFmpeg's name of it
    default: bool  # flagged as the one to play


@dataclass(frozen=True)
class PictureFacts:
    """What an editor needs to find a moment: the size and rate of the pictures, and where they
    begin. width and height are in pixels as displayed.

    `frame_rate`: pictures a second as an exact fraction, "30000/1001"; `first_s`: when the first
    picture is shown, on the file's clock; `timecode`: that of the first picture, as the file writes
    it.
    """

    width: int
    height: int
    frame_rate: str | None
    first_s: float | None
    timecode: str | None = None

    def __post_init__(self) -> None:
        if self.frame_rate is not None and not _RATE.fullmatch(self.frame_rate):
            raise TypeError(f"frame_rate is {self.frame_rate!r:.60}, no fraction")


@dataclass(frozen=True)
class Listened:
    """How much of a long title was looked at, after all of it was heard.

    looked_s: seconds looked at; mute_s: seconds of the rest in which nothing sounds like a voice.
    What remains was not needed.
    """

    looked_s: float
    mute_s: float


@dataclass(frozen=True)
class Report:
    """Everything avcheck says about one file; `to_record()` is its JSON form (schema version 1)."""

    path: str  # as it was given
    verdict: Verdict  # of the file, or of one of its sounds
    reason: str | None = None  # why undecidable, or the error; None otherwise
    # The kind of reason; None without one, and in older records
    reason_code: ReasonCode | None = None
    offset_ms: float | None = None  # positive = sound early; None when unknown
    # 0..1, calibrated: chance that the offset is right within 2 frames (80 ms)
    confidence: float = 0.0
    # An offset beyond its limit by less is borderline; None where the offset is
    measuring_error_ms: float | None = None
    measured_by: MeasuredBy = "network"  # what the offset rests on
    # Which test signal: "flash", "countdown", "2-pop", "clap" or "stamp"
    signal: str | None = None
    reference: str | None = None  # the file it was compared with
    tolerance: Tolerance = PRESETS[DEFAULT_PRESET]  # by which it was judged
    # How early the first sound is against the first picture, by their timestamps
    container_offset_ms: float | None = None
    drift_ms_per_min: float | None = None  # positive = earlier and earlier; None: none
    jumps_s: tuple[float, ...] = ()  # where the offset jumps
    # For each of jumps_s, the times that the jump lies between
    jump_intervals_s: tuple[tuple[float, float], ...] = ()
    # How the offset goes through the file, as far as it is known
    stretches: tuple[Stretch, ...] = ()
    edits: tuple[Edit, ...] = ()  # what was done to it since its reference
    duration_s: float | None = None  # None: unknown
    sampled_s: float | None = None  # seconds looked at of a sampled title; None: all of it
    # How much was looked at of a long title that was heard first; None: all of it
    listened: Listened | None = None
    # The closer look ran out of budget and showed nothing; a thorough one may show more
    closer_look_cut: bool = False
    reach_s: float = USUAL_REACH_S  # the largest offset that was searched for
    part_s: tuple[float, float] | None = None  # the part that was looked at; None: all
    audio_track: int | None = None  # 0-based among the audio tracks; None for a separate sound file
    audio_path: str | None = None  # the separate sound file
    audio_clock: AudioClock | None = None  # when it is due; None without one
    # How many records this check of the title gave: one for each sound asked for
    records: int = 1
    # If there are several: what they say together, and which sound is the odd one out
    title_summary: str | None = None
    video_track: int | None = None  # 0-based among the picture tracks that play; None for an error
    # Number of the MPEG-TS programme whose tracks these are; None for other files
    program: int | None = None
    programs: tuple[int, ...] = ()  # those there are at the start of the file
    audio_tracks: tuple[Track, ...] = ()  # of the file that the sound comes from
    video_tracks: tuple[Track, ...] = ()  # those that play: no cover art
    picture: PictureFacts | None = None  # None for an error, and in older records
    segments: tuple[Segment, ...] = ()  # in order of time
    blocks: tuple[BlockResult, ...] = ()  # in order of time
    degraded: Degraded = field(default_factory=Degraded)  # what was lost
    detail: Detail | None = None  # only if it was asked for
    model_sha256: str = ""  # of the weights file
    # Bytes. A resumed run recognises a check by this, the next two and model_sha256
    file_size: int | None = None
    file_mtime_ns: int | None = None  # modification time, ns since 1970
    settings_sha256: str = ""  # of all options that bear on the result
    # How long the check took; None if nothing was opened, and in older records
    elapsed_s: float | None = None
    checked_at: str | None = None  # when the check ended, UTC, e.g. "2026-03-01T12:00:00.000Z"
    avcheck_version: str = ""  # that made the record
    schema_version: int = SCHEMA_VERSION  # of the record's form

    @property
    def offset_text(self) -> str | None:
        """The offset in words, for example "sound late by 120 ms (3.0 frames)"; None if unknown."""
        return None if self.offset_ms is None else describe_offset(self.offset_ms)

    @property
    def by_network(self) -> bool:
        """Whether the verdict rests on what the network saw, so on its attention and segments."""
        return self.measured_by == "network"

    @property
    def by_signal(self) -> bool:
        """Whether it rests on a test signal; its segments are events then."""
        return self.measured_by == "test_signal"

    @property
    def by_reference(self) -> bool:
        """Whether it rests on a comparison (`avcheck compare`)."""
        return self.measured_by == "reference"

    @property
    def unseen_text(self) -> str:
        """What `degraded.unseen_s` are, in words."""
        if self.by_reference:
            return "sound or picture not found in the reference"
        return "not looked at"

    @property
    def jumps_between_s(self) -> tuple[tuple[float, float], ...]:
        """The times that each jump lies between; in a record without intervals, that of the jump
        twice.
        """
        return self.jump_intervals_s or tuple((at_s, at_s) for at_s in self.jumps_s)

    def offset_at(self, time_s: float) -> float | None:
        """The offset (ms) at a moment (s): that of the nearest stretch, or of the whole file; None
        if unknown.
        """
        return (
            nearest_stretch(self.stretches, time_s).offset_at(time_s)
            if self.stretches
            else self.offset_ms
        )

    @property
    def sound(self) -> tuple[int | None, str | None]:
        """Which sound of its title a record is about, if the check gave several; empty if it is
        about the title.
        """
        return (self.audio_track, self.audio_path) if self.records > 1 else (None, None)

    @property
    def looked_at_s(self) -> float | None:
        """The length of what was to be looked at, the part or the whole title; None if unknown."""
        return self.duration_s if self.part_s is None else self.part_s[1] - self.part_s[0]

    @property
    def is_bug(self) -> bool:
        """Whether the check ended in a bug of avcheck's own."""
        return (self.reason or "").startswith(BUG)

    def to_record(self) -> dict[str, Any]:
        """The record of one file as plain JSON types, with its keys in their documented order."""
        lead = (
            "schema_version",
            "avcheck_version",
            "model_sha256",
            "path",
            "verdict",
            "reason",
            "reason_code",
            "offset_ms",
        )
        data = dataclasses.asdict(self)
        record = {key: data.pop(key) for key in lead}
        record["offset_text"] = self.offset_text
        record.update(data)
        return record

    @classmethod
    def from_record(cls, record: object) -> Report:
        """The report that a record (parsed JSON) was made from, less fields this version does not
        know. Raises ValueError.
        """
        try:
            for name in _IN_EVERY_RECORD:
                if isinstance(record, dict) and name not in record:
                    raise TypeError(f"without {name}")
            # Later releases may add to these
            report = read(cls, record, reason_code=str | None, measured_by=str)
        except TypeError as error:
            raise ValueError(f"not a record of avcheck ({error})") from error
        if report.schema_version != SCHEMA_VERSION:
            raise ValueError(f"schema version {report.schema_version}, not {SCHEMA_VERSION}")
        if report.checked_at and not _TIME.fullmatch(report.checked_at):
            raise ValueError(f"checked_at is {report.checked_at!r:.60}, no time in UTC")
        return report


def describe_offset(offset_ms: float, frame_ms: float = FRAME_MS) -> str:
    """An offset in words, with its size in frames. The direction is always a word, never a sign.

    Args:
        offset_ms: Positive = sound early.
        frame_ms: How long a frame is.
    """
    size = abs(offset_ms)
    if round(size) == 0:
        return "sound and picture together (0 ms)"
    side = "early" if offset_ms > 0 else "late"
    return f"sound {side} by {size:.0f} ms ({size / frame_ms:.1f} frames)"


def confidence_text(value: float) -> str:
    """A confidence in two digits, rounded down: 0.999 does not read as certainty, nor 0.897 as what
    a verdict needs.
    """
    return f"{math.floor(100 * value + 1e-9) / 100:.2f}"
