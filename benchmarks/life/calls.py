"""The steps that the measurements share: two waiting users get a call, and webhooks say that they are in it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks.access import Body, call
from benchmarks.calls import MERGE
from benchmarks.life.scene import Scene
from benchmarks.life.sight import ACTIVE, READY
from benchmarks.load import match_manifest, skip_patch
from benchmarks.watcher import MatchFailed
from controller.api.names import MATCH, ROOM, TOKENS_KEY, livekit_room_name, room_name, token_secret_name
from controller.clients.redis.gateway import Gateway, Queued, Unserved
from controller.facts.livekit import Mark
from sandbox.people import Person

JOINED = "participant_joined"
LEFT = "participant_left"
FINISHED = "room_finished"

# How long participants may be away, alone or connecting in measurements about something else.
# As long as a spec may say: ten thousand calls take half an hour to make.
_LONG_SECONDS = 3600
_UNSERVED_SECONDS = 0.05
_TIMEOUTS = {
    "readySeconds": 600,
    "connectSeconds": _LONG_SECONDS,
    "leaveSeconds": 600,
    "reconnectSeconds": _LONG_SECONDS,
    "soloSeconds": _LONG_SECONDS,
}
STAYING = {
    "timeouts": _TIMEOUTS,
    "room": {"emptyTimeoutSeconds": 2 * _LONG_SECONDS, "departureTimeoutSeconds": 2 * _LONG_SECONDS},
}
"""The spec of a Match that nothing ends while others are measured."""


@dataclass(frozen=True)
class Call:
    """A Match that is Ready, and its two users."""

    scene: Scene
    name: str
    uid: str
    users: tuple[str, str]
    room: str
    mark: Mark

    @property
    def secret(self) -> str:
        """The name of the Secret with the tokens."""
        return token_secret_name(self.uid)

    async def tell(self, event: str, identity: str, reason: str = "") -> int:
        """Send a webhook of our own; return the moment just before it was sent."""
        return await self.scene.webhooks.send(event, self.room, self.mark, identity, reason)

    async def status_says(self, fact: str) -> int:
        """Return when the status was first seen to say so."""
        return await self.scene.sight.when(self.name, fact)

    async def go_active(self) -> None:
        """Report both participants as being in the room, with webhooks of our own."""
        await asyncio.gather(*(self.tell(JOINED, user) for user in self.users))
        await self.status_says(ACTIVE)

    async def settled(self, *states: str) -> int:
        """Return when both users were seen in Redis in their final `states`, which are in the order of the users."""
        sight = self.scene.sight
        seen = (sight.when(who, state) for who, state in zip(self.users, states, strict=True))
        return max(await asyncio.gather(*seen))

    async def skip(self) -> None:
        """Write into the Match that the first of the two users skips."""
        url = f"{self.scene.access.collection(MATCH.plural)}/{self.name}"
        await call(self.scene.admin, "PATCH", url, skip_patch(self.users[0]), MERGE)

    async def join(self, people: contextlib.AsyncExitStack) -> tuple[Person, ...]:
        """Let both join, each a real client in its own process, which ends with `people`."""
        tokens = await self.tokens()
        both = []
        for user in self.users:
            person = Person(tokens[user]["url"], tokens[user]["token"], identity=user)
            both.append(await people.enter_async_context(person))
        await asyncio.gather(*(person.join() for person in both))
        return tuple(both)

    async def tokens(self) -> dict[str, dict[str, str]]:
        """Return the tokens by identity, from the Secret."""
        url = f"{self.scene.access.core('secrets')}/{self.secret}"
        secret = await call(self.scene.admin, "GET", url)
        entries: dict[str, dict[str, str]] = orjson.loads(base64.b64decode(secret["data"][TOKENS_KEY]))
        return entries


async def begin(scene: Scene, number: int, timeouts: dict[str, int] | None = None, **spec: Any) -> Call:
    """Put two users into the queue and match them; return the call once it is Ready."""
    access = scene.access
    manifest = match_manifest(number, **STAYING | {"timeouts": _TIMEOUTS | (timeouts or {})} | spec)
    users = (f"user-{number}-a", f"user-{number}-b")
    for user in users:
        await enqueue(scene.gateway, user)
    found = await call(scene.admin, "POST", access.collection(MATCH.plural), manifest)
    name, uid = found["metadata"]["name"], found["metadata"]["uid"]
    await scene.sight.when(name, READY)
    made = await call(scene.admin, "GET", f"{access.collection(ROOM.plural)}/{room_name(uid)}")
    return Call(scene, name, uid, users, *_room(scene, uid, made))


async def enqueue(gateway: Gateway, user: str) -> None:
    """Put a user into the queue. Raises MatchFailed if they may not wait there."""
    reply = await gateway.enqueue(user)
    while isinstance(reply, Unserved):  # the first user of a pool calls the operator
        await asyncio.sleep(_UNSERVED_SECONDS)
        reply = await gateway.enqueue(user)
    if not isinstance(reply, Queued):
        raise MatchFailed(f"{user} cannot wait: {reply}")


def _room(scene: Scene, match_uid: str, room: Body) -> tuple[str, Mark]:
    """Return the room's name on LiveKit, and the mark in its metadata."""
    access, metadata = scene.access, room["metadata"]
    mark = Mark(access.cluster_id, access.namespace, metadata["name"], match_uid, metadata["uid"])
    return livekit_room_name(access.cluster_id, access.namespace, metadata["uid"]), mark
