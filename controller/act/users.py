"""Executors that write to Redis: the users' states, and the record of a room.

`Pools.check` raises an error for the replies that forbid us to write (Stale, Lost). A refused claim is returned as a
fact. The next observation shows the effect of every other reply.
"""

from __future__ import annotations

from dataclasses import replace

from controller.api.endings import EndCode
from controller.api.match import Admission, Match
from controller.api.phases import MatchPhase, RoomPhase
from controller.api.states import UserState
from controller.backends.bundle import Backends
from controller.backends.restore_requests import restore_request
from controller.clients.redis.outbox import Outbox
from controller.clients.redis.records import RoomRecord
from controller.clients.redis.replies.match import (
    AdvanceOk,
    ClaimBlocked,
    ClaimBusy,
    ClaimNotQueued,
    ClaimOk,
    ClaimReply,
    ClaimReserved,
    Incomplete,
    SettleOk,
)
from controller.clients.redis.replies.pool import Told, Written
from controller.clients.redis.requests import (
    AdvanceRequest,
    Claimant,
    ClaimMode,
    ClaimRequest,
    SettleRequest,
)
from controller.errors import Backend, BackendRefused, Code
from controller.facts.learned import READ_AGAIN, Effect
from controller.facts.ledger import Cause, Ledger
from controller.facts.match import Refusal
from controller.facts.room import RecordFacts
from controller.facts.time import milliseconds
from controller.facts.unreadable import Unreadable
from controller.plan.actions import (
    Advance,
    Claim,
    EndRoomRecord,
    RecordEnd,
    RestoreUsers,
    Settle,
    TellUsersOfDrain,
    WriteRoomRecord,
)

_CLOSING, _OVER = RoomPhase.TERMINATING.record, RoomPhase.TERMINATED.record
_FLAG_SECONDS = 30


async def claim(action: Claim, backends: Backends) -> Effect:
    """Claim both users, or report which user is unavailable, and why."""
    namespace = action.target.namespace
    pool = await backends.pools.get(namespace)
    request = ClaimRequest(
        uid=action.target.uid,
        match_name=action.target.name,
        session_id=action.session_id,
        users=tuple(Claimant(person.identity, person.livekit_identity) for person in action.spec.participants),
        made_ms=milliseconds(action.made_at),
        mode=ClaimMode.ANY if action.spec.admission is Admission.ANY else ClaimMode.QUEUED,
    )
    now_ms = milliseconds(backends.clock.now())
    reply = await pool.claim(request, now_ms=now_ms)
    backends.pools.check(namespace, reply)
    if isinstance(reply, ClaimOk) and not reply.replay:
        ledger = _fresh_ledger(action, reply, now_ms)
        return Effect(ledger=ledger)
    return Effect(refusal=_refusal(reply, backends), must_read=True)


async def restore(action: RestoreUsers, backends: Backends) -> Effect:
    """Write again what Redis has lost of a Match that has started, or report which user another Match holds."""
    namespace = action.target.namespace
    match = backends.matches.by_uid(action.target.uid)
    request = restore_request(match) if isinstance(match, Match) else None
    if request is None:
        return READ_AGAIN
    pool = await backends.pools.get(namespace)
    reply = await pool.claim(request, now_ms=milliseconds(backends.clock.now()))
    backends.pools.check(namespace, reply)
    if isinstance(reply, ClaimOk):
        backends.audit.restored(action.target.uid)
        return READ_AGAIN
    return Effect(refusal=_refusal(reply, backends), must_read=True)


async def advance(action: Advance, backends: Backends) -> Effect:
    """Move both users to their next state, and publish the room and its address to them."""
    namespace = action.target.namespace
    pool = await backends.pools.get(namespace)
    request = AdvanceRequest(
        uid=action.target.uid,
        users=tuple((identity, action.state) for identity in action.identities),
        phase=action.phase,
        room=action.livekit_name,
        url=action.url,
        session_id=action.session_id,
        alone=action.alone if action.state is UserState.IN_CALL else None,
        flag_seconds=_FLAG_SECONDS if backends.serves_flags and action.state is UserState.DISCONNECTING else 0,
        missing=action.missing,
        restored=action.restored,
    )
    now_ms = milliseconds(backends.clock.now())
    reply = await pool.advance(request, now_ms=now_ms)
    backends.pools.check(namespace, reply)
    if not isinstance(reply, AdvanceOk):
        return READ_AGAIN
    return Effect(
        ledger_change=lambda known: replace(
            known,
            phase=action.phase,
            room=action.livekit_name or known.room,
            rejoined=action.restored or known.rejoined,
            url=action.url or known.url,
            alone=known.alone.after(alone=action.alone, now_ms=now_ms) if request.alone is not None else known.alone,
        )
    )


async def tell_of_drain(action: TellUsersOfDrain, backends: Backends) -> Effect:
    """Tell the users of a call about the drain of its server, unless they know."""
    namespace = action.target.namespace
    outbox = Outbox(await backends.pools.get(namespace))
    now_ms = milliseconds(backends.clock.now())
    reply = await outbox.drained(action.target.uid, action.identities, action.drain, now_ms=now_ms)
    backends.pools.check(namespace, reply)
    if not isinstance(reply, Told):
        return READ_AGAIN
    known = action.drain.id if action.drain is not None else ""
    return Effect(ledger_change=lambda ledger: replace(ledger, drain=known))


async def record_end(action: RecordEnd, backends: Backends) -> Effect:
    """Store why the Match ends, without releasing the users yet."""
    namespace = action.target.namespace
    pool = await backends.pools.get(namespace)
    cause = Cause(action.reason, action.initiator, action.message, action.evidence)
    request = SettleRequest(action.target.uid, action.session_id, (), cause, final=False, replaces=action.replaces)
    reply = await pool.settle(request, now_ms=milliseconds(backends.clock.now()))
    backends.pools.check(namespace, reply)
    if not isinstance(reply, SettleOk):
        return READ_AGAIN
    return Effect(ledger_change=lambda known: replace(known, end=reply.end))


async def settle(action: Settle, backends: Backends) -> Effect:
    """Release both users. A cause that is already stored is kept."""
    namespace = action.target.namespace
    pool = await backends.pools.get(namespace)
    request = SettleRequest(
        uid=action.target.uid,
        session_id=action.session_id,
        users=action.releases,
        cause=Cause(action.reason, action.initiator, action.message, action.evidence),
        match_name=action.target.name,
    )
    reply = await pool.settle(request, now_ms=milliseconds(backends.clock.now()))
    backends.pools.check(namespace, reply)
    if isinstance(reply, Incomplete):
        raise BackendRefused(
            Backend.REDIS,
            "settle",
            f"the match also holds {reply.id}, who is not in its spec",
            retryable=True,
            code=Code.HOLDS_MORE,
        )
    if not isinstance(reply, SettleOk) or reply.replay:
        return READ_AGAIN
    users = {user.id: user for user in reply.users}
    return Effect(
        ledger_change=lambda known: replace(known, settled=True, end=reply.end, outcomes={**known.outcomes, **users})
    )


async def write_room_record(action: WriteRoomRecord, backends: Backends) -> Effect:
    """Write or renew the record of a room that is being created or exists."""
    namespace = action.target.namespace
    pool = await backends.pools.get(namespace)
    user1, user2 = (*action.users, "", "")[:2]
    record = RoomRecord(
        livekit_name=action.livekit_name,
        room_name=action.target.name,
        status=action.status,
        created_at_ms=milliseconds(action.created_at),
        max_participants=action.max_participants,
        session_id=action.session_id,
        user1=user1,
        user2=user2,
    )
    now_ms = milliseconds(backends.clock.now())
    reply = await pool.write_room_record(record, now_ms=now_ms, knows_call=action.knows_call)
    backends.pools.check(namespace, reply)
    # Redis refused: another client has already ended the room. Asking again at once would loop.
    return Effect(record=RecordFacts(record.status if isinstance(reply, Written) else _OVER, now_ms))


async def end_room_record(action: EndRoomRecord, backends: Backends) -> Effect:
    """Record that the room is being closed, or close the record and leave a tombstone."""
    namespace = action.target.namespace
    pool = await backends.pools.get(namespace)
    now_ms = milliseconds(backends.clock.now())
    if action.status == _CLOSING:
        reply = await pool.shut_room_record(action.livekit_name, now_ms=now_ms)
    else:
        reply = await pool.end_room_record(
            action.livekit_name, action.status, now_ms=now_ms, leaves_tombstone=action.leaves_tombstone
        )
    backends.pools.check(namespace, reply)
    return Effect(record=RecordFacts(action.status, now_ms))


def _fresh_ledger(action: Claim, reply: ClaimOk, now_ms: int) -> Ledger:
    """The ledger that the claim has just written."""
    return Ledger(
        uid=action.target.uid,
        claimed=True,
        phase=MatchPhase.CREATING.value,
        created_at_ms=now_ms,
        session_id=action.session_id,
        match_name=action.target.name,
        queued_at_ms={user.id: user.score_ms for user in reply.users},
    )


def _refusal(reply: ClaimReply, backends: Backends) -> Refusal | None:
    if isinstance(reply, ClaimBusy):
        holder = backends.matches.by_uid(reply.holder_uid)
        if holder is None:
            # The Match that holds the user no longer exists, so the user will soon be released.
            return Refusal(EndCode.USER_BUSY, reply.id, f"UID {reply.holder_uid}", holder_is_ending=True)
        name = f"{holder.metadata.namespace}/{holder.metadata.name}"
        return Refusal(EndCode.USER_BUSY, reply.id, name, holder_is_ending=_is_ending(holder))
    if isinstance(reply, ClaimReserved):
        return Refusal(EndCode.USER_RESERVED, reply.id, reply.match_name)
    if isinstance(reply, ClaimNotQueued):
        return Refusal(EndCode.USER_NOT_QUEUED, reply.id)
    if isinstance(reply, ClaimBlocked):
        return Refusal(EndCode.USER_BLOCKED, reply.id)
    return None


def _is_ending(match: Match | Unreadable) -> bool:
    if isinstance(match, Unreadable):
        return match.metadata.deletion_timestamp is not None
    over = match.status.phase is MatchPhase.TERMINATING or match.status.is_over
    return over or match.metadata.deletion_timestamp is not None or match.spec.termination is not None
