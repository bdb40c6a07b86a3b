"""The keys that wait for a backend that does not answer: none of them tries it again by itself.

While the breaker of the backend is open (`clients.breaker`), one key is woken after each pause, the longest waiting
first: its request may be the probe. When the backend answers any request, the keys are woken at a bounded rate: those
that a user waits for before the others, and within a lane the longest waiting first. A key that fails again keeps its
place. Neighbor: `loop.worker` puts keys here instead of giving them a backoff.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from controller.api.names import ROOM
from controller.api.room import Room
from controller.backends.bundle import Backends
from controller.clients.breaker import Breaker, BreakerState
from controller.errors import Backend, BackendError, BackendUnavailable
from controller.loop.key import Key
from controller.loop.lanes import Lane
from controller.telemetry import metrics

AT_ONCE: Final = 10
PAUSE_SECONDS: Final = 0.05
"""So many keys are woken at once, and the pause between them: 200 in a second, as many as one replica can work on."""

# A key that was woken and fails again keeps its place for so long: longer than a reconcile takes.
_PLACE_SECONDS: Final = 60.0
# How long a key that was woken as a probe may take to send a request, before the next one is woken.
_PROBE_SECONDS: Final = 0.5

BreakerOf = Callable[[Key, str], Breaker | None]


def breaker_of(key: Key, backend: str, backends: Backends) -> Breaker | None:
    """The breaker of the requests to `backend` about `key`; None if it sends none."""
    if backend == Backend.KUBERNETES:
        return backends.kubernetes.breaker
    if backend == Backend.REDIS:
        return backends.redis.breaker
    room = backends.rooms.get(key.namespace, key.name) if key.kind is ROOM else None
    server = backends.servers.find(room) if isinstance(room, Room) else None
    return server.client.breaker if server is not None else None


@dataclass(slots=True)
class _Group:
    """The keys that wait for one breaker, with lane and place, and the timer of the next step.

    They are in the order in which they are woken as probes.
    """

    backend: str
    unfollow: Callable[[], None]
    keys: dict[Key, tuple[Lane, int]] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None


class Waiting:
    """Keys by the breaker that they wait for. `wake` gets a key that is to be reconciled, and its lane."""

    def __init__(self, breaker_of: BreakerOf, wake: Callable[[Key, Lane], None]) -> None:
        self._breaker_of = breaker_of
        self._wake = wake
        self._groups: dict[Breaker, _Group] = {}
        self._places: dict[Key, int] = {}
        self._next_place = 0
        self._forgetting: asyncio.TimerHandle | None = None

    def add(self, key: Key, error: BackendError, lane: Lane) -> bool:
        """Let `key` wait if its error is that of a backend that does not answer at all. Returns whether it waits."""
        breaker = self._breaker_of(key, error.backend) if isinstance(error, BackendUnavailable) else None
        if breaker is None or breaker.is_closed:
            return False
        group = self._groups.get(breaker)
        if group is None:
            unfollow = breaker.follow(lambda state: self._changed(breaker, state))
            group = self._groups[breaker] = _Group(error.backend, unfollow)
        if key not in self._places:
            self._places[key] = self._next_place
            self._next_place += 1
        before = group.keys.get(key)
        group.keys[key] = (min(lane, before[0]) if before is not None else lane), self._places[key]
        self._count(group)
        if group.timer is None:
            self._set_timer(breaker, group, breaker.pause_seconds(time.monotonic()))
        return True

    def holds(self, key: Key) -> bool:
        """Whether `key` waits."""
        return any(key in group.keys for group in self._groups.values())

    def remove(self, key: Key) -> None:
        """`key` waits for nothing any longer: it was reconciled, or fails for another reason."""
        if self._places.pop(key, None) is None:
            return
        for breaker, group in tuple(self._groups.items()):
            if group.keys.pop(key, None) is not None:
                self._count(group)
                self._drop_if_empty(breaker, group)

    def clear(self) -> None:
        """Forget all (the lease is gone)."""
        for group in self._groups.values():
            group.keys.clear()
        for breaker, group in tuple(self._groups.items()):
            self._count(group)
            self._drop_if_empty(breaker, group)
        self._forget_places()

    def _changed(self, breaker: Breaker, state: BreakerState) -> None:
        group = self._groups.get(breaker)
        if group is None:
            return
        if state is BreakerState.CLOSED:
            self._release(breaker, group)
        elif state is BreakerState.OPEN:
            self._set_timer(breaker, group, breaker.pause_seconds(time.monotonic()))

    def _step(self, breaker: Breaker, group: _Group) -> None:
        if breaker.is_closed:
            self._release(breaker, group)
            return
        if breaker.state is BreakerState.OPEN:
            key = next(iter(group.keys))
            group.keys[key] = group.keys.pop(key)
            self._wake(key, group.keys[key][0])
        self._set_timer(breaker, group, _PROBE_SECONDS)

    def _release(self, breaker: Breaker, group: _Group) -> None:
        """Wake the next keys."""
        for key in heapq.nsmallest(AT_ONCE, group.keys, key=group.keys.__getitem__):
            lane, _ = group.keys.pop(key)
            self._wake(key, lane)
        self._count(group)
        if not self._drop_if_empty(breaker, group):
            self._set_timer(breaker, group, PAUSE_SECONDS)

    def _set_timer(self, breaker: Breaker, group: _Group, seconds: float) -> None:
        if group.timer is not None:
            group.timer.cancel()
        group.timer = asyncio.get_running_loop().call_later(seconds, self._step, breaker, group)

    def _drop_if_empty(self, breaker: Breaker, group: _Group) -> bool:
        if group.keys:
            return False
        if group.timer is not None:
            group.timer.cancel()
            group.timer = None
        group.unfollow()
        self._groups.pop(breaker, None)
        if not self._groups and self._places and self._forgetting is None:
            self._forgetting = asyncio.get_running_loop().call_later(_PLACE_SECONDS, self._forget_places)
        return True

    def _forget_places(self) -> None:
        """Forget the places of keys that were woken: some of them were never reconciled, since they are not ours."""
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None
        if not self._groups:
            self._places.clear()

    def _count(self, group: _Group) -> None:
        of_backend = (other for other in self._groups.values() if other.backend == group.backend)
        metrics.keys_waiting.labels(group.backend).set(sum(len(other.keys) for other in of_backend))
