"""A child process of the benchmark: a module of `benchmarks` that receives its access and says when it is ready.

It is a `sandbox.child.Child`. `sight` and `watcher` observe in such a process, `floor` and `kopf_operator` work in one.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.access import Access
from sandbox.child import Child, order, tell

_READY_TIMEOUT_SECONDS = 30.0
_GRACE_SECONDS = 5.0


class BenchmarkChild(Child):
    """`python -m <module>`; entering the block waits until the module is ready. Its log goes to a file."""

    def __init__(self, module: str, access: Access, logs: Path, environment: dict[str, str] | None = None) -> None:
        super().__init__(module, log=logs / f"{module}.log", environment=environment)
        self._access = access

    async def __aenter__(self) -> Self:
        await self.start()
        try:
            await self.send(self._access.to_json())
            async with asyncio.timeout(_READY_TIMEOUT_SECONDS):
                await self.listen()
        except BaseException:
            await self.end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end(_GRACE_SECONDS)


def given_access() -> Access:
    """Return the access that the parent sends first. For the child."""
    message = order()
    if message is None:
        raise SystemExit("the parent is gone")
    return Access.from_json(message)


def say_ready() -> None:
    """Tell the parent that it may begin. For the child."""
    tell(ready=True)
