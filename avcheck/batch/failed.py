"""The report of a file that could not be judged."""

from __future__ import annotations

from pathlib import Path

from avcheck._version import __version__
from avcheck.batch.remote import shown
from avcheck.network.shipped import weights_sha256
from avcheck.record.report import ErrorCode, Report, Tolerance
from avcheck.settings import CheckSettings


def error_report(
    path: str | Path,
    reason: str,
    tolerance: Tolerance,
    model: Path | None = None,
    *,
    code: ErrorCode,
) -> Report:
    """The report of a file that could not be judged.

    Args:
        path: The file, or a URL, which is recorded without its secrets.
        reason: Why, in one line that does not name the file.
        tolerance: That of the run.
        model: The weights of the run; None: those that came with avcheck.
        code: The kind of reason.
    """
    return Report(
        shown(path),
        "error",
        reason=reason,
        reason_code=code,
        tolerance=tolerance,
        model_sha256=weights_sha256(model),
        avcheck_version=__version__,
    )


def error_in(path: str | Path, reason: str, settings: CheckSettings, *, code: ErrorCode) -> Report:
    """`error_report` for a file of a run with these settings."""
    return error_report(path, reason, settings.tolerance, settings.model, code=code)
