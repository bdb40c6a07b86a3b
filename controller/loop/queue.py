"""The queue of keys: each key once, never in two hands, and no namespace ahead of another.

Pure bookkeeping without I/O or asyncio; `loop.work_queue` opens it to the operator. The contract is that of client-go's
workqueue (a key added while in hand comes back once when it is done), plus two kinds of fairness:

- Lanes (`loop.lanes`): what people wait for goes before what is bulk. Bulk keys never hold all hands, so a key of
  another lane finds a free one, and bulk keys get a turn from time to time, so they never wait for ever.
- Namespaces take turns in each lane, so ten thousand new Matches of one namespace delay a single one of another by one
  place.

Bulk that is known in advance (every key, at a start) is fed from an iterator: it takes no place in the queue before its
turn comes. A key that was taken for another reason since then is left out.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from itertools import chain

from controller.loop.key import Key
from controller.loop.lanes import Lane

# After so many keys of the other lanes in a row, one bulk key is taken.
_BULK_TURN = 8


class KeyQueue:
    """Keys that wait for a reconcile. `limit_bulk` says how many bulk keys may be in hand at the same time."""

    def __init__(self) -> None:
        self._lanes = {lane: _Turns() for lane in Lane}
        self._waiting: dict[Key, Lane] = {}
        self._in_hand: dict[Key, Lane] = {}
        self._again: dict[Key, tuple[bool, Lane]] = {}
        self._feed: Iterator[Key] = iter(())
        self._is_fed = False
        # What was taken since the last `feed`: its reconcile covers that.
        self._covered: set[Key] = set()
        self._bulk_limit: int | None = None
        self._bulk_in_hand = 0
        self._since_bulk = 0

    def add(self, key: Key, *, needs_read: bool = True, lane: Lane = Lane.PEOPLE) -> None:
        """Ask for a reconcile of `key`. A key that already waits is not added twice, but may move to a better lane.

        `needs_read` tells whether the change shows only when the backends are read again.
        """
        if key in self._in_hand:
            reads, before = self._again.get(key, (False, lane))
            self._again[key] = (needs_read or reads, min(lane, before))
        elif lane < self._waiting.get(key, len(Lane)):
            # If it waits in a later lane already, `pop` skips that entry.
            self._waiting[key] = lane
            self._lanes[lane].append(key)

    @property
    def bulk_in_hand(self) -> int:
        """How many bulk keys are in hand."""
        return self._bulk_in_hand

    def limit_bulk(self, in_hand: int) -> None:
        """Let at most so many bulk keys be in hand from now on. Those that are stay in hand."""
        self._bulk_limit = in_hand

    def feed(self, keys: Iterable[Key]) -> None:
        """Ask for a reconcile of all `keys` in the bulk lane, each taken from the iterable when its turn comes."""
        self._feed = chain(self._feed, keys)
        self._is_fed = True
        self._covered.clear()

    def pop(self) -> Key | None:
        """Take the next key into hand, or None if no key waits or may be taken now."""
        may_take_bulk = self._bulk_limit is None or self._bulk_in_hand < self._bulk_limit
        lanes: tuple[Lane, ...] = (Lane.LOST, Lane.PEOPLE, Lane.BULK) if may_take_bulk else (Lane.LOST, Lane.PEOPLE)
        if may_take_bulk and self._since_bulk >= _BULK_TURN:
            lanes = (Lane.LOST, Lane.BULK, Lane.PEOPLE)
        for lane in lanes:
            key = self._next(lane)
            if key is not None:
                self._in_hand[key] = lane
                if self._is_fed:
                    self._covered.add(key)
                is_bulk = lane is Lane.BULK
                self._bulk_in_hand += is_bulk
                self._since_bulk = 0 if is_bulk else self._since_bulk + 1
                return key
        return None

    def done(self, key: Key) -> None:
        """Put `key` out of hand; it waits again if it was added meanwhile."""
        if self._in_hand.pop(key, None) is Lane.BULK:
            self._bulk_in_hand -= 1
        again = self._again.pop(key, None)
        if again is not None:
            self.add(key, lane=again[1])

    def seen(self, key: Key, *, reads: bool) -> bool:
        """`key`, in hand, is observed now: this covers everything for which it was added until this moment.

        Without `reads` (only memory is observed) it covers only additions that need no read. Returns whether `key` is
        covered, and so does not come back.
        """
        if reads or not self._again.get(key, (False, Lane.BULK))[0]:
            self._again.pop(key, None)
            return True
        return False

    def lane_of(self, key: Key) -> Lane:
        """The lane from which `key` was taken into hand."""
        return self._in_hand.get(key, Lane.BULK)

    def clear(self) -> None:
        """Forget everything that waits (the lease is gone); what is in hand stays in hand."""
        for lane in self._lanes.values():
            lane.clear()
        self._waiting.clear()
        self._again.clear()
        self._end_feed()

    def __len__(self) -> int:
        """Number of keys that wait, without those that are still to be fed."""
        return len(self._waiting)

    @property
    def is_fed(self) -> bool:
        """Whether keys may be left in what was given to `feed`."""
        return self._is_fed

    @property
    def in_hand(self) -> int:
        """Number of keys being worked on."""
        return len(self._in_hand)

    def _next(self, lane: Lane) -> Key | None:
        """Take the next key that still waits in `lane`."""
        turns = self._lanes[lane]
        while (key := turns.popleft()) is not None:
            if self._waiting.get(key) is lane:
                del self._waiting[key]
                return key
        return self._next_fed() if lane is Lane.BULK else None

    def _next_fed(self) -> Key | None:
        for key in self._feed:
            if key in self._covered:
                continue
            if key in self._in_hand:
                self.add(key, lane=Lane.BULK)
            elif key not in self._waiting:
                return key
        self._end_feed()
        return None

    def _end_feed(self) -> None:
        self._feed, self._is_fed = iter(()), False
        self._covered.clear()


class _Turns:
    """One lane: the namespaces take turns, each in the order in which its keys came."""

    def __init__(self) -> None:
        self._namespaces: OrderedDict[str, deque[Key]] = OrderedDict()

    def append(self, key: Key) -> None:
        self._namespaces.setdefault(key.namespace, deque()).append(key)

    def popleft(self) -> Key | None:
        if not self._namespaces:
            return None
        namespace, keys = self._namespaces.popitem(last=False)
        key = keys.popleft()
        if keys:
            self._namespaces[namespace] = keys
        return key

    def clear(self) -> None:
        self._namespaces.clear()
