"""avcheck: is the sound of a video in sync with its picture, by how much is it off, and how sure is that?

>>> import avcheck
>>> report = avcheck.check("film.mp4")
>>> report.verdict, report.offset_text
('out_of_sync', 'sound late by 120 ms (3.0 frames)')
"""

from __future__ import annotations

from pathlib import Path

from avcheck.errors import AvcheckError, MediaError, ModelError, UsageError
from avcheck.report import DEFAULT_PRESET, PRESETS, Report, Tolerance

__version__ = "0.1.0"


def check(
    path: str | Path,
    *,
    audio_track: int | None = None,
    video_track: int | None = None,
    program: int | None = None,
    audio: str | Path | None = None,
    tolerance: Tolerance = PRESETS[DEFAULT_PRESET],
    device: str = "auto",
    model: str | Path | None = None,
    sample: int | None = None,
) -> Report:
    """Check one file against `tolerance` and say what was found.

    `audio_track` counts from 0 among the file's audio tracks, `video_track` among its picture tracks that play; `program` is
    the number of the programme of an MPEG-TS whose tracks these are; `audio` is a separate sound file in place of the tracks;
    `model` is a weights file in place of the shipped one; `sample` is how many stretches of a long title to look at in place of
    all of it (8 is what the command takes). A file that cannot be judged gives a Report with verdict "error". Raises UsageError
    or ModelError for a wrong call. To check many files, load the weights once with `avcheck.scan.Checker`.
    """
    if not isinstance(tolerance, Tolerance):
        raise UsageError(f"tolerance must be an avcheck.Tolerance or one of avcheck.PRESETS, not {tolerance!r}")
    from avcheck.batch.discovery import discover
    from avcheck.batch.run import CheckSettings, check_many

    missing = [] if Path(path).is_file() else discover([path], tolerance).errors
    if missing:
        return missing[0]
    settings = CheckSettings(
        tolerance=tolerance,
        device=device,
        model=None if model is None else Path(model),
        audio_track=audio_track,
        video_track=video_track,
        program=program,
        audio=None if audio is None else Path(audio),
        sample=sample,
    )
    return next(iter(check_many([Path(path)], settings)))


__all__ = ["PRESETS", "AvcheckError", "MediaError", "ModelError", "Report", "Tolerance", "UsageError", "__version__", "check"]
