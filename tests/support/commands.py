"""The command in a process of its own, with the stand-in for the network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **{
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AVCHECK_", "GITHUB_"))
    },
    "PYTHONPATH": str(ROOT),
    "PYTHONUTF8": "1",
}


FAKE_MAIN = "from tests.support import fake_scan; fake_scan.command()"


def command(
    *args: str, stdout: Any = subprocess.PIPE, program: str = FAKE_MAIN
) -> subprocess.CompletedProcess[bytes]:
    """`avcheck ARGS` in a process of its own, with the stand-in for the network."""
    return subprocess.run(
        [sys.executable, "-c", program, *args],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        timeout=60,
        check=False,
    )


def rows(out: str) -> list[str]:
    """The files that have a line in the text, above the list of what failed."""
    return [row.split(":")[0] for row in out.partition("\n\n")[0].splitlines()]
