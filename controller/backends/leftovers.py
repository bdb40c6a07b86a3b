"""Finds leftovers in the pools: it reads Redis, and the table `rules.leftovers` judges.

It changes nothing. Neighbors: `clients.redis.leftovers` reads, `backends.cleaning` cleans what is found here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from controller.api.match import Match
from controller.backends.restores import live_uids
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys, key_of_pool
from controller.clients.redis.leftovers import LeftoverStore, lasting, scan
from controller.clients.redis.mending import read_ledger
from controller.clients.redis.pool import Pool
from controller.clock import Clock
from controller.facts.leftover import Leftover, Remedy, SweepKind
from controller.facts.time import milliseconds
from controller.facts.unreadable import Unreadable
from controller.rules.leftover_judges import YOUNG_SECONDS, Look
from controller.rules.leftovers import SCANNED, forms_of, judge, kinds_of
from controller.views.cache import ObjectCache

_AT_MOST: Final = 100
"""So many leftovers of a sorted set are found in one round."""


_NO_LEDGER: Final = "the match is gone, or over, and there is no ledger of it that can be read"


def _always(_namespace: str) -> bool:
    """For an installation that has the cluster for itself."""
    return True


@dataclass(frozen=True, slots=True)
class SweepRules:
    """How a sweep judges. `namespaces` are those of the settings, empty for all; `is_ours` leaves out those that
    another installation serves.

    Something that is not listed anywhere is a leftover after `max_age_seconds`. `young_seconds` is how old a user is at
    least whose state fits no Match. A user whose last beat is `silent_seconds` ago is gone. `tells` is whether a user
    who is put right gets a notice.
    """

    namespaces: tuple[str, ...]
    max_age_seconds: int
    batch: int
    silent_seconds: float
    tells: bool
    young_seconds: int = YOUNG_SECONDS
    is_ours: Callable[[str], bool] = _always

    def serves(self, namespace: str) -> bool:
        """Whether the pool of a namespace is ours."""
        return (not self.namespaces or namespace in self.namespaces) and self.is_ours(namespace)


def lives(matches: ObjectCache[Match], uid: str) -> bool:
    """Whether the cache has a Match with this UID that is not over. One that cannot be read lives."""
    known = matches.by_uid(uid)
    return known is not None and (isinstance(known, Unreadable) or not known.counts_as_over)


@dataclass(frozen=True, slots=True)
class Scanned:
    """What one step of a scan saw: the next cursor (`0` at the end), and the keys of the pools that we serve."""

    cursor: str
    pools: Mapping[Keys, Sequence[str]]

    @property
    def keys(self) -> int:
        """How many keys of ours it saw."""
        return sum(map(len, self.pools.values()))


class Finder:
    """The leftovers of all pools that we serve. The cache of Matches is complete while it is used."""

    def __init__(
        self, redis: Redis, cluster_id: str, rules: SweepRules, matches: ObjectCache[Match], clock: Clock
    ) -> None:
        self._redis = redis
        self._cluster_id = cluster_id
        self._rules = rules
        self._matches = matches
        self._clock = clock

    async def scan(self, cursor: str) -> Scanned:
        """Look at some keys of Redis. Raises BackendError."""
        go_on, pools = await scan(self._redis, self._cluster_id, SCANNED, cursor, count=self._rules.batch)
        return Scanned(go_on, {keys: names for keys, names in pools.items() if self._rules.serves(keys.namespace)})

    async def judged(self, keys: Keys, names: Sequence[str]) -> list[Leftover]:
        """What is left over of these keys of a pool. Raises BackendError."""
        rules = self._rules
        seen = await lasting(self._redis, keys, names, idle_seconds=rules.max_age_seconds)
        lives_now = partial(lives, self._matches)
        look = Look(keys.namespace, self._now_ms, rules.max_age_seconds, lives_now, rules.young_seconds)
        return [found for one in seen if (found := judge(one, look)) is not None]

    def kinds_of(self, names: Sequence[str]) -> frozenset[SweepKind]:
        """What these keys can be left over as."""
        known = (key_of_pool(self._cluster_id, name) for name in names)
        return frozenset[SweepKind]().union(*(kinds_of(form) for _, form, _ in filter(None, known)))

    async def named(self, namespace: str, kind: SweepKind, id_: str) -> list[Leftover]:
        """What is left over under one id. Raises BackendError."""
        keys = Keys(self._cluster_id, namespace)
        every = (prefix + form + id_ for form in forms_of(kind) for prefix in (keys.prefix, keys.private))
        names = [name for name in every if key_of_pool(self._cluster_id, name) is not None]
        found = await self.judged(keys, names)
        return [*found, *(one for one in await self.listed(namespace) if (one.kind, one.id) == (kind, id_))]

    async def listed(self, namespace: str) -> list[Leftover]:
        """What the sorted sets of a pool list although it is over; some of each kind. Raises BackendError."""
        found: list[Leftover] = []
        for look_up in (self.live, self.reserved, self.beats):
            found += await look_up(namespace)
        return found

    async def live(self, namespace: str) -> list[Leftover]:
        """Matches in `live` that are gone or over, and are not settled; some of them. Raises BackendError."""
        pool, found = self._unbound(namespace), []
        for uid in [uid for uid in await live_uids(pool) if not lives(self._matches, uid)][:_AT_MOST]:
            ledger = await read_ledger(pool, uid, now_ms=self._now_ms)
            if ledger is not None and ledger.settled:
                continue
            why = "the match is gone, or over, and its ledger still holds users" if ledger is not None else _NO_LEDGER
            name = ledger.match_name if ledger is not None else ""
            found.append(Leftover(SweepKind.MATCHES, Remedy.SETTLE, namespace, uid, why, match=uid, name=name))
        return found

    async def reserved(self, namespace: str) -> list[Leftover]:
        """Users of a pool whose reservation is over; some of them. Raises BackendError."""
        store = LeftoverStore(self._unbound(namespace))
        why = "the reservation is over, and no match came"
        return [
            Leftover(SweepKind.USERS, Remedy.RELEASE, namespace, user_id, why)
            for user_id in await store.overdue(now_ms=self._now_ms, limit=_AT_MOST)
        ]

    async def beats(self, namespace: str) -> list[Leftover]:
        """Users of a pool whose last beat is too old; some of them. Raises BackendError."""
        store = LeftoverStore(self._unbound(namespace))
        # However young a leftover may be: a client that still beats is there.
        age_seconds = max(self._rules.max_age_seconds, self._rules.silent_seconds)
        before_ms = self._now_ms - round(age_seconds * 1000)
        return [
            Leftover(
                SweepKind.HEARTBEATS,
                Remedy.RETIRE,
                namespace,
                user_id,
                "the last beat is old",
                unchanged={"beat": str(beat_ms)},
            )
            for user_id, beat_ms in await store.silent(before_ms=before_ms, limit=_AT_MOST)
        ]

    def _unbound(self, namespace: str) -> Pool:
        return Pool(self._redis, Keys(self._cluster_id, namespace), 0, 0)

    @property
    def _now_ms(self) -> int:
        return milliseconds(self._clock.now())
