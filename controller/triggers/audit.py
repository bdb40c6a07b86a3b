"""The slowest witness: it checks that Redis did not lose its data, and that its records agree with our ledgers.

Each round makes a few reads, whatever the number of pools and calls. One read gets the incarnation and the fence of
every open pool, so a loss of data is noticed even where nothing is written. Then the users' records and the room's
tombstone of some live calls are read, with two commands per pool: all calls of all pools take turns. Neighbors:
`clients.redis.inspection` reads, `views.audit` keeps the findings, `triggers.router` wakes the Matches,
`triggers.keeper` keeps the pools open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

import structlog

from controller.backends.bundle import Backends
from controller.clients.redis.inspection import holders, tombstoned, with_losses
from controller.facts.match import AuditFacts
from controller.loop.wakes import Wake
from controller.telemetry.pulse import Pulse
from controller.triggers.router import Router
from controller.triggers.side_by_side import side_by_side
from controller.views.calls import Call, CallTurns, by_namespace

log = structlog.get_logger(__name__)

# Ten thousand calls have their turn within 20 rounds, at a few thousandths of a core.
_CALLS_PER_ROUND = 500
# Almost every call.
_NOTHING = AuditFacts()


class Auditor:
    """Audits the open pools of this replica."""

    def __init__(self, backends: Backends, router: Router, interval_seconds: float) -> None:
        self._backends = backends
        self._router = router
        self._interval_seconds = interval_seconds
        pools, calls = backends.pools, backends.calls
        self._turns = CallTurns(lambda: (call for call in calls.each(pools.namespaces()) if call.is_up))

    async def run(self, pulse: Pulse) -> None:
        """Audit until cancelled."""
        while True:
            pulse.beat()
            with pulse.item("to look for lost data"):
                await self.find_losses()
            await self.audit(pulse)
            await asyncio.sleep(self._interval_seconds)

    async def find_losses(self) -> None:
        """Open every pool again whose data Redis has lost. Raises BackendError."""
        pools = self._backends.pools
        open_pools = [pools.opened(namespace) for namespace in pools.namespaces()]
        if not open_pools:
            return
        for pool in await with_losses(open_pools[0].redis, open_pools):
            namespace = pool.keys.namespace
            # A pool that was opened again meanwhile is bound to a newer incarnation than this read.
            if namespace in pools.namespaces() and pools.opened(namespace) is pool:
                pools.forget(namespace)
                pools.begin(namespace)

    async def audit(self, pulse: Pulse) -> None:
        """One round: the next calls, of as many pools as they are in."""
        calls = by_namespace(self._turns.next(_CALLS_PER_ROUND))
        await side_by_side(lambda of_pool: self._audit_pool(pulse, *of_pool), calls.items())

    async def _audit_pool(self, pulse: Pulse, namespace: str, calls: Sequence[Call]) -> None:
        with pulse.item("to audit Redis", namespace=namespace):
            found = await self._findings(namespace, calls)
            # A call that ended meanwhile has no findings, and would never lose them.
            findings = {uid: facts for uid, facts in found.items() if self._backends.calls.has(namespace, uid)}
            names = {call.uid: call.name for call in calls}
            for uid in self._backends.audit.found(findings):
                self._router.match_woken(namespace, names[uid], Wake.AUDIT)

    async def _findings(self, namespace: str, calls: Sequence[Call]) -> Mapping[str, AuditFacts]:
        """What is found about each call, by the UID of its Match. Raises BackendError."""
        pool = self._backends.pools.opened(namespace)
        users = list(dict.fromkeys(who for call in calls for who in call.identities))
        rooms = [call.livekit_name for call in calls if call.livekit_name]
        held_by, without_room = await asyncio.gather(
            holders(pool.redis, pool.keys, users), tombstoned(pool.redis, pool.keys, rooms)
        )
        return {call.uid: _facts(call, held_by, without_room) for call in calls}


def _facts(call: Call, held_by: Mapping[str, str | None], without_room: Collection[str]) -> AuditFacts:
    has_tombstone = call.livekit_name in without_room
    holders_of = [held_by[who] for who in call.identities]
    if not has_tombstone and all(uid == call.uid for uid in holders_of):
        return _NOTHING
    return AuditFacts(
        taken_away=frozenset(who for who in call.identities if held_by[who] not in {None, call.uid}),
        unrecorded=frozenset(who for who in call.identities if held_by[who] is None),
        room_has_tombstone=has_tombstone,
    )
