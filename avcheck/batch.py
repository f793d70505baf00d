"""Many files: which ones to check, and checking one after the other with the model loaded once.

Nothing here imports torch, av or numpy until the first file is really checked, so a wrong path answers at once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from avcheck import __version__
from avcheck.errors import AvcheckError, MediaError
from avcheck.results import DEFAULT_PRESET, PRESETS, Report, Tolerance
from avcheck.shipped import weights_sha256

# What a directory is searched for; a file named by the caller is checked whatever its name.
MEDIA_SUFFIXES = frozenset(
    {".3g2", ".3gp", ".m4v", ".mj2", ".mov", ".mp4", ".qt"}
    | {".mkv", ".webm"}
    | {".m2t", ".m2ts", ".mpeg", ".mpg", ".mts", ".ts", ".vob"}
    | {".avi", ".asf", ".f4v", ".flv", ".mxf", ".ogm", ".ogv", ".wmv"}
)
_ALSO_TYPESCRIPT = frozenset({".ts", ".mts"})


@dataclass(frozen=True)
class CheckSettings:
    """How every file of one run is checked; plain data, so that it can be passed on to any worker."""

    tolerance: Tolerance = PRESETS[DEFAULT_PRESET]
    device: str = "auto"
    model: Path | None = None  # None: the weights that came with avcheck
    audio_track: int | None = None  # 0-based among the audio tracks; None: the file's main one
    audio: Path | None = None  # a separate sound file in place of the file's own


@dataclass
class Discovery:
    """What the given paths amount to: files to check in order, and a report for each path that cannot be checked."""

    files: list[Path] = field(default_factory=list)
    errors: list[Report] = field(default_factory=list)


def discover(
    paths: Iterable[str | Path], tolerance: Tolerance = PRESETS[DEFAULT_PRESET], model: Path | None = None
) -> Discovery:
    """Turn files and directories into the files to check, each once, in a stable order.

    A named file is always taken. A directory is searched all the way down for `MEDIA_SUFFIXES`, names sorted; hidden
    entries, linked directories and what is not a regular file are passed over. What is missing, unreadable, not a
    regular file, or a directory without media becomes a report with verdict "error"; nothing is raised.
    """
    found = Discovery()
    seen: set[str] = set()

    def take(path: Path) -> None:
        key = os.path.abspath(path)  # noqa: PTH100 - Path.absolute() keeps "..", so one file could come twice
        if key not in seen:
            seen.add(key)
            found.files.append(path)

    def refuse(path: str | Path, reason: str) -> None:
        found.errors.append(error_report(path, reason, tolerance, model))

    for given in paths:
        path = Path(given)
        # Path("") is the working directory, which nobody who passes an empty variable means.
        problem, mode = _look(path) if str(given) else ("no such file or directory", 0)
        if problem:
            refuse(given, problem)
        elif stat.S_ISDIR(mode):
            if not _search(path, take, refuse):
                refuse(given, "no media files in this directory")
        elif stat.S_ISREG(mode):
            take(path)
        else:
            refuse(given, "not a regular file")
    return found


def _search(root: Path, take: Callable[[Path], None], refuse: Callable[[str | Path, str], None]) -> int:
    """Take or refuse what lies under `root`, and say how many that were (before duplicates are dropped)."""
    count = 0

    def unreadable(error: OSError) -> None:
        nonlocal count
        count += 1
        refuse(error.filename, f"cannot read this directory: {error.strerror}")

    for folder, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith(".") or path.suffix.lower() not in MEDIA_SUFFIXES:
                continue
            problem, mode = _look(path)
            if problem:  # a broken link: somebody expects a file here, so silence would be a false "all well"
                refuse(path, problem)
            elif stat.S_ISREG(mode) and not (path.suffix.lower() in _ALSO_TYPESCRIPT and _is_text(path)):
                take(path)
            else:
                continue
            count += 1
    return count


def _look(path: Path) -> tuple[str | None, int]:
    """What is wrong with a path (None if nothing is) and its mode. Opens nothing: open() would hang on a FIFO."""
    try:
        return None, path.stat().st_mode
    except FileNotFoundError:
        return ("broken link" if path.is_symlink() else "no such file or directory"), 0
    except OSError as error:
        return error.strerror or str(error), 0
    except ValueError as error:  # a NUL in the name
        return str(error), 0


def _is_text(path: Path) -> bool:
    """Whether a file starts like text: MPEG transport streams share their suffix with TypeScript."""
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError:
        return False  # let the check itself say what is wrong
    return bool(head) and all(8 < byte < 0xF8 for byte in head)


def error_report(path: str | Path, reason: str, tolerance: Tolerance, model: Path | None = None) -> Report:
    """The report of a file that could not be judged, `reason` in one line."""
    return Report(
        str(path),
        "error",
        reason=reason,
        tolerance=tolerance,
        model_sha256=weights_sha256(model),
        avcheck_version=__version__,
    )


def check_many(
    files: Iterable[Path],
    settings: CheckSettings,
    *,
    on_file: Callable[[Path], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
    on_bug: Callable[[Path, Exception], None] | None = None,
) -> Iterator[Report]:
    """Check files one after the other and yield each report as it comes; the model is loaded once, at the first.

    `on_file` hears each file as it begins, `on_progress` the fraction of it that is done (0..1), and `on_bug` an
    exception that is avcheck's own fault; the file then gets an error report and the next ones go on.
    Raises UsageError and ModelError, which no other file would escape.
    """
    from avcheck.scan import Checker  # late: brings torch and av

    checker = Checker(model=settings.model, device=settings.device)
    for path in files:
        if on_file:
            on_file(path)
        try:
            report = checker.check(
                path,
                audio_track=settings.audio_track,
                audio=settings.audio,
                tolerance=settings.tolerance,
                on_progress=on_progress,
            )
        except MediaError as error:
            # The record names the path already.
            reason = str(error).removeprefix(f"{path}: ")
            report = error_report(path, reason, settings.tolerance, settings.model)
        except AvcheckError:
            raise
        except MemoryError:
            report = error_report(path, "out of memory", settings.tolerance, settings.model)
        except Exception as error:
            if on_bug:
                on_bug(path, error)
            reason = f"internal error: {type(error).__name__}: {error} (please report it; AVCHECK_DEBUG=1 shows where)"
            report = error_report(path, reason, settings.tolerance, settings.model)
        yield report
