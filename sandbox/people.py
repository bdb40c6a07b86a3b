"""Simulated people: each is a `person` in a process of its own, and this is the parent's side of it.

async with Person(url, token, identity="alice") as alice:
    await alice.join()
    await alice.wait_for("participant_connected", identity="bob")
    await alice.leave()
"""

from __future__ import annotations

import asyncio
import signal
from types import TracebackType
from typing import Any, Self

from sandbox.child import Child, ChildEnded
from sandbox.errors import JoinError

Event = dict[str, Any]

_PATIENCE_SECONDS = 30.0


class Person:
    """One simulated person. It joins with its token, and what it sees is in `events`.

    `patience_seconds` is how long its methods wait where they are not given a `timeout`.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        identity: str = "person",
        audio: bool = True,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self.identity = identity
        self.events: list[Event] = []
        self._token = token
        self._audio = audio
        self._patience_seconds = patience_seconds
        arguments = ("--url", url, *(() if audio else ("--no-audio",)))
        # No log: the wheel's own log lines can repeat the token.
        self._child = Child("sandbox.person", *arguments, name=f"person {identity}")
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
        return self._child.running

    async def join(self, timeout: float | None = None) -> Event:
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
        if self._child.started:
            raise RuntimeError(f"{self.identity} has already been started; a person joins once")
        await self._child.start()
        self._child.follow(self._note, self._note_end)
        await self._child.say(self._token)

    async def wait_for(self, *names: str, timeout: float | None = None, after: int = 0, **details: Any) -> Event:
        """The first event of one of these names with these details, past or future.

        `after` skips that many events: `after=len(person.events)` waits for a new one.
        """
        seconds = self._patience_seconds if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds), self._news:
                while (event := self.seen(*names, after=after, **details)) is None:
                    if self.seen("ended"):
                        raise RuntimeError(f"{self!r} has ended; {' or '.join(names)} will not come")
                    await self._news.wait()
                return event
        except TimeoutError:
            wanted = f"{' or '.join(names)} {details or ''}".strip()
            raise TimeoutError(f"{self!r} saw no {wanted} within {seconds:g} s") from None

    def seen(self, *names: str, after: int = 0, **details: Any) -> Event | None:
        """The first such event so far; None if there is none."""
        for event in self.events[after:]:
            if event["event"] in names and details.items() <= event.items():
                return event
        return None

    async def rejoin(self) -> None:
        """Join again at once with the same token, if the connection is lost: the room is there again.

        The event `rejoined` follows; none does while the person is connected.
        """
        await self._child.say("rejoin")

    async def leave(self) -> None:
        """Leave the room properly, and end."""
        await self._child.say("leave")
        await self._child.finished(self._patience_seconds)
        await self._child.end()

    async def kill(self) -> None:
        """End without leaving the room, like a crashed client or a cut cable."""
        await self._child.end()

    async def stop(self) -> None:
        """End in any way; does nothing if the person has ended."""
        await self._child.end()

    def freeze(self) -> None:
        self._child.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._child.signal(signal.SIGCONT)

    async def _note(self, event: Event) -> None:
        async with self._news:
            self.events.append(event)
            self._news.notify_all()

    async def _note_end(self, end: ChildEnded) -> None:
        await self._note({"event": "ended", "status": end.status})
