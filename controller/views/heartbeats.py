"""Who has stopped beating, by pool: what one bounded read per interval has told, put together.

A read brings those who fell silent since the last one, and looks again at some of those who were silent then; with more
of them than a read has room for they take turns, and silence that was not confirmed within an interval of beats tells
nothing until its turn comes.

A gateway that restarts takes all its heartbeats with it. So where more than a fifth of those who beat stop together
(and more than a handful), the witness is Unknown about them: they count as silent only if they have not beaten again
after a while. Times of beats are those of Redis. Neighbours: `triggers.heartbeats` reads, `observe.match` asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controller.clients.redis.replies.inbox import ScanCursor, Silence
from controller.facts.match import HeartbeatFacts

_MANY = 0.2
_HANDFUL = 5
_DOUBT = timedelta(minutes=5)
_LATE = 2 / 3


@dataclass(frozen=True, slots=True)
class Heard:
    """What an interval brought: who is silent for certain and was not before, and how many fell silent at once."""

    newly_silent: tuple[str, ...] = ()
    doubted: int = 0


@dataclass(slots=True)
class _Listened:
    """What is known of one pool. `confirmed_ms` has when each of the silent was last found to be so, and `told` those
    whose silence counted once.
    """

    cursor: ScanCursor = field(default_factory=ScanCursor)
    at_ms: int = 0
    last_beat_ms: dict[str, int] = field(default_factory=dict)
    confirmed_ms: dict[str, int] = field(default_factory=dict)
    doubted: dict[str, datetime] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    def drop(self, who: str) -> None:
        """They have beaten, or are not there any more."""
        for known in (self.last_beat_ms, self.confirmed_ms, self.doubted):
            known.pop(who, None)
        self.told.discard(who)

    def keep(self, who: str, last_beat_ms: int) -> None:
        """They are silent since that beat."""
        self.last_beat_ms[who], self.confirmed_ms[who] = last_beat_ms, self.at_ms


class HeartbeatView:
    """The silent users of each pool, by namespace; `after_seconds` is how long silence lasts before it counts."""

    def __init__(self, after_seconds: float, *, decide_alone: bool) -> None:
        self.after_seconds = after_seconds
        self._decide_alone = decide_alone
        self._pools: dict[str, _Listened] = {}

    @property
    def late_after_seconds(self) -> float:
        """For how long somebody has not beaten who may be falling silent."""
        return self.after_seconds * _LATE

    def cursor(self, namespace: str) -> ScanCursor:
        """Where the next read goes on."""
        return self._of(namespace).cursor

    def heard(self, namespace: str, read: Silence, now: datetime, *, is_listened_to: bool = True) -> Heard:
        """Take in one read that went on from `cursor`. Unless it `is_listened_to` for long enough, nobody is new in it:
        they are read again.
        """
        pool = self._of(namespace)
        pool.at_ms = read.at_ms
        _look_again(pool, read)
        # Also among those who should be known: a Redis that failed over may have forgotten the last beats.
        rows = (read.still_silent | read.newly_silent).items() if is_listened_to else ()
        fresh = {who: at for who, at in rows if pool.last_beat_ms.get(who) != at}
        is_doubtful = max(read.stopped_together, len(fresh)) > max(_HANDFUL, _MANY * read.beating)
        for who, at in fresh.items():
            pool.drop(who)
            pool.keep(who, at)
            if is_doubtful:
                pool.doubted[who] = now + _DOUBT
        pool.doubted = {who: until for who, until in pool.doubted.items() if now < until}
        pool.cursor = read.cursor if is_listened_to else ScanCursor(pool.cursor.known_ms, read.cursor.checked_ms)
        newly = tuple(who for who in self.silent(namespace) if who not in pool.told)
        pool.told.update(newly)
        return Heard(newly, len(fresh) if is_doubtful else 0)

    def forget(self, namespace: str, who: str) -> None:
        """Somebody is silent no more, or gone, as one was told who asked."""
        self._of(namespace).drop(who)

    def silent(self, namespace: str) -> Mapping[str, int]:
        """Who is silent for certain, with the last beat."""
        pool = self._of(namespace)
        return {who: at for who, at in pool.last_beat_ms.items() if self._is_certain(pool, who)}

    def facts(self, namespace: str, identities: Iterable[str], since_ms: int) -> HeartbeatFacts:
        """Who of `identities` has beaten since the claim at `since_ms`, and is silent now."""
        pool = self._of(namespace)
        silent = frozenset(
            who for who in identities if pool.last_beat_ms.get(who, -1) >= since_ms > 0 and self._is_certain(pool, who)
        )
        return HeartbeatFacts(silent, self.after_seconds, self._decide_alone)

    def _of(self, namespace: str) -> _Listened:
        return self._pools.setdefault(namespace, _Listened())

    def _is_certain(self, pool: _Listened, who: str) -> bool:
        interval_ms = (self.after_seconds - self.late_after_seconds) * 1000
        return who not in pool.doubted and pool.at_ms - pool.confirmed_ms[who] <= interval_ms


def _look_again(pool: _Listened, read: Silence) -> None:
    """Of the known whose turn it was, those who are not in the read have beaten since, or are gone."""
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
