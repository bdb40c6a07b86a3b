"""A Redis Cluster: each command goes to the node that owns the slot of its keys.

The map of the slots is asked from the nodes at the first command, after a redirection, and after a lost connection; it
is that of the node with the highest epoch. MOVED corrects the map at once. ASK sends the command to the node that
imports the slot, with ASKING in front of it in the same write. A command that a node redirects has not run, so it is
safe to send it on, whatever it is. While a slot moves, TRYAGAIN is the answer to a command whose keys lie on two nodes;
such a command waits for a moment, like one that finds the cluster down. redis-py's cluster client is not used, because
it takes a connection from a pool for each command (`docs/performance.md` has the figures); the rules of the slots are
redis-py's (`slots`). Neighbors: `topology` has the protocol, `wire` is the connection to one node.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis import exceptions

from controller.clients.reading import NO_SENSE
from controller.clients.redis.asking import ask_all
from controller.clients.redis.errors import RAISED, WrongServer, error_word, translate
from controller.clients.redis.slots import SlotMap, parse_info, parse_slots, redirection, slot_of
from controller.clients.redis.target import Hello, Locate, Mode, Target
from controller.clients.redis.topology import Connect, Line, TopologyChanged
from controller.clients.redis.wire import Wire
from controller.errors import BackendUnavailable
from controller.settings.redis_address import AddressSource, Node, Topology

log = structlog.get_logger(__name__)

_MOST_REDIRECTIONS: Final = 5
# While a slot moves or the cluster elects, the same command may succeed a moment later.
_AGAIN: Final = frozenset({"CLUSTERDOWN", "TRYAGAIN"})
_AGAIN_SECONDS: Final = 0.05
_LONGEST_AGAIN_SECONDS: Final = 1.0
# Lost connections come in swarms; the map is asked for once for all of them.
_MAP_SECONDS: Final = 0.1


class Cluster:
    """The nodes of a cluster. `was_silent` gets the length of each outage in seconds, for each slot that we use."""

    counts_silences = True

    def __init__(self, connect: Connect, source: AddressSource, was_silent: Callable[[float], None] | None) -> None:
        self._connect = connect
        self._source = source
        self._was_silent = was_silent
        self._map: SlotMap | None = None
        self._reading: asyncio.Task[SlotMap] | None = None
        self._read_at = 0.0
        self._commands: dict[Node, Wire] = {}
        self._reads: dict[Node, Wire] = {}
        self._silent: dict[int, float] = {}

    def line(self, key: str) -> Line:
        """The line of the slot of this key."""
        return _SlotLine(self, slot_of(key), self._commands)

    def reader(self, key: str) -> Line:
        """The same, over another connection to each node."""
        return _SlotLine(self, slot_of(key), self._reads)

    def stop_reading(self) -> None:
        """Drop the connections on which a read may block."""
        for wire in self._reads.values():
            wire.drop()

    def together(self, keys: Sequence[str]) -> Sequence[Sequence[str]]:
        """The keys of each slot."""
        groups: dict[int, list[str]] = {}
        for key in keys:
            groups.setdefault(slot_of(key), []).append(key)
        return tuple(groups.values())

    async def primaries(self) -> Sequence[Line]:
        """The nodes that own slots. Raises redis-py's errors."""
        return tuple(self._wire(self._commands, node) for node in await self._owners())

    async def listener(self, heard: Callable[[str], None]) -> Wire:
        """A connection to one of the nodes: each passes on what is published on any other."""
        node = random.choice(await self._owners())  # noqa: S311 (no secret)
        return self._connect(self._at(node), heard=heard, check=self._check)

    async def close(self) -> None:
        """Close all connections."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        for wire in (*self._commands.values(), *self._reads.values()):
            await wire.close()

    async def execute(self, slot: int, wires: dict[Node, Wire], words: Sequence[str | int], seconds: float) -> Any:
        """Send a command to the owner of its slot, wherever that is by now. Raises redis-py's errors."""
        loop = asyncio.get_running_loop()
        began, hops, asks = loop.time(), 0, False
        try:
            node = await self._owner(slot) if self._map is None else self._map.owner(slot) or await self._owner(slot)
            while True:
                try:
                    reply = await self._wire(wires, node).execute(*words, block_seconds=seconds, asking=asks)
                except exceptions.ResponseError as error:
                    to = redirection(str(error), node)
                    if to is None or hops == _MOST_REDIRECTIONS:
                        await self._pause(error, until=began + _LONGEST_AGAIN_SECONDS)
                        node, asks, hops = await self._owner(slot), False, 0
                    else:
                        node, asks, hops = to.node, to.asks, hops + 1
                        if not to.asks:
                            self._moved(to.slot, to.node)
                else:
                    break
        except RAISED as error:
            self._failed(slot, error, began)
            raise
        if self._silent:
            self._answered(slot)
        return reply

    async def _pause(self, error: exceptions.ResponseError, *, until: float) -> None:
        """Wait for a moment, if the same command may succeed then. Raises the error if not."""
        word = error_word(error)
        if word not in _AGAIN or asyncio.get_running_loop().time() > until:
            raise error
        if word == "CLUSTERDOWN":
            self._read_map()
        await asyncio.sleep(_AGAIN_SECONDS)

    async def _owner(self, slot: int) -> Node:
        """The owner of a slot, by the map that we have; without one, by a new map."""
        known = self._map or await self._fresh_map()
        node = known.owner(slot)
        if node is None:
            node = (await self._fresh_map()).owner(slot)
        if node is None:
            raise exceptions.ResponseError("CLUSTERDOWN no node owns the slot")
        return node

    async def _owners(self) -> Sequence[Node]:
        """All nodes that own slots. A cluster that is being made has none yet."""
        owners = (await self._fresh_map()).primaries
        if not owners:
            raise exceptions.ResponseError("CLUSTERDOWN no node owns a slot")
        return owners

    def _moved(self, slot: int, node: Node) -> None:
        """Correct the map: the slot has moved, and others may have moved with it."""
        if self._map is not None:
            self._map.assign(slot, slot, node)
        self._read_map()

    # The map

    async def _fresh_map(self) -> SlotMap:
        """A map that was read now, or a moment ago."""
        reading = self._read_map()
        if reading is None:
            assert self._map is not None, "it was read a moment ago"
            return self._map
        await asyncio.wait((reading,))
        if reading.cancelled():
            raise exceptions.ConnectionError("closed")
        return reading.result()

    def _read_map(self) -> asyncio.Task[SlotMap] | None:
        """Begin to read the map, unless that is under way, or was done a moment ago (None)."""
        loop = asyncio.get_running_loop()
        if self._reading is None:
            if self._map is not None and loop.time() - self._read_at < _MAP_SECONDS:
                return None
            self._reading = loop.create_task(self._ask_for_map(), name="read the slots of Redis")
            self._reading.add_done_callback(self._map_was_read)
        return self._reading

    def _map_was_read(self, reading: asyncio.Task[SlotMap]) -> None:
        self._reading, self._read_at = None, asyncio.get_running_loop().time()
        if reading.cancelled() or reading.exception() is not None:
            return  # the map that we have is better than none
        before, self._map = self._map, reading.result()
        if before is None:
            log.info("Redis is a cluster", primaries=len(self._map.primaries))
        self._close_unlisted(self._map.primaries)

    async def _ask_for_map(self) -> SlotMap:
        known = self._map.primaries if self._map is not None else ()
        nodes = dict.fromkeys((*known, *self._source().nodes))
        views = await ask_all(self._ask(node) for node in nodes)
        return max(views, key=lambda view: (view.is_well, view.slots.epoch)).slots

    async def _ask(self, node: Node) -> _View:
        wire = self._wire(self._commands, node)
        info, rows = await asyncio.gather(wire.execute("CLUSTER", "INFO"), wire.execute("CLUSTER", "SLOTS"))
        try:
            is_well, epoch = parse_info(info)
            return _View(is_well, parse_slots(rows, node, epoch))
        except NO_SENSE:
            raise exceptions.ConnectionError("a node answers what cannot be read") from None

    # Connections

    def _wire(self, wires: dict[Node, Wire], node: Node) -> Wire:
        wire = wires.get(node)
        if wire is None:
            wire = wires[node] = self._connect(self._at(node), check=self._check)
        return wire

    def _check(self, hello: Hello) -> None:
        if hello.mode is Mode.CLUSTER:
            return
        if self._source().topology is Topology.SINGLE:
            # The address leaves open what the server is, so another kind of server may have taken its place.
            raise TopologyChanged("another kind of server")
        raise WrongServer("the Redis URL names a server that is no node of a Redis Cluster; use redis:// for it")

    def _at(self, node: Node) -> Locate:
        async def locate() -> Target:
            return Target(node, self._source().access)

        return locate

    def _close_unlisted(self, listed: Sequence[Node]) -> None:
        """Drop connections to nodes that own no slot, unless a command waits there."""
        for wires in (self._commands, self._reads):
            for node in [node for node, wire in wires.items() if node not in listed and wire.is_idle]:
                wires.pop(node).drop()

    # Failures

    def _failed(self, slot: int, error: Exception, began: float) -> None:
        """Note since when the slot is silent. After a lost connection the map is read again."""
        if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError):
            self._read_map()
        if isinstance(translate(error, ""), BackendUnavailable):
            self._silent.setdefault(slot, began)

    def silent_seconds(self, key: str) -> float | None:
        """For how long the owner of the key's slot has not answered."""
        since = self._silent.get(slot_of(key))
        return None if since is None else asyncio.get_running_loop().time() - since

    def _answered(self, slot: int) -> None:
        since = self._silent.pop(slot, None)
        if since is not None and self._was_silent is not None:
            self._was_silent(asyncio.get_running_loop().time() - since)


@dataclass(frozen=True, slots=True)
class _View:
    """The cluster as one node sees it."""

    is_well: bool
    slots: SlotMap


class _SlotLine:
    """The line of one slot. `wires` are those for commands, or those for reads that block."""

    __slots__ = ("_cluster", "_slot", "_wires")

    def __init__(self, cluster: Cluster, slot: int, wires: dict[Node, Wire]) -> None:
        self._cluster, self._slot, self._wires = cluster, slot, wires

    def execute(self, *words: str | int, block_seconds: float = 0.0) -> Coroutine[Any, Any, Any]:
        """Send a command to the owner of the slot."""
        return self._cluster.execute(self._slot, self._wires, words, block_seconds)
