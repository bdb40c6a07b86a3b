"""Lets go of the users of Matches that are no object any longer, as after a deletion.

The ledger of a Match tells its users and their places. Where Redis has lost it, or another client has written over it,
the records of the users tell: each names the Match that holds the user, and the place in the queue. Nothing happens
unless Kubernetes says that the Match is gone: a GET of its name, or, where no ledger tells the name, a complete LIST
that was asked for after Redis had named the UID. A Match is created before it takes users, and no UID comes twice.
Until then a damaged ledger is read as far as it can be, and stays as it is: a Match that lives knows its places.
Neighbors: `backends.restores` finds such Matches in `live`, `backends.cleaning` among the leftovers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeAlias

import structlog

from controller.api.meta import ObjectMeta
from controller.api.phases import MatchPhase
from controller.api.states import UserState
from controller.backends.put_right import AT_ONCE, EachMatch, PutRight, settle_in_steps
from controller.clients.redis.held import HeldUser, find_held
from controller.clients.redis.mending import mend_ledger, read_ledger
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.match import AdvanceReply, SettleOk, SettleReply
from controller.clients.redis.requests import SettleRequest
from controller.clock import Clock
from controller.errors import BackendRefused
from controller.facts.ledger import Cause, Destination, Ledger, Release
from controller.facts.match import MatchSeen, ServerFacts
from controller.facts.observation import Absent, Present
from controller.facts.time import milliseconds
from controller.facts.unreadable import Unreadable
from controller.rules.match_case import MatchCase
from controller.rules.stand_in import stand_in_match
from controller.telemetry import metrics
from controller.views.calls import CallIndex

log = structlog.get_logger(__name__)

Check: TypeAlias = Callable[[str, object], None]
"""Raises for a reply that forbids us to write to the pool of this namespace."""

_HAD_CALL = frozenset({UserState.IN_CALL, UserState.DISCONNECTING})


class GoneMatches:
    """Settles Matches that are no object. `each` says and counts what became of each.

    A user whom one of the `calls` names as well is in that call, which Redis does not know (yet): they do not wait, or
    a third Match would take them before the call is restored.

    `uid_of` asks Kubernetes for the UID of the Match with a name: None if there is none. `uids_in` asks for the UIDs of
    all Matches in a namespace.
    """

    def __init__(
        self,
        calls: CallIndex,
        clock: Clock,
        each: EachMatch,
        uid_of: Callable[[str, str], Awaitable[str | None]],
        uids_in: Callable[[str], Awaitable[Collection[str]]],
    ) -> None:
        self._calls = calls
        self._clock = clock
        self._each = each
        self._uid_of = uid_of
        self._uids_in = uids_in

    async def settle(
        self, namespace: str, pool: Pool, uids: Sequence[str], check: Check, beat: Callable[[], None]
    ) -> int:
        """Let go of the users of those of these Matches that are gone. Returns how many of them were put right.

        Redis has named the UIDs before. `beat` is called while it goes on. Raises BackendError.
        """
        put_right, nameless = await self._settle_those_named(namespace, pool, uids, check)
        return put_right + (await self._settle_nameless(namespace, pool, nameless, check, beat) if nameless else 0)

    async def settle_named(self, namespace: str, pool: Pool, uids: Sequence[str], check: Check) -> int:
        """The same for those whose ledger tells the name; it looks at no records of users, which may take long."""
        put_right, _ = await self._settle_those_named(namespace, pool, uids, check)
        return put_right

    async def _settle_those_named(
        self, namespace: str, pool: Pool, uids: Sequence[str], check: Check
    ) -> tuple[int, dict[str, Ledger]]:
        """How many were put right, and the ledgers that tell no name."""
        put_right, nameless = 0, dict[str, Ledger]()
        for start in range(0, len(uids), AT_ONCE):
            some = uids[start : start + AT_ONCE]
            settling = (self._settle_one(namespace, pool, uid, check) for uid in some)
            # All of them have come to their end before an error goes on: none of them writes later.
            for found in await asyncio.gather(*settling, return_exceptions=True):
                if isinstance(found, BaseException):
                    raise found
                if isinstance(found, Ledger):
                    nameless[found.uid] = found
                else:
                    put_right += found
        return put_right, nameless

    async def _settle_one(self, namespace: str, pool: Pool, uid: str, check: Check) -> bool | Ledger:
        """Whether it was put right, or its ledger if that tells no name."""
        try:
            ledger = await read_ledger(pool, uid, now_ms=milliseconds(self._clock.now())) or Ledger(uid)
        except BackendRefused as error:
            self._each.cannot(_metadata(namespace, uid), error.sentence)
            return False
        if ledger.settled:
            await self._take_off_list(namespace, pool, uid, check)
            return False
        if not ledger.claimed or not ledger.match_name:
            return ledger
        return await self._settle_named(namespace, pool, ledger, check)

    async def _take_off_list(self, namespace: str, pool: Pool, uid: str, check: Check) -> None:
        """Another client has listed a Match that is settled. To settle it once more changes nothing but the list."""
        request = pool.settle(SettleRequest(uid, uid, ()), now_ms=milliseconds(self._clock.now()))
        check(namespace, await self._each.isolated(_metadata(namespace, uid), request))

    async def _settle_named(self, namespace: str, pool: Pool, ledger: Ledger, check: Check) -> bool:
        metadata = _metadata(namespace, ledger.uid, ledger.match_name)
        try:
            if await self._uid_of(namespace, ledger.match_name) == ledger.uid:
                return False
        except BackendRefused as error:
            self._each.cannot(metadata, error.sentence)
            return False
        is_new = await self._settle(metadata, pool, ledger, check)
        if is_new:
            self._each.did(PutRight.WITHOUT_OBJECT, "a match is gone that still held users; they are free", metadata)
        return is_new

    async def _settle_nameless(
        self,
        namespace: str,
        pool: Pool,
        ledgers: Mapping[str, Ledger],
        check: Check,
        beat: Callable[[], None],
    ) -> int:
        """Settle Matches whose ledger tells neither a name nor, mostly, the users: the users' records tell both."""
        try:
            listed = await self._uids_in(namespace)
        except BackendRefused as error:
            for uid in ledgers:
                self._each.cannot(_metadata(namespace, uid), error.sentence)
            return 0
        gone = [ledger for uid, ledger in ledgers.items() if uid not in listed]
        held = await find_held(pool, [ledger.uid for ledger in gone], beat) if gone else {}
        put_right = 0
        for ledger in gone:
            users = held.get(ledger.uid, [])
            put_right += await self._settle_by_records(namespace, pool, ledger, users, check)
        return put_right

    async def _settle_by_records(
        self, namespace: str, pool: Pool, ledger: Ledger, users: Sequence[HeldUser], check: Check
    ) -> bool:
        rebuilt = _rebuilt(ledger, users)
        metadata = _metadata(namespace, ledger.uid, rebuilt.match_name)
        if not await self._settle(metadata, pool, rebuilt, check):
            return False
        unknown = sum(not user.knows_place for user in users if user.id not in ledger.queued_at_ms)
        metrics.put_right.labels(PutRight.PLACE_UNKNOWN).inc(unknown)
        self._each.did(
            PutRight.WITHOUT_LEDGER,
            "a match is gone and its ledger is lost; the users whom it held are free, as their own records say",
            metadata,
            users=len(rebuilt.queued_at_ms),
            places_unknown=unknown,
        )
        return True

    async def _settle(self, metadata: ObjectMeta, pool: Pool, ledger: Ledger, check: Check) -> bool:
        """Settle a Match that is gone. Whether Redis did not know yet that it is over."""
        now = self._clock.now()
        try:
            request = _last_settle(metadata, ledger, now)
        except ValueError as error:  # other clients can write any word as a UID
            self._each.cannot(metadata, str(error))
            return False
        request = replace(request, users=tuple(map(partial(self._release, metadata.namespace), request.users)))
        reply = await self._each.isolated(metadata, self._mend_and_settle(metadata, pool, request, milliseconds(now)))
        check(metadata.namespace, reply)
        return isinstance(reply, SettleOk) and not reply.replay

    async def _mend_and_settle(
        self, metadata: ObjectMeta, pool: Pool, request: SettleRequest, now_ms: int
    ) -> AdvanceReply | SettleReply:
        """The places in a ledger that makes no sense are lost by now: the Match that knew them is gone."""
        if await mend_ledger(pool, request.uid, {}, now_ms=now_ms):
            log.warning("a ledger made no sense; it was repaired", namespace=metadata.namespace, uid=request.uid)
        return await settle_in_steps(pool, request, now_ms)

    def _release(self, namespace: str, release: Release) -> Release:
        if release.to is Destination.IDLE or not self._calls.holds(namespace, release.id):
            return release
        return replace(release, to=Destination.IDLE)


def _metadata(namespace: str, uid: str, name: str = "") -> ObjectMeta:
    return ObjectMeta(name=name or uid, namespace=namespace, uid=uid)


def _rebuilt(ledger: Ledger, users: Sequence[HeldUser]) -> Ledger:
    """The ledger as far as the records of the users tell it. What the ledger itself still says outranks them."""
    had_call = any(user.state in _HAD_CALL for user in users)
    return replace(
        ledger,
        claimed=True,
        phase=ledger.phase if ledger.claimed else (MatchPhase.ACTIVE if had_call else MatchPhase.CONNECTING),
        match_name=ledger.match_name or next((user.match_name for user in users if user.match_name), ""),
        session_id=ledger.session_id or next((user.session_id for user in users if user.session_id), ""),
        queued_at_ms={user.id: user.queued_at_ms for user in users} | dict(ledger.queued_at_ms),
    )


def _last_settle(metadata: ObjectMeta, ledger: Ledger, now: datetime) -> SettleRequest:
    """How the Match would be settled if its object were still there, and being deleted."""
    deleted = metadata.model_copy(update={"deletion_timestamp": now, "creation_timestamp": now})
    match = stand_in_match(Unreadable(deleted, "it is gone"), ledger)
    nothing = Absent(now)
    seen = MatchSeen(
        ledger=Present(ledger, now),
        refusal=None,
        room=nothing,
        livekit_room=nothing,
        people=nothing,
        tokens=nothing,
        livekit_name="",
        server=ServerFacts("", ""),
    )
    case = MatchCase(match, seen, now)
    cause, releases = case.cause, case.releases
    assert cause is not None  # it is being deleted
    return SettleRequest(
        uid=ledger.uid,
        session_id=ledger.session_id or ledger.uid,
        users=releases,
        cause=Cause(cause.reason, cause.initiator, cause.message, cause.evidence(releases)),
        match_name=metadata.name,
    )
