"""The matchmaking pools of this replica: one per namespace, bound to our epoch and to the incarnation of Redis.

The incarnation shows that Redis lost its data, before anything is written. Then the operator claims the users of the
live Matches again, from the status of these Matches (`mode Restore`, with the queue times), and only then opens the
pool. Until then, everything that needs the pool fails with StateLost and is repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from controller.api.match import Match
from controller.api.phases import MATCH_PHASES, MatchPhase
from controller.api.states import UserState
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.match import ClaimOk
from controller.clients.redis.replies.pool import Incarnation
from controller.clients.redis.replies.refusals import Lost, Settled, Stale
from controller.clients.redis.requests import Claimant, ClaimMode, ClaimRequest
from controller.clock import Clock
from controller.errors import Backend, LeadershipLost, StateLost
from controller.facts.time import milliseconds

log = structlog.get_logger(__name__)

_RIVAL_TIMES = 3
_RIVAL_SECONDS = 60.0

_STATES = {
    MatchPhase.CREATING: UserState.CONNECTING,
    MatchPhase.CONNECTING: UserState.CONNECTING,
    MatchPhase.ACTIVE: UserState.IN_CALL,
    MatchPhase.RECONNECTING: UserState.IN_CALL,
    MatchPhase.TERMINATING: UserState.DISCONNECTING,
}


class Pools:
    """Pools by namespace.

    `matches` lists the known Matches of a namespace. `confirm` checks that the lease is still ours, and `outdated` gets
    an epoch above it that Redis has seen. Each of `restored` gets every Match whose users were claimed again: nothing
    else of it is left in Redis.
    """

    def __init__(
        self,
        redis: Redis,
        cluster_id: str,
        clock: Clock,
        *,
        matches: Callable[[str], Iterable[Match]],
        confirm: Callable[[], Awaitable[None]],
        outdated: Callable[[int], None],
        restored: Sequence[Callable[[Match], None]],
    ) -> None:
        self._redis = redis
        self._cluster_id = cluster_id
        self._clock = clock
        self._matches = matches
        self._confirm = confirm
        self._outdated = outdated
        self._restored = restored
        self._epoch = 0
        self._open: dict[str, Pool] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._overtaken_in = 0
        self._overtakings: deque[float] = deque(maxlen=_RIVAL_TIMES)

    def begin_epoch(self, epoch: int) -> None:
        """Close all pools, since we now hold the lease under `epoch`. They open again when they are needed."""
        self._epoch = epoch
        self._open.clear()

    def unbound(self, namespace: str) -> Pool:
        """A pool without a fence and an incarnation, for reads and for the witness of webhooks."""
        return Pool(self._redis, Keys(self._cluster_id, namespace), 0, self._epoch)

    async def get(self, namespace: str) -> Pool:
        """The open pool of `namespace`; it is opened first if necessary.

        Raises StateLost while the pool is being restored, and BackendError if Redis does not answer.
        """
        pool = self._open.get(namespace)
        if pool is not None:
            return pool
        async with self._locks.setdefault(namespace, asyncio.Lock()):
            if namespace not in self._open:
                self._open[namespace] = await self._bind(namespace)
            return self._open[namespace]

    def check(self, namespace: str, reply: object) -> None:
        """Raise an error for the two replies that forbid us to write.

        Stale raises LeadershipLost, and Lost raises StateLost.
        """
        if isinstance(reply, Stale):
            self._overtaken(namespace)
            self._outdated(reply.current_epoch)
            raise LeadershipLost(f"Redis has seen epoch {reply.current_epoch}, ours is {self._epoch}")
        if isinstance(reply, Lost):
            self.forget(namespace)
            raise StateLost(Backend.REDIS, "script", f"Redis lost the data of namespace {namespace}; restoring it")

    def forget(self, namespace: str) -> None:
        """Close the pool, since Redis lost its data. The next `get` opens it again."""
        self._open.pop(namespace, None)

    def namespaces(self) -> tuple[str, ...]:
        """The namespaces whose pool is open."""
        return tuple(self._open)

    def _overtaken(self, namespace: str) -> None:
        """Another holder of a lease was here. A lease that moves between replicas does so far less often than this."""
        if self._overtaken_in == self._epoch:
            return  # many requests of one epoch find out
        self._overtaken_in, now = self._epoch, time.monotonic()
        self._overtakings.append(now)
        if len(self._overtakings) == _RIVAL_TIMES and now - self._overtakings[0] < _RIVAL_SECONDS:
            self._overtakings.clear()
            log.warning(
                f"another operator with another Lease serves the namespace {namespace} too, and both take turns: let "
                "each installation serve namespaces of its own (ROOMKEEPER_WATCH_NAMESPACES)"
            )

    async def _bind(self, namespace: str) -> Pool:
        await self._confirm()
        pool = self.unbound(namespace)
        incarnation = await pool.begin_restore()
        self.check(namespace, incarnation)
        assert isinstance(incarnation, Incarnation)
        pool = pool.at(incarnation)
        if not incarnation.restoring:
            return pool
        restored = await self._restore(namespace, pool)
        opened = await pool.finish_restore()
        self.check(namespace, opened)
        assert isinstance(opened, Incarnation)
        if restored:
            log.warning("Redis had lost its data; live matches were restored", namespace=namespace, matches=restored)
        return pool.at(opened)

    async def _restore(self, namespace: str, pool: Pool) -> int:
        restored = 0
        for match in self._matches(namespace):
            request = restore_request(match)
            if request is None:
                continue
            reply = await pool.claim(request, now_ms=milliseconds(self._clock.now()))
            self.check(namespace, reply)
            if isinstance(reply, ClaimOk):
                restored += 1
                for tell in self._restored:
                    tell(match)
            elif not isinstance(reply, Settled):
                log.error("match could not be restored", key=f"{namespace}/{match.metadata.name}", answer=str(reply))
        return restored


def restore_request(match: Match) -> ClaimRequest | None:
    """The claim that rebuilds the ledger of a live Match from its status; None if the Match holds no user."""
    status = match.status
    if status.phase is None or status.started_at is None or MATCH_PHASES[status.phase].terminal or status.end:
        return None
    queued_at = {person.identity: person.queued_at for person in status.participants}
    claimants = tuple(
        Claimant(identity, milliseconds(at) if (at := queued_at.get(identity)) is not None else None)
        for identity in match.spec.identities
    )
    # A Match that has claimed its users is at least Creating.
    phase = MatchPhase.CREATING if status.phase is MatchPhase.PENDING else status.phase
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
