"""Many people in one process: real WebRTC clients that join and leave, without media of their own.

A process for each of a hundred people would be mostly Python starting; where nobody is killed, one does for all.
`Crowd` is the parent's side, `python -m tests.support.crowd` the other: JSON lines in, JSON lines out. Tokens go in by
stdin only, and errors of the wheel, which repeat them, do not come out.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from livekit import rtc

from sandbox.launch import launched
from sandbox.person import LEAST_STAY_SECONDS, redact
from sandbox.source import ROOT

_AT_ONCE = 16
_LONGEST_LINE = 1 << 20


class Crowd:
    """`async with Crowd() as crowd: await crowd.join("alice", entry)`; leaving the block ends them all."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()
        self._seen: dict[tuple[str, str], str] = {}

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *launched((sys.executable, "-m", "tests.support.crowd")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=ROOT,
            limit=_LONGEST_LINE,
        )
        self._reading = asyncio.create_task(self._read(self._process), name="crowd")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._reading is not None
        self._process.kill()
        await self._process.wait()
        await self._reading
        self._process.stdin.close()

    async def join(self, who: str, entry: dict[str, str], timeout_seconds: float = 60.0) -> None:
        """`who` (a name of the test's choice, used once) enters the room of a token's entry."""
        await self._say(do="join", who=who, url=entry["url"], token=entry["token"])
        outcome = await self._outcome(timeout_seconds, (who, "joined"), (who, "failed"))
        assert outcome == "joined", f"{who} did not get in: {self._seen[who, outcome]}"

    async def leave(self, who: str) -> None:
        """Say goodbye."""
        await self._say(do="leave", who=who)

    async def disconnected(self, who: str, timeout_seconds: float = 60.0) -> str:
        """Why the connection ended, once it has. A client that was not told so tries to get back for 28 s."""
        try:
            await self._outcome(timeout_seconds, (who, "disconnected"))
        except TimeoutError:
            raise AssertionError(f"LiveKit did not end the connection of {who} in {timeout_seconds:g} s") from None
        return self._seen[who, "disconnected"]

    async def _outcome(self, timeout_seconds: float, *wanted: tuple[str, str]) -> str:
        async with asyncio.timeout(timeout_seconds), self._news:
            while not (found := [key for key in wanted if key in self._seen]):
                await self._news.wait()
        return found[0][1]

    async def _say(self, **command: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            event = json.loads(line)
            async with self._news:
                self._seen[event["who"], event["event"]] = event["reason"]
                self._news.notify_all()


# The other side


@dataclass(frozen=True)
class _Guest:
    """Somebody who is in a room, and from when on a goodbye of theirs gets through."""

    room: rtc.Room
    may_leave_at: float

    async def leave(self, who: str) -> None:
        await asyncio.sleep(self.may_leave_at - time.monotonic())
        await self.room.disconnect()
        # The wheel does not always tell of an end that it was asked for.
        _tell(who, "disconnected", "CLIENT_INITIATED")


def _tell(who: str, event: str, reason: str = "") -> None:
    sys.stdout.write(json.dumps({"who": who, "event": event, "reason": reason}) + "\n")
    sys.stdout.flush()


async def _join(guests: dict[str, _Guest], limit: asyncio.Semaphore, command: dict[str, Any]) -> None:
    who, room = command["who"], rtc.Room()
    room.on("disconnected", lambda reason: _tell(who, "disconnected", rtc.DisconnectReason.Name(reason)))
    try:
        async with limit:
            await room.connect(command["url"], command["token"])
    except rtc.ConnectError as error:
        _tell(who, "failed", redact(error.message, command["token"]))
        return
    guests[who] = _Guest(room, time.monotonic() + LEAST_STAY_SECONDS)
    _tell(who, "joined")


async def _obey() -> None:
    lines = asyncio.StreamReader(limit=_LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    guests: dict[str, _Guest] = {}
    limit, tasks = asyncio.Semaphore(_AT_ONCE), set()
    while line := await lines.readline():
        command = json.loads(line)
        who = command["who"]
        work = _join(guests, limit, command) if command["do"] == "join" else guests.pop(who).leave(who)
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    asyncio.run(_obey())
    # The wheel's native part can panic at exit.
    os._exit(0)
