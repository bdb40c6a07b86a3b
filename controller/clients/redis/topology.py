"""Which server gets a command: the only one, the master that sentinels name, or the owner of the key's slot.

`client` asks the topology for the line of a key, and sends on it. A topology is chosen by the address and by what the
server says of itself when a connection begins (`target.Hello`). Neighbors: `sentinel` says where the master is,
`cluster` follows the slots, `wire` is the connection to one server.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from redis import exceptions

from controller.clients.redis.errors import WrongServer
from controller.clients.redis.target import Hello, Locate, Mode
from controller.clients.redis.wire import Wire
from controller.settings.redis_address import AddressSource, RedisAddress

Connect = Callable[..., Wire]
"""Makes a Wire: `connect(locate, heard=…, check=…)`."""

_SENTINEL: Final = (
    "the Redis URL names a sentinel, which holds no data; use redis+sentinel://HOST,HOST/NAME, where NAME is that of "
    "the master"
)


class Line(Protocol):
    """Where the commands about some keys go."""

    def execute(self, *words: str | int, block_seconds: float = 0.0) -> Coroutine[Any, Any, Any]:
        """Send a command; return its reply, which may take `block_seconds` more. Raises redis-py's errors."""
        ...


class Topology(Protocol):
    """The servers behind one address."""

    def line(self, key: str) -> Line:
        """The line of this key."""
        ...

    def reader(self, key: str) -> Line:
        """The line of this key for a read that blocks: it holds up no other command."""
        ...

    def stop_reading(self) -> None:
        """End the reads that block; their callers are gone."""
        ...

    def together(self, keys: Sequence[str]) -> Sequence[Sequence[str]]:
        """Divide keys: one command may name those of one group."""
        ...

    @property
    def counts_silences(self) -> bool:
        """Whether it counts by itself how long servers were silent: one of several may be, while others answer."""
        ...

    def silent_seconds(self, key: str) -> float | None:
        """For how long the server of this key has not answered; None while it does, or if that is not counted."""
        ...

    async def primaries(self) -> Sequence[Line]:
        """One line to each server that takes writes. Raises redis-py's errors."""
        ...

    async def listener(self, heard: Callable[[str], None]) -> Wire:
        """A connection for a SUBSCRIBE; messages that any client publishes arrive there. The caller closes it."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class TopologyChanged(exceptions.ConnectionError):
    """Another kind of server answers behind the address now: the topology is to be chosen again."""


def steady(source: AddressSource) -> AddressSource:
    """The same source. It raises TopologyChanged once the address names another topology."""
    first = source().topology

    def address() -> RedisAddress:
        now = source()
        if now.topology is not first:
            raise TopologyChanged("another topology in the Redis URL")
        return now

    return address


class OneServer:
    """One server that has all keys: the only one, or the master. `locate` finds it for each connection.

    A replica is left at once: behind one address, the next connection may lead to the master.
    """

    counts_silences = False

    def __init__(self, connect: Connect, locate: Locate) -> None:
        self._connect = connect
        self._locate = locate
        self._mode: Mode | None = None
        self._reads = connect(locate, check=self._check)
        # A demoted master answers reads, and hears of the new master's writes late or never.
        self._commands = connect(locate, check=self._check, left=self._reads.drop)

    async def look(self) -> Mode:
        """Connect, and return what kind of server it is. From then on a server of another kind is refused.

        Raises redis-py's errors.
        """
        hello = await self._commands.open()
        self._mode = self._mode or hello.mode
        return self._mode

    def silent_seconds(self, key: str) -> float | None:
        """Not counted."""
        return None

    def line(self, key: str) -> Line:
        """The connection for commands."""
        return self._commands

    def reader(self, key: str) -> Line:
        """The connection for reads that block."""
        return self._reads

    def stop_reading(self) -> None:
        """Drop the connection on which a read may block."""
        self._reads.drop()

    def together(self, keys: Sequence[str]) -> Sequence[Sequence[str]]:
        """All keys in one group."""
        return (keys,) if keys else ()

    async def primaries(self) -> Sequence[Line]:
        """The one server."""
        return (self._commands,)

    async def listener(self, heard: Callable[[str], None]) -> Wire:
        """One more connection."""
        return self._connect(self._locate, heard=heard, check=self._check)

    async def close(self) -> None:
        """Close both connections."""
        await self._commands.close()
        await self._reads.close()

    def _check(self, hello: Hello) -> None:
        if hello.mode is Mode.SENTINEL:
            raise WrongServer(_SENTINEL)
        if self._mode is not None and hello.mode is not self._mode:
            raise TopologyChanged("another kind of server")
        if hello.is_replica and hello.mode is not Mode.CLUSTER:
            raise exceptions.ReadOnlyError("READONLY this is a replica", status_code="READONLY")
