"""`python bench/meter.py OUT COMMAND...`: runs a command, and writes its wall and CPU seconds and
its largest process to OUT.

It is a process of its own and imports little, because a child counts its parent's memory until it
has loaded its own program.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def main(out: str, *command: str) -> int:
    began = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {
        "wall_s": time.monotonic() - began,
        "cpu_s": used.ru_utime + used.ru_stime,
        "memory_mb": used.ru_maxrss / 1024,
    }
    Path(out).write_text(json.dumps(figures), encoding="ascii")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
