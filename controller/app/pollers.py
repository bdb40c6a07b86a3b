"""The LiveKit servers of a term, and one poller for each: they follow what is configured while the term runs.

A server that is new is added with a view of which nothing is known; one that changed keeps its view, unless it has
another URL: then it is another server. While rooms are on it, its old URL counts with its old credentials, since at
another one they would be missing, and count as lost; the status of its LiveKitServer remembers that URL. Neighbors:
`backends.server_configs` says what is configured, `triggers.poll` reads one server, `app.term` makes this once per
term.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import structlog

from controller.api.conditions import ConditionReason
from controller.app.supervisor import Loop, supervised
from controller.backends.server_configs import ServerConfig, ServerConfigs
from controller.backends.servers import Server, Servers
from controller.clients.livekit import LiveKitClient
from controller.facts.server import Trouble
from controller.loop.key import Key
from controller.telemetry.pulse import LoopName, Pulse, Pulses
from controller.triggers.poll import Poller
from controller.triggers.router import Router
from controller.triggers.server_checker import ServerChecker
from controller.views.livekit import LiveKitView

log = structlog.get_logger(__name__)

_BEAT_SECONDS = 15.0


@dataclass(slots=True)
class _Polled:
    """A server that is polled, where it is, and what has to be undone when it goes."""

    server: Server
    url: str
    poller: Poller
    unfollow: Callable[[], None]
    first_list: asyncio.Task[None] | None = field(default=None, repr=False)
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """What is under way."""
        return tuple(task for task in (self.first_list, self.task) if task is not None)


class Pollers:
    """Keeps `servers` as `configs` says, and polls each of them while `run` runs."""

    def __init__(
        self,
        configs: ServerConfigs,
        servers: Servers,
        router: Router,
        pulses: Pulses,
        *,
        client: Callable[[ServerConfig], LiveKitClient],
        poller: Callable[[Server], Poller],
        limit_seconds: float,
    ) -> None:
        self._configs = configs
        self._servers = servers
        self._router = router
        self._pulses = pulses
        self._client = client
        self._poller = poller
        self._limit_seconds = limit_seconds
        self._polled: dict[str, _Polled] = {}
        # How each server was last asked, also one that is away from what is configured; and those that wait to move.
        self._last: dict[str, ServerConfig] = {}
        self._held: set[str] = set()
        self._ending: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        for config in configs:
            self._add(self._wanted(config))
        self._tell_troubles()
        self._unfollow = configs.follow(self._config_changed)

    def __iter__(self) -> Iterator[Poller]:
        return iter([polled.poller for polled in self._polled.values()])

    async def first_lists(self, patience_seconds: float | None = None) -> None:
        """Ask each LiveKit server for its rooms; return when all have answered or failed, or after so many seconds.

        What is under way then goes on, and is waited for by the next call: ten thousand rooms take longer than a user
        should wait for a server that hangs.
        """
        for polled in self._polled.values():
            if polled.first_list is None and polled.task is None:
                name = f"first list of {polled.server.name}"
                polled.first_list = asyncio.create_task(polled.poller.list_rooms(), name=name)
        if tasks := [polled.first_list for polled in self._polled.values() if polled.first_list is not None]:
            done, _ = await asyncio.wait(tasks, timeout=patience_seconds)
            for task in done:
                if not task.cancelled():
                    task.result()

    def tell_of_lost(self) -> None:
        """Wake the keys of the rooms that the first lists did not show: no key was taken yet when they were read."""
        for polled in self._polled.values():
            polled.poller.tell_of_lost()

    def to_be_counted(self) -> Iterator[Key]:
        """The keys whose rooms nobody has looked into since the start: each is woken when somebody has."""
        for polled in self._polled.values():
            yield from self._router.keys_before_count(polled.server.view.unread())

    async def run(self, pulse: Pulse) -> None:
        """Poll each server until cancelled, each as a loop of its own; servers come and go meanwhile."""
        try:
            while True:
                pulse.beat()
                self._changed.clear()
                for name in sorted(self._held):
                    with pulse.item("to move a LiveKit server to its new URL", server=name):
                        self._config_changed(name)
                for polled in self._polled.values():
                    if polled.task is None:
                        name = f"poll {polled.server.name}"
                        polled.task = asyncio.create_task(self._keep_polling(polled), name=name)
                self._ending = [task for task in self._ending if not task.done()]
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_BEAT_SECONDS):
                        await self._changed.wait()
        finally:
            tasks = [*self._ending, *(task for polled in self._polled.values() for task in polled.tasks)]
            for polled in self._polled.values():
                polled.task = None
            await _end(tasks)

    def end(self) -> None:
        """The term is over."""
        self._unfollow()
        for polled in self._polled.values():
            polled.unfollow()
            polled.server.client.close()
            for task in polled.tasks:
                task.cancel()

    async def _keep_polling(self, polled: _Polled) -> None:
        checker = ServerChecker(polled.server, polled.server.client.checks, self._router, self._places_are_free)
        loops = (
            Loop(LoopName.POLL, polled.poller.run, limit_seconds=self._limit_seconds),
            Loop(LoopName.CHECKS, checker.run),
        )
        if polled.first_list is not None:
            await asyncio.wait((polled.first_list,))
        async with supervised(self._pulses, *loops):
            await asyncio.Future()

    def _config_changed(self, name: str) -> None:
        polled, config = self._polled.get(name), self._configs.get(name)
        was_held = name in self._held
        if config is not None:
            config = self._wanted(config)
        else:
            self._held.discard(name)
        self._tell_troubles()
        if config is None:
            if polled is not None:
                log.warning(
                    "a LiveKit server is no longer configured; calls on it go on, and nothing is decided about them",
                    server=name,
                )
                self._remove(polled)
        elif polled is None:
            log.info("a LiveKit server is configured", server=name, url=config.url)
            self._add(config)
        elif polled.url != config.url:
            log.warning("a LiveKit server has another URL, and no room was on it", server=name, url=config.url)
            self._remove(polled)
            self._add(config)
        elif config != self._last[name]:
            self._last[name] = config
            _configure(polled.server, config)
        elif was_held and name in self._held:
            return  # it goes on waiting
        self._changed.set()
        self._router.server_told(name)
        # Tokens may need another key or address.
        self._router.server_changed(name)
        self._places_are_free()

    def _wanted(self, config: ServerConfig) -> ServerConfig:
        """The server as it is to be asked: at its old address, while rooms may be on it, and else as it is configured.

        A server at its old address keeps its credentials, too, since those of the new one are of no use there.
        """
        name, before = config.name, self._last.get(config.name) or config.where_it_was()
        if before.url == config.url or not (self._servers.count(name) or self._servers.unknown()):
            self._held.discard(name)
            return config
        if name not in self._held:
            log.warning("a LiveKit server has another URL, which waits until no room is on it", server=name)
        self._held.add(name)
        return self._last.setdefault(name, before).as_in(config)

    def _tell_troubles(self) -> None:
        held = {name: Trouble(ConditionReason.WRONG_URL, self._why_held(name)) for name in self._held}
        self._servers.troubles = {**self._configs.troubles(), **held}

    def _why_held(self, name: str) -> str:
        rooms, unknown = self._servers.count(name), self._servers.unknown()
        why = f"while {rooms} rooms are on the server"
        if not rooms:
            why = f"and it is not known that no room is on the server ({unknown})"
        return (
            f"spec.url has changed {why}; they are looked for at {self._last[name].url} alone, and it takes no new "
            "room until they are over"
        )

    def _places_are_free(self) -> None:
        self._router.places_are_free(self._servers.take_waiting())

    def _add(self, config: ServerConfig) -> None:
        keys = config.credentials.keys
        server = Server(config.name, config.public_url, keys, self._client(config), LiveKitView())
        _configure(server, config)
        router = self._router
        server.view.follow(changed=router.rooms_changed, found=router.rooms_found, lost=router.rooms_lost)
        unfollow = self._router.follow_rooms(
            server.name, gone=server.view.forget, doubted=server.view.doubt, suspected=server.view.suspect
        )
        self._servers.add(server)
        self._last[server.name] = config
        self._polled[server.name] = _Polled(server, config.url, self._poller(server), unfollow)

    def _remove(self, polled: _Polled) -> None:
        polled.unfollow()
        self._servers.remove(polled.server.name)
        polled.server.client.close()
        del self._polled[polled.server.name]
        for task in polled.tasks:
            task.cancel()
            self._ending.append(task)


def _configure(server: Server, config: ServerConfig) -> None:
    """Let a server be as it is configured now. Requests are signed with its newest key from now on."""
    keys = config.credentials.keys
    server.url, server.public_url, server.keys, server.labels = config.url, config.public_url, keys, config.labels
    server.max_rooms, server.is_cordoned, server.drain = config.max_rooms, config.is_cordoned, config.drain
    server.is_leaving, server.is_noted, server.is_paused = config.is_leaving, config.is_noted, config.is_paused
    server.client.use_key(keys.newest.name, keys.newest.secret)
    server.client.trust(config.credentials.ca)


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
