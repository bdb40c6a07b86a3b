"""Finds tokens that another client has deleted: a Secret, or a key in Redis.

The operator may write Secrets and not read them, and a right to list their metadata alone does not exist. So it asks
the API server whether it could replace the Secret, in a dry run that stores nothing and carries no token: the answer
NotFound says that the Secret is gone. That needs the right `update`, which the operator has, and it is right where the
quota is used up and where the Secret is immutable.

Each round asks about a bounded number of calls, first those that a participant may still have to join, then the others
in turn. Neighbors: `backends.tokens` forgets what is gone, and the planner delivers it again; `act.tokens` writes.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import structlog

from controller.api.match import Match
from controller.api.names import token_secret_name
from controller.backends.bundle import SECRETS, Backends
from controller.errors import BackendError, BackendRefused, LeadershipLost, NotFound
from controller.facts.observation import Absent
from controller.loop.wakes import Wake
from controller.telemetry.pulse import Pulse
from controller.triggers.router import Router
from controller.views.calls import Call

log = structlog.get_logger(__name__)

_AT_ONCE = 20


class TokenChecker:
    """Asks about the tokens of the calls of this replica, once per interval."""

    def __init__(self, backends: Backends, router: Router, interval_seconds: float) -> None:
        self._backends = backends
        self._router = router
        self._interval_seconds = interval_seconds
        self._turn: Iterator[tuple[str, Call]] = iter(())

    async def run(self, pulse: Pulse) -> None:
        """Ask until cancelled."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            pulse.beat()
            with pulse.item("to look for tokens"):
                await self.check()

    async def check(self) -> None:
        """One round."""
        await asyncio.gather(*(self._check(namespace, call) for namespace, call in self._next()))

    def _next(self) -> list[tuple[str, Call]]:
        """The calls of this round, each once. After the last call the turn starts again."""
        calls = self._backends.calls
        live = [(namespace, call) for namespace in calls.namespaces() for call in calls.of(namespace) if call.is_up]
        wanted = [one for one in live if len(one[1].inside) < len(one[1].identities)][: _AT_ONCE // 2]
        in_turn = list(itertools.islice(self._turn, _AT_ONCE - len(wanted)))
        if missing := _AT_ONCE - len(wanted) - len(in_turn):
            self._turn = iter(live)
            in_turn += itertools.islice(self._turn, missing)
        return list({call.uid: (namespace, call) for namespace, call in (*wanted, *in_turn)}.values())

    async def _check(self, namespace: str, call: Call) -> None:
        match = self._backends.matches.get(namespace, call.name)
        if not isinstance(match, Match) or match.metadata.uid != call.uid or not self._are_valid(match):
            return
        try:
            gone = await self._what_is_gone(match)
        except (BackendError, LeadershipLost) as error:
            log.debug("it is not known whether tokens are there", key=f"{namespace}/{call.name}", error=str(error))
            return
        known = self._backends.tokens.get(call.uid)
        if not gone or isinstance(known, Absent) or not self._backends.calls.has(namespace, call.uid):
            return  # they are there, or we have just deleted them ourselves
        log.warning("tokens were deleted and are delivered again", key=f"{namespace}/{call.name}", what=gone)
        self._backends.tokens.lost(call.uid, f"{gone} was deleted; its tokens are delivered again")
        self._router.match_woken(namespace, call.name, Wake.TOKENS)

    def _are_valid(self, match: Match) -> bool:
        """Whether tokens were delivered that a participant could use. In Redis, tokens vanish when they expire."""
        tokens = match.status.tokens
        return tokens is not None and self._backends.clock.now() < tokens.expires_at

    async def _what_is_gone(self, match: Match) -> str:
        """The name of what is gone; empty if all is there."""
        delivery, namespace = match.spec.tokens.delivery, match.metadata.namespace
        if delivery.to_redis:
            pool = self._backends.pools.unbound(namespace)
            if not await pool.has_tokens(match.metadata.uid):
                return f"tokens:{match.metadata.uid} in Redis"
        if delivery.to_secret:
            name = token_secret_name(match.metadata.uid)
            body = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": name}}
            try:
                await self._backends.kubernetes.would_replace(SECRETS, namespace, name, body)
            except NotFound:
                return f"Secret {name}"
            except BackendRefused as error:
                log.debug("the secret is there and may not be replaced", secret=name, error=str(error))
        return ""
