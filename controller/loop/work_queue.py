"""The door of the loop: triggers enqueue keys here, the worker takes them.

It adds to the bookkeeping of `loop.queue` what a running operator needs: it is closed until the lease is held, it looks
up each wake in the table of `loop.wakes`, and it measures how long keys wait. It exists before everything that wakes
keys and before the worker, so that each of them gets it in its constructor. Neighbors: `loop.worker` takes keys,
`loop.reconcile` reports that a key is being observed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from controller.api.names import LIVEKIT_SERVER
from controller.loop.key import Key
from controller.loop.lanes import Lane
from controller.loop.queue import KeyQueue
from controller.loop.wakes import WAKES, Wake
from controller.telemetry import metrics


def _all(_namespace: str) -> bool:
    """For an operator that has the cluster for itself."""
    return True


class WorkQueue:
    """Keys that wait for a reconcile, each of them once.

    Keys of a namespace that `serves` says False to are dropped when their turn comes: another operator works on them.
    The LiveKitServers of our own namespace are ours whatever else is in it.
    """

    def __init__(self, serves: Callable[[str], bool] = _all) -> None:
        self._keys = KeyQueue()
        self._serves = serves
        self._asked_at: dict[Key, float] = {}
        self._followers: list[Callable[[], None]] = []
        self._open = False

    @property
    def is_open(self) -> bool:
        """Whether keys are taken in: from `open` to `close`."""
        return self._open

    def follow(self, added: Callable[[], None]) -> Callable[[], None]:
        """Call `added` after keys were enqueued. Returns a function that ends this."""
        self._followers.append(added)
        return lambda: self._followers.remove(added)

    @property
    def bulk_in_hand(self) -> int:
        """How many bulk keys are in hand."""
        return self._keys.bulk_in_hand

    def limit_bulk(self, in_hand: int) -> None:
        """Let at most so many bulk keys be in hand from now on."""
        self._keys.limit_bulk(in_hand)

    def open(self) -> None:
        """Take keys in from now on."""
        self._open = True

    def close(self) -> None:
        """Forget the keys that wait, and take in no others. Keys in hand stay in hand."""
        self._open = False
        self._keys.clear()
        self._asked_at.clear()

    def enqueue(self, key: Key, wake: Wake, lane: Lane | None = None) -> None:
        """Ask for a reconcile of `key`, in the lane of the wake unless another one is given.

        Without effect while the queue is closed: every key follows its opening.
        """
        if not self._open:
            return
        metrics.triggered(wake)
        self._asked_at.setdefault(key, time.monotonic())
        rule = WAKES[wake]
        self._keys.add(key, needs_read=rule.needs_read, lane=rule.lane if lane is None else lane)
        self._tell()

    def feed(self, keys: Iterable[Key], wake: Wake) -> None:
        """Ask for a reconcile of all `keys`, which are taken from the iterable one by one, when their turn comes.

        Without effect while the queue is closed. The wake must be one of the bulk lane.
        """
        if not self._open:
            return
        assert WAKES[wake].lane is Lane.BULK, f"{wake} is no bulk wake"
        self._keys.feed(_counted(keys, wake))
        self._tell()

    def take(self) -> Key | None:
        """The next key, which is in hand from then on; None if no key waits, or the queue is closed."""
        while self._open and (key := self._keys.pop()) is not None:
            now = time.monotonic()
            asked_at = self._asked_at.pop(key, now)
            if key.kind is LIVEKIT_SERVER or self._serves(key.namespace):
                metrics.queue_wait_seconds.observe(now - asked_at)
                return key
            self._keys.done(key)
        return None

    def observing(self, key: Key, *, reads: bool) -> None:
        """`key` is about to be observed: the wakes until now are covered by that.

        `reads` tells whether the backends are read for it, or only what is in memory.
        """
        if self._keys.seen(key, reads=reads):
            self._asked_at.pop(key, None)

    def lane_of(self, key: Key) -> Lane:
        """The lane from which `key`, which is in hand, was taken."""
        return self._keys.lane_of(key)

    def done(self, key: Key) -> None:
        """`key` is no longer in hand; it waits again if it was enqueued meanwhile."""
        self._keys.done(key)

    @property
    def is_empty(self) -> bool:
        """Whether no key waits and none is left to be fed."""
        return not len(self._keys) and not self._keys.is_fed

    def __len__(self) -> int:
        """Number of keys that wait, without those that are still to be fed."""
        return len(self._keys)

    @property
    def in_hand(self) -> int:
        """Number of keys that are being reconciled."""
        return self._keys.in_hand

    def _tell(self) -> None:
        for added in tuple(self._followers):
            added()


def _counted(keys: Iterable[Key], wake: Wake) -> Iterable[Key]:
    for key in keys:
        metrics.triggered(wake)
        yield key
