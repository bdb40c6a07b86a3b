"""All that one test uses: its namespace in Kubernetes, its pool in Redis, LiveKit, people, and an operator.

Each test has its own namespace, and a namespace is a pool, so users may have the same names in all tests.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import redis.asyncio as redis_py
from livekit import api

from controller.api.match import Match
from controller.api.names import TOKENS_KEY, livekit_room_name, room_name, token_secret_name
from controller.api.states import UserState
from controller.clients.redis.gateway import Gateway, Queued
from controller.clients.redis.keys import Keys
from controller.clients.redis.records import User
from controller.facts.livekit import parse_mark
from sandbox.endpoints import Endpoints
from sandbox.people import Person
from tests import manifests
from tests.support.kube import Body, Kube, is_true
from tests.support.operators import Operators
from tests.support.people import People
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Rig:
    """The stores that tests read, and the steps that many tests share."""

    where: Endpoints
    kube: Kube
    redis: redis_py.Redis
    keys: Keys
    livekit: api.LiveKitAPI
    gateway: Gateway
    people: People
    operators: Operators

    def beside(self, namespace: str) -> Rig:
        """The same rig in another namespace."""
        keys = Keys(self.where.cluster_id, namespace)
        kube = replace(self.kube, namespace=namespace)
        return replace(self, kube=kube, keys=keys, gateway=replace(self.gateway, keys=keys))

    # ---- steps

    async def enqueue(self, *identities: str) -> tuple[int, ...]:
        """Put users into the queue one after another; return their places.

        If no operator has run yet, an earlier one served the pool a moment ago.
        """
        if not self.operators.running and not (self.where.log_directory / "operator.log").exists():
            await self.redis.hset(self.keys.served(), "version", "of an earlier operator")
            await self.redis.expire(self.keys.served(), 300)
        places = []
        for identity in identities:
            places.append(await eventually(partial(self._enqueued, identity)))
        return tuple(places)

    async def _enqueued(self, identity: str) -> int:
        """The user's place. A pool that is new is served a moment after the first request."""
        reply = await self.gateway.enqueue(identity)
        assert isinstance(reply, Queued), reply
        return reply.score_ms

    async def ready(self, *identities: str, name: str = "match", **spec: Any) -> Match:
        """Create a Match; return it when it is Ready."""
        await self.kube.create(manifests.match(*identities, name=name, **spec))
        return await self.kube.match_until(lambda match: is_true(match, "Ready"), name)

    async def active(self, *identities: str, name: str = "match", **spec: Any) -> tuple[Match, tuple[Person, ...]]:
        """Create a Match and let both people join; return them when it is Active."""
        made = await self.ready(*identities, name=name, **spec)
        people = await self.join(made)
        return await self.kube.match_until(lambda match: match.status.phase == "Active", name), people

    async def join(self, match: Match) -> tuple[Person, ...]:
        """Let both people of the Match join the room with their tokens."""
        tokens = await self.tokens(match)
        people = tuple(self.people(who, entry["token"], entry["url"]) for who, entry in tokens.items())
        await asyncio.gather(*(person.join() for person in people))
        return people

    async def delete(self, name: str = "match") -> None:
        """Delete a Match and wait until it is gone."""
        await self.kube.delete("Match", name)
        await self.kube.gone("Match", name)

    # ---- reads

    async def tokens(self, match: Match) -> dict[str, dict[str, str]]:
        """Return the tokens by identity, from the Match's Secret."""
        secret = await self.kube.get("Secret", token_secret_name(match.metadata.uid))
        if secret is None:
            raise AssertionError(
                f"there is no Secret {token_secret_name(match.metadata.uid)}: {await self._story(match)}"
            )
        assert list(secret["data"]) == [TOKENS_KEY]
        tokens: dict[str, dict[str, str]] = json.loads(base64.b64decode(secret["data"][TOKENS_KEY]))
        return tokens

    async def _story(self, match: Match) -> str:
        """What happened to a Match, in one line."""
        found = await self.kube.get("Match", match.metadata.name)
        if found is None:
            return "the Match is gone"
        steps = found.get("status", {}).get("history", [])
        return "; ".join(f"{step['time']} {step['phase']} {step['reason']} {step.get('message', '')}" for step in steps)

    async def user(self, identity: str) -> User:
        """Return the user's record; it must exist."""
        user = await self.gateway.user(identity)
        assert user is not None, f"Redis knows nothing of {identity}"
        return user

    async def states(self, *identities: str) -> dict[str, UserState | None]:
        """Return the users' states; None for a user without a record."""
        users = {identity: await self.gateway.user(identity) for identity in identities}
        return {identity: user.state if user is not None else None for identity, user in users.items()}

    async def queue(self) -> dict[str, int]:
        """Return the places in the queue by user, the first one first."""
        return dict(await self.gateway.waiting(limit=10_000))

    async def livekit_name(self, match: Match) -> str:
        """Return the name of the Match's room on LiveKit."""
        room = await self.kube.room(room_name(match.metadata.uid))
        return livekit_room_name(self.where.cluster_id, self.kube.namespace, room.metadata.uid)

    async def livekit_rooms(self) -> dict[str, api.Room]:
        """Return the rooms on LiveKit that carry the mark of our namespace, by name."""
        answer = await self.livekit.room.list_rooms(api.ListRoomsRequest())
        marks = {room.name: parse_mark(room.metadata) for room in answer.rooms}
        ours = (self.where.cluster_id, self.kube.namespace)
        return {
            room.name: room
            for room in answer.rooms
            if (mark := marks[room.name]) is not None and (mark.cluster, mark.namespace) == ours
        }

    async def livekit_people(self, livekit_name: str) -> set[str]:
        """Return the identities in a room of LiveKit."""
        answer = await self.livekit.room.list_participants(api.ListParticipantsRequest(room=livekit_name))
        return {person.identity for person in answer.participants}

    async def events(self) -> list[Body]:
        """Return the Kubernetes Events of our namespace."""
        return await self.kube.list("Event")

    # ---- expectations

    async def expect_states(self, **states: str) -> None:
        """Wait until the users have these states: alice="WAITING"."""

        async def agree() -> None:
            assert await self.states(*states) == states

        await eventually(agree)

    async def hash(self, key: str) -> Mapping[str, str]:
        """Return a hash of Redis."""
        return cast("Mapping[str, str]", await self.redis.hgetall(key))

    async def stream(self, key: str) -> list[Mapping[str, str]]:
        """Return all entries of a stream of Redis."""
        entries = cast("list[tuple[str, Mapping[str, str]]]", await self.redis.xrange(key))
        return [fields for _, fields in entries]
