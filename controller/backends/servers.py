"""The LiveKit servers of one term that rooms are placed on, each with its own client, its own view and its own failure.

Neighbors: `backends.server_configs` says which there are, `app.pollers` adds and removes them, `rules.placement`
chooses one for a new room. `observe` and `act` ask for the server of a Room.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from controller.api.conditions import ConditionReason
from controller.api.fields import Placement
from controller.api.livekitserver import Drain
from controller.api.names import ResourceKind
from controller.api.room import Room
from controller.clients.livekit import LiveKitClient
from controller.clients.livekit_keys import ApiKeys
from controller.errors import Backend, BackendError, BackendUnavailable, Code
from controller.facts.match import ServerFacts
from controller.facts.server import Candidate, Health, Trouble
from controller.facts.unreadable import Unreadable
from controller.plan.actions import Target
from controller.rules.drain import drain_of
from controller.rules.placement import choose, server_of
from controller.rules.server_faults import fault_of
from controller.views.livekit import LiveKitView
from controller.views.placements import RoomPlacements, StandingRoom

# Reconciles that wait for the participants of a room at the same time, per server.
_READS_AT_ONCE = 16
# Rooms that were placed on another server and are not made yet.
_MOST_MOVED = 10_000
_MOST_NAMED = 3


@dataclass(slots=True, eq=False)
class Server:
    """One LiveKit server: the URL that clients connect to, its API keys, what it takes, its client and its view.

    What is configured can change; a server with another URL is another `Server`. `is_leaving`: its LiveKitServer is
    being deleted. `health` is what the latest checks showed, `is_noted` whether its LiveKitServer's status has its
    address, `is_paused` whether that object is paused. `error` is why the latest list of rooms failed. `reads` bounds
    how many reconciles ask it for participants at once: a server that hangs must not hold them all.
    """

    name: str
    public_url: str
    keys: ApiKeys
    client: LiveKitClient
    view: LiveKitView
    url: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    max_rooms: int = 0
    is_cordoned: bool = False
    drain: Drain | None = None
    is_leaving: bool = False
    is_noted: bool = True
    is_paused: bool = False
    health: Health = field(default_factory=Health)
    error: BackendError | None = None
    reads: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, _READS_AT_ONCE), repr=False)

    def facts(self, now: datetime) -> ServerFacts:
        """The facts about this server that planners use."""
        view = self.view
        return ServerFacts(
            self.name,
            self.public_url,
            view.failure,
            view.silences.at(now),
            view.silent_since,
            has_answered=view.was_listed,
            api_key=self.keys.newest.name,
            drain=drain_of(self.name, self.drain),
            secret_digest=self.keys.newest.digest,
        )

    @property
    def trouble(self) -> Trouble | None:
        """Why no new room should be placed on it at the moment; None if it is ready."""
        if self.view.failure:
            return Trouble(fault_of(self.error, self.health), self.view.failure)
        return None if self.view.was_listed else Trouble(ConditionReason.NOT_ASKED, "it has not answered yet")


class Servers:
    """The servers by name. `placements` counts the Rooms on each.

    `unread` names the namespaces whose Rooms were not read yet. `troubles` are those of the credentials of servers:
    without any, a server is configured and cannot be asked.
    """

    def __init__(
        self,
        servers: Iterable[Server],
        placements: RoomPlacements | None = None,
        *,
        unread: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._servers = {server.name: server for server in servers}
        self._placements = placements or RoomPlacements()
        self._unread = unread
        self._moved: OrderedDict[str, str] = OrderedDict()
        self._waiting: dict[tuple[ResourceKind, str, str], None] = {}
        self.troubles: Mapping[str, Trouble] = {}

    def add(self, server: Server) -> None:
        """Use one more server, or another one under a known name."""
        self._servers[server.name] = server

    def remove(self, name: str) -> None:
        """Ask a server no longer. Rooms that are on it are on a server that is not configured."""
        self._servers.pop(name, None)

    def get(self, name: str) -> Server | None:
        """The server of this name."""
        return self._servers.get(name)

    def of(self, room: Room | Unreadable | None) -> Server:
        """The server that `room` is on, or on which it is to be made.

        Raises BackendUnavailable where the Room is on a server that is not configured: its LiveKit room may be alive
        there, so another server's answer says nothing about it.
        """
        server = self.find(room)
        if server is None:
            why = self._not_configured(self._name_of(room))
            raise BackendUnavailable(Backend.LIVEKIT, "placement", why, code=Code.NO_SERVER)
        return server

    def find(self, room: Room | Unreadable | None, known: str = "") -> Server | None:
        """The same, but None where no server is chosen yet, or one that is not configured.

        `known` is the server on which the Room was last, for a Room that is gone or cannot be read.
        """
        return self._servers.get(self._name_of(room, known))

    def facts(self, room: Room | Unreadable | None, now: datetime, known: str = "") -> ServerFacts:
        """The facts about the server that `find` looks for. One that is not configured is in trouble, and has no URL.

        As long as no server is chosen, its name is empty. That of a room which was made is not known then: another
        client has removed it.
        """
        name = self._name_of(room, known)
        server = self._servers.get(name)
        if server is not None:
            return server.facts(now)
        was_made = isinstance(room, Room) and room.status.created_at is not None
        if not name and not was_made:
            return ServerFacts("", "")
        return ServerFacts(name, "", self._not_configured(name), is_configured=False)

    def place(self, target: Target, name: str, wanted: Placement) -> str:
        """Choose the server for the Room of this name, and reserve the place. Returns the server's name.

        Raises BackendUnavailable with a sentence that names what each server lacks; then `target` is one of those that
        wait for a place.
        """
        namespace = target.namespace
        self._placements.release(namespace, name)
        placed = choose(wanted, self._candidates(), seed=f"{namespace}/{name}")
        waiting = (target.kind, namespace, target.name)
        self._waiting.pop(waiting, None)
        if not placed.server:
            self._waiting[waiting] = None
            raise BackendUnavailable(Backend.LIVEKIT, "placement", placed.why, code=Code.NO_PLACE)
        self._placements.reserve(namespace, name, placed.server)
        return placed.server

    def of_url(self, url: str) -> list[str]:
        """The names of the servers that have this URL."""
        return sorted(server.name for server in self if server.url == url)

    def take_waiting(self) -> list[tuple[ResourceKind, str, str]]:
        """The objects that found no server, by kind, namespace and name: there may be one now. They are forgotten."""
        waiting, self._waiting = list(self._waiting), {}
        return waiting

    def give_up(self, namespace: str, name: str) -> None:
        """The Room was not made: its place is free again."""
        self._placements.release(namespace, name)

    def move_elsewhere(self, room: Room) -> str:
        """Place a Room whose LiveKit room was never made on another server that is ready; return its name.

        Empty if none fits what the spec asks for, or if the room was made before: it may be alive where it is.
        """
        if room.status.created_at is not None:
            return ""
        now_on = self._name_of(room)
        others = [one for one in self._candidates() if one.name != now_on and not one.trouble]
        name = choose(room.spec.placement, others, seed=room.metadata.uid).server
        if name:
            self._placements.reserve(room.metadata.namespace, room.metadata.name, name)
            self._moved[room.metadata.uid] = name
            if len(self._moved) > _MOST_MOVED:
                self._moved.popitem(last=False)
        return name

    def count(self, name: str) -> int:
        """How many Rooms are on the server, or about to be made there."""
        return self._placements.count(name)

    def unknown(self) -> str:
        """Why more Rooms may be on a server than are counted; empty if all are known."""
        if unread := sorted(self._unread()):
            plural = "s" if len(unread) > 1 else ""
            return f"the Rooms of the namespace{plural} {' and '.join(unread)} could not be read yet"
        if not (rooms := self._placements.unknown()):
            return ""
        others = f" and {len(rooms) - 1} others" if len(rooms) > 1 else ""
        return f"the Room {'/'.join(rooms[0])}{others} cannot be read, and may be on it: correct or delete it"

    def standing(self, name: str) -> list[StandingRoom]:
        """The Rooms on the server that belong to no Match and were made."""
        return list(self._placements.standing(name))

    def some_on(self, name: str) -> list[str]:
        """Some Rooms on the server, as NAMESPACE/NAME, in order."""
        return ["/".join(one) for one in heapq.nsmallest(_MOST_NAMED, self._placements.on(name))]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all servers."""
        return tuple(self._servers)

    def __iter__(self) -> Iterator[Server]:
        return iter(tuple(self._servers.values()))

    def _candidates(self) -> list[Candidate]:
        sentences = {name: trouble.sentence for name, trouble in self.troubles.items()}
        asked = [
            Candidate(
                server.name,
                server.labels,
                self._placements.count(server.name),
                server.max_rooms,
                server.is_cordoned,
                server.drain is not None,
                server.is_noted,
                server.is_paused,
                sentences.pop(server.name, "") or (server.trouble.sentence if server.trouble is not None else ""),
            )
            for server in self
        ]
        return asked + [Candidate(name, trouble=why) for name, why in sentences.items()]

    def _name_of(self, room: Room | Unreadable | None, known: str = "") -> str:
        """The server that a Room is on, or that its LiveKit room is to be made on; empty if none is chosen yet.

        Where nothing says it, there is no doubt if there is one server alone.
        """
        named = ""
        if room is not None:
            moved = self._moved.get(room.metadata.uid) if isinstance(room, Room) else None
            is_made = isinstance(room, Room) and room.status.created_at is not None
            placed = server_of(room) or self._placements.of(room.metadata.namespace, room.metadata.name)
            named = moved if moved is not None and not is_made else placed
        return named or known or (next(iter(self._servers)) if len(self._servers) == 1 else "")

    def _not_configured(self, name: str) -> str:
        if not name:
            return "it is not known on which LiveKit server the room is: its status no longer says so (status.server)"
        if name in self.troubles:
            return f"the room is on LiveKit server {name}, which cannot be asked: {self.troubles[name].sentence}"
        return f"the room is on LiveKit server {name!r}, which is not configured; known are {', '.join(self.names)}"
