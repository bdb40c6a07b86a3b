"""The unchanged operator, counted from inside: `python -m benchmarks.soak.census operator`.

A thread beside the operator answers a file `ask` in the directory SOAK_DIRECTORY with a file `census.json`: memory,
descriptors, tasks, and the instances and containers of every class of the operator. They are found by looking, so a map
that is new is counted without a line here. Neighbor: `verdict` says which of them may grow.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

DIRECTORY: Final = "SOAK_DIRECTORY"
_ASK: Final = "ask"
_ANSWER: Final = "census.json"
_LOOK_SECONDS: Final = 0.1
_PATIENCE_SECONDS: Final = 60.0
_CONTAINERS: Final = (dict, list, set, deque)


@dataclass(frozen=True)
class Census:
    """What there was at one moment. `held` is the number of entries by class and attribute, all instances together."""

    rss_mb: float
    fds: int
    threads: int
    tasks: int
    objects: int
    held: dict[str, int]
    instances: dict[str, int]


async def census(directory: Path) -> Census:
    """Ask the operator that was started with this SOAK_DIRECTORY. Raises TimeoutError if it does not answer."""
    answer = directory / _ANSWER
    answer.unlink(missing_ok=True)
    (directory / _ASK).touch()
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not answer.exists():  # noqa: ASYNC110 (another process writes it)
            await asyncio.sleep(_LOOK_SECONDS)
    return Census(**json.loads(answer.read_text()))


def _answer(directory: Path) -> None:
    while True:
        time.sleep(_LOOK_SECONDS)
        if not (directory / _ASK).exists():
            continue
        (directory / _ASK).unlink()
        written = directory / f"{_ANSWER}.new"
        written.write_text(json.dumps(asdict(_count())))
        written.rename(directory / _ANSWER)


def _count() -> Census:
    gc.unfreeze()  # the operator takes what it has at its start out of the collections
    gc.collect()
    found = gc.get_objects()
    held, instances = Counter[str](), Counter[str]()
    for one in found:
        of = type(one)
        if str(of.__module__).startswith("controller."):
            name = f"{of.__module__}.{of.__qualname__}"
            instances[name] += 1
            for attribute, value in _attributes(one):
                if isinstance(value, _CONTAINERS):
                    held[f"{name}.{attribute}"] += _size(value)
    return Census(
        rss_mb=round(_rss_kb() / 1024, 1),
        fds=sum(1 for _ in Path("/proc/self/fd").iterdir()),
        threads=threading.active_count(),
        tasks=sum(isinstance(one, asyncio.Task) and not one.done() for one in found),
        objects=len(found),
        held=dict(held),
        instances=dict(instances),
    )


def _attributes(one: Any) -> Iterator[tuple[str, Any]]:
    yield from list(getattr(one, "__dict__", {}).items())
    for of in type(one).__mro__:
        for name in getattr(of, "__slots__", ()):
            if hasattr(one, name):
                yield name, getattr(one, name)


def _size(container: Any) -> int:
    """The entries, and those of the containers inside."""
    inner = list(container.values()) if isinstance(container, dict) else list(container)
    return len(container) + sum(len(value) for value in inner if isinstance(value, _CONTAINERS))


def _rss_kb() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def _run() -> None:
    threading.Thread(target=_answer, args=(Path(os.environ[DIRECTORY]),), daemon=True, name="census").start()
    from controller.cli.main import main

    main()


if __name__ == "__main__":
    _run()
