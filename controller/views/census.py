"""How many Matches and Rooms are in each phase, and since when the oldest is in it: kept up as versions come.

A scrape costs a few steps for each phase, whatever the number of objects. Objects that cannot be read are in no phase.
Neighbors: `views.cache` feeds this view, `app.wiring` lets `telemetry.health` ask for the numbers at each scrape.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime

from controller.api.conditions import ConditionType
from controller.api.match import Match
from controller.api.meta import ConditionStatus, HasMetadata
from controller.api.names import MATCH, ROOM, ResourceKind
from controller.api.phases import MatchPhase, RoomPhase
from controller.api.room import Room
from controller.rules.paused import is_paused
from controller.telemetry import metrics
from controller.views.cache import ObjectCache

# Entries of objects that left stay in the heap until they are popped, or there are too many of them.
_DEAD_ENTRIES = 64


class Since:
    """A set of UIDs, each with the moment since which it is in the set. The oldest is known at once."""

    def __init__(self) -> None:
        self._since: dict[str, datetime] = {}
        self._by_age: list[tuple[datetime, str]] = []

    def __len__(self) -> int:
        return len(self._since)

    def add(self, uid: str, since: datetime) -> None:
        """Add a UID, or change its moment."""
        if self._since.get(uid) == since:
            return
        self._since[uid] = since
        heapq.heappush(self._by_age, (since, uid))
        if len(self._by_age) > 2 * len(self._since) + _DEAD_ENTRIES:
            self._by_age = [(moment, of) for of, moment in self._since.items()]
            heapq.heapify(self._by_age)

    def discard(self, uid: str) -> None:
        """Remove a UID, if it is there."""
        self._since.pop(uid, None)

    def oldest(self) -> datetime | None:
        """The earliest moment; None if there is no UID."""
        while self._by_age and self._since.get(self._by_age[0][1]) != self._by_age[0][0]:
            heapq.heappop(self._by_age)
        return self._by_age[0][0] if self._by_age else None


class Census:
    """The phases of the objects of one kind."""

    def __init__(self, kind: ResourceKind) -> None:
        self._kind = kind.kind
        phases: tuple[str, ...] = tuple(MatchPhase if kind is MATCH else RoomPhase)
        self._phases = {phase: Since() for phase in phases}
        # A paused object stays as it is, for as long as a person wants: it makes no phase look stuck.
        self._paused = {phase: Since() for phase in phases}
        self._deleted = Since()
        self._members_of: dict[str, Since] = {}

    def kept(self, found: Match | Room) -> None:
        """Take in a newer version of an object."""
        metadata, phase = found.metadata, found.status.phase
        uid, created = metadata.uid, metadata.creation_timestamp
        now_in = str(phase) if phase is not None else MatchPhase.PENDING
        members = (self._paused if _is_paused(found) else self._phases).get(now_in)
        before = self._members_of.pop(uid, None)
        if before is not None and before is not members:
            before.discard(uid)
        if metadata.deletion_timestamp is not None:
            self._deleted.add(uid, metadata.deletion_timestamp)
        if members is not None and created is not None:
            self._members_of[uid] = members
            members.add(uid, _since(found) or created)

    def gone(self, found: HasMetadata) -> None:
        """Drop an object that was deleted, or that cannot be read."""
        uid = found.metadata.uid
        self._deleted.discard(uid)
        members = self._members_of.pop(uid, None)
        if members is not None:
            members.discard(uid)

    def show(self, now: datetime) -> None:
        """Set the metrics, for a scrape."""
        for phase, members in self._phases.items():
            metrics.objects.labels(self._kind, phase).set(len(members) + len(self._paused[phase]))
            metrics.oldest_seconds.labels(self._kind, phase).set(_age(members, now))
        metrics.paused.labels(self._kind).set(sum(map(len, self._paused.values())))
        metrics.deleting.labels(self._kind).set(len(self._deleted))
        metrics.oldest_deletion_seconds.labels(self._kind).set(_age(self._deleted, now))


def censuses(matches: ObjectCache[Match], rooms: ObjectCache[Room], now: Callable[[], datetime]) -> Callable[[], None]:
    """Let a census follow each cache. Returns the function that sets their metrics."""
    counted = (Census(MATCH), Census(ROOM))
    for cache, census in ((matches, counted[0]), (rooms, counted[1])):
        cache.follow(kept=census.kept, unreadable=census.gone, gone=census.gone)

    def show() -> None:
        for census in counted:
            census.show(now())

    return show


def _since(found: Match | Room) -> datetime | None:
    """When the object entered its phase, where its status says so."""
    if isinstance(found, Match):
        history = found.status.history
        return history[-1].time if history else None
    status = found.status
    if status.phase is RoomPhase.ACTIVE:
        return max((*status.restored_at, status.created_at), default=None) if status.created_at is not None else None
    if status.terminated_at is not None:
        return status.terminated_at
    # Ready is False since the Room is lost or ends. The deletion may be later than that of a lost one.
    ready = next((one.last_transition_time for one in status.conditions if one.type == ConditionType.READY), None)
    if status.phase is not RoomPhase.TERMINATING or found.metadata.deletion_timestamp is None:
        return ready
    return max(ready or found.metadata.deletion_timestamp, found.metadata.deletion_timestamp)


def _is_paused(found: Match | Room) -> bool:
    """Whether the object is paused, or is a Room whose Match is."""
    holds = (one for one in found.status.conditions if one.status is ConditionStatus.TRUE)
    return is_paused(found.metadata) or any(one.type == ConditionType.PAUSED for one in holds)


def _age(members: Since, now: datetime) -> float:
    oldest = members.oldest()
    return max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0
