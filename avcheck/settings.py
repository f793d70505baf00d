"""How every file of a run is checked: plain data that any worker can be given."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from avcheck.errors import UsageError
from avcheck.machine.files import file_id, stamp
from avcheck.record.report import DEFAULT_PRESET, PRESETS, USUAL_REACH_S, Report, Tolerance
from avcheck.text.languages import is_language
from avcheck.text.timecode import is_timecode

OnProgress = Callable[[float], None]  # takes the fraction that is done, 0..1
Time = float | str  # in a title: seconds on its clock, or its timecode
DeviceName = Literal["auto", "cpu", "cuda", "mps"]  # where the network runs
DEVICES: tuple[DeviceName, ...] = get_args(DeviceName)
LEAST_PART_S = 1.0  # one block
# A long title may be sampled: only probes of it are looked at, each of a segment
PROBES = 8  # to begin with
LEAST_PROBES = 3  # fewer can show no drift and no jump
MOST_PROBES = 3  # times the probes to begin with
MOST_REACH_S = 20.0  # of the offsets that can be searched for, in steps
_CLOCK = re.compile(r"(?:(?:([0-9]{1,3}):)?([0-9]{1,2}):)?([0-9]{1,9}(?:[.][0-9]{1,9})?)")


@dataclass(frozen=True)
class CheckSettings:
    """How a file is checked. Raises UsageError for settings that contradict each other.

    A title with several sounds to check gives a report for each: those of `audio_tracks`, all with
    `every_track`, those in one of `languages`, or the files in `audio`.
    """

    tolerance: Tolerance = PRESETS[DEFAULT_PRESET]  # how early and late sound may be
    device: str = "auto"  # "auto", "cpu", "cuda" or "mps"
    model: Path | None = None  # None: the weights that came with avcheck
    audio_tracks: tuple[int, ...] = ()  # 0-based among the audio tracks; (): the file's main one
    every_track: bool = False  # each audio track, the pictures looked at once
    languages: tuple[str, ...] = ()  # as `languages.matches` takes them
    video_track: int | None = None  # 0-based among the picture tracks that play; None: the main one
    # Number of the MPEG-TS programme that these tracks belong to; None: the main one
    program: int | None = None
    audio: tuple[Path, ...] = ()  # separate sound files instead of the file's own tracks
    start: Time | None = None  # the first time of the title to look at; None: its beginning
    end: Time | None = None  # the last one; None: its end
    # How many probes of a long title to look at first; None: check all of it
    sample: int | None = None
    detail: bool = False  # put `report.Detail` into every record; it does not change the verdict
    thorough: bool = False  # look at all of a long title, and closer at any cost
    reach_s: float = USUAL_REACH_S  # the largest offset to search for, up to MOST_REACH_S

    def __post_init__(self) -> None:
        if self.sample is not None and self.sample < LEAST_PROBES:
            raise UsageError(
                f"a title is sampled by at least {LEAST_PROBES} probes, not {self.sample}", "sample"
            )
        if not USUAL_REACH_S <= self.reach_s <= MOST_REACH_S:
            raise UsageError(
                f"must be {USUAL_REACH_S:g} to {MOST_REACH_S:g} s, not {self.reach_s:g} s", "reach"
            )
        ways = (bool(self.audio_tracks) or self.every_track, bool(self.languages), bool(self.audio))
        if sum(ways) > 1:
            raise UsageError(
                "audio tracks are chosen by number, by language, or as separate files, in one of "
                "these ways only"
            )
        for language in self.languages:
            if not is_language(language):
                raise UsageError(
                    f"{language!r} is no language: give a code, for example fr, fra or fr-CA",
                    "language",
                )
        # What is asked for twice is checked once, also a file by two of its names
        object.__setattr__(self, "audio_tracks", tuple(dict.fromkeys(self.audio_tracks)))
        files: dict[object, Path] = {}
        for path in self.audio:
            files.setdefault(file_id(path) or os.path.realpath(path), path)
        object.__setattr__(self, "audio", tuple(files.values()))
        # How many seconds a timecode is becomes known only once the title is open
        start_s = 0.0 if self.start is None or isinstance(self.start, str) else self.start
        end_s = math.inf if self.end is None or isinstance(self.end, str) else self.end
        for name, time_s in (("start", start_s), ("end", end_s)):
            if not time_s >= 0:
                raise UsageError(f"must be at least 0 s, not {time_s} s", name)
        if not end_s - start_s >= LEAST_PART_S:
            raise UsageError(
                f"the part from {start_s:g} s to {end_s:g} s is empty or too short; it must last "
                f"at least {LEAST_PART_S:g} s",
                "end",
            )

    @property
    def may_be_several(self) -> bool:
        """Whether a title may give several reports."""
        named = max(len(self.audio_tracks), len(self.audio))
        return self.every_track or bool(self.languages) or named > 1

    @property
    def has_part(self) -> bool:
        """Whether only a part of the title is looked at."""
        return self.start is not None or self.end is not None

    def sha256(self) -> str:
        """Hash of all that bears on the result, except the weights and the device."""
        one_track, one_file = len(self.audio_tracks) == 1, len(self.audio) == 1
        values: dict[str, Any] = {
            "early_ms": float(self.tolerance.early_ms),
            "late_ms": float(self.tolerance.late_ms),
            "audio_track": self.audio_tracks[0] if one_track else None,
            "video_track": self.video_track,
            "program": self.program,
            "sample": self.sample,
            "thorough": self.thorough,
            "audio": _identity(self.audio[0]) if one_file else None,
        }
        # Only if they are set, so that results of releases without them still count.
        later = {
            "audio_tracks": () if one_track else self.audio_tracks,
            "every_track": self.every_track,
            "languages": self.languages,
            "audio_files": () if one_file else tuple(map(_identity, self.audio)),
            "start_s": self.start,
            "end_s": self.end,
            "reach_s": None if self.reach_s == USUAL_REACH_S else self.reach_s,
        }
        values |= {name: value for name, value in later.items() if value not in (None, False, ())}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode("ascii")).hexdigest()

    def signed(self, report: Report) -> Report:
        """The report with what identifies these settings to a later run."""
        return replace(report, settings_sha256=self.sha256())


DEFAULTS = CheckSettings()


def only_track(number: int | None) -> tuple[int, ...]:
    """`audio_tracks` for one track, or for the main one."""
    return () if number is None else (number,)


def time_of(time: float | str, parameter: str = "") -> Time:
    """A time in a title: a timecode such as `01:00:04:12` or `01:00:04;12` as it is, anything else
    in seconds.

    Args:
        time: As `seconds_of` takes it, or a timecode.
        parameter: The name of the option or argument, for the error.

    Raises:
        UsageError: It is neither a time nor a timecode.
    """
    if isinstance(time, str) and is_timecode(time):
        return time.strip()
    return seconds_of(time, parameter)


def seconds_of(time: float | str, parameter: str = "") -> float:
    """Seconds from a number or from text: `90`, `90.5`, `1:30` or `0:01:30.500`.

    Args:
        time: The number, in seconds, or the text.
        parameter: The name of the option or argument, for the error.

    Raises:
        UsageError: It is not a time of at least 0 s.
    """
    if isinstance(time, str):
        clock = _CLOCK.fullmatch(time.strip())
        hours, minutes, seconds = clock.groups() if clock else (None, None, "nan")
        if minutes is not None and (float(seconds) >= 60 or (hours and int(minutes) >= 60)):
            seconds = "nan"
        time_s = 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds)
    else:
        time_s = float(time)
    if not (math.isfinite(time_s) and time_s >= 0):
        raise UsageError(
            f"{time!r} is no time: give seconds, or [HH:]MM:SS[.mmm], for example 90 or 0:01:30.5",
            parameter,
        )
    return time_s


def _identity(path: Path) -> list[str | int | None]:
    """What identifies a sound file: its name, size and modification time."""
    return [str(path), *stamp(path)]
