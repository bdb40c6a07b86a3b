"""The Matches that are over, by the time of their end, and which of them exceed the number that a namespace keeps.

Every version that the cache stores is fed in here, so no code ever goes through all Matches. A Match over the limit is
reported once and stays over it until it is deleted, which its own key does (`plan.match`). Neighbors: `views.cache`
feeds this view, `observe.match` asks it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from controller.api.match import Match
from controller.api.meta import HasMetadata

# If a Match was deleted for another reason, its entry stays in the heap until it is popped or there are many of them.
_DEAD_ENTRIES = 64


@dataclass(slots=True)
class _Namespace:
    """`kept` has the names by UID; `by_end` is a heap of the same UIDs and some deleted ones, the oldest end first."""

    kept: dict[str, str] = field(default_factory=dict)
    by_end: list[tuple[datetime, str]] = field(default_factory=list)


class FinishedMatches:
    """At most `limit` per namespace are kept; `on_over_limit` hears namespace and name of each that is one too many."""

    def __init__(self, limit: int, on_over_limit: Callable[[str, str], None]) -> None:
        self._limit = limit
        self._on_over_limit = on_over_limit
        self._namespaces: dict[str, _Namespace] = {}
        self._over_limit: set[str] = set()

    def kept(self, match: Match) -> None:
        """Take in a newer version of a Match."""
        metadata, ended_at = match.metadata, match.status.ended_at
        is_over = match.status.seems_over  # an `endedAt` alone was written by another client
        if metadata.deletion_timestamp is not None:
            self._forget(metadata.namespace, metadata.uid)
        elif ended_at is not None and is_over and metadata.uid not in self._over_limit:
            namespace = self._namespaces.setdefault(metadata.namespace, _Namespace())
            if metadata.uid not in namespace.kept:
                namespace.kept[metadata.uid] = metadata.name
                heapq.heappush(namespace.by_end, (ended_at, metadata.uid))
                self._trim(metadata.namespace, namespace)

    def gone(self, match: HasMetadata) -> None:
        """Drop a Match that was deleted."""
        self._forget(match.metadata.namespace, match.metadata.uid)
        self._over_limit.discard(match.metadata.uid)

    def is_over_limit(self, uid: str) -> bool:
        """Whether this Match is over, and one of the oldest of too many."""
        return uid in self._over_limit

    def _trim(self, name: str, namespace: _Namespace) -> None:
        while len(namespace.kept) > self._limit:
            _, uid = heapq.heappop(namespace.by_end)
            dropped = namespace.kept.pop(uid, None)
            if dropped is not None:
                self._over_limit.add(uid)
                self._on_over_limit(name, dropped)
        if len(namespace.by_end) > 2 * len(namespace.kept) + _DEAD_ENTRIES:
            namespace.by_end = [entry for entry in namespace.by_end if entry[1] in namespace.kept]
            heapq.heapify(namespace.by_end)

    def _forget(self, name: str, uid: str) -> None:
        namespace = self._namespaces.get(name)
        if namespace is not None and namespace.kept.pop(uid, None) is not None and not namespace.kept:
            del self._namespaces[name]
