"""What the modules share that put a pool right, each Match by itself: what Redis or Kubernetes refuses costs no other.

Neighbors: `backends.restores` and `backends.gone_matches` put right; `backends.cleaning` counts rooms here.
"""

from __future__ import annotations

from collections.abc import Awaitable
from enum import StrEnum
from typing import Final, TypeVar

import structlog

from controller.api.meta import ObjectMeta
from controller.api.phases import MatchPhase
from controller.api.states import UserState
from controller.clients.redis.pool import Pool
from controller.clients.redis.replies.match import AdvanceReply, SettleReply
from controller.clients.redis.replies.refusals import Lost, Stale
from controller.clients.redis.requests import AdvanceRequest, SettleRequest
from controller.errors import BackendRefused
from controller.facts.ledger import Destination
from controller.telemetry import metrics

log = structlog.get_logger(__name__)

R = TypeVar("R")

AT_ONCE: Final = 50
"""So many Matches are put right side by side."""


class PutRight(StrEnum):
    """What was put right, as the label of a metric."""

    RESTORED = "restored"
    SETTLED_AGAIN = "settled-again"
    WITHOUT_OBJECT = "without-object"
    WITHOUT_LEDGER = "without-ledger"
    """A Match without an object and without a ledger: its users are free by their own records."""
    PLACE_UNKNOWN = "place-unknown"
    """A user of such a Match who waits at the end, since nothing tells their place in the queue."""
    ROOM_CLOSED = "room-closed"
    REFUSED = "refused"


class EachMatch:
    """Says and counts what became of each Match. `refusals` is how often Redis or Kubernetes refused one."""

    def __init__(self) -> None:
        self.refusals = 0
        self._refused: set[str] = set()

    async def isolated(self, metadata: ObjectMeta, request: Awaitable[R]) -> R | None:
        """The answer; None if it is refused for this one Match."""
        try:
            return await request
        except BackendRefused as error:
            self.cannot(metadata, error.sentence)
            return None

    def cannot(self, metadata: ObjectMeta, why: str) -> None:
        """Say once that a Match cannot be put right. Its own key tries again, and has it in the status."""
        metrics.put_right.labels(PutRight.REFUSED).inc()
        self.refusals += 1
        if metadata.uid not in self._refused:
            log.error("match could not be restored", key=f"{metadata.namespace}/{metadata.name}", answer=why)
        self._refused.add(metadata.uid)

    def can(self, metadata: ObjectMeta) -> None:
        """The Match was put right: if it is refused later, that is said again."""
        self._refused.discard(metadata.uid)

    def did(self, what: PutRight, sentence: str, metadata: ObjectMeta, **more: object) -> None:
        """A Match was put right, which is worth a warning: something else went wrong before."""
        metrics.put_right.labels(what).inc()
        log.warning(sentence, key=f"{metadata.namespace}/{metadata.name}", uid=metadata.uid, **more)


async def settle_in_steps(pool: Pool, request: SettleRequest, now_ms: int) -> AdvanceReply | SettleReply:
    """Settle in the steps of every ending: users who had a call are DISCONNECTING first. Raises BackendError."""
    if any(user.to is not Destination.BACK for user in request.users):
        users = tuple((user.id, UserState.DISCONNECTING) for user in request.users)
        reply = await pool.advance(AdvanceRequest(request.uid, users, MatchPhase.TERMINATING), now_ms=now_ms)
        if isinstance(reply, Stale | Lost):
            return reply
    return await pool.settle(request, now_ms=now_ms)
