"""Where a subject's CPU goes: py-spy samples its process from outside while Matches are measured.

Only samples in which the process was running count, so their shares of the measured CPU time are milliseconds per
Match. Time spent in C (TLS, pydantic, orjson) counts for the Python function that called it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sandbox.launch import launched

_SAMPLES_PER_SECOND = 200
_SHOWN = 40
_STARTED_SECONDS = 20.0
# Threads of a pool that wait for work look busy to py-spy.
_WAITING = "concurrent/futures/thread.py"
# A function in nearly every sample belongs to the start of the program; it is not a cost.
_ENTRY_POINT = 0.98


class ProfilerMissing(Exception):
    """py-spy is not installed or may not look into other processes."""


@dataclass(frozen=True)
class Cost:
    """One function's share of all samples: alone, and with the functions that it called."""

    function: str
    own: float
    cumulative: float


class Profiler:
    """Samples a process within its block."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._log = output.with_suffix(".log")

    @contextlib.asynccontextmanager
    async def __call__(self, pid: int) -> AsyncIterator[None]:
        """Sample the process `pid` until the end of the block."""
        beside = Path(sys.executable).with_name("py-spy")
        program = str(beside) if beside.exists() else shutil.which("py-spy")
        if program is None:
            raise ProfilerMissing("--profile needs py-spy: pip install py-spy")
        self._output.parent.mkdir(parents=True, exist_ok=True)
        command = [
            *(program, "record", "--pid", str(pid), "--rate", str(_SAMPLES_PER_SECOND), "--format", "raw"),
            *("--function", "--output", str(self._output), "--duration", "unlimited"),
        ]
        with self._log.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *launched(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            await self._wait_until_sampling(process)
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            await process.wait()

    def costs(self) -> list[Cost]:
        """Return the functions, the largest own time first."""
        return costs(self._output.read_text(encoding="utf-8").splitlines())

    async def _wait_until_sampling(self, process: asyncio.subprocess.Process) -> None:
        async with asyncio.timeout(_STARTED_SECONDS):
            while b"Sampling" not in (said := self._log.read_bytes()):
                if process.returncode is not None:
                    text = said.decode(errors="replace").strip()
                    raise ProfilerMissing(f"py-spy cannot look into the process (that needs CAP_SYS_PTRACE): {text}")
                await asyncio.sleep(0.05)


def costs(lines: Iterable[str]) -> list[Cost]:
    """Return the shares per function from collapsed stacks (`outer;inner count`)."""
    own: Counter[str] = Counter()
    cumulative: Counter[str] = Counter()
    total = 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not stack or _WAITING in frames[-1]:
            continue
        total += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            cumulative[frame] += int(count)
    return [Cost(function, own[function] / total, count / total) for function, count in cumulative.most_common()]


def packages(found: Iterable[Cost]) -> list[Cost]:
    """Return the sum of own times by package (by module for the operator), the largest first."""
    own: defaultdict[str, float] = defaultdict(float)
    for cost in found:
        own[_package(cost.function)] += cost.own
    return sorted((Cost(name, share, share) for name, share in own.items()), key=lambda cost: cost.own, reverse=True)


def show(found: list[Cost], what: str, cpu_ms: float, console: Console) -> None:
    """Print the costs by package, by own time and by cumulative time, as parts of the `cpu_ms` of a Match."""
    inner = [cost for cost in found if cost.cumulative < _ENTRY_POINT]
    title = f"{what}, {cpu_ms:.2f} ms of CPU per Match"
    console.print(_table(f"{title}: by package", packages(found), cpu_ms))
    console.print(_table(f"{title}: own time", sorted(inner, key=lambda cost: cost.own, reverse=True), cpu_ms))
    console.print(_table(f"{title}: with callees", inner, cpu_ms))


def _table(title: str, rows: list[Cost], cpu_ms: float) -> Table:
    table = Table(title=title, title_justify="left", box=None)
    for heading in ("own ms", "cum. ms", "own %", "cum. %"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    table.add_column("function", no_wrap=True)
    for row in rows[:_SHOWN]:
        table.add_row(
            f"{row.own * cpu_ms:.3f}",
            f"{row.cumulative * cpu_ms:.3f}",
            f"{row.own:.1%}",
            f"{row.cumulative:.1%}",
            row.function,
        )
    return table


def _package(function: str) -> str:
    """`call (redis/asyncio/client.py:77)` → `redis`; `run (controller/loop/worker.py:9)` → `controller/loop/worker`."""
    path = function.rpartition("(")[2].partition(".py")[0]
    package, _, _ = path.partition("/")
    return path if package == "controller" else package
