"""A compact index of the Matches that are not over, for triggers that go through all of them at every interval.

The cache of Matches holds most of them only as compact JSON, and parsing ten thousand of them twice a second would be
too slow. Neighbors: `triggers.flags`, `triggers.heartbeats` and `triggers.audit` read the index.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from controller.api.match import Match, ParticipantState
from controller.api.meta import HasMetadata
from controller.api.phases import MatchPhase


@dataclass(frozen=True, slots=True)
class Call:
    """A Match that is not over. `inside` has the identities whose media is up; `livekit_name` is empty without a
    room."""

    uid: str
    name: str
    phase: MatchPhase
    identities: tuple[str, ...]
    inside: tuple[str, ...]
    livekit_name: str

    @property
    def is_up(self) -> bool:
        """Whether participants can join or are in the call: room and tokens exist, and the end is not decided."""
        return self.phase in _UP


_UP = frozenset({MatchPhase.CONNECTING, MatchPhase.ACTIVE, MatchPhase.RECONNECTING})


class CallIndex:
    """The calls, by namespace and by UID of the Match."""

    def __init__(self) -> None:
        self._calls: dict[str, dict[str, Call]] = {}

    def kept(self, match: Match) -> None:
        """Store or remove the call, since the cache has a newer version of its Match."""
        phase = match.status.phase
        if phase is None or match.status.is_over:
            self.gone(match)
            return
        room = match.status.room
        self._calls.setdefault(match.metadata.namespace, {})[match.metadata.uid] = Call(
            match.metadata.uid,
            match.metadata.name,
            phase,
            match.spec.identities,
            tuple(p.identity for p in match.status.participants if p.state is ParticipantState.CONNECTED),
            (room.livekit_name or "") if room is not None else "",
        )

    def gone(self, match: HasMetadata) -> None:
        """Remove the call, whose Match is over or deleted."""
        calls = self._calls.get(match.metadata.namespace, {})
        calls.pop(match.metadata.uid, None)
        if not calls:
            self._calls.pop(match.metadata.namespace, None)

    def namespaces(self) -> tuple[str, ...]:
        """The namespaces that have a call."""
        return tuple(self._calls)

    def has(self, namespace: str, uid: str) -> bool:
        """Whether the index has the call of the Match `uid`."""
        return uid in self._calls.get(namespace, {})

    def of(self, namespace: str) -> Collection[Call]:
        """The calls of one namespace, the oldest first."""
        return tuple(self._calls.get(namespace, {}).values())
