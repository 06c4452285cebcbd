"""Memory of processes that train."""

from __future__ import annotations

import ctypes
import os
import platform

# Parameters of glibc's mallopt, and what they are set to: nothing is given back from the heap's top, which grows by
# 64 MiB, and nothing is mapped beside it.
_MALLOC = {"M_TRIM_THRESHOLD": (-1, -1), "M_TOP_PAD": (-2, 64 << 20), "M_MMAP_MAX": (-4, 0)}


def reuse_memory() -> bool:
    """Let this process keep the memory that it frees, for what it allocates next; before torch is imported.

    A step of training frees what the one before it did. glibc gives large tensors back to the system each time, which
    clears every page of them anew, in pieces of 4 kB: without that, training was 1.23 times as fast on a virtual
    machine (docs/benchmarks/training-memory.md). Large pages make what is left cheaper. A process that does other
    things beside would miss that memory, so commands do this, and `facekd.distill` does not.

    Returns:
        Whether the C library can be told so: glibc.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch asks Linux for large pages
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return all([library.mallopt(name, value) == 1 for name, value in _MALLOC.values()])
