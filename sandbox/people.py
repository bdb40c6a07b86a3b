"""Simulated people: each is a `person` in a process of its own, and this is the parent's side of it.

async with Person(url, token, identity="alice") as alice:
    await alice.join()
    await alice.wait_for("participant_connected", identity="bob")
    await alice.leave()
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from types import TracebackType
from typing import Any, Self

from sandbox.errors import JoinError
from sandbox.launch import launched
from sandbox.source import ROOT

Event = dict[str, Any]

_LEAVE_TIMEOUT_SECONDS = 5.0


class Person:
    """One simulated person. It joins with its token, and what it sees is in `events`."""

    def __init__(self, url: str, token: str, *, identity: str = "person", audio: bool = True) -> None:
        self.identity = identity
        self.events: list[Event] = []
        self._url = url
        self._token = token
        self._audio = audio
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()

    def __repr__(self) -> str:
        return f"Person({self.identity!r}, {[event['event'] for event in self.events]})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def join(self, timeout: float = 20.0) -> Event:
        """Connect, and publish a little audio.

        Returns the event `connected`. Raises JoinError if LiveKit refuses, TimeoutError if it does not answer.
        """
        await self.start()
        outcome = await self.wait_for("connected", "failed", timeout=timeout)
        if outcome["event"] == "failed":
            raise JoinError(f"{self.identity} could not join: {outcome['reason']}", outcome["status"])
        if self._audio:
            await self.wait_for("published", timeout=timeout)
        return outcome

    async def start(self) -> None:
        """Start to connect and return at once; `wait_for` waits for the result."""
        if self._process is not None:
            raise RuntimeError(f"{self.identity} has already been started; a person joins once")
        command = [sys.executable, "-m", "sandbox.person", "--url", self._url]
        if not self._audio:
            command.append("--no-audio")
        self._process = await asyncio.create_subprocess_exec(
            *launched(command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Log lines of the client library can repeat the token.
            stderr=asyncio.subprocess.DEVNULL,
            cwd=ROOT,
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read(self._process), name=f"person {self.identity}")
        await self._say(self._token)

    async def wait_for(self, *names: str, timeout: float = 10.0, after: int = 0, **details: Any) -> Event:
        """The first event of one of these names with these details, past or future.

        `after` skips that many events: `after=len(person.events)` waits for a new one.
        """
        try:
            async with asyncio.timeout(timeout), self._news:
                while (event := self.seen(*names, after=after, **details)) is None:
                    if self.seen("ended"):
                        raise RuntimeError(f"{self!r} has ended; {' or '.join(names)} will not come")
                    await self._news.wait()
                return event
        except TimeoutError:
            wanted = f"{' or '.join(names)} {details or ''}".strip()
            raise TimeoutError(f"{self!r} saw no {wanted} within {timeout:g} s") from None

    def seen(self, *names: str, after: int = 0, **details: Any) -> Event | None:
        """The first such event so far; None if there is none."""
        for event in self.events[after:]:
            if event["event"] in names and details.items() <= event.items():
                return event
        return None

    async def leave(self) -> None:
        """Leave the room properly, and end."""
        await self._say("leave")
        await self._end(_LEAVE_TIMEOUT_SECONDS)

    async def kill(self) -> None:
        """End without leaving the room, like a crashed client or a cut cable."""
        await self._end(0.0)

    async def stop(self) -> None:
        """End in any way; does nothing if the person has ended."""
        await self._end(0.0)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def _end(self, patience_seconds: float) -> None:
        if self._process is None or self._reading is None:
            return
        if patience_seconds > 0:
            await asyncio.wait({self._reading}, timeout=patience_seconds)
        self._signal(signal.SIGKILL)
        await self._reading
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def _say(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        # The process may have ended already; its events say so.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(f"{line}\n".encode())
            await self._process.stdin.drain()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            await self._note(json.loads(line))
        status = await process.wait()
        await self._note({"event": "ended", "status": status})

    async def _note(self, event: Event) -> None:
        async with self._news:
            self.events.append(event)
            self._news.notify_all()
