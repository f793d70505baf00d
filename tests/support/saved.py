"""Records of checks, and what is saved of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from avcheck.record.report import BlockResult, Report, Segment


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in path.read_text().splitlines()]


def sample(path: str = "a.mp4", at: str | None = None, verdict: Any = "in_sync") -> Report:
    return Report(
        path,
        verdict,
        offset_ms=4.0,
        jumps_s=(1.5,),
        segments=(Segment(0.0, 2.0, 4.0, 0.9),),
        blocks=(BlockResult(0.0, 1.0, None),),
        file_size=1,
        file_mtime_ns=2,
        checked_at=at,
    )
