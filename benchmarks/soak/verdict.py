"""Whether an operator is flat: what it counted after a soak, compared with what it counted after the first calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from benchmarks.soak.census import Census

BOUNDED: Final[Mapping[str, int]] = {
    "controller.announce.events.EventPoster._counts": 4096,
    # UIDs that may not come back: those of the last five minutes.
    "controller.views.cache.ObjectCache._dead": 20_000,
    "controller.views.cache.ObjectCache._dead_names": 20_000,
    # What has been logged in the last minute, by operation and code.
    "controller.telemetry.sparse.Sparse._quiet": 1000,
    "controller.telemetry.sparse._Quiet": 1000,
}
"""What may grow, and up to how many entries or instances."""

_SHARE: Final = 1.2
_ENTRIES: Final = 16
_INSTANCES: Final = 64
_TASKS: Final = 8
_THREADS: Final = 2
# The pools of connections keep as many open as were needed at once.
_FDS: Final = 80
# After the first half, the allocator has what it needs.
_MB_PER_1000_CYCLES: Final = 2.0
_LEAST_CYCLES: Final = 500


def growths(first: Census, last: Census, bounded: Mapping[str, int] = BOUNDED) -> Iterator[str]:
    """A sentence for everything counted that has grown."""
    for what, before, after, slack in (
        ("descriptors", first.fds, last.fds, _FDS),
        ("tasks", first.tasks, last.tasks, _TASKS),
        ("threads", first.threads, last.threads, _THREADS),
    ):
        if after > before + slack:
            yield f"{what}: {before} before, {after} after"
    for name, after in sorted(last.held.items()):
        before = first.held.get(name, 0)
        if after > bounded.get(name, _SHARE * before + _ENTRIES):
            yield f"{name} held {before} before, and holds {after}"
    for name, after in sorted(last.instances.items()):
        before = first.instances.get(name, 0)
        if after > bounded.get(name, _SHARE * before + _INSTANCES):
            yield f"{before} of {name} before, {after} after"


def memory(measured: Sequence[tuple[int, Census]]) -> str:
    """A sentence if the memory still grows in the second half; `measured` has the number of cycles until then."""
    (begin, first), (end, last) = measured[len(measured) // 2], measured[-1]
    if end - begin < _LEAST_CYCLES:
        return ""
    growth = (last.rss_mb - first.rss_mb) / (end - begin) * 1000
    return f"memory grows by {growth:.1f} MB in 1 000 cycles" if growth > _MB_PER_1000_CYCLES else ""
