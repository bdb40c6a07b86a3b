"""The queue of keys: each key once, never in two hands, and no namespace ahead of another.

Pure bookkeeping without I/O or asyncio; `loop.work_queue` opens it to the operator. The contract is that of client-go's
workqueue (a key added while in hand comes back once when it is done), plus fairness: keys are taken from the namespaces
in turn, so ten thousand new Matches of one namespace delay a single one of another by one place. Urgent keys come
before all others, in the order in which they came: a lost room is useless once its clients have given up.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from controller.loop.key import Key


class KeyQueue:
    """Keys that wait for a reconcile."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, deque[Key]] = OrderedDict()
        self._urgent: deque[Key] = deque()
        self._waiting: set[Key] = set()
        self._in_hand: set[Key] = set()
        self._again: dict[Key, bool] = {}
        self._urgent_again: set[Key] = set()

    def add(self, key: Key, *, needs_read: bool = True, urgent: bool = False) -> None:
        """Ask for a reconcile of `key`. A key that already waits is not added twice, but may become urgent.

        `needs_read` tells whether the change shows only when the backends are read again.
        """
        if key in self._in_hand:
            self._again[key] = needs_read or self._again.get(key, False)
            if urgent:
                self._urgent_again.add(key)
        elif urgent:
            # If it waits in its lane already, `pop` skips that entry after this one was taken.
            self._waiting.add(key)
            self._urgent.append(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._lanes.setdefault(key.namespace, deque()).append(key)

    def pop(self) -> Key | None:
        """Take the next key into hand, or None if nothing waits."""
        while (key := self._next()) is not None:
            if key in self._waiting:
                self._waiting.discard(key)
                self._in_hand.add(key)
                return key
        return None

    def done(self, key: Key) -> None:
        """Put `key` out of hand; it waits again if it was added meanwhile."""
        self._in_hand.discard(key)
        urgent = key in self._urgent_again
        self._urgent_again.discard(key)
        if self._again.pop(key, None) is not None:
            self.add(key, urgent=urgent)

    def seen(self, key: Key, *, reads: bool) -> bool:
        """`key`, in hand, is observed now: this covers everything for which it was added until this moment.

        Without `reads` (only memory is observed) it covers only additions that need no read. Returns whether `key` is
        covered, and so does not come back.
        """
        if reads or not self._again.get(key, False):
            self._again.pop(key, None)
            return True
        return False

    def clear(self) -> None:
        """Forget everything that waits (the lease is gone); what is in hand stays in hand."""
        self._lanes.clear()
        self._urgent.clear()
        self._waiting.clear()
        self._again.clear()
        self._urgent_again.clear()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def in_hand(self) -> int:
        """Number of keys being worked on."""
        return len(self._in_hand)

    def _next(self) -> Key | None:
        """The next entry, whether or not its key still waits."""
        if self._urgent:
            return self._urgent.popleft()
        if not self._lanes:
            return None
        namespace, lane = self._lanes.popitem(last=False)
        key = lane.popleft()
        if lane:
            self._lanes[namespace] = lane
        return key
