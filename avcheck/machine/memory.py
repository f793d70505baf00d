"""What becomes of the memory that the process frees. Imports nothing of the package."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from contextlib import suppress

# mallopt(3): M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD (at most 32 MB) in bytes, M_MMAP_MAX
# in pieces
_TRIM, _PAD, _MMAP_FROM, _MMAP_MAX = -1, -2, -3, -4
_CHECKING = ((_TRIM, 2**31 - 1), (_MMAP_FROM, 32 * 2**20))
_LEARNING = ((_TRIM, 2**31 - 1), (_PAD, 256 * 2**20), (_MMAP_MAX, 0))
# Where oneDNN reads how many kernels it keeps: today's name, and the one before
_KERNELS_KEPT = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY")
_KERNELS = "256"


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


def keep_few_kernels(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make oneDNN, which computes PyTorch's convolutions, keep fewer of the kernels that it
    compiles, unless the environment decides how many.

    It compiles one for every shape and keeps 1,024: a worker that checks files of many sizes would
    hold these for good. A check of one file uses about 190 again and again.

    It has an effect until torch is loaded, and on processes started from here. It concerns the
    whole process, so only avcheck's own programs call it.
    """
    if not any(environment.get(name) for name in _KERNELS_KEPT):
        environment[_KERNELS_KEPT[0]] = _KERNELS


def give_back() -> None:
    """Return to the system what `keep_memory` kept, after a file: otherwise a worker holds for good
    what its largest file took.
    """
    if sys.platform != "linux":
        return
    import ctypes  # late, as above

    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
