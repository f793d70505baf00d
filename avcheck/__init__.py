"""avcheck: is the sound of a video in sync with its picture, by how much is it off, and how sure is
that?

>>> import avcheck
>>> report = avcheck.check("film.mp4", tolerance="ebu-r37")
>>> report.verdict, report.offset_text
('out_of_sync', 'sound late by 120 ms (3.0 frames)')
"""

from avcheck._version import __version__
from avcheck.api import check, check_many, check_tracks
from avcheck.errors import AvcheckError, Cancelled, MediaError, ModelError, UsageError
from avcheck.record.report import PRESETS, Report, Tolerance

__all__ = [
    "PRESETS",
    "AvcheckError",
    "Cancelled",
    "MediaError",
    "ModelError",
    "Report",
    "Tolerance",
    "UsageError",
    "__version__",
    "check",
    "check_many",
    "check_tracks",
]
