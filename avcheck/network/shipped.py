"""Which weights a check uses, without loading them (so without torch): every record names their
hash, even that of an error.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from avcheck.errors import ModelError

SHIPPED_NAME = "sync.safetensors"
# The weights that this version was measured with. `avcheck train` prints the hash of its result.
SHIPPED_SHA256 = "cfeb72bf86f0542251d810075005b29cb645444cd4cf61ec6d60979e7ac058b6"

# The face finder, which only says where to look closer
FACES_NAME = "faces.safetensors"
FACES_SHA256 = "801415b30be165f7c8b6a46360a445772f72b784ee4de1f0537156121ef5c46e"


def shipped_path(name: str = SHIPPED_NAME) -> Path:
    """The path of a shipped weights file: inside the installed package, or in `models/` of a
    checkout. Raises ModelError.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "models", package.parent / "models"):
        if (folder / name).is_file():
            return folder / name
    raise ModelError(
        f"the shipped weights ({name}) are missing; install avcheck again from where it came"
    )


@lru_cache(maxsize=8)
def weights_sha256(model: Path | None) -> str:
    """SHA-256 of the weights that a run asks for (None: the shipped ones); "" if that file cannot
    be read.
    """
    if model is None:
        return SHIPPED_SHA256
    try:
        return hashlib.sha256(model.read_bytes()).hexdigest()
    except OSError:
        return ""
