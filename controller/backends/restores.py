"""Makes Redis agree with the Matches: they are the truth about a live call, and the ledgers in Redis follow them.

Redis can come back empty, or older than it was. A Match that lives is then restored: its users and its ledger are
written again (`mode Restore`). A Match that is over, and that Redis still counts as live, is settled again as its
status says. A Match whose object is gone is settled as its ledger says, or as a deleted one. Each Match is put right by
itself: one that Redis refuses costs no other. Neighbors: `backends.pools` asks whenever it opens a pool,
`triggers.sweep` every minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import structlog

from controller.api.match import Match, MatchStatus, OutcomeState, QueuePlace
from controller.api.phases import MatchPhase
from controller.api.states import UserState
from controller.backends.gone_matches import Check, GoneMatches
from controller.backends.put_right import EachMatch, PutRight, settle_in_steps
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.match import ClaimOk, ClaimReply, SettleOk
from controller.clients.redis.replies.refusals import Settled
from controller.clients.redis.requests import Claimant, ClaimMode, ClaimRequest, SettleRequest
from controller.clock import Clock
from controller.facts.ledger import Cause, Destination, Release
from controller.facts.time import milliseconds
from controller.facts.unreadable import Unreadable
from controller.telemetry import metrics
from controller.views.cache import ObjectCache
from controller.views.calls import CallIndex

log = structlog.get_logger(__name__)

T = TypeVar("T")
R = TypeVar("R")

_STATES = {
    MatchPhase.CREATING: UserState.CONNECTING,
    MatchPhase.CONNECTING: UserState.CONNECTING,
    MatchPhase.ACTIVE: UserState.IN_CALL,
    MatchPhase.RECONNECTING: UserState.IN_CALL,
    MatchPhase.TERMINATING: UserState.DISCONNECTING,
}
_AT_ONCE = 50
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Differences:
    """How many Matches in Redis differed from those in Kubernetes, how many of them were put right, and how many Redis
    or Kubernetes refused to put right.
    """

    found: int = 0
    put_right: int = 0
    refused: int = 0


class Restorer:
    """Compares pools with Matches. The caches are complete when it is asked.

    Each of `restored` gets every Match whose users were taken again: nothing else of it is left in Redis. `wake` gets
    a Match that needs a look. `uid_of` and `uids_in` ask Kubernetes, as in `GoneMatches`.
    """

    def __init__(
        self,
        matches: ObjectCache[Match],
        calls: CallIndex,
        clock: Clock,
        *,
        restored: Sequence[Callable[[Match], None]],
        wake: Callable[[Match], None],
        uid_of: Callable[[str, str], Awaitable[str | None]],
        uids_in: Callable[[str], Awaitable[Collection[str]]],
    ) -> None:
        self._matches = matches
        self._calls = calls
        self._clock = clock
        self._restored = restored
        self._wake = wake
        self._each = EachMatch()
        self._gone = GoneMatches(clock, self._each, uid_of, uids_in)
        # How far the last sweep of a pool came, where its budget did not suffice.
        self._reached: dict[str, str] = {}

    async def restore_all(self, namespace: str, pool: Pool, check: Check) -> int:
        """Restore all live Matches of a pool that has lost data. Returns how many of them Redis had lost.

        `check` raises for a reply that forbids us to write. Raises BackendError if Redis does not answer.
        """
        return await self._restore(pool, self._matches.in_namespace(namespace), check)

    async def compare(self, namespace: str, pool: Pool, check: Check) -> None:
        """Put right what differs in a pool before it opens: nothing else writes to it meanwhile.

        Settles Matches that are over, so that they hold no user of a live one, and then restores what is missing.
        Raises as `restore_all`.
        """
        live = await live_uids(pool)
        over = [match for uid in live if (match := self._over(namespace, uid)) is not None]
        for some in _batches(over):
            await asyncio.gather(*(self.settle_again(pool, match, check) for match in some))
        missing = [call.uid for call in self._calls.of(namespace) if call.uid not in live]
        matches = (match for uid in missing if (match := self._readable(uid)) is not None)
        if restored := await self._restore(pool, matches, check):
            log.warning("Redis had no ledger of live matches; restored", namespace=namespace, matches=restored)

    async def sweep(self, namespace: str, pool: Pool, check: Check, at_most: int) -> Differences:
        """Put right what differs in a pool that is open, and return how much that is, `at_most` so much.

        The next round goes on after the last Match of this one: those that cannot be put right cost no other its turn.
        Raises BackendError.
        """
        live, calls = await live_uids(pool), self._calls.of(namespace)
        for call in calls:
            if call.uid not in live and (match := self._readable(call.uid)) is not None:
                self._wake(match)
        found, put_right, refusals, gone = 0, 0, self._each.refusals, list[str]()
        reached = self._reached.pop(namespace, "")
        for uid in _after(list(live), reached):
            if found >= at_most:
                self._reached[namespace] = reached
                break
            if self._calls.has(namespace, uid):
                continue
            reached, known = uid, self._matches.by_uid(uid)
            if known is None:
                found += 1
                gone.append(uid)
            elif not isinstance(known, Unreadable) and known.counts_as_over:
                found += 1
                put_right += await self.settle_again(pool, known, check)
        put_right += await self._gone.settle(namespace, pool, gone, check)
        return Differences(found, put_right, self._each.refusals - refusals)

    async def settle_again(self, pool: Pool, match: Match, check: Check) -> bool:
        """Settle a Match that is over, as its status says. Whether Redis did not know yet that it is."""
        reply = await self._each.isolated(
            match.metadata, settle_in_steps(pool, settle_request(match), milliseconds(self._clock.now()))
        )
        check(pool.keys.namespace, reply)
        is_new = isinstance(reply, SettleOk) and not reply.replay
        if is_new:
            self._each.did(
                PutRight.SETTLED_AGAIN, "Redis did not know that a match is over; settled again", match.metadata
            )
        return is_new

    def _over(self, namespace: str, uid: str) -> Match | None:
        if self._calls.has(namespace, uid):
            return None
        match = self._readable(uid)
        return match if match is not None and match.counts_as_over else None

    def _readable(self, uid: str) -> Match | None:
        known = self._matches.by_uid(uid)
        return None if isinstance(known, Unreadable) else known

    async def _restore(self, pool: Pool, matches: Iterable[Match], check: Check) -> int:
        restored = 0
        wanted = ((match, request) for match in matches if (request := restore_request(match)) is not None)
        for some in _batches(wanted):
            replies = await asyncio.gather(
                *(self._each.isolated(match.metadata, self._claim(pool, request)) for match, request in some)
            )
            for (match, _), reply in zip(some, replies, strict=True):
                check(pool.keys.namespace, reply)
                if isinstance(reply, ClaimOk):
                    self._each.can(match.metadata)
                    restored += not reply.replay
                    for tell in self._restored:
                        tell(match)
                elif not isinstance(reply, Settled):
                    if reply is not None:
                        self._each.cannot(match.metadata, str(reply))
                    self._wake(match)
        if restored:
            metrics.put_right.labels(PutRight.RESTORED).inc(restored)
        return restored

    async def settle_gone(self, namespace: str, pool: Pool, uids: Sequence[str], check: Check) -> int:
        """Let go of the users of those of these Matches that are no object. Returns how many were put right."""
        return await self._gone.settle(namespace, pool, uids, check)

    async def _claim(self, pool: Pool, request: ClaimRequest) -> ClaimReply:
        return await pool.claim(request, now_ms=milliseconds(self._clock.now()))


def _after(uids: list[str], last: str) -> list[str]:
    """The same UIDs, beginning after `last`."""
    start = uids.index(last) + 1 if last in uids else 0
    return [*uids[start:], *uids[:start]]


def _batches(values: Iterable[T]) -> Iterator[list[T]]:
    """So many values at a time as are sent side by side."""
    left = iter(values)
    while some := list(islice(left, _AT_ONCE)):
        yield some


async def live_uids(pool: Pool) -> dict[str, None]:
    """The UIDs of the Matches that hold users, by the word of Redis, the oldest first."""
    live: dict[str, None] = {}
    while True:
        page = await pool.live(offset=len(live), limit=_PAGE)
        before = len(live)
        live.update((entry.uid, None) for entry in page)
        if len(page) < _PAGE or len(live) == before:
            return live


def settle_request(match: Match) -> SettleRequest:
    """The settling of a Match that is over, from its status.

    A user whom the status leaves out waits again: where they were before, or at the end of the queue after a call.
    """
    end, uid = match.status.end, match.metadata.uid
    outcomes = {one.identity: one for one in end.outcomes} if end is not None else {}
    releases = []
    for identity in match.spec.identities:
        outcome = outcomes.get(identity)
        if outcome is None:
            had_call = match.status.connected_at is not None
            waits = Release(identity, Destination.WAITING, QueuePlace.NOW)
            releases.append(waits if had_call else Release(identity, Destination.BACK))
        elif outcome.state is OutcomeState.WAITING:
            place = outcome.place or QueuePlace.ORIGINAL
            releases.append(Release(identity, Destination.WAITING, place, outcome.detail or ""))
        else:
            releases.append(Release(identity, Destination.IDLE, QueuePlace.NOW, outcome.detail or ""))
    return SettleRequest(
        uid=uid,
        session_id=match.spec.session_id or uid,
        users=tuple(releases),
        cause=Cause(end.reason, end.initiator or "", end.message or "") if end is not None else Cause(),
        match_name=match.metadata.name,
    )


def restore_request(match: Match) -> ClaimRequest | None:
    """The claim that rebuilds the ledger of a live Match from its status; None if the Match holds no user."""
    status = match.status
    if status.phase is None or status.started_at is None or status.seems_over or status.end:
        return None
    places = known_places(match)
    claimants = tuple(
        Claimant(person.identity, person.livekit_identity, places.get(person.identity))
        for person in match.spec.participants
    )
    phase = _held_phase(status)
    return ClaimRequest(
        uid=match.metadata.uid,
        match_name=match.metadata.name,
        session_id=match.spec.session_id or match.metadata.uid,
        users=claimants,
        mode=ClaimMode.RESTORE,
        state=_STATES[phase],
        phase=phase.value,
        room=(status.room.livekit_name or "") if status.room is not None else "",
        url=(status.room.url or "") if status.room is not None else "",
    )


def known_places(match: Match) -> dict[str, int]:
    """The places in the queue that users had before the Match, as far as its status knows them."""
    people = match.status.participants
    return {person.identity: milliseconds(person.queued_at) for person in people if person.queued_at is not None}


def _held_phase(status: MatchStatus) -> MatchPhase:
    """The phase of a Match that holds its users, as far as the status knows it.

    A Match that has claimed its users is at least Creating. Another client may have written a terminal phase, and
    another version one that this version does not know.
    """
    if status.phase is MatchPhase.PENDING:
        return MatchPhase.CREATING
    if status.phase in _STATES:
        return status.phase
    return MatchPhase.ACTIVE if status.connected_at is not None else MatchPhase.CONNECTING
