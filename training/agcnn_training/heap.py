"""The C library's heap, told to keep what a training step frees.

Every step allocates the same activations, tens of megabytes each, and frees them. By default glibc takes blocks of
that size from the kernel and gives them back at once, so each step pays again for mapping and zeroing every page of
them. bench/training.py counts those page faults and times a step both ways.
"""

import ctypes
import sys
from typing import Final

# <malloc.h>; values are C ints. A block below the threshold comes from the heap, and a heap is never trimmed at -1.
_KEEP: Final = {
    "M_MMAP_THRESHOLD": (-3, 1 << 30),
    "M_TRIM_THRESHOLD": (-1, -1),
    "M_TOP_PAD": (-2, 256 << 20),
    "M_ARENA_MAX": (-8, 1),
}


def keep_freed_memory() -> None:
    """Let this process reuse freed memory instead of returning it; it then keeps its peak size until it ends.

    Only glibc takes that; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt"):
        for parameter, value in _KEEP.values():
            library.mallopt(parameter, value)
