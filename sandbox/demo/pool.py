"""The part of the story that needs no hands: a matchmaker pairs who waits, tokens come by Redis, a signal ends it.

`story` has left alice and bob in the queue; the matchmaker is the one of `examples/matchmaker`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any, cast

from sandbox.demo.checks import StepFailed, require, until
from sandbox.demo.story import Step, Told
from sandbox.demo.watch import Body
from sandbox.demo.world import World
from sandbox.errors import JoinError
from sandbox.people import Person

_USERS = ("alice", "bob")
_NOTICES = ("type", "reason", "notice", "state")


@dataclass
class PoolStory:
    """The steps in order; what one leaves for the next is kept here."""

    world: World
    match: Body = field(default_factory=dict)
    people: list[Person] = field(default_factory=list)

    def steps(self) -> tuple[Step, ...]:
        """Each with the line that names it."""
        return (
            ("a matchmaker looks at the queue", self.pair),
            ("both join, with tokens from Redis", self.join),
            ("bob hangs up: XADD signals", self.hang_up),
            ("the ended match is deleted", self.delete),
        )

    @property
    def _name(self) -> str:
        return str(self.match["metadata"]["name"])

    async def pair(self) -> Told:
        world, mark = self.world, self.world.matches.mark
        arguments = ("--cluster-id", world.endpoints.cluster_id, "--once")
        shown = "python -m examples.matchmaker --once"
        said = await world.command(shown, sys.executable, "-m", "examples.matchmaker", *arguments)
        created = await world.matches.find("a Match to be created", lambda seen: seen.type == "ADDED", after=mark)
        name = created.body["metadata"]["name"]
        ready = await world.matches.find(
            f"Match {name} to be Ready",
            lambda seen: seen.body["metadata"]["name"] == name and seen.is_ready,
            after=mark,
        )
        self.match = ready.body
        return Told("Ready", ready.at - created.at, (f"$ {shown}\n{said}",) if said else ())

    async def join(self) -> Told:
        world, uid = self.world, self.match["metadata"]["uid"]
        for user_id in _USERS:
            entry = json.loads(await world.gateway.tokens(uid, user_id) or "{}")
            require("token" in entry, f"tokens:{uid} in Redis to hold a token for {user_id}", sorted(entry))
            self.people.append(await world.person(entry["url"], entry["token"], user_id))
        began = time.monotonic()
        try:
            await asyncio.gather(*(person.join() for person in self.people))
        except (JoinError, RuntimeError, TimeoutError) as error:
            raise StepFailed("both people to get into the room", str(error)) from error
        in_call = await until("alice and bob to be IN_CALL in Redis", lambda: self._states("IN_CALL", "IN_CALL"))
        return Told("users IN_CALL", in_call - began)

    async def hang_up(self) -> Told:
        world, mark, keys = self.world, self.world.matches.mark, self.world.gateway.keys
        signal = {"type": "end", "user": "bob", "match": self.match["metadata"]["uid"]}
        began = time.monotonic()
        await world.redis.xadd(keys.signals(), cast("dict[Any, Any]", signal))
        at = await until("alice to be WAITING and bob to be IDLE", lambda: self._states("WAITING", "IDLE"))
        ended = await world.matches.find(
            f"Match {self._name} to be Ended",
            lambda seen: seen.body["metadata"]["name"] == self._name and seen.phase == "Ended",
            after=mark,
        )
        end = ended.body["status"]["end"]
        require((end["reason"], end["initiator"]) == ("Ended", "bob"), "bob to have ended the call", end)
        notices = cast("list[tuple[str, dict[str, str]]]", await world.redis.xrevrange(keys.notify("alice"), count=2))
        told = [" ".join(f"{name}={entry[name]!r}" for name in _NOTICES if entry.get(name)) for _, entry in notices]
        require(any("type='ended'" in text for text in told), "notify:alice to tell that the call has ended", told)
        for person in self.people:
            await person.stop()
        shown = "\n".join(["$ redis-cli XREVRANGE notify:alice + - COUNT 2", *told])
        return Told("alice WAITING, bob IDLE", at - began, (shown,))

    async def delete(self) -> Told:
        world, mark, began = self.world, self.world.matches.mark, time.monotonic()
        await world.kubectl("delete", "match", self._name)
        gone = await world.matches.find(f"Match {self._name} to be gone", lambda s: s.type == "DELETED", after=mark)
        return Told("gone", gone.at - began)

    async def _states(self, alice: str, bob: str) -> str | None:
        states = await self.world.states(*_USERS)
        return None if states == {"alice": alice, "bob": bob} else str(states)
