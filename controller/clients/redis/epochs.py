"""The highest epoch of each Lease with this cluster id, as Redis remembers it.

A Lease that was deleted and made again begins with a low epoch. Its owner reads here what to go above. Installations
that share a cluster id have a Lease each and serve other namespaces: the epoch of one never outdates another.
Neighbors: `backends.lease` reads before it takes the Lease, `backends.pools` writes before it opens the first pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from controller.clients.redis import lua
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import epoch_key
from controller.clients.redis.replies.table import ReplyTable

_FURTHEST: Final = 1_000_000
"""An epoch that is so far above the one that a Lease says is a damaged value."""


@dataclass(frozen=True, slots=True)
class Epochs:
    """The highest epoch of our Lease, and that of all Leases with this cluster id. 0 if none is known."""

    own: int
    highest: int


def _epochs(own: str, highest: str) -> Epochs:
    return Epochs(int(own), int(highest))


EPOCH: Final = ReplyTable[Epochs]("epoch", {"OK": _epochs})


@dataclass(frozen=True, slots=True)
class EpochStore:
    """The epochs, from the view of the installation with this `lease` (`<namespace>/<name>`).

    Every method raises BackendError.
    """

    redis: Redis
    cluster_id: str
    lease: str

    async def read(self, near: int) -> Epochs:
        """Read the epochs. `near` is the one that the Lease says; values far above it do not count."""
        return await self._run(0, near)

    async def note(self, epoch: int) -> Epochs:
        """Write down that our Lease has this epoch, unless it had a higher one; return the epochs by now."""
        return await self._run(epoch, epoch)

    async def _run(self, epoch: int, near: int) -> Epochs:
        args = (self.lease, epoch, near + _FURTHEST)
        return EPOCH.parse(await self.redis.run(lua.EPOCH, (epoch_key(self.cluster_id),), args))
