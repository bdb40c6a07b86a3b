"""The pools of a command that holds no lease: it writes under the fence that it has read.

Every request is refused once another replica leads, once Redis has lost data or went back, and while an operator
restores the pool. Only an operator opens a pool that none has opened. Neighbors: `cli.sweep` uses them in the place of
`backends.pools`.
"""

from __future__ import annotations

from collections.abc import Callable

from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys
from controller.clients.redis.mark import BorrowedMark, parse_fence
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.pool import Incarnation
from controller.clients.redis.replies.refusals import Lost, Stale
from controller.errors import Backend, PoolClosed, StateLost


class BorrowedPools:
    """The pools by namespace, each under the fence that it had when it was asked for first.

    `foreign` says in a sentence that another installation serves a namespace; empty if it is ours.
    """

    def __init__(self, redis: Redis, cluster_id: str, foreign: Callable[[str], str]) -> None:
        self._redis = redis
        self._cluster_id = cluster_id
        self._foreign = foreign
        self._pools: dict[str, Pool] = {}

    async def get(self, namespace: str) -> Pool:
        """The pool. Raises PoolClosed or StateLost if it may not be written to, and BackendError without an answer."""
        if namespace not in self._pools:
            self._pools[namespace] = await self._bind(Keys(self._cluster_id, namespace))
        return self._pools[namespace]

    def check(self, namespace: str, reply: object) -> None:
        """Raise StateLost for the two replies that forbid us to write."""
        if isinstance(reply, Stale | Lost):
            why = "another replica leads since" if isinstance(reply, Stale) else "Redis has lost data since"
            raise StateLost(Backend.REDIS, "script", f"{why} (namespace {namespace}); run the command again")

    async def _bind(self, keys: Keys) -> Pool:
        if sentence := self._foreign(keys.namespace):
            raise PoolClosed(Backend.REDIS, "open", sentence)
        found, fence = await self._redis.texts([keys.incarnation(), keys.fence(0)])
        if found is None:
            sentence = f"no operator has opened the pool of namespace {keys.namespace}; one must run first"
            raise PoolClosed(Backend.REDIS, "open", sentence)
        incarnation = Incarnation(found)
        if incarnation.restoring:
            sentence = f"an operator restores the pool of namespace {keys.namespace}; run the command again afterwards"
            raise StateLost(Backend.REDIS, "open", sentence)
        epoch, number = parse_fence(fence)
        return Pool(self._redis, keys, 0, epoch, incarnation.value, mark=BorrowedMark(number))
