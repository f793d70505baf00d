"""How the fuzz has a worker check a case: as ever, but without the internet.

Workers get these functions pickled, by name, and do not import the module that is run: so this is
another one than `python -m tests.support.fuzz`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from avcheck.batch.run import FileChecker, load_checker
from avcheck.record.report import Report
from avcheck.settings import CheckSettings
from tests.support import decode_scan, guard

SOUNDS = {".wav", ".flac", ".mp3", ".aiff"}  # checked with the picture of `FILM`
FILM = "film.dat"


class WithFilm:
    """Checks a sound file as the sound of the good film that lies next to it."""

    def __init__(self, checker: FileChecker) -> None:
        self._checker = checker

    def check_tracks(
        self,
        path: str | Path,
        settings: CheckSettings,
        on_progress: Callable[[float], None] | None = None,
    ) -> tuple[Report, ...]:
        """The report of the file, or of the film with it."""
        path = Path(path)
        if path.suffix not in SOUNDS:
            return self._checker.check_tracks(path, settings, on_progress)
        settings = replace(settings, audio=(path,))
        (report,) = self._checker.check_tracks(path.with_name(FILM), settings, on_progress)
        return (replace(report, path=str(path)),)


def guarded_decoder(settings: CheckSettings, threads: int) -> FileChecker:
    """What a worker does with a case: decode it and cut it into blocks. It loads no neural network,
    and may not use the internet.
    """
    warnings.simplefilter("error", RuntimeWarning)  # a NaN that numpy warns of is a bug as well
    if guard.AVAILABLE:
        guard.forbid_network()
    return WithFilm(decode_scan.make_checker(settings, threads))


def guarded_checker(settings: CheckSettings, threads: int) -> FileChecker:
    """The same with a whole check."""
    warnings.simplefilter("error", RuntimeWarning)
    checker = load_checker(settings, 1)
    if guard.AVAILABLE:
        guard.forbid_network()
    return WithFilm(checker)
