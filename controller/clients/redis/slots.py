"""The slots of a Redis Cluster: which node owns which, as a node tells it, and where an answer sends a command on.

Pure. Neighbors: `cluster` keeps the map and follows the redirections. redis-py computes the slot of a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from controller.settings.redis_address import Node

_MOVED, _ASK = "MOVED", "ASK"
# A node that does not know the host of another one, or is not to tell it.
_UNKNOWN_HOSTS: Final = frozenset({None, "", "?"})


def slot_of(key: str) -> int:
    """The slot of a key: that of its hash tag, if it has one."""
    return key_slot(key.encode())


@dataclass(frozen=True, slots=True)
class Redirection:
    """The answer of a node that a command belongs to another one; for good, or (`asks`) for this command only."""

    slot: int
    node: Node
    asks: bool


def redirection(text: str, answered: Node) -> Redirection | None:
    """The redirection that an error of the node `answered` contains; None for every other error."""
    word, _, rest = text.partition(" ")
    if word not in {_MOVED, _ASK}:
        return None
    slot, _, where = rest.partition(" ")
    host, _, port = where.rpartition(":")
    if not (slot.isdigit() and port.isdigit() and int(slot) < REDIS_CLUSTER_HASH_SLOTS):
        return None
    return Redirection(int(slot), Node(_host(host, answered), int(port)), asks=word == _ASK)


class SlotMap:
    """The owner of each slot, as far as known. `epoch` grows with every change of the cluster."""

    def __init__(self, epoch: int = 0) -> None:
        self.epoch = epoch
        self._owners: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS

    def owner(self, slot: int) -> Node | None:
        """The node that owns the slot; None if no node does."""
        return self._owners[slot]

    def assign(self, first: int, last: int, node: Node) -> None:
        """The slots from `first` to `last` belong to this node."""
        self._owners[first : last + 1] = [node] * (last + 1 - first)

    @property
    def primaries(self) -> tuple[Node, ...]:
        """Every node that owns a slot, in the order of the slots."""
        return tuple(dict.fromkeys(node for node in self._owners if node is not None))


def parse_slots(reply: Any, answered: Node, epoch: int) -> SlotMap:
    """Return the map from the reply of the node `answered` to CLUSTER SLOTS.

    The reply has a row for each range of slots: the first slot, the last one, the owner, its replicas. A node is a
    host, a port, an id, and more. Raises ValueError, TypeError or LookupError for another reply.
    """
    found = SlotMap(epoch)
    for first, last, (host, port, *_), *_replicas in reply:
        if not 0 <= first <= last < REDIS_CLUSTER_HASH_SLOTS:
            raise ValueError("slots beyond the last one")
        found.assign(first, last, Node(_host(host, answered), int(port)))
    return found


def parse_info(text: str) -> tuple[bool, int]:
    """Whether the cluster works by the word of a node, and the node's epoch, from its reply to CLUSTER INFO."""
    lines = dict(line.partition(":")[::2] for line in text.splitlines())
    return lines.get("cluster_state") == "ok", int(lines["cluster_current_epoch"])


def _host(host: str | None, answered: Node) -> str:
    return answered.host if host is None or host in _UNKNOWN_HOSTS else host.strip("[]")
