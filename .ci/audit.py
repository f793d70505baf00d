"""Known weaknesses of the packages installed here, by pip-audit.

Exits 1 if there are any. Says so, and exits 0, where nothing could be audited: no network, no
answer within a minute, or a package index that knows of no advisories.
"""

from __future__ import annotations

import json
import subprocess
import sys

LIMIT_S = 60


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        print(f"SKIPPED: the service did not answer within {LIMIT_S} s")
        return 0
    except ValueError:  # it wrote no JSON
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"SKIPPED: pip-audit: {last}")
        return 0
    audited = [package for package in packages if "skip_reason" not in package]
    print(f"{len(audited)} of {len(packages)} packages audited")
    if not audited:
        print("SKIPPED: the service knows none of them")
    weak = [(package, fault) for package in audited for fault in package["vulns"]]
    for package, fault in weak:
        fixed = ", ".join(fault["fix_versions"]) or "none yet"
        print(f"{package['name']} {package['version']}: {fault['id']}, fixed in: {fixed}")
    return int(bool(weak))


if __name__ == "__main__":
    sys.exit(main())
