"""Everything of one test at hand: its namespace in Kubernetes, its pool in Redis, LiveKit, people, and an operator.

Each test has a namespace of its own, and a namespace is a pool: users may have the same names in all tests.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
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
    """What tests look at, and the steps that many of them share."""

    where: Endpoints
    kube: Kube
    redis: redis_py.Redis
    keys: Keys
    livekit: api.LiveKitAPI
    gateway: Gateway
    people: People
    operators: Operators

    # ---- steps

    async def enqueue(self, *identities: str) -> tuple[int, ...]:
        """Let them wait, one after another; their places in the queue."""
        places = []
        for identity in identities:
            reply = await self.gateway.enqueue(identity)
            assert isinstance(reply, Queued), reply
            places.append(reply.score_ms)
        return tuple(places)

    async def ready(self, *identities: str, name: str = "match", **spec: Any) -> Match:
        """Create a Match, and wait until it is Ready."""
        await self.kube.create(manifests.match(*identities, name=name, **spec))
        return await self.kube.match_until(lambda match: is_true(match, "Ready"), name)

    async def active(self, *identities: str, name: str = "match", **spec: Any) -> tuple[Match, tuple[Person, ...]]:
        """Create a Match, and let both people join: a call."""
        made = await self.ready(*identities, name=name, **spec)
        people = await self.join(made)
        return await self.kube.match_until(lambda match: match.status.phase == "Active", name), people

    async def join(self, match: Match) -> tuple[Person, ...]:
        """Both people of the Match go into the room with their tokens."""
        tokens = await self.tokens(match)
        people = tuple(self.people(who, entry["token"], entry["url"]) for who, entry in tokens.items())
        await asyncio.gather(*(person.join() for person in people))
        return people

    async def delete(self, name: str = "match") -> None:
        """Delete a Match and wait until it is gone."""
        await self.kube.delete("Match", name)
        await self.kube.gone("Match", name)

    # ---- looks

    async def tokens(self, match: Match) -> dict[str, dict[str, str]]:
        """By identity, from the Match's Secret."""
        secret = await self.kube.get("Secret", token_secret_name(match.metadata.uid))
        assert secret is not None, f"there is no Secret {token_secret_name(match.metadata.uid)}"
        assert list(secret["data"]) == [TOKENS_KEY]
        tokens: dict[str, dict[str, str]] = json.loads(base64.b64decode(secret["data"][TOKENS_KEY]))
        return tokens

    async def user(self, identity: str) -> User:
        """The user's record; it must be there."""
        user = await self.gateway.user(identity)
        assert user is not None, f"Redis knows nothing of {identity}"
        return user

    async def states(self, *identities: str) -> dict[str, UserState | None]:
        """The users' states; None for one whom Redis does not know."""
        users = {identity: await self.gateway.user(identity) for identity in identities}
        return {identity: user.state if user is not None else None for identity, user in users.items()}

    async def queue(self) -> dict[str, int]:
        """Places in the queue by user, the first first."""
        return dict(await self.gateway.waiting(limit=1000))

    async def livekit_name(self, match: Match) -> str:
        """The name on LiveKit of the Match's room."""
        room = await self.kube.room(room_name(match.metadata.uid))
        return livekit_room_name(self.where.cluster_id, self.kube.namespace, room.metadata.uid)

    async def livekit_rooms(self) -> dict[str, api.Room]:
        """Rooms on LiveKit that carry the mark of our namespace, by name."""
        answer = await self.livekit.room.list_rooms(api.ListRoomsRequest())
        marks = {room.name: parse_mark(room.metadata) for room in answer.rooms}
        ours = (self.where.cluster_id, self.kube.namespace)
        return {
            room.name: room
            for room in answer.rooms
            if (mark := marks[room.name]) is not None and (mark.cluster, mark.namespace) == ours
        }

    async def livekit_people(self, livekit_name: str) -> set[str]:
        """Identities in a room of LiveKit."""
        answer = await self.livekit.room.list_participants(api.ListParticipantsRequest(room=livekit_name))
        return {person.identity for person in answer.participants}

    async def events(self) -> list[Body]:
        """Kubernetes Events of our namespace."""
        return await self.kube.list("Event")

    # ---- expectations

    async def expect_states(self, **states: str) -> None:
        """The users get to these states: alice="WAITING"."""

        async def agree() -> None:
            assert await self.states(*states) == states

        await eventually(agree)

    async def hash(self, key: str) -> Mapping[str, str]:
        """A hash in Redis, as it is there."""
        return cast("Mapping[str, str]", await self.redis.hgetall(key))

    async def stream(self, key: str) -> list[Mapping[str, str]]:
        """All entries of a stream in Redis."""
        entries = cast("list[tuple[str, Mapping[str, str]]]", await self.redis.xrange(key))
        return [fields for _, fields in entries]
