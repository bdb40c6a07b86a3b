"""The LiveKit servers that rooms are placed on, each with its own client, its own view and its own failure.

Neighbors: `triggers.poll` reads one server, `observe` and `act` ask for the server of a Room.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from controller.api.livekitserver import DEFAULT_SERVER
from controller.api.room import Room
from controller.clients.livekit import LiveKitClient
from controller.clients.livekit_keys import ApiKeys
from controller.errors import Backend, BackendUnavailable, Code
from controller.facts.match import ServerFacts
from controller.facts.unreadable import Unreadable
from controller.views.livekit import LiveKitView

# Reconciles that wait for the participants of a room at the same time, per server.
_READS_AT_ONCE = 16
# Rooms that were placed on another server and are not made yet.
_MOST_MOVED = 10_000


@dataclass(frozen=True, slots=True)
class Server:
    """One LiveKit server: its name, the URL that clients connect to, its API keys, its client and its view.

    `reads` bounds how many reconciles ask it for participants at once: a server that hangs must not hold them all.
    """

    name: str
    public_url: str
    keys: ApiKeys
    client: LiveKitClient
    view: LiveKitView
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
            api_key=self.keys.newest.name,
        )


class Servers:
    """The servers by name; one of them is called `default`."""

    def __init__(self, servers: Iterable[Server]) -> None:
        self._servers = {server.name: server for server in servers}
        self._moved: OrderedDict[str, str] = OrderedDict()

    def of(self, room: Room | Unreadable | None) -> Server:
        """The server that `room` is on; the default one for a Room that is on none yet.

        Raises BackendUnavailable where the Room is on a server that is not configured: its LiveKit room may be alive
        there, so another server's answer says nothing about it.
        """
        server = self.find(room)
        if server is None:
            why = self._not_configured(self._name_of(room))
            raise BackendUnavailable(Backend.LIVEKIT, "placement", why, code=Code.NO_SERVER)
        return server

    def find(self, room: Room | Unreadable | None) -> Server | None:
        """The same, but None for a server that is not configured."""
        return self._servers.get(self._name_of(room))

    def facts(self, room: Room | None, now: datetime) -> ServerFacts:
        """The facts about the server that `room` is on. One that is not configured is in trouble, and has no URL."""
        server, name = self.find(room), self._name_of(room)
        if server is not None:
            return server.facts(now)
        return ServerFacts(name, "", self._not_configured(name), is_configured=False)

    def move_elsewhere(self, room: Room) -> str:
        """Place a Room whose LiveKit room was never made on another server that answers; return its name.

        Empty if there is none, or if the room was made before: it may be alive where it is.
        """
        if room.status.created_at is not None:
            return ""
        now_on = self._name_of(room)
        others = (server.name for server in self if server.name != now_on and not server.view.failure)
        name = next(others, "")
        if name:
            self._moved[room.metadata.uid] = name
            if len(self._moved) > _MOST_MOVED:
                self._moved.popitem(last=False)
        return name

    def _name_of(self, room: Room | Unreadable | None) -> str:
        """The server that a Room is on, or that its LiveKit room is to be made on."""
        moved = self._moved.get(room.metadata.uid) if isinstance(room, Room) else None
        is_made = isinstance(room, Room) and room.status.created_at is not None
        return moved if moved is not None and not is_made else server_name_of(room)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all servers."""
        return tuple(self._servers)

    def __iter__(self) -> Iterator[Server]:
        return iter(self._servers.values())

    def _not_configured(self, name: str) -> str:
        return f"the room is on LiveKit server {name!r}, which is not configured; known are {', '.join(self.names)}"


def server_name_of(room: Room | Unreadable | None) -> str:
    """The name of the server that `room` is on; the default one for a Room that is on none yet."""
    # Nothing says where a Room that cannot be read was placed.
    return (room.status.server if isinstance(room, Room) else None) or DEFAULT_SERVER
