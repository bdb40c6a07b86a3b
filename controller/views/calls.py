"""The calls that are being made or are up, in short: what has to be looked through at every interval.

Kept beside the cache of Matches, which holds most of them as compact JSON only: ten thousand must not be parsed twice a
second. Neighbours: `triggers.flags`, `triggers.heartbeats`, `triggers.audit`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from controller.api.match import Match, ParticipantState
from controller.api.phases import MATCH_PHASES, MatchPhase


@dataclass(frozen=True, slots=True)
class Call:
    """One Match on its way or up. `inside` are those whose media is up; `livekit_name` is empty without a room."""

    uid: str
    name: str
    phase: MatchPhase
    identities: tuple[str, ...]
    inside: tuple[str, ...]
    livekit_name: str

    @property
    def is_up(self) -> bool:
        """Whether everything of it is made, and nothing is being taken apart."""
        return self.phase in _UP


_UP = frozenset({MatchPhase.CONNECTING, MatchPhase.ACTIVE, MatchPhase.RECONNECTING})


class CallIndex:
    """Calls by namespace and UID."""

    def __init__(self) -> None:
        self._calls: dict[str, dict[str, Call]] = {}

    def kept(self, match: Match) -> None:
        """The cache has a newer version of a Match."""
        phase = match.status.phase
        if phase is None or MATCH_PHASES[phase].terminal:
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

    def gone(self, match: Match) -> None:
        """A Match is over, or not there any more."""
        calls = self._calls.get(match.metadata.namespace, {})
        calls.pop(match.metadata.uid, None)
        if not calls:
            self._calls.pop(match.metadata.namespace, None)

    def namespaces(self) -> tuple[str, ...]:
        """Namespaces with a call."""
        return tuple(self._calls)

    def has(self, namespace: str, uid: str) -> bool:
        """Whether this call is still there."""
        return uid in self._calls.get(namespace, {})

    def of(self, namespace: str) -> Collection[Call]:
        """The calls of one namespace, the oldest first."""
        return tuple(self._calls.get(namespace, {}).values())
