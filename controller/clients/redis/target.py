"""Where the next connection goes: a node, what to begin with there, and what the server there says of itself.

A `Wire` asks for its target at each connection, so a changed Secret, a name that resolves to another server, or a new
master counts from the next connection on. Neighbors: `settings.redis_address` has the values, `wire` connects.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from controller.settings.redis_address import Access, AddressSource, Node


@dataclass(frozen=True, slots=True)
class Target:
    """One node and the access to it."""

    node: Node
    access: Access


Locate: TypeAlias = Callable[[], Awaitable[Target]]
"""Returns the target of the next connection. It raises redis-py's ConnectionError if there is none now."""


def fixed(target: Target) -> Locate:
    """Always this target."""

    async def locate() -> Target:
        return target

    return locate


def first_node(source: AddressSource) -> Locate:
    """The only node of an address, as it is at each connection."""

    async def locate() -> Target:
        address = source()
        return Target(address.nodes[0], address.access)

    return locate


class Mode(StrEnum):
    """What kind of server it is."""

    STANDALONE = "standalone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Hello:
    """What a server says of itself when a connection begins."""

    mode: Mode = Mode.STANDALONE
    is_replica: bool = False


Check: TypeAlias = Callable[[Hello], None]
"""Raises one of redis-py's errors if a server is not the right one."""


def parse_hello(reply: Any) -> Hello:
    """Read the reply to HELLO. A server that does not have this command, such as a proxy, counts as a master."""
    if not isinstance(reply, list):
        return Hello()
    fields = dict(zip(reply[::2], reply[1::2], strict=False))
    mode = fields.get("mode")
    return Hello(Mode(mode) if mode in set(Mode) else Mode.STANDALONE, fields.get("role") in {"replica", "slave"})
