"""Where the corpus of real clips is, which is no part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "corpus"  # beside the checkout
CORPUS = Path(os.environ.get("AVCHECK_CORPUS") or _BESIDE)
ABSENT = f"the corpus of real clips is not in {CORPUS}; AVCHECK_CORPUS names another folder"
