"""Flags of older clients: read for the users of every call, and treated as signals.

Up to a thousand calls are read twice a second. Beyond that the calls take turns, so the cost does not grow with their
number: with ten thousand calls, each flag is read within five seconds. `clients.redis.inbox` has the meaning of each
flag; `triggers.signals` notes them; `views.calls` has the turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from controller.backends.bundle import Backends
from controller.clients.redis.inbox import KIND_OF_FLAG, Flag, Inbox
from controller.clients.redis.requests import Signal
from controller.errors import BackendError, BackendUnavailable
from controller.telemetry import metrics
from controller.telemetry.pulse import Pulse
from controller.triggers.router import Router
from controller.triggers.side_by_side import side_by_side
from controller.triggers.signals import note_signal
from controller.views.calls import Call, CallTurns, by_namespace

log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 0.5
_CALLS_PER_TICK = 1000
# One read of their flags keeps Redis busy for less than a millisecond.
_CALLS_PER_READ = 250


class FlagPoller:
    """Reads the flags of all pools of this replica."""

    def __init__(self, backends: Backends, router: Router) -> None:
        self._backends = backends
        self._router = router
        pools, calls = backends.pools, backends.calls
        self._turns = CallTurns(lambda: calls.each(pools.namespaces()))
        self._refused: set[tuple[str, Flag]] = set()

    async def run(self, pulse: Pulse) -> None:
        """Poll until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            pulse.beat()
            await self._tick(pulse)

    async def _tick(self, pulse: Pulse) -> None:
        self._forget_refused()
        reads = (
            (namespace, calls[start : start + _CALLS_PER_READ])
            for namespace, calls in by_namespace(self._turns.next(_CALLS_PER_TICK)).items()
            for start in range(0, len(calls), _CALLS_PER_READ)
        )
        await side_by_side(lambda read: self._read(pulse, *read), reads)

    def _forget_refused(self) -> None:
        """Forget the refused flags of users who are in no call: their flags are not read any longer."""
        held = {
            namespace: {who for call in self._backends.calls.of(namespace) for who in call.identities}
            for namespace in {namespace for namespace, _ in self._refused} & self._backends.pools.kept()
        }
        self._refused = {(of, flag) for of, flag in self._refused if flag.user_id in held.get(of, ())}

    async def _read(self, pulse: Pulse, namespace: str, calls: Sequence[Call]) -> None:
        users = list(dict.fromkeys(user for call in calls for user in call.identities))
        with pulse.item("to read flags", namespace=namespace):
            flags = await Inbox(self._backends.pools.unbound(namespace)).flags(users)
            gone = {(of, flag) for of, flag in self._refused if of == namespace and flag.user_id in set(users)}
            self._refused -= gone - {(namespace, flag) for flag in flags}
            for flag in flags:
                with pulse.item("to note a flag", namespace=namespace, user=flag.user_id, flag=flag.name):
                    await self._try(namespace, flag)

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
        signal = Signal(flag.match_uid, flag.user_id, KIND_OF_FLAG[flag.name], via=flag.name, flag_value=flag.value)
        outcome = await note_signal(self._backends.pools, self._router, self._backends.clock, namespace, signal)
        metrics.signal_came(signal.kind.value, "flag", outcome)
