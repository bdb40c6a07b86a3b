"""What the story acts and looks with: kubectl, people, and a real read of each store.

It never asks the operator: what the operator reports is checked against Kubernetes, LiveKit and Redis themselves.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from livekit import api
from redis.asyncio import Redis as PlainRedis
from redis.exceptions import RedisError

from controller.api.names import TOKENS_KEY
from controller.clients.redis.client import Redis
from controller.clients.redis.gateway import Gateway, Unserved
from controller.clients.redis.keys import Keys
from controller.errors import BackendError
from sandbox.demo.checks import StepFailed
from sandbox.demo.watch import Watch
from sandbox.endpoints import Endpoints
from sandbox.launch import launched
from sandbox.people import Person
from sandbox.source import ROOT

NAMESPACE = "default"
UNANSWERED = (BackendError, RedisError, aiohttp.ClientError, api.TwirpError, OSError)
"""What a read raises if a store does not answer."""

_COMMAND_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class World:
    """All parts of one running stack that the story uses."""

    endpoints: Endpoints
    kubectl_path: Path
    matches: Watch
    rooms: Watch
    gateway: Gateway
    livekit: api.LiveKitAPI
    redis: PlainRedis
    people: contextlib.AsyncExitStack

    # ---- Kubernetes

    async def kubectl(self, *arguments: str) -> str:
        """Run kubectl; returns its output. Raises StepFailed if it fails."""
        return await self.command(f"kubectl {' '.join(arguments)}", str(self.kubectl_path), *arguments)

    async def command(self, shown: str, *words: str) -> str:
        """Run a program that finds Kubernetes and Redis in its environment; returns its output.

        `shown` is the command as users would type it. Raises StepFailed if it fails or does not end.
        """
        process = await asyncio.create_subprocess_exec(
            *launched(words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "KUBECONFIG": str(self.endpoints.kubeconfig),
                "REDIS_URL": self.endpoints.redis_url,
            },
            cwd=ROOT,
        )
        try:
            async with asyncio.timeout(_COMMAND_TIMEOUT_SECONDS):
                out, err = await process.communicate()
        except TimeoutError:
            raise StepFailed(f"`{shown}` to end", f"nothing in {_COMMAND_TIMEOUT_SECONDS:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise StepFailed(f"`{shown}` to succeed", err.decode().strip() or f"exit status {process.returncode}")
        return out.decode().rstrip()

    async def read(self, *arguments: str) -> Any:
        """The object that `kubectl get … -o json` prints."""
        return json.loads(await self.kubectl("get", *arguments, "-o", "json"))

    async def tokens(self, secret_name: str) -> dict[str, dict[str, str]]:
        """What each identity joins with, from the Secret of the Match: {token, url, room, …}."""
        secret = await self.read("secret", secret_name)
        tokens: dict[str, dict[str, str]] = json.loads(base64.b64decode(secret["data"][TOKENS_KEY]))
        return tokens

    # ---- LiveKit

    async def livekit_rooms(self) -> tuple[str, ...]:
        """The names of all rooms that LiveKit has."""
        answer = await self.livekit.room.list_rooms(api.ListRoomsRequest())
        return tuple(room.name for room in answer.rooms)

    async def people_in(self, livekit_name: str) -> tuple[str, ...]:
        """The identities that LiveKit has in a room, sorted."""
        answer = await self.livekit.room.list_participants(api.ListParticipantsRequest(room=livekit_name))
        return tuple(sorted(participant.identity for participant in answer.participants))

    def uninvited_token(self, identity: str, livekit_name: str) -> str:
        """A valid token for a person who does not belong to the call."""
        endpoints = self.endpoints
        token = api.AccessToken(endpoints.livekit_api_key, endpoints.livekit_api_secret)
        grants = api.VideoGrants(room_join=True, room=livekit_name)
        return token.with_identity(identity).with_grants(grants).with_ttl(timedelta(minutes=1)).to_jwt()

    async def person(self, url: str, token: str, identity: str) -> Person:
        """A simulated person, who ends with the story at the latest."""
        return await self.people.enter_async_context(Person(url, token, identity=identity))

    # ---- Redis

    async def states(self, *user_ids: str) -> dict[str, str]:
        """The states of users, as a gateway sees them."""
        users = await asyncio.gather(*(self.gateway.user(user_id) for user_id in user_ids))
        return {user_id: user.state.value if user else "unknown" for user_id, user in zip(user_ids, users, strict=True)}

    async def enqueue(self, user_id: str) -> None:
        """Let a user wait. A pool that is new is served a moment after the first request."""
        for pause_seconds in (0.02, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0):
            if not isinstance(await self.gateway.enqueue(user_id), Unserved):
                return
            await asyncio.sleep(pause_seconds)
        raise StepFailed("the operator to serve the pool", "enqueue answers UNSERVED")

    async def queue(self) -> tuple[str, ...]:
        """The users in the queue, the one who has waited longest first."""
        return tuple(user_id for user_id, _ in await self.gateway.waiting())

    async def keys(self) -> dict[str, int]:
        """Every key of the pool without its prefix, with the seconds until it expires; -1 if it does not."""
        names = [str(name) async for name in self.redis.scan_iter(count=1000)]
        times = await asyncio.gather(*(self.redis.ttl(name) for name in names))
        return {self.gateway.keys.name(name): int(seconds) for name, seconds in zip(names, times, strict=True)}


@contextlib.asynccontextmanager
async def open_world(endpoints: Endpoints, kubectl: Path) -> AsyncIterator[World]:
    """A world with running watches. At the end of the block, everything that it opened is closed."""
    pool = Redis.from_url(endpoints.redis_url)
    plain = PlainRedis.from_url(endpoints.redis_url, decode_responses=True)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(pool.close)
        stack.push_async_callback(plain.aclose)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)))
        yield World(
            endpoints=endpoints,
            kubectl_path=kubectl,
            matches=await stack.enter_async_context(Watch(endpoints, NAMESPACE, "matches")),
            rooms=await stack.enter_async_context(Watch(endpoints, NAMESPACE, "rooms")),
            gateway=Gateway(pool, Keys(endpoints.cluster_id, NAMESPACE)),
            livekit=api.LiveKitAPI(
                endpoints.livekit_http_url,
                endpoints.livekit_api_key,
                endpoints.livekit_api_secret,
                session=http,
            ),
            redis=plain,
            people=await stack.enter_async_context(contextlib.AsyncExitStack()),
        )
