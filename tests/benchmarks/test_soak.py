"""What a soak counts, and when it calls an operator flat."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace

import pytest

import controller
from benchmarks.soak.census import Census
from benchmarks.soak.verdict import BOUNDED, growths, memory

FIRST = Census(100.0, 60, 3, 50, 120_000, {"controller.x.X.known": 10}, {"controller.x.X": 2})
(BOUND, MOST), *_ = BOUNDED.items()


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (FIRST, []),
        (replace(FIRST, rss_mb=300.0, fds=140, tasks=58, objects=500_000), []),
        (replace(FIRST, fds=141), ["descriptors: 60 before, 141 after"]),
        (replace(FIRST, tasks=59), ["tasks: 50 before, 59 after"]),
        (replace(FIRST, threads=6), ["threads: 3 before, 6 after"]),
        (replace(FIRST, held={"controller.x.X.known": 28}), []),
        (replace(FIRST, held={"controller.x.X.known": 29}), ["controller.x.X.known held 10 before, and holds 29"]),
        (replace(FIRST, held={"controller.x.X.new": 17}), ["controller.x.X.new held 0 before, and holds 17"]),
        (replace(FIRST, held={BOUND: MOST}), []),
        (replace(FIRST, held={BOUND: MOST + 1}), [f"{BOUND} held 0 before, and holds {MOST + 1}"]),
        (replace(FIRST, instances={"controller.x.X": 67}), ["2 of controller.x.X before, 67 after"]),
    ],
)
def test_what_has_grown_is_named_with_both_numbers(last: Census, told: list[str]) -> None:
    assert list(growths(FIRST, last)) == told


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ([100, 140, 140, 140], ""),
        ([100, 110, 120, 122], ""),
        ([100, 110, 120, 130], "memory grows by 10.0 MB in 1 000 cycles"),
    ],
)
def test_memory_counts_in_the_second_half(sizes: list[float], told: str) -> None:
    assert memory([(1000 * number, replace(FIRST, rss_mb=size)) for number, size in enumerate(sizes, 1)]) == told


def test_the_bounds_name_what_there_is() -> None:
    """A class that was renamed would otherwise be let off for ever."""
    modules = {info.name for info in pkgutil.walk_packages(controller.__path__, "controller.")}
    for name in BOUNDED:
        module = max((known for known in modules if name.startswith(f"{known}.")), key=len)
        of = name.removeprefix(f"{module}.").partition(".")[0]
        assert hasattr(importlib.import_module(module), of), name
