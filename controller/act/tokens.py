"""Executors for the participants' tokens: sign them, deliver them to a Secret and/or Redis, and delete them again.

A token names its owner, the one room that it opens, and what the owner may do there. It never allows its owner to
create, list or administer rooms. No log, Event or status contains a token.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import jwt
import orjson

from controller.act.kubernetes import owner_reference
from controller.api.match import Participant
from controller.api.meta import format_seconds
from controller.api.names import TOKENS_KEY, room_name, token_secret_name
from controller.backends.bundle import SECRETS, Backends
from controller.backends.servers import Server
from controller.clients.kubernetes import Body
from controller.errors import AlreadyExists, Backend, BackendRefused, Code, Forbidden, Invalid, NotFound
from controller.facts.match import TokensFacts
from controller.plan.actions import IssueTokens, RevokeTokens, Target


async def issue_tokens(action: IssueTokens, backends: Backends) -> None:
    """Sign tokens for all participants and deliver them as `delivery` says.

    Raises BackendError if one of the deliveries fails.
    """
    ttl_seconds = action.spec.tokens.ttl_seconds
    delivery = action.spec.tokens.delivery
    room = backends.rooms.get(action.target.namespace, room_name(action.target.uid))
    server = backends.servers.of(room)
    not_before = next_second(backends.clock.now())
    expires_at = not_before + timedelta(seconds=ttl_seconds)
    entries = {
        person.identity: {
            "token": sign(person, action.livekit_name, server, not_before, expires_at),
            "url": action.url,
            "room": action.livekit_name,
            "identity": person.livekit_identity,
            "expiresAt": format_seconds(expires_at),
        }
        for person in action.spec.participants
    }
    writes = []
    if delivery.to_secret:
        writes.append(_write_secret(action, entries, backends))
    if delivery.to_redis:
        writes.append(_write_redis(action.target, entries, ttl_seconds, backends))
    # Each to its end: a delivery that goes on alone may write its tokens after they were revoked.
    answers = await asyncio.gather(*writes, return_exceptions=True)
    for error in answers:
        if isinstance(error, BackendRefused):
            backends.tokens.refused(action.target.uid, error.sentence)
            raise error
    for error in answers:
        if error is not None:
            raise error
    key = server.keys.newest
    facts = TokensFacts(action.livekit_name, expires_at, key.name, action.url, key.digest)
    backends.tokens.delivered(action.target.uid, facts, backends.clock.now())


async def revoke_tokens(action: RevokeTokens, backends: Backends) -> None:
    """Delete the Secret and the hash in Redis, if they exist."""
    target = action.target
    if action.from_secret:
        await backends.kubernetes.delete(SECRETS, target.namespace, token_secret_name(target.uid), None)
    if action.from_redis:
        pool = await backends.pools.get(target.namespace)
        backends.pools.check(target.namespace, await pool.delete_tokens(target.uid))
    backends.tokens.revoked(target.uid, backends.clock.now())


def next_second(moment: datetime) -> datetime:
    """The moment, or the full second after it. A token has full seconds, and must not look older than it is.

    LiveKit Cloud refuses a token that is older than the removal of its owner. A token is valid from up to a minute
    before its time, so it is valid at once.
    """
    return moment.replace(microsecond=0) + timedelta(seconds=1 if moment.microsecond else 0)


def sign(person: Participant, room: str, server: Server, not_before: datetime, expires_at: datetime) -> str:
    """The JWT with which `person` may join `room`, and no other room.

    The claims follow LiveKit's "Access tokens" (docs.livekit.io). The token denies explicitly what is not granted,
    since LiveKit allows publishing, subscribing and data by default. PyJWT signs it directly: the builder of LiveKit's
    SDK takes ten times as long, and each Match needs two tokens.
    """
    video: dict[str, Any] = {
        "roomJoin": True,
        "room": room,
        "canPublish": person.grants.can_publish,
        "canSubscribe": person.grants.can_subscribe,
        "canPublishData": person.grants.can_publish_data,
    }
    if person.grants.can_update_own_metadata:
        video["canUpdateOwnMetadata"] = True
    if person.grants.can_publish_sources:
        video["canPublishSources"] = [source.value for source in person.grants.can_publish_sources]
    claims: dict[str, Any] = {
        "iss": server.keys.newest.name,
        "sub": person.livekit_identity,
        "nbf": int(not_before.timestamp()),
        "exp": int(expires_at.timestamp()),
        "video": video,
    }
    for name, value in (("name", person.name), ("metadata", person.metadata), ("attributes", person.attributes)):
        if value:
            claims[name] = value
    return jwt.encode(claims, server.keys.newest.secret, algorithm="HS256")


async def _write_secret(action: IssueTokens, entries: Mapping[str, Mapping[str, str]], backends: Backends) -> None:
    """Write the Secret without reading it, since the operator has no permission to read Secrets.

    A Secret that is there is replaced first: where the quota of the namespace is used up, the API server refuses a
    creation before it looks whether the name is taken.
    """
    target, kubernetes = action.target, backends.kubernetes
    name, body = token_secret_name(target.uid), _secret(target, entries)
    try:
        if action.replaces:
            try:
                await kubernetes.replace(SECRETS, target.namespace, name, body)
            except NotFound:
                await kubernetes.create(SECRETS, target.namespace, body)
            return
        try:
            await kubernetes.create(SECRETS, target.namespace, body)
        except (AlreadyExists, Forbidden) as refusal:
            try:
                await kubernetes.replace(SECRETS, target.namespace, name, body)
            except NotFound:
                raise refusal from None
    except Invalid as error:
        if not is_immutable(error):
            raise
        raise BackendRefused(
            Backend.KUBERNETES,
            error.operation,
            f"Secret {name} is immutable, so it cannot get new tokens; delete it, and Roomkeeper makes it again",
            retryable=True,
            code=Code.IMMUTABLE,
        ) from error


def is_immutable(error: Invalid) -> bool:
    """Whether the API server refused a change of a Secret because another client has made it immutable."""
    return "field is immutable when `immutable` is set" in error.message


async def _write_redis(
    target: Target, entries: Mapping[str, Mapping[str, str]], ttl_seconds: int, backends: Backends
) -> None:
    pool = await backends.pools.get(target.namespace)
    texts = {identity: orjson.dumps(entry).decode() for identity, entry in entries.items()}
    backends.pools.check(target.namespace, await pool.put_tokens(target.uid, texts, ttl_seconds=ttl_seconds))


def _secret(target: Target, entries: Mapping[str, Mapping[str, str]]) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": token_secret_name(target.uid),
            "namespace": target.namespace,
            "labels": {"app.kubernetes.io/managed-by": "roomkeeper"},
            "ownerReferences": [owner_reference(target, block_deletion=False)],
        },
        "data": {TOKENS_KEY: base64.b64encode(orjson.dumps(entries)).decode()},
    }
