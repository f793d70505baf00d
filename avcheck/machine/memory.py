"""What becomes of the memory that the process frees. Imports nothing of the package."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

# mallopt(3): M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD (at most 32 MB) in bytes, M_MMAP_MAX
# in pieces
_TRIM, _PAD, _MMAP_FROM, _MMAP_MAX = -1, -2, -3, -4
_CHECKING = ((_TRIM, 2**31 - 1), (_MMAP_FROM, 32 * 2**20))
_LEARNING = ((_TRIM, 2**31 - 1), (_PAD, 256 * 2**20), (_MMAP_MAX, 0))


def keep_memory(*, all_sizes: bool = False) -> None:
    """Make glibc keep freed memory for the next request.

    Tensors of megabytes come and go with every layer. Returned and requested again they cost page
    faults: a tenth of the network's time in a check, half of it in training. The process grows a
    little for it. It concerns the whole process, so only avcheck's own programs call it, and a
    glibc that was set up through the environment is left alone.

    Args:
        all_sizes: Keep pieces of any size, not only those of up to 32 MB.
    """
    if sys.platform != "linux" or any(
        name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ
    ):
        return
    import ctypes  # late: `avcheck --help` does not need it

    try:
        libc = ctypes.CDLL("libc.so.6")
        for option, value in _LEARNING if all_sizes else _CHECKING:
            libc.mallopt(option, value)
    except (OSError, AttributeError):
        pass  # another C library: slower, nothing worse


def give_back() -> None:
    """Return to the system what `keep_memory` kept, after a file: otherwise a worker holds for good
    what its largest file took.
    """
    if sys.platform != "linux":
        return
    import ctypes  # late, as above

    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
