"""A Redis Cluster on loopback: three masters with one replica each, whose slots can be moved.

A master that is gone counts as down after a second. Neighbor: `redis_nodes` has the single node.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from sandbox.ports import PortLocks
from sandbox.redis_nodes import BARE, HOST, Node, until

_NODE_TIMEOUT_MS = 1000


class Cluster:
    """Three masters, each with one replica. Each master has a third of the slots.

    `announced` is the host by which clients reach the nodes, if it is another one than that of the nodes themselves.
    `program` is the server, if it is not the stack's.
    """

    def __init__(
        self,
        folder: Path,
        ports: PortLocks,
        *,
        masters: int = 3,
        replicas: int = 1,
        announced: str = "",
        program: Path | None = None,
    ) -> None:
        self._masters = masters
        told = ("--cluster-announce-hostname", announced, "--cluster-preferred-endpoint-type", "hostname")
        self.nodes = tuple(
            Node(
                folder / f"node-{n}",
                ports.take(),
                *(*BARE, *_cluster(ports.take()), *(told if announced else ())),
                program=program,
            )
            for n in range(masters * (1 + replicas))
        )

    @property
    def url(self) -> str:
        """The URL for the operator."""
        return f"redis+cluster://{','.join(node.address for node in self.nodes[: self._masters])}/0"

    def start(self) -> None:
        """Start all nodes and make a cluster of them."""
        for node in self.nodes:
            node.start()
        share = REDIS_CLUSTER_HASH_SLOTS / self._masters
        for n, node in enumerate(self.nodes):
            node("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            if n < self._masters:
                node("CLUSTER", "ADDSLOTSRANGE", round(n * share), round((n + 1) * share) - 1)
            first = self.nodes[0]
            if node is not first:
                node("CLUSTER", "MEET", HOST, first.port, int(first("CONFIG", "GET", "cluster-port")[1]))
        for node in self.nodes:
            until(partial(self._knows_all, node))
        for n, node in enumerate(self.nodes[self._masters :]):
            master = self.nodes[n % self._masters]
            until(partial(node, "CLUSTER", "REPLICATE", self.id_of(master)))
        self.await_health()

    def stop(self) -> None:
        """Kill all."""
        for node in self.nodes:
            node.stop()

    def id_of(self, node: Node) -> str:
        """The id of a node in the cluster."""
        return str(node("CLUSTER", "MYID"))

    def await_health(self, *but: Node) -> None:
        """Wait until all nodes, but those that are stopped, agree that every slot is served and replicas follow."""
        for node in self.nodes:
            if node not in but:
                until(partial(self._is_well, node))

    def _knows_all(self, node: Node) -> bool:
        text = str(node("CLUSTER", "NODES"))
        return len(text.splitlines()) == len(self.nodes) and "handshake" not in text

    @staticmethod
    def _is_well(node: Node) -> bool:
        return "cluster_state:ok" in node("CLUSTER", "INFO") and (node.is_master or node.follows)

    def owner(self, key: str) -> Node:
        """The master that has the slot of this key, by the word of the first node that answers."""
        slot = key_slot(key.encode())
        return until(lambda: self._owner(slot))

    def replica_of(self, master: Node) -> Node:
        """A replica of this master."""
        return next(node for node in self.nodes if node is not master and self._follows(node, master))

    @staticmethod
    def _follows(node: Node, master: Node) -> bool:
        role = node("ROLE")
        return bool(role[0] == "slave" and int(role[2]) == master.port)

    def _owner(self, slot: int) -> Node | None:
        for node in self.nodes:
            try:
                rows = _rows(node)
            except OSError:
                continue
            for row in rows:
                if "master" in row[2] and any(_holds(part, slot) for part in row[8:]):
                    port = int(row[1].partition("@")[0].rpartition(":")[2])
                    return next(one for one in self.nodes if one.port == port)
        return None

    # Slots that move

    def begin_move(self, key: str, target: Node) -> None:
        """Open the slot of a key for a move to another master: the old one answers ASK for keys that it has not."""
        slot, source = key_slot(key.encode()), self.owner(key)
        target("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        source("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def move_keys(self, key: str, target: Node, at_most: int = 1_000_000) -> int:
        """Move keys of the slot that `begin_move` has opened, one after another. Returns how many were moved."""
        slot, source, moved = key_slot(key.encode()), self.owner(key), 0
        while moved < at_most:
            found = source("CLUSTER", "GETKEYSINSLOT", slot, 1)
            if not found:
                break
            source("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *found)
            moved += 1
        return moved

    def end_move(self, key: str, target: Node) -> None:
        """Give the slot to the new master for good."""
        slot, source = key_slot(key.encode()), self.owner(key)
        for node in (target, source, *(one for one in self.nodes if one not in {source, target} and one.is_master)):
            node("CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))


def _cluster(bus: int) -> tuple[str, ...]:
    return (
        *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", str(bus)),
        *("--cluster-node-timeout", str(_NODE_TIMEOUT_MS), "--cluster-replica-validity-factor", "0"),
        *("--cluster-allow-replica-migration", "no", "--repl-ping-replica-period", "1"),
        # Otherwise the slots of all masters are refused until the replica of a dead one is promoted.
        *("--cluster-require-full-coverage", "no"),
    )


def _rows(node: Node) -> list[list[str]]:
    return [line.split() for line in node("CLUSTER", "NODES").splitlines()]


def _holds(part: str, slot: int) -> bool:
    first, _, last = part.partition("-")
    return first.isdigit() and int(first) <= slot <= int(last or first)
