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

from controller.api.match import Match
from controller.backends.gone_matches import Check, GoneMatches
from controller.backends.put_right import AT_ONCE, EachMatch, PutRight, settle_in_steps
from controller.backends.restore_requests import restore_request, settle_request
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.match import ClaimOk, ClaimReply, SettleOk
from controller.clients.redis.replies.refusals import Settled
from controller.clients.redis.requests import ClaimRequest
from controller.clock import Clock
from controller.errors import Backend, BackendUnavailable
from controller.facts.time import milliseconds
from controller.facts.unreadable import Unreadable
from controller.telemetry import metrics
from controller.views.cache import ObjectCache
from controller.views.calls import CallIndex

log = structlog.get_logger(__name__)

T = TypeVar("T")
R = TypeVar("R")

_PAGE = 1000
# So many Matches that are gone are settled before a pool opens: it stays closed for a second or two.
_AT_OPENING = 500


# What first appears with 1 has not increased for Prometheus.
for _what in PutRight:
    metrics.put_right.labels(_what)


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

        One whose user is held by another Match is left to `compare`, which settles Matches that are over or gone first.
        `check` raises for a reply that forbids us to write. Raises BackendError if Redis does not answer.
        """
        return await self._restore(pool, self._matches.in_namespace(namespace), check, is_last=False)

    async def compare(self, namespace: str, pool: Pool, check: Check) -> None:
        """Put right what differs in a pool before it opens: nothing else writes to it meanwhile.

        Settles Matches that are over or gone, so that they hold no user of a live one, and then restores what is
        missing. In a pool that is open another Match could take a user in between. Raises as `restore_all`.
        """
        live = await live_uids(pool)
        over = [match for uid in live if (match := self._over(namespace, uid)) is not None]
        for some in _batches(over):
            await asyncio.gather(*(self.settle_again(pool, match, check) for match in some))
        await self._settle_gone_at_opening(namespace, pool, live, check)
        missing = [call.uid for call in self._calls.of(namespace) if call.uid not in live]
        matches = (match for uid in missing if (match := self._readable(uid)) is not None)
        if restored := await self._restore(pool, matches, check):
            log.warning("Redis had no ledger of live matches; restored", namespace=namespace, matches=restored)

    async def _settle_gone_at_opening(self, namespace: str, pool: Pool, live: Iterable[str], check: Check) -> None:
        """Settle Matches that are gone, some of them at most: the pool stays closed for so long.

        What this leaves out, also because Kubernetes does not answer, is for the sweep.
        """
        gone = (uid for uid in live if not self._calls.has(namespace, uid) and not self._matches.has(uid))
        try:
            await self._gone.settle_named(namespace, pool, list(islice(gone, _AT_OPENING)), check)
        except BackendUnavailable as error:
            if error.backend != Backend.KUBERNETES:
                raise
            log.debug("whether matches are gone is not known at the moment", namespace=namespace, error=str(error))

    async def sweep(
        self, namespace: str, pool: Pool, check: Check, at_most: int, beat: Callable[[], None]
    ) -> Differences:
        """Put right what differs in a pool that is open, and return how much that is, `at_most` so much.

        The next round goes on after the last Match of this one: those that cannot be put right cost no other its turn.
        `beat` is called while it goes on. Raises BackendError.
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
        put_right += await self._gone.settle(namespace, pool, gone, check, beat)
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

    async def _restore(self, pool: Pool, matches: Iterable[Match], check: Check, *, is_last: bool = True) -> int:
        """Returns how many Redis had lost. Unless it `is_last`, those that are refused have another turn soon."""
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
                elif is_last and not isinstance(reply, Settled):
                    if reply is not None:
                        self._each.cannot(match.metadata, str(reply))
                    self._wake(match)
        if restored:
            metrics.put_right.labels(PutRight.RESTORED).inc(restored)
        return restored

    async def settle_gone(self, namespace: str, pool: Pool, uids: Sequence[str], check: Check) -> int:
        """Let go of the users of those of these Matches that are no object. Returns how many were put right."""
        return await self._gone.settle(namespace, pool, uids, check, lambda: None)

    async def _claim(self, pool: Pool, request: ClaimRequest) -> ClaimReply:
        return await pool.claim(request, now_ms=milliseconds(self._clock.now()))


def _after(uids: list[str], last: str) -> list[str]:
    """The same UIDs, beginning after `last`."""
    start = uids.index(last) + 1 if last in uids else 0
    return [*uids[start:], *uids[:start]]


def _batches(values: Iterable[T]) -> Iterator[list[T]]:
    """So many values at a time as are sent side by side."""
    left = iter(values)
    while some := list(islice(left, AT_ONCE)):
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
