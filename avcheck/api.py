"""The package from Python: one file, its tracks, and many files. Heavy imports wait for a call."""

from __future__ import annotations

import difflib
import operator
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from avcheck.errors import Cancelled, UsageError
from avcheck.record.report import DEFAULT_PRESET, PRESETS, USUAL_REACH_S, Report, Tolerance
from avcheck.settings import PROBES, CheckSettings, OnProgress, only_track, time_of

# One audio track by its number, several, or all of them; None: the main one
AudioTracks = int | Sequence[int] | Literal["all"] | None


def check(
    path: str | Path,
    *,
    tolerance: Tolerance | str = DEFAULT_PRESET,
    sample: bool | int = False,
    thorough: bool = False,
    reach: float = USUAL_REACH_S,
    detail: bool = False,
    audio_track: int | None = None,
    language: str | None = None,
    video_track: int | None = None,
    program: int | None = None,
    audio: str | Path | None = None,
    start: float | str | None = None,
    end: float | str | None = None,
    device: str = "auto",
    model: str | Path | None = None,
    on_progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
) -> Report:
    """Check one file.

    Args:
        path: The file, or a URL.
        tolerance: How early and late sound may be: the name of a preset, or a Tolerance.
        sample: Look at a few stretches of a long title, not at as much as the verdict takes; a
            number says at how many to begin with.
        thorough: Look at all of a long title; where nothing shows, look closer whatever that
            costs.
        reach: Search for offsets of up to so many seconds, 2 to 20.
        detail: Put into the report what its verdict rests on (`Report.detail`), for drawing.
        audio_track: Which audio track, from 0. None: the main one.
        language: The language of the audio track, as "fr", "fra" or "fr-CA".
        video_track: Which picture track, from 0 among those that play. None: the main one.
        program: Number of the programme of an MPEG-TS whose tracks these are. None: the main one.
        audio: A sound file in place of the file's own tracks.
        start: Look only at what comes after this time, in seconds, as "[HH:]MM:SS[.mmm]" or
            as the title's timecode, "HH:MM:SS:FF".
        end: Look only at what comes before this time.
        device: "auto", "cpu", "cuda" or "mps".
        model: Weights in place of those that came with avcheck.
        on_progress: Called with the fraction done, rising from 0 to 1, perhaps in another thread.
        cancel: Once this event is set, the check ends soon with Cancelled.

    Returns:
        The report. A file that cannot be judged has the verdict "error".

    Raises:
        UsageError: The call is wrong; the device is not there; `path` is a directory (use
            `check_many`); or several of its tracks are in the language (use `check_tracks`).
        ModelError: The weights are missing or damaged.
        Cancelled: `cancel` was set.
    """
    first, *others = check_tracks(
        path,
        tolerance=tolerance,
        sample=sample,
        thorough=thorough,
        reach=reach,
        detail=detail,
        audio_track=audio_track,
        language=language,
        video_track=video_track,
        program=program,
        audio=audio,
        start=start,
        end=end,
        device=device,
        model=model,
        on_progress=on_progress,
        cancel=cancel,
    )
    if others:
        raise UsageError(f"{path} has {1 + len(others)} sounds to check; use avcheck.check_tracks")
    return first


def check_tracks(
    path: str | Path,
    *,
    on_progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
    **options: Any,
) -> tuple[Report, ...]:
    """Check several sounds of one file, whose pictures are decoded and looked at once.

    Args:
        path: The file, or a URL.
        on_progress: As for `check`.
        cancel: As for `check`.
        options: Those of `check`; here `audio_track` may also be "all" or a list of numbers,
            `language` a list of languages, and `audio` a list of files.

    Returns:
        A report for each sound; for a file that cannot be judged at all, a single one with the
        verdict "error".

    Raises:
        UsageError, ModelError, Cancelled: As for `check`.
    """
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a folder is closed
        raise UsageError(f"{path} is a directory; avcheck.check_many searches directories")
    tell = None if on_progress is None else lambda _, fraction: on_progress(fraction)
    return tuple(check_many([path], on_progress=tell, cancel=cancel, **options))


def check_many(
    paths: str | Path | Iterable[str | Path],
    *,
    jobs: int = 1,
    timeout_s: float | None = None,
    memory_mb: int | None = None,
    on_progress: Callable[[str, float], None] | None = None,
    cancel: threading.Event | None = None,
    **options: Any,
) -> Iterator[Report]:
    """Check files, and the media files in directories, with the weights loaded once (once in each
    worker process).

    Args:
        paths: Files, URLs, and directories to search as the command does; or a single one.
        jobs: How many files to check at a time, each in a process.
        timeout_s: Give up on a file after so many seconds; it is then an error.
        memory_mb: Give up on a file that needs more memory than this (Linux).
        on_progress: Called with a file and the fraction of it that is done, 0 to 1, perhaps in
            another thread.
        cancel: Once this event is set, the run ends soon with Cancelled.
        options: Those of `check_tracks`.

    Yields:
        A report for each file, or for each of its sounds, as files end; those of paths that cannot
        be checked at all come first.

    Raises:
        UsageError, ModelError, Cancelled: As for `check`, once the first report is asked for.
    """
    settings = _settings(**options)
    from avcheck.batch.base import Limits
    from avcheck.batch.discovery import discover
    from avcheck.batch.run import check_many as check_all

    def tell(path: Path | str, fraction: float) -> None:
        _stop_if(cancel)
        if on_progress is not None:
            on_progress(str(path), fraction)

    given = [paths] if isinstance(paths, str | Path) else paths
    discovered = discover(given, settings.tolerance, settings.model)
    limits = Limits(jobs, timeout_s, memory_mb)
    _stop_if(cancel)
    yield from discovered.errors
    for report in check_all(
        discovered.files, settings, limits, on_file=lambda _: _stop_if(cancel), on_progress=tell
    ):
        yield report
        _stop_if(cancel)


def _settings(
    *,
    tolerance: Tolerance | str = DEFAULT_PRESET,
    sample: bool | int = False,
    audio_track: AudioTracks = None,
    language: str | Sequence[str] | None = None,
    audio: str | Path | Sequence[str | Path] | None = None,
    start: float | str | None = None,
    end: float | str | None = None,
    model: str | Path | None = None,
    reach: float = USUAL_REACH_S,
    **others: Any,
) -> CheckSettings:
    files = [audio] if isinstance(audio, str | Path) else audio or ()
    return CheckSettings(
        tolerance=_tolerance(tolerance),
        sample=(PROBES if sample is True else sample) or None,
        audio_tracks=_track_numbers(audio_track),
        every_track=audio_track == "all",
        languages=(language,) if isinstance(language, str) else tuple(language or ()),
        audio=tuple(map(Path, files)),
        start=None if start is None else time_of(start, "start"),
        end=None if end is None else time_of(end, "end"),
        model=None if model is None else Path(model),
        reach_s=reach,
        **others,
    )


def _track_numbers(given: AudioTracks) -> tuple[int, ...]:
    if given == "all":
        return ()
    numbers: Sequence[Any] = given if isinstance(given, Sequence) else only_track(given)
    try:
        return tuple(map(operator.index, numbers))
    except TypeError:
        raise UsageError(
            f'must be the number of a track, a list of numbers, or "all", not {given!r}',
            "audio_track",
        ) from None


def _tolerance(given: Tolerance | str) -> Tolerance:
    if isinstance(given, Tolerance):
        return given
    if given in PRESETS:
        return PRESETS[given]
    near = difflib.get_close_matches(str(given), PRESETS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; presets are {', '.join(PRESETS)}"
    raise UsageError(
        f"must be the name of a preset or an avcheck.Tolerance, not {given!r}{hint}", "tolerance"
    )


def _stop_if(cancel: threading.Event | None) -> None:
    if cancel is not None and cancel.is_set():
        raise Cancelled("the check was cancelled")
