"""Observes one Room: reads, but no decisions.

Neighbors: `loop.reconcile` calls this module before each plan, and `facts.room` defines the result.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from controller.api.match import Match
from controller.api.meta import OwnerReference
from controller.api.names import MATCH, livekit_room_name
from controller.api.room import Room
from controller.backends.bundle import MATCHES, Backends
from controller.clients.reading import moment_ms
from controller.errors import BackendError, NotFound
from controller.facts.learned import Learned
from controller.facts.match import ServerFacts
from controller.facts.observation import Absent, Observation, Present, Unknown
from controller.facts.room import OwnerFacts, RecordFacts, RoomSeen
from controller.facts.unreadable import Unreadable
from controller.rules.paused import is_paused

_NEW = timedelta(minutes=1)


async def observe_room(room: Room, backends: Backends, learned: Learned) -> RoomSeen:
    """Everything that can be seen of `room` now. What this reconcile has `learned` is not read again.

    On a server that is not configured or not known, the LiveKit room is Unknown: it may be alive there. As long as no
    server is chosen, there is certainly none.
    """
    now = backends.clock.now()
    server, facts = backends.servers.find(room), backends.servers.facts(room, now)
    view = server.view if server is not None else None
    name = livekit_room_name(backends.cluster_id, room.metadata.namespace, room.metadata.uid)
    owner = await _owner(room, backends)
    return RoomSeen(
        livekit_name=name,
        livekit_room=view.room(name, now) if view is not None else _without_server(facts, now),
        people=view.people(name, now) if view is not None else _without_server(facts, now),
        record=await _record(room, name, owner, backends, learned, now),
        owner=owner,
        cluster_id=backends.cluster_id,
        server=facts,
        is_certainly_gone=view.is_gone(name) if view is not None else not facts.trouble,
        is_miscounted=view is not None and view.is_miscounted(name),
        patience=backends.patience(room.metadata.namespace, now),
        ghosts=view.ghosts.of(name) if view is not None else (),
        sid_since=view.sid_since(name) if view is not None else None,
        drain_turn=backends.drains.of(room.metadata.uid),
    )


def _without_server(facts: ServerFacts, now: datetime) -> Absent | Unknown:
    return Unknown(now, facts.trouble) if facts.trouble else Absent(now)


async def _record(
    room: Room, name: str, owner: OwnerFacts | None, backends: Backends, learned: Learned, now: datetime
) -> Observation[RecordFacts]:
    if learned.record is not None:
        return Present(learned.record, now)
    wanted = room.metadata.deletion_timestamp is None and not room.spec.termination_reason
    if wanted and not learned.must_read and _is_new(room, now):
        return Absent(now)  # a new Room overwrites any record of its name
    pool = backends.pools.unbound(room.metadata.namespace)
    try:
        fields = await pool.redis.hash(pool.keys.room(name))
    except BackendError as error:
        return Unknown(now, error.sentence)
    if not fields:
        return Absent(now)
    # A record that was written before the Match was known lacks the call, so it has to be written again.
    is_due = owner is not None and bool(owner.session_id) and "sessionID" not in fields
    updated = "0" if is_due else fields.get("lastUpdated", "0")
    return Present(RecordFacts(fields.get("status", ""), _updated_ms(updated)), now)


def _is_new(room: Room, now: datetime) -> bool:
    """Whether the Room has no status yet. An older one had a status, and another client may have removed it."""
    created = room.metadata.creation_timestamp
    return room.status.phase is None and (created is None or now - created < _NEW)


def _updated_ms(text: str) -> int:
    """When the record was written. One that does not say it is due."""
    try:
        return moment_ms(text)
    except ValueError:
        return 0


async def _owner(room: Room, backends: Backends) -> OwnerFacts | None:
    reference = next((ref for ref in room.metadata.owner_references if ref.controller), None)
    if reference is None or reference.kind != MATCH.kind:
        return None
    match = backends.matches.get(room.metadata.namespace, reference.name)
    if isinstance(match, Unreadable) and match.metadata.uid == reference.uid:
        return OwnerFacts(reference.uid, reference.name, (), "", is_paused=is_paused(match.metadata))
    if isinstance(match, Match) and match.metadata.uid == reference.uid:
        session_id = match.spec.session_id or match.metadata.uid
        paused = is_paused(match.metadata)
        return OwnerFacts(reference.uid, reference.name, match.spec.identities, session_id, is_paused=paused)
    # The Match is gone or not in the cache yet. Its UID is known from the reference, and nothing else.
    is_gone = room.metadata.deletion_timestamp is None and await _is_gone(reference, room.metadata.namespace, backends)
    return OwnerFacts(reference.uid, reference.name, (), "", is_gone)


async def _is_gone(owner: OwnerReference, namespace: str, backends: Backends) -> bool:
    """Whether the API server says that the Match is gone. The cache may lag, so it does not count."""
    try:
        body = await backends.kubernetes.get(MATCHES, namespace, owner.name)
    except NotFound:
        return True
    except BackendError:
        return False
    return bool(body["metadata"]["uid"] != owner.uid)
