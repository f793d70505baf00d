"""How many processors this process may use, and how its threads wait. Standard library only: read
before torch is loaded.
"""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

# Idle threads of OpenMP spin for a while. On a shared machine that takes the processor from others,
# this process's own decoder included.
_PATIENT = {
    # GNU's runtime, which PyTorch's Linux builds bring, and the standard's own name
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",  # LLVM's and Intel's, on macOS and Windows
}
# Whoever sets one of these has decided
_USERS_OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def cores(root: Path = Path("/")) -> int:
    """The processors this process may use, at least 1: those it is bound to, or its container's
    share if that is less.

    The share is the CPU quota of its cgroup and of those above it, version 2 or 1, rounded up: half
    a processor is one.

    Args:
        root: The folder that holds `proc` and `sys`.
    """
    tied = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([tied, *(math.ceil(share) for share in _quotas(root))]))


def wait_patiently(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make waiting OpenMP threads sleep instead of spin, unless the environment decides how they
    wait.

    It has an effect until torch is loaded, and on processes started from here. It concerns the
    whole process, so only avcheck's own programs call it.
    """
    if not any(environment.get(name) for name in _USERS_OWN):
        environment.update(_PATIENT)


def _quotas(root: Path) -> list[float]:
    """The CPU quotas, in processors, of this process's cgroup and of those above it."""
    try:
        lines = os.fsdecode((root / "proc/self/cgroup").read_bytes()).splitlines()
    except OSError:
        return []
    quotas = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        mount = root / "sys/fs/cgroup"
        if "cpu" in controllers.split(","):
            mount = next(
                (mount / name for name in ("cpu,cpuacct", "cpu") if (mount / name).is_dir()), mount
            )
        elif controllers:
            continue
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        # Inside a container the mount shows the container's own cgroup as its root, whatever the
        # path says.
        for depth in range(len(parts) + 1):
            quota = _quota(mount.joinpath(*parts[:depth]))
            quotas += [] if quota is None else [quota]
    return quotas


def _quota(folder: Path) -> float | None:
    """The quota of one cgroup in processors; None if there is none."""
    try:
        limit, period = (folder / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            limit = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    try:
        share = int(limit) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return share if share > 0 else None  # -1 is none
