"""Many people in one process: real WebRTC clients that join and leave, without media of their own.

With a process for each of a hundred people, the machine would mostly start Python. A test that kills no client needs
only one process. `Crowd` is the parent's side, `python -m tests.support.crowd` the child's (`sandbox.child`). Tokens
enter only through standard input. Errors of the LiveKit package repeat them, so they do not leave the process.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from livekit import rtc

from sandbox.child import Child, ChildEnded, Message, orders, tell
from sandbox.person import LEAST_STAY_SECONDS, redact
from tests.support.waiting import patience

_AT_ONCE = 16


class Crowd:
    """`async with Crowd() as crowd: await crowd.join("alice", entry)`. All clients end with the block."""

    def __init__(self) -> None:
        # No log: errors of the LiveKit package repeat the tokens.
        self._child = Child("tests.support.crowd", name="the crowd")
        self._news = asyncio.Condition()
        self._seen: dict[tuple[str, str], str] = {}
        self._end: ChildEnded | None = None

    async def __aenter__(self) -> Self:
        await self._child.start()
        self._child.follow(self._note, self._note_end)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._child.end()

    async def join(self, who: str, entry: dict[str, str]) -> None:
        """`who` (a name that the test chooses, used once) enters the room of a token's entry."""
        await self._child.send({"do": "join", "who": who, "url": entry["url"], "token": entry["token"]})
        outcome = await self._outcome((who, "joined"), (who, "failed"))
        assert outcome == "joined", f"{who} did not get in: {self._seen[who, outcome]}"

    async def leave(self, who: str) -> None:
        """Let `who` say goodbye."""
        await self._child.send({"do": "leave", "who": who})

    def is_gone(self, who: str) -> bool:
        """Whether the connection of `who` has ended. A client that comes back by itself stays connected."""
        return (who, "disconnected") in self._seen

    async def disconnected(self, who: str) -> str:
        """Return why the connection ended, once it has. A client that LiveKit does not notify retries for 28 s."""
        try:
            await self._outcome((who, "disconnected"))
        except TimeoutError:
            raise AssertionError(f"LiveKit did not end the connection of {who}") from None
        return self._seen[who, "disconnected"]

    async def _outcome(self, *wanted: tuple[str, str]) -> str:
        async with asyncio.timeout(patience(60)), self._news:
            while not (found := [key for key in wanted if key in self._seen]):
                if self._end is not None:
                    raise self._end
                await self._news.wait()
        return found[0][1]

    async def _note(self, message: Message) -> None:
        async with self._news:
            self._seen[message["who"], message["event"]] = message["reason"]
            self._news.notify_all()

    async def _note_end(self, end: ChildEnded) -> None:
        async with self._news:
            self._end = end
            self._news.notify_all()


# The child's side


@dataclass(frozen=True)
class _Guest:
    """A person in a room, and the moment from which LiveKit hears their goodbye."""

    room: rtc.Room
    may_leave_at: float

    async def leave(self, who: str) -> None:
        await asyncio.sleep(self.may_leave_at - time.monotonic())
        await self.room.disconnect()
        # The LiveKit package does not always report an end that it was asked for.
        _tell(who, "disconnected", "CLIENT_INITIATED")


def _tell(who: str, event: str, reason: str = "") -> None:
    tell(who=who, event=event, reason=reason)


async def _join(guests: dict[str, _Guest], limit: asyncio.Semaphore, command: Message) -> None:
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
    guests: dict[str, _Guest] = {}
    limit, tasks = asyncio.Semaphore(_AT_ONCE), set()
    async for command in orders():
        who = command["who"]
        work = _join(guests, limit, command) if command["do"] == "join" else guests.pop(who).leave(who)
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    asyncio.run(_obey())
    # The native part of the LiveKit package can panic at exit.
    os._exit(0)
