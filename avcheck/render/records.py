"""The record as JSON: one a line, all in a list, or one alone. Its fields are in
`schema/record-1.schema.json`.
"""

from __future__ import annotations

import json
import math
from typing import Any

from avcheck.record.report import Report
from avcheck.render.base import Renderer
from avcheck.render.text import LOG_COMMAND


def to_json(report: Report, *, indent: int | None = None) -> str:
    """The record as JSON in plain ASCII, so that any file name survives any pipe; NaN and infinity
    become null. What a build server would take for a command is escaped, which means the same.
    """
    text = json.dumps(_plain(report.to_record()), ensure_ascii=True, allow_nan=False, indent=indent)
    return LOG_COMMAND.sub(r"\1\\u005b", text)


class JsonLines(Renderer):
    """One record a line."""

    def item(self, report: Report) -> str:
        """The record and a line feed."""
        return to_json(report) + "\n"


class JsonList(Renderer):
    """All records in one JSON list."""

    def __init__(self) -> None:
        self._empty = True

    def head(self) -> str:
        """The opening bracket."""
        return "["

    def item(self, report: Report) -> str:
        """The record, after a comma unless it is the first."""
        comma = "" if self._empty else ","
        self._empty = False
        return f"{comma}\n{to_json(report, indent=2)}"

    def tail(self) -> str:
        """The closing bracket."""
        return "]\n" if self._empty else "\n]\n"


class JsonRecord(Renderer):
    """The only record of a run over one file; null if the run ended before there was one."""

    def __init__(self) -> None:
        self._empty = True

    def item(self, report: Report) -> str:
        """The record and a line feed."""
        self._empty = False
        return to_json(report, indent=2) + "\n"

    def tail(self) -> str:
        """Nothing, or null."""
        return "null\n" if self._empty else ""


def _plain(value: Any) -> Any:
    """The value, with None for every NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
