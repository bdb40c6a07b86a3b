"""How many reconciles may wait for one backend at the same time.

A backend that accepts requests and does not answer holds every reconcile that waits for it, up to the request's
deadline. Without a budget a thousand such keys fill the worker, and a user whose skip needs Redis alone waits behind
them. So a key whose backend has no slot left is put aside without holding the worker. It is woken, with a slot promised
to it, as soon as another key gives a slot back. Pure bookkeeping. Neighbors: `loop.reconcile` takes and gives back
slots, `loop.work_queue` gets the keys that are woken.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from controller.errors import Backend
from controller.loop.key import Key

SHARES: Final[Mapping[Backend, float]] = {Backend.LIVEKIT: 0.5, Backend.KUBERNETES: 0.75}
"""The part of the worker's hands that may wait for a backend. Redis has none: one connection carries all commands, and
all of them are answered or given up within a second."""


class _Budget:
    """The slots of one backend, and who waits for one."""

    def __init__(self, slots: int) -> None:
        self.free = slots
        self.waiting: OrderedDict[Key, None] = OrderedDict()
        self.promised: set[Key] = set()


class Budgets:
    """The budgets of all backends of a worker with `concurrency` hands. `wake` gets a key that was promised a slot."""

    def __init__(self, concurrency: int, wake: Callable[[Key], None]) -> None:
        self._budgets = {backend: _Budget(max(1, int(share * concurrency))) for backend, share in SHARES.items()}
        self._wake = wake

    def take(self, key: Key, backend: Backend) -> bool:
        """Take one slot of `backend`. If none is free, `key` waits for one: it is woken later, and takes it then."""
        budget = self._budgets.get(backend)
        if budget is None:
            return True
        if key in budget.promised:
            budget.promised.discard(key)
            return True
        if budget.free:
            budget.free -= 1
            budget.waiting.pop(key, None)
            return True
        budget.waiting[key] = None
        return False

    def give_back(self, backend: Backend) -> None:
        """Give back one slot. The key that has waited longest gets it."""
        budget = self._budgets.get(backend)
        if budget is None:
            return
        if budget.waiting:
            key, _ = budget.waiting.popitem(last=False)
            budget.promised.add(key)
            self._wake(key)
        else:
            budget.free += 1

    def finished(self, key: Key) -> None:
        """`key` was reconciled: a slot that it was promised and did not need goes to the next one."""
        for backend, budget in self._budgets.items():
            if key in budget.promised:
                budget.promised.discard(key)
                self.give_back(backend)

    def clear(self) -> None:
        """Forget who waits (the lease is gone). Slots that are taken come back as their requests end."""
        for budget in self._budgets.values():
            budget.waiting.clear()
            budget.free += len(budget.promised)
            budget.promised.clear()

    def waiting(self, backend: Backend) -> int:
        """Number of keys that wait for a slot of `backend`."""
        return len(self._budgets[backend].waiting)
