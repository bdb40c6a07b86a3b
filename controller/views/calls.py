"""A compact index of the Matches that are not over, for triggers that go through all of them.

The cache of Matches holds most of them only as compressed JSON, and parsing ten thousand of them twice a second would
be too slow. What is read for every call is read in turn (`CallTurns`), a bounded number at each interval, so the work
of an interval does not grow. Neighbors: `triggers.flags`, `triggers.audit`, `triggers.tokens` and `triggers.heartbeats`
read the index.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from controller.api.match import Match, ParticipantState
from controller.api.match_blocks import TokenDelivery
from controller.api.meta import HasMetadata
from controller.api.names import PAUSED
from controller.api.phases import MatchPhase

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Call:
    """A Match that is not over.

    `inside` has the identities whose media is up; `livekit_name` is empty without a room. `tokens_until` is when the
    tokens that were delivered end; None if none are. `server` is the LiveKit server of the room, empty without one, and
    `since` is when the Match was created. `is_paused`: an annotation keeps the operator from touching it.
    """

    namespace: str
    uid: str
    name: str
    phase: MatchPhase
    identities: tuple[str, ...]
    inside: tuple[str, ...]
    livekit_name: str
    delivery: TokenDelivery
    tokens_until: datetime | None
    server: str = ""
    since: datetime = _LONG_AGO
    is_paused: bool = False

    @property
    def is_up(self) -> bool:
        """Whether participants can join or are in the call: room and tokens exist, and the end is not decided."""
        return self.phase in _UP

    @property
    def is_awaited(self) -> bool:
        """Whether the call is up and a participant is not in it."""
        return self.is_up and len(self.inside) < len(self.identities)


_UP = frozenset({MatchPhase.CONNECTING, MatchPhase.ACTIVE, MatchPhase.RECONNECTING})


class CallIndex:
    """The calls, by namespace and by UID of the Match. `serves` tells whether we serve a namespace."""

    def __init__(self, serves: Callable[[str], bool] = lambda _: True) -> None:
        self._serves = serves
        self._calls: dict[str, dict[str, Call]] = {}
        self._awaited: dict[str, str] = {}
        # Namespace and name, by UID.
        self._unserved: dict[str, tuple[str, str]] = {}
        self._unwanted: dict[str, tuple[str, str]] = {}

    def kept(self, match: Match) -> None:
        """Store or remove the call, since the cache has a newer version of its Match."""
        phase = match.status.phase
        if phase is None or match.counts_as_over:
            self.gone(match)
            if phase is None:
                self._unserved[match.metadata.uid] = (match.metadata.namespace, match.metadata.name)
            return
        self._unserved.pop(match.metadata.uid, None)
        if match.spec.termination is not None or match.metadata.deletion_timestamp is not None:
            self._unwanted[match.metadata.uid] = (match.metadata.namespace, match.metadata.name)
        room = match.status.room
        call = Call(
            match.metadata.namespace,
            match.metadata.uid,
            match.metadata.name,
            phase,
            match.spec.identities,
            tuple(p.identity for p in match.status.participants if p.state is ParticipantState.CONNECTED),
            (room.livekit_name or "") if room is not None else "",
            match.spec.tokens.delivery,
            match.status.tokens.expires_at if match.status.tokens is not None else None,
            match.status.livekit_server,
            match.metadata.creation_timestamp or _LONG_AGO,
            match.metadata.annotations.get(PAUSED) == "true",
        )
        self._calls.setdefault(call.namespace, {})[call.uid] = call
        if call.is_awaited:
            self._awaited[call.uid] = call.namespace
        else:
            self._awaited.pop(call.uid, None)

    def gone(self, match: HasMetadata) -> None:
        """Remove the call, whose Match is over or deleted."""
        self._unserved.pop(match.metadata.uid, None)
        self._unwanted.pop(match.metadata.uid, None)
        self._awaited.pop(match.metadata.uid, None)
        calls = self._calls.get(match.metadata.namespace, {})
        calls.pop(match.metadata.uid, None)
        if not calls:
            self._calls.pop(match.metadata.namespace, None)

    def namespaces(self) -> tuple[str, ...]:
        """The namespaces that have a call."""
        return tuple(self._calls)

    def unserved(self) -> Iterator[tuple[str, str, str]]:
        """Namespace, UID and name of each Match that no operator has begun: it has no phase."""
        for uid, (namespace, name) in self._unserved.items():
            yield namespace, uid, name

    def asked_for(self) -> Iterator[tuple[str, str]]:
        """Namespace and name of each Match that clients wait for: it is not up yet, or it ends, or it is to end."""
        between = (
            (call.namespace, call.name) for calls in self._calls.values() for call in calls.values() if not call.is_up
        )
        yield from {*self._unserved.values(), *self._unwanted.values(), *between}

    def has(self, namespace: str, uid: str) -> bool:
        """Whether the index has the call of the Match `uid`."""
        return uid in self._calls.get(namespace, {})

    def holds(self, namespace: str, identity: str) -> bool:
        """Whether a call that has taken its users has this one."""
        calls = self._calls.get(namespace, {}).values()
        return any(identity in call.identities and call.phase is not MatchPhase.PENDING for call in calls)

    def of(self, namespace: str) -> Collection[Call]:
        """The calls of one namespace, the oldest first."""
        return tuple(self._calls.get(namespace, {}).values())

    def on(self, server: str) -> Iterator[Call]:
        """The calls on one LiveKit server. Those of another installation are on its own servers, whatever they are
        called."""
        served = (calls for namespace, calls in self._calls.items() if self._serves(namespace))
        return (call for calls in served for call in calls.values() if call.server == server)

    def each(self, namespaces: Iterable[str]) -> Iterator[Call]:
        """The calls of these namespaces, each as it is when its turn comes. New ones may be left out."""
        for namespace in namespaces:
            for uid in tuple(self._calls.get(namespace, ())):
                call = self._calls.get(namespace, {}).get(uid)
                if call is not None:
                    yield call

    def awaited(self) -> Iterator[Call]:
        """The calls in which a participant is missing, as they are when their turn comes."""
        for uid, namespace in tuple(self._awaited.items()):
            if uid in self._awaited:
                yield self._calls[namespace][uid]


class CallTurns:
    """Goes round the calls: a bounded number at a time, each time from where it stopped.

    `begin` starts one round. A call that is removed from the index before its turn is left out.
    """

    def __init__(self, begin: Callable[[], Iterator[Call]]) -> None:
        self._begin = begin
        self._round: Iterator[Call] = iter(())

    def next(self, most: int) -> list[Call]:
        """The next calls, at most `most`, none of them twice. After the last call the first one follows."""
        chosen = {call.uid: call for call in itertools.islice(self._round, most)}
        if len(chosen) < most:
            self._round = self._begin()
            for call in self._round:
                if call.uid in chosen:
                    continue
                chosen[call.uid] = call
                if len(chosen) == most:
                    break
        return list(chosen.values())


def by_namespace(calls: Iterable[Call]) -> Mapping[str, list[Call]]:
    """The calls, grouped by their namespaces."""
    found: defaultdict[str, list[Call]] = defaultdict(list)
    for call in calls:
        found[call.namespace].append(call)
    return found
