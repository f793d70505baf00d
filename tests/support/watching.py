"""A folder that is watched, for tests of `avcheck watch`."""

from __future__ import annotations

import json
from pathlib import Path

from avcheck.cli.app import main
from tests.support import fake_scan


def once(inbox: Path, *more: str, settle: float = 0.1) -> int:
    return main(["watch", str(inbox), "--once", "--poll", "--settle", str(settle), *more])


def sorted_out(inbox: Path) -> list[str]:
    """The options that move every file, by its verdict."""
    names = ("pass", "fail", "undecidable", "error")
    return [word for name in names for word in (f"--{name}", str(inbox.parent / name))]


def files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, less the journal."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".avcheck-watch" not in path.name
    }


def records(inbox: Path) -> list[dict[str, object]]:
    text = (inbox / ".avcheck-watch.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def checks() -> int:
    return sum(len(made.calls) for made in fake_scan.MADE)
