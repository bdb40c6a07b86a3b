"""Where the next connection goes: a node, and what to begin with there.

A `Wire` asks for its target at each connection, so a changed Secret, a name that resolves to another server, or a new
master counts from the next connection on. Neighbors: `settings.redis_address` has the values, `wire` connects.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

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
