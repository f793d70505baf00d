"""Comparing many files with the engine that checks many files: what `batch.run` needs for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avcheck.batch.remote import Stamp
from avcheck.errors import MediaError, NoAudio, without_audio_option
from avcheck.machine.files import stamp
from avcheck.record.report import Report
from avcheck.settings import CheckSettings, OnProgress

if TYPE_CHECKING:
    from avcheck.compare.comparison import Digest

_READ, _HALF = 0.9, 0.45  # of the progress shown: both files read, one of them


@dataclass(frozen=True)
class CompareSettings(CheckSettings):
    """How every file of a run is compared, and with what: `references` by the path of the file."""

    references: Mapping[str, Path] = field(default_factory=dict)
    # Size and modification time of each reference at the start: if that changes, a file is compared
    # again
    stamps: Mapping[Path, Stamp] = field(default_factory=dict)
    reference_audio_track: int | None = None  # as `audio_tracks`, which are those of the file
    reference_video_track: int | None = None  # as `video_track`
    reference_program: int | None = None  # as `program`

    @property
    def of_reference(self) -> dict[str, int | None]:
        """What is read of every reference, as `read_title` takes it."""
        return {
            "audio_track": self.reference_audio_track,
            "video_track": self.reference_video_track,
            "program": self.reference_program,
        }

    @classmethod
    def of(cls, references: Mapping[str, Path], **settings: object) -> CompareSettings:
        """Settings with the references as they are now."""
        stamps = {path: stamp(path) for path in set(references.values())}
        return cls(references=references, stamps=stamps, **settings)  # type: ignore[arg-type]

    def signed(self, report: Report) -> Report:
        """The report with its reference, and with what identifies both to a later run; no weights
        are involved.
        """
        reference = self.references.get(report.path)
        values = [self.sha256(), *self.stamps.get(reference, ())] if reference else [self.sha256()]
        chosen = {name: number for name, number in self.of_reference.items() if number is not None}
        if chosen:
            values.append(json.dumps(chosen))
        digest = hashlib.sha256(json.dumps([str(reference), *values]).encode("ascii"))
        return replace(
            report,
            measured_by="reference",
            reference=None if reference is None else str(reference),
            model_sha256="",
            settings_sha256=digest.hexdigest(),
        )


class Comparer:
    """Compares one file after another; stands in for `avcheck.checker.Checker` in a batch.

    The features of the last reference are kept, so several versions of one reference read it once.
    """

    def __init__(self, settings: CompareSettings) -> None:
        self._references = settings.references
        self._of_reference = settings.of_reference
        self._last: tuple[Path, Digest] | None = None

    def check_tracks(
        self,
        path: str | Path,
        settings: CheckSettings,
        on_progress: OnProgress | None = None,
    ) -> tuple[Report, ...]:
        """The report of a file. Raises MediaError for one that cannot be read, and for its
        reference.
        """
        from avcheck.compare.comparison import compare_titles  # late: brings av
        from avcheck.compare.verdict import to_report

        def tell(share: float, begun: float) -> OnProgress | None:
            return on_progress and (lambda done: on_progress(begun + share * done))

        wanted = self._references[str(path)]
        begun = 0.0
        if self._last is None or self._last[0] != wanted:
            self.close()
            self._last = wanted, self._read_reference(wanted, tell(_HALF, 0.0))
            begun = _HALF
        with closing(
            _read(
                path,
                audio_track=next(iter(settings.audio_tracks), None),
                video_track=settings.video_track,
                program=settings.program,
                on_progress=tell(_READ - begun, begun),
            )
        ) as title:
            comparison = compare_titles(self._last[1], title)
            return (to_report(str(path), comparison, settings.tolerance, title),)

    def _read_reference(self, path: Path, on_progress: OnProgress | None) -> Digest:
        try:
            return _read(path, on_progress=on_progress, **self._of_reference)
        except MediaError as error:
            for name in self._of_reference:
                option = f"--{name.replace('_', '-')}"
                if option in error.reason:
                    reason = error.reason.replace(option, f"--reference-{option[2:]}")
                    raise type(error)(error.path, reason) from error
            raise

    def close(self) -> None:
        """Give back the disk space of the reference."""
        if self._last is not None:
            self._last[1].close()
            self._last = None


def _read(path: str | Path, **options: Any) -> Digest:
    """`read_title`. Its remedy for a missing sound, --audio, is not an option of compare."""
    from avcheck.compare.comparison import read_title  # late: brings av

    try:
        return read_title(path, **options)
    except NoAudio as error:
        raise NoAudio(error.path, without_audio_option(error.reason)) from error


def load_comparer(settings: CheckSettings, threads: int) -> Comparer:
    """What `batch.run` makes in each worker."""
    if not isinstance(settings, CompareSettings):
        raise TypeError("a comparison needs its references")
    return Comparer(settings)
