"""How PyTorch is imported, which takes most of what a short clip costs. Imports nothing of the
package.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_SHAPE_RULES = "torch._meta_registrations"


def never_compile() -> None:
    """Let PyTorch be imported without the rules by which its compiler works out the shapes of
    results: they take much of the import (bench/WAYS.md), and a check never compiles.

    An empty module stands in for them. From then on this process can neither compile nor train, as
    PyTorch's optimisers import its compiler; so only avcheck's own programs call it, when they are
    about to check. Without effect once PyTorch is imported.
    """
    if "torch" not in sys.modules:
        sys.modules.setdefault(_SHAPE_RULES, ModuleType(_SHAPE_RULES))


@contextmanager
def while_importing() -> Iterator[None]:
    """Pause garbage collection: what an import makes stays, and going through it again and again
    takes a fifth of PyTorch's import.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
