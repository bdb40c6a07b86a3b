"""Finds tokens that another client has deleted: a Secret, or a key in Redis.

The operator may write Secrets and not read them, and a right to list their metadata alone does not exist. So it asks
the API server whether it could replace the Secret, in a dry run that stores nothing and carries no token: the answer
NotFound says that the Secret is gone. That needs the right `update`, which the operator has, and it is right where the
quota is used up and where the Secret is immutable.

Each round asks about a bounded number of calls, first those that a participant may still have to join, then the others
in turn. Calls that another installation serves are left out: their tokens are its own. Neighbors: `backends.tokens`
forgets what is gone, and the planner delivers it again; `act.tokens` writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from controller.api.names import token_secret_name
from controller.backends.bundle import SECRETS, Backends
from controller.errors import BackendError, BackendRefused, LeadershipLost, NotFound
from controller.facts.observation import Absent
from controller.loop.wakes import Wake
from controller.telemetry.pulse import Pulse
from controller.triggers.router import Router
from controller.views.calls import Call, CallTurns

log = structlog.get_logger(__name__)

_AT_ONCE = 10


class TokenChecker:
    """Asks about the tokens of the calls in namespaces that `serves` says True to, once per interval."""

    def __init__(
        self, backends: Backends, router: Router, interval_seconds: float, serves: Callable[[str], bool]
    ) -> None:
        self._backends = backends
        self._router = router
        self._interval_seconds = interval_seconds
        calls = backends.calls
        self._awaited = CallTurns(lambda: (call for call in calls.awaited() if serves(call.namespace)))
        self._others = CallTurns(
            lambda: (call for call in calls.each(calls.namespaces()) if call.is_up and serves(call.namespace))
        )

    async def run(self, pulse: Pulse) -> None:
        """Ask until cancelled."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            pulse.beat()
            with pulse.item("to look for tokens"):
                await self.check()

    async def check(self) -> None:
        """One round."""
        awaited = self._awaited.next(_AT_ONCE // 2)
        others = self._others.next(_AT_ONCE - len(awaited))
        each_once = {call.uid: call for call in (*awaited, *others)}
        await asyncio.gather(*(self._check(call) for call in each_once.values()))

    async def _check(self, call: Call) -> None:
        namespace = call.namespace
        if call.tokens_until is None or self._backends.clock.now() >= call.tokens_until:
            return  # none were delivered that a participant could use; in Redis, tokens vanish when they expire
        try:
            gone = await self._what_is_gone(call)
        except (BackendError, LeadershipLost) as error:
            log.debug("it is not known whether tokens are there", key=f"{namespace}/{call.name}", error=str(error))
            return
        known = self._backends.tokens.get(call.uid)
        if not gone or isinstance(known, Absent) or not self._backends.calls.has(namespace, call.uid):
            return  # they are there, or we have just deleted them ourselves
        log.warning("tokens were deleted and are delivered again", key=f"{namespace}/{call.name}", what=gone)
        self._backends.tokens.lost(call.uid, f"{gone} was deleted; its tokens are delivered again")
        self._router.match_woken(namespace, call.name, Wake.TOKENS)

    async def _what_is_gone(self, call: Call) -> str:
        """The name of what is gone; empty if all is there."""
        if call.delivery.to_redis:
            pool = self._backends.pools.unbound(call.namespace)
            if not await pool.has_tokens(call.uid):
                return f"tokens:{call.uid} in Redis"
        if call.delivery.to_secret:
            name = token_secret_name(call.uid)
            body = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": name}}
            try:
                await self._backends.kubernetes.would_replace(SECRETS, call.namespace, name, body)
            except NotFound:
                return f"Secret {name}"
            except BackendRefused as error:
                log.debug("the secret is there and may not be replaced", secret=name, error=str(error))
        return ""
