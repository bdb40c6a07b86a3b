"""Flags of older clients: read for every user in a call, twice a second, and treated as signals.

A tick reads at most a thousand users, so its cost does not grow with their number; with more of them each is read less
often. `clients.redis.inbox` has the meaning of each flag; `triggers.signals` notes them.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import structlog

from controller.backends.bundle import Backends
from controller.clients.redis.inbox import FLAGS, Flag, Inbox
from controller.clients.redis.requests import Signal
from controller.errors import BackendError, BackendUnavailable
from controller.telemetry import metrics
from controller.telemetry.pulse import Pulse
from controller.triggers.router import Router
from controller.triggers.signals import note_signal

log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 0.5
_USERS_PER_TICK = 1000


class FlagPoller:
    """Reads the flags of all pools of this replica."""

    def __init__(self, backends: Backends, router: Router) -> None:
        self._backends = backends
        self._router = router
        self._turn: Iterator[tuple[str, str]] = iter(())
        self._refused: set[tuple[str, Flag]] = set()

    async def run(self, pulse: Pulse) -> None:
        """Poll until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            pulse.beat()
            await self._tick(pulse)

    async def _tick(self, pulse: Pulse) -> None:
        turn = list(itertools.islice(self._turn, _USERS_PER_TICK))
        if len(turn) < _USERS_PER_TICK:
            # The last user had a turn: the first one follows. No user has two turns in one tick.
            self._turn = self._users()
            self._refused = {refused for refused in self._refused if refused[0] in self._backends.pools.kept()}
            more = itertools.islice(self._turn, _USERS_PER_TICK - len(turn))
            turn = list(dict.fromkeys((*turn, *more)))
        for namespace in dict.fromkeys(namespace for namespace, _ in turn):
            ids = tuple(user for of, user in turn if of == namespace)
            with pulse.item("to read flags", namespace=namespace):
                for flag in await Inbox(self._backends.pools.unbound(namespace)).flags(ids):
                    with pulse.item("to note a flag", namespace=namespace, user=flag.user_id, flag=flag.name):
                        await self._try(namespace, flag)

    def _users(self) -> Iterator[tuple[str, str]]:
        """Every user in a call, with their namespace. Calls that come or go meanwhile may be left out."""
        for namespace in self._backends.pools.namespaces():
            for call in self._backends.calls.of(namespace):
                for user in call.identities:
                    yield namespace, user

    async def _try(self, namespace: str, flag: Flag) -> None:
        """Note one flag. A flag that Redis refuses does not stop the others. Raises BackendUnavailable."""
        try:
            await self._take(namespace, flag)
        except BackendUnavailable:
            raise
        except BackendError as error:
            # It comes again at every tick until it expires.
            tell = log.debug if error.retryable or (namespace, flag) in self._refused else log.warning
            tell("a flag cannot be noted", namespace=namespace, flag=flag.name, user=flag.user_id, error=str(error))
            if not error.retryable:
                self._refused.add((namespace, flag))
        else:
            self._refused.discard((namespace, flag))

    async def _take(self, namespace: str, flag: Flag) -> None:
        signal = Signal(flag.match_uid, flag.user_id, FLAGS[flag.name], via=flag.name, flag_value=flag.value)
        outcome = await note_signal(self._backends.pools, self._router, self._backends.clock, namespace, signal)
        metrics.signal_came(signal.kind.value, "flag", outcome)
