"""The matchmaking pools of this replica: one per namespace, bound to our epoch and to the incarnation of Redis.

The incarnation shows that Redis lost its data, and the mark that it is older than what we know, before anything is
written. Then `backends.restores` writes again what is missing, and only then the pool opens. Until then, everything
that needs the pool fails with StateLost and is repeated.

A pool is opened by a task of its own, once for all who ask for it. A caller waits for it for a moment at most, because
an opening may restore thousands of Matches: one pool holds up no other one, and no hand of the worker. Readers take the
pools that are open and leave out the others. `triggers.keeper` decides which pools are open.

The Lease alone says who leads. If the fence of a pool says otherwise, we ask the Lease. If the Lease is still ours, the
fence is wrong: that pool is closed until the key is mended (PoolClosed), and all others go on. A Lease that was deleted
begins with a low epoch again; Redis remembers the highest one of each Lease (`clients.redis.epochs`). A fence that one
of them wrote, and that stands still, is that of an owner who is gone (our Lease had another name, or a neighbor was
removed): then we take our Lease again above all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import NoReturn

import structlog

from controller.backends.restores import Restorer
from controller.clients.redis.client import Redis
from controller.clients.redis.epochs import EpochStore
from controller.clients.redis.keys import Keys
from controller.clients.redis.mark import Mark
from controller.clients.redis.mending import begin_mended_restore
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.pool import Incarnation, IncarnationReply
from controller.clients.redis.replies.refusals import Lost, Stale
from controller.clients.redis.requests import Served
from controller.errors import Backend, BackendError, Code, LeadershipLost, PoolClosed, StateLost
from controller.telemetry import metrics

log = structlog.get_logger(__name__)


_CLOSED_SECONDS = 2.0
# The owner of a pool writes to it at least once a minute: a fence that stands still for longer has no owner.
_STILL_SECONDS = 150.0
# An ordinary opening takes three round trips. One that restores Matches takes longer, and is not waited for.
_PATIENCE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Closed:
    """A pool with a wrong fence: what is said about it, when it is looked at again, and since when it stands still."""

    error: PoolClosed
    again_at: float
    fence: str
    still_since: float


@dataclass(slots=True)
class _Opening:
    """A pool that is being opened. Until `patient_until` callers wait for it; then it `has_refused` them."""

    task: asyncio.Task[Pool]
    patient_until: float
    has_refused: bool = False


def _is_ours(_namespace: str) -> str:
    """For an operator that has the cluster for itself."""
    return ""


class Pools:
    """The pools of one term, by namespace. `epoch` is that of the lease, and `epochs` remembers the earlier ones.

    `restorer` makes a pool agree with the Matches before it opens. `confirm` checks that the lease is still ours, and
    `outdated` gets the epoch of an earlier Lease that was higher than ours. `served` is what gateways read about us.
    `opened` gets the namespace of a pool that is open after callers were sent away. `foreign` says in a sentence that
    another installation serves a namespace, whose pool then stays closed; empty if it is ours.
    """

    def __init__(
        self,
        redis: Redis,
        cluster_id: str,
        epoch: int,
        *,
        epochs: EpochStore,
        served: Served,
        restorer: Restorer,
        confirm: Callable[[], Awaitable[None]],
        outdated: Callable[[int], None],
        opened: Callable[[str], None],
        foreign: Callable[[str], str] = _is_ours,
    ) -> None:
        self._redis = redis
        self._cluster_id = cluster_id
        self._restorer = restorer
        self._confirm = confirm
        self._outdated = outdated
        self._opened = opened
        self._served = served
        self._foreign = foreign
        self._epoch = epoch
        self._epochs = epochs
        self._is_epoch_checked = False
        self._open: dict[str, Pool] = {}
        self._closed: dict[str, _Closed] = {}
        self._openings: dict[str, _Opening] = {}
        # The namespaces of the pools that are open, or were and are to be open again.
        self._kept: set[str] = set()
        self._marks: dict[str, Mark] = {}
        metrics.pools_closed.set(0)

    async def close(self) -> None:
        """Give up the pools that are being opened: the term is over."""
        tasks = [opening.task for opening in self._openings.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def unbound(self, namespace: str) -> Pool:
        """A pool without a fence and an incarnation, for reads and for the witness of webhooks."""
        return Pool(self._redis, Keys(self._cluster_id, namespace), 0, self._epoch)

    async def get(self, namespace: str) -> Pool:
        """The open pool of `namespace`; it is opened first if necessary.

        Raises StateLost while the pool is being restored, PoolClosed while its fence is wrong, and BackendError if
        Redis does not answer.
        """
        pool = self._open.get(namespace)
        if pool is not None:
            return pool
        opening = self._opening(namespace)
        patience_seconds = opening.patient_until - asyncio.get_running_loop().time()
        if patience_seconds > 0:
            await asyncio.wait({opening.task}, timeout=patience_seconds)
        if not opening.task.done():
            opening.has_refused = True
            raise _is_opening(namespace)
        if opening.task.cancelled():
            raise LeadershipLost(f"the pool of namespace {namespace} was closed while it was being opened")
        return opening.task.result()

    def opened(self, namespace: str) -> Pool:
        """The open pool of `namespace`, for those who only read pools that are open. Raises StateLost if it is not."""
        pool = self._open.get(namespace)
        if pool is None:
            raise _is_opening(namespace)
        return pool

    def begin(self, namespace: str) -> None:
        """Open the pool of `namespace` without waiting for it. Nothing happens if it is open."""
        if namespace not in self._open:
            self._opening(namespace)

    def check(self, namespace: str, reply: object) -> None:
        """Raise an error for the two replies that forbid us to write, and close the pool.

        Stale raises PoolClosed: the next `get` asks the Lease who is right. Lost raises StateLost.
        """
        if isinstance(reply, Stale):
            self.forget(namespace)
            raise self._wrong_fence(namespace, reply.current_epoch)
        if isinstance(reply, Lost):
            self.forget(namespace)
            raise StateLost(Backend.REDIS, "script", f"Redis lost data of namespace {namespace}; restoring it")

    def forget(self, namespace: str) -> None:
        """Close the pool, which is out of date. It is still to be open: the next `get` or `begin` opens it again."""
        self._open.pop(namespace, None)

    def release(self, namespace: str) -> None:
        """Close the pool, which is no longer needed. A `get` opens it again."""
        self._open.pop(namespace, None)
        self._kept.discard(namespace)
        if self._closed.pop(namespace, None) is not None:
            metrics.pools_closed.set(len(self._closed))

    async def serve(self, namespace: str) -> None:
        """Say that we serve the open pool of `namespace`, for some minutes more."""
        pool = self._open.get(namespace)
        if pool is not None:
            self.check(namespace, await pool.serve(self._served))

    def trouble(self, namespace: str) -> str:
        """Why the pool stays closed, as a sentence; empty if nothing is wrong with it."""
        closed = self._closed.get(namespace)
        return closed.error.sentence if closed is not None else ""

    def closed(self) -> tuple[str, ...]:
        """The namespaces whose pool stays closed because its fence is wrong."""
        return tuple(self._closed)

    def namespaces(self) -> tuple[str, ...]:
        """The namespaces whose pool is open."""
        return tuple(self._open)

    def kept(self) -> frozenset[str]:
        """The namespaces whose pool is open, or was open and is to be open again."""
        return frozenset(self._kept)

    def _opening(self, namespace: str) -> _Opening:
        """The opening that is under way, or one that begins now."""
        known = self._openings.get(namespace)
        if known is not None:
            return known
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._bind(namespace), name=f"open the pool of {namespace}")
        opening = self._openings[namespace] = _Opening(task, loop.time() + _PATIENCE_SECONDS)
        task.add_done_callback(lambda _: self._end_opening(namespace, opening))
        return opening

    def _end_opening(self, namespace: str, opening: _Opening) -> None:
        del self._openings[namespace]
        if opening.task.cancelled():
            return
        error = opening.task.exception()
        if error is None:
            self._open[namespace] = opening.task.result()
            self._kept.add(namespace)
            if opening.has_refused:
                self._opened(namespace)
        elif isinstance(error, BackendError | LeadershipLost):
            log.debug("a pool cannot be opened at the moment", namespace=namespace, error=str(error))
        else:
            log.error("a pool cannot be opened", namespace=namespace, exc_info=error)

    async def _bind(self, namespace: str) -> Pool:
        self._require_ours(namespace)
        closed = self._closed.get(namespace)
        if closed is not None and asyncio.get_running_loop().time() < closed.again_at:
            raise closed.error
        await self._confirm()
        pool = replace(self.unbound(namespace), mark=self._marks.setdefault(namespace, Mark()))
        await self._check_epoch()
        incarnation = await begin_mended_restore(pool)
        if isinstance(incarnation, Stale):
            await self._close(pool, incarnation.current_epoch)
        self._is_right(namespace)
        bound = await self._restored_pool(namespace, pool, incarnation)
        await self._restorer.compare(namespace, bound, self._check_opening)
        self._check_opening(namespace, await bound.serve(self._served))
        return bound

    def _require_ours(self, namespace: str) -> None:
        if sentence := self._foreign(namespace):
            raise PoolClosed(Backend.REDIS, "open", sentence)

    def _check_opening(self, namespace: str, reply: object) -> None:
        """`check` while a pool is being opened. That may take long, and another installation may serve it meanwhile."""
        self._require_ours(namespace)
        self.check(namespace, reply)

    async def _check_epoch(self) -> None:
        """Compare our epoch with the highest one of our Lease, once per term. Raises LeadershipLost if ours is lower.

        Those of other installations decide nothing: they serve other namespaces.
        """
        if self._is_epoch_checked:
            return
        before = (await self._epochs.note(self._epoch)).own
        if before > self._epoch:
            self._outdated(before)
            raise LeadershipLost(f"the Lease was made again: epoch {before} was before, ours is {self._epoch}")
        self._is_epoch_checked = True

    async def _close(self, pool: Pool, epoch: int) -> NoReturn:
        """Keep the pool closed for a while, since its fence is above the epoch of the Lease, which is ours.

        Raises LeadershipLost if it is not ours after all, or if it has to be taken again above the fence.
        """
        await self._confirm()
        namespace, now = pool.keys.namespace, asyncio.get_running_loop().time()
        error, before = self._wrong_fence(namespace, epoch), self._closed.get(namespace)
        fence = await pool.redis.text(pool.keys.fence(pool.shard)) or ""
        is_still = before is not None and before.fence == fence
        still_since = before.still_since if before is not None and is_still else now
        if before is None:
            log.warning("a pool is closed", namespace=namespace, why=error.sentence)
        self._closed[namespace] = _Closed(error, now + _CLOSED_SECONDS, fence, still_since)
        metrics.pools_closed.set(len(self._closed))
        if now - still_since >= _STILL_SECONDS:
            await self._go_above(namespace, epoch)
        raise error

    async def _go_above(self, namespace: str, fence: int) -> None:
        """Step down to take the Lease again above the fence, if some Lease with this cluster id had that epoch.

        A fence above all of them is damaged, and moves no Lease.
        """
        highest = (await self._epochs.read(self._epoch)).highest
        if fence <= highest:
            self._outdated(highest)
            raise LeadershipLost(f"the owner of the pool of {namespace} is gone; its epoch was {fence}")

    def _is_right(self, namespace: str) -> None:
        if self._closed.pop(namespace, None) is not None:
            metrics.pools_closed.set(len(self._closed))
            log.info("a pool is open again: its fence is right", namespace=namespace)

    def _wrong_fence(self, namespace: str, fence: int) -> PoolClosed:
        key = Keys(self._cluster_id, namespace).fence(0)
        sentence = (
            f"the key {key} says epoch {fence}, and the lease is ours with epoch {self._epoch}: if another "
            f"installation serves the namespace {namespace} too, let each serve namespaces of its own "
            "(ROOMKEEPER_WATCH_NAMESPACES); otherwise delete the key"
        )
        return PoolClosed(Backend.REDIS, "fence", sentence)

    async def _restored_pool(self, namespace: str, pool: Pool, incarnation: IncarnationReply) -> Pool:
        """The pool bound to the incarnation of Redis, after what Redis lost was restored."""
        self.check(namespace, incarnation)
        assert isinstance(incarnation, Incarnation)
        pool = pool.at(incarnation)
        if not incarnation.restoring:
            return pool
        restored = await self._restorer.restore_all(namespace, pool, self._check_opening)
        opened = await pool.finish_restore()
        self.check(namespace, opened)
        assert isinstance(opened, Incarnation)
        if restored:
            log.warning("Redis had lost data; live matches were restored", namespace=namespace, matches=restored)
        return pool.at(opened)


def _is_opening(namespace: str) -> StateLost:
    return StateLost(Backend.REDIS, "open", f"the pool of namespace {namespace} is being opened", code=Code.OPENING)
