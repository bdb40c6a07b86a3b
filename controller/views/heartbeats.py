"""The users whose heartbeats stopped, per pool, put together from one bounded read per interval.

A read returns the users who fell silent since the previous read, and checks some of the users who were silent before.
If there are more of those than fit into one read, they take turns. A silence that no read has confirmed for a third of
`after_seconds` does not count until its turn comes.

A gateway that restarts stops the heartbeats of all its users. So if more than a fifth of the beating users stop
together (and more than five), this witness is Unknown about them: they count as silent only if they have not beaten
again after five minutes. All times of heartbeats are those of Redis. Neighbors: `triggers.heartbeats` reads Redis,
`observe.match` asks this view.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from controller.clients.redis.replies.inbox import ScanCursor, Silence
from controller.facts.match import HeartbeatFacts

_MANY = 0.2
_HANDFUL = 5
_DOUBT_MS = 300_000
_LATE = 2 / 3


@dataclass(frozen=True, slots=True)
class BeatNews:
    """What one read changed: the users who are now certainly silent, and how many stopped together and are doubted."""

    newly_silent: tuple[str, ...] = ()
    doubted: int = 0


@dataclass(slots=True)
class _PoolBeats:
    """The silent users of one pool.

    `last_beat_ms` has the last heartbeat of each, and `confirmed_ms` the time of the latest read that found them
    silent. `doubted_ms` has the time until which their silence does not count, and `told` those who were reported.
    """

    cursor: ScanCursor = field(default_factory=ScanCursor)
    at_ms: int = 0
    last_beat_ms: dict[str, int] = field(default_factory=dict)
    confirmed_ms: dict[str, int] = field(default_factory=dict)
    doubted_ms: dict[str, int] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    def drop(self, who: str) -> None:
        """Drop a user who has beaten again or is gone."""
        for known in (self.last_beat_ms, self.confirmed_ms, self.doubted_ms):
            known.pop(who, None)
        self.told.discard(who)

    def keep(self, who: str, last_beat_ms: int) -> None:
        """Store that a user has been silent since this heartbeat."""
        self.last_beat_ms[who], self.confirmed_ms[who] = last_beat_ms, self.at_ms


class HeartbeatView:
    """The silent users of each pool, by namespace. A user is silent `after_seconds` after their last heartbeat."""

    def __init__(self, after_seconds: float, *, decide_alone: bool) -> None:
        self.after_seconds = after_seconds
        self._decide_alone = decide_alone
        self._pools: dict[str, _PoolBeats] = {}

    @property
    def late_after_seconds(self) -> float:
        """Seconds without a heartbeat after which a user may be falling silent, less than `after_seconds`."""
        return self.after_seconds * _LATE

    def cursor(self, namespace: str) -> ScanCursor:
        """Where the next read continues."""
        return self._of(namespace).cursor

    def heard(self, namespace: str, read: Silence, *, is_listened_to: bool = True) -> BeatNews:
        """Store one read, which continued from `cursor`, and return what it changed.

        Unless the pool `is_listened_to` without a gap, the read reports no user as newly silent; a later read returns
        them again.
        """
        pool = self._of(namespace)
        pool.at_ms = read.at_ms
        _look_again(pool, read)
        # Users whom this view should know can be new as well: after a failover, Redis may have lost their latest beats.
        rows = (read.still_silent | read.newly_silent).items() if is_listened_to else ()
        fresh = {who: at for who, at in rows if pool.last_beat_ms.get(who) != at}
        is_doubtful = max(read.stopped_together, len(fresh)) > max(_HANDFUL, _MANY * read.beating)
        for who, at in fresh.items():
            pool.drop(who)
            pool.keep(who, at)
            if is_doubtful:
                pool.doubted_ms[who] = read.at_ms + _DOUBT_MS
        pool.doubted_ms = {who: until for who, until in pool.doubted_ms.items() if read.at_ms < until}
        pool.cursor = read.cursor if is_listened_to else ScanCursor(pool.cursor.known_ms, read.cursor.checked_ms)
        newly = tuple(who for who in self.silent(namespace) if who not in pool.told)
        pool.told.update(newly)
        return BeatNews(newly, len(fresh) if is_doubtful else 0)

    def keep(self, namespaces: Collection[str]) -> None:
        """Forget the pools of all other namespaces."""
        for namespace in self._pools.keys() - set(namespaces):
            del self._pools[namespace]

    def forget(self, namespace: str, who: str) -> None:
        """Drop a user: Redis says that they beat again, or are gone."""
        self._of(namespace).drop(who)

    def silent(self, namespace: str) -> Mapping[str, int]:
        """The certainly silent users, each with the time of the last heartbeat in ms."""
        pool = self._of(namespace)
        return {who: at for who, at in pool.last_beat_ms.items() if self._is_certain(pool, who)}

    def facts(self, namespace: str, identities: Iterable[str], since_ms: int) -> HeartbeatFacts:
        """The users among `identities` who have beaten since the claim at `since_ms` and are silent now."""
        pool = self._of(namespace)
        silent = frozenset(
            who for who in identities if pool.last_beat_ms.get(who, -1) >= since_ms > 0 and self._is_certain(pool, who)
        )
        return HeartbeatFacts(silent, self.after_seconds, self._decide_alone)

    def _of(self, namespace: str) -> _PoolBeats:
        return self._pools.setdefault(namespace, _PoolBeats())

    def _is_certain(self, pool: _PoolBeats, who: str) -> bool:
        interval_ms = (self.after_seconds - self.late_after_seconds) * 1000
        return who not in pool.doubted_ms and pool.at_ms - pool.confirmed_ms[who] <= interval_ms


def _look_again(pool: _PoolBeats, read: Silence) -> None:
    """Confirm or drop the known silent users whose turn it was.

    A user who is missing in the read, or has a newer heartbeat there, has beaten again or is gone.
    """
    if pool.cursor.known_ms is None:
        return
    after_ms = -1 if pool.cursor.checked_ms is None else pool.cursor.checked_ms
    up_to_ms = pool.cursor.known_ms if read.cursor.checked_ms is None else read.cursor.checked_ms
    looked_at = [who for who, at in pool.last_beat_ms.items() if after_ms < at <= up_to_ms]
    for who in looked_at:
        if read.still_silent.get(who) == pool.last_beat_ms[who]:
            pool.keep(who, read.still_silent[who])
        else:
            pool.drop(who)
