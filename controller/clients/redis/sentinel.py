"""The master that Redis Sentinel names, followed through failovers.

Every connection begins with the question where the master is, to all sentinels at once. The answer with the highest
configuration epoch counts, and no older one after it: a sentinel that was cut off still names the last master. The
server must then say itself that it is a master (`topology.OneServer`). A look each second finds a failover that broke
no connection. redis-py's Sentinel client is not used: it asks one sentinel after the other, believes the first, and has
connections with timeouts, retries and TLS options of its own, for what is one question here. Neighbor: `asking`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis import exceptions

from controller.clients.reading import NO_SENSE
from controller.clients.redis.asking import ask_all
from controller.clients.redis.errors import RAISED, WrongServer
from controller.clients.redis.target import Hello, Locate, Mode, Target
from controller.clients.redis.topology import Connect, OneServer
from controller.clients.redis.wire import Wire
from controller.settings.redis_address import AddressSource, Node

log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 1.0
# Sentinels that were all installed again begin with a low epoch. Until then, the lower one is that of a straggler.
_REMEMBERED_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Named:
    """What a sentinel says: the address of the master, and the epoch of the failover that made it one."""

    node: Node
    epoch: int


def parse_named(address: Sequence[Any], state: Sequence[Any]) -> Named:
    """Read the replies to SENTINEL GET-MASTER-ADDR-BY-NAME and SENTINEL MASTER (names and values in turn).

    During a failover the first one has the address of the successor before the second one has. Raises ValueError,
    TypeError or LookupError for replies of another form.
    """
    host, port = address
    return Named(Node(str(host), int(port)), int(dict(zip(state[::2], state[1::2], strict=True))["config-epoch"]))


class Sentinels:
    """The sentinels of an address."""

    def __init__(self, connect: Connect, source: AddressSource) -> None:
        self._connect = connect
        self._source = source
        self._wires: dict[Node, Wire] = {}
        self._named: Named | None = None
        self._named_at = 0.0

    async def locate(self) -> Target:
        """The master, for a new connection. Raises redis-py's errors."""
        return Target(await self.master(), self._source().access)

    async def master(self) -> Node:
        """The master by the newest word of the sentinels. Raises redis-py's errors."""
        address, now = self._source(), asyncio.get_running_loop().time()
        answers = await ask_all(self._ask(node, address.master_name) for node in address.nodes)
        newest, known = max(answers, key=lambda one: one.epoch), self._named
        if known is not None and newest.epoch < known.epoch and now - self._named_at < _REMEMBERED_SECONDS:
            raise exceptions.ConnectionError("the sentinels that answer have not heard of the last failover")
        if known is None or newest.node != known.node:
            log.info("the sentinels name a master", master=str(newest.node), name=address.master_name)
        self._named, self._named_at = newest, now
        return newest.node

    async def close(self) -> None:
        """Close the connections to the sentinels."""
        for wire in self._wires.values():
            await wire.close()
        self._wires.clear()

    async def _ask(self, sentinel: Node, name: str) -> Named:
        wire = self._wires.get(sentinel)
        if wire is None:
            wire = self._wires[sentinel] = self._connect(self._at(sentinel), check=_is_sentinel)
        try:
            questions = ("GET-MASTER-ADDR-BY-NAME", "MASTER")
            address, state = await asyncio.gather(*(wire.execute("SENTINEL", question, name) for question in questions))
            return parse_named(address, state)
        except exceptions.ResponseError as error:
            if "No such master" not in str(error):
                raise
            raise WrongServer(
                "the Redis URL names a master that the sentinels do not know; check NAME in redis+sentinel://…/NAME"
            ) from None
        except NO_SENSE:
            raise exceptions.ConnectionError("a sentinel answers what cannot be read") from None

    def _at(self, sentinel: Node) -> Locate:
        async def locate() -> Target:
            return Target(sentinel, self._source().sentinel_access)

        return locate


class Mastered(OneServer):
    """The master that the sentinels of an address name, whichever server that is."""

    def __init__(self, connect: Connect, source: AddressSource) -> None:
        self._sentinels = Sentinels(connect, source)
        super().__init__(connect, self._sentinels.locate)
        self._watch: asyncio.Task[None] | None = None
        self._said = ""

    async def look(self) -> Mode:
        """Connect to the master, and follow it from then on. Raises redis-py's errors."""
        mode = await super().look()
        if self._watch is None:
            self._watch = asyncio.create_task(self._follow(), name="follow the master of Redis")
        return mode

    async def close(self) -> None:
        """Close all connections."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await super().close()
        await self._sentinels.close()

    async def _follow(self) -> None:
        """Leave the master when the sentinels name another one, also if it still answers."""
        known = await self._named()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            named = await self._named()
            if named is not None and named != known:
                known = named
                self._commands.drop()
                self._reads.drop()

    async def _named(self) -> Node | None:
        try:
            return await self._sentinels.master()
        except RAISED:
            return None  # no sentinel answers: the connection to the master is as good as before
        except Exception as error:  # nothing begins this look again, and a failover must not go unseen
            if repr(error) != self._said:
                self._said = repr(error)
                log.exception("the sentinels cannot be asked where the master is")
            return None


def _is_sentinel(hello: Hello) -> None:
    if hello.mode is not Mode.SENTINEL:
        raise WrongServer(
            "the Redis URL names a server that is no sentinel; name the sentinels and their ports, or use redis://"
        )
