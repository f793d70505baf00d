"""What a run writes to its folder. Each file is whole or not there, so that a run can go on after a
kill.
"""

from __future__ import annotations

import json
from pathlib import Path

from avcheck.errors import UsageError
from avcheck.machine.files import whole_file, why_not_new


def make_folder(path: Path, parameter: str = "out") -> None:
    """Make a folder if it is missing. Raises UsageError, which names `parameter`, if it cannot be
    made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UsageError(f"{path} is not a directory; give a new one", parameter) from error
    except OSError as error:
        raise UsageError(f"cannot make {path}: {error.strerror}", parameter) from error


def require_writable(path: Path, parameter: str = "") -> None:
    """Raise UsageError, which names `parameter`, if no file can be written to `path`. Asked before
    the work whose result it is for.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a directory", parameter)
    if why := why_not_new(path):
        raise UsageError(why, parameter)


def write_json(path: Path, value: object) -> None:
    """Write a value to a file as JSON."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value))
