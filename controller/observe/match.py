"""Observes one Match: reads, but no decisions.

A failed read becomes Unknown, with a sentence that says why; the planner never destroys anything because of it.
Neighbors: `loop.reconcile` calls this module before each plan, and `facts.match` defines the result.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from controller.api.match import Match
from controller.api.meta import ObjectMeta
from controller.api.names import livekit_room_name, room_name
from controller.api.room import Room
from controller.backends.bundle import ROOMS, Backends
from controller.backends.servers import Server
from controller.clients.redis.errors import WRONG_TYPE
from controller.errors import BackendError, Code, NotFound
from controller.facts.learned import Learned
from controller.facts.ledger import Ledger
from controller.facts.livekit import LiveKitParticipant, LiveKitRoom
from controller.facts.match import HeartbeatFacts, MatchSeen, ServerFacts, TokensFacts
from controller.facts.observation import Absent, Observation, Present, Unknown, value_of
from controller.facts.silences import Silences
from controller.facts.unreadable import Unreadable
from controller.rules.deadlines import alone_deadline, connect_deadline, ready_deadline, return_deadlines


async def observe_match(match: Match, backends: Backends, learned: Learned) -> MatchSeen:
    """Everything that can be seen of `match` now. What this reconcile has `learned` is not read again."""
    now = backends.clock.now()
    ledger = await _ledger(match, backends, learned, now)
    room = await _room(match, value_of(ledger), backends, now)
    owned, known = value_of(room), match.status.livekit_server
    server = backends.servers.find(owned, known)
    facts = _of_match(match, backends.servers.facts(owned, now, known), backends.silences.at(now))
    unreadable_room = _unreadable_room(match, room, backends)
    metadata = owned.metadata if owned is not None else unreadable_room
    name = livekit_room_name(backends.cluster_id, metadata.namespace, metadata.uid) if metadata is not None else ""
    return MatchSeen(
        ledger=ledger,
        refusal=learned.refusal,
        room=room,
        livekit_room=_livekit_room(room, name, server, facts, now),
        people=await _people(match, value_of(ledger), name, server, facts, now),
        tokens=_tokens(match, value_of(ledger), backends, now),
        livekit_name=name,
        server=facts,
        heartbeats=_heartbeats(match, value_of(ledger), backends),
        audit=backends.audit.facts(match.metadata.uid),
        patience=backends.patience(match.metadata.namespace, now),
        tokens_refused=backends.tokens.refusal(match.metadata.uid),
        is_over_limit=backends.finished.is_over_limit(match.metadata.uid),
        unreadable_room=unreadable_room,
        ghosts=server.view.ghosts.of(name) if server is not None else (),
        drain_turn=backends.drains.of(match.metadata.uid),
    )


def _heartbeats(match: Match, ledger: Ledger | None, backends: Backends) -> HeartbeatFacts:
    if ledger is None or ledger.settled:
        return HeartbeatFacts()
    return backends.heartbeats.facts(match.metadata.namespace, match.spec.identities, ledger.taken_at_ms)


async def _ledger(match: Match, backends: Backends, learned: Learned, now: datetime) -> Observation[Ledger]:
    if learned.ledger is not None:
        return learned.ledger
    if match.status.is_over and match.status.finished is not None:
        return Absent(now)  # the Match is over, and its status has everything about it
    if trouble := backends.pools.trouble(match.metadata.namespace):
        return Unknown(now, trouble)
    if not learned.must_read and _is_new(match, now):
        # The Match has not claimed its users as far as we know, so a claim follows. Its answer replaces this read.
        return Absent(now)
    try:
        ledger = await backends.pools.unbound(match.metadata.namespace).ledger(match.metadata.uid)
    except BackendError as error:
        if error.code == WRONG_TYPE:
            return Absent(now)  # something else is under the key: no ledger
        if error.code == Code.DAMAGED:
            raise
        return Unknown(now, error.sentence)
    return Absent(now) if ledger is None else Present(ledger, now)


def _is_new(match: Match, now: datetime) -> bool:
    """Whether the Match has no status yet and nothing ends it, so that the (idempotent) claim comes next."""
    wanted = match.metadata.deletion_timestamp is None and match.spec.termination is None
    has_no_status = match.status.phase is None and match.status.started_at is None
    return wanted and has_no_status and now < ready_deadline(match)


async def _room(match: Match, ledger: Ledger | None, backends: Backends, now: datetime) -> Observation[Room]:
    """The Match's Room. A GET confirms an absence that has consequences, since the cache may lag."""
    namespace, name = match.metadata.namespace, room_name(match.metadata.uid)
    known = _cached_room(namespace, name, backends, now)
    if known is not None:
        return known
    ends = match.metadata.deletion_timestamp is not None or (ledger is not None and ledger.settled)
    if backends.rooms.was_deleted(namespace, name) or not (ends or match.status.ready_at is not None):
        return Absent(now)
    if ledger is None and match.status.room is None:
        return Absent(now)  # the users were never claimed, so no Room was created
    try:
        body = await backends.kubernetes.get(ROOMS, namespace, name)
    except NotFound:
        return Absent(now)
    except BackendError as error:
        return Unknown(now, error.sentence)
    backends.rooms.offer(body)
    # A Room whose deletion the cache saw during the request: the next look finds it absent.
    return _cached_room(namespace, name, backends, now) or Unknown(now, "Kubernetes: the Room was deleted meanwhile")


def _cached_room(namespace: str, name: str, backends: Backends, now: datetime) -> Present[Room] | Unknown | None:
    known = backends.rooms.get(namespace, name)
    if isinstance(known, Unreadable):
        return Unknown(now, f"Kubernetes: the Room cannot be read ({known.why})")
    return Present(known, now) if known is not None else None


def _unreadable_room(match: Match, room: Observation[Room], backends: Backends) -> ObjectMeta | None:
    """The metadata of a Room that cannot be read: enough to know it on LiveKit, and to delete it."""
    if not isinstance(room, Unknown):
        return None
    known = backends.rooms.get(match.metadata.namespace, room_name(match.metadata.uid))
    return known.metadata if isinstance(known, Unreadable) else None


def _of_match(match: Match, facts: ServerFacts, of_redis: Silences) -> ServerFacts:
    """The server of the Match's Room. Of one that is not configured, the status has the URL that clients know."""
    known, silences = match.status.room, facts.silences | of_redis
    url = facts.url if facts.url or known is None else known.url or ""
    unchanged = url == facts.url and silences is facts.silences
    return facts if unchanged else replace(facts, url=url, silences=silences)


def _livekit_room(
    room: Observation[Room], name: str, server: Server | None, facts: ServerFacts, now: datetime
) -> Observation[LiveKitRoom]:
    """The room on LiveKit; Unknown on a server that is not configured, since it may be alive there."""
    if not name:
        return room if isinstance(room, Unknown) else Absent(now)
    if server is None:
        return Unknown(now, facts.trouble) if facts.trouble else Absent(now)
    return server.view.room(name, now)


async def _people(
    match: Match,
    ledger: Ledger | None,
    name: str,
    server: Server | None,
    facts: ServerFacts,
    now: datetime,
) -> Observation[tuple[LiveKitParticipant, ...]]:
    """The participants in the room. After a deadline they are read again: it counts only with a later observation."""
    if server is None:
        return Unknown(now, facts.trouble or "no LiveKit server is chosen yet")
    known = server.view.people(name, now)
    deadlines = [*return_deadlines(match, ledger, facts).values(), connect_deadline(match, facts)]
    if ledger is not None:
        deadlines.append(alone_deadline(match, ledger.alone, facts))
    passed = max((deadline for deadline in deadlines if deadline is not None and deadline <= now), default=None)
    if not name or passed is None or (isinstance(known, Present) and known.at >= passed):
        return known
    if not facts.has_answered:
        return known  # its first list tells by how much the restart moves the deadline: it may not have passed
    if server.view.failure:
        return Unknown(now, server.view.failure)  # a server that hangs would hold this reconcile until it is given up
    if server.reads.locked():
        return Unknown(now, f"LiveKit server {server.name} has many requests to answer")
    try:
        async with server.reads:
            people = await server.client.list_participants(name)
    except BackendError as error:
        return Unknown(now, error.sentence)
    server.view.saw_people(name, people, now)
    if server.view.ghosts.of(name):
        server.view.suspect(name)  # the answer of a probe that is sent now counts, and wakes this Match
    return server.view.people(name, now)


def _tokens(match: Match, ledger: Ledger | None, backends: Backends, now: datetime) -> Observation[TokensFacts]:
    remembered = backends.tokens.get(match.metadata.uid)
    if remembered is not None:
        return remembered
    status = match.status
    if status.tokens is not None and status.room is not None and status.room.livekit_name is not None:
        signed = status.tokens.api_key or ""
        url, digest = status.room.url or "", status.tokens.secret_digest or ""
        return Present(TokensFacts(status.room.livekit_name, status.tokens.expires_at, signed, url, digest), now)
    if status.is_over or ledger is None or not ledger.claimed:
        return Absent(now)
    return Unknown(now, "tokens may have been delivered before this operator started")
