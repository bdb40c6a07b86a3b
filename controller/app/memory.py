"""Lets the allocator of the C library give large buffers back to the system as soon as they are free.

glibc maps a large block by itself, and unmaps it when it is freed. But each such block that is freed raises the size at
which it does so, up to 32 MB. After the first LIST every large buffer comes from the heap, where small blocks that live
long hold its pages: 31 MB after a start with 1 500 calls. So the size is fixed at what it is in the beginning.
Neighbor: `cli.operator` calls this before anything large is read.
"""

from __future__ import annotations

import contextlib
from typing import Final

# From malloc.h.
_M_MMAP_THRESHOLD: Final = -3
_LARGE_BYTES: Final = 128 * 1024


def give_large_buffers_back() -> None:
    """Fix the size from which a block is mapped by itself. Without effect on another C library than glibc."""
    with contextlib.suppress(ImportError):  # some Pythons are built without it
        import ctypes

        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
