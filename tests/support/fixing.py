"""A file moved by a forced offset, and its packets as PyAV reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from avcheck.fix.repair import Outcome, Wanted, fix_file
from avcheck.report import Report


def never(_path: Path, _audio: int | None, _video: int | None) -> Report:
    raise AssertionError("a forced offset asks nobody")


def forced(source: Path, target: Path, offset_ms: float, **how: Any) -> Outcome:
    return fix_file(source, target, Wanted(force_offset_ms=offset_ms, **how), never)


def packets(path: Path) -> dict[int, list[bytes]]:
    """The packets of every stream, as PyAV itself reads them."""
    found: dict[int, list[bytes]] = {}
    # Those too that an edit list hides
    with av.open(str(path), options={"advanced_editlist": "0"}) as container:
        for packet in container.demux():
            if packet.size:
                found.setdefault(packet.stream.index, []).append(bytes(packet))
    return found
