"""People whom a LiveKit server lists, and who are not there: their node has died.

A LiveKit with Redis keeps the people of a killed node in its lists for ever, so its list is no witness for them. Only a
node that has a participant answers a request that reaches them; `triggers.probe` sends such requests, and this record
keeps what they said. Neighbor: `views.livekit` takes the ghosts out of the lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from controller.facts.livekit import Ghost, LiveKitParticipant
from controller.facts.observation import Present
from controller.facts.silences import LONG_AGO

People = tuple[LiveKitParticipant, ...]

_NONE: Mapping[str, Ghost] = MappingProxyType({})


class GhostRecord:
    """What the probes of one server said, by the LiveKit names of rooms and the identities of participants."""

    def __init__(self) -> None:
        self._ghosts: dict[str, dict[str, Ghost]] = {}
        self._alive: dict[str, dict[str, tuple[str, datetime]]] = {}

    def of(self, name: str) -> tuple[Ghost, ...]:
        """The ghosts in the room `name`."""
        return tuple(self._ghosts.get(name, _NONE).values())

    def rooms(self) -> tuple[str, ...]:
        """The rooms that have ghosts."""
        return tuple(self._ghosts)

    def living(self, name: str, listed: Present[People]) -> Present[People]:
        """The list without ghosts. It is as old as the oldest answer that it rests on."""
        ghosts = self._ghosts.get(name)
        if ghosts is None:
            return listed
        living = tuple(person for person in listed.value if person.identity not in ghosts)
        return Present(living, min(listed.at, *(ghost.probed_at for ghost in ghosts.values())))

    def alive_at(self, name: str, person: LiveKitParticipant) -> datetime:
        """When this session of the participant was certainly alive for the last time."""
        sid, at = self._alive.get(name, {}).get(person.identity, ("", LONG_AGO))
        return at if sid == person.sid else LONG_AGO

    def probed_at(self, name: str) -> datetime:
        """When the latest probe was sent to any participant of the room."""
        alive = (at for _, at in self._alive.get(name, {}).values())
        return max((*alive, *(ghost.probed_at for ghost in self.of(name))), default=LONG_AGO)

    def saw_alive(self, name: str, person: LiveKitParticipant, at: datetime) -> bool:
        """Store that the participant answered a probe that was sent `at` this time. Returns whether it was a ghost."""
        self._alive.setdefault(name, {})[person.identity] = (person.sid, at)
        return self._drop(name, lambda ghost: ghost.identity == person.identity)

    def saw_ghost(self, name: str, person: LiveKitParticipant, since: datetime, at: datetime) -> bool:
        """Store that no node answers for the participant. Returns whether that is new."""
        ghosts = self._ghosts.setdefault(name, {})
        before = ghosts.get(person.identity)
        if before is not None and before.sid == person.sid:
            ghosts[person.identity] = replace(before, probed_at=max(at, before.probed_at))
            return False
        ghosts[person.identity] = Ghost(person.identity, person.sid, since, at)
        return True

    def saw_list(self, name: str, people: People) -> None:
        """Drop the ghosts that are no longer listed: they came back as another session, or LiveKit has removed them."""
        sids = {person.sid for person in people}
        self._drop(name, lambda ghost: ghost.sid not in sids)
        if name in self._alive:
            self._alive[name] = {who: known for who, known in self._alive[name].items() if known[0] in sids}

    def forget(self, name: str) -> None:
        """Drop everything about a room."""
        self._ghosts.pop(name, None)
        self._alive.pop(name, None)

    def clear(self) -> None:
        """Drop everything."""
        self._ghosts.clear()
        self._alive.clear()

    def _drop(self, name: str, is_over: Callable[[Ghost], bool]) -> bool:
        ghosts = self._ghosts.get(name, _NONE)
        left = {who: ghost for who, ghost in ghosts.items() if not is_over(ghost)}
        if len(left) == len(ghosts):
            return False
        if left:
            self._ghosts[name] = left
        else:
            del self._ghosts[name]
        return True
